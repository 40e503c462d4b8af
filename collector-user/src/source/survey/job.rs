//! A job of the survey: what one lane reads before it looks for the next.
//!
//! Owns which jobs a scrape amounts to.

use std::{mem::discriminant, sync::Arc};

use super::Readers;
use crate::{
    model::{
        collectors::{Collector, Collectors},
        losses::Losses,
        network::{Device, HostDevice, Seat},
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
    /// Interfaces of the network that is told under a container, where one of its processes
    /// is in it.
    Network {
        target: Target,
        seat: Seat,
        /// Who wants to know.
        collector: Collector,
    },
    /// The host's interfaces.
    HostNetwork {
        /// Who wants to know.
        collector: Collector,
    },
    /// A cgroup's controllers.
    Resources(Target),
    /// The host's size.
    Machine,
}

/// What a job brought, and of which cgroup.
#[derive(Debug)]
pub(super) enum Finding {
    Processes(Arc<str>, ContainerProcesses),
    Network(Arc<str>, Option<Vec<Device>>),
    HostNetwork(Option<Vec<HostDevice>>),
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
        if let Some(collector) = reader_of_networks(collectors) {
            jobs.push(Self::HostNetwork { collector });
            let network = |(target, seat)| Self::Network { target, seat, collector };
            jobs.extend(Target::networks(snapshot).map(network));
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
            Self::Processes(_) => Collector::Process,
            Self::Network { collector, .. } | Self::HostNetwork { collector } => *collector,
            Self::Resources(_) => Collector::Cgroup,
            Self::Machine => Collector::Machine,
        }
    }

    /// Whose files it reads.
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Processes(target) | Self::Network { target, .. } | Self::Resources(target) => {
                &target.path
            }
            Self::HostNetwork { .. } | Self::Machine => HOST_PATH,
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
            Self::Network { target, seat, collector } => {
                let devices = readers.network.devices(target, *seat, *collector, buffer, losses);
                Finding::Network(target.path.clone(), devices)
            }
            Self::HostNetwork { collector } => {
                Finding::HostNetwork(readers.network.host_devices(*collector, buffer, losses))
            }
            Self::Resources(target) => {
                let resources = readers.resources.read(target, buffer, losses);
                Finding::Resources(target.path.clone(), Box::new(resources))
            }
            Self::Machine => Finding::Machine(readers.machine.read(buffer, losses)),
        }
    }
}

/// The collector that networks are read for, if any is: the origin's gauges, which are of
/// collector `process`, tell the same files' counts.
fn reader_of_networks(collectors: Collectors) -> Option<Collector> {
    [Collector::Network, Collector::Process].into_iter().find(|it| collectors.contains(*it))
}
