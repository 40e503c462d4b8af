//! Packets: each to the interface that it crosses, sent or received.
//!
//! *current* is whoever was interrupted, so it is never asked: the packet's device tells
//! its network namespace and its index there, and that is the key. What is counted is what
//! `/proc/net/dev` counts on a virtual interface: the bytes with the link-layer header, of
//! what the driver accepted.
//!
//! **Who may interrupt whom.** A packet is sent with bottom halves off (`xmit_one` below
//! `__dev_queue_xmit` or the net-tx softirq) and received in a softirq or, by tun, with
//! bottom halves off. So on one CPU neither tracepoint interrupts the other, and no hard
//! interrupt fires either (drivers and netpoll hand packets over to the softirq, or to the
//! driver without passing here). A stacked device sends through the lower one within its own
//! driver, but each tracepoint fires after its driver has returned: one after the other.
//! The tracepoint itself keeps the CPU (on `PREEMPT_RT` it is bottom halves off that do, by
//! a lock per CPU). Plain adds on the CPU's own memory therefore lose nothing, and no cached
//! entry is half written when it is read.

#![expect(
    clippy::inline_always,
    reason = "BPF functions take five words at most, and a call costs a frame per packet"
)]

use core::sync::atomic::{Ordering, compiler_fence};

use aya_ebpf::{
    Global,
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_smp_processor_id, bpf_probe_read_kernel_str_bytes},
    programs::BtfTracePointContext,
};
use collector_ebpf::{
    cell,
    packets::{
        CachedInterface, InterfaceEvent, InterfaceEventKind, InterfaceKey, InterfaceSlot,
        KIND_BYTES, NAME_BYTES, NET_OVERFLOW_SLOT, NetCpu, PacketCounters, interface_cache_set,
        pack,
    },
};

use crate::{
    layout::{
        DEVICE_FEATURES, DEVICE_IFINDEX, DEVICE_NAME, DEVICE_NET, DEVICE_OPS, GRO, NET_COOKIE,
        NET_INUM, NET_SLOT_COUNT, OPS_KIND, SKB_DATA, SKB_DEVICE, SKB_HEAD, SKB_LEN,
        SKB_MAC_HEADER, field, present,
    },
    maps::{FREE_NET_SLOTS, INTERFACES, NET_COUNTERS, NET_CPUS, NET_EVENTS},
};

/// `NETDEV_TX_OK` (include/linux/netdevice.h): the driver took the packet. After
/// `NETDEV_TX_BUSY` it is offered, and the tracepoint fires, again.
const NETDEV_TX_OK: i32 = 0;

/// `skb->mac_header` where there is none (`skb_mac_header_was_set`).
const NO_MAC_HEADER: u16 = u16::MAX;

/// An interface that the verifier knows to be one.
#[derive(Clone, Copy)]
struct Device(*const u8);

/// A network namespace that the verifier knows to be one.
#[derive(Clone, Copy)]
struct Net(*const u8);

/// What user space is told of an interface.
struct News {
    kind: InterfaceEventKind,
    slot: u32,
    name: [u8; NAME_BYTES],
}

/// A packet that was offered to a driver. It may be freed by now: only what the tracepoint
/// hands over besides is looked at.
#[inline]
pub(crate) fn sent(ctx: &BtfTracePointContext) {
    if ctx.arg::<i32>(1) != NETDEV_TX_OK {
        return;
    }
    let bytes: u32 = ctx.arg(3);
    if let Some(counters) = counters_of(Device(ctx.arg(2))) {
        counters.tx_packets += 1;
        // In this order (see `PacketCounters`); it costs no instruction.
        compiler_fence(Ordering::Release);
        counters.tx_bytes += u64::from(bytes);
    }
}

/// A packet on its way from an interface to whoever it is for.
#[inline]
pub(crate) fn received(ctx: &BtfTracePointContext) {
    let skb: *const u8 = ctx.arg(0);
    // SAFETY: the tracepoint's argument is a `struct sk_buff`.
    let device = unsafe { field(skb, &SKB_DEVICE) };
    // SAFETY: as above.
    let length: u32 = unsafe { field(skb, &SKB_LEN) };
    // SAFETY: as above.
    let bytes = u64::from(length) + unsafe { pulled(skb) };
    if let Some(counters) = counters_of(Device(device)) {
        counters.rx_packets += 1;
        // As above.
        compiler_fence(Ordering::Release);
        counters.rx_bytes += bytes;
    }
}

/// Bytes of the link-layer header, which `skb->len` lacks by now: what lies between it and
/// the data. None where an interface has no such header (a tunnel's, a tun's).
///
/// # Safety
/// `skb` is a `struct sk_buff` that the verifier knows.
#[inline(always)]
unsafe fn pulled(skb: *const u8) -> u64 {
    // SAFETY: the caller's promise.
    let mac_header: u16 = unsafe { field(skb, &SKB_MAC_HEADER) };
    // SAFETY: as above; addresses are numbers to us.
    let data: u64 = unsafe { field(skb, &SKB_DATA) };
    // SAFETY: as above.
    let head: u64 = unsafe { field(skb, &SKB_HEAD) };
    if mac_header == NO_MAC_HEADER {
        return 0;
    }
    data.saturating_sub(head + u64::from(mac_header))
}

/// This CPU's counters for an interface.
#[inline(always)]
fn counters_of<'a>(device: Device) -> Option<&'a mut PacketCounters<u64>> {
    // SAFETY: no arguments; see the module's head for why the CPU stays the same.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let state = NET_CPUS.get_ptr_mut(cpu)?;
    // SAFETY: the map's own memory; only this CPU writes its record.
    let state = unsafe { &mut *state };
    let slots = NET_SLOT_COUNT.load() as u32;
    let slot = slot_of(state, device);
    // Slots come from a map that user space writes: never index by trust alone.
    let slot = if slot < slots { slot } else { NET_OVERFLOW_SLOT };
    let counters = NET_COUNTERS.get_ptr_mut(cell(cpu, slots, slot))?;
    // SAFETY: the map's own memory; only this CPU writes its cells.
    Some(unsafe { &mut *counters })
}

/// Slot of an interface, from the CPU's cache if it can be.
///
/// The shared slot is cached, too: an interface that got none is not to cost more than
/// others. It tries again when user space has voided the caches.
#[inline(always)]
fn slot_of(state: &mut NetCpu<u64>, device: Device) -> u32 {
    let ifindex: u32 = device.read(&DEVICE_IFINDEX);
    let net = device.net();
    let netns = net.identity();
    // SAFETY: user space writes this word, whole, while we hold the record.
    let epoch = unsafe { (&raw const state.epoch).read_volatile() };
    let set = interface_cache_set(netns, ifindex);
    let [first, second] = state.cache[set];
    let holds = |cached: CachedInterface<u64>| {
        netns == cached.netns && ifindex == cached.ifindex_and_slot as u32 && epoch == cached.epoch
    };
    if holds(first) {
        return (first.ifindex_and_slot >> 32) as u32;
    }
    if holds(second) {
        return (second.ifindex_and_slot >> 32) as u32;
    }
    state.cache_misses += 1;
    let key = InterfaceKey { netns, ifindex: u64::from(ifindex) };
    let slot = look_up(state, device, net, &key);
    let found = CachedInterface { netns, ifindex_and_slot: pack(ifindex, slot), epoch };
    state.cache[set] = [found, first];
    slot
}

/// Slot of an interface from the map; one that is not in it gets one.
#[inline(always)]
fn look_up(state: &mut NetCpu<u64>, device: Device, net: Net, key: &InterfaceKey) -> u32 {
    let name = device.name();
    let Some(known) = INTERFACES.get_ptr_mut(key) else {
        return first_seen(state, device, net, key, name);
    };
    // SAFETY: a value of the map. Another CPU may be renaming it, too, to the same name.
    // User space gives a slot back long after it has taken the key out, so that the slot
    // is the interface's own whatever happens to the value meanwhile.
    let known = unsafe { &mut *known };
    let slot = known.slot as u32;
    if known.name != name {
        match NET_EVENTS.reserve::<InterfaceEvent>(0) {
            Some(mut entry) => {
                let news = News { kind: InterfaceEventKind::Renamed, slot, name };
                // SAFETY: the reserved record is writable, aligned and ours until submitted.
                news.write(unsafe { &mut *entry.as_mut_ptr() }, device, net, key);
                entry.submit(0);
                known.name = name;
            }
            // Told at a later look-up.
            None => state.events_dropped += 1,
        }
    }
    slot
}

/// Gives an interface a free slot, or the shared one if none is free, and tells user space;
/// or does neither: of a slot that user space never heard of, it could never say that it is
/// free again.
#[inline(always)]
fn first_seen(
    state: &mut NetCpu<u64>,
    device: Device,
    net: Net,
    key: &InterfaceKey,
    name: [u8; NAME_BYTES],
) -> u32 {
    let Some(mut entry) = NET_EVENTS.reserve::<InterfaceEvent>(0) else {
        state.events_dropped += 1;
        return NET_OVERFLOW_SLOT;
    };
    let popped = FREE_NET_SLOTS.pop().ok().flatten();
    let slot = popped.unwrap_or(NET_OVERFLOW_SLOT);
    let value = InterfaceSlot { slot: u64::from(slot), name };
    let inserted = INTERFACES.insert(key, value, u64::from(BPF_NOEXIST));
    if inserted.is_ok() {
        if popped.is_none() {
            state.slots_exhausted += 1;
        }
        let news = News { kind: InterfaceEventKind::Seen, slot, name };
        // SAFETY: as in `look_up`.
        news.write(unsafe { &mut *entry.as_mut_ptr() }, device, net, key);
        entry.submit(0);
        return slot;
    }
    entry.discard(0);
    if let Some(unused) = popped {
        // There is room: it was popped a moment ago, and each slot exists once.
        if FREE_NET_SLOTS.push(unused, 0).is_err() {
            state.slots_exhausted += 1;
        }
    }
    // Another CPU may have been faster; else the map is full.
    if let Some(known) = INTERFACES.get_ptr(key) {
        // SAFETY: a value of the map, copied at once.
        return unsafe { (*known).slot as u32 };
    }
    state.interfaces_exhausted += 1;
    NET_OVERFLOW_SLOT
}

impl Device {
    #[inline(always)]
    fn net(self) -> Net {
        Net(self.read(&DEVICE_NET))
    }

    /// All of it: what follows the NUL may differ after a change, so is compared, too.
    #[inline(always)]
    fn name(self) -> [u8; NAME_BYTES] {
        // Bytes, as a name may begin anywhere in a struct.
        self.read(&DEVICE_NAME)
    }

    #[inline(always)]
    fn merges(self) -> bool {
        present(&DEVICE_FEATURES) && self.read::<u64>(&DEVICE_FEATURES) & GRO.load() != 0
    }

    #[inline(always)]
    fn read<T: Copy>(self, offset: &Global<u64>) -> T {
        // SAFETY: only fields of a `struct net_device` are asked for.
        unsafe { field(self.0, offset) }
    }
}

impl Net {
    /// What no other namespace has: for ever, or on an old kernel as long as it lives.
    #[inline(always)]
    fn identity(self) -> u64 {
        if present(&NET_COOKIE) {
            // SAFETY: a field of a `struct net`.
            unsafe { field(self.0, &NET_COOKIE) }
        } else {
            u64::from(self.inum())
        }
    }

    #[inline(always)]
    fn inum(self) -> u32 {
        // SAFETY: a field of a `struct net`.
        unsafe { field(self.0, &NET_INUM) }
    }
}

impl News {
    #[inline(always)]
    fn write(&self, event: &mut InterfaceEvent, device: Device, net: Net, key: &InterfaceKey) {
        let Self { kind, slot, name } = *self;
        event.kind = kind as u32;
        event.slot = slot;
        event.key = *key;
        event.netns_inum = net.inum();
        event.merges = u32::from(device.merges());
        event.name = name;
        event.link_kind = [0; KIND_BYTES];
        if present(&DEVICE_OPS) && present(&OPS_KIND) {
            let ops: *const u8 = device.read(&DEVICE_OPS);
            // SAFETY: `net_device.rtnl_link_ops` is a `struct rtnl_link_ops`; where it is
            // null, as a physical interface's, so is what is read.
            let link_kind: *const u8 = unsafe { field(ops, &OPS_KIND) };
            // SAFETY: the helper checks the address and the length; of null it reads
            // nothing, and the kind stays empty.
            let _ = unsafe { bpf_probe_read_kernel_str_bytes(link_kind, &mut event.link_kind) };
        }
    }
}
