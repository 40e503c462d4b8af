//! Collector `network`: Which network the processes of a container are in (`ns/net`), and
//! what the kernel says of a network's interfaces (`net/dev`).
//!
//! Owns whom to ask, and in what order. In the log, files of processes are named by their
//! place below procfs. Must not decide under which container a shared network is told, nor
//! keep what a container's processes answered.

mod devices;
mod host;
mod inquiry;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::OnceLock};

use rustix::path::DecInt;

use self::inquiry::{Failure, Untold, Visit};
use super::{
    files::{Buffer, Directory},
    lookup::{Listing, Lookup, Places},
    losses::Loss,
    stat,
};
use crate::model::{
    collectors::Collector,
    losses::Losses,
    network::{Device, HostDevice, Seat, members::Answer},
    targets::Target,
};

/// The most processes of a container that are asked for its network: each may have ended,
/// or refuse; when so many do, the others will hardly be better.
const MAX_ASKED: usize = 5;

/// The most parents of a container's process that are looked at for one outside: whoever is
/// asked first is hardly ever deeper down.
const MAX_GENERATIONS: usize = 8;

/// Asks processes for networks.
#[derive(Debug)]
pub struct NetworkReader {
    lookup: Lookup,
    /// sysfs, which knows physical interfaces (`--path.sysfs`).
    sysfs: PathBuf,
    /// Inode number of the host's network namespace, once it is known.
    host_netns: OnceLock<u64>,
}

impl NetworkReader {
    /// A reader; it opens nothing yet.
    pub fn new(places: Places, sysfs: PathBuf) -> Self {
        Self { lookup: Lookup::new(places), sysfs, host_netns: OnceLock::new() }
    }

    /// Asks a container's processes which network they are in, one after the other, until one
    /// tells: those of the container's own cgroup, and only if none of them does those of the
    /// ones inside; each time first `hint`, if it is (still) one of them. If nobody tells, that
    /// is counted once, under collector `network`.
    pub fn ask(
        &self,
        target: &Target,
        hint: Option<u32>,
        buffer: &mut Buffer,
        losses: &mut Losses,
    ) -> Answer {
        let collector = Collector::Network;
        let Some(procfs) = self.lookup.procfs_for(target, collector, buffer, losses) else {
            return Answer::Unknown;
        };
        let (mut asked, mut failure) = (Vec::new(), Failure::default());
        let mut listing = self.lookup.list_own(target, collector, buffer);
        let mut is_whole = false;
        let mut told = first_told(&procfs, &listing, hint, &mut asked, &mut failure);
        if told.is_none() && asked.len() < MAX_ASKED {
            listing = self.lookup.list(target, collector, buffer);
            is_whole = true;
            told = first_told(&procfs, &listing, hint, &mut asked, &mut failure);
        }
        let Some(seat) = told else {
            losses.add(&listing.losses);
            if listing.processes.is_empty() && listing.losses.is_complete(collector) {
                return Answer::Empty;
            }
            let worst = self.worst(failure, &procfs, target, collector, buffer);
            count(worst, &listing, collector, losses);
            return Answer::Unknown;
        };
        let answer = match self.host(&procfs, buffer) {
            Ok(host) if host == seat.netns => Answer::Host,
            Ok(_) => match answer_of(&procfs, seat, &listing, buffer) {
                Answer::Runtimes(_) if !is_whole => {
                    // Whoever started it may be inside after all.
                    listing = self.lookup.list(target, collector, buffer);
                    answer_of(&procfs, seat, &listing, buffer)
                }
                answer => answer,
            },
            Err(untold) => {
                untold.count(collector, losses);
                Answer::Unknown
            }
        };
        losses.add(&listing.losses);
        answer
    }

    /// Reads `net/dev` of a network: all of its interfaces, or `None`, which is counted once
    /// under the collector that wants to know. Asks the process in the seat, if it still is
    /// in that network, else others of the container that are.
    pub fn devices(
        &self,
        target: &Target,
        seat: Seat,
        collector: Collector,
        buffer: &mut Buffer,
        losses: &mut Losses,
    ) -> Option<Vec<Device>> {
        let procfs = self.lookup.procfs_for(target, collector, buffer, losses)?;
        let mut failure = Failure::default();
        match inquiry::devices(&procfs, seat, buffer) {
            Ok(devices) => return Some(devices),
            Err(untold) => failure.note(untold),
        }
        let listing = self.lookup.list(target, collector, buffer);
        losses.add(&listing.losses);
        let others = in_order(&listing, None).filter(|pid| *pid != seat.pid);
        for pid in others.take(MAX_ASKED) {
            match inquiry::devices(&procfs, Seat { pid, ..seat }, buffer) {
                Ok(devices) => return Some(devices),
                Err(untold) => failure.note(untold),
            }
        }
        let worst = self.worst(failure, &procfs, target, collector, buffer);
        count(worst, &listing, collector, losses);
        None
    }

    /// Reads `net/dev` of the host's own network: all of its interfaces, or `None`, which is
    /// counted once under the collector that wants to know.
    pub fn host_devices(
        &self,
        collector: Collector,
        buffer: &mut Buffer,
        losses: &mut Losses,
    ) -> Option<Vec<HostDevice>> {
        let procfs = self.lookup.procfs(collector, losses)?;
        host::devices(&procfs, &self.sysfs, collector, buffer, losses)
    }

    /// Inode number of the host's network namespace; `None` if nobody who is in it may be
    /// asked, which is counted.
    pub fn host_netns(&self, buffer: &mut Buffer, losses: &mut Losses) -> Option<u64> {
        let procfs = self.lookup.procfs(Collector::Network, losses)?;
        self.host(&procfs, buffer).map_err(|it| it.count(Collector::Network, losses)).ok()
    }

    /// Inode number of the host's network namespace, if it is known by now: since someone
    /// asked for it, or for a container's network. Reads nothing.
    pub fn known_host_netns(&self) -> Option<u64> {
        self.host_netns.get().copied()
    }

    fn host(&self, procfs: &Directory, buffer: &mut Buffer) -> Result<u64, Untold> {
        match self.host_netns.get() {
            Some(netns) => Ok(*netns),
            None => host::netns(procfs, buffer).map(|netns| *self.host_netns.get_or_init(|| netns)),
        }
    }

    /// What is worst of a failure, now that it is told what has become of a process that was
    /// not there.
    fn worst(
        &self,
        Failure(worst): Failure,
        procfs: &Directory,
        target: &Target,
        collector: Collector,
        buffer: &mut Buffer,
    ) -> Option<Untold> {
        let mut worst = worst?;
        if worst.is_absent {
            let pids = [worst.pid];
            for (_, fate) in self.lookup.fates(&pids, procfs, target, collector, buffer) {
                worst.loss = Loss::of(fate);
            }
        }
        Some(worst)
    }
}

/// The seat of the first process that tells its network, of those that were not `asked` yet.
fn first_told(
    procfs: &Directory,
    listing: &Listing,
    hint: Option<u32>,
    asked: &mut Vec<u32>,
    failure: &mut Failure,
) -> Option<Seat> {
    for pid in in_order(listing, hint) {
        if asked.len() >= MAX_ASKED {
            break;
        }
        if asked.contains(&pid) {
            continue;
        }
        match Visit::pay(procfs, pid) {
            Ok(Visit { netns, .. }) => return Some(Seat { netns, pid }),
            Err(untold) => failure.note(untold),
        }
        asked.push(pid);
    }
    None
}

/// Whether the network that a process is in is its container's own, or its runtime's.
fn answer_of(procfs: &Directory, seat: Seat, listing: &Listing, buffer: &mut Buffer) -> Answer {
    match runtimes(procfs, seat.pid, listing, buffer) {
        Ok(Some(netns)) if netns == seat.netns => Answer::Runtimes(netns),
        Ok(_) => Answer::In(seat),
        // One that a runtime needed for a moment, maybe.
        Err(Ended) => Answer::Unknown,
    }
}

/// A process that was asked has ended.
struct Ended;

/// The network of a container's runtime: that of the process that started its own, as far as
/// that can be told. A runtime makes the container's process as a child in its own network
/// and moves it later, so that a new container may not have been moved yet.
fn runtimes(
    procfs: &Directory,
    asked: u32,
    listing: &Listing,
    buffer: &mut Buffer,
) -> Result<Option<u64>, Ended> {
    let mut pid = asked;
    for _ in 0..MAX_GENERATIONS {
        let directory = procfs.directory(DecInt::new(pid)).map_err(|_| Ended)?;
        let stat = directory.record("stat", buffer).map_err(|_| Ended)?;
        let parent = stat::parse(stat).and_then(|stat| u32::try_from(stat.ppid).ok());
        // 0: it is outside of what can be seen from here.
        let Some(parent) = parent.filter(|parent| *parent > 0) else { return Ok(None) };
        if listing.processes.binary_search_by_key(&parent, |it| it.pid).is_ok() {
            pid = parent;
            continue;
        }
        match Visit::pay(procfs, parent) {
            Ok(visit) => return Ok(Some(visit.netns)),
            Err(untold) if untold.is_fault() => return Ok(None),
            // It has ended, so that there is another one by now.
            Err(_) => pid = asked,
        }
    }
    Ok(None)
}

/// Whom to ask first: the one that is hinted at, those of the container's own cgroup, those
/// of the ones inside; each by pid.
fn in_order(listing: &Listing, hint: Option<u32>) -> impl Iterator<Item = u32> {
    let mut processes = listing.processes.clone();
    processes.sort_by_key(|it| (Some(it.pid) != hint, it.is_nested));
    processes.into_iter().map(|it| it.pid)
}

/// Counts why nobody tells. A race is not counted again where it has already cost a list.
fn count(worst: Option<Untold>, listing: &Listing, collector: Collector, losses: &mut Losses) {
    let is_news = |it: &Untold| it.is_fault() || listing.losses == Losses::default();
    if let Some(untold) = worst.filter(is_news) {
        untold.count(collector, losses);
    }
}
