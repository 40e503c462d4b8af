//! [cpu] CPU usage of containers, cgroups and the host, and of containers that are
//! gone.

use prometheus::proto::MetricType;

use super::{Family, Samples, Stability, Subject, cases, counter, seconds};
use crate::model::{
    collectors::{Collector, Collectors},
    snapshot::Snapshot,
    usage::{Log2Histogram, Usage},
};

const CPU: Collectors = Collectors::NONE.with(Collector::Cpu);

const ACCOUNT: &[&str] = &["id", "name", "image", "container_label_*"];
const ACCOUNT_AND_KIND: &[&str] = &["id", "name", "image", "container_label_*", "kind"];

/// Both kinds of switches, as `/proc/PID/status` names them.
const SWITCHES: &super::Cases<Usage> = &[
    ("voluntary", |usage| usage.voluntary as f64),
    ("involuntary", |usage| usage.involuntary as f64),
];

pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "container_cpu_usage_seconds_total",
        kind: MetricType::COUNTER,
        help: "CPU time used, in seconds, the slices in flight included; interrupts and stolen \
               time are not in it.",
        labels: &["id", "name", "image", "container_label_*", "cpu"],
        collectors: CPU,
        source: "the scheduler's ledger at sched_switch: task_struct.se.sum_exec_runtime",
        stability: Stability::DropIn,
        samples: Samples::Usage("cpu", &[("total", |usage| seconds(usage.runtime_ns))]),
    },
    Family {
        name: "container_cpu_context_switches_total",
        kind: MetricType::COUNTER,
        help: "Switches away from a task: voluntary when it blocked, slept or ended, \
               involuntary when it could have gone on.",
        labels: ACCOUNT_AND_KIND,
        collectors: CPU,
        source: "the scheduler's ledger at sched_switch: prev_state, preempt",
        stability: Stability::Stable,
        samples: Samples::Usage("kind", SWITCHES),
    },
    Family {
        name: "container_cpu_runqueue_wait_seconds_total",
        kind: MetricType::COUNTER,
        help: "Time that runnable tasks waited for a CPU, in seconds, counted when the slice \
               after the wait ends.",
        labels: ACCOUNT,
        collectors: CPU,
        source: "the scheduler's ledger at sched_switch: task_struct.sched_info.run_delay",
        stability: Stability::Stable,
        samples: Samples::Accounts(|snapshot, subject| {
            waits(snapshot, subject).map(|waits| seconds(waits.sum_ns))
        }),
    },
    Family {
        name: "container_cpu_runqueue_wait_seconds",
        kind: MetricType::HISTOGRAM,
        help: "Wait for a CPU before each slice, in seconds; buckets double from 1.024 \
               microseconds.",
        labels: ACCOUNT,
        collectors: CPU,
        source: "the scheduler's ledger at sched_switch: task_struct.sched_info.run_delay",
        stability: Stability::Stable,
        samples: Samples::Histograms(waits),
    },
    Family {
        name: "container_cpu_slice_seconds",
        kind: MetricType::HISTOGRAM,
        help: "Length of slices, from switch-in to switch-out, in seconds of CPU time; buckets \
               double from 1.024 microseconds. Ended slices only, so its sum trails \
               container_cpu_usage_seconds_total.",
        labels: ACCOUNT,
        collectors: CPU,
        source: "the scheduler's ledger at sched_switch: task_struct.se.sum_exec_runtime",
        stability: Stability::Stable,
        samples: Samples::Histograms(|snapshot, subject| Some(&subject.usage(snapshot).slices)),
    },
    Family {
        name: "container_exited_total",
        kind: MetricType::COUNTER,
        help: "Containers whose series have ended; their usage is in container_exited_*.",
        labels: &[],
        collectors: CPU,
        source: "the cgroups' life cycle",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| {
            vec![counter(vec![], scrape.parts.snapshot.exited.containers as f64)]
        }),
    },
    Family {
        name: "container_exited_cpu_usage_seconds_total",
        kind: MetricType::COUNTER,
        help: "CPU time used by all containers whose series have ended, in seconds.",
        labels: &[],
        collectors: CPU,
        source: "the sum of ended container_cpu_usage_seconds_total",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| {
            vec![counter(vec![], seconds(scrape.parts.snapshot.exited.usage.runtime_ns))]
        }),
    },
    Family {
        name: "container_exited_cpu_context_switches_total",
        kind: MetricType::COUNTER,
        help: "Switches away from tasks of all containers whose series have ended.",
        labels: &["kind"],
        collectors: CPU,
        source: "the sum of ended container_cpu_context_switches_total",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| {
            cases(counter, &scrape.parts.snapshot.exited.usage, "kind", SWITCHES)
        }),
    },
    Family {
        name: "container_exited_cpu_runqueue_wait_seconds_total",
        kind: MetricType::COUNTER,
        help: "Time that tasks of all containers whose series have ended waited for a CPU, in \
               seconds.",
        labels: &[],
        collectors: CPU,
        source: "the sum of ended container_cpu_runqueue_wait_seconds_total",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| {
            let Snapshot { ledger, exited, .. } = &*scrape.parts.snapshot;
            let waited = ledger.waits_known.then(|| seconds(exited.usage.waits.sum_ns));
            waited.map(|seconds| counter(vec![], seconds)).into_iter().collect()
        }),
    },
];

/// No samples, and so no series, on a kernel that tells no waits: zeroes would be a lie.
fn waits<'a>(snapshot: &'a Snapshot, subject: &Subject) -> Option<&'a Log2Histogram> {
    snapshot.ledger.waits_known.then(|| &subject.usage(snapshot).waits)
}
