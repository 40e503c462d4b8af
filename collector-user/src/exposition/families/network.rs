//! Collector `network`: what crossed containers' and the host's interfaces, and whose network
//! each is.
//!
//! Owns names and HELP of it; which interfaces there are is [`super::interfaces`]' business,
//! and how well all that is counted that of [`super::packets`].

use std::collections::HashMap;

use prometheus::proto::{Metric, MetricType};

use super::{Family, Samples, Scrape, Stability, counter, gauge, labels::name, pair};
use crate::model::{
    collectors::{Collector, Collectors},
    network::{NetworkView, Role},
};

pub(super) const NETWORK: Collectors = Collectors::NONE.with(Collector::Network);

/// Where packets are counted.
pub(super) const TRACEPOINTS: &str = "eBPF at net_dev_xmit and netif_receive_skb";
/// The same, and where what an interface receives is seen by the one below it only.
const RECEIVED: &str = "eBPF at netif_receive_skb; for interfaces stacked on others \
                        /proc/PID/net/dev";
const SENT: &str = "eBPF at net_dev_xmit";
const NET_DEV: &str = "/proc/PID/net/dev";

const INTERFACE: &[&str] = &["id", "name", "image", "container_label_*", "interface"];

pub(super) const FAMILIES: &[Family] = &[
    of_interface(
        "container_network_receive_bytes_total",
        "Bytes that the interface received, link-layer headers included, since the daemon began \
         (stacked on another: since it was made, and only while its container runs); as the stack \
         sees packets, so that one merged from several (GRO) has one header.",
        RECEIVED,
        Samples::Interfaces(|row| Some(row.received?.bytes)),
    ),
    of_interface(
        "container_network_receive_packets_total",
        "Packets that the interface received, since the daemon began (stacked on another: since \
         it was made, and only while its container runs); as the stack sees them, so that one \
         merged from several (GRO) is one.",
        RECEIVED,
        Samples::Interfaces(|row| Some(row.received?.packets)),
    ),
    of_interface(
        "container_network_transmit_bytes_total",
        "Bytes that the interface's driver took, link-layer headers included, since the daemon \
         began; as the stack sees packets, so that one split later on (segmentation offload) has \
         one header.",
        SENT,
        Samples::Interfaces(|row| Some(row.sent?.bytes)),
    ),
    of_interface(
        "container_network_transmit_packets_total",
        "Packets that the interface's driver took, since the daemon began; as the stack sees \
         them, so that one split later on (segmentation offload) is one.",
        SENT,
        Samples::Interfaces(|row| Some(row.sent?.packets)),
    ),
    of_interface(
        "container_network_receive_errors_total",
        "Packets that the interface received wrong, since it was made.",
        NET_DEV,
        Samples::Interfaces(|row| Some(row.device.as_ref()?.rx_errors)),
    ),
    of_interface(
        "container_network_receive_packets_dropped_total",
        "Packets that the interface received and dropped, since it was made.",
        NET_DEV,
        Samples::Interfaces(|row| Some(row.device.as_ref()?.rx_dropped)),
    ),
    of_interface(
        "container_network_transmit_errors_total",
        "Packets that the interface could not send, since it was made.",
        NET_DEV,
        Samples::Interfaces(|row| Some(row.device.as_ref()?.tx_errors)),
    ),
    of_interface(
        "container_network_transmit_packets_dropped_total",
        "Packets that the interface dropped in place of sending them, since it was made.",
        NET_DEV,
        Samples::Interfaces(|row| Some(row.device.as_ref()?.tx_dropped)),
    ),
    Family {
        name: "container_network_info",
        kind: MetricType::GAUGE,
        help: "Always 1; network says which one a running container uses: own (its traffic is \
               told under it), shared (it is told under the container named as owner, whose id is \
               owner_id), host (under id=\"/\"), runtime (its runtime's, which is neither the \
               host's nor a container's: unattributed), empty (no process is in the container) or \
               unknown.",
        labels: &["id", "name", "image", "container_label_*", "network", "owner", "owner_id"],
        collectors: NETWORK,
        source: "/proc/PID/ns/net",
        stability: Stability::Stable,
        samples: Samples::Own(roles),
    },
    of_exited(
        "container_exited_network_receive_bytes_total",
        "Bytes received by the interfaces, but lo and those stacked on others, of all containers \
         whose series have ended.",
        "the sum of ended container_network_receive_bytes_total",
        |scrape| total(scrape, |network| network.exited.rx_bytes),
    ),
    of_exited(
        "container_exited_network_receive_packets_total",
        "Packets received by the interfaces, but lo and those stacked on others, of all \
         containers whose series have ended.",
        "the sum of ended container_network_receive_packets_total",
        |scrape| total(scrape, |network| network.exited.rx_packets),
    ),
    of_exited(
        "container_exited_network_transmit_bytes_total",
        "Bytes sent by the interfaces, but lo, of all containers whose series have ended.",
        "the sum of ended container_network_transmit_bytes_total",
        |scrape| total(scrape, |network| network.exited.tx_bytes),
    ),
    of_exited(
        "container_exited_network_transmit_packets_total",
        "Packets sent by the interfaces, but lo, of all containers whose series have ended.",
        "the sum of ended container_network_transmit_packets_total",
        |scrape| total(scrape, |network| network.exited.tx_packets),
    ),
];

const fn of_interface(
    name: &'static str,
    help: &'static str,
    source: &'static str,
    samples: Samples,
) -> Family {
    let (kind, stability) = (MetricType::COUNTER, Stability::DropIn);
    let (labels, collectors) = (INTERFACE, NETWORK);
    Family { name, kind, help, labels, collectors, source, stability, samples }
}

const fn of_exited(
    name: &'static str,
    help: &'static str,
    source: &'static str,
    samples: fn(&Scrape) -> Vec<Metric>,
) -> Family {
    let samples = Samples::Own(samples);
    let stability = Stability::Stable;
    Family { labels: &[], stability, ..of_interface(name, help, source, samples) }
}

/// A count of packets; none where none are counted, as a zero would be a lie.
pub(super) fn total(scrape: &Scrape, of: fn(&NetworkView) -> u64) -> Vec<Metric> {
    let network = &scrape.parts.snapshot.network;
    let value = network.counts_interfaces.then(|| of(network) as f64);
    value.map(|value| counter(vec![], value)).into_iter().collect()
}

fn roles(scrape: &Scrape) -> Vec<Metric> {
    let snapshot = &scrape.parts.snapshot;
    let names: HashMap<&str, &str> =
        snapshot.containers.iter().map(|it| (&*it.path, name(it))).collect();
    let of_subject = |subject: &super::Subject| {
        let (network, owner) = match subject.container(snapshot)?.role.as_ref()? {
            Role::Owner(_) => ("own", ""),
            Role::Shared { owner } => ("shared", &**owner),
            Role::Host => ("host", ""),
            Role::Runtimes => ("runtime", ""),
            Role::Empty => ("empty", ""),
            Role::Unknown => ("unknown", ""),
        };
        // The series of an owner that has just ended may have, too: then there is no name.
        let owners_name = names.get(owner).copied().unwrap_or_default();
        let own = [("network", network), ("owner", owners_name), ("owner_id", owner)];
        let own = own.map(|(name, value)| pair(name, value));
        Some(gauge([&subject.labels[..], &own].concat(), 1.0))
    };
    scrape.subjects.iter().filter_map(of_subject).collect()
}
