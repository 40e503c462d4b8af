//! What holds after any sequence of events, against a second book kept by simpler rules.

use proptest::prelude::*;

use super::*;
use crate::model::container_id::deepest_container;

/// Paths that cgroups are made at: containers, what is in them, and neither.
fn paths() -> Vec<String> {
    let outer = docker_path();
    let inner = format!("{outer}/docker/{INNER_ID}");
    vec![
        "/system.slice".to_owned(),
        "/system.slice/a.service".to_owned(),
        format!("/system.slice/docker-{INNER_ID}.scope"),
        "/docker".to_owned(),
        format!("{outer}/init"),
        format!("{outer}/docker"),
        format!("{inner}/x"),
        outer,
        inner,
    ]
}

/// One thing that happens; numbers choose among what is there.
#[derive(Clone, Debug)]
enum Event {
    Made(usize),
    Removed(usize),
    Ran(usize, u64),
    Told(DockerUpdate),
    Passed(u64),
    /// The ledger's tick; one cgroup's task may still be running, so it is not settled.
    Tidied(Option<usize>),
    Promoted,
}

fn event() -> impl Strategy<Value = Event> {
    let id = || prop_oneof![Just(ID), Just(INNER_ID)].prop_map(ContainerId::new);
    let identity = || (id(), "[ab]").prop_map(|(id, name)| (id, named(&name).1));
    let told = prop_oneof![
        prop::collection::vec(identity(), 0..3)
            .prop_map(|containers| DockerUpdate::Listed { containers, took_ns: 1 }),
        identity().prop_map(|(id, meta)| DockerUpdate::Seen(id, meta)),
        id().prop_map(DockerUpdate::Removed),
        Just(DockerUpdate::Down("gone".to_owned())),
    ];
    prop_oneof![
        6 => any::<usize>().prop_map(Event::Made),
        4 => any::<usize>().prop_map(Event::Removed),
        8 => (any::<usize>(), 0..1_000_000_u64).prop_map(|(which, ns)| Event::Ran(which, ns)),
        2 => told.prop_map(Event::Told),
        4 => (0..RETAIN_MS).prop_map(Event::Passed),
        8 => prop::option::weighted(0.2, any::<usize>()).prop_map(Event::Tidied),
        2 => Just(Event::Promoted),
    ]
}

/// A host, and the second book: everything that was charged, and to whom.
struct World {
    host: Host,
    paths: Vec<String>,
    next_id: u64,
    free_slots: Vec<u32>,
    charged: Usage,
    /// Of the containers whose series live, by path.
    containers: BTreeMap<String, Usage>,
    exited: Usage,
    last: Snapshot,
}

impl World {
    fn new() -> Self {
        let mut host = Host::new();
        let last = host.snapshot();
        // The root has the first one.
        let free_slots = (3..2 + SLOTS).rev().collect();
        Self {
            host,
            paths: paths(),
            next_id: 2,
            free_slots,
            charged: Usage::default(),
            containers: BTreeMap::new(),
            exited: Usage::default(),
            last,
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Made(which) => self.make(which),
            Event::Removed(which) => {
                let live = self.host.accounts.cgroups().live();
                // The root stays; so does what has others below it.
                let leaves: Vec<u64> =
                    live.iter().copied().filter(|&id| id != 1 && self.is_leaf(id)).collect();
                if let Some(id) = pick(&leaves, which) {
                    self.host.remove(id);
                }
            }
            Event::Ran(which, runtime_ns) => self.run(which, runtime_ns),
            Event::Told(update) => self.host.docker(update),
            Event::Passed(ms) => self.host.pass(ms),
            Event::Tidied(busy) => self.tidy(busy),
            Event::Promoted => self.promote(),
        }
    }

    fn path(&self, id: u64) -> &str {
        &self.host.accounts.cgroups().get(id).expect("known").path
    }

    fn is_leaf(&self, id: u64) -> bool {
        let below = format!("{}/", self.path(id));
        !self.live_paths().any(|path| path.starts_with(&below))
    }

    fn live_paths(&self) -> impl Iterator<Item = &str> {
        self.host.accounts.cgroups().live().into_iter().map(|id| self.path(id))
    }

    /// Makes a cgroup and those above it, as `mkdir -p` does.
    fn make(&mut self, which: usize) {
        let path = pick(&self.paths, which).expect("paths");
        let mut missing: Vec<String> = std::iter::once(path.as_str())
            .chain(ancestors(&path))
            .filter(|path| !self.live_paths().any(|live| live == *path))
            .map(str::to_owned)
            .collect();
        while let Some(path) = missing.pop() {
            let slot = self.free_slots.pop();
            self.host.make(self.next_id, &path, slot);
            self.next_id += 1;
        }
    }

    /// Some cgroup's task runs: the living, or the dead that are not yet settled.
    fn run(&mut self, which: usize, runtime_ns: u64) {
        let mut known: Vec<u64> = self.host.accounts.cgroups().iter().map(|(id, _)| id).collect();
        known.sort_unstable();
        let cgroup = pick(&known, which).and_then(|id| self.host.accounts.cgroups().get(id));
        let Some(Cgroup { path, slot, stage, .. }) = cgroup else { return };
        let slot = match (stage, slot) {
            (_, None) => collector_ebpf::OVERFLOW_SLOT,
            // A program may have read the old mapping just before it was forgotten.
            (Stage::Forgotten(_), _) if runtime_ns.is_multiple_of(2) => {
                collector_ebpf::UNATTRIBUTED_SLOT
            }
            (_, Some(slot)) => *slot,
        };
        let usage = slice(runtime_ns);
        self.charged.add(&usage);
        if slot != collector_ebpf::OVERFLOW_SLOT
            && slot != collector_ebpf::UNATTRIBUTED_SLOT
            && let Some(found) = deepest_container(path)
        {
            self.containers.entry(found.root.to_owned()).or_default().add(&usage);
        }
        self.host.run(slot, runtime_ns);
    }

    /// As the ledger does: last read, then settle; only then is the slot another's.
    fn tidy(&mut self, busy: Option<usize>) {
        let Host { accounts, now, .. } = &mut self.host;
        for id in accounts.cgroups().to_forget(now.monotonic_ms) {
            accounts.forgotten(id, *now);
        }
        let due = accounts.cgroups().to_settle(now.monotonic_ms);
        let busy = busy.and_then(|which| pick(&due, which));
        self.host.record();
        for id in due.into_iter().filter(|id| Some(*id) != busy) {
            let slot = self.host.accounts.cgroups().get(id).expect("due").slot;
            self.host.accounts.settle(id);
            if let Some(slot) = slot {
                self.host.slots.remove(&slot);
                self.free_slots.push(slot);
            }
        }
        self.host.accounts.expire(self.host.now);
    }

    fn promote(&mut self) {
        for id in self.host.accounts.cgroups().to_promote() {
            let Some(slot) = self.free_slots.pop() else { return };
            self.host.accounts.promoted(id, slot);
        }
    }

    /// Compares the books, and with what was published before.
    fn check(&mut self) -> Result<(), TestCaseError> {
        let snapshot = self.host.snapshot();
        prop_assert_eq!(snapshot.host, self.charged, "the host is all that was ever charged");
        let told: HashMap<&str, &Usage> =
            snapshot.containers.iter().map(|view| (&*view.path, &view.usage)).collect();
        let exited = &mut self.exited;
        self.containers.retain(|path, usage| {
            let lives = told.contains_key(path.as_str());
            if !lives {
                exited.add(usage);
            }
            lives
        });
        prop_assert_eq!(snapshot.exited.usage, self.exited, "who is told no more is rolled up");
        for (path, usage) in told {
            let expected = self.containers.get(path).copied().unwrap_or_default();
            prop_assert_eq!(*usage, expected, "{}", path);
        }
        // What is a container's, its predecessors', shared or unknown is not twice there.
        let apart: Usage = snapshot
            .containers
            .iter()
            .map(|view| &view.usage)
            .chain([
                &snapshot.exited.usage,
                &snapshot.ledger.overflow,
                &snapshot.ledger.unattributed,
            ])
            .sum();
        prop_assert!(apart.runtime_ns <= snapshot.host.runtime_ns);
        let top_level = |path: &str| path.rfind('/') == Some(0);
        let top: Usage = snapshot
            .cgroups
            .iter()
            .filter(|view| top_level(&view.path))
            .map(|view| &view.usage)
            .chain([&snapshot.ledger.overflow, &snapshot.ledger.unattributed])
            .sum();
        prop_assert!(top.runtime_ns <= snapshot.host.runtime_ns);
        let Accounts { cgroups, settled, .. } = &self.host.accounts;
        let is_kept = |path: &str| {
            path == "/" || cgroups.at(path).is_some_and(|found| found.container.is_none())
        };
        prop_assert!(settled.keys().all(|path| is_kept(path)), "nothing is kept of dead paths");
        self.never_goes_back(&snapshot)?;
        let SlotCounts { free, used, retiring } = snapshot.slots;
        prop_assert_eq!(free, self.free_slots.len() as u64);
        prop_assert_eq!(free + used + retiring, u64::from(SLOTS));
        self.last = snapshot;
        Ok(())
    }

    fn never_goes_back(&self, snapshot: &Snapshot) -> Result<(), TestCaseError> {
        let containers = snapshot.containers.iter().map(|view| (&view.path, view.usage));
        let now: HashMap<_, _> = containers
            .chain(snapshot.cgroups.iter().map(|view| (&view.path, view.usage)))
            .collect();
        let containers = self.last.containers.iter().map(|view| (&view.path, view.usage));
        let before =
            containers.chain(self.last.cgroups.iter().map(|view| (&view.path, view.usage)));
        for (path, earlier) in before {
            if let Some(later) = now.get(path) {
                let mut raised = *later;
                raised.raise_to(&earlier);
                prop_assert_eq!(raised, *later, "{} went back", path);
            }
        }
        Ok(())
    }
}

/// One of them, by any number.
fn pick<T: Clone>(among: &[T], which: usize) -> Option<T> {
    among.get(which.checked_rem(among.len())?).cloned()
}

proptest! {
    #[test]
    fn nothing_is_lost_counted_twice_or_taken_back(
        events in prop::collection::vec(event(), 0..120),
    ) {
        let mut world = World::new();
        for event in events {
            world.happens(event);
            world.check()?;
        }
    }

    /// Hash maps have another order in each instance, so this would show.
    #[test]
    fn the_same_events_give_the_same_snapshots(
        events in prop::collection::vec(event(), 0..120),
    ) {
        let (mut one, mut other) = (World::new(), World::new());
        for event in events {
            one.happens(event.clone());
            other.happens(event);
            prop_assert_eq!(one.host.snapshot(), other.host.snapshot());
        }
    }
}
