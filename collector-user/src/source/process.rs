//! [process] What `/proc` tells of the processes in a container's cgroups.
//!
//! Owns the way from a list of processes to their values, and which kind of loss a process
//! is that could not be read. In the log, files of processes are named by their place below
//! procfs. Must not know what a container is called, nor decide whose
//! traffic a shared network's is.

mod listing;
mod network;
#[cfg(test)]
mod tests;
mod values;

use std::{io, path::PathBuf, sync::OnceLock};

use rustix::path::DecInt;

use self::{
    listing::Listed,
    network::{Inquiry, Untold},
};
use super::{
    files::{Buffer, Directory},
    losses::Loss,
};
use crate::model::{
    collectors::Collector,
    losses::{Losses, Reason},
    networks::Traffic,
    processes::{ContainerProcesses, Memory, Process},
    targets::Target,
};

/// Threads that are looked at of a process whose first one has ended: each may end before it
/// is read.
const MAX_THREADS_TRIED: usize = 4;

/// Where processes are listed and read, and how many.
#[derive(Clone, Debug)]
pub struct Options {
    /// The host's procfs (`--path.procfs`).
    pub procfs: PathBuf,
    /// sysfs, which knows physical network interfaces (`--path.sysfs`).
    pub sysfs: PathBuf,
    /// Mount of the hierarchy that containers are told apart by.
    pub hierarchy: PathBuf,
    /// Why its lists of processes can't be trusted, if so (`cgroupfs::distrust`).
    pub distrust: Option<Reason>,
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
    Lost(Loss, &'static str),
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
        let nothing = ContainerProcesses::default();
        let Some(procfs) = self.procfs(losses) else { return nothing };
        if let Some(loss) = self.blindness(&procfs, buffer) {
            // One for all: v1 does not even list processes of other namespaces.
            loss.count(Collector::Process, format_args!("processes of {}", target.path), losses);
            return nothing;
        }
        // On its own, to tell a list that is empty from one that can't be read.
        let mut missed = Losses::default();
        let listed = listing::list(&self.options.hierarchy, target, buffer, &mut missed);
        losses.add(&missed);
        let is_empty = listed.is_empty() && missed.is_complete(Collector::Process);
        let mut found = ContainerProcesses { is_empty, ..nothing };
        let mut inquiry = Inquiry::default();
        let mut not_found = Vec::new();
        for Listed { pid, .. } in self.choose(listed, losses) {
            match read_process(&procfs, pid, buffer, losses) {
                Ok((process, directory)) => {
                    found.processes.push(process);
                    let host = |buffer: &mut Buffer| self.host_netns(&procfs, buffer);
                    inquiry.ask(pid, &directory, host, buffer, losses);
                }
                Err(Absence::NotFound) => not_found.push(pid),
                Err(Absence::Lost(loss, file)) => {
                    loss.count(Collector::Process, format_args!("{pid}/{file}"), losses);
                }
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
        let path = &self.options.procfs;
        Directory::open(path)
            .map_err(Loss::of_permanent)
            .map_err(|loss| {
                loss.count(Collector::Process, format_args!("{}", path.display()), losses);
            })
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

    /// Why no process that is listed can be looked up, if so.
    fn blindness(&self, procfs: &Directory, buffer: &mut Buffer) -> Option<Loss> {
        if let Some(reason) = self.options.distrust {
            return Some(Loss::of(reason));
        }
        match self.is_foreign(procfs, buffer) {
            Ok(is_foreign) => is_foreign.then(|| Loss::of(Reason::Hidden)),
            Err(loss) => Some(loss),
        }
    }

    /// Whether this procfs numbers processes otherwise than `cgroup.procs`, which tells pids
    /// of the reader's own namespace: a daemon in a container that has the host's mounts but
    /// not its pid namespace would take one process for another.
    fn is_foreign(&self, procfs: &Directory, buffer: &mut Buffer) -> Result<bool, Loss> {
        match self.is_foreign.get() {
            Some(is_foreign) => Ok(*is_foreign),
            None => tell_foreign(procfs, buffer).map(|it| *self.is_foreign.get_or_init(|| it)),
        }
    }

    fn host_netns(&self, procfs: &Directory, buffer: &mut Buffer) -> Result<u64, Untold> {
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
            let loss = Loss::of(if is_hidden { Reason::Hidden } else { Reason::Vanished });
            loss.count(Collector::Process, format_args!("{pid}"), losses);
        }
    }
}

/// Whether the daemon itself has another number in its own pid namespace than in this
/// procfs. Fails if that can't be told this time.
fn tell_foreign(procfs: &Directory, buffer: &mut Buffer) -> Result<bool, Loss> {
    match procfs.directory("self") {
        Ok(directory) => {
            let status = directory.record("status", buffer).map_err(Loss::of_permanent)?;
            values::is_in_inner_namespace(status).ok_or(Loss::malformed())
        }
        // Of a namespace in which the daemon has no number, if it is a procfs.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(procfs.has("self")?),
        Err(error) => Err(Loss::of_permanent(error)),
    }
}

/// Opens a process' directory and makes sure that files in it may be opened, which opening
/// it does not tell (hidepid=1 refuses, hidepid=2 denies that it is there).
fn enter(procfs: &Directory, pid: u32) -> io::Result<Directory> {
    let directory = procfs.directory(DecInt::new(pid))?;
    directory.directory(".")?;
    Ok(directory)
}

/// Reads a process; its directory, or that of one of its threads, stays open to ask for
/// more.
fn read_process(
    procfs: &Directory,
    pid: u32,
    buffer: &mut Buffer,
    losses: &mut Losses,
) -> Result<(Process, Directory), Absence> {
    let mut directory = procfs.directory(DecInt::new(pid)).map_err(|error| {
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
        if values::is_headless(status) {
            match live_thread(&directory, pid, buffer) {
                Ok((thread, its_memory, its_malformed)) => {
                    directory = thread;
                    (memory, malformed) = (its_memory, its_malformed);
                }
                Err(loss) => loss.count(Collector::Process, format_args!("{pid}/task"), losses),
            }
        }
        process.memory = memory;
        let file = format_args!("{pid}/status");
        Loss::malformed().count_many(malformed, Collector::Process, file, losses);
    }
    Ok((process, directory))
}

/// Another thread than the first of a process, with the memory that it tells, and how many
/// of its values are malformed. A process lives on when its first thread has ended, as in a
/// `main` that calls `pthread_exit(3)`.
fn live_thread(
    process: &Directory,
    pid: u32,
    buffer: &mut Buffer,
) -> Result<(Directory, Memory, u64), Loss> {
    let tasks = process.directory("task")?;
    let mut loss = Loss::of(Reason::Vanished);
    // The first thread is among those listed.
    let tids = tasks.numbers(".", MAX_THREADS_TRIED + 1)?;
    for tid in tids.into_iter().filter(|tid| *tid != pid) {
        let thread = match tasks.directory(DecInt::new(tid)) {
            Ok(thread) => thread,
            Err(error) => {
                loss = error.into();
                continue;
            }
        };
        match thread.record("status", buffer).map(values::memory) {
            // It has ended, too.
            Ok((memory, 0)) if memory == Memory::default() => {}
            Ok((memory, malformed)) => return Ok((thread, memory, malformed)),
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
