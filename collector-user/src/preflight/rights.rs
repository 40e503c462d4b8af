//! Rights: capabilities, the limit on locked memory, and whether `bpf()` really works.
//!
//! What the daemon reads besides (BTF, mountinfo, cgroup directories) is readable by
//! everyone, so no right to look past permissions is asked for.

use std::{io, path::Path};

use aya::maps::{MapError, Stack};
use procfs::{FromRead as _, process::Status};

use super::{Finding, Severity, kernel::Release};

/// The first kernel that charges maps to the memory cgroup instead of
/// `RLIMIT_MEMLOCK`.
const NO_MEMLOCK_SINCE: Release = (5, 11);

/// Capabilities that matter here (include/uapi/linux/capability.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capability {
    NetAdmin = 12,
    SysPtrace = 19,
    SysAdmin = 21,
    SysResource = 24,
    Perfmon = 38,
    Bpf = 39,
}

impl Capability {
    const ALL: [Self; 6] = [
        Self::Bpf,
        Self::Perfmon,
        Self::NetAdmin,
        Self::SysAdmin,
        Self::SysPtrace,
        Self::SysResource,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysResource => "CAP_SYS_RESOURCE",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        }
    }

    const fn is_in(self, set: u64) -> bool {
        set & (1 << self as u64) != 0
    }
}

/// What the process may do.
#[derive(Debug)]
pub(super) struct Rights {
    /// Effective capabilities as a bit set, or why they cannot be told.
    capabilities: Result<u64, String>,
    /// Hard limit on locked memory in bytes; `None` is unlimited.
    memlock_max_bytes: Option<u64>,
    /// What became of the attempt to make a map.
    bpf: Result<(), Denial>,
}

impl Rights {
    /// Whether that capability is effective, as far as that can be told.
    pub(super) fn has(&self, capability: Capability) -> Option<bool> {
        self.capabilities.as_ref().ok().map(|set| capability.is_in(*set))
    }
}

/// Why no map could be made.
#[derive(Debug, PartialEq, Eq)]
enum Denial {
    /// EPERM.
    Forbidden,
    /// ENOSYS: there is no such system call.
    NoSuchCall,
    /// Anything else, in words.
    Other(String),
}

/// Asks the kernel.
pub(super) fn gather(procfs: &Path) -> Rights {
    let status = Status::from_file(procfs.join("self/status"));
    Rights {
        capabilities: status.map(|status| status.capeff).map_err(|error| error.to_string()),
        memlock_max_bytes: rustix::process::getrlimit(rustix::process::Resource::Memlock).maximum,
        bpf: try_bpf(),
    }
}

/// Makes an empty map and drops it. A stack, as the programs use one: unlike an
/// array it needs `CAP_BPF` of the initial user namespace, whatever
/// `kernel.unprivileged_bpf_disabled` says (`queue_stack_map_alloc_check` in
/// `kernel/bpf/queue_stack_maps.c`).
fn try_bpf() -> Result<(), Denial> {
    let Err(error) = Stack::<_, u32>::create(1, 0) else { return Ok(()) };
    let code = match &error {
        MapError::CreateError { io_error, .. } => io_error.raw_os_error(),
        _ => None,
    };
    Err(match code.map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) => Denial::Forbidden,
        Some(rustix::io::Errno::NOSYS) => Denial::NoSuchCall,
        Some(other) => Denial::Other(io::Error::from(other).to_string()),
        None => Denial::Other(error.to_string()),
    })
}

/// One finding on capabilities, and one on whatever else stands in the way.
pub(super) fn judge(rights: &Rights, release: Option<Release>) -> Vec<Finding> {
    let Rights { capabilities, memlock_max_bytes, bpf } = rights;
    let charges_memlock = release.is_some_and(|release| release < NO_MEMLOCK_SINCE);
    let needs_memlock = charges_memlock && memlock_max_bytes.is_some();
    let missing = capabilities.as_ref().map(|set| missing(*set, needs_memlock));
    let mut findings = vec![match (&missing, capabilities) {
        (Ok(missing), Ok(set)) if missing.is_empty() => {
            Finding::fine("capabilities", names(Capability::ALL.iter().filter(|it| it.is_in(*set))))
        }
        (Ok(missing), _) => lacking(missing),
        (Err(error), _) => Finding::new(
            Severity::Warning,
            "capabilities",
            format!("they cannot be told: {error}"),
            "see that --path.procfs is a procfs of this process's pid namespace or its parent",
        ),
    }];
    match bpf {
        Ok(()) => findings.push(Finding::fine("bpf()", "permitted")),
        // Said already: without capabilities, nothing else was to be expected.
        Err(Denial::Forbidden) if missing.is_ok_and(|missing| !missing.is_empty()) => {}
        Err(denial) => findings.push(denied(denial)),
    }
    findings
}

fn missing(set: u64, needs_memlock: bool) -> Vec<Capability> {
    let mut missing = Vec::new();
    // CAP_SYS_ADMIN contains the two that were split from it (capabilities(7)).
    if !Capability::SysAdmin.is_in(set) {
        missing.extend([Capability::Bpf, Capability::Perfmon]);
    }
    if needs_memlock {
        missing.push(Capability::SysResource);
    }
    missing.retain(|capability| !capability.is_in(set));
    missing
}

fn names<'a>(capabilities: impl Iterator<Item = &'a Capability>) -> String {
    capabilities.map(|capability| capability.name()).collect::<Vec<_>>().join(", ")
}

fn lacking(missing: &[Capability]) -> Finding {
    let names = names(missing.iter());
    let program = std::env::current_exe()
        .map_or_else(|_| "slicemeter".to_owned(), |path| path.display().to_string());
    let remedy = format!(
        "run as root (sudo), or: sudo setcap {}+ep {program}; in a systemd unit: \
         AmbientCapabilities={}; in a container: --cap-add for each",
        names.replace(", ", ",").to_lowercase(),
        names.replace(',', ""),
    );
    let because = if missing.contains(&Capability::SysResource) {
        " (CAP_SYS_RESOURCE because kernels before 5.11 count maps against RLIMIT_MEMLOCK, \
         which is limited here)"
    } else {
        ""
    };
    let what = format!("{names} not effective{because}");
    Finding::new(Severity::MissingRight, "capabilities", what, remedy)
}

fn denied(denial: &Denial) -> Finding {
    match denial {
        Denial::Forbidden => Finding::new(
            Severity::MissingRight,
            "bpf()",
            "refused although the capabilities are there: a container's seccomp filter, a \
             security module, or a user namespace forbids it",
            "run outside the container, or start it with --privileged (or with \
             --security-opt seccomp=unconfined and the capabilities), not rootless",
        ),
        Denial::NoSuchCall => Finding::new(
            Severity::MissingOnHost,
            "bpf()",
            "the kernel (or a sandbox such as gVisor) has no such system call",
            "boot a kernel built with CONFIG_BPF_SYSCALL=y",
        ),
        Denial::Other(error) => Finding::new(
            Severity::MissingOnHost,
            "bpf()",
            format!("a map cannot be made: {error}"),
            "see the kernel's log (dmesg), and whether memory is short",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = u64::MAX;

    const fn bit(capability: Capability) -> u64 {
        1 << capability as u64
    }

    fn judged(capabilities: u64, bpf: Result<(), Denial>) -> Vec<Finding> {
        let rights =
            Rights { capabilities: Ok(capabilities), memlock_max_bytes: Some(65_536), bpf };
        judge(&rights, Some((6, 1)))
    }

    #[test]
    fn missing_capabilities_are_named() {
        let findings = judged(0, Err(Denial::Forbidden));
        assert_eq!(findings.len(), 1, "the refusal follows from them: {findings:?}");
        assert_eq!(findings[0].severity, Severity::MissingRight);
        assert_eq!(findings[0].what, "CAP_BPF, CAP_PERFMON not effective");
        assert!(findings[0].remedy.contains("setcap cap_bpf,cap_perfmon+ep /"), "{findings:?}");

        let findings = judged(bit(Capability::Bpf), Ok(()));
        assert_eq!(findings[0].what, "CAP_PERFMON not effective");
        assert!(findings[0].remedy.contains("AmbientCapabilities=CAP_PERFMON;"), "{findings:?}");
    }

    #[test]
    fn either_way_to_the_rights_is_enough() {
        let split = bit(Capability::Bpf) | bit(Capability::Perfmon);
        for set in [ALL, split, bit(Capability::SysAdmin)] {
            let findings = judged(set, Ok(()));
            let fine = findings.iter().all(|finding| finding.severity == Severity::Fine);
            assert!(fine, "{set:x}: {findings:?}");
        }
    }

    #[test]
    fn locked_memory_matters_only_before_5_11_and_only_if_limited() {
        let split = bit(Capability::Bpf) | bit(Capability::Perfmon);
        let what = |release, limit, set| {
            let rights = Rights { capabilities: Ok(set), memlock_max_bytes: limit, bpf: Ok(()) };
            judge(&rights, release).remove(0).what
        };
        let limited = Some(65_536);
        assert!(what(Some((5, 10)), limited, split).starts_with("CAP_SYS_RESOURCE not"));
        assert!(what(Some((5, 10)), limited, ALL).starts_with("CAP_BPF, CAP_PERFMON"));
        assert!(what(Some((5, 10)), None, split).starts_with("CAP_BPF, CAP_PERFMON"));
        assert!(what(Some((5, 11)), limited, split).starts_with("CAP_BPF, CAP_PERFMON"));
        assert!(
            what(None, limited, split).starts_with("CAP_BPF, CAP_PERFMON"),
            "unknown: the map will tell"
        );
    }

    #[test]
    fn a_refusal_in_spite_of_capabilities_points_at_the_container() {
        let findings = judged(ALL, Err(Denial::Forbidden));
        assert_eq!(findings[1].severity, Severity::MissingRight);
        assert!(findings[1].what.contains("seccomp"), "{findings:?}");
        assert!(findings[1].remedy.contains("--privileged"), "{findings:?}");

        let unknown = Rights {
            capabilities: Err("no procfs".to_owned()),
            memlock_max_bytes: None,
            bpf: Err(Denial::Forbidden),
        };
        let severities: Vec<_> =
            judge(&unknown, None).iter().map(|finding| finding.severity).collect();
        assert_eq!(severities, [Severity::Warning, Severity::MissingRight]);
    }

    #[test]
    fn a_kernel_without_bpf_is_the_hosts_lack() {
        for denial in [Denial::NoSuchCall, Denial::Other("E2BIG".to_owned())] {
            let findings = judged(ALL, Err(denial));
            assert_eq!(findings[1].severity, Severity::MissingOnHost, "{findings:?}");
        }
    }

    #[test]
    fn capabilities_are_read_from_a_real_status_file() {
        let procfs = tempfile::tempdir().unwrap();
        std::fs::create_dir(procfs.path().join("self")).unwrap();
        assert!(gather(procfs.path()).capabilities.is_err(), "no file, no answer");
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let with_two: String = status
            .lines()
            .map(|line| match line.strip_prefix("CapEff:") {
                Some(_) => "CapEff:\t000000c000000000\n".to_owned(),
                None => format!("{line}\n"),
            })
            .collect();
        std::fs::write(procfs.path().join("self/status"), with_two).unwrap();
        let split = bit(Capability::Bpf) | bit(Capability::Perfmon);
        assert_eq!(gather(procfs.path()).capabilities, Ok(split));
    }
}
