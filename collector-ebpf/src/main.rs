//! Entry points of the eBPF programs, one per kernel hook, and what an object needs
//! besides: licence and panic handler.
//!
//! The work is in the rooms: `sched` (slices), `cgroups` (identity), `net` (packets by
//! interface), `sockets` (packets by cgroup), over `task` (a task's ledger), `layout`
//! (where the running kernel keeps its fields) and `maps` (what is shared).
#![no_std]
#![no_main]
// Atomics for BPF are intrinsics only: its target has no compare-and-swap. (A check of the
// sources on a host has the usual ones.)
#![cfg_attr(target_arch = "bpf", feature(core_intrinsics))]
#![cfg_attr(target_arch = "bpf", expect(internal_features, reason = "as above"))]
#![expect(
    clippy::cast_possible_truncation,
    reason = "BPF's usize has 64 bits, and what is cut otherwise is checked where it is used"
)]
#![expect(clippy::needless_pass_by_value, reason = "the macro calls the entry points by value")]

mod cgroups;
mod layout;
mod maps;
mod net;
mod sched;
mod sockets;
mod task;

use aya_ebpf::{
    macros::{btf_tracepoint, cgroup_skb},
    programs::{BtfTracePointContext, SkBuffContext},
};
use sockets::Direction;

/// `sched_switch(bool preempt, struct task_struct *prev, struct task_struct *next,
/// unsigned int prev_state)`; `prev_state` since 5.18. In `__schedule`, run queue
/// locked, interrupts off.
#[btf_tracepoint(function = "sched_switch")]
pub(crate) fn sched_switch(ctx: BtfTracePointContext) -> i32 {
    sched::switch(&ctx);
    0
}

/// `hrtimer_expire_exit(struct hrtimer *hrtimer)`, in the timer's interrupt: the tick's
/// own timer among others.
#[btf_tracepoint(function = "hrtimer_expire_exit")]
pub(crate) fn hrtimer_expire_exit(_ctx: BtfTracePointContext) -> i32 {
    sched::tick();
    0
}

/// `cgroup_mkdir(struct cgroup *cgrp, const char *path)`, before the directory can be
/// seen or entered.
#[btf_tracepoint(function = "cgroup_mkdir")]
pub(crate) fn cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    cgroups::created(&ctx);
    0
}

/// `cgroup_rmdir(struct cgroup *cgrp, const char *path)`, when the directory goes.
#[btf_tracepoint(function = "cgroup_rmdir")]
pub(crate) fn cgroup_rmdir(ctx: BtfTracePointContext) -> i32 {
    cgroups::removed(&ctx);
    0
}

/// `net_dev_xmit(struct sk_buff *skb, int rc, struct net_device *dev, unsigned int
/// skb_len)`, when the driver has returned: the skb may be gone.
#[btf_tracepoint(function = "net_dev_xmit")]
pub(crate) fn net_dev_xmit(ctx: BtfTracePointContext) -> i32 {
    net::sent(&ctx);
    0
}

/// `netif_receive_skb(struct sk_buff *skb)`, once per skb and interface that hands it up,
/// before anyone has looked at it.
#[btf_tracepoint(function = "netif_receive_skb")]
pub(crate) fn netif_receive_skb(ctx: BtfTracePointContext) -> i32 {
    net::received(&ctx);
    0
}

/// A packet that is about to be handed to a socket (`sk_filter_trim_cap`).
#[cgroup_skb(ingress)]
pub(crate) fn socket_receives(ctx: SkBuffContext) -> i32 {
    sockets::count(&ctx, Direction::Received)
}

/// A packet that a socket sends (`ip_finish_output`, `ip6_finish_output`).
#[cgroup_skb(egress)]
pub(crate) fn socket_sends(ctx: SkBuffContext) -> i32 {
    sockets::count(&ctx, Direction::Sent)
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The helpers used are GPL-only; the sources are MIT OR Apache-2.0 besides.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
