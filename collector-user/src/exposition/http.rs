//! What each path answers.
//!
//! Owns routes, status codes and texts; sockets and their limits belong to
//! [`super::connection`]. A scrape changes nothing but the counters about scrapes: it
//! asks the ledger for one immutable snapshot and shows it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use futures_util::stream;
use tokio::{
    sync::{Semaphore, oneshot, watch},
    time::{Instant, timeout_at},
};
use tower_http::{CompressionLevel, compression::CompressionLayer};

use super::{
    Questions, ReadingsRequest,
    body::MeteredText,
    build::BuildInfo,
    config::{HEALTH_PATH, LANDING_PATH, READY_PATH, WebConfig},
    deadline::Deadlines,
    families::{Parts, Rendering, Scrape},
    format::Format,
    landing,
    process::ProcessReader,
    query,
    web_stats::WebStats,
};
use crate::model::{
    collectors::{Collector, Collectors},
    readings::Readings,
    snapshot::Snapshot,
};

/// What the answer on the path of the metrics depends on, whatever it is.
const VARY: (HeaderName, &str) = (header::VARY, "accept");

/// Seconds after which a refused scrape may come again: one is served in milliseconds.
const RETRY_AFTER_SECONDS: &str = "1";

/// What the handlers share.
pub(super) struct Web {
    pub(super) config: WebConfig,
    pub(super) questions: Questions,
    pub(super) ready: watch::Receiver<bool>,
    pub(super) shutdown: watch::Receiver<bool>,
    pub(super) stats: Arc<WebStats>,
    process: ProcessReader,
    permits: Arc<Semaphore>,
    ledger: Source,
    files: Source,
}

/// One of those who are asked for a scrape, for the log.
struct Source {
    name: &'static str,
    is_silent: AtomicBool,
}

impl Source {
    const fn new(name: &'static str) -> Self {
        Self { name, is_silent: AtomicBool::new(false) }
    }

    /// Notes whether it has answered a scrape in time. Only a change is worth a line: while it
    /// lasts, each scrape that is refused has its counter.
    fn note(&self, has_answered: bool, time: Duration) {
        let was_silent = self.is_silent.swap(!has_answered, Relaxed);
        match (was_silent, has_answered) {
            (false, false) => {
                let Self { name, .. } = self;
                tracing::warn!(?time, "{name} gave no answer in time: scrapes are refused");
            }
            (true, true) => tracing::info!("{} answers again", self.name),
            (true, false) | (false, true) => {}
        }
    }
}

impl Web {
    pub(super) fn new(
        config: WebConfig,
        questions: Questions,
        ready: watch::Receiver<bool>,
        shutdown: watch::Receiver<bool>,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(config.max_requests.get().into()));
        let (stats, process) = (Arc::default(), ProcessReader::default());
        let (ledger, files) = (Source::new("the ledger"), Source::new("the reader of files"));
        Self { config, questions, ready, shutdown, stats, process, permits, ledger, files }
    }
}

/// GET and HEAD on the paths below; gzip where the client takes it.
pub(super) fn router(web: Arc<Web>) -> Router {
    let path = web.config.telemetry_path.as_str().to_owned();
    let page = landing::page(&path, BuildInfo::THIS.version, web.config.collectors);
    Router::new()
        .route(LANDING_PATH, get(async || Html(page)))
        .route(HEALTH_PATH, get(async || "alive\n"))
        .route(READY_PATH, get(ready))
        .route(&path, get(metrics))
        .fallback(async || (StatusCode::NOT_FOUND, "404: there is nothing here; see /\n"))
        .method_not_allowed_fallback(async || {
            (StatusCode::METHOD_NOT_ALLOWED, "405: only GET and HEAD are answered\n")
        })
        // The text is repetitive: the fastest level saves nine tenths of it already.
        .layer(CompressionLayer::new().gzip(true).quality(CompressionLevel::Fastest))
        .with_state(web)
}

async fn ready(State(web): State<Arc<Web>>) -> Response {
    if *web.shutdown.borrow() {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: shutting down\n").into_response()
    } else if *web.ready.borrow() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: accounting has not begun\n").into_response()
    }
}

async fn metrics(
    State(web): State<Arc<Web>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let deadlines = Deadlines::of(&headers, &web.config.limits, Instant::now());
    let wanted = query::selected(query.as_deref().unwrap_or_default(), web.config.collectors);
    let collectors = match wanted {
        Ok(collectors) => collectors,
        Err(error) => {
            web.stats.scrapes_bad_query.add();
            let refusal = (StatusCode::BAD_REQUEST, [VARY], format!("400: {error}\n"));
            return refusal.into_response();
        }
    };
    let Ok(permit) = Arc::clone(&web.permits).try_acquire_owned() else {
        web.stats.scrapes_busy.add();
        let limit = web.config.max_requests;
        return unavailable(format!(
            "503: {limit} scrapes are being served already (--web.max-requests)\n"
        ));
    };
    let parts = match parts(&web, collectors, deadlines).await {
        Ok(parts) => parts,
        Err(refusal) => return refusal,
    };
    let format = Format::accepted(&headers);
    let text = MeteredText::new(
        Rendering::new(Scrape::new(parts), format),
        web.config.limits.response,
        Arc::clone(&web.stats),
        permit,
    );
    let headers = [(header::CONTENT_TYPE, format.content_type()), VARY];
    (headers, Body::from_stream(stream::iter(text))).into_response()
}

/// Everything that a scrape shows, or the reason why there is no answer.
async fn parts(web: &Web, collectors: Collectors, deadlines: Deadlines) -> Result<Parts, Response> {
    let Deadlines { begun, .. } = deadlines;
    let Some(snapshot) = snapshot(web, deadlines).await else {
        web.stats.scrapes_ledger_silent.add();
        let seconds = (deadlines.snapshot - begun).as_secs_f32();
        return Err(unavailable(format!(
            "503: the ledger gave no snapshot within {seconds} s; see the daemon's log\n"
        )));
    };
    let snapshot_ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let Some(readings) = readings(web, Arc::clone(&snapshot), collectors, deadlines).await else {
        web.stats.scrapes_files_silent.add();
        return Err(unavailable(
            "503: whoever reads files did not answer in time; see the daemon's log\n".to_owned(),
        ));
    };
    web.stats.scrapes.add();
    Ok(Parts {
        snapshot,
        snapshot_ns,
        readings,
        collectors,
        web: web.stats.counts(),
        process: web.process.read(),
        build: BuildInfo::THIS,
    })
}

/// A snapshot, unless the ledger is silent for too long or gone.
async fn snapshot(web: &Web, deadlines: Deadlines) -> Option<Arc<Snapshot>> {
    let (reply, answer) = oneshot::channel();
    let asked = async {
        web.questions.snapshots.send(reply).await.ok()?;
        answer.await.ok()
    };
    let snapshot = timeout_at(deadlines.snapshot, asked).await.ok().flatten();
    web.ledger.note(snapshot.is_some(), deadlines.snapshot - deadlines.begun);
    snapshot
}

/// What files tell by the deadline, unless their reader is silent or gone. Nobody is asked
/// when no file is wanted.
async fn readings(
    web: &Web,
    snapshot: Arc<Snapshot>,
    collectors: Collectors,
    deadlines: Deadlines,
) -> Option<Readings> {
    if !collectors.iter().any(Collector::reads_files) {
        return Some(Readings::default());
    }
    let (reply, answer) = oneshot::channel();
    let deadline = deadlines.readings;
    let request = ReadingsRequest { snapshot, collectors, deadline, reply };
    let asked = async {
        web.questions.readings.send(request).await.ok()?;
        answer.await.ok()
    };
    let readings = timeout_at(deadlines.silence, asked).await.ok().flatten();
    web.files.note(readings.is_some(), deadlines.silence - deadlines.begun);
    readings
}

fn unavailable(reason: String) -> Response {
    let headers = [(header::RETRY_AFTER, RETRY_AFTER_SECONDS), VARY];
    (StatusCode::SERVICE_UNAVAILABLE, headers, reason).into_response()
}
