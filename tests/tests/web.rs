//! Clients of every kind at once: all answers right, and no one held up by another.
#![expect(clippy::print_stdout, reason = "figures are for whoever runs the tests")]

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};
use slicemeter_tests::{
    cgroup::Cgroup,
    compare::Reading,
    daemon::{Client, Daemon},
    host::require_kernel,
    metrics::Monotone,
    scratch::Scratch,
    wait,
};

const USAGE: &str = "container_cpu_usage_seconds_total";

/// Each of two clients: together 100 scrapes a second.
const CLIENT_PERIOD: Duration = Duration::from_millis(20);
const CLIENT_SCRAPES: u32 = 500;

/// How long all of a client's scrapes may take, against how long they should.
const LATE: f64 = 1.1;

/// Answers that the slow client asks for, all at once: far more than socket buffers hold.
const SLOW_REQUESTS: usize = 200;

/// Longer than the daemon lets a client dawdle over an answer.
const SLOW_LIMIT: Duration = Duration::from_secs(25);

/// The kernel's least receive buffer, so that not reading has an effect.
const SLOW_RECEIVE_BYTES: usize = 2_304;

#[test]
fn a_hundred_scrapes_a_second_are_right_and_a_slow_client_is_cut_off() {
    if !require_kernel() {
        return;
    }
    let daemon = Daemon::start_without_docker(&["--cgroups=all"]);
    let (scratch, cgroup) = (Scratch::new("web"), Cgroup::new("web"));
    cgroup.set_quota_percent(20);
    let _burner = cgroup.spawn(&["burn", "600"], &scratch.join("log"));
    let path = cgroup.path();
    daemon.scrape_until("series of the burner", Duration::from_secs(5), |scrape| {
        scrape.get(USAGE, &[("id", path)]).is_some()
    });
    let before = Reading::take(&daemon, path);
    let clients = [daemon.client(), daemon.client()];
    let address: SocketAddr = daemon.address().parse().expect("an address");

    let done = AtomicBool::new(false);
    let (slow, latencies) = thread::scope(|scope| {
        let (slow, started) = (scope.spawn(|| read_slowly(address, &done)), Instant::now());
        let fast: Vec<_> =
            clients.iter().map(|client| scope.spawn(|| scrape_fast(client, path))).collect();
        let latencies: Vec<Duration> =
            fast.into_iter().flat_map(|thread| thread.join().expect("a client")).collect();
        let cut = wait::within(SLOW_LIMIT, || {
            let cut = daemon.scrape().sum("slicemeter_connections_cut_total", &[]);
            (cut >= 1.0).then(|| started.elapsed())
        });
        done.store(true, Ordering::Relaxed);
        println!("the slow client was cut off after at most {cut:?}");
        assert!(cut.is_some(), "still served after {SLOW_LIMIT:?}");
        (slow.join().expect("the slow client"), latencies)
    });

    report(latencies);
    Reading::take(&daemon, path).since(&before).assert_within("burner under scrapes", 0.005);
    let Slow { read_bytes, whole_answers, error } = slow;
    println!(
        "the slow client: {whole_answers} of {SLOW_REQUESTS} answers, {read_bytes} bytes, {error:?}"
    );
    assert!(whole_answers < SLOW_REQUESTS, "it was served to the end");
    let scrape = daemon.scrape();
    assert!(scrape.sum("slicemeter_scrapes_rejected_total", &[]) < 0.5, "no scrape was refused");
    assert!(scrape.value("slicemeter_scrapes_total", &[]) >= f64::from(2 * CLIENT_SCRAPES));
    daemon.stop();
}

/// Scrapes at a fixed rate; every answer must parse and go on from the one before. Returns
/// how long each took.
fn scrape_fast(client: &Client, path: &str) -> Vec<Duration> {
    let mut monotone = Monotone::default();
    let started = Instant::now();
    let latencies = (0..CLIENT_SCRAPES)
        .map(|number| {
            sleep((CLIENT_PERIOD * number).saturating_sub(started.elapsed()));
            let asked = Instant::now();
            let scrape = client.scrape();
            let latency = asked.elapsed();
            assert!(scrape.get(USAGE, &[("id", path)]).is_some(), "the burner is missing");
            monotone.observe(&scrape);
            latency
        })
        .collect();
    let took = started.elapsed();
    println!(
        "{CLIENT_SCRAPES} scrapes in {:.2} s, {} values compared with the one before",
        took.as_secs_f64(),
        monotone.compared
    );
    assert!(
        took <= (CLIENT_PERIOD * CLIENT_SCRAPES).mul_f64(LATE),
        "{took:?}: less than that rate"
    );
    latencies
}

fn report(mut latencies: Vec<Duration>) {
    latencies.sort();
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    println!("a scrape with parsing: median {:?}, 99 % {:?}, worst {:?}", at(50), at(99), at(100));
}

/// What became of the slow client.
struct Slow {
    read_bytes: usize,
    whole_answers: usize,
    /// How the connection ended, if not in order.
    error: Option<ErrorKind>,
}

/// Asks for many answers, reads a byte a second until told that it was cut off, then takes
/// what is there until the connection ends.
fn read_slowly(address: SocketAddr, done: &AtomicBool) -> Slow {
    let mut stream = connect_with_small_buffer(address);
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.repeat(SLOW_REQUESTS).as_bytes()).expect("requests sent");
    stream.set_read_timeout(Some(SLOW_LIMIT)).expect("a time-out");
    let mut text = Vec::new();
    let mut byte = [0];
    while !done.load(Ordering::Relaxed) {
        match stream.read(&mut byte) {
            Ok(1) => text.push(byte[0]),
            Ok(_) | Err(_) => break,
        }
        sleep(Duration::from_secs(1));
    }
    let error = stream.read_to_end(&mut text).err().map(|error| error.kind());
    assert_ne!(error, Some(ErrorKind::WouldBlock), "still open, and silent");
    let heads = String::from_utf8_lossy(&text).matches("HTTP/1.1 200 OK").count();
    Slow { read_bytes: text.len(), whole_answers: heads.saturating_sub(1), error }
}

fn connect_with_small_buffer(address: SocketAddr) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    sockopt::set_socket_recv_buffer_size(&socket, SLOW_RECEIVE_BYTES).expect("a small buffer");
    connect(&socket, &address).expect("a connection");
    socket.into()
}

#[test]
fn other_pages_answer_and_unknown_ones_do_not() {
    if !require_kernel() {
        return;
    }
    let daemon = Daemon::start_without_docker(&["--web.telemetry-path", "/figures"]);
    assert!(daemon.url().ends_with("/figures"), "{}", daemon.url());
    let client = daemon.client();
    for (path, status) in
        [("/", 200), ("/healthz", 200), ("/readyz", 200), ("/metrics", 404), ("/figures", 200)]
    {
        let (found, body) = client.get(path);
        assert_eq!(found, status, "{path}: {body}");
    }
    assert!(client.get("/").1.contains("href=\"/figures\""), "the landing page leads on");
    daemon.stop();
}
