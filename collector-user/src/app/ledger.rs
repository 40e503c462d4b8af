//! The ledger's keeper: one task that owns the kernel's counters and the accounts.
//!
//! Readings, cgroup events and Docker's news come in as they happen; immutable
//! snapshots go out when asked for. Owns the order in which a dead cgroup's slot is
//! read, retired and freed. Must not know who asks, nor what is done with a snapshot.

mod comparison;
mod errands;
mod network;
mod tree;
mod waits;

use std::{collections::HashSet, sync::Arc, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinHandle},
    time::{Instant, MissedTickBehavior, interval, timeout},
};

pub(super) use self::network::Networks;
use self::{
    network::News,
    tree::{adopt, exists},
    waits::{network_news, stopped, walked},
};
use crate::{
    errors::chain,
    exposition::SnapshotRequest,
    model::{
        accounts::{Accounts, Rules},
        container::DockerUpdate,
        container_id::deepest_container,
        moment::Moment,
        snapshot::LedgerHealth,
    },
    source::{
        cgroupfs::{Hierarchy, Walk, walk},
        kernel::{Kernel, LoadError, events::CgroupEvent},
    },
};

/// How often the dead are settled, slots freed and CPUs counted. A slot is away for
/// two or three of these: at 1,000 cgroups a minute that is some fifty slots.
const TICK: Duration = Duration::from_secs(1);

/// How often the tree is walked although no event was lost: a safety net, and a cheap
/// one (some milliseconds for a thousand cgroups, on a thread of its own).
const WALK_INTERVAL: Duration = Duration::from_mins(5);

/// Cgroup events taken in one go: twice what the ring buffer holds, so that whoever
/// makes cgroups as fast as they can cannot keep everything else waiting.
const EVENTS_PER_TURN: usize = 1_024;

/// How long requests wait at the start for what containers say of their networks: time to ask
/// some hundreds of them, and little if one of them hangs.
const FIRST_ANSWERS: Duration = Duration::from_millis(250);

/// Kernel, accounts, and what happened to either.
pub(super) struct Ledger {
    kernel: Kernel,
    accounts: Accounts,
    hierarchy: Hierarchy,
    walk_at: Instant,
    walking: Option<JoinHandle<Walk>>,
    /// Ids that lived before the walk under way: what it does not find is gone.
    lived_before: Vec<u64>,
    /// Ids that were removed during it: what it found of them is out of date.
    removed_meanwhile: HashSet<u64>,
    walk_errors: u64,
    events_dropped: u64,
    /// Cgroups that a walk, not the kernel's side, found no free slot for.
    found_without_slot: u64,
    /// Whether events can't be waited for; the tick takes them in, and tries again.
    deaf: bool,
    /// Whether it was said that slots are short.
    short_of_slots: bool,
    memory_bytes: u64,
    /// Who is in which network, and what crossed it; `None` if nobody wants to know.
    networks: Option<Networks>,
    /// What the running kernel can't tell or do, for people.
    degraded: Arc<[String]>,
}

impl Ledger {
    /// Takes in the cgroups that exist, then starts to account slices: in this order,
    /// so that no cgroup is without its slot when its first slice ends.
    pub(super) fn start(
        mut kernel: Kernel,
        hierarchy: Hierarchy,
        rules: Rules,
        networks: Option<Networks>,
    ) -> Result<Self, LoadError> {
        let found = walk(&hierarchy);
        let mut accounts = Accounts::new(rules);
        let walk_errors = found.errors;
        let walk_at = if walk_errors == 0 {
            Instant::now() + WALK_INTERVAL
        } else {
            tracing::warn!(errors = walk_errors, "parts of the cgroup tree could not be walked");
            Instant::now() + TICK
        };
        let found_without_slot = adopt(&mut kernel, &mut accounts, found);
        kernel.start()?;
        let mut degraded = kernel.degraded.clone();
        degraded.extend(networks.as_ref().and_then(Networks::degraded));
        let memory_bytes = kernel.memory_bytes().unwrap_or_default();
        Ok(Self {
            kernel,
            accounts,
            hierarchy,
            walk_at,
            walking: None,
            lived_before: Vec::new(),
            removed_meanwhile: HashSet::new(),
            walk_errors,
            events_dropped: 0,
            found_without_slot,
            deaf: false,
            short_of_slots: false,
            memory_bytes,
            networks,
            degraded: degraded.into(),
        })
    }

    /// The programs that are attached.
    pub(super) fn programs(&self) -> Vec<&'static str> {
        self.kernel.programs()
    }

    /// What the running kernel can't tell or do, for people.
    pub(super) fn degraded(&self) -> &[String] {
        &self.degraded
    }

    /// Kernel memory of all maps in bytes.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Keeps the books until told to stop; dropping `self` then frees the kernel side.
    pub(super) async fn keep(
        mut self,
        mut requests: mpsc::Receiver<SnapshotRequest>,
        mut docker: mpsc::Receiver<DockerUpdate>,
        mut shutdown: watch::Receiver<bool>,
    ) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Late answers are taken in later.
        let _in_time = timeout(FIRST_ANSWERS, self.hear_of_all_networks()).await;
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut shutdown) => return,
                Some(update) = docker.recv() => self.hear(update),
                activity = self.kernel.activity(), if !self.deaf => match activity {
                    Ok(()) => self.follow_events(),
                    Err(error) => {
                        tracing::warn!(%error, "cannot wait for cgroup events now");
                        self.deaf = true;
                    }
                },
                _ = tick.tick() => self.tidy(),
                found = walked(&mut self.walking) => self.reconcile(found),
                news = network_news(&mut self.networks) => self.hear_of_networks(news),
                Some(request) = requests.recv() => self.answer(request, &mut requests),
            }
        }
    }

    /// Answers everyone who waits with one and the same snapshot.
    fn answer(&mut self, first: SnapshotRequest, requests: &mut mpsc::Receiver<SnapshotRequest>) {
        self.follow_events();
        let health = self.read();
        let mut snapshot = self.accounts.snapshot(now(), health);
        snapshot.degraded = Arc::clone(&self.degraded);
        if let Some(networks) = &mut self.networks {
            networks.complete(&mut snapshot, &self.kernel, now());
        }
        snapshot.network.counts_sockets = self.kernel.counts_sockets();
        let snapshot = Arc::new(snapshot);
        let mut next = Some(first);
        while let Some(request) = next {
            // Whoever asked may have gone away: nothing is lost by it.
            let _gone = request.send(Arc::clone(&snapshot));
            next = requests.try_recv().ok();
        }
    }

    fn hear_of_networks(&mut self, news: News) {
        if let Some(networks) = &mut self.networks {
            networks.hear(news, || self.accounts.living(), &self.kernel, now());
        }
    }

    /// Hears of the networks of all containers that are there at the start.
    async fn hear_of_all_networks(&mut self) {
        while self.networks.as_ref().is_some_and(|it| !it.has_begun()) {
            let news = network_news(&mut self.networks).await;
            self.hear_of_networks(news);
        }
    }

    fn hear(&mut self, update: DockerUpdate) {
        match &update {
            DockerUpdate::Down(reason) => tracing::warn!(%reason, "container names are missing"),
            DockerUpdate::Listed { containers, took_ns: _ } => {
                tracing::debug!(containers = containers.len(), "Docker listed its containers");
            }
            DockerUpdate::Seen(..) | DockerUpdate::Removed(_) | DockerUpdate::Lost(_) => {}
        }
        self.accounts.docker(update, now());
    }

    fn follow_events(&mut self) {
        self.kernel.pass_on_log();
        self.follow_cgroups();
        if let Some(networks) = &mut self.networks
            && let Some(interfaces) = &mut self.kernel.network
        {
            networks.follow_events(interfaces, now());
        }
    }

    fn follow_cgroups(&mut self) {
        for _ in 0..EVENTS_PER_TURN {
            let Some(event) = self.kernel.next_event() else { return };
            match event {
                CgroupEvent::Created { id, path, slot } => {
                    self.accounts.created(id, &path, slot, now().wall_ms);
                    if let Some(networks) = &mut self.networks
                        && deepest_container(&path).is_some()
                    {
                        networks.ask_soon();
                    }
                }
                CgroupEvent::Removed { id } => {
                    if self.walking.is_some() {
                        self.removed_meanwhile.insert(id);
                    }
                    self.accounts.removed(id, now());
                }
            }
        }
    }

    /// Reads all counters into the accounts.
    fn read(&mut self) -> LedgerHealth {
        let reading = self.kernel.read();
        let tallies = reading.tallies();
        self.accounts.record(|slot| reading.usage(slot));
        let (read_retries, read_failures) = self.kernel.races();
        LedgerHealth {
            waits_known: self.kernel.waits_known,
            slots_exhausted: tallies.slots_exhausted + self.found_without_slot,
            read_retries,
            read_failures,
            walk_errors: self.walk_errors,
            kernel_memory_bytes: self.memory_bytes,
            ..tallies
        }
    }

    /// What is due once in a while: the dead on their way, slots for those without.
    fn tidy(&mut self) {
        match self.kernel.memory_bytes() {
            Ok(bytes) => self.memory_bytes = bytes,
            Err(error) => tracing::warn!(%error, "cannot tell the memory of the maps"),
        }
        self.deaf = false;
        self.follow_events();
        let events_dropped = self.kernel.events_dropped();
        if events_dropped > self.events_dropped {
            self.events_dropped = events_dropped;
            self.walk_at = Instant::now();
        }
        self.settle();
        self.promote();
        let ended = self.accounts.expire(now());
        if let Some(networks) = &mut self.networks {
            networks.expire(&ended);
            networks.tidy(self.accounts.living(), &mut self.kernel, now());
        }
        if self.walking.is_none() && Instant::now() >= self.walk_at {
            self.walk_at = Instant::now() + WALK_INTERVAL;
            self.lived_before = self.accounts.cgroups().live();
            let hierarchy = self.hierarchy.clone();
            self.walking = Some(tokio::task::spawn_blocking(move || walk(&hierarchy)));
        }
    }

    /// Last read, then retire, then free the slot.
    fn settle(&mut self) {
        let now = now();
        for id in self.accounts.cgroups().to_forget(now.monotonic_ms) {
            if let Err(error) = self.kernel.forget(id) {
                // Its slices still go to its slot. At the next tick it is tried again.
                tracing::debug!(id, error = chain(&error), "cannot forget this cgroup now");
                continue;
            }
            self.accounts.forgotten(id, now);
        }
        let due = self.accounts.cgroups().to_settle(now.monotonic_ms);
        if due.is_empty() {
            return;
        }
        let quiet: Vec<(u64, Option<u32>)> = due
            .into_iter()
            .filter_map(|id| Some((id, self.accounts.cgroups().get(id)?.slot)))
            .filter(|(_, slot)| slot.is_none_or(|slot| !self.kernel.is_running(slot)))
            .collect();
        // One reading for all: what ran until here is in it, and nothing runs after.
        self.read();
        for (id, slot) in quiet {
            if let Some(slot) = slot
                && let Err(error) = self.kernel.free(slot)
            {
                tracing::warn!(slot, error = chain(&error), "cannot free this slot now");
                continue;
            }
            self.accounts.settle(id);
        }
    }

    /// Gives slots that became free to cgroups that share the overflow slot.
    fn promote(&mut self) {
        let without = self.accounts.cgroups().to_promote();
        if without.is_empty() {
            self.short_of_slots = false;
        }
        for &id in &without {
            match self.kernel.slots.promote(id) {
                Ok(Some(slot)) => self.accounts.promoted(id, slot),
                Ok(None) => {
                    if !self.short_of_slots {
                        self.short_of_slots = true;
                        tracing::warn!(
                            cgroups = without.len(),
                            "no free slot for some cgroups: they share the overflow series; \
                             raise --slots to tell them apart"
                        );
                    }
                    return;
                }
                Err(error) => {
                    tracing::warn!(id, error = chain(&error), "cannot give this cgroup a slot");
                    return;
                }
            }
        }
    }

    /// Makes good what events did not tell.
    fn reconcile(&mut self, found: Result<Walk, JoinError>) {
        // Removals that are in the ring by now count as during the walk.
        self.follow_events();
        self.walking = None;
        let removed_meanwhile = std::mem::take(&mut self.removed_meanwhile);
        let mut found = match found {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "the walk of the cgroup tree failed");
                self.walk_errors += 1;
                return;
            }
        };
        self.walk_errors += found.errors;
        let present: HashSet<u64> = found.cgroups.iter().map(|cgroup| cgroup.id).collect();
        for id in std::mem::take(&mut self.lived_before) {
            // Where the walk could not look it may still be.
            if !present.contains(&id)
                && (found.errors == 0 || !exists(&self.accounts, &self.hierarchy, id))
            {
                self.accounts.removed(id, now());
            }
        }
        found.cgroups.retain(|cgroup| !removed_meanwhile.contains(&cgroup.id));
        self.found_without_slot += adopt(&mut self.kernel, &mut self.accounts, found);
    }
}

/// This moment on both clocks.
fn now() -> Moment {
    let in_ms = |clock| {
        let time = clock_gettime(clock);
        // Neither clock is before its zero.
        time.tv_sec.unsigned_abs() * 1_000 + time.tv_nsec.unsigned_abs() / 1_000_000
    };
    Moment { monotonic_ms: in_ms(ClockId::Monotonic), wall_ms: in_ms(ClockId::Realtime) }
}
