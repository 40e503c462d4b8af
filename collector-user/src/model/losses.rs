//! What is missing from a scrape, and why.
//!
//! Owns the reasons and their counts. Must not know how anything is read.

use super::collectors::Collector;

/// Why something that a collector should tell is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It ended between being listed and being read: no fault of anyone's.
    Vanished,
    /// Beyond the limit that the operator has set.
    LeftOut,
    /// It exists, but can't be seen from here (hidepid, another pid namespace).
    Hidden,
    /// The rights to read it are missing.
    Denied,
    /// The kernel gave an error.
    Failed,
    /// The text is not what the kernel's documentation says.
    Malformed,
    /// It was not read before the scrape's time was up.
    Late,
    /// An earlier reading of it has not come back yet.
    Stuck,
}

impl Reason {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 8] = [
        Self::Vanished,
        Self::LeftOut,
        Self::Hidden,
        Self::Denied,
        Self::Failed,
        Self::Malformed,
        Self::Late,
        Self::Stuck,
    ];

    /// Its name as a label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vanished => "vanished",
            Self::LeftOut => "left_out",
            Self::Hidden => "hidden",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Malformed => "malformed",
            Self::Late => "late",
            Self::Stuck => "stuck",
        }
    }

    /// Whether something is wrong when it occurs.
    pub const fn is_fault(self) -> bool {
        !matches!(self, Self::Vanished | Self::LeftOut)
    }
}

/// Counts of what is missing, by collector and reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses([[u64; Reason::ALL.len()]; Collector::ALL.len()]);

impl Losses {
    /// Counts one more.
    pub fn count(&mut self, collector: Collector, reason: Reason) {
        self.count_many(collector, reason, 1);
    }

    /// Counts several.
    pub fn count_many(&mut self, collector: Collector, reason: Reason, number: u64) {
        self.0[collector as usize][reason as usize] += number;
    }

    /// How many there are.
    pub fn get(&self, collector: Collector, reason: Reason) -> u64 {
        self.0[collector as usize][reason as usize]
    }

    /// Whether nothing of a collector's is missing that should be there.
    pub fn is_complete(&self, collector: Collector) -> bool {
        Reason::ALL.into_iter().all(|reason| !reason.is_fault() || self.get(collector, reason) == 0)
    }

    /// Adds others to these.
    pub fn add(&mut self, others: &Self) {
        for (mine, theirs) in self.0.iter_mut().flatten().zip(others.0.iter().flatten()) {
            *mine += theirs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_add_up_by_collector_and_reason() {
        let mut one = Losses::default();
        one.count(Collector::Process, Reason::Vanished);
        one.count_many(Collector::Process, Reason::LeftOut, 4);
        let mut all = one;
        all.add(&one);
        assert_eq!(all.get(Collector::Process, Reason::Vanished), 2);
        assert_eq!(all.get(Collector::Process, Reason::LeftOut), 8);
        assert_eq!(all.get(Collector::Cgroup, Reason::Vanished), 0);
        assert!(all.is_complete(Collector::Process), "neither is a fault");
        all.count(Collector::Process, Reason::Denied);
        assert!(!all.is_complete(Collector::Process));
        assert!(all.is_complete(Collector::Cgroup));
    }

    #[test]
    fn every_reason_is_at_its_place() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{}", reason.name());
        }
        for (index, collector) in Collector::ALL.into_iter().enumerate() {
            assert_eq!(collector as usize, index, "{collector}");
        }
    }
}
