//! Slicemeter's daemon: every container's CPU from the scheduler's own ledger,
//! served to Prometheus.
//!
//! # Layout
//! - [`args`]: the command line, parsed and validated before anything is loaded.
//! - [`authority`]: `HOST[:PORT]` as people write it.
//! - [`errors`]: an error and its causes, in one line.
//! - [`exit`]: the exit codes, all of them.
//! - [`logging`]: lines on stderr, and nothing that can stop the daemon.
//! - [`preflight`]: what this host lacks, all of it at once.
//! - [`app`]: wiring and shutdown; the only place that knows everyone.
//! - [`model`]: pure accounting: no clock, no I/O, no async.
//! - [`source`]: I/O in: kernel maps, cgroupfs, Docker.
//! - [`exposition`]: out: metric families (pure), HTTP, self-telemetry.

pub mod app;
pub mod args;
pub mod authority;
pub mod errors;
pub mod exit;
pub mod exposition;
pub mod logging;
pub mod model;
pub mod preflight;
pub mod source;
