//! The cgroup file system: which hierarchy to account by, the cgroups that are in it when
//! accounting begins, and what controllers' files tell of a cgroup.
//!
//! Owns the choice, the walk and the files. It must not read how much CPU a cgroup used
//! (the kernel's ledger is the source of that) nor decide which cgroup is a container.

mod controllers;
mod hierarchy;
mod mounts;
mod resources;
mod trust;
mod walk;

pub use controllers::Controllers;
pub use hierarchy::{Choice, Hierarchy, HierarchyError, Kind, Mode, Paths, detect, select};
pub use resources::ResourceReader;
pub use trust::distrust;
pub use walk::{FoundCgroup, Walk, walk};
