//! A task as the scheduler hands it to a tracepoint: its ledger, by name.
//!
//! Owns the reading of `struct task_struct`. Must not decide what a value means.

use aya_ebpf::{
    Global,
    helpers::{bpf_get_current_task_btf, bpf_probe_read_kernel},
    programs::BtfTracePointContext,
};

use crate::layout::{
    self, CSS_CGROUP, CSS_SET_HOP, TASK_CGROUPS, TASK_CPU, TASK_EXEC_START, TASK_ON_CPU, TASK_PID,
    TASK_PREV_SUM_EXEC, TASK_PRIO, TASK_RUN_DELAY, TASK_STATE, TASK_SUM_EXEC, field, present,
};

/// `MAX_RT_PRIO` (include/linux/sched/prio.h): priorities from here on are the fair
/// class's; priority inheritance lifts a task above it, and out of that class.
const FAIR_PRIO: u32 = 100;

/// A task that the verifier knows to be one: reading it needs no helper.
#[derive(Clone, Copy)]
pub(crate) struct Task(*const u8);

impl Task {
    /// The task that is argument `n` of `sched_switch`.
    #[inline]
    pub(crate) fn argument(ctx: &BtfTracePointContext, n: usize) -> Self {
        Self(ctx.arg(n))
    }

    /// The task on this CPU, for a program that runs in an interrupt. Linux 5.11 or later.
    #[inline]
    pub(crate) fn current() -> Self {
        // SAFETY: no arguments; there always is a current task.
        Self(unsafe { bpf_get_current_task_btf() }.cast_const().cast())
    }

    /// Where it is: its identity as long as it lives.
    #[inline]
    pub(crate) fn address(self) -> u64 {
        self.0 as u64
    }

    /// Its pid (a thread's own); 0 is the idle task of each CPU.
    #[inline]
    pub(crate) fn pid(self) -> u32 {
        self.read(&TASK_PID)
    }

    /// All the time it ever ran, in ns, up to date at a switch.
    #[inline]
    pub(crate) fn sum_exec_ns(self) -> u64 {
        self.read(&TASK_SUM_EXEC)
    }

    /// When its ledger was last brought up to date, on its CPU's task clock.
    #[inline]
    pub(crate) fn exec_start_tns(self) -> u64 {
        self.read(&TASK_EXEC_START)
    }

    /// All the time it ever waited for a CPU, in ns; `None` without `CONFIG_SCHED_INFO`.
    #[inline]
    pub(crate) fn run_delay_ns(self) -> Option<u64> {
        present(&TASK_RUN_DELAY).then(|| self.read(&TASK_RUN_DELAY))
    }

    /// What it had run at its last switch-in, as the fair class noted it; `None` for a
    /// real-time or deadline task, whose class leaves the note stale. So does `sched_ext`,
    /// whose tasks can't be told by priority: what follows from it must be bounded.
    #[inline]
    pub(crate) fn prev_sum_exec_ns(self) -> Option<u64> {
        if !present(&TASK_PREV_SUM_EXEC) || !present(&TASK_PRIO) {
            return None;
        }
        let prio: u32 = self.read(&TASK_PRIO);
        (prio >= FAIR_PRIO).then(|| self.read(&TASK_PREV_SUM_EXEC))
    }

    /// Whether its own state says that it could go on; `None` where the tracepoint hands
    /// the state over, which is the one that `__schedule` acted on.
    #[inline]
    pub(crate) fn runnable(self) -> Option<bool> {
        // An unsigned int since 5.14, a long before: the states that matter are low bits.
        present(&TASK_STATE).then(|| self.read::<u32>(&TASK_STATE) == 0)
    }

    /// Id of the cgroup that it is in, in the hierarchy that is accounted.
    #[inline]
    pub(crate) fn cgroup(self) -> u64 {
        let css_set: *const u8 = self.read(&TASK_CGROUPS);
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

    #[inline]
    fn read<T: Copy>(self, offset: &Global<u64>) -> T {
        // SAFETY: a tracepoint's argument, and only fields of a task are asked for.
        unsafe { field(self.0, offset) }
    }
}

/// Where a task was last seen: it may have exited, and its memory may be another's.
#[derive(Clone, Copy)]
pub(crate) struct Remembered {
    /// Its address.
    pub(crate) address: u64,
    /// Its pid.
    pub(crate) pid: u64,
}

/// What a remembered task's ledger says now.
pub(crate) struct Left {
    /// All the time it ever ran, in ns.
    pub(crate) sum_exec_ns: u64,
    /// When it left its CPU, on that CPU's task clock.
    pub(crate) at_tns: u64,
}

impl Remembered {
    /// Its ledger, read by probe; `None` unless it still is who it was, has left its CPU,
    /// and was last on `cpu`: what it ran elsewhere since was accounted there.
    #[inline]
    pub(crate) fn left(self, cpu: u32) -> Option<Left> {
        if !present(&TASK_ON_CPU) || !present(&TASK_CPU) {
            return None;
        }
        let pid: u32 = self.probe(&TASK_PID)?;
        let on_cpu: u32 = self.probe(&TASK_ON_CPU)?;
        let last_cpu: u32 = self.probe(&TASK_CPU)?;
        if u64::from(pid) != self.pid || on_cpu != 0 || last_cpu != cpu {
            return None;
        }
        let sum_exec_ns = self.probe(&TASK_SUM_EXEC)?;
        let at_tns = self.probe(&TASK_EXEC_START)?;
        Some(Left { sum_exec_ns, at_tns })
    }

    #[inline]
    fn probe<T>(self, offset: &Global<u64>) -> Option<T> {
        let address = self.address.wrapping_add(offset.load()) as *const T;
        // SAFETY: the helper checks the address; a fault is an error, not a crash.
        unsafe { bpf_probe_read_kernel(address) }.ok()
    }
}
