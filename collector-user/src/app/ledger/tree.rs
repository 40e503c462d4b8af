//! The cgroup tree: what a walk of it found is taken into the books.
//!
//! Owns who gets a slot first. The walk itself is the source's.

use std::os::unix::fs::MetadataExt as _;

use super::now;
use crate::{
    errors::chain,
    model::{accounts::Accounts, container_id::deepest_container},
    source::{
        cgroupfs::{Hierarchy, Walk},
        kernel::Kernel,
    },
};

/// Gives every cgroup that the walk found its slot, containers first: where slots are
/// short it is they that the user wants to tell apart. Returns how many found none free.
pub(super) fn adopt(kernel: &mut Kernel, accounts: &mut Accounts, mut found: Walk) -> u64 {
    let mut without_slot = 0;
    found.cgroups.sort_by_key(|cgroup| deepest_container(&cgroup.path).is_none());
    for cgroup in found.cgroups {
        if accounts.cgroups().get(cgroup.id).is_some() {
            continue;
        }
        match kernel.slots.assign(cgroup.id) {
            Ok(slot) => {
                let seen_ms = cgroup.created_ms.unwrap_or_else(|| now().wall_ms);
                accounts.created(cgroup.id, &cgroup.path, slot, seen_ms);
                without_slot += u64::from(slot.is_none());
            }
            Err(error) => {
                tracing::warn!(
                    path = cgroup.path,
                    error = chain(&error),
                    "usage of this cgroup is unattributed"
                );
            }
        }
    }
    without_slot
}

/// Whether the directory of a cgroup is still there, and still its own.
pub(super) fn exists(accounts: &Accounts, hierarchy: &Hierarchy, id: u64) -> bool {
    accounts.cgroups().get(id).is_some_and(|cgroup| {
        let path = hierarchy.mount.join(cgroup.path.trim_start_matches('/'));
        std::fs::metadata(path).is_ok_and(|directory| directory.ino() == id)
    })
}
