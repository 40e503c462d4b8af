//! What this host has and lacks for slicemeter: all of it at once.
//!
//! Owns the questions, the answers in words, and the exit code they amount to. It
//! looks and tries (an empty map is made and dropped), but must not change
//! anything, and must not be needed for the daemon's own errors to be clear: the
//! host may change a second later.

#![forbid(unsafe_code)]

mod cgroups;
mod docker;
mod kernel;
mod packets;
mod processes;
mod rights;
mod sockets;

use std::{
    fmt,
    io::{self, Write as _},
};

use self::rights::Capability;
use crate::{
    args::Config,
    exit,
    model::collectors::Collector,
    source::{docker::Endpoint, namespaces},
};

/// Width of the column of subjects in a printed report.
const SUBJECT_WIDTH: usize = 14;

/// Width of the column of severities.
const SEVERITY_WIDTH: usize = 8;

/// How bad a finding is; the worst decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Fine,
    /// Slicemeter works, but something will be absent.
    Warning,
    /// The process may not do what it must.
    MissingRight,
    /// The host cannot do what it must, whatever the rights.
    MissingOnHost,
}

impl Severity {
    /// Whether slicemeter cannot work like this.
    pub const fn is_missing(self) -> bool {
        matches!(self, Self::MissingRight | Self::MissingOnHost)
    }

    const fn exit_code(self) -> exit::Code {
        match self {
            Self::Fine | Self::Warning => exit::Code::Success,
            Self::MissingRight => exit::Code::RightsMissing,
            Self::MissingOnHost => exit::Code::HostLacks,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Warning => "warning",
            Self::MissingRight | Self::MissingOnHost => "MISSING",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was looked at, in a word or two.
    pub subject: &'static str,
    /// What was found.
    pub what: String,
    /// What to do about it; empty if nothing needs to be done, or that is told already.
    pub remedy: String,
}

impl Finding {
    fn fine(subject: &'static str, what: impl Into<String>) -> Self {
        Self { severity: Severity::Fine, subject, what: what.into(), remedy: String::new() }
    }

    /// For an error that says itself what to do.
    fn told(severity: Severity, subject: &'static str, what: impl Into<String>) -> Self {
        Self { severity, subject, what: what.into(), remedy: String::new() }
    }

    fn new(
        severity: Severity,
        subject: &'static str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        debug_assert_ne!(severity, Severity::Fine, "what is fine needs no remedy");
        Self { severity, subject, what: what.into(), remedy: remedy.into() }
    }
}

/// Everything that was looked at, in a fixed order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// One finding or more per question.
    pub findings: Vec<Finding>,
}

impl Report {
    /// What the worst finding amounts to: success if slicemeter can work here.
    pub fn exit_code(&self) -> exit::Code {
        self.worst().exit_code()
    }

    /// Writes what is not fine to the log: what the start says, where `check` prints
    /// the report.
    pub fn log(&self) {
        for Finding { severity, subject, what, remedy } in &self.findings {
            let remedy = Some(remedy.as_str()).filter(|remedy| !remedy.is_empty());
            match severity {
                Severity::Fine => tracing::debug!(subject, "{what}"),
                Severity::Warning => tracing::warn!(subject, remedy, "{what}"),
                Severity::MissingRight | Severity::MissingOnHost => {
                    tracing::error!(subject, remedy, "{what}");
                }
            }
        }
    }

    /// Prints it on stdout and gives the exit code. That stdout takes no more (`| head`)
    /// doesn't change the verdict; that the report got lost on a full disk does.
    pub fn print(&self) -> exit::Code {
        let mut stdout = io::stdout().lock();
        match write!(stdout, "{self}").and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                tracing::error!("cannot write the report to stdout: {error}");
                exit::Code::Internal
            }
            _ => self.exit_code(),
        }
    }

    fn worst(&self) -> Severity {
        self.findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Fine)
    }

    fn count(&self, predicate: impl Fn(Severity) -> bool) -> usize {
        self.findings.iter().filter(|finding| predicate(finding.severity)).count()
    }
}

/// The report as people read it: a line or two per finding, then the verdict.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { severity, subject, what, remedy } in &self.findings {
            let severity = severity.as_str();
            writeln!(f, "{severity:SEVERITY_WIDTH$} {subject:SUBJECT_WIDTH$} {what}")?;
            if !remedy.is_empty() {
                writeln!(f, "{:SEVERITY_WIDTH$} {:SUBJECT_WIDTH$} → {remedy}", "", "")?;
            }
        }
        let warnings = match self.count(|severity| severity == Severity::Warning) {
            0 => String::new(),
            1 => ", with 1 warning".to_owned(),
            number => format!(", with {number} warnings"),
        };
        match self.count(Severity::is_missing) {
            0 => writeln!(f, "\nslicemeter can run here{warnings}."),
            1 => writeln!(f, "\nslicemeter cannot run here: 1 thing is missing{warnings}."),
            number => {
                writeln!(f, "\nslicemeter cannot run here: {number} things are missing{warnings}.")
            }
        }
    }
}

/// Looks at everything that accounting and the collectors need. Takes milliseconds, and with the
/// collector `network` as long again as it takes to read the kernel's types, as the load does.
pub fn examine(config: &Config) -> Report {
    let paths = &config.paths;
    let release = kernel::release();
    let mut findings = vec![kernel::judge_release(&release), kernel::judge_architecture()];
    findings.push(kernel::judge_btf(&kernel::read_btf(&paths.sysfs)));
    findings.push(kernel::judge_lockdown(&kernel::read_lockdown(&paths.sysfs)));
    let rights = rights::gather(&paths.procfs);
    findings.extend(rights::judge(&rights, kernel::parse_release(&release)));
    let hierarchy = cgroups::detect(config);
    findings.push(cgroups::judge(&hierarchy));
    if config.collectors.enabled.contains(Collector::Network)
        && let Ok(hierarchy) = &hierarchy
    {
        findings.extend(packets::judge(&kernel::btf_file(&paths.sysfs), hierarchy));
    }
    let kind = hierarchy.as_ref().ok().map(|it| it.kind);
    findings.extend(processes::judge(
        config.collectors.enabled,
        kind,
        &namespaces::is_in_first_pid_namespace(&paths.procfs),
        rights.has(Capability::SysPtrace),
    ));
    findings.extend(sockets::judge(
        config.collectors.network.sockets,
        kind,
        rights.has(Capability::NetAdmin),
    ));
    Report { findings }
}

/// Looks whether Docker answers, too: for `check`, and for a start that is refused
/// anyway. A start that succeeds does not wait for Docker; its source says what is
/// wrong as soon as it knows. Takes a few seconds if Docker, or whoever resolves its
/// name, hangs. Runs a small runtime of its own, so it must not be called from within one.
pub fn examine_docker(host: &Endpoint) -> Finding {
    docker::judge(host, &docker::probe(host, docker::PROBE_TIMEOUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(severities: &[Severity]) -> Report {
        let finding = |severity: &Severity| match severity {
            Severity::Fine => Finding::fine("kernel", "6.1"),
            other => Finding::new(*other, "BTF", "there is none", "get some"),
        };
        Report { findings: severities.iter().map(finding).collect() }
    }

    #[test]
    fn the_worst_finding_decides() {
        use Severity::{Fine, MissingOnHost, MissingRight, Warning};
        for (severities, code) in [
            (vec![Fine], exit::Code::Success),
            (vec![Fine, Warning], exit::Code::Success),
            (vec![MissingRight, Warning, Fine], exit::Code::RightsMissing),
            (vec![MissingOnHost, MissingRight], exit::Code::HostLacks),
            (vec![MissingRight, MissingOnHost], exit::Code::HostLacks),
        ] {
            assert_eq!(report(&severities).exit_code(), code, "{severities:?}");
        }
    }

    #[test]
    fn a_report_is_aligned_text_with_a_verdict() {
        let text = report(&[Severity::Fine, Severity::MissingOnHost, Severity::Warning]);
        let expected = "\
fine     kernel         6.1
MISSING  BTF            there is none
                        → get some
warning  BTF            there is none
                        → get some

slicemeter cannot run here: 1 thing is missing, with 1 warning.
";
        assert_eq!(text.to_string(), expected);
        assert!(report(&[Severity::Fine]).to_string().ends_with("\n\nslicemeter can run here.\n"));
    }
}
