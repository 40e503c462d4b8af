//! Who is charged with what was counted.
//!
//! Owns the hand-over of a network from one account to another, and the names that interfaces
//! are told under.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{Interfaces, account::Account, namespace::Charge};
use crate::model::network::{InterfaceId, Link, Traffic, members::Owner};

impl Interfaces {
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

    /// Ends the charge of a container that has left a network long ago: what still moves in
    /// it is someone else's, or nobody's.
    pub(super) fn end_charge(&mut self, netns: u64, now_ms: u64) {
        let Some(namespace) = self.namespaces.get_mut(&netns) else { return };
        if namespace.is_over(now_ms) {
            (namespace.since_ms, namespace.left_ms) = (now_ms, None);
            self.pass_on(netns, Charge::Undecided);
        }
    }

    /// Charges a network to another account from now on. What it has counted so far stays with
    /// the one before, if there was one.
    pub(super) fn pass_on(&mut self, netns: u64, charge: Charge) {
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

    /// Adds what an interface has counted so far to the account that it is told in.
    pub(super) fn leave_behind(&mut self, id: InterfaceId) {
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
    pub(super) fn admit(&mut self, id: InterfaceId) {
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
    pub(super) fn names_in_use(&self, charge: &Charge) -> HashSet<Arc<str>> {
        let its = self.charged().filter(|(_, of)| *of == charge);
        its.filter_map(|(interface, _)| interface.told_as.clone()).collect()
    }

    /// Adds what an interface counted to the account of those who are charged with it.
    pub(super) fn add(
        &mut self,
        charge: &Charge,
        told_as: Option<&Arc<str>>,
        link: Link,
        traffic: Traffic,
    ) {
        match (account(&mut self.containers, &mut self.host, charge), told_as) {
            (Some(account), told_as) => account.add(told_as, traffic),
            (None, _) if link == Link::Loopback => {}
            (None, _) if *charge == Charge::Exited => self.exited = self.exited.plus(traffic),
            (None, _) => self.unattributed = self.unattributed.plus(traffic),
        }
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
