//! The fixture hosts' cgroups, and what becomes of values when files are not as they
//! should be.

mod absent;
mod mangled;

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::*;
use crate::{
    model::resources::{Bandwidth, Cpu, Limit, Memory, Pressure, Pressures},
    source::cgroupfs::{Choice, Kind, Mode, Paths, select},
};

const WEB: &str = "5e6e980241314e4bc5364cad3b5e0aba2374bd9803338d723fc48286d6834d88";
const DB: &str = "ffe65200cc78b43934b36e76d0ee91f0f5f0f76c7a4c89836cc5e98275e2a1a8";

/// A host's files, and where its containers' cgroups are.
struct Host {
    root: PathBuf,
    accounting: &'static str,
    kind: Kind,
    mode: Mode,
    containers: fn(&str) -> String,
}

impl Host {
    fn below(root: &Path, name: &str) -> Self {
        let root = root.join(name);
        let in_scope = |id: &str| format!("/system.slice/docker-{id}.scope");
        let plain = |id: &str| format!("/docker/{id}");
        let v1 = Kind::Cpuacct { controller: "cpuacct" };
        let (accounting, kind, mode, containers): (_, _, _, fn(&str) -> String) = match name {
            "v1" => ("cpu,cpuacct", v1, Mode::V1, in_scope),
            "hybrid" => ("unified", Kind::Unified, Mode::Hybrid, plain),
            _ => ("", Kind::Unified, Mode::V2, in_scope),
        };
        Self { root, accounting, kind, mode, containers }
    }

    fn fixture(name: &str) -> Self {
        Self::below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/hosts"), name)
    }

    /// A copy of a fixture with links in place of files, so that files can be changed.
    fn copy(name: &str) -> (Self, TempDir) {
        let copy = tempfile::tempdir().expect("a directory");
        let from = Self::fixture(name).root;
        for part in ["proc/self", "sys/fs/cgroup"] {
            mirror(&from.join(part), &copy.path().join(name).join(part));
        }
        (Self::below(copy.path(), name), copy)
    }

    fn cgroupfs(&self) -> PathBuf {
        self.root.join("sys/fs/cgroup")
    }

    fn path(&self, id: &str) -> String {
        (self.containers)(id)
    }

    fn read(&self, path: &str, nested: &[&str]) -> (Resources, Losses) {
        let (procfs, prefix) = (self.root.join("proc"), self.cgroupfs());
        let paths = Paths { procfs: &procfs, cgroupfs: &prefix };
        let hierarchy = select(paths, Choice::Auto).expect("there is one");
        let mount: PathBuf =
            prefix.components().chain(Path::new(self.accounting).components()).collect();
        let found = (hierarchy.kind, hierarchy.mode, hierarchy.mount.as_path());
        assert_eq!(found, (self.kind, self.mode, mount.as_path()));
        let reader = ResourceReader::new(Controllers::find(paths, &hierarchy).expect("found"), 64);
        let cgroups = [""].iter().chain(nested).map(|below| format!("{path}{below}").into());
        let target = Target { path: path.into(), cgroups: cgroups.collect() };
        let mut losses = Losses::default();
        let resources = reader.read(&target, &mut Buffer::default(), &mut losses);
        (resources, losses)
    }

    /// Reads where nothing may be missing.
    fn read_whole(&self, path: &str, nested: &[&str]) -> Resources {
        let (resources, losses) = self.read(path, nested);
        assert_eq!(losses, Losses::default(), "{path}");
        resources
    }
}

fn mirror(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("listed");
        let place = to.join(entry.file_name());
        let kind = entry.file_type().expect("known");
        if kind.is_dir() {
            mirror(&entry.path(), &place);
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path()).expect("a link"), place).expect("linked");
        } else {
            symlink(entry.path(), place).expect("linked");
        }
    }
}

fn counted(losses: &Losses) -> Vec<(&'static str, u64)> {
    let get = |reason: Reason| (reason.name(), losses.get(Collector::Cgroup, reason));
    Reason::ALL.into_iter().map(get).filter(|(_, count)| *count > 0).collect()
}

/// The container with limits, as this kernel's v1 controllers tell of it.
fn web_by_v1() -> Resources {
    Resources {
        cpu: Cpu {
            user_ns: Some(900_000_000),
            system_ns: Some(30_000_000),
            bandwidth: Bandwidth {
                periods: Some(47),
                throttled_periods: Some(46),
                throttled_ns: Some(4_060_714_877),
            },
            quota_us: Some(20_000),
            period_us: Some(100_000),
            shares: Some(512),
        },
        memory: Memory {
            usage: Some(9_900_032),
            inactive_file: Some(0),
            max_usage: Some(67_108_864),
            anon: Some(9_428_992),
            file: Some(0),
            swap: Some(0),
            kernel: Some(274_432),
            mapped_file: Some(0),
            limit_hits: Some(46),
            oom_kills: Some(1),
            limit: Some(Limit::Bytes(67_108_864)),
            swap_limit: Some(Limit::Bytes(134_217_728)),
        },
        pressure: Pressures::default(),
        processes: Some(2),
        threads: Some(5),
    }
}

fn pressure(some_us: u64, full_us: u64) -> Pressure {
    Pressure { some_us: Some(some_us), full_us: Some(full_us) }
}

#[test]
fn a_hybrid_hosts_container_is_read_from_both() {
    let host = Host::fixture("hybrid");
    let expected = Resources {
        pressure: Pressures {
            cpu: pressure(2_390_422, 2_205_367),
            memory: pressure(4917, 1321),
            io: pressure(0, 0),
        },
        ..web_by_v1()
    };
    assert_eq!(host.read_whole(&host.path(WEB), &[]), expected);
}

#[test]
fn v1_without_swap_accounting_tells_nothing_of_swap_and_pressure() {
    let host = Host::fixture("v1");
    let expected = Resources {
        memory: Memory { swap: None, swap_limit: None, ..web_by_v1().memory },
        ..web_by_v1()
    };
    assert_eq!(host.read_whole(&host.path(WEB), &[]), expected);
}

#[test]
fn a_unified_hosts_container_is_told_in_the_same_terms() {
    let host = Host::fixture("v2");
    let expected = Resources {
        cpu: Cpu {
            user_ns: Some(896_232_000),
            system_ns: Some(45_000_000),
            bandwidth: Bandwidth {
                periods: Some(47),
                throttled_periods: Some(46),
                throttled_ns: Some(4_113_059_000),
            },
            quota_us: Some(20_000),
            period_us: Some(100_000),
            shares: Some(500),
        },
        memory: Memory {
            usage: Some(9_883_648),
            inactive_file: Some(0),
            max_usage: Some(67_108_864),
            anon: Some(9_412_608),
            file: Some(0),
            swap: Some(4096),
            kernel: Some(296_832),
            mapped_file: Some(0),
            limit_hits: Some(54),
            oom_kills: Some(1),
            limit: Some(Limit::Bytes(67_108_864)),
            swap_limit: Some(Limit::Bytes(67_108_864)),
        },
        pressure: Pressures {
            cpu: pressure(2_366_824, 2_224_944),
            memory: pressure(1266, 1266),
            io: pressure(0, 0),
        },
        processes: Some(2),
        threads: Some(5),
    };
    assert_eq!(host.read_whole(&host.path(WEB), &[]), expected);
}

#[test]
fn without_limits_there_are_none_and_nested_cgroups_processes_count() {
    for name in ["v1", "hybrid", "v2"] {
        let host = Host::fixture(name);
        let nested = ["/init.scope", "/system.slice"];
        let read = host.read_whole(&host.path(DB), &nested);
        assert_eq!(read.cpu.quota_us, None, "{name}");
        assert_eq!(read.cpu.period_us, Some(100_000), "{name}");
        assert_eq!(read.memory.limit, Some(Limit::Unlimited), "{name}");
        let swap_limit = (name != "v1").then_some(Limit::Unlimited);
        assert_eq!(read.memory.swap_limit, swap_limit, "{name}");
        assert_eq!(read.memory.oom_kills, Some(0), "{name}");
        assert_eq!(read.memory.inactive_file, Some(9_003_008), "{name}");
        assert_eq!(read.processes, Some(2), "{name}");
    }
}

#[test]
fn of_the_host_the_root_tells_what_it_has() {
    let unified = Host::fixture("v2").read_whole(HOST_PATH, &[]);
    assert_eq!(unified.memory.usage, Some(3_103_784_960 + 9_126_805_504));
    assert_eq!(unified.memory.swap, Some(12_582_912), "of meminfo");
    assert_eq!(unified.memory.working_set(), Some(12_230_590_464 - 6_080_887_808));
    assert_eq!(unified.memory.limit, Some(Limit::Bytes(25_276_514_304)), "of meminfo");
    assert_eq!(unified.memory.swap_limit, Some(Limit::Bytes(2_147_479_552)), "of meminfo");
    let Cpu { user_ns, shares, quota_us, period_us, bandwidth, .. } = unified.cpu;
    assert_eq!(user_ns, Some(12_880_585_933_000));
    assert_eq!((shares, quota_us, period_us), (None, None, None));
    // Zeroes, which are not shown: there is no quota.
    assert_eq!(bandwidth.throttled_ns, Some(0));
    assert_eq!(unified.pressure.cpu, pressure(4_729_609_083, 0));

    let hybrid = Host::fixture("hybrid").read_whole(HOST_PATH, &[]);
    assert_eq!(hybrid.memory.usage, Some(13_156_438_016));
    assert_eq!(hybrid.memory.swap, Some(0));
    assert_eq!(hybrid.cpu.shares, Some(1024));
    let v1 = Host::fixture("v1").read_whole(HOST_PATH, &[]);
    for root in [v1, hybrid] {
        let limits = (root.memory.limit, root.memory.swap_limit);
        let expected = (Some(Limit::Bytes(25_276_514_304)), Some(Limit::Bytes(0)));
        assert_eq!(limits, expected, "the machine's, as with cAdvisor");
    }
    for root in [unified, hybrid] {
        assert_eq!((root.processes, root.threads), (None, None));
    }
}

#[test]
fn an_error_of_the_kernels_costs_that_file_only() {
    let (host, _copy) = Host::copy("v2");
    let path = host.path(WEB);
    let before = host.read_whole(&path, &[]);
    for name in ["memory.stat", "cpu.max", "cgroup.procs"] {
        let file = host.cgroupfs().join(format!(".{path}/{name}"));
        fs::remove_file(&file).expect("removed");
        // Reading a directory is an error: EISDIR.
        fs::create_dir(&file).expect("made");
        let (mut after, losses) = host.read(&path, &[]);
        assert_eq!(counted(&losses), [("failed", 1)], "{name}");
        let mut others = before;
        clear(name, true, &mut others);
        assert_ne!(after, before, "{name}");
        clear(name, true, &mut after);
        assert_eq!(after, others, "{name}");
        fs::remove_dir(&file).expect("removed");
        symlink(Host::fixture("v2").cgroupfs().join(format!(".{path}/{name}")), file)
            .expect("linked");
    }
}

/// Takes away what a file tells.
fn clear(file: &str, is_unified: bool, resources: &mut Resources) {
    let Resources { cpu, memory, pressure, processes, threads } = resources;
    match file {
        "cpuacct.stat" => (cpu.user_ns, cpu.system_ns) = (None, None),
        "cpu.stat" => {
            cpu.bandwidth = Bandwidth::default();
            if is_unified {
                (cpu.user_ns, cpu.system_ns) = (None, None);
            }
        }
        "cpu.cfs_quota_us" => cpu.quota_us = None,
        "cpu.cfs_period_us" => cpu.period_us = None,
        "cpu.max" => (cpu.quota_us, cpu.period_us) = (None, None),
        "cpu.shares" | "cpu.weight" => cpu.shares = None,
        "memory.usage_in_bytes" | "memory.current" => memory.usage = None,
        "memory.max_usage_in_bytes" | "memory.peak" => memory.max_usage = None,
        "memory.kmem.usage_in_bytes" => memory.kernel = None,
        "memory.swap.current" => memory.swap = None,
        "memory.failcnt" => memory.limit_hits = None,
        "memory.oom_control" => memory.oom_kills = None,
        "memory.events" => (memory.limit_hits, memory.oom_kills) = (None, None),
        "memory.limit_in_bytes" | "memory.max" => memory.limit = None,
        "memory.memsw.limit_in_bytes" | "memory.swap.max" => memory.swap_limit = None,
        "memory.stat" => {
            (memory.inactive_file, memory.anon, memory.file) = (None, None, None);
            memory.mapped_file = None;
            if is_unified {
                memory.kernel = None;
            } else {
                memory.swap = None;
            }
        }
        "cpu.pressure" => pressure.cpu = Pressure::default(),
        "memory.pressure" => pressure.memory = Pressure::default(),
        "io.pressure" => pressure.io = Pressure::default(),
        "cgroup.procs" => *processes = None,
        "pids.current" => *threads = None,
        other => panic!("a file that nobody reads: {other}"),
    }
}
