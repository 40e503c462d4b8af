//! Traffic between network namespaces: pings, floods, streams.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use crate::{netns::Netns, workload};

/// How long a stream may stand still.
const STREAM_LIMIT: Duration = Duration::from_secs(20);

const DATAGRAM_BYTES: usize = 200;

/// Bytes of a write: two packets' worth with segmentation offload.
const CHUNK_BYTES: usize = 128 << 10;

/// Five pings with so many bytes each; all must be answered.
pub fn ping(from: &Netns, to: Ipv4Addr, bytes: u32) {
    let (to, bytes) = (to.to_string(), bytes.to_string());
    from.run(&["busybox", "ping", "-q", "-c", "5", "-i", "0.05", "-W", "5", "-s", &bytes, &to]);
}

/// Sends so many UDP packets with so many bytes each to a port where nobody listens.
pub fn send(from: &Netns, to: Ipv4Addr, packets: u32, bytes: u32) {
    let (program, to) = (workload::binary().to_string_lossy(), format!("{to}:9"));
    from.run(&[&program, "send", &to, &packets.to_string(), &bytes.to_string()]);
}

/// Sends datagrams as fast as it can; whether anyone takes them is another matter.
pub fn flood(from: &Netns, to: (&Netns, Ipv4Addr), datagrams: u32) {
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

/// Sends so many bytes, a multiple of 128 KiB, in a stream, until they have arrived.
pub fn bulk(from: &Netns, to: (&Netns, Ipv4Addr), bytes: usize) {
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
