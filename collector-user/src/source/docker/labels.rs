//! Which of a container's labels are taken.
//!
//! Owns the allow-list and the limits on what it lets through. Pure.

use std::{collections::BTreeMap, str::FromStr};

/// Most labels taken from one container: each is a label on every series it has.
const LABELS_LIMIT: usize = 32;

/// Longest value taken; longer ones are cut. A path (Compose's working directory) is
/// the longest thing of use, and this is the kernel's `PATH_MAX`.
const VALUE_LIMIT_BYTES: usize = 4096;

/// An allow-list of label names; a trailing `*` stands for any ending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelFilter(Vec<Pattern>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Name(String),
    Prefix(String),
}

/// What is wrong with an allow-list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` has a `*` that is not at its end; only names and `prefix*` can be given")]
pub struct LabelFilterError {
    pattern: String,
}

impl FromStr for LabelFilter {
    type Err = LabelFilterError;

    /// Reads a list of names and `prefix*`es, separated by commas. Blanks around
    /// them and empty ones are left out; an empty list takes no label.
    fn from_str(list: &str) -> Result<Self, Self::Err> {
        let pattern = |text: &str| {
            let (name, starred) =
                text.strip_suffix('*').map_or((text, false), |prefix| (prefix, true));
            if name.contains('*') {
                return Err(LabelFilterError { pattern: text.to_owned() });
            }
            let name = name.to_owned();
            Ok(if starred { Pattern::Prefix(name) } else { Pattern::Name(name) })
        };
        let texts = list.split(',').map(str::trim).filter(|text| !text.is_empty());
        texts.map(pattern).collect::<Result<_, _>>().map(Self)
    }
}

impl LabelFilter {
    /// Whether a label of this name is taken.
    pub fn allows(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| match pattern {
            Pattern::Name(allowed) => name == allowed,
            Pattern::Prefix(prefix) => name.starts_with(prefix.as_str()),
        })
    }

    /// The labels that are taken, within the limits: the first by name, whatever
    /// order they come in.
    pub(super) fn pick<'a>(
        &self,
        labels: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> BTreeMap<String, String> {
        let allowed: BTreeMap<_, _> =
            labels.into_iter().filter(|(name, _)| self.allows(name)).collect();
        allowed
            .into_iter()
            .take(LABELS_LIMIT)
            .map(|(name, value)| {
                let end = value.floor_char_boundary(VALUE_LIMIT_BYTES);
                (name.clone(), value[..end].to_owned())
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(list: &str) -> LabelFilter {
        list.parse().unwrap()
    }

    #[test]
    fn names_and_prefixes_are_allowed_and_nothing_else() {
        let filter = filter(" com.docker.compose.project, ,io.kubernetes.*,");
        for allowed in ["com.docker.compose.project", "io.kubernetes.", "io.kubernetes.pod.uid"] {
            assert!(filter.allows(allowed), "{allowed}");
        }
        for refused in
            ["", "com.docker.compose.project.x", "com.docker.compose", "io.kubernetes", "IO.x"]
        {
            assert!(!filter.allows(refused), "{refused}");
        }
    }

    #[test]
    fn a_lone_star_allows_all_and_an_empty_list_none() {
        assert!(filter("*").allows("anything") && filter("*").allows(""));
        assert!(!filter("").allows("anything") && !filter("").allows(""));
    }

    #[test]
    fn a_star_elsewhere_is_refused_by_name() {
        for pattern in ["a*b", "*a", "a**", "*a*"] {
            let error = format!("x,{pattern},y*").parse::<LabelFilter>().unwrap_err();
            assert!(error.to_string().contains(&format!("`{pattern}`")), "{error}");
        }
    }

    #[test]
    fn labels_are_picked_within_limits() {
        let many: Vec<_> = (0..100).map(|n| (format!("l{n:02}"), n.to_string())).collect();
        let picked = filter("l*").pick(many.iter().rev().map(|(name, value)| (name, value)));
        assert_eq!(picked.len(), LABELS_LIMIT);
        assert_eq!(picked.last_key_value().unwrap().0, "l31");
        // Cut between characters, not within one.
        let long = ("l".to_owned(), "é".repeat(VALUE_LIMIT_BYTES) + "x");
        let picked = filter("l").pick([(&long.0, &long.1)]);
        assert_eq!(picked["l"], "é".repeat(VALUE_LIMIT_BYTES / 2));
        let other = ("secret".to_owned(), "x".to_owned());
        assert!(filter("l*").pick([(&other.0, &other.1)]).is_empty());
    }
}
