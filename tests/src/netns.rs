//! Network namespaces, our own and those of containers, and virtual cables between them.
//!
//! One of our own is held by a process that ends with its test, and the cables' ends are
//! in such namespaces or in containers': nothing of it outlives the test, and the host's
//! own network never notices. It must not read anything of the daemon's.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::Ipv4Addr,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{
    process::bound_command,
    procfs::{self, Device},
    wait,
};

/// How long a process takes to get its own namespace.
const NAMESPACE_LIMIT: Duration = Duration::from_secs(10);

/// For the interfaces to come and those there are; none where the kernel has no IPv6.
const NO_IPV6: &str = "for f in default all; do f=/proc/sys/net/ipv6/conf/$f/disable_ipv6; \
                       [ ! -e $f ] || echo 1 > $f; done";

/// A network namespace, by a process that is in it.
#[derive(Debug)]
pub struct Netns {
    pid: u32,
    /// Of one of our own: it is there for nothing else.
    holder: Option<Child>,
}

impl Netns {
    /// A new one, with `lo` up and IPv4 alone. Its holder ends with the thread that calls.
    pub fn new() -> Self {
        let mut command = bound_command("KILL", "unshare");
        command.args(["--net", "sleep", "infinity"]).stdout(Stdio::null());
        let holder = command.spawn().expect("unshare (util-linux)");
        let netns = Self { pid: holder.id(), holder: Some(holder) };
        let host = inum("/proc/self/ns/net");
        wait::until("a network namespace", NAMESPACE_LIMIT, || {
            (netns.inum() != host).then_some(())
        });
        // Of IPv6 there would be packets that nobody asked for, at times of the kernel's choice.
        netns.run(&["sh", "-c", NO_IPV6]);
        netns.run(&["ip", "link", "set", "lo", "up"]);
        netns
    }

    /// The one that a process is in, as long as that process lives.
    pub fn of(pid: u32) -> Self {
        Self { pid, holder: None }
    }

    /// A process that is in it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its inode number.
    pub fn inum(&self) -> u64 {
        inum(&self.path())
    }

    /// Runs a command in it; panics if it fails.
    pub fn run(&self, command: &[&str]) {
        self.attempt(command).unwrap_or_else(|said| panic!("{command:?}: {said}"));
    }

    /// Runs a command in it.
    ///
    /// # Errors
    /// It fails: with what it says on stderr.
    pub fn attempt(&self, command: &[&str]) -> Result<(), String> {
        let output = self.command(command).output().expect("nsenter (util-linux)");
        let said = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if output.status.success() { Ok(()) } else { Err(said()) }
    }

    /// A command in it, to be started by the caller.
    pub fn command(&self, command: &[&str]) -> Command {
        self.bound_command("KILL", command)
    }

    /// The same; it gets `signal` when the thread that starts it ends.
    pub fn bound_command(&self, signal: &str, command: &[&str]) -> Command {
        let mut nsenter = bound_command(signal, "nsenter");
        nsenter.arg(format!("--net={}", self.path())).args(command);
        nsenter
    }

    /// Starts a thread in it: the sockets that it makes are the namespace's.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let netns = File::open(self.path()).expect("the namespace");
        thread::spawn(move || {
            move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("the right to enter a namespace");
            work()
        })
    }

    /// Joins two of them with a virtual cable, each end with a name and an address, up.
    pub fn connect(ends: [(&Self, &str, Ipv4Addr); 2]) {
        let [(near, near_name, _), (far, far_name, _)] = ends;
        let far_pid = far.pid().to_string();
        near.run(&[
            "ip", "link", "add", near_name, "type", "veth", "peer", "name", far_name, "netns",
            &far_pid,
        ]);
        for (netns, name, address) in ends {
            let address = format!("{address}/24");
            netns.run(&["ip", "address", "add", &address, "dev", name]);
            netns.run(&["ip", "link", "set", name, "up"]);
        }
    }

    /// What the kernel says of each of its interfaces (`/proc/PID/net/dev`).
    pub fn devices(&self) -> BTreeMap<String, Device> {
        procfs::devices(self.pid)
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.pid())
    }
}

impl Default for Netns {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Some(holder) = &mut self.holder {
            // It may be gone.
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}

fn inum(path: &str) -> u64 {
    fs::metadata(path).map_or(0, |file| file.ino())
}
