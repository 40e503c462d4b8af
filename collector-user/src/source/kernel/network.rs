//! Packets by interface and by cgroup: reading the programs' counters, and the slots of
//! interfaces.
//!
//! Owns the mmapped counters, the interface→slot map and the queue of free slots. Whose
//! interface it is, and when a slot may change hands, is the accounts' business. Reading
//! makes no syscall.

mod events;

use std::{
    fs, io,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::maps::{HashMap, MapData, MapError, Queue, RingBuf};
use collector_ebpf::{
    cell,
    packets::{FIRST_NET_SLOT, NET_OVERFLOW_SLOT, NetCpu, PacketCounters},
};
pub use events::InterfaceEvent;
use tokio::io::unix::AsyncFd;

use super::mapped::MappedArray;
use crate::model::network::{InterfaceId, NetworkHealth, Traffic};

/// `BPF_EXIST` (include/uapi/linux/bpf.h).
const EXIST: u64 = 2;

/// `[cpu][slot]` counters of packets.
pub(super) struct PacketCells {
    pub(super) cells: MappedArray<PacketCounters<AtomicU64>>,
    /// CPUs that can ever be there.
    pub(super) cpus: u32,
    /// Slots of each CPU.
    pub(super) slots: u32,
}

impl PacketCells {
    /// Sums over all CPUs. Each is whole; between two of them a packet may have passed. Bytes
    /// are read first (see [`PacketCounters`]).
    pub(super) fn traffic(&self, slot: u32) -> Traffic {
        let load = |word: &AtomicU64| word.load(Ordering::Acquire);
        let mut traffic = Traffic::default();
        for cell in self.of_slot(slot) {
            traffic.rx_bytes += load(&cell.rx_bytes);
            traffic.rx_packets += load(&cell.rx_packets);
            traffic.tx_bytes += load(&cell.tx_bytes);
            traffic.tx_packets += load(&cell.tx_packets);
        }
        traffic
    }

    /// Zeroes a slot's cells. Only for a slot that nobody owns.
    pub(super) fn clear(&self, slot: u32) {
        for cell in self.of_slot(slot) {
            let PacketCounters { rx_bytes, rx_packets, tx_bytes, tx_packets } = cell;
            for word in [rx_bytes, rx_packets, tx_bytes, tx_packets] {
                word.store(0, Ordering::Relaxed);
            }
        }
    }

    fn of_slot(&self, slot: u32) -> impl Iterator<Item = &PacketCounters<AtomicU64>> {
        let records = self.cells.records();
        (0..self.cpus).filter_map(move |cpu| records.get(cell(cpu, self.slots, slot) as usize))
    }
}

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
        (FIRST_NET_SLOT..self.cells.slots).try_for_each(|slot| self.free.push(slot, 0))
    }

    /// What crossed the slot's interface since it got the slot, over all CPUs; bytes with
    /// the link-layer header.
    pub fn traffic(&self, slot: u32) -> Traffic {
        self.cells.traffic(slot)
    }

    /// What crossed interfaces that have no slot of their own.
    pub fn overflow(&self) -> Traffic {
        self.cells.traffic(NET_OVERFLOW_SLOT)
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

    /// Has every CPU look every interface up again at its next packet: only then is a new
    /// name noticed, and does an interface that could not be told of try again. Once a
    /// second costs nothing that could be measured.
    pub fn refresh(&self) {
        for cpu in self.cpus.records() {
            cpu.epoch.fetch_add(1, Ordering::Release);
        }
    }

    /// Gives an interface that shares the overflow slot one of its own, if one is free.
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
        self.refresh();
        Ok(Some(slot))
    }

    /// Forgets an interface that is gone. No CPU's cache leads to its slot any more; should
    /// it still have a packet, it is a new one with a new slot.
    ///
    /// # Errors
    /// The kernel refuses, or never knew the interface.
    pub fn forget(&mut self, id: InterfaceId) -> Result<(), MapError> {
        let forgotten = self.interfaces.remove(&key(id));
        self.refresh();
        forgotten
    }

    /// Clears the slot of an interface that was forgotten, and frees it. Some time must have
    /// passed: a program that had looked the slot up before may still be on its way.
    ///
    /// # Errors
    /// The kernel refuses; the slot is then neither free nor used.
    pub fn free(&mut self, slot: u32) -> Result<(), MapError> {
        self.cells.clear(slot);
        self.free.push(slot, 0)
    }

    /// What went wrong, over all CPUs.
    ///
    /// # Errors
    /// A file that tells a part of it can't be read.
    pub fn health(&self) -> io::Result<NetworkHealth> {
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let mut health = NetworkHealth::default();
        for cpu in self.cpus.records() {
            health.events_dropped += load(&cpu.events_dropped);
            health.slots_exhausted += load(&cpu.slots_exhausted);
            health.interfaces_exhausted += load(&cpu.interfaces_exhausted);
            health.cache_misses += load(&cpu.cache_misses);
        }
        for path in &self.program_infos {
            health.packets_missed += number(&fs::read_to_string(path)?, "recursion_misses");
        }
        Ok(health)
    }

    /// How often the programs ran, that of sent packets first. The kernel counts it only
    /// while `kernel.bpf_stats_enabled` is on: for checks that each run was counted here.
    ///
    /// # Errors
    /// An fdinfo file can't be read.
    pub fn runs(&self) -> io::Result<[u64; 2]> {
        let [sent, received] = &self.program_infos;
        let runs = |path| Ok::<_, io::Error>(number(&fs::read_to_string(path)?, "run_cnt"));
        Ok([runs(sent)?, runs(received)?])
    }

    /// What all the slots have together.
    pub fn total(&self) -> Traffic {
        (0..self.cells.slots).map(|slot| self.cells.traffic(slot)).sum()
    }
}

/// An interface as the map of interfaces has it.
fn key(id: InterfaceId) -> [u64; 2] {
    [id.netns, u64::from(id.ifindex)]
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
        assert_eq!(number("pos:\t0\n", "recursion_misses"), 0, "before 5.12");
    }
}
