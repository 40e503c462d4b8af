//! What the web server is told, and its limits.
//!
//! Owns validation of the telemetry path and every limit with its reason. It binds
//! nothing, so that a bad flag is found before anything is started.

use std::{fmt, num::NonZeroU16, str::FromStr, time::Duration};

use crate::model::collectors::Collectors;

/// Longest telemetry path: a hand-written path is far shorter, and it must fit into a
/// request's head.
const PATH_BYTES: usize = 256;

/// Paths that the server itself answers.
pub(super) const LANDING_PATH: &str = "/";
/// See [`LANDING_PATH`].
pub(super) const HEALTH_PATH: &str = "/healthz";
/// See [`LANDING_PATH`].
pub(super) const READY_PATH: &str = "/readyz";

/// Where the metrics are: an absolute path of unreserved characters (RFC 3986), as
/// clients send it, and none of the server's other pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryPath(String);

/// Why a telemetry path can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TelemetryPathError {
    /// It has no leading slash.
    #[error("it must begin with a slash, as in /metrics")]
    Relative,
    /// It holds characters that mean something else in a URL.
    #[error("only letters, digits, '-', '.', '_', '~' and single slashes may be in it")]
    Character,
    /// It holds segments that clients take out before they ask.
    #[error("no client would ask for a path with a part '.' or '..'")]
    Dots,
    /// It is longer than a path written by hand would be.
    #[error("it has at most {PATH_BYTES} bytes")]
    Long,
    /// It is a path that the server itself answers.
    #[error("another page is there; choose a path such as /metrics")]
    Taken,
}

impl TelemetryPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TelemetryPath {
    fn default() -> Self {
        Self("/metrics".to_owned())
    }
}

impl fmt::Display for TelemetryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TelemetryPath {
    type Err = TelemetryPathError;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
        // Nobody tells `/healthz/` from `/healthz`, whatever the router does.
        let is_page = |page: &str| path.trim_end_matches('/') == page.trim_end_matches('/');
        if !path.starts_with('/') {
            Err(TelemetryPathError::Relative)
        } else if path.len() > PATH_BYTES {
            Err(TelemetryPathError::Long)
        } else if [LANDING_PATH, HEALTH_PATH, READY_PATH].into_iter().any(is_page) {
            Err(TelemetryPathError::Taken)
        } else if path.contains("//") || !path.bytes().all(plain) {
            Err(TelemetryPathError::Character)
        } else if path.split('/').any(|segment| matches!(segment, "." | "..")) {
            Err(TelemetryPathError::Dots)
        } else {
            Ok(Self(path.to_owned()))
        }
    }
}

/// What the operator decides about the web server.
#[derive(Clone, Debug)]
pub struct WebConfig {
    /// Where the metrics are.
    pub telemetry_path: TelemetryPath,
    /// Scrapes served at once, from the request until the last byte is on its way;
    /// more are answered with 503.
    pub max_requests: NonZeroU16,
    /// Collectors that are on: what a scrape shows unless it asks for less.
    pub collectors: Collectors,
    /// What bounds everything else; the default unless a test is in a hurry.
    pub limits: Limits,
}

/// Bounds on what clients can make the daemon hold or wait for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections open at once. More are taken and closed at once: a client that
    /// waits in the backlog would see a time-out and nobody would know why.
    pub connections: usize,
    /// From the wish for a request to the end of its head; so idle connections end
    /// after it, too. Above the usual scrape interval of 15 s, so that Prometheus
    /// keeps its connection, and off every common interval, so that we don't close
    /// just when the next scrape comes.
    pub request: Duration,
    /// How long the ledger may take for a snapshot: hundreds of times what it needs,
    /// and half of Prometheus' scrape time-out of 10 s, so that the reason is seen.
    pub snapshot: Duration,
    /// How long a scrape may take whose client does not say how long it will wait: half
    /// of what Prometheus waits by default, and a hundred times what reading files takes.
    pub scrape: Duration,
    /// How long a client may take for an answer: Prometheus itself gives up after
    /// 10 s by default.
    pub response: Duration,
    /// How long a client may read nothing at all.
    pub write_stall: Duration,
    /// How long answers under way may take to end at shutdown. Docker kills after
    /// 10 s and the probes must be detached before.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            request: Duration::from_secs(20),
            snapshot: Duration::from_secs(5),
            scrape: Duration::from_secs(5),
            response: Duration::from_secs(10),
            write_stall: Duration::from_secs(5),
            drain: Duration::from_secs(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_paths_pass() {
        for path in ["/metrics", "/a/b-c_d.e~f", "/metrics/", "/healthz/metrics", "/..."] {
            assert_eq!(path.parse::<TelemetryPath>().map(|it| it.to_string()), Ok(path.into()));
        }
        assert_eq!(TelemetryPath::default(), "/metrics".parse().expect("valid"));
    }

    #[test]
    fn what_the_router_or_a_url_would_misread_does_not() {
        use TelemetryPathError::{Character, Dots, Long, Relative, Taken};
        for (path, reason) in [
            ("", Relative),
            ("metrics", Relative),
            ("/{id}", Character),
            ("/a?b", Character),
            ("/a b", Character),
            ("/é", Character),
            ("/<script>", Character),
            ("/a//b", Character),
            ("//metrics", Character),
            ("/metrics//", Character),
            ("/", Taken),
            ("//", Taken),
            ("/healthz", Taken),
            ("/healthz/", Taken),
            ("/readyz", Taken),
            ("/readyz//", Taken),
            ("/.", Dots),
            ("/./metrics", Dots),
            ("/metrics/..", Dots),
        ] {
            assert_eq!(path.parse::<TelemetryPath>(), Err(reason), "{path:?}");
        }
        assert_eq!(format!("/{}", "a".repeat(PATH_BYTES)).parse::<TelemetryPath>(), Err(Long));
    }
}
