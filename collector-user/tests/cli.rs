//! The built binary, as a shell sees it: exit codes, and what goes to which stream.
//!
//! Only what happens before anything is loaded; the daemon at work is tested
//! elsewhere, against a real kernel.

#![forbid(unsafe_code)]

use std::{
    fs::OpenOptions,
    net::TcpListener,
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    process::{Command, Output, Stdio},
};

use slicemeter::{args, exit};

const BINARY: &str = env!("CARGO_BIN_EXE_slicemeter");

/// The binary with these arguments, whatever the environment of the tests.
fn slicemeter(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).env_remove("DOCKER_HOST");
    command
}

/// The binary without capabilities but for those named (`,+bpf`). Stays root, so that
/// it can reach the build directory; without capabilities root is a user like others.
fn unprivileged(capabilities: &str, arguments: &[&str]) -> Command {
    if !is_root() {
        return slicemeter(arguments);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--inh-caps=-all", &format!("--bounding-set=-all{capabilities}"), BINARY])
        .args(arguments)
        .env_remove("DOCKER_HOST");
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether we are root, and this machine lets root use eBPF at all; in CI it has to.
/// Says so where the caller must skip what takes it.
fn bpf_is_permitted() -> bool {
    if !is_root() {
        eprintln!("skipped: only root has the rights that this takes");
        return false;
    }
    let check = run(&mut slicemeter(&["check"]));
    let permitted = code(&check) == 0;
    assert!(permitted || !is_ci(), "CI is set, but slicemeter check fails as root: {check:?}");
    if !permitted {
        eprintln!("skipped: eBPF is not permitted here (slicemeter check says why)");
    }
    permitted
}

/// Whether nobody reads what is skipped; the rule of `cargo xtask test`.
fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(&*value, "" | "0" | "false"))
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().expect("the program starts")
}

/// The exit code; a signal has none and fails the test.
fn code(output: &Output) -> u8 {
    let code = output.status.code().unwrap_or_else(|| panic!("killed: {output:?}"));
    u8::try_from(code).expect("exit codes have 8 bits")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("UTF-8")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("UTF-8")
}

/// A sysfs in which the kernel describes nothing.
fn sysfs_without_btf() -> (tempfile::TempDir, String) {
    let root = tempfile::tempdir().expect("a directory");
    let flag = format!("--path.sysfs={}", root.path().display());
    (root, flag)
}

#[test]
fn a_wrong_command_line_is_64_with_a_reason_and_nothing_on_stdout() {
    for (arguments, reason) in [
        (vec!["--no-such-flag"], "--no-such-flag"),
        (vec!["serve"], "serve"),
        (vec!["--slots=0"], "--slots=\"0\": it must be a whole number from 1 to 65536"),
        (vec!["check", "--log.level=loud"], "--log.level"),
        (vec!["--web.listen-address=nowhere"], "--web.listen-address"),
        (vec!["check", "--path.procfs=/no/such/dir"], "No such file or directory"),
    ] {
        let output = run(&mut slicemeter(&arguments));
        assert_eq!(code(&output), 64, "{arguments:?}");
        assert_eq!(stdout(&output), "", "{arguments:?}");
        assert!(stderr(&output).contains(reason), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn a_wrong_docker_host_in_the_environment_is_named_as_such() {
    let output = run(slicemeter(&["check"]).env("DOCKER_HOST", "ssh://elsewhere"));
    assert_eq!(code(&output), 64);
    let expected = "error: DOCKER_HOST=\"ssh://elsewhere\" (for --docker.host): ";
    assert!(stderr(&output).starts_with(expected), "{}", stderr(&output));
}

#[test]
fn docker_host_is_a_default_that_flags_override_and_empty_is_unset() {
    let socket = "unix:///no/such/docker.sock";
    for (environment, arguments, host) in [
        (socket, vec!["check"], socket),
        ("", vec!["check"], "unix:///var/run/docker.sock"),
        ("ssh://elsewhere", vec!["check", "--docker.host", socket], socket),
    ] {
        let output = run(slicemeter(&arguments).env("DOCKER_HOST", environment));
        assert!(stdout(&output).contains(host), "{environment:?}: {output:?}");
    }
}

#[test]
fn help_lists_every_flag_and_exit_code() {
    let output = run(&mut slicemeter(&["--help"]));
    assert_eq!((code(&output), stderr(&output)), (0, ""));
    let flags: Vec<_> = args::command()
        .get_arguments()
        .filter(|argument| !argument.is_hide_set())
        .filter_map(|argument| argument.get_long().map(|long| format!("--{long}")))
        .collect();
    assert!(flags.len() > 14, "{flags:?}");
    let codes = exit::Code::ALL.map(|code| format!("{:2}  {}", code.number(), code.meaning()));
    for part in flags.iter().chain(&codes) {
        assert!(stdout(&output).contains(part), "{part} is not in\n{}", stdout(&output));
    }
}

#[test]
fn version_is_the_packages() {
    let output = run(&mut slicemeter(&["--version"]));
    assert_eq!(code(&output), 0);
    assert_eq!(stdout(&output), concat!("slicemeter ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_host_that_has_everything_is_0() {
    if !bpf_is_permitted() {
        return;
    }
    let output = run(&mut slicemeter(&["check"]));
    for subject in [
        "kernel",
        "architecture",
        "BTF",
        "lockdown",
        "capabilities",
        "bpf()",
        "cgroups",
        "networks",
    ] {
        let line = stdout(&output).lines().find(|line| line.contains(&format!(" {subject} ")));
        let line = line.unwrap_or_else(|| panic!("{subject}: {}", stdout(&output)));
        assert!(line.starts_with("fine "), "{line}");
    }
}

#[test]
fn the_two_capabilities_are_all_it_takes() {
    if !bpf_is_permitted() {
        return;
    }
    let output = run(&mut unprivileged(",+bpf,+perfmon", &["check"]));
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(stdout(&output).contains("warning  networks       CAP_SYS_PTRACE"), "{output:?}");
    for (capabilities, flags) in [
        (",+bpf,+perfmon", ["--no-collector.process", "--no-collector.network"]),
        (",+bpf,+perfmon,+sys_ptrace", ["--slots=9", "--network.slots=9"]),
    ] {
        let output = run(&mut unprivileged(capabilities, &["check", flags[0], flags[1]]));
        assert_eq!(code(&output), 0, "{output:?}");
        assert!(!stdout(&output).contains("warning  networks"), "{output:?}");
    }
    let sockets = ["check", "--collector.network.sockets"];
    let output = run(&mut unprivileged(",+bpf,+perfmon,+sys_ptrace", &sockets));
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(stdout(&output).contains("warning  sockets "), "{output:?}");
    assert!(stdout(&output).contains("container_network_socket_* will be missing"), "{output:?}");
    let output = run(&mut unprivileged(",+bpf", &["check"]));
    assert_eq!(code(&output), 77, "{output:?}");
    assert!(stdout(&output).contains("CAP_PERFMON not effective"), "{}", stdout(&output));
    assert!(!stdout(&output).contains("CAP_BPF"), "what is there is not asked for");
}

#[test]
fn without_rights_it_is_77_and_names_them() {
    let output = run(&mut unprivileged("", &["check"]));
    assert_eq!(code(&output), 77, "{output:?}");
    assert!(stdout(&output).contains("CAP_BPF, CAP_PERFMON"), "{}", stdout(&output));
}

#[test]
fn in_a_user_namespace_the_refusal_is_explained() {
    // There, every capability is effective, and none of them reaches the kernel.
    let unshare = |program: &str, argument: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", program, argument]).env_remove("DOCKER_HOST");
        run(&mut command)
    };
    if !bpf_is_permitted() {
        return;
    }
    if !unshare("true", "").status.success() {
        eprintln!("skipped: no user namespace can be made here");
        return;
    }
    let output = unshare(BINARY, "check");
    assert_eq!(code(&output), 77, "{output:?}");
    assert!(stdout(&output).contains("MISSING  bpf()"), "{}", stdout(&output));
    assert!(stdout(&output).contains("fine     capabilities"), "{}", stdout(&output));
}

#[test]
fn in_a_pid_namespace_of_its_own_it_can_run_but_is_warned() {
    if !bpf_is_permitted() {
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", BINARY, "check"]).env_remove("DOCKER_HOST");
    let output = run(&mut command);
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(stdout(&output).contains("warning  pid namespace"), "{}", stdout(&output));
    assert!(stdout(&output).contains("--pid=host"), "{}", stdout(&output));
}

#[test]
fn without_btf_it_is_69() {
    let (_root, sysfs) = sysfs_without_btf();
    let output = run(&mut slicemeter(&["check", &sysfs]));
    assert_eq!(code(&output), 69, "{output:?}");
    assert!(stdout(&output).contains("MISSING  BTF"), "{}", stdout(&output));
}

#[test]
fn everything_missing_is_named_at_once() {
    let (_root, sysfs) = sysfs_without_btf();
    let cgroupfs = tempfile::tempdir().unwrap();
    let cgroupfs = format!("--path.cgroupfs={}", cgroupfs.path().display());
    let docker = "--docker.host=unix:///no/such/docker.sock";
    let output = run(&mut unprivileged("", &["check", &sysfs, &cgroupfs, docker]));
    assert_eq!(code(&output), 69, "the host's lack outweighs: {output:?}");
    for line in ["MISSING  BTF", "MISSING  capabilities", "MISSING  cgroups", "warning  Docker"] {
        assert!(stdout(&output).contains(line), "{line}: {}", stdout(&output));
    }

    // The start itself says the same, in its log.
    let output = run(&mut unprivileged("", &[&sysfs, &cgroupfs, docker]));
    assert_eq!(code(&output), 69, "{output:?}");
    assert_eq!(stdout(&output), "", "nothing is served");
    let logged = stderr(&output);
    for (level, subject) in [
        ("level=error", "BTF"),
        ("level=error", "capabilities"),
        ("level=error", "cgroups"),
        ("level=warn", "Docker"),
    ] {
        let is_it = |line: &str| {
            let mut fields = line.split(' ');
            line.contains(level) && fields.any(|field| field == format!("subject={subject}"))
        };
        assert!(logged.lines().any(is_it), "{subject}: {logged}");
    }
    assert!(!logged.contains("subject=kernel"), "what is fine is no news: {logged}");
}

#[test]
fn a_taken_address_is_71_and_its_reason_is_told_once() {
    if !bpf_is_permitted() {
        return; // The start looks at the host first.
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let output = run(&mut slicemeter(&[&format!("--web.listen-address={address}")]));
    assert_eq!(code(&output), 71, "{output:?}");
    assert_eq!(stdout(&output), "", "nothing is served");
    let logged = stderr(&output);
    for part in [&format!("cannot listen on {address} (choose another with"), "in use"] {
        assert_eq!(logged.matches(part).count(), 1, "{part}: {logged}");
    }
}

#[test]
fn a_docker_socket_of_others_is_a_warning_about_the_group() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("docker.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    let host = format!("--docker.host=unix://{}", path.display());
    let output = run(&mut unprivileged("", &["check", &host]));
    assert!(stdout(&output).contains("may not be opened"), "{}", stdout(&output));
    assert!(stdout(&output).contains("usermod -aG docker"), "{}", stdout(&output));
}

#[test]
fn a_reader_that_goes_away_changes_nothing() {
    let check = code(&run(&mut slicemeter(&["check"])));
    for (argument, expected) in [("check", check), ("--help", 0)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = slicemeter(&[argument]).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((code(&output), stderr(&output)), (expected, ""), "{argument}");
    }
}

#[test]
fn a_full_disk_is_told_or_survived() {
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let child = slicemeter(&["check"]).stdout(full()).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 70, "a report that got lost is no success");
    assert!(stderr(&output).contains("cannot write the report"), "{}", stderr(&output));

    let (_root, sysfs) = sysfs_without_btf();
    let mut child = slicemeter(&[&sysfs]).stdout(Stdio::null()).stderr(full()).spawn().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(69), "a log that got lost changes nothing");
}
