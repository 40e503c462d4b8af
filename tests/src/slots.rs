//! The daemon's slots, as it tells of them.

use crate::{cgroup, metrics::Exposition};

/// `slicemeter_slots`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// Owned by a cgroup.
    pub used: u64,
    /// To be had.
    pub free: u64,
    /// Of a cgroup that is gone, and not cleared yet.
    pub retiring: u64,
}

impl Slots {
    /// Reads them from a scrape.
    pub fn of(scrape: &Exposition) -> Self {
        let state = |state| {
            let value = scrape.value("slicemeter_slots", &[("state", state)]);
            // Exact: far below 2^53.
            format!("{value}").parse().expect("a whole number")
        };
        Self { used: state("used"), free: state("free"), retiring: state("retiring") }
    }

    /// Whether each cgroup of the host has one and nobody else: whatever else makes and
    /// removes cgroups meanwhile.
    pub fn are_those_of_the_tree(self) -> bool {
        self.retiring == 0 && self.used == cgroup::count()
    }
}
