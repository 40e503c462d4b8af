//! Which processes are a container's: `cgroup.procs`.
//!
//! Owns the list. Must not look at any process.

use std::{path::Path, sync::Arc};

use rustix::io::Errno;

use crate::{
    model::{
        collectors::Collector,
        losses::{Losses, Reason},
        targets::Target,
    },
    source::{
        files::{Buffer, Directory},
        losses::{Loss, is},
        text,
    },
};

/// A process that a cgroup lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::source) struct Listed {
    /// Its pid, never 0.
    pub(in crate::source) pid: u32,
    /// Whether it is in a cgroup inside the container's.
    pub(in crate::source) is_nested: bool,
}

/// What a container's cgroups list.
#[derive(Debug)]
pub(in crate::source) struct Listing {
    /// Processes by pid, each once.
    pub(in crate::source) processes: Vec<Listed>,
    /// What could not be read of the lists, for whoever asked for them to count.
    pub(in crate::source) losses: Losses,
}

/// Which of a container's cgroups are asked for their processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Extent {
    /// Its own, and those inside, of which there can be thousands.
    Whole,
    /// Its own.
    Own,
}

/// The processes (not threads) of a container's cgroups, each once: v1 may list one twice,
/// and one that moves meanwhile is seen in two cgroups.
pub(super) fn list(
    hierarchy: &Path,
    target: &Target,
    extent: Extent,
    collector: Collector,
    buffer: &mut Buffer,
) -> Listing {
    let (mut processes, mut losses) = (Vec::new(), Losses::default());
    let is_meant = |cgroup: &&Arc<str>| extent == Extent::Whole || **cgroup == target.path;
    for cgroup in target.cgroups.iter().filter(is_meant) {
        let path = hierarchy.join(cgroup.trim_start_matches('/'));
        let is_nested = *cgroup != target.path;
        let file = path.join("cgroup.procs");
        let file = file.display();
        match Directory::open(&path).and_then(|it| it.list("cgroup.procs", buffer)) {
            Ok(bytes) => {
                let (mut hidden, mut malformed) = (0, 0);
                for pid in pids(bytes) {
                    match pid {
                        Ok(pid) => processes.push(Listed { pid, is_nested }),
                        Err(Reason::Hidden) => hidden += 1,
                        Err(_) => malformed += 1,
                    }
                }
                for (loss, number) in
                    [(Loss::of(Reason::Hidden), hidden), (Loss::malformed(), malformed)]
                {
                    loss.count_many(number, collector, format_args!("{file}"), &mut losses);
                }
            }
            // Of threads only: the cgroup above them lists their processes.
            Err(error) if is(&error, Errno::OPNOTSUPP) => {
                if !is_nested {
                    // That one is not the container's, and lists others' processes too.
                    let loss = Loss::from(error).because(Reason::Hidden);
                    loss.count(collector, format_args!("{file}"), &mut losses);
                }
            }
            Err(error) => {
                Loss::from(error).count(collector, format_args!("{file}"), &mut losses);
            }
        }
    }
    processes.sort_unstable();
    processes.dedup_by_key(|it| it.pid);
    Listing { processes, losses }
}

/// Pids, one a line. 0 stands for a process of a pid namespace that can't be seen from the
/// daemon's.
fn pids(bytes: &[u8]) -> impl Iterator<Item = Result<u32, Reason>> {
    let lines = bytes.strip_suffix(b"\n").unwrap_or(bytes).split(|byte| *byte == b'\n');
    lines.filter(|_| !bytes.is_empty()).map(|line| {
        let number = str::from_utf8(line).ok().and_then(text::number);
        match number.and_then(|it| u32::try_from(it).ok()) {
            Some(0) => Err(Reason::Hidden),
            pid => pid.ok_or(Reason::Malformed),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn target(cgroups: &[&str]) -> Target {
        Target {
            path: cgroups[0].into(),
            cgroups: cgroups.iter().map(|path| (*path).into()).collect(),
        }
    }

    #[test]
    fn processes_of_all_cgroups_are_listed_once_by_pid() {
        let root = tempfile::tempdir().expect("a directory");
        for (cgroup, pids) in [("c", "30\n4\n30\n"), ("c/in", "200\n4\n"), ("c/empty", "")] {
            fs::create_dir(root.path().join(cgroup)).expect("made");
            fs::write(root.path().join(cgroup).join("cgroup.procs"), pids).expect("written");
        }
        let target = target(&["/c", "/c/in", "/c/empty", "/c/gone"]);
        let list =
            |extent| list(root.path(), &target, extent, Collector::Network, &mut Buffer::default());
        let listed = list(Extent::Whole);
        let expected = [(4, false), (30, false), (200, true)];
        assert_eq!(listed.processes, expected.map(|(pid, is_nested)| Listed { pid, is_nested }));
        let mut vanished = Losses::default();
        vanished.count(Collector::Network, Reason::Vanished);
        assert_eq!(listed.losses, vanished);
        let own = list(Extent::Own);
        assert_eq!(own.processes, listed.processes[..2]);
        assert_eq!(own.losses, Losses::default());
    }

    #[test]
    fn a_line_that_is_no_pid_costs_itself_only() {
        let lines = b"7\n0\n\n-3\n4294967296\n\xff\n8";
        let malformed = Err(Reason::Malformed);
        assert_eq!(
            pids(lines).collect::<Vec<_>>(),
            [Ok(7), Err(Reason::Hidden), malformed, malformed, malformed, malformed, Ok(8)]
        );
        assert_eq!(pids(b"").count(), 0);
    }

    proptest! {
        #[test]
        fn pids_are_found_among_whatever_else(
            before in "[^\n]{0,20}",
            pid in 1_u32..,
            after in any::<Vec<u8>>(),
        ) {
            let mut bytes = format!("{before}\n{pid}\n").into_bytes();
            bytes.extend(after);
            prop_assert_eq!(pids(&bytes).nth(1), Some(Ok(pid)));
            prop_assert!(pids(&bytes).all(|it| it != Ok(0)));
        }
    }
}
