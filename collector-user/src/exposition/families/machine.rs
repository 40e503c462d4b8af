//! [machine] The host's size, under cAdvisor's names.

use prometheus::proto::{Metric, MetricType};

use super::{Family, Samples, Stability, gauge};
use crate::model::collectors::Collector;

pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "machine_cpu_cores",
        kind: MetricType::GAUGE,
        help: "CPUs of the host that are online.",
        labels: &[],
        collector: Some(Collector::Machine),
        source: "/sys/devices/system/cpu/online",
        stability: Stability::DropIn,
        samples: Samples::Own(|scrape| one(scrape.parts.readings.machine.cores)),
    },
    Family {
        name: "machine_memory_bytes",
        kind: MetricType::GAUGE,
        help: "Memory of the host that its kernel can use, in bytes.",
        labels: &[],
        collector: Some(Collector::Machine),
        source: "/proc/meminfo: MemTotal",
        stability: Stability::DropIn,
        samples: Samples::Own(|scrape| one(scrape.parts.readings.machine.memory_bytes)),
    },
];

/// A sample for a reading that succeeded; a failed one is absent, never zero.
fn one(reading: Option<u64>) -> Vec<Metric> {
    reading.map(|value| gauge(vec![], value as f64)).into_iter().collect()
}
