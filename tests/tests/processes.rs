//! Containers' processes, each told once, with the figures that `/proc` has.
#![expect(clippy::print_stdout, reason = "figures are for whoever runs the tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use slicemeter_tests::{
    cgroup::Cgroup,
    collectors::{faults, missing, success},
    controllers,
    daemon::{self, Daemon},
    dockerd::{Container, Dockerd},
    host::require_docker,
    metrics::Exposition,
    process::bound_command,
    procfs::{status_kb, ticks},
    scratch::Scratch,
    wait,
};

const SEEN_LIMIT: Duration = Duration::from_secs(5);

/// Times of a process, in the order of `/proc/PID/stat`.
const TIMES: [&str; 4] = ["utime", "stime", "cutime", "cstime"];

/// Memory of a process: our name, and that in `/proc/PID/status`.
const MEMORY: [(&str, &str); 3] =
    [("vmsize", "VmSize"), ("vmrss", "VmRSS"), ("rssfile", "RssFile")];

/// Of clock ticks a second: fixed by the kernel's interface to user space.
const USER_HZ: f64 = 100.0;

/// The pids under which a series is told of a container.
fn told(scrape: &Exposition, name: &str, container: &Container) -> BTreeSet<u32> {
    let labels = [("id", &*container.id), ("name", &*container.name)];
    let pids = scrape.select(name, &labels).map(|sample| sample.labels["pid"].parse());
    let pids: Vec<u32> = pids.map(|pid| pid.expect("a pid")).collect();
    let set: BTreeSet<u32> = pids.iter().copied().collect();
    assert_eq!(set.len(), pids.len(), "each process once: {pids:?}");
    set
}

fn cpu(kind: &str) -> String {
    format!("node_container_cpu_{kind}")
}

/// What the kernel has of processes' times.
fn kernel_ticks(pids: &BTreeSet<u32>) -> BTreeMap<u32, [f64; 4]> {
    pids.iter().map(|&pid| (pid, ticks(pid).expect("it lives"))).collect()
}

/// Compares a container's processes with what `/proc` and `ps` have before and after;
/// returns them.
fn judge(docker: &Dockerd, daemon: &Daemon, container: &Container) -> BTreeSet<u32> {
    let name = &*container.name;
    let pids: BTreeSet<u32> = controllers::processes(&docker.cgroup(name)).into_iter().collect();
    let (shown_before, before) = (top(docker, name), kernel_ticks(&pids));
    let scrape = daemon.scrape();
    let (after, shown_after) = (kernel_ticks(&pids), top(docker, name));

    let mut sum = 0.0;
    for (index, kind) in TIMES.into_iter().enumerate() {
        assert_eq!(told(&scrape, &cpu(kind), container), pids, "{name}: {kind}");
        for (&pid, before) in &before {
            let value = of(&scrape, &cpu(kind), container, kind, pid);
            let value = value.expect("it is told");
            let fits = (before[index]..=after[&pid][index]).contains(&value);
            assert!(fits, "{name}: {kind} of {pid}: {value} of {before:?} … {:?}", after[&pid]);
            sum += if index < 2 { value } else { 0.0 };
        }
    }
    println!("{name}: {} processes, {sum} ticks of their own", pids.len());
    // ps shows whole seconds of each.
    let seconds = |shown: &BTreeMap<u32, f64>| shown.values().sum::<f64>();
    let least = seconds(&shown_before) * USER_HZ;
    let most = (seconds(&shown_after) + pids.len() as f64) * USER_HZ;
    assert!((least..=most).contains(&sum), "{name}: {sum} of {least} … {most} by docker top");
    assert_eq!(shown_after.keys().copied().collect::<BTreeSet<_>>(), pids, "{name}: docker top");
    pids
}

fn of(scrape: &Exposition, name: &str, container: &Container, kind: &str, pid: u32) -> Option<f64> {
    let pid = pid.to_string();
    let (id, container) = (&*container.id, &*container.name);
    scrape.get(name, &[("id", id), ("name", container), ("type", kind), ("pid", &pid)])
}

/// Pids and whole seconds of CPU time, by the host's `ps`.
fn top(docker: &Dockerd, name: &str) -> BTreeMap<u32, f64> {
    let table = docker.docker(&["top", name, "-o", "pid,cputimes"]);
    let rows = table.lines().skip(1).map(|row| {
        let (pid, seconds) = row.trim().split_once(char::is_whitespace).expect("two columns");
        (pid.parse().expect("a pid"), seconds.trim().parse().expect("seconds"))
    });
    rows.collect()
}

/// Compares a process' memory with `/proc`, at a moment at which it holds still.
fn judge_memory(daemon: &Daemon, container: &Container, pid: u32) {
    let figures = wait::until("a moment at which memory holds still", SEEN_LIMIT, || {
        let kernel = || MEMORY.map(|(_, key)| status_kb(pid, key));
        let (before, scrape, after) = (kernel(), daemon.scrape(), kernel());
        let ours = MEMORY.map(|(kind, _)| {
            of(&scrape, &format!("node_container_memory_{kind}"), container, kind, pid)
        });
        (before == after).then_some((ours, before))
    });
    println!("{}: VmSize, VmRSS, RssFile of {pid}: {:?} kB", container.name, figures.1);
    assert_eq!(figures.0, figures.1, "{}: memory of {pid}", container.name);
}

#[test]
fn each_process_is_told_once_with_the_kernels_figures() {
    if !require_docker() {
        return;
    }
    let docker = Dockerd::start();
    let daemon = Daemon::start(&docker.host(), &[]);
    let quota = ["--cpus", "0.2"];
    let threads = docker.run("threads", &quota, &["threads", "5", "600"]);
    let odd = docker.run("odd", &[], &["named", "600"]);
    let host = docker.run("host-pids", &["--pid", "host"], &["hog", "24", "600"]);
    let parent = docker.run("parent", &[], &["parent", "600"]);
    let nest = docker.run("nest", &[], &["sleep", "600"]);
    docker.exec("nest", &["sleep", "600"]);
    docker.exec("nest", &["headless", "600"]);
    let all = [&threads, &odd, &host, &parent, &nest];

    // One of the container's processes goes into a cgroup that it has made for itself.
    let cgroup = docker.cgroup("nest");
    let pids = wait::until("three processes", SEEN_LIMIT, || {
        let pids = controllers::processes(&cgroup);
        // A process that has just forked is not yet the one that it becomes.
        let ready = pids.iter().all(|&pid| {
            let image = fs::read_to_string(format!("/proc/{pid}/comm"));
            image.is_ok_and(|comm| comm == "workload\n")
        });
        (ready && pids.len() == 3).then_some(pids)
    });
    let inner = Cgroup::at(&format!("{cgroup}/inner/most"));
    let others: Vec<u32> = pids.into_iter().filter(|&pid| pid != docker.pid("nest")).collect();
    let headless = *others.iter().find(|&&pid| is_headless(pid)).expect("the headless process");
    let mover = *others.iter().find(|&&pid| pid != headless).expect("the other one");
    inner.admit(mover);
    sleep(Duration::from_secs(2));

    for container in all {
        let pids = judge(&docker, &daemon, container);
        let (first, expected) = (docker.pid(&container.name), container.name == "nest");
        assert_eq!(pids.len(), if expected { 3 } else { 1 }, "{}: {pids:?}", container.name);
        assert!(pids.contains(&first), "{}: {first} of {pids:?}", container.name);
        judge_memory(&daemon, container, first);
    }
    assert_eq!(status_kb(headless, "VmRSS"), None, "a first thread that ended has no memory");
    judge_memory(&daemon, &nest, headless);
    judge_memory(&daemon, &nest, mover);

    let scrape = daemon.scrape();
    let first = docker.pid("parent");
    let waited_for: f64 = ["cutime", "cstime"]
        .iter()
        .filter_map(|kind| of(&scrape, &cpu(kind), &parent, kind, first))
        .sum();
    println!("the child that was waited for used {waited_for} ticks");
    // Each mode is rounded down.
    assert!((8.0..=15.0).contains(&waited_for), "{waited_for} ticks of 100 ms");
    let name = fs::read_to_string(format!("/proc/{}/comm", docker.pid("odd"))).expect("comm");
    assert!(name.contains(") S 3"), "its name is odd indeed: {name:?}");
    assert_eq!(faults(&scrape), [""; 0]);
    assert_eq!(success(&scrape, "process"), Some(true));
    // It lies in the container's: it goes first, and so must what is in it.
    drop(inner);
    daemon.stop();
}

/// Whether the first thread has ended, and others go on.
fn is_headless(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    status.contains("State:\tZ") && status.contains("Threads:\t2")
}

#[test]
fn containers_without_a_process_and_frozen_ones_are_no_fault() {
    if !require_docker() {
        return;
    }
    let docker = Dockerd::start();
    let daemon = Daemon::start(&docker.host(), &[]);
    docker.create("created", &["sleep", "600"]);
    let exited = docker.run("exited", &[], &["sleep", "600"]);
    let exited_pid = docker.pid("exited");
    let frozen = docker.run("frozen", &["--cpus", "0.3"], &["burn", "600"]);
    let frozen_pid = docker.pid("frozen");
    sleep(Duration::from_secs(1));
    docker.docker(&["pause", "frozen"]);
    daemon.scrape_until("its processes", SEEN_LIMIT, |scrape| {
        of(scrape, &cpu("utime"), &exited, "utime", exited_pid).is_some()
    });
    docker.docker(&["kill", "exited"]);

    let usage = [("name", "exited")];
    let scrape = daemon.scrape_until("end of the process", SEEN_LIMIT, |scrape| {
        told(scrape, &cpu("utime"), &exited).is_empty()
    });
    assert!(scrape.get("container_cpu_usage_seconds_total", &usage).is_some(), "it is retained");
    for kind in TIMES {
        let pids = told(&scrape, &cpu(kind), &frozen);
        assert_eq!(pids, [frozen_pid].into(), "{kind} of a frozen process");
    }
    judge_memory(&daemon, &frozen, frozen_pid);
    let held = || of(&daemon.scrape(), &cpu("utime"), &frozen, "utime", frozen_pid);
    let (before, now) = (held(), (sleep(Duration::from_millis(500)), held()).1);
    assert!(before.is_some_and(|ticks| ticks > 5.0) && before == now, "{before:?}, {now:?}");
    let named = |name| scrape.growing().any(|sample| sample.labels.get("name") == Some(&name));
    assert!(!named("created".to_owned()), "it never ran");
    assert_eq!(faults(&daemon.scrape()), [""; 0]);
    assert_eq!(success(&scrape, "process"), Some(true));
    assert_eq!(success(&scrape, "cgroup"), Some(true));
    docker.docker(&["unpause", "frozen"]);
    daemon.stop();
}

#[test]
fn beyond_the_limit_the_lowest_pids_are_told_and_the_rest_is_counted() {
    if !require_docker() {
        return;
    }
    let docker = Dockerd::start();
    let daemon = Daemon::start(&docker.host(), &["--collector.process.max-pids", "3"]);
    let family = docker.run("family", &[], &["family", "7", "600"]);
    let cgroup = docker.cgroup("family");
    let mut pids = wait::until("the family", SEEN_LIMIT, || {
        Some(controllers::processes(&cgroup)).filter(|pids| pids.len() == 8)
    });
    pids.sort_unstable();
    daemon.scrape_until("its name", SEEN_LIMIT, |scrape| {
        !told(scrape, &cpu("utime"), &family).is_empty()
    });
    let before = missing(&daemon.scrape(), "process", "left_out");
    let scrape = daemon.scrape();
    let left_out = missing(&scrape, "process", "left_out") - before;
    assert_eq!(told(&scrape, &cpu("utime"), &family), pids[..3].iter().copied().collect());
    assert!((left_out - 5.0).abs() < 0.5, "five of eight are left out of a scrape: {left_out}");
    assert_eq!(success(&scrape, "process"), Some(true), "the operator wanted it so");
    daemon.stop();
}

/// The daemon as `nobody` with two capabilities; `hide` mounts a `/proc` of its own that
/// hides other users' processes.
fn without_rights(scratch: &Scratch, hide: bool) -> Command {
    // Where anybody may execute it.
    let binary = scratch.join("slicemeter");
    fs::copy(daemon::binary(), &binary).expect("a copy of the binary");
    let mut command = bound_command("TERM", "unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c"]);
    let mount = if hide { "mount -t proc -o hidepid=2 proc /proc && " } else { "" };
    command.arg(format!("{mount}exec \"$0\" \"$@\""));
    command.args(["setpriv", "--pdeathsig", "TERM", "--no-new-privs", "--clear-groups"]);
    command.args(["--reuid=65534", "--regid=65534"]);
    for set in ["--bounding-set", "--inh-caps", "--ambient-caps"] {
        command.arg(format!("{set}=-all,+bpf,+perfmon"));
    }
    command.arg("--").arg(binary).env_remove("DOCKER_HOST").stdin(Stdio::null());
    command
}

#[test]
fn what_may_not_be_seen_is_counted_and_everything_else_is_told() {
    if !require_docker() {
        return;
    }
    let docker = Dockerd::start();
    let family = docker.run("family", &[], &["family", "4", "600"]);
    let cgroup = docker.cgroup("family");
    wait::until("the family", SEEN_LIMIT, || {
        (controllers::processes(&cgroup).len() == 5).then_some(())
    });
    for hide in [true, false] {
        let scratch = Scratch::new("nobody");
        // The engine's socket is root's: names are missing, too.
        let daemon = Daemon::start_by(without_rights(&scratch, hide), &docker.host(), &[]);
        let before = daemon.scrape();
        let scrape = daemon.scrape();
        let count =
            |reason| missing(&scrape, "process", reason) - missing(&before, "process", reason);
        let labels = [("id", &*family.id)];
        let told = scrape.select("node_container_cpu_utime", &labels).count();
        println!("hidden from it: {hide}; {told} of 5 told; missing {:?}", faults(&scrape));
        let resources = scrape.get("container_memory_usage_bytes", &[("id", &cgroup)]);
        assert!(resources.is_some_and(|bytes| bytes > 0.0), "files of cgroups are everyone's");
        assert_eq!(success(&scrape, "cgroup"), Some(true));
        if hide {
            assert_eq!(told, 0);
            assert!(count("hidden") >= 5.0, "each of them: {:?}", faults(&scrape));
            assert_eq!(success(&scrape, "process"), Some(false));
            assert!(count("vanished") < 0.5, "none of them has gone");
        } else {
            assert_eq!(told, 5);
            assert!(count("hidden") < 0.5, "{:?}", faults(&scrape));
            for (kind, key) in MEMORY {
                let pid = docker.pid("family");
                let labels = [("id", &*family.id), ("type", kind), ("pid", &pid.to_string())];
                let ours = scrape.get(&format!("node_container_memory_{kind}"), &labels);
                assert_eq!(ours, status_kb(pid, key), "{kind}");
            }
        }
        daemon.stop();
    }
}
