//! Which network processes are in, and what went over it: `ns/net`, `net/dev`.
//!
//! Owns the sums over interfaces. Must not decide whose traffic a shared network's is.

use std::{io::Read, path::Path};

use procfs::{FromBufRead, net::InterfaceDeviceStatus};
use rustix::{io::Errno, path::DecInt};

use super::values;
use crate::{
    model::{
        collectors::Collector,
        losses::{Losses, Reason},
        networks::{Network, Traffic},
    },
    source::{
        files::{self, Buffer, Directory, reason},
        text,
    },
};

/// The most processes of a container that are asked for its network: each may have ended,
/// or refuse; when so many do, the others will hardly be better.
const MAX_ASKED: usize = 5;

/// The host's first process, which lives as long as the host does.
const INIT_PID: u32 = 1;

/// The kernel's own second process: it and all of its threads are in the first network
/// namespace there is.
const KTHREADD_PID: u32 = 2;

/// The lines of `net/dev` above the interfaces'.
const HEADER_LINES: usize = 2;

/// Asks a container's processes for its network, one after the other, until one tells.
#[derive(Debug, Default)]
pub(super) struct Inquiry {
    network: Option<Network>,
    asked: usize,
    failure: Option<Reason>,
}

impl Inquiry {
    /// Asks another one, if it has not been told yet. `host` knows the inode number of the
    /// host's network namespace.
    pub(super) fn ask(
        &mut self,
        process: &Directory,
        host: impl FnOnce(&mut Buffer) -> Result<u64, Reason>,
        buffer: &mut Buffer,
        losses: &mut Losses,
    ) {
        if self.network.is_some() || self.asked == MAX_ASKED {
            return;
        }
        self.asked += 1;
        match network(process, host, buffer, losses) {
            Ok(network) => self.network = Some(network),
            // A fault says more than a race.
            Err(reason) => self.failure = self.failure.filter(|it| it.is_fault()).or(Some(reason)),
        }
    }

    /// What was told. If all who were asked failed, that is counted as one loss.
    pub(super) fn end(self, losses: &mut Losses) -> Option<Network> {
        let Self { network, failure, .. } = self;
        if let (None, Some(reason)) = (network, failure) {
            losses.count(Collector::Process, reason);
        }
        network
    }
}

fn network(
    process: &Directory,
    host: impl FnOnce(&mut Buffer) -> Result<u64, Reason>,
    buffer: &mut Buffer,
    losses: &mut Losses,
) -> Result<Network, Reason> {
    let netns = netns(process)?;
    if netns == host(buffer)? {
        return Ok(Network::Host);
    }
    let bytes = process.list("net/dev", buffer).map_err(|error| {
        // The network ended with its last process (`seq_open_net` in fs/proc/proc_net.c).
        if files::is(&error, Errno::NXIO) { Reason::Vanished } else { reason(&error) }
    })?;
    let traffic = Some(sum(bytes, losses, |name, _| name != b"lo").unwrap_or_default());
    Ok(Network::Other { netns, traffic })
}

/// Inode number of a process' network namespace: the link is `net:[4026531840]`. The rights
/// are those to trace the process.
fn netns(process: &Directory) -> Result<u64, Reason> {
    let link = process.link("ns/net").map_err(|error| reason(&error))?;
    let number =
        str::from_utf8(&link).ok().and_then(|it| it.strip_prefix("net:[")?.strip_suffix(']'));
    number.and_then(text::number).ok_or(Reason::Malformed)
}

/// Inode number of the host's network namespace: that of its first process or, where even
/// root may not look at that one, of the kernel's threads.
pub(super) fn host_netns(procfs: &Directory, buffer: &mut Buffer) -> Result<u64, Reason> {
    let init = first_process(procfs).and_then(|it| netns(&it));
    init.or_else(|reason| {
        let kthreadd = procfs.directory(DecInt::new(KTHREADD_PID)).ok();
        // In a pid namespace of its own, 2 is anyone.
        let kthreadd =
            kthreadd.filter(|it| it.record("stat", buffer).is_ok_and(values::is_kernel_thread));
        kthreadd.and_then(|it| netns(&it).ok()).ok_or(reason)
    })
}

/// The host's first process. It never ends: when it is not there, it is hidden.
fn first_process(procfs: &Directory) -> Result<Directory, Reason> {
    super::enter(procfs, INIT_PID).map_err(|error| match reason(&error) {
        Reason::Vanished | Reason::Denied => Reason::Hidden,
        reason => reason,
    })
}

/// Traffic of the interfaces in the host's network that are devices; `None` if there are
/// none. Others (bridges, veths, tunnels) pass on what came or goes through these.
pub(super) fn physical_traffic(
    procfs: &Directory,
    sysfs: &Path,
    buffer: &mut Buffer,
    losses: &mut Losses,
) -> Option<Traffic> {
    let init = first_process(procfs);
    let bytes = init.and_then(|it| it.list("net/dev", buffer).map_err(|error| reason(&error)));
    let interfaces = Directory::open(&sysfs.join("class/net")).map_err(|_| Reason::Failed);
    match bytes.and_then(|bytes| Ok((bytes, interfaces?))) {
        Ok((bytes, interfaces)) => sum(bytes, losses, |name, losses| {
            interfaces.has([name, b"/device"].concat()).unwrap_or_else(|error| {
                losses.count(Collector::Process, reason(&error));
                false
            })
        }),
        Err(reason) => {
            losses.count(Collector::Process, reason);
            None
        }
    }
}

/// Adds up the interfaces that count, `None` if none does. A line that is malformed costs
/// its interface only.
fn sum(
    net_dev: &[u8],
    losses: &mut Losses,
    mut counts: impl FnMut(&[u8], &mut Losses) -> bool,
) -> Option<Traffic> {
    let mut sum = None;
    for line in net_dev.split(|byte| *byte == b'\n').skip(HEADER_LINES) {
        if line.is_empty() {
            continue;
        }
        let traffic = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => {
                let (name, numbers) = (line[..colon].trim_ascii(), &line[colon + 1..]);
                if !counts(name, losses) {
                    continue;
                }
                interface(numbers)
            }
            None => None,
        };
        match traffic {
            Some(traffic) => sum = Some(add(sum.unwrap_or_default(), traffic)),
            None => losses.count(Collector::Process, Reason::Malformed),
        }
    }
    sum
}

fn add(one: Traffic, other: Traffic) -> Traffic {
    Traffic {
        rx_bytes: one.rx_bytes.saturating_add(other.rx_bytes),
        rx_packets: one.rx_packets.saturating_add(other.rx_packets),
        tx_bytes: one.tx_bytes.saturating_add(other.tx_bytes),
        tx_packets: one.tx_packets.saturating_add(other.tx_packets),
    }
}

/// The counters of one interface. The crate takes whole files, of which one line that it
/// does not like costs all others, and names in UTF-8, which an interface's need not be: it
/// is given one line at a time, under a name of ours.
fn interface(numbers: &[u8]) -> Option<Traffic> {
    let file = b"\n\nname: ".chain(numbers);
    let InterfaceDeviceStatus(devices) = InterfaceDeviceStatus::from_buf_read(file).ok()?;
    devices.into_values().next().map(|it| Traffic {
        rx_bytes: it.recv_bytes,
        rx_packets: it.recv_packets,
        tx_bytes: it.sent_bytes,
        tx_packets: it.sent_packets,
    })
}
