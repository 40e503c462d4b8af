//! The maps: what the programs and user space share, and who writes what.
//!
//! `[cpu]` and `[cpu][slot]` arrays are mmapped by user space. Only its own CPU
//! writes a CPU's records, with interrupts off, so plain adds suffice; user space
//! writes only cells of `COUNTERS` whose slots no cgroup owns, and the epoch of a CPU's
//! cache. Packets are counted likewise, those of sockets by atomic adds; of what is
//! theirs user space writes epochs alone.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, HashMap, Queue, RingBuf},
};
use collector_ebpf::{
    Counters, CpuState, EVENT_RING_BYTES,
    packets::{InterfaceKey, InterfaceSlot, NET_EVENT_RING_BYTES, NetCpu, PacketCounters},
};

/// Placeholder: user space sets the capacity from possible CPUs and slots.
const AT_LOAD: u32 = 1;

/// `[cpu]`: what each CPU is doing.
#[map]
pub(crate) static CPUS: Array<CpuState<u64>> = Array::with_max_entries(AT_LOAD, BPF_F_MMAPABLE);

/// `[cpu][slot]`: what each slot used on each CPU.
#[map]
pub(crate) static COUNTERS: Array<Counters<u64>> = Array::with_max_entries(AT_LOAD, BPF_F_MMAPABLE);

/// Cgroup id → slot.
#[map]
pub(crate) static CGROUP_SLOTS: HashMap<u64, u32> = HashMap::with_max_entries(AT_LOAD, 0);

/// Slots that wait for a cgroup; filled by user space, popped at mkdir.
#[map]
pub(crate) static FREE_SLOTS: Queue<u32> = Queue::with_max_entries(AT_LOAD, 0);

/// Cgroup events for user space.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(EVENT_RING_BYTES, 0);

/// `[cpu]`: what each CPU keeps for packets.
#[map]
pub(crate) static NET_CPUS: Array<NetCpu<u64>> = Array::with_max_entries(AT_LOAD, BPF_F_MMAPABLE);

/// `[cpu][slot]`: what crossed each interface on each CPU.
#[map]
pub(crate) static NET_COUNTERS: Array<PacketCounters<u64>> =
    Array::with_max_entries(AT_LOAD, BPF_F_MMAPABLE);

/// Interface → slot and name.
#[map]
pub(crate) static INTERFACES: HashMap<InterfaceKey, InterfaceSlot> =
    HashMap::with_max_entries(AT_LOAD, 0);

/// Slots that wait for an interface; filled by user space, popped at its first packet.
#[map]
pub(crate) static FREE_NET_SLOTS: Queue<u32> = Queue::with_max_entries(AT_LOAD, 0);

/// Interface events for user space.
#[map]
pub(crate) static NET_EVENTS: RingBuf = RingBuf::with_byte_size(NET_EVENT_RING_BYTES, 0);

/// `[cpu][cgroup's slot]`: what each cgroup's sockets sent and received on each CPU.
#[map]
pub(crate) static SOCKET_COUNTERS: Array<PacketCounters<u64>> =
    Array::with_max_entries(AT_LOAD, BPF_F_MMAPABLE);
