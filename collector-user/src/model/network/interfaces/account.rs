//! An account: totals by the names of interfaces, however many had a name one after the other.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use crate::model::network::{InterfaceView, Link, Traffic};

/// Names of a container's account, at most: one with the right to rename its interfaces must
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
}

impl Default for Account {
    /// A container's, empty.
    fn default() -> Self {
        Self { max_names: MAX_NAMES, totals: BTreeMap::new() }
    }
}

impl Account {
    /// The host's, empty.
    pub(super) fn of_host() -> Self {
        Self { max_names: MAX_HOST_NAMES, ..Self::default() }
    }

    /// Adds to the total of a name. `false` if there are too many names, and it was added to
    /// the total of all others.
    pub(super) fn add(&mut self, name: Arc<str>, link: Link, traffic: Traffic) -> bool {
        let has_room = self.totals.len() < self.max_names || self.totals.contains_key(&name);
        let name = if has_room { name } else { MERGED.into() };
        let (latest, total) = self.totals.entry(name).or_insert((link, Traffic::default()));
        *latest = link;
        *total = total.plus(traffic);
        has_room
    }

    /// Forgets the names that are not among these.
    pub(super) fn retain(&mut self, names: &HashSet<&str>) {
        self.totals.retain(|name, _| names.contains(&**name));
    }

    /// Everything that left or came into the network.
    pub(super) fn sum_but_loopback(&self) -> Traffic {
        let totals = self.totals.values().filter(|(link, _)| *link != Link::Loopback);
        totals.map(|(_, traffic)| *traffic).sum()
    }

    /// By name.
    pub(super) fn views(self) -> Vec<InterfaceView> {
        let view = |(name, (link, traffic))| InterfaceView { name, link, traffic };
        self.totals.into_iter().map(view).collect()
    }
}
