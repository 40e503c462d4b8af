//! Puts a test before everything else on a busy machine.
//!
//! For tests that judge what happens within milliseconds: whoever else compiles here
//! meanwhile must not decide when the reader runs. The last CPU is left to the load
//! that is measured.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::{
    cgroup::{Cgroup, Visit},
    host::cpus,
};

/// While it lives, this process (and what it starts) has the highest weight, on all CPUs
/// but the last.
#[derive(Debug)]
pub struct Foreground {
    affinity: CpuSet,
    // Over before the cgroup goes.
    _visit: Visit,
    _cgroup: Cgroup,
}

impl Foreground {
    /// Goes to the foreground.
    pub fn enter() -> Self {
        let cgroup = Cgroup::new("foreground");
        cgroup.set_highest_weight();
        let visit = cgroup.visit();
        let affinity = sched_getaffinity(None).expect("this thread's CPUs");
        let mut rest = affinity;
        if cpus() > 1 {
            rest.unset(cpus() - 1);
        }
        sched_setaffinity(None, &rest).expect("all CPUs but the last");
        Self { affinity, _visit: visit, _cgroup: cgroup }
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.affinity);
    }
}
