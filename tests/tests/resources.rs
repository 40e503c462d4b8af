//! What the controllers' files tell: the kernel's values, as `docker stats` has them.
#![expect(clippy::print_stdout, reason = "figures are for whoever runs the tests")]

use std::{thread::sleep, time::Duration};

use slicemeter_tests::{
    collectors::{faults, success},
    controllers::{is_v1, number, processes, stalls, table, text},
    daemon::Daemon,
    dockerd::Dockerd,
    host::require_docker,
    metrics::{Exposition, Monotone},
    stats::{Stats, is_rounded_to},
    wait,
};

const SEEN_LIMIT: Duration = Duration::from_secs(5);

/// How long a container may need to be quiet and have no page in motion.
const STILL_LIMIT: Duration = Duration::from_secs(20);

const PEAK: &str = "container_memory_max_usage_bytes";

const MIB: f64 = 1_048_576.0;

/// A tick: what the kernel's accounting by mode is rounded to.
const TICK_SECONDS: f64 = 0.010;

fn value(scrape: &Exposition, name: &str, container: &str) -> f64 {
    scrape.value(name, &[("name", container)])
}

/// The kernel's memory figures of a cgroup, under our names.
fn kernel_memory(cgroup: &str) -> Vec<(&'static str, f64)> {
    let stat = table(cgroup, "memory", "memory.stat");
    let number = |file| number(cgroup, "memory", file);
    if is_v1("memory") {
        let usage = number("memory.usage_in_bytes");
        vec![
            ("container_memory_usage_bytes", usage),
            ("container_memory_working_set_bytes", usage - stat["total_inactive_file"]),
            ("container_memory_max_usage_bytes", number("memory.max_usage_in_bytes")),
            ("container_memory_rss", stat["total_rss"]),
            ("container_memory_cache", stat["total_cache"]),
            ("container_memory_mapped_file", stat["total_mapped_file"]),
            ("container_memory_kernel_usage", number("memory.kmem.usage_in_bytes")),
            ("container_memory_failcnt", number("memory.failcnt")),
        ]
    } else {
        let usage = number("memory.current");
        let mut figures = vec![
            ("container_memory_usage_bytes", usage),
            ("container_memory_working_set_bytes", usage - stat["inactive_file"]),
            ("container_memory_rss", stat["anon"]),
            ("container_memory_cache", stat["file"]),
            ("container_memory_mapped_file", stat["file_mapped"]),
            ("container_memory_failcnt", table(cgroup, "memory", "memory.events")["max"]),
        ];
        // Since 5.18 and 5.19.
        figures.extend(stat.get("kernel").map(|&it| ("container_memory_kernel_usage", it)));
        if text(cgroup, "memory", "memory.peak").is_some() {
            figures.push(("container_memory_max_usage_bytes", number("memory.peak")));
        }
        figures
    }
}

#[test]
fn memory_is_what_the_kernel_and_docker_stats_say() {
    if !require_docker() {
        return;
    }
    let docker = Dockerd::start();
    let daemon = Daemon::start(&docker.host(), &[]);
    docker.run("limited", &["--memory", "64m"], &["hog", "24", "600"]);
    docker.run("cached", &[], &["cache", "48", "600"]);
    docker.run("family", &[], &["family", "5", "600"]);
    docker.run("threads", &["--cpus", "0.1"], &["threads", "6", "600"]);
    for (name, least_mib) in [("limited", 23.0), ("cached", 47.0), ("family", 0.0)] {
        let cgroup = docker.cgroup(name);
        let (stats, scrape, kernel) = wait::until("a still moment", STILL_LIMIT, || {
            let before = (Stats::of(&docker, name), kernel_memory(&cgroup));
            let scrape = daemon.scrape();
            let after = (kernel_memory(&cgroup), Stats::of(&docker, name));
            let is_still = before.1 == after.0 && same_memory(&before.0, &after.1);
            (is_still && before.1[0].1 >= least_mib * MIB).then_some((before.0, scrape, before.1))
        });
        for (series, expected) in kernel {
            let ours = value(&scrape, series, name);
            println!("{name}: {series} {ours}");
            assert_eq!(ours.to_bits(), expected.to_bits(), "{name}: {series}: not {expected}");
        }
        let ours = value(&scrape, "container_memory_working_set_bytes", name);
        println!("{name}: docker stats shows {} MiB", stats.memory_bytes / MIB);
        assert!(is_rounded_to(ours, stats.memory_bytes), "{name}: {ours} is not {stats:?}");
    }
    let scrape = daemon.scrape();
    let limit = |name| value(&scrape, "container_spec_memory_limit_bytes", name);
    assert!(is_rounded_to(limit("limited"), 64.0 * MIB), "{}", limit("limited"));
    assert!(is_rounded_to(limit("limited"), Stats::of(&docker, "limited").limit_bytes));
    assert!(limit("cached") < 0.5, "0 stands for none: {}", limit("cached"));
    // The kernel's sums trail by some pages a CPU.
    assert!(value(&scrape, "container_memory_cache", "cached") >= 47.0 * MIB);
    assert!(value(&scrape, "container_memory_rss", "limited") >= 23.0 * MIB);

    for (name, tasks, listed) in [("limited", 1.0, 1), ("family", 6.0, 6), ("threads", 7.0, 1)] {
        let shown = Stats::of(&docker, name).pids;
        let threads = value(&scrape, "container_threads", name);
        assert!(
            (threads - tasks).abs() < 0.5 && (threads - shown).abs() < 0.5,
            "{name}: {threads}"
        );
        assert_eq!(processes(&docker.cgroup(name)).len(), listed, "{name}");
        let ours = value(&scrape, "container_processes", name);
        assert!(
            (ours - f64::from(u32::try_from(listed).expect("few"))).abs() < 0.5,
            "{name}: {ours}"
        );
    }
    assert_eq!(faults(&scrape), [""; 0]);
    assert_eq!(success(&scrape, "cgroup"), Some(true));
    daemon.stop();
}

fn same_memory(one: &Stats, other: &Stats) -> bool {
    one.memory_bytes.total_cmp(&other.memory_bytes).is_eq()
}

/// What the kernel has of a quota: periods, throttled periods, throttled seconds.
fn kernel_bandwidth(cgroup: &str) -> [f64; 3] {
    let stat = table(cgroup, "cpu", "cpu.stat");
    let throttled = stat
        .get("throttled_time")
        .map_or_else(|| stat["throttled_usec"] / 1e6, |throttled_ns| throttled_ns / 1e9);
    [stat["nr_periods"], stat["nr_throttled"], throttled]
}

/// User and system time in seconds, by the kernel.
fn kernel_modes(cgroup: &str) -> [f64; 2] {
    if is_v1("cpuacct") {
        // `cpuacct.usage_user` has ns, but of samples at the tick; these add up to the ledger's.
        let stat = table(cgroup, "cpuacct", "cpuacct.stat");
        ["user", "system"].map(|key| stat[key] * TICK_SECONDS)
    } else {
        let stat = table(cgroup, "cpu", "cpu.stat");
        ["user_usec", "system_usec"].map(|key| stat[key] / 1e6)
    }
}

const BANDWIDTH: [&str; 3] = [
    "container_cpu_cfs_periods_total",
    "container_cpu_cfs_throttled_periods_total",
    "container_cpu_cfs_throttled_seconds_total",
];

#[test]
fn a_quota_throttles_and_only_where_there_is_one() {
    if !require_docker() {
        return;
    }
    let docker = Dockerd::start();
    let daemon = Daemon::start(&docker.host(), &[]);
    docker.run("half", &["--cpus", "0.5", "--cpu-shares", "2048"], &["threads", "2", "600"]);
    docker.run("free", &[], &["burst", "10", "100", "600"]);
    let (half, free) = (docker.cgroup("half"), docker.cgroup("free"));
    daemon.scrape_until("both", SEEN_LIMIT, |scrape| {
        ["half", "free"]
            .iter()
            .all(|name| scrape.get("container_threads", &[("name", name)]).is_some())
    });
    let mut monotone = Monotone::default();
    let begun = daemon.scrape();
    for _ in 0..10 {
        sleep(Duration::from_millis(300));
        let before = (kernel_bandwidth(&half), kernel_modes(&half), kernel_modes(&free));
        let scrape = daemon.scrape();
        let after = (kernel_bandwidth(&half), kernel_modes(&half), kernel_modes(&free));
        monotone.observe(&scrape);
        for (index, series) in BANDWIDTH.into_iter().enumerate() {
            let ours = value(&scrape, series, "half");
            assert_between(series, before.0[index], ours, after.0[index], 1e-9);
        }
        for (name, before, after) in [("half", before.1, after.1), ("free", before.2, after.2)] {
            for (index, mode) in ["user", "system"].into_iter().enumerate() {
                let ours = value(&scrape, &format!("container_cpu_{mode}_seconds_total"), name);
                assert_between(mode, before[index], ours, after[index], TICK_SECONDS);
            }
        }
    }
    let scrape = daemon.scrape();
    let grown = |series| value(&scrape, series, "half") - value(&begun, series, "half");
    let [periods, throttled, seconds] = BANDWIDTH.map(grown);
    println!("half: {periods} periods, {throttled} throttled for {seconds:.3} s");
    assert!(periods >= 20.0 && throttled >= periods / 2.0 && seconds > 0.5);
    for series in BANDWIDTH.into_iter().chain(["container_spec_cpu_quota"]) {
        assert_eq!(scrape.get(series, &[("name", "free")]), None, "{series} without a quota");
    }
    for (name, series, expected) in [
        ("half", "container_spec_cpu_quota", 50_000.0),
        ("half", "container_spec_cpu_period", 100_000.0),
        ("free", "container_spec_cpu_period", 100_000.0),
    ] {
        assert!((value(&scrape, series, name) - expected).abs() < 0.5, "{name}: {series}");
    }
    let shares = |name| value(&scrape, "container_spec_cpu_shares", name);
    // v2's weights are coarser than v1's shares.
    assert!((1_950.0..=2_100.0).contains(&shares("half")), "{}", shares("half"));
    assert!((1_000.0..=1_100.0).contains(&shares("free")), "{}", shares("free"));
    assert_pressure(&docker, &daemon, "half");
    assert_eq!(faults(&daemon.scrape()), [""; 0]);
    daemon.stop();
}

fn assert_between(what: &str, least: f64, value: f64, most: f64, tolerance: f64) {
    let range = least - tolerance..=most + tolerance;
    assert!(range.contains(&value), "{what}: {value} of {least} … {most}");
}

/// Stall times against the kernel's, read before and after.
fn assert_pressure(docker: &Dockerd, daemon: &Daemon, name: &str) {
    let cgroup = docker.cgroup(name);
    for resource in ["cpu", "memory", "io"] {
        let before = stalls(&cgroup, resource);
        let scrape = daemon.scrape();
        let after = stalls(&cgroup, resource);
        let series = |kind| format!("container_pressure_{resource}_{kind}_seconds_total");
        let waiting = scrape.get(&series("waiting"), &[("name", name)]);
        let stalled = scrape.get(&series("stalled"), &[("name", name)]);
        let (Some(before), Some(after)) = (before, after) else {
            assert_eq!(
                (waiting, stalled),
                (None, None),
                "this kernel keeps no {resource}.pressure"
            );
            continue;
        };
        let waiting = waiting.expect("it is told");
        println!("{name}: waited for {resource} {waiting:.6} s, all of it {stalled:?}");
        assert_between(resource, before.0, waiting, after.0, 1e-6);
        assert_eq!(before.1.is_some(), stalled.is_some(), "{resource}: full");
        if let (Some(before), Some(stalled), Some(after)) = (before.1, stalled, after.1) {
            assert_between(resource, before, stalled, after, 1e-6);
        }
        if resource == "cpu" {
            assert!(waiting > 0.1, "it competes with itself: {waiting}");
        }
    }
}

#[test]
fn an_oom_kill_shows_and_so_does_each_hit_of_the_limit() {
    if !require_docker() {
        return;
    }
    let docker = Dockerd::start();
    let daemon = Daemon::start(&docker.host(), &[]);
    // Docker allows as much swap again: that is not enough either. (With none allowed, v1
    // counts the hits elsewhere: in `memory.memsw.failcnt`.)
    let options = ["--memory", "16m"];
    docker.run("greedy", &options, &["hog", "64", "600", "--in-child", "0"]);
    docker.run("modest", &options, &["hog", "1", "600", "--in-child", "0"]);
    let oom =
        |scrape: &Exposition, name| scrape.get("container_oom_events_total", &[("name", name)]);
    let scrape = daemon.scrape_until("the kill", STILL_LIMIT, |scrape| {
        oom(scrape, "greedy").is_some_and(|kills| kills >= 1.0) && oom(scrape, "modest").is_some()
    });
    let hits = |name| value(&scrape, "container_memory_failcnt", name);
    println!("greedy: {:?} killed, {} hits of the limit", oom(&scrape, "greedy"), hits("greedy"));
    assert!(oom(&scrape, "greedy").is_some_and(|kills| (kills - 1.0).abs() < 0.5), "one child");
    assert!(hits("greedy") >= 1.0, "the limit was hit: {}", hits("greedy"));
    assert_eq!(oom(&scrape, "modest"), Some(0.0));
    assert!(hits("modest") < 0.5, "{}", hits("modest"));
    for name in ["greedy", "modest"] {
        let limit = value(&scrape, "container_spec_memory_limit_bytes", name);
        assert!(is_rounded_to(limit, 16.0 * MIB), "{name}: {limit}");
    }
    let most = value(&scrape, "container_memory_max_usage_bytes", "greedy");
    assert!((15.0 * MIB..=16.0 * MIB).contains(&most), "it went up to the limit: {most}");
    assert_eq!(faults(&scrape), [""; 0]);
    daemon.stop();
}

#[test]
fn a_container_that_is_started_again_is_read_anew() {
    if !require_docker() {
        return;
    }
    let docker = Dockerd::start();
    let daemon = Daemon::start(&docker.host(), &[]);
    docker.run("phoenix", &["--memory", "64m"], &["hog", "24", "600"]);
    let peak = |scrape: &Exposition| scrape.get(PEAK, &[("name", "phoenix")]);
    daemon.scrape_until("its memory", SEEN_LIMIT, |scrape| peak(scrape) > Some(23.0 * MIB));
    // Its cgroup goes, and another one comes to its path.
    docker.docker(&["stop", "--time", "0", "phoenix"]);
    docker.docker(&["update", "--memory", "32m", "--memory-swap", "32m", "phoenix"]);
    docker.docker(&["start", "phoenix"]);
    let scrape = daemon.scrape();
    let limit = value(&scrape, "container_spec_memory_limit_bytes", "phoenix");
    assert!((limit - 32.0 * MIB).abs() < 0.5, "the new one's limit: {limit}");
    assert!((value(&scrape, "container_processes", "phoenix") - 1.0).abs() < 0.5);
    assert_eq!(faults(&scrape), [""; 0]);
    assert_eq!(success(&scrape, "cgroup"), Some(true));
    docker.docker(&["rm", "--force", "phoenix"]);
    let open = |scrape: &Exposition| scrape.value("process_open_fds", &[]);
    let with = open(&scrape);
    daemon.scrape_until("its files' end", SEEN_LIMIT, |scrape| open(scrape) < with - 8.0);
    daemon.stop();
}
