//! Hosts of every kind, from their files; and this host, whatever it is.

use tempfile::{TempDir, tempdir};

use super::*;
use crate::source::cgroupfs::walk;

const V2: &str = "31 23 0:28 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
const V1_TOGETHER: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
";
const V1_APART: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct
";
const V1_CPU_ONLY: &str = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
const V2_BESIDE: &str = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
const SYSTEMD_ONLY: &str = "\
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n";

const PREFIX: &str = "/sys/fs/cgroup";
const ID: &str = "4cb3a3c0f9a2f5d2d2b6cb6e9c54a3c6b8a1a5d6ab0fd3f0d2e9c0d4f8e71b23";

fn available(mountinfo: &str) -> Available {
    Available::among(&mounts::parse(mountinfo), Path::new(PREFIX))
}

/// Kind and mount point picked, on a host whose containers do or don't avoid the
/// unified hierarchy.
fn picked(mountinfo: &str, choice: Choice, avoid: bool) -> Option<(Kind, String)> {
    let (kind, mount) = available(mountinfo).pick(choice, |_| avoid)?;
    Some((kind, mount.to_str().unwrap().trim_start_matches(PREFIX).to_owned()))
}

#[test]
fn every_kind_of_host_has_its_mode() {
    assert_eq!(available(V2).mode(), Mode::V2);
    assert_eq!(available(&[V2, SYSTEMD_ONLY].concat()).mode(), Mode::V2);
    assert_eq!(available(V1_TOGETHER).mode(), Mode::V1);
    assert_eq!(available(&[V1_APART, V2_BESIDE].concat()).mode(), Mode::Hybrid);
}

#[test]
fn auto_takes_the_unified_hierarchy_where_containers_are_in_it() {
    let unified = |place: &str| Some((Kind::Unified, place.to_owned()));
    let v1 = |controller, place: &str| Some((Kind::Cpuacct { controller }, place.to_owned()));
    let hybrid = [V1_APART, V2_BESIDE].concat();
    assert_eq!(picked(V2, Choice::Auto, true), unified(""));
    assert_eq!(picked(&hybrid, Choice::Auto, false), unified("/unified"));
    assert_eq!(picked(&hybrid, Choice::Auto, true), v1("cpuacct", "/cpuacct"));
    assert_eq!(picked(V1_APART, Choice::Auto, false), v1("cpuacct", "/cpuacct"));
    assert_eq!(picked(V1_TOGETHER, Choice::Auto, false), v1("cpuacct", "/cpu,cpuacct"));
    assert_eq!(picked(V1_CPU_ONLY, Choice::Auto, false), v1("cpu", "/cpu"));
}

#[test]
fn a_choice_is_kept_to() {
    let hybrid = [V1_APART, V2_BESIDE].concat();
    assert_eq!(picked(&hybrid, Choice::Unified, true).unwrap().0, Kind::Unified);
    let cpuacct = Kind::Cpuacct { controller: "cpuacct" };
    assert_eq!(picked(&hybrid, Choice::Cpuacct, false).unwrap().0, cpuacct);
    assert_eq!(picked(V1_APART, Choice::Unified, true), None);
    assert_eq!(picked(V2, Choice::Cpuacct, true), None);
}

#[test]
fn what_is_lacking_is_named() {
    let lack = |mountinfo, choice| {
        available(mountinfo).lack(choice, &mounts::parse(mountinfo), Path::new(PREFIX))
    };
    assert!(matches!(lack(V1_APART, Choice::Unified), HierarchyError::NoUnified));
    assert!(matches!(lack(V2, Choice::Cpuacct), HierarchyError::NoCpuacct));
    for choice in [Choice::Auto, Choice::Unified, Choice::Cpuacct] {
        let error = lack(SYSTEMD_ONLY, choice);
        assert!(matches!(&error, HierarchyError::NothingBelow { .. }));
        assert!(error.to_string().contains("--path.cgroupfs"), "{error}");
    }
}

#[test]
fn a_mount_elsewhere_is_pointed_out() {
    let lack = |mountinfo: &str| {
        let (mounts, prefix) = (mounts::parse(mountinfo), Path::new("/host/cgroup"));
        let available = Available::among(&mounts, prefix);
        available.lack(Choice::Auto, &mounts, prefix).to_string()
    };
    let odd = "31 23 0:28 / /dev/cg2 rw - cgroup2 cgroup rw";
    assert!(lack(odd).ends_with("--path.cgroupfs=/dev/cg2"), "{}", lack(odd));
    let legacy = "32 31 0:29 / /cgroup/cpu rw - cgroup cgroup rw,cpu";
    assert!(lack(legacy).ends_with("--path.cgroupfs=/cgroup/cpu"), "{}", lack(legacy));
    assert!(lack("").ends_with("as --path.cgroupfs"), "{}", lack(""));
}

/// `/proc/PID/cgroup` of a process in the given v1 and unified cgroups.
fn process(v1: &str, unified: &str) -> String {
    format!("9:name=systemd:/\n2:cpu,cpuacct:{v1}\n1:memory:{v1}\n0::{unified}\n")
}

#[test]
fn running_containers_tell_where_runtimes_make_cgroups() {
    let container = format!("/docker/{ID}");
    let new = || process(&container, &container);
    let old = || process(&container, "/");
    let other = || process("/", "/system.slice/ssh.service");
    let outside = |all: Vec<String>| mostly_outside_unified(all.into_iter(), "cpuacct");
    assert!(!outside(vec![]));
    assert!(!outside(vec![other(), other()]));
    assert!(!outside(vec![other(), new()]));
    assert!(outside(vec![other(), old()]));
    // One process put somewhere by hand does not turn it round.
    assert!(!outside(vec![old(), new(), new()]));
    assert!(!outside(vec!["not a cgroup file".to_owned()]));
    // Of another controller nothing is known.
    assert!(!mostly_outside_unified([old()].into_iter(), "cpu.x"));
}

/// Makes a file in a directory, and the directories above it.
fn write(root: &TempDir, path: &str, text: &str) {
    let path = root.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn processes_are_read_from_procfs() {
    let proc = tempdir().unwrap();
    write(&proc, "1/cgroup", &process("/", "/"));
    fs::create_dir(proc.path().join("77")).unwrap();
    write(&proc, "self/cgroup", "");
    assert!(!containers_avoid_unified(proc.path(), "cpuacct"));
    write(&proc, "42/cgroup", &process(&format!("/docker/{ID}"), "/"));
    assert!(containers_avoid_unified(proc.path(), "cpuacct"));
    assert!(!containers_avoid_unified(&proc.path().join("gone"), "cpuacct"));
}

#[test]
fn a_v1_hierarchy_has_the_kernels_number() {
    let proc = tempdir().unwrap();
    write(&proc, "self/cgroup", &process("/", "/"));
    assert_eq!(hierarchy_number(proc.path(), "cpuacct").unwrap(), 2);
    assert_eq!(hierarchy_number(proc.path(), "memory").unwrap(), 1);
    let error = hierarchy_number(proc.path(), "pids").unwrap_err();
    assert!(matches!(error, HierarchyError::NoNumber { controller: "pids", .. }));
}

/// `detect` on a host whose mountinfo is given, with cgroups (if any) below `host`.
fn detected(host: &TempDir, mountinfo: &str) -> HierarchyError {
    write(host, "proc/self/mountinfo", mountinfo);
    let (procfs, cgroupfs) = (host.path().join("proc"), host.path().join("cgroup"));
    let paths = Paths { procfs: &procfs, cgroupfs: &cgroupfs };
    detect(paths, Choice::Auto).unwrap_err()
}

#[test]
fn a_host_without_cgroups_is_told_so() {
    let host = tempdir().unwrap();
    let error = detected(&host, "22 27 0:21 / /proc rw,relatime - proc proc rw\n");
    assert!(matches!(&error, HierarchyError::NothingMounted { .. }));
    assert!(error.to_string().contains("mount -t cgroup2"), "{error}");
    let error = detected(&host, V2);
    assert!(matches!(error, HierarchyError::Look { .. }), "the prefix does not exist");
    fs::create_dir(host.path().join("cgroup")).unwrap();
    let error = detected(&host, V2);
    assert!(matches!(error, HierarchyError::NotCgroups { .. }), "a plain directory");
    let gone = Paths { procfs: Path::new("/nonexistent"), cgroupfs: Path::new(PREFIX) };
    let error = detect(gone, Choice::Auto).unwrap_err();
    assert!(error.to_string().contains("--path.procfs"), "{error}");
}

/// Any Linux: what `detect` says must be true of the host, and its walk must find the
/// cgroups that are there.
#[test]
fn this_hosts_own_hierarchy_is_walked() {
    let paths = Paths { procfs: Path::new("/proc"), cgroupfs: Path::new(PREFIX) };
    let hierarchy = match detect(paths, Choice::Auto) {
        Ok(hierarchy) => hierarchy,
        // A container of its own, or a machine without cgroups: told, not guessed.
        Err(error) => return assert!(error.to_string().len() > 20, "{error}"),
    };
    assert_eq!(fs::metadata(&hierarchy.mount).unwrap().ino(), ROOT_INODE);
    assert_eq!(hierarchy.hierarchy_id == 0, hierarchy.kind == Kind::Unified);
    let walk = walk(&hierarchy);
    assert_eq!((walk.cgroups[0].id, walk.cgroups[0].path.as_str()), (ROOT_INODE, "/"));
    // A cgroup's own directory has a file that no other directory has.
    for found in walk.cgroups.iter().take(100) {
        let directory = hierarchy.mount.join(found.path.trim_start_matches('/'));
        assert!(!directory.exists() || directory.join("cgroup.procs").exists(), "{}", found.path);
    }
}

/// The real files of a partial view: a cgroup that is not the root, taken for a mount.
#[test]
fn a_partial_view_is_refused() {
    let paths = Paths { procfs: Path::new("/proc"), cgroupfs: Path::new(PREFIX) };
    let Ok(hierarchy) = detect(paths, Choice::Auto) else { return };
    let walk = walk(&hierarchy);
    let Some(inner) = walk.cgroups.get(1) else { return };
    let error = check_root(&hierarchy.mount.join(inner.path.trim_start_matches('/')));
    let refused = matches!(
        error,
        // Look: it has gone meanwhile.
        Err(HierarchyError::Partial { .. } | HierarchyError::Look { .. })
    );
    assert!(refused);
}
