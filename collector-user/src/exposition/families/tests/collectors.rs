//! Which families a scrape of some collectors shows, and how these are said to have fared.

use super::*;
use crate::model::{losses::Reason, network::Role};

#[test]
fn a_scrape_of_some_collectors_shows_only_theirs_and_what_is_always_told() {
    for collector in Collector::ALL {
        let collectors = Collectors::NONE.with(collector);
        let parts = Parts { collectors, ..fixture::scrape(fixture::snapshot()).parts };
        let parts = Parts { readings: fixture::readings(), ..parts };
        let text = rendered(Scrape::new(parts), Format::Text);
        for family in all() {
            let is_shown = text.contains(&format!("\n# TYPE {} ", family.name));
            let is_wanted = family.collectors == ALWAYS || family.collectors.meets(collectors);
            // Always there, but it has something to say of those who read files only.
            let is_wanted = is_wanted
                && (family.name != "slicemeter_collector_missing_total" || collector.reads_files());
            assert_eq!(is_shown, is_wanted, "{} with {collector} alone", family.name);
        }
        let told: Vec<_> = samples(&text)
            .into_iter()
            .filter(|it| it.name == "slicemeter_collector_success")
            .map(|it| it.labels["collector"].clone())
            .collect();
        assert_eq!(told, [collector.name()]);
    }
}

#[test]
fn a_collector_that_says_nothing_had_no_success() {
    let parts = fixture::scrape(fixture::snapshot()).parts;
    let text =
        rendered(Scrape::new(Parts { readings: Readings::default(), ..parts }), Format::Text);
    assert!(text.contains("\nslicemeter_collector_success{collector=\"cgroup\"} 0\n"));
    assert!(text.contains("\nslicemeter_collector_success{collector=\"cpu\"} 1\n"));
    assert!(!text.contains("slicemeter_collector_duration_seconds{collector=\"cgroup\"}"));
    let missing = |collector, reason| {
        format!(
            "\nslicemeter_collector_missing_total{{collector=\"{collector}\",reason=\"{reason}\"}}"
        )
    };
    let zero = format!("{} 0\n", missing("cgroup", "stuck"));
    assert!(text.contains(&zero), "it can only grow from what is there");
    for (collector, reason) in [("cgroup", "left_out"), ("machine", "hidden"), ("cpu", "late")] {
        assert!(!text.contains(&missing(collector, reason)), "{collector} is never {reason}");
    }
}

#[test]
fn what_should_not_be_missing_and_is_shows() {
    let parts = fixture::scrape(fixture::snapshot()).parts;
    let mut readings = fixture::readings();
    readings.losses.count(Collector::Machine, Reason::Hidden);
    let text = rendered(Scrape::new(Parts { readings, ..parts }), Format::Text);
    let line = "slicemeter_collector_missing_total{collector=\"machine\",reason=\"hidden\"} 1\n";
    assert!(text.contains(line));
}

/// Containers are asked for their networks between scrapes, too.
#[test]
fn what_was_missing_between_scrapes_is_told_with_the_rest() {
    let line = "slicemeter_collector_missing_total{collector=\"network\",reason=\"vanished\"}";
    let text = text(fixture::snapshot());
    assert!(text.contains(&format!("\n{line} 7\n")), "3 between scrapes, 4 in them");
}

#[test]
fn without_all_networks_known_the_collector_has_no_success() {
    let success = |snapshot: Snapshot| {
        let samples = samples(&text(snapshot));
        let mut found = samples.iter().filter(|it| {
            it.name == "slicemeter_collector_success" && it.labels["collector"] == "network"
        });
        found.next().expect("one").value > 0.5
    };
    assert!(success(fixture::snapshot()));
    let mut snapshot = fixture::snapshot();
    snapshot.containers[2].role = Some(Role::Unknown);
    assert!(!success(snapshot.clone()), "a living one's is not known");
    snapshot.containers[2].cgroups.clear();
    assert!(success(snapshot), "it has ended");
    let mut snapshot = fixture::snapshot();
    snapshot.network.knows_host = false;
    assert!(!success(snapshot.clone()), "the host's is not known");
    snapshot.network.counts_interfaces = false;
    assert!(success(snapshot), "nothing is counted that would lack it");
}

/// A host without Docker is no lesser host.
#[test]
fn the_life_of_containers_is_told_without_docker_and_without_the_ledger() {
    let names = ["container_last_seen", "container_start_time_seconds"];
    for (collectors, is_told) in [
        (Collectors::ALL.without(Collector::Docker), true),
        (Collectors::ALL.without(Collector::Cpu), true),
        (Collectors::ALL.without(Collector::Docker).without(Collector::Cpu), false),
    ] {
        let parts = Parts { collectors, ..fixture::scrape(fixture::snapshot()).parts };
        let text = rendered(Scrape::new(parts), Format::Text);
        for name in names {
            assert_eq!(text.contains(&format!("\n{name}{{")), is_told, "{name}: {collectors}");
        }
    }
}

/// Its zeroes would look like perfection.
#[test]
fn a_ledger_that_is_off_tells_nothing_of_itself() {
    let collectors = Collectors::ALL.without(Collector::Cpu);
    let parts = Parts { collectors, ..fixture::scrape(fixture::snapshot()).parts };
    let text = rendered(Scrape::new(parts), Format::Text);
    for told in [
        "conservation_residual_ratio",
        "elapsed_cpu_seconds_total",
        "idle_cpu_seconds_total",
        "overflow_cpu_seconds_total",
        "unattributed_cpu_seconds_total",
        "lost_cpu_seconds_total",
        "missed_switches_total",
        "read_retries_total",
        "read_failures_total",
    ] {
        assert!(!text.contains(&format!("slicemeter_{told}")), "{told}");
        let all = self::text(fixture::snapshot());
        assert!(all.contains(&format!("\nslicemeter_{told}")), "{told} with the ledger");
    }
    assert!(text.contains("\nslicemeter_slots{"), "cgroups are followed all the same");
}

#[test]
fn dockers_duration_is_absent_before_its_first_list() {
    let mut snapshot = fixture::snapshot();
    let line = "\nslicemeter_collector_duration_seconds{collector=\"docker\"}";
    assert!(text(snapshot.clone()).contains(line));
    snapshot.docker.list_ns = 0;
    assert!(!text(snapshot).contains(line), "zero would be a lie");
}
