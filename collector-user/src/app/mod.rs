//! Wiring and shutdown: the only place that knows everyone.
//!
//! Owns the order of start and stop. Must not account, read or render anything itself.

mod ledger;

use std::io;

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};

use crate::{
    args::{self, Config},
    exit,
    exposition::{self, SnapshotRequest, WebConfig},
    model::{accounts::Rules, container::DockerUpdate},
    source::{
        cgroupfs::{self, Hierarchy, HierarchyError},
        docker::{self, DockerConfig, LabelFilter},
        kernel::{self, Kernel, LoadError},
    },
};
use ledger::Ledger;

/// Snapshot requests that wait for the ledger: more than scrapes can be under way.
const REQUEST_QUEUE: usize = 64;

/// Docker's updates that wait for the ledger. When it is full the Docker source waits,
/// and Docker's own event stream holds what comes meanwhile.
const DOCKER_QUEUE: usize = 256;

/// Why the daemon does not start, or stopped without having been told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The async runtime, or a signal handler.
    #[error("cannot set up the process: {0}")]
    Process(#[source] io::Error),
    /// The listen address is taken, not ours, or not permitted.
    #[error("cannot listen on {address}: {source}; choose another with --web.listen-address")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// There is no cgroup hierarchy to account by.
    #[error(transparent)]
    Hierarchy(#[from] HierarchyError),
    /// The programs don't run.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl Error {
    /// The exit code that goes with it.
    pub fn exit_code(&self) -> exit::Code {
        match self {
            Self::Process(_) => exit::Code::Internal,
            Self::Listen { .. } => exit::Code::CannotListen,
            Self::Hierarchy(_) | Self::Load(_) => exit::Code::HostLacks,
        }
    }
}
