//! I/O in.
