//! A file that hangs costs its own container's values, until it comes back; scrapes never
//! wait for it beyond their deadline.
//!
//! What hangs is a FIFO without a writer, mounted over a file of a cgroup in a mount
//! namespace that only the daemon is in.

use std::{
    ffi::OsStr,
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use slicemeter_tests::{
    collectors::{ALL, missing, success},
    controllers,
    daemon::{self, Answer, Daemon},
    dockerd::Dockerd,
    host::{require_docker, resident_kib},
    metrics::Exposition,
    process::bound_command,
    scratch::Scratch,
};

const SEEN_LIMIT: Duration = Duration::from_secs(5);

/// Prometheus' time-out in these scrapes.
const TIMEOUT_SECONDS: &str = "1";
const TIMEOUT: Duration = Duration::from_secs(1);

/// A scrape that waits for nothing, on a busy machine.
const FAST: Duration = Duration::from_millis(300);

/// Scrapes while a file hangs.
const SCRAPES: u32 = 60;

/// What those may leave behind.
const MORE_THREADS: f64 = 4.0;
const MORE_KIB: u64 = 4 * 1_024;

/// The usual time of a stop, on a busy machine.
const STOP: Duration = Duration::from_secs(6);

/// A file of a cgroup that hangs for the daemon.
struct Hang<'a> {
    daemon: &'a Daemon,
    fifo: PathBuf,
    file: PathBuf,
}

impl<'a> Hang<'a> {
    fn begin(daemon: &'a Daemon, scratch: &Scratch, file: PathBuf) -> Self {
        let fifo = scratch.join("fifo");
        run(Command::new("mkfifo").arg(&fifo));
        run(within(daemon, "mount").arg("--bind").arg(&fifo).arg(&file));
        Self { daemon, fifo, file }
    }

    /// The file is itself again, for who opens it from now on.
    fn end(&self) {
        run(within(self.daemon, "umount").arg("--lazy").arg(&self.file));
    }

    /// Whoever hangs in it comes back.
    fn release(&self) {
        // Opening waits for no one: the other side is there, opening.
        drop(File::options().write(true).open(&self.fifo).expect("the FIFO"));
    }
}

fn within(daemon: &Daemon, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--mount", "--target", &daemon.pid().to_string(), "--"]).arg(program);
    command
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

/// The daemon in a mount namespace of its own.
fn apart() -> Command {
    let mut command = bound_command("TERM", "unshare");
    command.args(["--mount", "--propagation", "private", "--"]).arg(daemon::binary());
    command.env_remove("DOCKER_HOST").stdin(Stdio::null());
    command
}

fn scrape(daemon: &Daemon) -> (Exposition, Duration) {
    let headers = [("X-Prometheus-Scrape-Timeout-Seconds", TIMEOUT_SECONDS)];
    let answer = daemon.client().ask("", &headers);
    assert!(answer.took < TIMEOUT, "Prometheus would have given up: {:?}", answer.took);
    let Answer { took, .. } = answer;
    (answer.parsed(), took)
}

fn memory(scrape: &Exposition, name: &str) -> Option<f64> {
    scrape.get("container_memory_usage_bytes", &[("name", name)])
}

/// Containers, and the file of one of them that is to hang.
fn containers(docker: &Dockerd) -> PathBuf {
    for name in ["hung", "one", "two"] {
        docker.run(name, &[], &["sleep", "600"]);
    }
    controllers::path(&docker.cgroup("hung"), "memory", "memory.stat")
}

#[test]
fn a_file_that_hangs_costs_its_containers_values_and_no_scrape_its_deadline() {
    if !require_docker() {
        return;
    }
    let (docker, scratch) = (Dockerd::start(), Scratch::new("hang"));
    let file = containers(&docker);
    let daemon = Daemon::start_by(apart(), &docker.host(), &[]);
    daemon.scrape_until("all three", SEEN_LIMIT, |scrape| {
        ["hung", "one", "two"].iter().all(|name| memory(scrape, name).is_some())
    });
    for _ in 0..20 {
        scrape(&daemon);
    }
    let (healthy, usual) = scrape(&daemon);
    let (threads, kib) = (healthy.value("process_threads", &[]), resident_kib(daemon.pid()));
    assert!(ALL.iter().all(|collector| success(&healthy, collector) == Some(true)));

    let hang = Hang::begin(&daemon, &scratch, file);
    let (first, took) = scrape(&daemon);
    println!("a scrape took {usual:?}; the first that meets the file: {took:?}");
    assert!(took > FAST, "it waited as long as it could: {took:?}");
    assert!(missing(&first, "cgroup", "late") >= 1.0);
    judge(&first);

    let (mut longest, mut stuck) = (Duration::ZERO, missing(&first, "cgroup", "stuck"));
    for number in 0..SCRAPES {
        let (next, took) = scrape(&daemon);
        longest = longest.max(took);
        judge(&next);
        let now = missing(&next, "cgroup", "stuck");
        assert!(
            (now - stuck - 1.0).abs() < 0.5,
            "scrape {number}: one is left out: {stuck}, {now}"
        );
        stuck = now;
    }
    let (last, _) = scrape(&daemon);
    let late = missing(&last, "cgroup", "late") - missing(&first, "cgroup", "late");
    let more_threads = last.value("process_threads", &[]) - threads;
    let more_kib = resident_kib(daemon.pid()).saturating_sub(kib);
    println!(
        "{SCRAPES} more took {longest:?} at most; {more_threads} more threads, {more_kib} KiB more"
    );
    assert!(longest < FAST, "they wait for nothing: {longest:?}");
    assert!(late < 0.5, "none of them was late");
    assert!(more_threads <= MORE_THREADS && more_kib <= MORE_KIB);

    hang.end();
    hang.release();
    let healed = daemon.scrape_until("its values", SEEN_LIMIT, |scrape| {
        memory(scrape, "hung").is_some() && success(scrape, "cgroup") == Some(true)
    });
    let stuck = missing(&healed, "cgroup", "stuck");
    let (after, _) = scrape(&daemon);
    assert!((missing(&after, "cgroup", "stuck") - stuck).abs() < 0.5, "nothing is left out");
    let log = daemon.log();
    let said = log.lines().filter(|line| line.contains("left out until it comes back"));
    assert_eq!(said.count(), 1, "it is said once:\n{log}");
    daemon.stop();
}

/// Everything but what hangs is there, and the loss shows.
fn judge(scrape: &Exposition) {
    assert_eq!(success(scrape, "cgroup"), Some(false));
    for collector in ALL.into_iter().filter(|name| *name != "cgroup") {
        assert_eq!(success(scrape, collector), Some(true), "{collector}");
    }
    assert_eq!(memory(scrape, "hung"), None, "nothing old, and nothing made up");
    for name in ["one", "two"] {
        assert!(memory(scrape, name).is_some(), "{name}");
    }
    for name in ["hung", "one", "two"] {
        let labels = [("name", name)];
        assert!(scrape.get("container_cpu_usage_seconds_total", &labels).is_some(), "{name}");
        assert_eq!(scrape.select("node_container_memory_vmrss", &labels).count(), 1, "{name}");
    }
}

#[test]
fn it_stops_in_order_and_in_time_while_a_file_hangs() {
    if !require_docker() {
        return;
    }
    let (docker, scratch) = (Dockerd::start(), Scratch::new("hang"));
    let file = containers(&docker);
    let daemon = Daemon::start_by(apart(), &docker.host(), &[]);
    daemon.scrape_until("the values", SEEN_LIMIT, |scrape| memory(scrape, "hung").is_some());
    let hang = Hang::begin(&daemon, &scratch, file);
    let (met, _) = scrape(&daemon);
    assert!(missing(&met, "cgroup", "late") >= 1.0, "it hangs");
    sleep(Duration::from_millis(100));
    drop(hang);
    let asked = Instant::now();
    daemon.stop();
    println!("it stopped within {:?}", asked.elapsed());
    assert!(asked.elapsed() < STOP, "{:?}", asked.elapsed());
    assert!(Path::new(&scratch.join("fifo")).exists(), "nobody has opened it: it hung to the end");
}
