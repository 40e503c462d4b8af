//! Where each controller's files are: in its v1 hierarchy, or in the unified one.
//!
//! Owns that choice, made once at the start. Must not look into a hierarchy.
//!
//! A cgroup is taken to have **the same path in every hierarchy**: runtimes and systemd
//! make it so. Where a cgroup has no directory in a controller's hierarchy (an old runc
//! made none in the unified one of a hybrid host), that controller tells nothing of it.

use std::path::{Path, PathBuf};

use super::{
    Hierarchy, HierarchyError, Kind, Paths, distrust, hierarchy,
    mounts::{self, CgroupMount},
};
use crate::model::losses::Reason;

/// v1's names of the controllers that are read of, and what each tells.
const CONTROLLERS: [(&str, Part); 4] = [
    ("cpuacct", Part::Times),
    ("cpu", Part::Cpu),
    ("memory", Part::Memory),
    ("pids", Part::Threads),
];

/// The controllers that are there, and where; none by default.
#[derive(Clone, Debug, Default)]
pub struct Controllers {
    /// Each hierarchy once; the one that containers are told apart by is the last.
    pub(super) places: Vec<Place>,
    /// The host's procfs, for what the unified root does not tell.
    pub(super) procfs: PathBuf,
    /// Why lists of processes can't be trusted, if so.
    pub(super) distrust: Option<Reason>,
}

/// A hierarchy, and what is read there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) mount: PathBuf,
    pub(super) version: Version,
    pub(super) parts: Vec<Part>,
}

/// Whose names and forms the files have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// What is read of a cgroup in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// CPU time by mode.
    Times,
    /// Bandwidth and weight.
    Cpu,
    Memory,
    Threads,
    Pressure,
    /// The list of processes; every hierarchy has one.
    Processes,
}

impl Place {
    /// Whether that is read here.
    pub(super) fn has(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}

impl Controllers {
    /// Finds them among the mounts that procfs tells of; processes are listed in the
    /// hierarchy given.
    ///
    /// # Errors
    /// When the list of mounts can't be read.
    pub fn find(paths: Paths<'_>, hierarchy: &Hierarchy) -> Result<Self, HierarchyError> {
        let mountinfo = hierarchy::read(&paths.procfs.join("self/mountinfo"))?;
        let places = places(&mounts::parse(&mountinfo), paths.cgroupfs, hierarchy);
        let distrust = distrust(hierarchy, paths.procfs);
        Ok(Self { places, procfs: paths.procfs.to_owned(), distrust })
    }
}

fn places(mounts: &[CgroupMount], prefix: &Path, accounting: &Hierarchy) -> Vec<Place> {
    let unified = mounts::choose(mounts.iter().filter(|mount| mount.is_unified()), prefix)
        .map(|mount| (Version::V2, mount));
    let mut places: Vec<Place> = Vec::new();
    let mut add = |(version, mount): (Version, PathBuf), part| match places
        .iter_mut()
        .find(|place| place.mount == mount)
    {
        Some(place) => place.parts.push(part),
        None => places.push(Place { mount, version, parts: vec![part] }),
    };
    for (name, part) in CONTROLLERS {
        let with_it = mounts.iter().filter(|mount| mount.has_controller(name));
        let v1 = mounts::choose(with_it, prefix).map(|mount| (Version::V1, mount));
        if let Some(place) = v1.or_else(|| unified.clone()) {
            add(place, part);
        }
    }
    if let Some(unified) = unified {
        add(unified, Part::Pressure);
    }
    let version = match accounting.kind {
        Kind::Unified => Version::V2,
        Kind::Cpuacct { .. } => Version::V1,
    };
    add((version, accounting.mount.clone()), Part::Processes);
    // Last, because there a cgroup that has gone meanwhile is noticed, whatever was
    // missing of it before.
    places.sort_by_key(|place| place.has(Part::Processes));
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::cgroupfs::Mode;

    const UNIFIED: &str = "\
31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
";
    const HYBRID: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    fn found(mountinfo: &str, prefix: &str, kind: Kind, mount: &str) -> Vec<Place> {
        let accounting = Hierarchy { kind, mode: Mode::V2, mount: mount.into(), hierarchy_id: 0 };
        places(&mounts::parse(mountinfo), Path::new(prefix), &accounting)
    }

    fn place(version: Version, mount: &str, parts: &[Part]) -> Place {
        Place { mount: mount.into(), version, parts: parts.to_vec() }
    }

    #[test]
    fn a_unified_host_has_one_place() {
        let all =
            [Part::Times, Part::Cpu, Part::Memory, Part::Threads, Part::Pressure, Part::Processes];
        assert_eq!(
            found(UNIFIED, "/sys/fs/cgroup", Kind::Unified, "/sys/fs/cgroup"),
            [place(Version::V2, "/sys/fs/cgroup", &all)]
        );
        assert_eq!(
            found(UNIFIED, "/host/cgroup", Kind::Unified, "/host/cgroup"),
            [place(Version::V2, "/host/cgroup", &all)],
            "moved"
        );
    }

    #[test]
    fn a_controller_is_read_where_it_is_and_else_in_the_unified_hierarchy() {
        let unified = "/sys/fs/cgroup/unified";
        assert_eq!(
            found(HYBRID, "/sys/fs/cgroup", Kind::Unified, unified),
            [
                place(Version::V1, "/sys/fs/cgroup/cpu,cpuacct", &[Part::Times, Part::Cpu]),
                place(Version::V1, "/sys/fs/cgroup/memory", &[Part::Memory]),
                place(Version::V2, unified, &[Part::Threads, Part::Pressure, Part::Processes]),
            ]
        );
    }

    #[test]
    fn the_accounting_hierarchy_is_the_last_and_v1_may_be_all_there_is() {
        let v1: Vec<_> = HYBRID.lines().take(3).collect();
        let kind = Kind::Cpuacct { controller: "cpuacct" };
        assert_eq!(
            found(&v1.join("\n"), "/sys/fs/cgroup", kind, "/sys/fs/cgroup/cpu,cpuacct"),
            [
                place(Version::V1, "/sys/fs/cgroup/memory", &[Part::Memory]),
                place(
                    Version::V1,
                    "/sys/fs/cgroup/cpu,cpuacct",
                    &[Part::Times, Part::Cpu, Part::Processes]
                ),
            ]
        );
    }
}
