//! What a context switch costs more.
//!
//! The kernel itself times every run of every program (`kernel.bpf_stats_enabled`);
//! what that costs and what the hook costs is in all figures alike, so it is the
//! difference to the empty program that is claimed. All programs take turns in one run.

use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use aya::{
    Btf, Ebpf,
    programs::{BtfTracePoint, loaded_programs},
    sys::{Stats, enable_stats},
};
use slicemeter_tests::{bpf::Objects, cgroup::Cgroup, daemon::Daemon};

use crate::{machine, pong::Pong, stats::Figures};

/// The programs to compare with, built along with the daemon's.
static YARDSTICKS: &[u8] = aya::include_bytes_aligned!("../../../bpf/yardsticks.o");

/// Turns of a round: some 200,000 switches, which take a second or two.
const TURNS: u32 = 100_000;

/// Turns before a round, for caches and branch predictors.
const WARM_UP: u32 = 5_000;

/// Turns of perf's own bench.
const PERF_LOOPS: &str = "200000";

/// The CPU to play on.
const CPU: usize = 0;

/// What runs at each switch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Program {
    Empty,
    Usual,
    Ours,
}

const PROGRAMS: [(Program, &str); 3] = [
    (Program::Empty, "empty program"),
    (Program::Ours, "Slicemeter"),
    (Program::Usual, "the usual kind (clock and hash)"),
];

pub(crate) fn run(rounds: u32) -> anyhow::Result<()> {
    println!("## bench switch\n");
    println!("Machine: {}.", machine::describe());
    println!(
        "Method: two processes play ping-pong over pipes on one CPU, {} switches a round; the \
         kernel's own run time per run of each program (bpf_stats), programs in turn, {rounds} \
         rounds; medians, and the spread over the rounds.\n",
        TURNS * 2
    );
    let stats = enable_stats(Stats::RunTime).context("bpf_stats (root, Linux 5.8)")?;
    for (same, cgroups) in [(true, "both in one cgroup"), (false, "each in a cgroup of its own")] {
        table(rounds, same, cgroups)?;
    }
    // Timing every run is not what a production host does.
    drop(stats);
    pipe(rounds)
}

fn table(rounds: u32, same_cgroup: bool, cgroups: &str) -> anyhow::Result<()> {
    let mut per_run_ns = [const { Vec::new() }; PROGRAMS.len()];
    for _ in 0..rounds {
        for ((program, _), figures) in PROGRAMS.into_iter().zip(&mut per_run_ns) {
            figures.push(round(program, same_cgroup)?);
        }
    }
    let empty_ns = per_run_ns[0].clone();
    println!("| {cgroups} | ns per switch | over the empty program | spread |");
    println!("| --- | ---: | ---: | --- |");
    for ((_, name), figures) in PROGRAMS.into_iter().zip(per_run_ns) {
        let over = figures.iter().zip(&empty_ns).map(|(ours, empty)| ours - empty).collect();
        let (all, over) = (Figures::new(figures), Figures::new(over));
        let (least, most) = over.spread();
        let (median, over) = (all.median(), over.median());
        println!("| {name} | {median:.1} | **{over:+.1}** | {least:+.1} … {most:+.1} |");
    }
    println!();
    Ok(())
}

/// Nanoseconds per run of the program in one round.
fn round(program: Program, same_cgroup: bool) -> anyhow::Result<f64> {
    let mut pong = Pong::start(CPU)?;
    let other = (!same_cgroup).then(|| Cgroup::new("pong"));
    if let Some(cgroup) = &other {
        cgroup.admit(pong.pid());
    }
    let per_run_ns = match program {
        Program::Ours => {
            let daemon = Daemon::start_without_docker(&[]);
            let ids = Objects::of_process(daemon.pid()).programs;
            let id = loaded_programs()
                .flatten()
                .find(|info| ids.contains(&info.id()) && info.name() == b"sched_switch")
                .context("the daemon's sched_switch program")?
                .id();
            let figure = play(&mut pong, id)?;
            daemon.stop();
            figure
        }
        Program::Empty => yardstick("empty", &mut pong)?,
        Program::Usual => yardstick("usual", &mut pong)?,
    };
    pong.end()?;
    Ok(per_run_ns)
}

fn yardstick(name: &str, pong: &mut Pong) -> anyhow::Result<f64> {
    let btf = Btf::from_sys_fs()?;
    let mut ebpf = Ebpf::load(YARDSTICKS)?;
    let program: &mut BtfTracePoint =
        ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?;
    program.load("sched_switch", &btf)?;
    program.attach()?;
    let id = program.info()?.id();
    play(pong, id)
}

fn play(pong: &mut Pong, id: u32) -> anyhow::Result<f64> {
    pong.play(WARM_UP)?;
    let before = totals(id)?;
    pong.play(TURNS)?;
    let after = totals(id)?;
    let runs = after.0 - before.0;
    ensure!(runs >= u64::from(TURNS), "only {runs} switches were seen");
    Ok((after.1 - before.1) as f64 / runs as f64)
}

/// Runs of the program, and the time they took in ns.
fn totals(id: u32) -> anyhow::Result<(u64, u64)> {
    let info = loaded_programs().flatten().find(|info| info.id() == id);
    let info = info.with_context(|| format!("program {id} is gone"))?;
    Ok((info.run_count(), u64::try_from(info.run_time().as_nanos())?))
}

/// `perf bench sched pipe` with and without the daemon, in pairs.
fn pipe(pairs: u32) -> anyhow::Result<()> {
    let mut ratios = Vec::new();
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..pairs {
        let bare_us = perf_us()?;
        let daemon = Daemon::start_without_docker(&[]);
        let accounted_us = perf_us()?;
        daemon.stop();
        ratios.push(accounted_us / bare_us);
        with.push(accounted_us);
        without.push(bare_us);
    }
    let (ratios, with, without) = (Figures::new(ratios), Figures::new(with), Figures::new(without));
    let (least, most) = ratios.spread();
    println!("`perf bench sched pipe -l {PERF_LOOPS}`, {pairs} pairs:\n");
    println!("| without, µs/op | with, µs/op | ratio | spread of the ratio |");
    println!("| ---: | ---: | ---: | --- |");
    println!(
        "| {:.3} | {:.3} | **{:.3}** | {least:.3} … {most:.3} |",
        without.median(),
        with.median(),
        ratios.median()
    );
    Ok(())
}

fn perf_us() -> anyhow::Result<f64> {
    let output = Command::new("perf")
        .args(["bench", "sched", "pipe", "-l", PERF_LOOPS])
        .output()
        .context("perf (Debian: linux-perf)")?;
    if !output.status.success() {
        bail!("perf bench failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .find_map(|line| line.trim().strip_suffix("usecs/op")?.trim().parse().ok())
        .with_context(|| format!("no usecs/op in what perf says: {text}"))
}
