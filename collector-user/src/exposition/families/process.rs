//! `process_*`: what the daemon itself costs, under the names that every Prometheus
//! client library uses.

use prometheus::proto::MetricType;

use super::{ALWAYS, Family, Samples, Stability, counter, gauge, one};

pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "process_cpu_seconds_total",
        kind: MetricType::COUNTER,
        help: "User and system CPU time of the daemon itself, in seconds.",
        labels: &[],
        collectors: ALWAYS,
        source: "/proc/self/stat: utime + stime",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| one(counter, scrape.parts.process.cpu_seconds)),
    },
    Family {
        name: "process_resident_memory_bytes",
        kind: MetricType::GAUGE,
        help: "Resident memory of the daemon itself, in bytes.",
        labels: &[],
        collectors: ALWAYS,
        source: "/proc/self/stat: rss",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| one(gauge, scrape.parts.process.resident_bytes)),
    },
    Family {
        name: "process_virtual_memory_bytes",
        kind: MetricType::GAUGE,
        help: "Virtual memory of the daemon itself, in bytes.",
        labels: &[],
        collectors: ALWAYS,
        source: "/proc/self/stat: vsize",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| one(gauge, scrape.parts.process.virtual_bytes)),
    },
    Family {
        name: "process_open_fds",
        kind: MetricType::GAUGE,
        help: "Open file descriptors of the daemon itself.",
        labels: &[],
        collectors: ALWAYS,
        source: "/proc/self/fd",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| one(gauge, scrape.parts.process.open_fds)),
    },
    Family {
        name: "process_max_fds",
        kind: MetricType::GAUGE,
        help: "File descriptors that the daemon may have open; absent when unlimited.",
        labels: &[],
        collectors: ALWAYS,
        source: "/proc/self/limits: Max open files, soft",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| one(gauge, scrape.parts.process.max_fds)),
    },
    Family {
        name: "process_start_time_seconds",
        kind: MetricType::GAUGE,
        help: "When the daemon was started, in seconds since the epoch.",
        labels: &[],
        collectors: ALWAYS,
        source: "/proc/self/stat: starttime; /proc/stat: btime",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| one(gauge, scrape.parts.process.start_time_seconds)),
    },
    Family {
        name: "process_threads",
        kind: MetricType::GAUGE,
        help: "Threads of the daemon itself.",
        labels: &[],
        collectors: ALWAYS,
        source: "/proc/self/stat: num_threads",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| one(gauge, scrape.parts.process.threads)),
    },
];
