//! Networks that several share: told once, and under whom; and the host's, by sockets.

use std::{net::Ipv4Addr, time::Duration};

use slicemeter::model::network::Traffic;
use slicemeter_tests::{
    collectors::faults,
    daemon::Daemon,
    dockerd::Dockerd,
    host::{Need, ready, require_docker},
    interfaces::{CONTAINER, Interface, SOCKETS, assert_exact, told, told_of},
    metrics::Exposition,
    netns::Netns,
    packets::assert_same,
    wait,
};

/// Each network's processes are asked at least every ten seconds.
const SEEN_LIMIT: Duration = Duration::from_secs(15);

const NEAR: Ipv4Addr = Ipv4Addr::new(198, 18, 3, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(198, 18, 3, 2);

/// IPv4 and UDP.
const HEADER_BYTES: u64 = 28;

const SLEEP: [&str; 2] = ["sleep", "600"];

/// Which network the daemon says a container to use, and whose.
fn network<'a>(scrape: &'a Exposition, container: &str) -> Option<[&'a str; 2]> {
    let [network, owner, ..] = info(scrape, container)?;
    Some([network, owner])
}

/// The same, with the owner's `id` and its own.
fn info<'a>(scrape: &'a Exposition, container: &str) -> Option<[&'a str; 4]> {
    let all = scrape.all("container_network_info");
    let mut its = all.filter(|sample| sample.labels["name"] == container);
    let (found, second) = (its.next()?, its.next());
    assert_eq!(second, None, "{container} uses one");
    let label = |name| found.labels.get(name).map_or("", String::as_str);
    Some(["network", "owner", "owner_id", "id"].map(label))
}

fn not_charged(scrape: &Exposition, reason: &str) -> u64 {
    scrape.count("slicemeter_networks_not_charged", &[("reason", reason)])
}

#[test]
fn a_shared_network_is_told_under_its_owner_and_then_under_its_heir() {
    if !require_docker() {
        return;
    }
    let docker = Dockerd::start();
    let daemon = Daemon::start(&docker.host(), &[]);
    docker.run("owner", &["--network", "none"], &SLEEP);
    docker.run("heir", &["--network", "container:owner"], &SLEEP);
    // An engine takes what it made itself away with the owner: a cable of ours stays.
    let (shared, far) = (docker.netns_of("heir"), Netns::new());
    Netns::connect([(&shared, "wan0", NEAR), (&far, "wan0", FAR)]);
    let target = FAR.to_string();
    let ping_from = |container: &str, count: &str| {
        let words = ["/bin/busybox", "ping", "-q", "-c", count, "-i", "0.05", &target];
        docker.exec_to_end(container, &words);
    };
    ping_from("owner", "7");
    ping_from("heir", "11");
    let wan = |container| Interface { container, netns: &shared, name: "wan0" };
    let before = assert_exact(&daemon, [wan("owner")], "both, under the owner");
    assert!(before.ours[0].tx_packets >= 18, "each one's pings: {:?}", before.ours);
    assert_eq!(told(&before.scrape, CONTAINER, &[("name", "heir")]), None, "it is told once");
    assert_eq!(network(&before.scrape, "owner"), Some(["own", ""]));
    assert_eq!(network(&before.scrape, "heir"), Some(["shared", "owner"]));
    let [owner, heir] = ["owner", "heir"].map(|name| info(&before.scrape, name).expect("it runs"));
    assert_eq!(heir[2], owner[3], "its owner's id");
    assert!(not_charged(&before.scrape, "shared") >= 1);

    docker.remove("owner");
    let inherited =
        daemon.scrape_until("an heir", SEEN_LIMIT, |it| network(it, "heir") == Some(["own", ""]));
    let at_once = told_of(&inherited, "heir", "wan0").unwrap_or_default();
    assert!(at_once.tx_packets < 18, "what went before is not the heir's: {at_once:?}");
    ping_from("heir", "13");

    // The owner's totals stay while its series do: both together are what the kernel has.
    let (owner, heir, kernels) = wait::until("a moment of silence", SEEN_LIMIT, || {
        let kernels = shared.devices()["wan0"].traffic;
        let scrape = daemon.scrape();
        let told = |container| told_of(&scrape, container, "wan0");
        (shared.devices()["wan0"].traffic == kernels
            && told("heir").is_some_and(|it| it.tx_packets >= 13 && it.rx_packets >= 13))
        .then(|| (told("owner").expect("its end is told"), told("heir"), kernels))
    });
    let heir = heir.expect("it is told");
    println!("owner {owner:?}, heir {heir:?}");
    assert!(owner.tx_packets >= before.ours[0].tx_packets, "it never goes back: {owner:?}");
    assert!(heir.tx_packets < 18 + 13, "from its own first packet on: {heir:?}");
    assert_same("owner and heir together", owner.plus(heir), kernels);
    assert_eq!(faults(&daemon.scrape()), [""; 0]);
    daemon.stop();
}

#[test]
fn in_the_hosts_network_each_has_what_its_own_sockets_sent_and_received() {
    if !ready(&[Need::Kernel, Need::Docker, Need::Unified]) {
        return;
    }
    let docker = Dockerd::start();
    let daemon = Daemon::start(&docker.host(), &["--collector.network.sockets"]);
    // Addresses of the host's loop that nobody else uses.
    let [one, two] = ["127.18.4.1:9104", "127.18.4.2:9104"];
    for (name, address) in [("one", one), ("two", two)] {
        docker.run(name, &["--network", "host"], &["bind", address, "600"]);
    }
    let is_known = |scrape: &Exposition| {
        ["one", "two"].iter().all(|name| network(scrape, name) == Some(["host", ""]))
    };
    let scrape = daemon.scrape_until("both in the host's network", SEEN_LIMIT, is_known);
    // Others' containers may be in it, too, and come and go.
    assert!(not_charged(&scrape, "host") >= 2);

    let (by_one, by_two) = ((300_u64, 500_u64), (70_u64, 1_200_u64));
    for (name, to, (packets, bytes)) in [("one", two, by_one), ("two", one, by_two)] {
        let [packets, bytes] = [packets, bytes].map(|number| number.to_string());
        docker.exec_to_end(name, &["/bin/workload", "send", to, &packets, &bytes]);
    }
    let expected =
        |(sent, sent_bytes): (u64, u64), (received, received_bytes): (u64, u64)| Traffic {
            rx_bytes: received * (received_bytes + HEADER_BYTES),
            rx_packets: received,
            tx_bytes: sent * (sent_bytes + HEADER_BYTES),
            tx_packets: sent,
        };
    // What is sent to the loop has arrived when the sender goes on: no need to wait.
    let scrape = daemon.scrape();
    let by_sockets = |name| told(&scrape, SOCKETS, &[("name", name)]);
    assert_eq!(by_sockets("one"), Some(expected(by_one, by_two)));
    assert_eq!(by_sockets("two"), Some(expected(by_two, by_one)));
    for name in ["one", "two"] {
        let copied = told(&scrape, CONTAINER, &[("name", name)]);
        assert_eq!(copied, None, "the host's interfaces are not {name}'s");
    }
    let host = told(&scrape, CONTAINER, &[("id", "/")]);
    println!("the host's own: {host:?}");
    assert_eq!(told(&scrape, CONTAINER, &[("id", "/"), ("interface", "lo")]), None);
    assert_eq!(faults(&scrape), [""; 0]);
    daemon.stop();
}
