//! An account: totals by the names of interfaces, however many had a name one after the other.
//!
//! Owns how many names it tells apart. A name that has been given out stays its own for as long
//! as an interface is told under it: no series goes up and down because of others.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::Interface;
use crate::model::network::{InterfaceView, Link, Traffic};

/// Names of a container's account, at most: one that makes interfaces, or renames them, must
/// not make series without end. Docker's own limit of networks is far below.
const MAX_NAMES: usize = 64;

/// Names of the host's account, at most. A bridge has 1,024 ports (`BR_MAX_PORTS`), so that
/// many containers on it have each an interface here.
const MAX_HOST_NAMES: usize = 1_280;

/// Name under which the interfaces beyond are told, all in one. (No interface has it: a
/// slash is not allowed.)
const MERGED: &str = "others/";

/// Totals by name.
#[derive(Clone, Debug)]
pub(super) struct Account {
    max_names: usize,
    totals: BTreeMap<Arc<str>, (Link, Traffic)>,
    /// What is told under [`MERGED`], if anything is.
    merged: Option<(Arc<str>, Traffic)>,
    /// Interfaces of which nothing is known but that they are there; only in a look.
    without_slot: BTreeMap<Arc<str>, Link>,
}

impl Default for Account {
    /// A container's, empty.
    fn default() -> Self {
        Self {
            max_names: MAX_NAMES,
            totals: BTreeMap::new(),
            merged: None,
            without_slot: BTreeMap::new(),
        }
    }
}

impl Account {
    /// The host's, empty.
    pub(super) fn of_host() -> Self {
        Self { max_names: MAX_HOST_NAMES, ..Self::default() }
    }

    /// Whether the next name that is not known costs another one.
    pub(super) fn is_full(&self) -> bool {
        self.totals.len() >= self.max_names
    }

    /// Gives an interface the name that it is told under from now on: its own or, where there
    /// are too many, one for several; `false` if that, or another's name, was the price.
    /// `in_use` are the names under which others are told now; of the rest, one makes room.
    pub(super) fn admit(
        &mut self,
        name: &Arc<str>,
        link: Link,
        in_use: &HashSet<Arc<str>>,
    ) -> (Arc<str>, bool) {
        // There is but one loop, and it is in no sum that others are in.
        let has_room = self.totals.contains_key(name) || !self.is_full() || link == Link::Loopback;
        if !has_room {
            let dead = self.totals.keys().find(|it| !in_use.contains(*it)).cloned();
            let Some(dead) = dead else { return (self.merged().0.clone(), false) };
            if let Some((_, traffic)) = self.totals.remove(&dead) {
                let merged = &mut self.merged().1;
                *merged = merged.plus(traffic);
            }
        }
        self.totals.entry(name.clone()).or_insert((link, Traffic::default())).0 = link;
        (name.clone(), has_room)
    }

    fn merged(&mut self) -> &mut (Arc<str>, Traffic) {
        self.merged.get_or_insert_with(|| (MERGED.into(), Traffic::default()))
    }

    /// Adds to what is told under a name that was given out.
    pub(super) fn add(&mut self, told_as: Option<&Arc<str>>, traffic: Traffic) {
        let total = match told_as.and_then(|name| self.totals.get_mut(name)) {
            Some((_, total)) => total,
            None => &mut self.merged().1,
        };
        *total = total.plus(traffic);
    }

    /// Adds what an interface has counted up to now, for a look at it.
    pub(super) fn show(&mut self, interface: &Interface) {
        if interface.slot.is_some() {
            self.add(interface.told_as.as_ref(), interface.uncharged());
        } else if !self.totals.contains_key(&interface.name) {
            self.without_slot.insert(interface.name.clone(), interface.link);
        }
    }

    /// Forgets the names that are not to be kept, with their totals.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&Arc<str>) -> bool) {
        self.totals.retain(|name, _| is_kept(name));
    }

    /// Everything that left or came into the network.
    pub(super) fn sum_but_loopback(&self) -> Traffic {
        let totals = self.totals.values().filter(|(link, _)| *link != Link::Loopback);
        let merged = self.merged.as_ref().map(|(_, traffic)| *traffic);
        totals.map(|(_, traffic)| *traffic).chain(merged).sum()
    }

    /// By name, all of them.
    pub(super) fn views(self) -> Vec<InterfaceView> {
        let view = |name, link, traffic| InterfaceView { name, link, traffic };
        let own = self.totals.into_iter();
        let own = own.map(|(name, (link, traffic))| view(name, link, Some(traffic)));
        let merged = self.merged.into_iter();
        let merged = merged.map(|(name, traffic)| view(name, Link::Virtual, Some(traffic)));
        let without = self.without_slot.into_iter().map(|(name, link)| view(name, link, None));
        own.chain(merged).chain(without).collect()
    }
}
