//! An interface's slot: when it is taken from it, and when it is free again.

use std::collections::{HashMap, HashSet};

use super::{Interface, Interfaces, namespace::Charge};
use crate::model::{network::InterfaceId, snapshot::SlotCounts};

/// How long an interface without packets keeps its slot, in ms.
pub(super) const IDLE_MS: u64 = 5 * 60_000;

/// The same in a network that is nobody's: there is no one to ask whether the interface is
/// still there, and an engine in such a network makes one for each of its containers.
pub(super) const IDLE_NOBODYS_MS: u64 = 15_000;

/// The same, where slots are short.
pub(super) const IDLE_SHORT_MS: u64 = 5_000;

/// Slots are short when fewer than one in so many is free.
const SHORT_SHARE: u64 = 8;

/// How long a forgotten interface's slot rests, in ms. A program that has looked it up
/// before is done within microseconds.
pub(super) const REST_MS: u64 = 100;

impl Interfaces {
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

    pub(super) fn rest(&mut self, interface: Interface, now_ms: u64) {
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
    pub(super) fn leave(&mut self, netns: u64) {
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

    pub(super) fn slot_counts(&self) -> SlotCounts {
        let used = self.live.values().filter(|it| it.slot.is_some()).count() as u64;
        let retiring = self.resting.len() as u64;
        let free = u64::from(self.slots).saturating_sub(used + retiring);
        SlotCounts { free, used, retiring }
    }
}
