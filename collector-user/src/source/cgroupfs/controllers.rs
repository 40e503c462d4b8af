//! Where each controller's files are: in its v1 hierarchy, or in the unified one.

use super::{Hierarchy, HierarchyError, Paths};

/// The controllers that are there, and where.
#[derive(Clone, Debug, Default)]
pub struct Controllers {}

impl Controllers {
    /// Finds them among the mounts; processes are listed in the hierarchy given.
    ///
    /// # Errors
    /// When the list of mounts can't be read.
    pub fn find(paths: Paths<'_>, hierarchy: &Hierarchy) -> Result<Self, HierarchyError> {
        let _ = (paths, hierarchy);
        Ok(Self {})
    }
}
