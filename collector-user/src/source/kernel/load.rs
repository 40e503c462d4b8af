//! Loading: offsets in, maps sized, programs through the verifier, identity attached.
//!
//! Owns the order of things at start. Must not decide what to do when it fails.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    path::PathBuf,
};

use aya::{
    Btf as AyaBtf, Ebpf, EbpfError, EbpfLoader, Endianness,
    maps::{HashMap, Map, MapData, Queue, RingBuf},
    programs::BtfTracePoint,
};
use aya_log::EbpfLogger;
use collector_ebpf::{FIRST_SLOT, OVERFLOW_CGROUPS, packets::OVERFLOW_INTERFACES};
use rustix::fd::BorrowedFd;
use tokio::io::unix::AsyncFd;

use super::{
    Kernel,
    btf::Btf,
    counters::Counters,
    error::LoadError,
    layout::{Layout, RUN_DELAY},
    mapped::{MappedArray, Record},
    optional,
    poll::{Pollable, pollable},
    slots::Slots,
};
use crate::source::cgroupfs::Hierarchy;

/// The CPUs that can ever be there, as ranges: `0-3,8-11`.
const POSSIBLE_CPUS: &str = "/sys/devices/system/cpu/possible";

/// The least that a ring buffer can have: a page. For one that nobody writes to.
const LEAST_RING_BYTES: u32 = 4096;

/// What the load depends on.
#[derive(Clone, Debug)]
pub struct Options {
    /// The hierarchy whose cgroups are accounted.
    pub hierarchy: Hierarchy,
    /// Slots for cgroups; the reserved ones come on top.
    pub slots: u32,
    /// The running kernel's BTF, usually `/sys/kernel/btf/vmlinux`.
    pub btf: PathBuf,
    /// Whether slices are accounted; cgroups are followed in any case.
    pub accounts_slices: bool,
    /// Whether packets are accounted by interface, if the kernel lets us.
    pub network: bool,
    /// Whether packets are accounted by the cgroup of their socket, if the kernel lets us.
    pub sockets: bool,
    /// Slots for interfaces; the shared one comes on top.
    pub net_slots: u32,
    /// How much the programs log on their rare paths.
    pub log_level: tracing::Level,
}

/// Programs in the order of their attachment: births and deaths of cgroups are followed
/// before the tree is walked, and slices only after that.
pub(super) const IDENTITY: [&str; 2] = ["cgroup_mkdir", "cgroup_rmdir"];
const SLICES: &str = "sched_switch";
const TICK: &str = "hrtimer_expire_exit";

/// The programs that account, if any shall, on a kernel whose tick can be followed or not.
fn accounting(options: &Options, layout: &Layout) -> Vec<&'static str> {
    match (options.accounts_slices, layout.ticks) {
        (false, _) => vec![],
        (true, false) => vec![SLICES],
        (true, true) => vec![SLICES, TICK],
    }
}

/// Loads everything, and attaches what tells of cgroups.
pub(super) fn load(object: &[u8], options: &Options) -> Result<Kernel, LoadError> {
    let layout = resolve(options)?;
    let network = options.network && layout.packets;
    let options = &Options { network, ..options.clone() };
    let slots = FIRST_SLOT + options.slots;
    let cpus = possible_cpus()?;
    let btf = AyaBtf::parse_file(&options.btf, Endianness::default())
        .map_err(|error| LoadError::Object(Box::new(EbpfError::BtfError(error))))?;
    let mut ebpf = verify(object, &btf, options, &layout, cpus, slots)?;

    let map_infos = map_infos(&ebpf);
    let log = log_reader(&mut ebpf)?;
    let cells = cpus * slots as usize;
    let mut kernel = Kernel {
        counters: Counters {
            cpus: mapped(&ebpf, "CPUS", cpus)?,
            cells: mapped(&ebpf, "COUNTERS", cells)?,
            slots,
            retries: 0,
            failures: 0,
        },
        slots: Slots {
            ids: take::<HashMap<MapData, u64, u32>>(&mut ebpf, "CGROUP_SLOTS")?,
            free: take::<Queue<MapData, u32>>(&mut ebpf, "FREE_SLOTS")?,
        },
        events: waitable(take::<RingBuf<MapData>>(&mut ebpf, "EVENTS")?, "EVENTS")?,
        log,
        map_infos,
        accounting: accounting(options, &layout),
        waits_known: layout.has(RUN_DELAY),
        degraded: layout.degraded,
        network: None,
        sockets: None,
        hierarchy: options.hierarchy.clone(),
        ebpf,
    };
    kernel.slots.fill(slots).map_err(|source| LoadError::Map { map: "FREE_SLOTS", source })?;
    for program in IDENTITY {
        attach(&mut kernel.ebpf, program)?;
    }
    add_packets(&mut kernel, &btf, options)?;
    Ok(kernel)
}

/// Adds the accounting of packets, as far as it is wanted and the kernel does it.
fn add_packets(kernel: &mut Kernel, btf: &AyaBtf, options: &Options) -> Result<(), LoadError> {
    let cpus = u32::try_from(possible_cpus()?).unwrap_or(u32::MAX);
    if options.network {
        let before = map_infos(&kernel.ebpf);
        match optional::load_network(&mut kernel.ebpf, btf, options, cpus) {
            Ok(network) => kernel.network = Some(network),
            Err(error) if error.is_internal() => return Err(error),
            Err(error) => {
                optional::unload_network(&mut kernel.ebpf);
                // Maps that were taken are closed by now: their descriptors' numbers are
                // others' sooner or later.
                let left = map_infos(&kernel.ebpf);
                let is_closed = |path: &PathBuf| before.contains(path) && !left.contains(path);
                kernel.map_infos.retain(|path| !is_closed(path));
                kernel.degraded.push(optional::refusal("packets", &error));
            }
        }
    }
    if options.sockets {
        let slots = kernel.counters.slots;
        match optional::load_sockets(&mut kernel.ebpf, &options.hierarchy, cpus, slots) {
            Ok(cells) => kernel.sockets = Some(cells),
            Err(error) if error.is_internal() => return Err(error),
            Err(error) => kernel.degraded.push(optional::refusal("packets of sockets", &error)),
        }
    }
    Ok(())
}

/// Attaches a program; its link lives in `ebpf`.
pub(super) fn attach(ebpf: &mut Ebpf, name: &'static str) -> Result<(), LoadError> {
    program(ebpf, name)?
        .attach()
        .map(drop)
        .map_err(|source| LoadError::Attach { program: name, source: Box::new(source) })
}

/// One more than the highest number that a CPU of this host can have: the numbers may
/// have gaps, and the counters are indexed by them.
fn possible_cpus() -> Result<usize, LoadError> {
    let failed = |source| LoadError::Cpus { path: POSSIBLE_CPUS, source };
    let list = std::fs::read_to_string(POSSIBLE_CPUS).map_err(failed)?;
    let highest = list.trim().rsplit(['-', ',']).next().and_then(|cpu| cpu.parse::<usize>().ok());
    let unclear = || failed(io::Error::other(format!("it says {list:?}")));
    highest.map(|cpu| cpu + 1).ok_or_else(unclear)
}

fn resolve(options: &Options) -> Result<Layout, LoadError> {
    let path = &options.btf;
    let bytes =
        std::fs::read(path).map_err(|source| LoadError::BtfFile { path: path.clone(), source })?;
    let btf = Btf::parse(bytes).map_err(|source| LoadError::Btf { path: path.clone(), source })?;
    let mut layout = Layout::resolve(&btf, &options.hierarchy).map_err(LoadError::Missing)?;
    if options.network {
        layout.place_packets(&btf);
    }
    Ok(layout)
}

/// Hands the layout over, sizes the maps, and sees all programs through the verifier.
fn verify(
    object: &[u8],
    btf: &AyaBtf,
    options: &Options,
    layout: &Layout,
    cpus: usize,
    slots: u32,
) -> Result<Ebpf, LoadError> {
    let overflow = || LoadError::Cpus {
        path: POSSIBLE_CPUS,
        source: io::Error::other(format!("{cpus} CPUs with {slots} slots each are too many")),
    };
    let cpu_records = u32::try_from(cpus).map_err(|_| overflow())?;
    let cells = cpu_records.checked_mul(slots).ok_or_else(overflow)?;
    let net_slots = optional::net_slots(options);
    let net_cells = cpu_records.checked_mul(net_slots).ok_or_else(overflow)?;
    let (slots_global, net_slots_global) = (u64::from(slots), u64::from(net_slots));
    let log_level = log_level(options.log_level);

    let mut loader = EbpfLoader::new();
    loader.btf(Some(btf));
    for (name, value) in &layout.globals {
        loader.override_global(name, value, true);
    }
    loader
        .override_global("SLOTS", &slots_global, true)
        .override_global("AYA_LOG_LEVEL", &log_level, true)
        .map_max_entries("CPUS", cpu_records)
        .map_max_entries("COUNTERS", cells)
        .map_max_entries("CGROUP_SLOTS", slots + OVERFLOW_CGROUPS)
        .map_max_entries("FREE_SLOTS", slots);
    if options.network {
        loader
            .override_global("NET_SLOT_COUNT", &net_slots_global, true)
            .map_max_entries("NET_CPUS", cpu_records)
            .map_max_entries("NET_COUNTERS", net_cells)
            .map_max_entries("INTERFACES", net_slots + OVERFLOW_INTERFACES)
            .map_max_entries("FREE_NET_SLOTS", net_slots);
    } else {
        loader.map_max_entries("NET_EVENTS", LEAST_RING_BYTES);
    }
    if options.sockets {
        loader.map_max_entries("SOCKET_COUNTERS", cells);
    }
    let mut ebpf = loader.load(object).map_err(|error| LoadError::Object(Box::new(error)))?;
    for name in IDENTITY.into_iter().chain(accounting(options, layout)) {
        program(&mut ebpf, name)?
            .load(name, btf)
            .map_err(|source| LoadError::Verify { program: name, source: Box::new(source) })?;
    }
    Ok(ebpf)
}

pub(super) fn program<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut BtfTracePoint, LoadError> {
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(LoadError::Foreign(name))
}

/// The log level as `aya-log` counts it: 1 is error, 5 is trace.
fn log_level(level: tracing::Level) -> u8 {
    match level {
        tracing::Level::ERROR => 1,
        tracing::Level::WARN => 2,
        tracing::Level::INFO => 3,
        tracing::Level::DEBUG => 4,
        tracing::Level::TRACE => 5,
    }
}

/// Takes a map out of the object, as the type that its operations need.
pub(super) fn take<T: TryFrom<Map>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, LoadError> {
    ebpf.take_map(name).and_then(|map| T::try_from(map).ok()).ok_or(LoadError::Foreign(name))
}

/// Maps an array's memory; the array itself stays with the programs.
pub(super) fn mapped<T: Record>(
    ebpf: &Ebpf,
    name: &'static str,
    length: usize,
) -> Result<MappedArray<T>, LoadError> {
    let array = ebpf.map(name).and_then(data).ok_or(LoadError::Foreign(name))?;
    MappedArray::new(array.fd(), length).map_err(|source| LoadError::Memory { map: name, source })
}

/// Takes the programs' log records, unless the programs were built without a log.
fn log_reader(
    ebpf: &mut Ebpf,
) -> Result<Option<AsyncFd<EbpfLogger<&'static dyn log::Log>>>, LoadError> {
    EbpfLogger::init(ebpf).ok().map(|log| waitable(log, "AYA_LOGS")).transpose()
}

pub(super) fn waitable<T: Pollable>(source: T, map: &'static str) -> Result<AsyncFd<T>, LoadError> {
    pollable(source).map_err(|source| LoadError::Memory { map, source })
}

/// `/proc/self/fdinfo/FD` of every map that nobody has taken.
fn map_infos(ebpf: &Ebpf) -> Vec<PathBuf> {
    ebpf.maps().filter_map(|(_, map)| data(map)).map(info_path).collect()
}

fn info_path(map: &MapData) -> PathBuf {
    let fd: BorrowedFd<'_> = map.fd().as_fd();
    PathBuf::from(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))
}

/// The kernel object behind a map of one of the types that the programs use.
fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data) | Map::HashMap(data) | Map::Queue(data) | Map::RingBuf(data) => Some(data),
        _ => None,
    }
}
