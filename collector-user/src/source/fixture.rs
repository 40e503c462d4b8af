//! A procfs, a sysfs and a cgroup hierarchy of plain files, for tests.
//!
//! Owns what is in them. Must not know who reads them.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    thread,
};

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use tempfile::TempDir;

use super::lookup::Places;
use crate::model::{
    losses::Reason,
    network::{Device, Traffic},
    targets::Target,
};

const HEADER: &str = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets\n";

/// A container on a host of plain files, and who reads them.
pub(super) struct Fixture<Reader> {
    pub(super) root: TempDir,
    pub(super) reader: Reader,
    pub(super) target: Target,
}

impl<Reader> Fixture<Reader> {
    /// A container with these processes in its own cgroup, below `procfs` (the fixture's own
    /// if it is `None`).
    pub(super) fn made(
        distrust: Option<Reason>,
        procfs: Option<&str>,
        pids: &[u32],
        reader: impl FnOnce(Places, &Path) -> Reader,
    ) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let places = Places {
            procfs: procfs.map_or_else(|| root.path().join("proc"), Into::into),
            hierarchy: root.path().join("cgroup"),
            distrust,
        };
        let reader = reader(places, &root.path().join("sys"));
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
        // It is not there the first time.
        let _not_there = fs::remove_file(ns.join("net"));
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
}

/// What `act` finds when it may not do what only root may.
pub(super) fn without_rights<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let powerless = scope.spawn(|| {
            let none = CapabilitySet::empty();
            let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
            set_capabilities(None, sets).expect("rights can always be given up");
            act()
        });
        powerless.join().expect("it does not panic")
    })
}

pub(super) fn stat(pid: u32) -> String {
    child(pid, 1)
}

/// Its `stat` if it is a child of that one.
pub(super) fn child(pid: u32, parent: u32) -> String {
    format!(
        "{pid} (a) b) S {parent} 1 1 0 -1 4194304 0 0 0 0 {pid}1 {pid}2 {pid}3 {pid}4 20 0 1 0 9 1 1 \
         18446744073709551615 1 1 1 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
    )
}

/// A line of `net/dev` in which each number is a multiple of this one.
pub(super) fn interface(name: &str, number: u64) -> String {
    let [one, two, three, four] = [1, 2, 3, 4].map(|it| it * number);
    let [five, six, seven, eight] = [5, 6, 7, 8].map(|it| it * number);
    format!("{name:>6}: {one} {two} {three} {four} 0 0 0 0 {five} {six} {seven} {eight} 0 0 0 0\n")
}

/// What such a line tells.
pub(super) fn device(name: &str, number: u64) -> Device {
    let traffic = Traffic {
        rx_bytes: number,
        rx_packets: 2 * number,
        tx_bytes: 5 * number,
        tx_packets: 6 * number,
    };
    Device {
        name: name.into(),
        traffic,
        rx_errors: 3 * number,
        rx_dropped: 4 * number,
        tx_errors: 7 * number,
        tx_dropped: 8 * number,
    }
}
