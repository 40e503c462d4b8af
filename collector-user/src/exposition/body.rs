//! The body of a scrape: text in pieces, as fast as the client takes them.
//!
//! Owns the bound on how long one answer may take. It does not render: that is
//! [`Rendering`]'s part.

use std::{sync::Arc, time::Duration};

use axum::body::Bytes;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{families::Rendering, web_stats::WebStats};

/// Bytes handed over at once. Between two pieces the deadline is looked at, so it
/// must be small beside what a stalled client's socket buffers hold.
const PIECE_BYTES: usize = 64 * 1024;

/// Why a body ended before its time. Hyper then closes the connection without the
/// last chunk, so that the client sees that something is missing.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the client did not read its answer within {0:?}")]
    SlowReader(Duration),
    #[error("cannot render a metric family")]
    Render(#[source] prometheus::Error),
}

/// Pieces of a rendering, until it ends or the client's time is up.
pub(super) struct MeteredText {
    rendering: Rendering,
    /// What is left of the family rendered last.
    rest: Bytes,
    limit: Duration,
    deadline: Instant,
    stats: Arc<WebStats>,
    /// Held until all is handed over: it is what bounds the memory of answers.
    _permit: OwnedSemaphorePermit,
    ended: bool,
}

impl MeteredText {
    pub(super) fn new(
        rendering: Rendering,
        limit: Duration,
        stats: Arc<WebStats>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let deadline = Instant::now() + limit;
        let rest = Bytes::new();
        Self { rendering, rest, limit, deadline, stats, _permit: permit, ended: false }
    }

    fn piece(&mut self) -> Option<Result<Bytes, BodyError>> {
        if self.rest.is_empty() {
            match self.rendering.next()? {
                Ok(text) => self.rest = text.into(),
                Err(error) => return Some(Err(BodyError::Render(error))),
            }
        }
        if Instant::now() > self.deadline {
            self.stats.cut_slow_reader.add();
            return Some(Err(BodyError::SlowReader(self.limit)));
        }
        Some(Ok(self.rest.split_to(self.rest.len().min(PIECE_BYTES))))
    }
}

impl Iterator for MeteredText {
    type Item = Result<Bytes, BodyError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let piece = self.piece();
        self.ended = !matches!(piece, Some(Ok(_)));
        piece
    }
}
