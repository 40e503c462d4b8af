//! Containers' networks: sums over interfaces, each network told once, the host's never.

use std::{net::Ipv4Addr, time::Duration};

use slicemeter::model::network::Traffic;
use slicemeter_tests::{
    collectors::faults,
    daemon::Daemon,
    dockerd::{Container, Dockerd},
    host::require_docker,
    metrics::{Exposition, whole},
    netns::Netns,
    procfs::traffic,
    traffic::send,
    wait,
};

const SEEN_LIMIT: Duration = Duration::from_secs(5);

/// Series, and what their label `type` says: of what is received, and of what is sent.
const SERIES: [(&str, &str); 4] = [
    ("node_container_net_rxbytes", "rx_bytes"),
    ("node_container_net_rxpackets", "rx_packets"),
    ("node_container_net_txbytes", "tx_bytes"),
    ("node_container_net_txpackets", "tx_packets"),
];

const PACKETS: u32 = 400;
const PACKET_BYTES: u32 = 1_000;

fn told(scrape: &Exposition, container: &Container) -> Option<Traffic> {
    let labels = |kind| [("id", &*container.id), ("name", &*container.name), ("type", kind)];
    let values = SERIES.map(|(name, kind)| scrape.get(name, &labels(kind)));
    let some: Vec<f64> = values.iter().flatten().copied().collect();
    assert!(some.is_empty() || some.len() == 4, "{}: {values:?}", container.name);
    let [rx_bytes, rx_packets, tx_bytes, tx_packets] = some.try_into().ok()?;
    let [rx_bytes, rx_packets, tx_bytes, tx_packets] =
        [rx_bytes, rx_packets, tx_bytes, tx_packets].map(whole);
    Some(Traffic { rx_bytes, rx_packets, tx_bytes, tx_packets })
}

fn not_charged(scrape: &Exposition, reason: &str) -> f64 {
    scrape.value("slicemeter_networks_not_charged", &[("reason", reason)])
}

#[test]
fn a_networks_traffic_is_the_sum_over_its_interfaces_told_once() {
    if !require_docker() {
        return;
    }
    let docker = Dockerd::start();
    let daemon = Daemon::start(&docker.host(), &[]);
    let sleeper = ["sleep", "600"];
    let left = docker.run("left", &[], &sleeper);
    let right = docker.run("right", &[], &sleeper);
    let joined = docker.run("joined", &["--network", "container:left"], &sleeper);
    let lonely = docker.run("lonely", &[], &sleeper);
    daemon.scrape_until("all of them", SEEN_LIMIT, |scrape| told(scrape, &lonely).is_some());
    let shared_before = not_charged(&daemon.scrape(), "shared");
    assert!(shared_before >= 1.0, "the one that joined: {shared_before}");

    let pids = [docker.pid("left"), docker.pid("right")];
    let [left_netns, right_netns] = pids.map(Netns::of);
    for (number, name) in [(1, "eth0"), (2, "wan7")] {
        // For tests of networks (RFC 2544): no one else's.
        let [left, right] = [1, 2].map(|host| Ipv4Addr::new(198, 18, number, host));
        Netns::connect([(&left_netns, name, left), (&right_netns, name, right)]);
        send(&left_netns, right, PACKETS, PACKET_BYTES);
        send(&right_netns, left, PACKETS / 2, PACKET_BYTES);
    }
    // Not the container's: sent and received on its `lo`.
    send(&left_netns, Ipv4Addr::LOCALHOST, PACKETS, PACKET_BYTES);
    for (container, pid, sent) in [(&left, pids[0], PACKETS), (&right, pids[1], PACKETS / 2)] {
        let name = &container.name;
        let (ours, kernel) = wait::until("a moment of silence", SEEN_LIMIT, || {
            let (before, scrape, after) = (traffic(pid), daemon.scrape(), traffic(pid));
            let ours = told(&scrape, container).unwrap_or_else(|| panic!("{name} isn't told"));
            (before == after).then_some((ours, before))
        });
        println!("{name}: received and sent {kernel:?}");
        assert_eq!(ours, kernel, "{name}");
        let least = u64::from(2 * sent * PACKET_BYTES);
        assert!(kernel.tx_bytes > least, "{name} has sent through both: {kernel:?}");
    }
    let scrape = daemon.scrape();
    assert_eq!(told(&scrape, &joined), None, "its traffic is told of the one that it joined");
    assert_eq!(
        told(&scrape, &lonely),
        Some(Traffic::default()),
        "a network with `lo` alone is silent"
    );
    let most = u64::from(4 * PACKETS * PACKET_BYTES);
    assert!(told(&scrape, &left).is_some_and(|ours| ours.tx_bytes < most), "without its `lo`");
    assert_eq!(faults(&scrape), [""; 0]);

    // Whoever joined goes on with it when the other has gone.
    docker.remove("left");
    daemon.scrape_until("its heir", SEEN_LIMIT, |scrape| told(scrape, &joined).is_some());
    daemon.stop();
}

#[test]
fn the_hosts_network_is_charged_to_no_container() {
    if !require_docker() {
        return;
    }
    let docker = Dockerd::start();
    let daemon = Daemon::start(&docker.host(), &[]);
    let alone = docker.run("alone", &[], &["sleep", "600"]);
    daemon.scrape_until("the other", SEEN_LIMIT, |scrape| told(scrape, &alone).is_some());
    let before = not_charged(&daemon.scrape(), "host");
    let open = docker.run("open", &["--network", "host"], &["sleep", "600"]);
    let scrape = daemon.scrape_until("the container", SEEN_LIMIT, |scrape| {
        let labels = [("id", &*open.id), ("name", "open")];
        scrape.select("node_container_cpu_utime", &labels).count() == 1
    });
    assert_eq!(told(&scrape, &open), None);
    let host = not_charged(&scrape, "host");
    assert!((host - before - 1.0).abs() < 1e-9, "it is counted: {before}, then {host}");
    let own: Vec<_> = SERIES.iter().map(|(name, _)| scrape.get(name, &[("id", "/")])).collect();
    println!("the host's own interfaces: {own:?}");
    assert!(own.iter().all(Option::is_some), "what is told instead");
    assert_eq!(faults(&scrape), [""; 0]);
    daemon.stop();
}
