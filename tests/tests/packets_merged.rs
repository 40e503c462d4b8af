//! A cable's end that merges what it gets (GRO): fewer packets than `net/dev` counts, and the
//! audit says why.

use std::{net::Ipv4Addr, time::Duration};

use slicemeter_tests::{
    daemon::Daemon,
    dockerd::Dockerd,
    host::require_docker,
    interfaces::told_of,
    metrics::Exposition,
    netns::Netns,
    traffic::{bulk, ping},
    wait,
};

/// The daemon compares every ten seconds, from its second look on.
const CHECKS_LIMIT: Duration = Duration::from_secs(45);

const QUIET_LIMIT: Duration = Duration::from_secs(20);

const BULK_BYTES: usize = 8 << 20;

/// For tests of networks (RFC 2544): no one else's.
const NEAR: Ipv4Addr = Ipv4Addr::new(198, 18, 9, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(198, 18, 9, 2);

/// Bytes of the headers that a packet loses when it is merged, at least and at most: IPv4 and
/// TCP, without and with all options.
const HEADERS: [u64; 2] = [20 + 20, 60 + 60];

/// Those of Ethernet, which the kernel leaves out where it polls a cable's end.
const ETHERNET_BYTES: u64 = 14;

fn checks(scrape: &Exposition, verdict: &str, reason: &str) -> u64 {
    let labels = [("check", "packets"), ("verdict", verdict), ("reason", reason)];
    scrape.count("slicemeter_audit_checks_total", &labels)
}

/// A cable from one network to another, whose far end merges and whose near one sends packets
/// as small as they are on a wire.
fn merging_cable(near: &Netns, far: &Netns) {
    let pid = far.pid().to_string();
    near.run(&[
        "ip", "link", "add", "wire0", "type", "veth", "peer", "name", "eth0", "netns", &pid,
    ]);
    near.run(&["ethtool", "-K", "wire0", "tso", "off", "gso", "off"]);
    far.run(&["ethtool", "-K", "eth0", "gro", "on"]);
    for (netns, name, address) in [(near, "wire0", NEAR), (far, "eth0", FAR)] {
        netns.run(&["ip", "address", "add", &format!("{address}/24"), "dev", name]);
        netns.run(&["ip", "link", "set", name, "up"]);
    }
}

#[test]
fn merged_packets_are_fewer_and_the_audit_says_why() {
    if !require_docker() {
        return;
    }
    let docker = Dockerd::bridged();
    let daemon = Daemon::start(&docker.host(), &[]);
    docker.run("merging", &["--network", "none"], &["sleep", "600"]);
    let far = docker.netns_of("merging");
    merging_cable(docker.netns(), &far);
    ping(docker.netns(), FAR, 56);
    // What was sent agrees; it is compared from the second look on.
    daemon.scrape_until("a comparison", CHECKS_LIMIT, |scrape| checks(scrape, "agree", "") >= 1);
    bulk(docker.netns(), (&far, FAR), BULK_BYTES);
    let (ours, kernels) = wait::until("a moment of silence", QUIET_LIMIT, || {
        let before = far.devices()["eth0"].traffic;
        let ours = told_of(&daemon.scrape(), "merging", "eth0")?;
        (before == far.devices()["eth0"].traffic).then_some((ours, before))
    });
    println!("ours {ours:?}, net/dev {kernels:?}");
    let merged = kernels.rx_packets.checked_sub(ours.rx_packets).expect("not more than there were");
    let received = ours.rx_bytes - ETHERNET_BYTES * ours.rx_packets;
    let headers = kernels.rx_bytes.checked_sub(received).expect("not more than there were");
    assert!(merged > kernels.rx_packets / 4, "many are merged: {merged}");
    let [least, most] = HEADERS.map(|bytes| merged * bytes);
    assert!((least..=most).contains(&headers), "{headers} bytes for {merged} packets");
    daemon.scrape_until("the reason", CHECKS_LIMIT, |scrape| {
        checks(scrape, "unknown", "merged") >= 1
    });
    assert_eq!(checks(&daemon.scrape(), "drift", ""), 0);
    daemon.stop();
}
