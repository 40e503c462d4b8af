//! Network namespaces of our own, joined by virtual cables, and the kernel's own counts.
//!
//! A namespace is held by a process that ends with its test, and the cables' ends are in
//! such namespaces: nothing of it outlives the test, and the host's own network never
//! notices. It must not read anything of the daemon's.

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
use slicemeter::model::network::Traffic;

use crate::{process::bound_command, wait};

/// How long a process takes to get its own namespace.
const NAMESPACE_LIMIT: Duration = Duration::from_secs(10);

/// For the interfaces to come and those there are; none where the kernel has no IPv6.
const NO_IPV6: &str = "for f in default all; do f=/proc/sys/net/ipv6/conf/$f/disable_ipv6; \
                       [ ! -e $f ] || echo 1 > $f; done";

/// A network namespace, held by a process.
#[derive(Debug)]
pub struct Netns {
    holder: Child,
}

impl Netns {
    /// A new one, with `lo` up and IPv4 alone. Its holder ends with the thread that calls.
    pub fn new() -> Self {
        let mut command = bound_command("KILL", "unshare");
        command.args(["--net", "sleep", "infinity"]).stdout(Stdio::null());
        let holder = command.spawn().expect("unshare (util-linux)");
        let netns = Self { holder };
        let host = inum("/proc/self/ns/net");
        wait::until("a network namespace", NAMESPACE_LIMIT, || {
            (netns.inum() != host).then_some(())
        });
        // Of IPv6 there would be packets that nobody asked for, at times of the kernel's choice.
        netns.run(&["sh", "-c", NO_IPV6]);
        netns.run(&["ip", "link", "set", "lo", "up"]);
        netns
    }

    /// The process that holds it.
    pub fn pid(&self) -> u32 {
        self.holder.id()
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
        let mut nsenter = bound_command("KILL", "nsenter");
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
    pub fn devices(&self) -> BTreeMap<String, Traffic> {
        let path = format!("/proc/{}/net/dev", self.pid());
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        text.lines().skip(2).map(device).collect()
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
        // Its own child, which may be gone.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn inum(path: &str) -> u64 {
    fs::metadata(path).map_or(0, |file| file.ino())
}

/// A line of `net/dev`: name, then eight numbers received and eight sent.
fn device(line: &str) -> (String, Traffic) {
    let (name, numbers) = line.split_once(':').expect("a name");
    let numbers: Vec<u64> =
        numbers.split_whitespace().map(|number| number.parse().expect("a number")).collect();
    let traffic = Traffic {
        rx_bytes: numbers[0],
        rx_packets: numbers[1],
        tx_bytes: numbers[8],
        tx_packets: numbers[9],
    };
    (name.trim().to_owned(), traffic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_net_dev_is_understood() {
        let line = "  eth0: 100 2 3 4 5 6 7 8 900 10 11 12 13 14 15 16";
        let traffic = Traffic { rx_bytes: 100, rx_packets: 2, tx_bytes: 900, tx_packets: 10 };
        assert_eq!(device(line), ("eth0".to_owned(), traffic));
    }
}
