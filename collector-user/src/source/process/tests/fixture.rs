//! What a process reader finds of the files of a fixture.

use super::super::*;
pub(super) use crate::source::fixture::stat;
use crate::{
    model::processes::{CpuTicks, Memory},
    source::fixture::{self, without_rights},
};

pub(super) type Fixture = fixture::Fixture<ProcessReader>;

impl Fixture {
    /// A container with these processes in its own cgroup, and below `procfs` (the
    /// fixture's own if it is `None`).
    pub(super) fn new(procfs: Option<&str>, pids: &[u32]) -> Self {
        Self::made(None, procfs, pids, |places, _| ProcessReader::new(places, 10))
    }

    /// One whose lists of processes are not trusted.
    pub(super) fn distrusting(reason: Reason, pids: &[u32]) -> Self {
        Self::made(Some(reason), None, pids, |places, _| ProcessReader::new(places, 10))
    }

    pub(super) fn read(&self) -> (ContainerProcesses, Losses) {
        let mut losses = Losses::default();
        let found = self.reader.read(&self.target, &mut Buffer::default(), &mut losses);
        (found, losses)
    }

    pub(super) fn read_without_rights(&self) -> (ContainerProcesses, Losses) {
        without_rights(|| self.read())
    }
}

/// What [`Fixture::process`] wrote.
pub(super) fn written(pid: u32) -> Process {
    let [one, two, three, four] = [1, 2, 3, 4].map(|it| u64::from(pid) * 10 + it);
    Process {
        pid,
        times: Some(CpuTicks { utime: one, stime: two, cutime: three, cstime: four }),
        memory: Memory { vmsize_kb: Some(three), vmrss_kb: Some(two), rssfile_kb: Some(one) },
    }
}

pub(super) fn lost<const N: usize>(reasons: [(Reason, u64); N]) -> Losses {
    let mut losses = Losses::default();
    for (reason, number) in reasons {
        losses.count_many(Collector::Process, reason, number);
    }
    losses
}

/// What is told of a container without processes.
pub(super) fn empty() -> ContainerProcesses {
    ContainerProcesses { is_empty: true, ..ContainerProcesses::default() }
}
