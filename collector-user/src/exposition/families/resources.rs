//! [cgroup] What the controllers' files tell, under cAdvisor's names.
//!
//! Owns cAdvisor's units and its habit that a limit of 0 is none. A value that is not told
//! has no sample.

use prometheus::proto::MetricType;

use super::{Family, Samples, Stability, seconds};
use crate::model::{
    collectors::{Collector, Collectors},
    resources::{Bandwidth, Limit, Resources},
};

const ACCOUNT: &[&str] = &["id", "name", "image", "container_label_*"];

/// A value of a cgroup, if files tell it.
type Value = fn(&Resources) -> Option<f64>;

pub(super) const FAMILIES: &[Family] = &[
    counter(
        "container_cpu_user_seconds_total",
        "CPU time in user mode, in seconds, as the kernel splits it, nested containers included.",
        "cpu.stat: user_usec; v1 cpuacct.stat: user",
        |it| it.cpu.user_ns.map(seconds),
    ),
    counter(
        "container_cpu_system_seconds_total",
        "CPU time in the kernel, in seconds, as the kernel splits it, nested containers included.",
        "cpu.stat: system_usec; v1 cpuacct.stat: system",
        |it| it.cpu.system_ns.map(seconds),
    ),
    counter(
        "container_cpu_cfs_periods_total",
        "Periods of the CPU quota in which anything was runnable; absent without a quota.",
        "cpu.stat: nr_periods, on v1 alike",
        |it| bandwidth(it)?.periods.map(count),
    ),
    counter(
        "container_cpu_cfs_throttled_periods_total",
        "Periods of the CPU quota in which it was used up; absent without a quota.",
        "cpu.stat: nr_throttled, on v1 alike",
        |it| bandwidth(it)?.throttled_periods.map(count),
    ),
    counter(
        "container_cpu_cfs_throttled_seconds_total",
        "Time that CPUs were held back by the CPU quota, in seconds, added up over CPUs; absent \
         without a quota.",
        "cpu.stat: throttled_usec; v1 cpu.stat: throttled_time",
        |it| bandwidth(it)?.throttled_ns.map(seconds),
    ),
    gauge(
        "container_memory_usage_bytes",
        "Memory charged to the cgroup, caches and nested containers included, in bytes; for the \
         host, anonymous and file pages.",
        "memory.current, for the host memory.stat: anon, file; v1 memory.usage_in_bytes",
        |it| it.memory.usage.map(count),
    ),
    gauge(
        "container_memory_working_set_bytes",
        "Memory that can't be reclaimed at once, in bytes: usage without inactive file pages; \
         nested containers included.",
        "memory.current, memory.stat: inactive_file; v1 total_inactive_file",
        |it| it.memory.working_set().map(count),
    ),
    gauge(
        "container_memory_max_usage_bytes",
        "The most memory that was ever charged to the cgroup, in bytes, nested containers included.",
        "memory.peak; v1 memory.max_usage_in_bytes",
        |it| it.memory.max_usage.map(count),
    ),
    gauge(
        "container_memory_rss",
        "Anonymous memory, in bytes, nested containers included.",
        "memory.stat: anon; v1 total_rss",
        |it| it.memory.anon.map(count),
    ),
    gauge(
        "container_memory_cache",
        "Page cache, in bytes, tmpfs and nested containers included.",
        "memory.stat: file; v1 total_cache",
        |it| it.memory.file.map(count),
    ),
    gauge(
        "container_memory_swap",
        "Memory that is swapped out, in bytes, nested containers included; absent where the kernel \
         does not account swap.",
        "memory.swap.current, for the host /proc/meminfo: SwapTotal, SwapFree; v1 memory.stat: \
         total_swap",
        |it| it.memory.swap.map(count),
    ),
    gauge(
        "container_memory_kernel_usage",
        "Memory that the kernel itself uses for the cgroup, in bytes: stacks, page tables, slabs; \
         nested containers included. For the host, what it uses for the cgroups in it only.",
        "memory.stat: kernel, before Linux 5.18 the sum of its parts; v1 memory.kmem.usage_in_bytes",
        |it| it.memory.kernel.map(count),
    ),
    gauge(
        "container_memory_mapped_file",
        "Page cache that is mapped into processes, in bytes, nested containers included.",
        "memory.stat: file_mapped; v1 total_mapped_file",
        |it| it.memory.mapped_file.map(count),
    ),
    counter(
        "container_memory_failcnt",
        "How often memory usage has hit the limit; on v2 those of nested containers, too.",
        "memory.events: max; v1 memory.failcnt",
        |it| it.memory.limit_hits.map(count),
    ),
    counter(
        "container_oom_events_total",
        "Processes that the OOM killer has killed, nested containers included; on v1 those of the \
         cgroup itself only.",
        "memory.events: oom_kill; v1 memory.oom_control: oom_kill",
        |it| it.memory.oom_kills.map(count),
    ),
    counter(
        "container_pressure_cpu_waiting_seconds_total",
        "Time that some task waited for a CPU, in seconds, nested containers included.",
        "cpu.pressure: some total",
        |it| it.pressure.cpu.some_us.map(seconds_of_us),
    ),
    counter(
        "container_pressure_cpu_stalled_seconds_total",
        "Time that all tasks that could have run waited for a CPU, in seconds, nested containers included.",
        "cpu.pressure: full total",
        |it| it.pressure.cpu.full_us.map(seconds_of_us),
    ),
    counter(
        "container_pressure_memory_waiting_seconds_total",
        "Time that some task waited for memory, in seconds, nested containers included.",
        "memory.pressure: some total",
        |it| it.pressure.memory.some_us.map(seconds_of_us),
    ),
    counter(
        "container_pressure_memory_stalled_seconds_total",
        "Time that all tasks that could have run waited for memory, in seconds, nested containers included.",
        "memory.pressure: full total",
        |it| it.pressure.memory.full_us.map(seconds_of_us),
    ),
    counter(
        "container_pressure_io_waiting_seconds_total",
        "Time that some task waited for block I/O, in seconds, nested containers included.",
        "io.pressure: some total",
        |it| it.pressure.io.some_us.map(seconds_of_us),
    ),
    counter(
        "container_pressure_io_stalled_seconds_total",
        "Time that all tasks that could have run waited for block I/O, in seconds, nested containers included.",
        "io.pressure: full total",
        |it| it.pressure.io.full_us.map(seconds_of_us),
    ),
    gauge(
        "container_processes",
        "Processes in the cgroup; for a container, those of the cgroups in it as well, but not of \
         nested containers. Absent for the host.",
        "cgroup.procs",
        |it| it.processes.map(count),
    ),
    gauge(
        "container_threads",
        "Threads in the cgroup and all cgroups in it, nested containers included. Absent for the \
         host.",
        "pids.current",
        |it| it.threads.map(count),
    ),
    gauge(
        "container_spec_cpu_quota",
        "CPU time that may be used in each period, in microseconds; absent without a quota.",
        "cpu.max; v1 cpu.cfs_quota_us",
        |it| it.cpu.quota_us.map(count),
    ),
    gauge(
        "container_spec_cpu_period",
        "Length of a period of the CPU quota, in microseconds.",
        "cpu.max; v1 cpu.cfs_period_us",
        |it| it.cpu.period_us.map(count),
    ),
    gauge(
        "container_spec_cpu_shares",
        "Relative weight when CPUs are short, in v1's unit (1024 is the default).",
        "cpu.weight, converted; v1 cpu.shares",
        |it| it.cpu.shares.map(count),
    ),
    gauge(
        "container_spec_memory_limit_bytes",
        "Limit of memory, in bytes; 0 if there is none.",
        "memory.max; v1 memory.limit_in_bytes",
        |it| it.memory.limit.map(limit),
    ),
    gauge(
        "container_spec_memory_swap_limit_bytes",
        "Limit of swap, in bytes; 0 if there is none, and where swapping is forbidden. On v1 of \
         memory and swap together.",
        "memory.swap.max; v1 memory.memsw.limit_in_bytes",
        |it| it.memory.swap_limit.map(limit),
    ),
];

const fn gauge(
    name: &'static str,
    help: &'static str,
    source: &'static str,
    value: Value,
) -> Family {
    let (kind, collectors) = (MetricType::GAUGE, Collectors::NONE.with(Collector::Cgroup));
    let (stability, samples) = (Stability::DropIn, Samples::Resources(value));
    Family { name, kind, help, labels: ACCOUNT, collectors, source, stability, samples }
}

const fn counter(
    name: &'static str,
    help: &'static str,
    source: &'static str,
    value: Value,
) -> Family {
    Family { kind: MetricType::COUNTER, ..gauge(name, help, source, value) }
}

fn count(value: u64) -> f64 {
    value as f64
}

fn seconds_of_us(us: u64) -> f64 {
    us as f64 / 1e6
}

/// As cAdvisor has it: 0 stands for no limit. A limit of 0 bytes reads the same.
fn limit(limit: Limit) -> f64 {
    match limit {
        Limit::Unlimited => 0.0,
        Limit::Bytes(bytes) => bytes as f64,
    }
}

/// What the quota did, if there is one: without it the kernel's zeroes mean nothing.
fn bandwidth(resources: &Resources) -> Option<&Bandwidth> {
    resources.cpu.quota_us.map(|_| &resources.cpu.bandwidth)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str, resources: &Resources) -> Option<f64> {
        let family = FAMILIES.iter().find(|family| family.name == name).expect("the family");
        let Samples::Resources(value) = family.samples else { panic!("all are from files") };
        value(resources)
    }

    #[test]
    fn nothing_is_shown_of_what_is_not_told() {
        for family in FAMILIES {
            assert_eq!(value(family.name, &Resources::default()), None, "{}", family.name);
        }
    }

    #[test]
    fn throttling_is_shown_only_where_a_quota_is() {
        let mut resources = Resources::default();
        resources.cpu.bandwidth.throttled_ns = Some(1_500_000_000);
        let name = "container_cpu_cfs_throttled_seconds_total";
        assert_eq!(value(name, &resources), None);
        resources.cpu.quota_us = Some(50_000);
        assert_eq!(value(name, &resources), Some(1.5));
    }

    #[test]
    fn no_limit_is_zero() {
        let mut resources = Resources::default();
        let name = "container_spec_memory_limit_bytes";
        resources.memory.limit = Some(Limit::Unlimited);
        assert_eq!(value(name, &resources), Some(0.0));
        resources.memory.limit = Some(Limit::Bytes(64 << 20));
        assert_eq!(value(name, &resources), Some(67_108_864.0));
    }

    #[test]
    fn stalls_are_seconds() {
        let mut resources = Resources::default();
        resources.pressure.io.full_us = Some(2_500_000);
        assert_eq!(value("container_pressure_io_stalled_seconds_total", &resources), Some(2.5));
        assert_eq!(value("container_pressure_io_waiting_seconds_total", &resources), None);
    }
}
