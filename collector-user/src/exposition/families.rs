//! Metric families: what a snapshot looks like on the wire.
//!
//! Owns names, types, HELP texts, labels and units: one [`Family`] in a table is the
//! only source for the code, for HELP and for `docs/metrics.md`. Integers become
//! seconds here and nowhere else. It does no I/O and reads no clock: everything it
//! shows has been handed in with a [`Scrape`].

mod cpu;
mod docker;
mod itself;
mod labels;
mod process;

use std::sync::Arc;

use collector_ebpf::{BUCKETS, bucket_edge_ns};
use prometheus::{
    Encoder, TextEncoder,
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};

use self::labels::{pair, subjects};
use super::{build::BuildInfo, process::ProcessUsage, web_stats::WebCounts};
use crate::model::{
    collectors::{Collector, Collectors},
    readings::Readings,
    snapshot::Snapshot,
    usage::{Log2Histogram, Usage},
};

/// What a family's name may be relied upon for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stability {
    /// cAdvisor's name, labels and meaning: kept as long as dashboards query it.
    DropIn,
    /// Slicemeter's own; renamed or removed only in a major version.
    Stable,
}

/// One metric family: how it is described, and how its samples follow from a scrape.
pub struct Family {
    /// Name on the wire, unit included.
    pub name: &'static str,
    /// Prometheus' type.
    pub kind: MetricType,
    /// HELP text: what is counted, in which unit, from where.
    pub help: &'static str,
    /// Names of its labels; `container_label_*` stands for the allow-listed ones.
    pub labels: &'static [&'static str],
    /// The collector that it goes with; `None` for what is always told.
    pub collector: Option<Collector>,
    /// Where the number is read.
    pub source: &'static str,
    /// What its name may be relied upon for.
    pub stability: Stability,
    samples: fn(&Scrape) -> Vec<Metric>,
}

/// Every family there is, by name.
pub fn all() -> Vec<&'static Family> {
    let tables = [cpu::FAMILIES, docker::FAMILIES, process::FAMILIES, itself::FAMILIES];
    let mut families: Vec<_> = tables.into_iter().flatten().collect();
    families.sort_by_key(|family| family.name);
    families
}

/// What a scrape is made of.
pub struct Parts {
    /// The accounts.
    pub snapshot: Arc<Snapshot>,
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
    /// Host, containers and cgroups with their labels, by path: made once, because
    /// every family of the accounts needs them.
    subjects: Vec<labels::Subject>,
}

impl Scrape {
    /// Takes the parts, all of the same moment.
    pub fn new(parts: Parts) -> Self {
        let subjects = subjects(&parts.snapshot);
        Self { parts, subjects }
    }

    /// The families as Prometheus' data model has them, by name; those without a
    /// sample are left out.
    pub fn families(&self) -> Vec<MetricFamily> {
        all().into_iter().filter_map(|family| family.build(self)).collect()
    }
}

impl Family {
    /// This family's samples, or nothing when it has none (the text format knows no
    /// family without samples).
    fn build(&self, scrape: &Scrape) -> Option<MetricFamily> {
        let is_wanted = |collector| scrape.parts.collectors.contains(collector);
        if !self.collector.is_none_or(is_wanted) {
            return None;
        }
        let samples = (self.samples)(scrape);
        if samples.is_empty() {
            return None;
        }
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(samples);
        Some(family)
    }
}

/// Series that are turned into text at once. A histogram's is some 5 KB, so that a
/// piece stays within the CPU's caches and an answer of megabytes never is in memory.
const SERIES_PER_PIECE: usize = 32;

/// Renders a scrape piece by piece, each ending with a whole line.
pub struct Rendering {
    scrape: Scrape,
    rest: std::vec::IntoIter<&'static Family>,
    /// What is left of the family begun.
    begun: Option<Begun>,
    /// Room for the next piece: as much as the biggest one before took.
    piece_bytes: usize,
}

/// A family of which some series are still to come.
struct Begun {
    family: MetricFamily,
    series: std::vec::IntoIter<Metric>,
    is_headed: bool,
}

impl Rendering {
    /// Starts at the first family.
    pub fn new(scrape: Scrape) -> Self {
        Self { scrape, rest: all().into_iter(), begun: None, piece_bytes: 0 }
    }

    /// The family begun, or else the next one that has samples.
    fn family(&mut self) -> Option<Begun> {
        self.begun.take().or_else(|| {
            let mut family = self.rest.find_map(|family| family.build(&self.scrape))?;
            let series = family.take_metric().into_iter();
            Some(Begun { family, series, is_headed: false })
        })
    }
}

impl Iterator for Rendering {
    /// Text. An error means a family without name or samples: a bug here, and the
    /// answer must end there rather than look whole.
    type Item = prometheus::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut begun = self.family()?;
        let mut text = Vec::with_capacity(self.piece_bytes);
        let outcome = begun.encode(&mut text);
        self.piece_bytes = self.piece_bytes.max(text.len());
        if begun.series.len() > 0 {
            self.begun = Some(begun);
        }
        Some(outcome.map(|()| text))
    }
}

impl Begun {
    /// Appends the next series, after HELP and TYPE if they are the first.
    fn encode(&mut self, text: &mut Vec<u8>) -> prometheus::Result<()> {
        let Self { family, series, is_headed } = self;
        family.set_metric(series.take(SERIES_PER_PIECE).collect());
        TextEncoder::new().encode(std::slice::from_ref(family), text)?;
        if *is_headed {
            // Without a HELP text the encoder writes none, but it always writes TYPE,
            // and that may appear only once: it is the first line.
            let header_bytes = text.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            text.drain(..header_bytes);
        }
        family.set_help(String::new());
        *is_headed = true;
        Ok(())
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
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = Metric::from_label(labels);
    metric.set_counter(counter);
    metric
}

fn gauge(labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(labels);
    metric.set_gauge(gauge);
    metric
}

/// Cumulative, as the format wants it; the encoder adds the bucket of +Inf.
fn histogram(labels: Vec<LabelPair>, durations: &Log2Histogram) -> Metric {
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
    let mut metric = Metric::from_label(labels);
    metric.set_histogram(histogram);
    metric
}

/// A counter's samples told apart by one label: `(value of the label, reading)`.
type Cases<T> = [(&'static str, fn(&T) -> f64)];

/// Counters of every account, one per case of the label `name`.
fn account_counters(scrape: &Scrape, name: &str, cases: &Cases<Usage>) -> Vec<Metric> {
    let mut metrics = Vec::with_capacity(scrape.subjects.len() * cases.len());
    for subject in &scrape.subjects {
        let usage = subject.usage(&scrape.parts.snapshot);
        for (value, reading) in cases {
            metrics.push(counter(subject.labels_and(name, value), reading(usage)));
        }
    }
    metrics
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
