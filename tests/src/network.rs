//! Wires between containers: pairs of virtual interfaces, moved into their networks.
//!
//! The private engine gives its containers no network; what is in them is made here.

use std::process::Command;

use crate::workload;

/// Two ends of a wire, each in the network of a process. It goes with either of them.
#[derive(Clone, Debug)]
pub struct Wire {
    /// Addresses of the two ends.
    pub addresses: [String; 2],
}

impl Wire {
    /// Lays the wire number `number` (each its own) between the networks of two processes,
    /// as interface `name` of both.
    pub fn lay(number: u8, name: &str, pids: [u32; 2]) -> Self {
        let ends = [0, 1].map(|end| format!("sm{}-{number}-{end}", std::process::id() % 10_000));
        run(Command::new("ip")
            .args(["link", "add", &ends[0], "type", "veth"])
            .args(["peer", "name", &ends[1]]));
        let guard = Guard(ends[0].clone());
        // For tests of networks (RFC 2544): no one else's.
        let addresses = [1, 2].map(|host| format!("198.18.{number}.{host}"));
        for ((end, pid), address) in ends.iter().zip(pids).zip(&addresses) {
            run(Command::new("ip").args(["link", "set", end, "netns", &pid.to_string()]));
            run(within(pid, "ip").args(["link", "set", end, "name", name]));
            run(within(pid, "ip").args(["addr", "add", &format!("{address}/30"), "dev", name]));
            run(within(pid, "ip").args(["link", "set", name, "up"]));
        }
        // Nothing of it is in this network any more.
        std::mem::forget(guard);
        Self { addresses }
    }
}

/// Removes a wire that was not laid to its end.
struct Guard(String);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "delete", &self.0]).status();
    }
}

/// Sends UDP packets from the network of a process.
pub fn send(from: u32, to: &str, packets: u32, bytes: u32) {
    let mut command = within(from, workload::binary());
    run(command.args(["send", &format!("{to}:9")]).args([packets.to_string(), bytes.to_string()]));
}

/// A command in the network of a process.
fn within(pid: u32, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--net", "--target", &pid.to_string(), "--"]).arg(program);
    command
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
}
