//! A scrape in which every family has samples, for tests.

use std::sync::Arc;

use super::*;
use crate::model::{
    container::{ContainerId, ContainerMeta, DockerLosses},
    losses::{Losses, Reason},
    network::{
        Device, HostDevice, InterfaceView, Link, NetworkHealth, NetworkView, Role, Seat, Traffic,
        audit::{Checks, Verdict},
    },
    processes::{ContainerProcesses, CpuTicks, Memory},
    readings::{Machine, Outcome},
    resources::{self, Bandwidth, Limit, Pressure, Pressures},
    snapshot::{CgroupView, ContainerView, DockerHealth, Exited, LedgerHealth, SlotCounts},
    targets::HOST_PATH,
};

/// 2024-01-02 03:04:05.678 UTC.
const TAKEN_AT_MS: u64 = 1_704_164_645_678;

pub(super) fn scrape(snapshot: Snapshot) -> Scrape {
    let web = WebCounts {
        scrapes: 41,
        scrapes_busy: 2,
        scrapes_ledger_silent: 1,
        scrapes_files_silent: 11,
        scrapes_bad_query: 12,
        connections_open: 3,
        connections: 17,
        connections_refused: 4,
        cut_slow_reader: 5,
        cut_slow_request: 6,
        cut_bad_request: 7,
        cut_internal_error: 9,
        accept_errors: 8,
    };
    let process = ProcessUsage {
        cpu_seconds: Some(1.25),
        resident_bytes: Some(9_437_184.0),
        virtual_bytes: Some(123_456_789.0),
        open_fds: Some(23.0),
        max_fds: Some(1024.0),
        start_time_seconds: Some(1_704_160_000.5),
        threads: Some(2.0),
        read_failures: 0,
        log_write_failures: 10,
    };
    let build = BuildInfo { version: "1.2.3", revision: Some("0123abc"), rustc: Some("1.95.0") };
    Scrape::new(Parts {
        snapshot: Arc::new(snapshot),
        snapshot_ns: 250_000,
        readings: readings(),
        collectors: Collectors::ALL,
        web,
        process,
        build,
    })
}

pub(super) fn snapshot() -> Snapshot {
    let compose = [
        ("com.docker.compose.project", "shop"),
        ("com.docker.compose.project.working_dir", "C:\\srv\\\"shop\"\nline two, é"),
        ("com.docker.compose.service", "web"),
    ];
    let named = ContainerMeta {
        name: "shop-web-1".into(),
        image: "registry.example.org/shop/web:1.2".into(),
        started_at_ms: Some(TAKEN_AT_MS - 3_600_000),
        labels: compose.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
    };
    Snapshot {
        taken_at_ms: TAKEN_AT_MS,
        host: usage(10),
        containers: vec![
            ContainerView {
                cgroups: vec![path("a").into()],
                role: Some(Role::Owner(Seat { netns: 4_026_532_000, pid: 4_001 })),
                interfaces: vec![
                    interface("eth0", Link::Veth, 3),
                    interface("lo", Link::Loopback, 5),
                    interface("mac0", Link::Stacked, 7),
                ],
                ..container("a", Some(named), TAKEN_AT_MS, 3)
            },
            ContainerView {
                interfaces: vec![interface("eth0", Link::Veth, 2)],
                ..container("b", None, TAKEN_AT_MS - 60_000, 1)
            },
            ContainerView {
                cgroups: vec![path("c").into()],
                role: Some(Role::Shared { owner: path("a").into() }),
                ..container("c", None, TAKEN_AT_MS, 1)
            },
        ],
        cgroups: vec![CgroupView { path: "/init.scope".into(), usage: usage(2) }],
        exited: Exited { containers: 12, early: 1, usage: usage(4) },
        ledger: ledger(),
        slots: SlotCounts { free: 1_000, used: 23, retiring: 1 },
        docker: DockerHealth {
            up: true,
            list_ns: 4_500_000,
            disconnects: 2,
            lost: DockerLosses { containers: 3, inspections: 1 },
        },
        network: network(),
        degraded: Arc::new(["the tick can't be seen: \"slices\" are guessed".to_owned()]),
    }
}

/// All of it, but nothing that must be chosen.
fn network() -> NetworkView {
    let mut checks = Checks::default();
    for (verdict, count) in Verdict::ALL.into_iter().zip(40..) {
        (0..count).for_each(|_| checks.count(verdict));
    }
    let mut losses = Losses::default();
    losses.count_many(Collector::Network, Reason::Vanished, 3);
    NetworkView {
        counts_interfaces: true,
        counts_sockets: true,
        knows_host: true,
        host: vec![interface("docker0", Link::Bridge, 50), interface("enp1s0", Link::Physical, 80)],
        exited: traffic(6),
        unattributed: traffic(8),
        overflow: traffic(9),
        merged: 11,
        slots: SlotCounts { free: 2_000, used: 45, retiring: 3 },
        health: NetworkHealth {
            events_dropped: 12,
            slots_exhausted: 13,
            interfaces_exhausted: 14,
            cache_misses: 15,
            packets_missed: 16,
        },
        checks,
        losses,
        ..NetworkView::default()
    }
}

pub(super) fn interface(name: &str, link: Link, scale: u64) -> InterfaceView {
    InterfaceView { name: name.into(), link, traffic: Some(traffic(scale)) }
}

/// A line of `net/dev`.
pub(super) fn device(name: &str, scale: u64) -> Device {
    Device {
        name: name.into(),
        traffic: traffic(scale),
        rx_errors: scale,
        rx_dropped: scale * 10,
        tx_errors: scale * 100,
        tx_dropped: scale * 1_000,
    }
}

fn container(
    digit: &str,
    meta: Option<ContainerMeta>,
    last_seen_ms: u64,
    scale: u64,
) -> ContainerView {
    ContainerView {
        path: path(digit).into(),
        id: ContainerId::new(digit.repeat(64)),
        meta: meta.map(Arc::new),
        first_seen_ms: TAKEN_AT_MS - 3_601_000,
        last_seen_ms,
        usage: usage(scale),
        cgroups: Vec::new(),
        role: None,
        interfaces: Vec::new(),
    }
}

/// Some usage; `scale` tells accounts apart.
fn usage(scale: u64) -> Usage {
    let histogram = |sum_ns| Log2Histogram {
        buckets: std::array::from_fn(|index| scale * (index as u64 % 5)),
        sum_ns,
    };
    Usage {
        runtime_ns: scale * 1_234_567_890_123,
        voluntary: scale * 1_001,
        involuntary: scale * 17,
        slices: histogram(scale * 1_234_567_000_000),
        waits: histogram(scale * 2_000_000_001),
        sockets: traffic(scale),
    }
}

/// Path of the container whose id is that digit.
fn path(digit: &str) -> String {
    format!("/docker/{}", digit.repeat(64))
}

/// What files tell of [`snapshot`]'s first container, of the host and of the other cgroup.
pub(super) fn readings() -> Readings {
    let mut losses = Losses::default();
    losses.count_many(Collector::Process, Reason::Vanished, 7);
    losses.count_many(Collector::Cgroup, Reason::Denied, 2);
    losses.count_many(Collector::Network, Reason::Vanished, 4);
    let host_cpu = resources::Cpu { user_ns: Some(9_000_000_000), ..resources::Cpu::default() };
    let outcome =
        |collector, is_complete, duration_ns| Outcome { collector, is_complete, duration_ns };
    Readings {
        processes: [(path("a").into(), processes())].into(),
        devices: [(path("a").into(), devices())].into(),
        host_devices: Some(vec![
            HostDevice { device: device("lo", 1), is_physical: false },
            HostDevice { device: device("enp1s0", 100), is_physical: true },
            HostDevice { device: device("docker0", 60), is_physical: false },
        ]),
        resources: [
            (HOST_PATH.into(), Resources { cpu: host_cpu, ..Resources::default() }),
            (path("a").into(), resources()),
            ("/init.scope".into(), Resources { processes: Some(1), ..Resources::default() }),
        ]
        .into(),
        machine: Machine { cores: Some(2), memory_bytes: Some(8_589_934_592) },
        outcomes: vec![
            outcome(Collector::Cgroup, false, 1_200_000),
            outcome(Collector::Machine, true, 30_000),
            outcome(Collector::Network, true, 400_000),
            outcome(Collector::Process, true, 2_500_000),
        ],
        losses,
    }
}

fn processes() -> ContainerProcesses {
    let times = CpuTicks { utime: 1_234, stime: 567, cutime: 89, cstime: 10 };
    let memory =
        Memory { vmsize_kb: Some(123_456), vmrss_kb: Some(7_890), rssfile_kb: Some(4_321) };
    ContainerProcesses {
        is_empty: false,
        processes: vec![
            Process { pid: 4_001, times: Some(times), memory },
            // A zombie, and one that ended while it was read.
            Process { pid: 4_002, times: Some(CpuTicks::default()), memory: Memory::default() },
            Process { pid: 4_003, ..Process::default() },
        ],
    }
}

/// Two that carried packets while they were counted, one before that only, and one never.
fn devices() -> Vec<Device> {
    vec![
        device("lo", 5),
        device("eth0", 30),
        device("mac0", 7),
        device("old0", 1),
        device("new0", 0),
    ]
}

pub(super) fn traffic(scale: u64) -> Traffic {
    Traffic {
        rx_bytes: scale * 654_321,
        rx_packets: scale * 432,
        tx_bytes: scale * 98_765,
        tx_packets: scale * 321,
    }
}

/// A container with a quota and a limit of memory, and none of swap.
fn resources() -> Resources {
    let pressure =
        |scale: u64| Pressure { some_us: Some(scale * 1_500), full_us: Some(scale * 500) };
    Resources {
        cpu: resources::Cpu {
            user_ns: Some(2_500_000_000_000),
            system_ns: Some(1_200_000_000_000),
            bandwidth: Bandwidth {
                periods: Some(36_000),
                throttled_periods: Some(1_200),
                throttled_ns: Some(61_500_000_000),
            },
            quota_us: Some(50_000),
            period_us: Some(100_000),
            shares: Some(1_024),
        },
        memory: resources::Memory {
            usage: Some(50_331_648),
            inactive_file: Some(8_388_608),
            max_usage: Some(67_108_864),
            anon: Some(29_360_128),
            file: Some(16_777_216),
            swap: Some(0),
            kernel: Some(4_194_304),
            mapped_file: Some(2_097_152),
            limit_hits: Some(15),
            oom_kills: Some(1),
            limit: Some(Limit::Bytes(67_108_864)),
            swap_limit: Some(Limit::Unlimited),
        },
        pressure: Pressures { cpu: pressure(100), memory: pressure(10), io: pressure(1) },
        processes: Some(3),
        threads: Some(17),
    }
}

fn ledger() -> LedgerHealth {
    LedgerHealth {
        waits_known: true,
        idle_ns: 7_600_000_000_000,
        elapsed_ns: 20_000_000_000_000,
        overflow: usage(0),
        unattributed: Usage { runtime_ns: 1_500_000, sockets: traffic(1), ..Usage::default() },
        missed_repaired: 31,
        missed_unrepaired: 2,
        lost_ns: 4_200,
        events_dropped: 0,
        slots_exhausted: 1,
        ids_exhausted: 0,
        read_retries: 9,
        read_failures: 0,
        walk_errors: 1,
        kernel_memory_bytes: 3_145_728,
    }
}
