//! The dashboards' queries, as docs/coming-from-cadvisor.md lists them, put to a real
//! Prometheus; the answers beside what `docker stats` shows.
#![expect(clippy::print_stdout, reason = "figures are for whoever runs the tests")]

use std::{
    fs,
    net::Ipv4Addr,
    path::Path,
    process::Command,
    thread::sleep,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use slicemeter_tests::{
    daemon::Daemon,
    dockerd::{Dockerd, IMAGE},
    host::{Need, cpus, ready},
    netns::Netns,
    prometheus::Prometheus,
    stats::{Stats, is_rounded_to},
};

/// Windows in the test: it doesn't run for five minutes.
const WINDOW: &str = "[20s]";
const WINDOW_SECONDS: f64 = 20.0;

/// A window and a few scrapes more.
const SCRAPED: Duration = Duration::from_secs(24);

/// A scrape and a half: nothing of the memory is in motion any more.
const SETTLED: Duration = Duration::from_millis(1_500);

/// Within the window, and after scrapes that saw nothing of it: only then it's an increase.
const KILL_AFTER_MS: &str = "14000";

/// `rate()` extrapolates to the window's ends: a scrape of twenty more or less.
const CORES_TOLERANCE: f64 = 0.05;

/// What `docker stats` shows is of one second: ten periods of the quota.
const STATS_PERCENT_TOLERANCE: f64 = 12.0;

/// The question takes its time, too.
const AGE_TOLERANCE: f64 = 1.0;

/// Packets from `cached` to `hog`, and what each is in `net/dev`: payload, UDP, IP and
/// Ethernet headers.
const PACKETS_PER_SECOND: f64 = 500.0;
const SEND_EVERY_MS: &str = "2";
const PAYLOAD_BYTES: &str = "1000";
const FRAME_BYTES: f64 = 1_000.0 + 8.0 + 20.0 + 14.0;

/// What is sent besides: neighbours are asked for, and told that nobody listens.
const RATE_TOLERANCE: f64 = 0.05;

/// The host's network is nobody's in a test: windows differ by a scrape or two, and in these
/// there may be more than in others.
const HOST_FACTOR: f64 = 2.0;
/// So much of it in a few seconds must show.
const HOST_MOVED_BYTES: f64 = 50_000.0;
const HOST_BYTES_PER_SECOND: f64 = 20_000.0;

/// One second is never like another.
const IRATE_TOLERANCE: f64 = 0.25;

const MIB: f64 = 1_048_576.0;

/// The lines of the page's block.
fn queries() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/coming-from-cadvisor.md");
    let page = fs::read_to_string(page).expect("the page");
    let blocks = page.split("```promql\n").skip(1);
    let lines = blocks.flat_map(|block| block.split("```").next().unwrap_or_default().lines());
    lines.filter(|line| !line.is_empty()).map(ToOwned::to_owned).collect()
}

/// One answer: series with their values.
struct Answer<'a> {
    query: &'a str,
    series: Vec<(Value, f64)>,
}

impl Answer<'_> {
    fn of(&self, name: &str) -> f64 {
        let Self { query, series } = self;
        let mut found = series.iter().filter(|(labels, _)| labels["name"] == name);
        let one = found.next().unwrap_or_else(|| panic!("{query}: {name} is not in {series:?}"));
        assert!(found.next().is_none(), "{query}: {name} is more than once in {series:?}");
        one.1
    }

    fn single(&self) -> f64 {
        let Self { query, series } = self;
        let [(_, value)] = &series[..] else { panic!("{query}: not one series: {series:?}") };
        *value
    }

    fn is_within(&self, value: f64, least: f64, most: f64) {
        println!("  {value} of {least} … {most}");
        assert!((least..=most).contains(&value), "{}: {value} of {least} … {most}", self.query);
    }
}

/// The host: who runs, and what `docker stats` says of them.
struct Scene {
    docker: Dockerd,
    half: Stats,
    hog: Stats,
    /// Bytes that the host's own devices received and sent per second while it was scraped.
    carried_per_second: [f64; 2],
    /// Bytes that they did well within the window of every query.
    surely_carried: [f64; 2],
}

/// Bytes received and sent by the host's devices, as the kernel tells.
fn carried() -> [f64; 2] {
    let names = fs::read_dir("/sys/class/net").expect("interfaces").flatten();
    let devices = names.map(|it| it.path()).filter(|it| it.join("device").exists());
    let of = |device: &Path, file: &str| -> f64 {
        let text = fs::read_to_string(device.join("statistics").join(file)).expect("a count");
        text.trim().parse().expect("a number")
    };
    devices.fold([0.0; 2], |sums, device| {
        let files = ["rx_bytes", "tx_bytes"];
        std::array::from_fn(|index| sums[index] + of(&device, files[index]))
    })
}

const NAMES: [&str; 4] = ["half", "hog", "cached", "greedy"];

fn engine() -> Dockerd {
    let docker = Dockerd::start();
    docker.run("half", &["--cpus", "0.5", "--cpu-shares", "262144"], &["burn", "600"]);
    docker.run("hog", &["--memory", "64m"], &["hog", "32", "600"]);
    docker.run("cached", &[], &["cache", "16", "600"]);
    let [cached, hog] = ["cached", "hog"].map(|name| docker.netns_of(name));
    // For tests of networks (RFC 2544): no one else's.
    let [near, far] = [1, 2].map(|host| Ipv4Addr::new(198, 18, 1, host));
    Netns::connect([(&cached, "eth0", near), (&hog, "eth0", far)]);
    let packets = (600.0 * PACKETS_PER_SECOND).to_string();
    let to = format!("{far}:9");
    docker.exec("cached", &["send", &to, &packets, PAYLOAD_BYTES, "--every", SEND_EVERY_MS]);
    docker
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs_f64()
}

/// A time as Docker writes it, in seconds since the epoch.
fn epoch_seconds(text: &str) -> f64 {
    let output = Command::new("date").args(["+%s.%N", "--date", text]).output().expect("date");
    let seconds = String::from_utf8_lossy(&output.stdout).trim().parse();
    seconds.unwrap_or_else(|error| panic!("{text}: {error}: {output:?}"))
}

/// Judges the answer to a query of networks; false if it isn't one that this test knows.
fn judge_network(query: &str, answer: &Answer, scene: &Scene) -> bool {
    let near = |name, expected: f64, tolerance: f64| {
        let tolerance = expected * tolerance;
        answer.is_within(answer.of(name), expected - tolerance, expected + tolerance);
    };
    // A device counts what is on the wire: more headers, if packets are merged or split.
    let of_host = |way: usize| {
        let most = HOST_FACTOR * scene.carried_per_second[way] + HOST_BYTES_PER_SECOND;
        let surely = Some(scene.surely_carried[way]).filter(|bytes| *bytes >= HOST_MOVED_BYTES);
        let least = surely.map_or(0.0, |bytes| bytes / WINDOW_SECONDS / HOST_FACTOR);
        // Of a burst at the end the longer time before knew nothing.
        answer.is_within(answer.single(), least, most.max(HOST_FACTOR * HOST_FACTOR * least));
    };
    let bytes_per_second = PACKETS_PER_SECOND * FRAME_BYTES;
    match query {
        r#"irate(container_network_receive_bytes_total{image!=""}[5m])"# => {
            near("hog", bytes_per_second, IRATE_TOLERANCE);
        }
        r#"sum(rate(container_network_receive_bytes_total{name=~".+"}[5m])) by (name)"# => {
            near("hog", bytes_per_second, RATE_TOLERANCE);
            answer.is_within(answer.of("cached"), 0.0, bytes_per_second * RATE_TOLERANCE);
        }
        r#"sum(rate(container_network_transmit_bytes_total{name=~".+"}[5m])) by (name)"# => {
            near("cached", bytes_per_second, RATE_TOLERANCE);
            answer.is_within(answer.of("hog"), 0.0, bytes_per_second * RATE_TOLERANCE);
        }
        r#"sum(rate(container_network_receive_packets_total{name=~".+"}[5m])) by (name)"# => {
            near("hog", PACKETS_PER_SECOND, RATE_TOLERANCE);
        }
        r#"sum(rate(container_network_transmit_packets_total{name=~".+"}[5m])) by (name)"# => {
            near("cached", PACKETS_PER_SECOND, RATE_TOLERANCE);
        }
        r#"sum(rate(container_network_receive_packets_dropped_total{name=~".+"}[5m])) by (name)"#
        | r#"sum(rate(container_network_receive_errors_total{name=~".+"}[5m])) by (name)"#
        | r#"sum(rate(container_network_transmit_packets_dropped_total{name=~".+"}[5m])) by (name)"#
        | r#"sum(rate(container_network_transmit_errors_total{name=~".+"}[5m])) by (name)"# => {
            answer.is_within(answer.of("hog"), 0.0, 0.0);
            answer.is_within(answer.of("cached"), 0.0, 0.0);
        }
        r#"sum(rate(container_network_receive_bytes_total{id="/"}[1m])) by (id)"# => {
            of_host(0);
        }
        r#"sum(rate(container_network_transmit_bytes_total{id="/"}[1m])) by (id)"# => {
            of_host(1);
        }
        _ => return false,
    }
    true
}

/// Judges the answer to a query of the page; false if it isn't one that this test knows.
fn judge(query: &str, answer: &Answer, scene: &Scene) -> bool {
    let cores = |name, expected: f64| {
        answer.is_within(answer.of(name), expected - CORES_TOLERANCE, expected + CORES_TOLERANCE);
    };
    let rounded = |name, shown: f64| {
        let ours = answer.of(name);
        println!("  {name}: {ours}, docker stats shows {shown}");
        assert!(is_rounded_to(ours, shown), "{query}: {ours} is not {shown}");
    };
    match query {
        r#"sum(rate(container_cpu_usage_seconds_total{name=~".+"}[5m])) by (name)"# => {
            cores("half", 0.5);
            cores("hog", 0.0);
            let (ours, shown) = (100.0 * answer.of("half"), scene.half.cpu_percent);
            println!("  {ours:.2} %, docker stats shows {shown} %");
            assert!((ours - shown).abs() <= STATS_PERCENT_TOLERANCE, "{ours}, not {shown}");
        }
        r#"sum(rate(container_cpu_user_seconds_total{name=~".+"}[5m])) by (name)"# => {
            answer.is_within(answer.of("half"), 0.4, 0.5 + CORES_TOLERANCE);
        }
        r#"sum(rate(container_cpu_system_seconds_total{name=~".+"}[5m])) by (name)"# => {
            answer.is_within(answer.of("half"), 0.0, 0.1);
        }
        r#"sum(rate(container_cpu_usage_seconds_total{id="/"}[1m])) by (id)"# => {
            answer.is_within(answer.single(), 0.5 - CORES_TOLERANCE, cpus() as f64);
        }
        r#"sum(container_memory_rss{name=~".+"}) by (name)"# => {
            answer.is_within(answer.of("hog") / MIB, 31.0, 34.0);
            answer.is_within(answer.of("cached") / MIB, 0.0, 2.0);
        }
        r#"sum(container_memory_cache{name=~".+"}) by (name)"# => {
            // The kernel's sums trail by some pages a CPU.
            answer.is_within(answer.of("cached") / MIB, 15.0, 18.0);
        }
        r#"sum(container_memory_usage_bytes{image!=""}) by (name)"# => {
            answer.is_within(answer.of("cached") / MIB, 15.0, 24.0);
            answer.is_within(answer.of("hog") / MIB, 31.0, 40.0);
        }
        r#"sum(container_memory_working_set_bytes{name=~".+"}) by (name)"# => {
            rounded("hog", scene.hog.memory_bytes);
        }
        r#"sum(container_memory_working_set_bytes{id="/"}) / sum(machine_memory_bytes) * 100"# => {
            answer.is_within(answer.single(), 0.1, 100.0);
        }
        r#"container_memory_working_set_bytes{name=~".+"} / (container_spec_memory_limit_bytes{name=~".+"} > 0)"# =>
        {
            let used = scene.hog.memory_bytes / scene.hog.limit_bytes;
            answer.is_within(answer.of("hog"), used * 0.999, used * 1.001);
            let limited = answer.series.iter().filter(|(labels, _)| labels["image"] == IMAGE);
            assert_eq!(limited.count(), 2, "only those with a limit: {:?}", answer.series);
        }
        r#"count(container_last_seen{image!=""})"#
        | r#"count(time() - container_last_seen{image!=""} < 30)"# => {
            answer.is_within(answer.single(), NAMES.len() as f64, NAMES.len() as f64);
        }
        r#"time() - container_start_time_seconds{name=~".+"}"# => {
            let format = "{{.State.StartedAt}}";
            let started = scene.docker.docker(&["inspect", "--format", format, "half"]);
            let age = now() - epoch_seconds(&started);
            answer.is_within(answer.of("half"), age - AGE_TOLERANCE, age + AGE_TOLERANCE);
        }
        "increase(container_cpu_cfs_throttled_periods_total[5m]) / increase(container_cpu_cfs_periods_total[5m])" =>
        {
            answer.is_within(answer.of("half"), 0.8, 1.0 + 1e-9);
            assert_eq!(answer.series.len(), 1, "who has no quota: {:?}", answer.series);
        }
        r#"container_spec_cpu_quota{name=~".+"} / container_spec_cpu_period{name=~".+"}"# => {
            answer.is_within(answer.of("half"), 0.5, 0.5);
        }
        r#"increase(container_oom_events_total{name=~".+"}[5m])"# => {
            answer.is_within(answer.of("greedy"), 0.5, 1.5);
            answer.is_within(answer.of("hog"), 0.0, 0.0);
        }
        r#"sum(container_processes{name=~".+"}) by (name)"# => {
            answer.is_within(answer.of("half"), scene.half.pids, scene.half.pids);
            answer.is_within(answer.of("greedy"), 1.0, 1.0);
        }
        "machine_cpu_cores" => answer.is_within(answer.single(), cpus() as f64, cpus() as f64),
        _ => return judge_network(query, answer, scene),
    }
    true
}

#[test]
fn dashboards_queries_give_what_docker_stats_shows() {
    if !ready(&[Need::Kernel, Need::Docker, Need::Prometheus]) {
        return;
    }
    let docker = engine();
    let daemon = Daemon::start(&docker.host(), &[]);
    let prometheus = Prometheus::start(daemon.address());
    let options = ["--memory", "16m"];
    docker.run("greedy", &options, &["hog", "64", "600", "--in-child", KILL_AFTER_MS]);
    let before = carried();
    sleep(SCRAPED);
    let after = carried();
    let carried_per_second = [0, 1].map(|it| (after[it] - before[it]) / SCRAPED.as_secs_f64());
    let (half, hog) = (Stats::of(&docker, "half"), Stats::of(&docker, "hog"));
    let late = carried();
    let surely_carried = [0, 1].map(|it| late[it] - after[it]);
    // What it shows must be what the last scrape saw, too.
    sleep(SETTLED);
    let scene = Scene { docker, half, hog, carried_per_second, surely_carried };

    let queries = queries();
    assert!(queries.len() >= 6, "the page's list: {queries:?}");
    for query in &queries {
        let asked = query.replace("[5m]", WINDOW).replace("[1m]", WINDOW);
        let answer = Answer { query, series: prometheus.query(&asked) };
        println!("{query}");
        assert!(!answer.series.is_empty(), "{query}: no answer");
        assert!(judge(query, &answer, &scene), "{query}: the page lists it, and no test judges it");
    }
    daemon.stop();
}
