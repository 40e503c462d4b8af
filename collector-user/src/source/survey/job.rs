//! A job of the survey: what one lane reads before it looks for the next.
//!
//! Owns which jobs a scrape amounts to.

use std::{mem::discriminant, sync::Arc};

use super::Readers;
use crate::{
    model::{
        collectors::{Collector, Collectors},
        losses::Losses,
        networks::Traffic,
        processes::ContainerProcesses,
        readings::Machine,
        resources::Resources,
        snapshot::Snapshot,
        targets::{HOST_PATH, Target},
    },
    source::files::Buffer,
};

/// What is read in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// A container's processes.
    Processes(Target),
    /// The host's interfaces.
    HostTraffic,
    /// A cgroup's controllers.
    Resources(Target),
    /// The host's size.
    Machine,
}

/// What a job brought, and of which cgroup.
#[derive(Debug)]
pub(super) enum Finding {
    Processes(Arc<str>, ContainerProcesses),
    HostTraffic(Option<Traffic>),
    Resources(Arc<str>, Box<Resources>),
    Machine(Machine),
}

impl Job {
    /// The jobs of these collectors for what lives in a snapshot. Short ones first: when
    /// time is short, few are late.
    pub(super) fn all(snapshot: &Snapshot, collectors: Collectors) -> Vec<Self> {
        let mut jobs = Vec::new();
        if collectors.contains(Collector::Machine) {
            jobs.push(Self::Machine);
        }
        if collectors.contains(Collector::Process) {
            jobs.push(Self::HostTraffic);
        }
        if collectors.contains(Collector::Cgroup) {
            jobs.extend(Target::others(snapshot).map(Self::Resources));
            jobs.extend(Target::containers(snapshot).map(Self::Resources));
        }
        if collectors.contains(Collector::Process) {
            jobs.extend(Target::containers(snapshot).map(Self::Processes));
        }
        jobs
    }

    pub(super) fn collector(&self) -> Collector {
        match self {
            Self::Processes(_) | Self::HostTraffic => Collector::Process,
            Self::Resources(_) => Collector::Cgroup,
            Self::Machine => Collector::Machine,
        }
    }

    /// Whose files it reads.
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Processes(target) | Self::Resources(target) => &target.path,
            Self::HostTraffic | Self::Machine => HOST_PATH,
        }
    }

    /// Whether it reads the same as another, whatever cgroups have come and gone in it.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        discriminant(self) == discriminant(other) && self.path() == other.path()
    }

    pub(super) fn read(
        &self,
        readers: &Readers,
        buffer: &mut Buffer,
        losses: &mut Losses,
    ) -> Finding {
        match self {
            Self::Processes(target) => {
                let processes = readers.process.read(target, buffer, losses);
                Finding::Processes(target.path.clone(), processes)
            }
            Self::HostTraffic => Finding::HostTraffic(readers.process.host_traffic(buffer, losses)),
            Self::Resources(target) => {
                let resources = readers.resources.read(target, buffer, losses);
                Finding::Resources(target.path.clone(), Box::new(resources))
            }
            Self::Machine => Finding::Machine(readers.machine.read(buffer, losses)),
        }
    }
}
