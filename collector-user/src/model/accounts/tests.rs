//! The accounts on a host that does as it is told.

mod identities;
mod lives;
mod sequences;

use super::*;
use crate::model::{
    cgroups::{GRACE_MS, REST_MS},
    snapshot::{LedgerHealth, SlotCounts, Snapshot},
};

/// Retention of exited containers in these tests, in ms.
const RETAIN_MS: u64 = 10_000;

/// Slots that cgroups can own in these tests.
const SLOTS: u32 = 8;

const ID: &str = "4cb3a3c0f9a2f5d2d2b6cb6e9c54a3c6b8a1a5d6ab0fd3f0d2e9c0d4f8e71b23";
const INNER_ID: &str = "00b3a3c0f9a2f5d2d2b6cb6e9c54a3c6b8a1a5d6ab0fd3f0d2e9c0d4f8e71b23";

/// The accounts, and a kernel that charges slots as it is told.
struct Host {
    accounts: Accounts,
    slots: HashMap<u32, Usage>,
    now: Moment,
}

impl Host {
    fn new() -> Self {
        let rules = Rules { retain_exited_ms: RETAIN_MS, all_cgroups: true, slots: SLOTS };
        let now = Moment { monotonic_ms: 50_000, wall_ms: 1_700_000_050_000 };
        let mut host = Self { accounts: Accounts::new(rules), slots: HashMap::new(), now };
        host.make(1, "/", Some(2));
        host
    }

    fn make(&mut self, id: u64, path: &str, slot: Option<u32>) {
        self.accounts.created(id, path, slot, self.now.wall_ms);
    }

    /// Charges a slot with a slice of that many ns.
    fn run(&mut self, slot: u32, runtime_ns: u64) {
        self.slots.entry(slot).or_default().add(&slice(runtime_ns));
    }

    fn remove(&mut self, id: u64) {
        self.accounts.removed(id, self.now);
    }

    fn pass(&mut self, ms: u64) {
        self.now.monotonic_ms += ms;
        self.now.wall_ms += ms;
    }

    /// What the ledger does once a second.
    fn tidy(&mut self) {
        let now = self.now;
        for id in self.accounts.cgroups().to_forget(now.monotonic_ms) {
            self.accounts.forgotten(id, now);
        }
        self.record();
        for id in self.accounts.cgroups().to_settle(now.monotonic_ms) {
            let slot = self.accounts.cgroups().get(id).expect("due").slot;
            self.accounts.settle(id);
            slot.map(|slot| self.slots.remove(&slot));
        }
        self.accounts.expire(now);
    }

    /// Lets removed cgroups come to their end, and settles them.
    fn bury(&mut self) {
        self.pass(GRACE_MS);
        self.tidy();
        self.pass(REST_MS);
        self.tidy();
    }

    fn record(&mut self) {
        let slots = &self.slots;
        self.accounts.record(|slot| slots.get(&slot).copied().unwrap_or_default());
    }

    fn docker(&mut self, update: DockerUpdate) {
        self.accounts.docker(update, self.now);
    }

    fn snapshot(&mut self) -> Snapshot {
        self.record();
        self.accounts.snapshot(self.now, LedgerHealth::default())
    }

    /// Runtime of a container that is told of, in ns.
    fn container_ns(&mut self, path: &str) -> Option<u64> {
        let snapshot = self.snapshot();
        let view = snapshot.containers.iter().find(|view| &*view.path == path)?;
        Some(view.usage.runtime_ns)
    }

    /// Runtime of a cgroup that is no container, in ns.
    fn cgroup_ns(&mut self, path: &str) -> Option<u64> {
        let snapshot = self.snapshot();
        let view = snapshot.cgroups.iter().find(|view| &*view.path == path)?;
        Some(view.usage.runtime_ns)
    }
}

/// Usage of one slice, with something in every field.
fn slice(runtime_ns: u64) -> Usage {
    let mut usage = Usage { runtime_ns, voluntary: 1, involuntary: 2, ..Usage::default() };
    usage.slices.buckets[3] = 1;
    usage.slices.sum_ns = runtime_ns;
    usage.waits.buckets[5] = 1;
    usage.waits.sum_ns = 7;
    usage
}

fn docker_path() -> String {
    format!("/docker/{ID}")
}

fn named(name: &str) -> (ContainerId, ContainerMeta) {
    let meta = ContainerMeta { name: name.to_owned(), ..ContainerMeta::default() };
    (ContainerId::new(ID), meta)
}
