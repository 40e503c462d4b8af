//! Packets: does this kernel have what they are counted by?
//!
//! Asks the loader's own table. CPU time is accounted without them, so nothing here is worse
//! than a warning.

use std::{fs, path::Path};

use super::{Finding, Severity};
use crate::source::{
    cgroupfs::Hierarchy,
    kernel::{btf::Btf, layout::Layout},
};

const SUBJECT: &str = "packets";

/// Looks for the fields and tracepoints in the kernel's type information, a file. What keeps
/// it, or the programs as a whole, from being used is told elsewhere.
pub(super) fn judge(btf: &Path, hierarchy: &Hierarchy) -> Vec<Finding> {
    let btf = fs::read(btf).ok().and_then(|bytes| Btf::parse(bytes).ok());
    let layout = btf.as_ref().and_then(|btf| {
        let mut layout = Layout::resolve(btf, hierarchy).ok()?;
        layout.degraded.clear();
        layout.place_packets(btf);
        Some(layout)
    });
    let Some(Layout { packets, degraded, .. }) = layout else { return Vec::new() };
    let mut findings: Vec<Finding> = degraded.into_iter().map(lacking).collect();
    if packets && findings.is_empty() {
        findings.push(Finding::fine(SUBJECT, "the kernel has what they are counted by"));
    }
    findings.dedup();
    findings
}

fn lacking(what: String) -> Finding {
    Finding::new(
        Severity::Warning,
        SUBJECT,
        what,
        "boot a later kernel; or do without: --no-collector.network",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::cgroupfs::{Kind, Mode};

    fn hierarchy() -> Hierarchy {
        Hierarchy {
            kind: Kind::Unified,
            mode: Mode::V2,
            mount: "/sys/fs/cgroup".into(),
            hierarchy_id: 0,
        }
    }

    #[test]
    fn type_information_that_can_not_be_used_is_judged_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("vmlinux");
        assert_eq!(judge(&file, &hierarchy()), []);
        fs::write(&file, b"no BTF at all").unwrap();
        assert_eq!(judge(&file, &hierarchy()), []);
    }

    #[test]
    fn what_the_kernel_lacks_is_named_with_how_to_do_without() {
        let bytes = fs::read("/sys/kernel/btf/vmlinux").expect("a kernel with BTF");
        let judge_without = |name: &str| {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("vmlinux");
            let word = format!("\0{name}\0").into_bytes();
            let mut bytes = bytes.clone();
            let at = bytes.windows(word.len()).position(|found| found == word);
            bytes[at.expect("a name in this kernel") + 1] = b'!';
            fs::write(&file, bytes).unwrap();
            judge(&file, &hierarchy())
        };
        for (name, what) in [
            ("mac_header", "packets are not accounted: no field sk_buff.mac_header"),
            ("rtnl_link_ops", "the kinds of network interfaces are not known"),
        ] {
            let findings = judge_without(name);
            let found = findings.iter().find(|it| it.what.contains(what));
            let found = found.unwrap_or_else(|| panic!("{name}: {findings:?}"));
            assert_eq!(found.severity, Severity::Warning);
            assert!(found.remedy.contains("--no-collector.network"), "{found:?}");
        }
    }
}
