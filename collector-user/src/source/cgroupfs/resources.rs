//! [cgroup] What the controllers' files tell of a cgroup.
//!
//! Owns the way through a cgroup's directories. Must not know what is done with the
//! values.
//!
//! Values are those of cAdvisor: of the same files as its libcontainer reads, by the
//! same keys.

mod files;
mod forms;
mod host;
mod kept;
mod v1;
mod v2;

use std::{collections::HashSet, sync::Arc};

use rustix::io::Errno;

use self::{
    files::Files,
    host::Meminfo,
    kept::{Kept, KeptCgroup},
};
use super::controllers::{Controllers, Part, Place, Version};
use crate::{
    model::{
        collectors::Collector,
        losses::{Losses, Reason},
        resources::Resources,
        targets::{HOST_PATH, Target},
    },
    source::{
        files::Buffer,
        losses::{Loss, is},
    },
};

/// Reads controllers' files.
#[derive(Debug)]
pub struct ResourceReader {
    controllers: Controllers,
    kept: Kept,
}

impl ResourceReader {
    /// A reader of these controllers that keeps so many of their files open.
    pub fn new(controllers: Controllers, keep_open: usize) -> Self {
        Self { controllers, kept: Kept::new(keep_open) }
    }

    /// Takes the files of cgroups that are not told of any more, to be closed by whoever
    /// has the time; nothing if there are none.
    pub fn outdated(&self, told: &HashSet<Arc<str>>) -> Option<impl Send + 'static> {
        let others = self.kept.others(told);
        (!others.is_empty()).then_some(others)
    }

    /// Reads everything that the files of a cgroup tell. What the kernel does not tell is
    /// `None`; what it tells and can't be read is counted besides. A cgroup that has gone
    /// is counted once, and keeps what was read before.
    pub fn read(&self, target: &Target, buffer: &mut Buffer, losses: &mut Losses) -> Resources {
        let before = *losses;
        if let Some(kept) = self.kept.take(&target.path)
            && let (resources, false) = self.read_by(kept, target, buffer, losses)
        {
            return resources;
        }
        // What was kept is of a cgroup that has gone; there may be a new one at its path.
        *losses = before;
        let fresh = self.controllers.places.iter().map(|_| None).collect();
        self.read_by(fresh, target, buffer, losses).0
    }

    /// Reads by open directories and files as far as there are any, and keeps what it
    /// opens. Also tells whether the cgroup has gone.
    fn read_by(
        &self,
        mut kept: KeptCgroup,
        target: &Target,
        buffer: &mut Buffer,
        losses: &mut Losses,
    ) -> (Resources, bool) {
        let mut resources = Resources::default();
        let mut is_gone = false;
        let meminfo = (*target.path == *HOST_PATH)
            .then(|| host::read(&self.controllers.procfs, buffer, losses));
        for (place, kept) in self.controllers.places.iter().zip(&mut kept) {
            let (mount, path) = (&*place.mount, &*target.path);
            let directory = match kept {
                Some(directory) => Ok(directory),
                None => self
                    .kept
                    .open(&mount.join(path.trim_start_matches('/')))
                    .map(|directory| kept.insert(directory)),
            };
            match directory {
                Ok(directory) => {
                    let is_gone = &mut is_gone;
                    let mut files = Files { directory, mount, path, buffer, losses, is_gone };
                    self.read_place(place, target, meminfo, &mut files, &mut resources);
                }
                // Not every hierarchy must have it, but this one told of it.
                Err(error) if is(&error, Errno::NOENT) && !place.has(Part::Processes) => {}
                Err(error) => {
                    let file = format_args!("{}{path}", mount.display());
                    Loss::from(error).count(Collector::Cgroup, file, losses);
                }
            }
            if is_gone {
                break;
            }
        }
        if let Some(meminfo) = meminfo {
            meminfo.set_limits(&mut resources.memory);
        }
        if !is_gone {
            self.kept.keep(&target.path, kept);
        }
        (resources, is_gone)
    }

    /// `meminfo` is the host's, for the host.
    fn read_place(
        &self,
        place: &Place,
        target: &Target,
        meminfo: Option<Meminfo>,
        files: &mut Files<'_>,
        resources: &mut Resources,
    ) {
        let Resources { cpu, memory, pressure, processes, threads } = resources;
        match place.version {
            Version::V1 => {
                if place.has(Part::Times) {
                    v1::times(files, cpu);
                }
                if place.has(Part::Cpu) {
                    v1::cpu(files, cpu);
                }
                if place.has(Part::Memory) {
                    *memory = v1::memory(files);
                }
            }
            Version::V2 => {
                if place.has(Part::Times) || place.has(Part::Cpu) {
                    v2::cpu(files, cpu, place.has(Part::Times), place.has(Part::Cpu));
                }
                if place.has(Part::Memory) {
                    *memory = v2::memory(files);
                    if let Some(meminfo) = meminfo {
                        meminfo.complete(memory);
                    }
                }
                if place.has(Part::Pressure) {
                    *pressure = v2::pressures(files);
                }
            }
        }
        if place.has(Part::Threads) {
            *threads = files.number(c"pids.current");
        }
        // The root's list has the processes that are in no cgroup, not the host's.
        if place.has(Part::Processes) && meminfo.is_none() {
            *processes = count_processes(target, files, self.controllers.distrust);
        }
    }
}

/// How many processes there are in a target's cgroups. One that is moved meanwhile can be
/// in two lists and counts once. A target that has gone is noticed here at the latest:
/// every cgroup has this file, even if it is not to be trusted.
fn count_processes(
    target: &Target,
    files: &mut Files<'_>,
    distrust: Option<Reason>,
) -> Option<u64> {
    let mut pids = Vec::new();
    let mut is_told = false;
    let mut place = String::new();
    for cgroup in &target.cgroups {
        let Some(below) = cgroup.strip_prefix(&*target.path) else { continue };
        place.clear();
        place.extend([".", below, "/cgroup.procs"]);
        match files.list(&place, |text| forms::pids(text, &mut pids)) {
            Ok(()) => is_told = true,
            // Threaded cgroups list none: their processes are in the list of the cgroup
            // that their tree of threads is in.
            Err(None) => {}
            // One inside has gone, and its processes with it.
            Err(Some(loss)) if loss.reason() == Reason::Vanished && !below.is_empty() => {
                files.count_inner(&loss, &place);
            }
            Err(Some(loss)) => {
                files.count(&loss, &place);
                return None;
            }
        }
    }
    if let Some(reason) = distrust {
        files.count(&Loss::of(reason), "cgroup.procs");
        return None;
    }
    is_told.then(|| forms::count_pids(&mut pids))
}

#[cfg(test)]
mod tests;
