//! Whole command lines: what they become, and how they are refused.

use super::*;
use crate::model::collectors::Collector;
use crate::source::docker::{Endpoint, LabelFilter};

fn parse_words(words: &str) -> Result<(Action, Config), Refusal> {
    parse(std::iter::once("slicemeter").chain(words.split_whitespace()))
}

fn config(words: &str) -> Config {
    parse_words(words).unwrap_or_else(|refusal| panic!("{words}: {refusal}")).1
}

/// The refusal's lines, after checking that it is one of usage.
fn refusal(words: &str) -> String {
    let refusal = parse_words(words).expect_err(words);
    assert_eq!(refusal.exit_code(), exit::Code::Usage, "{words}");
    refusal.to_string()
}

#[test]
fn clap_finds_no_fault_with_the_definition() {
    command().debug_assert();
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let (action, config) = parse_words("--docker.host unix:///var/run/docker.sock").unwrap();
    let expected = Config {
        web: Web {
            listen: "127.0.0.1:10402".parse().unwrap(),
            telemetry_path: TelemetryPath::default(),
            max_requests: NonZeroU16::new(8).unwrap(),
        },
        docker: DockerConfig {
            host: Endpoint::Unix("/var/run/docker.sock".into()),
            timeout: Duration::from_secs(5),
            labels: "com.docker.compose.project,com.docker.compose.project.working_dir,\
                     com.docker.compose.service,io.kubernetes.*"
                .parse()
                .unwrap(),
        },
        collectors: CollectorChoice {
            enabled: Collectors::ALL,
            network: NetworkChoice::default(),
            max_pids: 256,
        },
        cgroups: Cgroups { scope: CgroupScope::Containers, hierarchy: Choice::Auto },
        slots: collector_ebpf::DEFAULT_SLOTS,
        net_slots: collector_ebpf::packets::DEFAULT_NET_SLOTS,
        retention: Retention { exited: Duration::from_mins(2) },
        paths: Paths {
            procfs: "/proc".into(),
            sysfs: "/sys".into(),
            cgroupfs: "/sys/fs/cgroup".into(),
        },
        log: Log { level: LogLevel::Info, format: LogFormat::Logfmt },
    };
    assert_eq!((action, config), (Action::Run, expected));
}

#[test]
fn every_flag_reaches_its_field() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().to_str().unwrap();
    let config = config(&format!(
        "--web.listen-address [::1]:9 --web.telemetry-path /m --web.max-requests 2 \
         --docker.host tcp://h:1 --docker.timeout 250ms --docker.labels a,b.* \
         --collector.disable-defaults --collector.docker --collector.process \
         --collector.process.max-pids 3 --collector.network --collector.network.sockets \
         --collector.network.loopback --collector.network.host-virtual --cgroups all \
         --cgroup.hierarchy cpuacct --slots 8 --network.slots 9 --retain-exited 1h --path.procfs {root} \
         --path.sysfs {root} --path.cgroupfs {root} --log.level trace --log.format json"
    ));
    let root = PathBuf::from(root);
    let expected = Config {
        web: Web {
            listen: "[::1]:9".parse().unwrap(),
            telemetry_path: "/m".parse().unwrap(),
            max_requests: NonZeroU16::new(2).unwrap(),
        },
        docker: DockerConfig {
            host: "tcp://h:1".parse().unwrap(),
            timeout: Duration::from_millis(250),
            labels: "b.*,a".parse().unwrap(),
        },
        collectors: CollectorChoice {
            enabled: [Collector::Docker, Collector::Network, Collector::Process]
                .into_iter()
                .collect(),
            network: NetworkChoice {
                sockets: true,
                choice: network::Choice { loopback: true, host_virtual: true },
            },
            max_pids: 3,
        },
        cgroups: Cgroups { scope: CgroupScope::All, hierarchy: Choice::Cpuacct },
        slots: 8,
        net_slots: 9,
        retention: Retention { exited: Duration::from_hours(1) },
        paths: Paths { procfs: root.clone(), sysfs: root.clone(), cgroupfs: root },
        log: Log { level: LogLevel::Trace, format: LogFormat::Json },
    };
    assert_eq!(config, expected);
}

#[test]
fn collectors_are_switched_by_name_and_the_last_word_counts() {
    for (words, on) in [
        ("", "cgroup, cpu, docker, machine, network, process"),
        ("--no-collector.process", "cgroup, cpu, docker, machine, network"),
        ("--collector.process --no-collector.process", "cgroup, cpu, docker, machine, network"),
        (
            "--no-collector.process --collector.process",
            "cgroup, cpu, docker, machine, network, process",
        ),
        ("--collector.disable-defaults", "none"),
        ("--collector.cpu --collector.disable-defaults", "cpu"),
        ("--collector.disable-defaults --collector.disable-defaults", "none"),
        ("--collector.cpu --collector.disable-defaults --collector.cpu", "cpu"),
        ("--no-collector.cpu --no-collector.cpu", "cgroup, docker, machine, network, process"),
        (
            "--collector.cpu --no-collector.cpu --no-collector.cpu --collector.cpu check",
            "cgroup, cpu, docker, machine, network, process",
        ),
        ("--collector.disable-defaults --no-collector.cpu --collector.cgroup", "cgroup"),
    ] {
        assert_eq!(config(words).collectors.enabled.to_string(), on, "{words}");
    }
    for collector in Collector::ALL {
        let (on, off) = (format!("--collector.{collector}"), format!("--no-collector.{collector}"));
        for (words, is_on) in [
            (format!("{on} {on}"), true),
            (format!("{off} {off}"), false),
            (format!("{on} {off} {on}"), true),
            (format!("{off} {on} {off}"), false),
        ] {
            assert_eq!(config(&words).collectors.enabled.contains(collector), is_on, "{words}");
        }
    }
    assert!(refusal("--collector.disk").contains("unexpected argument"));
}

#[test]
fn switches_of_networks_stand_each_for_itself() {
    let choice = |words: &str| {
        let NetworkChoice { sockets, choice } = config(words).collectors.network;
        [sockets, choice.loopback, choice.host_virtual]
    };
    for (words, expected) in [
        ("--collector.network.sockets", [true, false, false]),
        ("--collector.network.loopback --collector.network.loopback", [false, true, false]),
        ("check --collector.network.host-virtual", [false, false, true]),
        (
            "--collector.network.sockets --no-collector.network --collector.network",
            [true, false, false],
        ),
        (
            "--collector.network.sockets --collector.network.loopback \
             --no-collector.network.sockets",
            [false, true, false],
        ),
        ("--no-collector.network.loopback --collector.network.loopback", [false, true, false]),
        (
            "--collector.network.host-virtual --no-collector.network.host-virtual \
             --no-collector.network.host-virtual",
            [false; 3],
        ),
        ("--no-collector.network --no-collector.network.sockets", [false; 3]),
    ] {
        assert_eq!(choice(words), expected, "{words}");
    }
}

#[test]
fn switches_of_networks_need_their_collector() {
    let slots = format!("--network.slots {}", collector_ebpf::packets::DEFAULT_NET_SLOTS);
    let switches =
        ["sockets", "loopback", "host-virtual"].map(|it| format!("--collector.network.{it}"));
    for words in switches.iter().chain([&slots]) {
        let flag = words.split(' ').next().unwrap();
        for off in ["--no-collector.network", "--collector.disable-defaults --collector.cpu"] {
            let text = refusal(&format!("{off} {words}"));
            let line =
                format!("error: {flag}: it needs the collector network, which is switched off");
            assert!(text.starts_with(&line), "{text}");
            assert_eq!(text.matches("error: ").count(), 1, "{text}");
        }
    }
}

#[test]
fn flags_work_on_both_sides_of_the_command() {
    for words in ["--slots 9 check", "check --slots 9"] {
        let (action, config) = parse_words(words).unwrap();
        assert_eq!((action, config.slots), (Action::Check, 9), "{words}");
    }
    assert!(refusal("check --path.procfs /absent").contains("No such file"), "found after it too");
}

#[test]
fn limits_are_inclusive() {
    assert_eq!(config("--slots 1").slots, 1);
    assert_eq!(config("--slots 65536").slots, collector_ebpf::MAX_SLOTS);
    assert_eq!(config("--network.slots 1").net_slots, 1);
    let most = collector_ebpf::packets::MAX_NET_SLOTS;
    assert_eq!(config("--network.slots 65536").net_slots, most);
    assert_eq!(config("--web.max-requests 1024").web.max_requests.get(), 1_024);
    assert_eq!(config("--retain-exited 1s").retention.exited, Duration::from_secs(1));
    assert_eq!(config("--docker.timeout 1m").docker.timeout, Duration::from_mins(1));
    assert_eq!(config("--docker.labels=").docker.labels, LabelFilter::default());
}

#[test]
fn wrong_values_name_the_flag_and_the_reason() {
    for (words, reason) in [
        ("--web.listen-address 127.0.0.1", "needs a port"),
        ("--web.telemetry-path metrics", "must begin with a slash"),
        ("--web.telemetry-path /", "another page is there"),
        ("--web.telemetry-path /readyz/", "another page is there"),
        ("--web.telemetry-path /{path}", "only letters"),
        ("--web.max-requests 0", "from 1 to 1024"),
        ("--web.max-requests 1025", "from 1 to 1024"),
        ("--docker.host ftp://h", "ftp:// is not supported"),
        ("--docker.host=", "needs a scheme"),
        ("--docker.timeout 99ms", "from 100ms to 1m"),
        ("--docker.timeout 61s", "from 100ms to 1m"),
        ("--docker.timeout 5", "no duration"),
        ("--docker.labels a,,b", "empty"),
        ("--docker.labels a*b", "at the end"),
        ("--collector.process.max-pids 0", "from 1 to 65536"),
        ("--slots 0", "from 1 to 65536"),
        ("--slots 65537", "from 1 to 65536"),
        ("--network.slots 0", "from 1 to 65536"),
        ("--network.slots 65537", "from 1 to 65536"),
        ("-1", "unexpected argument"),
        ("--slots=-1", "from 1 to 65536"),
        ("--slots many", "from 1 to 65536"),
        ("--retain-exited 0s", "from 1s to 1h"),
        ("--retain-exited 3601s", "from 1s to 1h"),
        ("--path.procfs proc", "must be absolute"),
        ("--path.sysfs /absent", "No such file"),
        ("--path.cgroupfs /proc/version", "not a directory"),
        ("--cgroups some", "[possible values: containers, all]"),
        ("--cgroup.hierarchy v3", "[possible values: auto, unified, cpuacct]"),
        ("--log.level loud", "[possible values: error, warn, info, debug, trace]"),
        ("--log.format xml", "[possible values: logfmt, json]"),
        ("--web.listen", "unexpected argument"),
        ("serve", "unrecognized subcommand"),
    ] {
        let text = refusal(words);
        let flag = words.split([' ', '=']).next().unwrap();
        assert!(text.contains(reason) && text.contains(flag), "{words}: {text}");
    }
}

#[test]
fn everything_wrong_is_said_at_once_a_line_each() {
    let text = refusal("--slots 0 --retain-exited 0s --web.telemetry-path x --path.sysfs /absent");
    let errors: Vec<_> = text.lines().filter(|line| line.starts_with("error: --")).collect();
    assert_eq!(errors.len(), 4, "{text}");
    assert_eq!(errors[1], "error: --slots=\"0\": it must be a whole number from 1 to 65536");
}

#[test]
fn help_and_version_are_no_failures() {
    for words in ["--help", "-h", "--version", "check --help", "help"] {
        let refusal = parse_words(words).unwrap_err();
        assert_eq!(refusal.exit_code(), exit::Code::Success, "{words}");
    }
}
