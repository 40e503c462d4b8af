//! What a scrape costs: time for who asks, CPU and memory for the host.
//!
//! The containers are cgroups with a container's name, each with a few short processes
//! behind it, so that every histogram of theirs has something to tell.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use slicemeter_tests::{cgroup::Cgroup, daemon::Daemon, scratch::Scratch};

use crate::{machine, stats::Figures};

const SIZES: [usize; 2] = [50, 500];

/// Scrapes that are not counted: the first allocates what the others use.
const WARM_UP: u32 = 5;

/// Rest between two scrapes: a scraper does not hammer.
const REST: Duration = Duration::from_millis(20);

pub(crate) fn run(scrapes: u32) -> anyhow::Result<()> {
    println!("## bench scrape\n");
    println!("Machine: {}.", machine::describe());
    println!(
        "Method: {scrapes} scrapes of each kind over one connection, the client on the same \
         machine; CPU from /proc/PID/schedstat of the daemon, memory from its /proc/PID/status \
         after all scrapes.\n"
    );
    println!(
        "| containers | answer | scrape, median | 90 % | CPU per scrape | with gzip, median | \
         resident memory | kernel memory of the maps |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for size in SIZES {
        row(size, scrapes)?;
    }
    Ok(())
}

fn row(size: usize, scrapes: u32) -> anyhow::Result<()> {
    let scratch = Scratch::new("bench");
    let daemon = Daemon::start_without_docker(&[]);
    let cgroups: Vec<Cgroup> = (0..size)
        .map(|number| Cgroup::at(&format!("/sm-bench-{}/{number:064x}", std::process::id())))
        .collect();
    for cgroup in &cgroups {
        cgroup.spawn(&["spin-ms", "1"], &scratch.join("log")).wait(Duration::from_secs(10));
    }
    let plain = Client::new(&daemon, "identity");
    let gzip = Client::new(&daemon, "gzip");
    let text = String::from_utf8(plain.scrape()?)?;
    let told = text.lines().filter(|line| line.starts_with("container_cpu_usage_seconds")).count();
    ensure!(told > size, "{told} series for {size} containers");

    let cpu_before = cpu_ms(daemon.pid())?;
    let plain_ms = measure(&plain, scrapes)?;
    let cpu_per_scrape = (cpu_ms(daemon.pid())? - cpu_before) / f64::from(scrapes + WARM_UP);
    let gzip_ms = measure(&gzip, scrapes)?;
    println!(
        "| {size} | {:.1} MB | **{:.2} ms** | {:.2} ms | {:.2} ms | {:.2} ms | **{:.1} MiB** | \
         {:.2} MiB |",
        text.len() as f64 / 1e6,
        plain_ms.median(),
        plain_ms.quantile(0.9),
        cpu_per_scrape,
        gzip_ms.median(),
        resident_mib(daemon.pid())?,
        daemon.scrape().value("slicemeter_kernel_memory_bytes", &[]) / 1024.0 / 1024.0,
    );
    daemon.stop();
    Ok(())
}

/// One connection that asks for one encoding and does not decode it.
struct Client {
    agent: ureq::Agent,
    url: String,
    encoding: &'static str,
}

impl Client {
    fn new(daemon: &Daemon, encoding: &'static str) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(10)))
            .build()
            .new_agent();
        Self { agent, url: daemon.url().to_owned(), encoding }
    }

    fn scrape(&self) -> anyhow::Result<Vec<u8>> {
        let mut answer =
            self.agent.get(&self.url).header("Accept-Encoding", self.encoding).call()?;
        let limit = 64 * 1024 * 1024;
        Ok(answer.body_mut().with_config().limit(limit).read_to_vec()?)
    }
}

fn measure(client: &Client, scrapes: u32) -> anyhow::Result<Figures> {
    for _ in 0..WARM_UP {
        client.scrape()?;
    }
    let mut times_ms = Vec::new();
    for _ in 0..scrapes {
        std::thread::sleep(REST);
        let begun = Instant::now();
        client.scrape()?;
        times_ms.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Figures::new(times_ms))
}

fn cpu_ms(pid: u32) -> anyhow::Result<f64> {
    let schedstat = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    let runtime_ns = schedstat.split(' ').next().context("an empty schedstat")?;
    Ok(runtime_ns.parse::<f64>()? / 1e6)
}

fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
        .context("no VmRSS")?;
    Ok(kib.parse::<f64>()? / 1024.0)
}
