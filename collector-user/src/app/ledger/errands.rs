//! Errands: what is read of networks beside the runtime.
//!
//! Owns the errands' own threads and what they bring back. Must not draw conclusions.

use std::{collections::HashMap, future::pending, time::Duration};

use tokio::{
    task::{JoinError, JoinHandle, spawn_blocking},
    time::Instant,
};

use crate::{
    model::{
        collectors::Collector,
        losses::Losses,
        network::{
            Device, InterfaceId, Seat,
            interfaces::Counted,
            members::{Answer, Question},
        },
        targets::Target,
    },
    source::{files::Buffer, network::NetworkReader},
};

/// An errand that has been under way for longer hangs.
const HANGS: Duration = Duration::from_secs(5);

/// Something that is being read beside the runtime.
pub(super) struct Errand<T> {
    task: JoinHandle<T>,
    since: Instant,
    /// Whether it was said that it hangs.
    was_told: bool,
}

/// What containers answered.
pub(super) type Answers = (Vec<(Question, Answer)>, Losses);

/// What one round of reading `net/dev` brought, with what was counted before it.
pub(super) struct Listings {
    pub(super) before: HashMap<InterfaceId, Counted>,
    /// By the inode number of the network; `None` where it could not be read.
    pub(super) devices: Vec<(u64, Option<Vec<Device>>)>,
    pub(super) losses: Losses,
}

impl<T: Send + 'static> Errand<T> {
    /// Sends someone.
    pub(super) fn begin(work: impl FnOnce() -> T + Send + 'static) -> Self {
        Self { task: spawn_blocking(work), since: Instant::now(), was_told: false }
    }

    /// Says once that it hangs, if so.
    pub(super) fn tell_if_hung(&mut self, what: &str) {
        if !self.was_told && self.since.elapsed() >= HANGS {
            self.was_told = true;
            tracing::warn!("{what} hangs: who is in which network is as it was until it returns");
        }
    }
}

/// Waits for an errand, if there is one.
pub(super) async fn returned<T>(errand: &mut Option<Errand<T>>) -> Result<T, JoinError> {
    match errand {
        Some(errand) => (&mut errand.task).await,
        None => pending().await,
    }
}

/// Asks each container once.
pub(super) fn ask(reader: &NetworkReader, due: Vec<Question>) -> Answers {
    let (mut buffer, mut losses) = (Buffer::default(), Losses::default());
    let mut answer = |question: Question| {
        let answer = reader.ask(&question.target, question.hint, &mut buffer, &mut losses);
        (question, answer)
    };
    (due.into_iter().map(&mut answer).collect(), losses)
}

/// Reads `net/dev` of the host's network and of each container's.
pub(super) fn list(
    reader: &NetworkReader,
    host: Option<u64>,
    owners: &[(Seat, Target)],
    before: HashMap<InterfaceId, Counted>,
) -> Listings {
    let (mut buffer, mut losses) = (Buffer::default(), Losses::default());
    let mut devices = Vec::with_capacity(owners.len() + 1);
    if let Some(host) = host {
        let listed = reader.host_devices(Collector::Network, &mut buffer, &mut losses);
        let listed = listed.map(|it| it.into_iter().map(|it| it.device).collect());
        devices.push((host, listed));
    }
    for (seat, target) in owners {
        let listed = reader.devices(target, *seat, Collector::Network, &mut buffer, &mut losses);
        devices.push((seat.netns, listed));
    }
    Listings { before, devices, losses }
}
