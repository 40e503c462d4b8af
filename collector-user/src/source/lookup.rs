//! From a container to its processes: which they are, and where procfs has them.
//!
//! Owns whether the pids that a cgroup lists can be looked up at all, and what has become of
//! a process that is not there. Must not know what is read of one.

mod listing;

use std::{io, path::PathBuf, sync::OnceLock};

use rustix::path::DecInt;

use self::listing::Extent;
pub(super) use self::listing::{Listed, Listing};
use super::{
    files::{Buffer, Directory},
    losses::Loss,
    namespaces,
};
use crate::model::{
    collectors::Collector,
    losses::{Losses, Reason},
    targets::Target,
};

/// Threads that are looked at of a process whose first one has ended: each may end before it
/// is read.
const MAX_THREADS_TRIED: usize = 4;

/// Where processes are listed and looked up.
#[derive(Clone, Debug)]
pub struct Places {
    /// The host's procfs (`--path.procfs`).
    pub procfs: PathBuf,
    /// Mount of the hierarchy that containers are told apart by.
    pub hierarchy: PathBuf,
    /// Why its lists of processes can't be trusted, if so (`cgroupfs::distrust`).
    pub distrust: Option<Reason>,
}

/// Finds containers' processes.
#[derive(Debug)]
pub(super) struct Lookup {
    places: Places,
    /// Whether procfs and cgroupfs tell pids of different namespaces.
    is_foreign: OnceLock<bool>,
}

impl Lookup {
    /// It opens nothing yet.
    pub(super) fn new(places: Places) -> Self {
        Self { places, is_foreign: OnceLock::new() }
    }

    /// Opens procfs; `None` if that fails, which is counted.
    pub(super) fn procfs(&self, collector: Collector, losses: &mut Losses) -> Option<Directory> {
        let path = &self.places.procfs;
        Directory::open(path)
            .map_err(Loss::of_permanent)
            .map_err(|loss| loss.count(collector, format_args!("{}", path.display()), losses))
            .ok()
    }

    /// Opens procfs to look up processes of a container; `None` if none of those that are
    /// listed can be, which is counted once.
    pub(super) fn procfs_for(
        &self,
        target: &Target,
        collector: Collector,
        buffer: &mut Buffer,
        losses: &mut Losses,
    ) -> Option<Directory> {
        let procfs = self.procfs(collector, losses)?;
        match self.blindness(&procfs, buffer) {
            None => Some(procfs),
            Some(loss) => {
                // One for all: v1 does not even list processes of other namespaces.
                loss.count(collector, format_args!("processes of {}", target.path), losses);
                None
            }
        }
    }

    /// The processes of a container.
    pub(super) fn list(
        &self,
        target: &Target,
        collector: Collector,
        buffer: &mut Buffer,
    ) -> Listing {
        listing::list(&self.places.hierarchy, target, Extent::Whole, collector, buffer)
    }

    /// The processes of a container's own cgroup, without those of the cgroups inside.
    pub(super) fn list_own(
        &self,
        target: &Target,
        collector: Collector,
        buffer: &mut Buffer,
    ) -> Listing {
        listing::list(&self.places.hierarchy, target, Extent::Own, collector, buffer)
    }

    /// What has become of processes that were listed and are not in procfs: they have ended,
    /// or hidepid=2 hides them. These are still listed, and still not there.
    pub(super) fn fates(
        &self,
        pids: &[u32],
        procfs: &Directory,
        target: &Target,
        collector: Collector,
        buffer: &mut Buffer,
    ) -> Vec<(u32, Reason)> {
        if pids.is_empty() {
            return Vec::new();
        }
        // What this listing loses was counted with the first.
        let Listing { processes, .. } = self.list(target, collector, buffer);
        let fate = |pid: u32| {
            let is_listed = processes.binary_search_by_key(&pid, |it| it.pid).is_ok();
            let is_hidden = is_listed && enter(procfs, pid).is_err();
            if is_hidden { Reason::Hidden } else { Reason::Vanished }
        };
        pids.iter().map(|pid| (*pid, fate(*pid))).collect()
    }

    /// Why no process that is listed can be looked up, if so.
    fn blindness(&self, procfs: &Directory, buffer: &mut Buffer) -> Option<Loss> {
        if let Some(reason) = self.places.distrust {
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
}

/// Whether the daemon itself has another number in its own pid namespace than in this
/// procfs. Fails if that can't be told this time.
fn tell_foreign(procfs: &Directory, buffer: &mut Buffer) -> Result<bool, Loss> {
    match procfs.directory("self") {
        Ok(directory) => {
            let status = directory.record("status", buffer).map_err(Loss::of_permanent)?;
            namespaces::is_in_inner_pid_namespace(status).ok_or(Loss::malformed())
        }
        // Of a namespace in which the daemon has no number, if it is a procfs.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(procfs.has("self")?),
        Err(error) => Err(Loss::of_permanent(error)),
    }
}

/// Opens a process' directory and makes sure that files in it may be opened, which opening
/// it does not tell (hidepid=1 refuses, hidepid=2 denies that it is there).
pub(super) fn enter(procfs: &Directory, pid: u32) -> io::Result<Directory> {
    let directory = procfs.directory(DecInt::new(pid))?;
    directory.directory(".")?;
    Ok(directory)
}

/// Directories of a process' other threads than the first, a few at most: a process lives on
/// when that one has ended, as in a `main` that calls `pthread_exit(3)`.
pub(super) fn other_threads(
    process: &Directory,
    pid: u32,
) -> io::Result<impl Iterator<Item = io::Result<Directory>>> {
    let tasks = process.directory("task")?;
    // The first thread is among those listed.
    let tids = tasks.numbers(".", MAX_THREADS_TRIED + 1)?;
    let others = tids.into_iter().filter(move |tid| *tid != pid);
    Ok(others.map(move |tid| tasks.directory(DecInt::new(tid))))
}
