//! What the web server did, refused and cut.
//!
//! Owns the counters; the server counts, a scrape reads a copy.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A counter or a level that tasks share. Relaxed, because each stands for itself.
#[derive(Debug, Default)]
pub(super) struct Tally(AtomicU64);

impl Tally {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Takes one off a level.
    pub(super) fn remove(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The live counters; see [`WebCounts`] for their meaning.
#[derive(Debug, Default)]
pub(super) struct WebStats {
    pub(super) scrapes: Tally,
    pub(super) scrapes_busy: Tally,
    pub(super) scrapes_ledger_silent: Tally,
    pub(super) scrapes_files_silent: Tally,
    pub(super) scrapes_bad_query: Tally,
    pub(super) connections_open: Tally,
    pub(super) connections: Tally,
    pub(super) connections_refused: Tally,
    pub(super) cut_slow_reader: Tally,
    pub(super) cut_slow_request: Tally,
    pub(super) cut_bad_request: Tally,
    pub(super) cut_internal_error: Tally,
    pub(super) accept_errors: Tally,
}

/// A copy of the web server's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebCounts {
    /// Scrapes accepted.
    pub scrapes: u64,
    /// Scrapes refused because as many as allowed were being served.
    pub scrapes_busy: u64,
    /// Scrapes refused because the ledger gave no snapshot in time.
    pub scrapes_ledger_silent: u64,
    /// Scrapes refused because the reader of files did not answer in time.
    pub scrapes_files_silent: u64,
    /// Scrapes refused because their query asked for what there is not.
    pub scrapes_bad_query: u64,
    /// Connections open now.
    pub connections_open: u64,
    /// Connections taken.
    pub connections: u64,
    /// Connections closed at once because too many were open.
    pub connections_refused: u64,
    /// Connections cut because the client read too slowly.
    pub cut_slow_reader: u64,
    /// Connections cut because a request's head took too long.
    pub cut_slow_request: u64,
    /// Connections cut because what came was no HTTP, or too long a head.
    pub cut_bad_request: u64,
    /// Connections that ended because serving them panicked.
    pub cut_internal_error: u64,
    /// Failures of accept(2).
    pub accept_errors: u64,
}

impl WebStats {
    pub(super) fn counts(&self) -> WebCounts {
        WebCounts {
            scrapes: self.scrapes.get(),
            scrapes_busy: self.scrapes_busy.get(),
            scrapes_ledger_silent: self.scrapes_ledger_silent.get(),
            scrapes_files_silent: self.scrapes_files_silent.get(),
            scrapes_bad_query: self.scrapes_bad_query.get(),
            connections_open: self.connections_open.get(),
            connections: self.connections.get(),
            connections_refused: self.connections_refused.get(),
            cut_slow_reader: self.cut_slow_reader.get(),
            cut_slow_request: self.cut_slow_request.get(),
            cut_bad_request: self.cut_bad_request.get(),
            cut_internal_error: self.cut_internal_error.get(),
            accept_errors: self.accept_errors.get(),
        }
    }
}
