//! The daemon's slots, as it tells of them.

use crate::{cgroup, metrics::Exposition};

/// `slicemeter_slots`, or another kind of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// Owned by a cgroup, or an interface.
    pub used: u64,
    /// To be had.
    pub free: u64,
    /// Of one that is gone, and not cleared yet.
    pub retiring: u64,
}

impl Slots {
    /// Those of cgroups.
    pub fn of(scrape: &Exposition) -> Self {
        Self::of_kind(scrape, "slicemeter_slots")
    }

    /// Those of interfaces.
    pub fn of_networks(scrape: &Exposition) -> Self {
        Self::of_kind(scrape, "slicemeter_network_slots")
    }

    fn of_kind(scrape: &Exposition, name: &str) -> Self {
        let state = |state| scrape.count(name, &[("state", state)]);
        Self { used: state("used"), free: state("free"), retiring: state("retiring") }
    }

    /// Whether each cgroup of the host has one and nobody else: whatever else makes and
    /// removes cgroups meanwhile.
    pub fn are_those_of_the_tree(self) -> bool {
        self.retiring == 0 && self.used == cgroup::count()
    }
}
