//! Whose files are read for a scrape.
//!
//! Owns the choice from a snapshot. Must not know which files there are.

use std::sync::Arc;

use super::snapshot::Snapshot;

/// Path of the host's own account.
pub const HOST_PATH: &str = "/";

/// Cgroups to read files of: a container with its nested cgroups, or any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Path of the cgroup, from the hierarchy's root.
    pub path: Arc<str>,
    /// It and the cgroups in it whose processes are its own; just itself if it is no
    /// container.
    pub cgroups: Vec<Arc<str>>,
}

impl Target {
    /// The containers of a snapshot that live.
    pub fn containers(snapshot: &Snapshot) -> impl Iterator<Item = Self> {
        snapshot
            .containers
            .iter()
            .filter(|container| !container.cgroups.is_empty())
            .map(|it| Self { path: it.path.clone(), cgroups: it.cgroups.clone() })
    }

    /// The host, and the cgroups of a snapshot that are told of and are no containers.
    pub fn others(snapshot: &Snapshot) -> impl Iterator<Item = Self> {
        std::iter::once(HOST_PATH.into())
            .chain(snapshot.cgroups.iter().map(|cgroup| cgroup.path.clone()))
            .map(|path: Arc<str>| Self { cgroups: vec![path.clone()], path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::snapshot::CgroupView;

    #[test]
    fn the_host_is_a_target_and_so_are_cgroups_that_are_told_of() {
        let view = CgroupView { path: "/init.scope".into(), ..CgroupView::default() };
        let snapshot = Snapshot { cgroups: vec![view], ..Snapshot::default() };
        let paths: Vec<_> = Target::others(&snapshot).map(|target| target.path).collect();
        assert_eq!(paths, ["/".into(), "/init.scope".into()]);
        assert_eq!(Target::containers(&snapshot).count(), 0);
    }
}
