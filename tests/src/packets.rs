//! The daemon's programs that account packets, loaded by ourselves: what they count, by
//! interface.

use std::{collections::BTreeMap, path::Path, thread::sleep, time::Duration};

use collector_ebpf::packets::{FIRST_NET_SLOT, NET_OVERFLOW_SLOT};
use slicemeter::{
    model::network::{InterfaceId, Traffic},
    source::{
        cgroupfs::{self, Choice},
        kernel::{
            Kernel, OBJECT, Options,
            network::{InterfaceEvent, Network},
        },
    },
};
use tokio::runtime::Runtime;

/// The greatest share of packets that may fire no tracepoint: one in so many.
const NOT_FIRED: u64 = 100;

/// Sums of fewer packets than this are small: a hundredth of one is soon all that a short-lived
/// container had.
const FEW: u64 = 2_000;

/// How many packets of small sums may fire no tracepoint, both ways together.
const NOT_FIRED_OF_FEW: u64 = 3;

/// Bytes of a packet, at least (IPv4 and UDP: of `lo` no more is counted) and at most (64 KiB in
/// one, with an Ethernet header).
const PACKET_BYTES: [u64; 2] = [20 + 8, 65_536 + 14];

/// Shows that the programs' count of an interface is the kernel's; whether it is so to the
/// last packet.
///
/// On some machines a tracepoint now and then does not fire (switches don't, either): a few
/// packets in a row then lack at both ends. What the kernel never showed to a program, none
/// can count: that is bounded here, in packets and in bytes, and nothing may ever be counted that
/// was not there.
pub fn assert_same(what: &str, ours: Traffic, kernels: Traffic) -> bool {
    println!("{what}: {ours:?}");
    if ours == kernels {
        return true;
    }
    println!("{what}: net/dev has {kernels:?}: some fired no tracepoint");
    let mut unseen_of_few = 0;
    for (ours, kernels) in [
        ([ours.rx_packets, ours.rx_bytes], [kernels.rx_packets, kernels.rx_bytes]),
        ([ours.tx_packets, ours.tx_bytes], [kernels.tx_packets, kernels.tx_bytes]),
    ] {
        let [unseen, bytes] = [0, 1].map(|index| {
            kernels[index].checked_sub(ours[index]).expect("nothing is counted twice")
        });
        assert!(unseen * NOT_FIRED <= kernels[0], "{what}: {ours:?} of {kernels:?}");
        let [least, most] = PACKET_BYTES.map(|each| unseen * each);
        let is_theirs = (least..=most).contains(&bytes);
        assert!(is_theirs, "{what}: {unseen} packets don't have {bytes} bytes");
        if kernels[0] < FEW {
            unseen_of_few += unseen;
        }
    }
    assert!(unseen_of_few <= NOT_FIRED_OF_FEW, "{what}: {unseen_of_few} of so few");
    false
}

/// Between the last look at an interface and its slot's end.
const GRACE: Duration = Duration::from_millis(20);

/// An interface that was told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The programs' name for it.
    pub id: InterfaceId,
    /// Inode number of its namespace.
    pub netns_inum: u32,
    /// Its slot; `None` where it shares the overflow slot.
    pub slot: Option<u32>,
    /// Its name now.
    pub name: String,
    /// Its kind.
    pub link_kind: String,
}

/// What the loader is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Packets by interface.
    pub network: bool,
    /// Packets by the cgroup of their socket.
    pub sockets: bool,
    /// Slots for interfaces.
    pub net_slots: u32,
}

/// The programs and what they have told so far. They end with this value.
pub struct Packets {
    kernel: Kernel,
    /// Slots for interfaces, the overflow slot included.
    slots: u32,
    interfaces: BTreeMap<InterfaceId, Interface>,
    /// Ring buffers are registered with it. Dropped last.
    _runtime: Runtime,
}

impl Packets {
    /// Loads and attaches the programs, without those that account CPU time.
    pub fn start(wanted: Wanted) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let runtime = runtime.expect("a runtime");
        let entered = runtime.enter();
        let paths =
            cgroupfs::Paths { procfs: Path::new("/proc"), cgroupfs: Path::new("/sys/fs/cgroup") };
        let Wanted { network, sockets, net_slots } = wanted;
        let options = Options {
            hierarchy: cgroupfs::detect(paths, Choice::Auto).expect("a hierarchy"),
            slots: collector_ebpf::DEFAULT_SLOTS,
            btf: "/sys/kernel/btf/vmlinux".into(),
            accounts_slices: false,
            network,
            sockets,
            net_slots,
            log_level: tracing::Level::WARN,
        };
        let slots = if network { FIRST_NET_SLOT + net_slots } else { 0 };
        let mut kernel = Kernel::load(OBJECT, &options).expect("programs that load");
        kernel.start().expect("programs that attach");
        drop(entered);
        Self { kernel, slots, interfaces: BTreeMap::new(), _runtime: runtime }
    }

    /// All that was loaded.
    pub fn kernel(&mut self) -> &mut Kernel {
        &mut self.kernel
    }

    /// The interfaces' side of it.
    pub fn network(&mut self) -> &mut Network {
        let degraded = &self.kernel.degraded;
        self.kernel.network.as_mut().unwrap_or_else(|| panic!("no packets: {degraded:?}"))
    }

    /// What crossed interfaces that have no slot of their own.
    pub fn overflow(&mut self) -> Traffic {
        self.network().traffic(NET_OVERFLOW_SLOT)
    }

    /// What all the slots have together.
    pub fn total(&mut self) -> Traffic {
        let slots = self.slots;
        let network = self.network();
        (0..slots).map(|slot| network.traffic(slot)).sum()
    }

    /// The interfaces that were told of.
    pub fn interfaces(&mut self) -> &BTreeMap<InterfaceId, Interface> {
        while let Some(event) = self.network().next_event() {
            match event {
                InterfaceEvent::Seen { id, netns_inum, slot, name, link_kind, merges: _ } => {
                    let new = Interface { id, netns_inum, slot, name, link_kind };
                    let before = self.interfaces.insert(id, new);
                    assert_eq!(before, None, "an interface is seen first once");
                }
                InterfaceEvent::Renamed { id, name } => {
                    self.interfaces.get_mut(&id).expect("it was seen before").name = name;
                }
            }
        }
        &self.interfaces
    }

    /// Gives up an interface: its slot is free, and its next packet is the first again.
    pub fn forget(&mut self, id: InterfaceId) {
        let interface = self.interfaces.remove(&id).expect("it was told of");
        self.network().forget(id).expect("the kernel agrees");
        self.network().refresh();
        // A program that had looked it up may be on its way: for less than this.
        sleep(GRACE);
        if let Some(slot) = interface.slot {
            self.network().free(slot).expect("room for it");
        }
    }

    /// Tries to give an interface that shares the overflow slot its own.
    pub fn promote(&mut self, id: InterfaceId) -> Option<u32> {
        let slot = self.network().promote(id).expect("it is known");
        self.network().refresh();
        self.interfaces.get_mut(&id).expect("it was told of").slot = slot;
        slot
    }

    /// An interface by its namespace and name.
    pub fn interface(&mut self, netns_inum: u64, name: &str) -> Option<Interface> {
        self.interfaces()
            .values()
            .find(|it| u64::from(it.netns_inum) == netns_inum && it.name == name)
            .cloned()
    }

    /// What an interface with a slot of its own has sent and received.
    pub fn traffic(&mut self, netns_inum: u64, name: &str) -> Option<Traffic> {
        let slot = self.interface(netns_inum, name)?.slot?;
        Some(self.network().traffic(slot))
    }
}
