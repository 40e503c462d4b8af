//! What the cgroup controllers' files tell of one cgroup, in one set of terms for v1
//! and v2.
//!
//! Owns the meaning of the values; `None` is what the kernel does not tell, or what
//! could not be read. Must not know in which file which version keeps them.

/// Everything that the files of a cgroup tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// CPU time by mode, and bandwidth.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// Time that tasks of the cgroup stood still for want of something.
    pub pressure: Pressures,
    /// Processes in the cgroup; for a container, in its nested cgroups, too. `None` for
    /// the host.
    pub processes: Option<u64>,
    /// Threads (tasks) in the whole subtree.
    pub threads: Option<u64>,
}

/// The cpu and cpuacct controllers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// CPU time in user mode, in ns.
    pub user_ns: Option<u64>,
    /// CPU time in the kernel, in ns.
    pub system_ns: Option<u64>,
    /// Bandwidth control: what a quota did so far.
    pub bandwidth: Bandwidth,
    /// CPU time that may be used in each period, in us; `None` also without a limit.
    pub quota_us: Option<u64>,
    /// Length of a period, in us.
    pub period_us: Option<u64>,
    /// Relative weight in v1's unit (1024 is the default).
    pub shares: Option<u64>,
}

/// What a CPU quota did so far; meaningless without a quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// Periods in which anything was runnable.
    pub periods: Option<u64>,
    /// Periods in which the quota was used up.
    pub throttled_periods: Option<u64>,
    /// Time that CPUs were held back, in ns.
    pub throttled_ns: Option<u64>,
}

/// The memory controller; bytes unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All that is charged, caches included; for the host, anonymous and file pages.
    pub usage: Option<u64>,
    /// File pages that can be reclaimed at once.
    pub inactive_file: Option<u64>,
    /// The most that was ever charged.
    pub max_usage: Option<u64>,
    /// Anonymous pages (cAdvisor's `rss`).
    pub anon: Option<u64>,
    /// Page cache, tmpfs included.
    pub file: Option<u64>,
    /// Swapped out.
    pub swap: Option<u64>,
    /// The kernel's own: stacks, page tables, slabs.
    pub kernel: Option<u64>,
    /// Page cache that is mapped.
    pub mapped_file: Option<u64>,
    /// How often usage hit the limit.
    pub limit_hits: Option<u64>,
    /// Processes that the OOM killer took; on v1 only those of the cgroup itself, not of
    /// cgroups in it.
    pub oom_kills: Option<u64>,
    /// The limit of usage.
    pub limit: Option<Limit>,
    /// The limit of swap: on v1 of memory and swap together, on v2 of swap alone.
    pub swap_limit: Option<Limit>,
}

impl Memory {
    /// What can't be reclaimed at once: usage without inactive file pages.
    pub fn working_set(&self) -> Option<u64> {
        Some(self.usage?.saturating_sub(self.inactive_file?))
    }
}

/// A limit in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// None: `max`, or v1's largest number.
    Unlimited,
    /// That many bytes.
    Bytes(u64),
}

/// Pressure stall information; `None` where the kernel keeps none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressures {
    /// Waiting for a CPU.
    pub cpu: Pressure,
    /// Waiting for memory.
    pub memory: Pressure,
    /// Waiting for block I/O.
    pub io: Pressure,
}

/// Stall times of one resource since the cgroup was made, in us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Some task waited.
    pub some_us: Option<u64>,
    /// All tasks that could have run waited.
    pub full_us: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_working_set_is_never_below_zero_and_unknown_where_a_part_is() {
        let memory = |usage, inactive_file| Memory { usage, inactive_file, ..Memory::default() };
        assert_eq!(memory(Some(10), Some(3)).working_set(), Some(7));
        assert_eq!(memory(Some(3), Some(10)).working_set(), Some(0), "read one after the other");
        assert_eq!(memory(Some(3), None).working_set(), None);
        assert_eq!(memory(None, Some(3)).working_set(), None);
    }
}
