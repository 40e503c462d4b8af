//! The API's records into ours.
//!
//! Owns what the fields mean and how far they can be trusted: everything in the API
//! is optional, and records without an id say nothing. Pure.

use std::time::{Duration, UNIX_EPOCH};

use bollard::{
    models::{ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum, EventMessage},
    query_parameters::{EventsOptions, EventsOptionsBuilder},
};

use super::{
    known::{Action, Event, Inspection, Summary},
    labels::LabelFilter,
};
use crate::model::container::{ContainerId, capped};

/// Events asked for: those that change who a container is. Podman calls the last one
/// `remove`. (Not `die`: the kernel tells when a container ends.)
const ACTIONS: [&str; 5] = ["create", "start", "rename", "destroy", "remove"];

/// A subscription to container events since a time in s since the epoch.
pub(super) fn subscription(since_s: u64) -> EventsOptions {
    let filters = [("type", vec!["container"]), ("event", ACTIONS.to_vec())];
    EventsOptionsBuilder::new()
        .since(&since_s.to_string())
        .filters(&filters.into_iter().collect())
        .build()
}

/// A row of the list of containers.
pub(super) fn summary(row: ContainerSummary, labels: &LabelFilter) -> Option<Summary> {
    let names = row.names.unwrap_or_default();
    let names = || names.iter().map(|name| plain_name(name));
    // Names in other containers' links (`/web/db`) come along with the own one.
    let name = names().find(|name| !name.contains('/')).or_else(|| names().next());
    Some(Summary {
        id: ContainerId::new(row.id?),
        name: name.unwrap_or_default(),
        image: capped(&row.image.unwrap_or_default()),
        labels: labels.pick(&row.labels.unwrap_or_default()),
        started: !matches!(
            row.state,
            None | Some(
                ContainerSummaryStateEnum::EMPTY
                    | ContainerSummaryStateEnum::CREATED
                    | ContainerSummaryStateEnum::EXITED
                    | ContainerSummaryStateEnum::REMOVING
                    | ContainerSummaryStateEnum::DEAD
            )
        ),
    })
}

/// An event, if it is one of ours. Its attributes are the container's labels with
/// `image` and `name` put over them.
pub(super) fn event(message: EventMessage, labels: &LabelFilter) -> Option<Event> {
    let action = match message.action.as_deref()? {
        "create" => Action::Create,
        "start" => Action::Start,
        "rename" => Action::Rename,
        "destroy" | "remove" => Action::Destroy,
        _ => return None,
    };
    let actor = message.actor?;
    let attributes = actor.attributes.unwrap_or_default();
    // `oldName` comes with a rename, and is no label.
    let own = attributes
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "name" | "image" | "oldName"));
    let at_ms = match (message.time_nano, message.time) {
        (Some(ns), _) if ns > 0 => u64::try_from(ns / 1_000_000).ok(),
        (_, Some(s)) if s > 0 => u64::try_from(s.saturating_mul(1000)).ok(),
        _ => None,
    };
    Some(Event {
        id: ContainerId::new(actor.id?),
        action,
        name: attributes.get("name").map(|name| plain_name(name)),
        image: attributes.get("image").map(|image| capped(image)),
        labels: labels.pick(own),
        at_ms,
    })
}

/// What inspecting a container tells.
pub(super) fn inspection(answer: ContainerInspectResponse) -> Inspection {
    Inspection {
        name: answer.name.map(|name| plain_name(&name)),
        image: answer.config.and_then(|config| Some(capped(&config.image?))),
        started_at_ms: answer.state.and_then(|state| time_ms(&state.started_at?)),
    }
}

fn plain_name(name: &str) -> String {
    capped(name.strip_prefix('/').unwrap_or(name))
}

/// A time as in `State.StartedAt`, in ms since the epoch; `None` for Docker's "never"
/// (the year 1) and whatever else lies before 1970.
fn time_ms(text: &str) -> Option<u64> {
    // Podman writes local time with its offset from UTC (`+02:00`).
    let (local, offset_s) = match text.len().checked_sub(6).and_then(|at| text.split_at_checked(at))
    {
        Some((local, offset)) if offset.starts_with(['+', '-']) => (local, offset_s(offset)?),
        _ => (text.strip_suffix('Z')?, 0),
    };
    let time = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    let offset = Duration::from_secs(offset_s.unsigned_abs());
    let utc = if offset_s < 0 { since.checked_add(offset) } else { since.checked_sub(offset) }?;
    u64::try_from(utc.as_millis()).ok()
}

/// Seconds in `+hh:mm` or `-hh:mm`.
fn offset_s(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let sign = if hours.starts_with('-') { -1 } else { 1 };
    let part = |text: &str, limit: i64| {
        text.parse().ok().filter(|n: &i64| text.len() == 2 && (0..limit).contains(n))
    };
    let hours = part(&hours[1..], 24)?;
    Some(sign * (hours * 3600 + part(minutes, 60)? * 60))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bollard::models::{ContainerConfig, ContainerState, EventActor};
    use proptest::prelude::*;

    use super::*;
    use crate::model::container::TEXT_LIMIT_BYTES;

    fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn filter(list: &str) -> LabelFilter {
        list.parse().unwrap()
    }

    #[test]
    fn times_are_read_in_utc_and_with_offsets() {
        assert_eq!(time_ms("1970-01-01T00:00:01.5Z"), Some(1_500));
        assert_eq!(time_ms("2026-11-22T17:51:43.123456789Z"), Some(1_795_369_903_123));
        assert_eq!(time_ms("2026-11-22T19:51:43.123456789+02:00"), Some(1_795_369_903_123));
        assert_eq!(time_ms("2026-11-22T14:21:43.123456789-03:30"), Some(1_795_369_903_123));
        for never in ["0001-01-01T00:00:00Z", "", "Z", "+02:00", "1970-01-01T00:00:00+02:00"] {
            assert_eq!(time_ms(never), None, "{never}");
        }
        for odd in ["2026-11-22T17:51:43+2:000", "2026-11-22T17:51:43+99:00", "2026-11-22T17:51:43"]
        {
            assert_eq!(time_ms(odd), None, "{odd}");
        }
    }

    proptest! {
        #[test]
        fn no_time_panics(text in any::<String>(), tail in "[+-][0-9:é]{0,6}") {
            let _ = (time_ms(&text), time_ms(&format!("2026-11-22T17:51:43{tail}")));
        }
    }

    #[test]
    fn a_row_gives_the_own_name_and_the_allowed_labels() {
        let row = ContainerSummary {
            id: Some("ab".to_owned()),
            names: Some(vec!["/web/db".to_owned(), "/db".to_owned()]),
            image: Some("postgres:17".to_owned()),
            labels: Some(map(&[("keep", "1"), ("password", "x")])),
            state: Some(ContainerSummaryStateEnum::PAUSED),
            ..ContainerSummary::default()
        };
        let expected = Summary {
            id: ContainerId::new("ab"),
            name: "db".to_owned(),
            image: "postgres:17".to_owned(),
            labels: [("keep".to_owned(), "1".to_owned())].into(),
            started: true,
        };
        assert_eq!(summary(row.clone(), &filter("keep")), Some(expected));
        let exited =
            ContainerSummary { state: Some(ContainerSummaryStateEnum::EXITED), ..row.clone() };
        assert!(!summary(exited, &filter("")).unwrap().started);
        assert_eq!(summary(ContainerSummary { id: None, ..row }, &filter("")), None);
    }

    #[test]
    fn an_event_carries_who_the_container_is() {
        let message = |action: &str| EventMessage {
            action: Some(action.to_owned()),
            actor: Some(EventActor {
                id: Some("ab".to_owned()),
                attributes: Some(map(&[
                    ("name", "new"),
                    ("oldName", "/old"),
                    ("image", "busybox"),
                    ("keep", "1"),
                ])),
            }),
            time: Some(7),
            time_nano: Some(7_123_456_789),
            ..EventMessage::default()
        };
        let seen = event(message("rename"), &filter("*")).unwrap();
        let expected = Event {
            id: ContainerId::new("ab"),
            action: Action::Rename,
            name: Some("new".to_owned()),
            image: Some("busybox".to_owned()),
            labels: [("keep".to_owned(), "1".to_owned())].into(),
            at_ms: Some(7_123),
        };
        assert_eq!(seen, expected);
        let remove = event(message("remove"), &filter("")).unwrap();
        assert_eq!(remove.action, Action::Destroy);
        assert!(event(message("exec_start: sh"), &filter("")).is_none());
        assert!(event(EventMessage { actor: None, ..message("start") }, &filter("")).is_none());
        let coarse = EventMessage { time_nano: None, ..message("start") };
        assert_eq!(event(coarse, &filter("")).unwrap().at_ms, Some(7_000));
    }

    #[test]
    fn names_and_images_are_cut_wherever_they_come_from() {
        let long = "x".repeat(TEXT_LIMIT_BYTES + 9);
        let row = ContainerSummary {
            id: Some("ab".to_owned()),
            names: Some(vec![format!("/{long}")]),
            image: Some(long.clone()),
            ..ContainerSummary::default()
        };
        let row = summary(row, &filter("")).unwrap();
        let attributes = map(&[("name", long.as_str()), ("image", long.as_str())]);
        let message = EventMessage {
            action: Some("create".to_owned()),
            actor: Some(EventActor { id: Some("ab".to_owned()), attributes: Some(attributes) }),
            ..EventMessage::default()
        };
        let event = event(message, &filter("")).unwrap();
        let answer = inspection(ContainerInspectResponse {
            name: Some(long.clone()),
            config: Some(ContainerConfig { image: Some(long), ..ContainerConfig::default() }),
            ..ContainerInspectResponse::default()
        });
        let told = [Some(row.name), Some(row.image), event.name, event.image, answer.name];
        for text in told.into_iter().chain([answer.image]) {
            assert_eq!(text.unwrap().len(), TEXT_LIMIT_BYTES);
        }
    }

    #[test]
    fn an_inspection_gives_the_image_as_the_user_gave_it() {
        let answer = ContainerInspectResponse {
            name: Some("/db".to_owned()),
            image: Some("sha256:00".to_owned()),
            config: Some(ContainerConfig {
                image: Some("postgres:17".to_owned()),
                ..ContainerConfig::default()
            }),
            state: Some(ContainerState {
                started_at: Some("1970-01-01T00:00:01Z".to_owned()),
                ..ContainerState::default()
            }),
            ..ContainerInspectResponse::default()
        };
        let expected = Inspection {
            name: Some("db".to_owned()),
            image: Some("postgres:17".to_owned()),
            started_at_ms: Some(1_000),
        };
        assert_eq!(inspection(answer), expected);
        assert_eq!(inspection(ContainerInspectResponse::default()), Inspection::default());
    }
}
