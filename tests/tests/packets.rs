//! Packets by interface: what the programs count is what the kernel counts.
//!
//! The programs run before the interfaces exist, so it is totals that are compared, not
//! differences: nothing is missed from the first packet on.
#![expect(clippy::print_stdout, reason = "figures are for whoever runs the tests")]

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use slicemeter::model::processes::Traffic;
use slicemeter_tests::{
    host::require_kernel,
    netns::Netns,
    packets::{Packets, Wanted},
    wait,
};

const NEAR: Ipv4Addr = Ipv4Addr::new(10, 250, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 250, 0, 2);

/// How long two readings may differ because packets are still on their way.
const QUIET_LIMIT: Duration = Duration::from_secs(20);

/// How long a stream may stand still.
const STREAM_LIMIT: Duration = Duration::from_secs(20);

/// Datagrams of a flood: some seconds of a CPU.
const FLOOD: u32 = 300_000;
const DATAGRAM_BYTES: usize = 200;

/// A bulk transfer: many packets of 64 KiB, which segmentation offload makes.
const BULK_BYTES: usize = 400 << 20;
const CHUNK_BYTES: usize = 128 << 10;

const SLOTS: u32 = 64;

fn by_interface(net_slots: u32) -> Packets {
    Packets::start(Wanted { network: true, sockets: false, net_slots })
}

/// A pair of namespaces with a cable between them.
fn pair() -> (Netns, Netns) {
    let (near, far) = (Netns::new(), Netns::new());
    Netns::connect([(&near, "eth0", NEAR), (&far, "eth0", FAR)]);
    (near, far)
}

fn ping(from: &Netns, to: Ipv4Addr, bytes: u32) {
    let (to, bytes) = (to.to_string(), bytes.to_string());
    from.run(&["busybox", "ping", "-q", "-c", "5", "-i", "0.05", "-W", "5", "-s", &bytes, &to]);
}

/// Sends datagrams as fast as it can; whether anyone takes them is another matter.
fn flood(from: &Netns, to: (&Netns, Ipv4Addr), datagrams: u32) {
    let (netns, address) = to;
    let sink = netns.spawn(move || UdpSocket::bind((address, 9)).expect("a socket"));
    let sink = sink.join().expect("a bound socket");
    let flood = from.spawn(move || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
        socket.connect((address, 9)).expect("a route");
        // One that finds no room in the queue is one less, on both sides of the comparison.
        (0..datagrams).filter(|_| socket.send(&[7; DATAGRAM_BYTES]).is_ok()).count()
    });
    let sent = flood.join().expect("a flood");
    drop(sink);
    assert!(sent > datagrams as usize / 2, "{sent} datagrams were sent");
}

fn bulk(from: &Netns, to: (&Netns, Ipv4Addr), bytes: usize) {
    let (netns, address) = to;
    let listener = netns.spawn(move || TcpListener::bind((address, 0)).expect("a listener"));
    let listener = listener.join().expect("a listening socket");
    let port = listener.local_addr().expect("an address").port();
    let reader = netns.spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(STREAM_LIMIT)).expect("a limit");
        let (mut chunk, mut total) = (vec![0; CHUNK_BYTES], 0);
        loop {
            match stream.read(&mut chunk).expect("bytes") {
                0 => return total,
                read => total += read,
            }
        }
    });
    let writer = from.spawn(move || {
        let mut stream = TcpStream::connect((address, port)).expect("a connection");
        let chunk = vec![7; CHUNK_BYTES];
        (0..bytes / CHUNK_BYTES).for_each(|_| stream.write_all(&chunk).expect("room"));
    });
    writer.join().expect("a writer");
    assert_eq!(reader.join().expect("a reader"), bytes / CHUNK_BYTES * CHUNK_BYTES);
}

/// The programs' count and the kernel's, of a moment when neither moves.
fn both(packets: &mut Packets, netns: &Netns, name: &str) -> (Traffic, Traffic) {
    let kernels = || netns.devices().get(name).copied();
    wait::until("a moment without packets", QUIET_LIMIT, || {
        let before = kernels()?;
        let ours = packets.traffic(netns.inum(), name)?;
        (kernels()? == before).then_some((ours, before))
    })
}

/// Shows that both counts are the same, and how many there were.
fn assert_exact(packets: &mut Packets, netns: &Netns, name: &str, what: &str) -> Traffic {
    let (ours, kernels) = both(packets, netns, name);
    println!("{what}: {ours:?}");
    assert_eq!(ours, kernels, "{what}: ours (left) and net/dev (right)");
    ours
}

#[test]
fn pings_floods_and_bulk_are_counted_as_net_dev_does() {
    if !require_kernel() {
        return;
    }
    let mut packets = by_interface(SLOTS);
    let (near, far) = pair();
    let mut last = Traffic::default();
    let mut step = |what: &str, least_packets: u64| {
        let near_end = assert_exact(&mut packets, &near, "eth0", &format!("{what}, near end"));
        let far_end = assert_exact(&mut packets, &far, "eth0", &format!("{what}, far end"));
        assert_eq!(near_end.tx_bytes, far_end.rx_bytes, "what one sends the other gets");
        assert_eq!(near_end.rx_packets, far_end.tx_packets, "and the other way round");
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
    assert_eq!((health.events_dropped, health.slots_exhausted), (0, 0));
    assert_eq!(packets.network().missed().expect("fdinfo"), 0, "no program ran twice at once");
    let interface = packets.interface(near.inum(), "eth0").expect("it was told of");
    assert_eq!(interface.link_kind, "veth");
}
