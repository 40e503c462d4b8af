//! `cargo xtask`: the only task runner. One file per verb under [`verbs`]; what they
//! share (commands, rights, missing packages, the eBPF build) has a file each.
//!
//! It must not hold anything that the daemon or its tests need at run time: a task
//! prepares, calls cargo, and says what happened.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a task runner's job is to tell its user what it does")]

mod command;
mod ebpf;
mod requirements;
mod rights;
mod steps;
mod tally;
mod verbs;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Slicemeter's tasks. Everything a working copy needs is one of these verbs.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(verbs::run::Args),
    Test(verbs::test::Args),
    BuildEbpf(verbs::build_ebpf::Args),
    Bench(verbs::bench::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Run(args) => verbs::run::run(&args),
        Verb::Test(args) => return verbs::test::run(&args),
        Verb::BuildEbpf(args) => verbs::build_ebpf::run(&args),
        Verb::Bench(args) => verbs::bench::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
