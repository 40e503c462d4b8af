//! `slicemeter_*`: how well the ledger is kept, and what was refused or lost.

use std::collections::BTreeSet;

use prometheus::proto::{Metric, MetricType};

use super::{
    ALWAYS, Cases, Family, Samples, Scrape, Stability, cases, counter, gauge, labels::pair, seconds,
};
use crate::{
    exposition::web_stats::WebCounts,
    model::{
        collectors::{Collector, Collectors},
        snapshot::{LedgerHealth, SlotCounts, Snapshot},
    },
};

/// What the ledger tells of itself: without it there are zeroes, which would look perfect.
const CPU: Collectors = Collectors::NONE.with(Collector::Cpu);

/// What became of slots, of whichever kind.
pub(super) const SLOTS: &Cases<SlotCounts> = &[
    ("free", |slots| slots.free as f64),
    ("used", |slots| slots.used as f64),
    ("retiring", |slots| slots.retiring as f64),
];

const MISSED: &Cases<LedgerHealth> = &[
    ("repaired", |ledger| ledger.missed_repaired as f64),
    ("unrepaired", |ledger| ledger.missed_unrepaired as f64),
];

const REJECTED: &Cases<WebCounts> = &[
    ("busy", |web| web.scrapes_busy as f64),
    ("ledger_silent", |web| web.scrapes_ledger_silent as f64),
    ("files_silent", |web| web.scrapes_files_silent as f64),
    ("bad_query", |web| web.scrapes_bad_query as f64),
];

const CUT: &Cases<WebCounts> = &[
    ("slow_reader", |web| web.cut_slow_reader as f64),
    ("slow_request", |web| web.cut_slow_request as f64),
    ("bad_request", |web| web.cut_bad_request as f64),
    ("internal_error", |web| web.cut_internal_error as f64),
];

pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "slicemeter_build_info",
        kind: MetricType::GAUGE,
        help: "Always 1; the labels say which build this is.",
        labels: &["version", "revision", "rustc"],
        collectors: ALWAYS,
        source: "the build",
        stability: Stability::Stable,
        samples: Samples::Own(build_info),
    },
    Family {
        name: "slicemeter_conservation_residual_ratio",
        kind: MetricType::GAUGE,
        help: "Share of the CPUs' time that no account holds: 1 - (host usage + idle) / elapsed. \
               Interrupts and stolen time are in it; above a few percent, slices are lost.",
        labels: &[],
        collectors: CPU,
        source: "host usage, slicemeter_idle_cpu_seconds_total, \
                 slicemeter_elapsed_cpu_seconds_total",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| vec![gauge(vec![], residual_ratio(&scrape.parts.snapshot))]),
    },
    of_ledger(
        "slicemeter_elapsed_cpu_seconds_total",
        "Time that all CPUs have been accounted for, in CPU seconds: CPUs times time since each \
         CPU's first switch.",
        |scrape| seconds_of(scrape, |ledger| ledger.elapsed_ns),
    ),
    of_ledger(
        "slicemeter_idle_cpu_seconds_total",
        "Time of the CPUs' idle tasks, in CPU seconds.",
        |scrape| seconds_of(scrape, |ledger| ledger.idle_ns),
    ),
    of_ledger(
        "slicemeter_overflow_cpu_seconds_total",
        "CPU time of known cgroups that have no slot of their own, in seconds: in the host's \
         usage, but in no container's.",
        |scrape| seconds_of(scrape, |ledger| ledger.overflow.runtime_ns),
    ),
    of_ledger(
        "slicemeter_unattributed_cpu_seconds_total",
        "CPU time of cgroups that are not known, in seconds: in the host's usage, but in no \
         container's.",
        |scrape| seconds_of(scrape, |ledger| ledger.unattributed.runtime_ns),
    ),
    of_ledger(
        "slicemeter_lost_cpu_seconds_total",
        "CPU time across missed switches that no task's ledger gave back, in seconds: in no \
         account at all.",
        |scrape| seconds_of(scrape, |ledger| ledger.lost_ns),
    ),
    Family {
        name: "slicemeter_missed_switches_total",
        kind: MetricType::COUNTER,
        help: "Switches that fired no tracepoint: repaired when the ledger gave the slice back, \
               else unrepaired.",
        labels: &["outcome"],
        collectors: CPU,
        source: "sched_switch",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| {
            cases(counter, &scrape.parts.snapshot.ledger, "outcome", MISSED)
        }),
    },
    of_cgroups(
        "slicemeter_cgroup_events_dropped_total",
        "Creations and removals of cgroups that found the ring buffer full.",
        |scrape| count_of(scrape, |ledger| ledger.events_dropped),
    ),
    of_cgroups(
        "slicemeter_slots_exhausted_total",
        "Cgroups that found no free slot at their creation; they share the overflow slot.",
        |scrape| count_of(scrape, |ledger| ledger.slots_exhausted),
    ),
    of_cgroups(
        "slicemeter_retention_cut_total",
        "Containers whose series ended before --retain-exited was over, because more had ended \
         than are retained.",
        |scrape| vec![counter(vec![], scrape.parts.snapshot.exited.early as f64)],
    ),
    of_cgroups(
        "slicemeter_ids_exhausted_total",
        "Cgroups that found the map of ids full at their creation; they are unattributed.",
        |scrape| count_of(scrape, |ledger| ledger.ids_exhausted),
    ),
    of_ledger(
        "slicemeter_read_retries_total",
        "Reads of a CPU's record that were repeated because the CPU was writing it.",
        |scrape| count_of(scrape, |ledger| ledger.read_retries),
    ),
    of_ledger(
        "slicemeter_read_failures_total",
        "Reads of a CPU's record that were given up after the last repetition: the slice in \
         flight is missing from that one read.",
        |scrape| count_of(scrape, |ledger| ledger.read_failures),
    ),
    of_cgroups(
        "slicemeter_cgroup_walk_errors_total",
        "Walks of the cgroup tree that failed, in whole or in part.",
        |scrape| count_of(scrape, |ledger| ledger.walk_errors),
    ),
    Family {
        name: "slicemeter_kernel_memory_bytes",
        kind: MetricType::GAUGE,
        help: "Kernel memory of all eBPF maps, in bytes.",
        labels: &[],
        collectors: ALWAYS,
        source: "the sizes of the maps",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| {
            vec![gauge(vec![], scrape.parts.snapshot.ledger.kernel_memory_bytes as f64)]
        }),
    },
    Family {
        name: "slicemeter_slots",
        kind: MetricType::GAUGE,
        help: "Slots for cgroups: free, used by a cgroup, or retiring (its cgroup is gone, its \
               last usage is read, it is not yet cleared).",
        labels: &["state"],
        collectors: ALWAYS,
        source: "the accounts of cgroups",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| cases(gauge, &scrape.parts.snapshot.slots, "state", SLOTS)),
    },
    Family {
        name: "slicemeter_degraded",
        kind: MetricType::GAUGE,
        help: "Always 1 for each thing that the running kernel can't tell or do, in the words of \
               the log at the start; absent where there is none.",
        labels: &["what"],
        collectors: ALWAYS,
        source: "the loading of the eBPF programs",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| {
            let lacks: BTreeSet<&String> = scrape.parts.snapshot.degraded.iter().collect();
            lacks.into_iter().map(|lack| gauge(vec![pair("what", lack)], 1.0)).collect()
        }),
    },
    web_count(
        "slicemeter_scrapes_total",
        "Requests for metrics that were accepted, this one included.",
        |scrape| vec![counter(vec![], scrape.parts.web.scrapes as f64)],
    ),
    Family {
        name: "slicemeter_scrapes_rejected_total",
        kind: MetricType::COUNTER,
        help: "Requests for metrics that were refused. With 503: busy when --web.max-requests \
               were being served, ledger_silent when no snapshot came in time, files_silent when \
               nobody told of files in time; with 400: bad_query when collect[] or exclude[] \
               asked for what there is not.",
        labels: &["reason"],
        collectors: ALWAYS,
        source: "the web server",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| cases(counter, &scrape.parts.web, "reason", REJECTED)),
    },
    Family {
        name: "slicemeter_connections_open",
        kind: MetricType::GAUGE,
        help: "Open connections to the web server.",
        labels: &[],
        collectors: ALWAYS,
        source: "the web server",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| {
            vec![gauge(vec![], scrape.parts.web.connections_open as f64)]
        }),
    },
    web_count("slicemeter_connections_total", "Connections that the web server took.", |scrape| {
        vec![counter(vec![], scrape.parts.web.connections as f64)]
    }),
    web_count(
        "slicemeter_connections_refused_total",
        "Connections closed at once because too many were open.",
        |scrape| vec![counter(vec![], scrape.parts.web.connections_refused as f64)],
    ),
    Family {
        name: "slicemeter_connections_cut_total",
        kind: MetricType::COUNTER,
        help: "Connections that the web server cut: the client read too slowly, took too long \
               to send its request, or sent none that HTTP allows; internal_error when the \
               server itself failed.",
        labels: &["reason"],
        collectors: ALWAYS,
        source: "the web server",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| cases(counter, &scrape.parts.web, "reason", CUT)),
    },
    web_count(
        "slicemeter_accept_errors_total",
        "Failures to take a connection, as when file descriptors run out.",
        |scrape| vec![counter(vec![], scrape.parts.web.accept_errors as f64)],
    ),
    Family {
        name: "slicemeter_process_read_failures_total",
        kind: MetricType::COUNTER,
        help: "Failed reads of the daemon's own /proc files; the process_* series that depend on \
               them are absent meanwhile.",
        labels: &[],
        collectors: ALWAYS,
        source: "/proc/self",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| {
            vec![counter(vec![], scrape.parts.process.read_failures as f64)]
        }),
    },
    Family {
        name: "slicemeter_log_write_failures_total",
        kind: MetricType::COUNTER,
        help: "Log lines lost because stderr did not take them (closed pipe, full disk).",
        labels: &[],
        collectors: ALWAYS,
        source: "stderr",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| {
            vec![counter(vec![], scrape.parts.process.log_write_failures as f64)]
        }),
    },
];

type Own = fn(&Scrape) -> Vec<Metric>;

const fn of_ledger(name: &'static str, help: &'static str, samples: Own) -> Family {
    let source = "the kernel's ledger";
    Family { collectors: CPU, source, ..of_cgroups(name, help, samples) }
}

const fn of_cgroups(name: &'static str, help: &'static str, samples: Own) -> Family {
    let (kind, stability) = (MetricType::COUNTER, Stability::Stable);
    let (collectors, source) = (ALWAYS, "the accounts of cgroups");
    let samples = Samples::Own(samples);
    Family { name, kind, help, labels: &[], collectors, source, stability, samples }
}

const fn web_count(name: &'static str, help: &'static str, samples: Own) -> Family {
    let source = "the web server";
    Family { source, ..of_cgroups(name, help, samples) }
}

fn seconds_of(scrape: &Scrape, of: fn(&LedgerHealth) -> u64) -> Vec<Metric> {
    vec![counter(vec![], seconds(of(&scrape.parts.snapshot.ledger)))]
}

fn count_of(scrape: &Scrape, of: fn(&LedgerHealth) -> u64) -> Vec<Metric> {
    vec![counter(vec![], of(&scrape.parts.snapshot.ledger) as f64)]
}

fn build_info(scrape: &Scrape) -> Vec<Metric> {
    let build = scrape.parts.build;
    let told = [("revision", build.revision), ("rustc", build.rustc)];
    let optional = told.into_iter().filter_map(|(name, value)| Some(pair(name, value?)));
    let labels = std::iter::once(pair("version", build.version)).chain(optional).collect();
    vec![gauge(labels, 1.0)]
}

/// `host` holds overflow and unattributed time, so that only what nobody accounted
/// remains. In integers until the last step: the difference of two large f64 would
/// be noise.
fn residual_ratio(snapshot: &Snapshot) -> f64 {
    let elapsed_ns = snapshot.ledger.elapsed_ns;
    if elapsed_ns == 0 {
        return 0.0;
    }
    let accounted_ns = i128::from(snapshot.host.runtime_ns) + i128::from(snapshot.ledger.idle_ns);
    (i128::from(elapsed_ns) - accounted_ns) as f64 / elapsed_ns as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(host_ns: u64, idle_ns: u64, elapsed_ns: u64) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.host.runtime_ns = host_ns;
        snapshot.ledger.idle_ns = idle_ns;
        snapshot.ledger.elapsed_ns = elapsed_ns;
        snapshot
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "these quotients are exact")]
    fn the_residual_is_what_nobody_accounted() {
        assert_eq!(residual_ratio(&snapshot(0, 0, 0)), 0.0, "before the first switch");
        assert_eq!(residual_ratio(&snapshot(300, 500, 1000)), 0.2);
        assert_eq!(residual_ratio(&snapshot(600, 500, 1000)), -0.1, "too much shows as well");
    }
}
