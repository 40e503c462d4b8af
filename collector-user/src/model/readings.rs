//! What was read from files for one scrape, and what is missing from it.
//!
//! Owns the values that the file readers hand to the exposition, by the path of the
//! cgroup they are of, and the kinds of losses. Must not know how they are read.

use std::{collections::HashMap, sync::Arc};

use super::{
    collectors::Collector,
    processes::{ContainerProcesses, Traffic},
    resources::Resources,
    snapshot::Snapshot,
};

/// Path of the host's own account.
pub const HOST_PATH: &str = "/";

/// Everything that was read for one scrape. What is not in it could not be read in time.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// Containers' processes, by the path of the container.
    pub processes: HashMap<Arc<str>, ContainerProcesses>,
    /// Traffic of the host's own physical interfaces.
    pub host_traffic: Option<Traffic>,
    /// Controllers' files, by the path of the cgroup.
    pub resources: HashMap<Arc<str>, Resources>,
    /// The host's size.
    pub machine: Machine,
    /// How each collector that was asked fared this time.
    pub outcomes: Vec<Outcome>,
    /// What has been missing since the daemon began.
    pub losses: Losses,
}

/// The host's size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// CPUs that are online.
    pub cores: Option<u64>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
}

/// How a collector fared in one scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Which one.
    pub collector: Collector,
    /// Whether all that it should tell is there.
    pub is_complete: bool,
    /// How long its readings took, in ns, added up over those that ran side by side.
    pub duration_ns: u64,
}

/// Cgroups to read files of: a container with its nested cgroups, or any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Path of the cgroup, from the hierarchy's root.
    pub path: Arc<str>,
    /// It and the cgroups in it whose processes are its own; just itself if it is no
    /// container.
    pub cgroups: Vec<Arc<str>>,
}

impl Target {
    /// The containers of a snapshot that live.
    pub fn containers(snapshot: &Snapshot) -> impl Iterator<Item = Self> {
        snapshot
            .containers
            .iter()
            .filter(|container| !container.cgroups.is_empty())
            .map(|it| Self { path: it.path.clone(), cgroups: it.cgroups.clone() })
    }

    /// The host, and the cgroups of a snapshot that are told of and are no containers.
    pub fn others(snapshot: &Snapshot) -> impl Iterator<Item = Self> {
        std::iter::once(HOST_PATH.into())
            .chain(snapshot.cgroups.iter().map(|cgroup| cgroup.path.clone()))
            .map(|path: Arc<str>| Self { cgroups: vec![path.clone()], path })
    }
}

/// Why something that a collector should tell is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It ended between being listed and being read: no fault of anyone's.
    Vanished,
    /// Beyond the limit that the operator has set.
    LeftOut,
    /// It exists, but can't be seen from here (hidepid, another pid namespace).
    Hidden,
    /// The rights to read it are missing.
    Denied,
    /// The kernel gave an error.
    Failed,
    /// The text is not what the kernel's documentation says.
    Malformed,
    /// It was not read before the scrape's time was up.
    Late,
    /// An earlier reading of it has not come back yet.
    Stuck,
}

impl Reason {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 8] = [
        Self::Vanished,
        Self::LeftOut,
        Self::Hidden,
        Self::Denied,
        Self::Failed,
        Self::Malformed,
        Self::Late,
        Self::Stuck,
    ];

    /// Its name as a label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vanished => "vanished",
            Self::LeftOut => "left_out",
            Self::Hidden => "hidden",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Malformed => "malformed",
            Self::Late => "late",
            Self::Stuck => "stuck",
        }
    }

    /// Whether something is wrong when it occurs.
    pub const fn is_fault(self) -> bool {
        !matches!(self, Self::Vanished | Self::LeftOut)
    }
}

/// Counts of what is missing, by collector and reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses([[u64; Reason::ALL.len()]; Collector::ALL.len()]);

impl Losses {
    /// Counts one more.
    pub fn count(&mut self, collector: Collector, reason: Reason) {
        self.count_many(collector, reason, 1);
    }

    /// Counts several.
    pub fn count_many(&mut self, collector: Collector, reason: Reason, number: u64) {
        self.0[collector as usize][reason as usize] += number;
    }

    /// How many there are.
    pub fn get(&self, collector: Collector, reason: Reason) -> u64 {
        self.0[collector as usize][reason as usize]
    }

    /// Whether nothing of a collector's is missing that should be there.
    pub fn is_complete(&self, collector: Collector) -> bool {
        Reason::ALL.into_iter().all(|reason| !reason.is_fault() || self.get(collector, reason) == 0)
    }

    /// Adds others to these.
    pub fn add(&mut self, others: &Self) {
        for (mine, theirs) in self.0.iter_mut().flatten().zip(others.0.iter().flatten()) {
            *mine += theirs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::snapshot::CgroupView;

    #[test]
    fn losses_add_up_by_collector_and_reason() {
        let mut one = Losses::default();
        one.count(Collector::Process, Reason::Vanished);
        one.count_many(Collector::Process, Reason::LeftOut, 4);
        let mut all = one;
        all.add(&one);
        assert_eq!(all.get(Collector::Process, Reason::Vanished), 2);
        assert_eq!(all.get(Collector::Process, Reason::LeftOut), 8);
        assert_eq!(all.get(Collector::Cgroup, Reason::Vanished), 0);
        assert!(all.is_complete(Collector::Process), "neither is a fault");
        all.count(Collector::Process, Reason::Denied);
        assert!(!all.is_complete(Collector::Process));
        assert!(all.is_complete(Collector::Cgroup));
    }

    #[test]
    fn every_reason_is_at_its_place() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{}", reason.name());
        }
        for (index, collector) in Collector::ALL.into_iter().enumerate() {
            assert_eq!(collector as usize, index, "{collector}");
        }
    }

    #[test]
    fn the_host_is_a_target_and_so_are_cgroups_that_are_told_of() {
        let view = CgroupView { path: "/init.scope".into(), ..CgroupView::default() };
        let snapshot = Snapshot { cgroups: vec![view], ..Snapshot::default() };
        let paths: Vec<_> = Target::others(&snapshot).map(|target| target.path).collect();
        assert_eq!(paths, ["/".into(), "/init.scope".into()]);
        assert_eq!(Target::containers(&snapshot).count(), 0);
    }
}
