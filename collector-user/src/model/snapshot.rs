//! One immutable picture of all accounts: what a scrape reads.
//!
//! Owns the shape that `exposition` renders; holds integers only, and no decision
//! about names or units on the wire.

use std::sync::Arc;

use super::{
    container::{ContainerId, ContainerMeta, DockerLosses},
    network::{InterfaceView, NetworkView, Role},
    usage::Usage,
};

/// Everything that one scrape can say about usage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// When it was taken, in ms since the epoch.
    pub taken_at_ms: u64,
    /// Everything that ran on any CPU, whoever's it was; idle apart.
    pub host: Usage,
    /// Containers, live and retained, by path.
    pub containers: Vec<ContainerView>,
    /// Cgroups that are neither a container nor inside one, by path; the root is
    /// [`Snapshot::host`]. Empty unless asked for. Each covers its whole subtree.
    pub cgroups: Vec<CgroupView>,
    /// Usage of containers whose series have ended.
    pub exited: Exited,
    /// How well the ledger was kept.
    pub ledger: LedgerHealth,
    /// What became of the slots.
    pub slots: SlotCounts,
    /// How the Docker source fares.
    pub docker: DockerHealth,
    /// Packets, but those in the containers' accounts.
    pub network: NetworkView,
    /// What the running kernel can't tell or do, for people.
    pub degraded: Arc<[String]>,
}

/// A container's account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerView {
    /// Cgroup path from the hierarchy's root.
    pub path: Arc<str>,
    /// Its id, from the path.
    pub id: ContainerId,
    /// Who it is, once its runtime has told; shared with the accounts.
    pub meta: Option<Arc<ContainerMeta>>,
    /// When its cgroup was first seen, in ms since the epoch.
    pub first_seen_ms: u64,
    /// When it was last seen alive, in ms since the epoch.
    pub last_seen_ms: u64,
    /// Its usage: nested cgroups included, nested containers not.
    pub usage: Usage,
    /// Paths of its cgroups that are in the tree, its own first; none once it has ended.
    pub cgroups: Vec<Arc<str>>,
    /// Which network it uses; `None` once it has ended, while it is new and has not told yet, or
    /// if nobody asks.
    pub role: Option<Role>,
    /// Interfaces whose traffic is told under it, by name; those that are gone, too.
    pub interfaces: Vec<InterfaceView>,
}

impl ContainerView {
    /// When it was last started, in ms since the epoch: as its runtime says, else when its
    /// cgroup was first seen.
    pub fn started_at_ms(&self) -> u64 {
        let told = self.meta.as_ref().and_then(|meta| meta.started_at_ms);
        told.unwrap_or(self.first_seen_ms)
    }
}

/// The account of a cgroup that is no container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupView {
    /// Cgroup path from the hierarchy's root.
    pub path: Arc<str>,
    /// Usage of its whole subtree.
    pub usage: Usage,
}

/// Roll-up of containers that are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exited {
    /// How many series have ended.
    pub containers: u64,
    /// How many of them before their time, because more had ended than are retained.
    pub early: u64,
    /// Their usage.
    pub usage: Usage,
}

/// How well the ledger was kept, over all CPUs, since accounting began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerHealth {
    /// Whether this kernel tells how long tasks wait; all waits are zero if not.
    pub waits_known: bool,
    /// Time of the idle tasks in ns.
    pub idle_ns: u64,
    /// CPUs × time in ns since each CPU's first switch was seen.
    pub elapsed_ns: u64,
    /// Usage of known cgroups that have no slot of their own.
    pub overflow: Usage,
    /// Usage of cgroups that are not known.
    pub unattributed: Usage,
    /// Switches without a tracepoint whose slice the ledger gave back.
    pub missed_repaired: u64,
    /// Switches without a tracepoint whose slice is lost.
    pub missed_unrepaired: u64,
    /// Time in ns that stands for missed switches and is nobody's.
    pub lost_ns: u64,
    /// Cgroup events that found the ring buffer full.
    pub events_dropped: u64,
    /// Cgroups that found no free slot at their creation.
    pub slots_exhausted: u64,
    /// Cgroups that found the id map full at their creation.
    pub ids_exhausted: u64,
    /// Reads of a CPU's record repeated because the CPU was writing it.
    pub read_retries: u64,
    /// Reads of a CPU's record given up after the last retry: the slice in flight
    /// was left out of that one read.
    pub read_failures: u64,
    /// Walks of the cgroup tree that failed, in whole or in part.
    pub walk_errors: u64,
    /// Kernel memory of all maps in bytes.
    pub kernel_memory_bytes: u64,
}

/// What became of the slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotCounts {
    /// Waiting for a cgroup.
    pub free: u64,
    /// Owned by a cgroup.
    pub used: u64,
    /// Of a cgroup that is gone, not yet read for the last time and cleared.
    pub retiring: u64,
}

/// How the Docker source fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DockerHealth {
    /// Whether its API answered last.
    pub up: bool,
    /// How long its last list of all containers took, in ns; zero before the first.
    pub list_ns: u64,
    /// How often the connection to it was lost.
    pub disconnects: u64,
    /// What it could not take in.
    pub lost: DockerLosses,
}
