//! Packets by interface: reading the programs' counters, and the slots of interfaces.
//!
//! Owns the interface→slot map and the queue of free slots; the counters themselves are in
//! `cells`. Whose interface it is, and when a slot may change hands, is the accounts'
//! business. Reading counters makes no syscall.

pub(super) mod cells;
mod events;

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use aya::maps::{HashMap, MapData, MapError, Queue, RingBuf};
use cells::PacketCells;
use collector_ebpf::packets::{FIRST_NET_SLOT, NetCpu};
pub use events::InterfaceEvent;
use tokio::io::unix::AsyncFd;

use super::mapped::MappedArray;
use crate::model::network::{InterfaceId, NetworkHealth, Traffic};

/// `BPF_EXIST` (include/uapi/linux/bpf.h).
const EXIST: u64 = 2;

/// Packets by interface.
pub struct Network {
    pub(super) cpus: MappedArray<NetCpu<AtomicU64>>,
    pub(super) cells: PacketCells,
    /// Key → slot and name, as words: `InterfaceKey` and `InterfaceSlot`.
    pub(super) interfaces: HashMap<MapData, [u64; 2], [u64; 3]>,
    pub(super) free: Queue<MapData, u32>,
    pub(super) events: AsyncFd<RingBuf<MapData>>,
    /// `/proc/self/fdinfo/FD` of the two programs, that of sent packets first.
    pub(super) program_infos: [PathBuf; 2],
}

impl Network {
    /// Fills the queue of free slots; before any program runs.
    pub(super) fn fill(&mut self) -> Result<(), MapError> {
        (FIRST_NET_SLOT..self.cells.slots()).try_for_each(|slot| self.free.push(slot, 0))
    }

    /// What crossed the slot's interface since it got the slot, over all CPUs; bytes with
    /// the link-layer header. Of the overflow slot: what crossed interfaces that have no slot
    /// of their own.
    pub fn traffic(&self, slot: u32) -> Traffic {
        self.cells.traffic(slot, self.busy_cpus())
    }

    /// CPUs that ever counted a packet: no CPU's cache answers its first look-up.
    fn busy_cpus(&self) -> impl Iterator<Item = u32> {
        let is_busy = |cpu: &NetCpu<AtomicU64>| cpu.cache_misses.load(Ordering::Relaxed) > 0;
        (0..).zip(self.cpus.records()).filter(move |(_, cpu)| is_busy(cpu)).map(|(cpu, _)| cpu)
    }

    /// The next event, if there is one.
    pub fn next_event(&mut self) -> Option<InterfaceEvent> {
        loop {
            let record = self.events.get_mut().next()?;
            // Objects and daemon are built together: an unknown record can't occur.
            if let Some(event) = events::decode(&record) {
                return Some(event);
            }
        }
    }

    /// Has every CPU look every interface up again at its next packet: only then does what
    /// [`Self::promote`] and [`Self::forget`] did take effect, is a new name noticed, and does
    /// an interface that could not be told of try again. Once a second costs nothing that
    /// could be measured.
    pub fn refresh(&self) {
        for cpu in self.cpus.records() {
            cpu.epoch.fetch_add(1, Ordering::Release);
        }
    }

    /// Gives an interface that shares the overflow slot one of its own, if one is free. Its
    /// packets go there after the next [`Self::refresh`], one for all that were changed.
    ///
    /// # Errors
    /// The kernel refuses, or does not know the interface.
    pub fn promote(&mut self, id: InterfaceId) -> Result<Option<u32>, MapError> {
        let mut value = self.interfaces.get(&key(id), 0)?;
        let slot = match self.free.pop(0) {
            Ok(slot) => slot,
            Err(MapError::ElementNotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        value[0] = u64::from(slot);
        self.interfaces.insert(key(id), value, EXIST).or_else(|refused| {
            self.free.push(slot, 0)?;
            Err(refused)
        })?;
        Ok(Some(slot))
    }

    /// Forgets an interface that is gone, if it is known. After the next [`Self::refresh`],
    /// one for all that were forgotten, no CPU's cache leads to its slot any more; should it
    /// still have a packet, it is a new one with a new slot.
    ///
    /// # Errors
    /// The kernel refuses: it knows the interface still, whose slot must not be freed.
    pub fn forget(&mut self, id: InterfaceId) -> Result<(), MapError> {
        match self.interfaces.remove(&key(id)) {
            Err(MapError::SyscallError(error)) if error.io_error.kind() == ErrorKind::NotFound => {
                Ok(())
            }
            forgotten => forgotten,
        }
    }

    /// Frees the slot of an interface that was forgotten; its next owner begins at zero. Some
    /// time must have passed since the refresh: a program that had looked the slot up before
    /// may still be on its way. One that is later than that counts its packet for the next
    /// owner.
    ///
    /// # Errors
    /// The kernel refuses; the slot is then neither free nor used.
    pub fn free(&mut self, slot: u32) -> Result<(), MapError> {
        self.cells.rebase(slot);
        self.free.push(slot, 0)
    }

    /// What went wrong, over all CPUs, as far as the programs themselves can tell:
    /// `packets_missed`, which [`Self::missed`] has, is 0.
    pub fn health(&self) -> NetworkHealth {
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let mut health = NetworkHealth::default();
        for cpu in self.cpus.records() {
            health.events_dropped += load(&cpu.events_dropped);
            health.slots_exhausted += load(&cpu.slots_exhausted);
            health.interfaces_exhausted += load(&cpu.interfaces_exhausted);
            health.cache_misses += load(&cpu.cache_misses);
        }
        health
    }

    /// Packets that the kernel did not show to a program because it was running already on
    /// that CPU (`recursion_misses`). Before 6.1 (05b24ff9b2cf) always 0: such a program was
    /// not kept from running in its own midst.
    ///
    /// # Errors
    /// An fdinfo file can't be read.
    pub fn missed(&self) -> io::Result<u64> {
        self.program_infos.iter().map(|path| program_number(path, "recursion_misses")).sum()
    }

    /// How often the programs ran, that of sent packets first. The kernel counts it only
    /// while `kernel.bpf_stats_enabled` is on. For checks that each run was counted here;
    /// they can't ask for it themselves, as a host may have several programs of that name,
    /// and only this value knows which are its own.
    ///
    /// # Errors
    /// An fdinfo file can't be read.
    pub fn runs(&self) -> io::Result<[u64; 2]> {
        let [sent, received] = &self.program_infos;
        Ok([program_number(sent, "run_cnt")?, program_number(received, "run_cnt")?])
    }
}

/// An interface as the map of interfaces has it.
fn key(id: InterfaceId) -> [u64; 2] {
    [id.netns, u64::from(id.ifindex)]
}

/// A line of the fdinfo file of a program.
fn program_number(path: &Path, name: &str) -> io::Result<u64> {
    Ok(number(&fs::read_to_string(path)?, name))
}

/// A line of a program's fdinfo (`bpf_prog_show_fdinfo` in kernel/bpf/syscall.c); 0 on a
/// kernel that does not tell it.
fn number(fdinfo: &str, name: &str) -> u64 {
    fdinfo
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_fdinfo_is_understood() {
        let fdinfo = "pos:\t0\nprog_id:\t21\nrun_cnt:\t9\nrecursion_misses:\t3\n";
        assert_eq!(number(fdinfo, "recursion_misses"), 3);
        assert_eq!(number(fdinfo, "run_cnt"), 9);
        assert_eq!(number("pos:\t0\n", "recursion_misses"), 0, "before 6.1");
    }
}
