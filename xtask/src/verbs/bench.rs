//! `cargo xtask bench`: what the daemon costs, on this machine.

use anyhow::{Result, bail};

use crate::{command, requirements, rights::Rights, verbs::run::build_daemon};

/// Measure what Slicemeter costs here: a switch, a packet, or a scrape
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to measure
    #[arg(value_enum)]
    what: What,
    /// Arguments of the benchmark itself
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Nanoseconds added to a context switch, beside an empty program and the usual kind
    Switch,
    /// Nanoseconds added to a packet, beside an empty program; a stream with and without
    Packet,
    /// Time, CPU and memory of a scrape for 50 and 500 containers, beside a shell for each
    /// file and `docker stats`
    Scrape,
}

/// Runs the benchmark as root; it prints its own table.
pub(crate) fn run(args: &Args) -> Result<()> {
    match args.what {
        What::Switch => requirements::ensure(&[requirements::PERF])?,
        What::Packet => requirements::ensure(&[requirements::NETWORKS])?,
        What::Scrape => requirements::ensure(&[requirements::DOCKER, requirements::BUSYBOX])?,
    }
    let rights = Rights::detect()?;
    if rights == Rights::None {
        bail!("benchmarks load eBPF programs: run them as root, or where sudo works");
    }
    build_daemon()?;
    let what = match args.what {
        What::Switch => "switch",
        What::Packet => "packet",
        What::Scrape => "scrape",
    };
    let mut bench = command::cargo();
    bench.args(rights.cargo_runner());
    bench.args(["run", "--release", "--package", "slicemeter-tests", "--bin", "bench", "--", what]);
    command::run(bench.args(&args.rest))
}
