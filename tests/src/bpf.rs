//! Which eBPF objects exist in the kernel, and which of them are the daemon's.

use std::{collections::BTreeSet, fs};

use aya::{
    maps::loaded_maps,
    programs::{loaded_links, loaded_programs},
};

/// eBPF objects by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// Programs.
    pub programs: BTreeSet<u32>,
    /// Maps.
    pub maps: BTreeSet<u32>,
    /// Links: what keeps a program attached.
    pub links: BTreeSet<u32>,
}

impl Objects {
    /// What a process holds, by its open files (`/proc/PID/fdinfo`) and by the programs
    /// among them.
    pub fn of_process(pid: u32) -> Self {
        let mut objects = Self::default();
        let files = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("the process's files");
        for file in files.flatten() {
            // It may have been closed meanwhile.
            let info = fs::read_to_string(file.path()).unwrap_or_default();
            for (key, value) in info.lines().filter_map(|line| line.split_once(':')) {
                let ids = match key {
                    "prog_id" => &mut objects.programs,
                    "map_id" => &mut objects.maps,
                    "link_id" => &mut objects.links,
                    _ => continue,
                };
                ids.insert(value.trim().parse().expect("an id in fdinfo"));
            }
        }
        for program in loaded_programs().flatten() {
            if objects.programs.contains(&program.id()) {
                let maps = program.map_ids().expect("a program's maps").unwrap_or_default();
                objects.maps.extend(maps);
            }
        }
        objects
    }

    /// Those among these that exist in the kernel now, whoever holds them.
    #[must_use]
    pub fn still_loaded(&self) -> Self {
        let Self { programs, maps, links } = self;
        let loaded = Self {
            programs: loaded_programs().flatten().map(|info| info.id()).collect(),
            maps: loaded_maps().flatten().map(|info| info.id()).collect(),
            links: loaded_links().flatten().map(|info| info.id()).collect(),
        };
        Self {
            programs: programs & &loaded.programs,
            maps: maps & &loaded.maps,
            links: links & &loaded.links,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        let Self { programs, maps, links } = self;
        programs.is_empty() && maps.is_empty() && links.is_empty()
    }
}
