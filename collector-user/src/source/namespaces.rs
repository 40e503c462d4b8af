//! Namespaces, as procfs names them.
//!
//! Owns the form of the links in `/proc/PID/ns`, what `NSpid` tells, and which pid namespace is the first.

use std::{io, path::Path};

use super::{files::Directory, text};

/// Inode number of the pid namespace that the kernel made first, the host's own
/// (`PROC_PID_INIT_INO` in `include/linux/proc_ns.h`, since Linux 3.8). Whoever is in it sees
/// every process there is.
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// The inode number in a link such as `net:[4026531840]`.
pub(super) fn inode(link: &[u8], kind: &str) -> Option<u64> {
    let link = str::from_utf8(link).ok()?;
    text::number(link.strip_prefix(kind)?.strip_prefix(":[")?.strip_suffix(']')?)
}

/// Whether `/proc/PID/status` is of a process in another pid namespace than procfs': it has a number
/// in each from procfs' to its own (`NSpid`, since Linux 4.1). `None` if it is malformed.
pub(super) fn is_in_inner_pid_namespace(status: &[u8]) -> Option<bool> {
    let status = String::from_utf8_lossy(status);
    let Some(numbers) = text::field(&status, "NSpid") else { return Some(false) };
    let numbers: Option<Vec<u64>> = numbers.split_whitespace().map(text::number).collect();
    numbers.filter(|it| !it.is_empty()).map(|it| it.len() > 1)
}

/// Whether this process is in the host's own pid namespace. It may always ask that of
/// itself, by any procfs that knows it.
///
/// # Errors
/// When procfs does not tell: it is none, or one of a namespace that this process is not in.
pub fn is_in_first_pid_namespace(procfs: &Path) -> io::Result<bool> {
    let link = Directory::open(procfs)?.link("self/ns/pid")?;
    let number = inode(&link, "pid").ok_or_else(|| {
        let what = format!("self/ns/pid is no pid namespace: {}", link.escape_ascii());
        io::Error::new(io::ErrorKind::InvalidData, what)
    });
    Ok(number? == FIRST_PID_NAMESPACE)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_link_has_its_kind_and_a_number() {
        assert_eq!(inode(b"net:[4026531840]", "net"), Some(4_026_531_840));
        for wrong in ["", "net:[]", "net:[1", "net:1]", "mnt:[1]", "net:[+1]", "net:[1]x"] {
            assert_eq!(inode(wrong.as_bytes(), "net"), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_first_pid_namespace_is_known_by_its_number() {
        let root = tempfile::tempdir().expect("a directory");
        let told = |link: &str| {
            let ns = root.path().join("self/ns");
            fs::create_dir_all(&ns).expect("made");
            symlink(link, ns.join("pid")).expect("linked");
            let told = is_in_first_pid_namespace(root.path());
            fs::remove_file(ns.join("pid")).expect("removed");
            told
        };
        assert!(told("pid:[4026531836]").expect("told"));
        assert!(!told("pid:[4026532000]").expect("told"));
        let error = told("net:[4026531836]").expect_err("another kind");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let error = is_in_first_pid_namespace(root.path()).expect_err("no link");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
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
            assert_eq!(is_in_inner_pid_namespace(&status), expected, "{line:?}");
        }
    }

    #[test]
    fn one_may_always_ask_of_oneself() {
        is_in_first_pid_namespace(Path::new("/proc")).expect("told");
    }

    proptest! {
        #[test]
        fn no_link_makes_it_panic(bytes in any::<Vec<u8>>(), text in "net:?\\[?[0-9 +]{0,22}\\]?") {
            let _ = inode(&bytes, "net");
            let _ = inode(text.as_bytes(), "net");
        }

        #[test]
        fn namespaces_are_counted(numbers in prop::collection::vec(any::<u32>(), 1..5)) {
            let words: Vec<_> = numbers.iter().map(ToString::to_string).collect();
            let status = format!("Name:\tx\nNSpid:\t{}\n", words.join("\t"));
            prop_assert_eq!(is_in_inner_pid_namespace(status.as_bytes()), Some(numbers.len() > 1));
        }

        #[test]
        fn no_status_makes_it_panic(bytes in any::<Vec<u8>>(), rest in "[0-9a-z \t\n:-]{0,40}") {
            let _ = is_in_inner_pid_namespace(&bytes);
            let _ = is_in_inner_pid_namespace(format!("NSpid:{rest}").as_bytes());
        }

        #[test]
        fn what_is_written_is_read(number in any::<u64>()) {
            prop_assert_eq!(inode(format!("net:[{number}]").as_bytes(), "net"), Some(number));
        }
    }
}
