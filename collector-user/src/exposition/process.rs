//! The daemon's own cost, from its /proc files; and what its log lost.
//!
//! Owns reading and its failures: a reading that fails is absent and counted, and
//! never breaks a scrape.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use procfs::{
    ProcResult,
    process::{LimitValue, Process},
};

use crate::logging;

/// What the daemon itself uses; `None` is what could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessUsage {
    /// User and system time in seconds.
    pub cpu_seconds: Option<f64>,
    /// Resident memory in bytes.
    pub resident_bytes: Option<f64>,
    /// Virtual memory in bytes.
    pub virtual_bytes: Option<f64>,
    /// Open file descriptors.
    pub open_fds: Option<f64>,
    /// Soft limit of file descriptors; `None` when there is no limit, too.
    pub max_fds: Option<f64>,
    /// Start in seconds since the epoch.
    pub start_time_seconds: Option<f64>,
    /// Threads.
    pub threads: Option<f64>,
    /// Reads that failed so far, this one's included.
    pub read_failures: u64,
    /// Log lines that stderr did not take so far.
    pub log_write_failures: u64,
}

/// Reads [`ProcessUsage`], and counts what fails.
#[derive(Debug, Default)]
pub(super) struct ProcessReader {
    failures: AtomicU64,
}

impl ProcessReader {
    /// Some five small files of /proc/self: tens of microseconds.
    pub(super) fn read(&self) -> ProcessUsage {
        let log_write_failures = logging::failed_writes();
        let mut usage = ProcessUsage { log_write_failures, ..ProcessUsage::default() };
        if let Some(process) = self.counted(Process::myself()) {
            self.read_stat(&process, &mut usage);
            usage.open_fds = self.counted(process.fd_count()).map(|count| count as f64);
            let limits = self.counted(process.limits());
            usage.max_fds = limits.and_then(|limits| match limits.max_open_files.soft_limit {
                LimitValue::Value(count) => Some(count as f64),
                LimitValue::Unlimited => None,
            });
        }
        usage.read_failures = self.failures.load(Relaxed);
        usage
    }

    fn read_stat(&self, process: &Process, usage: &mut ProcessUsage) {
        let Some(stat) = self.counted(process.stat()) else { return };
        let ticks_per_second = procfs::ticks_per_second() as f64;
        usage.cpu_seconds = Some((stat.utime + stat.stime) as f64 / ticks_per_second);
        usage.resident_bytes = Some((stat.rss * procfs::page_size()) as f64);
        usage.virtual_bytes = Some(stat.vsize as f64);
        usage.threads = Some(stat.num_threads as f64);
        let since_boot_seconds = stat.starttime as f64 / ticks_per_second;
        usage.start_time_seconds = self
            .counted(procfs::boot_time_secs())
            .map(|boot_seconds| boot_seconds as f64 + since_boot_seconds);
    }

    fn counted<T>(&self, outcome: ProcResult<T>) -> Option<T> {
        if let Err(error) = &outcome {
            self.failures.fetch_add(1, Relaxed);
            tracing::debug!(%error, "cannot read the daemon's own /proc files");
        }
        outcome.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_readable() {
        let usage = ProcessReader::default().read();
        assert_eq!(usage.read_failures, 0);
        assert!(usage.resident_bytes.expect("read") > 1e6, "a test binary is over a megabyte");
        assert!(usage.virtual_bytes >= usage.resident_bytes);
        assert!(usage.threads.expect("read") >= 1.0);
        assert!(usage.open_fds.expect("read") >= 3.0);
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs_f64();
        let age_seconds = now - usage.start_time_seconds.expect("read");
        // btime and starttime are both rounded, by up to a second together.
        assert!((-2.0..86_400.0).contains(&age_seconds), "started {age_seconds} s ago");
    }

    #[test]
    fn a_failure_is_absent_and_counted() {
        let reader = ProcessReader::default();
        let failed: Option<()> = reader.counted(Err(procfs::ProcError::NotFound(None)));
        assert_eq!(failed, None);
        assert_eq!(reader.read().read_failures, 1);
    }
}
