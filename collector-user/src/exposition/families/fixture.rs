//! A scrape in which every family has samples, for tests.

use std::sync::Arc;

use super::*;
use crate::model::{
    container::{ContainerId, ContainerMeta, DockerLosses},
    snapshot::{CgroupView, ContainerView, DockerHealth, Exited, LedgerHealth, SlotCounts},
};

/// 2024-01-02 03:04:05.678 UTC.
const TAKEN_AT_MS: u64 = 1_704_164_645_678;

pub(super) fn scrape(snapshot: Snapshot) -> Scrape {
    let web = WebCounts {
        scrapes: 41,
        scrapes_busy: 2,
        scrapes_unanswered: 1,
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
        readings: Readings::default(),
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
            container("a", Some(named), TAKEN_AT_MS, 3),
            container("b", None, TAKEN_AT_MS - 60_000, 1),
        ],
        cgroups: vec![CgroupView { path: "/init.scope".into(), usage: usage(2) }],
        exited: Exited { containers: 12, early: 1, usage: usage(4) },
        ledger: ledger(),
        slots: SlotCounts { free: 1_000, used: 23, retiring: 1 },
        docker: DockerHealth {
            up: true,
            disconnects: 2,
            lost: DockerLosses { containers: 3, inspections: 1 },
        },
    }
}

fn container(
    digit: &str,
    meta: Option<ContainerMeta>,
    last_seen_ms: u64,
    scale: u64,
) -> ContainerView {
    let id = digit.repeat(64);
    ContainerView {
        path: format!("/docker/{id}").into(),
        id: ContainerId::new(id),
        meta: meta.map(Arc::new),
        first_seen_ms: TAKEN_AT_MS - 3_601_000,
        last_seen_ms,
        usage: usage(scale),
        cgroups: Vec::new(),
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
    }
}

fn ledger() -> LedgerHealth {
    LedgerHealth {
        waits_known: true,
        idle_ns: 7_600_000_000_000,
        elapsed_ns: 20_000_000_000_000,
        overflow: usage(0),
        unattributed: Usage { runtime_ns: 1_500_000, ..Usage::default() },
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
