//! The accounting itself: pure values and arithmetic.
//!
//! Same samples and events in, same snapshot out. Nothing here reads a clock, a
//! file or a socket; time arrives as a value. It imports std, thiserror and the
//! ABI's constants, and so can neither block nor fail for outside reasons.

pub mod accounts;
pub mod cgroups;
pub mod collectors;
pub mod container;
pub mod container_id;
pub mod losses;
pub mod moment;
pub mod network;
pub mod processes;
pub mod readings;
pub mod resources;
pub mod snapshot;
pub mod targets;
pub mod usage;
