//! Interfaces that come, go and change their names, and those told by choice only.

use std::{net::Ipv4Addr, process, time::Duration};

use slicemeter::model::network::Traffic;
use slicemeter_tests::{
    collectors::faults,
    daemon::Daemon,
    dockerd::Dockerd,
    host::{Need, ready, require_docker, require_kernel},
    interfaces::{CONTAINER, Interface, assert_exact, told, told_of},
    metrics::Monotone,
    netns::Netns,
    packets::assert_same,
    procfs,
    traffic::{ping, send},
    wait,
};

/// Each network's interfaces are asked for at least every ten seconds.
const SEEN_LIMIT: Duration = Duration::from_secs(15);

const SLEEP: [&str; 2] = ["sleep", "600"];

/// Gives an interface another name, which takes it down for a moment.
fn rename(netns: &Netns, from: &str, to: &str) {
    netns.run(&["ip", "link", "set", from, "down"]);
    if from != to {
        netns.run(&["ip", "link", "set", from, "name", to]);
    }
    netns.run(&["ip", "link", "set", to, "up"]);
}

#[test]
fn networks_are_connected_disconnected_and_renamed_while_a_container_runs() {
    if !require_docker() {
        return;
    }
    let docker = Dockerd::bridged();
    let daemon = Daemon::start(&docker.host(), &[]);
    docker.run("many", &[], &SLEEP);
    docker.docker(&["network", "create", "second"]);
    let netns = docker.netns_of("many");
    let interface = |name| Interface { container: "many", netns: &netns, name };
    let mut monotone = Monotone::default();
    ping(docker.netns(), docker.address("many", "bridge"), 56);
    assert_exact(&daemon, [interface("eth0")], "one network");

    docker.docker(&["network", "connect", "second", "many"]);
    ping(docker.netns(), docker.address("many", "second"), 1_000);
    ping(docker.netns(), docker.address("many", "bridge"), 56);
    let two = assert_exact(&daemon, [interface("eth0"), interface("eth1")], "two networks");
    let [first, second] = two.ours;
    assert!(first.rx_packets >= 10 && second.rx_packets >= 5, "{first:?}, {second:?}");
    assert!(second.rx_bytes > 5_000, "the larger ones: {second:?}");
    monotone.observe(&two.scrape);

    docker.docker(&["network", "disconnect", "second", "many"]);
    ping(docker.netns(), docker.address("many", "bridge"), 56);
    let one = assert_exact(&daemon, [interface("eth0")], "one network again");
    assert_eq!(told_of(&one.scrape, "many", "eth1"), Some(second), "its totals stay");
    monotone.observe(&one.scrape);

    docker.docker(&["network", "connect", "second", "many"]);
    // Engines don't give a name again, or do.
    let again = netns.devices().into_keys().find(|name| !["lo", "eth0"].contains(&&**name));
    rename(&netns, &again.expect("a second interface"), "eth1");
    ping(docker.netns(), docker.address("many", "second"), 56);
    let (ours, kernels) = wait::until("a moment of silence", SEEN_LIMIT, || {
        let kernels = netns.devices()["eth1"].traffic;
        let scrape = daemon.scrape();
        monotone.observe(&scrape);
        let ours = told_of(&scrape, "many", "eth1").expect("it is told");
        let is_still = netns.devices()["eth1"].traffic == kernels;
        (is_still && ours.tx_packets >= second.tx_packets + 5).then_some((ours, kernels))
    });
    assert_same("eth1, both times", ours, second.plus(kernels));

    let address = docker.address("many", "bridge");
    rename(&netns, "eth0", "wan0");
    ping(docker.netns(), address, 56);
    // What went before stays under the old name: it is told once.
    let (old, new, kernels) = wait::until("the new name", SEEN_LIMIT, || {
        let kernels = netns.devices()["wan0"].traffic;
        let scrape = daemon.scrape();
        let told = |name| told_of(&scrape, "many", name);
        let new = told("wan0").filter(|new| new.tx_packets >= 5)?;
        let is_still = netns.devices()["wan0"].traffic == kernels;
        is_still.then(|| (told("eth0").unwrap_or_default(), new, kernels))
    });
    println!("eth0 {old:?}, wan0 {new:?}");
    assert!(old.tx_packets >= one.ours[0].tx_packets, "it never goes back: {old:?}");
    assert_same("both names together", old.plus(new), kernels);
    assert_eq!(faults(&daemon.scrape()), [""; 0]);
    daemon.stop();
}

/// What a macvlan receives is seen below it only: of that the daemon tells what `net/dev`
/// has.
#[test]
fn a_macvlan_is_told_as_net_dev_does() {
    if !ready(&[Need::Kernel, Need::Docker, Need::Macvlan]) {
        return;
    }
    let docker = Dockerd::bridged();
    let daemon = Daemon::start(&docker.host(), &[]);
    let far = Netns::new();
    let [below, gateway] = [3, 1].map(|host| Ipv4Addr::new(198, 18, 4, host));
    Netns::connect([(docker.netns(), "below0", below), (&far, "far0", gateway)]);
    let create = ["network", "create", "--driver", "macvlan", "--opt", "parent=below0"];
    let addresses = ["--subnet", "198.18.4.0/24", "--gateway", "198.18.4.1"];
    docker.docker(&[&create[..], &addresses, &["above"]].concat());
    docker.run("stacked", &["--network", "above", "--ip", "198.18.4.2"], &SLEEP);
    let netns = docker.netns_of("stacked");
    let address = docker.address("stacked", "above");
    ping(&far, address, 56);
    ping(&netns, gateway, 3_000);
    send(&netns, gateway, 500, 100);
    send(&far, address, 400, 100);
    let all = [Interface { container: "stacked", netns: &netns, name: "eth0" }];
    let [ours] = assert_exact(&daemon, all, "macvlan").ours;
    assert!(ours.tx_packets >= 520 && ours.rx_packets >= 420, "{ours:?}");
    daemon.stop();
}

#[test]
fn lo_is_told_to_whoever_wants_it() {
    if !require_docker() {
        return;
    }
    let docker = Dockerd::bridged();
    let daemon = Daemon::start(&docker.host(), &[]);
    let wanting = Daemon::start(&docker.host(), &["--collector.network.loopback"]);
    docker.run("talker", &[], &SLEEP);
    let words = ["/bin/busybox", "ping", "-q", "-c", "9", "-i", "0.05", "127.0.0.1"];
    docker.exec_to_end("talker", &words);
    let netns = docker.netns_of("talker");
    ping(&netns, docker.address("talker", "bridge"), 20_000);
    ping(docker.netns(), docker.address("talker", "bridge"), 56);
    let interface = |name| Interface { container: "talker", netns: &netns, name };
    let both = [interface("lo"), interface("eth0")];
    let [lo, eth0] = assert_exact(&wanting, both, "by choice").ours;
    assert!(lo.rx_packets >= 28 && lo.rx_bytes > 200_000, "{lo:?}");
    assert!(eth0.rx_bytes < 5_000, "{eth0:?}");
    let settled = assert_exact(&daemon, [interface("eth0")], "without");
    assert_eq!(told_of(&settled.scrape, "talker", "lo"), None);
    assert_eq!(told(&settled.scrape, CONTAINER, &[("name", "talker")]), Some(settled.ours[0]));
    // The host's, too.
    let hosts =
        |daemon: &Daemon| told(&daemon.scrape(), CONTAINER, &[("interface", "lo"), ("id", "/")]);
    assert!(hosts(&wanting).is_some_and(|it| it.rx_packets > 0));
    assert_eq!(hosts(&daemon), None);
    for daemon in [daemon, wanting] {
        assert_eq!(faults(&daemon.scrape()), [""; 0]);
        daemon.stop();
    }
}

/// A cable's end in the host's network, without an address: nobody is reached through it.
struct HostsEnd(String);

impl HostsEnd {
    fn new(far: &Netns) -> Self {
        let host = Netns::of(process::id());
        let name = format!("sm{}", process::id());
        let pid = far.pid().to_string();
        let peer = ["peer", "name", "far0", "netns", &pid];
        host.run(&[&["ip", "link", "add", &name, "type", "veth"][..], &peer].concat());
        let this = Self(name);
        // Nothing of its own accord, where the host has IPv6.
        let quiet = format!(
            "f=/proc/sys/net/ipv6/conf/{}/disable_ipv6; [ ! -e $f ] || echo 1 > $f",
            this.0
        );
        host.run(&["sh", "-c", &quiet]);
        host.run(&["ip", "link", "set", &this.0, "up"]);
        this
    }
}

impl Drop for HostsEnd {
    fn drop(&mut self) {
        // It may have gone with the other end.
        let _ = Netns::of(process::id()).attempt(&["ip", "link", "delete", &self.0]);
    }
}

#[test]
fn the_hosts_virtual_interfaces_are_told_to_whoever_wants_them() {
    if !require_kernel() {
        return;
    }
    let daemon = Daemon::start_without_docker(&[]);
    let wanting = Daemon::start_without_docker(&["--collector.network.host-virtual"]);
    let (far, to) = (Netns::new(), Ipv4Addr::new(198, 18, 5, 2));
    let end = HostsEnd::new(&far);
    for words in [
        "ip address add 198.18.5.1/24 dev far0",
        "ip link set far0 up",
        // Without having to ask: nobody would answer.
        "ip neighbour add 198.18.5.2 lladdr 02:00:00:00:00:02 dev far0",
    ] {
        far.run(&words.split(' ').collect::<Vec<_>>());
    }
    send(&far, to, 700, 300);
    let labels = [("id", "/"), ("interface", &*end.0)];
    let (ours, sent, kernels) = wait::until("a moment of silence", SEEN_LIMIT, || {
        let read = || (far.devices()["far0"].traffic, procfs::devices(process::id())[&end.0]);
        let (before, scrape, after) = (read(), wanting.scrape(), read());
        let ours = told(&scrape, CONTAINER, &labels).filter(|it| it.rx_packets >= 700)?;
        (before == after).then_some((ours, before.0, before.1.traffic))
    });
    assert_same("the host's end", ours, kernels);
    let Traffic { tx_packets, tx_bytes, .. } = sent;
    assert_eq!((kernels.rx_packets, kernels.rx_bytes), (tx_packets, tx_bytes), "{sent:?}");
    assert_eq!(told(&daemon.scrape(), CONTAINER, &labels), None, "unless it is wanted");
    daemon.stop();
    wanting.stop();
}
