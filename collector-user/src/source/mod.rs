//! I/O in: the kernel, cgroupfs, `/proc`, Docker. Knows nothing of what is exposed.

pub mod cgroupfs;
pub mod docker;
pub mod files;
pub mod kernel;
mod losses;
pub mod machine;
pub mod namespaces;
pub mod process;
pub mod survey;
mod text;
