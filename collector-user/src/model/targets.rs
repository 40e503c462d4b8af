//! Whose files are read for a scrape.
//!
//! Owns the choice from a snapshot. Must not know which files there are.

use std::sync::Arc;

use super::{
    network::{Role, Seat},
    snapshot::{ContainerView, Snapshot},
};

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
        snapshot.containers.iter().filter_map(Self::live)
    }

    /// The containers of a snapshot that live and that a network is told under, with where
    /// it is found.
    pub fn networks(snapshot: &Snapshot) -> impl Iterator<Item = (Self, Seat)> {
        snapshot.containers.iter().filter_map(|it| match it.role {
            Some(Role::Owner(seat)) => Some((Self::live(it)?, seat)),
            _ => None,
        })
    }

    fn live(container: &ContainerView) -> Option<Self> {
        let ContainerView { path, cgroups, .. } = container;
        (!cgroups.is_empty()).then(|| Self { path: path.clone(), cgroups: cgroups.clone() })
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
    use crate::model::{container::ContainerId, snapshot::CgroupView, usage::Usage};

    #[test]
    fn the_host_is_a_target_and_so_are_cgroups_that_are_told_of() {
        let view = CgroupView { path: "/init.scope".into(), ..CgroupView::default() };
        let snapshot = Snapshot { cgroups: vec![view], ..Snapshot::default() };
        let paths: Vec<_> = Target::others(&snapshot).map(|target| target.path).collect();
        assert_eq!(paths, ["/".into(), "/init.scope".into()]);
        assert_eq!(Target::containers(&snapshot).count(), 0);
    }

    #[test]
    fn a_network_is_read_of_whoever_owns_it_and_lives() {
        let seat = Seat { netns: 7, pid: 8 };
        let view = |path: &str, cgroups: &[&str], role| ContainerView {
            path: path.into(),
            id: ContainerId::new("c"),
            meta: None,
            first_seen_ms: 0,
            last_seen_ms: 0,
            usage: Usage::default(),
            cgroups: cgroups.iter().map(|path| (*path).into()).collect(),
            role,
            interfaces: Vec::new(),
        };
        let containers = vec![
            view("/owns", &["/owns", "/owns/in"], Some(Role::Owner(seat))),
            view("/has ended", &[], Some(Role::Owner(seat))),
            view("/shares", &["/shares"], Some(Role::Shared { owner: "/owns".into() })),
            view("/host", &["/host"], Some(Role::Host)),
            view("/new", &["/new"], None),
        ];
        let snapshot = Snapshot { containers, ..Snapshot::default() };
        let owns =
            Target { path: "/owns".into(), cgroups: vec!["/owns".into(), "/owns/in".into()] };
        assert_eq!(Target::networks(&snapshot).collect::<Vec<_>>(), [(owns, seat)]);
        assert_eq!(Target::containers(&snapshot).count(), 4);
    }
}
