//! The ABI of packet accounting: which interface, which slot, what was counted.
//!
//! As the rest of the ABI: plain data, no dependencies, nothing that one side alone needs.

/// Slot of the interfaces that found no free slot: their sum stays exact.
pub const NET_OVERFLOW_SLOT: u32 = 0;

/// The first slot that an interface can own.
pub const FIRST_NET_SLOT: u32 = 1;

/// Slots for interfaces unless told otherwise: a container on a bridge has its own
/// interface, its `lo` and the host's end of the pair, so ample for 600 containers; 64 KiB
/// of counters per CPU.
pub const DEFAULT_NET_SLOTS: u32 = 2_048;

/// The most slots for interfaces that can be asked for; a bound on kernel memory.
pub const MAX_NET_SLOTS: u32 = 65_536;

/// Known interfaces beyond the slots (they share [`NET_OVERFLOW_SLOT`]) that the map of
/// interfaces can hold. Past these, packets are counted in the same slot, but user space
/// is not told whose they are.
pub const OVERFLOW_INTERFACES: u32 = 2_048;

/// Bytes of the ring buffer for interface events: some 1,800 of them. Each interface makes
/// one in its life, so that is 600 containers that all start before user space is woken.
/// A power of two and a multiple of the page size, as the kernel demands.
pub const NET_EVENT_RING_BYTES: u32 = 128 * 1024;

/// Bytes of an interface's name, NUL included (`IFNAMSIZ`, include/uapi/linux/if.h).
pub const NAME_BYTES: usize = 16;

/// Bytes of a kind of interface, NUL included. The kernel's own are at most nine letters
/// (`openvswitch` and `vlan`, `veth`, `bridge`, `macvlan` fit); a longer one is cut.
pub const KIND_BYTES: usize = 16;

/// Sets of a CPU's cache of interfaces. A packet between two containers on a bridge
/// crosses four interfaces on one CPU: room for several such pairs.
pub const CACHE_SETS: usize = 16;

/// Entries of a set. With one, two interfaces that share a set would evict each other at
/// every packet, and one pair in sixteen does; with two it takes three.
pub const CACHE_WAYS: usize = 2;

/// Packets and their bytes, both ways. The sums of one slot on one CPU; each word is
/// whole, but between two of them a packet may pass. The programs count a packet first, and
/// its bytes after it: who reads bytes first has no bytes of a packet that he lacks (on a
/// machine that keeps the order of stores, as x86 does; on another he may for a moment).
///
/// They only ever grow, from the load on: user space never writes them, since a program may
/// be in the middle of an add for as long as a hypervisor keeps its CPU, and would bring back
/// what was cleared. What a slot held when it changed hands is for user space to remember.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct PacketCounters<W> {
    /// Bytes received.
    pub rx_bytes: W,
    /// Packets received.
    pub rx_packets: W,
    /// Bytes sent.
    pub tx_bytes: W,
    /// Packets sent.
    pub tx_packets: W,
}

/// An interface, as long as it and its network namespace live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct InterfaceKey {
    /// The network namespace: `net.net_cookie`, which is never used again, or on a kernel
    /// that has none (before 5.12) its inode number, which is.
    pub netns: u64,
    /// `net_device.ifindex`: unique in the namespace at any time.
    pub ifindex: u64,
}

/// Where an interface's packets go, and what it was called when last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct InterfaceSlot {
    /// Its slot, [`NET_OVERFLOW_SLOT`] included.
    pub slot: u64,
    /// `net_device.name`, all of it.
    pub name: [u8; NAME_BYTES],
}

/// What a CPU keeps for packets: look-ups made, and what went wrong.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub struct NetCpu<W> {
    /// Interface events that found the ring buffer full.
    pub events_dropped: W,
    /// Interfaces that found no free slot.
    pub slots_exhausted: W,
    /// Times that an interface found the map of interfaces full.
    pub interfaces_exhausted: W,
    /// Look-ups that the cache did not answer. A CPU's first packet is one of them (no
    /// interface has the index 0), so where this is 0 nothing was ever counted.
    pub cache_misses: W,
    /// Grows each time that user space voids the cache. The one word here that user space
    /// writes, and the programs only read.
    pub epoch: W,
    /// Keeps the cache on a cache line's edge.
    pub reserved: [W; 3],
    /// Slots of the interfaces that packets crossed here lately.
    pub cache: [[CachedInterface<W>; CACHE_WAYS]; CACHE_SETS],
}

/// A look-up that need not be made again.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct CachedInterface<W> {
    /// [`InterfaceKey::netns`].
    pub netns: W,
    /// [`InterfaceKey::ifindex`] in the lower half, the slot in the upper one.
    pub ifindex_and_slot: W,
    /// [`NetCpu::epoch`] at the look-up.
    pub epoch: W,
}

/// Why an interface is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum InterfaceEventKind {
    /// Its first packet was seen.
    Seen = 1,
    /// Its name is another one now.
    Renamed = 2,
}

/// A record of the ring buffer of interface events.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct InterfaceEvent {
    /// [`InterfaceEventKind`] as a number.
    pub kind: u32,
    /// The slot it was given; [`NET_OVERFLOW_SLOT`] if none was free.
    pub slot: u32,
    /// Which interface.
    pub key: InterfaceKey,
    /// Inode number of its network namespace, as `/proc/PID/ns/net` shows it.
    pub netns_inum: u32,
    /// 1 if it merges packets on their way in (`NETIF_F_GRO`), else 0. Most virtual interfaces
    /// have the flag and nothing that merges; a veth has it only if it does.
    pub merges: u32,
    /// Its name now, NUL-terminated.
    pub name: [u8; NAME_BYTES],
    /// What kind of interface it is (`rtnl_link_ops.kind`: `veth`, `bridge`, `macvlan`),
    /// NUL-terminated; empty for a physical one and for `lo`.
    pub link_kind: [u8; KIND_BYTES],
}

/// Set of the cache of interfaces for a key.
///
/// Indices in one namespace are neighbours, so they need no spreading; `lo` is 1 in each
/// namespace and a container's first interface often 2, so namespaces do.
#[inline]
pub const fn interface_cache_set(netns: u64, ifindex: u32) -> usize {
    let spread = netns.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 60;
    (spread as usize).wrapping_add(ifindex as usize) % CACHE_SETS
}

/// [`CachedInterface::ifindex_and_slot`].
#[inline]
pub const fn pack(ifindex: u32, slot: u32) -> u64 {
    (slot as u64) << 32 | ifindex as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_a_namespace_never_share_a_set_of_the_cache() {
        for netns in [1, 4_026_531_840, u64::MAX] {
            for first in [1, 2, 77, u32::MAX - 20] {
                let mut used = [false; CACHE_SETS];
                (0..16).for_each(|n| used[interface_cache_set(netns, first + n)] = true);
                assert!(used.into_iter().all(|used| used));
            }
        }
    }

    #[test]
    fn the_same_index_in_neighbouring_namespaces_rarely_shares_a_set() {
        let mut entries = 0;
        let firsts = [1_u64, 4_097, 4_026_532_300, 4_026_533_111, 99_999];
        for first in firsts {
            let mut used = [false; CACHE_SETS];
            (0..8).for_each(|n| used[interface_cache_set(first + n, 2)] = true);
            entries += used.into_iter().filter(|&used| used).count();
        }
        // Chance would have eight interfaces use 6.5 sets of sixteen, on average.
        assert!(entries >= 5 * firsts.len(), "{entries}");
    }

    #[test]
    fn index_and_slot_are_packed_apart() {
        assert_eq!(pack(7, 3) & u64::from(u32::MAX), 7);
        assert_eq!(pack(u32::MAX, 3) >> 32, 3);
    }

    #[test]
    fn records_are_whole_words_without_gaps() {
        assert_eq!(size_of::<PacketCounters<u64>>(), 4 * 8);
        assert_eq!(size_of::<InterfaceKey>(), 2 * 8);
        assert_eq!(size_of::<InterfaceSlot>(), 3 * 8);
        assert_eq!(size_of::<NetCpu<u64>>(), (8 + 3 * CACHE_WAYS * CACHE_SETS) * 8);
        assert_eq!(size_of::<InterfaceEvent>(), 64);
        assert_eq!(core::mem::offset_of!(NetCpu<u64>, cache) % 64, 0);
    }
}
