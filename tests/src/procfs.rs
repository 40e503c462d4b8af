//! What `/proc` tells of a process, read as plainly as can be.
//!
//! It is what the daemon's values are compared with: it must not share any code with the
//! daemon but the plain values that both end in.

use std::{collections::BTreeMap, fs};

use slicemeter::model::network::Traffic;

/// CPU times of a process in clock ticks: user, system, and those of children that were
/// waited for. `None` if it is gone.
pub fn ticks(pid: u32) -> Option<[f64; 4]> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Whatever is in the name, the last parenthesis closes it.
    let (_, rest) = stat.rsplit_once(')')?;
    // The state is field 3.
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse().ok();
    Some([field(14)?, field(15)?, field(16)?, field(17)?])
}

/// A line of `/proc/PID/status` in kB; `None` if it isn't there.
pub fn status_kb(pid: u32, key: &str) -> Option<f64> {
    line_kb(&format!("/proc/{pid}/status"), key)
}

/// The same of a process whose first thread has ended: from one that lives.
pub fn live_thread_kb(pid: u32, key: &str) -> Option<f64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    threads.flatten().find_map(|it| line_kb(&it.path().join("status").to_string_lossy(), key))
}

fn line_kb(file: &str, key: &str) -> Option<f64> {
    let status = fs::read_to_string(file).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// An interface's line in `net/dev`: the kernel's own counts since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Bytes and packets.
    pub traffic: Traffic,
    /// What went wrong.
    pub faults: Faults,
}

/// Packets that did not get through an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Received wrong.
    pub rx_errors: u64,
    /// Received and dropped.
    pub rx_dropped: u64,
    /// Not sent.
    pub tx_errors: u64,
    /// Dropped in place of being sent.
    pub tx_dropped: u64,
}

/// The interfaces of a process' network, by name.
pub fn devices(pid: u32) -> BTreeMap<String, Device> {
    let path = format!("/proc/{pid}/net/dev");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.lines().skip(2).map(device).collect()
}

/// Traffic of a process' network, over all interfaces but `lo`.
pub fn traffic(pid: u32) -> Traffic {
    let others = devices(pid).into_iter().filter(|(name, _)| name != "lo");
    others.map(|(_, device)| device.traffic).sum()
}

/// A line of `net/dev`: name, then eight numbers received and eight sent.
fn device(line: &str) -> (String, Device) {
    let (name, numbers) = line.split_once(':').expect("a name");
    let numbers: Vec<u64> =
        numbers.split_whitespace().map(|number| number.parse().expect("a number")).collect();
    let [rx_bytes, rx_packets, rx_errors, rx_dropped, ..] = numbers[..] else {
        panic!("not a line of net/dev: {line}")
    };
    let [tx_bytes, tx_packets, tx_errors, tx_dropped, ..] = numbers[8..] else {
        panic!("not a line of net/dev: {line}")
    };
    let traffic = Traffic { rx_bytes, rx_packets, tx_bytes, tx_packets };
    let faults = Faults { rx_errors, rx_dropped, tx_errors, tx_dropped };
    (name.trim().to_owned(), Device { traffic, faults })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_net_dev_is_understood() {
        let line = "  eth0: 100 2 3 4 5 6 7 8 900 10 11 12 13 14 15 16";
        let traffic = Traffic { rx_bytes: 100, rx_packets: 2, tx_bytes: 900, tx_packets: 10 };
        let faults = Faults { rx_errors: 3, rx_dropped: 4, tx_errors: 11, tx_dropped: 12 };
        assert_eq!(device(line), ("eth0".to_owned(), Device { traffic, faults }));
    }
}
