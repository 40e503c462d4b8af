//! Packets by socket: each to the cgroup whose socket sends it or gets it.
//!
//! For what shares a network namespace (containers with the host's network, plain
//! services), which no interface tells apart. A pair of programs at the root of the unified
//! hierarchy sees every packet of an IPv4 or IPv6 socket, with the socket: on the way in a
//! tracepoint can't, as the socket isn't known yet. Lengths are those of the IP packet.
//!
//! **Who may interrupt whom.** `ip_finish_output` runs with bottom halves and preemption on:
//! a softirq's packets, or another task's, may come in the middle of a run on the same CPU.
//! So counters are added to atomically, and no look-up is cached: an entry of three words
//! could be half one's and half another's.
//!
//! A task may also be preempted for long between look-up and add. If in that time its cgroup
//! goes, and the cgroup's slot has rested and is given on, this one packet is charged to the
//! slot's next owner.

use core::{
    cell::UnsafeCell,
    sync::atomic::{Ordering, compiler_fence},
};

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_smp_processor_id, generated::bpf_skb_cgroup_id},
    programs::SkBuffContext,
};
use collector_ebpf::{OVERFLOW_SLOT, UNATTRIBUTED_SLOT, cell, packets::PacketCounters};

use crate::{
    layout::SLOTS,
    maps::{CGROUP_SLOTS, SOCKET_COUNTERS},
};

/// What such a program says of a packet: let it pass. (0 would drop it.)
const PASS: i32 = 1;

/// Which way a packet goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To a socket.
    Received,
    /// From a socket.
    Sent,
}

/// Counts a packet for the cgroup of its socket, and lets it pass, whatever happens.
#[inline]
pub(crate) fn count(ctx: &SkBuffContext, direction: Direction) -> i32 {
    // SAFETY: the context is the program's own. No cgroup has the id 0, which is a packet's
    // without a full socket.
    let id = unsafe { bpf_skb_cgroup_id(ctx.as_ptr().cast()) };
    // SAFETY: the value is copied at once. That a slot is only reused after a grace time is
    // for the accounts' sake: its cells are there in any case.
    let slot = match unsafe { CGROUP_SLOTS.get(id) } {
        Some(slot) => *slot,
        None => UNATTRIBUTED_SLOT,
    };
    let slots = SLOTS.load() as u32;
    // Slots come from a map that user space writes: never index by trust alone.
    let slot = if slot < slots { slot } else { OVERFLOW_SLOT };
    // SAFETY: no arguments. Should the task move to another CPU now, the adds are still
    // whole, and all CPUs' sums stay the same.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let Some(counters) = SOCKET_COUNTERS.get_ptr_mut(cell(cpu, slots, slot)) else {
        return PASS;
    };
    let bytes = u64::from(ctx.len());
    // SAFETY: the map's own memory, a word for each cell. It is only ever added to atomically,
    // and user space only reads.
    let counters = unsafe { &*counters.cast::<PacketCounters<UnsafeCell<u64>>>() };
    let PacketCounters { rx_bytes, rx_packets, tx_bytes, tx_packets } = counters;
    let (total_bytes, packets) = match direction {
        Direction::Received => (rx_bytes.get(), rx_packets.get()),
        Direction::Sent => (tx_bytes.get(), tx_packets.get()),
    };
    // SAFETY: words of a map's value.
    unsafe { add(packets, 1) };
    // In this order (see `PacketCounters`); it costs no instruction.
    compiler_fence(Ordering::Release);
    // SAFETY: as above.
    unsafe { add(total_bytes, bytes) };
    PASS
}

/// Adds atomically. Relaxed, and the old value left alone, which is the one instruction for
/// it that kernels before 5.12 have.
///
/// # Safety
/// `word` is an aligned word of a map.
#[inline]
unsafe fn add(word: *mut u64, addend: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's promise.
    unsafe {
        core::intrinsics::atomic_xadd::<u64, u64, { core::intrinsics::AtomicOrdering::Relaxed }>(
            word, addend,
        )
    };
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: as above.
    unsafe { core::sync::atomic::AtomicU64::from_ptr(word) }.fetch_add(addend, Ordering::Relaxed);
}
