//! I/O in.

pub mod cgroupfs;
pub mod docker;

#[cfg(test)]
mod scratch;
