//! The real `slicemeter`: started, scraped, stopped.

use std::{
    env,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    metrics::Exposition,
    process::{Process, Signal, bound_command},
    scratch::Scratch,
    wait, workload,
};

/// What it prints on stdout once it serves.
const READY: &str = "slicemeter: serving ";

/// Where no Docker engine is.
pub const NO_DOCKER: &str = "unix:///nonexistent/docker.sock";

/// Loading and verifying the programs takes well under a second on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Longer than the daemon's own bound on draining.
const STOP_LIMIT: Duration = Duration::from_secs(20);

const SCRAPE_LIMIT: Duration = Duration::from_secs(10);

/// Larger than the answer for a thousand containers.
const ANSWER_LIMIT_BYTES: u64 = 64 << 20;

/// The daemon, and one client of it.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    url: String,
    client: Client,
    _scratch: Scratch,
}

/// A Prometheus-like client with one connection that it keeps.
#[derive(Debug)]
pub struct Client {
    agent: ureq::Agent,
    url: String,
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// `Content-Type`; empty if there is none.
    pub content_type: String,
    /// Body, decoded.
    pub body: String,
    /// From the question to the body's end.
    pub took: Duration,
}

impl Answer {
    /// The text format's series; panics unless the status is 200.
    pub fn parsed(&self) -> Exposition {
        assert_eq!(self.status, 200, "{}", self.body);
        Exposition::parse(&self.body).unwrap_or_else(|error| panic!("{error} in:\n{}", self.body))
    }
}

/// The release build of the daemon: what users run.
pub fn binary() -> PathBuf {
    let path = env::var_os("SLICEMETER_BIN")
        .map_or_else(|| workload::target_dir().join("release/slicemeter"), PathBuf::from);
    assert!(
        path.exists(),
        "no {}: run `cargo xtask test`, or `cargo build --release` first",
        path.display()
    );
    path
}

/// A command that runs the daemon's binary and ends with this test.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = bound_command("TERM", binary());
    command.args(arguments).env_remove("DOCKER_HOST");
    command
}

/// How a run of the binary that should end by itself ended.
#[derive(Debug)]
pub struct Run {
    /// Exit code.
    pub code: Option<i32>,
    /// All it said on stdout.
    pub stdout: String,
    /// All it said on stderr.
    pub stderr: String,
}

/// Runs `command` (of the daemon's binary), which must end by itself.
pub fn run_to_end(command: &mut Command) -> Run {
    let scratch = Scratch::new("run");
    let (out, log) = (scratch.join("stdout"), scratch.join("stderr"));
    command.stdout(std::fs::File::create(&out).expect("a file for stdout"));
    let mut process = Process::start("slicemeter", command, &log);
    let status = process.wait(START_LIMIT);
    let stdout = std::fs::read_to_string(&out).expect("what it said");
    Run { code: status.code(), stdout, stderr: process.log() }
}

impl Daemon {
    /// Starts it against a Docker engine (or the address where there is none), on a port
    /// that the kernel chooses, and waits until it serves.
    pub fn start(docker_host: &str, arguments: &[&str]) -> Self {
        Self::start_by(command(&[]), docker_host, arguments)
    }

    /// The same by a command that ends with the daemon's binary.
    pub fn start_by(mut command: Command, docker_host: &str, arguments: &[&str]) -> Self {
        let scratch = Scratch::new("daemon");
        let mut all = vec!["--web.listen-address", "127.0.0.1:0", "--docker.host", docker_host];
        all.extend(arguments);
        command.args(&all).stdout(Stdio::piped());
        let mut process =
            Process::start("slicemeter", &mut command, &scratch.join("slicemeter.log"));
        let url = ready(&mut process).unwrap_or_else(|why| {
            process.show_log();
            panic!("slicemeter {all:?} {why}")
        });
        let client = Client::new(&url);
        Self { process, url, client, _scratch: scratch }
    }

    /// Starts it where there is no Docker engine.
    pub fn start_without_docker(arguments: &[&str]) -> Self {
        Self::start(NO_DOCKER, arguments)
    }

    /// The address of its metrics.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// HOST:PORT that it listens on.
    pub fn address(&self) -> &str {
        let rest = self.url.strip_prefix("http://").expect("an http URL");
        rest.split('/').next().expect("an address")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// A scrape.
    pub fn scrape(&self) -> Exposition {
        self.client.scrape()
    }

    /// A scrape that satisfies `wanted`; panics with `what` after `limit`.
    pub fn scrape_until(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Exposition) -> bool,
    ) -> Exposition {
        wait::until(what, limit, || Some(self.scrape()).filter(&wanted))
    }

    /// Another client with a connection of its own.
    pub fn client(&self) -> Client {
        Client::new(&self.url)
    }

    /// Sends a signal and waits until it is gone.
    pub fn end(mut self, signal: Signal) -> ExitStatus {
        self.process.stop(signal, STOP_LIMIT)
    }

    /// Stops it as an init system does; it must exit with 0.
    pub fn stop(self) {
        let status = self.end(Signal::TERM);
        assert_eq!(status.code(), Some(0), "exit after SIGTERM: {status}");
    }
}

/// Waits for the line with the URL.
fn ready(process: &mut Process) -> Result<String, String> {
    let stdout = process.child().stdout.take().ok_or("has no stdout")?;
    let (sender, lines) = mpsc::channel();
    // Reads on to the end, so that the daemon never blocks on a full pipe.
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some(url) = line.strip_prefix(READY) {
                // Nobody listens for a second one.
                let _ = sender.send(url.to_owned());
            }
        }
    });
    lines.recv_timeout(START_LIMIT).map_err(|error| match error {
        mpsc::RecvTimeoutError::Timeout => format!("said nothing for {START_LIMIT:?}"),
        mpsc::RecvTimeoutError::Disconnected => "ended before it served".to_owned(),
    })
}

impl Client {
    fn new(url: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(SCRAPE_LIMIT))
            .http_status_as_error(false)
            .build();
        Self { agent: config.into(), url: url.to_owned() }
    }

    /// GETs a path of the daemon: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let root = self.url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        let Answer { status, body, .. } = self.fetch(&format!("{root}{path}"), &[]);
        (status, body)
    }

    /// A scrape with a query (empty, or from the question mark on) and headers; any status.
    pub fn ask(&self, query: &str, headers: &[(&str, &str)]) -> Answer {
        self.fetch(&format!("{}{query}", self.url), headers)
    }

    fn fetch(&self, url: &str, headers: &[(&str, &str)]) -> Answer {
        let asked = Instant::now();
        let request = headers
            .iter()
            .fold(self.agent.get(url), |request, &(name, value)| request.header(name, value));
        let mut response = request.call().unwrap_or_else(|error| panic!("GET {url}: {error}"));
        let content_type = response.headers().get("Content-Type");
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let content_type = content_type.to_owned();
        let body = response
            .body_mut()
            .with_config()
            .limit(ANSWER_LIMIT_BYTES)
            .read_to_string()
            .unwrap_or_else(|error| panic!("body of {url}: {error}"));
        let status = response.status().as_u16();
        Answer { status, content_type, body, took: asked.elapsed() }
    }

    /// The text of a scrape.
    pub fn scrape_text(&self) -> String {
        let Answer { status, body, .. } = self.fetch(&self.url, &[]);
        assert_eq!(status, 200, "GET {}: {body}", self.url);
        body
    }

    /// A scrape, parsed.
    pub fn scrape(&self) -> Exposition {
        let text = self.scrape_text();
        Exposition::parse(&text).unwrap_or_else(|error| panic!("{error} in:\n{text}"))
    }
}
