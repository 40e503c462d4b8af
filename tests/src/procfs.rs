//! What `/proc` tells of a process, read as plainly as can be.
//!
//! It is what the daemon's values are compared with: it must not share any code with the
//! daemon.

use std::fs;

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
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// Traffic of a process' network: bytes and packets received, bytes and packets sent,
/// over all interfaces but `lo`.
pub fn traffic(pid: u32) -> [f64; 4] {
    let path = format!("/proc/{pid}/net/dev");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut sums = [0.0; 4];
    for line in text.lines().skip(2) {
        let (name, counts) = line.split_once(':').expect("an interface");
        if name.trim() == "lo" {
            continue;
        }
        let counts: Vec<f64> =
            counts.split_ascii_whitespace().map(|word| word.parse().expect("a count")).collect();
        for (sum, index) in sums.iter_mut().zip([0, 1, 8, 9]) {
            *sum += counts[index];
        }
    }
    sums
}
