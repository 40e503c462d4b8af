//! The cgroup file system: which hierarchy to account by, and the cgroups that are
//! in it when accounting begins.
//!
//! Owns the choice and the walk. It must not read usage (the kernel's ledger is the
//! source of that) nor decide which cgroup is a container.

mod controllers;
mod hierarchy;
mod mounts;
mod resources;
mod walk;

pub use controllers::Controllers;
pub use hierarchy::{Choice, Hierarchy, HierarchyError, Kind, Mode, Paths, detect};
pub use resources::ResourceReader;
pub use walk::{FoundCgroup, Walk, walk};
