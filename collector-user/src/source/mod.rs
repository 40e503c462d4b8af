//! I/O in: the kernel, cgroupfs, Docker. Knows nothing of what is exposed.

pub mod cgroupfs;
pub mod docker;
pub mod kernel;
