//! `cargo xtask test`: everything that must hold before a commit, as numbered steps.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    steps::{self, Outcome, Step},
    tally::Tally,
};

/// Check everything: format, lints, eBPF objects, all tests, documentation
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run this step alone (may be repeated)
    #[arg(long, value_enum, value_name = "STEP")]
    only: Vec<Step>,
    /// Leave out the real-kernel tests, and what only they need installed
    #[arg(long)]
    fast: bool,
    /// Names (or parts of them) of the real-kernel tests to run, after `--`
    #[arg(last = true, value_name = "FILTER")]
    filter: Vec<String>,
}

/// A line of the summary.
struct Line {
    name: &'static str,
    verdict: String,
    took: Duration,
}

/// Runs the steps until one fails; the total is the last line in any case.
pub(crate) fn run(args: &Args) -> ExitCode {
    let steps = chosen(&args.only, args.fast);
    let count = steps.len() + 1;
    let mut tally = Tally::default();
    let mut lines = Vec::new();
    let mut failure = None;

    let mut attempt = |name, task: &mut dyn FnMut() -> Result<Outcome>| {
        println!("\n[{}/{count}] {name}", lines.len() + 1);
        let start = Instant::now();
        let result = task();
        let verdict = match &result {
            Ok(Outcome::Passed) => "ok".to_owned(),
            Ok(Outcome::Skipped(reason)) => format!("SKIPPED: {reason}"),
            Err(_) => "FAILED".to_owned(),
        };
        lines.push(Line { name, verdict, took: start.elapsed() });
        failure = result.err().map(|error| (name, error));
        failure.is_none()
    };
    let is_ready = attempt("setup", &mut || steps::set_up(&steps).map(|()| Outcome::Passed));
    if is_ready {
        for step in steps {
            if !attempt(step.name(), &mut || step.run(&args.filter, &mut tally)) {
                break;
            }
        }
    }

    println!("\nSummary");
    for Line { name, verdict, took } in &lines {
        println!("  {name:8} {:6.1} s  {verdict}", took.as_secs_f64());
    }
    let code = if let Some((name, error)) = failure {
        println!("\nStep {name} failed: {error:#}");
        // A step that fails without a failing test (a lint, a build, a crash) is
        // one failure: the last line must not look like success.
        tally.failed = tally.failed.max(1);
        ExitCode::FAILURE
    } else {
        println!();
        ExitCode::SUCCESS
    };
    println!("{tally}");
    code
}

/// The steps to run, in their own order.
fn chosen(only: &[Step], fast: bool) -> Vec<Step> {
    let is_chosen = |step: &Step| only.is_empty() || only.contains(step);
    let is_affordable = |step: &Step| !(fast && *step == Step::Kernel);
    Step::ALL.into_iter().filter(|step| is_chosen(step) && is_affordable(step)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_choose_steps() {
        assert_eq!(chosen(&[], false), Step::ALL);
        assert_eq!(chosen(&[Step::Kernel, Step::Fmt], false), [Step::Fmt, Step::Kernel]);
        assert!(!chosen(&[], true).contains(&Step::Kernel));
    }
}
