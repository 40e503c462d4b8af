//! Packet accounting at load: wanted, but no reason not to account CPU.
//!
//! Owns which programs and maps belong to it, and how a refusal is told. Whatever fails
//! here is a line in [`super::Kernel::degraded`].

use std::{
    error::Error,
    fs::File,
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    path::PathBuf,
};

use aya::{
    Btf as AyaBtf, Ebpf,
    maps::{HashMap, MapData, Queue, RingBuf},
    programs::{BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType},
};
use collector_ebpf::packets::{FIRST_NET_SLOT, MAX_NET_SLOTS};

use super::{
    error::LoadError,
    load::{Options, attach, mapped, program, take, waitable},
    network::{Network, cells::PacketCells},
};
use crate::source::cgroupfs::{Hierarchy, Kind};

/// The programs that count packets by interface.
pub(super) const NETWORK: [&str; 2] = ["net_dev_xmit", "netif_receive_skb"];

/// The programs that count packets by cgroup, and where in a socket's path they go.
const SOCKETS: [(&str, CgroupSkbAttachType); 2] = [
    ("socket_receives", CgroupSkbAttachType::Ingress),
    ("socket_sends", CgroupSkbAttachType::Egress),
];

/// Their names.
pub(super) fn socket_programs() -> [&'static str; 2] {
    SOCKETS.map(|(name, _)| name)
}

/// Slots for interfaces on each CPU, the shared one included.
pub(super) fn net_slots(options: &Options) -> u32 {
    FIRST_NET_SLOT + if options.network { options.net_slots.min(MAX_NET_SLOTS) } else { 0 }
}

/// Sees the interface programs through the verifier, attaches them, and takes their maps.
pub(super) fn load_network(
    ebpf: &mut Ebpf,
    btf: &AyaBtf,
    options: &Options,
    cpus: u32,
) -> Result<Network, LoadError> {
    for name in NETWORK {
        program(ebpf, name)?
            .load(name, btf)
            .map_err(|source| LoadError::Verify { program: name, source: Box::new(source) })?;
    }
    let slots = net_slots(options);
    let cells = mapped(ebpf, "NET_COUNTERS", (cpus * slots) as usize)?;
    let [sent, received] = NETWORK;
    let program_infos = [info_path(ebpf, sent)?, info_path(ebpf, received)?];
    let mut network = Network {
        cpus: mapped(ebpf, "NET_CPUS", cpus as usize)?,
        cells: PacketCells::new(cells, cpus, slots),
        interfaces: take::<HashMap<MapData, [u64; 2], [u64; 3]>>(ebpf, "INTERFACES")?,
        free: take::<Queue<MapData, u32>>(ebpf, "FREE_NET_SLOTS")?,
        events: waitable(take::<RingBuf<MapData>>(ebpf, "NET_EVENTS")?, "NET_EVENTS")?,
        program_infos,
    };
    network.fill().map_err(|source| LoadError::Map { map: "FREE_NET_SLOTS", source })?;
    for name in NETWORK {
        attach(ebpf, name)?;
    }
    Ok(network)
}

/// Sees the socket programs through the verifier.
pub(super) fn load_sockets(
    ebpf: &mut Ebpf,
    hierarchy: &Hierarchy,
    cpus: u32,
    slots: u32,
) -> Result<PacketCells, LoadError> {
    if hierarchy.kind != Kind::Unified {
        return Err(LoadError::NotUnified);
    }
    for (name, _) in SOCKETS {
        socket_program(ebpf, name)?
            .load()
            .map_err(|source| LoadError::Verify { program: name, source: Box::new(source) })?;
    }
    let cells = mapped(ebpf, "SOCKET_COUNTERS", (cpus * slots) as usize)?;
    Ok(PacketCells::new(cells, cpus, slots))
}

/// A link always lets others attach beside it, and takes no flag that says so
/// (`cgroup_bpf_link_attach` in kernel/bpf/cgroup.c); it goes with the process, besides.
const BESIDE_OTHERS: CgroupAttachMode = CgroupAttachMode::Single;

/// Attaches the socket programs to the root of the hierarchy: both, or neither. Others'
/// programs there, and below, stay: all of them run.
pub(super) fn attach_sockets(ebpf: &mut Ebpf, hierarchy: &Hierarchy) -> Result<(), LoadError> {
    let root = File::open(&hierarchy.mount)
        .map_err(|source| LoadError::CgroupRoot { path: hierarchy.mount.clone(), source })?;
    for (name, direction) in SOCKETS {
        let failed = |source| LoadError::Attach { program: name, source: Box::new(source) };
        let attached =
            socket_program(ebpf, name)?.attach(&root, direction, BESIDE_OTHERS).map_err(failed);
        if let Err(error) = attached {
            detach_sockets(ebpf);
            return Err(error);
        }
    }
    Ok(())
}

/// Lets go of the socket programs, and with them of their links.
fn detach_sockets(ebpf: &mut Ebpf) {
    for (name, _) in SOCKETS {
        // One that is not loaded has no link either.
        let _ = socket_program(ebpf, name).map(CgroupSkb::unload);
    }
}

/// The programs that an error left behind are of no use, and cost every packet.
pub(super) fn unload_network(ebpf: &mut Ebpf) {
    for name in NETWORK {
        // One that is not loaded has no link either.
        let _ = program(ebpf, name).map(BtfTracePoint::unload);
    }
}

/// What is not accounted and why, in a line: without the verifier's log, which is long.
pub(super) fn refusal(what: &str, error: &LoadError) -> String {
    let mut causes = std::iter::successors(Some(error as &dyn Error), |&error| error.source());
    let reason = causes.find_map(|cause| cause.downcast_ref::<io::Error>());
    tracing::debug!(error = crate::errors::chain(error), "{what} not accounted");
    match reason {
        Some(reason) => format!("{what} are not accounted: {error}: {reason}"),
        None => format!("{what} are not accounted: {error}"),
    }
}

fn socket_program<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut CgroupSkb, LoadError> {
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(LoadError::Foreign(name))
}

fn info_path(ebpf: &mut Ebpf, name: &'static str) -> Result<PathBuf, LoadError> {
    let fd = program(ebpf, name)?.fd().map_err(|_| LoadError::Foreign(name))?;
    Ok(PathBuf::from(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd())))
}
