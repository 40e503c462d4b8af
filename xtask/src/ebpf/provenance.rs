//! The record beside the committed objects: from which sources, crates, tools and
//! flags they were built, and their own hashes.
//!
//! Its format is the part of TOML that it needs: `[table]`, `key = "value"`, `#`.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::ebpf::{
    build::{FLAGS, OBJECTS, PROFILE},
    toolchain::Versions,
};

/// Where the record is, from the working copy's root.
pub(crate) const PATH: &str = "collector-user/bpf/provenance.toml";

const HEADER: &str = "\
# Written by `cargo xtask build-ebpf`, along with the objects that it describes.
# `cargo xtask test` fails if this isn't true: if a source has another hash, or if
# the same tools build other bytes from it.
";

/// Directory of the kernel side, from the root.
const EBPF_CRATE: &str = "collector-ebpf";

/// Names of the crates that are compiled for the kernel begin with these.
const EBPF_CRATES: [&str; 2] = ["aya-ebpf", "aya-log-"];

type Table = BTreeMap<String, String>;

/// What a build is made from; what it makes follows from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Provenance {
    /// SHA-256 of each source; the compiler's flags as they are.
    pub(crate) sources: Table,
    /// Crates that are compiled for the kernel, with Cargo.lock's checksums.
    pub(crate) crates: Table,
    /// Versions of the tools.
    pub(crate) toolchain: Table,
    /// SHA-256 of each committed object.
    pub(crate) objects: Table,
}

/// Tables of the file, in order.
const TABLES: [&str; 4] = ["sources", "crates", "toolchain", "objects"];

impl Provenance {
    /// What a build of the working copy at `root` by these tools is made from, and
    /// the objects that are committed there now.
    ///
    /// # Errors
    /// A file can't be read.
    pub(crate) fn of(root: &Path, versions: &Versions) -> Result<Self> {
        let Versions { rustc, llvm, bpf_linker } = versions;
        let toolchain =
            [("bpf-linker", bpf_linker.clone()), ("llvm", llvm.clone()), ("rustc", rustc.clone())];
        Ok(Self {
            sources: sources(root)?,
            crates: locked_crates(&read(&root.join("Cargo.lock"))?),
            toolchain: toolchain.map(|(key, value)| (key.to_owned(), value)).into(),
            objects: objects(root)?,
        })
    }

    /// Reads the record of the working copy at `root`.
    ///
    /// # Errors
    /// It isn't there, or isn't in this format.
    pub(crate) fn load(root: &Path) -> Result<Self> {
        let text = read(&root.join(PATH)).context("the objects have no provenance record")?;
        text.parse().with_context(|| format!("{PATH} is not a provenance record"))
    }

    /// What is recorded otherwise than `now`, in words; empty if the record holds.
    /// The toolchain is not compared: another one may be used, see the caller.
    pub(crate) fn differences(&self, now: &Self) -> Vec<String> {
        let tables = [
            ("source", &self.sources, &now.sources),
            ("crate", &self.crates, &now.crates),
            ("object", &self.objects, &now.objects),
        ];
        let mut differences = Vec::new();
        for (what, recorded, now) in tables {
            for (key, value) in recorded {
                match now.get(key) {
                    None => differences.push(format!("{what} {key} is gone")),
                    Some(other) if other != value => {
                        differences.push(format!("{what} {key} has changed"));
                    }
                    Some(_) => {}
                }
            }
            let new = now.keys().filter(|key| !recorded.contains_key(*key));
            differences.extend(new.map(|key| format!("{what} {key} is not recorded")));
        }
        differences
    }

    fn table_mut(&mut self, name: &str) -> Option<&mut Table> {
        let Self { sources, crates, toolchain, objects } = self;
        TABLES
            .into_iter()
            .zip([sources, crates, toolchain, objects])
            .find_map(|(candidate, table)| if candidate == name { Some(table) } else { None })
    }
}

impl std::fmt::Display for Provenance {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { sources, crates, toolchain, objects } = self;
        formatter.write_str(HEADER)?;
        for (name, table) in TABLES.into_iter().zip([sources, crates, toolchain, objects]) {
            writeln!(formatter, "\n[{name}]")?;
            for (key, value) in table {
                writeln!(formatter, "{} = {}", quote(key), quote(value))?;
            }
        }
        Ok(())
    }
}

impl std::str::FromStr for Provenance {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut provenance = Self::default();
        let mut table = None;
        for (index, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()))
        {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                table = Some(name.to_owned());
                if provenance.table_mut(name).is_none() {
                    bail!("line {index}: no table of this name is known: {line}");
                }
                continue;
            }
            let entry = table.as_deref().and_then(|name| provenance.table_mut(name));
            let (Some(entry), Some((key, value))) = (entry, key_and_value(line)) else {
                bail!("line {index} is not `\"key\" = \"value\"` in a table: {line}");
            };
            if entry.insert(key, value).is_some() {
                bail!("line {index} repeats a key: {line}");
            }
        }
        Ok(provenance)
    }
}

fn quote(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', r"\\").replace('"', r#"\""#))
}

fn key_and_value(line: &str) -> Option<(String, String)> {
    let (key, rest) = unquote(line)?;
    let (value, rest) = unquote(rest.trim_start().strip_prefix('=')?.trim_start())?;
    rest.is_empty().then_some((key, value))
}

/// The quoted string that `text` begins with, and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut word = String::new();
    let mut characters = text.strip_prefix('"')?.chars();
    loop {
        match characters.next()? {
            '"' => return Some((word, characters.as_str())),
            '\\' => word.push(characters.next().filter(|it| matches!(it, '"' | '\\'))?),
            other => word.push(other),
        }
    }
}

/// Hashes of all that decides what is compiled, but for crates and tools.
fn sources(root: &Path) -> Result<Table> {
    let mut sources = Table::new();
    let manifest = format!("{EBPF_CRATE}/Cargo.toml");
    sources.insert(manifest.clone(), hash(&fs::read(root.join(&manifest)).context(manifest)?));
    let section = format!("profile.{PROFILE}");
    let profile = section_of(&read(&root.join("Cargo.toml"))?, &section)
        .with_context(|| format!("Cargo.toml has no [{section}]"))?;
    sources.insert(format!("Cargo.toml [{section}]"), hash(profile.as_bytes()));
    sources.insert("compiler flags".to_owned(), FLAGS.join(" "));
    let mut directories = vec![format!("{EBPF_CRATE}/src")];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(root.join(&directory)).with_context(|| directory.clone())?;
        for entry in entries {
            let entry = entry.with_context(|| directory.clone())?;
            let path = format!("{directory}/{}", entry.file_name().to_string_lossy());
            if entry.file_type().with_context(|| path.clone())?.is_dir() {
                directories.push(path);
            } else if entry.path().extension().is_some_and(|it| it == "rs") {
                let source = fs::read(entry.path()).with_context(|| path.clone())?;
                sources.insert(path, hash(&source));
            }
        }
    }
    Ok(sources)
}

/// The settings of a TOML section, without comments: prose decides nothing.
fn section_of(manifest: &str, section: &str) -> Option<String> {
    let heading = format!("[{section}]");
    let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != heading);
    lines.next()?;
    let settings = lines
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    Some(settings.collect::<Vec<_>>().join("\n"))
}

/// Crates of [`EBPF_CRATES`] in a Cargo.lock: `name version` and checksum.
fn locked_crates(lock: &str) -> Table {
    let field = |package: &str, name: &str| {
        let start = format!("{name} = ");
        let value = package.lines().find_map(|line| line.strip_prefix(&start))?;
        unquote(value).map(|(value, _)| value)
    };
    let packages = lock.split("[[package]]");
    let locked = packages.filter_map(|package| {
        let name = field(package, "name")?;
        let is_ours = EBPF_CRATES.iter().any(|prefix| name.starts_with(prefix));
        let version = field(package, "version").filter(|_| is_ours)?;
        Some((format!("{name} {version}"), field(package, "checksum")?))
    });
    locked.collect()
}

/// Hashes of the committed objects, as far as they are there.
fn objects(root: &Path) -> Result<Table> {
    let mut objects = Table::new();
    for object in OBJECTS {
        let path = root.join(object.committed);
        if path.exists() {
            let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
            objects.insert(object.committed.to_owned(), hash(&bytes));
        }
    }
    Ok(objects)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))
}

/// SHA-256 in hexadecimal, as `sha256sum` prints it.
pub(crate) fn hash(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a String can't fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Provenance {
        let table = |entries: &[(&str, &str)]| {
            entries.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
        };
        Provenance {
            sources: table(&[("collector-ebpf/src/lib.rs", "aa"), ("Cargo.toml [p]", "bb")]),
            crates: table(&[("aya-ebpf 0.2.1", "cc")]),
            toolchain: table(&[("flags", r#"--cfg a="b" -C \x"#), ("rustc", "rustc 1 (x 2)")]),
            objects: table(&[("collector-user/bpf/collector.o", "dd")]),
        }
    }

    #[test]
    fn a_record_survives_its_file() {
        let text = sample().to_string();
        assert_eq!(text.parse::<Provenance>().unwrap(), sample(), "{text}");
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let bad = [
            "[unheard_of]",
            "\"key\" = \"outside of a table\"",
            "[sources]\nkey = \"bare\"",
            "[sources]\n\"a\" = \"1\"\n\"a\" = \"2\"",
            "[sources]\n\"a\" = \"1\" trailing",
            "[sources]\n\"a\" = \"open",
            "<<<<<<< ours",
        ];
        for text in bad {
            assert!(text.parse::<Provenance>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn every_difference_is_named_but_the_toolchain() {
        assert!(sample().differences(&sample()).is_empty());
        let mut now = sample();
        now.sources.insert("collector-ebpf/src/lib.rs".into(), "other".into());
        now.sources.insert("collector-ebpf/src/new.rs".into(), "ee".into());
        now.crates.clear();
        now.objects.insert("collector-user/bpf/collector.o".into(), "other".into());
        now.toolchain.clear();
        assert_eq!(
            sample().differences(&now),
            [
                "source collector-ebpf/src/lib.rs has changed",
                "source collector-ebpf/src/new.rs is not recorded",
                "crate aya-ebpf 0.2.1 is gone",
                "object collector-user/bpf/collector.o has changed",
            ]
        );
    }

    #[test]
    fn the_lock_file_gives_the_kernel_crates_and_no_others() {
        let lock = "version = 4\n\n[[package]]\nname = \"aya\"\nversion = \"0.14.0\"\n\
                    checksum = \"11\"\n\n[[package]]\nname = \"aya-ebpf\"\nversion = \"0.2.1\"\n\
                    checksum = \"22\"\ndependencies = [\n \"aya-ebpf-cty\",\n]\n\n[[package]]\n\
                    name = \"collector-ebpf\"\nversion = \"0.1.0\"\n";
        let crates = locked_crates(lock);
        assert_eq!(
            crates.into_iter().collect::<Vec<_>>(),
            [("aya-ebpf 0.2.1".into(), "22".into())]
        );
    }

    #[test]
    fn a_section_is_its_settings() {
        let manifest =
            "[a]\nx = 1\n# why\n[profile.ebpf]\n# why\nlto = true\n\ny = 2\n[b]\nz = 3\n";
        assert_eq!(section_of(manifest, "profile.ebpf").unwrap(), "lto = true\ny = 2");
        assert_eq!(section_of(manifest, "c"), None);
    }

    #[test]
    fn hashes_are_those_of_sha256sum() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hash(b""), empty);
    }

    #[test]
    fn this_working_copy_has_what_a_record_is_made_of() {
        let versions = Versions { rustc: "r".into(), llvm: "l".into(), bpf_linker: "b".into() };
        let now = Provenance::of(crate::workspace::root(), &versions).unwrap();
        assert!(now.sources.contains_key("collector-ebpf/src/lib.rs"));
        assert!(now.sources.contains_key("Cargo.toml [profile.ebpf]"));
        assert!(now.crates.keys().any(|key| key.starts_with("aya-ebpf 0.")));
        assert_eq!(now.toolchain["rustc"], "r");
    }
}
