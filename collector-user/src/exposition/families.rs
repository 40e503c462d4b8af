//! Metric families: what a snapshot looks like on the wire.
//!
//! Owns names, types, HELP texts, labels and units: one [`Family`] in a table is the
//! only source for the code, for HELP and for `docs/metrics.md`. Integers become
//! seconds here and nowhere else. It does no I/O and reads no clock: everything it
//! shows has been handed in with a [`Scrape`]. How that becomes text, and in which
//! format, is [`Rendering`]'s business.

mod collectors;
mod cpu;
mod docker;
mod interfaces;
mod itself;
mod labels;
mod machine;
mod network;
mod openmetrics;
mod origin;
mod packets;
mod process;
mod rendering;
mod resources;
mod sockets;

use std::sync::Arc;

use collector_ebpf::{BUCKETS, bucket_edge_ns};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricType};

pub use self::rendering::Rendering;
use self::{
    interfaces::{InterfaceRow, interfaces},
    labels::{Subject, pair, subjects},
    origin::Origin,
};
use super::{build::BuildInfo, process::ProcessUsage, web_stats::WebCounts};
use crate::model::{
    collectors::{Collector, Collectors},
    processes::Process,
    readings::Readings,
    resources::Resources,
    snapshot::Snapshot,
    usage::{Log2Histogram, Usage},
};

/// What a family's name may be relied upon for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stability {
    /// cAdvisor's name, labels and meaning: kept as long as dashboards query it.
    DropIn,
    /// Name, labels and unit of the `node_exporter` collector that this daemon replaces: kept
    /// for those who query it.
    NodeCollector,
    /// Slicemeter's own; renamed or removed only in a major version.
    Stable,
}

/// One metric family: how it is described, and how its samples follow from a scrape.
pub struct Family {
    /// Name on the wire, unit included.
    pub name: &'static str,
    /// Prometheus' type.
    pub kind: MetricType,
    /// What is counted, in which unit.
    pub help: &'static str,
    /// Names of its labels; `container_label_*` stands for the allow-listed ones.
    pub labels: &'static [&'static str],
    /// The collectors of which one must be wanted for it to be told; none for what is told
    /// in any case.
    pub collectors: Collectors,
    /// Where the number is read; a part of the HELP text, too.
    pub source: &'static str,
    /// What its name may be relied upon for.
    pub stability: Stability,
    samples: Samples,
}

impl Family {
    /// What stands behind `# HELP`.
    fn help_text(&self) -> String {
        format!("{} From {}.", self.help, self.source)
    }
}

/// Families that are told in any case.
const ALWAYS: Collectors = Collectors::NONE;

/// How a family's samples follow from a scrape. But for the first, the labels of a sample
/// are lent to it while it is turned into text: with copies of them for every line, a
/// scrape of 50 containers takes 5.0 ms instead of 3.1 (measured, 6,000 lines).
#[derive(Clone, Copy)]
enum Samples {
    /// Made for it alone.
    Own(fn(&Scrape) -> Vec<Metric>),
    /// One for each account that has a value.
    Accounts(fn(&Snapshot, &Subject) -> Option<f64>),
    /// One for each account and each value of the label so called.
    Usage(&'static str, &'static Cases<Usage>),
    /// One for each account that has a histogram.
    Histograms(for<'a> fn(&'a Snapshot, &Subject) -> Option<&'a Log2Histogram>),
    /// One for each account of which files tell the value.
    Resources(fn(&Resources) -> Option<f64>),
    /// One for each process of a container that has a value, of that `type`.
    Processes(&'static str, fn(&Process) -> Option<u64>),
    /// One for each interface that has a value.
    Interfaces(fn(&InterfaceRow) -> Option<u64>),
}

/// Every family there is, by name.
pub fn all() -> Vec<&'static Family> {
    let tables = [
        collectors::FAMILIES,
        cpu::FAMILIES,
        docker::FAMILIES,
        itself::FAMILIES,
        machine::FAMILIES,
        network::FAMILIES,
        origin::FAMILIES,
        packets::FAMILIES,
        process::FAMILIES,
        resources::FAMILIES,
        sockets::FAMILIES,
    ];
    let mut families: Vec<_> = tables.into_iter().flatten().collect();
    families.sort_by_key(|family| family.name);
    families
}

/// What a scrape is made of.
pub struct Parts {
    /// The accounts.
    pub snapshot: Arc<Snapshot>,
    /// How long they took to come, in ns.
    pub snapshot_ns: u64,
    /// What files told.
    pub readings: Readings,
    /// Collectors to show.
    pub collectors: Collectors,
    /// The web server's counters.
    pub web: WebCounts,
    /// The daemon's own cost.
    pub process: ProcessUsage,
    /// Which build it is.
    pub build: BuildInfo,
}

/// Everything that one scrape shows, and nothing that changes while it is shown.
pub struct Scrape {
    parts: Parts,
    /// Host, containers and cgroups with their labels and what files tell of them, by
    /// path: looked up once, because dozens of families need them.
    subjects: Vec<Subject>,
    /// Their interfaces; none unless they are wanted.
    interfaces: Vec<InterfaceRow>,
    origin: Origin,
}

impl Scrape {
    /// Takes the parts, all of the same moment.
    pub fn new(mut parts: Parts) -> Self {
        // What was missing between scrapes is missing all the same.
        parts.readings.losses.add(&parts.snapshot.network.losses);
        let subjects = subjects(&parts.snapshot, &mut parts.readings.resources);
        let interfaces = if parts.collectors.contains(Collector::Network) {
            interfaces(&parts.snapshot, &parts.readings, &subjects)
        } else {
            Vec::new()
        };
        let origin = if parts.collectors.meets(origin::EITHER) {
            Origin::new(&parts.snapshot, &mut parts.readings)
        } else {
            Origin::default()
        };
        Self { parts, subjects, interfaces, origin }
    }

    fn shows(&self, family: &Family) -> bool {
        family.collectors == ALWAYS || family.collectors.meets(self.parts.collectors)
    }
}

/// Nanoseconds as seconds.
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Milliseconds since the epoch as seconds since the epoch.
fn epoch_seconds(ms: u64) -> f64 {
    ms as f64 / 1e3
}

fn counter(labels: Vec<LabelPair>, value: f64) -> Metric {
    number(MetricType::COUNTER, labels, value)
}

fn gauge(labels: Vec<LabelPair>, value: f64) -> Metric {
    number(MetricType::GAUGE, labels, value)
}

/// A sample of a counter or a gauge.
fn number(kind: MetricType, labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut metric = Metric::from_label(labels);
    if kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

/// Cumulative, as the format wants it; the encoder adds the bucket of +Inf.
fn histogram(durations: &Log2Histogram) -> Histogram {
    let mut histogram = Histogram::default();
    let mut cumulative = 0;
    let finite = durations.buckets[..BUCKETS - 1].iter().enumerate();
    histogram.set_bucket(
        finite
            .map(|(index, count)| {
                cumulative += count;
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(seconds(bucket_edge_ns(index)));
                bucket.set_cumulative_count(cumulative);
                bucket
            })
            .collect(),
    );
    histogram.set_sample_count(durations.count());
    histogram.set_sample_sum(seconds(durations.sum_ns));
    histogram
}

/// A counter's samples told apart by one label: `(value of the label, reading)`.
type Cases<T> = [(&'static str, fn(&T) -> f64)];

/// A sample for a reading that succeeded; a failed one is absent, never zero.
fn one(sample: fn(Vec<LabelPair>, f64) -> Metric, reading: Option<f64>) -> Vec<Metric> {
    reading.map(|value| sample(Vec::new(), value)).into_iter().collect()
}

/// Samples that only a label tells apart.
fn cases<T>(
    sample: fn(Vec<LabelPair>, f64) -> Metric,
    of: &T,
    name: &str,
    cases: &Cases<T>,
) -> Vec<Metric> {
    cases.iter().map(|(value, reading)| sample(vec![pair(name, value)], reading(of))).collect()
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
