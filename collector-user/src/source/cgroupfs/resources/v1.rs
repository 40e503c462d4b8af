//! v1's files: `cpuacct.*`, `cpu.*`, `memory.*`.
//!
//! Owns their names and units (`Documentation/admin-guide/cgroup-v1`), and which of them
//! cAdvisor takes.

use super::{files::Files, forms};
use crate::model::resources::{Bandwidth, Cpu, Limit, Memory};

/// The largest limit that is one: what is above is v1's way to say that there is none
/// (the most pages that a counter holds, which depends on the size of a page). As
/// cAdvisor's `specMemoryValue` has it.
const LARGEST_LIMIT_BYTES: u64 = 1 << 62;

/// CPU time by mode.
pub(super) fn times(files: &mut Files<'_>, cpu: &mut Cpu) {
    let ns_per_tick = 1_000_000_000 / procfs::ticks_per_second();
    let [user, system] = files
        .keyed(c"cpuacct.stat", ["user", "system"])
        .map(|ticks| ticks.map(|ticks| ticks.saturating_mul(ns_per_tick)));
    (cpu.user_ns, cpu.system_ns) = (user, system);
}

/// Bandwidth and weight.
pub(super) fn cpu(files: &mut Files<'_>, cpu: &mut Cpu) {
    let [periods, throttled_periods, throttled_ns] =
        files.keyed(c"cpu.stat", ["nr_periods", "nr_throttled", "throttled_time"]);
    cpu.bandwidth = Bandwidth { periods, throttled_periods, throttled_ns };
    cpu.quota_us = files.record(c"cpu.cfs_quota_us", forms::v1_quota).and_then(|it| it.0);
    cpu.period_us = files.number(c"cpu.cfs_period_us");
    cpu.shares = files.number(c"cpu.shares");
}

/// Memory. The keys with `total_` cover cgroups below, as usage does.
pub(super) fn memory(files: &mut Files<'_>) -> Memory {
    let [inactive_file, anon, file, swap, mapped_file] = files.keyed(
        c"memory.stat",
        ["total_inactive_file", "total_rss", "total_cache", "total_swap", "total_mapped_file"],
    );
    // In it since Linux 4.13.
    let [oom_kills] = files.keyed(c"memory.oom_control", ["oom_kill"]);
    let mut limit = |name| {
        files.number(name).map(|bytes| match bytes {
            bytes if bytes > LARGEST_LIMIT_BYTES => Limit::Unlimited,
            bytes => Limit::Bytes(bytes),
        })
    };
    let (limit, swap_limit) =
        (limit(c"memory.limit_in_bytes"), limit(c"memory.memsw.limit_in_bytes"));
    Memory {
        usage: files.number(c"memory.usage_in_bytes"),
        inactive_file,
        max_usage: files.number(c"memory.max_usage_in_bytes"),
        anon,
        file,
        swap,
        kernel: files.number(c"memory.kmem.usage_in_bytes"),
        mapped_file,
        limit_hits: files.number(c"memory.failcnt"),
        oom_kills,
        limit,
        swap_limit,
    }
}
