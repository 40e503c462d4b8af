//! Entry points of the eBPF programs, one per kernel hook, and what an object needs
//! besides: licence and panic handler.
//!
//! The work is in the rooms: `sched` (slices), `cgroups` (identity), over `task` (a
//! task's ledger), `layout` (where the running kernel keeps its fields) and `maps`
//! (what is shared).
#![no_std]
#![no_main]
#![expect(
    clippy::cast_possible_truncation,
    reason = "BPF's usize has 64 bits, and what is cut otherwise is checked where it is used"
)]
#![expect(clippy::needless_pass_by_value, reason = "the macro calls the entry points by value")]

mod cgroups;
mod layout;
mod maps;
mod sched;
mod task;

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};

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

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The helpers used are GPL-only; the sources are MIT OR Apache-2.0 besides.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
