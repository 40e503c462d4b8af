//! What the tasks need from the machine beyond rustup's stable, and its installation.
//!
//! Each need has evidence (a program, a file) rather than a package's name: on a
//! machine that has Docker's own packages, Debian's must not replace them.

use std::{
    fmt,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Error, Result, anyhow, bail};

use crate::{command, rights::Rights, workspace};

/// What a group of Debian packages is there for, and how one sees that it is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    /// Debian's packages: all are named to apt if any evidence is missing, as they
    /// must fit each other (a libcore for another rustc is of no use).
    packages: &'static [&'static str],
    evidence: &'static [Evidence],
    /// What else would do, where these packages can't be had; empty if nothing would.
    otherwise: &'static str,
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
/// Other distributions, with apt or without, need not have these packages.
pub(crate) const EBPF_TOOLCHAIN: Need = Need {
    packages: &["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf", "llvm-22", "llvm-22-dev"],
    evidence: &[
        Evidence::Path("/usr/bin/rustc"),
        Evidence::Path("/usr/bin/cargo"),
        Evidence::Path("/usr/lib/rustlib/bpfel-unknown-none"),
        Evidence::Program("llvm-config-22"),
        Evidence::Program("llvm-objcopy-22"),
    ],
    otherwise: "Where these packages for the eBPF compiler can't be had, rustup's nightly does:\n    \
                rustup toolchain install nightly --component rust-src\n    \
                cargo install bpf-linker      # and llvm-objcopy on PATH",
};

/// What the real-kernel tests run beside the daemon: a private dockerd, without a
/// network, with an image of busybox; `ip`, which lays wires between its containers; `ps`,
/// which `docker top` asks; and Prometheus with promtool.
pub(crate) const KERNEL_TESTS: [Need; 5] = [
    DOCKER,
    Need::of(&["prometheus"], &[Evidence::Program("prometheus"), Evidence::Program("promtool")]),
    NETWORKS,
    Need::of(&["procps"], &[Evidence::Program("ps")]),
    BUSYBOX,
];

/// A private engine and what is in its image, beside our own workload.
pub(crate) const DOCKER: Need =
    Need::of(&["docker.io"], &[Evidence::Program("dockerd"), Evidence::Program("docker")]);
pub(crate) const BUSYBOX: Need =
    Need::of(&["busybox-static"], &[Evidence::StaticProgram("busybox")]);

/// For `perf bench`, by which `bench switch` measures a switch from outside.
pub(crate) const PERF: Need = Need::of(&["linux-perf"], &[Evidence::Program("perf")]);

/// For networks of our own: `bench packet`, and the real-kernel tests of packets.
pub(crate) const NETWORKS: Need = Need::of(
    &["iproute2", "util-linux", "ethtool"],
    &[
        Evidence::Program("ip"),
        Evidence::Program("unshare"),
        Evidence::Program("nsenter"),
        Evidence::Program("ethtool"),
    ],
);

impl Need {
    const fn of(packages: &'static [&'static str], evidence: &'static [Evidence]) -> Self {
        Self { packages, evidence, otherwise: "" }
    }

    /// Whether all the evidence is there.
    pub(crate) fn is_met(&self) -> bool {
        self.lacks(is_there).is_empty()
    }

    /// The evidence that `is_there` doesn't find.
    fn lacks(&self, is_there: impl Fn(Evidence) -> bool) -> Vec<Evidence> {
        self.evidence.iter().copied().filter(|&evidence| !is_there(evidence)).collect()
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(name) => write!(f, "{name}"),
            Self::StaticProgram(name) => write!(f, "a statically linked {name}"),
            Self::Path(path) => write!(f, "{path}"),
        }
    }
}

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
/// command), apt-get failed, or what it installed is not what is needed.
pub(crate) fn ensure(needs: &[Need]) -> Result<()> {
    let unmet: Vec<Need> = needs.iter().copied().filter(|need| !need.is_met()).collect();
    let apt_get = command::find("apt-get");
    match plan(packages(&unmet), apt_get.is_some(), Rights::detect()? == Rights::Root) {
        Plan::Nothing => return Ok(()),
        Plan::Ask(message) => Err(anyhow!(message)),
        Plan::Install(packages) => install(&packages).and_then(|()| look_again(&unmet, is_there)),
    }
    .map_err(|error| with_alternatives(&error, &unmet))
}

fn install(packages: &[&str]) -> Result<()> {
    let apt_get = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    command::run(apt_get().args(["--quiet", "update"]))?;
    command::run(apt_get().args(INSTALL).args(packages))
}

/// That apt-get succeeds says little: another distribution's package of that name may
/// hold other things.
fn look_again(needs: &[Need], is_there: impl Fn(Evidence) -> bool) -> Result<()> {
    for need in needs {
        let lacks = need.lacks(&is_there);
        if !lacks.is_empty() {
            let lacks: Vec<_> = lacks.iter().map(ToString::to_string).collect();
            let packages = need.packages.join(" ");
            bail!(
                "apt-get has installed {packages}, but this is still missing: {}",
                lacks.join(", ")
            );
        }
    }
    Ok(())
}

/// The error, and what would do instead of the packages.
fn with_alternatives(error: &Error, unmet: &[Need]) -> Error {
    let error = format!("{error:#}");
    let alternatives = unmet.iter().map(|need| need.otherwise).filter(|it| !it.is_empty());
    let lines: Vec<_> = std::iter::once(error.as_str()).chain(alternatives).collect();
    anyhow!(lines.join("\n"))
}

/// Without recommended packages: docker.io's and prometheus' bring desktop fonts.
const INSTALL: [&str; 4] = ["--quiet", "install", "--no-install-recommends", "--yes"];

fn packages(needs: &[Need]) -> Vec<&'static str> {
    needs.iter().flat_map(|need| need.packages).copied().collect()
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
            otherwise: "Or build a.",
        },
        Need::of(&["b"], &[Evidence::StaticProgram("b")]),
    ];

    #[test]
    fn a_need_with_all_its_evidence_lacks_nothing() {
        let lacks = |is_there: fn(Evidence) -> bool| {
            TWO.map(|need| need.lacks(is_there).iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(lacks(|_| true), [vec![], vec![""; 0]]);
        assert_eq!(lacks(|_| false), [vec!["a", "/a"], vec!["a statically linked b"]]);
        assert_eq!(lacks(|it| !matches!(it, Evidence::Path(_))), [vec!["/a"], vec![]]);
        assert_eq!(packages(&TWO), ["a", "a-dev", "b"]);
        assert!(Need::of(&[], &[Evidence::Program("sh"), Evidence::Path("/")]).is_met());
        assert!(!Need::of(&[], &[Evidence::Program("sh"), Evidence::Path("/no/such")]).is_met());
    }

    #[test]
    fn what_is_missing_after_the_installation_is_told() {
        assert!(look_again(&TWO, |_| true).is_ok());
        let error = look_again(&TWO, |it| !matches!(it, Evidence::Path(_))).unwrap_err();
        let told = "apt-get has installed a a-dev, but this is still missing: /a";
        assert_eq!(error.to_string(), told);
    }

    #[test]
    fn an_error_ends_with_what_would_do_instead() {
        let error = || anyhow!("no").context("apt-get failed");
        assert_eq!(
            with_alternatives(&error(), &TWO).to_string(),
            "apt-get failed: no\nOr build a."
        );
        assert_eq!(with_alternatives(&error(), &TWO[1..]).to_string(), "apt-get failed: no");
        let hint = EBPF_TOOLCHAIN.otherwise;
        assert!(hint.contains("nightly --component rust-src") && hint.contains("llvm-objcopy"));
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
