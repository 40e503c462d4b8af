//! Cgroups of our own, and the kernel's own figures for any cgroup.
//!
//! On a v1 or hybrid host a cgroup is made in every hierarchy that matters: the unified
//! one (what the daemon accounts by), `cpuacct` (the kernel's figure) and `cpu` (quota).
//! It must not read anything of the daemon's.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    controllers,
    process::{Process, bound_command},
    wait, workload,
};

/// The period that a quota refers to, in µs: the kernel's (and Docker's) default.
const QUOTA_PERIOD_US: u32 = 100_000;

/// `cpu.shares` and `cpu.weight` at their highest.
const MAX_SHARES: u32 = 262_144;
const MAX_WEIGHT: u32 = 10_000;

/// The least nice value.
const NICE_MIN: i32 = -20;

/// How long the kernel may take to let go of a cgroup whose processes were killed.
const REMOVE_LIMIT: Duration = Duration::from_secs(5);

/// Where the hierarchies are mounted.
#[derive(Debug)]
pub struct Mounts {
    /// cgroup2, alone or beside v1.
    pub unified: Option<PathBuf>,
    cpu: Option<PathBuf>,
    /// v1's hierarchy with the kernel's figure.
    pub cpuacct: Option<PathBuf>,
}

impl Mounts {
    /// The roots of those that matter to CPU use, each once.
    pub fn roots(&self) -> Vec<&Path> {
        let Self { unified, cpu, cpuacct } = self;
        let mut roots: Vec<&Path> =
            [unified, cpuacct, cpu].into_iter().flatten().map(PathBuf::as_path).collect();
        roots.dedup();
        roots
    }
}

/// This host's hierarchies, from `/proc/self/mounts`.
pub fn mounts() -> &'static Mounts {
    static MOUNTS: OnceLock<Mounts> = OnceLock::new();
    MOUNTS.get_or_init(|| {
        let (cpu, cpuacct) = (v1_mount("cpu"), v1_mount("cpuacct"));
        Mounts { unified: mount("cgroup2", "rw"), cpu, cpuacct }
    })
}

/// Where v1's hierarchy of a controller is mounted, if it is.
pub fn v1_mount(controller: &str) -> Option<PathBuf> {
    mount("cgroup", controller)
}

fn mount(fstype: &str, option: &str) -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/mounts").expect("/proc/self/mounts");
    text.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (path, found, options) = (fields.next()?, fields.next()?, fields.next()?);
        let wanted = found == fstype && options.split(',').any(|word| word == option);
        wanted.then(|| PathBuf::from(path))
    })
}

/// CPU time of a cgroup and all below it in ns, as the kernel keeps it:
/// `cpuacct.usage` (ns), or `usage_usec` of `cpu.stat` where there is no v1 hierarchy.
/// `None` if there is no such cgroup.
///
/// Both trail by what the running tasks used since the last tick or switch.
pub fn kernel_usage_ns(path: &str) -> Option<u64> {
    let Mounts { unified, cpuacct, cpu: _ } = mounts();
    if let Some(cpuacct) = cpuacct {
        let usage = fs::read_to_string(below(cpuacct, path).join("cpuacct.usage")).ok()?;
        return usage.trim().parse().ok();
    }
    let stat = fs::read_to_string(below(unified.as_ref()?, path).join("cpu.stat")).ok()?;
    let usage_us: u64 =
        stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?.parse().ok()?;
    Some(usage_us * 1_000)
}

/// Whether the kernel's figure of the *root* is a sum of slices, as every other's.
///
/// `cpuacct.usage` is. v2's `cpu.stat` is not: there the root's is `/proc/stat`'s, sampled
/// at ticks, with interrupts and stolen time in it (`root_cgroup_cputime` in
/// kernel/cgroup/rstat.c).
pub fn root_is_exact() -> bool {
    mounts().cpuacct.is_some()
}

/// [`kernel_usage_ns`] in seconds; panics if there is no such cgroup.
pub fn kernel_usage_seconds(path: &str) -> f64 {
    let usage_ns = kernel_usage_ns(path).unwrap_or_else(|| panic!("no cgroup {path}"));
    seconds(usage_ns)
}

/// Nanoseconds in seconds.
pub fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Paths of the cgroups right below the root of the hierarchy that the daemon accounts by.
pub fn top_level() -> Vec<String> {
    let Mounts { unified, cpuacct, cpu: _ } = mounts();
    let root = unified.as_ref().or(cpuacct.as_ref()).expect("a mounted cgroup hierarchy");
    let entries = fs::read_dir(root).expect("the root cgroup");
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| format!("/{}", entry.file_name().to_string_lossy()))
        .collect()
}

/// How many cgroups the hierarchy that the daemon accounts by has, its root included.
pub fn count() -> u64 {
    fn below(directory: &Path) -> u64 {
        // One that is removed meanwhile has none below it.
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let cgroups = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        1 + cgroups.map(|entry| below(&entry.path())).sum::<u64>()
    }
    mounts().roots().first().map_or(0, |root| below(root))
}

/// The cgroup of a process: its path in the unified hierarchy, or in cpuacct's where
/// there is none.
pub fn path_of(pid: u32) -> String {
    let file = format!("/proc/{pid}/cgroup");
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let path = |wanted: &dyn Fn(&str) -> bool| {
        text.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let controllers = fields.next()?;
            wanted(controllers).then(|| fields.next().map(ToOwned::to_owned))?
        })
    };
    let unified = path(&str::is_empty);
    let accounted = path(&|controllers| controllers.split(',').any(|word| word == "cpuacct"));
    let found = match (mounts().unified.is_some(), mounts().cpuacct.is_some()) {
        (true, true) => {
            assert_eq!(unified, accounted, "the kernel's figure must be of the same cgroup");
            unified
        }
        (true, false) => unified,
        (false, _) => accounted,
    };
    found.unwrap_or_else(|| panic!("no cgroup of process {pid} in:\n{text}"))
}

/// The directory of a cgroup in the hierarchy mounted at `root`.
pub fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn unique_path(purpose: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("/sm-{}-{number}-{purpose}", process::id())
}

/// While it lives, this process is in a cgroup.
#[derive(Debug)]
pub struct Visit(());

impl Drop for Visit {
    fn drop(&mut self) {
        for root in mounts().roots() {
            let _ = fs::write(root.join("cgroup.procs"), process::id().to_string());
        }
    }
}

/// A cgroup of ours, removed on drop with whatever still runs in it.
#[derive(Debug)]
pub struct Cgroup {
    path: String,
    directories: Vec<PathBuf>,
    /// Enclosing cgroups that came with it, the inner ones last.
    enclosing: Vec<PathBuf>,
}

impl Cgroup {
    /// Makes a cgroup right below the root, with a name of its own that contains `purpose`.
    pub fn new(purpose: &str) -> Self {
        Self::at(&unique_path(purpose))
    }

    /// The same in v1's hierarchies alone: in the unified one its tasks stay where they
    /// were.
    pub fn new_in_v1(purpose: &str) -> Self {
        let Mounts { unified: _, cpu, cpuacct } = mounts();
        let mut roots: Vec<&Path> =
            [cpuacct, cpu].into_iter().flatten().map(PathBuf::as_path).collect();
        roots.dedup();
        Self::make(&unique_path(purpose), &roots)
    }

    /// Makes a cgroup at a path from the hierarchies' roots.
    pub fn at(path: &str) -> Self {
        let Mounts { unified, cpu, cpuacct: _ } = mounts();
        if let (Some(root), None) = (unified, cpu) {
            // v2 alone: a quota needs the controller. Its absence shows when one is set.
            let _ = fs::write(root.join("cgroup.subtree_control"), "+cpu");
        }
        Self::make(path, &mounts().roots())
    }

    /// Makes a cgroup at a path in every hierarchy whose files the daemon reads, as a
    /// container engine does.
    pub fn at_everywhere(path: &str) -> Self {
        controllers::enable_above(path);
        let more: Vec<PathBuf> =
            controllers::READ.iter().filter_map(|controller| v1_mount(controller)).collect();
        let mut roots = mounts().roots();
        for root in &more {
            if !roots.contains(&root.as_path()) {
                roots.push(root);
            }
        }
        Self::make(path, &roots)
    }

    fn make(path: &str, roots: &[&Path]) -> Self {
        let directories: Vec<PathBuf> = roots.iter().map(|root| below(root, path)).collect();
        let mut enclosing = Vec::new();
        for directory in &directories {
            let ancestors = directory.ancestors().skip(1);
            let mut new: Vec<PathBuf> =
                ancestors.take_while(|it| !it.exists()).map(Path::to_owned).collect();
            new.reverse();
            enclosing.extend(new);
            fs::create_dir_all(directory)
                .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        }
        Self { path: path.to_owned(), directories, enclosing }
    }

    /// Its path from the hierarchy's root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its id in the hierarchy that the daemon accounts by: its directory's inode number.
    pub fn id(&self) -> u64 {
        // The unified one, where there is one, is the first.
        fs::metadata(&self.directories[0]).expect("the cgroup's directory").ino()
    }

    /// Allows `percent` of one CPU.
    pub fn set_quota_percent(&self, percent: u32) {
        let quota_us = QUOTA_PERIOD_US / 100 * percent;
        if self.has("cpu.cfs_quota_us") {
            self.write("cpu.cfs_period_us", &QUOTA_PERIOD_US.to_string());
            self.write("cpu.cfs_quota_us", &quota_us.to_string());
        } else {
            self.write("cpu.max", &format!("{quota_us} {QUOTA_PERIOD_US}"));
        }
    }

    /// Puts it before every other cgroup of this host, as far as the fair class goes.
    pub fn set_highest_weight(&self) {
        if self.has("cpu.shares") {
            self.write("cpu.shares", &MAX_SHARES.to_string());
        } else {
            self.write("cpu.weight", &MAX_WEIGHT.to_string());
        }
    }

    fn has(&self, file: &str) -> bool {
        self.directories.iter().any(|directory| directory.join(file).exists())
    }

    fn write(&self, file: &str, value: &str) {
        let path = self
            .directories
            .iter()
            .map(|directory| directory.join(file))
            .find(|path| path.exists())
            .unwrap_or_else(|| panic!("no {file}: is the cpu controller enabled?"));
        fs::write(&path, value).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Moves this process inside, and back to the root when the visit is over. It must be
    /// over before the cgroup goes, which takes along whoever is inside.
    pub fn visit(&self) -> Visit {
        self.admit(process::id());
        Visit(())
    }

    /// Moves a process inside.
    pub fn admit(&self, pid: u32) {
        for directory in &self.directories {
            fs::write(directory.join("cgroup.procs"), pid.to_string())
                .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        }
    }

    /// Starts the workload inside; its log goes to `log`.
    pub fn spawn(&self, arguments: &[&str], log: &Path) -> Process {
        let files: Vec<String> = self
            .directories
            .iter()
            .map(|directory| directory.join("cgroup.procs").display().to_string())
            .collect();
        // The shell moves itself in and then becomes the workload.
        let script = "for f in $PROCS; do echo $$ > $f || exit 70; done; exec \"$0\" \"$@\"";
        let mut command = bound_command("KILL", "sh");
        command.args(["-c", script]).arg(workload::binary()).args(arguments);
        command.env("PROCS", files.join(" "));
        Process::start(&format!("workload {arguments:?}"), &mut command, log)
    }

    /// Starts the workload inside and makes it the least nice.
    pub fn spawn_urgent(&self, arguments: &[&str], log: &Path) -> Process {
        self.set_highest_weight();
        let process = self.spawn(arguments, log);
        let pid = Pid::from_raw(i32::try_from(process.pid()).expect("a pid"));
        rustix::process::setpriority_process(pid, NICE_MIN).expect("the right to set nice");
        process
    }

    fn remove(&mut self) -> Result<(), String> {
        for directory in self.directories.drain(..).rev() {
            let gone = wait::within(REMOVE_LIMIT, || {
                let removed = fs::remove_dir(&directory).ok();
                if removed.is_none() {
                    kill_all_in(&directory);
                }
                removed
            });
            gone.ok_or_else(|| format!("can't remove {}", directory.display()))?;
        }
        for directory in self.enclosing.drain(..).rev() {
            // Another cgroup may have come to live there.
            let _ = fs::remove_dir(directory);
        }
        // An engine that was given it as a parent has made it in its other hierarchies, too.
        for root in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = fs::remove_dir(below(&root.path(), &self.path));
        }
        Ok(())
    }
}

fn kill_all_in(directory: &Path) {
    let processes = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    for pid in processes.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)) {
        // It may be gone by now.
        let _ = kill_process(pid, Signal::KILL);
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            println!("left behind: {error}");
        }
    }
}
