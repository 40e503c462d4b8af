//! The log: lines on stderr, and nothing that can stop the daemon.
//!
//! Owns the subscriber, the bridge from the `log` crate (aya and bollard speak it),
//! and the count of lines that could not be written. Must not be used for what a
//! command answers (`check`, `--help`): that goes to stdout.

#![forbid(unsafe_code)]

use std::{
    io::{self, Write},
    sync::atomic::{AtomicU64, Ordering},
};

use tracing::{Level, Subscriber, level_filters::LevelFilter, subscriber};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    registry::Registry,
};

use crate::args::{Log, LogFormat, LogLevel};

/// Targets that are our own: user space, and the programs' messages (aya-log).
const OWN_TARGETS: [&str; 2] = ["slicemeter", "collector_ebpf"];

/// Target of what the bridge passes on; `from` names the true one.
const BRIDGED_TARGET: &str = "library";

/// Lines that stderr did not take. Process-wide, as stderr is.
static FAILED_WRITES: AtomicU64 = AtomicU64::new(0);

/// Number of log lines lost because stderr did not take them (closed pipe, full
/// disk) since the process began.
pub fn failed_writes() -> u64 {
    FAILED_WRITES.load(Ordering::Relaxed)
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something in this process logs already.
    #[error("logging is already set up in this process")]
    AlreadySet(#[source] subscriber::SetGlobalDefaultError),
    /// Something in this process takes the `log` crate's records already.
    #[error("the log crate's records are already taken in this process")]
    AlreadyBridged(#[source] log::SetLoggerError),
}

/// Sets up logging for the whole process; to be called once.
///
/// # Errors
/// When it has been set up before.
pub fn start(settings: Log) -> Result<(), Error> {
    let filter = filter(settings.level);
    subscriber::set_global_default(subscriber(settings, stderr)).map_err(Error::AlreadySet)?;
    log::set_boxed_logger(Box::new(Bridge { filter })).map_err(Error::AlreadyBridged)?;
    log::set_max_level(most_verbose(settings.level));
    Ok(())
}

fn subscriber<W>(settings: Log, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // `log_internal_errors` would print to the very stderr that failed, by a macro
    // that panics when it fails again.
    let lines = match settings.format {
        LogFormat::Logfmt => tracing_logfmt::builder()
            .with_span_name(false)
            .with_span_path(false)
            .layer()
            .log_internal_errors(false)
            .with_writer(writer)
            .boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .log_internal_errors(false)
            .with_writer(writer)
            .boxed(),
    };
    Registry::default().with(lines.with_filter(filter(settings.level)))
}

/// Ours as asked; libraries only with warnings, unless someone is looking for a fault.
fn filter(level: LogLevel) -> Targets {
    let level = Level::from(level);
    let libraries = if level >= Level::DEBUG { level } else { level.min(Level::WARN) };
    Targets::new()
        .with_default(libraries)
        .with_targets(OWN_TARGETS.map(|target| (target, level)))
        // The bridge has judged these by their true target.
        .with_target(BRIDGED_TARGET, LevelFilter::TRACE)
}

const fn most_verbose(level: LogLevel) -> log::LevelFilter {
    match level {
        LogLevel::Error => log::LevelFilter::Error,
        LogLevel::Warn => log::LevelFilter::Warn,
        LogLevel::Info => log::LevelFilter::Info,
        LogLevel::Debug => log::LevelFilter::Debug,
        LogLevel::Trace => log::LevelFilter::Trace,
    }
}

/// Passes the `log` crate's records on to tracing. (tracing-log would do, but its
/// records carry file and line of the library, under four keys, in every line.)
struct Bridge {
    filter: Targets,
}

impl log::Log for Bridge {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        self.filter.would_enable(metadata.target(), &tracing_level(metadata.level()))
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // A tracing call site has one fixed level, hence five of them.
        macro_rules! pass_on {
            ($level:expr) => {
                tracing::event!(
                    target: BRIDGED_TARGET,
                    $level,
                    from = record.target(),
                    "{}",
                    record.args()
                )
            };
        }
        match record.level() {
            log::Level::Error => pass_on!(Level::ERROR),
            log::Level::Warn => pass_on!(Level::WARN),
            log::Level::Info => pass_on!(Level::INFO),
            log::Level::Debug => pass_on!(Level::DEBUG),
            log::Level::Trace => pass_on!(Level::TRACE),
        }
    }

    fn flush(&self) {}
}

const fn tracing_level(level: log::Level) -> Level {
    match level {
        log::Level::Error => Level::ERROR,
        log::Level::Warn => Level::WARN,
        log::Level::Info => Level::INFO,
        log::Level::Debug => Level::DEBUG,
        log::Level::Trace => Level::TRACE,
    }
}

/// Stderr that never fails: what it doesn't take is counted, and the daemon goes on.
fn stderr() -> Counting<io::Stderr> {
    Counting { inner: io::stderr(), failures: &FAILED_WRITES }
}

struct Counting<W> {
    inner: W,
    failures: &'static AtomicU64,
}

impl<W: Write> Write for Counting<W> {
    /// Takes the whole line or counts it, once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.inner.write_all(line).is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // Stderr has no buffer of its own to lose.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A place to log to that a test can read.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `act` logs with these settings.
    fn logged(level: LogLevel, format: LogFormat, act: impl FnOnce()) -> String {
        let page = Page::default();
        let writer = page.clone();
        let subscriber = subscriber(Log { level, format }, move || writer.clone());
        subscriber::with_default(subscriber, act);
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn bridge(level: LogLevel, target: &str, record_level: log::Level) {
        let bridge = Bridge { filter: filter(level) };
        let mut record = log::Record::builder();
        record.target(target).level(record_level);
        log::Log::log(&bridge, &record.args(format_args!("it happened")).build());
    }

    #[test]
    fn logfmt_lines_can_be_read_by_people() {
        let line = logged(LogLevel::Info, LogFormat::Logfmt, || {
            tracing::info!(target: "slicemeter::app", slots = 8, "attached");
        });
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.starts_with("ts=20") && time.ends_with('Z'), "{line}");
        assert_eq!(rest, "level=info target=slicemeter::app message=attached slots=8\n");
    }

    #[test]
    fn json_lines_are_flat() {
        let line = logged(LogLevel::Info, LogFormat::Json, || {
            tracing::info!(target: "slicemeter::app", slots = 8, "attached");
        });
        let rest = "\"level\":\"INFO\",\"message\":\"attached\",\"slots\":8,\"target\":\"slicemeter::app\"}\n";
        assert!(line.starts_with("{\"timestamp\":\"20") && line.ends_with(rest), "{line}");
    }

    #[test]
    fn libraries_only_warn_until_someone_looks_for_a_fault() {
        let lines = |level| {
            logged(level, LogFormat::Logfmt, || {
                tracing::debug!(target: "hyper::proto", "noise");
                tracing::info!(target: "hyper::proto", "chatter");
                tracing::warn!(target: "hyper::proto", "trouble");
                tracing::info!(target: "slicemeter::source", "ours");
                tracing::info!(target: "collector_ebpf::cgroups", "the programs'");
                bridge(level, "bollard::docker", log::Level::Info);
                bridge(level, "aya::bpf", log::Level::Warn);
                bridge(level, "collector_ebpf", log::Level::Info);
            })
            .lines()
            .count()
        };
        assert_eq!(lines(LogLevel::Error), 0);
        assert_eq!(lines(LogLevel::Warn), 2);
        assert_eq!(lines(LogLevel::Info), 5);
        assert_eq!(lines(LogLevel::Debug), 8);
    }

    #[test]
    fn records_of_the_log_crate_keep_their_origin() {
        let line = logged(LogLevel::Info, LogFormat::Logfmt, || {
            bridge(LogLevel::Info, "aya::bpf", log::Level::Warn);
        });
        let rest = "level=warn target=library message=\"it happened\" from=aya::bpf\n";
        assert!(line.ends_with(rest), "{line}");
    }

    #[test]
    fn a_line_that_stderr_refuses_is_counted_and_forgotten() {
        static FAILURES: AtomicU64 = AtomicU64::new(0);
        // A full disk: every write fails with ENOSPC.
        let writer = || {
            let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
            Counting { inner: full, failures: &FAILURES }
        };
        let settings = Log { level: LogLevel::Info, format: LogFormat::Logfmt };
        subscriber::with_default(subscriber(settings, writer), || {
            tracing::error!(target: "slicemeter", "one");
            tracing::error!(target: "slicemeter", "two");
        });
        assert_eq!(FAILURES.load(Ordering::Relaxed), 2);
    }
}
