//! Slices: at each switch, what the scheduler's own ledger says of the slice that ends.
//!
//! No clock is read (but once a millisecond, for calibration) and nothing is kept per
//! task: `__schedule` has just brought `prev`'s ledger up to date (`update_curr`), so
//! the slice is a difference of two readings of `sum_exec_runtime`, the very number
//! that cpuacct.usage, cpu.stat and /proc/PID/schedstat are made of. Every scheduling
//! class maintains it, and `exec_start` with it.
//!
//! Some switches fire no tracepoint. Time is therefore never derived from the gap
//! between two events: the task switched in is remembered, and when `prev` is not that
//! task, `repair` asks the ledger again.

use core::sync::atomic::{Ordering, compiler_fence};

use aya_ebpf::{
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_probe_read_kernel},
    programs::BtfTracePointContext,
};
use collector_ebpf::{
    CACHED_SLOTS, CALIBRATION_NS, CachedSlot, CpuState, FIRST_SLOT, IDLE, OVERFLOW_SLOT,
    UNATTRIBUTED_SLOT, bucket, cell,
};

use crate::{
    layout::{
        self, CSS_CGROUP, CSS_SET_HOP, SLOTS, TASK_CGROUPS, TASK_CPU, TASK_EXEC_START, TASK_ON_CPU,
        TASK_PID, TASK_PREV_SUM_EXEC, TASK_PRIO, TASK_RUN_DELAY, TASK_STATE, TASK_SUM_EXEC, field,
        present,
    },
    maps::{CGROUP_SLOTS, COUNTERS, CPUS},
};

/// `MAX_RT_PRIO` (include/linux/sched/prio.h): priorities from here on are the fair
/// class's; priority inheritance lifts a task above it, and out of that class.
const FAIR_PRIO: u32 = 100;

/// How a slice ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Voluntary,
    Involuntary,
    /// The switch itself was missed: only the ledger tells of the slice.
    Unseen,
}

/// A slice that the ledger has closed.
struct Slice {
    runtime_ns: u64,
    /// Wait before it; `None` where its beginning was missed.
    wait_ns: Option<u64>,
    end: End,
}

/// Closes the slice of the task that leaves and opens that of the one that comes.
#[inline]
pub(crate) fn switch(ctx: &BtfTracePointContext) {
    let prev: *const u8 = ctx.arg(1);
    let next: *const u8 = ctx.arg(2);
    // SAFETY: no arguments; the run queue is locked, so the CPU stays the same.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let Some(state) = CPUS.get_ptr_mut(cpu) else { return };
    // SAFETY: the map's own memory; only this CPU writes its record.
    let state = unsafe { &mut *state };
    // SAFETY: both arguments are `struct task_struct`.
    let (prev_pid, next_pid): (u32, u32) =
        unsafe { (field(prev, &TASK_PID), field(next, &TASK_PID)) };

    // The task clock now: `set_next_task` has just stamped it on `next`. The idle
    // class did not always do so; but then `update_curr` has stamped it on `prev`.
    let stamped = if next_pid == 0 { prev } else { next };
    // SAFETY: `stamped` is one of the two.
    let now_tns: u64 = unsafe { field(stamped, &TASK_EXEC_START) };
    let slot = if next_pid == 0 { IDLE } else { slot_of(state, next) };

    state.sequence = state.sequence.wrapping_add(1);
    compiler_fence(Ordering::SeqCst);
    if state.task == 0 {
        // The first switch seen here: what ran until now is not ours to account.
        calibrate(state, now_tns);
        state.born_at_ns = now_tns.wrapping_add(state.clock_offset_ns);
    } else if state.task == prev as u64 && state.pid == u64::from(prev_pid) {
        close(ctx, cpu, state, prev, now_tns);
    } else {
        repair(ctx, cpu, state, prev, prev_pid, now_tns);
    }
    open(state, next, next_pid, slot, now_tns);
    compiler_fence(Ordering::SeqCst);
    state.sequence = state.sequence.wrapping_add(1);
}

/// The common case: `prev` is who was switched in here.
#[inline]
fn close(
    ctx: &BtfTracePointContext,
    cpu: u32,
    state: &mut CpuState<u64>,
    prev: *const u8,
    now_tns: u64,
) {
    if state.slot == IDLE {
        // pid 0's own runtime is garbage before 6.18; the clock of who follows is not.
        state.idle_ns += now_tns.saturating_sub(state.slice_start_tns);
        return;
    }
    // SAFETY: `prev` is a `struct task_struct`.
    let runtime_ns: u64 = unsafe { field(prev, &TASK_SUM_EXEC) };
    let wait_ns = if present(&TASK_RUN_DELAY) {
        // `sched_info_arrive` adds the wait just after the tracepoint of the switch-in,
        // so it shows only now.
        // SAFETY: as above.
        let run_delay_ns: u64 = unsafe { field(prev, &TASK_RUN_DELAY) };
        Some(run_delay_ns.saturating_sub(state.wait_base_ns))
    } else {
        None
    };
    let runtime_ns = runtime_ns.saturating_sub(state.runtime_base_ns);
    charge(cpu, state.slot as u32, &Slice { runtime_ns, wait_ns, end: end_of(ctx, prev) });
}

/// Remembers who runs now, and what their ledger said at the start.
#[inline]
fn open(state: &mut CpuState<u64>, next: *const u8, next_pid: u32, slot: u64, now_tns: u64) {
    state.task = next as u64;
    state.pid = u64::from(next_pid);
    state.slot = slot;
    state.slice_start_tns = now_tns;
    if slot != IDLE {
        // SAFETY: `next` is a `struct task_struct`.
        state.runtime_base_ns = unsafe { field(next, &TASK_SUM_EXEC) };
        if present(&TASK_RUN_DELAY) {
            // SAFETY: as above.
            state.wait_base_ns = unsafe { field(next, &TASK_RUN_DELAY) };
        }
    }
    // Going idle may have taken a while since the stamp (newidle balancing): a poor
    // moment to compare clocks.
    if slot != IDLE && now_tns.wrapping_sub(state.calibrated_at_tns) >= CALIBRATION_NS {
        calibrate(state, now_tns);
    }
}

/// Compares the clock that user space reads with the task clock.
#[inline]
fn calibrate(state: &mut CpuState<u64>, now_tns: u64) {
    // SAFETY: no arguments.
    state.clock_offset_ns = unsafe { bpf_ktime_get_ns() }.wrapping_sub(now_tns);
    state.calibrated_at_tns = now_tns;
}

/// A switch was missed: who was switched in here left unseen, and `prev` came unseen.
///
/// Both ledgers are asked for their part of the gap; what neither accounts for is
/// lost, and counted. An answer that exceeds the gap is refused.
#[inline]
fn repair(
    ctx: &BtfTracePointContext,
    cpu: u32,
    state: &mut CpuState<u64>,
    prev: *const u8,
    prev_pid: u32,
    now_tns: u64,
) {
    let gap_ns = now_tns.saturating_sub(state.slice_start_tns);
    let mut rest_ns = gap_ns;
    let mut whole = true;

    let departed = departed(cpu, state, gap_ns);
    if let Some((runtime_ns, _)) = departed {
        rest_ns -= runtime_ns;
        charge(cpu, state.slot as u32, &Slice { runtime_ns, wait_ns: None, end: End::Unseen });
    } else {
        whole = false;
    }

    if prev_pid == 0 {
        // Idle since the departed task left, if that is known.
        if let Some((_, left_at_tns)) = departed {
            let idle_ns = now_tns.saturating_sub(left_at_tns).min(rest_ns);
            state.idle_ns += idle_ns;
            rest_ns -= idle_ns;
        }
    } else if let Some(runtime_ns) = arrived(prev, rest_ns) {
        rest_ns -= runtime_ns;
        // Its cgroup now is the best that can be said of where it was at switch-in.
        let slot = slot_of(state, prev);
        charge(cpu, slot as u32, &Slice { runtime_ns, wait_ns: None, end: end_of(ctx, prev) });
    } else {
        whole = false;
    }

    state.lost_ns += rest_ns;
    if whole {
        state.missed_repaired += 1;
    } else {
        state.missed_unrepaired += 1;
    }
}

/// Runtime of the task whose switch-out was missed, and when it left (task clock).
///
/// The task may have exited and its memory may be someone else's by now, so it is read
/// by probe and believed only if it still is who it was and has not run elsewhere
/// since (that runtime was accounted there). Idle keeps no ledger: `None`.
#[inline]
fn departed(cpu: u32, state: &CpuState<u64>, gap_ns: u64) -> Option<(u64, u64)> {
    if state.slot == IDLE || !present(&TASK_ON_CPU) || !present(&TASK_CPU) {
        return None;
    }
    let task = state.task as *const u8;
    let pid: u32 = probe(task, TASK_PID.load())?;
    let on_cpu: u32 = probe(task, TASK_ON_CPU.load())?;
    let last_cpu: u32 = probe(task, TASK_CPU.load())?;
    if u64::from(pid) != state.pid || on_cpu != 0 || last_cpu != cpu {
        return None;
    }
    let sum_exec_ns: u64 = probe(task, TASK_SUM_EXEC.load())?;
    let left_at_tns: u64 = probe(task, TASK_EXEC_START.load())?;
    let runtime_ns = sum_exec_ns.wrapping_sub(state.runtime_base_ns);
    (runtime_ns <= gap_ns).then_some((runtime_ns, left_at_tns))
}

/// Runtime of the task whose switch-in was missed.
///
/// `prev_sum_exec_runtime` is what the fair class noted at switch-in
/// (`set_next_entity`). Other classes leave it stale, and a put/set of the running task
/// (a move between task groups) resets it in mid-slice: a fallback, bounded by the gap.
#[inline]
fn arrived(prev: *const u8, gap_ns: u64) -> Option<u64> {
    if !present(&TASK_PREV_SUM_EXEC) || !present(&TASK_PRIO) {
        return None;
    }
    // SAFETY: `prev` is a `struct task_struct`.
    let prio: u32 = unsafe { field(prev, &TASK_PRIO) };
    if prio < FAIR_PRIO {
        return None;
    }
    // SAFETY: as above.
    let (sum_ns, at_start_ns): (u64, u64) =
        unsafe { (field(prev, &TASK_SUM_EXEC), field(prev, &TASK_PREV_SUM_EXEC)) };
    let runtime_ns = sum_ns.wrapping_sub(at_start_ns);
    (runtime_ns <= gap_ns).then_some(runtime_ns)
}

#[inline]
fn probe<T>(task: *const u8, offset: u64) -> Option<T> {
    // SAFETY: the helper checks the address; a fault is an error, not a crash.
    unsafe { bpf_probe_read_kernel(task.add(offset as usize).cast::<T>()) }.ok()
}

/// Voluntary or not, as the kernel itself tells nvcsw from nivcsw in `__schedule`:
/// a preempted task, or one that is still runnable, did not want to go.
#[inline]
fn end_of(ctx: &BtfTracePointContext, prev: *const u8) -> End {
    // `bool` has no argument type: its slot of the context is a u64.
    let preempted = ctx.arg::<u64>(0) & 0xff != 0;
    let runnable = if present(&TASK_STATE) {
        // An unsigned int since 5.14, a long before: the states that matter are low bits.
        // SAFETY: `prev` is a `struct task_struct`.
        let state: u32 = unsafe { field(prev, &TASK_STATE) };
        state == 0
    } else {
        // The verifier refuses a fourth argument before 5.18; there this is dead code.
        ctx.arg::<u64>(3) as u32 == 0
    };
    if preempted || runnable { End::Involuntary } else { End::Voluntary }
}

/// Slot of the cgroup that the task is in.
///
/// From the task itself, never from *current*: that is `prev` here. Most switches are
/// among a few cgroups, so answers are kept; unless it is a shared slot, which user
/// space may replace by an own one at any time.
#[inline]
fn slot_of(state: &mut CpuState<u64>, task: *const u8) -> u64 {
    let id = cgroup_of(task);
    // SAFETY: user space writes this word, whole, while we hold the record.
    let epoch = unsafe { (&raw const state.epoch).read_volatile() };
    let cached = &mut state.cache[id as usize % CACHED_SLOTS];
    if id == cached.cgroup && epoch == cached.epoch {
        return cached.slot;
    }
    // SAFETY: the value is copied at once; a slot is only reused after a grace time.
    let slot = match unsafe { CGROUP_SLOTS.get(&id) } {
        Some(slot) => *slot,
        None => UNATTRIBUTED_SLOT,
    };
    if slot >= FIRST_SLOT {
        *cached = CachedSlot { cgroup: id, slot: u64::from(slot), epoch };
    }
    u64::from(slot)
}

#[inline]
fn cgroup_of(task: *const u8) -> u64 {
    // SAFETY: `task` is a `struct task_struct` that the verifier knows.
    let css_set: *const u8 = unsafe { field(task, &TASK_CGROUPS) };
    // SAFETY: `task_struct.cgroups` is a `struct css_set`.
    let hop: *const u8 = unsafe { field(css_set, &CSS_SET_HOP) };
    let cgroup = if present(&CSS_CGROUP) {
        // SAFETY: on a v1 hierarchy the hop is a `struct cgroup_subsys_state`.
        unsafe { field(hop, &CSS_CGROUP) }
    } else {
        hop
    };
    // SAFETY: either way it is a `struct cgroup` now.
    unsafe { layout::cgroup_id(cgroup) }
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "a call between BPF programs costs a frame per switch")]
fn charge(cpu: u32, slot: u32, slice: &Slice) {
    let slots = SLOTS.load() as u32;
    // Slots come from a map that user space writes: never index by trust alone.
    let slot = if slot < slots { slot } else { OVERFLOW_SLOT };
    let Some(counters) = COUNTERS.get_ptr_mut(cell(cpu, slots, slot)) else { return };
    // SAFETY: the map's own memory; only this CPU writes its cells.
    let counters = unsafe { &mut *counters };
    counters.runtime_ns += slice.runtime_ns;
    counters.slices[bucket(slice.runtime_ns)] += 1;
    if let Some(wait_ns) = slice.wait_ns {
        counters.wait_ns += wait_ns;
        counters.waits[bucket(wait_ns)] += 1;
    }
    match slice.end {
        End::Voluntary => counters.voluntary += 1,
        End::Involuntary => counters.involuntary += 1,
        End::Unseen => {}
    }
}
