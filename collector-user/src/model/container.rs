//! What is known of a container besides its usage: who it is.
//!
//! Owns the value; the runtime's API (`source::docker`) fills it in.

use std::collections::BTreeMap;

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
    /// Name without Docker's leading slash.
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
    Listed(Vec<(ContainerId, ContainerMeta)>),
    /// A container appeared, started, or was renamed; replaces what was known.
    Seen(ContainerId, ContainerMeta),
    /// A container was removed; its identity is kept while its series live.
    Removed(ContainerId),
    /// The API does not answer; what is known stays. The reason is for people.
    Down(String),
}
