//! What is repeated, given up and left out, and that it is counted.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::{
    model::container::DockerLosses,
    source::docker::{
        inspect::{AT_ONCE, ATTEMPTS},
        known::KNOWN_LIMIT,
    },
};

/// A daemon with one running container, of which it tells nothing more until it has
/// been asked so often.
fn serve_faulty(scratch: &tempfile::TempDir, faults: u32) -> PathBuf {
    let asked = AtomicU32::new(0);
    serve(scratch, move |path| {
        if path.starts_with("/events?") {
            Answer::Events { lines: Vec::new(), then: Then::Stays }
        } else if path.starts_with("/containers/json?") {
            Answer::Json(format!("[{}]", row("running")))
        } else if asked.fetch_add(1, Ordering::Relaxed) < faults {
            Answer::Fault
        } else {
            Answer::Json(r#"{"State":{"StartedAt":"1970-01-01T00:00:07Z"}}"#.to_owned())
        }
    })
}

#[tokio::test]
async fn an_inspection_that_fails_is_repeated() {
    let scratch = tempfile::tempdir().unwrap();
    let path = serve_faulty(&scratch, ATTEMPTS - 1);
    let mut watched = Watched::start(Endpoint::Unix(path));
    assert!(matches!(watched.next().await, DockerUpdate::Listed { .. }));
    let (id, exact) = seen("web", "sha256:00", Some(7_000));
    assert_eq!(watched.next().await, DockerUpdate::Seen(id, exact));
    watched.stop().await;
}

#[tokio::test]
async fn an_inspection_that_fails_for_good_is_counted() {
    let scratch = tempfile::tempdir().unwrap();
    let path = serve_faulty(&scratch, ATTEMPTS);
    let mut watched = Watched::start(Endpoint::Unix(path));
    assert!(matches!(watched.next().await, DockerUpdate::Listed { .. }));
    let losses = DockerLosses { containers: 0, inspections: 1 };
    assert_eq!(watched.next().await, DockerUpdate::Lost(losses));
    watched.stop().await;
}

#[tokio::test]
async fn what_is_beyond_the_limits_is_counted() {
    const BEYOND: usize = 2;
    const STARTS: usize = 10;
    let scratch = tempfile::tempdir().unwrap();
    let rows = (0..KNOWN_LIMIT + BEYOND)
        .map(|n| format!(r#"{{"Id":"{n:064x}","Names":["/n{n}"],"State":"running"}}"#))
        .collect::<Vec<_>>();
    let list = format!("[{}]", rows.join(","));
    let path = serve(&scratch, move |path| {
        if path.starts_with("/events?") {
            let lines = (0..STARTS).map(|n| event("start", "web", n as u64 + 1)).collect();
            Answer::Events { lines, then: Then::Stays }
        } else if path.starts_with("/containers/json?") {
            // The events come first, and lead to questions after the list's.
            thread::sleep(LIMIT / 4);
            Answer::Json(list.clone())
        } else {
            Answer::Silence
        }
    });
    let mut watched = Watched::start_patient(Endpoint::Unix(path), PATIENCE);
    let DockerUpdate::Listed { containers, .. } = watched.next().await else { panic!("no list") };
    assert_eq!(containers.len(), KNOWN_LIMIT);
    let losses = loop {
        match watched.next().await {
            DockerUpdate::Seen(..) => {}
            DockerUpdate::Lost(losses) => break losses,
            other => panic!("{other:?}"),
        }
    };
    let inspections = (STARTS - AT_ONCE) as u64;
    assert_eq!(losses, DockerLosses { containers: BEYOND as u64, inspections });
    watched.stop().await;
}
