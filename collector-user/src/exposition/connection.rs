//! Sockets: taking connections, bounding what each can cost, and draining.
//!
//! Owns every limit on a client's behaviour below HTTP's meaning; what is answered is
//! [`super::http`]'s business.

use std::{
    error::Error,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::Router;
use hyper::{
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use rustix::net::sockopt;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinError, JoinSet},
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutWriter;

use super::{
    Questions,
    config::{Limits, WebConfig},
    http::{Web, router},
    web_stats::WebStats,
};

/// Bytes of a request's head, and of an answer inside hyper. Prometheus sends 300; the
/// usual limit of web servers is 8 KiB. More is answered with 431.
pub(super) const HEAD_BYTES: usize = 16 * 1024;

/// Bytes that the kernel may hold of an answer that the client does not read (it
/// doubles the number for its own needs). Enough for 1 MB/s over 100 ms of distance.
const SEND_BUFFER_BYTES: usize = 128 * 1024;

/// Rest after a failed accept(2): it fails when descriptors or memory run out, and at
/// once again when tried at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections cut because their answers did not end in time.
    pub cut_connections: usize,
}

/// Serves until `shutdown` turns true (or its sender is dropped), then lets answers
/// under way end, for [`Limits::drain`] at most.
///
/// It cannot fail: a client's error ends that client's connection, and a failed
/// accept is counted and tried again.
pub async fn serve(
    listener: TcpListener,
    config: WebConfig,
    questions: Questions,
    ready: watch::Receiver<bool>,
    mut shutdown: watch::Receiver<bool>,
) -> Drained {
    let limits = config.limits;
    let web = Arc::new(Web::new(config, questions, ready, shutdown.clone()));
    let stats = Arc::clone(&web.stats);
    let router = router(web);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            // A dropped sender means that whoever would stop us is gone.
            _ = shutdown.wait_for(|stop| *stop) => break,
            Some(end) = connections.join_next(), if !connections.is_empty() => {
                note_end(end, &stats);
            }
            stream = accept(&listener, &stats) => {
                if connections.len() >= limits.connections {
                    stats.connections_refused.add();
                    continue;
                }
                let connection = Connection {
                    limits,
                    stats: Arc::clone(&stats),
                    router: router.clone(),
                };
                connections.spawn(connection.serve(stream, graceful.watcher()));
            }
        }
    }
    drop(listener);
    drain(connections, graceful, limits.drain, &stats).await
}

async fn drain(
    mut connections: JoinSet<()>,
    graceful: GracefulShutdown,
    limit: Duration,
    stats: &WebStats,
) -> Drained {
    let in_time = timeout(limit, graceful.shutdown()).await.is_ok();
    while let Some(end) = connections.try_join_next() {
        note_end(end, stats);
    }
    if in_time {
        return Drained { cut_connections: 0 };
    }
    let cut_connections = connections.len();
    tracing::warn!(
        connections = cut_connections,
        "shutdown: cutting connections whose answers did not end within {limit:?}"
    );
    connections.shutdown().await;
    Drained { cut_connections }
}

/// Counts a task that panicked: its client saw the connection break, and nobody else
/// would know. (What clients do wrong ends no task this way.)
fn note_end(end: Result<(), JoinError>, stats: &WebStats) {
    if let Err(error) = end
        && error.is_panic()
    {
        stats.cut_internal_error.add();
        tracing::error!(%error, "serving a connection failed: this is a bug, please report it");
    }
}

/// The next connection. May be dropped at any time: none is lost by it.
async fn accept(listener: &TcpListener, stats: &WebStats) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                stats.accept_errors.add();
                tracing::warn!(%error, "cannot take a connection; trying on");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One client.
struct Connection {
    limits: Limits,
    stats: Arc<WebStats>,
    router: Router,
}

impl Connection {
    async fn serve(self, stream: TcpStream, watcher: Watcher) {
        let Self { limits, stats, router } = self;
        stats.connections.add();
        let _open = Open::new(&stats);
        if let Err(error) = bound(&stream, limits.write_stall) {
            tracing::debug!(%error, "cannot set a connection's limits");
            return;
        }
        let mut io = TimeoutWriter::new(stream);
        io.set_timeout(Some(limits.write_stall));
        let (router, served) = (TowerToHyperService::new(router), AtomicBool::new(false));
        let service = service_fn(|request| {
            served.store(true, Relaxed);
            router.call(request)
        });
        let connection = http1::Builder::new()
            // A client that has said all it wants may close its half (`nc -N` does).
            .half_close(true)
            .max_buf_size(HEAD_BYTES)
            .timer(TokioTimer::new())
            .header_read_timeout(limits.request)
            .serve_connection(TokioIo::new(Box::pin(io)), service);
        if let Err(error) = watcher.watch(connection).await {
            count(&error, served.load(Relaxed), &stats);
        }
    }
}

/// Counts a connection as open for as long as it lives, however it ends.
struct Open<'a>(&'a WebStats);

impl<'a> Open<'a> {
    fn new(stats: &'a WebStats) -> Self {
        stats.connections_open.add();
        Self(stats)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.connections_open.remove();
    }
}

/// Bounds what the kernel keeps for a client that does not read: how much, and for
/// how long (also after we have closed the socket).
fn bound(stream: &TcpStream, stall: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_send_buffer_size(stream, SEND_BUFFER_BYTES)?;
    let stall_ms = u32::try_from(stall.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(stream, stall_ms)?;
    Ok(())
}

/// Counts why a connection ended before its time. A slow reader whose body ran out of
/// time was counted by the body itself; a client that went away is no one's loss.
fn count(error: &hyper::Error, served: bool, stats: &WebStats) {
    if error.is_timeout() {
        // After an answer this is but the end of an idle connection.
        if !served {
            stats.cut_slow_request.add();
        }
    } else if error.is_parse() || error.is_parse_too_large() {
        stats.cut_bad_request.add();
    } else if stalled(error) {
        stats.cut_slow_reader.add();
    }
    tracing::debug!(error = error as &dyn Error, "a connection ended early");
}

/// Whether a write stood still for [`Limits::write_stall`], or the kernel found that
/// the client acknowledged nothing for as long.
fn stalled(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests;
