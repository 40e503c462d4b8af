//! What `/proc` tells of a container's processes.
//!
//! Owns the values in the kernel's own units. Must not read anything.

/// A container's processes at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerProcesses {
    /// Whether no process was listed at all.
    pub is_empty: bool,
    /// Its processes (thread groups) by pid, as many as may be shown.
    pub processes: Vec<Process>,
}

/// One process, as far as it could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Its pid, as the procfs that was read has it.
    pub pid: u32,
    /// Its CPU times.
    pub times: Option<CpuTicks>,
    /// Its memory.
    pub memory: Memory,
}

/// CPU times of a process in clock ticks (`/proc/PID/stat`, fields 14 to 17): all of its
/// threads, the ended ones included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTicks {
    /// In user mode.
    pub utime: u64,
    /// In the kernel.
    pub stime: u64,
    /// In user mode, of children that were waited for.
    pub cutime: u64,
    /// In the kernel, of children that were waited for.
    pub cstime: u64,
}

/// Memory of a process in kB (`/proc/PID/status`). A process without an address space (a
/// zombie, a kernel thread) has none of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// `VmSize`: virtual memory.
    pub vmsize_kb: Option<u64>,
    /// `VmRSS`: resident memory.
    pub vmrss_kb: Option<u64>,
    /// `RssFile`: resident memory backed by files.
    pub rssfile_kb: Option<u64>,
}
