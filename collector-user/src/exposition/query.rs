//! What a scrape's query asks for: `collect[]` and `exclude[]`, as `node_exporter` has them.
//!
//! Owns their rules and what is said to those who break them. How long a query can be is
//! bounded with the request's head.

use crate::model::collectors::{Collector, Collectors};

/// Names collectors to show, and no others. May be repeated.
pub(super) const COLLECT: &str = "collect[]";
/// Names collectors not to show. May be repeated.
pub(super) const EXCLUDE: &str = "exclude[]";

/// Why a query can't be answered; for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum QueryError {
    #[error(
        "{COLLECT} and {EXCLUDE} can't be used together: one names what is shown, the other what \
         is not"
    )]
    Both,
    #[error("{parameter}: there is no collector {name:?}; those that are on: {on}")]
    Unknown { parameter: &'static str, name: String, on: Collectors },
    #[error(
        "{COLLECT}: the collector {0} is switched off; the daemon must be started with \
         --collector.{0}"
    )]
    Off(Collector),
}

/// The collectors that a query asks for, of those that are on. Other parameters mean
/// nothing here, nor does a parameter without a value.
pub(super) fn selected(query: &str, on: Collectors) -> Result<Collectors, QueryError> {
    let (mut collect, mut exclude) = (None, None);
    for (parameter, name) in form_urlencoded::parse(query.as_bytes()) {
        let (parameter, set) = match &*parameter {
            COLLECT => (COLLECT, &mut collect),
            EXCLUDE => (EXCLUDE, &mut exclude),
            _ => continue,
        };
        if name.is_empty() {
            continue;
        }
        let collector = Collector::named(&name).ok_or_else(|| QueryError::Unknown {
            parameter,
            name: name.into_owned(),
            on,
        })?;
        *set = Some(set.unwrap_or(Collectors::NONE).with(collector));
    }
    match (collect, exclude) {
        (None, None) => Ok(on),
        (Some(_), Some(_)) => Err(QueryError::Both),
        (Some(wanted), None) => match wanted.iter().find(|it| !on.contains(*it)) {
            Some(off) => Err(QueryError::Off(off)),
            None => Ok(wanted),
        },
        // One that is off anyway is no mistake: it is not shown, as was asked.
        (None, Some(unwanted)) => Ok(unwanted.iter().fold(on, Collectors::without)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(names: &[&str]) -> Collectors {
        names.iter().map(|name| Collector::named(name).expect("a collector")).collect()
    }

    #[test]
    fn without_names_all_that_are_on_are_shown() {
        let on = set(&["cpu", "process"]);
        for query in ["", "&&", "collect[]=", "exclude[]=&collect[]=", "collect=docker", "x=y&z"] {
            assert_eq!(selected(query, on), Ok(on), "{query}");
        }
    }

    #[test]
    fn names_may_be_repeated_and_encoded() {
        let on = Collectors::ALL;
        for (query, expected) in [
            ("collect[]=cpu", set(&["cpu"])),
            // As Prometheus encodes `params: {'collect[]': [cpu, process]}`.
            ("collect%5B%5D=cpu&collect%5B%5D=process", set(&["cpu", "process"])),
            ("collect%5b%5d=c%70u&other=1&collect[]=cpu", set(&["cpu"])),
            ("exclude[]=process&exclude[]=docker", set(&["cgroup", "cpu", "machine", "network"])),
        ] {
            assert_eq!(selected(query, on), Ok(expected), "{query}");
        }
    }

    #[test]
    fn what_is_off_can_be_excluded_but_not_asked_for() {
        let on = set(&["cpu", "process"]);
        assert_eq!(
            selected("collect[]=cpu&collect[]=docker", on),
            Err(QueryError::Off(Collector::Docker))
        );
        assert_eq!(selected("exclude[]=docker", on), Ok(on));
        let everything = "exclude[]=cpu&exclude[]=process";
        assert_eq!(selected(everything, on), Ok(Collectors::NONE));
    }

    #[test]
    fn a_refusal_says_what_would_be_right() {
        let told = |query| selected(query, set(&["cpu"])).expect_err("refused").to_string();
        assert_eq!(
            told("collect[]=disk%0A"),
            "collect[]: there is no collector \"disk\\n\"; those that are on: cpu"
        );
        let nothing = selected("exclude[]=disk", Collectors::NONE).expect_err("refused");
        assert!(nothing.to_string().ends_with("those that are on: none"), "{nothing}");
        assert!(told("exclude[]=Cpu").starts_with("exclude[]: there is no collector \"Cpu\""));
        assert!(told("collect[]=cpu&exclude[]=cpu").contains("can't be used together"));
        assert!(told("collect[]=docker").contains("with --collector.docker"));
    }

    proptest! {
        #[test]
        fn any_query_gives_a_part_of_what_is_on_or_a_reason(
            bits in prop::collection::vec(0..Collector::ALL.len(), 0..5),
            query in prop_oneof![
                any::<String>(),
                prop::collection::vec(
                    prop_oneof![
                        Just("collect[]="), Just("exclude%5B%5D="), Just("cpu"), Just("docker"),
                        Just("&"), Just("="), Just("%"), Just("%5"), Just("+"), Just("é"),
                    ],
                    0..12,
                ).prop_map(|parts| parts.concat()),
            ],
        ) {
            let on: Collectors = bits.into_iter().map(|bit| Collector::ALL[bit]).collect();
            match selected(&query, on) {
                Ok(shown) => prop_assert!(shown.iter().all(|it| on.contains(it))),
                Err(reason) => prop_assert!(!reason.to_string().is_empty()),
            }
        }
    }
}
