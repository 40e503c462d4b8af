//! `/proc/PID/stat`.
//!
//! Owns how it is parsed. Pure: text in, values out, no panics.

use std::io::Read;

use procfs::{
    FromRead,
    process::{Stat, StatFlags},
};

/// Parses `PID (COMM) STATE …`. COMM may hold anything: blanks, parentheses, newlines,
/// bytes that are no UTF-8. What follows it holds no parenthesis, so the last one ends it.
///
/// The crate does it likewise, but panics on text that ends there: it is given what
/// follows behind a COMM of ours.
pub(super) fn parse(stat: &[u8]) -> Option<Stat> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = stat[end + 1..].strip_prefix(b" ")?;
    let is_plain = fields.is_ascii() && fields.first()?.is_ascii_alphabetic();
    (is_plain && stat[..end].contains(&b'(')).then_some(())?;
    Stat::from_read(b"0 (comm) ".chain(fields)).ok()
}

/// Whether it is of a thread of the kernel's own.
pub(super) fn is_kernel_thread(stat: &[u8]) -> bool {
    parse(stat).is_some_and(|it| it.flags & StatFlags::PF_KTHREAD.bits() != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn threads_of_the_kernel_are_told_by_their_flag() {
        let stat = |flags| {
            format!(
                "2 (kthreadd) S 0 0 0 0 -1 {flags} 0 0 0 0 0 1 0 0 20 0 1 0 9 0 0 \
                 18446744073709551615 0 0 0 0 0 0 0 2147483647 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
            )
        };
        assert!(is_kernel_thread(stat(2_129_984).as_bytes()));
        assert!(!is_kernel_thread(stat(4_194_304).as_bytes()));
        assert!(!is_kernel_thread(b""));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>(), rest in "[)(S 0-9\u{1f00}\x0b-]{0,60}") {
            let _ = is_kernel_thread(&bytes);
            let _ = is_kernel_thread(format!("26 (bash){rest}").as_bytes());
        }
    }
}
