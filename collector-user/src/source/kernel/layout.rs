//! Which kernel fields the programs read, and where this kernel keeps them.
//!
//! Owns the list that `collector-ebpf/src/layout.rs` declares on its side, and the
//! rules of what may be missing: a field without which CPU time can't be told is an
//! error that names it; any other switches off what depends on it.

use collector_ebpf::packets::NAME_BYTES;

use super::btf::{Btf, Member};
use crate::source::cgroupfs::{Hierarchy, Kind};

/// What the programs take for "this kernel has no such field".
const ABSENT: u64 = u64::MAX;

/// Where one of the programs' fields may be found.
struct Field {
    /// Name of the programs' global.
    global: &'static str,
    /// Struct and path, newest kernel first.
    candidates: &'static [(&'static str, &'static str)],
    /// Bytes that the programs read; the field must be at least as wide, and no
    /// narrower read of a big-endian kernel is attempted.
    bytes: u64,
    /// What is lost without it; `None` where nothing works without it.
    without: Option<&'static str>,
}

const fn required(
    global: &'static str,
    candidates: &'static [(&'static str, &'static str)],
    bytes: u64,
) -> Field {
    Field { global, candidates, bytes, without: None }
}

const fn optional(
    global: &'static str,
    candidates: &'static [(&'static str, &'static str)],
    bytes: u64,
    without: &'static str,
) -> Field {
    Field { global, candidates, bytes, without: Some(without) }
}

/// Without it there are no waits.
pub(super) const RUN_DELAY: &str = "TASK_RUN_DELAY";

/// Switches that fire no tracepoint can then not be made good.
const NO_REPAIR: &str = "slices of missed switches are lost (and counted)";

const FIELDS: &[Field] = &[
    required("TASK_PID", &[("task_struct", "pid")], 4),
    required("TASK_SUM_EXEC", &[("task_struct", "se.sum_exec_runtime")], 8),
    required("TASK_EXEC_START", &[("task_struct", "se.exec_start")], 8),
    required("TASK_CGROUPS", &[("task_struct", "cgroups")], 8),
    required("CGROUP_KN", &[("cgroup", "kn")], 8),
    required("CGROUP_ROOT", &[("cgroup", "root")], 8),
    required("ROOT_HIERARCHY", &[("cgroup_root", "hierarchy_id")], 4),
    required("KN_ID", &[("kernfs_node", "id")], 8),
    optional(
        RUN_DELAY,
        &[("task_struct", "sched_info.run_delay")],
        8,
        "there are no run-queue waits (the kernel was built without CONFIG_SCHED_INFO)",
    ),
    optional("TASK_PREV_SUM_EXEC", &[("task_struct", "se.prev_sum_exec_runtime")], 8, NO_REPAIR),
    optional("TASK_PRIO", &[("task_struct", "prio")], 4, NO_REPAIR),
    optional("TASK_ON_CPU", &[("task_struct", "on_cpu")], 4, NO_REPAIR),
    // 5.16 moved the CPU into thread_info (bcf9033e5449).
    optional(
        "TASK_CPU",
        &[("task_struct", "thread_info.cpu"), ("task_struct", "cpu")],
        4,
        NO_REPAIR,
    ),
];

/// What packets are accounted by.
const PACKET_FIELDS: &[Field] = &[
    required("SKB_DEVICE", &[("sk_buff", "dev")], 8),
    required("SKB_LEN", &[("sk_buff", "len")], 4),
    required("SKB_DATA", &[("sk_buff", "data")], 8),
    required("SKB_HEAD", &[("sk_buff", "head")], 8),
    required("SKB_MAC_HEADER", &[("sk_buff", "mac_header")], 2),
    required("DEVICE_IFINDEX", &[("net_device", "ifindex")], 4),
    required("DEVICE_NAME", &[("net_device", "name")], NAME_BYTES as u64),
    required("DEVICE_NET", &[("net_device", "nd_net.net")], 8),
    required("NET_INUM", &[("net", "ns.inum")], 4),
    optional("DEVICE_OPS", &[("net_device", "rtnl_link_ops")], 8, NO_LINK_KIND),
    optional("OPS_KIND", &[("rtnl_link_ops", "kind")], 8, NO_LINK_KIND),
    optional("DEVICE_FEATURES", &[("net_device", "features")], 8, NO_FEATURES),
];

/// All interfaces are then taken for physical ones.
const NO_LINK_KIND: &str = "the kinds of network interfaces are not known";

/// The audit then takes merged packets for missing ones.
const NO_FEATURES: &str = "network interfaces that merge packets are not known";

/// Then a network is known by its inode number.
const NO_COOKIE: &str = "no field net.net_cookie: a network that gets the number of one that \
                         has just ended may be taken for it";

/// The tracepoints of packets, and the arguments that the programs use of each.
const PACKET_TRACEPOINTS: [(&str, usize); 2] = [("net_dev_xmit", 4), ("netif_receive_skb", 1)];

/// Before 5.18 (fa2c3254d7cf) the tracepoint did not hand over the state; 5.14
/// (2f064a59a11f) renamed the field.
const STATE: Field =
    required("TASK_STATE", &[("task_struct", "__state"), ("task_struct", "state")], 4);

/// Arguments of `sched_switch` where `prev_state` is among them.
const ARGUMENTS_WITH_STATE: usize = 4;

/// The programs' globals for the running kernel.
#[derive(Debug)]
pub struct Layout {
    /// Name and value of each global.
    pub globals: Vec<(&'static str, u64)>,
    /// Whether the tick can be followed.
    pub ticks: bool,
    /// Whether packets are to be accounted, and can be.
    pub packets: bool,
    /// What this kernel can't tell, for people.
    pub degraded: Vec<String>,
}

impl Layout {
    /// Finds every field in the running kernel's BTF.
    ///
    /// # Errors
    /// The names of *all* the required fields and tracepoints that are missing.
    pub fn resolve(btf: &Btf, hierarchy: &Hierarchy) -> Result<Self, Vec<String>> {
        let mut layout =
            Self { globals: Vec::new(), ticks: false, packets: false, degraded: Vec::new() };
        let mut missing = Vec::new();
        for field in FIELDS {
            layout.place(btf, field, &mut missing);
        }
        match btf.tracepoint_arguments("sched_switch") {
            None => missing.push("tracepoint sched_switch".to_owned()),
            Some(arguments) if arguments >= ARGUMENTS_WITH_STATE => {
                layout.globals.push((STATE.global, ABSENT));
            }
            Some(_) => layout.place(btf, &STATE, &mut missing),
        }
        for tracepoint in ["cgroup_mkdir", "cgroup_rmdir"] {
            if btf.tracepoint_arguments(tracepoint).is_none() {
                missing.push(format!("tracepoint {tracepoint}"));
            }
        }
        layout.place_hop(btf, hierarchy, &mut missing);
        layout.place_tick(btf);
        if missing.is_empty() { Ok(layout) } else { Err(missing) }
    }

    /// Finds what packets are accounted by; if anything is missing, they are not, and that
    /// is told. Without a call the programs have none of it.
    pub fn place_packets(&mut self, btf: &Btf) {
        let mut missing = Vec::new();
        for field in PACKET_FIELDS {
            self.place(btf, field, &mut missing);
        }
        for (tracepoint, arguments) in PACKET_TRACEPOINTS {
            if btf.tracepoint_arguments(tracepoint).is_none_or(|found| found < arguments) {
                missing.push(format!("tracepoint {tracepoint}"));
            }
        }
        // 5.12 (3d368ab87cf6) made it a number that every namespace has from the start;
        // before, it was an atomic that is 0 until somebody asks for it.
        let counter = btf.member("net", "net_cookie.counter");
        let cookie = btf.member("net", "net_cookie").filter(|_| counter.is_none());
        if cookie.is_none() {
            self.degraded.push(NO_COOKIE.to_owned());
        }
        self.globals.push(("NET_COOKIE", cookie.map_or(ABSENT, |member| member.offset)));
        // Of an enumeration without a name (include/linux/netdev_features.h).
        let gro = btf.enumerator("", "NETIF_F_GRO_BIT").and_then(|bit| 1_u64.checked_shl(bit));
        self.globals.push(("GRO", gro.unwrap_or(0)));
        self.packets = missing.is_empty();
        if !self.packets {
            self.degraded.push(format!("packets are not accounted: no {}", missing.join(", no ")));
        }
    }

    /// Whether this kernel has the field behind a global.
    pub(super) fn has(&self, global: &str) -> bool {
        self.globals.iter().any(|&(name, offset)| name == global && offset != ABSENT)
    }

    fn place(&mut self, btf: &Btf, field: &Field, missing: &mut Vec<String>) {
        let offset = field
            .candidates
            .iter()
            .filter_map(|(structure, path)| btf.member(structure, path))
            .find(|member| wide_enough(*member, field.bytes))
            .map(|member| member.offset);
        let (structure, path) = field.candidates[0];
        match (offset, field.without) {
            (Some(offset), _) => self.globals.push((field.global, offset)),
            (None, Some(without)) => {
                self.globals.push((field.global, ABSENT));
                self.degraded.push(format!("no field {structure}.{path}: {without}"));
            }
            (None, None) => missing.push(format!("field {structure}.{path}")),
        }
    }

    /// The tick needs a tracepoint, and a helper of 5.11 (3ca1032ab7ab).
    fn place_tick(&mut self, btf: &Btf) {
        let helper = btf.enumerator("bpf_func_id", "BPF_FUNC_get_current_task_btf");
        self.ticks = helper.is_some() && btf.tracepoint_arguments("hrtimer_expire_exit").is_some();
        if !self.ticks {
            self.degraded.push(
                "the tick can't be followed (Linux 5.11 or later): a slice in flight after a \
                 missed switch shows late"
                    .to_owned(),
            );
        }
    }

    /// From a task's `css_set` to its cgroup in the accounted hierarchy.
    fn place_hop(&mut self, btf: &Btf, hierarchy: &Hierarchy, missing: &mut Vec<String>) {
        match &hierarchy.kind {
            Kind::Unified => {
                match btf.member("css_set", "dfl_cgrp") {
                    Some(member) => self.globals.push(("CSS_SET_HOP", member.offset)),
                    None => missing.push("field css_set.dfl_cgrp".to_owned()),
                }
                self.globals.push(("CSS_CGROUP", ABSENT));
            }
            Kind::Cpuacct { controller } => {
                // The index shifts with the kernel's configuration.
                let index = btf.enumerator("cgroup_subsys_id", &format!("{controller}_cgrp_id"));
                match (btf.member("css_set", "subsys"), index) {
                    (Some(array), Some(index)) => {
                        self.globals.push(("CSS_SET_HOP", array.offset + 8 * u64::from(index)));
                    }
                    (_, None) => missing.push(format!("cgroup controller {controller}")),
                    (None, _) => missing.push("field css_set.subsys".to_owned()),
                }
                match btf.member("cgroup_subsys_state", "cgroup") {
                    Some(member) => self.globals.push(("CSS_CGROUP", member.offset)),
                    None => missing.push("field cgroup_subsys_state.cgroup".to_owned()),
                }
            }
        }
        self.globals.push(("HIERARCHY", u64::from(hierarchy.hierarchy_id)));
    }
}

fn wide_enough(member: Member, bytes: u64) -> bool {
    member.size.is_some_and(|size| size >= bytes)
}

#[cfg(test)]
mod tests;
