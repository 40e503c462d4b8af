//! The command line as clap sees it: names, defaults and help texts.
//!
//! Owns the spelling only. Values stay text here, so that everything that is wrong
//! with them can be reported together by [`super::validate`].

use clap::{Args, Parser, Subcommand, ValueEnum, builder::PossibleValue};

use super::{CgroupScope, LogFormat, LogLevel, NetworkChoice};
use crate::{
    model::{
        collectors::{Collector, Collectors},
        network,
    },
    source::{cgroupfs::Choice, docker::DEFAULT_ENDPOINT},
};

/// Tell Prometheus what containers use: every CPU slice, packets, memory, limits, pressure, processes
#[derive(Debug, Parser)]
#[command(name = "slicemeter", version, max_term_width = 100)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) flags: Flags,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

/// What to do instead of serving metrics.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum Command {
    /// Say what this host has and lacks for slicemeter, and exit
    Check,
}

/// Every flag, valid before and after the command.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// Address to serve on; ":10402" means all interfaces
    #[arg(long = "web.listen-address", value_name = "HOST:PORT", help_heading = "Web")]
    #[arg(default_value = "127.0.0.1:10402", global = true)]
    pub(super) web_listen_address: String,

    /// Path of the metrics
    #[arg(long = "web.telemetry-path", value_name = "PATH", help_heading = "Web")]
    #[arg(default_value = "/metrics", global = true)]
    pub(super) web_telemetry_path: String,

    /// Scrapes rendered at once; more get status 503
    #[arg(long = "web.max-requests", value_name = "N", help_heading = "Web")]
    #[arg(default_value = "8", global = true)]
    pub(super) web_max_requests: String,

    #[arg(long = "docker.host", value_name = "URL", help_heading = "Docker")]
    #[arg(default_value = DEFAULT_ENDPOINT, global = true)]
    #[arg(env = "DOCKER_HOST", hide_env_values = true)]
    #[arg(help = "Docker's API: unix:///PATH, tcp://HOST:PORT or http://HOST:PORT")]
    pub(super) docker_host: String,

    /// Longest wait for an answer of Docker's API
    #[arg(long = "docker.timeout", value_name = "DURATION", help_heading = "Docker")]
    #[arg(default_value = "5s", global = true)]
    pub(super) docker_timeout: String,

    /// Container labels to export, comma-separated; a trailing * stands for any ending; "" for none
    #[arg(long = "docker.labels", value_name = "LIST", help_heading = "Docker")]
    #[arg(default_value = super::DEFAULT_LABELS, global = true)]
    pub(super) docker_labels: String,

    #[command(flatten)]
    pub(super) collectors: CollectorFlags,

    /// Cgroups that get series of their own
    #[arg(long = "cgroups", value_name = "WHICH", help_heading = "Accounting")]
    #[arg(default_value = "containers", value_enum, global = true)]
    pub(super) cgroups: CgroupScope,

    /// Cgroup hierarchy that containers live in
    #[arg(long = "cgroup.hierarchy", value_name = "WHICH", help_heading = "Accounting")]
    #[arg(default_value = "auto", value_enum, global = true)]
    pub(super) cgroup_hierarchy: Choice,

    /// Cgroups that can be told apart at once; the rest share the overflow series
    #[arg(long = "slots", value_name = "N", help_heading = "Accounting")]
    #[arg(default_value = super::DEFAULT_SLOTS_TEXT, global = true)]
    pub(super) slots: String,

    /// Network interfaces that can be told apart at once; the rest share the overflow series
    #[arg(long = "network.slots", value_name = "N", help_heading = "Accounting")]
    #[arg(default_value = super::DEFAULT_NET_SLOTS_TEXT, global = true)]
    pub(super) network_slots: String,

    /// How long the series of a stopped container stay
    #[arg(long = "retain-exited", value_name = "DURATION", help_heading = "Accounting")]
    #[arg(default_value = "2m", global = true)]
    pub(super) retain_exited: String,

    /// Where procfs is mounted
    #[arg(long = "path.procfs", value_name = "DIR", help_heading = "Paths")]
    #[arg(default_value = "/proc", global = true)]
    pub(super) path_procfs: String,

    /// Where sysfs is mounted
    #[arg(long = "path.sysfs", value_name = "DIR", help_heading = "Paths")]
    #[arg(default_value = "/sys", global = true)]
    pub(super) path_sysfs: String,

    /// Directory of the cgroup mounts
    #[arg(long = "path.cgroupfs", value_name = "DIR", help_heading = "Paths")]
    #[arg(default_value = "/sys/fs/cgroup", global = true)]
    pub(super) path_cgroupfs: String,

    /// Least severe messages to log (to stderr)
    #[arg(long = "log.level", value_name = "LEVEL", help_heading = "Log")]
    #[arg(default_value = "info", value_enum, global = true)]
    pub(super) log_level: LogLevel,

    /// Form of the log lines
    #[arg(long = "log.format", value_name = "FORMAT", help_heading = "Log")]
    #[arg(default_value = "logfmt", value_enum, global = true)]
    pub(super) log_format: LogFormat,
}

/// Switches of the collectors. Each may be repeated, and the last of several wins; a collector's own switch beats
/// `--collector.disable-defaults`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one switch each, as clap wants them")]
pub(super) struct CollectorFlags {
    /// Switch all collectors off that are not switched on by name
    #[arg(long = "collector.disable-defaults", help_heading = "Collectors", global = true)]
    #[arg(overrides_with = "disable_defaults")]
    pub(super) disable_defaults: bool,

    /// Memory, throttling, pressure and limits, from the cgroup controllers' files (--no-collector.cgroup switches it off)
    #[arg(long = "collector.cgroup", help_heading = "Collectors", global = true)]
    #[arg(overrides_with_all = ["cgroup", "no_cgroup"])]
    pub(super) cgroup: bool,

    #[arg(long = "no-collector.cgroup", hide = true, global = true)]
    #[arg(overrides_with_all = ["cgroup", "no_cgroup"])]
    pub(super) no_cgroup: bool,

    /// CPU time, switches and waits, from the scheduler's ledger (--no-collector.cpu switches it off)
    #[arg(long = "collector.cpu", help_heading = "Collectors", global = true)]
    #[arg(overrides_with_all = ["cpu", "no_cpu"])]
    pub(super) cpu: bool,

    #[arg(long = "no-collector.cpu", hide = true, global = true)]
    #[arg(overrides_with_all = ["cpu", "no_cpu"])]
    pub(super) no_cpu: bool,

    /// Names, images and labels, from Docker (--no-collector.docker switches it off)
    #[arg(long = "collector.docker", help_heading = "Collectors", global = true)]
    #[arg(overrides_with_all = ["docker", "no_docker"])]
    pub(super) docker: bool,

    #[arg(long = "no-collector.docker", hide = true, global = true)]
    #[arg(overrides_with_all = ["docker", "no_docker"])]
    pub(super) no_docker: bool,

    /// The host's cores and memory (--no-collector.machine switches it off)
    #[arg(long = "collector.machine", help_heading = "Collectors", global = true)]
    #[arg(overrides_with_all = ["machine", "no_machine"])]
    pub(super) machine: bool,

    #[arg(long = "no-collector.machine", hide = true, global = true)]
    #[arg(overrides_with_all = ["machine", "no_machine"])]
    pub(super) no_machine: bool,

    /// Packets of containers and the host, from the interfaces they cross (--no-collector.network switches it off)
    #[arg(long = "collector.network", help_heading = "Collectors", global = true)]
    #[arg(overrides_with_all = ["network", "no_network"])]
    pub(super) network: bool,

    #[arg(long = "no-collector.network", hide = true, global = true)]
    #[arg(overrides_with_all = ["network", "no_network"])]
    pub(super) no_network: bool,

    /// Also packets of each container's sockets: those in the host's network get their own numbers
    #[arg(long = "collector.network.sockets", help_heading = "Collectors", global = true)]
    #[arg(overrides_with_all = ["network_sockets", "no_network_sockets"])]
    pub(super) network_sockets: bool,

    #[arg(long = "no-collector.network.sockets", hide = true, global = true)]
    #[arg(overrides_with_all = ["network_sockets", "no_network_sockets"])]
    pub(super) no_network_sockets: bool,

    /// Also each network's loop (lo), whose packets stay inside
    #[arg(long = "collector.network.loopback", help_heading = "Collectors", global = true)]
    #[arg(overrides_with_all = ["network_loopback", "no_network_loopback"])]
    pub(super) network_loopback: bool,

    #[arg(long = "no-collector.network.loopback", hide = true, global = true)]
    #[arg(overrides_with_all = ["network_loopback", "no_network_loopback"])]
    pub(super) no_network_loopback: bool,

    /// Also the host's bridges, veths and tunnels, which pass on what others count
    #[arg(long = "collector.network.host-virtual", help_heading = "Collectors", global = true)]
    #[arg(overrides_with_all = ["network_host_virtual", "no_network_host_virtual"])]
    pub(super) network_host_virtual: bool,

    #[arg(long = "no-collector.network.host-virtual", hide = true, global = true)]
    #[arg(overrides_with_all = ["network_host_virtual", "no_network_host_virtual"])]
    pub(super) no_network_host_virtual: bool,

    /// Processes of containers, from /proc (--no-collector.process switches it off)
    #[arg(long = "collector.process", help_heading = "Collectors", global = true)]
    #[arg(overrides_with_all = ["process", "no_process"])]
    pub(super) process: bool,

    #[arg(long = "no-collector.process", hide = true, global = true)]
    #[arg(overrides_with_all = ["process", "no_process"])]
    pub(super) no_process: bool,

    /// Processes shown of one container, the lowest pids; the rest are counted
    #[arg(long = "collector.process.max-pids", value_name = "N", help_heading = "Collectors")]
    #[arg(default_value = "256", global = true)]
    pub(super) max_pids: String,
}

impl CollectorFlags {
    /// The collectors that are on.
    pub(super) fn enabled(&self) -> Collectors {
        let is_default = !self.disable_defaults;
        let switches = [
            (Collector::Cgroup, self.cgroup, self.no_cgroup),
            (Collector::Cpu, self.cpu, self.no_cpu),
            (Collector::Docker, self.docker, self.no_docker),
            (Collector::Machine, self.machine, self.no_machine),
            (Collector::Network, self.network, self.no_network),
            (Collector::Process, self.process, self.no_process),
        ];
        let is_on = |(_, on, off): &(Collector, bool, bool)| *on || (is_default && !off);
        switches.into_iter().filter(is_on).map(|(collector, ..)| collector).collect()
    }

    /// What is wanted of networks.
    pub(super) fn network(&self) -> NetworkChoice {
        NetworkChoice {
            sockets: self.network_sockets,
            choice: network::Choice {
                loopback: self.network_loopback,
                host_virtual: self.network_host_virtual,
            },
        }
    }

    /// Switches that mean nothing without the collector network, and whether they were given.
    pub(super) fn of_network(&self) -> [(&'static str, bool); 3] {
        [
            ("collector.network.sockets", self.network_sockets),
            ("collector.network.loopback", self.network_loopback),
            ("collector.network.host-virtual", self.network_host_virtual),
        ]
    }
}

/// Here, since the source knows no command line.
impl ValueEnum for Choice {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::Unified, Self::Cpuacct]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Auto => PossibleValue::new("auto").help("Find out"),
            Self::Unified => {
                PossibleValue::new("unified").help("Version 2 (alone or beside version 1)")
            }
            Self::Cpuacct => {
                PossibleValue::new("cpuacct").help("Version 1's cpuacct controller (or cpu)")
            }
        })
    }
}
