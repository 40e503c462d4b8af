//! The ABI between the eBPF programs and user space: records, capacities, and the
//! arithmetic that both sides must agree on.
//!
//! Plain data, `no_std`, no dependencies: it is compiled for the kernel (where a
//! counter is a `u64` that only its own CPU writes) and for the daemon (where the
//! same memory is seen through `AtomicU64`), hence the type parameter `W`.
//! It must not hold anything that only one side needs.
#![no_std]
#![forbid(unsafe_code)]

pub mod packets;

/// Finite upper bounds of a log2 histogram: `2^FIRST_EDGE_LOG2` ns and on, doubling.
/// Below a microsecond lies nothing that an operator could act upon.
pub const FIRST_EDGE_LOG2: u32 = 10;

/// Buckets of a histogram: 21 finite ones (1.024 µs … 1.074 s) and the rest.
/// A stint longer than a second is an incident, whatever its exact length.
pub const BUCKETS: usize = 22;

/// Slot of the cgroups that found no free slot: their sum stays exact.
pub const OVERFLOW_SLOT: u32 = 0;

/// Slot of slices whose cgroup is not known: tasks that outlived the removal of
/// their cgroup, or that ran in one removed before the daemon started.
pub const UNATTRIBUTED_SLOT: u32 = 1;

/// The first slot that a cgroup can own.
pub const FIRST_SLOT: u32 = 2;

/// What [`CpuState::slot`] says while the idle task runs; never an index.
pub const IDLE: u64 = u64::MAX;

/// A reading that was missed.
pub const UNKNOWN: u64 = u64::MAX;

/// Slots for cgroups unless told otherwise: ample for a host of a few hundred
/// containers, and under a mebibyte of kernel memory per CPU.
pub const DEFAULT_SLOTS: u32 = 1_024;

/// The most slots that can be asked for; a bound on kernel memory, not on need.
pub const MAX_SLOTS: u32 = 65_536;

/// Known cgroups beyond the slots (they share [`OVERFLOW_SLOT`]) that the id→slot
/// map can hold. Past these, usage goes to [`UNATTRIBUTED_SLOT`].
pub const OVERFLOW_CGROUPS: u32 = 8_192;

/// Bytes of a cgroup's path in an event, terminating NUL included. Kubernetes'
/// longest are under 300; the kernel itself cuts a traced path at 1,024.
pub const PATH_BYTES: usize = 512;

/// Bytes of the ring buffer for cgroup events: some 480 of them, more than a burst
/// of container starts makes before user space is woken. A power of two and a
/// multiple of the page size, as the kernel demands.
pub const EVENT_RING_BYTES: u32 = 256 * 1024;

/// Entries of a CPU's cache of slots: enough for a handful of busy containers, in six
/// cache lines.
pub const CACHED_SLOTS: usize = 16;

/// How old the calibration of a CPU's clock may get, in ns, before the next switch
/// renews it; every tick does so, too. One clock read a millisecond is noise. The task
/// clock stands still in interrupts and stolen time, so that the error of what is in
/// flight is what of these a CPU had since then.
pub const CALIBRATION_NS: u64 = 1_000_000;

/// Counters of one slot on one CPU. Closed slices only: the one in flight is added
/// by the reader from [`CpuState`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Counters<W> {
    /// On-CPU time in ns, from `task_struct.se.sum_exec_runtime`.
    pub runtime_ns: W,
    /// Run-queue wait in ns, from `task_struct.sched_info.run_delay`.
    pub wait_ns: W,
    /// Switches away because the task blocked, slept or exited.
    pub voluntary: W,
    /// Switches away from a task that could have gone on.
    pub involuntary: W,
    /// Log2 histogram of the slices' lengths; see [`bucket`].
    pub slices: [W; BUCKETS],
    /// Log2 histogram of the waits before them.
    pub waits: [W; BUCKETS],
}

/// What a CPU is doing now, and its private tallies.
///
/// `*_tns` is a time on the CPU's own task clock (`rq_clock_task`: it stands still
/// in interrupts and while the hypervisor steals the CPU).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub struct CpuState<W> {
    /// Odd while the CPU updates this record or the running slot's totals: read
    /// again. Zero until the CPU's first switch was seen.
    pub sequence: W,
    /// Slot of the running task, or [`IDLE`].
    pub slot: W,
    /// When the running slice (or idleness) began, on the task clock.
    pub slice_start_tns: W,
    /// What the ledger has booked of the running slice until [`Self::booked_at_tns`].
    pub booked_ns: W,
    /// When it last did: at the slice's beginning, then at every tick.
    pub booked_at_tns: W,
    /// `CLOCK_MONOTONIC` minus task clock when last compared, in ns (wrapping).
    pub clock_offset_ns: W,
    /// When that comparison was made, on the task clock.
    pub calibrated_at_tns: W,
    /// Address of the running `task_struct`: an identity, never followed blindly.
    pub task: W,
    /// Its pid, against an address that was freed and used again.
    pub pid: W,
    /// Its `se.sum_exec_runtime` at switch-in.
    pub runtime_base_ns: W,
    /// Its `sched_info.run_delay` at switch-in, which lacks the wait just ended;
    /// [`UNKNOWN`] where the switch-in was missed.
    pub wait_base_ns: W,
    /// `jiffies` when the record was last looked at between switches.
    pub ticked_at: W,
    /// Closed idle time in ns.
    pub idle_ns: W,
    /// `CLOCK_MONOTONIC` at the first switch seen: since when this CPU is accounted.
    pub born_at_ns: W,
    /// Switches that fired no tracepoint and whose slice the ledger gave back.
    pub missed_repaired: W,
    /// Switches that fired no tracepoint and whose slice is lost.
    pub missed_unrepaired: W,
    /// Time in ns across missed switches that no task's ledger accounts for.
    pub lost_ns: W,
    /// Cgroup events that found the ring buffer full.
    pub events_dropped: W,
    /// Cgroups that found no free slot at their creation.
    pub slots_exhausted: W,
    /// Cgroups that found the id→slot map full at their creation.
    pub ids_exhausted: W,
    /// Grows each time a slot is taken from a cgroup, and so voids the cache. The one
    /// word here that user space writes, and the programs only read.
    pub epoch: W,
    /// Slots of the cgroups that ran here lately, by the low bits of their ids.
    pub cache: [CachedSlot<W>; CACHED_SLOTS],
}

/// A look-up that need not be made again.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct CachedSlot<W> {
    /// Id of the cgroup.
    pub cgroup: W,
    /// Its slot.
    pub slot: W,
    /// [`CpuState::epoch`] at the look-up.
    pub epoch: W,
}

/// What happened to a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CgroupEventKind {
    /// Created, and mapped to the slot in the event.
    Created = 1,
    /// Removed from the tree; its last tasks may still be exiting.
    Removed = 2,
}

/// A record of the event ring buffer.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CgroupEvent {
    /// [`CgroupEventKind`] as a number.
    pub kind: u32,
    /// The slot it was given at creation; [`OVERFLOW_SLOT`] if none was free.
    pub slot: u32,
    /// `kernfs_node.id`: the inode number of the cgroup's directory.
    pub id: u64,
    /// Bytes of the path, NUL included; [`PATH_BYTES`] when it was cut.
    pub path_len: u32,
    /// Keeps the record a multiple of 8.
    pub reserved: u32,
    /// Path from the hierarchy's root, NUL-terminated.
    pub path: [u8; PATH_BYTES],
}

/// De Bruijn sequence of order 5: its 32 five-bit windows are all different.
const DE_BRUIJN: u32 = 0x077C_B531;

/// log2 of a power of two, by the window that multiplying [`DE_BRUIJN`] by it brings
/// to the top. A `static`: it must land in `.rodata`, beside the programs' globals.
static LOG2: [u8; 32] = {
    let mut table = [0; 32];
    let mut power = 0;
    while power < 32 {
        table[((DE_BRUIJN << power) >> 27) as usize] = power;
        power += 1;
    }
    table
};

/// The bucket of a duration: the first whose upper bound is not below it.
///
/// Branch-free but for two clamps: BPF has no count of leading zeros; what LLVM makes
/// of it costs twice as much, and five comparisons mispredict (and give the verifier
/// 32 paths each).
#[inline]
pub fn bucket(duration_ns: u64) -> usize {
    // `le` bounds are inclusive, so 1,024 ns belongs to the bucket of 2^10.
    let units = duration_ns.saturating_sub(1) >> FIRST_EDGE_LOG2;
    let mut ones = units.min(1 << (BUCKETS - 2)) as u32;
    ones |= ones >> 1;
    ones |= ones >> 2;
    ones |= ones >> 4;
    ones |= ones >> 8;
    ones |= ones >> 16;
    // `ones + 1` is the power of two above `units`: its log2 is their bit length.
    let window = DE_BRUIJN.wrapping_mul(ones + 1) >> 27;
    // The verifier can't see that no larger one comes out of the table.
    (LOG2[(window & 31) as usize] as usize).min(BUCKETS - 1)
}

/// Upper bound of a finite bucket in ns (inclusive).
pub const fn bucket_edge_ns(bucket: usize) -> u64 {
    1 << (FIRST_EDGE_LOG2 as usize + bucket)
}

/// Entry of the cache of slots for a cgroup.
///
/// Ids count the files of every cgroup, too, so neighbours are some twenty or forty
/// apart, or any other stride: shift and multiplication spread all strides about as
/// evenly as chance would.
#[inline]
pub const fn cache_entry(cgroup: u64) -> usize {
    ((cgroup ^ (cgroup >> 4)).wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 60) as usize % CACHED_SLOTS
}

/// Index of a slot's record in the `[cpu][slot]` arrays.
#[inline]
pub const fn cell(cpu: u32, slots: u32, slot: u32) -> u32 {
    cpu * slots + slot
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_its_edge_says() {
        assert_eq!(bucket(0), 0);
        for index in 0..BUCKETS - 1 {
            let edge_ns = bucket_edge_ns(index);
            assert_eq!(bucket(edge_ns), index, "the edge is inclusive");
            assert_eq!(bucket(edge_ns + 1), index + 1, "one more is not");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn neighbours_rarely_share_an_entry_of_the_cache() {
        for stride in 1..=96 {
            let mut entries = 0;
            for first in [1, 5_021, 77_777, 102_976, 3_000_001] {
                let mut used = [false; CACHED_SLOTS];
                (0..8).for_each(|n| used[cache_entry(first + stride * n)] = true);
                entries += used.into_iter().filter(|&used| used).count();
            }
            // Chance would have eight cgroups use 6.5 entries of sixteen, on average.
            assert!(entries >= 5 * 5, "cgroups {stride} apart share entries");
        }
    }

    #[test]
    fn records_are_whole_words() {
        assert_eq!(size_of::<Counters<u64>>(), (4 + 2 * BUCKETS) * 8);
        assert_eq!(size_of::<CpuState<u64>>() % 64, 0);
        assert_eq!(size_of::<CgroupEvent>() % 8, 0);
    }
}
