//! Cgroup mounts: is there a hierarchy that tells whose CPU time it is?
//!
//! Says only whether the daemon has something to start from; which hierarchy it
//! takes is its cgroup source's decision.

use std::path::Path;

use procfs::{
    FromRead as _,
    process::{MountInfo, MountInfos},
};

use super::{Finding, Severity};

/// Version 1 controllers whose hierarchy can account CPU time.
const CPU_CONTROLLERS: [&str; 2] = ["cpuacct", "cpu"];

/// The mounts that this process sees, or why they cannot be told.
pub(super) fn mounts(procfs: &Path) -> Result<Vec<MountInfo>, String> {
    MountInfos::from_file(procfs.join("self/mountinfo"))
        .map(|mounts| mounts.0)
        .map_err(|error| error.to_string())
}

/// What a mount is to us: `cgroup2`, a version 1 controller, or nothing.
fn hierarchy(mount: &MountInfo) -> Option<&'static str> {
    match mount.fs_type.as_str() {
        "cgroup2" => Some("cgroup2"),
        "cgroup" => {
            CPU_CONTROLLERS.into_iter().find(|name| mount.super_options.contains_key(*name))
        }
        _ => None,
    }
}

pub(super) fn judge(mounts: &Result<Vec<MountInfo>, String>, cgroupfs: &Path) -> Finding {
    let mounts = match mounts {
        Ok(mounts) => mounts,
        Err(error) => {
            return Finding::new(
                Severity::MissingOnHost,
                "cgroups",
                format!("the mounts cannot be told: {error}"),
                "mount procfs, or point --path.procfs at it",
            );
        }
    };
    let usable =
        || mounts.iter().filter_map(|mount| Some((hierarchy(mount)?, mount.mount_point.as_path())));
    let here: Vec<_> = usable().filter(|(_, point)| point.starts_with(cgroupfs)).collect();
    if here.is_empty() {
        return not_here(usable().next(), cgroupfs);
    }
    let has = |wanted: &str| here.iter().any(|(kind, _)| *kind == wanted);
    let mode = match (has("cgroup2"), has("cpuacct") || has("cpu")) {
        (true, true) => "hybrid (version 2 beside version 1)",
        (true, false) => "version 2",
        (false, _) => "version 1",
    };
    let list: Vec<_> =
        here.iter().map(|(kind, point)| format!("{kind} at {}", point.display())).collect();
    Finding::fine("cgroups", format!("{mode}: {}", list.join(", ")))
}

fn not_here(elsewhere: Option<(&str, &Path)>, cgroupfs: &Path) -> Finding {
    let what = format!(
        "neither cgroup2 nor version 1's cpuacct or cpu is mounted at or below {}",
        cgroupfs.display()
    );
    let remedy = match elsewhere {
        Some((kind, point)) => {
            let point = point.display();
            format!("{kind} is mounted at {point}: use --path.cgroupfs={point}")
        }
        None => format!("sudo mount -t cgroup2 none {}", cgroupfs.display()),
    };
    Finding::new(Severity::MissingOnHost, "cgroups", what, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: &str = "/sys/fs/cgroup";

    fn judged(mountinfo: &str, cgroupfs: &str) -> Finding {
        let procfs = tempfile::tempdir().unwrap();
        std::fs::create_dir(procfs.path().join("self")).unwrap();
        std::fs::write(procfs.path().join("self/mountinfo"), mountinfo).unwrap();
        judge(&mounts(procfs.path()), Path::new(cgroupfs))
    }

    const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
37 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const LEGACY: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
33 31 0:30 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
";
    const USELESS: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
37 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
";

    #[test]
    fn each_kind_of_host_is_recognised() {
        for (mountinfo, what) in [
            (UNIFIED, "version 2: cgroup2 at /sys/fs/cgroup"),
            (
                HYBRID,
                "hybrid (version 2 beside version 1): cpuacct at /sys/fs/cgroup/cpu,cpuacct, \
                 cgroup2 at /sys/fs/cgroup/unified",
            ),
            (LEGACY, "version 1: cpu at /sys/fs/cgroup/cpu"),
        ] {
            assert_eq!(judged(mountinfo, DEFAULT), Finding::fine("cgroups", what));
        }
    }

    #[test]
    fn no_usable_mount_is_the_hosts_lack() {
        for mountinfo in ["", USELESS] {
            let finding = judged(mountinfo, DEFAULT);
            assert_eq!(finding.severity, Severity::MissingOnHost, "{mountinfo}");
            assert!(finding.remedy.contains("mount -t cgroup2"), "{finding:?}");
        }
    }

    #[test]
    fn a_mount_elsewhere_is_pointed_out() {
        let finding = judged(UNIFIED, "/host/cgroup");
        assert_eq!(finding.severity, Severity::MissingOnHost);
        assert!(finding.remedy.ends_with("--path.cgroupfs=/sys/fs/cgroup"), "{finding:?}");
        let beside = judged(UNIFIED, "/sys/fs/cgro");
        assert_eq!(beside.severity, Severity::MissingOnHost, "a prefix of a name is no parent");
    }

    #[test]
    fn unreadable_mounts_are_said_to_be_so() {
        let finding = judge(&mounts(Path::new("/absent")), Path::new(DEFAULT));
        assert_eq!(finding.severity, Severity::MissingOnHost);
        assert!(finding.what.contains("cannot be told"), "{finding:?}");
    }
}
