//! Which of a container's labels are taken.
//!
//! Owns the allow-list, and applies the model's limits to what it lets through. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

/// Most entries of an allow-list: each is looked at for every label of every container.
const PATTERNS_LIMIT: usize = 64;

use crate::model::container::{LABEL_NAME_LIMIT_BYTES, LABELS_LIMIT, capped};

/// An allow-list of label names; a trailing `*` stands for any ending. What is given
/// twice is in it once, in an order of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelFilter(BTreeSet<Pattern>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Pattern {
    Name(String),
    Prefix(String),
}

/// What is wrong with an allow-list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum LabelFilterError {
    #[error("an entry of the list is empty: separate names by single commas")]
    Empty,
    #[error("in {0:?}, a * may only stand once, at the end")]
    Star(String),
    #[error("an entry has at most {LABEL_NAME_LIMIT_BYTES} bytes")]
    Long,
    #[error("the list has at most {PATTERNS_LIMIT} entries")]
    Many,
}

impl FromStr for LabelFilter {
    type Err = LabelFilterError;

    /// Reads a list of names and `prefix*`es, separated by commas, with or without
    /// blanks around them; an empty list takes no label.
    fn from_str(list: &str) -> Result<Self, Self::Err> {
        if list.trim().is_empty() {
            return Ok(Self::default());
        }
        let patterns: BTreeSet<_> =
            list.split(',').map(|entry| entry.trim().parse()).collect::<Result<_, _>>()?;
        if patterns.len() > PATTERNS_LIMIT {
            return Err(LabelFilterError::Many);
        }
        Ok(Self(patterns))
    }
}

impl FromStr for Pattern {
    type Err = LabelFilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let prefix = text.strip_suffix('*');
        let name = prefix.unwrap_or(text);
        if text.is_empty() {
            Err(LabelFilterError::Empty)
        } else if name.contains('*') {
            Err(LabelFilterError::Star(text.to_owned()))
        } else if text.len() > LABEL_NAME_LIMIT_BYTES {
            Err(LabelFilterError::Long)
        } else if prefix.is_some() {
            Ok(Self::Prefix(name.to_owned()))
        } else {
            Ok(Self::Name(name.to_owned()))
        }
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
        // Cut names could become one, so those that are too long are left out.
        let short = allowed.into_iter().filter(|(name, _)| name.len() <= LABEL_NAME_LIMIT_BYTES);
        short.take(LABELS_LIMIT).map(|(name, value)| (name.clone(), capped(value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::container::TEXT_LIMIT_BYTES;

    fn filter(list: &str) -> LabelFilter {
        list.parse().unwrap()
    }

    #[test]
    fn names_and_prefixes_are_allowed_and_nothing_else() {
        let filter = filter(" com.docker.compose.project, io.kubernetes.* ");
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
    fn a_list_is_a_set_with_limits() {
        use LabelFilterError::{Empty, Long, Many, Star};
        assert_eq!(filter("b,*,b, a"), filter("*,a,b"));
        for pattern in ["a*b", "*a", "a**", "*a*", "**"] {
            let error = format!("x,{pattern},y*").parse::<LabelFilter>().unwrap_err();
            assert_eq!(error, Star(pattern.to_owned()));
        }
        for list in [",", "a,,b", "a, ,b", "a,"] {
            assert_eq!(list.parse::<LabelFilter>(), Err(Empty), "{list:?}");
        }
        let name = "a".repeat(LABEL_NAME_LIMIT_BYTES);
        assert!(filter(&name).allows(&name));
        assert_eq!(format!("{name}*").parse::<LabelFilter>(), Err(Long));
        let names: Vec<_> = (0..PATTERNS_LIMIT).map(|n| n.to_string()).collect();
        let names = names.join(",");
        assert_eq!(filter(&format!("{names},0")).0.len(), PATTERNS_LIMIT);
        assert_eq!(format!("{names},x").parse::<LabelFilter>(), Err(Many));
    }

    #[test]
    fn labels_are_picked_within_limits() {
        let many: Vec<_> = (0..100).map(|n| (format!("l{n:02}"), n.to_string())).collect();
        let picked = filter("l*").pick(many.iter().rev().map(|(name, value)| (name, value)));
        assert_eq!(picked.len(), LABELS_LIMIT);
        assert_eq!(picked.last_key_value().unwrap().0, "l31");
        let long = ("l".to_owned(), "x".repeat(TEXT_LIMIT_BYTES + 1));
        let picked = filter("l").pick([(&long.0, &long.1)]);
        assert_eq!(picked["l"].len(), TEXT_LIMIT_BYTES);
        let longest = ("l".repeat(LABEL_NAME_LIMIT_BYTES), "1".to_owned());
        assert_eq!(filter("l*").pick([(&longest.0, &longest.1)]).len(), 1);
        let longer = (longest.0 + "l", "1".to_owned());
        assert!(filter("l*").pick([(&longer.0, &longer.1)]).is_empty());
        let other = ("secret".to_owned(), "x".to_owned());
        assert!(filter("l*").pick([(&other.0, &other.1)]).is_empty());
    }
}
