//! What a cgroup used, as integers: nanoseconds and counts.
//!
//! Owns the addition of usages. Must not know whose usage it is.

use collector_ebpf::BUCKETS;

/// A log2 histogram of durations; bucket bounds are
/// [`collector_ebpf::bucket_edge_ns`], counts are per bucket (not cumulative).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log2Histogram {
    /// Observations in each bucket; the last one is unbounded.
    pub buckets: [u64; BUCKETS],
    /// Sum of the observed durations in ns.
    pub sum_ns: u64,
}

impl Log2Histogram {
    /// Number of observations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    fn raise_to(&mut self, reading: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&reading.buckets) {
            *mine = (*mine).max(*theirs);
        }
        self.sum_ns = self.sum_ns.max(reading.sum_ns);
    }

    fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.sum_ns += other.sum_ns;
    }
}

/// CPU usage of a cgroup, a container or the host since accounting began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// On-CPU time in ns, the slices in flight included.
    pub runtime_ns: u64,
    /// Switches away because the task blocked, slept or exited.
    pub voluntary: u64,
    /// Switches away from a task that could have gone on.
    pub involuntary: u64,
    /// Lengths of closed slices; `sum_ns` therefore trails `runtime_ns`.
    pub slices: Log2Histogram,
    /// Run-queue waits of closed slices; `sum_ns` is the total wait.
    pub waits: Log2Histogram,
}

impl Usage {
    /// Takes over a later reading of the same counters, never going back: the slice in
    /// flight is an estimate, and may turn out shorter than was published.
    pub fn raise_to(&mut self, reading: &Self) {
        self.runtime_ns = self.runtime_ns.max(reading.runtime_ns);
        self.voluntary = self.voluntary.max(reading.voluntary);
        self.involuntary = self.involuntary.max(reading.involuntary);
        self.slices.raise_to(&reading.slices);
        self.waits.raise_to(&reading.waits);
    }

    /// Adds another usage to this one.
    pub fn add(&mut self, other: &Self) {
        self.runtime_ns += other.runtime_ns;
        self.voluntary += other.voluntary;
        self.involuntary += other.involuntary;
        self.slices.add(&other.slices);
        self.waits.add(&other.waits);
    }
}

impl<'a> std::iter::Sum<&'a Usage> for Usage {
    fn sum<I: Iterator<Item = &'a Usage>>(usages: I) -> Self {
        usages.fold(Self::default(), |mut sum, usage| {
            sum.add(usage);
            sum
        })
    }
}
