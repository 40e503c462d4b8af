//! House rules that neither rustc nor clippy knows: who may depend on whom, how a
//! file opens, how long it gets, which words it must not hold.
//!
//! Each rule is a pure function of a file's path and text, shown to be able to fail.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Lines a source may have before its unit tests, which may be as long as their
/// tables. Longer files own more than one thing.
const MAX_LINES: usize = 400;

/// What no source may hold. (Put together so that this file doesn't.)
const FORBIDDEN: [(&str, &str); 4] = [
    (concat!("to", "do!("), "finish it"),
    (concat!("unimpl", "emented!("), "finish it"),
    (concat!("FIX", "ME"), "fix it, or say in a sentence what holds"),
    (concat!("#[ig", "nore"), "a test that doesn't run tells nothing"),
];

/// A part of the daemon and what it must not name.
struct Layer {
    directory: &'static str,
    /// First segments of paths, or `a::b` for a segment below another.
    absent: &'static [&'static str],
}

/// Dependencies go `main → app → { source, exposition } → model`, and the model is
/// pure: time and data arrive as values.
const LAYERS: [Layer; 3] = [
    Layer {
        directory: "collector-user/src/model/",
        absent: &[
            "app",
            "args",
            "aya",
            "aya_log",
            "axum",
            "bollard",
            "exposition",
            "hyper",
            "memmap2",
            "preflight",
            "procfs",
            "prometheus",
            "rustix",
            "source",
            "tokio",
            "tracing",
            "Instant::now",
            "SystemTime::now",
            "std::env",
            "std::fs",
            "std::io",
            "std::net",
            "std::process",
            "std::thread",
        ],
    },
    Layer {
        directory: "collector-user/src/source/",
        absent: &["app", "axum", "exposition", "hyper", "prometheus"],
    },
    Layer {
        directory: "collector-user/src/exposition/",
        absent: &["app", "aya", "bollard", "memmap2", "source"],
    },
];

#[test]
fn the_house_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut sources = Vec::new();
    collect_sources(root, &mut sources).unwrap();
    assert!(sources.len() > 20, "only {} sources found below {}", sources.len(), root.display());

    let mut complaints = Vec::new();
    for path in sources {
        let text = fs::read_to_string(&path).unwrap();
        let path = path.strip_prefix(root).unwrap().to_str().unwrap();
        complaints.extend(check(path, &text));
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn collect_sources(directory: &Path, sources: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            let is_ours = name != "target" && !name.to_string_lossy().starts_with('.');
            if is_ours {
                collect_sources(&path, sources)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
    Ok(())
}

/// All rules.
fn check(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if !text.starts_with("//! ") {
        complaints
            .push(format!("{path}:1: must open with `//!`: what it owns, what it must not do"));
    }
    let length = text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count();
    if length > MAX_LINES {
        complaints.push(format!("{path}: {length} lines before its tests, over {MAX_LINES}"));
    }
    for (number, line) in numbered(text) {
        for (word, instead) in FORBIDDEN {
            if line.contains(word) {
                complaints.push(format!("{path}:{number}: `{word}`: {instead}"));
            }
        }
    }
    for layer in LAYERS.iter().filter(|layer| path.starts_with(layer.directory)) {
        complaints.extend(check_layer(layer, path, text));
    }
    complaints
}

fn check_layer(layer: &Layer, path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, used) in used_paths(text) {
        for absent in layer.absent {
            let is_below =
                used.strip_prefix(absent).is_some_and(|it| it.is_empty() || it.starts_with("::"));
            let ends_so = absent.contains("::") && used.ends_with(&format!("::{absent}"));
            if is_below || ends_so {
                let directory = layer.directory;
                complaints
                    .push(format!("{path}:{number}: {directory} must not know of `{absent}`"));
            }
        }
    }
    // A statement can name the same thing twice: `fs::{self, File}`.
    complaints.dedup();
    complaints
}

/// Paths that the code names, with their lines: those in expressions and types as
/// they are written, those of `use` with their braces opened up; `crate::`, `self::`
/// and `super::` taken off.
fn used_paths(text: &str) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in numbered(text) {
        let code = line.split("//").next().unwrap_or_default().trim();
        let code = code.strip_prefix("pub ").or(code.strip_prefix("pub(crate) ")).unwrap_or(code);
        if let Some(rest) = code.strip_prefix("use ") {
            open = Some((number, rest.to_owned()));
        } else if let Some((_, tree)) = &mut open {
            tree.push_str(code);
        } else {
            paths.extend(paths_in_line(code).map(|path| (number, local(path).to_owned())));
        }
        if code.ends_with(';')
            && let Some((number, tree)) = open.take()
        {
            let tree = tree.trim_end_matches(';');
            paths.extend(expand(tree).iter().map(|path| (number, local(path).to_owned())));
        }
    }
    paths
}

fn local(mut path: &str) -> &str {
    path = path.trim_start_matches("::");
    while let Some(rest) =
        ["crate::", "self::", "super::"].iter().find_map(|it| path.strip_prefix(it))
    {
        path = rest;
    }
    path
}

/// Words of at least two segments, outside of string literals.
fn paths_in_line(code: &str) -> impl Iterator<Item = &str> {
    let outside_of_strings = code.split('"').step_by(2);
    let words = outside_of_strings
        .flat_map(|part| part.split(|it: char| !(it.is_alphanumeric() || it == '_' || it == ':')));
    words.filter(|word| word.contains("::"))
}

/// `a::{b, c::{d, e}}` to `a::b`, `a::c::d`, `a::c::e`.
fn expand(tree: &str) -> Vec<String> {
    let Some((prefix, rest)) = tree.split_once('{') else {
        return vec![tree.trim().to_owned()];
    };
    let inner = rest.trim_end().strip_suffix('}').unwrap_or(rest);
    let mut branches = Vec::new();
    let mut branch = String::new();
    let mut depth = 0_i32;
    for character in inner.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if character == ',' && depth == 0 {
            branches.push(std::mem::take(&mut branch));
        } else {
            branch.push(character);
        }
    }
    branches.push(branch);
    let branches = branches.iter().filter(|branch| !branch.trim().is_empty());
    branches.flat_map(|it| expand(it)).map(|it| format!("{}{it}", prefix.trim())).collect()
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

#[test]
fn a_tidy_file_is_left_alone() {
    let text = "//! Sums. Mentions crate::source and tokio::spawn in prose.\n\
                use std::{collections::BTreeMap, time::{Duration, SystemTime}};\n\
                use crate::model::{container, usage::{self, Usage}};\n\
                const HELP: &str = \"tokio::spawn\"; // std::fs::read\n\
                fn sourced(it: my_tokio::Thing) {}\n";
    assert_eq!(check("collector-user/src/model/sums.rs", text), [""; 0]);
}

#[test]
fn every_rule_can_fail() {
    let long = format!("//! Long.\n{}", "fn f() {}\n".repeat(MAX_LINES));
    let tested = format!("//! Tested.\n#[cfg(test)]\n{}", "fn f() {}\n".repeat(MAX_LINES));
    assert_eq!(check("a.rs", &long).len(), 1);
    assert_eq!(check("a.rs", &tested), [""; 0]);
    assert_eq!(check("a.rs", "fn f() {}\n").len(), 1, "no head");
    for (word, _) in FORBIDDEN {
        assert_eq!(check("a.rs", &format!("//! A.\n{word}\n")).len(), 1, "{word}");
    }
}

#[test]
fn layers_are_kept_apart_however_it_is_written() {
    let bad = [
        ("model", "use tokio::sync::mpsc;"),
        ("model", "use std::{collections::BTreeMap, fs};"),
        ("model", "use std::{\n    collections::BTreeMap,\n    fs::{self, File},\n};"),
        ("model", "pub(crate) use crate::{\n    source::kernel,\n};"),
        ("model", "let now = std::time::Instant::now();"),
        ("model", "let now = SystemTime::now();"),
        ("model", "fn f(it: &::aya::Ebpf) {}"),
        ("source", "use crate::exposition;"),
        ("source", "use crate::{exposition::http, model};"),
        ("source", "let it = crate::exposition::serve(x);"),
        ("exposition", "use super::super::source::docker;"),
        ("exposition", "type It = bollard::Docker;"),
    ];
    for (part, code) in bad {
        let path = format!("collector-user/src/{part}/it.rs");
        let complaints = check(&path, &format!("//! It.\n{code}\n"));
        assert_eq!(complaints.len(), 1, "{code}: {complaints:?}");
        assert_eq!(check("collector-user/src/app.rs", &format!("//! It.\n{code}\n")), [""; 0]);
    }
}
