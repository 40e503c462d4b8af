//! A private Prometheus, and promtool.

use std::{
    fs,
    io::Write,
    net::TcpListener,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{
    process::{Process, bound_command},
    scratch::Scratch,
    wait,
};

const START_LIMIT: Duration = Duration::from_secs(30);
const QUERY_LIMIT: Duration = Duration::from_secs(10);

/// The server, scraping one target every second.
#[derive(Debug)]
pub struct Prometheus {
    url: String,
    agent: ureq::Agent,
    _process: Process,
    _scratch: Scratch,
}

impl Prometheus {
    /// Starts it, and waits until it is ready.
    pub fn start(target: &str) -> Self {
        let scratch = Scratch::new("prometheus");
        let config = scratch.join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs:\n\
             - job_name: slicemeter\n  \
               static_configs: [{{targets: ['{target}']}}]\n"
        );
        fs::write(&config, text).expect("Prometheus' configuration");
        let address = free_address();
        let mut command = bound_command("TERM", "prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", scratch.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null());
        let mut process =
            Process::start("prometheus", &mut command, &scratch.join("prometheus.log"));
        let config = ureq::Agent::config_builder().timeout_global(Some(QUERY_LIMIT)).build();
        let agent: ureq::Agent = config.into();
        let url = format!("http://{address}");
        wait::until("readiness of Prometheus", START_LIMIT, || {
            assert_eq!(process.try_wait(), None, "Prometheus is gone");
            agent.get(format!("{url}/-/ready")).call().ok()
        });
        Self { url, agent, _process: process, _scratch: scratch }
    }

    fn ask(&self, what: &str, key: &str, value: &str) -> Value {
        self.agent
            .get(format!("{}/api/v1/{what}", self.url))
            .query(key, value)
            .call()
            .unwrap_or_else(|error| panic!("{what} {value}: {error}"))
            .body_mut()
            .read_json()
            .expect("JSON of Prometheus")
    }

    /// The type that it knows of a metric; `None` if it knows none.
    pub fn kind(&self, metric: &str) -> Option<String> {
        let answer = self.ask("metadata", "metric", metric);
        Some(answer["data"][metric][0]["type"].as_str()?.to_owned())
    }

    /// Answers an instant query: labels and value of each series.
    pub fn query(&self, query: &str) -> Vec<(Value, f64)> {
        let answer = self.ask("query", "query", query);
        let series = answer["data"]["result"].as_array().expect("a vector");
        series
            .iter()
            .map(|one| {
                let value = one["value"][1].as_str().and_then(|text| text.parse().ok());
                (one["metric"].clone(), value.expect("a value"))
            })
            .collect()
    }
}

/// A loopback address that was free a moment ago: Prometheus doesn't tell which port it
/// got when asked for any.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").to_string()
}

/// What `promtool check metrics` complains about, a line each.
pub fn promtool_complaints(exposition: &str) -> Vec<String> {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    // It reads everything before it writes anything, so neither side blocks.
    let mut stdin = child.stdin.take().expect("its stdin");
    stdin.write_all(exposition.as_bytes()).expect("promtool reads");
    drop(stdin);
    let output = child.wait_with_output().expect("promtool ends");
    let text = [output.stdout, output.stderr].concat();
    let complaints: Vec<String> =
        String::from_utf8_lossy(&text).lines().map(ToOwned::to_owned).collect();
    assert!(
        output.status.success() || !complaints.is_empty(),
        "promtool failed without a word: {}",
        output.status
    );
    complaints
}
