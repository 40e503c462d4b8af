//! Collector `network`: how well packets are counted, and where those are that no container
//! got.
//!
//! Owns names and HELP. Where packets are not counted there is no series: zeroes would look
//! perfect.

use prometheus::proto::{Metric, MetricType};

use super::{
    Family, Samples, Scrape, Stability, cases, counter, gauge,
    itself::SLOTS,
    labels::pair,
    network::{NETWORK, TRACEPOINTS, total},
};
use crate::model::network::audit::Verdict;

/// Where the counts of what went wrong are.
const PROGRAMS: &str = "the eBPF programs";

pub(super) const FAMILIES: &[Family] = &[
    of_network(
        "slicemeter_unattributed_network_receive_bytes_total",
        "Bytes received by interfaces, but lo, of networks that are no container's and not \
         known to be the host's.",
        TRACEPOINTS,
        |scrape| total(scrape, |network| network.unattributed.rx_bytes),
    ),
    of_network(
        "slicemeter_unattributed_network_receive_packets_total",
        "Packets received by interfaces, but lo, of networks that are no container's and not \
         known to be the host's.",
        TRACEPOINTS,
        |scrape| total(scrape, |network| network.unattributed.rx_packets),
    ),
    of_network(
        "slicemeter_unattributed_network_transmit_bytes_total",
        "Bytes sent by interfaces, but lo, of networks that are no container's and not \
         known to be the host's.",
        TRACEPOINTS,
        |scrape| total(scrape, |network| network.unattributed.tx_bytes),
    ),
    of_network(
        "slicemeter_unattributed_network_transmit_packets_total",
        "Packets sent by interfaces, but lo, of networks that are no container's and not \
         known to be the host's.",
        TRACEPOINTS,
        |scrape| total(scrape, |network| network.unattributed.tx_packets),
    ),
    of_network(
        "slicemeter_overflow_network_receive_bytes_total",
        "Bytes received by interfaces that have no slot of their own, lo among them, link-layer \
         headers included wherever they were there.",
        TRACEPOINTS,
        |scrape| total(scrape, |network| network.overflow.rx_bytes),
    ),
    of_network(
        "slicemeter_overflow_network_receive_packets_total",
        "Packets received by interfaces that have no slot of their own, lo among them.",
        TRACEPOINTS,
        |scrape| total(scrape, |network| network.overflow.rx_packets),
    ),
    of_network(
        "slicemeter_overflow_network_transmit_bytes_total",
        "Bytes sent by interfaces that have no slot of their own, lo among them, link-layer \
         headers included wherever they were there.",
        TRACEPOINTS,
        |scrape| total(scrape, |network| network.overflow.tx_bytes),
    ),
    of_network(
        "slicemeter_overflow_network_transmit_packets_total",
        "Packets sent by interfaces that have no slot of their own, lo among them.",
        TRACEPOINTS,
        |scrape| total(scrape, |network| network.overflow.tx_packets),
    ),
    Family {
        kind: MetricType::GAUGE,
        labels: &["state"],
        ..of_network(
            "slicemeter_network_slots",
            "Slots for interfaces: free, used by an interface, or retiring (its interface is \
             gone, it is not yet read for the last time and cleared).",
            "the accounts of interfaces",
            |scrape| {
                let network = &scrape.parts.snapshot.network;
                if network.counts_interfaces {
                    cases(gauge, &network.slots, "state", SLOTS)
                } else {
                    Vec::new()
                }
            },
        )
    },
    of_network(
        "slicemeter_network_slots_exhausted_total",
        "Interfaces that found no free slot at their first packet; they share the overflow slot.",
        PROGRAMS,
        |scrape| total(scrape, |network| network.health.slots_exhausted),
    ),
    of_network(
        "slicemeter_network_interfaces_exhausted_total",
        "Times that an interface found the map of interfaces full; its packets are in the \
         overflow slot.",
        PROGRAMS,
        |scrape| total(scrape, |network| network.health.interfaces_exhausted),
    ),
    of_network(
        "slicemeter_network_events_dropped_total",
        "First packets and new names of interfaces that found the ring buffer full; an \
         interface's packets are in the overflow slot until it is told of.",
        PROGRAMS,
        |scrape| total(scrape, |network| network.health.events_dropped),
    ),
    of_network(
        "slicemeter_network_packets_missed_total",
        "Packets that the kernel did not show to a program, as it was running already on that \
         CPU: in no count at all.",
        "the kernel's count of the eBPF programs: recursion_misses",
        |scrape| total(scrape, |network| network.health.packets_missed),
    ),
    of_network(
        "slicemeter_network_cache_misses_total",
        "Look-ups of interfaces that no CPU's cache answered: not a loss, but what makes a \
         packet dear.",
        PROGRAMS,
        |scrape| total(scrape, |network| network.health.cache_misses),
    ),
    of_network(
        "slicemeter_network_names_merged_total",
        "Names of interfaces whose counts went to the series with interface=\"others/\", since \
         their container, or the host, had too many.",
        "the accounts of interfaces",
        |scrape| total(scrape, |network| network.merged),
    ),
    Family {
        labels: &["check", "verdict", "reason"],
        ..of_network(
            "slicemeter_audit_checks_total",
            "Comparisons of what the programs counted with the kernel's own counts, one for each \
             interface each way: agree, drift, or unknown with the reason why the two can't be \
             compared.",
            "eBPF and /proc/PID/net/dev over the same time",
            audit,
        )
    },
];

const fn of_network(
    name: &'static str,
    help: &'static str,
    source: &'static str,
    samples: fn(&Scrape) -> Vec<Metric>,
) -> Family {
    let (kind, stability) = (MetricType::COUNTER, Stability::Stable);
    let samples = Samples::Own(samples);
    Family { name, kind, help, labels: &[], collectors: NETWORK, source, stability, samples }
}

fn audit(scrape: &Scrape) -> Vec<Metric> {
    let network = &scrape.parts.snapshot.network;
    if !network.counts_interfaces {
        return Vec::new();
    }
    let of_verdict = |verdict: Verdict| {
        let labels =
            [("check", "packets"), ("verdict", verdict.name()), ("reason", verdict.reason())];
        let labels = labels.map(|(name, value)| pair(name, value)).into();
        counter(labels, network.checks.get(verdict) as f64)
    };
    Verdict::ALL.into_iter().map(of_verdict).collect()
}
