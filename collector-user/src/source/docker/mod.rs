//! Docker: who the containers are, from its API.
//!
//! Owns the connection to the daemon for as long as the program lives: it comes back
//! after every loss, and says so once. It must not know what the names are for, and
//! nothing in it may wait without a limit.
//!
//! # Layout
//! - [`Endpoint`]: where the daemon listens, and whether it answers there.
//! - `session`: one connection, from subscribing to its loss.
//! - `inspect`: questions about single containers, a few at a time.
//! - `known` (pure): what has been told so far; turns news into updates.
//! - `wire` (pure): the API's records into ours.
//! - [`LabelFilter`] (pure): which labels go through.

mod endpoint;
mod inspect;
mod known;
mod labels;
mod session;
mod wire;

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tracing::{debug, info};

pub use self::{
    endpoint::{DEFAULT_ENDPOINT, DockerError, Endpoint, EndpointError, EngineVersion},
    labels::{LabelFilter, LabelFilterError},
};
use self::{
    known::Known,
    session::{End, Session},
};
use crate::{errors::chain, model::container::DockerUpdate};

/// Wait before the first attempt to come back: a daemon that restarts is away for
/// about as long.
const BACK_OFF_MIN: Duration = Duration::from_secs(1);

/// Longest wait between attempts: how late names can be after a long absence. An
/// attempt on a socket nobody listens on costs microseconds.
const BACK_OFF_MAX: Duration = Duration::from_secs(10);

/// How to reach Docker, and what to take from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerConfig {
    /// Where it listens.
    pub host: Endpoint,
    /// Limit for each call; also how long a connection may take.
    pub timeout: Duration,
    /// Labels to take.
    pub labels: LabelFilter,
}

/// Tells `updates` about Docker's containers until `shutdown` is true (or its sender
/// gone) or nobody receives any more.
///
/// [`DockerUpdate::Listed`] is sent on every (re)connect and every few minutes,
/// [`DockerUpdate::Down`] once for each time that Docker is lost, and once at the
/// start if it does not answer, [`DockerUpdate::Lost`] when something could not be taken
/// in. Full queues are waited for: updates are not dropped.
pub async fn run(
    config: DockerConfig,
    updates: mpsc::Sender<DockerUpdate>,
    mut shutdown: watch::Receiver<bool>,
) {
    tokio::select! {
        _ = shutdown.wait_for(|stop| *stop) => {}
        () = keep_connected(config, updates) => {}
    }
}

async fn keep_connected(config: DockerConfig, updates: mpsc::Sender<DockerUpdate>) {
    let DockerConfig { host, timeout, labels } = config;
    let mut session = Session::new(host, timeout, updates.clone(), Known::new(labels));
    let mut back_off = BackOff::default();
    let mut last_told: Option<String> = None;
    loop {
        let begun = Instant::now();
        let End::Trouble(error) = session.run().await else { return };
        if session.was_up() {
            last_told = None;
            back_off.lived(begun.elapsed());
        }
        let reason =
            format!("{}; until it answers, containers not seen yet have no name", chain(&error));
        match &last_told {
            Some(told) if *told == reason => debug!(reason, "Docker still does not answer"),
            Some(_) => info!(reason, "Docker still does not answer"),
            None if updates.send(DockerUpdate::Down(reason.clone())).await.is_err() => return,
            None => {}
        }
        last_told = Some(reason);
        tokio::time::sleep(back_off.next_wait()).await;
    }
}

/// How long to wait before the next attempt: doubled each time.
#[derive(Debug)]
struct BackOff(Duration);

impl Default for BackOff {
    fn default() -> Self {
        Self(BACK_OFF_MIN)
    }
}

impl BackOff {
    fn next_wait(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (wait * 2).min(BACK_OFF_MAX);
        wait
    }

    /// A session that lasted was no failed attempt; one that ended at once was.
    fn lived(&mut self, age: Duration) {
        if age >= BACK_OFF_MAX {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests;
