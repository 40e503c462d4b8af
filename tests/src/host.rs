//! What this machine permits and has, and the rule for skipping.

use std::{env, fs, path::Path, process::Command};

use aya::programs::loaded_programs;

use crate::{cgroup::mounts, netns::Netns};

/// Ticks per second of `/proc/stat`: fixed by the kernel's interface to user space.
const USER_HZ: f64 = 100.0;

/// What a test needs beyond a Linux machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The right to load eBPF programs, and a kernel with BTF.
    Kernel,
    /// A Docker engine's programs, to start a private one.
    Docker,
    /// Prometheus and promtool.
    Prometheus,
    /// A v1 hierarchy with `cpuacct`. Whether there is one is the host's nature, and no
    /// package changes it: its lack is no failure in CI.
    Cpuacct,
    /// The v2 hierarchy, alone or beside others: sockets have their cgroups there.
    Unified,
    /// Interfaces of the kind macvlan. A kernel that was built without says that it does not
    /// know the kind; that is its nature, too, and no failure in CI. Any other refusal is one.
    Macvlan,
}

/// What a kernel says of a kind of interface that it was built without (`rtnl_newlink`,
/// net/core/rtnetlink.c).
const NO_SUCH_KIND: &str = "Unknown device type";

/// Whether the kernel tests can run here; see [`ready`].
#[must_use]
pub fn require_kernel() -> bool {
    ready(&[Need::Kernel])
}

/// Whether the tests that need containers can run here; see [`ready`].
#[must_use]
pub fn require_docker() -> bool {
    ready(&[Need::Kernel, Need::Docker])
}

/// Whether this machine has what a test needs. If not, prints what it lacks, and the
/// test returns: it is skipped. With `CI=true` a skip is a failure, so it panics.
#[must_use]
pub fn ready(needs: &[Need]) -> bool {
    let lacks = needs.iter().filter_map(|&need| Some((need, lack(need).err()?)));
    let lacks: Vec<(Need, String)> = lacks.collect();
    if lacks.is_empty() {
        return true;
    }
    let ci = env::var("CI").unwrap_or_default();
    let permitted = matches!(&*ci, "" | "0" | "false")
        || lacks.iter().all(|(need, lack)| is_hosts_nature(*need, lack));
    let lacks: Vec<String> = lacks.into_iter().map(|(_, lack)| lack).collect();
    let lacks = lacks.join("; ");
    assert!(permitted, "CI={ci} forbids to skip a test: {lacks}");
    println!("SKIPPED: {lacks}");
    false
}

/// Whether nobody can mend a lack without another kernel, or another way to boot it.
fn is_hosts_nature(need: Need, lack: &str) -> bool {
    need == Need::Cpuacct || (need == Need::Macvlan && lack.contains(NO_SUCH_KIND))
}

fn lack(need: Need) -> Result<(), String> {
    match need {
        Need::Kernel => {
            if !rustix::process::geteuid().is_root() {
                return Err("not root: run `cargo xtask test` as root".into());
            }
            if !Path::new("/sys/kernel/btf/vmlinux").exists() {
                return Err("this kernel has no BTF (/sys/kernel/btf/vmlinux)".into());
            }
            match loaded_programs().next() {
                Some(Err(error)) => Err(format!("bpf() is not permitted here: {error}")),
                Some(Ok(_)) | None => Ok(()),
            }
        }
        Need::Docker => {
            has("dockerd", "docker.io")?;
            has("docker", "docker.io")?;
            has("rustc", "rustup's stable toolchain")?;
            has("ip", "iproute2")?;
            has("ps", "procps")?;
            has("busybox", "busybox-static")
        }
        Need::Prometheus => {
            has("prometheus", "prometheus")?;
            has("promtool", "prometheus")
        }
        Need::Cpuacct => {
            let cpuacct = mounts().cpuacct.as_ref();
            cpuacct.map(drop).ok_or_else(|| "this host has no v1 hierarchy with cpuacct".into())
        }
        Need::Unified => {
            let unified = mounts().unified.as_ref();
            unified.map(drop).ok_or_else(|| "this host has no v2 hierarchy".into())
        }
        Need::Macvlan => {
            lack(Need::Kernel)?;
            has("ip", "iproute2")?;
            let netns = Netns::new();
            netns.run(&["ip", "link", "add", "below0", "type", "veth", "peer", "name", "far0"]);
            let add = ["ip", "link", "add", "link", "below0", "name", "probe", "type", "macvlan"];
            netns.attempt(&add).map_err(|said| format!("this kernel makes no macvlan: {said}"))
        }
    }
}

fn has(program: &str, from: &str) -> Result<(), String> {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$0\" >/dev/null", program])
        .status()
        .is_ok_and(|status| status.success());
    if found { Ok(()) } else { Err(format!("no {program} on PATH (it comes with {from})")) }
}

/// CPUs online, whether or not this process may run on them.
pub fn cpus() -> usize {
    let stat = fs::read_to_string("/proc/stat").expect("/proc/stat");
    stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count()
}

/// Time that the hypervisor gave to others, in seconds over all CPUs since boot, as the
/// kernel counts it (`/proc/stat`, a hundredth of a second at best).
pub fn steal_seconds() -> f64 {
    stat_seconds(7)
}

/// Time in interrupt handlers likewise, hard and soft.
pub fn interrupt_seconds() -> f64 {
    stat_seconds(5) + stat_seconds(6)
}

fn stat_seconds(column: usize) -> f64 {
    let stat = fs::read_to_string("/proc/stat").expect("/proc/stat");
    let ticks: u32 = stat
        .lines()
        .next()
        .and_then(|line| line.split_ascii_whitespace().nth(column + 1))
        .and_then(|ticks| ticks.parse().ok())
        .expect("a column of /proc/stat's first line");
    f64::from(ticks) / USER_HZ
}

/// How long a process waited for a CPU while it could have run, in seconds
/// (`/proc/PID/schedstat`).
pub fn runqueue_wait_seconds(pid: u32) -> f64 {
    let path = format!("/proc/{pid}/schedstat");
    let schedstat = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let wait_ns: f64 = schedstat
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .expect("schedstat's second number");
    wait_ns / 1e9
}

/// Resident memory of a process in KiB (`VmRSS`).
pub fn resident_kib(pid: u32) -> u64 {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .expect("VmRSS")
}
