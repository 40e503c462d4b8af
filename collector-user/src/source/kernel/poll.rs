//! Waiting for a ring buffer in the async runtime.
//!
//! Owns the promise that the descriptor stays the same and open; nothing else.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};

/// What can be waited for.
///
/// # Safety
/// Implementors own one descriptor for as long as they live, and never another.
pub(super) unsafe trait Pollable: AsFd + AsRawFd {}

// SAFETY: a `RingBuf` over `MapData` owns the map's descriptor until it is dropped.
unsafe impl Pollable for RingBuf<MapData> {}
// SAFETY: an `EbpfLogger` owns such a `RingBuf`.
unsafe impl<T> Pollable for EbpfLogger<T> {}

/// Registers a ring buffer with the runtime's poller.
pub(super) fn pollable<T: Pollable>(source: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: the descriptor is open and stays so: see `Pollable`.
    unsafe { AsyncFd::register_with_interest(source, Interest::READABLE) }.map_err(io::Error::from)
}
