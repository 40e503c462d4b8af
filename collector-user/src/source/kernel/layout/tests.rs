//! Against the running kernel's own BTF, as it is and with fields renamed, as a later
//! kernel may.

use std::{collections::BTreeSet, path::PathBuf};

use super::*;
use crate::source::cgroupfs::Mode;

/// The running kernel's BTF after `renamed`, each a name that becomes another of the
/// same length.
fn kernel(renamed: &[&str]) -> Btf {
    let mut bytes = std::fs::read("/sys/kernel/btf/vmlinux").expect("a kernel with BTF");
    for name in renamed {
        let word = format!("\0{name}\0").into_bytes();
        let places: Vec<usize> = bytes
            .windows(word.len())
            .enumerate()
            .filter(|(_, found)| *found == word)
            .map(|(at, _)| at)
            .collect();
        assert!(!places.is_empty(), "{name} is a name in this kernel");
        for at in places {
            bytes[at + 1] = b'!';
        }
    }
    Btf::parse(bytes).expect("readable BTF")
}

fn hierarchy(kind: Kind, hierarchy_id: u32) -> Hierarchy {
    Hierarchy { kind, mode: Mode::Hybrid, mount: PathBuf::from("/sys/fs/cgroup"), hierarchy_id }
}

fn unified() -> Hierarchy {
    hierarchy(Kind::Unified, 0)
}

fn global(layout: &Layout, name: &str) -> u64 {
    let found: Vec<u64> = layout
        .globals
        .iter()
        .filter(|(global, _)| *global == name)
        .map(|(_, value)| *value)
        .collect();
    assert_eq!(found.len(), 1, "{name} is set once");
    found[0]
}

#[test]
fn the_running_kernel_has_all_that_is_needed() {
    let btf = kernel(&[]);
    let layout = Layout::resolve(&btf, &unified()).expect("nothing is missing");
    let offset = |structure, path| btf.member(structure, path).expect("a field").offset;
    for (name, value) in [
        ("TASK_PID", offset("task_struct", "pid")),
        ("TASK_SUM_EXEC", offset("task_struct", "se.sum_exec_runtime")),
        ("CSS_SET_HOP", offset("css_set", "dfl_cgrp")),
        ("KN_ID", offset("kernfs_node", "id")),
        ("CSS_CGROUP", ABSENT),
        ("HIERARCHY", 0),
    ] {
        assert_eq!(global(&layout, name), value, "{name}");
    }
}

#[test]
fn both_sides_have_the_same_list_of_globals() {
    let programs = include_str!("../../../../../collector-ebpf/src/layout.rs");
    let list = programs.split_once("\nlayout! {\n").expect("the list").1;
    let declared: BTreeSet<&str> = list
        .lines()
        .take_while(|line| *line != "}")
        .filter_map(|line| line.trim().strip_suffix(','))
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))
        .chain(["HIERARCHY", "GRO"])
        .collect();
    assert!(declared.len() > 10, "{declared:?}");
    for hierarchy in [unified(), hierarchy(Kind::Cpuacct { controller: "cpu" }, 3)] {
        let btf = kernel(&[]);
        let mut layout = Layout::resolve(&btf, &hierarchy).expect("nothing is missing");
        layout.place_packets(&btf);
        let written: BTreeSet<&str> = layout.globals.iter().map(|(name, _)| *name).collect();
        assert_eq!(written, declared, "{hierarchy}");
    }
}

#[test]
fn a_v1_hierarchy_is_reached_through_its_controller() {
    let btf = kernel(&[]);
    let cpu = hierarchy(Kind::Cpuacct { controller: "cpu" }, 3);
    let layout = Layout::resolve(&btf, &cpu).expect("nothing is missing");
    let index = btf.enumerator("cgroup_subsys_id", "cpu_cgrp_id").expect("the controller");
    let array = btf.member("css_set", "subsys").expect("the array").offset;
    assert_eq!(global(&layout, "CSS_SET_HOP"), array + 8 * u64::from(index));
    let cgroup = btf.member("cgroup_subsys_state", "cgroup").expect("the cgroup").offset;
    assert_eq!(global(&layout, "CSS_CGROUP"), cgroup);
    assert_eq!(global(&layout, "HIERARCHY"), 3);

    let unknown = hierarchy(Kind::Cpuacct { controller: "no_such" }, 3);
    let missing = Layout::resolve(&btf, &unknown).expect_err("no such controller");
    assert_eq!(missing, ["cgroup controller no_such"]);
}

#[test]
fn all_that_is_missing_is_named_at_once() {
    let btf = kernel(&["sum_exec_runtime", "dfl_cgrp", "btf_trace_cgroup_mkdir"]);
    let missing = Layout::resolve(&btf, &unified()).expect_err("three things are missing");
    assert_eq!(
        missing,
        [
            "field task_struct.se.sum_exec_runtime",
            "tracepoint cgroup_mkdir",
            "field css_set.dfl_cgrp"
        ]
    );
    let error = crate::source::kernel::LoadError::Missing(missing).to_string();
    assert!(error.contains("se.sum_exec_runtime, tracepoint cgroup_mkdir, field css"), "{error}");
}

#[test]
fn without_an_optional_field_the_rest_works_and_the_loss_is_told() {
    let whole = Layout::resolve(&kernel(&[]), &unified()).expect("nothing is missing");
    let btf = kernel(&["prev_sum_exec_runtime", "on_cpu"]);
    let layout = Layout::resolve(&btf, &unified()).expect("nothing needed is missing");
    assert_eq!(layout.degraded.len(), whole.degraded.len() + 2);
    for (name, field) in [
        ("TASK_PREV_SUM_EXEC", "task_struct.se.prev_sum_exec_runtime"),
        ("TASK_ON_CPU", "task_struct.on_cpu"),
    ] {
        assert_eq!(global(&layout, name), ABSENT);
        let told = format!("no field {field}: {NO_REPAIR}");
        assert!(layout.degraded.contains(&told), "{:?}", layout.degraded);
    }
}

#[test]
fn without_what_packets_need_only_they_are_lost() {
    let place = |renamed: &[&str]| {
        let btf = kernel(renamed);
        let mut layout = Layout::resolve(&btf, &unified()).expect("CPU time can be told");
        let before = layout.degraded.len();
        layout.place_packets(&btf);
        (layout.packets, layout.degraded.split_off(before))
    };
    assert_eq!(place(&[]), (true, vec![]));
    assert_eq!(
        place(&["mac_header", "btf_trace_net_dev_xmit"]),
        (
            false,
            vec![
                "packets are not accounted: no field sk_buff.mac_header, no tracepoint \
                 net_dev_xmit"
                    .to_owned()
            ]
        )
    );
    let (packets, degraded) = place(&["rtnl_link_ops"]);
    assert!(packets, "what is lost is the kind of an interface");
    assert_eq!(degraded.len(), 2, "{degraded:?}");
}

#[test]
fn a_namespace_without_a_cookie_is_known_by_its_inode_number() {
    let cookie = |renamed: &[&str]| {
        let btf = kernel(renamed);
        let mut layout = Layout::resolve(&btf, &unified()).expect("nothing is missing");
        layout.place_packets(&btf);
        let is_told = layout.degraded.iter().any(|it| it == NO_COOKIE);
        (layout.packets, global(&layout, "NET_COOKIE"), is_told)
    };
    let offset = kernel(&[]).member("net", "net_cookie").expect("5.12 or later").offset;
    assert_eq!(cookie(&[]), (true, offset, false));
    assert_eq!(cookie(&["net_cookie"]), (true, ABSENT, true));
}
