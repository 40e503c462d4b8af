//! The yardsticks themselves: the workload uses what it says, by the kernel's books, and
//! the private engine and Prometheus start and leave nothing behind. When these fail,
//! no other figure means anything.

use std::{fs, time::Duration};

use slicemeter_tests::{
    cgroup::{Cgroup, kernel_usage_ns, kernel_usage_seconds},
    dockerd::Dockerd,
    host::{Need, ready, require_docker, require_kernel},
    prometheus::{Prometheus, promtool_complaints},
    scratch::Scratch,
};

#[test]
fn the_kernel_books_what_the_workload_uses() {
    if !require_kernel() {
        return;
    }
    let (scratch, cgroup) = (Scratch::new("spin"), Cgroup::new("spin"));
    let mut process = cgroup.spawn(&["spin-ms", "200"], &scratch.join("log"));
    assert!(process.wait(Duration::from_secs(10)).success());
    let seconds = kernel_usage_seconds(cgroup.path());
    println!("spin-ms 200: {seconds:.6} s by the kernel");
    // The shell that became the workload used a little before it moved in.
    assert!((0.190..0.215).contains(&seconds), "{seconds}");
    let path = cgroup.path().to_owned();
    drop(cgroup);
    assert_eq!(kernel_usage_ns(&path), None, "the cgroup is gone");
}

#[test]
fn a_private_engine_runs_containers_and_leaves_nothing_behind() {
    if !require_docker() {
        return;
    }
    let mut docker = Dockerd::start_live_restore();
    let names: Vec<String> = (0..4).map(|n| format!("harness-{n}")).collect();
    let containers = docker.run_many(&names, &["sleep", "60"]);
    assert_eq!(containers.iter().map(|c| c.name.clone()).collect::<Vec<_>>(), names);
    let cgroup = docker.cgroup(&names[0]);
    assert_eq!(cgroup, format!("/docker/{}", containers[0].id));
    let pid = docker.pid(&names[0]);
    docker.stop();
    assert!(kernel_usage_ns(&cgroup).is_some(), "it outlives its engine");
    docker.start_again();
    assert_eq!(docker.pid(&names[0]), pid);
    drop(docker);
    assert_eq!(kernel_usage_ns(&cgroup), None);
    assert!(fs::metadata(format!("/proc/{pid}")).is_err());
}

#[test]
fn a_private_prometheus_answers() {
    if !ready(&[Need::Prometheus]) {
        return;
    }
    let prometheus = Prometheus::start("127.0.0.1:1");
    let one = prometheus.query("vector(1)");
    assert_eq!(one.len(), 1);
    assert!((one[0].1 - 1.0).abs() < f64::EPSILON);
    let complaints = promtool_complaints("# TYPE a counter\na 1\n");
    assert!(complaints.iter().any(|line| line.contains("_total")), "{complaints:?}");
    assert_eq!(
        promtool_complaints("# HELP a_total A.\n# TYPE a_total counter\na_total 1\n").len(),
        0
    );
}
