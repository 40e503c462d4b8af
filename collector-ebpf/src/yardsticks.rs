//! What the programs are measured against: nothing at all, and the usual way.
//!
//! Loaded by the benches only. `empty` and its like are the cost of the hook itself; `usual` is how
//! a scheduler accounting program is commonly written: read the clock at each switch,
//! take the difference to the last, add it in a per-CPU hash by cgroup.
#![no_std]
#![no_main]

use aya_ebpf::{
    helpers::{bpf_get_current_cgroup_id, bpf_ktime_get_ns},
    macros::{btf_tracepoint, cgroup_skb, map},
    maps::{PerCpuArray, PerCpuHashMap},
    programs::{BtfTracePointContext, SkBuffContext},
};

/// Cgroups that the usual program's hash can hold; ample for a bench.
const CGROUPS: u32 = 4_096;

#[map]
static SWITCHED_AT: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

#[map]
static RUNTIME: PerCpuHashMap<u64, u64> = PerCpuHashMap::with_max_entries(CGROUPS, 0);

#[btf_tracepoint(function = "sched_switch")]
pub(crate) fn empty(_ctx: BtfTracePointContext) -> i32 {
    0
}

/// Of a packet that is sent.
#[btf_tracepoint(function = "net_dev_xmit")]
pub(crate) fn empty_sent(_ctx: BtfTracePointContext) -> i32 {
    0
}

/// Of a packet that is received.
#[btf_tracepoint(function = "netif_receive_skb")]
pub(crate) fn empty_received(_ctx: BtfTracePointContext) -> i32 {
    0
}

/// Of a packet that a socket sends.
#[cgroup_skb(egress)]
pub(crate) fn none_sends(_ctx: SkBuffContext) -> i32 {
    1
}

/// Of a packet that a socket receives.
#[cgroup_skb(ingress)]
pub(crate) fn none_receives(_ctx: SkBuffContext) -> i32 {
    1
}

#[btf_tracepoint(function = "sched_switch")]
pub(crate) fn usual(_ctx: BtfTracePointContext) -> i32 {
    // SAFETY: no arguments.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    // SAFETY: no arguments.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    let Some(switched_at) = SWITCHED_AT.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's own element; interrupts are off.
    let then_ns = unsafe { switched_at.replace(now_ns) };
    if then_ns == 0 {
        return 0;
    }
    let slice_ns = now_ns - then_ns;
    if let Some(total) = RUNTIME.get_ptr_mut(cgroup) {
        // SAFETY: this CPU's own element, as above.
        unsafe { *total += slice_ns };
    } else if RUNTIME.insert(cgroup, slice_ns, 0).is_err() {
        return 1;
    }
    0
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
