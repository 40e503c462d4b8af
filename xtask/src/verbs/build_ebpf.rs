//! `cargo xtask build-ebpf`: rebuild the committed eBPF objects, or check them.

use std::fs;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{
    ebpf::{
        build::{self, OBJECTS},
        provenance::{self, Provenance},
        toolchain::Toolchain,
    },
    workspace,
};

/// Rebuild the committed eBPF objects and the record of their provenance
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Commit nothing: fail if the committed objects are not what the sources give
    #[arg(long)]
    check: bool,
}

/// Dispatches on `--check`.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.check { check() } else { rebuild() }
}

fn rebuild() -> Result<()> {
    let root = workspace::root();
    let toolchain = Toolchain::ensure()?;
    build::build(&toolchain)?;
    for object in OBJECTS {
        let committed = root.join(object.committed);
        if let Some(directory) = committed.parent() {
            fs::create_dir_all(directory)
                .with_context(|| format!("can't create {}", directory.display()))?;
        }
        let length = fs::copy(build::fresh(object)?, &committed)
            .with_context(|| format!("can't write {}", committed.display()))?;
        println!("{}: {length} bytes", object.committed);
    }
    // After the objects, whose hashes it holds.
    let record = Provenance::of(root, &toolchain.versions()?)?;
    fs::write(root.join(provenance::PATH), record.to_string())
        .with_context(|| format!("can't write {}", provenance::PATH))?;
    println!("{}: commit it along with them", provenance::PATH);
    Ok(())
}

/// Fails if the record is not of these sources and objects; or, with the recorded
/// tools, if a rebuild gives other bytes. With other tools the rebuild has to work;
/// what it gives is for the kernel tests to judge.
///
/// # Errors
/// The above, in a message that says what to do.
pub(crate) fn check() -> Result<()> {
    let root = workspace::root();
    let recorded = Provenance::load(root).map_err(|error| anyhow!("{error:#}\n{REBUILD}"))?;
    let toolchain = Toolchain::ensure()?;
    let now = Provenance::of(root, &toolchain.versions()?)?;
    let differences = recorded.differences(&now);
    if !differences.is_empty() {
        bail!(
            "{} is not true any more:\n  {}\n{REBUILD}",
            provenance::PATH,
            differences.join("\n  ")
        );
    }
    build::build(&toolchain)?;
    let is_recorded_toolchain = recorded.toolchain == now.toolchain;
    if !is_recorded_toolchain {
        println!("These tools are not the recorded ones, so bytes are not compared:");
        for (tool, version) in &now.toolchain {
            let recorded = recorded.toolchain.get(tool).map_or("none", String::as_str);
            if version != recorded {
                println!("  {tool}: {version} (recorded: {recorded})");
            }
        }
    }
    for object in OBJECTS {
        let fresh = build::fresh(object)?;
        let bytes = fs::read(&fresh).with_context(|| format!("can't read {}", fresh.display()))?;
        let is_identical =
            recorded.objects.get(object.committed) == Some(&provenance::hash(&bytes));
        if is_recorded_toolchain && !is_identical {
            bail!(
                "the same sources and tools give another {}, see {}. {REBUILD}",
                object.committed,
                fresh.display()
            );
        }
        let verdict = if is_identical { "identical to" } else { "differs from" };
        println!("{} {verdict} {}", fresh.display(), object.committed);
    }
    Ok(())
}

const REBUILD: &str = "Rebuild with `cargo xtask build-ebpf` and commit what it writes";
