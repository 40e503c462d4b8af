//! What a scrape costs: time for who asks, CPU and memory for the host; beside it, what
//! other ways to the same knowledge cost.
//!
//! The containers are cgroups with a container's name in every hierarchy that is read,
//! each with sleeping processes in it and a few short ones behind it, so that every
//! histogram of theirs has something to tell.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use slicemeter_tests::{
    cgroup::{Cgroup, kernel_usage_ns},
    collectors::ALL,
    daemon::Daemon,
    host,
    metrics::Exposition,
    process::{Process, Signal},
    scratch::Scratch,
};

use crate::{
    machine,
    others::{self, Cost},
    stats::Figures,
};

/// Containers; the first size is the one that other ways are compared at.
const SIZES: [usize; 2] = [50, 500];

/// Processes in each.
const PROCESSES: usize = 4;

/// Scrapes that are not counted: the first allocates what the others use.
const WARM_UP: u32 = 5;

/// Rest between two scrapes: a scraper does not hammer.
const REST: Duration = Duration::from_millis(20);

pub(crate) fn run(scrapes: u32) -> anyhow::Result<()> {
    println!("## bench scrape\n");
    println!("Machine: {}.", machine::describe());
    println!(
        "Method: {scrapes} scrapes of each kind with all collectors (a connection each), the \
         client on the same machine; {PROCESSES} sleeping processes in each container; CPU as \
         the kernel books it for a cgroup that the daemon is alone in, memory from its \
         /proc/PID/status after all scrapes.\n"
    );
    println!(
        "| containers | answer | scrape, median | 90 % | CPU per scrape | with gzip, median | \
         resident memory | kernel memory of the maps |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let mut ours_and_shells = None;
    for size in SIZES {
        let host = Host::with(size)?;
        let ours = row(&host, scrapes)?;
        if ours_and_shells.is_none() {
            ours_and_shells = Some((ours, others::shells(&host.pids())?));
        }
    }
    let (Row { cost: ours, parts }, shells) = ours_and_shells.context("a size")?;
    let (engine_containers, stats) = others::docker_stats()?;

    let (containers, files) = (SIZES[0], SIZES[0] * (2 * PROCESSES + 1));
    let parts: Vec<String> = parts.iter().map(|(name, ms)| format!("{name} {ms:.2} ms")).collect();
    println!(
        "\nCollectors' own figures with {containers} containers, medians: {}.",
        parts.join(", ")
    );
    println!("\nOther ways, in the same run; CPU includes all children and the engine:\n");
    println!("| way | containers | wall, median | longest | CPU |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    line("a scrape, everything", containers, &ours);
    line(&format!("a shell and a `cat` for each of {files} files of /proc"), containers, &shells);
    line("`docker stats --no-stream`", engine_containers, &stats);
    Ok(())
}

fn line(way: &str, containers: usize, Cost { wall_ms, cpu_ms }: &Cost) {
    let (_, longest) = wall_ms.spread();
    let median = wall_ms.median();
    println!("| {way} | {containers} | **{median:.2} ms** | {longest:.2} ms | {cpu_ms:.2} ms |");
}

/// Cgroups that look like containers, and who lives in them.
struct Host {
    // In the order in which they must go: processes, cgroups, the one that they lie in.
    processes: Vec<Vec<Process>>,
    cgroups: Vec<Cgroup>,
    _parent: Cgroup,
    scratch: Scratch,
}

impl Host {
    fn with(size: usize) -> anyhow::Result<Self> {
        let (scratch, parent) = (Scratch::new("bench"), Cgroup::new("bench"));
        let path = |number| format!("{}/{number:064x}", parent.path());
        let cgroups: Vec<Cgroup> =
            (0..size).map(|number| Cgroup::at_everywhere(&path(number))).collect();
        let log = scratch.join("log");
        let inhabit = |cgroup: &Cgroup| {
            (0..PROCESSES).map(|_| cgroup.spawn(&["sleep", "3600"], &log)).collect()
        };
        let processes = cgroups.iter().map(inhabit).collect();
        let host = Self { processes, cgroups, _parent: parent, scratch };
        // Each becomes the workload after two steps.
        for process in host.processes.iter().flatten() {
            let comm = format!("/proc/{}/comm", process.pid());
            let ready = || (std::fs::read_to_string(&comm).ok()? == "workload\n").then_some(());
            slicemeter_tests::wait::within(Duration::from_secs(30), ready)
                .context("a process that doesn't get to its work")?;
        }
        Ok(host)
    }

    fn pids(&self) -> Vec<Vec<u32>> {
        self.processes.iter().map(|some| some.iter().map(Process::pid).collect()).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // All at once: waiting for one after the other takes its time.
        for process in self.processes.iter().flatten() {
            process.signal(Signal::KILL);
        }
    }
}

/// What a row tells beyond itself.
struct Row {
    cost: Cost,
    /// Collectors, and the median of their own figure in ms; of the first size only.
    parts: Vec<(&'static str, f64)>,
}

/// How long each collector says that it took, its lanes' times added up.
fn parts(daemon: &Daemon, scrapes: u32) -> Vec<(&'static str, f64)> {
    let answers: Vec<_> = (0..scrapes)
        .map(|_| {
            std::thread::sleep(REST);
            daemon.scrape()
        })
        .collect();
    let median_ms = |collector| {
        let labels = [("collector", collector)];
        let of = |scrape: &Exposition| {
            1e3 * scrape.value("slicemeter_collector_duration_seconds", &labels)
        };
        Figures::new(answers.iter().map(of).collect()).median()
    };
    ALL.into_iter().map(|collector| (collector, median_ms(collector))).collect()
}

fn row(host: &Host, scrapes: u32) -> anyhow::Result<Row> {
    let size = host.cgroups.len();
    let daemon = Daemon::start_without_docker(&[]);
    let alone = Cgroup::new("daemon");
    alone.admit(daemon.pid());
    for cgroup in &host.cgroups {
        let log = host.scratch.join("log");
        cgroup.spawn(&["spin-ms", "1"], &log).wait(Duration::from_secs(10));
    }
    let plain = Client::new(&daemon, "identity");
    let gzip = Client::new(&daemon, "gzip");
    let text = String::from_utf8(plain.scrape()?)?;
    let count = |series: &str| text.lines().filter(|line| line.starts_with(series)).count();
    for (series, expected) in [
        ("container_cpu_usage_seconds_total{", size + 1),
        ("container_memory_working_set_bytes{", size),
        ("node_container_cpu_utime{", size * PROCESSES),
        ("node_container_memory_vmrss{", size * PROCESSES),
    ] {
        let told = count(series);
        ensure!(told >= expected, "{told} series {series} for {size} containers");
    }

    let booked_ns = || kernel_usage_ns(alone.path()).context("the kernel's figure");
    let before_ns = booked_ns()?;
    let plain_ms = measure(&plain, scrapes)?;
    let cpu_ms = (booked_ns()? - before_ns) as f64 / 1e6 / f64::from(scrapes + WARM_UP);
    let gzip_ms = measure(&gzip, scrapes)?;
    println!(
        "| {size} | {:.1} MB | **{:.2} ms** | {:.2} ms | {cpu_ms:.2} ms | {:.2} ms | \
         **{:.1} MiB** | {:.2} MiB |",
        text.len() as f64 / 1e6,
        plain_ms.median(),
        plain_ms.quantile(0.9),
        gzip_ms.median(),
        host::resident_kib(daemon.pid()) as f64 / 1024.0,
        daemon.scrape().value("slicemeter_kernel_memory_bytes", &[]) / 1024.0 / 1024.0,
    );
    // Reading the larger answers strictly would take its time.
    let parts = if size == SIZES[0] { parts(&daemon, scrapes) } else { Vec::new() };
    daemon.stop();
    Ok(Row { cost: Cost { wall_ms: plain_ms, cpu_ms }, parts })
}

/// Asks for one encoding, over a connection a scrape, and decodes nothing.
struct Client {
    address: String,
    encoding: &'static str,
}

impl Client {
    fn new(daemon: &Daemon, encoding: &'static str) -> Self {
        Self { address: daemon.address().to_owned(), encoding }
    }

    /// The whole answer, head and chunks included.
    fn scrape(&self) -> anyhow::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let (address, encoding) = (&self.address, self.encoding);
        write!(
            stream,
            "GET /metrics HTTP/1.1\r\nHost: {address}\r\nAccept-Encoding: {encoding}\r\n\
             Connection: close\r\n\r\n"
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        ensure!(answer.starts_with(b"HTTP/1.1 200"), "a scrape failed");
        Ok(answer)
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
