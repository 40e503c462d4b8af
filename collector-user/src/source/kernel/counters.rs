//! Reading the programs' counters: totals, histograms, and the slice in flight.
//!
//! Owns the race with the writers (a sequence count per CPU) and the arithmetic of
//! what is still running. Must not know which cgroup a slot belongs to; no syscall
//! but a clock that needs none.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use collector_ebpf::{BUCKETS, Counters as Cell, CpuState, cell};
use rustix::time::{ClockId, clock_gettime};

use super::mapped::MappedArray;
use crate::model::{
    snapshot::LedgerHealth,
    usage::{Log2Histogram, Usage},
};

/// How often a CPU's record is read again while that CPU writes it. A write takes some
/// 50 ns; sixty-four reads that meet one mean that it stands still: the hypervisor has
/// taken the CPU away in mid-write, for longer than a scrape can spin.
const MAX_READS: u32 = 64;

/// [`CpuState::sequence`] once its first switch is written.
const FIRST_WRITTEN: u64 = 2;

/// The mmapped counters of all CPUs.
pub struct Counters {
    pub(super) cpus: MappedArray<CpuState<AtomicU64>>,
    pub(super) cells: MappedArray<Cell<AtomicU64>>,
    /// Slots of each CPU, reserved ones included.
    pub(super) slots: u32,
    /// Readers' own tallies.
    pub(super) retries: u64,
    pub(super) failures: u64,
}

/// What a CPU is in the middle of, read in one breath.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    /// Whose slice it is; `None` for the idle task.
    slot: Option<u32>,
    /// Runtime of that slot on that CPU, this slice included.
    runtime_ns: u64,
    /// Idle time of that CPU, the idleness in flight included.
    idle_ns: u64,
    /// Time since its first switch was seen.
    elapsed_ns: u64,
}

/// One reading of all CPUs at one moment.
pub struct Reading<'a> {
    counters: &'a Counters,
    /// The CPUs that are accounted, each with what it is in the middle of; `None` where
    /// that could not be read.
    cpus: Vec<(u32, Option<InFlight>)>,
    /// Tallies over all CPUs; what only others know of the ledger's health is left out.
    pub tallies: LedgerHealth,
}

impl Counters {
    /// Reads what every CPU is doing now. Usages are then taken from the reading slot
    /// by slot, the slices in flight included. A CPU that is offline counts as idle.
    pub fn read(&mut self) -> Reading<'_> {
        let mut cpus = Vec::new();
        let mut tallies = LedgerHealth::default();
        for (cpu, state) in (0..).zip(self.cpus.records()) {
            if state.sequence.load(Ordering::Acquire) < FIRST_WRITTEN {
                continue;
            }
            let (in_flight, reads) = self.in_flight(cpu, state);
            self.retries += u64::from(reads - 1);
            self.failures += u64::from(in_flight.is_none());
            add_tallies(&mut tallies, state);
            add_times(&mut tallies, state, in_flight.as_ref());
            cpus.push((cpu, in_flight));
        }
        Reading { counters: self, cpus, tallies }
    }

    /// Cgroup events that found the ring buffer full.
    pub fn events_dropped(&self) -> u64 {
        self.cpus.records().iter().map(|cpu| cpu.events_dropped.load(Ordering::Relaxed)).sum()
    }

    /// Whether a task that is charged to the slot may be on a CPU right now.
    pub fn is_running(&self, slot: u32) -> bool {
        self.cpus.records().iter().any(|cpu| {
            let writing = !cpu.sequence.load(Ordering::Acquire).is_multiple_of(2);
            writing || cpu.slot.load(Ordering::Acquire) == u64::from(slot)
        })
    }

    /// Repeats of reads because a CPU was writing, and reads given up.
    pub fn races(&self) -> (u64, u64) {
        (self.retries, self.failures)
    }

    /// Zeroes a slot's cells on every CPU. Only for a slot that no cgroup owns.
    pub(super) fn clear(&self, slot: u32) {
        for (cpu, _) in (0..).zip(self.cpus.records()) {
            let Cell { runtime_ns, wait_ns, voluntary, involuntary, slices, waits } =
                self.cell(cpu, slot);
            let words = [runtime_ns, wait_ns, voluntary, involuntary];
            for word in words.into_iter().chain(slices).chain(waits) {
                word.store(0, Ordering::Relaxed);
            }
        }
    }

    /// Voids every CPU's cache of slots.
    pub(super) fn void_caches(&self) {
        for cpu in self.cpus.records() {
            cpu.epoch.fetch_add(1, Ordering::Release);
        }
    }

    fn cell(&self, cpu: u32, slot: u32) -> &Cell<AtomicU64> {
        &self.cells.records()[cell(cpu, self.slots, slot) as usize]
    }

    /// What a CPU is in the middle of, and how many reads that took.
    fn in_flight(&self, cpu: u32, state: &CpuState<AtomicU64>) -> (Option<InFlight>, u32) {
        for reads in 1..=MAX_READS {
            let before = state.sequence.load(Ordering::Acquire);
            let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
            // The idle task's is no index, nor need be what is read in mid-write.
            let slot = u32::try_from(load(&state.slot)).ok().filter(|&slot| slot < self.slots);
            let closed_ns = slot.map_or(0, |slot| load(&self.cell(cpu, slot).runtime_ns));
            let (booked_ns, booked_at_tns) = (load(&state.booked_ns), load(&state.booked_at_tns));
            let (idle_ns, born_at_ns) = (load(&state.idle_ns), load(&state.born_at_ns));
            let offset_ns = load(&state.clock_offset_ns);
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && load(&state.sequence) == before {
                // The clock is read after the record: never a start in the future.
                let now_ns = monotonic_ns();
                let unbooked_ns = now_ns.wrapping_sub(offset_ns).saturating_sub(booked_at_tns);
                let length_ns = booked_ns + unbooked_ns;
                let found = InFlight {
                    slot,
                    runtime_ns: closed_ns + length_ns,
                    idle_ns: if slot.is_none() { idle_ns + length_ns } else { idle_ns },
                    elapsed_ns: now_ns.saturating_sub(born_at_ns),
                };
                return (Some(found), reads);
            }
            std::hint::spin_loop();
        }
        (None, MAX_READS)
    }
}

impl Reading<'_> {
    /// The CPUs that are accounted: those that have ever switched.
    pub(super) fn cpus(&self) -> impl Iterator<Item = u32> {
        self.cpus.iter().map(|&(cpu, _)| cpu)
    }

    /// Usage of a slot since its cgroup got it, the slices in flight included.
    pub fn usage(&self, slot: u32) -> Usage {
        let mut usage = Usage::default();
        for &(cpu, in_flight) in &self.cpus {
            let cell = self.counters.cell(cpu, slot);
            let closed_ns = cell.runtime_ns.load(Ordering::Relaxed);
            usage.slices.sum_ns += closed_ns;
            // The total goes with the slice that was seen in flight: one that was closed
            // since then would be counted twice.
            usage.runtime_ns += in_flight
                .filter(|seen| seen.slot == Some(slot))
                .map_or(closed_ns, |seen| seen.runtime_ns);
            usage.waits.sum_ns += cell.wait_ns.load(Ordering::Relaxed);
            usage.voluntary += cell.voluntary.load(Ordering::Relaxed);
            usage.involuntary += cell.involuntary.load(Ordering::Relaxed);
            add_buckets(&mut usage.slices, &cell.slices);
            add_buckets(&mut usage.waits, &cell.waits);
        }
        usage
    }
}

fn add_tallies(tallies: &mut LedgerHealth, cpu: &CpuState<AtomicU64>) {
    let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
    tallies.missed_repaired += load(&cpu.missed_repaired);
    tallies.missed_unrepaired += load(&cpu.missed_unrepaired);
    tallies.lost_ns += load(&cpu.lost_ns);
    tallies.events_dropped += load(&cpu.events_dropped);
    tallies.slots_exhausted += load(&cpu.slots_exhausted);
    tallies.ids_exhausted += load(&cpu.ids_exhausted);
}

/// Adds the CPU's times. Where the slice in flight could not be read, its words tell all
/// the same since when the CPU is accounted, and what idleness is closed: each word is
/// whole, and neither goes back. Left out, its usage would stand beside the other CPUs'
/// time alone, and the books would seem to hold more than there was.
fn add_times(tallies: &mut LedgerHealth, cpu: &CpuState<AtomicU64>, in_flight: Option<&InFlight>) {
    let (idle_ns, elapsed_ns) = match in_flight {
        Some(seen) => (seen.idle_ns, seen.elapsed_ns),
        None => (
            cpu.idle_ns.load(Ordering::Relaxed),
            monotonic_ns().saturating_sub(cpu.born_at_ns.load(Ordering::Relaxed)),
        ),
    };
    tallies.idle_ns += idle_ns;
    tallies.elapsed_ns += elapsed_ns;
}

fn add_buckets(histogram: &mut Log2Histogram, words: &[AtomicU64; BUCKETS]) {
    for (bucket, word) in histogram.buckets.iter_mut().zip(words) {
        *bucket += word.load(Ordering::Relaxed);
    }
}

/// `CLOCK_MONOTONIC`, the clock of `bpf_ktime_get_ns`; read in the vDSO.
fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // Monotonic time counts from boot: neither part is ever negative.
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_whose_slice_cant_be_read_has_its_times_all_the_same() {
        let now_ns = monotonic_ns();
        let cpu = CpuState::<AtomicU64> {
            idle_ns: AtomicU64::new(700),
            born_at_ns: AtomicU64::new(now_ns.saturating_sub(1000)),
            ..CpuState::default()
        };
        let mut tallies = LedgerHealth { idle_ns: 1, elapsed_ns: 2, ..LedgerHealth::default() };
        add_times(&mut tallies, &cpu, None);
        assert_eq!(tallies.idle_ns, 701);
        assert!(tallies.elapsed_ns >= 1002, "{tallies:?}");

        let seen = InFlight { slot: None, runtime_ns: 0, idle_ns: 900, elapsed_ns: 1500 };
        let mut tallies = LedgerHealth::default();
        add_times(&mut tallies, &cpu, Some(&seen));
        assert_eq!((tallies.idle_ns, tallies.elapsed_ns), (900, 1500));
    }
}
