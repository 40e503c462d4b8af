//! Questions about single containers, a few at a time.
//!
//! Owns the queue of those to ask about. A question that fails is dropped: the
//! container may be gone, and the next list asks again about those that are not.

use std::collections::VecDeque;

use bollard::query_parameters::InspectContainerOptions;
use tokio::task::JoinSet;
use tracing::debug;

use super::{
    endpoint::Daemon,
    known::{Inspection, KNOWN_LIMIT},
    wire,
};
use crate::{errors::chain, model::container::ContainerId};

/// Questions asked at once: enough to hide the way there and back, few enough not to
/// crowd out the daemon's own work.
const AT_ONCE: usize = 4;

/// Asks, and collects the answers.
#[derive(Debug)]
pub(super) struct Inspector {
    daemon: Daemon,
    waiting: VecDeque<ContainerId>,
    asked: JoinSet<Option<(ContainerId, Inspection)>>,
}

impl Inspector {
    pub(super) fn new(daemon: Daemon) -> Self {
        Self { daemon, waiting: VecDeque::new(), asked: JoinSet::new() }
    }

    /// Queues a question. Beyond the most containers there can be it is left to the
    /// next list.
    pub(super) fn ask(&mut self, id: ContainerId) {
        if self.waiting.len() < KNOWN_LIMIT {
            self.waiting.push_back(id);
        }
        self.fill();
    }

    /// The next answer; waits for ever if nothing was asked. May be cancelled.
    pub(super) async fn next(&mut self) -> (ContainerId, Inspection) {
        loop {
            let answered = match self.asked.join_next().await {
                Some(answered) => answered,
                None => std::future::pending().await,
            };
            self.fill();
            if let Ok(Some(answer)) = answered {
                return answer;
            }
        }
    }

    fn fill(&mut self) {
        while self.asked.len() < AT_ONCE {
            let Some(id) = self.waiting.pop_front() else { return };
            self.asked.spawn(inspect(self.daemon.clone(), id));
        }
    }
}

async fn inspect(daemon: Daemon, id: ContainerId) -> Option<(ContainerId, Inspection)> {
    let question = daemon.docker().inspect_container(id.as_str(), None::<InspectContainerOptions>);
    match daemon.call("an inspection", question).await {
        Ok(answer) => Some((id, wire::inspection(answer))),
        Err(error) => {
            debug!(
                id = id.as_str(),
                error = chain(&error),
                "a container's start is not known exactly"
            );
            None
        }
    }
}
