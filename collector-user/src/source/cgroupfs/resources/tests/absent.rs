//! What is not there, or can't be trusted: its values are missing, counted, and no others.

use super::*;
use crate::source::losses::tests::logged;

#[test]
fn a_controller_whose_hierarchy_has_no_such_cgroup_tells_nothing_of_it() {
    let (host, _copy) = Host::copy("hybrid");
    let path = host.path(WEB);
    let before = host.read_whole(&path, &[]);
    fs::remove_dir_all(host.cgroupfs().join(format!("memory{path}"))).expect("removed");
    let after = host.read_whole(&path, &[]);
    assert_eq!(after, Resources { memory: Memory::default(), ..before });
}

#[test]
fn a_cgroup_that_has_gone_is_counted_once() {
    let (host, _copy) = Host::copy("hybrid");
    let path = host.path(WEB);
    assert_eq!(counted(&host.read("/docker/none", &[]).1), [("vanished", 1)]);
    fs::remove_file(host.cgroupfs().join(format!("unified{path}/cgroup.procs"))).expect("removed");
    let (read, losses) = host.read(&path, &["/nested"]);
    assert_eq!(counted(&losses), [("vanished", 1)], "its directory had been opened");
    assert_eq!(read.processes, None);
}

#[test]
fn a_nested_cgroup_that_has_gone_takes_only_its_own_processes_along() {
    let host = Host::fixture("v2");
    let path = host.path(DB);
    let (read, losses) = host.read(&path, &["/init.scope", "/gone", "/system.slice"]);
    assert_eq!(counted(&losses), [("vanished", 1)]);
    assert_eq!(read.processes, Some(2));
}

#[test]
fn a_host_without_meminfo_has_no_limits_and_says_so() {
    // Of the copies' procfs only what is its reader's own is there.
    for name in ["v1", "hybrid", "v2"] {
        let (host, _copy) = Host::copy(name);
        let (read, losses) = host.read(HOST_PATH, &[]);
        assert_eq!(counted(&losses), [("failed", 1)], "{name}");
        assert_eq!((read.memory.limit, read.memory.swap_limit), (None, None), "{name}");
        assert!(read.memory.usage.is_some(), "{name}");
    }
}

#[test]
fn v1s_lists_are_not_trusted_outside_of_the_hosts_pid_namespace() {
    for (link, reason) in [(Some("pid:[4026532211]"), "hidden"), (None, "failed")] {
        for name in ["v1", "hybrid", "v2"] {
            let (host, _copy) = Host::copy(name);
            let path = host.path(WEB);
            let before = host.read_whole(&path, &[]);
            let ns = host.root.join("proc/self/ns/pid");
            fs::remove_file(&ns).expect("removed");
            if let Some(link) = link {
                symlink(link, &ns).expect("linked");
            }
            let (after, losses) = host.read(&path, &[]);
            let (processes, lost) =
                if name == "v1" { (None, vec![(reason, 1)]) } else { (Some(2), vec![]) };
            assert_eq!(after, Resources { processes, ..before }, "{name}");
            assert_eq!(counted(&losses), lost, "{name}");
            let gone = host.read("/docker/none", &[]).1;
            assert_eq!(counted(&gone), [("vanished", 1)], "{name}");
        }
    }
}

#[test]
fn the_log_names_the_file_that_does_not_tell() {
    let (host, _copy) = Host::copy("v1");
    let path = host.path(WEB);
    for (mount, name, inside) in
        [("memory", "memory.stat", "total_rss x\n"), ("cpu,cpuacct", "cgroup.procs", "-1\n")]
    {
        let file = host.cgroupfs().join(format!("{mount}{path}/{name}"));
        fs::remove_file(&file).expect("removed");
        fs::write(&file, inside).expect("written");
        let said = logged(|| {
            host.read(&path, &[]);
        });
        let file = format!("file={}", file.display()).replace("cgroup.procs", "./cgroup.procs");
        let lines = said.lines().filter(|line| line.contains(&file));
        assert_eq!(lines.count(), 1, "{file} in {said}");
        assert!(said.contains("collector=cgroup") && said.contains("malformed"), "{said}");
    }
}
