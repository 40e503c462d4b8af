//! The accounts of interfaces: what crossed each, and whose it is.
//!
//! Owns the states of an interface's slot, the totals of interfaces that are gone, and who
//! is charged with which part of a count. Deterministic, as the accounts of CPU time.
//!
//! ```text
//! Live ──idle, gone or its network's end──► resting ──last read──► settled
//! ```
//!
//! There is no event for an interface's end, and none is needed: a slot is only for an
//! interface that has packets. One that has had none for a while, whose name another one
//! has, or whose network lost its last container is forgotten, and its count goes to its
//! account. Should it have a packet after all, it is told of again, with a new slot, and
//! goes on where it was. So nothing is lost by forgetting too early.

mod account;
mod charging;
mod namespace;
mod slots;
mod views;

use std::{collections::HashMap, sync::Arc};

pub use self::views::Counted;
use self::{
    account::Account,
    namespace::{Charge, Namespace},
};
use super::{InterfaceId, Link, Traffic};

/// An interface that packets cross.
#[derive(Clone, Debug)]
struct Interface {
    id: InterfaceId,
    name: Arc<str>,
    link: Link,
    merges: bool,
    /// Which sighting this is, of all there were: its counts began with it.
    sighting: u64,
    /// The name that it is told under in its network's account, once there is one.
    told_as: Option<Arc<str>>,
    /// Its slot; `None` while it shares the overflow slot, in whose sum its packets are.
    slot: Option<u32>,
    /// What crossed it since it has its slot, as `net/dev` would count.
    counted: Traffic,
    /// The part of it that earlier owners of its network are charged with.
    charged: Traffic,
    /// When it was last seen to have had a packet, monotonic, in ms.
    busy_ms: u64,
    /// Whether another one has its name now, or `net/dev` does not list it.
    is_gone: bool,
}

impl Interface {
    /// What the present owner of its network is charged with.
    fn uncharged(&self) -> Traffic {
        self.counted.since(self.charged)
    }
}

/// A first packet of an interface, as the programs tell it.
#[derive(Clone, Debug)]
pub struct Sighting<'a> {
    /// Which one.
    pub id: InterfaceId,
    /// Inode number of its network namespace.
    pub inum: u64,
    /// Its slot, if one was free.
    pub slot: Option<u32>,
    /// Its name.
    pub name: &'a str,
    /// What it is.
    pub link: Link,
    /// Whether it may merge packets on their way in.
    pub merges: bool,
}

/// All interfaces, and the accounts of their networks.
#[derive(Debug)]
pub struct Interfaces {
    /// Inode number of the host's own network, if it is known.
    host_inum: Option<u64>,
    /// How many slots there are.
    slots: u32,
    live: HashMap<InterfaceId, Interface>,
    /// Forgotten ones whose slot is not free yet, with the time that they were forgotten.
    resting: Vec<(Interface, u64)>,
    /// By [`InterfaceId::netns`].
    namespaces: HashMap<u64, Namespace>,
    containers: HashMap<Arc<str>, Account>,
    host: Account,
    unattributed: Traffic,
    exited: Traffic,
    overflow: Traffic,
    merged: u64,
    sightings: u64,
}

impl Interfaces {
    /// No interfaces yet.
    pub fn new(host_inum: Option<u64>, slots: u32) -> Self {
        Self {
            host_inum,
            slots,
            live: HashMap::new(),
            resting: Vec::new(),
            namespaces: HashMap::new(),
            containers: HashMap::new(),
            host: Account::of_host(),
            unattributed: Traffic::default(),
            exited: Traffic::default(),
            overflow: Traffic::default(),
            merged: 0,
            sightings: 0,
        }
    }

    /// Inode number of the host's own network, if it is known.
    pub fn host_inum(&self) -> Option<u64> {
        self.host_inum
    }

    /// Takes over the inode number of the host's own network, if it was not known before.
    pub fn know_host(&mut self, inum: u64) {
        if self.host_inum.is_some() {
            return;
        }
        self.host_inum = Some(inum);
        let its = self.namespaces.iter().find(|(_, it)| it.inum == inum && !it.is_dead);
        if let Some((&netns, _)) = its {
            self.pass_on(netns, Charge::Host);
        }
    }

    /// Takes in an interface that has had its first packet, or its first since it was
    /// forgotten. Tells whether its network is new, and nobody's yet.
    pub fn seen(&mut self, sighting: &Sighting<'_>, now_ms: u64) -> bool {
        let &Sighting { id, inum, slot, name, link, merges } = sighting;
        if !self.namespaces.contains_key(&id.netns) {
            // A number is given anew only after the end of the namespace that had it.
            for other in self.namespaces.values_mut().filter(|it| it.inum == inum) {
                other.is_dead = true;
            }
        }
        self.end_charge(id.netns, now_ms);
        let is_host = self.host_inum == Some(inum);
        let namespace = self.namespaces.entry(id.netns).or_insert_with(|| Namespace {
            inum,
            charge: if is_host { Charge::Host } else { Charge::Undecided },
            since_ms: now_ms,
            left_ms: None,
            is_dead: false,
            interfaces: 0,
        });
        namespace.interfaces += 1;
        let is_new = namespace.charge == Charge::Undecided && namespace.since_ms == now_ms;
        self.name_is_anothers(id, name);
        self.sightings += 1;
        let interface = Interface {
            id,
            name: name.into(),
            link,
            merges,
            sighting: self.sightings,
            told_as: None,
            slot,
            counted: Traffic::default(),
            charged: Traffic::default(),
            busy_ms: now_ms,
            is_gone: false,
        };
        if let Some(before) = self.live.insert(id, interface) {
            // The programs know one slot for it: the new one.
            self.rest(before, now_ms);
        }
        self.admit(id);
        is_new
    }

    /// Notes an interface's new name. What was told under the old one stays there: a series
    /// that has its name already must not jump.
    pub fn renamed(&mut self, id: InterfaceId, name: &str) {
        self.name_is_anothers(id, name);
        self.leave_behind(id);
        if let Some(interface) = self.live.get_mut(&id) {
            interface.name = name.into();
            self.admit(id);
        }
    }

    /// A name is one interface's at a time: another that had it is gone, or has another name.
    fn name_is_anothers(&mut self, id: InterfaceId, name: &str) {
        let others = self.live.values_mut().filter(|it| it.id.netns == id.netns && it.id != id);
        for other in others.filter(|it| &*it.name == name) {
            other.is_gone = true;
        }
    }

    /// Takes over a reading: `read` gives what the programs counted in a slot.
    pub fn record(&mut self, read: impl Fn(u32) -> Traffic, now_ms: u64) {
        let resting = self.resting.iter_mut().map(|(interface, _)| interface);
        for interface in self.live.values_mut().chain(resting) {
            let Some(slot) = interface.slot else { continue };
            let before = interface.counted;
            interface.counted.raise_to(&interface.link.as_net_dev(read(slot)));
            if interface.counted != before {
                interface.busy_ms = now_ms;
            }
        }
        self.overflow.raise_to(&read(collector_ebpf::packets::NET_OVERFLOW_SLOT));
    }
}

#[cfg(test)]
mod tests;
