//! Which network processes are in, and what went over it: `ns/net`, `net/dev`.
//!
//! Owns the sums over interfaces. Must not decide whose traffic a shared network's is.
//!
//! A sum is told whole or not at all: one that lacks an interface looks like a counter that
//! was reset.

use std::{io, io::Read, path::Path};

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
        files::{Buffer, Directory},
        losses::{self, Loss},
        namespaces,
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

/// What the lines of `net/dev` above the interfaces' begin with (`dev_seq_show` in
/// net/core/net-procfs.c).
const HEADERS: [&[u8]; 2] = [b"Inter-|", b" face |"];

/// A file of a process that does not tell.
#[derive(Debug)]
pub(super) struct Untold {
    pid: u32,
    file: &'static str,
    loss: Loss,
}

/// Asks a container's processes for its network, one after the other, until one tells.
#[derive(Debug, Default)]
pub(super) struct Inquiry {
    network: Option<Network>,
    asked: usize,
    failure: Option<Untold>,
}

impl Inquiry {
    /// Asks another one, if it has not been told yet. `process` is its directory, or that of
    /// one of its threads; `host` knows the inode number of the host's network namespace.
    pub(super) fn ask(
        &mut self,
        pid: u32,
        process: &Directory,
        host: impl FnOnce(&mut Buffer) -> Result<u64, Untold>,
        buffer: &mut Buffer,
        losses: &mut Losses,
    ) {
        if self.network.is_some() || self.asked == MAX_ASKED {
            return;
        }
        self.asked += 1;
        match network(pid, process, host, buffer, losses) {
            Ok(network) => self.network = Some(network),
            // A fault says more than a race.
            Err(untold) => {
                let earlier = self.failure.take().filter(|it| it.loss.reason().is_fault());
                self.failure = earlier.or(Some(untold));
            }
        }
    }

    /// What was told. If all who were asked failed, that is counted as one loss.
    pub(super) fn end(self, losses: &mut Losses) -> Option<Network> {
        let Self { network, failure, .. } = self;
        if let (None, Some(Untold { pid, file, loss })) = (network, failure) {
            loss.count(Collector::Process, format_args!("{pid}/{file}"), losses);
        }
        network
    }
}

fn network(
    pid: u32,
    process: &Directory,
    host: impl FnOnce(&mut Buffer) -> Result<u64, Untold>,
    buffer: &mut Buffer,
    losses: &mut Losses,
) -> Result<Network, Untold> {
    let netns = netns(process).map_err(|loss| Untold { pid, file: "ns/net", loss })?;
    if netns == host(buffer)? {
        return Ok(Network::Host);
    }
    let file = "net/dev";
    let traffic = match process.list(file, buffer).map_err(unread).and_then(interfaces) {
        Ok(interfaces) => {
            let others = interfaces.iter().filter(|(name, _)| *name != b"lo");
            Some(others.fold(Traffic::default(), |sum, (_, traffic)| add(sum, *traffic)))
        }
        Err(loss) if loss.reason() == Reason::Vanished => return Err(Untold { pid, file, loss }),
        Err(loss) => {
            loss.count(Collector::Process, format_args!("{pid}/{file}"), losses);
            None
        }
    };
    Ok(Network::Other { netns, traffic })
}

fn unread(error: io::Error) -> Loss {
    // The network ended with its last process (`seq_open_net` in fs/proc/proc_net.c).
    let has_ended = losses::is(&error, Errno::NXIO);
    let loss = Loss::from(error);
    if has_ended { loss.because(Reason::Vanished) } else { loss }
}

/// Inode number of a process' network namespace. The rights are those to trace the process.
fn netns(process: &Directory) -> Result<u64, Loss> {
    namespaces::inode(&process.link("ns/net")?, "net").ok_or(Loss::malformed())
}

/// Inode number of the host's network namespace: that of its first process or, where even
/// root may not look at that one, of the kernel's threads.
pub(super) fn host_netns(procfs: &Directory, buffer: &mut Buffer) -> Result<u64, Untold> {
    let init = first_process(procfs).and_then(|it| netns(&it));
    init.or_else(|loss| {
        let kthreadd = procfs.directory(DecInt::new(KTHREADD_PID)).ok();
        // In a pid namespace of its own, 2 is anyone.
        let kthreadd =
            kthreadd.filter(|it| it.record("stat", buffer).is_ok_and(values::is_kernel_thread));
        let untold = Untold { pid: INIT_PID, file: "ns/net", loss };
        kthreadd.and_then(|it| netns(&it).ok()).ok_or(untold)
    })
}

/// The host's first process. It never ends: when it is not there, it is hidden.
fn first_process(procfs: &Directory) -> Result<Directory, Loss> {
    super::enter(procfs, INIT_PID).map_err(|error| {
        let loss = Loss::from(error);
        match loss.reason() {
            Reason::Vanished | Reason::Denied => loss.because(Reason::Hidden),
            _ => loss,
        }
    })
}

/// Traffic of the interfaces in the host's network that are devices; `None` if there are
/// none, or if not all can be told, which is counted. Others (bridges, veths, tunnels) pass
/// on what came or goes through these.
pub(super) fn physical_traffic(
    procfs: &Directory,
    sysfs: &Path,
    buffer: &mut Buffer,
    losses: &mut Losses,
) -> Option<Traffic> {
    let process = Collector::Process;
    let interfaces = first_process(procfs)
        .and_then(|it| interfaces(it.list("net/dev", buffer)?))
        .map_err(|loss| loss.count(process, format_args!("{INIT_PID}/net/dev"), losses))
        .ok()?;
    let classes = sysfs.join("class/net");
    let directory = Directory::open(&classes)
        .map_err(Loss::of_permanent)
        .map_err(|loss| loss.count(process, format_args!("{}", classes.display()), losses))
        .ok()?;
    let mut sum = None;
    for (name, traffic) in interfaces {
        let is_physical = is_physical(&directory, name).map_err(|error| {
            let (place, name) = (classes.display(), name.escape_ascii());
            Loss::from(error).count(process, format_args!("{place}/{name}"), losses);
        });
        if is_physical.ok()? {
            sum = Some(add(sum.unwrap_or_default(), traffic));
        }
    }
    sum
}

/// Whether an interface is a device, and not one behind another: under Azure's synthetic
/// interface there is a virtual function, and each counts what went over both.
fn is_physical(classes: &Directory, name: &[u8]) -> io::Result<bool> {
    Ok(classes.has([name, b"/device"].concat())?
        && !classes.has([name, b"/master/device"].concat())?)
}

/// The interfaces in `net/dev` with their counters. One line that is not as it should be
/// makes all of it malformed, and so does an end that is cut off.
fn interfaces(net_dev: &[u8]) -> Result<Vec<(&[u8], Traffic)>, Loss> {
    let mut lines = net_dev.strip_suffix(b"\n").unwrap_or_default().split(|byte| *byte == b'\n');
    let has_headers =
        HEADERS.into_iter().all(|start| lines.next().is_some_and(|line| line.starts_with(start)));
    let interfaces: Option<Vec<_>> = lines.map(interface).collect();
    // Every network has at least `lo`.
    interfaces.filter(|it| has_headers && !it.is_empty()).ok_or(Loss::malformed())
}

/// Name and counters of one interface. The crate wants names in UTF-8, which an interface's
/// need not be: it is given a line at a time, under a name of ours.
fn interface(line: &[u8]) -> Option<(&[u8], Traffic)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = line[..colon].trim_ascii();
    let file = b"\n\nname: ".chain(&line[colon + 1..]);
    let InterfaceDeviceStatus(devices) = InterfaceDeviceStatus::from_buf_read(file).ok()?;
    let traffic = devices.into_values().next().map(|it| Traffic {
        rx_bytes: it.recv_bytes,
        rx_packets: it.recv_packets,
        tx_bytes: it.sent_bytes,
        tx_packets: it.sent_packets,
    });
    traffic.filter(|_| !name.is_empty()).map(|it| (name, it))
}

fn add(one: Traffic, other: Traffic) -> Traffic {
    Traffic {
        rx_bytes: one.rx_bytes.saturating_add(other.rx_bytes),
        rx_packets: one.rx_packets.saturating_add(other.rx_packets),
        tx_bytes: one.tx_bytes.saturating_add(other.tx_bytes),
        tx_packets: one.tx_packets.saturating_add(other.tx_packets),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets\n";

    fn text(names: &[&str], number: u64) -> String {
        let line = |name: &&str| format!("{name:>6}: {number}{}\n", " 1".repeat(15));
        [HEADER.to_owned()].into_iter().chain(names.iter().map(line)).collect()
    }

    #[test]
    fn names_are_bytes_and_the_numbers_those_of_their_columns() {
        let line = b"\xff|eth: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        let file = [HEADER.as_bytes(), line].concat();
        let traffic = Traffic { rx_bytes: 1, rx_packets: 2, tx_bytes: 9, tx_packets: 10 };
        assert_eq!(interfaces(&file).expect("sound"), [(&b"\xff|eth"[..], traffic)]);
    }

    #[test]
    fn what_is_cut_off_is_malformed_wherever_it_can_be_seen() {
        let whole = text(&["lo", "eth0"], 4711);
        let only_lo = whole.rfind("  eth0").expect("it is there");
        for length in 0..whole.len() {
            let is_sound = interfaces(&whole.as_bytes()[..length]).is_ok();
            assert_eq!(is_sound, length == only_lo, "{:?}", &whole[..length]);
        }
        assert!(interfaces(whole.as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>(), line in "[a-z0-9: |\n-]{0,80}") {
            let _ = interfaces(&bytes);
            for end in ["", "\n"] {
                let _ = interfaces(format!("{HEADER}{line}{end}").as_bytes());
            }
        }

        #[test]
        fn a_mangled_line_leaves_no_sum(
            number in any::<u64>(),
            place in 0_usize..4,
            mangled in "[a-z]{0,3}:?( [0-9]{1,4}){0,15}",
        ) {
            let sound = text(&["lo", "eth0", "eth1"], number);
            prop_assert_eq!(interfaces(sound.as_bytes()).map(|it| it.len()).ok(), Some(3));
            let mut lines: Vec<_> = sound.lines().collect();
            lines.insert(2 + place, &mangled);
            let file = lines.join("\n") + "\n";
            let loss = interfaces(file.as_bytes()).expect_err("a line too short");
            prop_assert_eq!(loss.reason(), Reason::Malformed);
        }
    }
}
