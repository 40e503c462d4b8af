//! [machine] How big the host is: `/sys/devices/system/cpu/online`, `/proc/meminfo`.
//!
//! Owns the reading of these two files.

use std::path::{Path, PathBuf};

use super::{
    files::{Buffer, Directory},
    losses::Loss,
    text,
};
use crate::model::{collectors::Collector, losses::Losses, readings::Machine};

/// Reads the host's size.
#[derive(Clone, Debug)]
pub struct MachineReader {
    procfs: PathBuf,
    cpus: PathBuf,
}

impl MachineReader {
    /// A reader below these roots (`--path.procfs`, `--path.sysfs`).
    pub fn new(procfs: &Path, sysfs: &Path) -> Self {
        Self { procfs: procfs.to_owned(), cpus: sysfs.join("devices/system/cpu") }
    }

    /// Reads it; what can't be read is `None`, and counted.
    pub fn read(&self, buffer: &mut Buffer, losses: &mut Losses) -> Machine {
        let mut value = |directory: &Path, file: &str, parse: fn(&str) -> Option<u64>| {
            let bytes = Directory::open(directory).and_then(|it| it.record(file, buffer));
            let outcome = match bytes {
                Ok(bytes) => str::from_utf8(bytes).ok().and_then(parse).ok_or(Loss::malformed()),
                Err(error) => Err(Loss::of_permanent(error)),
            };
            let place = directory.display();
            let count =
                |it: Loss| it.count(Collector::Machine, format_args!("{place}/{file}"), losses);
            outcome.map_err(count).ok()
        };
        Machine {
            cores: value(&self.cpus, "online", count_cpus),
            memory_bytes: value(&self.procfs, "meminfo", memory_bytes),
        }
    }
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    text::kilobytes(meminfo, "MemTotal")?.checked_mul(1024)
}

/// How many CPUs a list like `0-3,8,10-11` names.
fn count_cpus(ranges: &str) -> Option<u64> {
    ranges
        .trim()
        .split(',')
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (text::number(first)?, text::number(last)?);
            last.checked_sub(first)?.checked_add(1)
        })
        .try_fold(0_u64, |sum, count| sum.checked_add(count?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::{model::losses::Reason, source::losses::tests::logged};

    #[test]
    fn online_cpus_are_counted() {
        for (list, count) in
            [("0\n", Some(1)), ("0-3,8,10-11\n", Some(7)), ("", None), ("3-1", None), ("0-x", None)]
        {
            assert_eq!(count_cpus(list), count, "{list:?}");
        }
    }

    #[test]
    fn one_file_that_is_missing_costs_its_own_value_only() {
        let root = tempfile::tempdir().expect("a directory");
        fs::write(root.path().join("meminfo"), "MemTotal:    1000 kB\nMemFree: 1 kB\n")
            .expect("written");
        let mut losses = Losses::default();
        let reader = MachineReader::new(root.path(), root.path());
        let mut read = None;
        let said = logged(|| read = Some(reader.read(&mut Buffer::default(), &mut losses)));
        assert_eq!(read, Some(Machine { cores: None, memory_bytes: Some(1_024_000) }));
        assert_eq!(losses.get(Collector::Machine, Reason::Failed), 1, "CPUs never end");
        assert!(said.contains("/devices/system/cpu/online reason=\"failed\""), "{said}");
    }

    proptest! {
        #[test]
        fn no_list_makes_it_panic(list in "[0-9,\\- x\n]{0,40}") {
            let _ = count_cpus(&list);
        }
    }
}
