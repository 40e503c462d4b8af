//! One connection to Docker, from subscribing to its loss.
//!
//! Owns the order of things: it subscribes to events from a little before now and
//! lists at the same time, and counts what comes by the stream after the list; so no
//! container slips through between. Every wait in it is limited, but for the one on
//! the event stream; pings find out whether that is silent or dead.

use std::{
    convert::Infallible,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bollard::{
    errors::Error,
    models::{ContainerSummary, EventMessage},
    query_parameters::ListContainersOptionsBuilder,
};
use futures_util::{Stream, StreamExt};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at},
};
use tracing::{info, warn};

use super::{
    endpoint::{Daemon, DockerError, Endpoint},
    inspect::{Answer, Inspector},
    known::{Effect, Known},
    wire,
};
use crate::model::container::{DockerLosses, DockerUpdate};

/// Time between pings: a daemon that hangs is found out after at most this and one
/// call's limit.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Time between lists in a connection that works. Docker drops events for readers it
/// finds slow, and does not say so; this bounds how long that can matter.
const LIST_INTERVAL: Duration = Duration::from_mins(5);

/// How far before the last contact a new subscription begins: it makes the order in
/// which Docker takes up the subscription and the list not matter, and tells of who
/// came and went while it could not be heard. Docker keeps its last 256 events.
const OVERLAP: Duration = Duration::from_secs(1);

/// Most events kept while a list is on its way; more wait in the stream.
const EARLY_EVENTS_LIMIT: usize = 1024;

/// Why a session is over.
pub(super) enum End {
    /// Docker is lost.
    Trouble(DockerError),
    /// Nobody receives the updates any more.
    Unheard,
}

impl From<DockerError> for End {
    fn from(error: DockerError) -> Self {
        Self::Trouble(error)
    }
}

/// Connections to one daemon, one after the other, and what outlives each.
pub(super) struct Session {
    endpoint: Endpoint,
    limit: Duration,
    updates: mpsc::Sender<DockerUpdate>,
    known: Known,
    /// When the daemon last showed a sign of life; before the first one, now.
    contact: SystemTime,
    was_up: bool,
    losses: DockerLosses,
    /// The losses as last told.
    losses_told: DockerLosses,
}

impl Session {
    pub(super) fn new(
        endpoint: Endpoint,
        limit: Duration,
        updates: mpsc::Sender<DockerUpdate>,
        known: Known,
    ) -> Self {
        Self {
            endpoint,
            limit,
            updates,
            known,
            contact: SystemTime::now(),
            was_up: false,
            losses: DockerLosses::default(),
            losses_told: DockerLosses::default(),
        }
    }

    /// Whether the last run got as far as a list.
    pub(super) fn was_up(&self) -> bool {
        self.was_up
    }

    /// Connects and follows Docker's news for as long as it works.
    pub(super) async fn run(&mut self) -> End {
        self.was_up = false;
        let Err(end) = self.follow().await;
        end
    }

    async fn follow(&mut self) -> Result<Infallible, End> {
        let daemon = self.endpoint.connect(self.limit).await?;
        let since = self.contact.duration_since(UNIX_EPOCH).unwrap_or_default();
        let subscription = wire::subscription(since.saturating_sub(OVERLAP).as_secs());
        let events = daemon.docker().events(Some(subscription));
        let mut events = std::pin::pin!(events);
        let mut inspector = Inspector::new(daemon.clone());
        let mut pings = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        let mut lists = interval_at(Instant::now() + LIST_INTERVAL, LIST_INTERVAL);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        lists.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.known.doubt_starts();
        let mut effects = self.list(&daemon, events.as_mut()).await?;
        loop {
            self.contact = SystemTime::now();
            self.apply(effects, &mut inspector).await?;
            effects = tokio::select! {
                event = events.next() => Vec::from_iter(self.event(daemon.streamed(event)?)),
                answer = inspector.next() => Vec::from_iter(self.answered(answer)),
                _ = lists.tick() => self.list(&daemon, events.as_mut()).await?,
                _ = pings.tick() => {
                    daemon.prove_alive().await?;
                    Vec::new()
                }
            };
        }
    }

    /// Tells and asks what news leads to.
    async fn apply(&mut self, effects: Vec<Effect>, inspector: &mut Inspector) -> Result<(), End> {
        for Effect { update, inspect, left_out } in effects {
            if left_out > 0 {
                warn!(left_out, "Docker has more containers than are remembered");
                self.losses.containers += left_out as u64;
            }
            if let Some(update) = update {
                self.updates.send(update).await.map_err(|_| End::Unheard)?;
            }
            for id in inspect {
                self.losses.inspections += u64::from(!inspector.ask(id));
            }
        }
        if self.losses != self.losses_told {
            self.losses_told = self.losses;
            let update = DockerUpdate::Lost(self.losses);
            self.updates.send(update).await.map_err(|_| End::Unheard)?;
        }
        Ok(())
    }

    fn answered(&mut self, answer: Answer) -> Option<Effect> {
        match answer {
            Answer::Told(id, inspection) => Some(self.known.inspected(id, inspection)),
            Answer::Gone => None,
            Answer::Lost => {
                self.losses.inspections += 1;
                None
            }
        }
    }

    /// Lists all containers. Events that come while the list is on its way may be
    /// newer than it, and so count after it.
    async fn list(
        &mut self,
        daemon: &Daemon,
        mut events: impl Stream<Item = Result<EventMessage, Error>> + Unpin,
    ) -> Result<Vec<Effect>, DockerError> {
        let begun = Instant::now();
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let list =
            daemon.call("a list of containers", daemon.docker().list_containers(Some(options)));
        let mut list = std::pin::pin!(list);
        let mut early = Vec::new();
        let rows = loop {
            tokio::select! {
                // The stream is a request that is sent when it is first asked for.
                biased;
                event = events.next(), if early.len() < EARLY_EVENTS_LIMIT => {
                    early.push(daemon.streamed(event)?);
                }
                rows = &mut list => break rows?,
            }
        };
        let took_ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut effects = vec![self.listed(rows, took_ns)];
        effects.extend(early.into_iter().filter_map(|event| self.event(event)));
        Ok(effects)
    }

    fn listed(&mut self, rows: Vec<ContainerSummary>, took_ns: u64) -> Effect {
        if !self.was_up {
            info!(address = %self.endpoint, containers = rows.len(), "Docker answers");
            self.was_up = true;
        }
        let labels = self.known.labels();
        let rows = rows.into_iter().filter_map(|row| wire::summary(row, labels)).collect();
        self.known.list(rows, took_ns)
    }

    fn event(&mut self, message: EventMessage) -> Option<Effect> {
        let event = wire::event(message, self.known.labels())?;
        Some(self.known.event(event))
    }
}
