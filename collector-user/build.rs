//! What a build knows of itself: commit, compiler, and which eBPF object goes in.
//!
//! Needs stable Rust alone: without git there is no revision, and the object is the
//! committed one unless `SLICEMETER_EBPF_OBJECT` names another (the test command does,
//! to test one that another toolchain has built).

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    object(&package);
    revision(&package);
    if let Some(version) = env::var_os("RUSTC").and_then(|rustc| said(&rustc, &["--version"])) {
        println!("cargo:rustc-env=SLICEMETER_RUSTC={version}");
    }
}

fn object(package: &Path) {
    println!("cargo:rerun-if-env-changed=SLICEMETER_EBPF_OBJECT");
    let object = env::var_os("SLICEMETER_EBPF_OBJECT")
        .map_or_else(|| package.join("bpf/collector.o"), PathBuf::from);
    println!("cargo:rerun-if-changed={}", object.display());
    println!("cargo:rustc-env=SLICEMETER_EBPF_OBJECT={}", object.display());
}

fn revision(package: &Path) {
    // A commit changes it. Where there is no such file, a missing one would have Cargo
    // build anew each time.
    let log = package.join("../.git/logs/HEAD");
    if log.exists() {
        println!("cargo:rerun-if-changed={}", log.display());
        let directory = package.display().to_string();
        let arguments = ["-C", &directory, "rev-parse", "--short=12", "HEAD"];
        if let Some(revision) = said("git".as_ref(), &arguments) {
            println!("cargo:rustc-env=SLICEMETER_REVISION={revision}");
        }
    }
}

fn said(program: &std::ffi::OsStr, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
