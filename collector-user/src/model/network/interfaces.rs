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
    /// Its interfaces, those that rest included.
    interfaces: usize,
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
    /// Which sighting its counts began with.
    pub sighting: u64,
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

    /// Ends the charge of a container that has left a network long ago: what still moves in
    /// it is someone else's, or nobody's.
    fn end_charge(&mut self, netns: u64, now_ms: u64) {
        let Some(namespace) = self.namespaces.get_mut(&netns) else { return };
        if namespace.is_over(now_ms) {
            (namespace.since_ms, namespace.left_ms) = (now_ms, None);
            self.pass_on(netns, Charge::Undecided);
        }
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

    /// Adds what an interface has counted so far to the account that it is told in.
    fn leave_behind(&mut self, id: InterfaceId) {
        let Some(charge) = self.namespaces.get(&id.netns).map(|it| it.charge.clone()) else {
            return;
        };
        let Some(interface) = self.live.get_mut(&id) else { return };
        if let Some(told_as) = interface.told_as.take() {
            let (link, traffic) = (interface.link, interface.uncharged());
            interface.charged = interface.counted;
            self.add(&charge, Some(&told_as), link, traffic);
        }
    }

    /// Has an interface be told under a name in its network's account, if there is one, and if
    /// it has a count of its own.
    fn admit(&mut self, id: InterfaceId) {
        let Some(charge) = self.namespaces.get(&id.netns).map(|it| it.charge.clone()) else {
            return;
        };
        let account_of = account(&mut self.containers, &mut self.host, &charge);
        let is_full = account_of.is_some_and(|account| account.is_full());
        let in_use = if is_full { self.names_in_use(&charge) } else { HashSet::new() };
        let Self { live, resting, containers, host, merged, .. } = self;
        let Some(account) = account(containers, host, &charge) else { return };
        let resting = resting.iter_mut().map(|(interface, _)| interface);
        let its = live.get_mut(&id).into_iter().chain(resting.filter(|it| it.id == id));
        for interface in its.filter(|it| it.slot.is_some() && it.told_as.is_none()) {
            let (told_as, is_free) = account.admit(&interface.name, interface.link, &in_use);
            *merged += u64::from(!is_free);
            interface.told_as = Some(told_as);
        }
    }

    /// Names under which interfaces are told now in an account.
    fn names_in_use(&self, charge: &Charge) -> HashSet<Arc<str>> {
        let its = self.charged().filter(|(_, of)| *of == charge);
        its.filter_map(|(interface, _)| interface.told_as.clone()).collect()
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

    /// Networks that nobody is known to be in.
    pub fn undecided(&self) -> Vec<u64> {
        let undecided = self.namespaces.values().filter(|it| it.charge == Charge::Undecided);
        undecided.map(|it| it.inum).collect()
    }

    /// Charges each network to the container under which it is told: the first of those who
    /// said so after it was seen, since an older answer may be about a namespace that had
    /// the number before. When that is another one than before, the counts so far stay with
    /// the one before.
    pub fn charge(&mut self, owners: &HashMap<u64, Vec<Owner<'_>>>, now_ms: u64) {
        let mut passed_on = Vec::new();
        for (&netns, namespace) in &mut self.namespaces {
            if namespace.charge == Charge::Host {
                continue;
            }
            let its = owners.get(&namespace.inum).filter(|_| !namespace.is_dead);
            let owner = its.into_iter().flatten().find(|it| it.asked_ms >= namespace.since_ms);
            let Some(Owner { target, .. }) = owner else {
                namespace.note_left(now_ms);
                continue;
            };
            namespace.left_ms = None;
            let is_same = matches!(&namespace.charge, Charge::Container(it) if *it == target.path);
            if !is_same {
                passed_on.push((netns, Charge::Container(target.path.clone())));
            }
        }
        for (netns, charge) in passed_on {
            self.pass_on(netns, charge);
        }
    }

    /// Charges a network to another account from now on. What it has counted so far stays with
    /// the one before, if there was one.
    fn pass_on(&mut self, netns: u64, charge: Charge) {
        let Some(namespace) = self.namespaces.get_mut(&netns) else { return };
        let before = std::mem::replace(&mut namespace.charge, charge);
        let resting = self.resting.iter_mut().map(|(interface, _)| interface);
        let its = self.live.values_mut().chain(resting).filter(|it| it.id.netns == netns);
        let mut parts = Vec::new();
        let mut ids = Vec::new();
        for interface in its {
            let told_as = interface.told_as.take();
            if before != Charge::Undecided {
                parts.push((told_as, interface.link, interface.uncharged()));
                interface.charged = interface.counted;
            }
            ids.push(interface.id);
        }
        for (told_as, link, traffic) in parts {
            self.add(&before, told_as.as_ref(), link, traffic);
        }
        for id in ids {
            self.admit(id);
        }
    }

    /// Adds what an interface counted to the account of those who are charged with it.
    fn add(&mut self, charge: &Charge, told_as: Option<&Arc<str>>, link: Link, traffic: Traffic) {
        match (account(&mut self.containers, &mut self.host, charge), told_as) {
            (Some(account), told_as) => account.add(told_as, traffic),
            (None, _) if link == Link::Loopback => {}
            (None, _) if *charge == Charge::Exited => self.exited = self.exited.plus(traffic),
            (None, _) => self.unattributed = self.unattributed.plus(traffic),
        }
    }

    /// Which interfaces the programs may forget.
    pub fn to_forget(&self, now_ms: u64) -> Vec<InterfaceId> {
        let SlotCounts { free, .. } = self.slot_counts();
        let is_short = free * SHORT_SHARE < u64::from(self.slots);
        let over = |interface: &&Interface| {
            let namespace = self.namespaces.get(&interface.id.netns);
            let idle_ms = match namespace.map(|it| &it.charge) {
                // One without a slot would have to be told of anew each time.
                _ if is_short && interface.slot.is_some() => IDLE_SHORT_MS,
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
            self.leave(interface.id.netns);
        }
    }

    /// Slots that have rested: after one more reading they may be settled.
    pub fn to_settle(&self, now_ms: u64) -> Vec<u32> {
        let rested = self.resting.iter().filter(|(_, since_ms)| now_ms >= since_ms + REST_MS);
        rested.filter_map(|(interface, _)| interface.slot).collect()
    }

    /// Takes interfaces out after their last reading: their slots may be given to others.
    pub fn settle(&mut self, slots: &HashSet<u32>) {
        let is_settled =
            |(it, _): &mut (Interface, u64)| it.slot.is_some_and(|slot| slots.contains(&slot));
        let settled: Vec<_> = self.resting.extract_if(.., is_settled).collect();
        for (interface, _) in settled {
            let netns = interface.id.netns;
            let charge = self.namespaces.get(&netns).map_or(Charge::Nobody, |it| it.charge.clone());
            let (told_as, traffic) = (interface.told_as.as_ref(), interface.uncharged());
            self.add(&charge, told_as, interface.link, traffic);
            self.leave(netns);
        }
    }

    /// Forgets a namespace with its last interface.
    fn leave(&mut self, netns: u64) {
        if let Some(namespace) = self.namespaces.get_mut(&netns) {
            namespace.interfaces -= 1;
            if namespace.interfaces == 0 {
                self.namespaces.remove(&netns);
            }
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
            self.admit(id);
        }
    }

    /// Takes over what `net/dev` lists, by the inode number of the network: an interface that
    /// is not among it is gone, or has another name by now.
    pub fn listed(&mut self, names: &HashMap<u64, HashSet<&str>>) {
        let Self { live, namespaces, .. } = self;
        for interface in live.values_mut() {
            let namespace = namespaces.get(&interface.id.netns).filter(|it| !it.is_dead);
            let listed = namespace.and_then(|it| names.get(&it.inum));
            interface.is_gone |= listed.is_some_and(|names| !names.contains(&*interface.name));
        }
        if let Some(listed) = self.host_inum.and_then(|inum| names.get(&inum)) {
            // They come and go with containers: their totals must not pile up.
            let in_use = self.names_in_use(&Charge::Host);
            self.host.retain(|name| listed.contains(&**name) || in_use.contains(name));
        }
    }

    /// Interfaces with what was counted of each, for a comparison with `net/dev`.
    pub fn counted(&self) -> impl Iterator<Item = Counted> {
        let own_slot = self.live.values().filter(|it| it.slot.is_some() && !it.is_gone);
        own_slot.filter_map(|interface| {
            let namespace = self.namespaces.get(&interface.id.netns).filter(|it| !it.is_dead)?;
            let Interface { id, link, merges, sighting, counted: traffic, .. } = *interface;
            let (inum, name) = (namespace.inum, interface.name.clone());
            Some(Counted { id, inum, name, link, merges, sighting, traffic })
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
                accounts.entry(path.clone()).or_default().show(interface);
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
                Charge::Host => host.show(interface),
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
            knows_host: self.host_inum.is_some(),
            host: host.views(),
            unattributed,
            exited,
            overflow: self.overflow,
            merged: self.merged,
            slots: self.slot_counts(),
            ..NetworkView::default()
        }
    }

    /// All interfaces, and who is charged with them.
    fn charged(&self) -> impl Iterator<Item = (&Interface, &Charge)> {
        let resting = self.resting.iter().map(|(interface, _)| interface);
        let interfaces = self.live.values().chain(resting);
        interfaces.filter_map(|it| Some((it, &self.namespaces.get(&it.id.netns)?.charge)))
    }

    fn slot_counts(&self) -> SlotCounts {
        let used = self.live.values().filter(|it| it.slot.is_some()).count() as u64;
        let retiring = self.resting.len() as u64;
        let free = u64::from(self.slots).saturating_sub(used + retiring);
        SlotCounts { free, used, retiring }
    }
}

/// The account of those who are charged, if they have one.
fn account<'a>(
    containers: &'a mut HashMap<Arc<str>, Account>,
    host: &'a mut Account,
    charge: &Charge,
) -> Option<&'a mut Account> {
    match charge {
        Charge::Host => Some(host),
        Charge::Container(path) => Some(containers.entry(path.clone()).or_default()),
        Charge::Undecided | Charge::Nobody | Charge::Exited => None,
    }
}

impl Namespace {
    /// Whether its last container has been gone for the grace time.
    fn is_over(&self, now_ms: u64) -> bool {
        self.left_ms.is_some_and(|left_ms| now_ms >= left_ms + GRACE_MS)
    }

    /// Notes that no container is known to be in it.
    fn note_left(&mut self, now_ms: u64) {
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
