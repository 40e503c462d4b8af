//! The kernel side as user space sees it: programs loaded and attached, their maps.
//!
//! Owns every BPF object of the daemon: dropping [`Kernel`] detaches and frees all of
//! them, and since nothing is pinned, so does any death of the process. Must not know
//! what a cgroup's path means.

pub mod btf;
pub mod counters;
pub mod error;
pub mod events;
pub mod layout;
mod load;
mod mapped;
pub mod network;
mod optional;
mod poll;
mod prime;
pub mod slots;

use std::{fs, io, os::fd::AsRawFd, path::PathBuf};

use aya::{
    Ebpf,
    maps::{MapData, MapError, RingBuf},
};
use aya_log::EbpfLogger;
use counters::Counters;
pub use error::LoadError;
use events::CgroupEvent;
pub use load::Options;
use network::{Network, cells::PacketCells};
use slots::Slots;
use tokio::io::unix::AsyncFd;

use super::cgroupfs::Hierarchy;
use crate::model::{network::Traffic, snapshot::LedgerHealth, usage::Usage};

/// The programs that `cargo xtask build-ebpf` made, for whom no toolchain is at hand.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("SLICEMETER_EBPF_OBJECT"));

/// Programs and maps, loaded.
pub struct Kernel {
    /// Holds programs and links; what it holds, runs.
    ebpf: Ebpf,
    counters: Counters,
    /// Id→slot map and free slots.
    pub slots: Slots,
    events: AsyncFd<RingBuf<MapData>>,
    log: Option<AsyncFd<EbpfLogger<&'static dyn log::Log>>>,
    /// `/proc/self/fdinfo/FD` of every map.
    map_infos: Vec<PathBuf>,
    /// What the running kernel can't tell, for people.
    pub degraded: Vec<String>,
    /// Whether the running kernel tells how long tasks wait for a CPU.
    pub waits_known: bool,
    /// The programs that account slices here.
    accounting: Vec<&'static str>,
    /// Packets by interface; `None` if they are not wanted, or not to be had (then
    /// [`Self::degraded`] says why).
    pub network: Option<Network>,
    /// Packets by the cgroup of their socket, with the cgroups' slots.
    sockets: Option<PacketCells>,
    /// The hierarchy whose root the socket programs are attached to.
    hierarchy: Hierarchy,
}

impl Kernel {
    /// Loads the programs and starts to follow the births and deaths of cgroups. The
    /// cgroups that exist already are to be given slots before [`Self::start`].
    ///
    /// # Errors
    /// Fields or tracepoints are missing, or the kernel refuses; the error says which.
    pub fn load(object: &[u8], options: &Options) -> Result<Self, LoadError> {
        load::load(object, options)
    }

    /// Starts to account slices, on every CPU at once, if they are accounted, and packets
    /// of sockets. If the kernel refuses the latter, [`Self::degraded`] has one more.
    ///
    /// # Errors
    /// The kernel refuses to attach.
    pub fn start(&mut self) -> Result<(), LoadError> {
        if self.sockets.is_some()
            && let Err(error) = optional::attach_sockets(&mut self.ebpf, &self.hierarchy)
        {
            self.sockets = None;
            self.degraded.push(optional::refusal("packets of sockets", &error));
        }
        for program in &self.accounting {
            load::attach(&mut self.ebpf, program)?;
        }
        if self.accounting.is_empty() {
            return Ok(());
        }
        let online =
            aya::util::online_cpus().map_err(|(path, source)| LoadError::Cpus { path, source })?;
        prime::prime(&online);
        Ok(())
    }

    /// Names of the programs that are attached once it is started.
    pub fn programs(&self) -> Vec<&'static str> {
        let network = self.network.iter().flat_map(|_| optional::NETWORK);
        let sockets = self.sockets.iter().flat_map(|_| optional::socket_programs());
        let cpu = load::IDENTITY.iter().chain(&self.accounting).copied();
        cpu.chain(network).chain(sockets).collect()
    }

    /// Reads the counters of cgroups at this moment.
    pub fn read(&mut self) -> Reading<'_> {
        let slices = self.counters.read();
        let sockets = self.sockets.as_ref().map(|cells| {
            // A CPU that comes up switches before it has a packet. Where nobody follows
            // switches, it may be any.
            let cpus = match self.accounting[..] {
                [] => cells.cpus().collect(),
                _ => slices.cpus().collect(),
            };
            SocketReading { cells, cpus }
        });
        Reading { slices, sockets }
    }

    /// Whether packets are accounted by the cgroup of their socket.
    pub fn counts_sockets(&self) -> bool {
        self.sockets.is_some()
    }

    /// Repeats of reads because a CPU was writing, and reads given up, so far.
    pub fn races(&self) -> (u64, u64) {
        self.counters.races()
    }

    /// Whether a task that is charged to the slot is on a CPU right now.
    pub fn is_running(&self, slot: u32) -> bool {
        self.counters.is_running(slot)
    }

    /// Forgets a cgroup: slices of its last tasks are unattributed from now on, and no
    /// CPU's cache leads to its slot any more.
    ///
    /// # Errors
    /// The kernel refuses: the id still leads to its slot.
    pub fn forget(&mut self, id: u64) -> Result<(), MapError> {
        let forgotten = self.slots.forget(id);
        self.counters.void_caches();
        forgotten
    }

    /// Frees a slot that nobody uses any more; its next owner begins at zero. A socket's
    /// packet that is counted after this is the next owner's.
    ///
    /// # Errors
    /// The kernel refuses; the slot is then neither free nor used.
    pub fn free(&mut self, slot: u32) -> Result<(), MapError> {
        self.counters.clear(slot);
        if let Some(sockets) = &mut self.sockets {
            sockets.rebase(slot);
        }
        self.slots.give_back(slot)
    }

    /// Cgroup events that found the ring buffer full, so far.
    pub fn events_dropped(&self) -> u64 {
        self.counters.events_dropped()
    }

    /// Waits for an event of a cgroup or an interface, or a log record of the programs.
    ///
    /// # Errors
    /// The ring buffer can't be waited for; events then wait for the next tick.
    pub async fn activity(&mut self) -> io::Result<()> {
        let Self { events, log, network, .. } = self;
        let interfaces = network.as_mut().map(|network| &mut network.events);
        tokio::select! {
            ready = events.readable_mut() => ready?.clear_ready(),
            ready = readable(log.as_mut()) => ready?,
            ready = readable(interfaces) => ready?,
        }
        Ok(())
    }

    /// Passes the programs' log records on to ours.
    pub fn pass_on_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.get_mut().flush();
        }
    }

    /// The next cgroup event, if there is one.
    pub fn next_event(&mut self) -> Option<CgroupEvent> {
        loop {
            let record = self.events.get_mut().next()?;
            // Objects and daemon are built together: an unknown record can't occur.
            if let Some(event) = events::decode(&record) {
                return Some(event);
            }
        }
    }

    /// Kernel memory of all maps in bytes, as `/proc/self/fdinfo` tells it.
    ///
    /// # Errors
    /// An fdinfo file can't be read.
    pub fn memory_bytes(&self) -> io::Result<u64> {
        self.map_infos.iter().map(|path| Ok(memlock_bytes(&fs::read_to_string(path)?))).sum()
    }
}

/// One reading of the counters of cgroups.
pub struct Reading<'a> {
    slices: counters::Reading<'a>,
    sockets: Option<SocketReading<'a>>,
}

/// The counters of packets by cgroup, and the CPUs that may have counted any.
struct SocketReading<'a> {
    cells: &'a PacketCells,
    cpus: Vec<u32>,
}

impl Reading<'_> {
    /// Tallies over all CPUs; what only others know of the ledger's health is left out.
    pub fn tallies(&self) -> LedgerHealth {
        self.slices.tallies
    }

    /// Usage of a slot's cgroup since it got the slot.
    pub fn usage(&self, slot: u32) -> Usage {
        let sockets = self.sockets.as_ref().map_or_else(Traffic::default, |sockets| {
            sockets.cells.traffic(slot, sockets.cpus.iter().copied())
        });
        Usage { sockets, ..self.slices.usage(slot) }
    }
}

/// Waits until there is something to read, for ever if there is no source.
async fn readable<T: AsRawFd>(source: Option<&mut AsyncFd<T>>) -> io::Result<()> {
    match source {
        Some(source) => source.readable_mut().await.map(|mut ready| ready.clear_ready()),
        None => std::future::pending().await,
    }
}

/// The `memlock:` line of a map's fdinfo (kernel/bpf/syscall.c, `bpf_map_show_fdinfo`).
fn memlock_bytes(fdinfo: &str) -> u64 {
    fdinfo
        .lines()
        .find_map(|line| line.strip_prefix("memlock:"))
        .and_then(|bytes| bytes.trim().parse().ok())
        .unwrap_or(0)
}
