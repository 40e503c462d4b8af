//! How each collector fared: `slicemeter_collector_*`.

use prometheus::proto::MetricType;

use super::{Family, Samples, Scrape, Stability, counter, gauge, pair, seconds};
use crate::model::{collectors::Collector, losses::Reason, readings::Outcome};

pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "slicemeter_collector_success",
        kind: MetricType::GAUGE,
        help: "Whether the collector told in this scrape all that it should (1) or not (0: see \
               slicemeter_collector_missing_total; for docker: its API did not answer last).",
        labels: &["collector"],
        collector: None,
        source: "the collector",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| {
            let of = |(collector, outcome): (Collector, Option<Outcome>)| {
                let is_complete = outcome.is_some_and(|it| it.is_complete);
                gauge(vec![pair("collector", collector.name())], f64::from(u8::from(is_complete)))
            };
            outcomes(scrape).map(of).collect()
        }),
    },
    Family {
        name: "slicemeter_collector_duration_seconds",
        kind: MetricType::GAUGE,
        help: "How long the collector took in this scrape, in seconds: cpu until the accounts \
               were there; cgroup, machine and process in reading files, added up over those \
               read side by side; docker for its last list of all containers.",
        labels: &["collector"],
        collector: None,
        source: "the collector",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| {
            let of = |(collector, outcome): (Collector, Option<Outcome>)| {
                let labels = vec![pair("collector", collector.name())];
                Some(gauge(labels, seconds(outcome?.duration_ns)))
            };
            outcomes(scrape).filter_map(of).collect()
        }),
    },
    Family {
        name: "slicemeter_collector_missing_total",
        kind: MetricType::COUNTER,
        help: "What collectors should have told and did not, by the reason; counted in every \
               scrape in which it is missing. docs/metrics.md says what each reason means.",
        labels: &["collector", "reason"],
        collector: None,
        source: "the collector",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| {
            let losses = &scrape.parts.readings.losses;
            let of = |collector: Collector| {
                Reason::ALL.into_iter().map(move |reason| {
                    let names = [("collector", collector.name()), ("reason", reason.name())];
                    let labels = names.map(|(name, value)| pair(name, value)).into();
                    counter(labels, losses.get(collector, reason) as f64)
                })
            };
            let shown = scrape.parts.collectors.iter();
            shown.filter(|collector| collector.reads_files()).flat_map(of).collect()
        }),
    },
];

/// Each collector that is shown, and how it fared; `None` if it did not say.
fn outcomes(scrape: &Scrape) -> impl Iterator<Item = (Collector, Option<Outcome>)> {
    let parts = &scrape.parts;
    parts.collectors.iter().map(|collector| {
        let outcome = match collector {
            Collector::Cpu => {
                Some(Outcome { collector, is_complete: true, duration_ns: parts.snapshot_ns })
            }
            Collector::Docker => {
                let docker = &parts.snapshot.docker;
                let (is_complete, duration_ns) = (docker.up, docker.list_ns);
                Some(Outcome { collector, is_complete, duration_ns })
            }
            Collector::Cgroup | Collector::Machine | Collector::Process => {
                let mut outcomes = parts.readings.outcomes.iter();
                outcomes.find(|it| it.collector == collector).copied()
            }
        };
        (collector, outcome)
    })
}
