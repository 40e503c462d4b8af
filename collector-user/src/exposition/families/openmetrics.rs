//! What is different in OpenMetrics 1.0: how a family is introduced, and the end.
//!
//! Owns the names and types that families have there. Samples are the same in both
//! formats.

use std::sync::LazyLock;

use prometheus::proto::MetricType;

use super::{Family, all};

/// The last line: without it the text counts as cut off.
pub(super) const END: &[u8] = b"# EOF\n";

/// What ends the name of every sample of a counter, and is no part of the family's name.
const COUNTER_SUFFIX: &str = "_total";

/// Names of all families as the text format has them, sorted.
static NAMES: LazyLock<Vec<&str>> =
    LazyLock::new(|| all().into_iter().map(|family| family.name).collect());

/// The name and the type that a family has in OpenMetrics.
///
/// A counter's family is named without `_total`. One that has no `_total` (it is
/// cAdvisor's name), or whose shorter name is another family's, can be no counter there:
/// its type is unknown, as client libraries do it, and `rate()` does not care.
pub(super) fn identity(family: &Family) -> (&'static str, &'static str) {
    match family.kind {
        MetricType::COUNTER => match family.name.strip_suffix(COUNTER_SUFFIX) {
            Some(short) if NAMES.binary_search(&short).is_err() => (short, "counter"),
            Some(_) | None => (family.name, "unknown"),
        },
        MetricType::GAUGE => (family.name, "gauge"),
        MetricType::HISTOGRAM => (family.name, "histogram"),
        MetricType::SUMMARY => (family.name, "summary"),
        MetricType::UNTYPED => (family.name, "unknown"),
    }
}

/// Appends HELP and TYPE.
pub(super) fn introduce(family: &Family, text: &mut Vec<u8>) {
    let (name, kind) = identity(family);
    text.extend_from_slice(b"# HELP ");
    text.extend_from_slice(name.as_bytes());
    text.push(b' ');
    for byte in family.help_text().bytes() {
        match byte {
            b'\\' => text.extend_from_slice(b"\\\\"),
            b'\n' => text.extend_from_slice(b"\\n"),
            b'"' => text.extend_from_slice(b"\\\""),
            other => text.push(other),
        }
    }
    text.extend_from_slice(b"\n# TYPE ");
    text.extend_from_slice(name.as_bytes());
    text.push(b' ');
    text.extend_from_slice(kind.as_bytes());
    text.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::exposition::families::{ALWAYS, Samples, Stability};

    /// Suffixes that the format gives a meaning.
    const RESERVED: [&str; 6] = ["_total", "_created", "_bucket", "_count", "_sum", "_info"];

    /// Every name that a family takes: its own, and those that its samples may have.
    fn taken(name: &str, kind: &str) -> Vec<String> {
        let suffixes: &[&str] = match kind {
            "counter" => &["_total", "_created"],
            "histogram" => &["_bucket", "_count", "_sum", "_created"],
            "gauge" | "unknown" => &[],
            other => panic!("no such family yet: {other}"),
        };
        let samples = suffixes.iter().map(|suffix| format!("{name}{suffix}"));
        std::iter::once(name.to_owned()).chain(samples).collect()
    }

    #[test]
    fn no_two_families_take_the_same_name() {
        let mut owners = BTreeMap::new();
        for family in all() {
            let (name, kind) = identity(family);
            for name in taken(name, kind) {
                let other = owners.insert(name.clone(), family.name);
                assert_eq!(other, None, "{name} is {}'s as well", family.name);
            }
        }
        // Nor is one named as if it were a sample of another, of whatever type: but one, and no
        // histogram has such a sample.
        let named_after = all().into_iter().map(|family| identity(family).0).filter(|name| {
            let base = RESERVED.iter().find_map(|suffix| name.strip_suffix(suffix));
            base.is_some_and(|base| owners.contains_key(base))
        });
        assert!(named_after.eq(["container_cpu_runqueue_wait_seconds_total"]));
    }

    #[test]
    fn counters_lose_their_suffix_where_that_leaves_a_name_of_their_own() {
        let of = |name: &str| identity(all().into_iter().find(|it| it.name == name).expect("it"));
        assert_eq!(of("container_exited_total"), ("container_exited", "counter"));
        assert_eq!(of("container_memory_failcnt"), ("container_memory_failcnt", "unknown"));
        let waits = "container_cpu_runqueue_wait_seconds";
        assert_eq!(of(waits), (waits, "histogram"));
        let total = "container_cpu_runqueue_wait_seconds_total";
        assert_eq!(of(total), (total, "unknown"));
    }

    #[test]
    fn help_is_escaped_as_the_format_wants_it() {
        let family = Family {
            name: "said_total",
            kind: MetricType::COUNTER,
            help: "Says \"a\\b\"\nand more.",
            labels: &[],
            collectors: ALWAYS,
            source: "a test",
            stability: Stability::Stable,
            samples: Samples::Own(|_| Vec::new()),
        };
        let mut text = Vec::new();
        introduce(&family, &mut text);
        let expected =
            "# HELP said Says \\\"a\\\\b\\\"\\nand more. From a test.\n# TYPE said counter\n";
        assert_eq!(String::from_utf8(text).expect("UTF-8"), expected);
    }
}
