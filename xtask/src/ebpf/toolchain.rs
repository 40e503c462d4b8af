//! Compilers for `bpfel-unknown-none`: Debian's, which carry a prebuilt `core` for
//! it, or else rustup's nightly, which builds one from rust-src.
//!
//! Either way the cargo that runs xtask has left its traces in our environment;
//! another cargo must not see them.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{command, requirements, workspace};

const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_OBJCOPY: &str = "llvm-objcopy-22";

/// What a caller's cargo or rustup sets, or a user for the host's builds: none of it
/// may reach the eBPF build, or it would not be reproducible.
const SCRUBBED: [&str; 10] = [
    "CARGO",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_INCREMENTAL",
    "LD_LIBRARY_PATH",
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];

/// As [`SCRUBBED`], by prefix.
const SCRUBBED_PREFIXES: [&str; 6] = [
    "CARGO_BUILD_",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "CARGO_BIN_",
];

/// A complete set of tools.
#[derive(Debug)]
pub(crate) struct Toolchain {
    kind: Kind,
    /// Its directory leads PATH: rustc looks for its linker there.
    bpf_linker: PathBuf,
    objcopy: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Debian,
    Nightly,
}

/// What identifies the tools in the provenance record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    /// `rustc --version`.
    pub(crate) rustc: String,
    /// LLVM's version in `rustc --version --verbose`.
    pub(crate) llvm: String,
    /// `bpf-linker --version`.
    pub(crate) bpf_linker: String,
}

impl Toolchain {
    /// Finds the tools; on Debian, installs those that are missing.
    ///
    /// # Errors
    /// Neither kind is there, nor can be installed; the message says what to do.
    pub(crate) fn ensure() -> Result<Self> {
        if let Some(toolchain) = Self::instead_of_debian() {
            return Ok(toolchain);
        }
        requirements::ensure(&[requirements::EBPF_TOOLCHAIN]).context("no compiler for eBPF")?;
        let bpf_linker = requirements::ensure_bpf_linker()?;
        let objcopy = command::find(DEBIAN_OBJCOPY).context("llvm-22 has no llvm-objcopy-22")?;
        Ok(Self { kind: Kind::Debian, bpf_linker, objcopy })
    }

    /// Whether [`Self::ensure`] needs nothing of Debian's.
    pub(crate) fn is_elsewhere() -> bool {
        Self::instead_of_debian().is_some()
    }

    /// rustup's nightly, if it is complete and Debian's compiler isn't.
    fn instead_of_debian() -> Option<Self> {
        if requirements::EBPF_TOOLCHAIN.is_met() { None } else { Self::nightly() }
    }

    /// rustup's nightly, if nothing of it is missing.
    fn nightly() -> Option<Self> {
        let mut rustc = Command::new("rustup");
        scrub(&mut rustc, env::vars_os().map(|(name, _)| name));
        rustc.args(["run", "nightly", "rustc", "--print", "sysroot"]);
        let sysroot = PathBuf::from(command::capture(&mut rustc).ok()?);
        let has_source = sysroot.join("lib/rustlib/src/rust/library/core").is_dir();
        let bpf_linker = command::find("bpf-linker").filter(|_| has_source)?;
        let objcopy = ["llvm-objcopy", "rust-objcopy", DEBIAN_OBJCOPY];
        let objcopy = objcopy.into_iter().find_map(command::find)?;
        Some(Self { kind: Kind::Nightly, bpf_linker, objcopy })
    }

    /// A cargo for the eBPF target, at the working copy's root, in an environment of
    /// its own. What depends on the target directory or the flags is the caller's.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let mut cargo = match self.kind {
            Kind::Debian => Command::new(DEBIAN_CARGO),
            Kind::Nightly => Command::new("rustup"),
        };
        scrub(&mut cargo, env::vars_os().map(|(name, _)| name));
        match self.kind {
            Kind::Debian => {
                // bpfel-unknown-none is no stable target, wherever its core is from.
                cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1").arg(subcommand);
            }
            Kind::Nightly => {
                cargo.args(["run", "nightly", "cargo", subcommand, "-Z", "build-std=core"]);
            }
        }
        let tools = [self.bpf_linker.parent(), Path::new(DEBIAN_CARGO).parent()];
        let path = env::var_os("PATH").unwrap_or_default();
        let directories = match self.kind {
            Kind::Debian => tools.to_vec(),
            Kind::Nightly => tools[..1].to_vec(),
        };
        let directories = directories.into_iter().flatten().map(Path::to_owned);
        if let Ok(path) = env::join_paths(directories.chain(env::split_paths(&path))) {
            cargo.env("PATH", path);
        }
        cargo.current_dir(workspace::root());
        cargo
    }

    /// The sources of `core`, where this toolchain compiles them itself.
    pub(crate) fn core_sources(&self) -> Result<Option<PathBuf>> {
        if self.kind == Kind::Debian {
            return Ok(None);
        }
        let sysroot = command::capture(self.rustc().args(["--print", "sysroot"]))?;
        Ok(Some(Path::new(&sysroot).join("lib/rustlib/src/rust")))
    }

    /// Takes DWARF out of an object; BTF, symbols and relocations stay.
    ///
    /// # Errors
    /// llvm-objcopy fails.
    pub(crate) fn strip_debug(&self, from: &Path, to: &Path) -> Result<()> {
        let mut objcopy = Command::new(&self.objcopy);
        command::capture(objcopy.arg("--strip-debug").arg(from).arg(to)).map(drop)
    }

    /// # Errors
    /// A tool doesn't tell its version.
    pub(crate) fn versions(&self) -> Result<Versions> {
        let verbose = command::capture(self.rustc().args(["--version", "--verbose"]))?;
        let rustc = verbose.lines().next().unwrap_or_default().to_owned();
        let llvm = verbose.lines().find_map(|line| line.strip_prefix("LLVM version: "));
        let Some(llvm) = llvm else { bail!("{rustc} doesn't name its LLVM") };
        let bpf_linker = command::capture(Command::new(&self.bpf_linker).arg("--version"))?;
        Ok(Versions { rustc, llvm: llvm.to_owned(), bpf_linker })
    }

    fn rustc(&self) -> Command {
        let mut rustc = match self.kind {
            Kind::Debian => Command::new(DEBIAN_RUSTC),
            Kind::Nightly => Command::new("rustup"),
        };
        scrub(&mut rustc, env::vars_os().map(|(name, _)| name));
        if self.kind == Kind::Nightly {
            rustc.args(["run", "nightly", "rustc"]);
        }
        rustc
    }
}

/// Takes the caller's cargo out of a command's environment.
fn scrub(command: &mut Command, names: impl Iterator<Item = OsString>) {
    for name in names.filter(|name| is_scrubbed(name)) {
        command.env_remove(name);
    }
}

fn is_scrubbed(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    SCRUBBED.contains(&name) || SCRUBBED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_cargo_leaves_no_trace_and_the_network_stays() {
        let set = ["CARGO", "RUSTUP_TOOLCHAIN", "CARGO_TARGET_DIR", "CARGO_PKG_NAME", "RUSTFLAGS"];
        let kept = ["PATH", "HOME", "CARGO_HOME", "CARGO_HTTP_PROXY", "https_proxy"];
        assert!(set.iter().all(|name| is_scrubbed(OsStr::new(name))));
        assert!(!kept.iter().any(|name| is_scrubbed(OsStr::new(name))));

        let mut command = Command::new("cargo");
        scrub(&mut command, set.iter().chain(&kept).map(OsString::from));
        let removed: Vec<_> = command.get_envs().collect();
        assert_eq!(removed.len(), set.len());
        assert!(removed.iter().all(|(_, value)| value.is_none()));
    }
}
