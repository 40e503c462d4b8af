//! Cgroup identity: a slot at birth, an event at birth and death.
//!
//! A new cgroup gets its slot here, in the kernel, before any task can enter it, so
//! that one which lives five milliseconds is accounted from its first slice. Slots
//! are given back by user space alone, after it has read them.
//!
//! What goes wrong is counted, and logged at debug level only: where one cgroup finds no
//! slot, thousands may. User space says it once.
//!
//! Both tracepoints fire inside `TRACE_CGROUP_PATH` (kernel/cgroup/cgroup-internal.h),
//! under a spinlock with interrupts off (but on `PREEMPT_RT`, where it is a sleeping lock and
//! a tally can rarely be lost): per-CPU tallies need no more protection.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_smp_processor_id, bpf_probe_read_kernel_str_bytes},
    programs::BtfTracePointContext,
};
use aya_log_ebpf::debug;
use collector_ebpf::{CgroupEvent, CgroupEventKind, CpuState, OVERFLOW_SLOT};

use crate::{
    layout::{self, CGROUP_ROOT, HIERARCHY, ROOT_HIERARCHY, field},
    maps::{CGROUP_SLOTS, CPUS, EVENTS, FREE_SLOTS},
};

/// Maps a new cgroup to a free slot, and tells user space; or does neither: of a slot
/// that user space never heard of, it could never say that it is free again.
#[inline]
pub(crate) fn created(ctx: &BtfTracePointContext) {
    let cgroup: *const u8 = ctx.arg(0);
    if !accounted(cgroup) {
        return;
    }
    // SAFETY: the tracepoint's first argument is a `struct cgroup`.
    let id = unsafe { layout::cgroup_id(cgroup) };
    let Some(mut entry) = EVENTS.reserve::<CgroupEvent>(0) else {
        debug!(ctx, "event ring full: cgroup {} has to wait for the next walk", id);
        tally(|cpu| cpu.events_dropped += 1);
        return;
    };
    let slot = assign(ctx, id);
    debug!(ctx, "cgroup {} created, slot {}", id, slot);
    let record = entry.as_mut_ptr();
    // SAFETY: the reserved record is writable, aligned and ours until it is submitted.
    // User space reads no more of the path than is written.
    let event = unsafe { &mut *record };
    let path: *const u8 = ctx.arg(1);
    // SAFETY: the tracepoint's second argument; the helper checks it, and the length.
    let copied = unsafe { bpf_probe_read_kernel_str_bytes(path, &mut event.path) };
    event.path_len = copied.map_or(0, |bytes| bytes.len() as u32 + 1);
    event.kind = CgroupEventKind::Created as u32;
    event.slot = slot;
    event.id = id;
    event.reserved = 0;
    entry.submit(0);
}

/// Leads the id to a free slot, or to the shared one if none is free.
#[inline]
fn assign(ctx: &BtfTracePointContext, id: u64) -> u32 {
    let popped = FREE_SLOTS.pop().ok().flatten();
    if popped.is_none() {
        debug!(ctx, "no free slot for cgroup {}: it shares the overflow slot", id);
        tally(|cpu| cpu.slots_exhausted += 1);
    }
    let slot = popped.unwrap_or(OVERFLOW_SLOT);
    if CGROUP_SLOTS.insert(id, slot, u64::from(BPF_NOEXIST)).is_ok() {
        return slot;
    }
    debug!(ctx, "no room for the id of cgroup {}: its usage is unattributed", id);
    tally(|cpu| cpu.ids_exhausted += 1);
    if let Some(unused) = popped {
        // There is room: it was popped a moment ago, and each slot exists once.
        if FREE_SLOTS.push(unused, 0).is_err() {
            tally(|cpu| cpu.slots_exhausted += 1);
        }
    }
    OVERFLOW_SLOT
}

/// Tells user space that a cgroup is gone. Its last tasks may still be on their way
/// out (`do_exit` after `cgroup_exit`), so the slot stays its own for now.
#[inline]
pub(crate) fn removed(ctx: &BtfTracePointContext) {
    let cgroup: *const u8 = ctx.arg(0);
    if !accounted(cgroup) {
        return;
    }
    // SAFETY: the tracepoint's first argument is a `struct cgroup`.
    let id = unsafe { layout::cgroup_id(cgroup) };
    debug!(ctx, "cgroup {} removed", id);
    let Some(mut entry) = EVENTS.reserve::<CgroupEvent>(0) else {
        debug!(ctx, "event ring full: the removal of cgroup {} shows at the next walk", id);
        tally(|cpu| cpu.events_dropped += 1);
        return;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: as in `created`; user space reads no path of length 0.
    let event = unsafe { &mut *record };
    event.path_len = 0;
    event.kind = CgroupEventKind::Removed as u32;
    event.slot = OVERFLOW_SLOT;
    event.id = id;
    event.reserved = 0;
    entry.submit(0);
}

/// Whether the cgroup is of the hierarchy that is accounted: v1 makes one in each of
/// a dozen hierarchies per container.
#[inline]
fn accounted(cgroup: *const u8) -> bool {
    // SAFETY: `cgroup` is the tracepoint's argument, a `struct cgroup`.
    let root: *const u8 = unsafe { field(cgroup, &CGROUP_ROOT) };
    // SAFETY: `cgroup.root` is a `struct cgroup_root`.
    let hierarchy: u32 = unsafe { field(root, &ROOT_HIERARCHY) };
    u64::from(hierarchy) == HIERARCHY.load()
}

#[inline]
fn tally(count: impl FnOnce(&mut CpuState<u64>)) {
    // SAFETY: no arguments; interrupts are off, so the CPU stays the same.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    if let Some(state) = CPUS.get_ptr_mut(cpu) {
        // SAFETY: the map's own memory; only this CPU writes its record.
        count(unsafe { &mut *state });
    }
}
