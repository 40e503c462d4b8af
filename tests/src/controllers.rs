//! What the controllers' files tell of a cgroup, read as plainly as can be.
//!
//! It is what the daemon's values are compared with: it must not share any code with the
//! daemon, and it panics where the daemon would count a loss.

use std::{collections::BTreeMap, fs, path::PathBuf};

use crate::cgroup::{below, mounts, v1_mount};

/// Controllers whose files the daemon reads.
pub const READ: [&str; 4] = ["cpu", "cpuacct", "memory", "pids"];

/// Whether a controller is v1's here.
pub fn is_v1(controller: &str) -> bool {
    v1_mount(controller).is_some()
}

/// The path of a controller's file of a cgroup.
pub fn path(cgroup: &str, controller: &str, file: &str) -> PathBuf {
    let root = v1_mount(controller).or_else(|| mounts().unified.clone());
    below(&root.expect("a mounted cgroup hierarchy"), cgroup).join(file)
}

/// The text of a controller's file; `None` if there is none.
pub fn text(cgroup: &str, controller: &str, file: &str) -> Option<String> {
    fs::read_to_string(path(cgroup, controller, file)).ok()
}

/// The number in a file that holds one.
pub fn number(cgroup: &str, controller: &str, file: &str) -> f64 {
    let text = text(cgroup, controller, file);
    let number = text.as_deref().and_then(|text| text.trim().parse().ok());
    number.unwrap_or_else(|| panic!("{file} of {cgroup}: {text:?}"))
}

/// The numbers of a file with a key in each line.
pub fn table(cgroup: &str, controller: &str, file: &str) -> BTreeMap<String, f64> {
    let text = text(cgroup, controller, file).unwrap_or_else(|| panic!("no {file} of {cgroup}"));
    text.lines()
        .map(|line| {
            let (key, value) = line.split_once(' ').expect("a key and a value");
            (key.to_owned(), value.trim().parse().expect("a number"))
        })
        .collect()
}

/// Stall times of a resource in seconds: some, and full if the kernel tells it. `None`
/// where it keeps none.
pub fn stalls(cgroup: &str, resource: &str) -> Option<(f64, Option<f64>)> {
    let file = below(mounts().unified.as_ref()?, cgroup).join(format!("{resource}.pressure"));
    let text = fs::read_to_string(file).ok()?;
    let total = |kind: &str| {
        let line = text.lines().find(|line| line.starts_with(kind))?;
        let total_us: f64 = line.split_once("total=")?.1.parse().ok()?;
        Some(total_us / 1e6)
    };
    Some((total("some")?, total("full")))
}

/// Processes of a cgroup and those in it, in no order, by the hierarchy that the daemon
/// accounts by.
pub fn processes(cgroup: &str) -> Vec<u32> {
    let root = *mounts().roots().first().expect("a mounted cgroup hierarchy");
    let mut directories = vec![below(root, cgroup)];
    let mut pids = Vec::new();
    while let Some(directory) = directories.pop() {
        let procs = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
        pids.extend(procs.lines().map(|line| line.parse::<u32>().expect("a pid")));
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let inner = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        directories.extend(inner.map(|entry| entry.path()));
    }
    pids
}

/// Where a controller is v2's: lets the cgroups below those on the way to `path` have it,
/// as far as they exist.
pub fn enable_above(path: &str) {
    let Some(root) = &mounts().unified else { return };
    let directory = below(root, path);
    let mut above: Vec<_> = directory.ancestors().skip(1).collect();
    above.reverse();
    for cgroup in above.into_iter().filter(|cgroup| cgroup.starts_with(root) && cgroup.exists()) {
        for controller in ["cpu", "memory", "pids"].into_iter().filter(|it| !is_v1(it)) {
            // Its absence shows where its file is needed.
            let _ = fs::write(cgroup.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
}
