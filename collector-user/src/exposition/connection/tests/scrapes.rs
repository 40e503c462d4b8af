//! What a scrape may ask for: collectors, a format, an answer in time.

use std::time::{Duration, Instant};

use axum::http::StatusCode;

use super::harness::{Habit, Server, get};
use crate::{
    exposition::Limits,
    model::collectors::{Collector, Collectors},
};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A scrape with another line in its head.
fn scrape(line: &str) -> String {
    format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n")
}

/// What the reader of files was asked last.
fn asked(server: &Server) -> Option<(Collectors, Duration)> {
    server.files.lock().expect("no test has panicked").asked.last().copied()
}

fn set_habit(server: &Server, habit: Habit) {
    server.files.lock().expect("no test has panicked").habit = habit;
}

#[tokio::test]
async fn the_format_is_what_the_client_likes_best() {
    let server = Server::start().await;
    let open = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5,*/*;q=0.1";
    let answer = server.ask(&scrape(open)).await;
    assert_eq!(answer.header("content-type"), Some(OPENMETRICS));
    assert_eq!(answer.header("vary"), Some("accept"));
    let text = answer.text();
    assert!(text.ends_with("\n# EOF\n"));
    assert!(text.contains("\n# TYPE slicemeter_scrapes counter\nslicemeter_scrapes_total 1\n"));
    for line in ["Accept: */*", "Accept: \u{e9}", "X-Nothing: said"] {
        let answer = server.ask(&scrape(line)).await;
        assert_eq!(answer.header("content-type"), Some(TEXT), "{line}");
        assert_eq!(answer.header("vary"), Some("accept"), "{line}");
        assert!(!answer.text().contains("# EOF"));
    }
}

#[tokio::test]
async fn caches_are_told_of_both_choices() {
    let server = Server::start().await;
    let line = "Accept: application/openmetrics-text\r\nAccept-Encoding: gzip";
    let answer = server.ask(&scrape(line)).await;
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(answer.headers("vary"), ["accept", "accept-encoding"]);
}

#[tokio::test]
async fn a_query_chooses_collectors() {
    let server = Server::start().await;
    let text = server.get("/metrics?collect%5B%5D=docker&collect[]=machine&x=y").await.text();
    assert!(text.contains("\nslicemeter_docker_up "));
    assert!(text.contains("\ncontainer_last_seen{"), "goes with docker and with cpu");
    assert!(!text.contains("container_cpu_usage_seconds_total"));
    assert!(text.contains("\nslicemeter_build_info{"), "always told");
    let wanted = [Collector::Docker, Collector::Machine].into_iter().collect::<Collectors>();
    assert_eq!(asked(&server).map(|(collectors, _)| collectors), Some(wanted));
    let text = server.get("/metrics?exclude[]=docker").await.text();
    assert!(!text.contains("slicemeter_docker_up"));
    assert!(text.contains("\ncontainer_last_seen{"), "goes with docker and with cpu");
    assert!(text.contains("\ncontainer_cpu_usage_seconds_total{"));
    let wanted = Collectors::ALL.without(Collector::Docker);
    assert_eq!(asked(&server).map(|(collectors, _)| collectors), Some(wanted));
}

#[tokio::test]
async fn no_file_is_read_for_a_scrape_that_shows_none() {
    let server = Server::start().await;
    set_habit(&server, Habit::Gone);
    let answer = server.get("/metrics?collect[]=cpu&collect[]=docker").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(asked(&server), None);
}

#[tokio::test]
async fn a_query_for_what_there_is_not_is_refused_with_the_reason() {
    let on = Collectors::ALL.without(Collector::Docker);
    let server = Server::configured(|config| config.collectors = on).await;
    for (query, reason) in [
        ("collect[]=cpu&exclude[]=process", "can't be used together"),
        ("collect[]=disk", "those that are on: cgroup, cpu, machine, network, process"),
        ("exclude[]=d%69sk", "there is no collector \"disk\""),
        ("collect[]=cpu&collect[]=docker", "the collector docker is switched off"),
    ] {
        let answer = server.get(&format!("/metrics?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(answer.header("vary"), Some("accept"), "the same path answers otherwise, too");
        let text = answer.text();
        assert!(text.starts_with("400: ") && text.contains(reason), "{text}");
        assert!(text.ends_with('\n'));
    }
    let refused = server.reading("slicemeter_scrapes_rejected_total{reason=\"bad_query\"}").await;
    assert!((refused - 4.0).abs() < 0.5);
    assert!((server.reading("slicemeter_scrapes_total").await - 2.0).abs() < 0.5, "none of them");
}

#[tokio::test]
async fn the_clients_time_is_what_files_get() {
    let server = Server::start().await;
    for (line, expected_ms) in [
        ("X-Prometheus-Scrape-Timeout-Seconds: 8", 7_500),
        ("x-prometheus-scrape-timeout-seconds: 1.5", 1_350),
        ("X-Prometheus-Scrape-Timeout-Seconds: never", 4_500),
        ("X-Nothing: said", 4_500),
    ] {
        assert_eq!(server.ask(&scrape(line)).await.status, StatusCode::OK);
        let (_, time) = asked(&server).expect("asked");
        let expected = Duration::from_millis(expected_ms);
        // What is gone since the request's arrival.
        let gone = expected.checked_sub(time).expect("no more than that");
        assert!(gone < Duration::from_secs(1), "{line}: {time:?}");
    }
}

#[tokio::test]
async fn what_files_tell_at_the_deadline_is_shown() {
    let server = Server::start().await;
    set_habit(&server, Habit::Late);
    let begun = Instant::now();
    let answer = server.ask(&scrape("X-Prometheus-Scrape-Timeout-Seconds: 1")).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    assert!(answer.text().contains("\nslicemeter_collector_success{collector=\"process\"} 0\n"));
}

#[tokio::test]
async fn a_reader_of_files_that_does_not_answer_holds_up_no_scrape() {
    let limits = Limits { scrape: Duration::from_secs(1), ..Limits::default() };
    let server = Server::configured(|config| config.limits = limits).await;
    for (habit, line) in [
        (Habit::Silent, "X-Nothing: said"),
        (Habit::Silent, "X-Prometheus-Scrape-Timeout-Seconds: 0.5"),
        (Habit::Gone, "X-Prometheus-Scrape-Timeout-Seconds: 60"),
    ] {
        set_habit(&server, habit);
        let begun = Instant::now();
        let answer = server.ask(&scrape(line)).await;
        // Without the limit it would be for ever; the rest is a busy machine's.
        assert!(begun.elapsed() < Duration::from_secs(10), "{line}: {:?}", begun.elapsed());
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{line}");
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(answer.header("vary"), Some("accept"));
        assert!(answer.text().contains("reads files"), "{}", answer.text());
    }
    let text = server.get("/metrics?collect[]=cpu").await.text();
    let line = "\nslicemeter_scrapes_rejected_total{reason=\"files_silent\"} 3\n";
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn a_silent_ledger_is_given_up_when_the_client_would() {
    let server = Server::start().await;
    server.hold_snapshots();
    let begun = Instant::now();
    let answer = server.ask(&scrape("X-Prometheus-Scrape-Timeout-Seconds: 0.3")).await;
    assert!(begun.elapsed() < Limits::default().snapshot, "{:?}", begun.elapsed());
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        answer.text().contains("the ledger gave no snapshot within 0.27 s"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn every_link_of_the_landing_page_leads_somewhere() {
    let cpu = Collectors::NONE.with(Collector::Cpu);
    for (on, links) in [
        (Collectors::ALL, 5),
        (Collectors::ALL.without(Collector::Cpu).without(Collector::Docker), 5),
        (cpu, 5),
        (Collectors::NONE, 3),
    ] {
        let server = Server::configured(|config| config.collectors = on).await;
        let page = server.ask(&get("/")).await.text();
        let targets: Vec<_> = page
            .split("href=\"")
            .skip(1)
            .map(|rest| rest.split('"').next().expect("a part").replace("&amp;", "&"))
            .collect();
        assert_eq!(targets.len(), links, "with {on}: {targets:?}");
        for target in targets {
            let answer = server.get(&target).await;
            assert_eq!(answer.status, StatusCode::OK, "{target} with {on}");
        }
    }
}
