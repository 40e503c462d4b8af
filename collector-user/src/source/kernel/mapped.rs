//! A BPF array's memory, shared with the programs.
//!
//! Owns an mmap of a `BPF_F_MMAPABLE` array, seen
//! as a slice of records of atomics. Must not know what the records mean.

use std::{io, marker::PhantomData, os::fd::AsFd, sync::atomic::AtomicU64};

use collector_ebpf::{
    Counters, CpuState,
    packets::{NetCpu, PacketCounters},
};
use memmap2::{MmapOptions, MmapRaw};
use rustix::fd::AsRawFd;

/// A record that consists of `AtomicU64` words and nothing else.
///
/// # Safety
/// Implementors are `repr(C)`, hold only `AtomicU64`s (and arrays of them), and have
/// the layout that the programs see with `u64`. An aligned eight-byte load or store is
/// one access on both sides, so no value is ever torn.
pub(super) unsafe trait Record {}

// SAFETY: `repr(C)`, words and arrays of words.
unsafe impl Record for Counters<AtomicU64> {}
// SAFETY: `repr(C)`, words only, aligned to 64 bytes on both sides.
unsafe impl Record for CpuState<AtomicU64> {}
// SAFETY: `repr(C)`, words only.
unsafe impl Record for PacketCounters<AtomicU64> {}
// SAFETY: `repr(C)`, words and arrays of words, aligned to 64 bytes on both sides.
unsafe impl Record for NetCpu<AtomicU64> {}

/// The records of an mmapped array.
pub(super) struct MappedArray<T> {
    memory: MmapRaw,
    length: usize,
    record: PhantomData<T>,
}

impl<T: Record> MappedArray<T> {
    /// Maps a whole array, readable and writable.
    ///
    /// # Errors
    /// The kernel refuses: the array was not made with `BPF_F_MMAPABLE`, or memory is
    /// short.
    pub(super) fn new(array: impl AsFd, length: usize) -> io::Result<Self> {
        let memory =
            MmapOptions::new().len(length * size_of::<T>()).map_raw(array.as_fd().as_raw_fd())?;
        Ok(Self { memory, length, record: PhantomData })
    }

    /// All the records.
    pub(super) fn records(&self) -> &[T] {
        // SAFETY: the mapping lives as long as `self`, begins on a page (so it is
        // aligned for any record), and is as long as `length` records. The programs
        // write to it meanwhile; `T` is made of atomics, for which that is defined.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast::<T>(), self.length) }
    }
}
