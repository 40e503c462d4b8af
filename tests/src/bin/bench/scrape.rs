//! What a scrape costs: time for who asks, CPU and memory for the host.
//!
//! The containers are cgroups with a container's name, each with a few short processes
//! behind it, so that every histogram of theirs has something to tell.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use slicemeter_tests::{cgroup::Cgroup, daemon::Daemon, host, scratch::Scratch};

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
        "Method: {scrapes} scrapes of each kind (a connection each), the client on the same \
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
    let parent = Cgroup::new("bench");
    let cgroups: Vec<Cgroup> =
        (0..size).map(|number| Cgroup::at(&format!("{}/{number:064x}", parent.path()))).collect();
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
        host::resident_kib(daemon.pid()) as f64 / 1024.0,
        daemon.scrape().value("slicemeter_kernel_memory_bytes", &[]) / 1024.0 / 1024.0,
    );
    daemon.stop();
    // They lie in the parent: they go first.
    drop(cgroups);
    drop(parent);
    Ok(())
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

fn cpu_ms(pid: u32) -> anyhow::Result<f64> {
    let schedstat = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    let runtime_ns = schedstat.split(' ').next().context("an empty schedstat")?;
    Ok(runtime_ns.parse::<f64>()? / 1e6)
}
