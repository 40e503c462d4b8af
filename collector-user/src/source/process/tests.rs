//! What is told of fixture trees.

mod fixture;
mod machine;

use std::{fs, io::Write, os::unix::fs::symlink, thread};

use proptest::prelude::*;
use rustix::fs::{CWD, Mode, mkfifoat};

use self::fixture::*;
use super::*;
use crate::model::networks::Network;
use crate::model::processes::Memory;

#[test]
fn processes_of_nested_cgroups_are_the_containers_and_are_told_by_pid() {
    let mut fixture = Fixture::new(None, &[12, 40]);
    fixture.nested("/c/in", &[30, 5, 12]);
    fixture.process(1, 1);
    for (pid, netns) in [(5, 9), (12, 7), (30, 9), (40, 7)] {
        fixture.process(pid, netns);
    }
    let (found, losses) = fixture.read();
    assert_eq!(found.processes, [5, 12, 30, 40].map(written));
    // Of the container's own cgroup, although 5 is lower.
    assert_eq!(found.network, Some(Network::Other { netns: 7, traffic: Some(traffic(10)) }));
    assert_eq!(losses, Losses::default());
}

#[test]
fn the_lowest_pids_are_told_of_and_the_others_counted() {
    let pids: Vec<u32> = (100..125).collect();
    let fixture = Fixture::new(None, &pids);
    fixture.process(1, 1);
    fixture.all(&pids, 1);
    let (found, losses) = fixture.read();
    assert_eq!(found.processes, pids[..10].iter().map(|pid| written(*pid)).collect::<Vec<_>>());
    assert_eq!(losses, lost([(Reason::LeftOut, 15)]));
}

#[test]
fn nothing_is_missing_where_there_is_no_process() {
    assert_eq!(Fixture::new(None, &[]).read(), Default::default());
}

#[test]
fn a_mangled_file_costs_its_own_values_only() {
    let fixture = Fixture::new(None, &[8, 9]);
    fixture.all(&[1, 8, 9], 1);
    fixture.write("proc/8/stat", "8 (x) S 1 2");
    fixture.write("proc/9/status", "Name:\tx\nVmSize:\t1 MB\nVmRSS:\t 92 kB\n");
    let (found, losses) = fixture.read();
    let memory = Memory { vmrss_kb: Some(92), ..Memory::default() };
    assert_eq!(
        found.processes,
        [Process { times: None, ..written(8) }, Process { memory, ..written(9) }]
    );
    assert_eq!(found.network, Some(Network::Host));
    assert_eq!(losses, lost([(Reason::Malformed, 2)]));
}

#[test]
fn whoever_is_still_listed_and_not_there_is_hidden() {
    let fixture = Fixture::new(None, &[8, 9]);
    fixture.all(&[1, 9], 1);
    let (found, losses) = fixture.read();
    assert_eq!(found.processes, [written(9)]);
    assert_eq!(losses, lost([(Reason::Hidden, 1)]));
}

#[test]
fn whoever_is_no_longer_listed_has_vanished_and_so_has_one_whose_number_another_has() {
    let fixture = Fixture::new(None, &[6, 7, 8, 9]);
    fixture.all(&[1, 7, 9], 1);
    fixture.remove("proc/7/stat");
    let pipe = fixture.root.path().join("proc/7/stat");
    mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).expect("made");
    let (found, losses) = thread::scope(|scope| {
        // Opens once the reader reads 7: by then it has its list, and has missed 6.
        scope.spawn(|| {
            let mut pipe = fs::OpenOptions::new().write(true).open(&pipe).expect("opens");
            fixture.process(6, 1);
            fixture.cgroup("c", &[6, 7, 9]);
            pipe.write_all(stat(7).as_bytes()).expect("written");
        });
        fixture.read()
    });
    assert_eq!(found.processes, [7, 9].map(written));
    assert_eq!(losses, lost([(Reason::Vanished, 2)]));
}

#[test]
fn a_directory_that_refuses_hides_its_process_and_a_file_its_values() {
    let fixture = Fixture::new(None, &[7, 8, 9]);
    fixture.all(&[1, 7, 8, 9], 1);
    fixture.forbid("proc/7");
    fixture.forbid("proc/8/stat");
    fixture.forbid("proc/9/status");
    let (found, losses) = fixture.read_without_rights();
    assert_eq!(
        found.processes,
        [
            Process { times: None, ..written(8) },
            Process { memory: Memory::default(), ..written(9) },
        ]
    );
    assert_eq!(losses, lost([(Reason::Hidden, 1), (Reason::Denied, 2)]));
}

#[test]
fn pids_of_another_namespace_are_not_looked_up() {
    for self_status in [Some("Name:\tx\nNSpid:\t812\t1\n"), None] {
        let fixture = Fixture::new(None, &[1]);
        fixture.process(1, 1);
        match self_status {
            Some(status) => fixture.write("proc/self/status", status),
            // What a procfs shows to a process that it does not hold.
            None => symlink("none", fixture.root.path().join("proc/self")).expect("linked"),
        }
        let expected = (ContainerProcesses::default(), lost([(Reason::Hidden, 1)]));
        assert_eq!(fixture.read(), expected, "{self_status:?}");
        assert_eq!(fixture.read(), expected, "the second time");
    }
    let fixture = Fixture::new(None, &[5]);
    fixture.all(&[1, 5], 1);
    fixture.write("proc/self/status", "Name:\tx\nNSpid:\t812\n");
    assert_eq!(fixture.read().0.processes, [written(5)]);
}

#[test]
fn all_interfaces_but_lo_are_added_up_and_a_mangled_one_is_left_out() {
    let fixture = Fixture::new(None, &[8]);
    fixture.process(1, 1);
    fixture.process(8, 2);
    let lines = [
        interface("lo", 1000),
        interface("eth0", 10),
        "  bad0: 1 2 3 x 5 6 7 8 9 10 11 12 13 14 15 16\n".into(),
        "no colon\n".into(),
        interface("a|b\u{2003}c", 7),
    ];
    fixture.net_dev(8, &lines.concat());
    let (found, losses) = fixture.read();
    assert_eq!(found.network, Some(Network::Other { netns: 2, traffic: Some(traffic(17)) }));
    assert_eq!(losses, lost([(Reason::Malformed, 2)]));

    fixture.net_dev(8, &interface("lo", 1));
    let none = Network::Other { netns: 2, traffic: Some(Traffic::default()) };
    assert_eq!(fixture.read(), (ContainerProcesses { network: Some(none), ..found }, lost([])));
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
    assert_eq!(fixture.host_traffic(), (Some(traffic(10)), lost([(Reason::Malformed, 1)])));
    fixture.remove("sys/class");
    assert_eq!(fixture.host_traffic(), (None, lost([(Reason::Failed, 1)])));
    fixture.remove("proc/1");
    assert_eq!(fixture.host_traffic(), (None, lost([(Reason::Hidden, 1)])));
    fixture.remove("proc");
    assert_eq!(fixture.host_traffic(), (None, lost([(Reason::Failed, 1)])));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_in_a_file_the_other_process_is_told_of(
        which in 0_usize..3,
        bytes in any::<Vec<u8>>(),
    ) {
        let fixture = Fixture::new(None, &[8, 9]);
        fixture.process(1, 1);
        fixture.all(&[8, 9], 3);
        fixture.write(["proc/8/stat", "proc/8/status", "proc/8/net/dev"][which], bytes);
        let (found, _) = fixture.read();
        prop_assert_eq!(found.processes[1], written(9));
        prop_assert_eq!(found.processes.len(), 2);
        if which != 0 {
            prop_assert_eq!(found.processes[0].times, written(8).times);
        }
        if which != 1 {
            prop_assert_eq!(found.processes[0].memory, written(8).memory);
        }
        if which != 2 {
            let told = Network::Other { netns: 3, traffic: Some(traffic(10)) };
            prop_assert_eq!(found.network, Some(told));
        }
    }
}
