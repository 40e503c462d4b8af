//! Memory that the start used and running does not need.
//!
//! Owns one call into the C library; nothing else here may be unsafe.

/// Gives freed memory back to the kernel. Loading reads the kernel's type information,
/// megabytes of it, twice; glibc would keep them for a daemon that then lives on one.
pub(super) fn release_freed() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number, touches only free memory, and is thread-safe
    // (malloc_trim(3)).
    let _released_any = unsafe { libc::malloc_trim(0) };
}
