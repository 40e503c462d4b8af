//! What the same knowledge costs when it is had in other ways.
//!
//! CPU is what the kernel books for a cgroup that everyone concerned is in: shells, or
//! the engine with its helpers and its client.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, ensure};
use slicemeter_tests::{
    cgroup::{Cgroup, kernel_usage_ns},
    dockerd::Dockerd,
};

use crate::stats::Figures;

/// Rounds of the slow ways: they take a second or two each.
const ROUNDS: u32 = 5;

/// Containers for `docker stats`: real ones, so not as many.
const ENGINE_CONTAINERS: usize = 10;

/// What a way of reading costs.
pub(crate) struct Cost {
    /// Wall time of each round, in ms.
    pub(crate) wall_ms: Figures,
    /// CPU time of a round, in ms, on average.
    pub(crate) cpu_ms: f64,
}

/// Reads each container's processes with a shell for each file.
pub(crate) fn shells(containers: &[Vec<u32>]) -> anyhow::Result<Cost> {
    let cgroup = Cgroup::new("shells");
    let visit = cgroup.visit();
    let cost = measure(&cgroup, || {
        for pids in containers {
            for pid in pids {
                shell(&format!("cat /proc/{pid}/stat"))?;
                shell(&format!("cat /proc/{pid}/status"))?;
            }
            let first = pids.first().context("a container without a process")?;
            shell(&format!("cat /proc/{first}/net/dev"))?;
        }
        Ok(())
    });
    drop(visit);
    cost
}

fn shell(script: &str) -> anyhow::Result<()> {
    let output = Command::new("sh").args(["-c", script]).output().context("sh")?;
    ensure!(output.status.success() && !output.stdout.is_empty(), "{script}: {output:?}");
    Ok(())
}

/// `docker stats --no-stream` of a private engine with a few containers, and how many
/// those are.
pub(crate) fn docker_stats() -> anyhow::Result<(usize, Cost)> {
    let cgroup = Cgroup::new("engine");
    // The engine and its helpers inherit it; containers have cgroups of their own.
    let visit = cgroup.visit();
    let docker = Dockerd::start();
    let names: Vec<String> = (0..ENGINE_CONTAINERS).map(|n| format!("bench-{n}")).collect();
    docker.run_many(&names, &["family", "3", "600"]);
    let cost = measure(&cgroup, || {
        let mut command = docker.command(&["stats", "--no-stream"]);
        let output = command.stdin(Stdio::null()).output().context("docker stats")?;
        let lines = String::from_utf8_lossy(&output.stdout).lines().count();
        ensure!(output.status.success() && lines == ENGINE_CONTAINERS + 1, "{output:?}");
        Ok(())
    });
    drop(docker);
    drop(visit);
    Ok((ENGINE_CONTAINERS, cost?))
}

fn measure(cgroup: &Cgroup, mut round: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<Cost> {
    round()?;
    let booked_ns = || kernel_usage_ns(cgroup.path()).context("the kernel's figure");
    let before_ns = booked_ns()?;
    let mut wall_ms = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        round()?;
        wall_ms.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let cpu_ms = (booked_ns()? - before_ns) as f64 / 1e6 / f64::from(ROUNDS);
    Ok(Cost { wall_ms: Figures::new(wall_ms), cpu_ms })
}
