//! I/O in: the kernel, cgroupfs, Docker.

pub mod cgroupfs;
pub mod kernel;
