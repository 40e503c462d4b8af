//! Whether a hierarchy's lists of processes can be trusted.
//!
//! Owns that question, asked once at the start.

use std::path::Path;

use super::{Hierarchy, Kind};
use crate::{model::losses::Reason, source::namespaces};

/// Why a hierarchy's lists of processes can't be trusted, if so. v1 leaves processes that
/// have no number in the reader's own pid namespace out of `cgroup.procs`
/// (`pidlist_array_load` in kernel/cgroup/cgroup-v1.c): whoever is not in the host's sees
/// lists that are short or empty, and can't tell. v2 shows a 0 for each instead.
pub fn distrust(hierarchy: &Hierarchy, procfs: &Path) -> Option<Reason> {
    match hierarchy.kind {
        Kind::Unified => None,
        Kind::Cpuacct { .. } => match namespaces::is_in_first_pid_namespace(procfs) {
            Ok(true) => None,
            Ok(false) => Some(Reason::Hidden),
            Err(error) => {
                tracing::debug!(%error, "cannot tell which pid namespace this process is in");
                Some(Reason::Failed)
            }
        },
    }
}
