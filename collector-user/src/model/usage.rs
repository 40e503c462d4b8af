//! What a cgroup used, as integers: nanoseconds and counts.
//!
//! Owns the addition of usages. Must not know whose usage it is.

use collector_ebpf::BUCKETS;

use super::network::Traffic;

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

/// Usage of a cgroup, a container or the host since accounting began.
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
    /// IPv4 and IPv6 packets of its sockets, with the length of the IP packet; zero where
    /// they are not counted.
    pub sockets: Traffic,
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
        self.sockets.raise_to(&reading.sockets);
    }

    /// Adds another usage to this one.
    pub fn add(&mut self, other: &Self) {
        self.runtime_ns += other.runtime_ns;
        self.voluntary += other.voluntary;
        self.involuntary += other.involuntary;
        self.slices.add(&other.slices);
        self.waits.add(&other.waits);
        self.sockets = self.sockets.plus(other.sockets);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// No real number of ns or switches, nor a sum of a few, comes near `u64::MAX`.
    const PLENTY: u64 = 1 << 60;

    fn histogram() -> impl Strategy<Value = Log2Histogram> {
        let buckets = prop::collection::vec(0..PLENTY / BUCKETS as u64, BUCKETS);
        (buckets, 0..PLENTY).prop_map(|(buckets, sum_ns)| Log2Histogram {
            buckets: buckets.try_into().expect("as many as asked for"),
            sum_ns,
        })
    }

    fn traffic() -> impl Strategy<Value = Traffic> {
        [0..PLENTY, 0..PLENTY, 0..PLENTY, 0..PLENTY].prop_map(
            |[rx_bytes, rx_packets, tx_bytes, tx_packets]| Traffic {
                rx_bytes,
                rx_packets,
                tx_bytes,
                tx_packets,
            },
        )
    }

    fn usage() -> impl Strategy<Value = Usage> {
        (0..PLENTY, 0..PLENTY, 0..PLENTY, histogram(), histogram(), traffic()).prop_map(
            |(runtime_ns, voluntary, involuntary, slices, waits, sockets)| Usage {
                runtime_ns,
                voluntary,
                involuntary,
                slices,
                waits,
                sockets,
            },
        )
    }

    /// All numbers of a usage, in a fixed order.
    fn numbers(usage: &Usage) -> Vec<u64> {
        let Usage { runtime_ns, voluntary, involuntary, slices, waits, sockets } = usage;
        let histogram = |it: &Log2Histogram| [it.buckets.as_slice(), &[it.sum_ns]].concat();
        let totals = vec![*runtime_ns, *voluntary, *involuntary];
        let Traffic { rx_bytes, rx_packets, tx_bytes, tx_packets } = *sockets;
        let sockets = vec![rx_bytes, rx_packets, tx_bytes, tx_packets];
        [totals, histogram(slices), histogram(waits), sockets].concat()
    }

    fn each(one: &Usage, other: &Usage, combine: impl Fn(u64, u64) -> u64) -> Vec<u64> {
        numbers(one).into_iter().zip(numbers(other)).map(|(a, b)| combine(a, b)).collect()
    }

    proptest! {
        #[test]
        fn raising_takes_the_greater_of_each_number(mine in usage(), reading in usage()) {
            let mut raised = mine;
            raised.raise_to(&reading);
            prop_assert_eq!(numbers(&raised), each(&mine, &reading, u64::max));
            let once = raised;
            raised.raise_to(&reading);
            raised.raise_to(&mine);
            prop_assert_eq!(raised, once, "what has been taken over changes nothing");
        }

        #[test]
        fn a_sum_is_that_of_each_number_in_any_order(a in usage(), b in usage(), c in usage()) {
            let sum: Usage = [&a, &b, &c].into_iter().sum();
            prop_assert_eq!(sum, [&c, &b, &a].into_iter().sum());
            let pair: Usage = [&a, &b].into_iter().sum();
            prop_assert_eq!(numbers(&pair), each(&a, &b, |a, b| a + b));
            prop_assert_eq!(numbers(&sum), each(&pair, &c, |a, b| a + b));
            prop_assert_eq!(std::iter::empty::<&Usage>().sum::<Usage>(), Usage::default());
        }

        #[test]
        fn a_histogram_counts_what_is_in_its_buckets(a in usage(), b in usage()) {
            let mut sum = a;
            sum.add(&b);
            prop_assert_eq!(sum.waits.count(), a.waits.count() + b.waits.count());
            prop_assert_eq!(Log2Histogram::default().count(), 0);
        }
    }
}
