//! Sockets: can packets be counted by the cgroup of their socket?
//!
//! Only `--collector.network.sockets` asks for it, and all else works without, so nothing
//! here is worse than a warning.

use super::{Finding, Severity};
use crate::source::cgroupfs::Kind;

const SUBJECT: &str = "sockets";

/// `kind` is the hierarchy that containers are told apart by, if there is one;
/// `may_administer` whether this process has `CAP_NET_ADMIN`. Both are told elsewhere if
/// they are not known.
pub(super) fn judge(
    is_wanted: bool,
    kind: Option<Kind>,
    may_administer: Option<bool>,
) -> Option<Finding> {
    let lacking = |what, remedy| Some(Finding::new(Severity::Warning, SUBJECT, what, remedy));
    match (kind?, may_administer) {
        _ if !is_wanted => None,
        (Kind::Cpuacct { .. }, _) => lacking(
            "the kernel knows a socket's cgroup in the unified hierarchy only, and containers \
             are told apart by version 1's here: container_network_socket_* will be missing",
            "boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1), or leave out \
             --collector.network.sockets",
        ),
        // Asked at the attachment (`bpf_prog_attach_check_attach_type`, kernel/bpf/syscall.c).
        (Kind::Unified, Some(false)) => lacking(
            "CAP_NET_ADMIN not effective: the kernel attaches no program to cgroups' sockets \
             without it, so container_network_socket_* will be missing",
            "run as root, or add CAP_NET_ADMIN to the capabilities (setcap, \
             AmbientCapabilities=, --cap-add); or leave out --collector.network.sockets",
        ),
        (Kind::Unified, Some(true)) => {
            Some(Finding::fine(SUBJECT, "their packets can be counted by cgroup"))
        }
        (Kind::Unified, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: Option<Kind> = Some(Kind::Cpuacct { controller: "cpuacct" });
    const V2: Option<Kind> = Some(Kind::Unified);

    #[test]
    fn what_is_lacking_is_a_warning_that_says_what_to_do() {
        for (kind, may_administer, what, remedy) in [
            (V1, Some(true), "unified hierarchy only", "cgroup v2"),
            (V1, None, "unified hierarchy only", "cgroup v2"),
            (V2, Some(false), "CAP_NET_ADMIN", "--cap-add"),
        ] {
            let finding = judge(true, kind, may_administer).expect("a finding");
            assert_eq!(finding.severity, Severity::Warning, "{finding:?}");
            assert!(finding.what.contains(what), "{finding:?}");
            assert!(finding.what.contains("container_network_socket_*"), "{finding:?}");
            assert!(finding.remedy.contains(remedy), "{finding:?}");
            assert!(finding.remedy.contains("--collector.network.sockets"), "{finding:?}");
        }
    }

    #[test]
    fn nothing_is_said_of_what_nobody_wants_or_others_tell() {
        let fine = judge(true, V2, Some(true)).map(|it| it.severity);
        assert_eq!(fine, Some(Severity::Fine));
        for kind in [V1, V2, None] {
            assert_eq!(judge(false, kind, Some(false)), None, "not wanted");
        }
        assert_eq!(judge(true, None, Some(false)), None, "no hierarchy at all");
        assert_eq!(judge(true, V2, None), None, "said of the capabilities as a whole");
    }
}
