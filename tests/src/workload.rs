//! Builds and names the program whose CPU use is measured (`tests/workload/workload.rs`).

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::OnceLock,
};

/// The static workload binary, built with plain `rustc` when its source is newer.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(build)
}

/// The workspace's target directory: the one above this very program that Cargo has
/// marked as a cache (<https://bford.info/cachedir/>).
pub fn target_dir() -> PathBuf {
    let program = env::current_exe().expect("a path of this program");
    let marked = |directory: &&Path| directory.join("CACHEDIR.TAG").exists();
    program.ancestors().find(marked).expect("it runs in Cargo's target directory").to_owned()
}

fn build() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("workload/workload.rs");
    let directory = target_dir().join("workload");
    let binary = directory.join("workload");
    let modified = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    if modified(&binary).is_some_and(|built| Some(built) > modified(&source)) {
        return binary;
    }
    fs::create_dir_all(&directory).expect("a directory for the workload");
    // Renamed into place: a half-written binary is never found.
    let fresh = directory.join(format!("workload.{}", process::id()));
    let output = Command::new("rustc")
        .args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-C"])
        .args(["strip=symbols", "-o"])
        .args([&fresh, &source])
        .output()
        .expect("rustc on PATH");
    assert!(
        output.status.success(),
        "can't build the workload:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::rename(&fresh, &binary).expect("the workload in its place");
    binary
}
