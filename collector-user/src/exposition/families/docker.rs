//! [docker] Life of containers, and how the source of their names fares.

use prometheus::proto::MetricType;

use super::{Cases, Family, Samples, Stability, cases, counter, epoch_seconds, gauge};
use crate::model::{collectors::Collector, container::DockerLosses};

const LOST: &Cases<DockerLosses> = &[
    ("containers", |lost| lost.containers as f64),
    ("inspections", |lost| lost.inspections as f64),
];

pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "container_last_seen",
        kind: MetricType::GAUGE,
        help: "When the cgroup was last seen alive, in seconds since the epoch.",
        labels: &["id", "name", "image", "container_label_*"],
        collector: Some(Collector::Docker),
        source: "cgroup life cycle",
        stability: Stability::DropIn,
        samples: Samples::Accounts(|snapshot, subject| {
            let container = subject.container(snapshot);
            let seen_ms = container.map_or(snapshot.taken_at_ms, |it| it.last_seen_ms);
            Some(epoch_seconds(seen_ms))
        }),
    },
    Family {
        name: "container_start_time_seconds",
        kind: MetricType::GAUGE,
        help: "When the container was last started, in seconds since the epoch: as Docker \
               says, else when its cgroup was first seen.",
        labels: &["id", "name", "image", "container_label_*"],
        collector: Some(Collector::Docker),
        source: "Docker inspect: State.StartedAt; cgroup life cycle",
        stability: Stability::DropIn,
        samples: Samples::Accounts(|snapshot, subject| {
            subject.container(snapshot).map(|it| epoch_seconds(it.started_at_ms()))
        }),
    },
    Family {
        name: "slicemeter_docker_up",
        kind: MetricType::GAUGE,
        help: "Whether Docker's API answered last (1) or not (0: names may be missing or old).",
        labels: &[],
        collector: Some(Collector::Docker),
        source: "Docker API",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| {
            vec![gauge(vec![], f64::from(u8::from(scrape.parts.snapshot.docker.up)))]
        }),
    },
    Family {
        name: "slicemeter_docker_disconnects_total",
        kind: MetricType::COUNTER,
        help: "How often the connection to Docker's API was lost.",
        labels: &[],
        collector: Some(Collector::Docker),
        source: "Docker API",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| {
            vec![counter(vec![], scrape.parts.snapshot.docker.disconnects as f64)]
        }),
    },
    Family {
        name: "slicemeter_docker_lost_total",
        kind: MetricType::COUNTER,
        help: "What Docker could have told and is not known: containers left out of its list \
               because there were too many (in each list), inspections that were not made or \
               failed repeatedly.",
        labels: &["what"],
        collector: Some(Collector::Docker),
        source: "Docker API",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| {
            cases(counter, &scrape.parts.snapshot.docker.lost, "what", LOST)
        }),
    },
];
