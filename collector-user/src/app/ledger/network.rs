//! The ledger's keeper of networks: whose each is, and what crossed its interfaces.
//!
//! Owns the order in which interfaces are told of, charged, read for the last time and
//! freed, and when containers and `net/dev` are asked. Files of processes are read beside
//! the runtime, one such errand at a time of each kind: one that hangs holds up the
//! answers of others, never an account.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{task::JoinError, time::Instant};

use super::errands::{Answers, Errand, Listings, ask, list, returned};
use crate::{
    errors::chain,
    model::{
        losses::Losses,
        moment::Moment,
        network::{
            Choice, Device, InterfaceId, Link, NetworkHealth, Role, Seat,
            audit::{Audit, Look},
            interfaces::{Counted, Interfaces, Sighting},
            members::{Living, Members},
        },
        snapshot::Snapshot,
        targets::{HOST_PATH, Target},
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
    members: Members,
    interfaces: Interfaces,
    audit: Audit,
    losses: Losses,
    ask_at: Instant,
    audit_at: Instant,
    asking: Option<Errand<Answers>>,
    auditing: Option<Errand<Listings>>,
    /// Whether it was said that slots are short.
    short_of_slots: bool,
    /// What `Network::missed` last said.
    packets_missed: u64,
}

/// What has come back.
pub(super) enum News {
    Answers(Result<Answers, JoinError>),
    Listings(Result<Listings, JoinError>),
    /// It is time to ask.
    Due,
}

impl Networks {
    /// A keeper that has asked nobody yet. `slots` are those for interfaces.
    pub(in crate::app) fn new(reader: NetworkReader, choice: Choice, slots: u32) -> Self {
        let mut losses = Losses::default();
        let host = reader.host_netns(&mut Buffer::default(), &mut losses);
        if host.is_none() {
            tracing::warn!("the host's own network can't be told from others");
        }
        Self {
            reader: Arc::new(reader),
            choice,
            members: Members::default(),
            interfaces: Interfaces::new(host, slots),
            audit: Audit::default(),
            losses,
            ask_at: Instant::now(),
            audit_at: Instant::now() + AUDIT_INTERVAL,
            asking: None,
            auditing: None,
            short_of_slots: false,
            packets_missed: 0,
        }
    }

    /// Waits for something that is to be taken in by [`Self::hear`].
    pub(super) async fn news(&mut self) -> News {
        let Self { asking, auditing, ask_at, .. } = self;
        let is_idle = asking.is_none();
        tokio::select! {
            answers = returned(asking) => News::Answers(answers),
            listings = returned(auditing) => News::Listings(listings),
            () = tokio::time::sleep_until(*ask_at), if is_idle => News::Due,
        }
    }

    /// Takes in what has come back, or sends someone to ask. `living` are the containers.
    pub(super) fn hear(&mut self, news: News, living: Vec<Living>, kernel: &Kernel, now: Moment) {
        match news {
            News::Due => self.ask(living, now),
            News::Answers(answers) => {
                self.asking = None;
                match answers {
                    Ok(answers) => self.take_answers(answers, now),
                    Err(error) => tracing::warn!(%error, "asking containers for networks failed"),
                }
            }
            News::Listings(listings) => {
                self.auditing = None;
                match listings {
                    Ok(listings) => self.compare(&listings, kernel, now),
                    Err(error) => tracing::warn!(%error, "reading net/dev failed"),
                }
            }
        }
    }

    /// Has containers asked soon, since there may be a new one.
    pub(super) fn ask_soon(&mut self) {
        self.ask_at = self.ask_at.min(Instant::now() + ASK_SOON);
    }

    /// Asks all that are due at once, on this thread: for the start, when there is nobody to
    /// keep waiting.
    pub(super) fn ask_now(&mut self, living: Vec<Living>, now: Moment) {
        self.members.live(living, now.monotonic_ms);
        let answers = ask(&self.reader, self.members.due(now.monotonic_ms));
        self.take_answers(answers, now);
    }

    fn ask(&mut self, living: Vec<Living>, now: Moment) {
        self.members.live(living, now.monotonic_ms);
        let due = self.members.due(now.monotonic_ms);
        if due.is_empty() {
            self.plan(now);
            return;
        }
        let reader = Arc::clone(&self.reader);
        self.asking = Some(Errand::begin(move || ask(&reader, due)));
    }

    fn take_answers(&mut self, (answers, losses): Answers, now: Moment) {
        self.losses.add(&losses);
        for (question, answer) in answers {
            self.members.answered(&question, answer, now.monotonic_ms);
        }
        self.interfaces.charge(&self.members.owners(), now.monotonic_ms);
        self.plan(now);
    }

    /// Sets when someone is to be asked next.
    fn plan(&mut self, now: Moment) {
        let next_ms = self.members.next_due_ms().map(|ms| ms.saturating_sub(now.monotonic_ms));
        let wait = next_ms.map_or(AUDIT_INTERVAL, Duration::from_millis);
        self.ask_at = Instant::now() + wait.max(ASK_SOON);
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
        self.asking.iter_mut().for_each(|it| it.tell_if_hung("asking containers for networks"));
        self.auditing.iter_mut().for_each(|it| it.tell_if_hung("reading net/dev"));
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
        if self.auditing.is_none() && Instant::now() >= self.audit_at {
            self.audit_at = Instant::now() + AUDIT_INTERVAL;
            self.list();
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
                Err(error) => {
                    tracing::debug!(?id, error = chain(&error), "cannot give it a slot");
                    self.interfaces.forgotten(id, now.monotonic_ms);
                }
            }
        }
    }

    /// Sends someone to read every network's `net/dev`.
    fn list(&mut self) {
        let owners = self.members.roles().into_iter().filter_map(|(path, role)| match role {
            Role::Owner(seat) => Some((seat, self.members.target(&path)?.clone())),
            _ => None,
        });
        let owners: Vec<(Seat, Target)> = owners.collect();
        let before = self.interfaces.counted().map(|it| (it.id, it)).collect();
        let (reader, host) = (Arc::clone(&self.reader), self.interfaces.host_inum());
        self.auditing = Some(Errand::begin(move || list(&reader, host, &owners, before)));
    }

    /// Compares what was counted with what `net/dev` says.
    fn compare(&mut self, listings: &Listings, kernel: &Kernel, now: Moment) {
        self.losses.add(&listings.losses);
        let Some(network) = &kernel.network else { return };
        self.read(network, now);
        let after: Vec<Counted> = self.interfaces.counted().collect();
        let mut by_inum: HashMap<u64, Vec<&Counted>> = HashMap::new();
        for counted in &after {
            by_inum.entry(counted.inum).or_default().push(counted);
        }
        let mut names = HashMap::new();
        for (inum, devices) in &listings.devices {
            let its = by_inum.remove(inum).unwrap_or_default().into_iter();
            let Some(devices) = devices else {
                its.for_each(|_| self.audit.unread());
                continue;
            };
            let by_name: HashMap<&str, &Device> =
                devices.iter().map(|it| (&*it.name, it)).collect();
            for after in its {
                let is_same =
                    |it: &&Counted| it.name == after.name && it.sighting == after.sighting;
                let before = listings.before.get(&after.id).filter(is_same);
                let (Some(before), Some(device)) = (before, by_name.get(&*after.name)) else {
                    continue;
                };
                let Counted { link, merges, sighting, traffic, .. } = *after;
                let before = before.traffic;
                let look = Look { link, merges, sighting, before, device, after: traffic };
                for drift in self.audit.look(after.id, &look, now.monotonic_ms) {
                    let owners = self.members.owners();
                    let owner = owners.get(inum).and_then(|owners| owners.first());
                    let whose = owner.map(|it| it.target.path.clone());
                    tracing::warn!(
                        container = whose.as_deref().unwrap_or(HOST_PATH),
                        interface = &*after.name,
                        direction = drift.direction,
                        ours_packets = drift.ours_packets,
                        theirs_packets = drift.theirs_packets,
                        ours_bytes = drift.ours_bytes,
                        theirs_bytes = drift.theirs_bytes,
                        "counts differ from net/dev"
                    );
                }
            }
            names.insert(*inum, by_name.keys().copied().collect());
        }
        self.interfaces.listed(&names);
        let known: HashSet<InterfaceId> = after.iter().map(|it| it.id).collect();
        self.audit.retain(&known);
    }

    /// Ends the accounts of containers whose series have ended.
    pub(super) fn expire(&mut self, ended: &[Arc<str>]) {
        self.interfaces.expire(ended);
    }

    /// Adds to a snapshot what is known of networks.
    pub(super) fn complete(&self, snapshot: &mut Snapshot, kernel: &Kernel) {
        let mut interfaces = self.interfaces.containers();
        let mut roles = self.members.roles();
        for container in &mut snapshot.containers {
            container.interfaces = interfaces.remove(&container.path).unwrap_or_default();
            if !container.cgroups.is_empty() {
                container.role = Some(roles.remove(&container.path).unwrap_or(Role::Unknown));
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
