//! Collector `network`, with `--collector.network.sockets`: packets of each account's sockets,
//! whatever network they are in.
//!
//! Owns names and HELP. Without these counts there is no series: zeroes would be a lie.

use prometheus::proto::{Metric, MetricType};

use super::{Family, Samples, Scrape, Stability, Subject, counter, network::NETWORK};
use crate::model::{network::Traffic, snapshot::Snapshot};

const SOURCE: &str = "eBPF at cgroup_skb, ingress and egress of the root cgroup";

pub(super) const FAMILIES: &[Family] = &[
    of_account(
        "container_network_socket_receive_bytes_total",
        "Bytes of IP packets that sockets received, IP headers included and link-layer headers \
         not, since the daemon began; over lo, too.",
        |snapshot, subject| sockets(snapshot, subject, |it| it.rx_bytes),
    ),
    of_account(
        "container_network_socket_receive_packets_total",
        "IP packets that sockets received, since the daemon began; over lo, too.",
        |snapshot, subject| sockets(snapshot, subject, |it| it.rx_packets),
    ),
    of_account(
        "container_network_socket_transmit_bytes_total",
        "Bytes of IP packets that sockets sent, IP headers included and link-layer headers not, \
         since the daemon began; over lo, too.",
        |snapshot, subject| sockets(snapshot, subject, |it| it.tx_bytes),
    ),
    of_account(
        "container_network_socket_transmit_packets_total",
        "IP packets that sockets sent, since the daemon began; over lo, too.",
        |snapshot, subject| sockets(snapshot, subject, |it| it.tx_packets),
    ),
    of_snapshot(
        "container_exited_network_socket_receive_bytes_total",
        "Bytes of IP packets received by sockets of all containers whose series have ended.",
        |scrape| total(scrape, |it| it.exited.usage.sockets.rx_bytes),
    ),
    of_snapshot(
        "container_exited_network_socket_receive_packets_total",
        "IP packets received by sockets of all containers whose series have ended.",
        |scrape| total(scrape, |it| it.exited.usage.sockets.rx_packets),
    ),
    of_snapshot(
        "container_exited_network_socket_transmit_bytes_total",
        "Bytes of IP packets sent by sockets of all containers whose series have ended.",
        |scrape| total(scrape, |it| it.exited.usage.sockets.tx_bytes),
    ),
    of_snapshot(
        "container_exited_network_socket_transmit_packets_total",
        "IP packets sent by sockets of all containers whose series have ended.",
        |scrape| total(scrape, |it| it.exited.usage.sockets.tx_packets),
    ),
    of_snapshot(
        "slicemeter_unattributed_network_socket_receive_bytes_total",
        "Bytes of IP packets received by sockets of cgroups that are not known: in the host's \
         count, but in no container's.",
        |scrape| total(scrape, |it| it.ledger.unattributed.sockets.rx_bytes),
    ),
    of_snapshot(
        "slicemeter_unattributed_network_socket_receive_packets_total",
        "IP packets received by sockets of cgroups that are not known: in the host's count, but \
         in no container's.",
        |scrape| total(scrape, |it| it.ledger.unattributed.sockets.rx_packets),
    ),
    of_snapshot(
        "slicemeter_unattributed_network_socket_transmit_bytes_total",
        "Bytes of IP packets sent by sockets of cgroups that are not known: in the host's count, \
         but in no container's.",
        |scrape| total(scrape, |it| it.ledger.unattributed.sockets.tx_bytes),
    ),
    of_snapshot(
        "slicemeter_unattributed_network_socket_transmit_packets_total",
        "IP packets sent by sockets of cgroups that are not known: in the host's count, but in \
         no container's.",
        |scrape| total(scrape, |it| it.ledger.unattributed.sockets.tx_packets),
    ),
    of_snapshot(
        "slicemeter_overflow_network_socket_receive_bytes_total",
        "Bytes of IP packets received by sockets of known cgroups that have no slot of their \
         own: in the host's count, but in no container's.",
        |scrape| total(scrape, |it| it.ledger.overflow.sockets.rx_bytes),
    ),
    of_snapshot(
        "slicemeter_overflow_network_socket_receive_packets_total",
        "IP packets received by sockets of known cgroups that have no slot of their own: in the \
         host's count, but in no container's.",
        |scrape| total(scrape, |it| it.ledger.overflow.sockets.rx_packets),
    ),
    of_snapshot(
        "slicemeter_overflow_network_socket_transmit_bytes_total",
        "Bytes of IP packets sent by sockets of known cgroups that have no slot of their own: in \
         the host's count, but in no container's.",
        |scrape| total(scrape, |it| it.ledger.overflow.sockets.tx_bytes),
    ),
    of_snapshot(
        "slicemeter_overflow_network_socket_transmit_packets_total",
        "IP packets sent by sockets of known cgroups that have no slot of their own: in the \
         host's count, but in no container's.",
        |scrape| total(scrape, |it| it.ledger.overflow.sockets.tx_packets),
    ),
];

const fn of_account(
    name: &'static str,
    help: &'static str,
    value: fn(&Snapshot, &Subject) -> Option<f64>,
) -> Family {
    let (kind, stability) = (MetricType::COUNTER, Stability::Stable);
    let labels = &["id", "name", "image", "container_label_*"];
    let (collectors, source) = (NETWORK, SOURCE);
    let samples = Samples::Accounts(value);
    Family { name, kind, help, labels, collectors, source, stability, samples }
}

const fn of_snapshot(
    name: &'static str,
    help: &'static str,
    samples: fn(&Scrape) -> Vec<Metric>,
) -> Family {
    let (kind, stability) = (MetricType::COUNTER, Stability::Stable);
    let (collectors, source) = (NETWORK, SOURCE);
    let samples = Samples::Own(samples);
    Family { name, kind, help, labels: &[], collectors, source, stability, samples }
}

fn sockets(snapshot: &Snapshot, subject: &Subject, of: fn(&Traffic) -> u64) -> Option<f64> {
    snapshot.network.counts_sockets.then(|| of(&subject.usage(snapshot).sockets) as f64)
}

fn total(scrape: &Scrape, of: fn(&Snapshot) -> u64) -> Vec<Metric> {
    let snapshot = &scrape.parts.snapshot;
    let value = snapshot.network.counts_sockets.then(|| of(snapshot) as f64);
    value.map(|value| counter(vec![], value)).into_iter().collect()
}
