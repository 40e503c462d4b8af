//! Words and numbers of kernel text.
//!
//! Owns the forms that several files share. Pure: text in, values out, no panics.

/// A whole number, blanks around it allowed; nothing that u64 does not hold.
pub(super) fn number(word: &str) -> Option<u64> {
    let word = word.trim();
    // `parse` would take a sign.
    if word.bytes().all(|byte| byte.is_ascii_digit()) { word.parse().ok() } else { None }
}

/// What stands behind `KEY:` in the first line that begins with it.
pub(super) fn field<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
}

/// The value of a line `KEY:   123 kB`, as in `/proc/meminfo` and `/proc/PID/status`.
pub(super) fn kilobytes(text: &str, key: &str) -> Option<u64> {
    field(text, key).and_then(kilobytes_of)
}

/// The number in `  123 kB`.
pub(super) fn kilobytes_of(value: &str) -> Option<u64> {
    number(value.trim().strip_suffix("kB")?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_digits_only() {
        assert_eq!(number(" 18446744073709551615\n"), Some(u64::MAX));
        for wrong in ["", " ", "+1", "-1", "0x1", "1.5", "1 2", "18446744073709551616", "max"] {
            assert_eq!(number(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_key_is_a_whole_word_at_a_lines_start() {
        let status = "Name:\tVmRSS: 7 kB\nVmSize:\t  4096 kB\nVmRSS:\t 12 kB\nThreads:\t1\n";
        assert_eq!(kilobytes(status, "VmRSS"), Some(12));
        assert_eq!(kilobytes(status, "VmSize"), Some(4096));
        assert_eq!(kilobytes(status, "Vm"), None);
        assert_eq!(kilobytes(status, "Threads"), None, "no kB");
        assert_eq!(kilobytes(status, "RssFile"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), key in "[A-Za-z]{0,3}") {
            let _ = (number(&text), kilobytes(&text, &key));
        }
    }
}
