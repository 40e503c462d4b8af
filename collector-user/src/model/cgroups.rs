//! The cgroups that exist, or have not been settled yet, and their slots' way of life.
//!
//! Owns the states of a cgroup from its birth until its slot is free again. Must not
//! know what its usage is worth to whom (`accounts`).
//!
//! ```text
//! Live ──removed──► Dying ──grace──► Forgotten ──no CPU runs it──► settled
//! ```
//!
//! Removal is not the end: a task that exits leaves its cgroup's directory before its
//! last slice is over. So the slot is kept for a grace time; then the kernel forgets
//! the id (later slices are unattributed); and only after that, when no CPU can still
//! be charging it, is it read for the last time, cleared and given to another.

use std::{collections::HashMap, sync::Arc};

use super::usage::Usage;

/// How long a removed cgroup keeps its slot, in ms: far above the time from
/// `cgroup_exit` to the last switch of a task, even on a crowded CPU.
pub const GRACE_MS: u64 = 1_000;

/// How long a forgotten cgroup's slot rests, in ms. A program that has read the old
/// mapping is done within microseconds.
pub const REST_MS: u64 = 100;

/// Where a cgroup is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// In the tree.
    Live,
    /// Out of the tree since that time (monotonic, in ms).
    Dying(u64),
    /// Unknown to the kernel's side since that time (monotonic, in ms).
    Forgotten(u64),
}

/// A cgroup with its own usage so far.
#[derive(Clone, Debug)]
pub struct Cgroup {
    /// Path from the hierarchy's root.
    pub path: Arc<str>,
    /// Path of the deepest container around it.
    pub container: Option<Arc<str>>,
    /// Its slot; `None` while it shares the overflow slot.
    pub slot: Option<u32>,
    /// Where it is on its way.
    pub stage: Stage,
    /// What its own tasks used, not its children's.
    pub own: Usage,
}

/// All of them, by id.
#[derive(Debug, Default)]
pub struct Cgroups {
    by_id: HashMap<u64, Cgroup>,
    /// The latest cgroup of each path: a path can be used again while the cgroup that
    /// had it before is not settled.
    by_path: HashMap<Arc<str>, u64>,
}

impl Cgroups {
    /// Takes in a cgroup, or nothing new if its id is known.
    pub fn insert(&mut self, id: u64, cgroup: Cgroup) -> bool {
        if self.by_id.contains_key(&id) {
            return false;
        }
        self.by_path.insert(cgroup.path.clone(), id);
        self.by_id.insert(id, cgroup);
        true
    }

    /// Takes one out, settled.
    pub fn remove(&mut self, id: u64) -> Option<Cgroup> {
        let cgroup = self.by_id.remove(&id)?;
        if self.by_path.get(&cgroup.path) == Some(&id) {
            self.by_path.remove(&cgroup.path);
        }
        Some(cgroup)
    }

    /// A cgroup by its id.
    pub fn get(&self, id: u64) -> Option<&Cgroup> {
        self.by_id.get(&id)
    }

    /// A cgroup by its id, to change it.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut Cgroup> {
        self.by_id.get_mut(&id)
    }

    /// The latest cgroup with that path.
    pub fn at(&self, path: &str) -> Option<&Cgroup> {
        self.by_path.get(path).and_then(|id| self.by_id.get(id))
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Cgroup)> {
        self.by_id.iter().map(|(&id, cgroup)| (id, cgroup))
    }

    /// All of them, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut Cgroup)> {
        self.by_id.iter_mut().map(|(&id, cgroup)| (id, cgroup))
    }

    /// Ids of the dying whose grace is over: the kernel's side may forget them.
    pub fn to_forget(&self, now_ms: u64) -> Vec<u64> {
        self.select(|cgroup| {
            matches!(cgroup.stage, Stage::Dying(since_ms) if now_ms >= since_ms + GRACE_MS)
        })
    }

    /// Ids of the forgotten whose slot has rested: they may be settled, unless one of
    /// their tasks is still on a CPU.
    pub fn to_settle(&self, now_ms: u64) -> Vec<u64> {
        self.select(|cgroup| {
            matches!(cgroup.stage, Stage::Forgotten(since_ms) if now_ms >= since_ms + REST_MS)
        })
    }

    /// Ids of those that live without a slot of their own, containers' first.
    pub fn to_promote(&self) -> Vec<u64> {
        let mut ids = self.select(|cgroup| cgroup.slot.is_none() && cgroup.stage == Stage::Live);
        ids.sort_by_key(|id| self.get(*id).is_some_and(|cgroup| cgroup.container.is_none()));
        ids
    }

    /// Ids of those that live.
    pub fn live(&self) -> Vec<u64> {
        self.select(|cgroup| cgroup.stage == Stage::Live)
    }

    fn select(&self, wanted: impl Fn(&Cgroup) -> bool) -> Vec<u64> {
        let mut ids: Vec<u64> =
            self.iter().filter(|(_, cgroup)| wanted(cgroup)).map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids
    }
}

/// The paths above a path, nearest first: `/a/b` gives `/a` and `/`.
pub fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = path;
    std::iter::from_fn(move || {
        let (parent, name) = rest.rsplit_once('/')?;
        if parent.is_empty() && name.is_empty() {
            return None;
        }
        rest = if parent.is_empty() { "/" } else { parent };
        Some(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroup(path: &str, slot: Option<u32>) -> Cgroup {
        Cgroup {
            path: path.into(),
            container: None,
            slot,
            stage: Stage::Live,
            own: Usage::default(),
        }
    }

    #[test]
    fn ancestors_end_at_the_root() {
        assert_eq!(ancestors("/a/b/c").collect::<Vec<_>>(), ["/a/b", "/a", "/"]);
        assert_eq!(ancestors("/a").collect::<Vec<_>>(), ["/"]);
        assert_eq!(ancestors("/").count(), 0);
        assert_eq!(ancestors("").count(), 0);
    }

    #[test]
    fn a_path_leads_to_its_latest_cgroup() {
        let mut cgroups = Cgroups::default();
        assert!(cgroups.insert(1, cgroup("/a", Some(2))));
        assert!(!cgroups.insert(1, cgroup("/a", Some(3))), "an id is taken in once");
        assert!(cgroups.insert(2, cgroup("/a", Some(4))));
        assert_eq!(cgroups.at("/a").and_then(|found| found.slot), Some(4));
        cgroups.remove(1);
        assert_eq!(cgroups.at("/a").and_then(|found| found.slot), Some(4));
        cgroups.remove(2);
        assert!(cgroups.at("/a").is_none());
    }

    #[test]
    fn a_slot_is_kept_for_the_grace_and_rests_before_it_is_settled() {
        let mut cgroups = Cgroups::default();
        cgroups.insert(1, cgroup("/a", Some(2)));
        assert!(cgroups.to_forget(u64::MAX).is_empty(), "the living are left alone");
        cgroups.get_mut(1).expect("known").stage = Stage::Dying(5_000);
        assert!(cgroups.to_forget(5_000 + GRACE_MS - 1).is_empty());
        assert_eq!(cgroups.to_forget(5_000 + GRACE_MS), [1]);
        cgroups.get_mut(1).expect("known").stage = Stage::Forgotten(7_000);
        assert!(cgroups.to_settle(7_000 + REST_MS - 1).is_empty());
        assert_eq!(cgroups.to_settle(7_000 + REST_MS), [1]);
    }

    #[test]
    fn only_the_living_without_a_slot_are_promoted() {
        let mut cgroups = Cgroups::default();
        cgroups.insert(1, cgroup("/with", Some(2)));
        cgroups.insert(2, cgroup("/without", None));
        cgroups.insert(3, cgroup("/dying", None));
        cgroups.get_mut(3).expect("known").stage = Stage::Dying(0);
        assert_eq!(cgroups.to_promote(), [2]);
    }
}
