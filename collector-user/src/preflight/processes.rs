//! Other processes: can they be seen, and asked for their network?
//!
//! Owns what the collectors of files lack for it. Accounting needs none of it, so nothing
//! here is worse than a warning.

use std::io;

use super::{Finding, Severity};
use crate::{
    model::collectors::{Collector, Collectors},
    source::cgroupfs::Kind,
};

/// What the start says of these, and `check`: nothing of what no collector asks for.
/// `kind` is the hierarchy that processes are listed in, if there is one; `is_in_first`
/// tells whether this process is in the host's own pid namespace, `may_trace` whether it
/// has `CAP_SYS_PTRACE`.
pub(super) fn judge(
    collectors: Collectors,
    kind: Option<Kind>,
    is_in_first: &io::Result<bool>,
    may_trace: Option<bool>,
) -> Vec<Finding> {
    let asks_processes =
        collectors.contains(Collector::Process) || collectors.contains(Collector::Network);
    let is_v1 = matches!(kind, Some(Kind::Cpuacct { .. }));
    let mut findings = Vec::new();
    if asks_processes || (is_v1 && collectors.contains(Collector::Cgroup)) {
        findings.push(namespace(is_in_first, is_v1));
    }
    if asks_processes {
        // If it can't be told, that is said of the capabilities as a whole.
        findings.extend(may_trace.map(|may| networks(collectors, may)));
    }
    findings
}

fn namespace(is_in_first: &io::Result<bool>, is_v1: bool) -> Finding {
    let subject = "pid namespace";
    let lost = if is_v1 {
        "no container's processes can be told"
    } else {
        "processes outside of it cannot be told"
    };
    match is_in_first {
        Ok(true) => Finding::fine(subject, "the host's own"),
        Ok(false) => Finding::new(
            Severity::Warning,
            subject,
            format!("slicemeter is not in the host's own: {lost}"),
            "start its container with --pid=host (Kubernetes: hostPID: true)",
        ),
        Err(error) => Finding::new(
            Severity::Warning,
            subject,
            format!("which one slicemeter is in cannot be told: {error}"),
            "give the place of the host's procfs as --path.procfs",
        ),
    }
}

/// Collectors that ask for networks, and what they lack without an answer.
const OF_NETWORKS: [(Collector, &str); 2] = [
    (
        Collector::Network,
        "container_network_* of containers will be missing, and what crosses the host's own \
         interfaces will be unattributed",
    ),
    (Collector::Process, "node_container_net_* will be missing"),
];

fn networks(collectors: Collectors, may_trace: bool) -> Finding {
    let subject = "networks";
    if may_trace {
        return Finding::fine(subject, "processes can be asked for theirs");
    }
    let those_on = || OF_NETWORKS.into_iter().filter(|(it, _)| collectors.contains(*it));
    let lost: Vec<_> = those_on().map(|(_, lost)| lost).collect();
    let off: Vec<_> = those_on().map(|(it, _)| format!("--no-collector.{it}")).collect();
    Finding::new(
        Severity::Warning,
        subject,
        format!(
            "CAP_SYS_PTRACE not effective: the kernel does not tell which network other users' \
             processes are in, the host's first one among them, so {}",
            lost.join("; ")
        ),
        format!(
            "run as root, or add CAP_SYS_PTRACE to the capabilities (setcap, \
             AmbientCapabilities=, --cap-add); or do without: {}",
            off.join(" ")
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: Option<Kind> = Some(Kind::Cpuacct { controller: "cpuacct" });
    const V2: Option<Kind> = Some(Kind::Unified);

    /// Subjects of what is not fine, and of what is.
    fn judged(
        collectors: Collectors,
        kind: Option<Kind>,
        is_in_first: bool,
        may_trace: Option<bool>,
    ) -> [Vec<&'static str>; 2] {
        let findings = judge(collectors, kind, &Ok(is_in_first), may_trace);
        assert!(findings.iter().all(|it| it.severity <= Severity::Warning), "{findings:?}");
        [Severity::Warning, Severity::Fine].map(|severity| {
            let of_it = findings.iter().filter(|it| it.severity == severity);
            of_it.map(|it| it.subject).collect()
        })
    }

    #[test]
    fn each_lack_is_a_warning_of_its_own() {
        let (namespace, networks) = ("pid namespace", "networks");
        let judge = |is_in_first, may_trace| judged(Collectors::ALL, V2, is_in_first, may_trace);
        assert_eq!(judge(true, Some(true)), [vec![], vec![namespace, networks]]);
        assert_eq!(judge(true, Some(false)), [vec![networks], vec![namespace]]);
        assert_eq!(judge(false, Some(true)), [vec![namespace], vec![networks]]);
        assert_eq!(judge(false, None), [vec![namespace], vec![]], "told already");
    }

    #[test]
    fn what_no_collector_asks_for_is_not_looked_at() {
        let nothing: [Vec<&str>; 2] = Default::default();
        let cgroup = Collectors::NONE.with(Collector::Cgroup);
        assert_eq!(judged(cgroup, V2, false, Some(false)), nothing);
        assert_eq!(judged(cgroup, V1, false, Some(false)), [vec!["pid namespace"], vec![]]);
        let network = Collectors::NONE.with(Collector::Network);
        let both = ["pid namespace", "networks"];
        assert_eq!(judged(network, V2, false, Some(false)), [both.to_vec(), vec![]]);
        let others = [Collector::Cpu, Collector::Docker, Collector::Machine].into_iter().collect();
        assert_eq!(judged(others, V1, false, Some(false)), nothing);
    }

    #[test]
    fn only_collectors_that_are_on_are_said_to_lack_something() {
        let said = |collectors: Collectors| {
            let findings = judge(collectors, V2, &Ok(true), Some(false));
            let Finding { what, remedy, .. } =
                findings.into_iter().last().expect("one of networks");
            [what, remedy]
        };
        let of_both = [
            (Collector::Network, ["container_network_*", "--no-collector.network"]),
            (Collector::Process, ["node_container_net_*", "--no-collector.process"]),
        ];
        for (collector, _) in of_both {
            let said = said(Collectors::NONE.with(collector));
            for (other, words) in of_both {
                for (said, word) in said.iter().zip(words) {
                    assert_eq!(said.contains(word), other == collector, "{collector}: {said}");
                }
            }
            assert_eq!(said[0].contains("unattributed"), collector == Collector::Network);
        }
        let said = said(Collectors::ALL);
        assert!(said[1].ends_with("--no-collector.network --no-collector.process"), "{said:?}");
    }

    #[test]
    fn what_to_do_is_said() {
        let findings = judge(Collectors::ALL, V1, &Ok(false), Some(false));
        assert!(findings[0].what.contains("no container's processes"), "{findings:?}");
        assert!(findings[0].remedy.contains("--pid=host"), "{findings:?}");
        assert!(findings[1].what.contains("CAP_SYS_PTRACE"), "{findings:?}");
        assert!(findings[1].remedy.contains("--no-collector.process"), "{findings:?}");
        let error = io::ErrorKind::NotFound.into();
        let findings = judge(Collectors::ALL, V2, &Err(error), None);
        assert!(findings[0].remedy.contains("--path.procfs"), "{findings:?}");
    }
}
