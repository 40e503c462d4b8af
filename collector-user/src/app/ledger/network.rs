//! The ledger's keeper of networks: whose each is, and what crossed its interfaces.
//!
//! Owns the order in which interfaces are told of, charged, read for the last time and
//! freed, and when containers and `net/dev` are asked. Files of processes are read beside
//! the runtime (`errands`): one that hangs costs its own container's answers.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::errands::{Asking, Auditing, NetDev, Tidings, asking, auditing};
use crate::{
    errors::chain,
    model::{
        collectors::Collector,
        losses::Losses,
        moment::Moment,
        network::{
            Choice, Device, InterfaceId, Link, Role,
            audit::{Audit, Look},
            interfaces::{Counted, Interfaces, Sighting},
            members::{Answer, Living, Members, Question},
        },
        snapshot::Snapshot,
        targets::HOST_PATH,
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
    choice: Choice,
    members: Members,
    interfaces: Interfaces,
    audit: Audit,
    losses: Losses,
    ask_at: Instant,
    audit_at: Instant,
    asking: Asking,
    /// Whether all who were there at the start have been asked.
    has_begun: bool,
    auditing: Auditing,
    /// What has come of that and was not compared yet.
    listings: Listings,
    /// Whether it was said that slots are short.
    short_of_slots: bool,
}

/// What `net/dev` says, with what was counted before it was read.
#[derive(Default)]
struct Listings {
    before: HashMap<InterfaceId, Counted>,
    /// By the inode number of the network; `None` where it could not be read.
    devices: Vec<(u64, Option<Vec<Device>>)>,
    losses: Losses,
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
        if host.is_none() {
            tracing::warn!("the host's own network can't be told from others");
        }
        let reader = Arc::new(reader);
        Self {
            asking: asking(&reader),
            has_begun: false,
            auditing: auditing(&reader),
            listings: Listings::default(),
            choice,
            members: Members::default(),
            interfaces: Interfaces::new(host, slots),
            audit: Audit::default(),
            losses,
            ask_at: Instant::now(),
            audit_at: Instant::now() + AUDIT_INTERVAL,
            short_of_slots: false,
        }
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
        // Whatever hangs: what was listed before is not to grow old.
        self.compare_listed(kernel, now);
        let Some(network) = &mut kernel.network else { return };
        // New names are noticed at the next packet.
        network.refresh();
        self.read(network, now);
        self.settle(network, now);
        for id in self.interfaces.to_forget(now.monotonic_ms) {
            if let Err(error) = network.forget(id) {
                tracing::debug!(?id, error = chain(&error), "the kernel did not know it");
            }
            self.interfaces.forgotten(id, now.monotonic_ms);
        }
        self.promote(network, now);
        if !self.auditing.is_out() && Instant::now() >= self.audit_at {
            self.audit_at = Instant::now() + AUDIT_INTERVAL;
            self.list();
        }
    }

    /// Last read, then the account, then the slot.
    fn settle(&mut self, network: &mut Network, now: Moment) {
        // What was counted until here is read: nothing leads to these slots any more.
        for slot in self.interfaces.to_settle(now.monotonic_ms) {
            if let Err(error) = network.free(slot) {
                tracing::warn!(slot, error = chain(&error), "cannot free this slot now");
                continue;
            }
            self.interfaces.settle(slot);
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
            Role::Owner(seat) => Some(NetDev::Container(seat, self.members.target(&path)?.clone())),
            _ => None,
        });
        let host = self.interfaces.host_inum().map(NetDev::Host);
        let networks = host.into_iter().chain(owners).collect();
        let before = self.interfaces.counted().map(|it| (it.id, it)).collect();
        let left_out = self.auditing.begin(networks);
        let devices = left_out.iter().map(|it| (it.inum(), None)).collect();
        self.listings = Listings { before, devices, losses: Losses::default() };
    }

    fn take_listing(
        &mut self,
        tidings: Tidings<NetDev, Option<Vec<Device>>>,
        kernel: &Kernel,
        now: Moment,
    ) {
        match tidings {
            Tidings::Told(network, devices, losses) => {
                self.listings.losses.add(&losses);
                self.listings.devices.push((network.inum(), devices));
            }
            Tidings::Lost(network, reason) => {
                self.listings.losses.count(Collector::Network, reason);
                self.listings.devices.push((network.inum(), None));
            }
            Tidings::Ended => self.compare_listed(kernel, now),
        }
    }

    /// Compares what was listed so far.
    fn compare_listed(&mut self, kernel: &Kernel, now: Moment) {
        let mut listings = std::mem::take(&mut self.listings);
        if !listings.devices.is_empty() {
            self.compare(&listings, kernel, now);
        }
        // What is listed later was counted later still.
        let before = std::mem::take(&mut listings.before);
        self.listings = Listings { before, ..Listings::default() };
    }

    /// Compares what was counted with what `net/dev` says.
    fn compare(&mut self, listings: &Listings, kernel: &Kernel, now: Moment) {
        self.losses.add(&listings.losses);
        let Some(network) = &kernel.network else { return };
        self.read(network, now);
        let after: Vec<Counted> = self.interfaces.counted().collect();
        for (inum, devices) in &listings.devices {
            let its = after.iter().filter(|it| it.inum == *inum);
            let Some(devices) = devices else {
                its.for_each(|_| self.audit.unread());
                continue;
            };
            let by_name: HashMap<&str, &Device> =
                devices.iter().map(|it| (&*it.name, it)).collect();
            for after in its {
                let before = listings.before.get(&after.id).filter(|it| it.name == after.name);
                let (Some(before), Some(device)) = (before, by_name.get(&*after.name)) else {
                    continue;
                };
                let Counted { link, merges, traffic, .. } = *after;
                let look = Look { link, merges, before: before.traffic, device, after: traffic };
                for drift in self.audit.look(after.id, &look, now.monotonic_ms) {
                    let whose = self.members.owners().get(inum).map(|it| it.target.path.clone());
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
            self.interfaces.listed(*inum, &by_name.keys().copied().collect());
        }
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
            match network.health() {
                Ok(health) => snapshot.network.health = health,
                Err(error) => tracing::warn!(%error, "cannot tell how the programs fare"),
            }
        }
    }
}
