//! What is told of networks: a sum or none, by whoever can tell.

use std::{fs, os::unix::fs::symlink};

use super::{super::*, fixture::*};
use crate::model::networks::Network;

#[test]
fn all_interfaces_but_lo_are_added_up_or_none() {
    let fixture = Fixture::new(None, &[8]);
    fixture.process(1, 1);
    fixture.process(8, 2);
    let network = |traffic| Some(Network::Other { netns: 2, traffic });
    let sound =
        [interface("lo", 1000), interface("eth0", 10), interface("a|b\u{2003}c", 7)].concat();
    fixture.net_dev(8, &sound);
    let (found, losses) = fixture.read();
    assert_eq!((found.network, losses), (network(Some(traffic(17))), lost([])));

    let malformed = lost([(Reason::Malformed, 1)]);
    for odd in ["  bad0: 1 2 3 x 5 6 7 8 9 10 11 12 13 14 15 16\n", "no colon\n", "lo: 1\n", "\n"] {
        fixture.net_dev(8, &format!("{sound}{odd}"));
        let (found, losses) = fixture.read();
        assert_eq!((found.network, losses), (network(None), malformed), "{odd:?}");
    }
    fixture.net_dev(8, "");
    let (found, losses) = fixture.read();
    assert_eq!((found.network, losses), (network(None), malformed), "not even lo");

    fixture.net_dev(8, &interface("lo", 1));
    let (found, losses) = fixture.read();
    assert_eq!((found.network, losses), (network(Some(Traffic::default())), lost([])));
}

#[test]
fn a_network_that_cannot_be_read_is_known_all_the_same() {
    let fixture = Fixture::new(None, &[8, 9]);
    fixture.all(&[1], 1);
    fixture.all(&[8, 9], 2);
    fixture.remove("proc/8/net/dev");
    let (found, losses) = fixture.read();
    let told = Network::Other { netns: 2, traffic: Some(traffic(10)) };
    assert_eq!((found.network, losses), (Some(told), lost([])), "8 has ended meanwhile");

    fs::create_dir(fixture.root.path().join("proc/8/net/dev")).expect("made");
    let untold = Network::Other { netns: 2, traffic: None };
    let (found, losses) = fixture.read();
    assert_eq!((found.network, losses), (Some(untold), lost([(Reason::Failed, 1)])));
}

#[test]
fn the_hosts_network_is_known_by_its_namespace_and_not_read() {
    let fixture = Fixture::new(None, &[8]);
    fixture.all(&[1, 8], 4_026_531_840);
    fixture.remove("proc/8/net");
    let (found, losses) = fixture.read();
    assert_eq!(found.network, Some(Network::Host));
    assert_eq!(losses, Losses::default());
}

#[test]
fn the_next_process_is_asked_where_one_has_no_network_any_more() {
    let pids = [11, 12, 13, 14, 15, 16];
    for gone in 1..=6 {
        let fixture = Fixture::new(None, &pids);
        fixture.process(1, 1);
        for (index, pid) in pids.into_iter().enumerate() {
            fixture.process(pid, 2);
            if index < gone {
                fixture.remove(&format!("proc/{pid}/ns/net"));
            }
        }
        let (found, losses) = fixture.read();
        let told = Some(Network::Other { netns: 2, traffic: Some(traffic(10)) });
        assert_eq!(found.processes.len(), 6);
        if gone < 5 {
            assert_eq!((found.network, losses), (told, lost([])), "{gone}");
        } else {
            let expected = (None, lost([(Reason::Vanished, 1)]));
            assert_eq!((found.network, losses), expected, "{gone}: a handful at most");
        }
    }
}

#[test]
fn a_namespace_that_may_not_be_seen_or_makes_no_sense_is_counted_once() {
    let fixture = Fixture::new(None, &[8, 9]);
    fixture.all(&[1, 8, 9], 1);
    fixture.forbid("proc/8/ns");
    fixture.remove("proc/9/ns/net");
    let (found, losses) = fixture.read_without_rights();
    assert_eq!(found.processes, [8, 9].map(written));
    assert_eq!((found.network, losses), (None, lost([(Reason::Denied, 1)])));

    for link in ["net:[x]", "net:[1", "mnt:[1]", "net:[99999999999999999999]"] {
        let fixture = Fixture::new(None, &[8]);
        fixture.process(1, 1);
        fixture.write("proc/8/stat", stat(8));
        fixture.write("proc/8/status", "Name:\tx\n");
        fixture.netns(8, link);
        let (found, losses) = fixture.read();
        assert_eq!((found.network, losses), (None, lost([(Reason::Malformed, 1)])), "{link}");
    }
}

#[test]
fn where_the_first_process_may_not_be_seen_the_kernels_threads_tell_the_hosts_network() {
    let fixture = Fixture::new(None, &[8]);
    fixture.process(8, 5);
    let without = fixture.read();
    assert_eq!((without.0.network, without.1), (None, lost([(Reason::Hidden, 1)])));

    fixture.process(1, 5);
    fixture.remove("proc/1/ns/net");
    fixture.process(2, 5);
    let anyone = fixture.read();
    assert_eq!((anyone.0.network, anyone.1), (None, lost([(Reason::Vanished, 1)])));

    let kthreadd = stat(2).replace(" 4194304 ", " 2129984 ");
    fixture.write("proc/2/stat", kthreadd);
    assert_eq!(fixture.read().0.network, Some(Network::Host));
}

#[test]
fn only_devices_are_the_hosts_traffic() {
    let fixture = Fixture::new(None, &[]);
    fixture.process(1, 1);
    let lines = [("lo", 1000), ("eth0", 10), ("veth12ab", 500), ("wlan0", 7)];
    fixture.net_dev(1, &lines.map(|(name, number)| interface(name, number)).concat());
    for name in ["lo", "veth12ab"] {
        fixture.write(&format!("sys/class/net/{name}/mtu"), "1500\n");
    }
    assert_eq!(fixture.host_traffic(), (None, lost([])));
    for name in ["eth0", "wlan0"] {
        let directory = fixture.root.path().join("sys/class/net").join(name);
        fs::create_dir(&directory).expect("made");
        symlink("../../../devices/virtio1", directory.join("device")).expect("linked");
    }
    assert_eq!(fixture.host_traffic(), (Some(traffic(17)), lost([])));

    fixture.net_dev(1, &format!("{} wlan0: 1 2\n", interface("eth0", 10)));
    assert_eq!(fixture.host_traffic(), (None, lost([(Reason::Malformed, 1)])));
    fixture.net_dev(1, &[interface("eth0", 10), interface(&"x".repeat(300), 1)].concat());
    assert_eq!(fixture.host_traffic(), (None, lost([(Reason::Failed, 1)])), "ENAMETOOLONG");
    fixture.net_dev(1, &interface("eth0", 10));
    fixture.remove("sys/class");
    assert_eq!(fixture.host_traffic(), (None, lost([(Reason::Failed, 1)])));
    fixture.remove("proc/1");
    assert_eq!(fixture.host_traffic(), (None, lost([(Reason::Hidden, 1)])));
    fixture.remove("proc");
    assert_eq!(fixture.host_traffic(), (None, lost([(Reason::Failed, 1)])));
}

#[test]
fn a_device_behind_another_device_counts_once() {
    let fixture = Fixture::new(None, &[]);
    fixture.process(1, 1);
    let lines = [("lo", 1000), ("eth0", 10), ("vf", 9), ("bond0", 5), ("eth1", 3), ("eth2", 2)];
    fixture.net_dev(1, &lines.map(|(name, number)| interface(name, number)).concat());
    // Two of Azure's, which share a name to the outside; a bond with two devices below it.
    for (name, is_device, master) in [
        ("eth0", true, None),
        ("vf", true, Some("eth0")),
        ("bond0", false, None),
        ("eth1", true, Some("bond0")),
        ("eth2", true, Some("bond0")),
    ] {
        let directory = fixture.root.path().join("sys/devices").join(name);
        fs::create_dir_all(&directory).expect("made");
        let class = fixture.root.path().join("sys/class/net");
        fs::create_dir_all(&class).expect("made");
        symlink(format!("../../devices/{name}"), class.join(name)).expect("linked");
        if is_device {
            symlink("../../nowhere", directory.join("device")).expect("linked");
        }
        if let Some(master) = master {
            symlink(format!("../{master}"), directory.join("master")).expect("linked");
        }
    }
    assert_eq!(fixture.host_traffic(), (Some(traffic(15)), lost([])));
}
