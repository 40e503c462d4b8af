//! Who a container is: short lives, renames, an engine that stops, hangs or is absent.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use slicemeter_tests::{
    cgroup::{Cgroup, kernel_usage_seconds},
    compare::Reading,
    daemon::{Client, Daemon},
    dockerd::{Dockerd, IMAGE},
    host::{require_docker, require_kernel},
    metrics::{Exposition, Monotone},
    process::Signal,
    scratch::Scratch,
};

const USAGE: &str = "container_cpu_usage_seconds_total";
const DOCKER_UP: &str = "slicemeter_docker_up";

/// How long anything that the engine tells may take to show.
const SEEN_LIMIT: Duration = Duration::from_secs(5);

/// Reconnecting is retried with a pause.
const RECONNECT_LIMIT: Duration = Duration::from_secs(15);

/// How far a container of 50 ms may be from the kernel's figure. The slices in which runc
/// enters the container's cgroup, and the tick's worth that the kernel books late.
const BLINK_SECONDS: f64 = 0.003;

/// "At once", for people.
const RENAME_LIMIT: Duration = Duration::from_secs(1);

#[test]
fn a_container_that_lived_50_ms_is_there_after_its_end_and_then_rolled_up() {
    if !require_docker() {
        return;
    }
    let docker = Dockerd::start();
    let daemon = Daemon::start(&docker.host(), &["--retain-exited", "4s"]);
    let names: Vec<String> = (0..5).map(|n| format!("blink-{n}")).collect();
    // What the kernel books for it, dead children included.
    let parent = Cgroup::new("blinks");
    let mut total = 0.0;
    for name in &names {
        let booked = kernel_usage_seconds(parent.path());
        docker.run_to_end(name, &["--cgroup-parent", parent.path()], &["spin-ms", "50"]);
        let booked = kernel_usage_seconds(parent.path()) - booked;
        let left = docker.docker(&["ps", "--all", "--quiet"]);
        assert_eq!(left, "", "the container is gone");
        let labels = [("name", name.as_str()), ("image", IMAGE), ("cpu", "total")];
        let scrape = daemon.scrape_until("the dead container's name", SEEN_LIMIT, |scrape| {
            scrape.get(USAGE, &labels).is_some()
        });
        let seconds = scrape.value(USAGE, &labels);
        println!("{name}: {seconds:.6} s, by the kernel {booked:.6} s");
        assert!(booked >= 0.050, "it ran where it should: {booked}");
        assert!((seconds - booked).abs() <= BLINK_SECONDS, "{name}: {seconds} against {booked}");
        total += seconds;
    }
    let scrape = daemon.scrape_until("end of the series", Duration::from_secs(30), |scrape| {
        scrape.get("container_exited_total", &[]) == Some(5.0)
    });
    for name in &names {
        assert_eq!(scrape.get(USAGE, &[("name", name)]), None, "its series has ended");
    }
    let rolled_up = scrape.value("container_exited_cpu_usage_seconds_total", &[]);
    println!("rolled up: {rolled_up:.6} s of {total:.6} s");
    assert!((rolled_up - total).abs() < 1e-3, "nothing is lost: {rolled_up} of {total}");
    daemon.stop();
}

/// What a client saw during the engine's restart.
#[derive(Default)]
struct Seen {
    names: Vec<String>,
    up: Vec<f64>,
    longest_gap: Duration,
    scrapes: u32,
}

#[test]
fn an_engine_that_restarts_and_a_rename_leave_no_gap() {
    if !require_docker() {
        return;
    }
    let mut docker = Dockerd::start_live_restore();
    let options = ["--cpus", "0.5", "--cpu-shares", "262144"];
    let container = docker.run("before", &options, &["burn", "600"]);
    let cgroup = docker.cgroup("before");
    docker.stop();

    // Absent at start: everything is accounted, the name comes with the engine.
    let daemon = Daemon::start(&docker.host(), &["--docker.timeout", "1s"]);
    let scrape = daemon.scrape();
    assert_eq!(scrape.get(DOCKER_UP, &[]), Some(0.0));
    let nameless = [("id", &*cgroup), ("name", &container.id)];
    assert!(scrape.get(USAGE, &nameless).is_some(), "accounted, with its id for a name");
    docker.start_again();
    let named = [("id", cgroup.as_str()), ("name", "before")];
    daemon.scrape_until("the name", RECONNECT_LIMIT, |scrape| scrape.get(USAGE, &named).is_some());

    let done = AtomicBool::new(false);
    let client = daemon.client();
    let before = Reading::take(&daemon, &cgroup);
    let seen = thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(&client, &cgroup, &done));
        // Set on unwinding, too: the scope waits for the watcher.
        let stop = SetOnDrop(&done);
        docker.stop();
        daemon.scrape_until("the engine's absence", SEEN_LIMIT, |scrape| {
            scrape.get(DOCKER_UP, &[]) == Some(0.0)
        });
        sleep(Duration::from_secs(2));
        docker.start_again();
        daemon.scrape_until("the engine's return", RECONNECT_LIMIT, |scrape| {
            scrape.get(DOCKER_UP, &[]) == Some(1.0)
        });
        docker.docker(&["rename", "before", "after"]);
        let renamed = Instant::now();
        let labels = [("id", cgroup.as_str()), ("name", "after")];
        daemon.scrape_until("the new name", RENAME_LIMIT, |scrape| {
            scrape.get(USAGE, &labels).is_some()
        });
        println!("the new name after {:?}", renamed.elapsed());
        // The watcher must see it, too.
        sleep(Duration::from_millis(500));
        drop(stop);
        watcher.join().expect("the watcher")
    });
    println!(
        "{} scrapes, at most {:?} apart; names in turn {:?}; engine up in turn {:?}",
        seen.scrapes, seen.longest_gap, seen.names, seen.up
    );
    assert_eq!(seen.names, ["before", "after"], "one name at a time, and never none");
    assert_eq!(seen.up, [1.0, 0.0, 1.0]);
    assert!(daemon.scrape().value("slicemeter_docker_disconnects_total", &[]) >= 1.0);
    let difference = Reading::take(&daemon, &cgroup).since(&before);
    difference.assert_within("burner across the restart", 0.01);
    assert_eq!(docker.docker(&["inspect", "--format", "{{.Id}}", "after"]), container.id);
    daemon.stop();
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Scrapes every 50 ms; nothing may go back, and the container has one series each time.
fn watch(client: &Client, cgroup: &str, done: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut monotone = Monotone::default();
    let mut value = 0.0;
    let mut last = Instant::now();
    while !done.load(Ordering::Relaxed) {
        let scrape = client.scrape();
        seen.longest_gap = seen.longest_gap.max(last.elapsed());
        last = Instant::now();
        seen.scrapes += 1;
        monotone.observe(&scrape);
        let labels = [("id", cgroup)];
        let series: Vec<_> = scrape.select(USAGE, &labels).collect();
        let [one] = series[..] else { panic!("not one series of {cgroup}: {series:?}") };
        // The new name makes a new series for Prometheus; its value must go on.
        assert!(one.value >= value, "reset from {value} to {}", one.value);
        value = one.value;
        push_if_new(&mut seen.names, one.labels["name"].clone());
        push_if_new(&mut seen.up, scrape.value(DOCKER_UP, &[]));
        sleep(Duration::from_millis(50));
    }
    seen
}

fn push_if_new<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if list.last() != Some(&item) {
        list.push(item);
    }
}

#[test]
fn an_engine_that_hangs_holds_nothing_up() {
    if !require_docker() {
        return;
    }
    let docker = Dockerd::start();
    let container = docker.run("hanging", &[], &["sleep", "600"]);
    let cgroup = docker.cgroup("hanging");
    docker.signal(Signal::STOP);
    let started = Instant::now();
    let daemon = Daemon::start(&docker.host(), &["--docker.timeout", "1s"]);
    println!("serves {:?} after its start, its engine hanging", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(10));
    let scrape = daemon.scrape();
    assert_eq!(scrape.get(DOCKER_UP, &[]), Some(0.0));
    let nameless = [("id", &*cgroup), ("name", &container.id)];
    assert!(scrape.get(USAGE, &nameless).is_some(), "accounted, with its id for a name");
    docker.signal(Signal::CONT);
    daemon.scrape_until("the name", RECONNECT_LIMIT, |scrape| {
        scrape.get(USAGE, &[("id", &cgroup), ("name", "hanging")]).is_some()
            && scrape.get(DOCKER_UP, &[]) == Some(1.0)
    });
    daemon.stop();
}

#[test]
fn without_docker_every_cgroup_is_accounted_and_one_line_says_what_is_missing() {
    if !require_kernel() {
        return;
    }
    let earlier_id = format!("{:064x}", 0xabc);
    let later_id = format!("{:064x}", 0xdef);
    let earlier = Cgroup::at(&format!("/docker/{earlier_id}"));
    let daemon = Daemon::start_without_docker(&["--cgroups=all"]);
    let later = Cgroup::at(&format!("/docker/{later_id}"));
    let plain = Cgroup::new("plain");
    let scratch = Scratch::new("plain");
    // A container is never nameless: dashboards select containers by `name=~".+"`.
    let all = [(&earlier, &*earlier_id), (&later, &*later_id), (&plain, "")];
    for (cgroup, _) in all {
        let mut process = cgroup.spawn(&["spin-ms", "100"], &scratch.join("log"));
        assert!(process.wait(SEEN_LIMIT).success());
    }
    let scrape = daemon.scrape();
    for (cgroup, name) in all {
        let labels = [("id", cgroup.path()), ("name", name), ("image", "")];
        let seconds = scrape.value(USAGE, &labels);
        println!("{}: {seconds:.6} s", cgroup.path());
        assert!((0.090..0.150).contains(&seconds), "{}: {seconds}", cgroup.path());
    }
    // Only containers have a start time: so the first two are recognised by their paths.
    let is_container = |scrape: &Exposition, id| {
        scrape.get("container_start_time_seconds", &[("id", id)]).is_some()
    };
    assert!(is_container(&scrape, earlier.path()) && is_container(&scrape, later.path()));
    assert!(!is_container(&scrape, plain.path()));
    assert_eq!(scrape.get(DOCKER_UP, &[]), Some(0.0));

    // Time for a second attempt, which must not say it again.
    sleep(Duration::from_secs(3));
    let log = daemon.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("names")).collect();
    println!("{lines:#?}");
    assert_eq!(lines.len(), 1, "one line about names in:\n{log}");
    assert!(lines[0].contains("/nonexistent/docker.sock"), "it says where it looked");
    daemon.stop();
}
