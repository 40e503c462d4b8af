//! I/O in: the kernel, cgroupfs, `/proc`, Docker. Knows nothing of what is exposed.

pub mod cgroupfs;
pub mod docker;
pub mod files;
#[cfg(test)]
mod fixture;
pub mod kernel;
pub mod lookup;
mod losses;
pub mod machine;
pub mod namespaces;
pub mod network;
pub mod process;
mod stat;
pub mod survey;
mod text;
