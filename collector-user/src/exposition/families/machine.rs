//! [machine] The host's size, under cAdvisor's names.

use prometheus::proto::MetricType;

use super::{Family, Samples, Scrape, Stability, gauge, one};
use crate::model::{
    collectors::{Collector, Collectors},
    readings::Machine,
};

const MACHINE: Collectors = Collectors::NONE.with(Collector::Machine);

pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "machine_cpu_cores",
        kind: MetricType::GAUGE,
        help: "CPUs of the host that are online.",
        labels: &[],
        collectors: MACHINE,
        source: "/sys/devices/system/cpu/online",
        stability: Stability::DropIn,
        samples: Samples::Own(|scrape| one(gauge, told(scrape, |it| it.cores))),
    },
    Family {
        name: "machine_memory_bytes",
        kind: MetricType::GAUGE,
        help: "Memory of the host that its kernel can use, in bytes.",
        labels: &[],
        collectors: MACHINE,
        source: "/proc/meminfo: MemTotal",
        stability: Stability::DropIn,
        samples: Samples::Own(|scrape| one(gauge, told(scrape, |it| it.memory_bytes))),
    },
];

fn told(scrape: &Scrape, of: fn(&Machine) -> Option<u64>) -> Option<f64> {
    of(&scrape.parts.readings.machine).map(|value| value as f64)
}
