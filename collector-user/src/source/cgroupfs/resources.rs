//! [cgroup] What the controllers' files tell of a cgroup.
//!
//! Owns the way through a cgroup's directories. Must not know what is done with the
//! values, nor keep a file open: each open file of a cgroup pins kernel memory.
//!
//! Values are those of cAdvisor: of the same files as its libcontainer reads, by the
//! same keys.

mod files;
mod forms;
mod v1;
mod v2;

use rustix::io::Errno;

use self::files::Files;
use super::controllers::{Controllers, Part, Place, Version};
use crate::{
    model::{
        collectors::Collector,
        losses::{Losses, Reason},
        resources::Resources,
        targets::{HOST_PATH, Target},
    },
    source::files::{Buffer, Directory, is, reason},
};

/// Reads controllers' files.
#[derive(Debug)]
pub struct ResourceReader {
    controllers: Controllers,
}

impl ResourceReader {
    /// A reader of these controllers.
    pub fn new(controllers: Controllers) -> Self {
        Self { controllers }
    }

    /// Reads everything that the files of a cgroup tell. What the kernel does not tell is
    /// `None`; what it tells and can't be read is counted besides. A cgroup that has gone
    /// is counted once, and keeps what was read before.
    pub fn read(&self, target: &Target, buffer: &mut Buffer, losses: &mut Losses) -> Resources {
        let mut resources = Resources::default();
        let mut is_gone = false;
        for place in &self.controllers.places {
            match Directory::open(&place.mount.join(target.path.trim_start_matches('/'))) {
                Ok(directory) => {
                    let is_gone = &mut is_gone;
                    let mut files = Files { directory, buffer, losses, is_gone };
                    self.read_place(place, target, &mut files, &mut resources);
                }
                // Not every hierarchy must have it, but this one told of it.
                Err(error) if is(&error, Errno::NOENT) && !place.has(Part::Processes) => {}
                Err(error) => losses.count(Collector::Cgroup, reason(&error)),
            }
            if is_gone {
                break;
            }
        }
        resources
    }

    fn read_place(
        &self,
        place: &Place,
        target: &Target,
        files: &mut Files<'_>,
        resources: &mut Resources,
    ) {
        let is_host = &*target.path == HOST_PATH;
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
                    if is_host {
                        v2::complete_root(memory, files.elsewhere(&self.controllers.procfs));
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
        if place.has(Part::Processes) && !is_host {
            *processes = count_processes(target, files);
        }
    }
}

/// How many processes there are in a target's cgroups. One that is moved meanwhile can be
/// in two lists and counts once. A target that has gone is noticed here at the latest:
/// every cgroup has this file.
fn count_processes(target: &Target, files: &mut Files<'_>) -> Option<u64> {
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
            Err(Some(Reason::Vanished)) if !below.is_empty() => {
                files.losses.count(Collector::Cgroup, Reason::Vanished);
            }
            Err(Some(reason)) => {
                files.count(reason);
                return None;
            }
        }
    }
    is_told.then(|| forms::count_pids(&mut pids))
}

#[cfg(test)]
mod tests;
