//! Against a daemon made of canned answers: for faults that a real one can't be made
//! to have, and for the order of things.

mod losses;

use std::{
    io::{Read, Write},
    net::TcpListener,
    os::unix::net::UnixListener,
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
};

use tokio::time::timeout;

use super::*;
use crate::model::container::{ContainerId, ContainerMeta};

/// Limit for each call in these tests; long enough for a busy machine to answer.
const LIMIT: Duration = Duration::from_millis(800);

/// A test that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(20);

const ID: &str = "4cb3a3c0f9a2f5d2d2b6cb6e9c54a3c6b8a1a5d6ab0fd3f0d2e9c0d4f8e71b23";

/// What the canned daemon does with a request.
enum Answer {
    Json(String),
    NotFound,
    /// A fault of the daemon's own.
    Fault,
    /// Lines of a stream, and what becomes of it then.
    Events {
        lines: Vec<String>,
        then: Then,
    },
    /// Nothing, for ever.
    Silence,
}

#[derive(Clone, Copy)]
enum Then {
    Stays,
    /// As HTTP has it.
    Ends,
    /// The connection is cut.
    Breaks,
}

/// Serves a Unix socket from a thread of its own for as long as the test process
/// lives; `answer` is given the path and query asked for.
fn serve(
    scratch: &tempfile::TempDir,
    answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
) -> PathBuf {
    let path = scratch.path().join("docker.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || converse(stream, &*answer));
        }
    });
    path
}

fn converse(mut stream: impl Read + Write, answer: &dyn Fn(&str) -> Answer) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        // The connection that only looks whether someone is there ends here.
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let whole = |status: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let (text, stays) = match answer(head.split(' ').nth(1).unwrap()) {
        Answer::Json(body) => (whole("200 OK", &body), false),
        Answer::NotFound => (whole("404 Not Found", r#"{"message":"no such container"}"#), false),
        Answer::Fault => (whole("500 Internal Server Error", r#"{"message":"busy"}"#), false),
        Answer::Events { lines, then } => {
            let chunk = |line: &String| format!("{:x}\r\n{line}\n\r\n", line.len() + 1);
            let chunks = lines.iter().map(chunk).collect::<Vec<_>>().concat();
            let end = if matches!(then, Then::Ends) { "0\r\n\r\n" } else { "" };
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            (format!("{head}{chunks}{end}"), matches!(then, Then::Stays))
        }
        Answer::Silence => (String::new(), true),
    };
    let _ = stream.write_all(text.as_bytes());
    // Until the other side has had enough.
    while stays && matches!(stream.read(&mut byte), Ok(1)) {}
}

fn row(state: &str) -> String {
    format!(
        r#"{{"Id":"{ID}","Names":["/web"],"Image":"sha256:00","State":"{state}",
            "Labels":{{"keep":"1","password":"x"}}}}"#
    )
}

fn event(action: &str, name: &str, at_ms: u64) -> String {
    format!(
        r#"{{"Type":"container","Action":"{action}","Actor":{{"ID":"{ID}","Attributes":{{
            "image":"busybox:1","name":"{name}","keep":"1"}}}},"scope":"local",
            "time":{},"timeNano":{}}}"#,
        at_ms / 1000,
        at_ms * 1_000_000,
    )
    .replace('\n', " ")
}

/// The source at work on `host`, and what it tells.
struct Watched {
    updates: mpsc::Receiver<DockerUpdate>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

/// A list as [`Watched::next`] gives it: how long it really took is no constant.
fn listed(containers: Vec<(ContainerId, ContainerMeta)>) -> DockerUpdate {
    DockerUpdate::Listed { containers, took_ns: 0 }
}

impl Watched {
    fn start(host: Endpoint) -> Self {
        Self::start_patient(host, LIMIT)
    }

    fn start_patient(host: Endpoint, limit: Duration) -> Self {
        let (sender, updates) = mpsc::channel(64);
        let (stop, shutdown) = watch::channel(false);
        let config = DockerConfig { host, timeout: limit, labels: "keep".parse().unwrap() };
        Self { updates, stop, task: tokio::spawn(run(config, sender, shutdown)) }
    }

    async fn next(&mut self) -> DockerUpdate {
        let next = timeout(PATIENCE, self.updates.recv()).await;
        match next.expect("an update in time").expect("an update") {
            DockerUpdate::Listed { containers, took_ns } => {
                assert!(took_ns > 0, "a list takes time");
                listed(containers)
            }
            other => other,
        }
    }

    async fn next_reason(&mut self) -> String {
        match self.next().await {
            DockerUpdate::Down(reason) => reason,
            other => panic!("not down: {other:?}"),
        }
    }

    async fn is_silent_for(&mut self, time: Duration) -> bool {
        timeout(time, self.updates.recv()).await.is_err()
    }

    async fn stop(self) {
        self.stop.send(true).unwrap();
        timeout(LIMIT / 2, self.task).await.expect("it stops at once").unwrap();
    }
}

fn seen(name: &str, image: &str, started_at_ms: Option<u64>) -> (ContainerId, ContainerMeta) {
    let meta = ContainerMeta {
        name: name.to_owned(),
        image: image.to_owned(),
        started_at_ms,
        labels: [("keep".to_owned(), "1".to_owned())].into(),
    };
    (ContainerId::new(ID), meta)
}

#[tokio::test]
async fn a_daemon_is_listed_then_inspected_and_its_events_count_after_the_list() {
    let scratch = tempfile::tempdir().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let path = serve(&scratch, move |path| {
        log.lock().unwrap().push(path.to_owned());
        if path.starts_with("/events?") {
            Answer::Events { lines: vec![event("rename", "shop", 1)], then: Then::Stays }
        } else if path.starts_with("/containers/json?") {
            // The event comes while the list is on its way, and is newer.
            thread::sleep(LIMIT / 4);
            Answer::Json(format!("[{}]", row("running")))
        } else if path == format!("/containers/{ID}/json") {
            Answer::Json(
                r#"{"Name":"/web","Config":{"Image":"busybox:1"},
                    "State":{"StartedAt":"1970-01-01T00:00:07.25Z"}}"#
                    .to_owned(),
            )
        } else {
            Answer::Json("OK".to_owned())
        }
    });
    let mut watched = Watched::start(Endpoint::Unix(path));
    let all = listed(vec![seen("web", "sha256:00", None)]);
    assert_eq!(watched.next().await, all);
    let (id, renamed) = seen("shop", "busybox:1", None);
    assert_eq!(watched.next().await, DockerUpdate::Seen(id, renamed));
    let (id, exact) = seen("shop", "busybox:1", Some(7_250));
    assert_eq!(watched.next().await, DockerUpdate::Seen(id, exact));
    watched.stop().await;
    let asked = asked.lock().unwrap();
    let place = |start: &str| asked.iter().position(|path| path.starts_with(start));
    assert!(place("/events?since=") < Some(2), "{asked:?}");
    assert!(place("/containers/json?all=true") < Some(2), "{asked:?}");
    // No version in any path: see `Endpoint::connect`.
    assert!(!asked.iter().any(|path| path.starts_with("/v")), "{asked:?}");
}

#[tokio::test]
async fn a_container_gone_before_its_inspection_keeps_its_name_and_start() {
    let scratch = tempfile::tempdir().unwrap();
    let path = serve(&scratch, |path| {
        if path.starts_with("/events?") {
            let life = [("create", 5_000), ("start", 5_020), ("destroy", 5_070)];
            let lines = life.map(|(action, at_ms)| event(action, "flash", at_ms)).to_vec();
            Answer::Events { lines, then: Then::Stays }
        } else if path.starts_with("/containers/json?") {
            Answer::Json("[]".to_owned())
        } else {
            Answer::NotFound
        }
    });
    let mut watched = Watched::start(Endpoint::Unix(path));
    assert_eq!(watched.next().await, listed(Vec::new()));
    let (id, created) = seen("flash", "busybox:1", None);
    assert_eq!(watched.next().await, DockerUpdate::Seen(id, created));
    let (id, started) = seen("flash", "busybox:1", Some(5_020));
    assert_eq!(watched.next().await, DockerUpdate::Seen(id.clone(), started));
    assert_eq!(watched.next().await, DockerUpdate::Removed(id));
    // That it can't be inspected any more is no loss, and not asked again.
    assert!(watched.is_silent_for(LIMIT).await);
    watched.stop().await;
}

#[tokio::test]
async fn a_daemon_that_accepts_and_never_answers_is_told_of_once() {
    let scratch = tempfile::tempdir().unwrap();
    let path = serve(&scratch, |_| Answer::Silence);
    let begun = Instant::now();
    let mut watched = Watched::start(Endpoint::Unix(path));
    let reason = watched.next_reason().await;
    assert!(begun.elapsed() < LIMIT * 3, "{:?}", begun.elapsed());
    assert!(reason.contains("hangs: no answer to a list of containers within 800ms"), "{reason}");
    // Long enough for a second attempt.
    assert!(watched.is_silent_for(BACK_OFF_MIN + LIMIT * 2).await);
    watched.stop().await;
}

#[tokio::test]
async fn a_daemon_that_stops_answering_later_is_found_out_by_pings() {
    let scratch = tempfile::tempdir().unwrap();
    let path = serve(&scratch, |path| match path.split(['?', '/']).nth(1) {
        Some("events") => Answer::Events { lines: Vec::new(), then: Then::Stays },
        Some("containers") => Answer::Json("[]".to_owned()),
        _ => Answer::Silence,
    });
    let mut watched = Watched::start(Endpoint::Unix(path));
    assert_eq!(watched.next().await, listed(Vec::new()));
    let reason = watched.next_reason().await;
    assert!(reason.contains("no answer to a ping"), "{reason}");
    watched.stop().await;
}

#[tokio::test]
async fn a_daemon_that_ends_its_stream_is_listed_again() {
    let scratch = tempfile::tempdir().unwrap();
    let endings = Mutex::new([Then::Ends, Then::Breaks].into_iter().cycle());
    let path = serve(&scratch, move |path| match path.split(['?', '/']).nth(1) {
        Some("events") => {
            // After the list.
            thread::sleep(LIMIT / 4);
            let then = endings.lock().unwrap().next().unwrap();
            Answer::Events { lines: Vec::new(), then }
        }
        Some("containers") => Answer::Json("[]".to_owned()),
        _ => Answer::Json("OK".to_owned()),
    });
    let mut watched = Watched::start(Endpoint::Unix(path));
    for _ in 0..2 {
        assert_eq!(watched.next().await, listed(Vec::new()));
        let reason = watched.next_reason().await;
        assert!(reason.contains("has ended its event stream"), "{reason}");
    }
    watched.stop().await;
}

#[tokio::test]
async fn an_absent_daemon_is_told_of_once_and_found_when_it_comes() {
    let scratch = tempfile::tempdir().unwrap();
    let mut watched = Watched::start(Endpoint::Unix(scratch.path().join("docker.sock")));
    let reason = watched.next_reason().await;
    assert!(reason.contains("does not exist"), "{reason}");
    assert!(watched.is_silent_for(BACK_OFF_MIN + LIMIT).await);
    serve(&scratch, |path| match path.split(['?', '/']).nth(1) {
        Some("events") => Answer::Events { lines: Vec::new(), then: Then::Stays },
        _ => Answer::Json("[]".to_owned()),
    });
    assert_eq!(watched.next().await, listed(Vec::new()));
    watched.stop().await;
}

#[tokio::test]
async fn a_socket_left_behind_is_told_apart_from_a_missing_one() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("docker.sock");
    drop(UnixListener::bind(&path).unwrap());
    let error = Endpoint::Unix(path).version(LIMIT).await.unwrap_err();
    assert!(matches!(error, DockerError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn a_daemon_is_reached_over_tcp_and_its_refusal_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            converse(stream, &|path| match path {
                "/version" => Answer::Json(r#"{"Version":"20.10.24"}"#.to_owned()),
                _ => Answer::NotFound,
            });
        }
    });
    let endpoint: Endpoint = format!("tcp://127.0.0.1:{port}").parse().unwrap();
    let version = endpoint.version(LIMIT).await.unwrap();
    assert_eq!((version.engine.as_str(), version.api.as_str()), ("20.10.24", "unknown"));
    let mut watched = Watched::start(endpoint);
    let reason = watched.next_reason().await;
    assert!(reason.contains("404") && reason.contains("no such container"), "{reason}");
    watched.stop().await;
}

#[tokio::test]
async fn the_source_ends_when_nobody_listens() {
    let scratch = tempfile::tempdir().unwrap();
    let missing = Endpoint::Unix(scratch.path().join("none"));
    let Watched { updates, stop: _stop, task } = Watched::start(missing);
    drop(updates);
    timeout(PATIENCE, task).await.unwrap().unwrap();
}

#[test]
fn waits_double_up_to_a_limit_and_start_over_after_a_life() {
    let mut back_off = BackOff::default();
    let waits = |back_off: &mut BackOff| -> Vec<u64> {
        (0..6).map(|_| back_off.next_wait().as_secs()).collect()
    };
    assert_eq!(waits(&mut back_off), [1, 2, 4, 8, 10, 10]);
    back_off.lived(BACK_OFF_MAX / 2);
    assert_eq!(back_off.next_wait(), BACK_OFF_MAX);
    back_off.lived(BACK_OFF_MAX);
    assert_eq!(back_off.next_wait(), BACK_OFF_MIN);
}
