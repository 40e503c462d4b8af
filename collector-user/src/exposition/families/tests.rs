//! The text as a scraper reads it: golden, parsed back, and against the table.

mod collectors;
mod networks;
mod whole;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use prometheus::{TextEncoder, proto::MetricFamily};
use proptest::prelude::*;

use self::whole::whole;
use super::{fixture, rendering::SERIES_PER_PIECE, *};
use crate::{
    exposition::{docs::matches_file, format::Format},
    model::{
        container::{ContainerId, ContainerMeta},
        network::{Device, Traffic},
        processes::CpuTicks,
        snapshot::ContainerView,
    },
};

/// A line of the text format.
#[derive(Debug, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

fn text(snapshot: Snapshot) -> String {
    rendered(fixture::scrape(snapshot), Format::Text)
}

fn rendered(scrape: Scrape, format: Format) -> String {
    let text = Rendering::new(scrape, format).flat_map(|chunk| chunk.expect("renders")).collect();
    String::from_utf8(text).expect("UTF-8")
}

/// The families of a scrape that have samples, by name.
fn families(scrape: &Scrape) -> Vec<MetricFamily> {
    all().into_iter().filter(|it| scrape.shows(it)).filter_map(|it| whole(it, scrape)).collect()
}

fn samples(text: &str) -> Vec<Sample> {
    text.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

/// Reads a line as the format's description has it, and panics on anything else.
fn sample(line: &str) -> Sample {
    let (head, value) = line.rsplit_once(' ').expect("a value");
    let value = value.parse().expect("a number");
    let Some((name, rest)) = head.split_once('{') else {
        return Sample { name: head.to_owned(), labels: BTreeMap::new(), value };
    };
    let mut labels = BTreeMap::new();
    let mut rest = rest;
    while rest != "}" {
        let (label, quoted) = rest.trim_start_matches(',').split_once("=\"").expect("a label");
        let mut content = String::new();
        let mut chars = quoted.chars();
        loop {
            match chars.next().expect("a closing quote") {
                '"' => break,
                '\\' => content.push(match chars.next().expect("an escaped character") {
                    'n' => '\n',
                    other @ ('"' | '\\') => other,
                    other => panic!("\\{other} is no escape"),
                }),
                other => content.push(other),
            }
        }
        assert_eq!(labels.insert(label.to_owned(), content), None, "label twice in {line}");
        rest = chars.as_str();
    }
    Sample { name: name.to_owned(), labels, value }
}

fn with_container(meta: ContainerMeta) -> Snapshot {
    let container = ContainerView {
        path: "/docker/ab".into(),
        id: ContainerId::new("ab"),
        meta: Some(Arc::new(meta)),
        first_seen_ms: 1,
        last_seen_ms: 2,
        usage: Usage::default(),
        cgroups: Vec::new(),
        role: None,
        interfaces: Vec::new(),
    };
    Snapshot { containers: vec![container], ..Snapshot::default() }
}

/// The samples of [`with_container`]'s container under a name.
fn of_container(snapshot: Snapshot, name: &str) -> Vec<Sample> {
    let mut samples = samples(&text(snapshot));
    samples.retain(|it| it.name == name && it.labels["id"] == "/docker/ab");
    samples
}

#[test]
fn the_whole_text_is_as_recorded() {
    let text = text(fixture::snapshot());
    matches_file("src/exposition/testdata/metrics.txt", &text);
}

#[test]
fn openmetrics_is_as_recorded() {
    let text = rendered(fixture::scrape(fixture::snapshot()), Format::OpenMetrics);
    matches_file("src/exposition/testdata/metrics.openmetrics.txt", &text);
}

#[test]
fn both_formats_show_the_same_samples() {
    let [text, open] = [Format::Text, Format::OpenMetrics]
        .map(|format| samples(&rendered(fixture::scrape(fixture::snapshot()), format)));
    assert!(text.len() > 300);
    assert_eq!(text, open);
}

/// A suffix of a sample's name is one that the type of its family has.
#[test]
fn in_openmetrics_samples_are_named_after_the_family_they_are_in() {
    let text = rendered(fixture::scrape(fixture::snapshot()), Format::OpenMetrics);
    assert!(text.ends_with("\n# EOF\n"));
    assert_eq!(text.matches("# EOF").count(), 1);
    let (mut name, mut kind, mut told) = (String::new(), String::new(), BTreeSet::new());
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (found, of) = rest.split_once(' ').expect("a type");
            assert_eq!(found, name, "HELP comes first, of the same family");
            kind = of.to_owned();
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            name = rest.split(' ').next().expect("a name").to_owned();
            assert!(told.insert(name.clone()), "{name} twice");
        } else {
            let suffixes: &[&str] = match &*kind {
                "counter" => &["_total"],
                "histogram" => &["_bucket", "_count", "_sum"],
                "gauge" | "unknown" => &[""],
                other => panic!("{other}"),
            };
            let suffix = sample(line).name.strip_prefix(&name).map(str::to_owned);
            assert!(suffix.is_some_and(|it| suffixes.contains(&&*it)), "{kind} {name}: {line}");
        }
    }
}

/// The values of a gauge by the labels that tell its samples apart.
fn by_id(scrape: Scrape, family: &str) -> BTreeMap<(String, String), f64> {
    let of = |label: &str, sample: &Sample| sample.labels.get(label).cloned().unwrap_or_default();
    samples(&rendered(scrape, Format::Text))
        .iter()
        .filter(|it| it.name == family)
        .map(|it| ((of("id", it), of("pid", it)), it.value))
        .collect()
}

#[test]
fn a_container_id_at_two_places_makes_no_series_twice() {
    let mut snapshot = fixture::snapshot();
    let id = snapshot.containers[0].id.as_str().to_owned();
    let mut twin = snapshot.containers[0].clone();
    twin.path = format!("{}/docker/{id}", twin.path).into();
    snapshot.containers.insert(1, twin.clone());
    let mut readings = fixture::readings();
    let mut read = readings.processes.values().next().expect("one").clone();
    read.processes[0].times = Some(CpuTicks::default());
    read.processes.push(Process { pid: 9, times: Some(CpuTicks::default()), ..read.processes[0] });
    let traffic = Traffic { rx_bytes: 1, ..Traffic::default() };
    let device = Device { name: "eth0".into(), traffic, ..Device::default() };
    readings.devices.insert(twin.path.clone(), vec![device]);
    readings.processes.insert(twin.path, read);
    let scrape = || {
        let parts = Parts { readings: readings.clone(), ..fixture::scrape(snapshot.clone()).parts };
        Scrape::new(parts)
    };
    let text = rendered(scrape(), Format::Text);
    let series: Vec<_> = text.lines().filter_map(|line| Some(line.rsplit_once(' ')?.0)).collect();
    let different: BTreeSet<_> = series.iter().filter(|it| !it.starts_with('#')).collect();
    assert_eq!(series.iter().filter(|it| !it.starts_with('#')).count(), different.len());
    let utime = by_id(scrape(), "node_container_cpu_utime");
    let expected = [("4001", 1_234.0), ("4002", 0.0), ("9", 0.0)]
        .map(|(pid, value)| ((id.clone(), pid.to_owned()), value));
    assert_eq!(utime, expected.into(), "the first by path is told of, and all others");
    let received = by_id(scrape(), "node_container_net_rxbytes");
    let whole = ((id, String::new()), 38.0 * 654_321.0 + 1.0);
    assert_eq!(received, [(("/".into(), String::new()), 65_432_100.0), whole].into());
}

#[test]
fn every_help_text_names_the_source() {
    let text = text(fixture::snapshot());
    for family in all() {
        let line = format!("# HELP {} {} From {}.\n", family.name, family.help, family.source);
        assert!(text.contains(&line), "{line}");
    }
}

#[test]
fn without_waits_no_series_tells_of_them() {
    let mut snapshot = fixture::snapshot();
    snapshot.ledger.waits_known = false;
    let text = text(snapshot);
    assert!(!text.contains("runqueue_wait"), "zeroes would be a lie");
}

#[test]
fn every_family_has_samples_with_exactly_its_labels() {
    let families = families(&fixture::scrape(fixture::snapshot()));
    let named: Vec<_> = families.iter().map(MetricFamily::name).collect();
    let described: Vec<_> = all().iter().map(|family| family.name).collect();
    assert_eq!(named, described, "the fixture shows every family, by name");
    assert!(named.is_sorted_by(|a, b| a < b), "no name twice");
    for (family, built) in all().into_iter().zip(&families) {
        let mut seen = BTreeSet::new();
        for metric in built.get_metric() {
            for label in metric.get_label() {
                let own = label.name().starts_with("container_label_");
                seen.insert(if own { "container_label_*" } else { label.name() });
            }
        }
        let described = family.labels.iter().copied().collect();
        assert_eq!(seen, described, "labels of {}", family.name);
    }
}

#[test]
fn no_series_appears_twice() {
    let text = text(fixture::snapshot());
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').expect("a value");
        assert!(seen.insert(series), "{series} twice");
    }
}

#[test]
fn of_labels_that_collide_the_first_stays() {
    let labels = [("a.b", "first"), ("a_b", "second"), ("c", "third")];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let meta = ContainerMeta { labels, ..ContainerMeta::default() };
    let found = of_container(with_container(meta), "container_last_seen");
    assert_eq!(found[0].labels["container_label_a_b"], "first");
    assert_eq!(found[0].labels["container_label_c"], "third");
}

#[test]
fn a_container_without_a_name_is_named_by_its_id() {
    let meta = ContainerMeta { image: "busybox".into(), ..ContainerMeta::default() };
    let found = of_container(with_container(meta), "container_last_seen");
    assert_eq!(found[0].labels["name"], "ab");
    assert_eq!(found[0].labels["image"], "busybox");
}

#[test]
fn a_start_time_is_dockers_or_else_the_cgroups() {
    let start = |meta| of_container(with_container(meta), "container_start_time_seconds")[0].value;
    let told = ContainerMeta { started_at_ms: Some(1_500), ..ContainerMeta::default() };
    assert!((start(told) - 1.5).abs() < f64::EPSILON);
    assert!((start(ContainerMeta::default()) - 0.001).abs() < f64::EPSILON);
}

#[test]
fn what_could_not_be_read_is_absent() {
    let process = ProcessUsage { read_failures: 3, ..ProcessUsage::default() };
    let mut scrape = fixture::scrape(fixture::snapshot());
    scrape.parts.process = process;
    let names: Vec<_> = families(&scrape).iter().map(|it| it.name().to_owned()).collect();
    assert!(!names.iter().any(|name| name.starts_with("process_")), "{names:?}");
    assert!(names.iter().any(|name| name == "slicemeter_process_read_failures_total"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_value_survives(
        name in "[\\PC\"\\\\\n\r\t]{1,40}",
        image in any::<String>(),
        value in any::<String>(),
    ) {
        let labels = [("l".to_owned(), value.clone())].into();
        let meta = ContainerMeta { name: name.clone(), image: image.clone(), labels, ..ContainerMeta::default() };
        let text = text(with_container(meta));
        // Not `lines()`: it would split at "\r\n" inside a value as well.
        let found = text
            .split('\n')
            .filter(|line| line.starts_with("container_last_seen{"))
            .map(sample)
            .find(|it| it.labels["id"] == "/docker/ab");
        let found = found.expect("the container's sample");
        prop_assert_eq!(&found.labels["name"], &name);
        prop_assert_eq!(&found.labels["image"], &image);
        prop_assert_eq!(&found.labels["container_label_l"], &value);
    }

    #[test]
    fn histograms_are_cumulative(
        buckets in prop::array::uniform22(0_u64..1 << 40),
        sum_ns in 0_u64..1 << 50,
    ) {
        let durations = Log2Histogram { buckets, sum_ns };
        let mut snapshot = with_container(ContainerMeta::default());
        snapshot.containers[0].usage.slices = durations;
        let mut found = samples(&text(snapshot));
        found.retain(|it| it.labels.get("id").is_some_and(|id| id == "/docker/ab"));
        let of = |name: &str| found.iter().filter(|it| it.name == name).collect::<Vec<_>>();
        let lines = of("container_cpu_slice_seconds_bucket");
        prop_assert_eq!(lines.len(), BUCKETS);
        let mut before = 0.0;
        let mut edge = 0.0;
        for (line, in_bucket) in lines.iter().zip(buckets) {
            let le: f64 = line.labels["le"].parse().expect("a bound");
            prop_assert!(le > edge);
            prop_assert!((line.value - before - in_bucket as f64).abs() < 0.5);
            (before, edge) = (line.value, le);
        }
        prop_assert_eq!(&lines[BUCKETS - 1].labels["le"], "+Inf");
        let count = of("container_cpu_slice_seconds_count")[0].value;
        prop_assert!((count - lines[BUCKETS - 1].value).abs() < 0.5);
        let sum_seconds = of("container_cpu_slice_seconds_sum")[0].value;
        prop_assert!((sum_seconds * 1e9 - sum_ns as f64).abs() < 1.0);
    }
}
