//! Where things are: the working copy, its target directory, the tools' cache.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// Tools that xtask builds for itself go here, below the user's cache directory, so
/// that they outlive `cargo clean` and serve every working copy.
const TOOLS_CACHE: &str = "slicemeter/tools";

/// The working copy's root: the parent of this crate's directory.
pub(crate) fn root() -> &'static Path {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest_dir.parent().unwrap_or(manifest_dir)
}

/// Cargo's target directory, whoever chose it (`CARGO_TARGET_DIR`, a configuration
/// file): cargo has just put this very executable into `TARGET/PROFILE/xtask`.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let executable = env::current_exe().context("where xtask's own executable is")?;
    let target_dir = executable.parent().and_then(Path::parent);
    Ok(target_dir.context("xtask's executable has no directory above it")?.to_owned())
}

/// Root of a `cargo install` for tools (its `bin` holds the executables).
pub(crate) fn tools_dir() -> Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env::home_dir().map(|home| home.join(".cache")))
        .context("neither HOME nor XDG_CACHE_HOME says where a cache may be")?;
    Ok(cache.join(TOOLS_CACHE))
}
