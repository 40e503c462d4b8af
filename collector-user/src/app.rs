//! Wiring and shutdown: the only place that knows everyone.

use crate::{args::Config, exit};

/// Why the daemon stopped without having been told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {}

impl Error {
    /// The exit code that goes with it.
    pub fn exit_code(&self) -> exit::Code {
        match *self {}
    }
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// What [`Error`] says.
pub fn run(_config: Config) -> Result<(), Error> {
    Ok(())
}
