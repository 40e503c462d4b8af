//! Building the kernel-side objects, reproducibly: the same sources and tools give
//! the same bytes in any directory and for any user.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{command, ebpf::toolchain::Toolchain, workspace};

/// Compiler flags that decide what comes out; part of the provenance.
///
/// - `bpf_target_arch`: which machine's register names aya-ebpf compiles in. None of
///   our programs reads registers, so one object serves every little-endian machine,
///   and building it anywhere must give the same.
/// - `--btf`: bpf-linker makes BTF from the DWARF that the profile asks for.
/// - `v3`: 32-bit jumps and ALU; in every kernel since 5.1.
pub(crate) const FLAGS: [&str; 6] =
    ["--cfg", r#"bpf_target_arch="x86_64""#, "-C", "link-arg=--btf", "-C", "target-cpu=v3"];

/// Little-endian BPF.
const TARGET: &str = "bpfel-unknown-none";

/// Of Cargo.toml.
pub(crate) const PROFILE: &str = "ebpf";

/// A program object: a binary of collector-ebpf, and where it is committed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Object {
    /// The binary's name in collector-ebpf/Cargo.toml.
    pub(crate) binary: &'static str,
    /// The committed object, from the working copy's root.
    pub(crate) committed: &'static str,
}

/// All of them: the daemon's programs, and those that the benches compare them with.
pub(crate) const OBJECTS: [Object; 2] = [
    Object { binary: "collector", committed: "collector-user/bpf/collector.o" },
    Object { binary: "yardsticks", committed: "tests/bpf/yardsticks.o" },
];

/// Apart from the host's artifacts: another cargo of another version works here.
pub(crate) fn ebpf_target_dir() -> Result<PathBuf> {
    Ok(workspace::target_dir()?.join("ebpf"))
}

/// Where an object comes out, ready to be loaded.
pub(crate) fn fresh(object: Object) -> Result<PathBuf> {
    Ok(ebpf_target_dir()?.join("fresh").join(format!("{}.o", object.binary)))
}

/// Builds and strips all [`OBJECTS`] into their [`fresh`] places.
///
/// # Errors
/// They don't compile, or the directory can't be written.
pub(crate) fn build(toolchain: &Toolchain) -> Result<()> {
    let target_dir = ebpf_target_dir()?;
    let mut flags: Vec<String> = FLAGS.map(str::to_owned).into();
    let prefixes = path_prefixes(&registries()?, toolchain.core_sources()?);
    for (from, to) in &prefixes {
        flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    }
    let mut cargo = toolchain.cargo("build");
    cargo.args(["--locked", "--profile", PROFILE, "--target", TARGET]);
    cargo.args(["--package", "collector-ebpf", "--bins", "--features", "programs"]);
    cargo.arg("--target-dir").arg(&target_dir);
    // Separated by what can't be in a path, unlike RUSTFLAGS.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    command::run(&mut cargo)?;

    for object in OBJECTS {
        let fresh = fresh(object)?;
        if let Some(directory) = fresh.parent() {
            fs::create_dir_all(directory)
                .with_context(|| format!("can't create {}", directory.display()))?;
        }
        let linked = target_dir.join(TARGET).join(PROFILE).join(object.binary);
        toolchain.strip_debug(&linked, &fresh)?;
        let bytes = fs::read(&fresh).with_context(|| format!("can't read {}", fresh.display()))?;
        if let Some((path, _)) = prefixes.iter().find(|(path, _)| contains(&bytes, path)) {
            bail!("{} names a path of this machine: {}", fresh.display(), path.display());
        }
    }
    Ok(())
}

/// Prefixes of source paths, and what stands for them in BTF's line information.
///
/// The substitutes don't exist: LLVM would put the text of sources that it finds
/// into the object, and so the object would depend on where it is built.
fn path_prefixes(registries: &[PathBuf], core: Option<PathBuf>) -> Vec<(PathBuf, &'static str)> {
    let mut prefixes: Vec<_> = registries.iter().map(|it| (it.clone(), "/registry")).collect();
    prefixes.push((workspace::root().to_owned(), "/slicemeter"));
    prefixes.extend(core.map(|sources| (sources, "/rust")));
    prefixes
}

/// Where cargo unpacks crates: a directory per registry (the index, or a mirror in
/// its place). They are there, as xtask itself is built from them.
fn registries() -> Result<Vec<PathBuf>> {
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let sources = cargo_home.context("neither HOME nor CARGO_HOME is set")?.join("registry/src");
    let mut registries = fs::read_dir(&sources)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>())
        .with_context(|| format!("can't list {}", sources.display()))?;
    registries.sort();
    Ok(registries)
}

fn contains(object: &[u8], path: &Path) -> bool {
    let needle = path.as_os_str().as_encoded_bytes();
    object.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_an_object_is_seen() {
        let object = b"\x7fELF\0/home/me/slicemeter/collector-ebpf/src/main.rs\0";
        assert!(contains(object, Path::new("/home/me/slicemeter")));
        assert!(!contains(object, Path::new("/home/me/elsewhere")));
    }

    #[test]
    fn sources_are_remapped_to_places_that_do_not_exist() {
        let prefixes = path_prefixes(&[PathBuf::from("/nowhere/registry")], None);
        assert_eq!(prefixes[0].1, "/registry");
        assert!(prefixes.iter().any(|(from, _)| from == workspace::root()));
        assert!(prefixes.iter().all(|(_, to)| !Path::new(to).exists()));
    }
}
