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

/// How often Prometheus scrapes here.
const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);

/// Answers of which the median is judged.
const ANSWERS: usize = 7;

/// `rate()` extrapolates to the window's ends: a scrape more or less among thirty is 3 %
/// of the half, and a period of the quota another 0.3 %.
const TOLERANCE_CORES: f64 = 0.02;

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
    // Single answers jitter with when the scrapes of the window happened to come.
    let mut halves: Vec<f64> = (0..ANSWERS)
        .map(|_| {
            sleep(SCRAPE_INTERVAL);
            let answer = prometheus.query(query);
            answer.iter().find(|(labels, _)| labels["name"] == "half").expect("it is there").1
        })
        .collect();
    halves.sort_by(f64::total_cmp);
    println!("the burner's half, in order: {halves:.4?}");
    assert!((halves[ANSWERS / 2] - 0.5).abs() <= TOLERANCE_CORES, "the burner's half");
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
fn promtool_finds_nothing_but_cadvisors_own_name() {
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
    // One name of cAdvisor's that we took over breaks its rules: see docs/metrics.md.
    let known = "container_memory_failcnt counter metrics should have \"_total\" suffix";
    assert_eq!(complaints, [known]);
    daemon.stop();
}
