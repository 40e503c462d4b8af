//! v2's files: `cpu.*`, `memory.*`, and the pressure files.
//!
//! Owns their names and units (`Documentation/admin-guide/cgroup-v2.rst`), and how they
//! are put in v1's terms where cAdvisor's series are in those.

use super::{files::Files, forms};
use crate::{
    model::resources::{Bandwidth, Cpu, Memory, Pressures},
    source::text,
};

/// `cpu.weight` runs from 1 to this, v1's shares from 2 to 2 + [`SHARES_SPAN`].
const WEIGHT_MAX: u64 = 10_000;
const SHARES_SPAN: u64 = 262_142;

/// CPU time by mode, if wanted, and bandwidth and weight, if wanted: one file has times
/// and bandwidth.
pub(super) fn cpu(files: &mut Files<'_>, cpu: &mut Cpu, has_times: bool, has_rest: bool) {
    let [user, system, periods, throttled_periods, throttled] = files.keyed(
        c"cpu.stat",
        ["user_usec", "system_usec", "nr_periods", "nr_throttled", "throttled_usec"],
    );
    let ns = |us: Option<u64>| us.map(|us| us.saturating_mul(1000));
    if has_times {
        (cpu.user_ns, cpu.system_ns) = (ns(user), ns(system));
    }
    if !has_rest {
        return;
    }
    cpu.bandwidth = Bandwidth { periods, throttled_periods, throttled_ns: ns(throttled) };
    if let Some((quota, period_us)) = files.record(c"cpu.max", forms::quota_and_period) {
        (cpu.quota_us, cpu.period_us) = (quota.0, Some(period_us));
    }
    cpu.shares = files.record(c"cpu.weight", |text| shares(text::number(text)?));
}

/// A weight as v1's shares, as cAdvisor has it (`convertCPUWeightToCPULimit` in
/// container/common/helpers.go). Runtimes have made weights of shares by the inverse of it,
/// and newer ones by another formula: what was given as shares need not come back.
fn shares(weight: u64) -> Option<u64> {
    let above_min = weight.checked_sub(1).filter(|it| *it < WEIGHT_MAX)?;
    Some(2 + above_min * SHARES_SPAN / (WEIGHT_MAX - 1))
}

/// Memory.
pub(super) fn memory(files: &mut Files<'_>) -> Memory {
    let [inactive_file, anon, file, mapped_file, kernel, older_kernels @ ..] = files.keyed(
        c"memory.stat",
        [
            "inactive_file",
            "anon",
            "file",
            "file_mapped",
            "kernel",
            "kernel_stack",
            "pagetables",
            "percpu",
            "vmalloc",
            "slab",
        ],
    );
    let [limit_hits, oom_kills] = files.keyed(c"memory.events", ["max", "oom_kill"]);
    Memory {
        usage: files.number(c"memory.current"),
        inactive_file,
        // Since Linux 5.19.
        max_usage: files.number(c"memory.peak"),
        anon,
        file,
        swap: files.number(c"memory.swap.current"),
        kernel: kernel.or_else(|| kernel_of_parts(older_kernels)),
        mapped_file,
        limit_hits,
        oom_kills,
        limit: files.limit(c"memory.max"),
        swap_limit: files.limit(c"memory.swap.max"),
    }
}

/// The kernel's memory before Linux 5.18, which has one key for it: the parts that the
/// documentation says it is made of, as far as the running kernel tells them (`percpu`
/// since 5.9, `pagetables` since 5.11). What else the kernel charges was told by none.
fn kernel_of_parts<const N: usize>(parts: [Option<u64>; N]) -> Option<u64> {
    parts.into_iter().flatten().reduce(u64::saturating_add)
}

/// Pressure stall information.
pub(super) fn pressures(files: &mut Files<'_>) -> Pressures {
    let mut stalls = |name| files.record(name, forms::stalls).unwrap_or_default();
    Pressures {
        cpu: stalls(c"cpu.pressure"),
        memory: stalls(c"memory.pressure"),
        io: stalls(c"io.pressure"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn weights_become_shares_as_with_cadvisor() {
        for (weight, expected) in [
            (1, Some(2)),
            (39, Some(998)),
            (100, Some(2597)),
            (10_000, Some(262_144)),
            (0, None),
            (10_001, None),
        ] {
            assert_eq!(shares(weight), expected, "{weight}");
        }
    }

    #[test]
    fn older_kernels_tell_the_parts_they_have() {
        assert_eq!(kernel_of_parts([Some(1), None, Some(2)]), Some(3));
        assert_eq!(kernel_of_parts([None; 3]), None);
    }

    proptest! {
        #[test]
        fn no_number_makes_it_panic(weight in any::<u64>(), parts in any::<[Option<u64>; 4]>()) {
            let _ = (shares(weight), kernel_of_parts(parts));
        }
    }
}
