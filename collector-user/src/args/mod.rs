//! The command line: parsed and validated before anything is loaded.
//!
//! Owns [`Config`], the daemon's settings in the types of those who use them: values
//! that need no further checks.
//! Must not bind, connect or load anything; it looks at the file system only to
//! see that directories named by the user exist.

#![forbid(unsafe_code)]

mod address;
mod flags;
mod validate;

use std::{ffi::OsString, fmt, io::Write as _, num::NonZeroU16, path::PathBuf, time::Duration};

use clap::{CommandFactory as _, FromArgMatches as _, ValueEnum, parser::ValueSource};

pub use self::address::{ListenAddress, ListenAddressError};
use self::{
    flags::{Cli, Command},
    validate::Problem,
};
use crate::{
    exit,
    exposition::TelemetryPath,
    model::{collectors::Collectors, network},
    source::{cgroupfs::Choice, docker::DockerConfig},
};

/// Labels exported unless told otherwise: which compose project or Kubernetes pod a
/// container belongs to. Compose's are the same after every deployment; Kubernetes'
/// name the pod, and so change with it, as the container's own id does.
pub const DEFAULT_LABELS: &str = "com.docker.compose.project,com.docker.compose.service,\
                                  com.docker.compose.project.working_dir,io.kubernetes.*";

/// [`collector_ebpf::DEFAULT_SLOTS`] as clap wants it; a test keeps them equal.
const DEFAULT_SLOTS_TEXT: &str = "1024";

/// [`collector_ebpf::packets::DEFAULT_NET_SLOTS`] as clap wants it; a test keeps them equal.
const DEFAULT_NET_SLOTS_TEXT: &str = "2048";

/// What the command line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Account and serve until told to stop.
    Run,
    /// Say what the host has and lacks.
    Check,
}

/// The daemon's settings, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// HTTP.
    pub web: Web,
    /// The Docker source.
    pub docker: DockerConfig,
    /// What is collected.
    pub collectors: CollectorChoice,
    /// Which cgroups, and where they are.
    pub cgroups: Cgroups,
    /// Cgroups that can own a slot at once: `1..=`[`collector_ebpf::MAX_SLOTS`].
    pub slots: u32,
    /// Network interfaces that can own a slot at once:
    /// `1..=`[`collector_ebpf::packets::MAX_NET_SLOTS`].
    pub net_slots: u32,
    /// What stays of the dead.
    pub retention: Retention,
    /// Roots of the kernel's file systems.
    pub paths: Paths,
    /// Logging.
    pub log: Log,
}

/// Settings of the HTTP side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Web {
    /// Where to listen.
    pub listen: ListenAddress,
    /// Path of the metrics.
    pub telemetry_path: TelemetryPath,
    /// Scrapes rendered at once.
    pub max_requests: NonZeroU16,
}

/// Settings of the collectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollectorChoice {
    /// Those that are on.
    pub enabled: Collectors,
    /// What is wanted of networks; nothing but the default if that collector is off.
    pub network: NetworkChoice,
    /// Processes shown of one container.
    pub max_pids: u32,
}

/// Settings of the collector `network`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkChoice {
    /// Whether packets are counted by the cgroup of their socket, too.
    pub sockets: bool,
    /// Which interfaces are told beyond the usual.
    pub choice: network::Choice,
}

/// Settings of the cgroup source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cgroups {
    /// Which cgroups get series.
    pub scope: CgroupScope,
    /// In which hierarchy to look for them.
    pub hierarchy: Choice,
}

/// Cgroups with series of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CgroupScope {
    /// Containers and the host as a whole
    Containers,
    /// Also every cgroup that is no container
    All,
}

/// Settings for what is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long the series of a stopped container stay.
    pub exited: Duration,
}

/// Roots of the kernel's file systems: absolute paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Where procfs is mounted.
    pub procfs: PathBuf,
    /// Where sysfs is mounted.
    pub sysfs: PathBuf,
    /// The cgroup2 mount, or the directory of the cgroup mounts.
    pub cgroupfs: PathBuf,
}

/// Settings of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// Least severe messages to write.
    pub level: LogLevel,
    /// Form of the lines.
    pub format: LogFormat,
}

/// Severities, most severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
#[expect(missing_docs, reason = "the names say it, and docs would become help texts")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// Forms of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it, and docs would become help texts")]
pub enum LogFormat {
    Logfmt,
    Json,
}

/// Why there is no [`Config`]: help was asked for, or the command line is wrong.
#[derive(Debug)]
pub enum Refusal {
    /// clap's: `--help`, `--version`, or an error that it found.
    Clap(Box<clap::Error>),
    /// Values that clap let through; all of them at once, at least one.
    Problems(Vec<Problem>),
}

impl Refusal {
    /// The exit code: `--help` and `--version` are no failures.
    pub fn exit_code(&self) -> exit::Code {
        match self {
            Self::Clap(error) if !error.use_stderr() => exit::Code::Success,
            Self::Clap(_) | Self::Problems(_) => exit::Code::Usage,
        }
    }

    /// Prints it where it belongs: help on stdout, errors on stderr. When even that
    /// fails there is nobody left to tell, so only the exit code remains.
    pub fn print(&self) -> exit::Code {
        let _nobody_to_tell = match self {
            Self::Clap(error) => error.print(),
            Self::Problems(_) => writeln!(std::io::stderr(), "{self}"),
        };
        self.exit_code()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clap(error) => error.fmt(f),
            Self::Problems(problems) => {
                for problem in problems {
                    writeln!(f, "error: {problem}")?;
                }
                write!(f, "\nFor more information, try '--help'.")
            }
        }
    }
}

/// The command line as clap knows it, with the texts that are computed.
pub fn command() -> clap::Command {
    let codes =
        exit::Code::ALL.map(|code| format!("  {:2}  {}", code.number(), code.meaning())).join("\n");
    let after = format!(
        "Exit codes:\n{codes}\n\n\
         Examples:\n  \
         sudo slicemeter                                   serve http://127.0.0.1:10402/metrics\n  \
         sudo slicemeter --web.listen-address=:10402       the same, on all interfaces\n  \
         sudo slicemeter check                             what this host lacks, if anything\n  \
         sudo slicemeter --docker.labels='app,io.acme.*'   choose the labels to export"
    );
    // The subcommand takes the same flags: let its help say the same.
    Cli::command()
        .after_help(after.clone())
        .mut_subcommand("check", |check| check.after_help(after))
}

/// Parses and validates a whole command line, program name first. `DOCKER_HOST` is
/// read from the environment; empty counts as unset.
///
/// # Errors
/// What [`Refusal`] says; for `--help` and `--version` too.
pub fn parse<I, T>(arguments: I) -> Result<(Action, Config), Refusal>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let clap_refusal = |error| Refusal::Clap(Box::new(error));
    let matches = command().try_get_matches_from(arguments).map_err(clap_refusal)?;
    let Cli { flags, command } = Cli::from_arg_matches(&matches).map_err(clap_refusal)?;
    let action = match command {
        None => Action::Run,
        Some(Command::Check) => Action::Check,
    };
    let source_of = |id: &str| matches.value_source(id).unwrap_or(ValueSource::DefaultValue);
    let config = validate::config(flags, source_of).map_err(Refusal::Problems)?;
    Ok((action, config))
}

#[cfg(test)]
mod tests;
