//! The steps of `cargo xtask test`: what each one runs, and when it must skip.
//!
//! A step doesn't know of the others; order, time and summary are the verb's.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{
    command,
    ebpf::{build, toolchain::Toolchain},
    requirements,
    rights::Rights,
    tally::Tally,
    verbs::{
        build_ebpf,
        run::{build_daemon, build_daemon_with},
    },
    workspace,
};

/// Crate of the real-kernel tests.
const KERNEL_TESTS: &str = "slicemeter-tests";

/// Those that an object from another toolchain must pass, too: the programs' own.
const FRESH_TESTS: [&str; 4] = ["--test", "exactness", "--test", "in_flight"];

/// Exit codes of `slicemeter check` that mean "not on this host" (see its `--help`):
/// the host lacks something, or we lack rights. Anything else but 0 is a defect.
const CHECK_REFUSES: [i32; 2] = [69, 77];

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Step {
    /// Sources are formatted
    Fmt,
    /// No warning from clippy, on either side
    Clippy,
    /// The committed eBPF objects are what their sources give
    Ebpf,
    /// Unit, property, golden and documentation tests
    Unit,
    /// The documentation builds without a warning
    Doc,
    /// Licences, bans, sources and advisories of the dependencies
    Deny,
    /// Tests against the real kernel, dockerd and Prometheus
    Kernel,
}

/// How a step that didn't fail ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    /// It could not run here, for this reason.
    Skipped(String),
}

impl Step {
    /// In the order in which they run: the cheap and telling ones first.
    pub(crate) const ALL: [Self; 7] =
        [Self::Fmt, Self::Clippy, Self::Ebpf, Self::Unit, Self::Doc, Self::Deny, Self::Kernel];

    /// Its name for `--only` and in the summary.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Ebpf => "ebpf",
            Self::Unit => "unit",
            Self::Doc => "doc",
            Self::Deny => "deny",
            Self::Kernel => "kernel",
        }
    }

    /// Runs it. `filter` chooses among the real-kernel tests; tests are counted into
    /// `tally`, also if the step fails.
    ///
    /// # Errors
    /// The step failed; what it printed says more.
    pub(crate) fn run(self, filter: &[String], tally: &mut Tally) -> Result<Outcome> {
        match self {
            Self::Fmt => command::run(command::cargo().args(["fmt", "--all", "--check"]))?,
            Self::Clippy => clippy()?,
            Self::Ebpf => build_ebpf::check()?,
            Self::Unit => {
                let mut cargo = command::cargo();
                cargo.args(["test", "--workspace", "--exclude", KERNEL_TESTS, "--no-fail-fast"]);
                count_tests(&mut cargo, io::stdout(), tally)?;
            }
            Self::Doc => {
                let mut cargo = command::cargo();
                cargo.args(["doc", "--workspace", "--no-deps"]);
                command::run(cargo.env("RUSTDOCFLAGS", "-D warnings"))?;
            }
            Self::Deny => return deny(),
            Self::Kernel => return kernel(filter, tally),
        }
        Ok(Outcome::Passed)
    }
}

/// Installs what the steps need and lacks here.
///
/// # Errors
/// Something lacks and can't be installed by us.
pub(crate) fn set_up(steps: &[Step]) -> Result<()> {
    let mut needs = Vec::new();
    if steps.contains(&Step::Kernel) {
        needs.extend(requirements::KERNEL_TESTS);
    }
    // One look and one message for all of it, with the compiler if that will be
    // Debian's.
    let has_ebpf_step = steps.contains(&Step::Ebpf);
    if has_ebpf_step && !Toolchain::is_elsewhere() {
        needs.push(requirements::EBPF_TOOLCHAIN);
    }
    requirements::ensure(&needs)?;
    requirements::ensure_components()?;
    if has_ebpf_step {
        Toolchain::ensure()?;
    }
    Ok(())
}

fn clippy() -> Result<()> {
    let deny_warnings = ["--", "-D", "warnings"];
    let mut host = command::cargo();
    command::run(host.args(["clippy", "--workspace", "--all-targets"]).args(deny_warnings))?;
    // The programs, as if for this machine: rustup's clippy has no BPF target. The
    // profile is theirs (they can't unwind), so the artifacts go where theirs are.
    let mut programs = command::cargo();
    programs.args(["clippy", "--package", "collector-ebpf", "--bins", "--features", "programs"]);
    programs.args(["--profile", build::PROFILE, "--target-dir"]);
    programs.arg(build::ebpf_target_dir()?);
    command::run(programs.args(deny_warnings))
}

fn deny() -> Result<Outcome> {
    let path = Path::new("bin/cargo-deny");
    let installed = workspace::tools_dir()?.join(path);
    let program = command::find("cargo-deny").unwrap_or(installed);
    let deny = || {
        let mut command = Command::new(&program);
        command.current_dir(workspace::root());
        command
    };
    if !command::succeeds(deny().arg("--version")) {
        let how = "cargo-deny isn't installed: `cargo install cargo-deny --locked`";
        return Ok(Outcome::Skipped(how.to_owned()));
    }
    command::run(deny().args(["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))?;
    // Fetching and judging apart: only the latter is a failure.
    if command::succeeds(deny().args(["fetch", "db"])) {
        command::run(deny().args(["--offline", "check", "--hide-inclusion-graph", "advisories"]))?;
    } else {
        println!("Advisories are not checked: their database can't be fetched.");
    }
    Ok(Outcome::Passed)
}

fn kernel(filter: &[String], tally: &mut Tally) -> Result<Outcome> {
    let daemon = build_daemon()?;
    let rights = Rights::detect()?;
    let Some(mut check) = rights.command(&daemon, &[]) else {
        return skip("loading eBPF programs takes root, and there is no usable sudo");
    };
    println!("$ {}", command::show(check.arg("check")));
    let status = check.status()?;
    if status.code().is_some_and(|code| CHECK_REFUSES.contains(&code)) {
        return skip("`slicemeter check` says that this host can't run it (see above)");
    }
    if !status.success() {
        bail!("`slicemeter check` failed: {status}");
    }
    let kernel_tests = |targets: &[&str], filter: &[String]| {
        let mut cargo = command::cargo();
        cargo.args(rights.cargo_runner());
        // What is measured is the daemon, which is a release build, and the workload, which is
        // optimised, too. The unit tests' dependencies serve these; linked as a release, they
        // would take minutes more to build.
        cargo.args(["test", "--package", KERNEL_TESTS, "--no-fail-fast"]);
        // One at a time: they measure, and some load every CPU.
        // Figures and the reasons of skips are shown, whether or not the test passes.
        cargo.args(targets).args(["--", "--test-threads=1", "--nocapture"]).args(filter);
        cargo
    };
    count_tests(&mut kernel_tests(&[], filter), io::stdout(), tally)?;
    if let Some(fresh) = differing_object()? {
        println!("The committed object passed; now one that this machine's toolchain built.");
        build_daemon_with(Some(&fresh))?;
        count_tests(&mut kernel_tests(&FRESH_TESTS, &[]), io::stdout(), tally)?;
        build_daemon()?;
    }
    Ok(Outcome::Passed)
}

/// The freshly built object of the daemon, where it is not what is committed: built by
/// another toolchain than the recorded one (by the same one it would be an error).
fn differing_object() -> Result<Option<PathBuf>> {
    let [daemon, _] = build::OBJECTS;
    let fresh = build::fresh(daemon)?;
    if !fresh.exists() {
        return Ok(None);
    }
    let committed = fs::read(workspace::root().join(daemon.committed))?;
    Ok((fs::read(&fresh)? != committed).then_some(fresh))
}

/// A skip where a person looks on; a failure in CI, which no one reads when green.
fn skip(reason: &str) -> Result<Outcome> {
    if is_ci(env::var("CI").ok().as_deref()) {
        bail!("kernel tests must not be skipped with CI set, but {reason}");
    }
    println!("Real-kernel tests are SKIPPED: {reason}.");
    Ok(Outcome::Skipped(reason.to_owned()))
}

fn is_ci(variable: Option<&str>) -> bool {
    variable.is_some_and(|value| !matches!(value, "" | "0" | "false"))
}

/// Runs a `cargo test`, its output going to `sink`, and adds its tests up.
fn count_tests(cargo: &mut Command, sink: impl io::Write, tally: &mut Tally) -> Result<()> {
    let mut ours = Tally::default();
    let succeeded = command::stream(cargo, sink, |line| ours.add_line(line))?;
    tally.add(ours);
    if !succeeded {
        bail!("`{}` failed: {ours}", command::show(cargo));
    }
    if ours.is_empty() {
        bail!("`{}` ran no test at all", command::show(cargo));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", text]);
        command
    }

    #[test]
    fn steps_are_all_there_under_their_names() {
        use clap::ValueEnum as _;
        assert_eq!(Step::value_variants(), Step::ALL);
        for step in Step::ALL {
            assert_eq!(Step::from_str(step.name(), false), Ok(step));
        }
    }

    #[test]
    fn a_run_of_tests_is_counted_even_if_it_fails() {
        let mut tally = Tally::default();
        let line = "echo 'test result: FAILED. 2 passed; 1 failed; 0 ignored'";
        let mut command = script(&format!("{line}; exit 101"));
        let error = count_tests(&mut command, io::sink(), &mut tally).unwrap_err();
        assert!(error.to_string().ends_with("2 passed, 1 failed"), "{error}");
        assert_eq!(tally, Tally { passed: 2, failed: 1 });
    }

    #[test]
    fn a_run_without_tests_fails() {
        let mut tally = Tally::default();
        let nothing = "echo 'test result: ok. 0 passed; 0 failed; 3 filtered out'";
        assert!(count_tests(&mut script(nothing), io::sink(), &mut tally).is_err());
        let one = "echo 'test result: ok. 1 passed; 0 failed'";
        count_tests(&mut script(one), io::sink(), &mut tally).unwrap();
    }

    #[test]
    fn ci_is_what_says_so() {
        assert!(is_ci(Some("true")) && is_ci(Some("1")));
        assert!(!is_ci(None) && !is_ci(Some("")) && !is_ci(Some("false")));
    }
}
