//! Our figure beside the kernel's, read so that the two can be compared.
//!
//! The two can't be read in the same instant: a scrape takes a millisecond or two, in
//! which a running cgroup uses as much. So the kernel's figure is read before and after
//! the scrape; both of its readings bracket ours. Of several such readings the one with
//! the narrowest bracket counts: it fell where the cgroup did not run, or where the
//! scrape was quick. What remains is half the bracket on each side, and it is printed.

use std::{thread::sleep, time::Duration};

use crate::{cgroup, daemon::Daemon};

/// Readings of which the best counts; a throttled or sleeping cgroup is met with in one
/// of them.
const READINGS: u32 = 12;

/// Between them: not a divisor of the quota's 100 ms.
const READING_PAUSE: Duration = Duration::from_millis(17);

/// One point in time.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// The daemon's figure in seconds.
    pub ours: f64,
    /// The kernel's in seconds, in the middle of its two readings.
    pub kernel: f64,
    /// How far the kernel's two readings are apart, in seconds.
    pub bracket: f64,
}

impl Reading {
    /// Reads both figures of a cgroup.
    pub fn take(daemon: &Daemon, path: &str) -> Self {
        let mut best: Option<Self> = None;
        for _ in 0..READINGS {
            let reading = Self::once(daemon, path);
            if best.is_none_or(|best| reading.bracket < best.bracket) {
                best = Some(reading);
            }
            sleep(READING_PAUSE);
        }
        best.expect("at least one reading")
    }

    fn once(daemon: &Daemon, path: &str) -> Self {
        let before = cgroup::kernel_usage_seconds(path);
        let ours = usage(daemon, path);
        let after = cgroup::kernel_usage_seconds(path);
        Self { ours, kernel: f64::midpoint(before, after), bracket: after - before }
    }

    /// What happened between an earlier reading and this one.
    pub fn since(&self, earlier: &Self) -> Difference {
        Difference {
            ours: self.ours - earlier.ours,
            kernel: self.kernel - earlier.kernel,
            uncertainty: f64::midpoint(self.bracket, earlier.bracket),
        }
    }
}

/// The daemon's figure of a cgroup's CPU time in seconds.
pub fn usage(daemon: &Daemon, path: &str) -> f64 {
    daemon.scrape().value("container_cpu_usage_seconds_total", &[("id", path)])
}

/// Two figures of the same usage, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    /// The daemon's.
    pub ours: f64,
    /// The kernel's.
    pub kernel: f64,
    /// How far off the comparison itself can be.
    pub uncertainty: f64,
}

impl Difference {
    /// Ours against the kernel's, relative; signed.
    pub fn relative(&self) -> f64 {
        self.ours / self.kernel - 1.0
    }

    /// Prints both, and panics if they are further apart than `tolerance` (a ratio).
    pub fn assert_within(&self, what: &str, tolerance: f64) {
        println!(
            "{what}: ours {:.6} s, the kernel's {:.6} s: {:+.4} % (reading uncertain by ±{:.4} %)",
            self.ours,
            self.kernel,
            self.relative() * 100.0,
            self.uncertainty / self.kernel * 100.0,
        );
        assert!(
            self.relative().abs() <= tolerance,
            "{what}: {:+.4} % apart, allowed ±{:.4} %",
            self.relative() * 100.0,
            tolerance * 100.0
        );
    }
}
