//! The README's tables say what the binary says.

#![forbid(unsafe_code)]

use slicemeter::{args, exit};

const README: &str = include_str!("../../README.md");

/// The rows of the table under a heading, head and ruler included.
fn table(heading: &str) -> Vec<&'static str> {
    let mut lines = README.lines().skip_while(|line| *line != heading);
    assert!(lines.next().is_some(), "README.md has no {heading:?}");
    lines.take_while(|line| !line.starts_with("## ")).filter(|line| line.starts_with('|')).collect()
}

/// Compares, and on a difference shows the table that would be right.
fn check(heading: &str, expected: &[String]) {
    let actual = table(heading);
    assert!(
        actual == *expected,
        "{heading} in README.md should hold:\n\n{}\n",
        expected.join("\n")
    );
}

#[test]
fn the_flag_table_is_claps_own_list() {
    let mut rows =
        vec!["| flag | default | meaning |".to_owned(), "| --- | --- | --- |".to_owned()];
    let command = args::command();
    for argument in command.get_arguments().filter(|it| !it.is_hide_set()) {
        let long = argument.get_long().expect("every flag has a long name");
        let meaning = argument.get_help().expect("every flag says what it is for").to_string();
        let is_switch = !argument.get_action().takes_values();
        let default = match argument.get_default_values().first() {
            // A switch; what says how it is switched off is on.
            _ if is_switch && meaning.contains(&format!("(--no-{long} ")) => "on".to_owned(),
            _ if is_switch => "off".to_owned(),
            Some(default) => format!("`{}`", default.display()),
            None => panic!("--{long} has no default"),
        };
        let values: Vec<_> = argument
            .get_possible_values()
            .iter()
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        let values = if is_switch || values.is_empty() {
            String::new()
        } else {
            format!(": {}", values.join(", "))
        };
        let variable = argument.get_env().map(|name| format!("; also from `{}`", name.display()));
        let variable = variable.unwrap_or_default();
        let meaning = meaning.replace('|', "\\|").replace(" * ", " `*` ");
        rows.push(format!("| `--{long}` | {default} | {meaning}{values}{variable} |"));
    }
    assert!(rows.len() > 16, "clap lists them all: {rows:?}");
    check("## Flags", &rows);
}

#[test]
fn the_exit_codes_are_those_of_the_code() {
    let mut rows = vec!["| code | meaning |".to_owned(), "| --- | --- |".to_owned()];
    rows.extend(exit::Code::ALL.map(|code| format!("| {} | {} |", code.number(), code.meaning())));
    check("## Exit codes", &rows);
}
