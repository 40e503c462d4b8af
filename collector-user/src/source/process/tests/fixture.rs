//! A procfs, a sysfs and a cgroup hierarchy of plain files.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    thread,
};

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use tempfile::TempDir;

use super::super::*;
use crate::model::processes::{CpuTicks, Memory};

const HEADER: &str = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets\n";

/// A procfs, a sysfs and a cgroup hierarchy of plain files.
pub(super) struct Fixture {
    pub(super) root: TempDir,
    reader: ProcessReader,
    target: Target,
}

impl Fixture {
    /// A container with these processes in its own cgroup, and below `procfs` (the
    /// fixture's own if it is `None`).
    pub(super) fn new(procfs: Option<&str>, pids: &[u32]) -> Self {
        Self::distrusting(None, procfs, pids)
    }

    /// One whose lists of processes are not trusted.
    pub(super) fn distrusting(
        distrust: Option<Reason>,
        procfs: Option<&str>,
        pids: &[u32],
    ) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let reader = ProcessReader::new(Options {
            procfs: procfs.map_or_else(|| root.path().join("proc"), Into::into),
            sysfs: root.path().join("sys"),
            hierarchy: root.path().join("cgroup"),
            distrust,
            max_pids: 10,
        });
        let target = Target { path: "/c".into(), cgroups: vec!["/c".into()] };
        let fixture = Self { root, reader, target };
        fixture.cgroup("c", pids);
        fs::create_dir_all(fixture.root.path().join("proc")).expect("made");
        fixture
    }

    pub(super) fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, bytes).expect("written");
    }

    pub(super) fn cgroup(&self, path: &str, pids: &[u32]) {
        let lines = pids.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        self.write(&format!("cgroup/{path}/cgroup.procs"), lines);
    }

    pub(super) fn nested(&mut self, path: &str, pids: &[u32]) {
        self.cgroup(path.trim_start_matches('/'), pids);
        self.target.cgroups.push(path.into());
    }

    pub(super) fn process(&self, pid: u32, netns: u64) {
        self.write(&format!("proc/{pid}/stat"), stat(pid));
        self.write(
            &format!("proc/{pid}/status"),
            format!("Name:\tx\nVmSize:\t {pid}3 kB\nVmRSS:\t {pid}2 kB\nRssFile:\t {pid}1 kB\n"),
        );
        self.netns(pid, &format!("net:[{netns}]"));
        self.net_dev(pid, &interface("eth0", 10));
    }

    pub(super) fn all(&self, pids: &[u32], netns: u64) {
        for pid in pids {
            self.process(*pid, netns);
        }
    }

    pub(super) fn netns(&self, pid: u32, link: &str) {
        let ns = self.root.path().join(format!("proc/{pid}/ns"));
        fs::create_dir_all(&ns).expect("made");
        symlink(link, ns.join("net")).expect("linked");
    }

    pub(super) fn net_dev(&self, pid: u32, lines: &str) {
        self.write(&format!("proc/{pid}/net/dev"), format!("{HEADER}{lines}"));
    }

    pub(super) fn remove(&self, path: &str) {
        let path = self.root.path().join(path);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
            .expect("removed");
    }

    pub(super) fn forbid(&self, path: &str) {
        let path = self.root.path().join(path);
        fs::set_permissions(path, fs::Permissions::from_mode(0o0)).expect("set");
    }

    pub(super) fn read(&self) -> (ContainerProcesses, Losses) {
        let mut losses = Losses::default();
        let found = self.reader.read(&self.target, &mut Buffer::default(), &mut losses);
        (found, losses)
    }

    /// What a reader finds that may not do what only root may.
    pub(super) fn read_without_rights(&self) -> (ContainerProcesses, Losses) {
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let none = CapabilitySet::empty();
                let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
                set_capabilities(None, sets).expect("rights can always be given up");
                self.read()
            });
            reader.join().expect("it does not panic")
        })
    }

    pub(super) fn host_traffic(&self) -> (Option<Traffic>, Losses) {
        let mut losses = Losses::default();
        (self.reader.host_traffic(&mut Buffer::default(), &mut losses), losses)
    }
}

pub(super) fn stat(pid: u32) -> String {
    format!(
        "{pid} (a) b) S 1 1 1 0 -1 4194304 0 0 0 0 {pid}1 {pid}2 {pid}3 {pid}4 20 0 1 0 9 1 1 \
         18446744073709551615 1 1 1 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
    )
}

pub(super) fn interface(name: &str, number: u64) -> String {
    let [a, b, c, d] = [1, 2, 3, 4].map(|it| it * number);
    format!(
        "{name:>6}: {a:>7} {b:>7}    0    0    0     0          0         0 {c} {d} 0 0 0 0 0 0\n"
    )
}

pub(super) fn traffic(number: u64) -> Traffic {
    Traffic {
        rx_bytes: number,
        rx_packets: 2 * number,
        tx_bytes: 3 * number,
        tx_packets: 4 * number,
    }
}

/// What [`Fixture::process`] wrote.
pub(super) fn written(pid: u32) -> Process {
    let [one, two, three, four] = [1, 2, 3, 4].map(|it| u64::from(pid) * 10 + it);
    Process {
        pid,
        times: Some(CpuTicks { utime: one, stime: two, cutime: three, cstime: four }),
        memory: Memory { vmsize_kb: Some(three), vmrss_kb: Some(two), rssfile_kb: Some(one) },
    }
}

pub(super) fn lost<const N: usize>(reasons: [(Reason, u64); N]) -> Losses {
    let mut losses = Losses::default();
    for (reason, number) in reasons {
        losses.count_many(Collector::Process, reason, number);
    }
    losses
}

/// What is told of a container without processes.
pub(super) fn empty() -> ContainerProcesses {
    ContainerProcesses { is_empty: true, ..ContainerProcesses::default() }
}
