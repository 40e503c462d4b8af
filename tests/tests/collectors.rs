//! Collectors: on, off, asked for one by one, and in both formats.

use std::{collections::BTreeSet, time::Duration};

use slicemeter_tests::{
    collectors::{ALL, faults, success},
    daemon::{Client, Daemon},
    dockerd::Dockerd,
    host::{Need, ready, require_docker},
    metrics::{Exposition, Monotone},
    prometheus::Prometheus,
    wait,
};

const SEEN_LIMIT: Duration = Duration::from_secs(5);

/// Prometheus scrapes each second.
const SCRAPED_LIMIT: Duration = Duration::from_secs(10);

/// One series of each collector's, which a container and the host always have.
const TOKENS: [(&str, &str); 6] = [
    ("cgroup", "container_memory_usage_bytes"),
    ("cpu", "container_cpu_usage_seconds_total"),
    ("docker", "slicemeter_docker_up"),
    ("machine", "machine_cpu_cores"),
    ("network", "slicemeter_network_slots"),
    ("process", "node_container_cpu_utime"),
];

/// Which collectors' series there are.
fn there(scrape: &Exposition) -> BTreeSet<&'static str> {
    let found = TOKENS.into_iter().filter(|(_, name)| scrape.select(name, &[]).next().is_some());
    found.map(|(collector, _)| collector).collect()
}

fn all_but(missing: &[&str]) -> BTreeSet<&'static str> {
    ALL.into_iter().filter(|collector| !missing.contains(collector)).collect()
}

/// Those who say how they fared.
fn reporting(scrape: &Exposition) -> BTreeSet<&'static str> {
    ALL.into_iter().filter(|collector| success(scrape, collector).is_some()).collect()
}

fn durations(scrape: &Exposition) -> Vec<(&'static str, f64)> {
    let of = |collector| {
        let labels = [("collector", collector)];
        Some((collector, scrape.get("slicemeter_collector_duration_seconds", &labels)?))
    };
    ALL.into_iter().filter_map(of).collect()
}

fn engine_with_a_container() -> Dockerd {
    let docker = Dockerd::start();
    docker.run("asked", &["--cpus", "0.5"], &["burst", "5", "50", "600"]);
    docker
}

fn wait_for_name(daemon: &Daemon) {
    daemon.scrape_until("the container", SEEN_LIMIT, |scrape| {
        scrape.get("container_last_seen", &[("name", "asked")]).is_some()
    });
}

#[test]
fn all_succeed_on_a_healthy_host_and_each_is_asked_for_by_name() {
    if !require_docker() {
        return;
    }
    let docker = engine_with_a_container();
    let daemon = Daemon::start(&docker.host(), &[]);
    wait_for_name(&daemon);
    let scrape = daemon.scrape();
    assert_eq!(there(&scrape), all_but(&[]));
    for collector in ALL {
        assert_eq!(success(&scrape, collector), Some(true), "{collector}");
    }
    println!("{:?}", durations(&scrape));
    assert!(durations(&scrape).len() == ALL.len());
    assert!(durations(&scrape).iter().all(|(_, seconds)| (1e-9..1.0).contains(seconds)));
    assert_eq!(faults(&scrape), [""; 0]);

    let client = daemon.client();
    let ask = |query: &str| client.ask(query, &[]);
    for collector in ALL {
        let scrape = ask(&format!("?collect[]={collector}")).parsed();
        assert_eq!(there(&scrape), [collector].into(), "collect[]={collector}");
        assert_eq!(reporting(&scrape), [collector].into(), "collect[]={collector}");
        let scrape = ask(&format!("?exclude[]={collector}")).parsed();
        assert_eq!(there(&scrape), all_but(&[collector]), "exclude[]={collector}");
    }
    let scrape = ask("?collect%5B%5D=process&collect%5B%5D=cpu").parsed();
    assert_eq!(there(&scrape), ["cpu", "process"].into(), "several, as Prometheus writes them");

    let scrapes = daemon.scrape().value("slicemeter_scrapes_total", &[]);
    for (query, named) in [
        ("?collect[]=cgroup&exclude[]=cpu", "exclude"),
        ("?collect[]=disk", "disk"),
        ("?exclude[]=disk", "disk"),
    ] {
        let answer = ask(query);
        println!("{query}: {} {}", answer.status, answer.body.trim());
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.body.contains(named), "it names what is wrong: {}", answer.body);
    }
    let more = daemon.scrape().value("slicemeter_scrapes_total", &[]) - scrapes;
    assert!((more - 1.0).abs() < 0.5, "questions that make no sense are no scrapes: {more}");
    daemon.stop();
}

#[test]
fn what_is_switched_off_is_not_there_and_the_rest_is() {
    if !require_docker() {
        return;
    }
    let docker = engine_with_a_container();
    let cgroup = docker.cgroup("asked");
    for (flags, off) in [
        (&["--no-collector.cgroup"][..], &["cgroup"][..]),
        (&["--no-collector.cpu"], &["cpu"]),
        (&["--no-collector.docker"], &["docker"]),
        (&["--no-collector.machine"], &["machine"]),
        (&["--no-collector.network"], &["network"]),
        (&["--no-collector.process"], &["process"]),
        (
            &["--collector.disable-defaults", "--collector.process", "--collector.docker"],
            &["cgroup", "cpu", "machine", "network"],
        ),
    ] {
        let daemon = Daemon::start(&docker.host(), flags);
        let on = all_but(off);
        // Who the containers are doesn't depend on any of the collectors but Docker's.
        let name = if on.contains("docker") { "asked" } else { "" };
        let series = if on.contains("cgroup") {
            "container_memory_usage_bytes"
        } else {
            "node_container_cpu_utime"
        };
        let scrape = daemon.scrape_until("the container", SEEN_LIMIT, |scrape| {
            scrape.select(series, &[]).any(|sample| {
                let id = sample.labels["id"].as_str();
                // One is the path's last part, the other the path.
                id != "/"
                    && cgroup.ends_with(id)
                    && (name.is_empty() || sample.labels["name"] == name)
            })
        });
        assert_eq!(there(&scrape), on, "{flags:?}");
        assert_eq!(reporting(&scrape), on, "{flags:?}");
        assert_eq!(faults(&scrape), [""; 0], "{flags:?}");
        let log = daemon.log();
        let programs = log.lines().find(|line| line.contains("programs=")).expect("that line");
        println!("{flags:?}: {programs}");
        let is_attached = programs.contains("sched_switch");
        assert_eq!(is_attached, on.contains("cpu"), "{flags:?}: {programs}");
        let asked = daemon.client().ask(&format!("?collect[]={}", off[0]), &[]);
        assert_eq!(asked.status, 400, "{flags:?}: who is off can't be asked: {}", asked.body);
        daemon.stop();
    }
}

#[test]
fn a_container_that_starts_without_the_cpu_collector_is_known_and_goes() {
    if !require_docker() {
        return;
    }
    let docker = Dockerd::start();
    let flags = ["--no-collector.cpu", "--retain-exited", "1s"];
    let daemon = Daemon::start(&docker.host(), &flags);
    docker.run("later", &[], &["sleep", "600"]);
    let labels = [("name", "later")];
    daemon.scrape_until("the container", SEEN_LIMIT, |scrape| {
        scrape.select("node_container_cpu_utime", &labels).count() == 1
            && scrape.get("container_memory_usage_bytes", &labels).is_some()
            && scrape.get("container_start_time_seconds", &labels).is_some()
    });
    docker.remove("later");
    daemon.scrape_until("its end", SCRAPED_LIMIT, |scrape| {
        scrape.get("container_last_seen", &labels).is_none()
    });
    assert_eq!(faults(&daemon.scrape()), [""; 0]);
    daemon.stop();
}

/// What Prometheus 2.5 and later ask for first.
const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0,\
                           application/openmetrics-text;version=0.0.1;q=0.75,\
                           text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// Counters that OpenMetrics has no type for: cAdvisor's name has no `_total`, or the name
/// without it is that of a histogram. They are there all the same, as of unknown type.
const UNTYPED: [&str; 2] =
    ["container_memory_failcnt", "container_cpu_runqueue_wait_seconds_total"];

fn openmetrics(client: &Client) -> Exposition {
    let answer = client.ask("", &[("Accept", OPENMETRICS)]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let parsed = Exposition::parse_openmetrics(&answer.body);
    parsed.unwrap_or_else(|error| panic!("{error} in:\n{}", answer.body))
}

/// Names and labels of everything that only grows, without the bounds of buckets.
fn growing(scrape: &Exposition) -> BTreeSet<String> {
    let series = scrape.growing().filter(|sample| !sample.labels.contains_key("le"));
    series.map(|sample| format!("{}{:?}", sample.name, sample.labels)).collect()
}

#[test]
fn both_formats_tell_the_same_and_prometheus_takes_the_newer() {
    if !ready(&[Need::Kernel, Need::Docker, Need::Prometheus]) {
        return;
    }
    let docker = engine_with_a_container();
    let daemon = Daemon::start(&docker.host(), &[]);
    wait_for_name(&daemon);
    let client = daemon.client();
    let plain = client.ask("", &[]);
    assert_eq!(plain.content_type, "text/plain; version=0.0.4; charset=utf-8");
    for accept in ["text/plain", "*/*", "text/html", "application/openmetrics-text;q=0, */*"] {
        let answer = client.ask("", &[("Accept", accept)]);
        assert_eq!(answer.content_type, plain.content_type, "{accept}");
    }
    let mut monotone = Monotone::default();
    let (mut text, mut open) = (plain.parsed(), openmetrics(&client));
    for _ in 0..5 {
        // One after the other, whatever the format: counters go on.
        (text, open) = (client.scrape(), openmetrics(&client));
        monotone.observe(&open);
    }
    let (of_text, of_open) = (growing(&text), growing(&open));
    let is_typed = |series: &&String| !UNTYPED.iter().any(|name| series.starts_with(name));
    let missing: BTreeSet<_> = of_text.difference(&of_open).filter(is_typed).collect();
    let extra: BTreeSet<_> = of_open.difference(&of_text).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing {missing:?}; extra {extra:?}");
    for name in UNTYPED {
        let count = |scrape: &Exposition| scrape.select(name, &[]).count();
        assert!(count(&open) > 1 && count(&open) == count(&text), "{name}");
    }
    let gauges = ["machine_cpu_cores", "machine_memory_bytes", "slicemeter_docker_up"];
    for gauge in gauges {
        assert_eq!(text.get(gauge, &[]), open.get(gauge, &[]), "{gauge}");
    }

    let prometheus = Prometheus::start(daemon.address());
    wait::until("a scrape", SCRAPED_LIMIT, || {
        let up = prometheus.query("up");
        (up.len() == 1 && up[0].1 > 0.5).then_some(())
    });
    for (name, kind) in [
        ("container_cpu_usage_seconds", "counter"),
        ("container_cpu_usage_seconds_total", "counter"),
        ("container_memory_rss", "gauge"),
        ("node_container_cpu_utime", "gauge"),
        ("container_cpu_slice_seconds", "histogram"),
    ] {
        // Under which of its two names a counter is listed is the server's affair.
        let found = prometheus.kind(name);
        println!("{name}: {found:?}");
        match found {
            Some(found) => assert_eq!(found, kind, "{name}"),
            None => assert!(name.starts_with("container_cpu_usage"), "{name} has no type"),
        }
    }
    let usage = prometheus.query("container_cpu_usage_seconds_total{name=\"asked\"}");
    assert_eq!(usage.len(), 1, "{usage:?}");
    daemon.stop();
}
