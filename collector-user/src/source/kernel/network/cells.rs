//! Counters of packets by slot, whether of interfaces or of cgroups.
//!
//! Owns the mmapped cells, and what each slot's held when it last changed hands. Never
//! writes a cell: a hypervisor may have taken the CPU away from a program in the middle of
//! load, add and store, for however long, and its store would then bring back what was
//! cleared. A packet that is counted so late, or whose bytes are, is one too many for the
//! slot's next owner at most.

use std::sync::atomic::{AtomicU64, Ordering};

use collector_ebpf::{cell, packets::PacketCounters};

use crate::{model::network::Traffic, source::kernel::mapped::MappedArray};

/// `[cpu][slot]` counters of packets.
pub(in crate::source::kernel) struct PacketCells {
    cells: MappedArray<PacketCounters<AtomicU64>>,
    /// CPUs that can ever be there.
    cpus: u32,
    /// By slot: what its cells held when it was freed.
    bases: Vec<Traffic>,
    /// Slots of each CPU.
    slots: u32,
}

impl PacketCells {
    /// Nobody has had any slot yet.
    pub(in crate::source::kernel) fn new(
        cells: MappedArray<PacketCounters<AtomicU64>>,
        cpus: u32,
        slots: u32,
    ) -> Self {
        Self { cells, cpus, bases: vec![Traffic::default(); slots as usize], slots }
    }

    /// Slots of each CPU.
    pub(in crate::source::kernel) fn slots(&self) -> u32 {
        self.slots
    }

    /// CPUs that can ever be there.
    pub(in crate::source::kernel) fn cpus(&self) -> impl Iterator<Item = u32> + use<> {
        0..self.cpus
    }

    /// What the slot's owner has, over those CPUs that may have counted anything.
    pub(in crate::source::kernel) fn traffic(
        &self,
        slot: u32,
        cpus: impl Iterator<Item = u32>,
    ) -> Traffic {
        let base = self.bases.get(slot as usize).copied().unwrap_or_default();
        self.sum(slot, cpus).since(base)
    }

    /// Has the slot's next owner begin at zero. Only for a slot that nobody owns.
    pub(in crate::source::kernel) fn rebase(&mut self, slot: u32) {
        let sum = self.sum(slot, self.cpus());
        if let Some(base) = self.bases.get_mut(slot as usize) {
            *base = sum;
        }
    }

    /// Sums over CPUs, since the load. Each is whole; between two of them a packet may have
    /// passed. Bytes are read first (see [`PacketCounters`]).
    fn sum(&self, slot: u32, cpus: impl Iterator<Item = u32>) -> Traffic {
        let load = |word: &AtomicU64| word.load(Ordering::Acquire);
        let records = self.cells.records();
        let mut traffic = Traffic::default();
        for cell in cpus.filter_map(|cpu| records.get(cell(cpu, self.slots, slot) as usize)) {
            traffic.rx_bytes += load(&cell.rx_bytes);
            traffic.rx_packets += load(&cell.rx_packets);
            traffic.tx_bytes += load(&cell.tx_bytes);
            traffic.tx_packets += load(&cell.tx_packets);
        }
        traffic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPUS: u32 = 3;
    const SLOTS: u32 = 4;
    const SLOT: u32 = 2;

    /// Cells in a file's memory, as an array's are in the kernel's.
    fn cells() -> PacketCells {
        let file = tempfile::tempfile().expect("a file");
        let length = (CPUS * SLOTS) as usize;
        let size = length * size_of::<PacketCounters<AtomicU64>>();
        file.set_len(size as u64).expect("room for it");
        PacketCells::new(MappedArray::new(&file, length).expect("memory"), CPUS, SLOTS)
    }

    fn at(cells: &PacketCells, cpu: u32, slot: u32) -> &PacketCounters<AtomicU64> {
        &cells.cells.records()[cell(cpu, SLOTS, slot) as usize]
    }

    fn traffic(rx_packets: u64, rx_bytes: u64) -> Traffic {
        Traffic { rx_bytes, rx_packets, ..Traffic::default() }
    }

    #[test]
    fn a_packet_that_is_late_is_one_too_many_and_brings_nothing_back() {
        let mut cells = cells();
        for cpu in [0, 2] {
            at(&cells, cpu, SLOT).rx_packets.store(1_000, Ordering::Relaxed);
            at(&cells, cpu, SLOT).rx_bytes.store(60_000, Ordering::Relaxed);
        }
        assert_eq!(cells.traffic(SLOT, cells.cpus()), traffic(2_000, 120_000));
        // The program has loaded, and its CPU is gone.
        let loaded = at(&cells, 2, SLOT).rx_packets.load(Ordering::Relaxed);
        cells.rebase(SLOT);
        assert_eq!(cells.traffic(SLOT, cells.cpus()), Traffic::default());
        at(&cells, 2, SLOT).rx_packets.store(loaded + 1, Ordering::Relaxed);
        assert_eq!(cells.traffic(SLOT, cells.cpus()), traffic(1, 0));
    }

    #[test]
    fn a_slots_base_is_its_own_and_of_its_last_owner() {
        let mut cells = cells();
        for (slot, packets) in [(SLOT, 7), (SLOT + 1, 9)] {
            at(&cells, 1, slot).rx_packets.store(packets, Ordering::Relaxed);
        }
        cells.rebase(SLOT);
        at(&cells, 1, SLOT).rx_packets.store(10, Ordering::Relaxed);
        assert_eq!(cells.traffic(SLOT, cells.cpus()), traffic(3, 0));
        cells.rebase(SLOT);
        at(&cells, 1, SLOT).rx_packets.store(11, Ordering::Relaxed);
        assert_eq!(cells.traffic(SLOT, cells.cpus()), traffic(1, 0));
        assert_eq!(cells.traffic(SLOT + 1, cells.cpus()), traffic(9, 0), "of no concern to it");
    }

    #[test]
    fn only_the_cpus_that_are_asked_for_are_read() {
        let cells = cells();
        for cpu in 0..CPUS {
            at(&cells, cpu, SLOT).rx_packets.store(10 + u64::from(cpu), Ordering::Relaxed);
        }
        assert_eq!(cells.traffic(SLOT, [0, 2].into_iter()), traffic(22, 0));
    }
}
