//! Collectors: what can be switched on and off, and asked for by a scrape.
//!
//! Owns their names. Must not know how any of them collects.

use std::fmt;

/// One source of series, by the name that flags and `collect[]` use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Collector {
    /// Files of the cgroup controllers: memory, throttling, pressure, limits.
    Cgroup,
    /// The scheduler's ledger: CPU time, switches, waits.
    Cpu,
    /// Who the containers are.
    Docker,
    /// The host's cores and memory.
    Machine,
    /// Packets, from the interfaces they cross.
    Network,
    /// Processes of containers, from `/proc`.
    Process,
}

impl Collector {
    /// All of them, by name.
    pub const ALL: [Self; 6] =
        [Self::Cgroup, Self::Cpu, Self::Docker, Self::Machine, Self::Network, Self::Process];

    /// Its name on the command line, in a scrape's query and as a label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Cpu => "cpu",
            Self::Docker => "docker",
            Self::Machine => "machine",
            Self::Network => "network",
            Self::Process => "process",
        }
    }

    /// Whether its values are in files, so that a scrape has them read.
    pub const fn reads_files(self) -> bool {
        matches!(self, Self::Cgroup | Self::Machine | Self::Network | Self::Process)
    }

    /// The collector of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|collector| collector.name() == name)
    }
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of collectors.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Collectors(u8);

impl Collectors {
    /// None.
    pub const NONE: Self = Self(0);
    /// Every collector there is.
    pub const ALL: Self = Self((1 << Collector::ALL.len()) - 1);

    const fn bit(collector: Collector) -> u8 {
        1 << collector as u8
    }

    /// Whether it is in the set.
    pub const fn contains(self, collector: Collector) -> bool {
        self.0 & Self::bit(collector) != 0
    }

    /// The set with it.
    #[must_use]
    pub const fn with(self, collector: Collector) -> Self {
        Self(self.0 | Self::bit(collector))
    }

    /// The set without it.
    #[must_use]
    pub const fn without(self, collector: Collector) -> Self {
        Self(self.0 & !Self::bit(collector))
    }

    /// Whether any is in both sets.
    pub const fn meets(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// Those in the set, by name.
    pub fn iter(self) -> impl Iterator<Item = Collector> {
        Collector::ALL.into_iter().filter(move |collector| self.contains(*collector))
    }
}

impl FromIterator<Collector> for Collectors {
    fn from_iter<I: IntoIterator<Item = Collector>>(collectors: I) -> Self {
        collectors.into_iter().fold(Self::NONE, Self::with)
    }
}

/// Their names with commas between them; `none` if there are none.
impl fmt::Display for Collectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str("none");
        }
        for (index, collector) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{collector}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Collectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_collectors_and_are_sorted() {
        assert!(Collector::ALL.is_sorted_by_key(|it| it.name()));
        for collector in Collector::ALL {
            assert_eq!(Collector::named(collector.name()), Some(collector));
        }
        assert_eq!(Collector::named("Cpu"), None);
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        assert_eq!(Collectors::ALL.iter().collect::<Vec<_>>(), Collector::ALL);
        assert_eq!(Collectors::NONE.iter().count(), 0);
        let two: Collectors = [Collector::Process, Collector::Cpu].into_iter().collect();
        assert_eq!(two.to_string(), "cpu, process");
        assert_eq!(two.without(Collector::Cpu).to_string(), "process");
        assert_eq!(two.without(Collector::Cpu).with(Collector::Cpu), two);
        assert_eq!(Collectors::NONE.to_string(), "none");
    }

    #[test]
    fn sets_meet_in_what_is_in_both() {
        let two: Collectors = [Collector::Process, Collector::Cpu].into_iter().collect();
        assert!(two.meets(Collectors::NONE.with(Collector::Cpu)));
        assert!(!two.meets(Collectors::NONE.with(Collector::Docker)));
        assert!(!Collectors::NONE.meets(Collectors::ALL));
    }
}
