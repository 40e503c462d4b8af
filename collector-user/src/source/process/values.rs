//! What `/proc/PID/stat` and `/proc/PID/status` say.
//!
//! Owns the way from their text to values. Pure: text in, values out, no panics.

use crate::{
    model::processes::{CpuTicks, Memory},
    source::{stat, text},
};

/// CPU times in `/proc/PID/stat`; `None` if it is malformed.
pub(super) fn times(stat: &[u8]) -> Option<CpuTicks> {
    let stat = stat::parse(stat)?;
    // The kernel's documentation gives those of children a sign.
    let unsigned = |ticks| u64::try_from(ticks).unwrap_or(0);
    Some(CpuTicks {
        utime: stat.utime,
        stime: stat.stime,
        cutime: unsigned(stat.cutime),
        cstime: unsigned(stat.cstime),
    })
}

/// Memory in `/proc/PID/status`, and how many of its values are malformed. Keys stand at
/// the start of lines, and nobody can make lines of his own: in `Name` the kernel escapes
/// newlines. Absent ones are no loss: a zombie and a kernel thread have none.
pub(super) fn memory(status: &[u8]) -> (Memory, u64) {
    const KEYS: [&[u8]; 3] = [b"VmSize:", b"VmRSS:", b"RssFile:"];
    let mut values = [None; KEYS.len()];
    let mut malformed = 0;
    // In one pass: there are some sixty lines, and one process after another to be read.
    for line in status.split(|byte| *byte == b'\n').filter(|line| b"VR".contains(&first(line))) {
        for (key, value) in KEYS.iter().zip(&mut values) {
            if let Some(rest) = line.strip_prefix(*key).filter(|_| value.is_none()) {
                let kilobytes = str::from_utf8(rest).ok().and_then(text::kilobytes_of);
                malformed += u64::from(kilobytes.is_none());
                *value = Some(kilobytes);
            }
        }
    }
    let [vmsize_kb, vmrss_kb, rssfile_kb] = values.map(Option::flatten);
    (Memory { vmsize_kb, vmrss_kb, rssfile_kb }, malformed)
}

/// The first byte of a line, 0 if it has none.
fn first(line: &[u8]) -> u8 {
    line.first().copied().unwrap_or_default()
}

/// Whether `status` is of a process whose first thread has ended and which lives on in
/// others: its memory is then those threads' to tell.
pub(super) fn is_headless(status: &[u8]) -> bool {
    let status = String::from_utf8_lossy(status);
    let threads = text::field(&status, "Threads").and_then(text::number);
    text::field(&status, "VmSize").is_none() && threads.is_some_and(|it| it > 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Fields 3 to 52 of a shell's on Linux 6.18, with times that differ.
    const FIELDS: &str = "S 1 26 26 34816 26 4194304 1091 52 0 2 11 12 13 14 20 0 3 0 1180 \
        4481024 976 18446744073709551615 94 95 96 0 0 0 0 2 65536 1 0 0 17 1 0 0 0 0 0 97 98 99 \
        100 101 102 103 0\n";

    const TIMES: CpuTicks = CpuTicks { utime: 11, stime: 12, cutime: 13, cstime: 14 };

    fn stat(comm: &[u8]) -> Vec<u8> {
        [b"26 (", comm, b") ", FIELDS.as_bytes()].concat()
    }

    #[test]
    fn no_comm_is_taken_for_fields() {
        let comms: [&[u8]; 7] =
            [b"bash", b"", b"a b", b") (", b") S 1 2 3 4 5", b"x\n1 (y) R", b"\xff)\xfe("];
        for comm in comms {
            assert_eq!(times(&stat(comm)), Some(TIMES), "{}", comm.escape_ascii());
        }
    }

    #[test]
    fn a_stat_that_is_cut_off_has_no_times() {
        let whole = stat(b"a) (b");
        // Without its last digits a number is another one: up to the last field asked for.
        for length in 0..whole.len() - 40 {
            let cut = &whole[..length];
            assert!(times(cut).is_none_or(|it| it == TIMES), "{}", cut.escape_ascii());
        }
        for cut in
            ["26 (bash)", "26 (bash) ", "26 (bash) \x0b", "26 bash) S", ")", "26 (bash) \u{1f00}"]
        {
            assert_eq!(times(cut.as_bytes()), None, "{cut:?}");
        }
    }

    #[test]
    fn times_of_children_are_never_negative() {
        let text = String::from_utf8(stat(b"bash")).expect("text");
        let text = text.replace(" 13 14 ", " -1 -9223372036854775808 ");
        let expected = CpuTicks { cutime: 0, cstime: 0, ..TIMES };
        assert_eq!(times(text.as_bytes()), Some(expected));
    }

    #[test]
    fn memory_is_found_by_key_and_a_mangled_value_costs_itself_only() {
        let status = b"Name:\t\xff\\nVmRSS: 5 kB\nUmask:\t0022\nVmPeak:\t  9000 kB\n\
            VmSize:\t    8752 kB\nVmRSS:\t 3904\nRssAnon:\t 1 kB\nRssFile:\t    3328 kB\n";
        let (memory, malformed) = memory(status);
        let expected = Memory { vmsize_kb: Some(8752), vmrss_kb: None, rssfile_kb: Some(3328) };
        assert_eq!((memory, malformed), (expected, 1));
    }

    #[test]
    fn a_process_without_memory_has_lost_nothing() {
        let zombie = b"Name:\tsh\nState:\tZ (zombie)\nThreads:\t1\n";
        assert_eq!(memory(zombie), (Memory::default(), 0));
    }

    #[test]
    fn a_process_without_its_first_thread_is_told_from_a_zombie() {
        let status = |threads, rest| format!("Name:\tx\n{rest}Threads:\t{threads}\n");
        assert!(is_headless(status(2, "").as_bytes()));
        assert!(!is_headless(status(1, "").as_bytes()), "a zombie, or a thread of the kernel");
        assert!(!is_headless(status(2, "VmSize:\t x kB\n").as_bytes()), "malformed, not absent");
        assert!(!is_headless(b"Name:\tx\nThreads:\tmany\n"));
    }

    proptest! {
        #[test]
        fn no_status_makes_it_panic(bytes in any::<Vec<u8>>(), rest in "[0-9a-z \t\n:-]{0,40}") {
            let _ = is_headless(&bytes);
            let _ = is_headless(format!("Threads:{rest}").as_bytes());
        }

        #[test]
        fn no_bytes_make_them_panic(bytes in any::<Vec<u8>>(), text in "[0-9a-zA-Z() :\n\\-]*") {
            for bytes in [bytes.as_slice(), text.as_bytes()] {
                let _ = (times(bytes), memory(bytes));
            }
        }

        #[test]
        fn whatever_follows_comm_does_not_make_it_panic(rest in "[)(S 0-9\u{1f00}\x0b-]{0,60}") {
            let _ = times(format!("26 (bash){rest}").as_bytes());
        }

        #[test]
        fn no_comm_changes_the_times(comm in any::<Vec<u8>>()) {
            prop_assert_eq!(times(&stat(&comm)), Some(TIMES));
        }

        #[test]
        fn one_mangled_line_costs_one_value(
            which in 0_usize..3,
            junk in "[a-zA-Z0-9 .-]{0,12}",
        ) {
            let mut lines = ["VmSize:\t 1 kB", "VmRSS:\t 2 kB", "RssFile:\t 3 kB"].map(String::from);
            lines[which] = format!("{}x{junk}", lines[which]);
            let (memory, malformed) = memory(lines.join("\n").as_bytes());
            let values = [memory.vmsize_kb, memory.vmrss_kb, memory.rssfile_kb];
            for (index, value) in values.into_iter().enumerate() {
                let expected = (index != which).then_some(index as u64 + 1);
                prop_assert_eq!(value, expected);
            }
            prop_assert_eq!(malformed, 1);
        }
    }
}
