//! What is told of a network's interfaces: all or nothing, by whoever is in it.

use std::{fs, os::unix::net::UnixListener};

use proptest::prelude::*;

use super::*;
use crate::source::fixture::{device, interface};

fn one(reason: Reason) -> Losses {
    lost(WHO, reason, 1)
}

/// What [`Fixture::process`] wrote, with nothing lost.
fn told() -> (Option<Vec<Device>>, Losses) {
    (Some(vec![device("eth0", 10)]), nothing())
}

#[test]
fn all_interfaces_are_told_or_none() {
    let fixture = Fixture::new(None, &[8]);
    fixture.process(8, 2);
    let names = [("lo", 1000), ("eth0", 10), ("a|b\u{2003}c", 7)];
    let sound = names.map(|(name, number)| interface(name, number)).concat();
    fixture.net_dev(8, &sound);
    let all = names.map(|(name, number)| device(name, number)).to_vec();
    assert_eq!(fixture.devices(2, 8), (Some(all), nothing()));

    for odd in ["  bad0: 1 2 3 x 5 6 7 8 9 10 11 12 13 14 15 16\n", "no colon\n", "lo: 1\n", "\n"] {
        fixture.net_dev(8, &format!("{sound}{odd}"));
        assert_eq!(fixture.devices(2, 8), (None, one(Reason::Malformed)), "{odd:?}");
    }
    fixture.net_dev(8, "");
    assert_eq!(fixture.devices(2, 8), (None, one(Reason::Malformed)), "not even lo");
}

#[test]
fn another_process_tells_where_the_one_in_the_seat_has_left() {
    let fixture = Fixture::new(None, &[8, 9, 10]);
    fixture.all(&[8, 9], 2);
    fixture.process(10, 3);
    fixture.net_dev(10, &interface("other", 1));
    fixture.remove("proc/8/net/dev");
    assert_eq!(fixture.devices(2, 8), told(), "it ends");
    fixture.remove("proc/8");
    assert_eq!(fixture.devices(2, 8), told(), "it has ended");
    fixture.process(8, 3);
    fixture.net_dev(8, &interface("other", 2));
    assert_eq!(fixture.devices(2, 8), told(), "it, or its successor, is elsewhere");
    fixture.cgroup("c", &[10]);
    assert_eq!(fixture.devices(2, 9), told(), "whoever is in it may tell");
}

#[test]
fn nobody_tells_of_a_network_that_the_container_has_left() {
    let fixture = Fixture::new(None, &[8, 9]);
    fixture.all(&[8, 9], 3);
    assert_eq!(fixture.devices(2, 8), (None, one(Reason::Vanished)));
    fixture.cgroup("c", &[]);
    fixture.remove("proc/8");
    assert_eq!(fixture.devices(2, 8), (None, one(Reason::Vanished)), "nobody is left");
    fixture.remove("cgroup/c");
    assert_eq!(fixture.devices(2, 8), (None, one(Reason::Vanished)), "nor is the container");
}

#[test]
fn a_network_that_ends_with_its_last_process_is_no_fault() {
    let fixture = Fixture::new(None, &[8]);
    fixture.process(8, 2);
    fixture.remove("proc/8/net/dev");
    // To open a socket is answered by ENXIO, as opening `net/dev` is then.
    let _socket = UnixListener::bind(fixture.root.path().join("proc/8/net/dev")).expect("bound");
    assert_eq!(fixture.devices(2, 8), (None, one(Reason::Vanished)));
}

#[test]
fn a_fault_says_more_than_a_race() {
    let fixture = Fixture::new(None, &[8, 9]);
    fixture.all(&[8, 9], 2);
    fixture.remove("proc/8/net/dev");
    fixture.remove("proc/9/net/dev");
    fs::create_dir(fixture.root.path().join("proc/9/net/dev")).expect("made");
    assert_eq!(fixture.devices(2, 8), (None, one(Reason::Failed)));
    fixture.cgroup("c", &[8, 10]);
    assert_eq!(fixture.devices(2, 8), (None, one(Reason::Hidden)), "10 is listed and not there");
}

#[test]
fn others_are_asked_within_a_limit() {
    let pids: Vec<u32> = (10..20).collect();
    for elsewhere in 1..pids.len() {
        let fixture = Fixture::new(None, &pids);
        fixture.all(&pids[..elsewhere], 3);
        fixture.all(&pids[elsewhere..], 2);
        let (devices, _) = fixture.devices(2, pids[0]);
        assert_eq!(devices.is_some(), elsewhere <= MAX_ASKED, "{elsewhere}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_in_a_file_another_process_tells(bytes in any::<Vec<u8>>()) {
        let fixture = Fixture::new(None, &[8, 9]);
        fixture.all(&[8, 9], 2);
        fixture.write("proc/8/net/dev", bytes);
        prop_assert_eq!(fixture.devices(2, 8), told());
    }
}
