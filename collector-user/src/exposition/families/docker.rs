//! [docker] How the source of the containers' names fares; and, with whoever tells of
//! containers at all, their life.

use prometheus::proto::MetricType;

use super::{Cases, Family, Samples, Stability, cases, counter, epoch_seconds, gauge};
use crate::model::{
    collectors::{Collector, Collectors},
    container::DockerLosses,
};

const DOCKER: Collectors = Collectors::NONE.with(Collector::Docker);

/// When a container lives is known from its cgroup, whatever runtime it has: on a host
/// without Docker, too.
const DOCKER_OR_CPU: Collectors = DOCKER.with(Collector::Cpu);

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
        collectors: DOCKER_OR_CPU,
        source: "the cgroup's life cycle",
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
        collectors: DOCKER_OR_CPU,
        source: "Docker's API (inspect: State.StartedAt), the cgroup's life cycle",
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
        collectors: DOCKER,
        source: "Docker's API",
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
        collectors: DOCKER,
        source: "Docker's API",
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
        collectors: DOCKER,
        source: "Docker's API",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| {
            cases(counter, &scrape.parts.snapshot.docker.lost, "what", LOST)
        }),
    },
];
