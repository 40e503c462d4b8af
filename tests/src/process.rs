//! A child process that never outlives its test.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use crate::wait;

/// How much of a log is shown when a test fails.
const LOG_TAIL_LINES: usize = 40;

/// How long a process may take to go once it was killed: it only has to be scheduled.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// A command that gets `signal` when the thread that starts it ends, however it ends.
///
/// `setpriv` does it (it executes the command in its own place, so the pid stays):
/// `prctl` between fork and exec would need unsafe code here.
pub fn bound_command(signal: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal, "--"]).arg(program).stdin(Stdio::null());
    command
}

/// A running child with a log file.
#[derive(Debug)]
pub struct Process {
    child: Child,
    what: String,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, its stderr (and its stdout, unless that is already a pipe of the
    /// caller's) appended to `log`.
    pub fn start(what: &str, command: &mut Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("a log file");
        let child = command
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("can't start {what}: {error}"));
        Self { child, what: what.to_owned(), log: log.to_owned() }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The std handle, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal; the process must still be there.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal)
            .unwrap_or_else(|error| panic!("can't signal {} ({pid:?}): {error}", self.what));
    }

    /// Its exit status, if it is gone.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait for a child")
    }

    /// Waits until it is gone; panics after `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("exit of {}", self.what);
        wait::until(&what, limit, || self.try_wait())
    }

    /// Sends a signal and waits until it is gone; panics after `limit`.
    pub fn stop(&mut self, signal: Signal, limit: Duration) -> ExitStatus {
        self.signal(signal);
        self.wait(limit)
    }

    /// Prints the end of its log.
    pub fn show_log(&self) {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
        println!("--- end of {}'s log ---\n{}\n---", self.what, tail.join("\n"));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            self.show_log();
        }
        // Nothing here may panic: the test may be unwinding already.
        if let Ok(None) = self.child.try_wait() {
            // A stopped process (SIGSTOP) dies of SIGKILL, too.
            let _ = self.child.kill();
            let _ = wait::within(KILL_LIMIT, || self.child.try_wait().ok().flatten());
        }
    }
}
