//! Cgroups: is there a hierarchy that tells whose CPU time it is?
//!
//! Asks the daemon's own cgroup source, so that its verdict is the start's.

use super::{Finding, Severity};
use crate::{
    args::Config,
    errors::chain,
    source::cgroupfs::{self, Hierarchy, HierarchyError},
};

/// What the daemon would account by, with these settings.
pub(super) fn detect(config: &Config) -> Result<Hierarchy, HierarchyError> {
    let paths = cgroupfs::Paths { procfs: &config.paths.procfs, cgroupfs: &config.paths.cgroupfs };
    cgroupfs::detect(paths, config.cgroups.hierarchy)
}

pub(super) fn judge(found: &Result<Hierarchy, HierarchyError>) -> Finding {
    match found {
        Ok(hierarchy) => Finding::fine("cgroups", hierarchy.to_string()),
        // These errors say themselves what to do.
        Err(error) => Finding::told(Severity::MissingOnHost, "cgroups", chain(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::source::cgroupfs::{Kind, Mode};

    #[test]
    fn what_would_be_accounted_by_is_told() {
        let hierarchy = Hierarchy {
            kind: Kind::Unified,
            mode: Mode::V2,
            mount: PathBuf::from("/sys/fs/cgroup"),
            hierarchy_id: 0,
        };
        let told = "cgroups v2, accounting by the unified hierarchy on /sys/fs/cgroup";
        assert_eq!(judge(&Ok(hierarchy)), Finding::fine("cgroups", told));
    }

    #[test]
    fn what_is_lacking_is_the_hosts_lack_with_its_cause() {
        let config = |words: &str| {
            crate::args::parse(["slicemeter"].into_iter().chain(words.split(' '))).unwrap().1
        };
        let empty = tempfile::tempdir().unwrap();
        let empty = empty.path().display();
        let finding = judge(&detect(&config(&format!("--path.procfs {empty}"))));
        assert_eq!(finding.severity, Severity::MissingOnHost);
        assert!(finding.what.contains("--path.procfs: No such file"), "{finding:?}");
        let finding = judge(&detect(&config(&format!("--path.cgroupfs {empty}"))));
        assert_eq!(finding.severity, Severity::MissingOnHost);
        assert!(finding.what.contains("--path.cgroupfs"), "{finding:?}");
    }
}
