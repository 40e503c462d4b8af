//! Lives of cgroups and containers, and where their usage goes.

use super::*;

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
    assert_eq!(view.cgroups, [path.as_str().into()]);
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
    assert_eq!(over.exited, Exited { containers: 1, early: 0, usage });
    assert_eq!(over.host, usage, "the host's sum loses nothing");
}

#[test]
fn of_more_than_are_retained_the_oldest_end_early() {
    let mut host = Host::new();
    let ids = 100..(100 + MAX_RETAINED as u64 + 3);
    ids.clone().for_each(|id| host.make(id, &format!("/docker/{id:064x}"), None));
    ids.for_each(|id| host.remove(id));
    host.bury();
    host.accounts.expire(host.now);
    assert_eq!(host.snapshot().exited.early, 3);
    assert_eq!(host.accounts.containers.len(), MAX_RETAINED);
    host.pass(RETAIN_MS);
    host.accounts.expire(host.now);
    assert_eq!(host.snapshot().exited.early, 3, "the others ended in their time");
    assert_eq!(host.accounts.containers.len(), 0);
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
