//! The `/proc` of the machine that the tests run on.

use std::{fs, path::Path, process::Command};

use super::*;

#[test]
fn whoever_shares_the_hosts_network_is_told_so() {
    let own = fs::read_link("/proc/self/ns/net").expect("one's own");
    let pid = std::process::id();
    let fixture = Fixture::new(Some("/proc"), &[pid]);
    let (answer, losses) = fixture.ask(None);
    // Where even root may not look at the first process, the second is the kernel's.
    let hosts =
        ["1", "2"].map(|pid| fs::read_link(Path::new("/proc").join(pid).join("ns/net")).ok());
    match answer {
        Answer::Host => assert!(hosts.contains(&Some(own)), "{hosts:?}"),
        Answer::In(seat) => {
            assert_eq!(own.to_str(), Some(format!("net:[{}]", seat.netns).as_str()));
            assert_eq!(seat.pid, pid);
            assert_ne!(hosts[0], Some(own));
        }
        Answer::Runtimes(netns) => {
            assert_eq!(own.to_str(), Some(format!("net:[{netns}]").as_str()));
            assert_ne!(hosts[0], Some(own));
        }
        Answer::Empty | Answer::Unknown => {
            assert_eq!((answer, &hosts[0]), (Answer::Unknown, &None));
            assert_eq!(losses, lost(Collector::Network, Reason::Denied, 1));
        }
    }
}

#[test]
fn ones_own_interfaces_are_told_while_one_is_in_that_network() {
    let own = fs::read_link("/proc/self/ns/net").expect("one's own");
    let netns = own.to_str().and_then(|it| it.strip_prefix("net:[")?.strip_suffix(']'));
    let netns: u64 = netns.and_then(|it| it.parse().ok()).expect("a number");
    let pid = std::process::id();
    let fixture = Fixture::new(Some("/proc"), &[pid]);
    let (devices, losses) = fixture.devices(netns, pid);
    assert!(devices.expect("told").iter().any(Device::is_loopback));
    assert_eq!(losses, nothing());
    assert_eq!(fixture.devices(netns + 1, pid), (None, lost(WHO, Reason::Vanished, 1)));
}

#[test]
fn a_zombie_has_left_its_network_which_is_no_fault() {
    let mut child = Command::new("/bin/true").spawn().expect("it runs");
    let pid = child.id();
    while !fs::read_to_string(format!("/proc/{pid}/stat")).expect("there").contains(") Z ") {
        std::thread::yield_now();
    }
    let fixture = Fixture::new(Some("/proc"), &[pid]);
    let told = fixture.devices(1, pid);
    child.wait().expect("it ends");
    assert_eq!(told, (None, lost(WHO, Reason::Vanished, 1)));
}
