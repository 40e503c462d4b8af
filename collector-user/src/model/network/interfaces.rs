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

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use self::account::Account;
use super::{InterfaceId, InterfaceView, Link, NetworkView, Traffic, members::Owner};
use crate::model::snapshot::SlotCounts;

/// For how long a network that nobody is known to be in is nobody's yet, in ms: a runtime
/// has a container's process in it by then.
pub const UNDECIDED_MS: u64 = 10_000;

/// How long the interfaces of a network whose last container is gone keep their slots, in
/// ms: connections that it left open are closed after its processes' end.
pub const GRACE_MS: u64 = 2_000;

/// How long an interface without packets keeps its slot, in ms.
pub const IDLE_MS: u64 = 5 * 60_000;

/// The same in a network that is nobody's: there is no one to ask whether the interface is
/// still there, and an engine in such a network makes one for each of its containers.
pub const IDLE_NOBODYS_MS: u64 = 15_000;

/// The same, where slots are short.
pub const IDLE_SHORT_MS: u64 = 5_000;

/// Slots are short when fewer than one in so many is free.
const SHORT_SHARE: u64 = 8;

/// How long a forgotten interface's slot rests, in ms. A program that has looked it up
/// before is done within microseconds.
pub const REST_MS: u64 = 100;

/// An interface that packets cross.
#[derive(Clone, Debug)]
struct Interface {
    id: InterfaceId,
    name: Arc<str>,
    link: Link,
    merges: bool,
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

/// Who is charged with a network's traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Charge {
    /// It is not known yet; nothing of it is told until then.
    Undecided,
    /// No container, and not the host.
    Nobody,
    Host,
    /// The container at that path.
    Container(Arc<str>),
    /// A container whose series have ended.
    Exited,
}

/// A network namespace in which packets were seen.
#[derive(Clone, Debug)]
struct Namespace {
    /// Its inode number.
    inum: u64,
    charge: Charge,
    /// When it was first seen, monotonic, in ms.
    since_ms: u64,
    /// Since when no container is in it although one was, monotonic, in ms.
    left_ms: Option<u64>,
    /// Whether another namespace has its number now.
    is_dead: bool,
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

/// What was counted of an interface since it has its slot.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Which one.
    pub id: InterfaceId,
    /// Inode number of its network namespace.
    pub inum: u64,
    /// Its name.
    pub name: Arc<str>,
    /// What it is.
    pub link: Link,
    /// Whether it may merge packets on their way in.
    pub merges: bool,
    /// As `net/dev` would count.
    pub traffic: Traffic,
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
        }
    }

    /// Inode number of the host's own network, if it is known.
    pub fn host_inum(&self) -> Option<u64> {
        self.host_inum
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
        self.take_back(id.netns, now_ms);
        let is_host = self.host_inum == Some(inum);
        self.namespaces.entry(id.netns).or_insert_with(|| Namespace {
            inum,
            charge: if is_host { Charge::Host } else { Charge::Undecided },
            since_ms: now_ms,
            left_ms: None,
            is_dead: false,
        });
        self.make_room_for(id, name);
        let interface = Interface {
            id,
            name: name.into(),
            link,
            merges,
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
        self.namespaces.get(&id.netns).is_some_and(|namespace| {
            namespace.charge == Charge::Undecided && namespace.since_ms == now_ms
        })
    }

    /// Ends the charge of a container that has left a network long ago: what still moves in
    /// it is someone else's, or nobody's.
    fn take_back(&mut self, netns: u64, now_ms: u64) {
        let Some(namespace) = self.namespaces.get_mut(&netns) else { return };
        if namespace.is_over(now_ms) {
            let before = std::mem::replace(&mut namespace.charge, Charge::Undecided);
            (namespace.since_ms, namespace.left_ms) = (now_ms, None);
            self.hand_over(netns, &before);
        }
    }

    /// Notes an interface's new name.
    pub fn renamed(&mut self, id: InterfaceId, name: &str) {
        self.make_room_for(id, name);
        if let Some(interface) = self.live.get_mut(&id) {
            interface.name = name.into();
        }
    }

    /// A name is one interface's at a time: another that had it is gone, or has another name.
    fn make_room_for(&mut self, id: InterfaceId, name: &str) {
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

    /// Charges each network to the container under which it is told. When that is another one
    /// than before, the counts so far stay with the one before.
    pub fn charge(&mut self, owners: &HashMap<u64, Owner<'_>>, now_ms: u64) {
        let mut handed_over = Vec::new();
        for (&netns, namespace) in &mut self.namespaces {
            let owner = owners.get(&namespace.inum).filter(|_| !namespace.is_dead);
            let Some(owner) = owner else {
                namespace.is_left(now_ms);
                continue;
            };
            let path = &owner.target.path;
            let is_decided = match &namespace.charge {
                Charge::Host => continue,
                // An older answer may be of a namespace that had the number before.
                Charge::Undecided => {
                    if owner.asked_ms < namespace.since_ms {
                        continue;
                    }
                    false
                }
                Charge::Container(present) => present != path,
                Charge::Nobody | Charge::Exited => true,
            };
            namespace.left_ms = None;
            let before = std::mem::replace(&mut namespace.charge, Charge::Container(path.clone()));
            if is_decided {
                handed_over.push((netns, before));
            }
        }
        for (netns, before) in handed_over {
            self.hand_over(netns, &before);
        }
    }

    /// Leaves what a network has counted so far with those who were charged with it.
    fn hand_over(&mut self, netns: u64, before: &Charge) {
        let Self { live, resting, .. } = self;
        let resting = resting.iter_mut().map(|(interface, _)| interface);
        let mut parts = Vec::new();
        for interface in live.values_mut().chain(resting).filter(|it| it.id.netns == netns) {
            parts.push((interface.name.clone(), interface.link, interface.uncharged()));
            interface.charged = interface.counted;
        }
        for (name, link, traffic) in parts {
            self.add(before, name, link, traffic);
        }
    }

    /// Adds what an interface counted to the account of those who are charged with it.
    fn add(&mut self, charge: &Charge, name: Arc<str>, link: Link, traffic: Traffic) {
        let account = match charge {
            Charge::Host => &mut self.host,
            Charge::Container(path) => self.containers.entry(path.clone()).or_default(),
            Charge::Undecided | Charge::Nobody | Charge::Exited => {
                if link != Link::Loopback {
                    let sum = match charge {
                        Charge::Exited => &mut self.exited,
                        _ => &mut self.unattributed,
                    };
                    *sum = sum.plus(traffic);
                }
                return;
            }
        };
        let is_merged = !account.add(name, link, traffic);
        self.merged += u64::from(is_merged);
    }

    /// Which interfaces the programs may forget.
    pub fn to_forget(&self, now_ms: u64) -> Vec<InterfaceId> {
        let SlotCounts { free, .. } = self.slot_counts();
        let is_short = free * SHORT_SHARE < u64::from(self.slots);
        let over = |interface: &&Interface| {
            let namespace = self.namespaces.get(&interface.id.netns);
            let idle_ms = match namespace.map(|it| &it.charge) {
                _ if is_short => IDLE_SHORT_MS,
                Some(Charge::Nobody) => IDLE_NOBODYS_MS,
                _ => IDLE_MS,
            };
            let has_ended = namespace.is_none_or(|it| it.is_dead || it.is_over(now_ms));
            interface.is_gone || has_ended || now_ms >= interface.busy_ms + idle_ms
        };
        let mut ids: Vec<_> = self.live.values().filter(over).map(|it| it.id).collect();
        ids.sort_unstable();
        ids
    }

    /// Notes that the programs have forgotten an interface.
    pub fn forgotten(&mut self, id: InterfaceId, now_ms: u64) {
        if let Some(interface) = self.live.remove(&id) {
            self.rest(interface, now_ms);
        }
    }

    fn rest(&mut self, interface: Interface, now_ms: u64) {
        if interface.slot.is_some() {
            self.resting.push((interface, now_ms));
        } else {
            self.end_namespace(interface.id.netns);
        }
    }

    /// Slots that have rested: after one more reading they may be settled.
    pub fn to_settle(&self, now_ms: u64) -> Vec<u32> {
        let rested = self.resting.iter().filter(|(_, since_ms)| now_ms >= since_ms + REST_MS);
        rested.filter_map(|(interface, _)| interface.slot).collect()
    }

    /// Takes an interface out after its last reading: its slot is cleared and free.
    pub fn settle(&mut self, slot: u32) {
        let is_its = |(interface, _): &(Interface, u64)| interface.slot == Some(slot);
        let Some(place) = self.resting.iter().position(is_its) else { return };
        let (interface, _) = self.resting.swap_remove(place);
        let netns = interface.id.netns;
        let charge = self.namespaces.get(&netns).map_or(Charge::Nobody, |it| it.charge.clone());
        let uncharged = interface.uncharged();
        self.add(&charge, interface.name, interface.link, uncharged);
        self.end_namespace(netns);
    }

    /// Forgets a namespace that has no interface any more.
    fn end_namespace(&mut self, netns: u64) {
        let resting = self.resting.iter().map(|(interface, _)| interface);
        if !self.live.values().chain(resting).any(|it| it.id.netns == netns) {
            self.namespaces.remove(&netns);
        }
    }

    /// Interfaces that share the overflow slot.
    pub fn to_promote(&self) -> Vec<InterfaceId> {
        let mut without: Vec<_> =
            self.live.values().filter(|it| it.slot.is_none()).map(|it| it.id).collect();
        without.sort_unstable();
        without
    }

    /// Notes that an interface has got a slot of its own.
    pub fn promoted(&mut self, id: InterfaceId, slot: u32, now_ms: u64) {
        if let Some(interface) = self.live.get_mut(&id) {
            interface.slot = Some(slot);
            interface.busy_ms = now_ms;
        }
    }

    /// Takes over what a network's `net/dev` lists: an interface that is not among it is gone,
    /// or has another name by now.
    pub fn listed(&mut self, inum: u64, names: &HashSet<&str>) {
        let Self { live, namespaces, .. } = self;
        for interface in live.values_mut() {
            let namespace = namespaces.get(&interface.id.netns);
            if namespace.is_some_and(|it| it.inum == inum && !it.is_dead) {
                interface.is_gone |= !names.contains(&*interface.name);
            }
        }
        if self.host_inum == Some(inum) {
            // They come and go with containers: their totals must not pile up.
            self.host.retain(names);
        }
    }

    /// Interfaces with what was counted of each, for a comparison with `net/dev`.
    pub fn counted(&self) -> impl Iterator<Item = Counted> {
        let own_slot = self.live.values().filter(|it| it.slot.is_some() && !it.is_gone);
        own_slot.filter_map(|interface| {
            let namespace = self.namespaces.get(&interface.id.netns).filter(|it| !it.is_dead)?;
            let Interface { id, link, merges, counted, .. } = *interface;
            let name = interface.name.clone();
            Some(Counted { id, inum: namespace.inum, name, link, merges, traffic: counted })
        })
    }

    /// Ends the accounts of containers whose series have ended.
    pub fn expire<'a>(&mut self, paths: impl IntoIterator<Item = &'a Arc<str>>) {
        for path in paths {
            if let Some(account) = self.containers.remove(path) {
                self.exited = self.exited.plus(account.sum_but_loopback());
            }
            let its = Charge::Container(path.clone());
            for namespace in self.namespaces.values_mut().filter(|it| it.charge == its) {
                namespace.charge = Charge::Exited;
            }
        }
    }

    /// What is told of the containers' networks, by path.
    pub fn containers(&self) -> HashMap<Arc<str>, Vec<InterfaceView>> {
        let mut accounts = self.containers.clone();
        for (interface, charge) in self.charged() {
            if let Charge::Container(path) = charge {
                let account = accounts.entry(path.clone()).or_default();
                account.add(interface.name.clone(), interface.link, interface.uncharged());
            }
        }
        accounts.into_iter().map(|(path, account)| (path, account.views())).collect()
    }

    /// What is told of networks besides.
    pub fn view(&self) -> NetworkView {
        let mut host = self.host.clone();
        let (mut unattributed, mut exited) = (self.unattributed, self.exited);
        for (interface, charge) in self.charged() {
            let traffic = interface.uncharged();
            match charge {
                Charge::Host => {
                    host.add(interface.name.clone(), interface.link, traffic);
                }
                Charge::Nobody if interface.link != Link::Loopback => {
                    unattributed = unattributed.plus(traffic);
                }
                Charge::Exited if interface.link != Link::Loopback => {
                    exited = exited.plus(traffic);
                }
                _ => {}
            }
        }
        NetworkView {
            host: host.views(),
            unattributed,
            exited,
            overflow: self.overflow,
            merged: self.merged,
            slots: self.slot_counts(),
            ..NetworkView::default()
        }
    }

    /// Interfaces with a slot of their own, and who is charged with them.
    fn charged(&self) -> impl Iterator<Item = (&Interface, &Charge)> {
        let resting = self.resting.iter().map(|(interface, _)| interface);
        let interfaces = self.live.values().chain(resting).filter(|it| it.slot.is_some());
        interfaces.filter_map(|it| Some((it, &self.namespaces.get(&it.id.netns)?.charge)))
    }

    fn slot_counts(&self) -> SlotCounts {
        let used = self.live.values().filter(|it| it.slot.is_some()).count() as u64;
        let retiring = self.resting.len() as u64;
        let free = u64::from(self.slots).saturating_sub(used + retiring);
        SlotCounts { free, used, retiring }
    }
}

impl Namespace {
    /// Whether its last container has been gone for the grace time.
    fn is_over(&self, now_ms: u64) -> bool {
        self.left_ms.is_some_and(|left_ms| now_ms >= left_ms + GRACE_MS)
    }

    /// Notes that no container is known to be in it.
    fn is_left(&mut self, now_ms: u64) {
        match self.charge {
            Charge::Undecided if now_ms >= self.since_ms + UNDECIDED_MS => {
                self.charge = Charge::Nobody;
            }
            Charge::Container(_) | Charge::Exited => {
                self.left_ms.get_or_insert(now_ms);
            }
            Charge::Undecided | Charge::Nobody | Charge::Host => {}
        }
    }
}

#[cfg(test)]
mod tests;
