//! From flags as text to a [`Config`] without doubts.
//!
//! Owns the limits of every flag's value. Collects all that is wrong before it
//! gives up, so that nobody has to fix a command line one error at a time.

use std::{
    fmt, fs, num::NonZeroU16, ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration,
};

use clap::parser::ValueSource;
use collector_ebpf::packets::MAX_NET_SLOTS;

use super::{
    Cgroups, CollectorChoice, Config, Log, NetworkChoice, Paths, Retention, Web,
    flags::{CollectorFlags, Flags},
};
use crate::{
    model::collectors::Collector,
    source::docker::{DEFAULT_ENDPOINT, DockerConfig, Endpoint},
};

/// Bounds of the scrapes rendered at once: each holds a snapshot and a piece of the
/// answer, and a host has few Prometheus servers.
const MAX_REQUESTS: RangeInclusive<NonZeroU16> =
    NonZeroU16::MIN..=NonZeroU16::MIN.saturating_add(1_023);

/// Bounds of Docker's time-out. A busy dockerd needs some 100 ms for a list; one that
/// has not answered within a minute hangs.
const DOCKER_TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_mins(1);

/// Bounds of the retention. Nobody scrapes more often than every second; an hour of
/// a thousand short-lived containers a minute is already 60,000 accounts.
const RETAIN_EXITED: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);

/// Bounds of the processes shown of one container: each is seven series.
const MAX_PIDS: RangeInclusive<u32> = 1..=65_536;

/// What is wrong with a flag's value.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    flag: &'static str,
    from_environment: bool,
    /// What it was given; `None` for a switch.
    value: Option<String>,
    reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flag, from_environment, value, reason } = self;
        match value {
            Some(value) if *from_environment => {
                write!(f, "DOCKER_HOST={value:?} (for --{flag}): {reason}")
            }
            Some(value) => write!(f, "--{flag}={value:?}: {reason}"),
            None => write!(f, "--{flag}: {reason}"),
        }
    }
}

/// Collects problems; every check gives a value or leaves one here.
#[derive(Default)]
struct Validator {
    problems: Vec<Problem>,
}

impl Validator {
    fn check<T, E: fmt::Display>(
        &mut self,
        flag: &'static str,
        value: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let problem = |error: E| Problem {
            flag,
            from_environment: false,
            value: Some(value.to_owned()),
            reason: error.to_string(),
        };
        parse(value).map_err(|error| self.problems.push(problem(error))).ok()
    }

    /// What is wanted of networks: nothing unless they are wanted at all. `has_slots` tells
    /// whether slots for their interfaces were asked for.
    fn network(&mut self, flags: &CollectorFlags, has_slots: bool) -> NetworkChoice {
        if !flags.enabled().contains(Collector::Network) {
            let all = flags.of_network().into_iter().chain([("network.slots", has_slots)]);
            let given = all.filter(|(_, is_given)| *is_given);
            self.problems.extend(given.map(|(flag, _)| {
                Problem {
                    flag,
                    from_environment: false,
                    value: None,
                    reason: "it needs the collector network, which is switched off: add \
                         --collector.network, or leave this out"
                        .to_owned(),
                }
            }));
        }
        flags.network()
    }
}

/// Validates every flag; `source_of` tells by argument id whether the user set it.
pub(super) fn config(
    flags: Flags,
    source_of: impl Fn(&str) -> ValueSource,
) -> Result<Config, Vec<Problem>> {
    let mut validator = Validator::default();
    let checked = check_all(&mut validator, flags, source_of);
    match checked {
        Some(config) if validator.problems.is_empty() => Ok(config),
        _ => Err(validator.problems),
    }
}

/// Runs every check before it looks at any result.
fn check_all(
    validator: &mut Validator,
    flags: Flags,
    source_of: impl Fn(&str) -> ValueSource,
) -> Option<Config> {
    let Flags {
        web_listen_address,
        web_telemetry_path,
        web_max_requests,
        docker_host,
        docker_timeout,
        docker_labels,
        collectors,
        cgroups,
        cgroup_hierarchy,
        slots,
        network_slots,
        retain_exited,
        path_procfs,
        path_sysfs,
        path_cgroupfs,
        log_level,
        log_format,
    } = flags;

    let listen = validator.check("web.listen-address", &web_listen_address, str::parse);
    let telemetry_path = validator.check("web.telemetry-path", &web_telemetry_path, str::parse);
    let max_requests =
        validator.check("web.max-requests", &web_max_requests, |text| integer(text, &MAX_REQUESTS));
    let host = docker_host_of(validator, &docker_host, source_of("docker_host"));
    let timeout =
        validator.check("docker.timeout", &docker_timeout, |text| duration(text, &DOCKER_TIMEOUT));
    let labels = validator.check("docker.labels", &docker_labels, str::parse);
    let has_net_slots = source_of("network_slots") != ValueSource::DefaultValue;
    let network = validator.network(&collectors, has_net_slots);
    let max_pids = validator
        .check("collector.process.max-pids", &collectors.max_pids, |text| integer(text, &MAX_PIDS));
    let slots =
        validator.check("slots", &slots, |text| integer(text, &(1..=collector_ebpf::MAX_SLOTS)));
    let net_slots = validator
        .check("network.slots", &network_slots, |text| integer(text, &(1..=MAX_NET_SLOTS)));
    let exited =
        validator.check("retain-exited", &retain_exited, |text| duration(text, &RETAIN_EXITED));
    // A default that isn't there is the host's lack, not a wrong flag: preflight
    // names it among all the others.
    let must_exist = |id: &str| source_of(id) != ValueSource::DefaultValue;
    let mut root =
        |flag, text: &str, id| validator.check(flag, text, |text| directory(text, must_exist(id)));
    let procfs = root("path.procfs", &path_procfs, "path_procfs");
    let sysfs = root("path.sysfs", &path_sysfs, "path_sysfs");
    let cgroupfs = root("path.cgroupfs", &path_cgroupfs, "path_cgroupfs");

    Some(Config {
        web: Web { listen: listen?, telemetry_path: telemetry_path?, max_requests: max_requests? },
        docker: DockerConfig { host: host?, timeout: timeout?, labels: labels? },
        collectors: CollectorChoice { enabled: collectors.enabled(), network, max_pids: max_pids? },
        cgroups: Cgroups { scope: cgroups, hierarchy: cgroup_hierarchy },
        slots: slots?,
        net_slots: net_slots?,
        retention: Retention { exited: exited? },
        paths: Paths { procfs: procfs?, sysfs: sysfs?, cgroupfs: cgroupfs? },
        log: Log { level: log_level, format: log_format },
    })
}

/// An empty `DOCKER_HOST` counts as unset, as it does for `docker` itself.
fn docker_host_of(validator: &mut Validator, value: &str, source: ValueSource) -> Option<Endpoint> {
    let from_environment = source == ValueSource::EnvVariable;
    let value = if from_environment && value.is_empty() { DEFAULT_ENDPOINT } else { value };
    let host = validator.check("docker.host", value, str::parse);
    if host.is_none()
        && let Some(problem) = validator.problems.last_mut()
    {
        problem.from_environment = from_environment;
    }
    host
}

fn integer<T>(text: &str, bounds: &RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + fmt::Display,
{
    match text.parse() {
        Ok(number) if bounds.contains(&number) => Ok(number),
        _ => Err(format!("it must be a whole number from {} to {}", bounds.start(), bounds.end())),
    }
}

fn duration(text: &str, bounds: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let shown = |duration: &Duration| humantime::format_duration(*duration).to_string();
    match humantime::parse_duration(text) {
        Ok(duration) if bounds.contains(&duration) => Ok(duration),
        Ok(_) => {
            Err(format!("it must be from {} to {}", shown(bounds.start()), shown(bounds.end())))
        }
        Err(_) => Err("it is no duration: write it as in 500ms, 5s or 2m".to_owned()),
    }
}

fn directory(text: &str, must_exist: bool) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if !path.is_absolute() {
        return Err("the path must be absolute".to_owned());
    }
    if must_exist {
        let metadata = fs::metadata(&path).map_err(|error| format!("can't be used: {error}"))?;
        if !metadata.is_dir() {
            return Err("it is not a directory".to_owned());
        }
    }
    Ok(path)
}
