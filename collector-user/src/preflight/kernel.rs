//! The kernel: its version, architecture, type information and lockdown.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::{Finding, Severity};

/// A kernel's version as far as it matters here: major, minor.
pub(super) type Release = (u32, u32);

/// Oldest kernel that the programs load on: the ring buffer (5.8), and the first
/// long-term kernel after it, which the tests run on.
pub(super) const OLDEST_RELEASE: Release = (5, 10);

/// Where the kernel's own types are, below sysfs.
const BTF_FILE: &str = "kernel/btf/vmlinux";

/// What a BTF file begins with, in the byte order of the host
/// (`BTF_MAGIC` in include/uapi/linux/btf.h).
const BTF_MAGIC: u16 = 0xeb9f;

/// Where the lockdown state is, below sysfs; absent where the kernel has none or
/// securityfs is not mounted.
const LOCKDOWN_FILE: &str = "kernel/security/lockdown";

/// Longest lockdown file worth reading, in bytes: it lists three words.
const LOCKDOWN_MAX_BYTES: u64 = 256;

/// The running kernel's release, as `uname -r` says it.
pub(super) fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Major and minor of a release such as `6.18.44-acme-v595`, `5.10-rc3` or `6.1+`.
pub(super) fn parse_release(release: &str) -> Option<Release> {
    let (major, rest) = release.split_once('.')?;
    let minor_end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    Some((major.parse().ok()?, rest[..minor_end].parse().ok()?))
}

pub(super) fn judge_release(release: &str) -> Finding {
    let (major, minor) = OLDEST_RELEASE;
    match parse_release(release) {
        Some(version) if version >= OLDEST_RELEASE => Finding::fine("kernel", release),
        Some(_) => Finding::new(
            Severity::MissingOnHost,
            "kernel",
            format!("{release} is older than {major}.{minor}"),
            format!("boot a kernel of version {major}.{minor} or later"),
        ),
        None => Finding::new(
            Severity::Warning,
            "kernel",
            format!("{release:?} is no version that slicemeter understands"),
            format!("see that the kernel is {major}.{minor} or later"),
        ),
    }
}

/// A question to the build. Readers of the counters rely on stores that other CPUs see
/// in program order, as x86-64 promises; aarch64 does not, and needs barriers that the
/// programs do not have.
pub(super) fn judge_architecture() -> Finding {
    let machine = std::env::consts::ARCH;
    if machine == "x86_64" {
        Finding::fine("architecture", machine)
    } else {
        Finding::new(
            Severity::MissingOnHost,
            "architecture",
            format!("{machine} is not supported"),
            "use slicemeter on x86_64",
        )
    }
}

/// Where the kernel's type information is.
pub(super) fn btf_file(sysfs: &Path) -> PathBuf {
    sysfs.join(BTF_FILE)
}

/// Reads the first bytes of the kernel's type information.
pub(super) fn read_btf(sysfs: &Path) -> io::Result<[u8; 2]> {
    let mut magic = [0; 2];
    File::open(btf_file(sysfs))?.read_exact(&mut magic)?;
    Ok(magic)
}

pub(super) fn judge_btf(magic: &io::Result<[u8; 2]>) -> Finding {
    let missing = |what: String| {
        let remedy = format!(
            "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y (Debian, Ubuntu, Fedora and \
             their kin have it); in a container, mount the host's sysfs and point \
             --path.sysfs at it (looked for {BTF_FILE} in it)"
        );
        Finding::new(Severity::MissingOnHost, "BTF", what, remedy)
    };
    match magic {
        Ok(bytes) if u16::from_ne_bytes(*bytes) == BTF_MAGIC => {
            Finding::fine("BTF", "the kernel describes its types")
        }
        Ok(_) => missing("the kernel's type information is not BTF".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            missing("the kernel does not describe its types".to_owned())
        }
        Err(error) => missing(format!("the kernel's type information cannot be read: {error}")),
    }
}

/// Reads the lockdown state; `None` where the kernel shows none.
pub(super) fn read_lockdown(sysfs: &Path) -> io::Result<Option<String>> {
    let file = match File::open(sysfs.join(LOCKDOWN_FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut text = String::new();
    file.take(LOCKDOWN_MAX_BYTES).read_to_string(&mut text)?;
    Ok(Some(text))
}

pub(super) fn judge_lockdown(state: &io::Result<Option<String>>) -> Finding {
    match state {
        // The state in force stands in brackets: `none integrity [confidentiality]`.
        Ok(Some(text)) if text.contains("[confidentiality]") => Finding::new(
            Severity::MissingOnHost,
            "lockdown",
            "the kernel is locked down for confidentiality: eBPF may not read its memory",
            "boot with lockdown=integrity, or without lockdown=",
        ),
        Ok(Some(text)) if text.contains("[integrity]") => {
            Finding::fine("lockdown", "integrity, which allows all that is needed")
        }
        Ok(_) => Finding::fine("lockdown", "none"),
        Err(error) => Finding::new(
            Severity::Warning,
            "lockdown",
            format!("its state cannot be read: {error}"),
            "see that /sys/kernel/security/lockdown does not say [confidentiality]",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn releases_of_real_kernels_are_understood() {
        for (release, version) in [
            ("6.18.44-acme-v595", (6, 18)),
            ("5.10.0-28-amd64", (5, 10)),
            ("5.15.167.4-microsoft-standard-WSL2", (5, 15)),
            ("4.18.0-553.el8_10.x86_64", (4, 18)),
            ("7.2-rc1", (7, 2)),
            ("6.1+", (6, 1)),
            ("6.12", (6, 12)),
        ] {
            assert_eq!(parse_release(release), Some(version), "{release}");
        }
        for nonsense in ["", "6", "6.", "six.one", ".6", "6.-1", "-6.1"] {
            assert_eq!(parse_release(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn the_running_kernel_is_understood() {
        assert!(parse_release(&release()).is_some(), "{}", release());
    }

    #[test]
    fn only_old_kernels_are_missing() {
        let severity = |release: &str| judge_release(release).severity;
        assert_eq!(severity("5.9.16"), Severity::MissingOnHost);
        assert_eq!(severity("4.19.0"), Severity::MissingOnHost);
        assert_eq!(severity("5.10.0"), Severity::Fine);
        assert_eq!(severity("6.0.0"), Severity::Fine, "minor alone does not decide");
        assert_eq!(severity("custom"), Severity::Warning);
    }

    #[test]
    fn btf_is_told_by_its_magic() {
        let sysfs = tempfile::tempdir().unwrap();
        let judged = || judge_btf(&read_btf(sysfs.path()));
        assert_eq!(judged().severity, Severity::MissingOnHost);
        assert!(judged().what.contains("does not describe"), "{:?}", judged());

        let file = sysfs.path().join(BTF_FILE);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, b"").unwrap();
        assert!(judged().what.contains("cannot be read"), "{:?}", judged());
        fs::write(&file, b"\x7fELF").unwrap();
        assert!(judged().what.contains("is not BTF"), "{:?}", judged());
        fs::write(&file, BTF_MAGIC.to_ne_bytes()).unwrap();
        assert_eq!(judged().severity, Severity::Fine);
    }

    #[test]
    fn only_confidentiality_forbids() {
        let sysfs = tempfile::tempdir().unwrap();
        let judged = || judge_lockdown(&read_lockdown(sysfs.path())).severity;
        assert_eq!(judged(), Severity::Fine, "no file, no lockdown");
        let file = sysfs.path().join(LOCKDOWN_FILE);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        for (state, severity) in [
            ("[none] integrity confidentiality\n", Severity::Fine),
            ("none [integrity] confidentiality\n", Severity::Fine),
            ("none integrity [confidentiality]\n", Severity::MissingOnHost),
        ] {
            fs::write(&file, state).unwrap();
            assert_eq!(judged(), severity, "{state}");
        }
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert_eq!(judged(), Severity::Warning, "unreadable is not the same as none");
    }

    proptest! {
        #[test]
        fn a_release_is_read_back(major: u32, minor: u32, rest in "([-.+][a-z0-9.+-]{0,12})?") {
            let release = format!("{major}.{minor}{rest}");
            prop_assert_eq!(parse_release(&release), Some((major, minor)));
        }

        #[test]
        fn no_release_makes_it_panic(release in "\\PC{0,20}") {
            let _ = parse_release(&release);
        }
    }
}
