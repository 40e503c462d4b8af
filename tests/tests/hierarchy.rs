//! The tree of cgroups: v1's chain, and cgroups inside of containers.

use std::{thread::sleep, time::Duration};

use slicemeter_tests::{
    cgroup::{Cgroup, kernel_usage_seconds},
    compare::Reading,
    daemon::Daemon,
    host::{Need, ready, require_kernel},
    scratch::Scratch,
};

const USAGE: &str = "container_cpu_usage_seconds_total";

const SEEN_LIMIT: Duration = Duration::from_secs(5);

/// What is uncertain at the edges (a tick of 10 ms at most, at one of them) of the burner's
/// two and a half seconds.
const BURNER_TOLERANCE: f64 = 0.004;

/// What is left of the slice in which a process enters its cgroup, and a tick at its end.
const ENTRY_SECONDS: f64 = 0.003;

#[test]
fn a_burner_is_accounted_by_v1s_hierarchy_where_that_is_chosen() {
    if !ready(&[Need::Kernel, Need::Cpuacct]) {
        return;
    }
    let arguments = ["--cgroups=all", "--cgroup.hierarchy=cpuacct"];
    let daemon = Daemon::start_without_docker(&arguments);
    // The unified hierarchy knows nothing of it.
    let (scratch, cgroup) = (Scratch::new("v1"), Cgroup::new_in_v1("v1"));
    cgroup.set_quota_percent(50);
    let _burner = cgroup.spawn(&["burn", "600"], &scratch.join("log"));
    daemon.scrape_until("series of the burner", SEEN_LIMIT, |scrape| {
        scrape.get(USAGE, &[("id", cgroup.path())]).is_some_and(|value| value > 0.1)
    });
    let before = Reading::take(&daemon, cgroup.path());
    sleep(Duration::from_secs(5));
    let difference = Reading::take(&daemon, cgroup.path()).since(&before);
    assert!(difference.kernel > 1.0, "the burner did not get its half: {difference:?}");
    difference.assert_within("burner by cpuacct, 5 s", BURNER_TOLERANCE);
    daemon.stop();
}

#[test]
fn a_process_counts_in_the_innermost_container_around_its_cgroup() {
    if !require_kernel() {
        return;
    }
    let daemon = Daemon::start_without_docker(&[]);
    let outer = Cgroup::at(&format!("/docker/{:064x}", 0xabc));
    let deep = Cgroup::at(&format!("{}/a/b", outer.path()));
    let inner = Cgroup::at(&format!("{}/docker/{:064x}", outer.path(), 0xdef));
    let inside = Cgroup::at(&format!("{}/c", inner.path()));
    let scratch = Scratch::new("nested");
    let mut processes: Vec<_> = [(&outer, "50"), (&deep, "100"), (&inner, "150"), (&inside, "200")]
        .into_iter()
        .map(|(cgroup, ms)| cgroup.spawn(&["spin-ms", ms], &scratch.join("log")))
        .collect();
    for process in &mut processes {
        assert!(process.wait(SEEN_LIMIT).success());
    }

    let scrape = daemon.scrape();
    let kernel_inner = kernel_usage_seconds(inner.path());
    let kernel_outer = kernel_usage_seconds(outer.path()) - kernel_inner;
    for (container, kernel, least) in [(&outer, kernel_outer, 0.140), (&inner, kernel_inner, 0.340)]
    {
        let ours = scrape.value(USAGE, &[("id", container.path())]);
        println!("{}: ours {ours:.6} s, the kernel's {kernel:.6} s", container.path());
        // Without what the shells used before they entered.
        assert!(kernel >= least, "it ran where it should: {kernel}");
        // Of two processes each.
        assert!((ours - kernel).abs() <= 2.0 * ENTRY_SECONDS, "{ours} against {kernel}");
    }
    let ids: Vec<&str> = scrape
        .select(USAGE, &[])
        .map(|sample| &*sample.labels["id"])
        .filter(|id| id.starts_with(outer.path()))
        .collect();
    assert_eq!(ids, [outer.path(), inner.path()], "what is inside has no series of its own");
    daemon.stop();
}
