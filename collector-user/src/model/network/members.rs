//! Who is in which network, and under whom a network's traffic is told.
//!
//! Owns what containers' processes answered. Must not ask anyone.

use super::Seat;

/// What a container's processes say of their network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is the host's.
    Host,
    /// It is another one.
    In(Seat),
    /// There is no process.
    Empty,
    /// None of those asked could tell.
    Unknown,
}
