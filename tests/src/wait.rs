//! Bounded polling: nothing here waits for ever.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

/// Between two looks: short against everything that is waited for.
const POLL: Duration = Duration::from_millis(10);

/// Polls until `look` finds something.
///
/// Panics with `what` when it hasn't after `limit`.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    within(limit, &mut look).unwrap_or_else(|| panic!("no {what} after {limit:?}"))
}

/// Polls until `look` finds something, or `limit` is over.
pub fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if started.elapsed() > limit {
            return None;
        }
        sleep(POLL);
    }
}
