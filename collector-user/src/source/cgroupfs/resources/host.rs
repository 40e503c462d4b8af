//! What the host's own cgroup does not tell of itself: `/proc/meminfo`.
//!
//! Owns what of it stands in for the root's missing files, as with cAdvisor.

use std::path::Path;

use crate::{
    model::{
        collectors::Collector,
        losses::Losses,
        resources::{Limit, Memory},
    },
    source::{
        files::{Buffer, Directory},
        losses::Loss,
        text,
    },
};

/// The host's memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meminfo {
    memory: Option<u64>,
    swap: Option<u64>,
    free_swap: Option<u64>,
}

/// Reads it; what can't be read is `None`, and counted.
pub(super) fn read(procfs: &Path, buffer: &mut Buffer, losses: &mut Losses) -> Meminfo {
    let outcome = Directory::open(procfs).and_then(|it| it.record("meminfo", buffer)).map(parse);
    let (meminfo, loss) = match outcome {
        Ok((meminfo, true)) => return meminfo,
        Ok((meminfo, false)) => (meminfo, Loss::malformed()),
        Err(error) => (Meminfo::default(), Loss::of_permanent(error)),
    };
    loss.count(Collector::Cgroup, format_args!("{}/meminfo", procfs.display()), losses);
    meminfo
}

/// What it tells, and whether that is all that it should.
fn parse(meminfo: &[u8]) -> (Meminfo, bool) {
    let text = str::from_utf8(meminfo).unwrap_or_default();
    let bytes = |key| text::kilobytes(text, key)?.checked_mul(1024);
    let [memory, swap, free_swap] = ["MemTotal", "SwapTotal", "SwapFree"].map(bytes);
    let is_sound = memory.is_some() && swap.is_some() && free_swap.is_some();
    (Meminfo { memory, swap, free_swap }, is_sound)
}

impl Meminfo {
    /// The host's limits are what it has: cAdvisor gives its root container the machine's
    /// memory and swap (`GetSpec` in container/raw/handler.go), whatever the root's files
    /// say.
    pub(super) fn set_limits(&self, memory: &mut Memory) {
        memory.limit = self.memory.map(Limit::Bytes);
        memory.swap_limit = self.swap.map(Limit::Bytes);
    }

    /// What v2's root has no files for, put together as runc does for cAdvisor
    /// (`rootStatsFromMeminfo`, cgroups/fs2/memory.go): usage is that of anonymous and file
    /// pages, which is what v1's root counts; swap is the host's.
    pub(super) fn complete(&self, memory: &mut Memory) {
        memory.usage = memory.anon.zip(memory.file).map(|(anon, file)| anon.saturating_add(file));
        memory.swap = self.swap.zip(self.free_swap).map(|(all, free)| all.saturating_sub(free));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_hosts_swap_is_what_is_not_free() {
        let (meminfo, is_sound) =
            parse(b"MemTotal:  100 kB\nSwapTotal:  2048 kB\nSwapFree:  1024 kB\n");
        assert!(is_sound);
        let mut memory = Memory { anon: Some(1), file: Some(2), ..Memory::default() };
        meminfo.complete(&mut memory);
        assert_eq!((memory.usage, memory.swap), (Some(3), Some(1_048_576)));
        meminfo.set_limits(&mut memory);
        assert_eq!(memory.limit, Some(Limit::Bytes(102_400)));
        assert_eq!(memory.swap_limit, Some(Limit::Bytes(2_097_152)));
    }

    #[test]
    fn a_value_that_is_not_there_costs_itself_only() {
        let (meminfo, is_sound) = parse(b"MemTotal:  100 MB\nSwapTotal: 1 kB\n");
        assert!(!is_sound);
        let mut memory = Memory { limit: Some(Limit::Unlimited), ..Memory::default() };
        meminfo.set_limits(&mut memory);
        meminfo.complete(&mut memory);
        assert_eq!((memory.limit, memory.swap_limit), (None, Some(Limit::Bytes(1024))));
        assert_eq!(memory.swap, None);
    }

    proptest! {
        #[test]
        fn no_meminfo_makes_it_panic(bytes in any::<Vec<u8>>(), numbers in any::<[u64; 3]>()) {
            let [memory, swap, free] = numbers;
            let text = format!("MemTotal: {memory} kB\nSwapTotal: {swap} kB\nSwapFree: {free} kB\n");
            for bytes in [bytes.as_slice(), text.as_bytes()] {
                let (meminfo, _) = parse(bytes);
                meminfo.complete(&mut Memory::default());
            }
        }
    }
}
