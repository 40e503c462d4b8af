//! Where the running kernel keeps the fields that the programs read.
//!
//! Rust has no CO-RE relocations: user space finds each offset in the kernel's BTF
//! and writes it here before the load (`source::kernel::layout` has the same list).
//! The verifier sees frozen constants, so a branch on an absent field costs nothing
//! and a wrong offset is refused at load where its type does not fit.

use aya_ebpf::Global;

/// An offset of a field that this kernel does not have.
pub(crate) const ABSENT: u64 = u64::MAX;

macro_rules! layout {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        $(
            $(#[$doc])*
            #[unsafe(no_mangle)]
            pub(crate) static $name: Global<u64> = Global::new(ABSENT);
        )*
    };
}

layout! {
    /// `task_struct.pid`
    TASK_PID,
    /// `task_struct.se.sum_exec_runtime`
    TASK_SUM_EXEC,
    /// `task_struct.se.prev_sum_exec_runtime`
    TASK_PREV_SUM_EXEC,
    /// `task_struct.se.exec_start`
    TASK_EXEC_START,
    /// `task_struct.sched_info.run_delay`
    TASK_RUN_DELAY,
    /// `task_struct.prio`: 100 and more is the fair class
    TASK_PRIO,
    /// `task_struct.on_cpu`
    TASK_ON_CPU,
    /// `task_struct.thread_info.cpu`, before 5.16 `task_struct.cpu`
    TASK_CPU,
    /// `task_struct.__state`, before 5.14 `state`; [`ABSENT`] where the tracepoint
    /// hands the state over (5.18 and later)
    TASK_STATE,
    /// `task_struct.cgroups`
    TASK_CGROUPS,
    /// `css_set.dfl_cgrp`, or `css_set.subsys[cpuacct]` on a v1 hierarchy
    CSS_SET_HOP,
    /// `cgroup_subsys_state.cgroup` on a v1 hierarchy; [`ABSENT`] on the unified one
    CSS_CGROUP,
    /// `cgroup.kn`
    CGROUP_KN,
    /// `cgroup.root`
    CGROUP_ROOT,
    /// `cgroup_root.hierarchy_id`
    ROOT_HIERARCHY,
    /// `kernfs_node.id`
    KN_ID,
    /// `sk_buff.dev`
    SKB_DEVICE,
    /// `sk_buff.len`
    SKB_LEN,
    /// `sk_buff.data`
    SKB_DATA,
    /// `sk_buff.head`
    SKB_HEAD,
    /// `sk_buff.mac_header`: from `head`
    SKB_MAC_HEADER,
    /// `net_device.ifindex`
    DEVICE_IFINDEX,
    /// `net_device.name`
    DEVICE_NAME,
    /// `net_device.nd_net.net`
    DEVICE_NET,
    /// `net_device.rtnl_link_ops`
    DEVICE_OPS,
    /// `net_device.features`
    DEVICE_FEATURES,
    /// `rtnl_link_ops.kind`
    OPS_KIND,
    /// `net.net_cookie`
    NET_COOKIE,
    /// `net.ns.inum`
    NET_INUM,
}

/// Hierarchy whose cgroups are accounted: 0 is the unified one.
#[unsafe(no_mangle)]
pub(crate) static HIERARCHY: Global<u64> = Global::new(0);

/// Slots of each CPU, reserved ones included.
#[unsafe(no_mangle)]
pub(crate) static SLOTS: Global<u64> = Global::new(0);

/// The flag `NETIF_F_GRO` among the features of a device; 0 where it is not known.
#[unsafe(no_mangle)]
pub(crate) static GRO: Global<u64> = Global::new(0);

/// Slots of each CPU for interfaces, the shared one included.
#[unsafe(no_mangle)]
pub(crate) static NET_SLOT_COUNT: Global<u64> = Global::new(0);

/// Reads a field of a struct that the verifier knows by its BTF type.
///
/// # Safety
/// `base` comes from a tracepoint's argument, or from such a field; `offset` is that
/// of a `T` in its struct. The verifier checks both, and a fault reads as zero.
#[inline]
pub(crate) unsafe fn field<T: Copy>(base: *const u8, offset: &Global<u64>) -> T {
    let at = base.wrapping_add(offset.load() as usize).cast::<T>();
    // SAFETY: the caller's promise; the kernel's exception table covers a fault.
    unsafe { at.read() }
}

/// Whether this kernel has the field.
#[inline]
pub(crate) fn present(offset: &Global<u64>) -> bool {
    offset.load() != ABSENT
}

/// `kernfs_node.id` of the cgroup, equal to its directory's inode number.
///
/// # Safety
/// As for [`field`]: `cgroup` is a `struct cgroup` that the verifier knows.
#[inline]
pub(crate) unsafe fn cgroup_id(cgroup: *const u8) -> u64 {
    // SAFETY: the caller's promise, and `cgroup.kn` is a `struct kernfs_node`.
    let kn: *const u8 = unsafe { field(cgroup, &CGROUP_KN) };
    // SAFETY: as above.
    unsafe { field(kn, &KN_ID) }
}
