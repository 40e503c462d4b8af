//! Containers' interfaces as the daemon tells of them, beside the kernel's own `net/dev`.
//!
//! The daemon counts from its own start: where it was there before an interface, totals are
//! compared, not differences, so that nothing may be missing from the first packet on.

use std::time::{Duration, Instant};

use slicemeter::model::network::Traffic;

use crate::{
    daemon::Daemon,
    metrics::{Exposition, whole},
    netns::Netns,
    packets::assert_same,
    procfs::{Device, Faults},
    wait,
};

/// Series of containers by interface.
pub const CONTAINER: &str = "container_network";
/// Of containers by the cgroup of the socket.
pub const SOCKETS: &str = "container_network_socket";
/// Of containers whose series have ended.
pub const EXITED: &str = "container_exited_network";
/// Of networks that are no container's.
pub const UNATTRIBUTED: &str = "slicemeter_unattributed_network";

/// How long counts must stand still before they are compared.
///
/// A cable counts a packet as received when it is sent (`veth_get_stats64`), and the
/// tracepoint fires when the softirq gets to it.
const QUIET: Duration = Duration::from_millis(300);

/// How long it may take until they do, and until the daemon knows whose they are.
const QUIET_LIMIT: Duration = Duration::from_secs(20);

/// An interface of a container.
#[derive(Clone, Copy, Debug)]
pub struct Interface<'a> {
    /// The container's name.
    pub container: &'a str,
    /// The network that it is in.
    pub netns: &'a Netns,
    /// Its name.
    pub name: &'a str,
}

/// Both sides' counts of some interfaces, at a moment without packets.
#[derive(Clone, Debug)]
pub struct Settled<const N: usize> {
    /// The daemon's.
    pub ours: [Traffic; N],
    /// The kernel's.
    pub kernels: [Traffic; N],
    /// Whether they are the same to the last packet; see [`assert_same`].
    pub is_exact: bool,
    /// What the daemon told at that moment.
    pub scrape: Exposition,
}

/// The sum over the series of a group (as [`CONTAINER`]) that have these labels; `None` if
/// there is none. Each has all four.
pub fn told(scrape: &Exposition, group: &str, labels: &[(&str, &str)]) -> Option<Traffic> {
    let [rx_bytes, rx_packets, tx_bytes, tx_packets] =
        ["receive_bytes", "receive_packets", "transmit_bytes", "transmit_packets"].map(|what| {
            let name = format!("{group}_{what}_total");
            let values: Vec<u64> =
                scrape.select(&name, labels).map(|sample| whole(sample.value)).collect();
            (values.len(), values.iter().sum())
        });
    for other in [rx_packets, tx_bytes, tx_packets] {
        assert_eq!(other.0, rx_bytes.0, "{group}{labels:?}: each has all four");
    }
    (rx_bytes.0 > 0).then_some(Traffic {
        rx_bytes: rx_bytes.1,
        rx_packets: rx_packets.1,
        tx_bytes: tx_bytes.1,
        tx_packets: tx_packets.1,
    })
}

/// What the daemon tells of an interface of a container.
pub fn told_of(scrape: &Exposition, container: &str, interface: &str) -> Option<Traffic> {
    told(scrape, CONTAINER, &[("name", container), ("interface", interface)])
}

/// What the daemon tells of errors and drops of an interface of a container.
pub fn faults_told(scrape: &Exposition, container: &str, interface: &str) -> Faults {
    let labels = [("name", container), ("interface", interface)];
    let count = |what: &str| scrape.count(&format!("{CONTAINER}_{what}_total"), &labels);
    Faults {
        rx_errors: count("receive_errors"),
        rx_dropped: count("receive_packets_dropped"),
        tx_errors: count("transmit_errors"),
        tx_dropped: count("transmit_packets_dropped"),
    }
}

/// Waits until some interfaces have been told of, and neither side's counts have moved for
/// a while.
fn settled<const N: usize>(
    daemon: &Daemon,
    interfaces: [Interface<'_>; N],
) -> ([(Traffic, Device); N], Exposition) {
    let mut last = None;
    let mut since = Instant::now();
    wait::until("a moment without packets", QUIET_LIMIT, || {
        let mut now = [(Traffic::default(), Device::default()); N];
        for (Interface { netns, name, .. }, (_, kernels)) in interfaces.into_iter().zip(&mut now) {
            *kernels = *netns.devices().get(name)?;
        }
        let scrape = daemon.scrape();
        for (Interface { container, name, .. }, (ours, _)) in interfaces.into_iter().zip(&mut now) {
            *ours = told_of(&scrape, container, name)?;
        }
        if last != Some(now) {
            (last, since) = (Some(now), Instant::now());
        }
        last.filter(|_| since.elapsed() >= QUIET).map(|settled| (settled, scrape))
    })
}

/// Shows that the daemon tells of some interfaces what `net/dev` does: bytes, packets, errors
/// and drops.
pub fn assert_exact<const N: usize>(
    daemon: &Daemon,
    interfaces: [Interface<'_>; N],
    what: &str,
) -> Settled<N> {
    let (counts, scrape) = settled(daemon, interfaces);
    let mut is_exact = true;
    for (Interface { container, name, .. }, (ours, kernels)) in interfaces.into_iter().zip(&counts)
    {
        let what = format!("{what}: {name} of {container}");
        is_exact &= assert_same(&what, *ours, kernels.traffic);
        assert_eq!(faults_told(&scrape, container, name), kernels.faults, "{what}");
    }
    let ours = counts.map(|(ours, _)| ours);
    let kernels = counts.map(|(_, kernels)| kernels.traffic);
    Settled { ours, kernels, is_exact, scrape }
}
