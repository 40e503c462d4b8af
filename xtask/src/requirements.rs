//! What the tasks need from the machine beyond rustup's stable, and its installation.
//!
//! Each need has evidence (a program, a file) rather than a package's name: on a
//! machine that has Docker's own packages, Debian's must not replace them.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{command, rights::Rights, workspace};

/// What a group of Debian packages is there for, and how one sees that it is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    /// Debian's packages: all are named to apt if any evidence is missing, as they
    /// must fit each other (a libcore for another rustc is of no use).
    packages: &'static [&'static str],
    evidence: &'static [Evidence],
}

#[derive(Clone, Copy, Debug)]
enum Evidence {
    /// An executable on PATH or in one of the sbin directories.
    Program(&'static str),
    /// An executable that needs no shared library.
    StaticProgram(&'static str),
    /// A file or directory.
    Path(&'static str),
}

/// Debian's Rust with a `core` for BPF, and the LLVM that its linker is built with.
pub(crate) const EBPF_TOOLCHAIN: Need = Need {
    packages: &["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf", "llvm-22", "llvm-22-dev"],
    evidence: &[
        Evidence::Path("/usr/bin/rustc"),
        Evidence::Path("/usr/bin/cargo"),
        Evidence::Path("/usr/lib/rustlib/bpfel-unknown-none"),
        Evidence::Program("llvm-config-22"),
        Evidence::Program("llvm-objcopy-22"),
    ],
};

/// What the real-kernel tests run beside the daemon: a private dockerd with an image
/// of busybox and its own bridge, and Prometheus with promtool.
pub(crate) const KERNEL_TESTS: [Need; 5] = [
    Need {
        packages: &["docker.io"],
        evidence: &[Evidence::Program("dockerd"), Evidence::Program("docker")],
    },
    Need {
        packages: &["prometheus"],
        evidence: &[Evidence::Program("prometheus"), Evidence::Program("promtool")],
    },
    Need { packages: &["busybox-static"], evidence: &[Evidence::StaticProgram("busybox")] },
    Need { packages: &["iptables"], evidence: &[Evidence::Program("iptables")] },
    Need { packages: &["iproute2"], evidence: &[Evidence::Program("ip")] },
];

/// For `perf bench`, by which a switch is measured from outside.
pub(crate) const PERF: Need =
    Need { packages: &["linux-perf"], evidence: &[Evidence::Program("perf")] };

/// What to do about missing packages.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Nothing,
    Install(Vec<&'static str>),
    /// The message for whoever can do it.
    Ask(String),
}

/// Sees to it that every need is met: installs what is missing, as root on Debian.
///
/// # Errors
/// Something is missing and may not be installed by us (the message holds the exact
/// command), or apt-get failed.
pub(crate) fn ensure(needs: &[Need]) -> Result<()> {
    let missing = missing_packages(needs, is_there);
    let apt_get = command::find("apt-get");
    match plan(missing, apt_get.is_some(), Rights::detect()? == Rights::Root) {
        Plan::Nothing => Ok(()),
        Plan::Ask(message) => bail!(message),
        Plan::Install(packages) => {
            let apt_get = || {
                let mut command = Command::new("apt-get");
                command.env("DEBIAN_FRONTEND", "noninteractive");
                command
            };
            command::run(apt_get().args(["--quiet", "update"]))?;
            command::run(apt_get().args(INSTALL).args(packages))
        }
    }
}

/// Without recommended packages: docker.io's and prometheus' bring desktop fonts.
const INSTALL: [&str; 4] = ["--quiet", "install", "--no-install-recommends", "--yes"];

/// Packages of the needs for which `is_there` doesn't find all the evidence.
fn missing_packages(needs: &[Need], is_there: impl Fn(Evidence) -> bool) -> Vec<&'static str> {
    let unmet =
        needs.iter().filter(|need| !need.evidence.iter().all(|&evidence| is_there(evidence)));
    unmet.flat_map(|need| need.packages).copied().collect()
}

fn plan(missing: Vec<&'static str>, has_apt: bool, is_root: bool) -> Plan {
    if missing.is_empty() {
        return Plan::Nothing;
    }
    let names = missing.join(" ");
    match (has_apt, is_root) {
        (true, true) => Plan::Install(missing),
        (true, false) => Plan::Ask(format!(
            "packages are missing, and only root may install them. Run:\n    \
             sudo apt-get update && sudo apt-get {} {names}",
            INSTALL[1..].join(" ")
        )),
        (false, _) => Plan::Ask(format!(
            "programs are missing, and this isn't Debian: install what its packages {names} \
             provide, by this system's own means"
        )),
    }
}

fn is_there(evidence: Evidence) -> bool {
    match evidence {
        Evidence::Program(name) => command::find(name).is_some(),
        Evidence::StaticProgram(name) => {
            command::find(name).is_some_and(|path| is_static(&path).unwrap_or(false))
        }
        Evidence::Path(path) => Path::new(path).exists(),
    }
}

/// Whether an ELF executable names no dynamic loader. The name, in the segment
/// `PT_INTERP`, is laid out right after the program headers: in the first page.
fn is_static(executable: &Path) -> std::io::Result<bool> {
    let mut page = Vec::new();
    File::open(executable)?.take(4096).read_to_end(&mut page)?;
    let names = |loader: &[u8]| page.windows(loader.len()).any(|window| window == loader);
    Ok(page.starts_with(b"\x7fELF") && !names(b"/ld-linux") && !names(b"/ld-musl"))
}

/// rustup's components that a minimal profile lacks.
///
/// # Errors
/// One is missing and rustup can't add it.
pub(crate) fn ensure_components() -> Result<()> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if !command::succeeds(command::cargo().args([subcommand, "--version"])) {
            command::run(Command::new("rustup").args(["component", "add", component]))
                .with_context(|| format!("cargo has no `{subcommand}`"))?;
        }
    }
    Ok(())
}

/// The one bpf-linker that the committed object is linked with.
pub(crate) const BPF_LINKER_VERSION: &str = "0.13.0";

/// The LLVM of Debian's rustc; bpf-linker reads that rustc's bitcode, so it must be
/// built with the same major version.
const LLVM_CONFIG: &str = "llvm-config-22";
const BPF_LINKER_LLVM: &str = "llvm-22";

/// The bpf-linker for Debian's rustc, built into the tools' directory if it isn't
/// there (some three minutes on two cores).
///
/// # Errors
/// It can't be built.
pub(crate) fn ensure_bpf_linker() -> Result<PathBuf> {
    let tools = workspace::tools_dir()?;
    let linker = tools.join("bin/bpf-linker");
    let expected = format!("bpf-linker {BPF_LINKER_VERSION}");
    if command::capture(Command::new(&linker).arg("--version")).is_ok_and(|it| it == expected) {
        return Ok(linker);
    }
    println!("building {expected} with LLVM 22 into {} (some minutes, once)", tools.display());
    // Left alone, its build script takes the first `llvm-config` on PATH.
    let llvm_prefix = command::capture(Command::new(LLVM_CONFIG).arg("--prefix"))?;
    let mut install = command::cargo();
    install.args(["install", "bpf-linker", "--version", BPF_LINKER_VERSION, "--locked", "--force"]);
    install.args(["--no-default-features", "--features", BPF_LINKER_LLVM]);
    install.arg("--root").arg(&tools).env("LLVM_PREFIX", llvm_prefix);
    for variable in ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET", "RUSTFLAGS"] {
        install.env_remove(variable);
    }
    command::run(&mut install).context("can't build bpf-linker")?;
    Ok(linker)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: [Need; 2] = [
        Need {
            packages: &["a", "a-dev"],
            evidence: &[Evidence::Program("a"), Evidence::Path("/a")],
        },
        Need { packages: &["b"], evidence: &[Evidence::StaticProgram("b")] },
    ];

    #[test]
    fn a_need_with_all_its_evidence_misses_nothing() {
        assert!(missing_packages(&TWO, |_| true).is_empty());
        assert_eq!(missing_packages(&TWO, |_| false), ["a", "a-dev", "b"]);
        let without_path = |evidence| !matches!(evidence, Evidence::Path(_));
        assert_eq!(missing_packages(&TWO, without_path), ["a", "a-dev"]);
    }

    #[test]
    fn only_root_on_debian_installs() {
        assert_eq!(plan(vec![], false, false), Plan::Nothing);
        assert_eq!(plan(vec!["a"], true, true), Plan::Install(vec!["a"]));
        let Plan::Ask(message) = plan(vec!["a", "b"], true, false) else { panic!("asks") };
        let command = "sudo apt-get install --no-install-recommends --yes a b";
        assert!(message.ends_with(command), "{message}");
        assert!(matches!(plan(vec!["a"], false, true), Plan::Ask(_)));
    }

    #[test]
    fn a_dynamic_program_is_told_from_a_static_one() {
        // The test's own executable is linked to the C library.
        assert!(!is_static(&std::env::current_exe().unwrap()).unwrap());
        assert!(!is_static(Path::new(file!())).unwrap_or(false), "a source is no ELF file");
    }
}
