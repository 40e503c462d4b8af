//! [process] What `/proc` tells of the processes in a container's cgroups.
//!
//! Owns the way from a list of processes to their values, and which kind of loss a process
//! is that could not be read. Must not know what a container is called, nor decide whose
//! traffic a shared network's is.

mod listing;
mod network;
#[cfg(test)]
mod tests;
mod values;

use std::{io, path::PathBuf, sync::OnceLock};

use rustix::path::DecInt;

use self::{listing::Listed, network::Inquiry};
use super::{
    files::{Buffer, Directory, reason},
    text,
};
use crate::model::{
    collectors::Collector,
    losses::{Losses, Reason},
    networks::Traffic,
    processes::{ContainerProcesses, Process},
    targets::Target,
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
    /// Whether procfs and cgroupfs tell pids of different namespaces.
    is_foreign: OnceLock<bool>,
    /// Inode number of the host's network namespace.
    host_netns: OnceLock<u64>,
}

/// Why nothing is told of a process.
enum Absence {
    /// It is not in procfs: it has ended, or is hidden.
    NotFound,
    /// It is known what has become of it.
    Lost(Reason),
}

impl ProcessReader {
    /// A reader; it opens nothing yet.
    pub fn new(options: Options) -> Self {
        Self { options, is_foreign: OnceLock::new(), host_netns: OnceLock::new() }
    }

    /// Reads a container's processes and its network. A process that ends meanwhile is left
    /// out; a value that can't be read is `None`. Both are counted.
    pub fn read(
        &self,
        target: &Target,
        buffer: &mut Buffer,
        losses: &mut Losses,
    ) -> ContainerProcesses {
        let Some(procfs) = self.procfs(losses) else { return ContainerProcesses::default() };
        if self.is_foreign(&procfs, buffer) {
            // One for all: v1 does not even list processes of other namespaces.
            losses.count(Collector::Process, Reason::Hidden);
            return ContainerProcesses::default();
        }
        let listed = listing::list(&self.options.hierarchy, target, buffer, losses);
        let mut found =
            ContainerProcesses { is_empty: listed.is_empty(), ..ContainerProcesses::default() };
        let mut inquiry = Inquiry::default();
        let mut not_found = Vec::new();
        for Listed { pid, .. } in self.choose(listed, losses) {
            match read_process(&procfs, pid, buffer, losses) {
                Ok((process, directory)) => {
                    found.processes.push(process);
                    let host = |buffer: &mut Buffer| self.host_netns(&procfs, buffer);
                    inquiry.ask(&directory, host, buffer, losses);
                }
                Err(Absence::NotFound) => not_found.push(pid),
                Err(Absence::Lost(reason)) => losses.count(Collector::Process, reason),
            }
        }
        found.network = inquiry.end(losses);
        found.processes.sort_unstable_by_key(|it| it.pid);
        self.count_not_found(&not_found, &procfs, target, buffer, losses);
        found
    }

    /// Sums the traffic of the host's own physical interfaces; `None` if it has none, or if
    /// they can't be read, which is counted.
    pub fn host_traffic(&self, buffer: &mut Buffer, losses: &mut Losses) -> Option<Traffic> {
        let procfs = self.procfs(losses)?;
        network::physical_traffic(&procfs, &self.options.sysfs, buffer, losses)
    }

    fn procfs(&self, losses: &mut Losses) -> Option<Directory> {
        // Not the usual reason: a procfs that is not there has not ended, but never was.
        Directory::open(&self.options.procfs)
            .map_err(|_| losses.count(Collector::Process, Reason::Failed))
            .ok()
    }

    /// Those to read, the container's own cgroup's first: they are asked first for the
    /// network. The lowest pids stay, so that it is the same ones from scrape to scrape.
    fn choose(&self, mut listed: Vec<Listed>, losses: &mut Losses) -> Vec<Listed> {
        let max_pids = usize::try_from(self.options.max_pids).unwrap_or(usize::MAX);
        let left_out = listed.len().saturating_sub(max_pids);
        losses.count_many(Collector::Process, Reason::LeftOut, left_out as u64);
        listed.truncate(max_pids);
        listed.sort_by_key(|it| it.is_nested);
        listed
    }

    /// Whether this procfs numbers processes otherwise than `cgroup.procs`, which tells pids
    /// of the reader's own namespace: a daemon in a container that has the host's mounts but
    /// not its pid namespace would take one process for another.
    fn is_foreign(&self, procfs: &Directory, buffer: &mut Buffer) -> bool {
        let is_foreign = self.is_foreign.get().copied().or_else(|| tell_foreign(procfs, buffer));
        is_foreign.is_some_and(|it| *self.is_foreign.get_or_init(|| it))
    }

    fn host_netns(&self, procfs: &Directory, buffer: &mut Buffer) -> Result<u64, Reason> {
        match self.host_netns.get() {
            Some(netns) => Ok(*netns),
            None => network::host_netns(procfs, buffer)
                .map(|netns| *self.host_netns.get_or_init(|| netns)),
        }
    }

    /// Tells processes that have ended from those that hidepid=2 hides: these are still
    /// listed, and still not there.
    fn count_not_found(
        &self,
        pids: &[u32],
        procfs: &Directory,
        target: &Target,
        buffer: &mut Buffer,
        losses: &mut Losses,
    ) {
        if pids.is_empty() {
            return;
        }
        // What this listing loses was counted with the first.
        let uncounted = &mut Losses::default();
        let listed = listing::list(&self.options.hierarchy, target, buffer, uncounted);
        for pid in pids {
            let is_listed = listed.binary_search_by_key(pid, |it| it.pid).is_ok();
            let is_hidden = is_listed && enter(procfs, *pid).is_err();
            let reason = if is_hidden { Reason::Hidden } else { Reason::Vanished };
            losses.count(Collector::Process, reason);
        }
    }
}

/// Whether the daemon itself has another number in its own pid namespace than in this
/// procfs. `None` if it can't be told this time.
fn tell_foreign(procfs: &Directory, buffer: &mut Buffer) -> Option<bool> {
    match procfs.directory("self") {
        Ok(directory) => {
            let status = directory.record("status", buffer).ok()?;
            // One number for each namespace from procfs' to the process' own.
            let numbers = text::field(str::from_utf8(status).ok()?, "NSpid");
            Some(numbers.is_some_and(|it| it.split_whitespace().count() > 1))
        }
        // Of a namespace in which the daemon has no number, if it is a procfs.
        Err(error) if error.kind() == io::ErrorKind::NotFound => procfs.has("self").ok(),
        Err(_) => None,
    }
}

/// Opens a process' directory and makes sure that files in it may be opened, which opening
/// it does not tell (hidepid=1 refuses, hidepid=2 denies that it is there).
fn enter(procfs: &Directory, pid: u32) -> io::Result<Directory> {
    let directory = procfs.directory(DecInt::new(pid))?;
    directory.directory(".")?;
    Ok(directory)
}

/// Reads a process; its directory stays open to ask for more.
fn read_process(
    procfs: &Directory,
    pid: u32,
    buffer: &mut Buffer,
    losses: &mut Losses,
) -> Result<(Process, Directory), Absence> {
    let directory = procfs.directory(DecInt::new(pid)).map_err(|error| {
        match (error.kind(), reason(&error)) {
            (io::ErrorKind::NotFound, _) => Absence::NotFound,
            (_, Reason::Denied) => Absence::Lost(Reason::Hidden),
            (_, reason) => Absence::Lost(reason),
        }
    })?;
    let mut process = Process { pid, ..Process::default() };
    if let Some(stat) = read_file(&directory, "stat", buffer, losses)? {
        process.times = values::times(stat);
        if process.times.is_none() {
            losses.count(Collector::Process, Reason::Malformed);
        }
    }
    if let Some(status) = read_file(&directory, "status", buffer, losses)? {
        let (memory, malformed) = values::memory(status);
        process.memory = memory;
        losses.count_many(Collector::Process, Reason::Malformed, malformed);
    }
    Ok((process, directory))
}

/// Reads a file of a process. `Ok(None)` if only this file's values are lost, which is
/// counted.
fn read_file<'b>(
    directory: &Directory,
    name: &str,
    buffer: &'b mut Buffer,
    losses: &mut Losses,
) -> Result<Option<&'b [u8]>, Absence> {
    let error = match directory.record(name, buffer) {
        Ok(bytes) => return Ok(Some(bytes)),
        Err(error) => error,
    };
    match reason(&error) {
        Reason::Vanished if error.kind() == io::ErrorKind::NotFound => Err(Absence::NotFound),
        Reason::Vanished => Err(Absence::Lost(Reason::Vanished)),
        Reason::Denied if directory.directory(".").is_err() => Err(Absence::Lost(Reason::Hidden)),
        reason => {
            losses.count(Collector::Process, reason);
            Ok(None)
        }
    }
}
