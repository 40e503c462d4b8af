//! Which interfaces are told, from which source, and whose network each is.

use super::*;
use crate::model::network::{Choice, HostDevice, InterfaceView, Link, Role};

const COUNTED: [&str; 4] = [
    "container_network_receive_bytes_total",
    "container_network_receive_packets_total",
    "container_network_transmit_bytes_total",
    "container_network_transmit_packets_total",
];

const OF_NET_DEV: [&str; 4] = [
    "container_network_receive_errors_total",
    "container_network_receive_packets_dropped_total",
    "container_network_transmit_errors_total",
    "container_network_transmit_packets_dropped_total",
];

fn told(snapshot: Snapshot, readings: Readings) -> Vec<Sample> {
    let parts = Parts { readings, ..fixture::scrape(Snapshot::default()).parts };
    samples(&rendered(Scrape::new(Parts { snapshot: Arc::new(snapshot), ..parts }), Format::Text))
}

/// The values of an interface under these names; none where there is no series.
fn of(told: &[Sample], names: [&str; 4], id: &str, interface: &str) -> [Option<f64>; 4] {
    names.map(|name| {
        let is_it = |it: &&Sample| {
            it.name == name && it.labels["id"] == id && it.labels["interface"] == interface
        };
        told.iter().find(is_it).map(|it| it.value)
    })
}

fn traffic(scale: u64) -> [Option<f64>; 4] {
    let Traffic { rx_bytes, rx_packets, tx_bytes, tx_packets } = fixture::traffic(scale);
    [rx_bytes, rx_packets, tx_bytes, tx_packets].map(|value| Some(value as f64))
}

fn troubles(scale: u64) -> [Option<f64>; 4] {
    [1, 10, 100, 1_000].map(|times| Some((times * scale) as f64))
}

fn a() -> String {
    fixture::snapshot().containers[0].path.to_string()
}

#[test]
fn each_source_tells_what_it_knows_of_an_interface() {
    let told = told(fixture::snapshot(), fixture::readings());
    let counted = |interface| of(&told, COUNTED, &a(), interface);
    let of_net_dev = |interface| of(&told, OF_NET_DEV, &a(), interface);
    assert_eq!(counted("eth0"), traffic(3), "as the programs counted");
    assert_eq!(of_net_dev("eth0"), troubles(30));
    assert_eq!(counted("mac0"), traffic(7));
    assert_eq!(counted("old0"), [None; 4], "what it carried before is not known");
    assert_eq!(of_net_dev("old0"), troubles(1));
    assert_eq!(counted("new0"), [Some(0.0); 4], "nothing can have been missed");
    assert_eq!(of_net_dev("new0"), troubles(0));
    let ended = fixture::snapshot().containers[1].path.to_string();
    assert_eq!(of(&told, COUNTED, &ended, "eth0"), traffic(2), "it has ended");
    assert_eq!(of(&told, OF_NET_DEV, &ended, "eth0"), [None; 4], "files have gone");
}

#[test]
fn what_is_stacked_receives_what_net_dev_says() {
    let mut readings = fixture::readings();
    let devices = readings.devices.values_mut().next().expect("one");
    *devices = vec![fixture::device("mac0", 20)];
    let [sent, received] = [traffic(7), traffic(20)];
    let expected = [received[0], received[1], sent[2], sent[3]];
    let both = told(fixture::snapshot(), readings.clone());
    assert_eq!(of(&both, COUNTED, &a(), "mac0"), expected);
    readings.devices.clear();
    let alone = told(fixture::snapshot(), readings);
    assert_eq!(of(&alone, COUNTED, &a(), "mac0"), [None, None, sent[2], sent[3]]);
}

#[test]
fn the_loop_and_the_hosts_virtual_interfaces_are_told_by_choice() {
    for (loopback, host_virtual) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut snapshot = fixture::snapshot();
        snapshot.network.choice = Choice { loopback, host_virtual };
        let told = told(snapshot, fixture::readings());
        let is_there = |id: &str, name| {
            let counted = of(&told, COUNTED, id, name).iter().any(Option::is_some);
            let of_net_dev = of(&told, OF_NET_DEV, id, name).iter().any(Option::is_some);
            (counted, of_net_dev)
        };
        assert_eq!(is_there(&a(), "lo"), (loopback, loopback));
        assert_eq!(is_there("/", "lo"), (false, loopback), "no packet of it was seen");
        assert_eq!(is_there("/", "docker0"), (host_virtual, host_virtual));
        assert_eq!(is_there("/", "enp1s0"), (true, true));
        assert_eq!(of(&told, COUNTED, "/", "enp1s0"), traffic(80));
        assert_eq!(of(&told, OF_NET_DEV, "/", "enp1s0"), troubles(100));
    }
}

/// A radio has a kind of link, and a device; a function behind another has none of its own.
#[test]
fn which_interface_of_the_host_is_physical_sysfs_knows_better() {
    let mut snapshot = fixture::snapshot();
    snapshot.network.host = vec![
        fixture::interface("behind0", Link::Physical, 1),
        fixture::interface("wlan0", Link::Virtual, 1),
    ];
    let mut readings = fixture::readings();
    readings.host_devices = Some(vec![
        HostDevice { device: fixture::device("behind0", 1), is_physical: false },
        HostDevice { device: fixture::device("wlan0", 1), is_physical: true },
    ]);
    let read = told(snapshot.clone(), readings.clone());
    assert_eq!(of(&read, COUNTED, "/", "wlan0"), traffic(1));
    assert_eq!(of(&read, COUNTED, "/", "behind0"), [None; 4]);
    readings.host_devices = None;
    let unread = told(snapshot, readings);
    assert_eq!(of(&unread, COUNTED, "/", "wlan0"), [None; 4], "the kind of link is all there is");
    assert_eq!(of(&unread, COUNTED, "/", "behind0"), traffic(1));
}

/// A part of the overflow: a zero would look as if nothing had crossed it.
#[test]
fn an_interface_without_a_slot_has_no_counts() {
    let mut snapshot = fixture::snapshot();
    let slotless = |name: &str, link| InterfaceView { name: name.into(), link, traffic: None };
    snapshot.network.choice = Choice { loopback: true, host_virtual: true };
    snapshot.network.host =
        vec![slotless("enp1s0", Link::Physical), slotless("docker0", Link::Bridge)];
    snapshot.containers[0].interfaces = vec![
        slotless("eth0", Link::Veth),
        slotless("lo", Link::Loopback),
        slotless("mac0", Link::Stacked),
        slotless("new0", Link::Veth),
    ];
    let told = told(snapshot, fixture::readings());
    for (name, scale) in [("eth0", 30), ("lo", 5), ("mac0", 7), ("new0", 0)] {
        assert_eq!(of(&told, COUNTED, &a(), name), [None; 4], "{name}");
        assert_eq!(of(&told, OF_NET_DEV, &a(), name), troubles(scale), "{name}");
    }
    for (name, scale) in [("enp1s0", 100), ("docker0", 60)] {
        assert_eq!(of(&told, COUNTED, "/", name), [None; 4], "{name}");
        assert_eq!(of(&told, OF_NET_DEV, "/", name), troubles(scale), "{name}");
    }
}

#[test]
fn a_host_whose_network_is_not_known_has_no_counts() {
    let mut snapshot = fixture::snapshot();
    snapshot.network.knows_host = false;
    snapshot.network.host.clear();
    let told = told(snapshot, fixture::readings());
    assert_eq!(of(&told, COUNTED, "/", "enp1s0"), [None; 4], "they are unattributed");
    assert_eq!(of(&told, OF_NET_DEV, "/", "enp1s0"), troubles(100));
    assert_eq!(of(&told, COUNTED, &a(), "eth0"), traffic(3), "others are known");
}

#[test]
fn what_is_not_counted_has_no_series() {
    let mut snapshot = fixture::snapshot();
    snapshot.network.counts_interfaces = false;
    snapshot.network.counts_sockets = false;
    let told = told(snapshot, fixture::readings());
    for it in &told {
        let name = it.name.as_str();
        let is_counted = COUNTED.contains(&name)
            || name.contains("_network_socket_")
            || name.starts_with("container_exited_network_")
            || name.starts_with("slicemeter_network_")
            || name.starts_with("slicemeter_audit_")
            || name.contains("_unattributed_network_")
            || name.contains("_overflow_network_");
        assert!(!is_counted, "{it:?}: a zero would be a lie");
    }
    assert_eq!(of(&told, OF_NET_DEV, &a(), "eth0"), troubles(30), "files tell all the same");
    assert!(told.iter().any(|it| it.name == "container_network_info"));
}

#[test]
fn names_that_look_the_same_are_told_once() {
    let mut snapshot = fixture::snapshot();
    snapshot.containers[0].interfaces = vec![fixture::interface("\u{fffd}", Link::Virtual, 1); 2];
    let mut readings = fixture::readings();
    let devices = readings.devices.values_mut().next().expect("one");
    *devices = vec![fixture::device("\u{fffd}", 2), fixture::device("\u{fffd}", 3)];
    let told = told(snapshot, readings);
    let of_it = |name| told.iter().filter(move |it| it.name == name && it.labels["id"] == a());
    for name in COUNTED.into_iter().chain(OF_NET_DEV) {
        assert_eq!(of_it(name).count(), 1, "{name}");
    }
    assert_eq!(of(&told, OF_NET_DEV, &a(), "\u{fffd}"), troubles(2), "the first stays");
}

#[test]
fn containers_say_whose_network_they_use() {
    let mut snapshot = fixture::snapshot();
    let first = snapshot.containers[0].clone();
    let gone = Role::Shared { owner: "/gone".into() };
    for (name, role) in [
        ("/host", Some(Role::Host)),
        ("/orphan", Some(gone)),
        ("/mute", Some(Role::Unknown)),
        ("/unread", first.role.clone()),
        ("/empty", Some(Role::Empty)),
        ("/runtimes", Some(Role::Runtimes)),
        ("/unasked", None),
    ] {
        let id = ContainerId::new(name);
        snapshot.containers.push(ContainerView {
            path: name.into(),
            id,
            role,
            interfaces: Vec::new(),
            ..first.clone()
        });
    }
    let told = told(snapshot, fixture::readings());
    let info = |id: &str| {
        let mut found =
            told.iter().filter(|it| it.name == "container_network_info" && it.labels["id"] == id);
        let labels = ["network", "owner", "owner_id"];
        let one = found.next().map(|it| labels.map(|label| it.labels[label].clone()));
        assert!(found.next().is_none(), "{id} once");
        one
    };
    let said = |network: &str, owner: &str, id: &str| Some([network, owner, id].map(str::to_owned));
    assert_eq!(info(&a()), said("own", "", ""));
    assert_eq!(info(&a().replace('a', "c")), said("shared", "shop-web-1", &a()));
    assert_eq!(info("/orphan"), said("shared", "", "/gone"), "whose series have ended");
    for (id, network) in
        [("/host", "host"), ("/mute", "unknown"), ("/empty", "empty"), ("/runtimes", "runtime")]
    {
        assert_eq!(info(id), said(network, "", ""), "{id}");
    }
    assert_eq!(info("/unasked"), None);
    for (reason, count) in
        [("host", 1.0), ("runtime", 1.0), ("shared", 2.0), ("unknown", 3.0), ("empty", 1.0)]
    {
        let found = told.iter().find(|it| {
            it.name == "slicemeter_networks_not_charged" && it.labels["reason"] == reason
        });
        assert_eq!(found.map(|it| it.value), Some(count), "{reason}");
    }
    let gauges = told.iter().filter(|it| it.name == "node_container_net_rxbytes").count();
    assert_eq!(gauges, 2, "the host's, the first's");
}

#[test]
fn what_the_kernel_can_not_do_is_said_once_in_any_case() {
    let snapshot = Snapshot {
        degraded: ["it\\ \"x\"\n".to_owned(), "it\\ \"x\"\n".to_owned()].into(),
        ..Snapshot::default()
    };
    let parts = Parts { collectors: Collectors::NONE, ..fixture::scrape(snapshot).parts };
    let text = rendered(Scrape::new(parts), Format::Text);
    let lines: Vec<_> = text.lines().filter(|it| it.starts_with("slicemeter_degraded{")).collect();
    assert_eq!(lines, [r#"slicemeter_degraded{what="it\\ \"x\"\n"} 1"#]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the two sources say: no series twice, and each name as it was given.
    #[test]
    fn any_interfaces_make_each_series_once(
        views in prop::collection::vec(("[\\PC\"\\\\]{1,3}|lo|eth[01]", 0_usize..5), 0..6),
        devices in prop::collection::vec(("[\\PC\"\\\\]{1,3}|lo|eth[01]", 0_u64..2), 0..6),
        loopback: bool,
        host_virtual: bool,
    ) {
        let links =
            [Link::Loopback, Link::Physical, Link::Bridge, Link::Stacked, Link::Veth];
        let views: Vec<InterfaceView> =
            views.iter().map(|(name, link)| fixture::interface(name, links[*link], 1)).collect();
        let devices: Vec<_> =
            devices.iter().map(|(name, scale)| fixture::device(name, *scale)).collect();
        let mut snapshot = fixture::snapshot();
        snapshot.network.choice = Choice { loopback, host_virtual };
        snapshot.network.host.clone_from(&views);
        snapshot.containers[0].interfaces.clone_from(&views);
        let mut readings = fixture::readings();
        let of_host = |device: &Device| HostDevice {
            device: device.clone(),
            is_physical: device.rx_errors == 0,
        };
        readings.host_devices = Some(devices.iter().map(of_host).collect());
        readings.devices.insert(a().as_str().into(), devices.clone());
        let told = told(snapshot, readings);
        let known: BTreeSet<&str> =
            views.iter().map(|it| &*it.name).chain(devices.iter().map(|it| &*it.name)).collect();
        let mut seen = BTreeSet::new();
        for it in told.iter().filter(|it| it.labels.contains_key("interface")) {
            prop_assert!(seen.insert((&it.name, &it.labels)), "{:?} twice", it);
            let of_ended = it.labels["id"] != a() && it.labels["id"] != "/";
            prop_assert!(of_ended || known.contains(&*it.labels["interface"]), "{:?}", it);
        }
    }
}
