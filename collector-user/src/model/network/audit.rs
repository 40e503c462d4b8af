//! How what the programs counted compares to the kernel's own `net/dev`.
//!
//! Owns verdicts and their reasons, and what a tolerance is made of. It reports; it never
//! corrects a count.
//!
//! The two are read one after the other: the programs' counts, then `net/dev`, then the
//! programs' again. What they counted up to the reading of `net/dev` is between the two; so
//! what they counted between two such looks has a least and a most, and what `net/dev`
//! counted must be between these. Where an interface had no packet while it was looked at,
//! both times, the least is the most: then the counts must be equal, to the byte.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{Device, InterfaceId, Link, Traffic};

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
    /// It is of a kind of which some count otherwise.
    Kind,
    /// Packets were dropped after they were sent, which `net/dev` tells apart.
    Dropped,
    /// The interface is stacked on another, which alone sees what is received.
    Stacked,
    /// They differ for the first time: packets may have been on their way for long.
    Pending,
    /// `net/dev` could not be read.
    Unread,
}

impl Verdict {
    /// All of them, in a fixed order.
    pub const ALL: [Self; 9] = [
        Self::Agree,
        Self::Drift,
        Self::Unknown(Reason::Offload),
        Self::Unknown(Reason::Merged),
        Self::Unknown(Reason::Kind),
        Self::Unknown(Reason::Dropped),
        Self::Unknown(Reason::Stacked),
        Self::Unknown(Reason::Pending),
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
            Self::Unknown(Reason::Kind) => "kind",
            Self::Unknown(Reason::Dropped) => "dropped",
            Self::Unknown(Reason::Stacked) => "stacked",
            Self::Unknown(Reason::Pending) => "pending",
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

/// One look at an interface.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// What it is.
    pub link: Link,
    /// Whether it may merge packets on their way in.
    pub merges: bool,
    /// Which of its sightings the counts began with.
    pub sighting: u64,
    /// What the programs had counted just before `net/dev` was read, as it would count.
    pub before: Traffic,
    /// What `net/dev` said.
    pub device: &'a Device,
    /// What the programs had counted just after.
    pub after: Traffic,
}

/// Comparisons so far, and what the next ones are compared with.
#[derive(Debug, Default)]
pub struct Audit {
    checks: Checks,
    /// What each interface had at the beginning of its window.
    bases: HashMap<InterfaceId, Base>,
}

/// A look that later ones are compared with.
#[derive(Clone, Debug)]
struct Base {
    at_ms: u64,
    name: Arc<str>,
    /// Which sighting of the interface its counts began with.
    sighting: u64,
    before: Traffic,
    after: Traffic,
    device: Device,
    /// For how many comparisons, received and sent, they have differed without a reason.
    differed: [u32; 2],
}

/// For how long one look is compared with, in ms. Long, so that what is lost now and then
/// adds up beyond what two readings at different moments can explain; not for ever, so
/// that a drift that has ended does.
const WINDOW_MS: u64 = 5 * 60_000;

/// Comparisons in a row that must differ until it is a drift: a crowded CPU can keep a packet
/// waiting between the two counts for longer than they are looked at.
const CONFIRMED_BY: u32 = 2;

/// Packets that one side may have counted and the other not yet, while any are on their way:
/// the length of a CPU's backlog (`net.core.netdev_max_backlog` is 1,000 by default), in
/// which a virtual interface's packets wait between the two.
const ON_THEIR_WAY: u64 = 1_000;

/// How many times the mean packet of a window those on their way can be, on average.
const MEANS: u64 = 4;

/// A comparison that found a drift, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Which way: `receive` or `transmit`.
    pub direction: &'static str,
    /// Packets that the programs counted in the window.
    pub ours_packets: u64,
    /// Bytes that they counted.
    pub ours_bytes: u64,
    /// Packets that `net/dev` counted.
    pub theirs_packets: u64,
    /// Bytes that it counted.
    pub theirs_bytes: u64,
}

impl Audit {
    /// Verdicts so far.
    pub fn checks(&self) -> Checks {
        self.checks
    }

    /// Compares a look with an earlier one at the same interface, if there is one. Returns
    /// drifts that have just been confirmed.
    pub fn look(&mut self, id: InterfaceId, look: &Look<'_>, now_ms: u64) -> Vec<Drift> {
        let Look { before, device, after, sighting, .. } = *look;
        let is_same = |it: &&mut Base| it.name == device.name && it.sighting == sighting;
        let base = self.bases.get_mut(&id).filter(is_same);
        let Some(base) = base else {
            let (at_ms, name, device) = (now_ms, device.name.clone(), device.clone());
            let base = Base { at_ms, name, sighting, before, after, device, differed: [0, 0] };
            self.bases.insert(id, base);
            return Vec::new();
        };
        let mut drifts = Vec::new();
        for direction in [Direction::Receive, Direction::Transmit] {
            let window = Window::of(base, look, direction);
            let differed = &mut base.differed[direction as usize];
            let verdict = match window.verdict(look, direction) {
                Verdict::Drift => {
                    *differed += 1;
                    if *differed == CONFIRMED_BY {
                        drifts.push(window.drift(direction));
                    }
                    let is_confirmed = *differed >= CONFIRMED_BY;
                    if is_confirmed { Verdict::Drift } else { Verdict::Unknown(Reason::Pending) }
                }
                verdict => {
                    *differed = 0;
                    verdict
                }
            };
            self.checks.count(verdict);
        }
        if now_ms >= base.at_ms + WINDOW_MS {
            let (name, device) = (base.name.clone(), device.clone());
            // What differs must do so in the new window, too, to be told of.
            let differed = [0, 0];
            *base = Base { at_ms: now_ms, name, sighting, before, after, device, differed };
        }
        drifts
    }

    /// Counts an interface whose `net/dev` could not be read: one verdict each way.
    pub fn unread(&mut self) {
        for _ in [Direction::Receive, Direction::Transmit] {
            self.checks.count(Verdict::Unknown(Reason::Unread));
        }
    }

    /// Forgets interfaces that are not among these.
    pub fn retain(&mut self, ids: &HashSet<InterfaceId>) {
        self.bases.retain(|id, _| ids.contains(id));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Receive,
    Transmit,
}

impl Direction {
    /// Packets and bytes that way.
    fn of(self, traffic: Traffic) -> [u64; 2] {
        match self {
            Self::Receive => [traffic.rx_packets, traffic.rx_bytes],
            Self::Transmit => [traffic.tx_packets, traffic.tx_bytes],
        }
    }
}

/// What both counted between two looks, one way: packets, then bytes.
struct Window {
    /// The least that the programs counted between the two readings of `net/dev`.
    least: [u64; 2],
    /// The most.
    most: [u64; 2],
    theirs: [u64; 2],
    /// Packets that `net/dev` says were dropped after the programs had counted them.
    dropped: u64,
}

impl Window {
    fn of(base: &Base, look: &Look<'_>, direction: Direction) -> Self {
        let of = |traffic| direction.of(traffic);
        let is_quiet = |before, after| of(before) == of(after);
        let ends = [is_quiet(base.before, base.after), is_quiet(look.before, look.after)];
        let slack = ends.iter().filter(|is_quiet| !**is_quiet).count() as u64 * ON_THEIR_WAY;
        let theirs = of(look.device.traffic.since(base.device.traffic));
        let mean_bytes = theirs[1].checked_div(theirs[0]).unwrap_or(0);
        let slack = [slack, slack * MEANS * mean_bytes];
        let [least, most] = [(base.after, look.before), (base.before, look.after)]
            .map(|(from, to)| of(to.since(from)));
        let dropped = match direction {
            Direction::Receive => 0,
            Direction::Transmit => look.device.tx_dropped.saturating_sub(base.device.tx_dropped),
        };
        Self {
            least: [0, 1].map(|it| least[it].saturating_sub(slack[it])),
            most: [0, 1].map(|it| most[it].saturating_add(slack[it])),
            theirs,
            dropped,
        }
    }

    fn verdict(&self, look: &Look<'_>, direction: Direction) -> Verdict {
        let Self { least, most, theirs, dropped } = self;
        let Look { link, merges, .. } = *look;
        if link == Link::Stacked && direction == Direction::Receive {
            return Verdict::Unknown(Reason::Stacked);
        }
        if (0..2).all(|it| (least[it]..=most[it]).contains(&theirs[it])) {
            return Verdict::Agree;
        }
        match link {
            Link::Physical => return Verdict::Unknown(Reason::Offload),
            Link::Virtual | Link::Stacked => return Verdict::Unknown(Reason::Kind),
            Link::Veth | Link::Bridge | Link::Loopback => {}
        }
        if *dropped > 0 && least[0] > theirs[0] && least[0] - theirs[0] <= *dropped {
            return Verdict::Unknown(Reason::Dropped);
        }
        // Nor are the bytes the same then: of what it polls (NAPI), a veth counts those received
        // without the link-layer header (`veth_poll`).
        let may_merge = merges && direction == Direction::Receive;
        if may_merge && least[0] <= theirs[0] {
            return Verdict::Unknown(Reason::Merged);
        }
        Verdict::Drift
    }

    fn drift(&self, direction: Direction) -> Drift {
        let [ours_packets, ours_bytes] = self.most;
        let [theirs_packets, theirs_bytes] = self.theirs;
        let direction = match direction {
            Direction::Receive => "receive",
            Direction::Transmit => "transmit",
        };
        Drift { direction, ours_packets, ours_bytes, theirs_packets, theirs_bytes }
    }
}

#[cfg(test)]
mod tests;
