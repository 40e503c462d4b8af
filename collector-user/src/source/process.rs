//! Collector `process`: What `/proc` tells of the processes in a container's cgroups.
//!
//! Owns the way from a list of processes to their values, and which kind of loss a process
//! is that could not be read. In the log, files of processes are named by their place below
//! procfs. Must not know what a container is called.

#[cfg(test)]
mod tests;
mod values;

use std::io;

use rustix::path::DecInt;

use super::{
    files::{Buffer, Directory},
    lookup::{self, Listed, Listing, Lookup, Places},
    losses::Loss,
};
use crate::model::{
    collectors::Collector,
    losses::{Losses, Reason},
    processes::{ContainerProcesses, Memory, Process},
    targets::Target,
};

/// Reads containers' processes.
#[derive(Debug)]
pub struct ProcessReader {
    lookup: Lookup,
    /// Processes of one container that are read.
    max_pids: u32,
}

/// Why nothing is told of a process.
enum Absence {
    /// It is not in procfs: it has ended, or is hidden.
    NotFound,
    /// It is known what has become of it.
    Lost(Loss, &'static str),
}

impl ProcessReader {
    /// A reader of `max_pids` processes of a container (`--collector.process.max-pids`); it
    /// opens nothing yet.
    pub fn new(places: Places, max_pids: u32) -> Self {
        Self { lookup: Lookup::new(places), max_pids }
    }

    /// Reads a container's processes. One that ends meanwhile is left out; a value that can't
    /// be read is `None`. Both are counted.
    pub fn read(
        &self,
        target: &Target,
        buffer: &mut Buffer,
        losses: &mut Losses,
    ) -> ContainerProcesses {
        let process = Collector::Process;
        let mut found = ContainerProcesses::default();
        let Some(procfs) = self.lookup.procfs_for(target, process, buffer, losses) else {
            return found;
        };
        let Listing { processes: listed, losses: missed } =
            self.lookup.list(target, process, buffer);
        losses.add(&missed);
        // A list that can't be read is not an empty one.
        found.is_empty = listed.is_empty() && missed.is_complete(process);
        let mut not_found = Vec::new();
        for Listed { pid, .. } in self.choose(listed, losses) {
            match read_process(&procfs, pid, buffer, losses) {
                Ok(process) => found.processes.push(process),
                Err(Absence::NotFound) => not_found.push(pid),
                Err(Absence::Lost(loss, file)) => {
                    loss.count(process, format_args!("{pid}/{file}"), losses);
                }
            }
        }
        for (pid, fate) in self.lookup.fates(&not_found, &procfs, target, process, buffer) {
            Loss::of(fate).count(process, format_args!("{pid}"), losses);
        }
        found
    }

    /// Those to read. The lowest pids stay, so that it is the same ones from scrape to
    /// scrape.
    fn choose(&self, mut listed: Vec<Listed>, losses: &mut Losses) -> Vec<Listed> {
        let max_pids = usize::try_from(self.max_pids).unwrap_or(usize::MAX);
        let left_out = listed.len().saturating_sub(max_pids);
        losses.count_many(Collector::Process, Reason::LeftOut, left_out as u64);
        listed.truncate(max_pids);
        listed
    }
}

/// Reads a process.
fn read_process(
    procfs: &Directory,
    pid: u32,
    buffer: &mut Buffer,
    losses: &mut Losses,
) -> Result<Process, Absence> {
    let directory = procfs.directory(DecInt::new(pid)).map_err(|error| {
        let is_absent = error.kind() == io::ErrorKind::NotFound;
        let loss = Loss::from(error);
        match loss.reason() {
            _ if is_absent => Absence::NotFound,
            Reason::Denied => Absence::Lost(loss.because(Reason::Hidden), ""),
            _ => Absence::Lost(loss, ""),
        }
    })?;
    let mut process = Process { pid, ..Process::default() };
    if let Some(stat) = read_file(&directory, pid, "stat", buffer, losses)? {
        process.times = values::times(stat);
        if process.times.is_none() {
            let file = format_args!("{pid}/stat");
            Loss::malformed().count(Collector::Process, file, losses);
        }
    }
    if let Some(status) = read_file(&directory, pid, "status", buffer, losses)? {
        let (mut memory, mut malformed) = values::memory(status);
        if memory == Memory::default() && values::is_headless(status) {
            match live_memory(&directory, pid, buffer) {
                Ok(told) => (memory, malformed) = told,
                Err(loss) => loss.count(Collector::Process, format_args!("{pid}/task"), losses),
            }
        }
        process.memory = memory;
        let file = format_args!("{pid}/status");
        Loss::malformed().count_many(malformed, Collector::Process, file, losses);
    }
    Ok(process)
}

/// The memory that another thread than the first of a process tells, and how many of its
/// values are malformed.
fn live_memory(process: &Directory, pid: u32, buffer: &mut Buffer) -> Result<(Memory, u64), Loss> {
    let mut loss = Loss::of(Reason::Vanished);
    for thread in lookup::other_threads(process, pid)? {
        match thread.and_then(|it| Ok(values::memory(it.record("status", buffer)?))) {
            // It has ended, too.
            Ok((memory, 0)) if memory == Memory::default() => {}
            Ok(told) => return Ok(told),
            Err(error) => loss = error.into(),
        }
    }
    Err(loss)
}

/// Reads a file of a process. `Ok(None)` if only this file's values are lost, which is
/// counted.
fn read_file<'b>(
    directory: &Directory,
    pid: u32,
    name: &'static str,
    buffer: &'b mut Buffer,
    losses: &mut Losses,
) -> Result<Option<&'b [u8]>, Absence> {
    let error = match directory.record(name, buffer) {
        Ok(bytes) => return Ok(Some(bytes)),
        Err(error) => error,
    };
    let is_absent = error.kind() == io::ErrorKind::NotFound;
    let loss = Loss::from(error);
    match loss.reason() {
        _ if is_absent => Err(Absence::NotFound),
        Reason::Vanished => Err(Absence::Lost(loss, name)),
        Reason::Denied if directory.directory(".").is_err() => {
            Err(Absence::Lost(loss.because(Reason::Hidden), name))
        }
        _ => {
            loss.count(Collector::Process, format_args!("{pid}/{name}"), losses);
            Ok(None)
        }
    }
}
