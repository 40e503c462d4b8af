//! The benches: what a switch costs, what a packet costs, what a scrape costs.
//!
//! Every figure that the docs claim is printed by one of these, with the machine and
//! the method beside it. Run as root: `cargo xtask bench switch`, `… bench packet`,
//! `… bench scrape`.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a bench exists to print")]

mod machine;
mod others;
mod packet;
mod pong;
mod scrape;
mod stats;
mod switch;
mod wire;

use clap::{Parser, Subcommand};

/// Slicemeter's benches.
#[derive(Parser)]
#[command(name = "bench")]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// Nanoseconds per context switch, beside an empty and a usual program; and
    /// `perf bench sched pipe` with and without the daemon
    Switch {
        /// Rounds of each program, and pairs of runs of perf
        #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=100))]
        rounds: u32,
    },
    /// Nanoseconds per packet, beside an empty program; datagrams and a TCP stream with
    /// and without the programs
    Packet {
        /// Rounds of each program, and pairs of runs with and without
        #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=100))]
        rounds: u32,
    },
    /// Time, CPU and memory of a scrape with 50 and with 500 containers, beside other ways
    /// to the same knowledge
    Scrape {
        /// Scrapes of each kind
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        scrapes: u32,
    },
    /// The other half of `switch`: sends back each byte it gets
    #[command(hide = true)]
    Pong {
        /// CPU to stay on
        cpu: usize,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().bench {
        Bench::Switch { rounds } => switch::run(rounds),
        Bench::Packet { rounds } => packet::run(rounds),
        Bench::Scrape { scrapes } => scrape::run(scrapes),
        Bench::Pong { cpu } => pong::answer(cpu),
    }
}
