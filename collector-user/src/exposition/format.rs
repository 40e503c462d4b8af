//! In which format a scrape is answered: Prometheus' text 0.0.4, or OpenMetrics 1.0.
//!
//! Owns the choice by a request's Accept header, and Content-Type. How the formats differ
//! is `families`' business.

use axum::http::{HeaderMap, header};
use mediatype::{MediaType, MediaTypeList, Name, ReadParams, names};

const OPENMETRICS: Name<'_> = Name::new_unchecked("openmetrics-text");
const VERSION: Name<'_> = Name::new_unchecked("version");

/// A text format that Prometheus reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The value of Content-Type.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What the client likes best of what there is; of what it likes as much, what it names
    /// first. Text for those who say nothing, nothing that can be read, or nothing that is
    /// here: refusing would help no one.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::ACCEPT).iter().filter_map(|it| it.to_str().ok());
        let mut best: Option<(f32, Self)> = None;
        for range in values.flat_map(MediaTypeList::new).flatten() {
            let quality = quality(&range);
            let beats = best.is_none_or(|(other, _)| quality > other);
            if let Some(format) = Self::in_range(&range)
                && quality > 0.0
                && beats
            {
                best = Some((quality, format));
            }
        }
        best.map_or(Self::Text, |(_, format)| format)
    }

    /// The format that a range of media types stands for. Of OpenMetrics 0.0.1, the draft,
    /// only clients know that also take text. Other parameters (`escaping`, `charset`) are
    /// wishes that both formats fulfil: all names are plain, all text is UTF-8.
    fn in_range(range: &MediaType<'_>) -> Option<Self> {
        let version = range.get_param(VERSION);
        let is_version =
            |it: &str| version.as_ref().is_none_or(|version| version.unquoted_str() == it);
        let is = |ty, subty| range.ty == ty && range.subty == subty && range.suffix.is_none();
        if is(names::APPLICATION, OPENMETRICS) {
            is_version("1.0.0").then_some(Self::OpenMetrics)
        } else if is(names::TEXT, names::PLAIN) {
            is_version("0.0.4").then_some(Self::Text)
        } else {
            let is_any = is(names::TEXT, names::_STAR) || is(names::_STAR, names::_STAR);
            is_any.then_some(Self::Text)
        }
    }
}

/// How much the client likes it: 0 (not at all) to 1; 1 also for what is no such number.
fn quality(range: &MediaType<'_>) -> f32 {
    let told = range.get_param(names::Q).and_then(|value| value.unquoted_str().parse().ok());
    told.filter(|quality| (0.0..=1.0).contains(quality)).unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn accepted(values: &[&str]) -> Format {
        let value = |it: &&str| (header::ACCEPT, HeaderValue::from_str(it).expect("a value"));
        Format::accepted(&values.iter().map(value).collect())
    }

    #[test]
    fn what_prometheus_sends_is_answered_in_openmetrics() {
        for header in [
            // 2.x, with and without the draft.
            "application/openmetrics-text;version=1.0.0,\
             application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,\
             */*;q=0.1",
            "application/openmetrics-text; version=1.0.0; charset=utf-8,text/plain;q=0.5",
            // 3.x.
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,\
             */*;q=0.1",
            // With native histograms it wants protobuf most, and takes this.
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
             encoding=delimited,application/openmetrics-text;version=1.0.0;q=0.8,\
             text/plain;version=0.0.4;q=0.5",
            "application/openmetrics-text",
            "APPLICATION/OpenMetrics-Text; Version=\"1.0.0\"; Q=0.1",
        ] {
            assert_eq!(accepted(&[header]), Format::OpenMetrics, "{header}");
        }
    }

    #[test]
    fn everyone_else_gets_text() {
        for header in [
            "",
            "*/*",
            "text/plain",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            // A Prometheus that was told `scrape_protocols: [PrometheusText0.0.4]`.
            "text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            // One from when OpenMetrics was a draft.
            "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text+json",
            "application/openmetrics-text;q=0.4, text/*;q=0.5",
            "nonsense",
            ";;;,,,///",
        ] {
            assert_eq!(accepted(&[header]), Format::Text, "{header}");
        }
        assert_eq!(accepted(&[]), Format::Text, "no header at all");
    }

    #[test]
    fn of_equals_the_first_is_taken_and_garbage_spoils_only_itself() {
        let (open, text) = ("application/openmetrics-text;version=1.0.0", "text/plain");
        assert_eq!(accepted(&[&format!("{open},{text}")]), Format::OpenMetrics);
        assert_eq!(accepted(&[&format!("{text},{open}")]), Format::Text);
        assert_eq!(accepted(&[text, open]), Format::Text, "two headers are one list");
        assert_eq!(accepted(&[&format!("no/;=, {open}")]), Format::OpenMetrics);
        assert_eq!(accepted(&[&format!("{text};q=0.3,{open};q=most")]), Format::OpenMetrics);
        assert_eq!(accepted(&[&format!("{open};q=NaN,{text};q=0.9")]), Format::OpenMetrics);
    }

    proptest! {
        #[test]
        fn no_header_is_too_strange(
            value in prop::collection::vec(
                prop::sample::select(vec![
                    "application/openmetrics-text", "text/plain", "*/*", "version=1.0.0", "q=0.5",
                    ";", ",", "=", "\"", "\\", " ", "+", "/", "é",
                ]),
                0..20,
            ),
            bytes in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            for value in [value.concat().into_bytes(), bytes] {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    Format::accepted(&[(header::ACCEPT, value)].into_iter().collect());
                }
            }
        }

        #[test]
        fn the_higher_quality_wins(open in 0_u32..=1000, text in 0_u32..=1000) {
            let q = |thousandths: u32| f64::from(thousandths) / 1e3;
            let header = format!(
                "application/openmetrics-text;version=1.0.0;q={},text/plain;q={}",
                q(open), q(text),
            );
            let expected = if open > 0 && open >= text { Format::OpenMetrics } else { Format::Text };
            prop_assert_eq!(accepted(&[&header]), expected);
        }
    }
}
