//! Wiring and shutdown: the only place that knows everyone.
//!
//! Owns the order of start and stop. Must not account, read or render anything itself.

mod files;
mod ledger;
mod memory;

use std::{
    io::{self, Write as _},
    net::SocketAddr,
};

use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    task::{JoinError, JoinHandle},
};

use self::ledger::{Ledger, Networks};
use crate::{
    args::{self, CgroupScope, CollectorChoice, Config},
    exit,
    exposition::{self, Drained, Questions, ReadingsRequest, SnapshotRequest, WebConfig},
    model::{
        accounts::Rules,
        collectors::{Collector, Collectors},
        container::DockerUpdate,
    },
    source::{
        cgroupfs::{self, Hierarchy, HierarchyError},
        docker::{self, DockerConfig},
        kernel::{self, Kernel, LoadError},
    },
};

/// Snapshot requests that wait for the ledger: more than scrapes can be under way.
const REQUEST_QUEUE: usize = 64;

/// Docker's updates that wait for the ledger. When it is full the Docker source waits,
/// and Docker's own event stream holds what comes meanwhile.
const DOCKER_QUEUE: usize = 256;

/// Those who tell of containers' networks.
const NETWORKS: Collectors = Collectors::NONE.with(Collector::Network).with(Collector::Process);

/// Why the daemon does not start, or stopped without having been told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The async runtime, or a signal handler.
    #[error("cannot set up the process")]
    Process(#[source] io::Error),
    /// A task ended by itself.
    #[error("internal error: the {0} has ended")]
    Ended(&'static str),
    /// A task panicked.
    #[error("internal error in the {task}")]
    Task {
        /// Which one.
        task: &'static str,
        /// How it ended.
        source: JoinError,
    },
    /// The listen address is taken, not ours, or not permitted.
    #[error("cannot listen on {address} (choose another with --web.listen-address)")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// There is no cgroup hierarchy to account by.
    #[error(transparent)]
    Hierarchy(#[from] HierarchyError),
    /// The programs don't run.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl Error {
    /// The exit code that goes with it.
    pub fn exit_code(&self) -> exit::Code {
        match self {
            Self::Process(_) | Self::Ended(_) | Self::Task { .. } => exit::Code::Internal,
            Self::Listen { .. } => exit::Code::CannotListen,
            Self::Load(error) if error.is_internal() => exit::Code::Internal,
            Self::Load(error) if error.is_denial() => exit::Code::RightsMissing,
            Self::Hierarchy(_) | Self::Load(_) => exit::Code::HostLacks,
        }
    }
}

/// Runs the daemon until SIGTERM or SIGINT, then drains and leaves nothing behind.
///
/// # Errors
/// What [`Error`] says; the kernel is then as it was.
pub fn run(config: Config) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Process)?;
    let outcome = runtime.block_on(serve(config));
    // A name that is being resolved, a walk of the tree: nothing to wait for.
    runtime.shutdown_background();
    outcome
}

async fn serve(config: Config) -> Result<(), Error> {
    // The address first: when it is taken, nothing need be loaded to say so.
    let listener = listen(&config.web.listen)?;
    let bound = listener.local_addr().map_err(Error::Process)?;
    let stop = StopSignals::new().map_err(Error::Process)?;
    let (ledger, hierarchy) = open_ledger(&config)?;
    let survey = files::survey(&config, &hierarchy)?;

    let (snapshots, asked) = mpsc::channel::<SnapshotRequest>(REQUEST_QUEUE);
    let (readings, wanted) = mpsc::channel::<ReadingsRequest>(REQUEST_QUEUE);
    let (updates, news) = mpsc::channel::<DockerUpdate>(DOCKER_QUEUE);
    let (ready, is_ready) = watch::channel(true);
    let (web_stopper, web_stopping) = watch::channel(false);
    let (stopper, stopping) = watch::channel(false);
    let url = format!("http://{bound}{}", config.web.telemetry_path);
    let web = WebConfig {
        telemetry_path: config.web.telemetry_path,
        max_requests: config.web.max_requests,
        collectors: config.collectors.enabled,
        limits: exposition::Limits::default(),
    };
    let has_docker = config.collectors.enabled.contains(Collector::Docker);
    let docker = has_docker.then_some(config.docker);
    let questions = Questions { snapshots, readings };
    let mut tasks = Tasks {
        ledger: tokio::spawn(ledger.keep(asked, news, stopping.clone())),
        files: tokio::spawn(files::answer(survey, wanted, stopping.clone())),
        docker: tokio::spawn(names(docker, updates, stopping)),
        server: tokio::spawn(exposition::serve(listener, web, questions, is_ready, web_stopping)),
    };
    announce(&url);

    tokio::select! {
        signal = stop.wait() => tracing::info!(signal, "stopping"),
        error = tasks.first_end() => return Err(error),
    }
    // The server first: answers under way still need the ledger.
    ready.send_replace(false);
    web_stopper.send_replace(true);
    let Tasks { ledger, files, docker, server } = tasks;
    let drained = server.await.map_err(|source| Error::Task { task: "web server", source })?;
    stopper.send_replace(true);
    docker.await.map_err(|source| Error::Task { task: "Docker source", source })?;
    files.await.map_err(|source| Error::Task { task: "file reader", source })?;
    // Its end frees the programs and maps.
    ledger.await.map_err(|source| Error::Task { task: "ledger", source })?;
    tracing::info!(cut_connections = drained.cut_connections, "stopped");
    Ok(())
}

/// What runs until the daemon is told to stop. None of it ends by itself: a daemon that
/// is only half alive must not look like a whole one.
struct Tasks {
    ledger: JoinHandle<()>,
    files: JoinHandle<()>,
    docker: JoinHandle<()>,
    server: JoinHandle<Drained>,
}

impl Tasks {
    /// The first that ends all the same, and why.
    async fn first_end(&mut self) -> Error {
        let (task, end) = tokio::select! {
            end = &mut self.ledger => ("ledger", end),
            end = &mut self.files => ("file reader", end),
            end = &mut self.docker => ("Docker source", end),
            end = &mut self.server => ("web server", end.map(drop)),
        };
        match end {
            Ok(()) => Error::Ended(task),
            Err(source) => Error::Task { task, source },
        }
    }
}

/// Docker's news, or silence if nobody wants them.
async fn names(
    docker: Option<DockerConfig>,
    updates: mpsc::Sender<DockerUpdate>,
    mut stopping: watch::Receiver<bool>,
) {
    match docker {
        Some(docker) => docker::run(docker, updates, stopping).await,
        None => {
            let _either_way = stopping.wait_for(|stop| *stop).await;
        }
    }
}

/// Binds the first of the address's candidates that can be bound.
fn listen(address: &args::ListenAddress) -> Result<TcpListener, Error> {
    let failed = |source| Error::Listen { address: address.to_string(), source };
    let mut failure = io::ErrorKind::AddrNotAvailable.into();
    for candidate in address.candidates().map_err(failed)? {
        match bind(candidate) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(failed(failure))
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn open_ledger(config: &Config) -> Result<(Ledger, Hierarchy), Error> {
    let CollectorChoice { enabled: collectors, network, .. } = config.collectors;
    let paths = cgroupfs::Paths { procfs: &config.paths.procfs, cgroupfs: &config.paths.cgroupfs };
    let hierarchy = cgroupfs::detect(paths, config.cgroups.hierarchy)?;
    let options = kernel::Options {
        hierarchy: hierarchy.clone(),
        slots: config.slots,
        btf: config.paths.sysfs.join("kernel/btf/vmlinux"),
        log_level: config.log.level.into(),
        accounts_slices: collectors.contains(Collector::Cpu),
        network: collectors.contains(Collector::Network),
        sockets: network.sockets,
        net_slots: config.net_slots,
    };
    let kernel = Kernel::load(kernel::OBJECT, &options)?;
    let rules = Rules {
        retain_exited_ms: u64::try_from(config.retention.exited.as_millis()).unwrap_or(u64::MAX),
        all_cgroups: config.cgroups.scope == CgroupScope::All,
        slots: config.slots,
    };
    let wants_networks = NETWORKS.meets(collectors);
    let networks = wants_networks.then(|| {
        Networks::new(files::networks(config, &hierarchy), network.choice, config.net_slots)
    });
    let ledger = Ledger::start(kernel, hierarchy.clone(), rules, networks)?;
    for lack in ledger.degraded() {
        tracing::warn!("degraded on this kernel: {lack}");
    }
    memory::release_freed();
    tracing::info!(
        programs = ledger.programs().join(" "),
        slots = config.slots,
        kernel_memory_bytes = ledger.memory_bytes(),
        %hierarchy,
        %collectors,
        "attached"
    );
    Ok((ledger, hierarchy))
}

/// SIGTERM and SIGINT, from before the first probe is attached.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The name of the first that arrives.
    async fn wait(mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Says on stdout where the metrics are, for whoever started the daemon.
fn announce(url: &str) {
    tracing::info!(%url, "serving");
    if let Err(error) = writeln!(io::stdout(), "slicemeter: serving {url}") {
        tracing::debug!(%error, "nobody reads stdout");
    }
}
