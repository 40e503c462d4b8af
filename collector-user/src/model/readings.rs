//! What was read from files for one scrape, and what is missing from it.
//!
//! Owns the values that the file readers hand to the exposition, by the path of the
//! cgroup they are of. Must not know how they are read.

use std::{collections::HashMap, sync::Arc};

use super::{
    collectors::Collector,
    losses::Losses,
    network::{Device, HostDevice},
    processes::ContainerProcesses,
    resources::Resources,
};

/// Everything that was read for one scrape. What is not in it could not be read in time.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// Containers' processes, by the path of the container.
    pub processes: HashMap<Arc<str>, ContainerProcesses>,
    /// Interfaces of the containers' networks, by the path of the container under which a
    /// network is told.
    pub devices: HashMap<Arc<str>, Vec<Device>>,
    /// The host's own interfaces.
    pub host_devices: Option<Vec<HostDevice>>,
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
