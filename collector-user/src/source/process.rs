//! [process] What `/proc` tells of the processes in a container's cgroups.
//!
//! Owns the way from a list of processes to their values. Must not know what a container
//! is called, nor decide whose traffic a shared network's is.

use std::path::{Path, PathBuf};

use super::files::Buffer;
use crate::model::{
    processes::{ContainerProcesses, Traffic},
    readings::{Losses, Target},
};

/// Where processes are listed and read, and how many.
#[derive(Clone, Debug)]
pub struct Options {
    /// The host's procfs (`--path.procfs`).
    pub procfs: PathBuf,
    /// sysfs, which knows physical network interfaces (`--path.sysfs`).
    pub sysfs: PathBuf,
    /// Mount of the hierarchy that containers are told apart by.
    pub hierarchy: PathBuf,
    /// Processes of one container that are read (`--collector.process.max-pids`).
    pub max_pids: u32,
}

/// Reads containers' processes.
#[derive(Debug)]
pub struct ProcessReader {
    options: Options,
}

impl ProcessReader {
    /// A reader; it opens nothing yet.
    pub fn new(options: Options) -> Self {
        Self { options }
    }

    /// Reads a container's processes and its network.
    pub fn read(
        &self,
        target: &Target,
        buffer: &mut Buffer,
        losses: &mut Losses,
    ) -> ContainerProcesses {
        let _ = (&self.options, target, buffer, losses, Path::new(""));
        ContainerProcesses::default()
    }

    /// Sums the traffic of the host's own physical interfaces.
    pub fn host_traffic(&self, buffer: &mut Buffer, losses: &mut Losses) -> Option<Traffic> {
        let _ = (buffer, losses);
        None
    }
}
