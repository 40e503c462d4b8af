//! `cargo xtask run`: build the daemon with stable Rust, from the committed object,
//! and become it, as root.

use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{command, rights::Rights, workspace};

/// What the daemon reads from its environment.
const ENVIRONMENT: [&str; 3] = ["DOCKER_HOST", "NO_COLOR", "RUST_BACKTRACE"];

/// Build the daemon (stable Rust alone) and run it as root
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The daemon's own arguments, after `--`: try `cargo xtask run -- --help`
    #[arg(last = true, value_name = "ARGS")]
    daemon: Vec<String>,
}

/// Only returns if it can't become the daemon.
pub(crate) fn run(args: &Args) -> Result<()> {
    let daemon = build_daemon()?;
    let rights = Rights::detect()?;
    let Some(mut command) = rights.command(&daemon, &ENVIRONMENT) else {
        bail!(
            "loading eBPF programs takes root, and there is no usable sudo here. As root, run:\n    {}",
            daemon.display()
        );
    };
    command.args(&args.daemon);
    // In our place rather than below us: signals and the exit status are the daemon's.
    let error = command.exec();
    Err(error).with_context(|| format!("can't run `{}`", command::show(&command)))
}

/// Builds the daemon in the release profile and says where it is.
///
/// # Errors
/// It doesn't build.
pub(crate) fn build_daemon() -> Result<PathBuf> {
    build_daemon_with(None)
}

/// Builds the daemon with another eBPF object than the committed one inside, if any.
pub(crate) fn build_daemon_with(object: Option<&Path>) -> Result<PathBuf> {
    let mut cargo = command::cargo();
    cargo.args(["build", "--release", "--package", "slicemeter"]);
    if let Some(object) = object {
        cargo.env("SLICEMETER_EBPF_OBJECT", object);
    }
    command::run(&mut cargo)?;
    Ok(workspace::target_dir()?.join("release/slicemeter"))
}
