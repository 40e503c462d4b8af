//! Questions about single containers, a few at a time.
//!
//! Owns the queue of those to ask about, and repeats a question that fails. What is
//! given up is told to whoever waits for the answers, who counts it.

use std::{collections::VecDeque, time::Duration};

use bollard::query_parameters::InspectContainerOptions;
use tokio::{task::JoinSet, time::sleep};
use tracing::debug;

use super::{
    endpoint::Daemon,
    known::{Inspection, KNOWN_LIMIT},
    wire,
};
use crate::{errors::chain, model::container::ContainerId};

/// Questions asked at once: enough to hide the way there and back, few enough not to
/// crowd out the daemon's own work.
pub(super) const AT_ONCE: usize = 4;

/// How often a question is asked before it is given up: a daemon that is busy with the
/// container itself answers the second time.
pub(super) const ATTEMPTS: u32 = 3;

/// Rest between attempts. Other questions may have to wait for it, and should: a
/// daemon that fails needs no further work.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(500);

/// What became of a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// What Docker says.
    Told(ContainerId, Inspection),
    /// The container is gone, and events have told so: nothing is lost.
    Gone,
    /// No answer, however often it was asked.
    Lost,
}

/// Asks, and collects the answers.
#[derive(Debug)]
pub(super) struct Inspector {
    daemon: Daemon,
    waiting: VecDeque<ContainerId>,
    asked: JoinSet<Answer>,
}

impl Inspector {
    pub(super) fn new(daemon: Daemon) -> Self {
        Self { daemon, waiting: VecDeque::new(), asked: JoinSet::new() }
    }

    /// Queues a question. Beyond the most containers there can be it is left to the
    /// next list; whether there was room.
    pub(super) fn ask(&mut self, id: ContainerId) -> bool {
        let has_room = self.waiting.len() < KNOWN_LIMIT;
        if has_room {
            self.waiting.push_back(id);
        }
        self.fill();
        has_room
    }

    /// The next answer; waits for ever if nothing was asked. May be cancelled.
    pub(super) async fn next(&mut self) -> Answer {
        let answered = match self.asked.join_next().await {
            Some(answered) => answered,
            None => std::future::pending().await,
        };
        self.fill();
        // A task that panicked has no answer either.
        answered.unwrap_or(Answer::Lost)
    }

    fn fill(&mut self) {
        while self.asked.len() < AT_ONCE {
            let Some(id) = self.waiting.pop_front() else { return };
            self.asked.spawn(inspect(self.daemon.clone(), id));
        }
    }
}

async fn inspect(daemon: Daemon, id: ContainerId) -> Answer {
    for attempt in 1..=ATTEMPTS {
        let question =
            daemon.docker().inspect_container(id.as_str(), None::<InspectContainerOptions>);
        match daemon.call("an inspection", question).await {
            Ok(answer) => return Answer::Told(id, wire::inspection(answer)),
            Err(error) if error.is_not_found() => return Answer::Gone,
            Err(error) => {
                let error = chain(&error);
                debug!(
                    id = id.as_str(),
                    attempt, error, "a container's start is not known exactly"
                );
            }
        }
        if attempt < ATTEMPTS {
            sleep(ATTEMPT_PAUSE).await;
        }
    }
    Answer::Lost
}
