//! A server on a free port, a ledger that answers it, and a client that speaks as
//! much HTTP as the tests look at.

use std::{
    net::SocketAddr,
    num::NonZeroU16,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use super::super::{Drained, serve};
use crate::{
    exposition::{Limits, Questions, ReadingsRequest, SnapshotRequest, TelemetryPath, WebConfig},
    model::{
        collectors::Collectors,
        container::ContainerId,
        readings::Readings,
        snapshot::{ContainerView, Snapshot},
        usage::Usage,
    },
};

/// What no step of a test may take, on a machine however busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request as any client makes it.
pub(super) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) shutdown: watch::Sender<bool>,
    pub(super) ready: watch::Sender<bool>,
    hold: watch::Sender<bool>,
    /// Requests that the ledger keeps.
    kept: watch::Receiver<usize>,
    pub(super) files: Arc<Mutex<Files>>,
    task: JoinHandle<Drained>,
}

/// How the reader of files behaves, and what it was asked.
#[derive(Default)]
pub(super) struct Files {
    pub(super) habit: Habit,
    /// For what, and how long before the answer had to be there.
    pub(super) asked: Vec<(Collectors, Duration)>,
}

/// How requests for readings are answered.
#[derive(Clone, Copy, Default)]
pub(super) enum Habit {
    /// At once.
    #[default]
    Prompt,
    /// At the deadline, as when a file hangs.
    Late,
    /// Never, although the request is kept.
    Silent,
    /// Never, and the request is dropped.
    Gone,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::configured(|_| {}).await
    }

    pub(super) async fn configured(change: impl FnOnce(&mut WebConfig)) -> Self {
        Self::of(Snapshot::default(), change).await
    }

    /// Serves a snapshot of so many containers: one is some 10 KB of text.
    pub(super) async fn of_containers(count: u64, change: impl FnOnce(&mut WebConfig)) -> Self {
        let container = |index| ContainerView {
            path: format!("/docker/{index:064x}").into(),
            id: ContainerId::new(format!("{index:064x}")),
            meta: None,
            first_seen_ms: 1,
            last_seen_ms: 2,
            usage: Usage { runtime_ns: index, ..Usage::default() },
            cgroups: Vec::new(),
            role: None,
            interfaces: Vec::new(),
        };
        let containers = (0..count).map(container).collect();
        Self::of(Snapshot { containers, ..Snapshot::default() }, change).await
    }

    async fn of(snapshot: Snapshot, change: impl FnOnce(&mut WebConfig)) -> Self {
        let mut config = WebConfig {
            telemetry_path: TelemetryPath::default(),
            max_requests: NonZeroU16::new(8).expect("not zero"),
            collectors: Collectors::ALL,
            limits: Limits::default(),
        };
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (snapshots, requests) = mpsc::channel(4);
        let (readings, wanted) = mpsc::channel(4);
        let files: Arc<Mutex<Files>> = Arc::default();
        tokio::spawn(reader(Arc::clone(&files), wanted));
        let questions = Questions { snapshots, readings };
        let (hold, is_holding) = watch::channel(false);
        let (tally, kept) = watch::channel(0);
        tokio::spawn(ledger(Arc::new(snapshot), requests, is_holding, tally));
        let (shutdown, stopping) = watch::channel(false);
        let (ready, is_ready) = watch::channel(true);
        let task = tokio::spawn(serve(listener, config, questions, is_ready, stopping));
        Self { address, shutdown, ready, hold, kept, files, task }
    }

    /// Lets the ledger keep requests unanswered until [`Self::release_snapshots`].
    pub(super) fn hold_snapshots(&self) {
        self.hold.send_replace(true);
    }

    pub(super) fn release_snapshots(&self) {
        self.hold.send_replace(false);
    }

    /// Waits until the ledger keeps so many requests.
    pub(super) async fn until_held(&self, count: usize) {
        let mut kept = self.kept.clone();
        let waiting = kept.wait_for(|kept| *kept == count);
        timeout(PATIENCE, waiting).await.expect("in time").expect("the ledger lives");
    }

    pub(super) async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.expect("connects");
        Client { stream, unread: Vec::new() }
    }

    /// A client whose kernel keeps next to nothing for it.
    pub(super) async fn connect_narrow(&self) -> Client {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        let stream = socket.connect(self.address).await.expect("connects");
        Client { stream, unread: Vec::new() }
    }

    pub(super) async fn ask(&self, request: &str) -> Answer {
        let mut client = self.connect().await;
        client.send(request).await;
        client.answer().await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask(&get(path)).await
    }

    /// A sample's value, scraped.
    pub(super) async fn reading(&self, series: &str) -> f64 {
        let text = self.get("/metrics").await.text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.expect("the series").parse().expect("a number")
    }

    /// Waits until a sample has a value.
    pub(super) async fn until_reading(&self, series: &str, value: f64) {
        let wait = async {
            while (self.reading(series).await - value).abs() > 0.5 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{series} never was {value}"));
    }

    pub(super) async fn stop(self) -> Drained {
        self.shutdown.send_replace(true);
        timeout(PATIENCE, self.task).await.expect("in time").expect("no panic")
    }
}

async fn reader(files: Arc<Mutex<Files>>, mut requests: mpsc::Receiver<ReadingsRequest>) {
    let mut kept = Vec::new();
    while let Some(request) = requests.recv().await {
        let habit = {
            let mut files = files.lock().expect("no test has panicked");
            let time = request.deadline.saturating_duration_since(Instant::now());
            files.asked.push((request.collectors, time));
            files.habit
        };
        match habit {
            Habit::Prompt => {}
            Habit::Late => sleep_until(request.deadline).await,
            Habit::Silent => {
                kept.push(request);
                continue;
            }
            Habit::Gone => continue,
        }
        // Whoever asked may be gone.
        let _gone = request.reply.send(Readings::default());
    }
}

async fn ledger(
    snapshot: Arc<Snapshot>,
    mut requests: mpsc::Receiver<SnapshotRequest>,
    mut holding: watch::Receiver<bool>,
    tally: watch::Sender<usize>,
) {
    let mut held: Vec<SnapshotRequest> = Vec::new();
    loop {
        tokio::select! {
            request = requests.recv() => match request {
                Some(request) => held.push(request),
                None => return,
            },
            changed = holding.changed() => if changed.is_err() { return },
        }
        if !*holding.borrow() {
            for request in held.drain(..) {
                // The scrape may have been given up meanwhile.
                let _ = request.send(Arc::clone(&snapshot));
            }
        }
        tally.send_replace(held.len());
    }
}

pub(super) struct Client {
    pub(super) stream: TcpStream,
    unread: Vec<u8>,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// All values of a header.
    pub(super) fn headers(&self, name: &str) -> Vec<&str> {
        let found = self.headers.iter().filter(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str()).collect()
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("UTF-8")
    }
}

impl Client {
    pub(super) async fn send(&mut self, request: &str) {
        self.stream.write_all(request.as_bytes()).await.expect("sent");
    }

    /// The next answer's head.
    pub(super) async fn head(&mut self) -> Answer {
        let head = String::from_utf8(self.until(b"\r\n\r\n").await).expect("UTF-8");
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
        let headers = lines.map(|line| line.split_once(": ").expect("a header"));
        Answer {
            status: status.parse().expect("a number"),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body: Vec::new(),
        }
    }

    /// The next answer, whole.
    pub(super) async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        if answer.header("transfer-encoding") == Some("chunked") {
            loop {
                let size = String::from_utf8(self.until(b"\r\n").await).expect("UTF-8");
                let size = usize::from_str_radix(size.trim_end(), 16).expect("a chunk's size");
                let chunk = self.exactly(size + 2).await;
                answer.body.extend_from_slice(&chunk[..size]);
                if size == 0 {
                    return answer;
                }
            }
        }
        let length = answer.header("content-length").expect("a length").parse().expect("a number");
        answer.body = self.exactly(length).await;
        answer
    }

    /// Everything until the server closes, be it gracefully or not.
    pub(super) async fn until_closed(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.unread)
    }

    /// Reads until an answer ends in `end`, or the server closes; says what came.
    pub(super) async fn until_closed_after(&mut self, end: &str) -> Vec<u8> {
        while !self.unread.ends_with(end.as_bytes()) && self.more().await {}
        std::mem::take(&mut self.unread)
    }

    /// Reads on; says whether anything came.
    async fn more(&mut self) -> bool {
        let mut buffer = vec![0; 16 * 1024];
        let read = timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("in time");
        let bytes = read.unwrap_or(0);
        self.unread.extend_from_slice(&buffer[..bytes]);
        bytes > 0
    }

    async fn until(&mut self, mark: &[u8]) -> Vec<u8> {
        loop {
            let found = self.unread.windows(mark.len()).position(|bytes| bytes == mark);
            if let Some(index) = found {
                return self.unread.drain(..index + mark.len()).collect();
            }
            assert!(self.more().await, "closed after {:?}", String::from_utf8_lossy(&self.unread));
        }
    }

    async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            assert!(self.more().await, "closed {} bytes early", count - self.unread.len());
        }
        self.unread.drain(..count).collect()
    }
}
