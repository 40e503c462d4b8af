//! The kernel-side objects: with what they are built, how, and the record that ties
//! the committed ones to their sources.

pub(crate) mod build;
pub(crate) mod provenance;
pub(crate) mod toolchain;
