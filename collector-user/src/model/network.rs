//! Packets: whose each network is, what crossed its interfaces, and what `net/dev` says.
//!
//! Owns the values that all who deal with networks share; the accounts are in
//! [`interfaces`], who is in which network is in [`members`], and how the counts compare to
//! the kernel's own in [`audit`]. Must not read anything.

pub mod audit;
pub mod interfaces;
pub mod members;

use std::sync::Arc;

use super::{losses::Losses, snapshot::SlotCounts};

/// What went over an interface, or over several, or over sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
}

impl Traffic {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.each(other, u64::saturating_add)
    }

    /// What this has more than an earlier one.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        self.each(earlier, u64::saturating_sub)
    }

    /// Takes over a reading; what was read before never gets less.
    pub fn raise_to(&mut self, reading: &Self) {
        *self = self.each(*reading, u64::max);
    }

    fn each(self, other: Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            rx_bytes: combine(self.rx_bytes, other.rx_bytes),
            rx_packets: combine(self.rx_packets, other.rx_packets),
            tx_bytes: combine(self.tx_bytes, other.tx_bytes),
            tx_packets: combine(self.tx_packets, other.tx_packets),
        }
    }
}

impl std::iter::Sum for Traffic {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Self::plus)
    }
}

/// A line of `net/dev`: an interface with the kernel's own counts since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Its name; bytes that are no UTF-8 replaced.
    pub name: Arc<str>,
    /// Bytes and packets.
    pub traffic: Traffic,
    /// Frames that were received wrong (`errs`).
    pub rx_errors: u64,
    /// Packets received and dropped (`drop`).
    pub rx_dropped: u64,
    /// Packets that could not be sent (`errs`).
    pub tx_errors: u64,
    /// Packets dropped in place of being sent (`drop`).
    pub tx_dropped: u64,
}

impl Device {
    /// Whether it is the network's own loop, whose packets stay inside.
    pub fn is_loopback(&self) -> bool {
        &*self.name == LOOPBACK
    }
}

/// Name of the interface that each network has for itself.
pub const LOOPBACK: &str = "lo";

/// An interface of the host's own network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDevice {
    /// Name and counts.
    pub device: Device,
    /// Whether it is a device, and not one behind another; others (bridges, veths, tunnels)
    /// pass on what came or goes through these.
    pub is_physical: bool,
}

/// An interface, as the programs tell it from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceId {
    /// Its network namespace: the namespace's cookie, which is never used again. Before
    /// 5.12 it is the inode number, which is used again.
    pub netns: u64,
    /// Its index there.
    pub ifindex: u32,
}

/// Which network a container is told to use, and whether its traffic is told under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Its own, or one of several that it was the first in: it is told under it.
    Owner(Seat),
    /// One that another container was in first; it is told under that one.
    Shared {
        /// Path of the other's cgroup.
        owner: Arc<str>,
    },
    /// The host's.
    Host,
    /// That of its runtime, which is neither the host's nor a container's.
    Runtimes,
    /// None: no process is in the container.
    Empty,
    /// Not known, or not yet.
    Unknown,
}

/// A network namespace that is not the host's, and a process that is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Inode number of the namespace (`/proc/PID/ns/net`).
    pub netns: u64,
    /// A process that was in it when it was last asked.
    pub pid: u32,
}

/// An interface with what crossed it under one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceView {
    /// Its name.
    pub name: Arc<str>,
    /// What kind of link it is.
    pub link: Link,
    /// What the programs counted of it, as `net/dev` would; `None` while it has no slot of
    /// its own, and so is known as a part of the overflow only.
    pub traffic: Option<Traffic>,
}

/// What kind of link an interface is: how its counts compare to those of `net/dev`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    /// `lo`: `net/dev` leaves the header of 14 bytes out, both ways.
    Loopback,
    /// A device: it counts what is on the wire, the programs what the stack hands over or
    /// gets (several packets in one, with GRO and segmentation offload).
    Physical,
    /// A bridge's own interface: `net/dev` leaves the header out of what is received.
    Bridge,
    /// Stacked on another (VLAN, macvlan, bond): what it receives is seen below only, so
    /// that nothing of it is counted here.
    Stacked,
    /// One end of a virtual cable: the same counts as in `net/dev`.
    Veth,
    /// Any other virtual one: some kinds count as `net/dev` does, some leave headers out or
    /// add their own.
    Virtual,
}

/// Kinds of interfaces (`rtnl_link_ops.kind`) that take a packet over from the one below in
/// the same round (`another_round` in `__netif_receive_skb_core`, net/core/dev.c), so that
/// its tracepoint does not fire again.
const STACKED: [&str; 8] =
    ["bond", "ipvlan", "ipvtap", "macvlan", "macvtap", "team", "vlan", "vrf"];

/// Index of the loop in every network (`LOOPBACK_IFINDEX`, include/net/flow.h).
const LOOPBACK_IFINDEX: u32 = 1;

/// Bytes of an Ethernet header.
const ETHERNET_BYTES: u64 = 14;

impl Link {
    /// By the kernel's name for the kind, and the interface's index in its network.
    pub fn of(kind: &str, ifindex: u32) -> Self {
        match kind {
            "" if ifindex == LOOPBACK_IFINDEX => Self::Loopback,
            "" => Self::Physical,
            "bridge" => Self::Bridge,
            "veth" => Self::Veth,
            kind if STACKED.contains(&kind) => Self::Stacked,
            _ => Self::Virtual,
        }
    }

    /// A count of the programs, which has the link-layer header in any case, as `net/dev`
    /// would have it.
    #[must_use]
    pub fn as_net_dev(self, counted: Traffic) -> Traffic {
        if self == Self::Stacked {
            return Traffic { rx_bytes: 0, rx_packets: 0, ..counted };
        }
        let headers = |packets: u64| packets.saturating_mul(ETHERNET_BYTES);
        let (rx, tx) = match self {
            Self::Loopback => (headers(counted.rx_packets), headers(counted.tx_packets)),
            Self::Bridge => (headers(counted.rx_packets), 0),
            Self::Physical | Self::Stacked | Self::Veth | Self::Virtual => (0, 0),
        };
        Traffic {
            rx_bytes: counted.rx_bytes.saturating_sub(rx),
            tx_bytes: counted.tx_bytes.saturating_sub(tx),
            ..counted
        }
    }
}

/// All that is told of packets but what is in the containers' own accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkView {
    /// What the operator wants to be told.
    pub choice: Choice,
    /// Whether packets are counted by interface.
    pub counts_interfaces: bool,
    /// Whether packets are counted by the cgroup of their socket.
    pub counts_sockets: bool,
    /// Whether the host's own network can be told from others; if not, what crosses its
    /// interfaces is unattributed.
    pub knows_host: bool,
    /// The host's own interfaces, by name; others than physical ones may be among them.
    pub host: Vec<InterfaceView>,
    /// What crossed the interfaces, but `lo`, of containers whose series have ended; of
    /// stacked ones only what they sent.
    pub exited: Traffic,
    /// What crossed interfaces, but `lo`, of networks that are no container's.
    pub unattributed: Traffic,
    /// What crossed interfaces that have no slot of their own.
    pub overflow: Traffic,
    /// Names of interfaces whose counts went to a series for several, since their container,
    /// or the host, had too many.
    pub merged: u64,
    /// What became of the slots.
    pub slots: SlotCounts,
    /// What the programs could not do as they should.
    pub health: NetworkHealth,
    /// What comparing with `net/dev` has shown so far.
    pub checks: audit::Checks,
    /// What was missing when containers were asked for their networks, and `net/dev` was
    /// compared.
    pub losses: Losses,
}

/// What the operator wants to be told beyond what is told in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Each network's `lo`.
    pub loopback: bool,
    /// The host's interfaces that are no devices: bridges, veths, tunnels.
    pub host_virtual: bool,
}

/// What the programs that count packets could not do as they should, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkHealth {
    /// Interface events that found the ring buffer full. The interface's packets are in the
    /// shared slot until it is told of.
    pub events_dropped: u64,
    /// Interfaces that found no free slot at their first packet.
    pub slots_exhausted: u64,
    /// Times that an interface found the map of interfaces full.
    pub interfaces_exhausted: u64,
    /// Look-ups that no CPU's cache answered: not a loss, but what makes a packet dear.
    pub cache_misses: u64,
    /// Packets that the kernel did not show to a program because it was running already on
    /// that CPU (`recursion_misses`; always 0 before 6.1). It should never happen.
    pub packets_missed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(rx_bytes: u64, rx_packets: u64, tx_bytes: u64, tx_packets: u64) -> Traffic {
        Traffic { rx_bytes, rx_packets, tx_bytes, tx_packets }
    }

    #[test]
    fn traffic_adds_up_and_never_wraps() {
        let sum = traffic(1, 2, 3, u64::MAX - 1).plus(traffic(10, 20, 30, 2));
        assert_eq!(sum, traffic(11, 22, 33, u64::MAX));
        assert_eq!(sum.since(traffic(1, 2, 40, 5)), traffic(10, 20, 0, u64::MAX - 5));
    }

    #[test]
    fn headers_that_net_dev_leaves_out_are_left_out() {
        let counted = traffic(1_000, 10, 500, 5);
        let told = |kind, ifindex| Link::of(kind, ifindex).as_net_dev(counted);
        assert_eq!(told("", 1), traffic(1_000 - 140, 10, 500 - 70, 5), "lo");
        assert_eq!(told("bridge", 3), traffic(1_000 - 140, 10, 500, 5));
        for (kind, ifindex) in [("", 2), ("veth", 1), ("tun", 2)] {
            assert_eq!(told(kind, ifindex), counted, "{kind}");
        }
        assert_eq!(told("macvlan", 2), traffic(0, 0, 500, 5), "seen below");
    }
}
