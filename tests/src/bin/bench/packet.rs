//! What a packet costs more, and what a stream loses.
//!
//! As `switch` does it: the kernel itself times every run of every program, and what is
//! claimed is the difference to an empty program on the same hook. The network is our own:
//! namespaces, with virtual cables between them, that nobody else sends through.

use std::{net::Ipv4Addr, process, thread::sleep, time::Duration};

use anyhow::{Context as _, ensure};
use aya::{
    Btf, Ebpf,
    programs::{BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, loaded_programs},
    sys::{Stats, enable_stats},
};
use collector_ebpf::packets::DEFAULT_NET_SLOTS;
use slicemeter_tests::{
    bpf::Objects,
    cgroup::mounts,
    netns::Netns,
    packets::{Packets, Wanted},
};

use crate::{
    machine,
    stats::Figures,
    wire::{Datagrams, Stream},
};

/// The programs to compare with, built along with the daemon's.
static YARDSTICKS: &[u8] = aya::include_bytes_aligned!("../../../bpf/yardsticks.o");

/// Datagrams of a round: most of a second.
const DATAGRAMS: u32 = 200_000;

/// Datagrams before a round, for caches and branch predictors.
const WARM_UP: u32 = 5_000;

/// Bytes of a stream, a tenth of a second; and before it, for caches and windows.
const STREAM_BYTES: u64 = 256 << 20;
const STREAM_WARM_UP_BYTES: u64 = 128 << 20;

/// Datagrams of a run from outside.
const RUN_DATAGRAMS: u32 = 50_000;

/// Pairs of short runs for each round: where neighbours come and go, many short ones tell
/// more than a few long ones.
const PAIRS_PER_ROUND: u32 = 5;

/// After programs have been loaded or freed, which the kernel does some of later on.
const SETTLE: Duration = Duration::from_millis(50);

/// Pairs of streams for each round. One stream differs from the next by several per cent, for
/// reasons of its own; what is to be told from that is one.
const STREAM_PAIRS_PER_ROUND: u32 = 20;

const NEAR: Ipv4Addr = Ipv4Addr::new(10, 250, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 250, 0, 2);
const BETWEEN: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 251, 0, 1), Ipv4Addr::new(10, 252, 0, 1)];

/// What looks at each packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Programs {
    /// Empty ones, where ours are by interface, and by socket if need be.
    Empty { sockets: bool },
    /// Ours likewise.
    Ours { sockets: bool },
}

/// What is compared with no program at all.
const SIDES: [(&str, Programs); 3] = [
    ("empty programs", Programs::Empty { sockets: false }),
    ("by interface", Programs::Ours { sockets: false }),
    ("by socket, too", Programs::Ours { sockets: true }),
];

/// A hook, what is attached there, and what it is called here.
struct Hook {
    what: &'static str,
    empty: &'static str,
    ours: &'static str,
    attach_type: Option<CgroupSkbAttachType>,
}

const HOOKS: [Hook; 4] = [
    Hook { what: "sent", empty: "empty_sent", ours: "net_dev_xmit", attach_type: None },
    Hook {
        what: "received",
        empty: "empty_received",
        ours: "netif_receive_skb",
        attach_type: None,
    },
    Hook {
        what: "sent, by socket",
        empty: "none_sends",
        ours: "socket_sends",
        attach_type: Some(CgroupSkbAttachType::Egress),
    },
    Hook {
        what: "received, by socket",
        empty: "none_receives",
        ours: "socket_receives",
        attach_type: Some(CgroupSkbAttachType::Ingress),
    },
];

pub(crate) fn run(rounds: u32) -> anyhow::Result<()> {
    println!("## bench packet\n");
    println!("Machine: {}.", machine::describe());
    println!(
        "Method: {DATAGRAMS} small datagrams a round from one network namespace to another, \
         sender and softirq on one CPU; the kernel's own run time per run of each program \
         (bpf_stats), programs in turn, {rounds} rounds; medians, and the spread over the \
         rounds.\n"
    );
    let stats = enable_stats(Stats::RunTime).context("bpf_stats (root, Linux 5.8)")?;
    table(rounds, "two interfaces", &Wire::cable())?;
    table(rounds, "a bridge: four interfaces", &Wire::bridge())?;
    // Timing every run is not what a production host does.
    drop(stats);
    let wire = Wire::cable();
    datagrams(rounds * PAIRS_PER_ROUND, &wire)?;
    stream(rounds * STREAM_PAIRS_PER_ROUND, &wire)
}

/// Two namespaces that reach each other.
struct Wire {
    near: Netns,
    far: Netns,
    _between: Option<Netns>,
}

impl Wire {
    /// Joined by one cable.
    fn cable() -> Self {
        let (near, far) = (Netns::new(), Netns::new());
        Netns::connect([(&near, "eth0", NEAR), (&far, "eth0", FAR)]);
        Self { near, far, _between: None }
    }

    /// As two containers on a bridge are.
    fn bridge() -> Self {
        let (near, far, between) = (Netns::new(), Netns::new(), Netns::new());
        between.run(&["ip", "link", "add", "bridge", "type", "bridge"]);
        between.run(&["ip", "link", "set", "bridge", "up"]);
        let ends = [(&near, NEAR, "veth0"), (&far, FAR, "veth1")];
        for ((netns, address, port), own) in ends.into_iter().zip(BETWEEN) {
            Netns::connect([(netns, "eth0", address), (&between, port, own)]);
            between.run(&["ip", "link", "set", port, "master", "bridge"]);
        }
        Self { near, far, _between: Some(between) }
    }
}

/// The programs of one side, attached until it is dropped.
enum Attached {
    Empty { _ebpf: Ebpf },
    Ours { _packets: Box<Packets> },
}

impl Attached {
    fn new(programs: Programs) -> anyhow::Result<Self> {
        match programs {
            Programs::Ours { sockets } => {
                let wanted = Wanted { network: true, sockets, net_slots: DEFAULT_NET_SLOTS };
                Ok(Self::Ours { _packets: Box::new(Packets::start(wanted)) })
            }
            Programs::Empty { sockets } => Ok(Self::Empty { _ebpf: attach_empty(sockets)? }),
        }
    }
}

fn attach_empty(sockets: bool) -> anyhow::Result<Ebpf> {
    let btf = Btf::from_sys_fs()?;
    let mut ebpf = Ebpf::load(YARDSTICKS)?;
    for Hook { empty, ours, attach_type, .. } in HOOKS {
        let program = ebpf.program_mut(empty).with_context(|| format!("no program {empty}"))?;
        if let Some(attach_type) = attach_type {
            if !sockets {
                continue;
            }
            let root = mounts().unified.as_ref().context("no unified cgroup hierarchy")?;
            let program: &mut CgroupSkb = program.try_into()?;
            program.load()?;
            let root = std::fs::File::open(root)?;
            // A link is beside others' in any case.
            program.attach(root, attach_type, CgroupAttachMode::Single)?;
        } else {
            let program: &mut BtfTracePoint = program.try_into()?;
            program.load(ours, &btf)?;
            program.attach()?;
        }
    }
    Ok(ebpf)
}

fn table(rounds: u32, path: &str, wire: &Wire) -> anyhow::Result<()> {
    let mut sender = Datagrams::start(&wire.near, (&wire.far, FAR))?;
    let mut figures = [const { (Vec::new(), Vec::new()) }; HOOKS.len()];
    for _ in 0..rounds {
        let empty = round(Programs::Empty { sockets: true }, &mut sender)?;
        let ours = round(Programs::Ours { sockets: true }, &mut sender)?;
        for (index, (all, over)) in figures.iter_mut().enumerate() {
            all.push(ours[index]);
            over.push(ours[index] - empty[index]);
        }
    }
    println!("| {path} | ns per packet | over the empty program | spread |");
    println!("| --- | ---: | ---: | --- |");
    for (Hook { what, .. }, (all, over)) in HOOKS.iter().zip(figures) {
        let (all, over) = (Figures::new(all), Figures::new(over));
        let (least, most) = over.spread();
        let (median, over) = (all.median(), over.median());
        println!("| {what} | {median:.1} | **{over:+.1}** | {least:+.1} … {most:+.1} |");
    }
    println!();
    Ok(())
}

/// Nanoseconds per run of the program on each hook, in one round.
fn round(programs: Programs, sender: &mut Datagrams) -> anyhow::Result<[f64; HOOKS.len()]> {
    let _attached = Attached::new(programs)?;
    sender.send(WARM_UP)?;
    let before = totals(programs)?;
    sender.send(DATAGRAMS)?;
    let after = totals(programs)?;
    let mut per_run_ns = [0.0; HOOKS.len()];
    for (index, figure) in per_run_ns.iter_mut().enumerate() {
        let (runs, time_ns) = (after[index].0 - before[index].0, after[index].1 - before[index].1);
        ensure!(runs >= u64::from(DATAGRAMS), "only {runs} packets {}", HOOKS[index].what);
        *figure = time_ns as f64 / runs as f64;
    }
    Ok(per_run_ns)
}

/// Runs of the program on each hook, and the time that they took in ns.
fn totals(programs: Programs) -> anyhow::Result<[(u64, u64); HOOKS.len()]> {
    let mine = Objects::of_process(process::id()).programs;
    let mut totals = [(0, 0); HOOKS.len()];
    for (hook, total) in HOOKS.iter().zip(&mut totals) {
        let name = match programs {
            Programs::Ours { .. } => hook.ours,
            Programs::Empty { .. } => hook.empty,
        };
        // The kernel cuts names at 15 bytes.
        let cut = &name.as_bytes()[..name.len().min(15)];
        let info = loaded_programs()
            .flatten()
            .find(|info| mine.contains(&info.id()) && info.name() == cut)
            .with_context(|| format!("the program {name}"))?;
        *total = (info.run_count(), u64::try_from(info.run_time().as_nanos())?);
    }
    Ok(totals)
}

/// Time of a datagram from end to end, with and without.
fn datagrams(pairs: u32, wire: &Wire) -> anyhow::Result<()> {
    let mut sender = Datagrams::start(&wire.near, (&wire.far, FAR))?;
    println!("From outside: {RUN_DATAGRAMS} datagrams as fast as one thread can, {pairs} pairs:\n");
    println!("| | without, ns each | with, ns each | ratio | middle half of the ratios |");
    println!("| --- | ---: | ---: | ---: | --- |");
    for (what, programs) in SIDES {
        let pairs = in_pairs(pairs, programs, || {
            sender.send(WARM_UP)?;
            Ok(sender.send(RUN_DATAGRAMS)?.as_nanos() as f64 / f64::from(RUN_DATAGRAMS))
        })?;
        row(what, &pairs, 1.0, 0);
    }
    println!();
    Ok(())
}

/// Throughput of a stream, with and without.
fn stream(pairs: u32, wire: &Wire) -> anyhow::Result<()> {
    let mut stream = Stream::start(&wire.near, (&wire.far, FAR))?;
    println!("A TCP stream over the cable, {} MiB a run, {pairs} pairs:\n", STREAM_BYTES >> 20);
    println!("| | without, Gbit/s | with, Gbit/s | ratio | middle half of the ratios |");
    println!("| --- | ---: | ---: | ---: | --- |");
    for (what, programs) in SIDES {
        let pairs = in_pairs(pairs, programs, || {
            stream.send(STREAM_WARM_UP_BYTES)?;
            Ok(STREAM_BYTES as f64 * 8.0 / stream.send(STREAM_BYTES)?.as_secs_f64())
        })?;
        row(what, &pairs, 1e9, 2);
    }
    println!();
    Ok(())
}

/// Figures without and with the programs. Every other pair the other way round: what
/// changes with time does so for both.
fn in_pairs(
    pairs: u32,
    programs: Programs,
    mut run: impl FnMut() -> anyhow::Result<f64>,
) -> anyhow::Result<Vec<(f64, f64)>> {
    let mut figures = Vec::new();
    for pair in 0..pairs {
        let mut figure = |attached: bool| {
            let _attached = attached.then(|| Attached::new(programs)).transpose()?;
            sleep(SETTLE);
            run()
        };
        let with_first = pair % 2 == 1;
        let (early, late) = (figure(with_first)?, figure(!with_first)?);
        figures.push(if with_first { (late, early) } else { (early, late) });
    }
    Ok(figures)
}

fn row(what: &str, pairs: &[(f64, f64)], unit: f64, decimals: usize) {
    let figures = |of: fn(&(f64, f64)) -> f64| Figures::new(pairs.iter().map(of).collect());
    let (without, with) = (figures(|pair| pair.0), figures(|pair| pair.1));
    let ratios = figures(|(without, with)| with / without);
    // The middle half: of many short runs some always meet a neighbour.
    let (least, most) = (ratios.quantile(0.25), ratios.quantile(0.75));
    println!(
        "| {what} | {:.decimals$} | {:.decimals$} | **{:.3}** | {least:.3} … {most:.3} |",
        without.median() / unit,
        with.median() / unit,
        ratios.median()
    );
}
