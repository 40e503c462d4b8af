//! The accounts: whose usage is whose, and for how long it is told.
//!
//! Owns containers' totals over all their cgroups' lives, what was settled, and what
//! the runtime said of their identity. Deterministic: same readings, events and times
//! in, same snapshot out.
//!
//! A slice counts in one container: the deepest around its cgroup. When a cgroup is
//! settled its usage stays with its container, or goes to the nearest cgroup above it;
//! when a container's series ends, its usage goes to the roll-up and to the cgroups
//! above it. So the host's sum loses nothing, ever.

mod picture;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use super::{
    cgroups::{Cgroup, Cgroups, Stage, ancestors},
    container::{ContainerId, ContainerMeta, DockerUpdate},
    container_id::deepest_container,
    moment::Moment,
    network::members::Living,
    snapshot::{DockerHealth, Exited},
    targets::Target,
    usage::Usage,
};

/// Containers whose series stay after their end, at most; the oldest go first. Each is
/// half a kibibyte here and fifty lines of an answer: a host that ends more than this
/// within the retention needs a shorter one.
pub const MAX_RETAINED: usize = 2_048;

/// What the accounts are told once.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How long the series of a container that is gone stay, in ms.
    pub retain_exited_ms: u64,
    /// Whether cgroups that are no container are told of, too.
    pub all_cgroups: bool,
    /// Slots that cgroups can own.
    pub slots: u32,
}

/// A container's account, over all the lives of its cgroup.
#[derive(Clone, Debug)]
struct Account {
    id: ContainerId,
    first_seen_ms: u64,
    /// Usage of its settled cgroups.
    past: Usage,
    /// When its last cgroup was removed.
    ended: Option<Moment>,
    /// Its cgroups that are in the tree.
    live_cgroups: u32,
    /// Whether any cgroup of it ever had a slot: if none had, its usage is known only
    /// as a part of the overflow, and a series of zeroes would be a lie.
    told: bool,
}

/// An identity, and since when its runtime no longer knows it.
#[derive(Clone, Debug)]
struct Identity {
    meta: Arc<ContainerMeta>,
    removed_at_ms: Option<u64>,
}

/// All accounts of the host.
#[derive(Debug)]
pub struct Accounts {
    rules: Rules,
    /// The cgroups and the states of their slots.
    cgroups: Cgroups,
    containers: BTreeMap<Arc<str>, Account>,
    identities: HashMap<ContainerId, Identity>,
    /// Usage of what is gone, by the path of the cgroup (no container) it was under.
    settled: HashMap<Arc<str>, Usage>,
    overflow: Usage,
    unattributed: Usage,
    exited: Exited,
    docker: DockerHealth,
    /// Highest tallies published so far: idle in flight is an estimate, too, and a CPU
    /// whose record could not be read is missing from both.
    idle_ns: u64,
    elapsed_ns: u64,
}

impl Accounts {
    /// Empty accounts.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            cgroups: Cgroups::default(),
            containers: BTreeMap::new(),
            identities: HashMap::new(),
            settled: HashMap::new(),
            overflow: Usage::default(),
            unattributed: Usage::default(),
            exited: Exited::default(),
            docker: DockerHealth::default(),
            idle_ns: 0,
            elapsed_ns: 0,
        }
    }

    /// The cgroups and where their slots are on their way.
    pub fn cgroups(&self) -> &Cgroups {
        &self.cgroups
    }

    /// Takes in a cgroup that was made, or found in the tree. Idempotent: an id is never
    /// used twice, so one that is known, dead or alive, stays what it is.
    pub fn created(&mut self, id: u64, path: &str, slot: Option<u32>, seen_ms: u64) {
        if self.cgroups.get(id).is_some() {
            return;
        }
        let path: Arc<str> = path.into();
        let found = deepest_container(&path);
        let container: Option<Arc<str>> = found.as_ref().map(|found| found.root.into());
        if let (Some(found), Some(root)) = (found, &container) {
            let account = self.containers.entry(root.clone()).or_insert_with(|| Account {
                id: ContainerId::new(found.id),
                first_seen_ms: seen_ms,
                past: Usage::default(),
                ended: None,
                live_cgroups: 0,
                told: false,
            });
            account.ended = None;
            account.live_cgroups += 1;
            account.told |= slot.is_some();
        }
        let own = Usage::default();
        self.cgroups.insert(id, Cgroup { path, container, slot, stage: Stage::Live, own });
    }

    /// Notes that a cgroup was removed. Unknown ids and repeats change nothing.
    pub fn removed(&mut self, id: u64, now: Moment) {
        let Some(cgroup) = self.cgroups.get_mut(id).filter(|cgroup| cgroup.stage == Stage::Live)
        else {
            return;
        };
        cgroup.stage = Stage::Dying(now.monotonic_ms);
        if let Some(container) = &cgroup.container
            && let Some(account) = self.containers.get_mut(container)
        {
            account.live_cgroups -= 1;
            if account.live_cgroups == 0 {
                account.ended = Some(now);
            }
        }
    }

    /// Notes that the kernel's side has forgotten a removed cgroup.
    pub fn forgotten(&mut self, id: u64, now: Moment) {
        if let Some(cgroup) = self.cgroups.get_mut(id)
            && let Stage::Dying(_) = cgroup.stage
        {
            cgroup.stage = Stage::Forgotten(now.monotonic_ms);
        }
    }

    /// Notes that a cgroup has got a slot of its own.
    pub fn promoted(&mut self, id: u64, slot: u32) {
        if let Some(cgroup) = self.cgroups.get_mut(id) {
            cgroup.slot = Some(slot);
            if let Some(container) = &cgroup.container
                && let Some(account) = self.containers.get_mut(container)
            {
                account.told = true;
            }
        }
    }

    /// Takes over a reading: `read` gives a slot's usage since its cgroup got it.
    pub fn record(&mut self, read: impl Fn(u32) -> Usage) {
        for (_, cgroup) in self.cgroups.iter_mut() {
            if let Some(slot) = cgroup.slot {
                cgroup.own.raise_to(&read(slot));
            }
        }
        self.overflow.raise_to(&read(collector_ebpf::OVERFLOW_SLOT));
        self.unattributed.raise_to(&read(collector_ebpf::UNATTRIBUTED_SLOT));
    }

    /// Takes a cgroup out after its last reading; its slot may be cleared and freed.
    pub fn settle(&mut self, id: u64) {
        let Some(cgroup) = self.cgroups.remove(id) else { return };
        let account = cgroup.container.as_ref().and_then(|root| self.containers.get_mut(root));
        if let Some(account) = account {
            account.past.add(&cgroup.own);
            return;
        }
        if self.cgroups.at(&cgroup.path).is_some() {
            // The path lives again: its series goes on from here.
            self.settled.entry(cgroup.path).or_default().add(&cgroup.own);
            return;
        }
        let mut usage = cgroup.own;
        if let Some(below) = self.settled.remove(&cgroup.path) {
            usage.add(&below);
        }
        self.settle_above(&cgroup.path, &usage);
    }

    /// Takes over what the runtime says.
    pub fn docker(&mut self, update: DockerUpdate, now: Moment) {
        match update {
            DockerUpdate::Listed { containers, took_ns } => {
                self.docker.up = true;
                self.docker.list_ns = took_ns;
                let present: HashSet<ContainerId> =
                    containers.iter().map(|(id, _)| id.clone()).collect();
                for (id, identity) in &mut self.identities {
                    if !present.contains(id) {
                        identity.removed_at_ms.get_or_insert(now.monotonic_ms);
                    }
                }
                for (id, meta) in containers {
                    self.identify(id, meta);
                }
            }
            DockerUpdate::Seen(id, meta) => self.identify(id, meta),
            DockerUpdate::Removed(id) => {
                if let Some(identity) = self.identities.get_mut(&id) {
                    identity.removed_at_ms.get_or_insert(now.monotonic_ms);
                }
            }
            DockerUpdate::Down(_) => {
                self.docker.disconnects += u64::from(self.docker.up);
                self.docker.up = false;
            }
            DockerUpdate::Lost(losses) => self.docker.lost = losses,
        }
    }

    /// The containers that live: those with a cgroup in the tree.
    pub fn living(&self) -> Vec<Living> {
        let mut living: BTreeMap<&Arc<str>, Living> = BTreeMap::new();
        for (id, cgroup) in self.cgroups.iter().filter(|(_, it)| it.stage == Stage::Live) {
            let Some(root) = &cgroup.container else { continue };
            let first_seen_ms = self.containers.get(root).map_or(0, |it| it.first_seen_ms);
            let it = living.entry(root).or_insert_with(|| Living {
                target: Target { path: root.clone(), cgroups: Vec::new() },
                life: u64::MAX,
                first_seen_ms,
            });
            it.target.cgroups.push(cgroup.path.clone());
            // The container's own cgroup was made before those in it.
            it.life = if cgroup.path == *root { id } else { it.life };
        }
        let sorted = |mut it: Living| {
            it.target.cgroups.sort_unstable();
            it
        };
        living.into_values().map(sorted).collect()
    }

    /// Ends the series of containers that have been gone for long enough; tells which.
    pub fn expire(&mut self, now: Moment) -> Vec<Arc<str>> {
        let busy: HashSet<Arc<str>> =
            self.cgroups.iter().filter_map(|(_, cgroup)| cgroup.container.clone()).collect();
        let retain_ms = self.rules.retain_exited_ms;
        let mut ended: Vec<(u64, Arc<str>)> = self
            .containers
            .iter()
            .filter(|(root, _)| !busy.contains(*root))
            .filter_map(|(root, account)| Some((account.ended?.monotonic_ms, root.clone())))
            .collect();
        ended.sort_unstable();
        let over = ended.partition_point(|(at_ms, _)| now.monotonic_ms >= at_ms + retain_ms);
        let beyond = ended.len().saturating_sub(MAX_RETAINED);
        self.exited.early += beyond.saturating_sub(over) as u64;
        ended.truncate(over.max(beyond));
        for (_, root) in &ended {
            if let Some(account) = self.containers.remove(root) {
                // One that was never told of had no series that could end.
                self.exited.containers += u64::from(account.told);
                self.exited.usage.add(&account.past);
                self.settle_above(root, &account.past);
            }
        }
        let named: HashSet<&ContainerId> =
            self.containers.values().map(|account| &account.id).collect();
        self.identities.retain(|id, identity| {
            let gone =
                identity.removed_at_ms.is_some_and(|at_ms| now.monotonic_ms >= at_ms + retain_ms);
            !gone || named.contains(id)
        });
        ended.into_iter().map(|(_, root)| root).collect()
    }

    fn identify(&mut self, id: ContainerId, meta: ContainerMeta) {
        self.identities.insert(id, Identity { meta: Arc::new(meta), removed_at_ms: None });
    }

    /// Adds usage of what is gone to the nearest cgroup above that is no container's.
    fn settle_above(&mut self, path: &str, usage: &Usage) {
        let above = ancestors(path)
            .find(|path| self.cgroups.at(path).is_some_and(|found| found.container.is_none()))
            .unwrap_or("/");
        match self.settled.get_mut(above) {
            Some(settled) => settled.add(usage),
            None => {
                self.settled.insert(above.into(), *usage);
            }
        }
    }
}

#[cfg(test)]
mod tests;
