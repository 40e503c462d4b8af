//! What Docker has told so far, and what a piece of news changes about it.
//!
//! Owns each container's identity as last told, and the order in which its sources
//! are believed: an inspection tells the exact start, an event the name at that
//! moment, the list what exists. Pure.

use std::collections::{BTreeMap, HashMap};

use super::labels::LabelFilter;
use crate::model::container::{ContainerId, ContainerMeta, DockerUpdate};

/// Most containers remembered, running ones first. Far more than a host can run; a
/// host can keep many stopped ones.
pub(super) const KNOWN_LIMIT: usize = 16_384;

/// A row of the list of containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) id: ContainerId,
    pub(super) name: String,
    pub(super) image: String,
    pub(super) labels: BTreeMap<String, String>,
    /// Whether it has processes, or is about to.
    pub(super) started: bool,
}

/// What has happened to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Create,
    Start,
    Rename,
    Destroy,
}

/// An event of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) id: ContainerId,
    pub(super) action: Action,
    pub(super) name: Option<String>,
    pub(super) image: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    /// When, in ms since the epoch.
    pub(super) at_ms: Option<u64>,
}

/// The answer about one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Inspection {
    pub(super) name: Option<String>,
    pub(super) image: Option<String>,
    pub(super) started_at_ms: Option<u64>,
}

/// What a piece of news leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Effect {
    /// To be told.
    pub(super) update: Option<DockerUpdate>,
    /// To be inspected, for the exact start.
    pub(super) inspect: Vec<ContainerId>,
    /// Containers left out because of [`KNOWN_LIMIT`].
    pub(super) left_out: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    meta: ContainerMeta,
    /// Whether an inspection has confirmed the start.
    is_start_exact: bool,
}

/// All containers that Docker has told about and that still exist.
#[derive(Debug)]
pub(super) struct Known {
    containers: HashMap<ContainerId, Entry>,
    labels: LabelFilter,
    limit: usize,
}

impl Known {
    pub(super) fn new(labels: LabelFilter) -> Self {
        Self { containers: HashMap::new(), labels, limit: KNOWN_LIMIT }
    }

    /// The labels to take.
    pub(super) fn labels(&self) -> &LabelFilter {
        &self.labels
    }

    /// After a time without news, containers may have been started again: what is
    /// known of their start stays, and is asked for anew.
    pub(super) fn doubt_starts(&mut self) {
        for entry in self.containers.values_mut() {
            entry.is_start_exact = false;
        }
    }

    /// Takes the list of all containers, which took so long to come.
    pub(super) fn list(&mut self, mut rows: Vec<Summary>, took_ns: u64) -> Effect {
        rows.sort_by_key(|row| !row.started);
        let left_out = rows.len().saturating_sub(self.limit);
        rows.truncate(self.limit);
        let mut before = std::mem::take(&mut self.containers);
        let mut listed = Vec::with_capacity(rows.len());
        let mut inspect = Vec::new();
        for row in rows {
            let Summary { id, name, image, labels, started } = row;
            let entry = match before.remove(&id) {
                // The list shows another image once its tag has moved on to a newer
                // one; the container's own does not change, nor do its labels.
                Some(Entry { meta, is_start_exact }) => {
                    Entry { meta: ContainerMeta { name, ..meta }, is_start_exact }
                }
                None => Entry {
                    meta: ContainerMeta { name, image, started_at_ms: None, labels },
                    is_start_exact: false,
                },
            };
            if started && !entry.is_start_exact {
                inspect.push(id.clone());
            }
            listed.push((id.clone(), entry.meta.clone()));
            self.containers.insert(id, entry);
        }
        let update = Some(DockerUpdate::Listed { containers: listed, took_ns });
        Effect { update, inspect, left_out }
    }

    /// Takes an event. Events may repeat what is known: a new subscription begins a
    /// little in the past.
    pub(super) fn event(&mut self, event: Event) -> Effect {
        let Event { id, action, name, image, labels, at_ms } = event;
        if action == Action::Destroy {
            self.containers.remove(&id);
            return Effect { update: Some(DockerUpdate::Removed(id)), ..Effect::default() };
        }
        let known = self.containers.get(&id);
        let mut meta = known.map_or_else(
            || ContainerMeta { labels, ..ContainerMeta::default() },
            |entry| entry.meta.clone(),
        );
        meta.name = name.unwrap_or(meta.name);
        meta.image = image.unwrap_or(meta.image);
        let mut inspect = Vec::new();
        if action == Action::Start {
            // At once, for those that are gone before an inspection.
            meta.started_at_ms = at_ms.or(meta.started_at_ms);
            inspect.push(id.clone());
        }
        let is_start_exact =
            action != Action::Start && known.is_some_and(|entry| entry.is_start_exact);
        let update = self.replace(id, Entry { meta, is_start_exact });
        Effect { update, inspect, left_out: 0 }
    }

    /// Takes the answer about one container. Its name is not taken: an event that
    /// came meanwhile knows a newer one.
    pub(super) fn inspected(&mut self, id: ContainerId, answer: Inspection) -> Effect {
        let Inspection { name, image, started_at_ms } = answer;
        // Removed meanwhile, or beyond the limit.
        let Some(entry) = self.containers.get(&id) else { return Effect::default() };
        let mut meta = entry.meta.clone();
        if meta.name.is_empty() {
            meta.name = name.unwrap_or_default();
        }
        meta.image = image.filter(|image| !image.is_empty()).unwrap_or(meta.image);
        meta.started_at_ms = started_at_ms.or(meta.started_at_ms);
        let update = self.replace(id, Entry { meta, is_start_exact: true });
        Effect { update, ..Effect::default() }
    }

    /// Remembers an entry; an update if it tells anything new.
    fn replace(&mut self, id: ContainerId, entry: Entry) -> Option<DockerUpdate> {
        let before = self.containers.get(&id);
        let is_news = before.is_none_or(|before| before.meta != entry.meta);
        let update = is_news.then(|| DockerUpdate::Seen(id.clone(), entry.meta.clone()));
        // Beyond the limit, news is passed on without being remembered.
        if before.is_some() || self.containers.len() < self.limit {
            self.containers.insert(id, entry);
        }
        update
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a list took.
    const TOOK_NS: u64 = 3_000_000;

    fn id(n: u64) -> ContainerId {
        ContainerId::new(format!("{n:064x}"))
    }

    fn row(n: u64, name: &str, started: bool) -> Summary {
        let labels = [("project".to_owned(), name.to_owned())].into();
        Summary { id: id(n), name: name.to_owned(), image: "busybox".to_owned(), labels, started }
    }

    fn event(n: u64, action: Action, name: &str, at_ms: u64) -> Event {
        Event {
            id: id(n),
            action,
            name: Some(name.to_owned()),
            image: Some("busybox".to_owned()),
            labels: [("project".to_owned(), name.to_owned())].into(),
            at_ms: Some(at_ms),
        }
    }

    fn meta(name: &str, started_at_ms: Option<u64>, project: &str) -> ContainerMeta {
        ContainerMeta {
            name: name.to_owned(),
            image: "busybox".to_owned(),
            started_at_ms,
            labels: [("project".to_owned(), project.to_owned())].into(),
        }
    }

    fn started_at(started_at_ms: u64) -> Inspection {
        Inspection { started_at_ms: Some(started_at_ms), ..Inspection::default() }
    }

    fn listed(containers: Vec<(ContainerId, ContainerMeta)>) -> DockerUpdate {
        DockerUpdate::Listed { containers, took_ns: TOOK_NS }
    }

    fn known() -> Known {
        Known::new(LabelFilter::default())
    }

    #[test]
    fn a_list_is_told_and_its_running_containers_inspected_until_exact() {
        let mut known = known();
        let effect = known.list(vec![row(1, "stopped", false), row(2, "runs", true)], TOOK_NS);
        let all =
            vec![(id(2), meta("runs", None, "runs")), (id(1), meta("stopped", None, "stopped"))];
        assert_eq!(effect.update, Some(listed(all)));
        assert_eq!(effect.inspect, [id(2)]);
        let effect = known.inspected(id(2), started_at(7));
        let seen = DockerUpdate::Seen(id(2), meta("runs", Some(7), "runs"));
        assert_eq!(effect.update, Some(seen));
        let again = known.list(vec![row(2, "runs", true)], TOOK_NS);
        let all = vec![(id(2), meta("runs", Some(7), "runs"))];
        assert_eq!(again, Effect { update: Some(listed(all)), ..Effect::default() });
        known.doubt_starts();
        assert_eq!(known.list(vec![row(2, "runs", true)], TOOK_NS).inspect, [id(2)]);
    }

    #[test]
    fn a_short_life_is_told_from_events_alone() {
        let mut known = known();
        let created = known.event(event(1, Action::Create, "flash", 5));
        let seen = |started_at_ms| DockerUpdate::Seen(id(1), meta("flash", started_at_ms, "flash"));
        assert_eq!(created, Effect { update: Some(seen(None)), ..Effect::default() });
        let started = known.event(event(1, Action::Start, "flash", 6));
        assert_eq!((started.update, started.inspect), (Some(seen(Some(6))), vec![id(1)]));
        let gone = known.event(event(1, Action::Destroy, "flash", 7));
        assert_eq!(gone.update, Some(DockerUpdate::Removed(id(1))));
        // An inspection that comes too late tells nothing.
        assert_eq!(known.inspected(id(1), started_at(6)), Effect::default());
    }

    #[test]
    fn an_inspection_corrects_an_events_start_and_a_repeated_event_is_no_news() {
        let mut known = known();
        known.event(event(1, Action::Create, "a", 5));
        known.event(event(1, Action::Start, "a", 9));
        let exact = known.inspected(id(1), started_at(8));
        assert_eq!(exact.update, Some(DockerUpdate::Seen(id(1), meta("a", Some(8), "a"))));
        assert_eq!(known.inspected(id(1), started_at(8)), Effect::default());
        assert_eq!(known.event(event(1, Action::Create, "a", 5)), Effect::default());
    }

    #[test]
    fn a_rename_changes_the_name_and_nothing_else() {
        let mut known = known();
        known.list(vec![row(1, "old", true)], TOOK_NS);
        known.inspected(id(1), started_at(8));
        let renamed = known.event(event(1, Action::Rename, "new", 9));
        let seen = DockerUpdate::Seen(id(1), meta("new", Some(8), "old"));
        assert_eq!(renamed, Effect { update: Some(seen), ..Effect::default() });
        // Asked before the rename, answered after it: the older name is not taken.
        let late = Inspection { name: Some("old".to_owned()), ..started_at(8) };
        assert_eq!(known.inspected(id(1), late), Effect::default());
    }

    #[test]
    fn an_image_stays_as_the_user_gave_it() {
        let mut known = known();
        known.list(vec![Summary { image: "sha256:00".to_owned(), ..row(1, "a", true) }], TOOK_NS);
        let answer = Inspection { image: Some("busybox".to_owned()), ..started_at(8) };
        let seen = DockerUpdate::Seen(id(1), meta("a", Some(8), "a"));
        assert_eq!(known.inspected(id(1), answer).update, Some(seen));
        let moved = known
            .list(vec![Summary { image: "sha256:00".to_owned(), ..row(1, "a", true) }], TOOK_NS);
        let all = vec![(id(1), meta("a", Some(8), "a"))];
        assert_eq!(moved.update, Some(listed(all)));
    }

    #[test]
    fn a_new_list_forgets_what_is_no_more() {
        let mut known = known();
        known.list(vec![row(1, "a", true), row(2, "b", true)], TOOK_NS);
        known.list(vec![row(2, "b", true)], TOOK_NS);
        assert_eq!(known.inspected(id(1), started_at(1)), Effect::default());
        assert_eq!(known.containers.len(), 1);
    }

    #[test]
    fn beyond_the_limit_running_containers_come_first_and_news_is_passed_on() {
        let mut known = Known { limit: 2, ..known() };
        let effect = known.list(
            vec![
                row(1, "stopped", false),
                row(2, "a", true),
                row(3, "stopped too", false),
                row(4, "b", true),
            ],
            TOOK_NS,
        );
        assert_eq!((effect.left_out, effect.inspect), (2, vec![id(2), id(4)]));
        let seen = known.event(event(5, Action::Start, "c", 1));
        assert_eq!(seen.update, Some(DockerUpdate::Seen(id(5), meta("c", Some(1), "c"))));
        assert_eq!(known.containers.len(), 2);
    }
}
