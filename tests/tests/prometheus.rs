//! A real Prometheus scrapes the daemon and answers the dashboards' queries.

use std::{thread::sleep, time::Duration};

use slicemeter_tests::{
    daemon::Daemon,
    dockerd::Dockerd,
    host::{Need, ready, steal_seconds},
    prometheus::{Prometheus, promtool_complaints},
};

/// A window of the query and a few scrapes more.
const SCRAPED: Duration = Duration::from_secs(34);

#[test]
fn prometheus_answers_with_the_burners_half_cpu() {
    if !ready(&[Need::Kernel, Need::Docker, Need::Prometheus]) {
        return;
    }
    let docker = Dockerd::start();
    let daemon = Daemon::start(&docker.host(), &[]);
    let options = ["--cpus", "0.5", "--cpu-shares", "262144"];
    docker.run("half", &options, &["burn", "600"]);
    docker.run("idle", &[], &["sleep", "600"]);
    let prometheus = Prometheus::start(daemon.address());
    let stolen = steal_seconds();
    sleep(SCRAPED);

    let query = "sum(rate(container_cpu_usage_seconds_total{name=~\".+\"}[30s])) by (name)";
    let answer = prometheus.query(query);
    println!("{answer:?}; stolen meanwhile: {:.2} s", steal_seconds() - stolen);
    let cores = |name: &str| {
        let one = answer.iter().find(|(labels, _)| labels["name"] == name);
        one.unwrap_or_else(|| panic!("{name} is not in the answer")).1
    };
    // By name, and only what has one: other containers of this host may be there, too.
    assert!(answer.iter().all(|(labels, _)| labels["name"] != ""));
    assert!((cores("half") - 0.5).abs() <= 0.02, "the burner's half");
    assert!(cores("idle") < 0.001, "and the other's nothing");

    for (query, series) in [
        ("count(container_last_seen{image!=\"\",name=~\"half|idle\"})", 2.0),
        ("count(container_cpu_usage_seconds_total{id=\"/\"})", 1.0),
        ("min_over_time(up[30s])", 1.0),
    ] {
        let answer = prometheus.query(query);
        assert!(answer.len() == 1 && (answer[0].1 - series).abs() < 1e-9, "{query}: {answer:?}");
    }
    daemon.stop();
}

#[test]
fn promtool_finds_nothing() {
    if !ready(&[Need::Kernel, Need::Docker, Need::Prometheus]) {
        return;
    }
    let docker = Dockerd::start();
    let daemon = Daemon::start(&docker.host(), &["--cgroups=all"]);
    docker.run("checked", &[], &["sleep", "600"]);
    daemon.scrape_until("the name", Duration::from_secs(5), |scrape| {
        scrape.get("container_last_seen", &[("name", "checked")]).is_some()
    });
    let complaints = promtool_complaints(&daemon.client().scrape_text());
    // No name of cAdvisor's that we took over breaks its rules: see docs/metrics.md.
    assert_eq!(complaints, [""; 0]);
    daemon.stop();
}
