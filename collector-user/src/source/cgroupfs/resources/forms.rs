//! The forms that controllers' files have.
//!
//! Owns their reading. Pure: text in, values out, no panics.

use crate::{
    model::resources::{Limit, Pressure},
    source::text::number,
};

/// A number, or `max`.
pub(super) fn limit(text: &str) -> Option<Limit> {
    match text.trim() {
        "max" => Some(Limit::Unlimited),
        word => number(word).map(Limit::Bytes),
    }
}

/// Values of a file with a key and a number on each line, and whether it is sound: it has
/// lines, and a number for each key asked for that is in it. Keys that are not in it are
/// those of newer kernels, or of controllers that are not enabled.
pub(super) fn keyed<const N: usize>(text: &str, keys: [&str; N]) -> ([Option<u64>; N], bool) {
    let mut values = [None; N];
    let mut is_sound = !text.is_empty();
    for line in text.lines() {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        if let Some(place) = keys.iter().position(|it| *it == key) {
            values[place] = number(value);
            is_sound &= values[place].is_some();
        }
    }
    (values, is_sound)
}

/// A CPU quota in us of each period, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quota(pub(super) Option<u64>);

/// `cpu.max`: the quota, and the period in us.
pub(super) fn quota_and_period(text: &str) -> Option<(Quota, u64)> {
    let (quota, period) = text.trim().split_once(' ')?;
    let quota = match quota {
        "max" => None,
        quota => Some(number(quota)?),
    };
    Some((Quota(quota), number(period)?))
}

/// `cpu.cfs_quota_us`.
pub(super) fn v1_quota(text: &str) -> Option<Quota> {
    match text.trim() {
        "-1" => Some(Quota(None)),
        quota => number(quota).map(|us| Quota(Some(us))),
    }
}

/// A pressure file's totals in us. The line `full` is missing for the CPU before Linux
/// 5.13.
pub(super) fn stalls(text: &str) -> Option<Pressure> {
    let mut stalls = Pressure::default();
    for line in text.lines() {
        let total = || number(line.split(' ').find_map(|word| word.strip_prefix("total="))?);
        match line.split(' ').next() {
            Some("some") => stalls.some_us = Some(total()?),
            Some("full") => stalls.full_us = Some(total()?),
            _ => return None,
        }
    }
    stalls.some_us.is_some().then_some(stalls)
}

/// Adds the pids of a `cgroup.procs` file; `None` if anything else is in it.
pub(super) fn pids(text: &str, pids: &mut Vec<u32>) -> Option<()> {
    for line in text.lines() {
        pids.push(u32::try_from(number(line)?).ok()?);
    }
    Some(())
}

/// How many processes these pids name. A zero stands for a process of a pid name space
/// that can't be seen from here, each for another.
pub(super) fn count_pids(pids: &mut Vec<u32>) -> u64 {
    pids.sort_unstable();
    pids.dedup_by(|one, other| one == other && *one != 0);
    pids.len() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn limits_are_numbers_or_max() {
        assert_eq!(limit("max\n"), Some(Limit::Unlimited));
        assert_eq!(limit("67108864\n"), Some(Limit::Bytes(67_108_864)));
        for wrong in ["", "maximum", "-1", "1 2", "1k"] {
            assert_eq!(limit(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn keys_are_whole_words_and_one_bad_value_costs_no_other() {
        let text = "anon 1\nanon_thp 2\nfile x\nslab 18446744073709551615\n";
        assert_eq!(
            keyed(text, ["slab", "anon", "kernel"]),
            ([Some(u64::MAX), Some(1), None], true),
            "a line that nobody asked for may have any form"
        );
        assert_eq!(keyed(text, ["anon", "file"]), ([Some(1), None], false));
        assert_eq!(keyed("", ["anon"]), ([None], false));
        for wrong in ["anon", "anon ", "anon -1", "anon 1 2", "anon 18446744073709551616"] {
            assert_eq!(keyed(wrong, ["anon"]), ([None], false), "{wrong:?}");
        }
    }

    #[test]
    fn quotas_have_a_period_and_may_be_none() {
        assert_eq!(quota_and_period("max 100000\n"), Some((Quota(None), 100_000)));
        assert_eq!(quota_and_period("50000 100000\n"), Some((Quota(Some(50_000)), 100_000)));
        for wrong in ["", "max", "50000", "50000 max", "-1 100000", "1 2 3"] {
            assert_eq!(quota_and_period(wrong), None, "{wrong:?}");
        }
        assert_eq!(v1_quota("-1\n"), Some(Quota(None)));
        assert_eq!(v1_quota("50000\n"), Some(Quota(Some(50_000))));
        assert_eq!(v1_quota("-2\n"), None);
        assert_eq!(v1_quota(""), None);
    }

    #[test]
    fn totals_of_stalls_are_taken_with_or_without_full() {
        let some = "some avg10=0.12 avg60=1.00 avg300=0.00 total=29\n";
        let full = "full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(stalls(some), Some(Pressure { some_us: Some(29), full_us: None }));
        assert_eq!(
            stalls(&format!("{some}{full}")),
            Some(Pressure { some_us: Some(29), full_us: Some(7) })
        );
        for wrong in ["", full, "some avg10=0.00\n", "some total=x\n", "some total=1\nodd\n"] {
            assert_eq!(stalls(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn pids_are_one_a_line() {
        let mut found = vec![7];
        assert_eq!(pids("1\n4194304\n", &mut found), Some(()));
        assert_eq!(found, [7, 1, 4_194_304]);
        assert_eq!(pids("", &mut found), Some(()), "nobody is in it");
        for wrong in ["x", "1\n\n2", "-1", "4294967296"] {
            assert_eq!(pids(wrong, &mut Vec::new()), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_pid_counts_once_and_hidden_ones_each() {
        assert_eq!(count_pids(&mut vec![3, 0, 7, 3, 0]), 4);
        assert_eq!(count_pids(&mut Vec::new()), 0);
    }

    /// Text like the kernel's, but wrong in any place.
    fn like_the_kernels() -> impl Strategy<Value = String> {
        let words = prop::sample::select(vec![
            "some",
            "full",
            "total=",
            "avg10=0.00",
            "max",
            "anon",
            "file",
            "-1",
            "0",
            "4096",
            "18446744073709551616",
            " ",
            " ",
            " ",
            "\n",
            "\n",
            "\u{e9}",
            "\0",
        ]);
        prop_oneof![
            any::<String>(),
            prop::collection::vec(words, 0..24).prop_map(|words| words.concat()),
        ]
    }

    proptest! {
        #[test]
        fn no_text_makes_them_panic(text in like_the_kernels()) {
            let _ = (limit(&text), quota_and_period(&text), v1_quota(&text), stalls(&text));
            let _ = (keyed(&text, ["anon", "file", ""]), pids(&text, &mut Vec::new()));
        }

        #[test]
        fn what_is_written_is_read(
            values in any::<[u64; 3]>(),
            list in prop::collection::vec(any::<u32>(), 0..9),
        ) {
            let [first, second, third] = values;
            let text = format!("a {first}\naa {second}\nab {third}\n");
            prop_assert_eq!(
                keyed(&text, ["ab", "a", "b"]),
                ([Some(third), Some(first), None], true)
            );
            prop_assert_eq!(
                stalls(&format!("some avg10=9.99 total={first}\nfull total={second}\n")),
                Some(Pressure { some_us: Some(first), full_us: Some(second) })
            );
            prop_assert_eq!(
                quota_and_period(&format!("{first} {second}\n")),
                Some((Quota(Some(first)), second))
            );
            let mut found = Vec::new();
            let lines: Vec<_> = list.iter().map(u32::to_string).collect();
            prop_assert_eq!(pids(&lines.join("\n"), &mut found), Some(()));
            prop_assert_eq!(found, list);
        }
    }
}
