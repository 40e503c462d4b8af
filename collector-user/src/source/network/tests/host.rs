//! Which of the host's interfaces are devices.

use std::{fs, os::unix::fs::symlink};

use super::*;
use crate::source::fixture::{device, interface};

fn host_device(name: &str, number: u64, is_physical: bool) -> HostDevice {
    HostDevice { device: device(name, number), is_physical }
}

fn lines(of: &[(&str, u64)]) -> String {
    of.iter().map(|(name, number)| interface(name, *number)).collect()
}

#[test]
fn devices_are_told_from_what_is_behind_or_before_them() {
    let fixture = Fixture::new(None, &[]);
    fixture.process(1, 1);
    fixture.net_dev(1, &lines(&[("lo", 1000), ("eth0", 10), ("veth12ab", 500), ("gone", 7)]));
    for name in ["lo", "eth0", "veth12ab"] {
        fixture.write(&format!("sys/class/net/{name}/mtu"), "1500\n");
    }
    let directory = fixture.root.path().join("sys/class/net/eth0");
    symlink("../../../devices/virtio1", directory.join("device")).expect("linked");
    let told = vec![
        host_device("lo", 1000, false),
        host_device("eth0", 10, true),
        host_device("veth12ab", 500, false),
        host_device("gone", 7, false),
    ];
    assert_eq!(fixture.host_devices(), (Some(told), nothing()));
}

#[test]
fn all_are_told_or_none_and_the_loss_is_counted_once() {
    let fixture = Fixture::new(None, &[]);
    fixture.process(1, 1);
    let one = |reason| (None, lost(WHO, reason, 1));
    fixture.write("sys/class/net/eth0/mtu", "1500\n");
    fixture.net_dev(1, &format!("{} wlan0: 1 2\n", interface("eth0", 10)));
    assert_eq!(fixture.host_devices(), one(Reason::Malformed));
    let long = "x".repeat(300);
    fixture.net_dev(1, &lines(&[("eth0", 10), (&long, 1), (&long, 2)]));
    assert_eq!(fixture.host_devices(), one(Reason::Failed), "ENAMETOOLONG");
    fixture.net_dev(1, &interface("eth0", 10));
    fixture.remove("sys/class");
    assert_eq!(fixture.host_devices(), one(Reason::Failed));
    fixture.remove("proc/1");
    assert_eq!(fixture.host_devices(), one(Reason::Hidden));
    fixture.remove("proc");
    assert_eq!(fixture.host_devices(), one(Reason::Failed));
}

#[test]
fn a_device_behind_another_device_counts_once() {
    let fixture = Fixture::new(None, &[]);
    fixture.process(1, 1);
    // Two of Azure's, which share a name to the outside; a bond with two devices below it.
    let all = [
        ("eth0", true, None),
        ("vf", true, Some("eth0")),
        ("bond0", false, None),
        ("eth1", true, Some("bond0")),
        ("eth2", true, Some("bond0")),
    ];
    fixture.net_dev(1, &all.map(|(name, ..)| interface(name, 1)).concat());
    for (name, is_device, master) in all {
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
    let (told, losses) = fixture.host_devices();
    let physical = |it: HostDevice| it.is_physical.then(|| it.device.name.to_string());
    let names: Vec<_> = told.into_iter().flatten().filter_map(physical).collect();
    assert_eq!((names, losses), (["eth0", "eth1", "eth2"].map(String::from).to_vec(), nothing()));
}
