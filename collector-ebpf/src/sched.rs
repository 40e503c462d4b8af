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
//! task, `repair` asks the ledger again. `tick` finds out early, between switches.

#![expect(
    clippy::inline_always,
    reason = "BPF functions take five words at most, and a call costs a frame per switch"
)]

use core::sync::atomic::{Ordering, compiler_fence};

use aya_ebpf::{
    helpers::{bpf_get_smp_processor_id, bpf_jiffies64, bpf_ktime_get_ns},
    programs::BtfTracePointContext,
};
use collector_ebpf::{
    CALIBRATION_NS, CachedSlot, CpuState, FIRST_SLOT, IDLE, OVERFLOW_SLOT, UNATTRIBUTED_SLOT,
    UNKNOWN, bucket, cache_entry, cell,
};

use crate::{
    layout::SLOTS,
    maps::{CGROUP_SLOTS, COUNTERS, CPUS},
    task::{Remembered, Task},
};

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
    let prev = Task::argument(ctx, 1);
    let next = Task::argument(ctx, 2);
    // SAFETY: no arguments; the run queue is locked, so the CPU stays the same.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let Some(state) = CPUS.get_ptr_mut(cpu) else { return };
    // SAFETY: the map's own memory; only this CPU writes its record.
    let state = unsafe { &mut *state };
    let (prev_pid, next_pid) = (prev.pid(), next.pid());

    // The task clock now: `set_next_task` has just stamped it on `next`. The idle
    // class did not always do so; but then `update_curr` has stamped it on `prev`.
    let now_tns = if next_pid == 0 { prev.exec_start_tns() } else { next.exec_start_tns() };

    begin(state);
    if state.task == 0 {
        // The first switch seen here: what ran until now is not ours to account.
        calibrate(state, now_tns);
        state.born_at_ns = now_tns.wrapping_add(state.clock_offset_ns);
    } else if state.task == prev.address() && state.pid == u64::from(prev_pid) {
        close(ctx, cpu, state, prev, now_tns);
    } else if let Some(runtime_ns) = repair(cpu, state, prev, prev_pid, now_tns) {
        if prev_pid == 0 {
            state.idle_ns += runtime_ns;
        } else {
            // Its cgroup now is the best that can be said of where it was at switch-in.
            let slot = slot_of(state, prev);
            charge(cpu, slot, &Slice { runtime_ns, wait_ns: None, end: end_of(ctx, prev) });
        }
    }
    open(state, next, next_pid, now_tns);
    end(state);
}

/// Between switches: sees to it that the record names who is on the CPU, and takes over
/// what the ledger has booked of the running slice.
///
/// Called when a timer's handler is done; the tick is one, and has just had the ledger
/// brought up to date (`task_tick`). Of several in one jiffy only the first is heeded.
#[inline]
pub(crate) fn tick() {
    // SAFETY: no arguments; in an interrupt, so the CPU stays the same.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    // SAFETY: no arguments.
    let jiffies = unsafe { bpf_jiffies64() };
    let Some(state) = CPUS.get_ptr_mut(cpu) else { return };
    // SAFETY: the map's own memory; only this CPU writes its record, and a timer does not
    // interrupt `__schedule`.
    let state = unsafe { &mut *state };
    if state.ticked_at == jiffies {
        return;
    }
    state.ticked_at = jiffies;
    let current = Task::current();
    let pid = current.pid();
    if state.task == 0 || (pid == 0 && state.slot == IDLE) {
        return;
    }
    begin(state);
    if state.task == current.address() && state.pid == u64::from(pid) {
        book(cpu, state, current);
    } else {
        take_up(cpu, state, current, pid);
    }
    end(state);
}

/// Takes over what the ledger has booked of the running slice.
#[inline]
fn book(cpu: u32, state: &mut CpuState<u64>, current: Task) {
    // The time first: an update from another CPU in between then shows as too little,
    // which the next tick makes good.
    let sum_exec_ns = current.sum_exec_ns();
    let booked_at_tns = current.exec_start_tns();
    let booked_ns = sum_exec_ns.saturating_sub(state.runtime_base_ns);
    let slot = slot_of(state, current);
    if slot == state.slot {
        state.booked_ns = booked_ns;
    } else {
        // It was moved to another cgroup (or its cgroup got a slot): what it ran until
        // the last booking stays with the old one.
        let slice = Slice { runtime_ns: booked_ns, wait_ns: None, end: End::Unseen };
        charge(cpu, state.slot, &slice);
        state.slot = slot;
        state.runtime_base_ns = sum_exec_ns;
        state.slice_start_tns = booked_at_tns;
        state.booked_ns = 0;
    }
    state.booked_at_tns = booked_at_tns;
    calibrate(state, booked_at_tns);
}

/// Settles a missed switch before the next one comes: `current` has been here for a while.
#[inline]
fn take_up(cpu: u32, state: &mut CpuState<u64>, current: Task, pid: u32) {
    let now_tns = if pid == 0 {
        // SAFETY: no arguments.
        unsafe { bpf_ktime_get_ns() }.wrapping_sub(state.clock_offset_ns)
    } else {
        current.exec_start_tns()
    };
    let runtime_ns = repair(cpu, state, current, pid, now_tns).unwrap_or(0);
    open(state, current, pid, now_tns);
    state.slice_start_tns = now_tns.saturating_sub(runtime_ns);
    state.booked_ns = runtime_ns;
    if pid != 0 {
        state.runtime_base_ns = state.runtime_base_ns.saturating_sub(runtime_ns);
        state.wait_base_ns = UNKNOWN;
    }
}

/// Marks the record as being written: user space will read it again.
#[inline(always)]
fn begin(state: &mut CpuState<u64>) {
    state.sequence = state.sequence.wrapping_add(1);
    compiler_fence(Ordering::SeqCst);
}

/// Marks the record as written.
#[inline(always)]
fn end(state: &mut CpuState<u64>) {
    compiler_fence(Ordering::SeqCst);
    state.sequence = state.sequence.wrapping_add(1);
}

/// The common case: `prev` is who was switched in here.
#[inline]
fn close(
    ctx: &BtfTracePointContext,
    cpu: u32,
    state: &mut CpuState<u64>,
    prev: Task,
    now_tns: u64,
) {
    if state.slot == IDLE {
        // pid 0's own runtime is garbage; the clock of who follows is not.
        state.idle_ns += now_tns.saturating_sub(state.slice_start_tns);
        return;
    }
    let runtime_ns = prev.sum_exec_ns().saturating_sub(state.runtime_base_ns);
    // `sched_info_arrive` adds the wait just after the tracepoint of the switch-in, so it
    // shows only now.
    let base_ns = state.wait_base_ns;
    let wait_ns = prev.run_delay_ns().filter(|_| base_ns != UNKNOWN);
    let wait_ns = wait_ns.map(|now_ns| now_ns.saturating_sub(base_ns));
    charge(cpu, state.slot, &Slice { runtime_ns, wait_ns, end: end_of(ctx, prev) });
}

/// Remembers who runs now, and what their ledger said at the start.
#[inline(always)]
fn open(state: &mut CpuState<u64>, next: Task, next_pid: u32, now_tns: u64) {
    state.task = next.address();
    state.pid = u64::from(next_pid);
    state.slice_start_tns = now_tns;
    state.booked_ns = 0;
    state.booked_at_tns = now_tns;
    if next_pid == 0 {
        // Going idle may have taken a while since the stamp (newidle balancing): a poor
        // moment to compare clocks.
        state.slot = IDLE;
        return;
    }
    state.slot = slot_of(state, next);
    state.runtime_base_ns = next.sum_exec_ns();
    state.wait_base_ns = next.run_delay_ns().unwrap_or(UNKNOWN);
    if now_tns.wrapping_sub(state.calibrated_at_tns) >= CALIBRATION_NS {
        calibrate(state, now_tns);
    }
}

/// Compares the clock that user space reads with the task clock.
#[inline(always)]
fn calibrate(state: &mut CpuState<u64>, now_tns: u64) {
    // SAFETY: no arguments.
    state.clock_offset_ns = unsafe { bpf_ktime_get_ns() }.wrapping_sub(now_tns);
    state.calibrated_at_tns = now_tns;
}

/// A switch was missed: who was switched in here left unseen, and `found` came unseen.
/// Returns for how long `found` has been here (running, or idle), if that can be told.
///
/// Both ledgers are asked for their part of the gap; what neither accounts for is
/// lost, and counted. An answer that exceeds the gap is refused.
#[inline(always)]
fn repair(
    cpu: u32,
    state: &mut CpuState<u64>,
    found: Task,
    found_pid: u32,
    now_tns: u64,
) -> Option<u64> {
    let was_idle = state.slot == IDLE;
    let mut gap_ns = now_tns.saturating_sub(state.slice_start_tns);
    let departed = departed(cpu, state, gap_ns);
    if let Some((runtime_ns, _)) = departed {
        gap_ns -= runtime_ns;
        charge(cpu, state.slot, &Slice { runtime_ns, wait_ns: None, end: End::Unseen });
    }
    let runtime_ns = if found_pid == 0 {
        // Idle since the departed task left, if that is known.
        departed.map(|(_, left_at_tns)| now_tns.saturating_sub(left_at_tns).min(gap_ns))
    } else {
        arrived(found, gap_ns)
    };
    gap_ns -= runtime_ns.unwrap_or(0);
    if was_idle && runtime_ns.is_some() {
        // Nothing else is known to have run: it was idle until `found` came.
        state.idle_ns += gap_ns;
        gap_ns = 0;
    }
    state.lost_ns += gap_ns;
    if runtime_ns.is_some() && (was_idle || departed.is_some()) {
        state.missed_repaired += 1;
    } else {
        state.missed_unrepaired += 1;
    }
    runtime_ns
}

/// Runtime of the task whose switch-out was missed, and when it left (task clock). Idle
/// keeps no ledger: `None`.
#[inline(always)]
fn departed(cpu: u32, state: &CpuState<u64>, gap_ns: u64) -> Option<(u64, u64)> {
    if state.slot == IDLE {
        return None;
    }
    let left = Remembered { address: state.task, pid: state.pid }.left(cpu)?;
    let runtime_ns = left.sum_exec_ns.wrapping_sub(state.runtime_base_ns);
    (runtime_ns <= gap_ns).then_some((runtime_ns, left.at_tns))
}

/// Runtime of the task whose switch-in was missed.
///
/// `prev_sum_exec_runtime` is what the fair class noted at switch-in
/// (`set_next_entity`); a put/set of the running task (a move between task groups)
/// resets it in mid-slice. So it is a fallback, bounded by the gap.
#[inline(always)]
fn arrived(prev: Task, gap_ns: u64) -> Option<u64> {
    let runtime_ns = prev.sum_exec_ns().wrapping_sub(prev.prev_sum_exec_ns()?);
    (runtime_ns <= gap_ns).then_some(runtime_ns)
}

/// Voluntary or not, by the state that `__schedule` told the tracepoint: a preempted
/// task, or one that is still runnable, did not want to go. The kernel's own nvcsw also
/// counts a task that wanted to sleep and was kept awake by a signal; here that is
/// involuntary.
#[inline(always)]
fn end_of(ctx: &BtfTracePointContext, prev: Task) -> End {
    // `bool` has no argument type: its slot of the context is a u64.
    let preempted = ctx.arg::<u64>(0) & 0xff != 0;
    // The verifier refuses a fourth argument before 5.18; there it is dead code.
    let runnable = prev.runnable().unwrap_or_else(|| ctx.arg::<u64>(3) as u32 == 0);
    if preempted || runnable { End::Involuntary } else { End::Voluntary }
}

/// Slot of the cgroup that the task is in.
///
/// From the task itself, never from *current*: that is `prev` here. Most switches are
/// among a few cgroups, so answers are kept; unless it is a shared slot, which user
/// space may replace by an own one at any time.
#[inline(always)]
fn slot_of(state: &mut CpuState<u64>, task: Task) -> u64 {
    let id = task.cgroup();
    // SAFETY: user space writes this word, whole, while we hold the record.
    let epoch = unsafe { (&raw const state.epoch).read_volatile() };
    let cached = &mut state.cache[cache_entry(id)];
    if id == cached.cgroup && epoch == cached.epoch {
        return cached.slot;
    }
    // SAFETY: the value is copied at once; a slot is only reused after a grace time.
    let slot = match unsafe { CGROUP_SLOTS.get(id) } {
        Some(slot) => *slot,
        None => UNATTRIBUTED_SLOT,
    };
    if slot >= FIRST_SLOT {
        *cached = CachedSlot { cgroup: id, slot: u64::from(slot), epoch };
    }
    u64::from(slot)
}

#[inline(always)]
fn charge(cpu: u32, slot: u64, slice: &Slice) {
    let slots = SLOTS.load() as u32;
    // Slots come from a map that user space writes: never index by trust alone.
    let slot = if slot < u64::from(slots) { slot as u32 } else { OVERFLOW_SLOT };
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
