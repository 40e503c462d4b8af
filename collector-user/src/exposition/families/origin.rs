//! Collector `process`: the gauges of the `node_exporter` collector that this daemon replaces:
//! CPU and memory of each process of a container, and the container's network.
//!
//! Owns their labels (`id` is the container's id here, not its cgroup's path), and that no
//! series is there twice: one duplicate makes Prometheus refuse a whole scrape. Units are
//! the kernel's, as in that collector. Under whom a network is told that
//! several containers share is decided in the model.

use std::collections::{HashMap, HashSet};

use prometheus::proto::{LabelPair, Metric, MetricType};

use super::{Cases, Family, Samples, Scrape, Stability, cases, gauge, labels::name, pair};
use crate::model::{
    collectors::{Collector, Collectors},
    network::{Role, Traffic},
    processes::Process,
    readings::Readings,
    snapshot::{ContainerView, Snapshot},
    targets::HOST_PATH,
};

const PROCESS_COLLECTOR: Collectors = Collectors::NONE.with(Collector::Process);

/// Whose networks are told is of interest to both who tell of networks.
pub(super) const EITHER: Collectors = PROCESS_COLLECTOR.with(Collector::Network);

const PROCESS: &[&str] = &["id", "name", "type", "pid"];
const NETWORK: &[&str] = &["id", "name", "type"];

/// What these families show.
#[derive(Default)]
pub(super) struct Origin {
    /// Processes by container and pid; none twice.
    pub(super) processes: Vec<ProcessRow>,
    networks: Vec<NetworkRow>,
    host_traffic: Option<Traffic>,
    not_charged: NetworksNotCharged,
}

/// A process of a container.
#[derive(Clone, Copy)]
pub(super) struct ProcessRow {
    /// Place of its container in the snapshot.
    pub(super) container: usize,
    pub(super) process: Process,
}

/// The network of a container.
struct NetworkRow {
    /// Place of the container in the snapshot.
    container: usize,
    traffic: Traffic,
}

/// Containers without a network of their own, by the reason.
#[derive(Default)]
struct NetworksNotCharged {
    host: u64,
    runtime: u64,
    shared: u64,
    unknown: u64,
    empty: u64,
}

impl Origin {
    /// Takes what was read of processes and networks.
    pub(super) fn new(snapshot: &Snapshot, readings: &mut Readings) -> Self {
        let lives = |it: &(usize, &ContainerView)| !it.1.cgroups.is_empty();
        let containers: Vec<_> = snapshot.containers.iter().enumerate().filter(lives).collect();
        let host_traffic = readings.host_devices.as_ref().and_then(|all| {
            let mut physical = all.iter().filter(|it| it.is_physical).peekable();
            // A host without any has no traffic to tell, rather than none.
            physical.peek()?;
            Some(physical.map(|it| it.device.traffic).sum())
        });
        let mut origin = Self { host_traffic, ..Self::default() };
        origin.charge(&containers, readings);
        let count = readings.processes.values().map(|it| it.processes.len()).sum();
        origin.processes.reserve_exact(count);
        let mut seen = HashSet::with_capacity(count);
        for (place, container) in containers {
            let read = readings.processes.remove(&container.path).unwrap_or_default();
            let processes = read.processes.into_iter();
            // The same id can be at two places in the tree (a container in a container, made
            // from the same state); a process is at one, but it may move in between.
            let new = processes.filter(|it| seen.insert((container.id.as_str(), it.pid)));
            origin.processes.extend(new.map(|process| ProcessRow { container: place, process }));
        }
        readings.processes = HashMap::new();
        origin
    }

    /// Sums each network that is told under one container, and counts why others have none.
    fn charge(&mut self, containers: &[(usize, &ContainerView)], readings: &Readings) {
        let mut rows = HashMap::with_capacity(containers.len());
        for &(container, view) in containers {
            let NetworksNotCharged { host, runtime, shared, unknown, empty } =
                &mut self.not_charged;
            let devices = match (&view.role, readings.devices.get(&view.path)) {
                (Some(Role::Owner(_)), Some(devices)) => Ok(devices),
                (Some(Role::Host), _) => Err(host),
                (Some(Role::Runtimes), _) => Err(runtime),
                (Some(Role::Shared { .. }), _) => Err(shared),
                (Some(Role::Empty), _) => Err(empty),
                (Some(Role::Owner(_) | Role::Unknown) | None, _) => Err(unknown),
            };
            let devices = match devices {
                Ok(devices) => devices,
                Err(count) => {
                    *count += 1;
                    continue;
                }
            };
            let but_loopback = devices.iter().filter(|it| !it.is_loopback());
            let traffic: Traffic = but_loopback.map(|it| it.traffic).sum();
            let row = *rows.entry(view.id.as_str()).or_insert(self.networks.len());
            match self.networks.get_mut(row) {
                // The id is there already (see above): one series with all of it.
                Some(row) => row.traffic = row.traffic.plus(traffic),
                None => self.networks.push(NetworkRow { container, traffic }),
            }
        }
    }
}

/// Makes the labels of a process's sample, in place of those of another if there are any.
pub(super) fn set_labels(
    labels: &mut Vec<LabelPair>,
    container: &ContainerView,
    kind: &str,
    pid: u32,
) {
    if labels.is_empty() {
        labels.extend(PROCESS.iter().map(|name| pair(name, "")));
    }
    let values = [container.id.as_str(), name(container), kind, &pid.to_string()];
    for (label, value) in labels.iter_mut().zip(values) {
        if label.value() != value {
            label.set_value(value.to_owned());
        }
    }
}

pub(super) const FAMILIES: &[Family] = &[
    of_process(
        "node_container_cpu_utime",
        "CPU time of a container's process in user mode, in clock ticks (100 a second): all its \
         threads, the ended ones included.",
        "/proc/PID/stat: utime (14)",
        Samples::Processes("utime", |process| Some(process.times?.utime)),
    ),
    of_process(
        "node_container_cpu_stime",
        "CPU time of a container's process in the kernel, in clock ticks (100 a second): all its \
         threads, the ended ones included.",
        "/proc/PID/stat: stime (15)",
        Samples::Processes("stime", |process| Some(process.times?.stime)),
    ),
    of_process(
        "node_container_cpu_cutime",
        "CPU time in user mode of the ended children that a container's process has waited for, \
         in clock ticks (100 a second).",
        "/proc/PID/stat: cutime (16)",
        Samples::Processes("cutime", |process| Some(process.times?.cutime)),
    ),
    of_process(
        "node_container_cpu_cstime",
        "CPU time in the kernel of the ended children that a container's process has waited for, \
         in clock ticks (100 a second).",
        "/proc/PID/stat: cstime (17)",
        Samples::Processes("cstime", |process| Some(process.times?.cstime)),
    ),
    of_process(
        "node_container_memory_vmsize",
        "Virtual memory of a container's process, in kB (1024 bytes).",
        "/proc/PID/status: VmSize",
        Samples::Processes("vmsize", |process| process.memory.vmsize_kb),
    ),
    of_process(
        "node_container_memory_vmrss",
        "Resident memory of a container's process, in kB (1024 bytes).",
        "/proc/PID/status: VmRSS",
        Samples::Processes("vmrss", |process| process.memory.vmrss_kb),
    ),
    of_process(
        "node_container_memory_rssfile",
        "Resident memory of a container's process that is backed by files, in kB (1024 bytes).",
        "/proc/PID/status: RssFile",
        Samples::Processes("rssfile", |process| process.memory.rssfile_kb),
    ),
    network(
        "node_container_net_rxbytes",
        "Bytes received by all interfaces of a container's network but lo, since each was made; \
         under id=\"/\" those of the host's physical interfaces.",
        Samples::Own(|scrape| networks(scrape, "rx_bytes", |traffic| traffic.rx_bytes)),
    ),
    network(
        "node_container_net_rxpackets",
        "Packets received by all interfaces of a container's network but lo, since each was \
         made; under id=\"/\" those of the host's physical interfaces.",
        Samples::Own(|scrape| networks(scrape, "rx_packets", |traffic| traffic.rx_packets)),
    ),
    network(
        "node_container_net_txbytes",
        "Bytes sent by all interfaces of a container's network but lo, since each was made; \
         under id=\"/\" those of the host's physical interfaces.",
        Samples::Own(|scrape| networks(scrape, "tx_bytes", |traffic| traffic.tx_bytes)),
    ),
    network(
        "node_container_net_txpackets",
        "Packets sent by all interfaces of a container's network but lo, since each was made; \
         under id=\"/\" those of the host's physical interfaces.",
        Samples::Own(|scrape| networks(scrape, "tx_packets", |traffic| traffic.tx_packets)),
    ),
    Family {
        name: "slicemeter_networks_not_charged",
        kind: MetricType::GAUGE,
        help: "Running containers whose network is not told under them: host when they use the \
               host's, runtime when they use that of their runtime, which is neither the host's \
               nor a container's, shared when it is told under another container that was seen in \
               it first, unknown when it, or its net/dev, could not be read, empty when no process \
               is in the container.",
        labels: &["reason"],
        collectors: EITHER,
        source: "/proc/PID/ns/net, /proc/PID/net/dev",
        stability: Stability::Stable,
        samples: Samples::Own(|scrape| {
            cases(gauge, &scrape.origin.not_charged, "reason", NOT_CHARGED)
        }),
    },
];

const NOT_CHARGED: &Cases<NetworksNotCharged> = &[
    ("host", |networks| networks.host as f64),
    ("runtime", |networks| networks.runtime as f64),
    ("shared", |networks| networks.shared as f64),
    ("unknown", |networks| networks.unknown as f64),
    ("empty", |networks| networks.empty as f64),
];

const fn of_process(
    name: &'static str,
    help: &'static str,
    source: &'static str,
    samples: Samples,
) -> Family {
    let (kind, collectors) = (MetricType::GAUGE, PROCESS_COLLECTOR);
    let stability = Stability::NodeCollector;
    Family { name, kind, help, labels: PROCESS, collectors, source, stability, samples }
}

const fn network(name: &'static str, help: &'static str, samples: Samples) -> Family {
    Family { labels: NETWORK, ..of_process(name, help, "/proc/PID/net/dev", samples) }
}

fn networks(scrape: &Scrape, kind: &str, of: fn(&Traffic) -> u64) -> Vec<Metric> {
    let sample = |id: &str, name: &str, traffic: &Traffic| {
        gauge(vec![pair("id", id), pair("name", name), pair("type", kind)], of(traffic) as f64)
    };
    let host = scrape.origin.host_traffic.iter().map(|traffic| sample(HOST_PATH, "", traffic));
    let containers = scrape.origin.networks.iter().map(|row| {
        let container = &scrape.parts.snapshot.containers[row.container];
        sample(container.id.as_str(), name(container), &row.traffic)
    });
    host.chain(containers).collect()
}
