//! Out: metric families (pure), HTTP, and what the daemon tells of itself.
//!
//! Owns everything that a client can see. It never meets `source`: whoever owns the
//! accounts answers a [`SnapshotRequest`], and that is all this module asks of them.

mod body;
mod build;
mod config;
mod connection;
#[cfg(test)]
mod docs;
pub mod families;
mod http;
mod landing;
pub mod process;
pub mod web_stats;

use std::sync::Arc;

use tokio::sync::oneshot;

pub use self::{
    build::BuildInfo,
    config::{Limits, TelemetryPath, TelemetryPathError, WebConfig},
    connection::{Drained, serve},
};
use crate::model::snapshot::Snapshot;

/// Asks the owner of the accounts for a fresh snapshot; dropped unanswered, the
/// scrape is refused.
pub type SnapshotRequest = oneshot::Sender<Arc<Snapshot>>;
