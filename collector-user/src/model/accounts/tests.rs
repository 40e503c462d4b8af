//! Lives of cgroups and containers, step by step.

mod sequences;

use super::*;
use crate::model::cgroups::{GRACE_MS, REST_MS};

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

    fn name(&mut self) -> Option<String> {
        let meta = self.snapshot().containers.into_iter().next()?.meta?;
        Some(meta.name.clone())
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

fn seen(name: &str) -> DockerUpdate {
    let (id, meta) = named(name);
    DockerUpdate::Seen(id, meta)
}

#[test]
fn a_container_lives_is_retained_and_ends_in_the_roll_up() {
    let (mut host, path) = (Host::new(), docker_path());
    host.make(9, &path, Some(3));
    let born_ms = host.now.wall_ms;
    host.run(3, 700);
    host.pass(500);
    let alive = host.snapshot();
    let view = &alive.containers[0];
    assert_eq!((&*view.path, view.id.as_str(), view.usage), (path.as_str(), ID, slice(700)));
    assert_eq!((view.first_seen_ms, view.last_seen_ms), (born_ms, born_ms + 500));

    host.remove(9);
    let died = host.now;
    host.run(3, 50); // its last task is still on its way out
    host.bury();
    host.pass(RETAIN_MS - GRACE_MS - REST_MS - 1);
    host.tidy();
    let retained = host.snapshot();
    let mut usage = slice(700);
    usage.add(&slice(50));
    assert_eq!(retained.containers[0].usage, usage);
    assert_eq!(retained.containers[0].last_seen_ms, died.wall_ms);
    assert_eq!(retained.exited, Exited::default());

    host.pass(1);
    host.tidy();
    let over = host.snapshot();
    assert!(over.containers.is_empty());
    assert_eq!(over.exited, Exited { containers: 1, usage });
    assert_eq!(over.host, usage, "the host's sum loses nothing");
}

#[test]
fn a_container_that_is_not_settled_yet_does_not_end() {
    let mut host = Host::new();
    host.make(9, &docker_path(), Some(3));
    host.remove(9);
    host.run(3, 1);
    host.pass(10 * RETAIN_MS);
    host.accounts.expire(host.now);
    assert_eq!(host.container_ns(&docker_path()), Some(1), "its slot may still grow");
}

#[test]
fn nested_cgroups_add_to_their_container_over_all_their_lives() {
    let (mut host, path) = (Host::new(), docker_path());
    host.make(9, &path, Some(3));
    host.make(10, &format!("{path}/init"), Some(4));
    host.make(11, &format!("{path}/init/deeper"), Some(5));
    for (slot, runtime_ns) in [(3, 1), (4, 10), (5, 100)] {
        host.run(slot, runtime_ns);
    }
    assert_eq!(host.container_ns(&path), Some(111));
    host.remove(11);
    host.bury();
    host.make(12, &format!("{path}/init/deeper"), Some(5));
    host.run(5, 1_000);
    assert_eq!(host.container_ns(&path), Some(1_111));
    let snapshot = host.snapshot();
    assert_eq!(snapshot.containers.len(), 1);
    assert!(snapshot.cgroups.is_empty(), "what is inside a container has no series of its own");
    // The container lives for as long as any of its cgroups.
    host.remove(9);
    host.pass(5);
    assert_eq!(host.snapshot().containers[0].last_seen_ms, host.now.wall_ms);
}

#[test]
fn docker_in_docker_counts_in_the_inner_container_only() {
    let (mut host, outer) = (Host::new(), docker_path());
    let inner = format!("{outer}/docker/{INNER_ID}");
    host.make(8, "/docker", Some(6));
    host.make(9, &outer, Some(3));
    host.make(10, &format!("{outer}/docker"), Some(4));
    host.make(11, &inner, Some(5));
    for (slot, runtime_ns) in [(3, 1), (4, 10), (5, 100)] {
        host.run(slot, runtime_ns);
    }
    assert_eq!((host.container_ns(&outer), host.container_ns(&inner)), (Some(11), Some(100)));
    host.remove(11);
    host.bury();
    host.pass(RETAIN_MS);
    host.tidy();
    assert_eq!((host.container_ns(&outer), host.container_ns(&inner)), (Some(11), None));
    assert_eq!(host.cgroup_ns("/docker"), Some(111), "what is gone stays with what is above");
    assert_eq!(host.snapshot().host.runtime_ns, 111);
}

#[test]
fn a_container_started_again_within_the_retention_goes_on() {
    let (mut host, path) = (Host::new(), docker_path());
    host.make(9, &path, Some(3));
    let born_ms = host.now.wall_ms;
    host.run(3, 700);
    host.remove(9);
    host.bury();
    host.make(10, &path, Some(3));
    host.run(3, 5);
    host.pass(10 * RETAIN_MS);
    host.tidy();
    let snapshot = host.snapshot();
    let view = &snapshot.containers[0];
    assert_eq!(view.usage.runtime_ns, 705);
    assert_eq!((view.first_seen_ms, view.last_seen_ms), (born_ms, host.now.wall_ms));
    assert_eq!(snapshot.exited.containers, 0);

    // The same while the first one's cgroup is not settled yet.
    host.remove(10);
    host.make(11, &path, Some(4));
    host.run(4, 20);
    host.run(3, 1);
    assert_eq!(host.container_ns(&path), Some(726));
    host.bury();
    assert_eq!(host.container_ns(&path), Some(726));
}

#[test]
fn what_is_told_twice_changes_nothing() {
    let (mut host, path) = (Host::new(), docker_path());
    host.make(9, &path, Some(3));
    host.run(3, 700);
    host.remove(9);
    host.record();
    let died_ms = host.now.wall_ms;
    host.pass(10);
    host.remove(9);
    host.make(9, &path, Some(3));
    host.make(9, &format!("/other/{INNER_ID}"), Some(4));
    host.remove(77);
    host.accounts.forgotten(1, host.now);
    host.accounts.settle(77);
    let snapshot = host.snapshot();
    assert_eq!(snapshot.containers.len(), 1, "an id does not move");
    assert_eq!(snapshot.containers[0].last_seen_ms, died_ms, "nor rise from the dead");
    assert_eq!(host.accounts.cgroups().live(), [1], "nor is what lives forgotten");
    host.bury();
    host.pass(RETAIN_MS);
    host.tidy();
    assert_eq!(host.snapshot().exited.containers, 1);
}

#[test]
fn names_come_from_docker_and_change_at_once() {
    let mut host = Host::new();
    host.docker(seen("web"));
    host.make(9, &docker_path(), Some(3));
    assert_eq!(host.name().as_deref(), Some("web"), "told before the cgroup was");
    host.docker(seen("shop"));
    assert_eq!(host.name().as_deref(), Some("shop"));
    host.docker(DockerUpdate::Down("gone".to_owned()));
    assert_eq!(host.name().as_deref(), Some("shop"), "what is known stays");
}

#[test]
fn a_list_told_twice_is_a_list_told_once() {
    let mut host = Host::new();
    host.make(9, &docker_path(), Some(3));
    host.docker(DockerUpdate::Listed(vec![named("web")]));
    let once = host.snapshot();
    host.docker(DockerUpdate::Listed(vec![named("web")]));
    assert_eq!(host.snapshot(), once);
    assert_eq!(once.docker, DockerHealth { up: true, disconnects: 0 });
}

#[test]
fn losses_of_docker_are_counted_once_each() {
    let mut host = Host::new();
    let down = || DockerUpdate::Down("gone".to_owned());
    host.docker(down());
    assert_eq!(host.snapshot().docker, DockerHealth::default(), "it was never there");
    for lost in 1..=2 {
        host.docker(DockerUpdate::Listed(Vec::new()));
        host.docker(down());
        host.docker(down());
        assert_eq!(host.snapshot().docker, DockerHealth { up: false, disconnects: lost });
    }
}

#[test]
fn a_name_stays_for_as_long_as_the_series_whichever_ends_first() {
    let removals: [(&str, fn(&mut Host)); 3] = [
        ("Docker first", |host| {
            host.docker(DockerUpdate::Removed(ContainerId::new(ID)));
            host.pass(2 * RETAIN_MS);
            host.tidy();
            host.remove(9);
        }),
        ("the cgroup first", |host| {
            host.remove(9);
            host.pass(100);
            host.docker(DockerUpdate::Removed(ContainerId::new(ID)));
        }),
        ("missing in a list", |host| {
            host.docker(DockerUpdate::Listed(Vec::new()));
            host.remove(9);
        }),
    ];
    for (case, end) in removals {
        let mut host = Host::new();
        host.make(9, &docker_path(), Some(3));
        host.docker(seen("web"));
        end(&mut host);
        host.bury();
        assert_eq!(host.name().as_deref(), Some("web"), "{case}");
        host.pass(RETAIN_MS);
        host.tidy();
        assert!(host.snapshot().containers.is_empty(), "{case}");
        assert!(host.accounts.identities.is_empty(), "{case}: nothing is kept of it");
    }
}

#[test]
fn a_stopped_container_keeps_its_name_until_docker_forgets_it() {
    let mut host = Host::new();
    host.make(9, &docker_path(), Some(3));
    host.docker(seen("web"));
    host.remove(9);
    host.bury();
    host.pass(10 * RETAIN_MS);
    host.tidy();
    host.make(10, &docker_path(), Some(3));
    assert_eq!(host.name().as_deref(), Some("web"), "started again much later");
}

#[test]
fn without_a_slot_usage_is_overflow_and_no_series_of_zeroes_is_told() {
    let (mut host, path) = (Host::new(), docker_path());
    host.make(9, &path, None);
    host.run(collector_ebpf::OVERFLOW_SLOT, 300);
    host.run(collector_ebpf::UNATTRIBUTED_SLOT, 4);
    let snapshot = host.snapshot();
    assert!(snapshot.containers.is_empty());
    assert_eq!(snapshot.ledger.overflow, slice(300));
    assert_eq!(snapshot.ledger.unattributed, slice(4));
    assert_eq!(snapshot.host.runtime_ns, 304);

    assert_eq!(host.accounts.cgroups().to_promote(), [9]);
    host.accounts.promoted(9, 3);
    host.run(3, 20);
    assert_eq!(host.container_ns(&path), Some(20));
    assert_eq!(host.snapshot().host.runtime_ns, 324);

    // One that never had a slot ends without having been there.
    host.make(10, &format!("/docker/{INNER_ID}"), None);
    host.remove(9);
    host.remove(10);
    host.bury();
    host.pass(RETAIN_MS);
    host.tidy();
    let exited = host.snapshot().exited;
    assert_eq!((exited.containers, exited.usage.runtime_ns), (1, 20));
}

#[test]
fn cgroups_cover_all_that_is_and_was_below_them() {
    let mut host = Host::new();
    host.make(2, "/system.slice", Some(3));
    host.make(3, "/system.slice/a.service", Some(4));
    host.make(4, &format!("/system.slice/docker-{ID}.scope"), Some(5));
    for (slot, runtime_ns) in [(2, 1), (3, 10), (4, 100), (5, 1_000)] {
        host.run(slot, runtime_ns);
    }
    let covers = |host: &mut Host| {
        (host.cgroup_ns("/system.slice"), host.cgroup_ns("/system.slice/a.service"))
    };
    assert_eq!(covers(&mut host), (Some(1_110), Some(100)));
    assert_eq!(host.cgroup_ns("/"), None, "the root is the host");
    host.remove(3);
    assert_eq!(covers(&mut host), (Some(1_110), None), "what is removed has no series");
    host.bury();
    host.remove(4);
    host.bury();
    host.pass(RETAIN_MS);
    host.tidy();
    assert_eq!(covers(&mut host), (Some(1_110), None));
    host.remove(2);
    host.bury();
    assert_eq!(covers(&mut host), (None, None));
    assert_eq!(host.snapshot().host.runtime_ns, 1_111);
}

#[test]
fn a_path_made_again_before_it_is_settled_goes_on() {
    let mut host = Host::new();
    let path = "/system.slice/a.service";
    host.make(2, path, Some(3));
    host.run(3, 10);
    host.remove(2);
    host.make(3, path, Some(4));
    host.run(4, 1);
    assert_eq!(host.cgroup_ns(path), Some(11));
    host.bury();
    assert_eq!(host.cgroup_ns(path), Some(11), "settled beside the living");
    host.remove(3);
    host.bury();
    host.make(4, path, Some(3));
    assert_eq!(host.cgroup_ns(path), Some(0), "made again later, it is another");
    assert_eq!(host.snapshot().host.runtime_ns, 11);
}

#[test]
fn cgroups_are_told_only_if_asked_for() {
    let mut host = Host::new();
    host.make(2, "/system.slice", Some(3));
    assert_eq!(host.snapshot().cgroups.len(), 1);
    host.accounts.rules.all_cgroups = false;
    assert!(host.snapshot().cgroups.is_empty());
}

#[test]
fn every_slot_is_free_used_or_retiring() {
    let mut host = Host::new();
    let counts = |host: &mut Host| {
        let SlotCounts { free, used, retiring } = host.snapshot().slots;
        assert_eq!(free + used + retiring, u64::from(SLOTS));
        (used, retiring)
    };
    host.make(2, "/a", Some(3));
    host.make(3, "/b", None);
    assert_eq!(counts(&mut host), (2, 0), "with the root's");
    host.remove(2);
    assert_eq!(counts(&mut host), (2, 0), "kept for its grace");
    host.pass(GRACE_MS);
    host.tidy();
    assert_eq!(counts(&mut host), (1, 1));
    host.pass(REST_MS);
    host.tidy();
    assert_eq!(counts(&mut host), (1, 0));
}

#[test]
fn a_slice_in_flight_that_turns_out_shorter_takes_nothing_back() {
    let mut host = Host::new();
    host.make(9, &docker_path(), Some(3));
    host.run(3, 700);
    assert_eq!(host.container_ns(&docker_path()), Some(700));
    host.slots.insert(3, slice(690));
    assert_eq!(host.container_ns(&docker_path()), Some(700));
    let idle = |host: &mut Host, idle_ns| {
        let health = LedgerHealth { idle_ns, ..LedgerHealth::default() };
        host.accounts.snapshot(host.now, health).ledger.idle_ns
    };
    assert_eq!((idle(&mut host, 9), idle(&mut host, 8), idle(&mut host, 10)), (9, 9, 10));
}
