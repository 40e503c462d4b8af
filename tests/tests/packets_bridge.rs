//! Containers on a bridge: what each sent and received, to the byte, and nobody else's.
#![expect(clippy::print_stdout, reason = "figures are for whoever runs the tests")]

use std::{
    fs,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use slicemeter::model::network::Traffic;
use slicemeter_tests::{
    cgroup::kernel_usage_seconds,
    collectors::faults,
    daemon::Daemon,
    dockerd::{BRIDGE, Dockerd},
    host::{cpus, require_docker},
    interfaces::{Interface, assert_exact, faults_told, told_of},
    metrics::Exposition,
    netns::Netns,
    packets::assert_same,
    traffic::{bulk, ping, send},
    wait,
};

/// Datagrams of a flood: some seconds of a CPU.
const FLOOD: u64 = 300_000;
const DATAGRAM_BYTES: u64 = 200;

/// A bulk transfer: many packets of 64 KiB, which segmentation offload makes.
const BULK_BYTES: usize = 200 << 20;

/// What may cross the bridge beside the floods: neighbours ask each other for addresses.
const CHATTER: u64 = 200;

/// How long the ports and the containers may take to stand still at the same time.
const QUIET_LIMIT: Duration = Duration::from_secs(30);

/// The daemon compares its counts with the kernel's every ten seconds.
const CHECKS_LIMIT: Duration = Duration::from_secs(45);

/// Between two pings while the daemon compares.
const PING_PERIOD: Duration = Duration::from_millis(200);

/// Two interfaces, each way, twice.
const CHECKS: u64 = 8;

/// How often the network's softirq must have run where the bystander does.
const INTERRUPTIONS: u64 = 100;

/// The least share of a flood's time that its sender had a CPU, or waited for one. The rest is
/// the engine's, which starts it.
const FILLED: f64 = 0.6;

/// A flood by a process of a container: it fills a CPU, as far as it gets one.
fn flood(daemon: &Daemon, docker: &Dockerd, from: &str, to: Ipv4Addr) {
    let (to, cgroup) = (format!("{to}:9"), docker.cgroup(from));
    // On a crowded machine it waits as much as it runs: for others, and for the softirq, which
    // has the same CPU.
    let waited = || {
        let name = "container_cpu_runqueue_wait_seconds_total";
        daemon.scrape().sum(name, &[("name", from)])
    };
    let waited_before = waited();
    let (started, before) = (Instant::now(), kernel_usage_seconds(&cgroup));
    let [packets, bytes] = [FLOOD, DATAGRAM_BYTES].map(|number| number.to_string());
    docker.exec_to_end(from, &["/bin/workload", "send", &to, &packets, &bytes]);
    let took = started.elapsed().as_secs_f64();
    let used = kernel_usage_seconds(&cgroup) - before;
    let waited = waited() - waited_before;
    println!("flood of {to}: {used:.2} s of CPU time, {waited:.2} s of waiting in {took:.2} s");
    assert!(used + waited >= FILLED * took, "{used} and {waited} of {took}: it fills no CPU");
}

/// What the engine's ports to its containers had, as the containers see it.
fn ports(engine: &Netns) -> Traffic {
    let all = engine.devices().into_iter().filter(|(name, _)| name.starts_with("veth"));
    let Traffic { rx_bytes, rx_packets, tx_bytes, tx_packets } =
        all.map(|(_, device)| device.traffic).sum();
    Traffic {
        rx_bytes: tx_bytes,
        rx_packets: tx_packets,
        tx_bytes: rx_bytes,
        tx_packets: rx_packets,
    }
}

fn checks(scrape: &Exposition, verdict: &str) -> u64 {
    let labels = [("check", "packets"), ("verdict", verdict)];
    scrape.count("slicemeter_audit_checks_total", &labels)
}

#[test]
fn what_goes_over_a_bridge_is_told_as_net_dev_does() {
    if !require_docker() {
        return;
    }
    let docker = Dockerd::bridged();
    let daemon = Daemon::start(&docker.host(), &[]);
    for name in ["left", "right"] {
        docker.run(name, &[], &["sleep", "600"]);
    }
    let [left, right] = ["left", "right"].map(|name| docker.netns_of(name));
    let [left_address, right_address] =
        ["left", "right"].map(|name| docker.address(name, "bridge"));
    let both = [("left", &left), ("right", &right)].map(|(container, netns)| Interface {
        container,
        netns,
        name: "eth0",
    });
    let (mut last, mut all_exact) = ([Traffic::default(); 2], true);
    let mut step = |what: &str, least: [u64; 2]| {
        let settled = assert_exact(&daemon, both, what);
        for ((now, last), least) in settled.ours.iter().zip(&last).zip(least) {
            let new = now.since(*last).tx_packets;
            assert!(new >= least, "{what}: {new} packets sent, of {least}");
        }
        (last, all_exact) = (settled.ours, all_exact && settled.is_exact);
    };

    let target = right_address.to_string();
    let pings = ["/bin/busybox", "ping", "-q", "-c", "5", "-i", "0.05", "-s", "3000", &target];
    docker.exec_to_end("left", &pings);
    // Each in three fragments.
    step("ping", [15, 15]);
    ping(docker.netns(), left_address, 56);
    ping(&right, BRIDGE, 56);
    step("ping from and to the host's end", [5, 5]);
    bulk(&left, (&right, right_address), BULK_BYTES);
    bulk(&right, (&left, left_address), BULK_BYTES);
    step("bulk", [1_000, 1_000]);
    bulk(&left, (docker.netns(), BRIDGE), BULK_BYTES);
    bulk(docker.netns(), (&right, right_address), BULK_BYTES);
    step("bulk to and from the host's end", [1_000, 100]);
    // Sent is what found room in the queue: on a loaded machine, not all of them.
    flood(&daemon, &docker, "left", right_address);
    flood(&daemon, &docker, "right", left_address);
    step("flood", [FLOOD / 2, FLOOD / 2]);
    flood(&daemon, &docker, "left", BRIDGE);
    step("flood of the host's end", [FLOOD / 2, 0]);

    let (settled, ports) = wait::until("a moment of silence", QUIET_LIMIT, || {
        let before = ports(docker.netns());
        let settled = assert_exact(&daemon, both, "at the end");
        (before == ports(docker.netns())).then_some((settled, before))
    });
    let sum = |of: [Traffic; 2]| of.into_iter().sum::<Traffic>();
    // What containers send, the ports receive, and the other way round.
    let is_same = assert_same("all containers, at the bridge's ports", sum(settled.ours), ports);
    assert!(is_same || !settled.is_exact, "{:?}: {ports:?} at the ports", settled.ours);

    let before = checks(&settled.scrape, "agree");
    let scrape = wait::until("verdicts", CHECKS_LIMIT, || {
        ping(&left, right_address, 56);
        std::thread::sleep(PING_PERIOD);
        Some(daemon.scrape()).filter(|it| checks(it, "agree") >= before + CHECKS)
    });
    if all_exact {
        assert_eq!(checks(&scrape, "drift"), 0, "where all counts are equal");
    } else {
        println!("{} comparisons showed what fired no tracepoint", checks(&scrape, "drift"));
    }
    assert_eq!(faults(&scrape), [""; 0]);
    daemon.stop();
}

/// How often a CPU has run the softirq that receives packets.
fn receiving_softirqs(cpu: usize) -> u64 {
    let table = fs::read_to_string("/proc/softirqs").expect("/proc/softirqs");
    let row = table.lines().find_map(|line| line.trim().strip_prefix("NET_RX:"));
    let count = row.and_then(|row| row.split_whitespace().nth(cpu));
    count.and_then(|count| count.parse().ok()).expect("a count for each CPU")
}

/// Has a CPU do the work for what `eth0` receives, whoever runs there (Receive Packet
/// Steering, Documentation/networking/scaling.rst).
fn steer(netns: &Netns, cpu: usize) {
    let file = "/sys/class/net/eth0/queues/rx-0/rps_cpus";
    // What is in /sys depends on where it was mounted; containers may not write to theirs.
    let mount = "mount -t sysfs sysfs /sys && mount -o remount,rw /sys";
    let script = format!("{mount} && echo {:x} > {file}", 1_u64 << cpu);
    netns.run(&["unshare", "--mount", "sh", "-c", &script]);
}

#[test]
fn a_busy_bystander_gets_none_of_a_flood() {
    if !require_docker() {
        return;
    }
    let docker = Dockerd::bridged();
    let daemon = Daemon::start(&docker.host(), &[]);
    let cpu = cpus() - 1;
    docker.run("bystander", &[], &["burn", "600", "--cpu", &cpu.to_string()]);
    for name in ["sender", "receiver"] {
        docker.run(name, &[], &["sleep", "600"]);
    }
    let names = ["bystander", "sender"];
    let networks = names.map(|name| docker.netns_of(name));
    let address = docker.address("receiver", "bridge");
    steer(&docker.netns_of("receiver"), cpu);
    // The bystander is known by its own packets, and idle from here on.
    ping(&networks[0], BRIDGE, 56);
    let all = [0, 1].map(|index| Interface {
        container: names[index],
        netns: &networks[index],
        name: "eth0",
    });
    let [bystander, ..] = all;
    let before = assert_exact(&daemon, [bystander], "before the flood").ours[0];

    let softirqs = receiving_softirqs(cpu);
    flood(&daemon, &docker, "sender", address);
    let softirqs = receiving_softirqs(cpu) - softirqs;
    println!("CPU {cpu} of the bystander ran the receiving softirq {softirqs} times");
    assert!(softirqs >= INTERRUPTIONS, "it was interrupted: {softirqs}");

    let settled = assert_exact(&daemon, all, "after the flood");
    let [bystander, sender] = settled.ours;
    assert!(sender.tx_packets >= FLOOD / 2, "{sender:?}");
    // Not to the last packet: an interrupt may come where no tracepoint fires.
    let receiver = told_of(&settled.scrape, "receiver", "eth0").expect("it is told");
    println!("the receiver: {receiver:?}");
    assert!(receiver.rx_packets >= FLOOD / 2, "{receiver:?}");
    let new = bystander.since(before);
    assert!(new.rx_packets + new.tx_packets <= CHATTER, "asked for addresses: {new:?}");
    assert!(new.rx_bytes + new.tx_bytes <= CHATTER * DATAGRAM_BYTES, "{new:?}");
    daemon.stop();
}

/// Packets that are too large for the other end of the cable.
const DROPPED: u32 = 60;

#[test]
fn what_is_dropped_is_told_apart_from_what_is_sent() {
    if !require_docker() {
        return;
    }
    let docker = Dockerd::bridged();
    let daemon = Daemon::start(&docker.host(), &[]);
    docker.run("large", &[], &["sleep", "600"]);
    let netns = docker.netns_of("large");
    let port = docker.netns().devices().into_keys().find(|name| name.starts_with("veth"));
    let port = port.expect("the other end");
    docker.netns().run(&["ip", "link", "set", &port, "mtu", "1000"]);
    ping(&netns, BRIDGE, 56);
    send(&netns, BRIDGE, DROPPED, 1_400);
    let (ours, faults, kernels) = wait::until("a moment of silence", QUIET_LIMIT, || {
        let before = netns.devices()["eth0"];
        let scrape = daemon.scrape();
        let ours = told_of(&scrape, "large", "eth0")?;
        let is_still = netns.devices()["eth0"] == before
            && ours.tx_packets >= before.traffic.tx_packets
            && ours.rx_packets == before.traffic.rx_packets;
        is_still.then(|| (ours, faults_told(&scrape, "large", "eth0"), before))
    });
    println!("{ours:?}, {faults:?}");
    assert_eq!(faults, kernels.faults);
    assert_eq!(faults.tx_dropped, u64::from(DROPPED));
    // In older kernels the driver says of what it drops that it has sent it.
    let more = ours.tx_packets - kernels.traffic.tx_packets;
    assert!([0, faults.tx_dropped].contains(&more), "{ours:?}, {kernels:?}");
    daemon.stop();
}
