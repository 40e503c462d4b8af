//! What is known of a container besides its usage: who it is.
//!
//! Owns the value and how much of a runtime's texts is kept; the runtime's API
//! (`source::docker`) fills it in.

use std::collections::BTreeMap;

/// Most labels kept of one container, the first by name: each is a label on every
/// series it has.
pub const LABELS_LIMIT: usize = 32;

/// Longest name of a label that is kept, in bytes; Docker's conventions and Kubernetes
/// (63 plus a prefix of 253) stay below.
pub const LABEL_NAME_LIMIT_BYTES: usize = 320;

/// Bytes kept of a name, an image or a label's value. Names and images are shorter; a
/// label can hold a whole document, and its every byte is repeated on each of a
/// container's lines and stays in Prometheus' index.
pub const TEXT_LIMIT_BYTES: usize = 1024;

/// The longest prefix of whole characters within [`TEXT_LIMIT_BYTES`].
pub fn capped(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_LIMIT_BYTES)].to_owned()
}

/// A container's full id: 64 lower-case hexadecimal digits for Docker, containerd,
/// CRI-O and Podman.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(String);

impl ContainerId {
    /// Takes what a parser (or the runtime itself) has recognised as an id.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Identity of a container as its runtime tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerMeta {
    /// Name without Docker's leading slash; [`capped`], as the other texts.
    pub name: String,
    /// Image as the user gave it (`busybox:1.36`), not its digest.
    pub image: String,
    /// When it was last started, in ms since the epoch.
    pub started_at_ms: Option<u64>,
    /// Labels that the allow-list lets through, by their original names.
    pub labels: BTreeMap<String, String>,
}

/// What the Docker source tells the accounts. Idempotent: a re-list after a
/// reconnect repeats what is already known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerUpdate {
    /// The API answers; the containers that exist now, running or not. Those known
    /// before and absent here have been removed.
    Listed {
        /// All of them.
        containers: Vec<(ContainerId, ContainerMeta)>,
        /// How long the list took to come, in ns.
        took_ns: u64,
    },
    /// A container appeared, started, or was renamed; replaces what was known.
    Seen(ContainerId, ContainerMeta),
    /// A container was removed; its identity is kept while its series live.
    Removed(ContainerId),
    /// The API does not answer; what is known stays. The reason is for people.
    Down(String),
    /// More was left out or not answered: all of it since the daemon began.
    Lost(DockerLosses),
}

/// What the Docker source could not take in, or not find out, since the daemon began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DockerLosses {
    /// Containers left out of a list because there were too many, counted in each list.
    pub containers: u64,
    /// Questions about a single container that were not asked because too many waited,
    /// or had no answer although asked repeatedly; the next list leads to new ones.
    pub inspections: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        let short = "é".repeat(TEXT_LIMIT_BYTES / 2);
        assert_eq!(capped(&short), short, "exactly the limit passes whole");
        let long = format!("x{short}");
        let cut = capped(&long);
        assert_eq!(cut.len(), TEXT_LIMIT_BYTES - 1, "no half of an é");
        assert!(long.starts_with(&cut));
    }
}
