//! How each collector fared: `slicemeter_collector_*`.

use prometheus::proto::MetricType;

use super::{ALWAYS, Family, Samples, Scrape, Stability, counter, gauge, pair, seconds};
use crate::model::{
    collectors::Collector,
    losses::Reason,
    network::Role,
    snapshot::{ContainerView, Snapshot},
};

pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "slicemeter_collector_success",
        kind: MetricType::GAUGE,
        help: "Whether the collector told in this scrape all that it should (1) or not (0). When \
               0: for cgroup, machine, network and process see slicemeter_collector_missing_total; \
               network also as long as it is not known which network a running container, or the \
               host, is in; docker's API did not answer last. cpu is 1 in every answer, as a scrape \
               that the ledger does not answer is refused.",
        labels: &["collector"],
        collectors: ALWAYS,
        source: "the collector",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| {
            let of = |it: Fared| {
                let success = f64::from(u8::from(it.is_complete));
                gauge(vec![pair("collector", it.collector.name())], success)
            };
            fared(scrape).map(of).collect()
        }),
    },
    Family {
        name: "slicemeter_collector_duration_seconds",
        kind: MetricType::GAUGE,
        help: "How long the collector took in this scrape, in seconds: cpu until the accounts \
               were there; cgroup, machine, network and process in reading files, added up over \
               those read side by side; docker for its last list of all containers, absent before \
               the first.",
        labels: &["collector"],
        collectors: ALWAYS,
        source: "the collector",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| {
            let of = |it: Fared| {
                let labels = vec![pair("collector", it.collector.name())];
                Some(gauge(labels, seconds(it.duration_ns?)))
            };
            fared(scrape).filter_map(of).collect()
        }),
    },
    Family {
        name: "slicemeter_collector_missing_total",
        kind: MetricType::COUNTER,
        help: "Items that collectors should have told and did not, by the reason; an item is a \
               file, a value, a process, or all of a container or cgroup, as docs/metrics.md says \
               for each reason. Counted again in every scrape in which it is missing; for network \
               also whenever containers are asked for theirs.",
        labels: &["collector", "reason"],
        collectors: ALWAYS,
        source: "the collector",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| {
            let losses = &scrape.parts.readings.losses;
            let of = |collector: Collector| {
                Reason::ALL.into_iter().filter_map(move |reason| {
                    let count = losses.get(collector, reason);
                    let names = [("collector", collector.name()), ("reason", reason.name())];
                    let labels = || names.map(|(name, value)| pair(name, value)).into();
                    // What should not occur and does is shown all the more.
                    let is_shown = can_occur(collector, reason) || count > 0;
                    is_shown.then(|| counter(labels(), count as f64))
                })
            };
            scrape.parts.collectors.iter().flat_map(of).collect()
        }),
    },
];

/// Whether something of a collector's can be missing for this reason: series that can only
/// be zero help nobody.
const fn can_occur(collector: Collector, reason: Reason) -> bool {
    use Reason::{Hidden, LeftOut, Vanished};
    match collector {
        Collector::Process => true,
        // Networks are read one by one, whoever is in them.
        Collector::Network => !matches!(reason, LeftOut),
        // All of them are wanted, and whoever sees one sees its files.
        Collector::Cgroup => !matches!(reason, LeftOut | Hidden),
        // Nor does a machine end.
        Collector::Machine => !matches!(reason, LeftOut | Hidden | Vanished),
        // Their losses have counters of their own.
        Collector::Cpu | Collector::Docker => false,
    }
}

/// How a collector fared.
struct Fared {
    collector: Collector,
    /// Whether it told all that it should.
    is_complete: bool,
    /// How long it took, in ns; `None` if it did not say.
    duration_ns: Option<u64>,
}

/// Each collector that is shown, and how it fared.
fn fared(scrape: &Scrape) -> impl Iterator<Item = Fared> {
    let parts = &scrape.parts;
    parts.collectors.iter().map(|collector| match collector {
        Collector::Cpu => {
            Fared { collector, is_complete: true, duration_ns: Some(parts.snapshot_ns) }
        }
        Collector::Docker => {
            let docker = &parts.snapshot.docker;
            let duration_ns = (docker.list_ns > 0).then_some(docker.list_ns);
            Fared { collector, is_complete: docker.up, duration_ns }
        }
        Collector::Cgroup | Collector::Machine | Collector::Network | Collector::Process => {
            let mut outcomes = parts.readings.outcomes.iter();
            let outcome = outcomes.find(|it| it.collector == collector);
            let is_known = collector != Collector::Network || knows_networks(&parts.snapshot);
            Fared {
                collector,
                is_complete: is_known && outcome.is_some_and(|it| it.is_complete),
                duration_ns: outcome.map(|it| it.duration_ns),
            }
        }
    })
}

/// Whether it is known of all that run which network they are in, and so under whom what
/// crosses it is to be told.
fn knows_networks(snapshot: &Snapshot) -> bool {
    let network = &snapshot.network;
    let is_unknown = |it: &ContainerView| !it.cgroups.is_empty() && it.role == Some(Role::Unknown);
    (network.knows_host || !network.counts_interfaces)
        && !snapshot.containers.iter().any(is_unknown)
}
