//! How what the programs counted compares to the kernel's own `net/dev`.
//!
//! Owns verdicts and their reasons. It reports; it never corrects a count.

/// What a comparison of one interface, one way, came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Both counted the same, as far as two readings at different moments can tell.
    Agree,
    /// They did not.
    Drift,
    /// The two are known to count different things, or one could not be read.
    Unknown(Reason),
}

/// Why two counts can't be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A device merges and splits packets (GRO, segmentation offload): the wire's are others
    /// than the stack's.
    Offload,
    /// Packets were merged on their way in (GRO on a virtual interface): fewer, and fewer
    /// headers.
    Merged,
    /// Packets were dropped after they were sent, which `net/dev` tells apart.
    Dropped,
    /// The interface is stacked on another, which alone sees what is received.
    Stacked,
    /// `net/dev` could not be read.
    Unread,
}

impl Verdict {
    /// All of them, in a fixed order.
    pub const ALL: [Self; 7] = [
        Self::Agree,
        Self::Drift,
        Self::Unknown(Reason::Offload),
        Self::Unknown(Reason::Merged),
        Self::Unknown(Reason::Dropped),
        Self::Unknown(Reason::Stacked),
        Self::Unknown(Reason::Unread),
    ];

    /// Its name as a label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agree => "agree",
            Self::Drift => "drift",
            Self::Unknown(_) => "unknown",
        }
    }

    /// The reason's name as a label's value; empty where the verdict needs none.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Agree | Self::Drift => "",
            Self::Unknown(Reason::Offload) => "offload",
            Self::Unknown(Reason::Merged) => "merged",
            Self::Unknown(Reason::Dropped) => "dropped",
            Self::Unknown(Reason::Stacked) => "stacked",
            Self::Unknown(Reason::Unread) => "unread",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Agree => 0,
            Self::Drift => 1,
            Self::Unknown(reason) => 2 + reason as usize,
        }
    }
}

/// Verdicts so far: one for each comparison of an interface, each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checks([u64; Verdict::ALL.len()]);

impl Checks {
    /// Counts one more.
    pub fn count(&mut self, verdict: Verdict) {
        self.0[verdict.index()] += 1;
    }

    /// How many there are.
    pub fn get(&self, verdict: Verdict) -> u64 {
        self.0[verdict.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_is_counted_at_its_place() {
        for (index, verdict) in Verdict::ALL.into_iter().enumerate() {
            assert_eq!(verdict.index(), index, "{verdict:?}");
        }
    }
}
