//! Asking one process for its network: `ns/net`, `net/dev`.
//!
//! Owns what a process' answer is, and which of several failures says most. Must not choose
//! whom to ask.

use std::io;

use rustix::io::Errno;

use super::devices;
use crate::{
    model::{
        collectors::Collector,
        losses::{Losses, Reason},
        network::{Device, Seat},
    },
    source::{
        files::{Buffer, Directory},
        lookup,
        losses::{self, Loss},
        namespaces,
    },
};

/// The link that names the network namespace of a process or thread.
pub(super) const NS_NET: &str = "ns/net";

/// A file of a process that does not tell.
#[derive(Debug)]
pub(super) struct Untold {
    /// The process.
    pub(super) pid: u32,
    /// The file below its directory; empty if it is the directory.
    pub(super) file: &'static str,
    /// Why.
    pub(super) loss: Loss,
    /// Whether there is no such process in procfs: it has ended, or is hidden.
    pub(super) is_absent: bool,
}

impl Untold {
    /// A file in a process' directory.
    pub(super) const fn file(pid: u32, file: &'static str, loss: Loss) -> Self {
        Self { pid, file, loss, is_absent: false }
    }

    /// Whether something is wrong, and the process has not just ended.
    pub(super) const fn is_fault(&self) -> bool {
        self.loss.reason().is_fault()
    }

    pub(super) fn count(&self, collector: Collector, losses: &mut Losses) {
        let Self { pid, file, loss, .. } = self;
        loss.count(collector, format_args!("{pid}/{file}"), losses);
    }
}

/// Why none of several processes told: what says most of it.
#[derive(Debug, Default)]
pub(super) struct Failure(pub(super) Option<Untold>);

impl Failure {
    /// Takes another one in. A fault says more than a race, and one that is not there may
    /// turn out to be hidden, which is a fault.
    pub(super) fn note(&mut self, untold: Untold) {
        let weight = |it: &Untold| (it.is_fault(), it.is_absent);
        if self.0.as_ref().is_none_or(|worst| weight(&untold) > weight(worst)) {
            self.0 = Some(untold);
        }
    }
}

/// A process whose network namespace is known.
#[derive(Debug)]
pub(super) struct Visit {
    /// Its directory, or that of one of its threads.
    directory: Directory,
    /// Inode number of the namespace.
    pub(super) netns: u64,
}

impl Visit {
    /// Asks a process for its network namespace. The rights are those to trace it.
    pub(super) fn pay(procfs: &Directory, pid: u32) -> Result<Self, Untold> {
        let directory = lookup::enter(procfs, pid).map_err(|error| {
            let is_absent = error.kind() == io::ErrorKind::NotFound;
            let loss = Loss::from(error);
            let is_refused = loss.reason() == Reason::Denied;
            let loss = if is_refused { loss.because(Reason::Hidden) } else { loss };
            Untold { pid, file: "", loss, is_absent }
        })?;
        match netns(&directory) {
            Ok(netns) => Ok(Self { directory, netns }),
            // It has ended, or its first thread has.
            Err(loss) if loss.reason() == Reason::Vanished => {
                Self::by_thread(&directory, pid).map_err(|loss| Untold::file(pid, "task", loss))
            }
            Err(loss) => Err(Untold::file(pid, NS_NET, loss)),
        }
    }

    /// Asks the other threads of a process whose first one has no network any more.
    fn by_thread(process: &Directory, pid: u32) -> Result<Self, Loss> {
        let mut worst = Loss::of(Reason::Vanished);
        for thread in lookup::other_threads(process, pid)? {
            let visit = thread
                .map_err(Loss::from)
                .and_then(|directory| Ok(Self { netns: netns(&directory)?, directory }));
            match visit {
                Ok(visit) => return Ok(visit),
                Err(loss) if loss.reason().is_fault() => worst = loss,
                Err(_) => {}
            }
        }
        Err(worst)
    }
}

/// Reads the interfaces of a network, if the process in the seat is still in it.
pub(super) fn devices(
    procfs: &Directory,
    Seat { netns, pid }: Seat,
    buffer: &mut Buffer,
) -> Result<Vec<Device>, Untold> {
    let visit = Visit::pay(procfs, pid)?;
    if visit.netns != netns {
        return Err(Untold::file(pid, NS_NET, Loss::of(Reason::Vanished)));
    }
    let file = "net/dev";
    let bytes = visit.directory.list(file, buffer).map_err(unread);
    let lines = bytes.and_then(devices::parse).map_err(|loss| Untold::file(pid, file, loss))?;
    Ok(lines.into_iter().map(|line| line.device).collect())
}

fn unread(error: io::Error) -> Loss {
    // The network ended with its last process (`seq_open_net` in fs/proc/proc_net.c).
    let has_ended = losses::is(&error, Errno::NXIO);
    let loss = Loss::from(error);
    if has_ended { loss.because(Reason::Vanished) } else { loss }
}

/// Inode number of the network namespace of a process or thread.
pub(super) fn netns(process: &Directory) -> Result<u64, Loss> {
    namespaces::inode(&process.link(NS_NET)?, "net").ok_or(Loss::malformed())
}
