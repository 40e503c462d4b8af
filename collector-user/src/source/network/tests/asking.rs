//! Which network a container is in, by whoever can tell.

use std::{fs, os::unix::fs::symlink};

use super::*;
use crate::source::{
    fixture::{child, stat},
    losses::tests::logged,
};

fn one(reason: Reason) -> Losses {
    lost(Collector::Network, reason, 1)
}

#[test]
fn processes_of_the_containers_own_cgroup_are_asked_before_those_inside() {
    let mut fixture = Fixture::new(None, &[12, 40]);
    fixture.nested("/c/in", &[30, 5, 12]);
    for (pid, netns) in [(1, 1), (5, 9), (12, 7), (30, 9), (40, 7)] {
        fixture.process(pid, netns);
    }
    assert_eq!(fixture.ask(None), (seat(7, 12), nothing()), "although 5 is lower");
    fixture.cgroup("c", &[]);
    assert_eq!(fixture.ask(None), (seat(9, 5), nothing()));
}

#[test]
fn whoever_answered_before_is_asked_first_while_it_is_listed() {
    let mut fixture = Fixture::new(None, &[8, 9]);
    fixture.nested("/c/in", &[7]);
    for (pid, netns) in [(1, 1), (6, 6), (7, 7), (8, 8), (9, 9)] {
        fixture.process(pid, netns);
    }
    // 7 is inside, and nobody looks there while the container's own cgroup has processes.
    for (hint, netns, pid) in [(None, 8, 8), (Some(9), 9, 9), (Some(7), 8, 8)] {
        assert_eq!(fixture.ask(hint), (seat(netns, pid), nothing()), "{hint:?}");
    }
    // Another container's process that has got the number.
    assert_eq!(fixture.ask(Some(6)), (seat(8, 8), nothing()));
    fixture.remove("proc/9");
    assert_eq!(fixture.ask(Some(9)), (seat(8, 8), nothing()), "it has just ended");
}

#[test]
fn where_the_containers_own_cgroup_has_no_process_a_hint_counts_in_those_inside() {
    let mut fixture = Fixture::new(None, &[]);
    fixture.nested("/c/in", &[5, 7]);
    for (pid, netns) in [(1, 1), (5, 5), (7, 7)] {
        fixture.process(pid, netns);
    }
    for (hint, pid) in [(None, 5), (Some(5), 5), (Some(7), 7), (Some(1), 5)] {
        assert_eq!(fixture.ask(hint), (seat(pid.into(), pid), nothing()), "{hint:?}");
    }
}

#[test]
fn those_inside_are_looked_for_only_if_nobody_else_tells() {
    let mut fixture = Fixture::new(None, &[8, 9]);
    fixture.all(&[1], 1);
    fixture.all(&[8, 9], 2);
    fixture.nested("/c/in", &[3, 4]);
    fixture.all(&[3, 4], 3);
    // A list that nobody needs costs nothing.
    fixture.remove("cgroup/c/in");
    assert_eq!(fixture.ask(None), (seat(2, 8), nothing()));
    for pid in [8, 9] {
        fixture.remove(&format!("proc/{pid}/ns/net"));
    }
    assert_eq!(fixture.ask(None), (Answer::Unknown, one(Reason::Vanished)));
    fixture.cgroup("c/in", &[3, 4]);
    assert_eq!(fixture.ask(None), (seat(3, 3), nothing()));
    assert_eq!(fixture.ask(Some(4)), (seat(3, 4), nothing()));
    // Both lists have it: it is told of once.
    fixture.cgroup("c", &[0, 8, 9]);
    assert_eq!(fixture.ask(None), (seat(3, 3), one(Reason::Hidden)));
}

#[test]
fn a_handful_is_asked_at_most_inside_and_out() {
    let (own, inside) = ([21, 22], [11, 12, 13, 14]);
    let mut fixture = Fixture::new(None, &own);
    fixture.nested("/c/in", &inside);
    fixture.process(1, 1);
    fixture.all(&own, 2);
    fixture.all(&inside, 2);
    for gone in [21, 22, 11, 12] {
        fixture.remove(&format!("proc/{gone}/ns/net"));
    }
    assert_eq!(fixture.ask(None), (seat(2, 13), nothing()));
    fixture.remove("proc/13/ns/net");
    assert_eq!(fixture.ask(None), (Answer::Unknown, one(Reason::Vanished)));
}

#[test]
fn a_process_inside_that_started_one_outside_of_it_is_no_runtime() {
    let mut fixture = Fixture::new(None, &[8]);
    fixture.all(&[1, 3], 1);
    fixture.nested("/c/in", &[5]);
    fixture.all(&[5, 8], 7);
    fixture.write("proc/8/stat", child(8, 5));
    fixture.write("proc/5/stat", child(5, 3));
    assert_eq!(fixture.ask(None), (seat(7, 8), nothing()));
    fixture.netns(3, "net:[7]");
    assert_eq!(fixture.ask(None), (Answer::Runtimes(7), nothing()));
}

#[test]
fn a_container_is_empty_only_if_those_inside_are_too() {
    let mut fixture = Fixture::new(None, &[]);
    fixture.nested("/c/in", &[]);
    assert_eq!(fixture.ask(None), (Answer::Empty, nothing()));
    fixture.cgroup("c/in", &[0]);
    assert_eq!(fixture.ask(None), (Answer::Unknown, one(Reason::Hidden)));
    fixture.remove("cgroup/c/in");
    fixture.write("cgroup/c/in/cgroup.procs", "x\n");
    assert_eq!(fixture.ask(None), (Answer::Unknown, one(Reason::Malformed)));
}

#[test]
fn the_hosts_network_is_known_by_its_namespace() {
    let fixture = Fixture::new(None, &[8]);
    assert_eq!(fixture.ask(None), (Answer::Unknown, one(Reason::Hidden)));
    assert_eq!(fixture.reader.known_host_netns(), None);
    fixture.all(&[1, 8], 4_026_531_840);
    assert_eq!(fixture.ask(None), (Answer::Host, nothing()));
    assert_eq!(fixture.reader.known_host_netns(), Some(4_026_531_840));
    let netns = counting(|losses| fixture.reader.host_netns(&mut Buffer::default(), losses));
    assert_eq!(netns, (Some(4_026_531_840), nothing()));
}

#[test]
fn a_container_that_is_in_the_network_of_who_started_it_has_none_of_its_own() {
    let fixture = Fixture::new(None, &[8, 9, 10]);
    fixture.all(&[1, 3, 4], 1);
    for pid in [8, 9, 10] {
        fixture.process(pid, 7);
    }
    // Its runtime's child, and that one's child.
    for (pid, parent) in [(10, 9), (9, 8), (8, 3)] {
        fixture.write(&format!("proc/{pid}/stat"), child(pid, parent));
    }
    assert_eq!(fixture.ask(Some(10)), (seat(7, 10), nothing()));
    fixture.netns(3, "net:[7]");
    for hint in [None, Some(9), Some(10)] {
        assert_eq!(fixture.ask(hint), (Answer::Runtimes(7), nothing()), "{hint:?}");
    }
    // Of a runtime that is gone, or can't be seen from here, nothing is known.
    for parent in [0, 77] {
        fixture.write("proc/8/stat", child(8, parent));
        assert_eq!(fixture.ask(None), (seat(7, 8), nothing()));
    }
}

#[test]
fn where_there_is_no_process_there_is_nobody_to_ask() {
    // Not even the host's network need be known.
    assert_eq!(Fixture::new(None, &[]).ask(None), (Answer::Empty, nothing()));
    let gone = Fixture::new(None, &[]);
    gone.remove("cgroup/c");
    assert_eq!(gone.ask(None), (Answer::Empty, one(Reason::Vanished)));
}

#[test]
fn a_list_that_cannot_be_read_is_not_taken_for_an_empty_one() {
    let hidden = Fixture::new(None, &[0]);
    assert_eq!(hidden.ask(None), (Answer::Unknown, one(Reason::Hidden)));
    let refused = Fixture::new(None, &[]);
    refused.forbid("cgroup/c/cgroup.procs");
    assert_eq!(without_rights(|| refused.ask(None)), (Answer::Unknown, one(Reason::Denied)));
}

#[test]
fn lists_that_are_not_trusted_tell_nothing() {
    let make = |places, sysfs: &std::path::Path| NetworkReader::new(places, sysfs.into());
    let fixture = Fixture::made(Some(Reason::Hidden), None, &[8], make);
    fixture.all(&[1, 8], 1);
    assert_eq!(fixture.ask(None), (Answer::Unknown, one(Reason::Hidden)));
    assert_eq!(fixture.devices(1, 8), (None, lost(WHO, Reason::Hidden, 1)));
}

#[test]
fn pids_of_another_namespace_are_not_looked_up() {
    let fixture = Fixture::new(None, &[8]);
    fixture.all(&[1, 8], 1);
    fixture.write("proc/self/status", "Name:\tx\nNSpid:\t812\t1\n");
    assert_eq!(fixture.ask(None), (Answer::Unknown, one(Reason::Hidden)));
}

#[test]
fn the_next_process_is_asked_where_one_has_no_network_any_more() {
    let pids = [11, 12, 13, 14, 15, 16];
    for gone in 1..=6 {
        let fixture = Fixture::new(None, &pids);
        fixture.process(1, 1);
        fixture.all(&pids, 2);
        for pid in &pids[..gone] {
            fixture.remove(&format!("proc/{pid}/ns/net"));
        }
        let expected = if gone < MAX_ASKED {
            (seat(2, pids[gone]), nothing())
        } else {
            (Answer::Unknown, one(Reason::Vanished))
        };
        assert_eq!(fixture.ask(None), expected, "{gone}: a handful at most");
    }
}

#[test]
fn a_race_is_counted_once_although_a_list_was_lost_to_it() {
    let mut fixture = Fixture::new(None, &[8]);
    fixture.nested("/c/in", &[]);
    fixture.remove("cgroup/c/in");
    fixture.all(&[1, 8], 1);
    fixture.remove("proc/8/ns/net");
    assert_eq!(fixture.ask(None), (Answer::Unknown, one(Reason::Vanished)));
    // A fault is news all the same.
    fixture.netns(8, "net:[x]");
    let mut both = one(Reason::Vanished);
    both.count(Collector::Network, Reason::Malformed);
    assert_eq!(fixture.ask(None), (Answer::Unknown, both));
}

#[test]
fn whoever_is_still_listed_and_not_there_is_hidden() {
    let fixture = Fixture::new(None, &[7, 8]);
    fixture.all(&[1, 7], 1);
    fixture.remove("proc/7/ns/net");
    // 7 has ended; of 8 it is asked what has become of it.
    assert_eq!(fixture.ask(None), (Answer::Unknown, one(Reason::Hidden)));
    // A fault that is known says more than one that has to be looked into.
    fixture.netns(7, "net:[x]");
    assert_eq!(fixture.ask(None), (Answer::Unknown, one(Reason::Malformed)));
}

#[test]
fn a_namespace_that_may_not_be_seen_or_makes_no_sense_is_counted_once() {
    let fixture = Fixture::new(None, &[8, 9]);
    fixture.all(&[1, 8, 9], 1);
    fixture.forbid("proc/8/ns");
    fixture.remove("proc/9/ns/net");
    assert_eq!(without_rights(|| fixture.ask(None)), (Answer::Unknown, one(Reason::Denied)));
    fixture.forbid("proc/8");
    assert_eq!(without_rights(|| fixture.ask(None)), (Answer::Unknown, one(Reason::Hidden)));

    for link in ["net:[x]", "net:[1", "mnt:[1]", "net:[99999999999999999999]"] {
        let fixture = Fixture::new(None, &[8]);
        fixture.all(&[1, 8], 1);
        fixture.netns(8, link);
        assert_eq!(fixture.ask(None), (Answer::Unknown, one(Reason::Malformed)), "{link}");
    }
}

#[test]
fn the_log_names_the_process_and_the_file() {
    let fixture = Fixture::new(None, &[8]);
    fixture.all(&[1, 8], 1);
    fixture.netns(8, "net:[x]");
    fixture.process(9, 2);
    fixture.net_dev(9, "odd\n");
    fixture.net_dev(1, "odd\n");
    let said = logged(|| {
        fixture.ask(None);
        fixture.cgroup("c", &[9]);
        fixture.devices(2, 9);
        fixture.host_devices();
    });
    let words = |key: &str| -> Vec<String> {
        let word = |line: &str| Some(line.split_once(key)?.1.split(' ').next()?.to_owned());
        said.lines().filter_map(word).collect()
    };
    assert_eq!(words("file="), ["8/ns/net", "9/net/dev", "1/net/dev"], "{said}");
    assert_eq!(words("collector="), ["network", "process", "process"], "{said}");
}

#[test]
fn where_the_first_process_may_not_be_seen_the_kernels_threads_tell_the_hosts_network() {
    let fixture = Fixture::new(None, &[8]);
    fixture.process(8, 5);
    assert_eq!(fixture.ask(None), (Answer::Unknown, one(Reason::Hidden)));

    fixture.process(1, 5);
    fixture.remove("proc/1/ns/net");
    fixture.process(2, 5);
    assert_eq!(fixture.ask(None), (Answer::Unknown, one(Reason::Vanished)), "2 is anyone");

    fixture.write("proc/2/stat", stat(2).replace(" 4194304 ", " 2129984 "));
    assert_eq!(fixture.ask(None), (Answer::Host, nothing()));
}

#[test]
fn a_process_whose_first_thread_has_ended_is_asked_by_another() {
    let fixture = Fixture::new(None, &[8]);
    fixture.process(1, 1);
    fixture.process(8, 2);
    fixture.remove("proc/8/ns/net");
    fixture.remove("proc/8/net");
    assert_eq!(fixture.ask(None), (Answer::Unknown, one(Reason::Vanished)));

    fixture.write("proc/8/task/8/status", "");
    fixture.write("proc/8/task/11/status", "");
    assert_eq!(fixture.ask(None), (Answer::Unknown, one(Reason::Vanished)));
    fixture.process(12, 2);
    let proc = fixture.root.path().join("proc");
    fs::rename(proc.join("12"), proc.join("8/task/12")).expect("moved");
    assert_eq!(fixture.ask(None), (seat(2, 8), nothing()));
    let (devices, losses) = fixture.devices(2, 8);
    assert_eq!((devices.map(|it| it.len()), losses), (Some(1), nothing()));

    let link = proc.join("8/task/12/ns/net");
    fs::remove_file(&link).expect("removed");
    symlink("net:[x]", &link).expect("linked");
    assert_eq!(fixture.ask(None), (Answer::Unknown, one(Reason::Malformed)));
}
