//! How long one scrape may take.
//!
//! Owns the reading of the header by which Prometheus says when it will give up, and how
//! that time is shared out. It reads no clock: the beginning is handed in.

use std::time::Duration;

use axum::http::HeaderMap;
use tokio::time::Instant;

use super::config::Limits;

/// In how many seconds the scraper gives up, as a decimal number.
const TIMEOUT_HEADER: &str = "X-Prometheus-Scrape-Timeout-Seconds";

/// Less than this makes no sense: no answer is out in that time, and no Prometheus asks so.
pub(super) const SHORTEST_SECONDS: f64 = 0.01;

/// Who would wait longer gets this long: no file that will still answer takes as much, and
/// a scrape holds one of few places (`--web.max-requests`) all the while.
pub(super) const LONGEST_SECONDS: f64 = 30.0;

/// What is kept back of the time for rendering, the network and the client: a part of it...
const ALLOWANCE_SHARE: u32 = 10;

/// ... but no more than this: it is enough for tens of megabytes.
const ALLOWANCE_LIMIT: Duration = Duration::from_millis(500);

/// From when files must be read until their reader counts as silent: with less, a reader
/// that answers just in time would be taken for one that does not.
const SHORTEST_SILENCE: Duration = Duration::from_millis(10);

/// When the steps of a scrape must be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deadlines {
    /// When the scrape began.
    pub(super) begun: Instant,
    /// The snapshot.
    pub(super) snapshot: Instant,
    /// Everything that is read from files. The snapshot must be there by then, too.
    pub(super) readings: Instant,
    /// Half of the allowance later, or a little more: whoever reads files has answered by the
    /// deadline, or will not answer.
    pub(super) silence: Instant,
}

impl Deadlines {
    /// Those of a scrape with this head that began then.
    pub(super) fn of(headers: &HeaderMap, limits: &Limits, begun: Instant) -> Self {
        let time = told(headers).unwrap_or(limits.scrape);
        let allowance = (time / ALLOWANCE_SHARE).min(ALLOWANCE_LIMIT);
        let readings = begun + time.saturating_sub(allowance);
        Self {
            begun,
            snapshot: readings.min(begun + limits.snapshot),
            readings,
            silence: readings + (allowance / 2).max(SHORTEST_SILENCE),
        }
    }
}

/// The time that the header tells, if that makes sense; no more than the longest.
fn told(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get(TIMEOUT_HEADER)?.to_str().ok()?.trim().parse().ok()?;
    let is_sensible = seconds.is_finite() && seconds >= SHORTEST_SECONDS;
    is_sensible.then(|| Duration::from_secs_f64(seconds.min(LONGEST_SECONDS)))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn of(value: Option<&[u8]>) -> (Duration, Duration, Duration) {
        let name = HeaderName::from_bytes(TIMEOUT_HEADER.as_bytes()).expect("a name");
        let header = value.map(|it| (name, HeaderValue::from_bytes(it).expect("a value")));
        let begun = Instant::now();
        let limits = Limits::default();
        let found = Deadlines::of(&header.into_iter().collect(), &limits, begun);
        let Deadlines { snapshot, readings, silence, .. } = found;
        (snapshot - begun, readings - begun, silence - begun)
    }

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn a_part_of_the_told_time_is_kept_back() {
        assert_eq!(of(Some(b"10")), (MS(5_000), MS(9_500), MS(9_750)));
        assert_eq!(of(Some(b"10.000000")), of(Some(b"10")), "as Prometheus writes it");
        assert_eq!(of(Some(b"1")), (MS(900), MS(900), MS(950)));
        assert_eq!(of(Some(b" 1e-1 ")), (MS(90), MS(90), MS(100)), "silence is not so short");
        assert_eq!(of(Some(b"0.01")), (MS(9), MS(9), MS(19)));
    }

    #[test]
    fn nobody_holds_a_place_for_as_long_as_they_like() {
        let longest = (MS(5_000), MS(29_500), MS(29_750));
        for value in ["30", "30.1", "60", "3600", "1e300"] {
            assert_eq!(of(Some(value.as_bytes())), longest, "{value}");
        }
    }

    #[test]
    fn nonsense_is_as_if_nothing_was_told() {
        let untold = of(None);
        assert_eq!(untold, (MS(4_500), MS(4_500), MS(4_750)));
        for value in
            ["", "soon", "NaN", "inf", "-inf", "-1", "0", "-0", "1e-400", "0.0099", "1e400", "10s"]
        {
            assert_eq!(of(Some(value.as_bytes())), untold, "{value}");
        }
        assert_eq!(of(Some(b"\xff10")), untold);
    }

    proptest! {
        #[test]
        fn any_value_gives_deadlines_in_order(
            number in any::<f64>(),
            bytes in prop::collection::vec(32_u8..=255, 0..12),
        ) {
            for value in [number.to_string().into_bytes(), bytes] {
                if HeaderValue::from_bytes(&value).is_err() {
                    continue;
                }
                let (snapshot, readings, silence) = of(Some(&value));
                prop_assert!(snapshot <= readings && readings + SHORTEST_SILENCE <= silence);
                prop_assert!(silence <= Duration::from_secs_f64(LONGEST_SECONDS));
            }
        }
    }
}
