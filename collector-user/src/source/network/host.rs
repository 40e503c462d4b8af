//! The host's own network.
//!
//! Owns who is in it for certain, and which of its interfaces are devices.

use std::{io, path::Path};

use rustix::path::DecInt;

use super::{
    devices::{self, Line},
    inquiry::{self, NS_NET, Untold},
};
use crate::{
    model::{
        collectors::Collector,
        losses::{Losses, Reason},
        network::HostDevice,
    },
    source::{
        files::{Buffer, Directory},
        lookup,
        losses::Loss,
        stat,
    },
};

/// The host's first process, which lives as long as the host does.
const INIT_PID: u32 = 1;

/// The kernel's own second process: it and all of its threads are in the first network
/// namespace there is.
const KTHREADD_PID: u32 = 2;

/// Inode number of the host's network namespace: that of its first process or, where even
/// root may not look at that one, of the kernel's threads.
pub(super) fn netns(procfs: &Directory, buffer: &mut Buffer) -> Result<u64, Untold> {
    let init = first_process(procfs).and_then(|it| inquiry::netns(&it));
    init.or_else(|loss| {
        let kthreadd = procfs.directory(DecInt::new(KTHREADD_PID)).ok();
        // In a pid namespace of its own, 2 is anyone.
        let kthreadd =
            kthreadd.filter(|it| it.record("stat", buffer).is_ok_and(stat::is_kernel_thread));
        let untold = Untold::file(INIT_PID, NS_NET, loss);
        kthreadd.and_then(|it| inquiry::netns(&it).ok()).ok_or(untold)
    })
}

/// The host's first process. It never ends: when it is not there, it is hidden.
fn first_process(procfs: &Directory) -> Result<Directory, Loss> {
    lookup::enter(procfs, INIT_PID).map_err(|error| {
        let loss = Loss::from(error);
        match loss.reason() {
            Reason::Vanished | Reason::Denied => loss.because(Reason::Hidden),
            _ => loss,
        }
    })
}

/// The interfaces in the host's network; `None` if not all can be told, which is counted.
pub(super) fn devices(
    procfs: &Directory,
    sysfs: &Path,
    collector: Collector,
    buffer: &mut Buffer,
    losses: &mut Losses,
) -> Option<Vec<HostDevice>> {
    let lines = first_process(procfs)
        .and_then(|it| devices::parse(it.list("net/dev", buffer)?))
        .map_err(|loss| loss.count(collector, format_args!("{INIT_PID}/net/dev"), losses))
        .ok()?;
    let path = sysfs.join("class/net");
    let classes = Directory::open(&path)
        .map_err(Loss::of_permanent)
        .map_err(|loss| loss.count(collector, format_args!("{}", path.display()), losses))
        .ok()?;
    let of_host = |Line { name, device }: Line<'_>| {
        is_physical(&classes, name)
            .map(|is_physical| HostDevice { device, is_physical })
            .map_err(|error| {
                let (place, name) = (path.display(), name.escape_ascii());
                Loss::from(error).count(collector, format_args!("{place}/{name}"), losses);
            })
            .ok()
    };
    lines.into_iter().map(of_host).collect()
}

/// Whether an interface is a device, and not one behind another: under Azure's synthetic
/// interface there is a virtual function, and each counts what went over both. One that has
/// gone meanwhile is none.
fn is_physical(classes: &Directory, name: &[u8]) -> io::Result<bool> {
    Ok(classes.has([name, b"/device"].concat())?
        && !classes.has([name, b"/master/device"].concat())?)
}
