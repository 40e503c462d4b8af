//! Out: metric families (pure), HTTP, and what the daemon tells of itself.
//!
//! Owns everything that a client can see. It never meets `source`: whoever owns the
//! accounts answers a [`SnapshotRequest`], whoever reads files a [`ReadingsRequest`], and
//! that is all this module asks of anyone.

mod body;
mod build;
mod config;
mod connection;
mod deadline;
#[cfg(test)]
mod docs;
pub mod families;
mod format;
mod http;
mod landing;
pub mod process;
mod query;
pub mod web_stats;

use std::sync::Arc;

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

pub use self::{
    build::BuildInfo,
    config::{Limits, TelemetryPath, TelemetryPathError, WebConfig},
    connection::{Drained, serve},
    format::Format,
};
use crate::model::{collectors::Collectors, readings::Readings, snapshot::Snapshot};

/// Asks the owner of the accounts for a fresh snapshot; dropped unanswered, the
/// scrape is refused.
pub type SnapshotRequest = oneshot::Sender<Arc<Snapshot>>;

/// Asks for what files tell of the cgroups in a snapshot. It is answered by the deadline,
/// with whatever was read until then; dropped unanswered, the scrape is refused.
#[derive(Debug)]
pub struct ReadingsRequest {
    /// Whose files to read.
    pub snapshot: Arc<Snapshot>,
    /// Which collectors to ask; those that read no files are not their concern.
    pub collectors: Collectors,
    /// When the answer must be there.
    pub deadline: Instant,
    /// Where it goes.
    pub reply: oneshot::Sender<Readings>,
}

/// Where a scrape's questions go.
#[derive(Clone, Debug)]
pub struct Questions {
    /// To the owner of the accounts.
    pub snapshots: mpsc::Sender<SnapshotRequest>,
    /// To the reader of files.
    pub readings: mpsc::Sender<ReadingsRequest>,
}
