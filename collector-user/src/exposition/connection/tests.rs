//! The server over real sockets on the loopback: what well-behaved clients get.

mod harness;
mod hostile;
mod scrapes;

use std::{collections::BTreeSet, io::Read, time::Duration};

use axum::http::StatusCode;
use flate2::read::GzDecoder;
use tokio::io::AsyncWriteExt;

use self::harness::{Server, get};
use super::{Drained, JoinSet, WebStats, note_end};
use crate::exposition::TelemetryPath;

#[tokio::test]
async fn only_a_task_that_panicked_counts_as_our_error() {
    let stats = WebStats::default();
    let mut tasks = JoinSet::new();
    tasks.spawn(async {});
    tasks.spawn(async { panic!("a test's") });
    tasks.spawn(std::future::pending()).abort();
    while let Some(end) = tasks.join_next().await {
        note_end(end, &stats);
    }
    assert_eq!(stats.counts().cut_internal_error, 1);
}

#[tokio::test]
async fn metrics_are_text_as_prometheus_wants_it() {
    let server = Server::start().await;
    let answer = server.ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.text();
    assert!(text.contains("\nslicemeter_scrapes_total 1\n"), "{text}");
    assert!(text.contains("\ncontainer_cpu_usage_seconds_total{id=\"/\""));
    assert!(text.ends_with('\n'));
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let head = client.head().await;
    assert_eq!(head.status, StatusCode::OK);
    assert_eq!(head.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    // Had a body been sent, it would come before the next answer.
    client.send(&get("/healthz")).await;
    assert_eq!(client.answer().await.text(), "alive\n");
}

#[tokio::test]
async fn gzip_decodes_to_the_same_families() {
    let server = Server::start().await;
    let plain = server.get("/metrics").await.text();
    let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n";
    let zipped = server.ask(request).await;
    assert_eq!(zipped.header("content-encoding"), Some("gzip"));
    assert_eq!(zipped.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let mut text = String::new();
    GzDecoder::new(&*zipped.body).read_to_string(&mut text).expect("gzip");
    let series = |text: &str| {
        let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
        lines.map(|(series, _)| series.to_owned()).collect::<BTreeSet<_>>()
    };
    assert_eq!(series(&text), series(&plain));
    // Without containers it is mostly HELP, which repeats little.
    assert!(zipped.body.len() * 3 < text.len(), "{} of {}", zipped.body.len(), text.len());
}

#[tokio::test]
async fn scrapes_change_nothing_but_what_they_say_of_themselves() {
    let server = Server::start().await;
    let accounts = |text: String| {
        let themselves = ["process_", "connections", "slicemeter_collector_duration_seconds"];
        let of_accounts = |line: &&str| !themselves.iter().any(|it| line.contains(it));
        let lines = text.lines().filter(of_accounts).map(str::to_owned).collect::<Vec<_>>();
        assert!(lines.len() > 100);
        lines
    };
    let first = accounts(server.get("/metrics").await.text());
    let second = accounts(server.get("/metrics").await.text());
    let changed: Vec<_> = first.iter().zip(&second).filter(|(a, b)| a != b).collect();
    let expected =
        ("slicemeter_scrapes_total 1".to_owned(), "slicemeter_scrapes_total 2".to_owned());
    assert_eq!(changed, [(&expected.0, &expected.1)]);
}

#[tokio::test]
async fn other_methods_and_paths_are_told_so() {
    let server = Server::start().await;
    let post = "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
    let refused = server.ask(post).await;
    assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(refused.header("allow"), Some("GET,HEAD"));
    assert!(refused.text().contains("GET and HEAD"));
    let missing = server.get("/nothing").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert!(missing.text().starts_with("404"));
}

#[tokio::test]
async fn the_landing_page_links_the_configured_path() {
    let path: TelemetryPath = "/of/metrics".parse().expect("valid");
    let server = Server::configured(|config| config.telemetry_path = path).await;
    let page = server.get("/").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.text().contains("href=\"/of/metrics\""));
    assert_eq!(server.get("/of/metrics").await.status, StatusCode::OK);
    assert_eq!(server.get("/metrics").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn readiness_follows_the_daemon() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    for (ready, status) in [(false, StatusCode::SERVICE_UNAVAILABLE), (true, StatusCode::OK)] {
        server.ready.send_replace(ready);
        client.send(&get("/readyz")).await;
        assert_eq!(client.answer().await.status, status, "ready: {ready}");
        client.send(&get("/healthz")).await;
        assert_eq!(client.answer().await.status, StatusCode::OK, "alive in any case");
    }
}

#[tokio::test]
async fn http_1_0_gets_its_answer_and_the_end() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send("GET /metrics HTTP/1.0\r\n\r\n").await;
    let all = String::from_utf8(client.until_closed().await).expect("UTF-8");
    assert!(all.starts_with("HTTP/1.0 200 OK\r\n"), "{all}");
    assert!(!all.contains("chunked"), "1.0 knows no chunks");
    assert!(all.ends_with('\n') && all.contains("slicemeter_build_info{"));
}

#[tokio::test]
async fn a_client_may_close_its_half_after_asking() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send("GET /metrics HTTP/1.0\r\n\r\n").await;
    client.stream.shutdown().await.expect("half closed");
    let all = client.until_closed().await;
    assert!(String::from_utf8_lossy(&all).contains("slicemeter_build_info{"));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let requests = [get("/healthz"), get("/metrics"), get("/nothing"), get("/healthz")];
    client.send(&requests.concat()).await;
    assert_eq!(client.answer().await.text(), "alive\n");
    assert!(client.answer().await.text().contains("slicemeter_build_info{"));
    assert_eq!(client.answer().await.status, StatusCode::NOT_FOUND);
    assert_eq!(client.answer().await.text(), "alive\n");
}

#[tokio::test]
async fn shutdown_closes_idle_connections_and_the_port() {
    let server = Server::start().await;
    let mut idle = server.connect().await;
    idle.send(&get("/healthz")).await;
    idle.answer().await;
    let address = server.address;
    assert_eq!(server.stop().await, Drained { cut_connections: 0 });
    assert_eq!(idle.until_closed().await, b"");
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn an_answer_under_way_ends_before_the_server_does() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    server.hold_snapshots();
    client.send(&get("/metrics")).await;
    server.until_held(1).await;
    server.shutdown.send_replace(true);
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.release_snapshots();
    let answer = client.answer().await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.text().contains("\nslicemeter_unattributed_cpu_seconds_total "), "whole");
    assert_eq!(client.until_closed().await, b"");
    assert_eq!(server.stop().await, Drained { cut_connections: 0 });
}
