//! A game of ping-pong over pipes: two context switches a turn, on one CPU.

use std::{
    io::{Read as _, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::Context as _;
use rustix::thread::{CpuSet, sched_setaffinity};

/// The one who answers, in a process of its own.
pub(crate) struct Pong {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
}

impl Pong {
    /// Starts it on a CPU, and moves the caller's thread there.
    pub(crate) fn start(cpu: usize) -> anyhow::Result<Self> {
        stay_on(cpu)?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["pong", &cpu.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the other half of the bench")?;
        let to = child.stdin.take().context("its stdin")?;
        let from = child.stdout.take().context("its stdout")?;
        Ok(Self { child, to, from })
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Plays some turns: twice as many switches, and a few of other tasks.
    pub(crate) fn play(&mut self, turns: u32) -> anyhow::Result<()> {
        let mut byte = [0; 1];
        for _ in 0..turns {
            self.to.write_all(&byte)?;
            self.from.read_exact(&mut byte)?;
        }
        Ok(())
    }

    /// Ends the game.
    pub(crate) fn end(self) -> anyhow::Result<()> {
        let Self { mut child, to, from: _ } = self;
        drop(to);
        child.wait()?;
        Ok(())
    }
}

/// Sends back each byte until there are no more.
pub(crate) fn answer(cpu: usize) -> anyhow::Result<()> {
    stay_on(cpu)?;
    let (mut from, mut to) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut byte = [0; 1];
    while from.read(&mut byte)? == 1 {
        to.write_all(&byte)?;
        to.flush()?;
    }
    Ok(())
}

fn stay_on(cpu: usize) -> anyhow::Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only).with_context(|| format!("cannot stay on CPU {cpu}"))
}
