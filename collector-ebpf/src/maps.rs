//! The maps: what the programs and user space share, and who writes what.
//!
//! `[cpu]` and `[cpu][slot]` arrays are mmapped by user space. Only its own CPU
//! writes a CPU's records, with interrupts off, so plain adds suffice; user space
//! writes only cells of slots that no cgroup owns.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, HashMap, Queue, RingBuf},
};
use collector_ebpf::{Control, CpuState, EVENT_RING_BYTES, Histograms, Totals};

/// Placeholder: user space sets the capacity from possible CPUs and slots.
const AT_LOAD: u32 = 1;

/// `[cpu]`: what each CPU is doing.
#[map]
pub(crate) static CPUS: Array<CpuState<u64>> = Array::with_max_entries(AT_LOAD, BPF_F_MMAPABLE);

/// `[cpu][slot]`: counters; 32 bytes each, so that a sampler touches little memory.
#[map]
pub(crate) static TOTALS: Array<Totals<u64>> = Array::with_max_entries(AT_LOAD, BPF_F_MMAPABLE);

/// `[cpu][slot]`: histograms, apart because only a scrape reads them.
#[map]
pub(crate) static HISTOGRAMS: Array<Histograms<u64>> =
    Array::with_max_entries(AT_LOAD, BPF_F_MMAPABLE);

/// One record that user space writes.
#[map]
pub(crate) static CONTROL: Array<Control<u64>> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Cgroup id → slot.
#[map]
pub(crate) static CGROUP_SLOTS: HashMap<u64, u32> = HashMap::with_max_entries(AT_LOAD, 0);

/// Slots that wait for a cgroup; filled by user space, popped at mkdir.
#[map]
pub(crate) static FREE_SLOTS: Queue<u32> = Queue::with_max_entries(AT_LOAD, 0);

/// Cgroup events for user space.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(EVENT_RING_BYTES, 0);
