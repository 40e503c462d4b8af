//! Which build this is.
//!
//! Owns what the compiler was told; it reads nothing at run time.

/// Identity of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildInfo {
    /// Version of the crate.
    pub version: &'static str,
    /// Commit, where the build knew it (`SLICEMETER_REVISION`).
    pub revision: Option<&'static str>,
    /// Compiler, where the build told it (`SLICEMETER_RUSTC`).
    pub rustc: Option<&'static str>,
}

impl BuildInfo {
    /// This build.
    pub const THIS: Self = Self {
        version: env!("CARGO_PKG_VERSION"),
        revision: option_env!("SLICEMETER_REVISION"),
        rustc: option_env!("SLICEMETER_RUSTC"),
    };
}
