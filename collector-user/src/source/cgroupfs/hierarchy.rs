//! Which cgroup hierarchy tells containers apart on this host.
//!
//! Owns the choice between the unified hierarchy (v2) and a v1 controller's, and the
//! check that what is mounted shows all of it. It must not walk the hierarchy.

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use procfs::{FromBufRead, ProcessCGroups};

use super::mounts::{self, CgroupMount};
use crate::model::container_id::deepest_container;

/// v1 controllers to account by, best first. Both group tasks alike where runtimes
/// use them; `cpuacct` is the one that can be missing (no `CONFIG_CGROUP_CPUACCT`).
const CPU_CONTROLLERS: [&str; 2] = ["cpuacct", "cpu"];

/// Processes looked at to learn where containers live. Evidence, not a census: one
/// process in a container settles it.
const PROCESSES_LOOKED_AT: usize = 8192;

/// Inode number of a cgroup hierarchy's root directory, in every hierarchy: the
/// first that kernfs gives out (`fs/kernfs/dir.c`, `kernfs_create_root`).
const ROOT_INODE: u64 = 1;

/// `f_type` of the two cgroup file systems (`include/uapi/linux/magic.h`).
const CGROUP_MAGICS: [i64; 2] = [0x0027_e0eb, 0x6367_7270];

/// Which hierarchy the user wants (`--cgroup.hierarchy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The unified one where there is one, unless the running containers are only in
    /// the v1 controller's.
    #[default]
    Auto,
    /// The unified one (v2).
    Unified,
    /// The v1 controller `cpuacct`, or `cpu` where that is missing.
    Cpuacct,
}

/// Where the host's file systems are to be found.
#[derive(Clone, Copy, Debug)]
pub struct Paths<'a> {
    /// procfs (`--path.procfs`).
    pub procfs: &'a Path,
    /// The directory that cgroups are mounted on or below (`--path.cgroupfs`).
    pub cgroupfs: &'a Path,
}

/// The hierarchy to account by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Which one it is.
    pub kind: Kind,
    /// What else the host has.
    pub mode: Mode,
    /// Where its root is mounted.
    pub mount: PathBuf,
    /// The kernel's number for it (`cgrp->root->hierarchy_id`); 0 is the unified one.
    pub hierarchy_id: u32,
}

/// A hierarchy, by what a task's cgroup in it is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The default hierarchy (v2).
    Unified,
    /// A v1 hierarchy.
    Cpuacct {
        /// The controller to find it by: `cpuacct`, or `cpu` where that is missing.
        controller: &'static str,
    },
}

/// How a host mounts its cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only the unified hierarchy.
    V2,
    /// v1 controllers, and the unified hierarchy beside them.
    Hybrid,
    /// Only v1 controllers.
    V1,
}

impl fmt::Display for Hierarchy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            Mode::V2 => "v2",
            Mode::Hybrid => "v1 and v2",
            Mode::V1 => "v1",
        };
        let by = match self.kind {
            Kind::Unified => "the unified hierarchy",
            Kind::Cpuacct { controller } => controller,
        };
        write!(f, "cgroups {mode}, accounting by {by} on {}", self.mount.display())
    }
}

/// Why there is no hierarchy to account by.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum HierarchyError {
    #[error("cannot read {}: give the place of the host's procfs as --path.procfs", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "no cgroup hierarchy is mounted (looked in {} for cgroup2 and for the v1 controllers \
         cpuacct and cpu): mount one, e.g. `mount -t cgroup2 none /sys/fs/cgroup`",
        mountinfo.display()
    )]
    NothingMounted { mountinfo: PathBuf },
    #[error(
        "no cgroup hierarchy is mounted on or below {}: give the right place as --path.cgroupfs{}",
        prefix.display(),
        like(elsewhere.as_deref())
    )]
    NothingBelow { prefix: PathBuf, elsewhere: Option<PathBuf> },
    #[error(
        "--cgroup.hierarchy=unified, but no cgroup2 is mounted: mount it, e.g. \
         `mount -t cgroup2 none /sys/fs/cgroup/unified`, or leave the choice to \
         --cgroup.hierarchy=auto"
    )]
    NoUnified,
    #[error(
        "--cgroup.hierarchy=cpuacct, but neither cpuacct nor cpu is mounted as a v1 \
         controller: leave the choice to --cgroup.hierarchy=auto"
    )]
    NoCpuacct,
    #[error("the kernel does not tell the number of the {controller} hierarchy (in {})", path.display())]
    NoNumber { controller: &'static str, path: PathBuf },
    #[error(
        "cannot look at the cgroup mount {}: give the place of the host's cgroups as \
         --path.cgroupfs",
        mount.display()
    )]
    Look { mount: PathBuf, source: io::Error },
    #[error(
        "{} is no cgroup mount: give the place of the host's cgroups as --path.cgroupfs",
        mount.display()
    )]
    NotCgroups { mount: PathBuf },
    #[error(
        "the cgroup mount {} shows only a part of the host's cgroups: run outside of a cgroup \
         name space (`docker run --cgroupns=host`), or mount the host's /sys/fs/cgroup into \
         the container and give its place as --path.cgroupfs",
        mount.display()
    )]
    Partial { mount: PathBuf },
}

/// A mount that is there, as the value to give; nothing if there is none.
fn like(elsewhere: Option<&Path>) -> String {
    elsewhere.map_or_else(String::new, |mount| format!("={}", mount.display()))
}

/// Finds the hierarchy to account by, and makes sure that all of it can be seen.
///
/// # Errors
/// When there is none, or not the one chosen, or when its mount shows a part of it.
pub fn detect(paths: Paths<'_>, choice: Choice) -> Result<Hierarchy, HierarchyError> {
    let hierarchy = select(paths, choice)?;
    check_root(&hierarchy.mount)?;
    Ok(hierarchy)
}

/// Selects the hierarchy to account by, by what procfs tells of mounts and processes.
///
/// # Errors
/// When there is none, or not the one chosen.
pub fn select(paths: Paths<'_>, choice: Choice) -> Result<Hierarchy, HierarchyError> {
    let mountinfo = paths.procfs.join("self/mountinfo");
    let mounts = mounts::parse(&read(&mountinfo)?);
    if mounts.is_empty() {
        return Err(HierarchyError::NothingMounted { mountinfo });
    }
    let available = Available::among(&mounts, paths.cgroupfs);
    let (kind, mount) = available
        .pick(choice, |controller| containers_avoid_unified(paths.procfs, controller))
        .ok_or_else(|| available.lack(choice, &mounts, paths.cgroupfs))?;
    let hierarchy_id = match kind {
        Kind::Unified => 0,
        Kind::Cpuacct { controller } => hierarchy_number(paths.procfs, controller)?,
    };
    Ok(Hierarchy { kind, mode: available.mode(), mount, hierarchy_id })
}

/// The hierarchies that are mounted where we can see them.
#[derive(Debug, PartialEq, Eq)]
struct Available {
    unified: Option<PathBuf>,
    v1: Option<(&'static str, PathBuf)>,
}

impl Available {
    fn among(mounts: &[CgroupMount], prefix: &Path) -> Self {
        let unified = mounts::choose(mounts.iter().filter(|mount| mount.is_unified()), prefix);
        let v1 = CPU_CONTROLLERS.into_iter().find_map(|controller| {
            let with_it = mounts.iter().filter(|mount| mount.has_controller(controller));
            Some((controller, mounts::choose(with_it, prefix)?))
        });
        Self { unified, v1 }
    }

    fn mode(&self) -> Mode {
        match (&self.unified, &self.v1) {
            (Some(_), Some(_)) => Mode::Hybrid,
            (None, Some(_)) => Mode::V1,
            (_, None) => Mode::V2,
        }
    }

    /// `avoid_unified` tells of a v1 controller whether containers are only there;
    /// asked only where the answer matters.
    fn pick(
        &self,
        choice: Choice,
        avoid_unified: impl FnOnce(&str) -> bool,
    ) -> Option<(Kind, PathBuf)> {
        let unified = || Some((Kind::Unified, self.unified.clone()?));
        let cpuacct = || {
            let (controller, mount) = self.v1.clone()?;
            Some((Kind::Cpuacct { controller }, mount))
        };
        match (choice, &self.unified, &self.v1) {
            (Choice::Unified, ..) | (Choice::Auto, Some(_), None) => unified(),
            (Choice::Cpuacct, ..) | (Choice::Auto, None, _) => cpuacct(),
            (Choice::Auto, Some(_), Some((controller, _))) => {
                if avoid_unified(controller) {
                    cpuacct()
                } else {
                    unified()
                }
            }
        }
    }

    /// Why [`Self::pick`] found nothing.
    fn lack(&self, choice: Choice, mounts: &[CgroupMount], prefix: &Path) -> HierarchyError {
        match (choice, self) {
            (_, Self { unified: None, v1: None }) => {
                let Self { unified, v1 } = Self::among(mounts, Path::new("/"));
                HierarchyError::NothingBelow {
                    prefix: prefix.to_owned(),
                    elsewhere: unified.or(v1.map(|(_, mount)| mount)),
                }
            }
            (Choice::Cpuacct, _) => HierarchyError::NoCpuacct,
            (Choice::Unified | Choice::Auto, _) => HierarchyError::NoUnified,
        }
    }
}

/// Whether running containers are in a v1 controller's hierarchy and not in the
/// unified one: runtimes before runc 1.0 made no cgroup there on hybrid hosts.
fn containers_avoid_unified(procfs: &Path, controller: &str) -> bool {
    let Ok(entries) = fs::read_dir(procfs) else { return false };
    let processes = entries
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit))
        .take(PROCESSES_LOOKED_AT)
        // A process that has exited meanwhile says nothing.
        .filter_map(|entry| read(&entry.path().join("cgroup")).ok());
    mostly_outside_unified(processes, controller)
}

/// Whether more of the containers' processes are outside of the unified hierarchy's
/// containers than inside, given each process' `/proc/PID/cgroup`.
fn mostly_outside_unified(processes: impl Iterator<Item = String>, controller: &str) -> bool {
    let (mut inside, mut outside) = (0_usize, 0_usize);
    for process in processes.filter_map(|text| parse_cgroups(&text)) {
        let in_container = |hierarchy: Option<&procfs::ProcessCGroup>| {
            hierarchy.is_some_and(|own| deepest_container(&own.pathname).is_some())
        };
        if in_container(process.0.iter().find(|own| own.hierarchy == 0)) {
            inside += 1;
        } else if in_container(of_controller(&process, controller)) {
            outside += 1;
        }
    }
    outside > inside
}

/// The kernel's number of a v1 controller's hierarchy.
fn hierarchy_number(procfs: &Path, controller: &'static str) -> Result<u32, HierarchyError> {
    let path = procfs.join("self/cgroup");
    parse_cgroups(&read(&path)?)
        .and_then(|own| of_controller(&own, controller).map(|hierarchy| hierarchy.hierarchy))
        .ok_or(HierarchyError::NoNumber { controller, path })
}

fn of_controller<'a>(
    process: &'a ProcessCGroups,
    controller: &str,
) -> Option<&'a procfs::ProcessCGroup> {
    process.0.iter().find(|own| own.controllers.iter().any(|name| name == controller))
}

fn parse_cgroups(text: &str) -> Option<ProcessCGroups> {
    ProcessCGroups::from_buf_read(text.as_bytes()).ok()
}

/// Checks that `mount` shows a cgroup hierarchy, from its root.
fn check_root(mount: &Path) -> Result<(), HierarchyError> {
    let look = |source| HierarchyError::Look { mount: mount.to_owned(), source };
    let file_system = rustix::fs::statfs(mount).map_err(|errno| look(errno.into()))?;
    if !CGROUP_MAGICS.contains(&file_system.f_type) {
        return Err(HierarchyError::NotCgroups { mount: mount.to_owned() });
    }
    if fs::metadata(mount).map_err(look)?.ino() != ROOT_INODE {
        return Err(HierarchyError::Partial { mount: mount.to_owned() });
    }
    Ok(())
}

pub(super) fn read(path: &Path) -> Result<String, HierarchyError> {
    let bytes =
        fs::read(path).map_err(|source| HierarchyError::Read { path: path.to_owned(), source })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
