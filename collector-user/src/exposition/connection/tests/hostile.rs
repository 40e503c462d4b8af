//! Clients that are slow, silent, loud or many: each is cut off in bounded time,
//! counted, and in nobody's way.

use std::{
    num::NonZeroU16,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};

use super::{
    super::HEAD_BYTES,
    harness::{Client, Server, get},
};
use crate::exposition::{Drained, WebConfig};

/// Containers of an answer (3 MB) that no socket's buffers can hold.
const MANY: u64 = 300;

/// Time-outs that a test can wait for, and that an honest client keeps even if the
/// machine is busy with other tests.
fn hurry(config: &mut WebConfig) {
    config.limits.response = Duration::from_secs(3);
    config.limits.write_stall = Duration::from_secs(1);
    config.limits.request = Duration::from_millis(500);
    config.limits.snapshot = Duration::from_millis(200);
    config.limits.drain = Duration::from_millis(300);
}

/// Reads so many bytes at a time with pauses until the server hangs up; says after
/// how long, and how much came.
async fn read_slowly(client: &mut Client, bytes: usize, pause: Duration) -> (Duration, usize) {
    let began = Instant::now();
    let mut buffer = vec![0; bytes];
    let mut total = 0;
    let reading = async {
        while let Ok(count @ 1..) = client.stream.read(&mut buffer).await {
            total += count;
            sleep(pause).await;
            // What the kernel holds already would last for hours at a byte a time.
            if client.stream.write_all(b"\r\n").await.is_err() {
                break;
            }
        }
    };
    timeout(Duration::from_secs(20), reading).await.expect("cut off at all");
    (began.elapsed(), total)
}

#[tokio::test]
async fn a_reader_of_a_byte_a_second_is_cut_and_holds_nobody_up() {
    let server = Server::of_containers(MANY, hurry).await;
    let mut slow = server.connect_narrow().await;
    slow.send(&get("/metrics")).await;
    let cut = read_slowly(&mut slow, 1, Duration::from_millis(20));
    let scrape = async {
        sleep(Duration::from_millis(100)).await;
        server.get("/metrics").await.status
    };
    let ((elapsed, _), status) = tokio::join!(cut, scrape);
    assert_eq!(status, StatusCode::OK, "others are served meanwhile");
    assert!(elapsed < Duration::from_secs(10), "cut after {elapsed:?}");
    server.until_reading("slicemeter_connections_cut_total{reason=\"slow_reader\"}", 1.0).await;
}

#[tokio::test]
async fn a_reader_who_never_stalls_but_takes_too_long_is_cut_too() {
    let server = Server::of_containers(MANY, |config| {
        hurry(config);
        config.limits.write_stall = Duration::from_secs(30);
    })
    .await;
    let mut slow = server.connect_narrow().await;
    slow.send(&get("/metrics")).await;
    let (elapsed, total) = read_slowly(&mut slow, 1024, Duration::from_millis(5)).await;
    assert!(elapsed < Duration::from_secs(15), "cut after {elapsed:?}");
    assert!(total > 100_000, "it was being served");
    server.until_reading("slicemeter_connections_cut_total{reason=\"slow_reader\"}", 1.0).await;
}

#[tokio::test]
async fn scrapes_at_once_are_bounded_and_the_place_comes_back() {
    let server = Server::configured(|config| {
        config.max_requests = NonZeroU16::new(2).expect("not zero");
    })
    .await;
    server.hold_snapshots();
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    first.send(&get("/metrics")).await;
    second.send(&get("/metrics")).await;
    server.until_held(2).await;
    let third = server.get("/metrics").await;
    assert_eq!(third.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(third.header("retry-after"), Some("1"));
    assert!(third.text().contains("--web.max-requests"));
    assert_eq!(server.get("/healthz").await.status, StatusCode::OK, "only scrapes are bounded");
    server.release_snapshots();
    assert_eq!(first.answer().await.status, StatusCode::OK);
    assert_eq!(second.answer().await.status, StatusCode::OK);
    let busy = server.reading("slicemeter_scrapes_rejected_total{reason=\"busy\"}").await;
    assert!((busy - 1.0).abs() < 0.5, "{busy}");
}

#[tokio::test]
async fn a_slow_readers_place_comes_back() {
    let server = Server::of_containers(MANY, |config| {
        hurry(config);
        config.max_requests = NonZeroU16::MIN;
    })
    .await;
    let mut slow = server.connect_narrow().await;
    slow.send(&get("/metrics")).await;
    slow.head().await;
    assert_eq!(server.get("/metrics").await.status, StatusCode::SERVICE_UNAVAILABLE);
    read_slowly(&mut slow, 1, Duration::from_millis(20)).await;
    assert_eq!(server.get("/metrics").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_silent_ledger_is_not_waited_for() {
    let server = Server::configured(hurry).await;
    server.hold_snapshots();
    let answer = server.get("/metrics").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text().contains("no snapshot within 0.2 s"), "{}", answer.text());
    server.release_snapshots();
    let series = "slicemeter_scrapes_rejected_total{reason=\"ledger_silent\"}";
    let unanswered = server.reading(series).await;
    assert!((unanswered - 1.0).abs() < 0.5, "{unanswered}");
}

#[tokio::test]
async fn a_megabyte_of_head_gets_431_and_the_end() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let (mut reader, mut writer) = client.stream.split();
    let flood = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(1 << 20));
    // Most of it meets a closed socket.
    let sent = async { writer.write_all(flood.as_bytes()).await.is_ok() };
    let answer = async {
        let mut start = [0; 12];
        let read = reader.read_exact(&mut start).await;
        read.map(|_| String::from_utf8_lossy(&start).into_owned())
    };
    let both = async { tokio::join!(sent, answer) };
    let (_, answer) = timeout(Duration::from_secs(10), both).await.expect("in time");
    assert_eq!(answer.expect("an answer"), "HTTP/1.1 431");
    assert!(client.until_closed().await.len() < 1000);
    server.until_reading("slicemeter_connections_cut_total{reason=\"bad_request\"}", 1.0).await;
}

#[tokio::test]
async fn heads_are_bounded_where_the_limit_says() {
    let server = Server::start().await;
    let head = |bytes: usize| {
        let rest = bytes - "GET / HTTP/1.1\r\nHost: x\r\nA: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(rest))
    };
    assert_eq!(server.ask(&head(HEAD_BYTES - 1024)).await.status, StatusCode::OK);
    let refused = server.ask(&head(HEAD_BYTES + 1024)).await.status;
    assert_eq!(refused, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}

#[tokio::test]
async fn what_is_no_http_gets_400_and_the_end() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send("\x16\x03\x01\x02 is how TLS begins\r\n\r\n").await;
    let all = client.until_closed().await;
    assert!(all.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&all));
    server.until_reading("slicemeter_connections_cut_total{reason=\"bad_request\"}", 1.0).await;
}

#[tokio::test]
async fn a_head_that_trickles_is_cut() {
    let server = Server::configured(hurry).await;
    let mut client = server.connect().await;
    client.send("GET /metrics HT").await;
    let began = Instant::now();
    assert_eq!(client.until_closed().await, b"");
    assert!(began.elapsed() >= Duration::from_millis(400), "it had its time");
    server.until_reading("slicemeter_connections_cut_total{reason=\"slow_request\"}", 1.0).await;
}

#[tokio::test]
async fn an_idle_connection_ends_and_is_nobodys_loss() {
    let server = Server::configured(hurry).await;
    let mut client = server.connect().await;
    client.send(&get("/healthz")).await;
    assert_eq!(client.answer().await.text(), "alive\n");
    assert_eq!(client.until_closed().await, b"");
    let cut = server.reading("slicemeter_connections_cut_total{reason=\"slow_request\"}").await;
    assert!(cut < 0.5, "{cut}");
}

#[tokio::test]
async fn connections_are_bounded_and_come_back() {
    let server = Server::configured(|config| config.limits.connections = 2).await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    for client in [&mut first, &mut second] {
        client.send(&get("/healthz")).await;
        client.answer().await;
    }
    let mut third = server.connect().await;
    assert_eq!(third.until_closed().await, b"", "closed at once");
    drop(first);
    second.send(&get("/metrics")).await;
    let text = second.answer().await.text();
    assert!(text.contains("\nslicemeter_connections_refused_total 1\n"), "{text}");
    drop(second);
    // Both places are free again as soon as the server has seen the two go.
    timeout(Duration::from_secs(10), async {
        loop {
            let mut client = server.connect().await;
            if client.stream.write_all(get("/healthz").as_bytes()).await.is_ok()
                && !client.until_closed_after("alive\n").await.is_empty()
            {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("a place comes back");
}

#[tokio::test]
async fn shutdown_does_not_wait_for_a_reader_who_does_not_read() {
    let server = Server::of_containers(MANY, |config| {
        config.limits.drain = Duration::from_millis(300);
    })
    .await;
    let mut stuck = server.connect_narrow().await;
    stuck.send(&get("/metrics")).await;
    stuck.head().await;
    let began = Instant::now();
    assert_eq!(server.stop().await, Drained { cut_connections: 1 });
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}
