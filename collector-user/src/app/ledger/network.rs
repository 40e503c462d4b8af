//! The ledger's keeper of networks: whose each is, and what crossed its interfaces.
//!
//! Owns the order in which interfaces are told of, charged, read for the last time and
//! freed, and when containers and `net/dev` are asked. Files of processes are read beside
//! the runtime (`errands`): one that hangs costs its own container's answers.

use std::{sync::Arc, time::Duration};

use aya::maps::MapError;
use tokio::time::Instant;

use super::{
    comparison::Listings,
    errands::{Asking, Auditing, NetDev, Tidings, asking, auditing},
};
use crate::{
    errors::chain,
    model::{
        collectors::Collector,
        losses::Losses,
        moment::Moment,
        network::{
            Choice, Device, Link, NetworkHealth,
            audit::Audit,
            interfaces::{Interfaces, Sighting},
            members::{Answer, Living, Members, Question},
        },
        snapshot::Snapshot,
    },
    source::{
        files::Buffer,
        kernel::{
            Kernel,
            network::{InterfaceEvent, Network},
        },
        network::NetworkReader,
    },
};

/// How often counts are compared with `net/dev`.
const AUDIT_INTERVAL: Duration = Duration::from_secs(10);

/// How soon a container is asked that may just have come: its runtime needs a moment to
/// put a process into it.
const ASK_SOON: Duration = Duration::from_millis(10);

/// Interface events taken in one go: twice what the ring buffer holds.
const EVENTS_PER_TURN: usize = 4_096;

/// Who is in which network, what crossed it, and how that compares.
pub(in crate::app) struct Networks {
    reader: Arc<NetworkReader>,
    choice: Choice,
    pub(super) members: Members,
    pub(super) interfaces: Interfaces,
    pub(super) audit: Audit,
    pub(super) losses: Losses,
    ask_at: Instant,
    audit_at: Instant,
    asking: Asking,
    /// Whether all who were there at the start have been asked.
    has_begun: bool,
    pub(super) auditing: Auditing,
    /// What has come of that and was not compared yet.
    pub(super) listings: Listings,
    /// Whether it was said that slots are short.
    short_of_slots: bool,
    /// What `Network::missed` last said.
    packets_missed: u64,
}

/// What has come back.
pub(super) enum News {
    Asked(Tidings<Question, Answer>),
    Listed(Tidings<NetDev, Option<Vec<Device>>>),
    /// It is time to ask.
    Due,
}

impl Networks {
    /// A keeper that has asked nobody yet. `slots` are those for interfaces.
    pub(in crate::app) fn new(reader: NetworkReader, choice: Choice, slots: u32) -> Self {
        let mut losses = Losses::default();
        let host = reader.host_netns(&mut Buffer::default(), &mut losses);
        let reader = Arc::new(reader);
        Self {
            asking: asking(&reader),
            has_begun: false,
            auditing: auditing(&reader),
            reader,
            listings: Listings::default(),
            choice,
            members: Members::default(),
            interfaces: Interfaces::new(host, slots),
            audit: Audit::default(),
            losses,
            ask_at: Instant::now(),
            audit_at: Instant::now() + AUDIT_INTERVAL,
            short_of_slots: false,
            packets_missed: 0,
        }
    }

    /// What can't be told, for people.
    pub(super) fn degraded(&self) -> Option<String> {
        let is_known = self.interfaces.host_inum().is_some();
        let lack = "the host's own network can't be told from others: what crosses its \
                    interfaces is unattributed";
        (!is_known).then(|| lack.to_owned())
    }

    /// Whether all who were there at the start have been asked.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Waits for something that is to be taken in by [`Self::hear`]. Nothing is lost if the
    /// wait is given up.
    pub(super) async fn news(&mut self) -> News {
        let Self { asking, auditing, ask_at, .. } = self;
        let is_idle = !asking.is_out();
        tokio::select! {
            tidings = asking.news() => News::Asked(tidings),
            tidings = auditing.news() => News::Listed(tidings),
            () = tokio::time::sleep_until(*ask_at), if is_idle => News::Due,
        }
    }

    /// Takes in what has come back, or sends someone to ask; `living` tells the containers.
    pub(super) fn hear(
        &mut self,
        news: News,
        living: impl FnOnce() -> Vec<Living>,
        kernel: &Kernel,
        now: Moment,
    ) {
        match news {
            News::Due => self.ask(living(), now),
            News::Asked(tidings) => self.take_answer(tidings, now),
            News::Listed(tidings) => self.take_listing(tidings, kernel, now),
        }
    }

    /// Has containers asked soon, since there may be a new one.
    pub(super) fn ask_soon(&mut self) {
        self.ask_at = self.ask_at.min(Instant::now() + ASK_SOON);
    }

    fn ask(&mut self, living: Vec<Living>, now: Moment) {
        self.ask_at = Instant::now() + AUDIT_INTERVAL;
        self.members.live(living, now.monotonic_ms);
        let due = self.members.due(now.monotonic_ms);
        if due.is_empty() {
            self.has_begun = true;
            self.plan(now);
            return;
        }
        for question in self.asking.begin(due) {
            self.members.answered(&question, Answer::Unknown, now.monotonic_ms);
        }
    }

    fn take_answer(&mut self, tidings: Tidings<Question, Answer>, now: Moment) {
        match tidings {
            Tidings::Told(question, answer, losses) => {
                self.losses.add(&losses);
                self.members.answered(&question, answer, now.monotonic_ms);
                return;
            }
            Tidings::Lost(question, reason) => {
                self.losses.count(Collector::Network, reason);
                self.members.answered(&question, Answer::Unknown, now.monotonic_ms);
            }
            Tidings::Ended => {
                self.has_begun = true;
                self.plan(now);
                if let Some(host) = self.reader.known_host_netns() {
                    self.interfaces.know_host(host);
                }
            }
        }
        // For all of them at once: it is not for each answer.
        self.interfaces.charge(&self.members.owners(), now.monotonic_ms);
    }

    /// Sets when someone is to be asked next.
    fn plan(&mut self, now: Moment) {
        let next_ms = self.members.next_due_ms().map(|ms| ms.saturating_sub(now.monotonic_ms));
        let wait = next_ms.map_or(AUDIT_INTERVAL, Duration::from_millis);
        // It may have been wished for meanwhile.
        self.ask_at = self.ask_at.min(Instant::now() + wait.max(ASK_SOON));
    }

    /// Takes in what the programs tell of interfaces.
    pub(super) fn follow_events(&mut self, network: &mut Network, now: Moment) {
        for _ in 0..EVENTS_PER_TURN {
            let Some(event) = network.next_event() else { break };
            match event {
                InterfaceEvent::Seen { id, netns_inum, slot, name, link_kind, merges } => {
                    let link = Link::of(&link_kind, id.ifindex);
                    let (name, inum) = (&*name, u64::from(netns_inum));
                    let sighting = Sighting { id, inum, slot, name, link, merges };
                    if self.interfaces.seen(&sighting, now.monotonic_ms) {
                        self.members.doubt(inum, now.monotonic_ms);
                        self.ask_soon();
                    }
                }
                InterfaceEvent::Renamed { id, name } => self.interfaces.renamed(id, &name),
            }
        }
    }

    /// Takes over what the programs have counted.
    pub(super) fn read(&mut self, network: &Network, now: Moment) {
        self.interfaces.record(|slot| network.traffic(slot), now.monotonic_ms);
    }

    /// What is due once in a while: interfaces on their way to their end, slots for those
    /// without, a comparison.
    pub(super) fn tidy(&mut self, living: Vec<Living>, kernel: &mut Kernel, now: Moment) {
        self.members.live(living, now.monotonic_ms);
        self.interfaces.charge(&self.members.owners(), now.monotonic_ms);
        for inum in self.interfaces.undecided() {
            self.members.doubt(inum, now.monotonic_ms);
            self.ask_soon();
        }
        // Whatever hangs: what was listed before is not to grow old.
        self.compare_listed(kernel, now);
        let Some(network) = &mut kernel.network else { return };
        match network.missed() {
            Ok(missed) => self.packets_missed = missed,
            Err(error) => tracing::warn!(%error, "cannot tell how many packets were missed"),
        }
        self.read(network, now);
        self.settle(network, now);
        for id in self.interfaces.to_forget(now.monotonic_ms) {
            if let Err(error) = network.forget(id) {
                // Packets still go to its slot. At the next tick it is tried again.
                tracing::debug!(?id, error = chain(&error), "cannot forget it now");
                continue;
            }
            self.interfaces.forgotten(id, now.monotonic_ms);
        }
        self.promote(network, now);
        // Takes effect at the next packet; new names are noticed then, too.
        network.refresh();
        if !self.auditing.is_out() && Instant::now() >= self.audit_at {
            self.audit_at = Instant::now() + AUDIT_INTERVAL;
            self.list(now);
        }
    }

    /// Last read, then the account, then the slot.
    fn settle(&mut self, network: &mut Network, now: Moment) {
        // What was counted until here is read: nothing leads to these slots any more.
        let rested = self.interfaces.to_settle(now.monotonic_ms);
        self.interfaces.settle(&rested.iter().copied().collect());
        for slot in rested {
            if let Err(error) = network.free(slot) {
                tracing::warn!(slot, error = chain(&error), "this slot is lost");
            }
        }
    }

    /// Gives slots that became free to interfaces that share the overflow slot.
    fn promote(&mut self, network: &mut Network, now: Moment) {
        let without = self.interfaces.to_promote();
        if without.is_empty() {
            self.short_of_slots = false;
        }
        for &id in &without {
            match network.promote(id) {
                Ok(Some(slot)) => self.interfaces.promoted(id, slot, now.monotonic_ms),
                Ok(None) => {
                    if !self.short_of_slots {
                        self.short_of_slots = true;
                        tracing::warn!(
                            interfaces = without.len(),
                            "no free slot for some network interfaces: they share the overflow \
                             series; raise --network.slots to tell them apart"
                        );
                    }
                    return;
                }
                // It has been forgotten since.
                Err(MapError::KeyNotFound) => self.interfaces.forgotten(id, now.monotonic_ms),
                Err(error) => {
                    tracing::debug!(?id, error = chain(&error), "cannot give it a slot now");
                }
            }
        }
    }

    /// Ends the accounts of containers whose series have ended.
    pub(super) fn expire(&mut self, ended: &[Arc<str>]) {
        self.interfaces.expire(ended);
    }

    /// Adds to a snapshot what is known of networks at this moment.
    pub(super) fn complete(&mut self, snapshot: &mut Snapshot, kernel: &Kernel, now: Moment) {
        if let Some(network) = &kernel.network {
            self.read(network, now);
        }
        let mut interfaces = self.interfaces.containers();
        let mut roles = self.members.roles(now.monotonic_ms);
        for container in &mut snapshot.containers {
            container.interfaces = interfaces.remove(&container.path).unwrap_or_default();
            if !container.cgroups.is_empty() {
                container.role = roles.remove(&container.path);
            }
        }
        snapshot.network = self.interfaces.view();
        snapshot.network.choice = self.choice;
        snapshot.network.checks = self.audit.checks();
        snapshot.network.losses = self.losses;
        if let Some(network) = &kernel.network {
            snapshot.network.counts_interfaces = true;
            let packets_missed = self.packets_missed;
            snapshot.network.health = NetworkHealth { packets_missed, ..network.health() };
        }
    }
}
