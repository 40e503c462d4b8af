//! Traffic for `packet`: a sender in one network namespace, a sink in another.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};
use slicemeter_tests::netns::Netns;

/// Bytes of a datagram: small, so that it is packets that cost.
const DATAGRAM_BYTES: usize = 64;

/// Bytes of a write to a stream.
const CHUNK_BYTES: usize = 128 << 10;

/// How long a stream may stand still.
const LIMIT: Duration = Duration::from_secs(30);

/// The CPU of the sender, and the one of a stream's reader.
const SENDER_CPU: usize = 0;
const READER_CPU: usize = 1;

/// Someone who sends on demand, in a thread of a namespace; it ends with this value.
struct Worker {
    orders: Sender<u64>,
    done: Receiver<anyhow::Result<Duration>>,
}

impl Worker {
    /// `send` sends as many as it is told.
    fn start(
        netns: &Netns,
        mut send: impl FnMut(u64) -> anyhow::Result<()> + Send + 'static,
    ) -> Self {
        let (orders, wanted) = mpsc::channel::<u64>();
        let (finished, done) = mpsc::channel();
        netns.spawn(move || {
            stay_on(SENDER_CPU);
            for number in wanted {
                let begun = Instant::now();
                let result = send(number).map(|()| begun.elapsed());
                if finished.send(result).is_err() {
                    return;
                }
            }
        });
        Self { orders, done }
    }

    fn order(&mut self, number: u64) -> anyhow::Result<Duration> {
        self.orders.send(number).context("the sender is gone")?;
        self.done.recv().context("the sender is gone")?
    }
}

/// Datagrams to a socket that nobody reads.
pub(crate) struct Datagrams {
    worker: Worker,
    _sink: UdpSocket,
}

impl Datagrams {
    /// Opens both ends.
    pub(crate) fn start(from: &Netns, to: (&Netns, Ipv4Addr)) -> anyhow::Result<Self> {
        let (netns, address) = to;
        let sink = netns.spawn(move || UdpSocket::bind((address, 0)));
        let sink = sink.join().ok().context("a thread for the sink")??;
        let port = sink.local_addr()?.port();
        let socket = from.spawn(move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect((address, port))?;
            Ok::<_, std::io::Error>(socket)
        });
        let socket = socket.join().ok().context("a thread for the sender")??;
        let worker = Worker::start(from, move |number| {
            let datagram = [7; DATAGRAM_BYTES];
            for _ in 0..number {
                socket.send(&datagram)?;
            }
            Ok(())
        });
        Ok(Self { worker, _sink: sink })
    }

    /// Sends that many, and tells how long it took. A virtual cable delivers on the sender's
    /// CPU before the call is over: the time is that of both ends.
    pub(crate) fn send(&mut self, number: u32) -> anyhow::Result<Duration> {
        self.worker.order(u64::from(number))
    }
}

/// A TCP connection.
pub(crate) struct Stream {
    worker: Worker,
}

impl Stream {
    /// Connects.
    pub(crate) fn start(from: &Netns, to: (&Netns, Ipv4Addr)) -> anyhow::Result<Self> {
        let (netns, address) = to;
        let listener = netns.spawn(move || TcpListener::bind((address, 0)));
        let listener = listener.join().ok().context("a thread for the listener")??;
        let port = listener.local_addr()?.port();
        let sender = from.spawn(move || TcpStream::connect((address, port)));
        let mut sender = sender.join().ok().context("a thread for the sender")??;
        let (reader, _) = listener.accept()?;
        sender.set_read_timeout(Some(LIMIT))?;
        thread::spawn(move || acknowledge(reader));
        let worker = Worker::start(from, move |bytes| {
            let chunk = vec![7; CHUNK_BYTES];
            ensure!(bytes.is_multiple_of(CHUNK_BYTES as u64), "whole chunks");
            sender.write_all(&bytes.to_ne_bytes())?;
            for _ in 0..bytes / CHUNK_BYTES as u64 {
                sender.write_all(&chunk)?;
            }
            // All of them have arrived.
            Ok(sender.read_exact(&mut [0])?)
        });
        Ok(Self { worker })
    }

    /// Sends that many bytes (a multiple of 128 KiB), and tells how long it took until the
    /// reader had them all.
    pub(crate) fn send(&mut self, bytes: u64) -> anyhow::Result<Duration> {
        self.worker.order(bytes)
    }
}

/// Reads as many bytes as are announced and sends one back, until the sender is gone.
fn acknowledge(mut stream: TcpStream) -> std::io::Result<()> {
    stay_on(READER_CPU);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let mut announced = [0; 8];
        stream.read_exact(&mut announced)?;
        for _ in 0..u64::from_ne_bytes(announced) / CHUNK_BYTES as u64 {
            stream.read_exact(&mut chunk)?;
        }
        stream.write_all(&[7])?;
    }
}

/// Where there is but one CPU, all stay there: then it is the scheduler's choice anyway.
fn stay_on(cpu: usize) {
    let mut only = CpuSet::new();
    only.set(cpu);
    let _ = sched_setaffinity(None, &only);
}
