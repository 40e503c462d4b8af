//! Who containers are, as Docker tells it, and for how long it is remembered.

use super::*;
use crate::model::container::DockerLosses;

/// How long Docker takes for a list here.
const TOOK_NS: u64 = 3_000_000;

fn listed(containers: Vec<(ContainerId, ContainerMeta)>) -> DockerUpdate {
    DockerUpdate::Listed { containers, took_ns: TOOK_NS }
}

fn seen(name: &str) -> DockerUpdate {
    let (id, meta) = named(name);
    DockerUpdate::Seen(id, meta)
}

/// Name of the one container.
fn name(host: &mut Host) -> Option<String> {
    let meta = host.snapshot().containers.into_iter().next()?.meta?;
    Some(meta.name.clone())
}

#[test]
fn names_come_from_docker_and_change_at_once() {
    let mut host = Host::new();
    host.docker(seen("web"));
    host.make(9, &docker_path(), Some(3));
    assert_eq!(name(&mut host).as_deref(), Some("web"), "told before the cgroup was");
    host.docker(seen("shop"));
    assert_eq!(name(&mut host).as_deref(), Some("shop"));
    host.docker(DockerUpdate::Down("gone".to_owned()));
    assert_eq!(name(&mut host).as_deref(), Some("shop"), "what is known stays");
}

#[test]
fn a_list_told_twice_is_a_list_told_once() {
    let mut host = Host::new();
    host.make(9, &docker_path(), Some(3));
    host.docker(listed(vec![named("web")]));
    let once = host.snapshot();
    host.docker(listed(vec![named("web")]));
    assert_eq!(host.snapshot(), once);
    let expected = DockerHealth { up: true, list_ns: TOOK_NS, ..DockerHealth::default() };
    assert_eq!(once.docker, expected);
}

#[test]
fn losses_of_docker_are_counted_once_each() {
    let mut host = Host::new();
    let down = || DockerUpdate::Down("gone".to_owned());
    host.docker(down());
    assert_eq!(host.snapshot().docker, DockerHealth::default(), "it was never there");
    for lost in 1..=2 {
        host.docker(listed(Vec::new()));
        host.docker(down());
        host.docker(down());
        let expected =
            DockerHealth { disconnects: lost, list_ns: TOOK_NS, ..DockerHealth::default() };
        assert_eq!(host.snapshot().docker, expected);
    }
}

#[test]
fn a_name_stays_for_as_long_as_the_series_whichever_ends_first() {
    type End = fn(&mut Host);
    let removals: [(&str, End); 3] = [
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
            host.docker(listed(Vec::new()));
            host.remove(9);
        }),
    ];
    for (case, end) in removals {
        let mut host = Host::new();
        host.make(9, &docker_path(), Some(3));
        host.docker(seen("web"));
        end(&mut host);
        host.bury();
        assert_eq!(name(&mut host).as_deref(), Some("web"), "{case}");
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
    assert_eq!(name(&mut host).as_deref(), Some("web"), "started again much later");
}

#[test]
fn losses_are_as_last_told_and_outlive_a_disconnect() {
    let mut host = Host::new();
    for inspections in [1, 7] {
        host.docker(DockerUpdate::Lost(DockerLosses { containers: 2, inspections }));
    }
    host.docker(DockerUpdate::Down("gone".to_owned()));
    let lost = host.snapshot().docker.lost;
    assert_eq!(lost, DockerLosses { containers: 2, inspections: 7 });
}
