//! Start and stop: exit codes, what people are told, and what stays in the kernel.

use std::{
    fs,
    net::TcpListener,
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use slicemeter_tests::{
    bpf::Objects,
    cgroup::Cgroup,
    compare::Reading,
    daemon::{self, Daemon, NO_DOCKER, run_to_end},
    host::require_kernel,
    process::{Signal, bound_command},
    scratch::Scratch,
    wait,
};

/// The kernel frees programs and maps after a grace period, in the background.
const FREE_LIMIT: Duration = Duration::from_secs(5);

/// Starts the daemon, ends it with `signal`, and demands that the kernel is as before.
/// Returns how it exited.
fn end_by(signal: Signal) -> std::process::ExitStatus {
    let daemon = Daemon::start_without_docker(&[]);
    let objects = Objects::of_process(daemon.pid());
    assert!(!objects.programs.is_empty(), "it has programs: {objects:?}");
    assert!(!objects.maps.is_empty(), "it has maps: {objects:?}");
    assert!(!objects.links.is_empty(), "it is attached: {objects:?}");
    assert_eq!(objects.still_loaded(), objects, "and the kernel says so, too");
    let status = daemon.end(signal);
    let gone = wait::within(FREE_LIMIT, || objects.still_loaded().is_empty().then_some(()));
    assert!(gone.is_some(), "left in the kernel: {:?}", objects.still_loaded());
    status
}

#[test]
fn sigterm_and_sigint_end_it_in_order_and_leave_nothing_in_the_kernel() {
    if !require_kernel() {
        return;
    }
    for signal in [Signal::TERM, Signal::INT] {
        assert_eq!(end_by(signal).code(), Some(0), "{signal:?}");
    }
}

#[test]
fn sigkill_leaves_nothing_in_the_kernel() {
    if !require_kernel() {
        return;
    }
    assert_eq!(end_by(Signal::KILL).signal(), Some(9));
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    if !require_kernel() {
        return;
    }
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let run = run_to_end(&mut daemon::command(&["--web.listen-address", &address]));
    println!("{}", run.stderr);
    assert_eq!(run.code, Some(71), "{run:?}");
    let lines: Vec<&str> = run.stderr.lines().filter(|line| line.contains(&address)).collect();
    assert_eq!(lines.len(), 1, "one line with the address: {run:?}");
    assert!(lines[0].contains("in use"), "it says why: {}", lines[0]);
    assert_eq!(run.stdout, "", "it never said that it serves");
}

/// The daemon's binary without any capability: it can load nothing.
fn without_capabilities(arguments: &[&str]) -> Command {
    let mut command = bound_command("TERM", "setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all", "--"]);
    command.arg(daemon::binary()).args(arguments).env_remove("DOCKER_HOST");
    command
}

#[test]
fn bad_flags_are_refused_before_anything_is_loaded() {
    if !require_kernel() {
        return;
    }
    // Without rights anything but the parsing of flags would end in 77.
    for (arguments, named) in [
        (&["--nonsense"][..], "--nonsense"),
        (&["--slots", "0"], "--slots"),
        (&["--slots", "65537"], "--slots"),
        (&["--slots", "many"], "--slots"),
        (&["--web.listen-address", "nowhere"], "--web.listen-address"),
        (&["--web.telemetry-path", "metrics"], "--web.telemetry-path"),
        (&["--docker.host", "ftp://x"], "--docker.host"),
        (&["--cgroups", "some"], "--cgroups"),
        (&["--retain-exited", "soon"], "--retain-exited"),
        (&["nonsense"], "nonsense"),
    ] {
        let run = run_to_end(&mut without_capabilities(arguments));
        assert_eq!(run.code, Some(64), "{arguments:?}: {run:?}");
        assert!(run.stderr.contains(named), "it names what is wrong: {run:?}");
    }
}

#[test]
fn missing_rights_are_named() {
    if !require_kernel() {
        return;
    }
    for arguments in [&[][..], &["check"]] {
        let run = run_to_end(&mut without_capabilities(arguments));
        println!("{arguments:?}:\n{}{}", run.stdout, run.stderr);
        assert_eq!(run.code, Some(77), "{arguments:?}: {run:?}");
        let said = run.stdout + &run.stderr;
        for capability in ["CAP_BPF", "CAP_PERFMON"] {
            assert!(said.contains(capability), "{capability} is named by {arguments:?}: {said}");
        }
    }
}

/// A user and a group without any right of their own: Linux's `nobody`.
const NOBODY: u32 = 65_534;

/// `CAP_PERFMON` and `CAP_BPF` in the bits of `/proc/PID/status`.
const TWO_CAPABILITIES: &str = "000000c000000000";

#[test]
fn two_capabilities_are_all_that_it_needs_to_run() {
    if !require_kernel() {
        return;
    }
    let scratch = Scratch::new("nobody");
    // Where anybody may execute it.
    let binary = scratch.join("slicemeter");
    fs::copy(daemon::binary(), &binary).expect("a copy of the binary");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--no-new-privs", "--clear-groups"]);
    command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")]);
    for set in ["--bounding-set", "--inh-caps", "--ambient-caps"] {
        command.arg(format!("{set}=-all,+bpf,+perfmon"));
    }
    command.arg("--").arg(binary).env_remove("DOCKER_HOST").stdin(Stdio::null());
    let daemon = Daemon::start_by(command, NO_DOCKER, &["--cgroups=all"]);

    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {status}")).split_whitespace()
    };
    let nobody = NOBODY.to_string();
    assert!(field("Uid:").chain(field("Gid:")).all(|id| id == nobody), "{status}");
    assert!(field("CapEff:").chain(field("CapPrm:")).all(|set| set == TWO_CAPABILITIES));

    // It follows new cgroups, and counts as root does.
    let cgroup = Cgroup::new("nobody");
    cgroup.set_quota_percent(50);
    let _burner = cgroup.spawn(&["burn", "600"], &scratch.join("log"));
    daemon.scrape_until("series of the burner", Duration::from_secs(5), |scrape| {
        scrape
            .get("container_cpu_usage_seconds_total", &[("id", cgroup.path())])
            .is_some_and(|value| value > 0.1)
    });
    let before = Reading::take(&daemon, cgroup.path());
    sleep(Duration::from_secs(2));
    let difference = Reading::take(&daemon, cgroup.path()).since(&before);
    difference.assert_within("burner, told by nobody", 0.01);
    let scrape = daemon.scrape();
    for failure in ["cgroup_walk_errors", "read_failures", "process_read_failures"] {
        assert!(scrape.value(&format!("slicemeter_{failure}_total"), &[]) < 0.5, "{failure}");
    }
    for lacking in ["slicemeter_kernel_memory_bytes", "process_open_fds", "process_max_fds"] {
        assert!(scrape.value(lacking, &[]) > 0.0, "{lacking}");
    }
    println!("{}", daemon.log());
    daemon.stop();
}

#[test]
fn check_finds_this_host_fit_and_loads_nothing_for_good() {
    if !require_kernel() {
        return;
    }
    let run = run_to_end(&mut daemon::command(&["check"]));
    println!("{}{}", run.stdout, run.stderr);
    assert_eq!(run.code, Some(0), "{run:?}");
}
