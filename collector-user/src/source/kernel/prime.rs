//! A first switch on every CPU, so that each is accounted from the start.
//!
//! A task that was on its CPU before the programs, and never leaves it (a pinned busy
//! loop, a polling driver), fires no event. A thread of ours that hops over all CPUs
//! makes each switch once. Owns nothing afterwards.

use std::{sync::mpsc, thread, time::Duration};

use rustix::thread::{CpuSet, sched_setaffinity};

/// How long the hops may take. A CPU that a real-time task never leaves lets no thread
/// on before the kernel's throttling does, which takes up to a second; it is accounted
/// from its first switch on.
const LIMIT: Duration = Duration::from_secs(2);

fn hop(cpu: u32) -> rustix::io::Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu as usize);
    sched_setaffinity(None, &only)
}

/// Switches once on every CPU in the list; gives up on the rest after [`LIMIT`].
pub(super) fn prime(cpus: &[u32]) {
    let (done, wait) = mpsc::channel();
    let cpus = cpus.to_vec();
    let hopper = thread::Builder::new().name("prime".to_owned()).spawn(move || {
        // Refused for a CPU outside our cpuset, where no task of ours can go.
        let refused: Vec<u32> = cpus.into_iter().filter(|&cpu| hop(cpu).is_err()).collect();
        if !refused.is_empty() {
            tracing::warn!(cpus = ?refused, "these CPUs are accounted from their next switch on");
        }
        // The starter may have stopped waiting.
        done.send(()).ok();
    });
    match hopper {
        Ok(_) if wait.recv_timeout(LIMIT).is_ok() => {}
        Ok(_) => tracing::warn!("a CPU let no thread on: it is accounted from its next switch"),
        Err(error) => tracing::warn!(%error, "no thread to prime the CPUs with"),
    }
}
