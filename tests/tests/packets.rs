//! Packets by interface: what the programs count is what the kernel counts.
//!
//! The programs run before the interfaces exist, so it is totals that are compared, not
//! differences: nothing is missed from the first packet on.

use std::{
    io::Write as _,
    net::Ipv4Addr,
    os::fd::OwnedFd,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use aya::sys::{Stats, enable_stats};
use slicemeter::model::network::{InterfaceId, Traffic};
use slicemeter_tests::{
    cgroup::{Cgroup, mounts},
    host::require_kernel,
    netns::Netns,
    packets::{Interface, Packets, Wanted, assert_same},
    traffic::{bulk, flood, ping},
    wait,
};

const NEAR: Ipv4Addr = Ipv4Addr::new(10, 250, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 250, 0, 2);

/// How long both counts must stand still before they are compared.
const QUIET: Duration = Duration::from_millis(300);

/// How long it may take until they do.
const QUIET_LIMIT: Duration = Duration::from_secs(20);

/// Datagrams of a flood: some seconds of a CPU.
const FLOOD: u32 = 300_000;

/// A bulk transfer: many packets of 64 KiB, which segmentation offload makes.
const BULK_BYTES: usize = 400 << 20;

const SLOTS: u32 = 64;

/// How often it is tried to get a dead namespace's number, and for how long: its end takes
/// the kernel some tens of milliseconds.
const HEIR_ATTEMPTS: u32 = 10;
const HEIR_LIMIT: Duration = Duration::from_secs(2);

/// The programs, and the kernel counting their runs as long as both live.
fn by_interface(net_slots: u32) -> (Packets, OwnedFd) {
    let stats = enable_stats(Stats::RunTime).expect("the right to have runs counted");
    (Packets::start(Wanted { network: true, sockets: false, net_slots }), stats)
}

/// A pair of namespaces with a cable between them.
fn pair() -> (Netns, Netns) {
    let (near, far) = (Netns::new(), Netns::new());
    Netns::connect([(&near, "eth0", NEAR), (&far, "eth0", FAR)]);
    (near, far)
}

/// The programs' counts of some interfaces and the kernel's, once none has moved for a while.
///
/// A cable counts a packet as received when it is sent (`veth_get_stats64`), and the
/// tracepoint fires when the softirq gets to it: on a busy host that takes a moment.
fn settled<const N: usize>(
    packets: &mut Packets,
    interfaces: [(&Netns, &str); N],
) -> [(Traffic, Traffic); N] {
    let mut last = None;
    let mut since = Instant::now();
    wait::until("a moment without packets", QUIET_LIMIT, || {
        let mut now = [(Traffic::default(), Traffic::default()); N];
        for ((netns, name), (ours, kernels)) in interfaces.into_iter().zip(&mut now) {
            *ours = packets.traffic(netns.inum(), name)?;
            *kernels = netns.devices().get(name)?.traffic;
        }
        if last != Some(now) {
            (last, since) = (Some(now), Instant::now());
        }
        last.filter(|_| since.elapsed() >= QUIET)
    })
}

fn both(packets: &mut Packets, netns: &Netns, name: &str) -> (Traffic, Traffic) {
    let [both] = settled(packets, [(netns, name)]);
    both
}

/// Shows that both counts are the same, and how many there were.
///
/// What fired no tracepoint is told apart from a loss of ours by
/// [`assert_each_run_is_counted`].
fn assert_exact<const N: usize>(
    packets: &mut Packets,
    interfaces: [(&Netns, &str); N],
    what: &str,
) -> [Traffic; N] {
    let settled = settled(packets, interfaces);
    assert_each_run_is_counted(packets);
    settled.map(|(ours, kernels)| {
        assert_same(what, ours, kernels);
        ours
    })
}

/// Shows that the programs count a packet each time that they run, whoever else runs.
fn assert_each_run_is_counted(packets: &mut Packets) {
    let before = packets.network().runs().expect("fdinfo");
    let total = packets.total();
    let after = packets.network().runs().expect("fdinfo");
    // One may be in the middle of a run, on each CPU.
    let under_way = std::thread::available_parallelism().expect("CPUs").get() as u64;
    let [sent, received] = after.map(|runs| runs + under_way);
    assert!((before[1]..=received).contains(&total.rx_packets), "{before:?} {total:?} {after:?}");
    // A driver may have refused some.
    assert!(total.tx_packets <= sent, "{before:?} {total:?} {after:?}");
    let missed = packets.network().missed().expect("fdinfo");
    assert_eq!(missed, 0, "no program ran twice at once");
}

#[test]
fn pings_floods_and_bulk_are_counted_as_net_dev_does() {
    if !require_kernel() {
        return;
    }
    let (mut packets, _stats) = by_interface(SLOTS);
    let (near, far) = pair();
    let mut last = Traffic::default();
    let mut step = |what: &str, least_packets: u64| {
        let ends = [(&near, "eth0"), (&far, "eth0")];
        let [near_end, _] = assert_exact(&mut packets, ends, what);
        let new = near_end.tx_packets - last.tx_packets;
        assert!(new >= least_packets, "{what}: {new} packets");
        last = near_end;
    };
    ping(&near, FAR, 56);
    step("ping", 5);
    // Fragments: 14 of each, both ways.
    ping(&near, FAR, 20_000);
    step("fragments", 70);
    flood(&near, (&far, FAR), FLOOD);
    step("flood", 100_000);
    bulk(&near, (&far, FAR), BULK_BYTES);
    step("bulk", 1_000);
    bulk(&far, (&near, NEAR), BULK_BYTES);
    step("bulk back", 100);

    let health = packets.network().health();
    println!("{health:?}");
    assert!(health.cache_misses < 10_000, "the cache is of use: {health:?}");
    assert_eq!((health.events_dropped, health.slots_exhausted), (0, 0));
    let interface = packets.interface(near.inum(), "eth0").expect("it was told of");
    assert_eq!(interface.link_kind, "veth");
}

/// Bytes of a link-layer header.
const ETHERNET_BYTES: u64 = 14;

/// Traffic as it would be with so many more bytes in each packet received and sent.
fn with_headers(traffic: Traffic, received_bytes: u64, sent_bytes: u64) -> Traffic {
    Traffic {
        rx_bytes: traffic.rx_bytes + received_bytes * traffic.rx_packets,
        tx_bytes: traffic.tx_bytes + sent_bytes * traffic.tx_packets,
        ..traffic
    }
}

#[test]
fn lo_and_a_bridge_have_no_headers_in_net_dev() {
    if !require_kernel() {
        return;
    }
    let (mut packets, _stats) = by_interface(SLOTS);
    let (near, far) = pair();
    ping(&near, Ipv4Addr::LOCALHOST, 56);
    let (ours, kernels) = both(&mut packets, &near, "lo");
    assert!(kernels.rx_packets >= 10, "{kernels:?}");
    assert_eq!(ours, with_headers(kernels, ETHERNET_BYTES, ETHERNET_BYTES), "loopback_xmit");

    let bridge_address = Ipv4Addr::new(10, 250, 0, 3);
    // A snooping bridge joins groups on its own.
    far.run(&["ip", "link", "add", "bridge", "type", "bridge", "mcast_snooping", "0"]);
    far.run(&["ip", "link", "set", "eth0", "master", "bridge"]);
    far.run(&["ip", "address", "flush", "dev", "eth0"]);
    far.run(&["ip", "address", "add", &format!("{bridge_address}/24"), "dev", "bridge"]);
    far.run(&["ip", "link", "set", "bridge", "up"]);
    ping(&near, bridge_address, 56);
    let (ours, kernels) = both(&mut packets, &far, "bridge");
    assert!(kernels.rx_packets >= 5, "{kernels:?}");
    assert_eq!(ours, with_headers(kernels, ETHERNET_BYTES, 0), "br_pass_frame_up");
    let bridge = packets.interface(far.inum(), "bridge").expect("it was told of");
    assert_eq!(bridge.link_kind, "bridge");
    // Its port is an interface as any other.
    assert_exact(&mut packets, [(&far, "eth0")], "the bridge's port");
}

/// What is stacked on another interface hands a packet up in the same round in which the
/// lower one got it: the tracepoint does not fire again.
#[test]
fn a_stacked_interface_tells_what_it_sent_and_not_what_it_got() {
    if !require_kernel() {
        return;
    }
    for (kind, options) in
        [("macvlan", &["mode", "bridge"][..]), ("vlan", &["id", "5"]), ("ipvlan", &["mode", "l2"])]
    {
        let (mut packets, _stats) = by_interface(SLOTS);
        let (near, far) = pair();
        let container = Netns::new();
        let add = |netns: &Netns| {
            let mut command =
                vec!["ip", "link", "add", "link", "eth0", "name", "up0", "type", kind];
            command.extend(options);
            netns.attempt(&command)
        };
        if let Err(said) = add(&far) {
            println!("this kernel has no {kind}: {said}");
            continue;
        }
        // As a container has it: where the lower one is, it would answer for both.
        far.run(&["ip", "link", "set", "up0", "netns", &container.pid().to_string()]);
        let address = Ipv4Addr::new(10, 253, 0, 2);
        let mut ends = vec![(&container, "up0", address)];
        if kind == "vlan" {
            add(&near).expect("as over there");
            ends.push((&near, "up0", Ipv4Addr::new(10, 253, 0, 1)));
        } else {
            near.run(&["ip", "address", "add", "10.253.0.1/24", "dev", "eth0"]);
        }
        for (netns, name, address) in ends {
            netns.run(&["ip", "address", "add", &format!("{address}/24"), "dev", name]);
            netns.run(&["ip", "link", "set", name, "up"]);
        }
        ping(&near, address, 56);
        let (ours, kernels) = both(&mut packets, &container, "up0");
        println!("{kind}: ours {ours:?}, net/dev {kernels:?}");
        assert!(kernels.rx_packets >= 5 && kernels.tx_packets >= 5, "{kernels:?}");
        assert_eq!(ours.tx_packets, kernels.tx_packets, "{kind}");
        assert_eq!(ours.tx_bytes, kernels.tx_bytes, "{kind}");
        assert!(ours.rx_packets < kernels.rx_packets, "{kind}");
        assert_eq!(packets.interface(container.inum(), "up0").expect("told of").link_kind, kind);
        assert_exact(&mut packets, [(&far, "eth0")], &format!("below the {kind}"));
    }
}

#[test]
fn a_new_name_is_told_and_the_counts_go_on() {
    if !require_kernel() {
        return;
    }
    let (mut packets, _stats) = by_interface(SLOTS);
    let (near, _far) = pair();
    ping(&near, FAR, 56);
    let [before] = assert_exact(&mut packets, [(&near, "eth0")], "under the old name");
    let old = packets.interface(near.inum(), "eth0").expect("it was told of");
    near.run(&["ip", "link", "set", "eth0", "down"]);
    near.run(&["ip", "link", "set", "eth0", "name", "wan0"]);
    near.run(&["ip", "link", "set", "wan0", "up"]);
    packets.network().refresh();
    ping(&near, FAR, 56);
    let [after] = assert_exact(&mut packets, [(&near, "wan0")], "under the new name");
    assert!(after.tx_packets >= before.tx_packets + 5, "{before:?}, {after:?}");
    let new = packets.interface(near.inum(), "wan0").expect("it was told of");
    assert_eq!((new.id, new.slot), (old.id, old.slot));
}

#[test]
fn where_slots_are_short_the_sum_stays_and_a_freed_one_is_given_on() {
    if !require_kernel() {
        return;
    }
    let (mut packets, _stats) = by_interface(2);
    let (near, far) = pair();
    ping(&near, Ipv4Addr::LOCALHOST, 56);
    ping(&near, FAR, 56);
    let is_ours = |inum: u32| [near.inum(), far.inum()].contains(&u64::from(inum));
    let known = packets.interfaces().clone();
    let (has, lacks): (Vec<_>, Vec<_>) = known.values().partition(|it| it.slot.is_some());
    assert_eq!(has.len(), 2, "two of at least three: {known:?}");
    assert!(packets.network().health().slots_exhausted >= 1);
    let mut told = packets.overflow().tx_packets;
    told +=
        has.iter().map(|it| packets.network().traffic(it.slot.unwrap()).tx_packets).sum::<u64>();
    let kernels: u64 = [&near, &far]
        .iter()
        .flat_map(|netns| netns.devices().into_values())
        .map(|device| device.traffic.tx_packets)
        .sum();
    // Others' packets may be among them.
    assert!(told >= kernels, "{told} of {kernels}");

    let lucky = lacks.iter().find(|it| is_ours(it.netns_inum)).expect("one without a slot");
    packets.forget(has[0].id);
    let unknown = InterfaceId { netns: u64::MAX, ifindex: 1 };
    packets.network().forget(unknown).expect("nothing to forget is no refusal");
    let slot = packets.promote(lucky.id).expect("the freed one");
    let netns = if u64::from(lucky.netns_inum) == near.inum() { &near } else { &far };
    let before = netns.devices()[&lucky.name].traffic;
    assert_eq!(packets.network().traffic(slot), Traffic::default(), "it begins at zero");
    ping(&near, Ipv4Addr::LOCALHOST, 56);
    ping(&near, FAR, 56);
    let (ours, after) = both(&mut packets, netns, &lucky.name);
    assert_eq!(ours.tx_packets, after.tx_packets - before.tx_packets);
}

#[test]
fn a_namespace_that_gets_a_dead_ones_number_is_another() {
    if !require_kernel() {
        return;
    }
    let (mut packets, _stats) = by_interface(SLOTS);
    // The lowest free number is given first; somebody else may be faster.
    let found = (0..HEIR_ATTEMPTS).find_map(|_| {
        let dead = Netns::new();
        let inum = dead.inum();
        ping(&dead, Ipv4Addr::LOCALHOST, 56);
        let old = packets.interface(inum, "lo").expect("it was told of");
        drop(dead);
        let mut others = Vec::new();
        let heir = wait::within(HEIR_LIMIT, || {
            others.push(Netns::new());
            others.pop_if(|netns| netns.inum() == inum)
        });
        heir.map(|heir| (heir, inum, old))
    });
    let (heir, inum, old) = found.expect("a namespace with a dead one's number");
    // Between the two somebody else may have had the number, too.
    let before = packets.interfaces().clone();
    ping(&heir, Ipv4Addr::LOCALHOST, 56);
    let is_new = |it: &&Interface| {
        u64::from(it.netns_inum) == inum && it.name == "lo" && !before.contains_key(&it.id)
    };
    let new: Vec<_> = packets.interfaces().values().filter(is_new).cloned().collect();
    let [new] = &new[..] else { panic!("one is new, beside {old:?}: {new:?}") };
    assert_ne!(new.id.netns, old.id.netns);
    assert_eq!(new.id.ifindex, old.id.ifindex);
    let (old, new) = (old.slot.expect("a slot"), new.slot.expect("a slot"));
    assert_ne!(old, new);
    let traffic = |packets: &mut Packets, slot| packets.network().traffic(slot);
    assert_eq!(traffic(&mut packets, old), traffic(&mut packets, new), "the same pings");
}

/// A process that pings once it is told to, so that it can be put into a cgroup before.
fn pinger(netns: &Netns, count: u32, bytes: u32) -> Child {
    let script = format!("read go && exec busybox ping -q -c {count} -i 0.05 -s {bytes} {FAR}");
    let mut command = netns.command(&["sh", "-c", &script]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("nsenter")
}

#[test]
fn two_cgroups_in_one_namespace_have_each_their_own_sockets_packets() {
    if !require_kernel() || mounts().unified.is_none() {
        return;
    }
    let mut packets = Packets::start(Wanted { network: false, sockets: true, net_slots: 0 });
    let degraded = packets.kernel().degraded.clone();
    assert!(degraded.iter().all(|it| !it.contains("packets")), "{degraded:?}");
    let (near, _far) = pair();
    // One after the other: a raw socket gets the answers to everyone's pings.
    for (count, bytes) in [(7_u32, 100_u32), (12, 1_000)] {
        let cgroup = Cgroup::new("sockets");
        let mut child = pinger(&near, count, bytes);
        cgroup.admit(child.id());
        drop(child.stdin.take().map(|mut go| go.write_all(b"go\n")).expect("a pipe"));
        assert!(child.wait().expect("a child").success(), "an answer to each ping");
        let kernel = packets.kernel();
        let slot = kernel.slots.assign(cgroup.id()).expect("a map").expect("a slot");
        assert!(kernel.counts_sockets());
        let traffic = kernel.read().usage(slot).sockets;
        // The headers of IP and ICMP are in it, and none of the link's.
        let total_bytes = u64::from(count) * u64::from(bytes + 28);
        let count = u64::from(count);
        let expected = Traffic {
            rx_bytes: total_bytes,
            rx_packets: count,
            tx_bytes: total_bytes,
            tx_packets: count,
        };
        assert_eq!(traffic, expected);
        kernel.forget(cgroup.id()).expect("it is known");
        kernel.free(slot).expect("room for it");
        assert_eq!(kernel.read().usage(slot).sockets, Traffic::default());
    }
}
