//! Generated files against the code they are generated from (tests only).
//!
//! Owns the tables of `docs/metrics.md` and the comparison; prose stays with people.

use std::{fmt::Write, path::Path};

use prometheus::proto::MetricType;

use super::{
    config::Limits,
    connection::HEAD_BYTES,
    deadline::{LONGEST_SECONDS, SHORTEST_SECONDS},
    families::{Family, Stability, all},
};
use crate::model::{
    collectors::Collectors,
    container::{LABEL_NAME_LIMIT_BYTES, LABELS_LIMIT, TEXT_LIMIT_BYTES},
};

const BEGIN: &str =
    "<!-- begin: generated from the code; UPDATE_GOLDEN=1 cargo test -p slicemeter -->";
const END: &str = "<!-- end: generated -->";

/// Asserts that a file of this crate holds `expected`, or writes it when
/// `UPDATE_GOLDEN` is set.
pub(super) fn matches_file(path: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, expected).expect("the file is writable");
    }
    let found = std::fs::read_to_string(&path).expect("the file exists");
    let differs = found.lines().zip(expected.lines()).position(|(a, b)| a != b);
    assert!(
        found == expected,
        "{} is not what the code says (first at line {:?} of {} and {}). \
         If the change is meant: UPDATE_GOLDEN=1 cargo test -p slicemeter",
        path.display(),
        differs.map(|index| index + 1),
        found.lines().count(),
        expected.lines().count(),
    );
}

/// One table for each prefix, as readers look things up.
fn tables() -> String {
    let mut text = String::new();
    for (prefix, title) in [
        ("container_", "Containers, cgroups and the host"),
        ("node_container_", "Containers' processes and networks"),
        ("machine_", "The host's size"),
        ("slicemeter_", "The ledger, the collectors and the web server"),
        ("process_", "The daemon itself"),
    ] {
        let _ = writeln!(text, "\n### {title}\n");
        text.push_str("| name | type | labels | meaning | source | collector | name is |\n");
        text.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
        for family in all().into_iter().filter(|it| it.name.starts_with(prefix)) {
            row(&mut text, family);
        }
    }
    text.push('\n');
    text
}

fn row(text: &mut String, family: &Family) {
    let kind = match family.kind {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::HISTOGRAM => "histogram",
        other => panic!("no such family yet: {other:?}"),
    };
    let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
    let stability = match family.stability {
        Stability::DropIn => "cAdvisor's",
        Stability::NodeCollector => "the node_exporter collector's",
        Stability::Stable => "ours",
    };
    let collectors = match family.collectors {
        Collectors::NONE => String::new(),
        some => some.to_string(),
    };
    let _ = writeln!(
        text,
        "| `{}` | {kind} | {} | {} | {} | {} | {stability} |",
        family.name,
        labels.join(", "),
        family.help,
        family.source,
        collectors,
    );
}

#[test]
fn the_documentation_is_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let found = std::fs::read_to_string(path).expect("docs/metrics.md exists");
    let (before, rest) = found.split_once(BEGIN).expect("the begin mark is there");
    let (_, after) = rest.split_once(END).expect("the end mark is there");
    let expected = format!("{before}{BEGIN}\n{}{END}{after}", tables());
    matches_file("../docs/metrics.md", &expected);
}

#[test]
fn every_family_is_in_a_table() {
    let tables = tables();
    for family in all() {
        assert!(tables.contains(&format!("| `{}` |", family.name)), "{} is in none", family.name);
        assert!(!family.help.contains('|'), "a bar would break {}'s row", family.name);
        assert!(family.help.ends_with('.'), "{}'s HELP is a sentence", family.name);
    }
}

#[test]
fn the_limits_in_the_prose_are_the_codes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let prose = std::fs::read_to_string(path).expect("docs/metrics.md exists").replace('\n', " ");
    let Limits { connections, request, snapshot, scrape, response, write_stall, drain: _ } =
        Limits::default();
    for sentence in [
        format!("more than {connections} connections at once"),
        format!("no whole request within {request:?}"),
        format!("no snapshot within {snapshot:?}"),
        format!("the time of a scrape is {scrape:?}"),
        format!("(no number, less than {} ms)", SHORTEST_SECONDS * 1e3),
        format!("who would wait longer than {LONGEST_SECONDS} s gets {LONGEST_SECONDS} s"),
        format!("read nothing for {write_stall:?}, or took more than {response:?} for"),
        format!("a head of more than {} KiB", HEAD_BYTES / 1024),
        format!("at most {LABELS_LIMIT} of them, the first by name"),
        format!("name is longer than {LABEL_NAME_LIMIT_BYTES} bytes"),
        format!("{TEXT_LIMIT_BYTES} bytes of a name, an image or a label's value are kept"),
    ] {
        let sentence = sentence.replace("0s", "0 s").replace("5s", "5 s");
        assert!(prose.contains(&sentence), "docs/metrics.md does not say: {sentence}");
    }
}
