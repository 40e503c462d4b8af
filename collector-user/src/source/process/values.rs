//! What `/proc/PID/stat` and `/proc/PID/status` say.
//!
//! Owns the way from their text to values. Pure: text in, values out, no panics.

use std::io::Read;

use procfs::{
    FromRead,
    process::{Stat, StatFlags},
};

use crate::{
    model::processes::{CpuTicks, Memory},
    source::text,
};

/// CPU times in `/proc/PID/stat`; `None` if it is malformed.
pub(super) fn times(stat: &[u8]) -> Option<CpuTicks> {
    let stat = parse(stat)?;
    // The kernel's documentation gives those of children a sign.
    let unsigned = |ticks| u64::try_from(ticks).unwrap_or(0);
    Some(CpuTicks {
        utime: stat.utime,
        stime: stat.stime,
        cutime: unsigned(stat.cutime),
        cstime: unsigned(stat.cstime),
    })
}

/// Whether `/proc/PID/stat` is of a thread of the kernel's own.
pub(super) fn is_kernel_thread(stat: &[u8]) -> bool {
    parse(stat).is_some_and(|it| it.flags & StatFlags::PF_KTHREAD.bits() != 0)
}

/// Parses `PID (COMM) STATE …`. COMM may hold anything: blanks, parentheses, newlines,
/// bytes that are no UTF-8. What follows it holds no parenthesis, so the last one ends it.
///
/// The crate does it likewise, but panics on text that ends there: it is given what
/// follows behind a COMM of ours.
fn parse(stat: &[u8]) -> Option<Stat> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = stat[end + 1..].strip_prefix(b" ")?;
    let is_plain = fields.is_ascii() && fields.first()?.is_ascii_alphabetic();
    (is_plain && stat[..end].contains(&b'(')).then_some(())?;
    Stat::from_read(b"0 (comm) ".chain(fields)).ok()
}

/// Memory in `/proc/PID/status`, and how many of its values are malformed. Keys stand at
/// the start of lines, and nobody can make lines of his own: in `Name` the kernel escapes
/// newlines. Absent ones are no loss: a zombie and a kernel thread have none.
pub(super) fn memory(status: &[u8]) -> (Memory, u64) {
    // `Name` may be no UTF-8; nothing else is lost by that.
    let status = String::from_utf8_lossy(status);
    let mut malformed = 0;
    let mut value = |key| {
        let kilobytes = text::field(&status, key).map(text::kilobytes_of)?;
        malformed += u64::from(kilobytes.is_none());
        kilobytes
    };
    let memory = Memory {
        vmsize_kb: value("VmSize"),
        vmrss_kb: value("VmRSS"),
        rssfile_kb: value("RssFile"),
    };
    (memory, malformed)
}

/// Whether `status` is of a process whose first thread has ended and which lives on in
/// others: its memory and its namespaces are then those threads' to tell.
pub(super) fn is_headless(status: &[u8]) -> bool {
    let status = String::from_utf8_lossy(status);
    let threads = text::field(&status, "Threads").and_then(text::number);
    text::field(&status, "VmSize").is_none() && threads.is_some_and(|it| it > 1)
}

/// Whether `status` is of a process in another pid namespace than procfs': it has a number
/// in each from procfs' to its own (`NSpid`, since Linux 4.1). `None` if it is malformed.
pub(super) fn is_in_inner_namespace(status: &[u8]) -> Option<bool> {
    let status = String::from_utf8_lossy(status);
    let Some(numbers) = text::field(&status, "NSpid") else { return Some(false) };
    let numbers: Option<Vec<u64>> = numbers.split_whitespace().map(text::number).collect();
    numbers.filter(|it| !it.is_empty()).map(|it| it.len() > 1)
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
    fn threads_of_the_kernel_are_told_by_their_flag() {
        assert!(!is_kernel_thread(&stat(b"kthreadd")));
        let text = String::from_utf8(stat(b"x")).expect("text").replace(" 4194304 ", " 2129984 ");
        assert!(is_kernel_thread(text.as_bytes()));
        assert!(!is_kernel_thread(b""));
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

    #[test]
    fn a_process_has_a_number_in_each_namespace_from_procfs_down() {
        for (line, expected) in [
            ("NSpid:\t812\n", Some(false)),
            ("NSpid:\t812\t1\n", Some(true)),
            ("Pid:\t812\n", Some(false)),
            ("NSpid:\n", None),
            ("NSpid:\t812\tx\n", None),
        ] {
            let status = [b"Name:\t\xff\n", line.as_bytes()].concat();
            assert_eq!(is_in_inner_namespace(&status), expected, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn namespaces_are_counted(numbers in prop::collection::vec(any::<u32>(), 1..5)) {
            let words: Vec<_> = numbers.iter().map(ToString::to_string).collect();
            let status = format!("Name:\tx\nNSpid:\t{}\n", words.join("\t"));
            prop_assert_eq!(is_in_inner_namespace(status.as_bytes()), Some(numbers.len() > 1));
        }

        #[test]
        fn no_status_makes_them_panic(bytes in any::<Vec<u8>>(), rest in "[0-9a-z \t\n:-]{0,40}") {
            let _ = (is_headless(&bytes), is_in_inner_namespace(&bytes));
            for key in ["NSpid", "Threads"] {
                let status = format!("{key}:{rest}");
                let _ = (is_headless(status.as_bytes()), is_in_inner_namespace(status.as_bytes()));
            }
        }

        #[test]
        fn no_bytes_make_them_panic(bytes in any::<Vec<u8>>(), text in "[0-9a-zA-Z() :\n\\-]*") {
            for bytes in [bytes.as_slice(), text.as_bytes()] {
                let _ = (times(bytes), is_kernel_thread(bytes), memory(bytes));
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
