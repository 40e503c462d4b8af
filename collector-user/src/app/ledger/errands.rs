//! Errands: what is read of networks beside the runtime, job by job.
//!
//! Owns the errands' threads, and what becomes of those that do not come back. Must not know
//! what a job reads, nor draw conclusions.
//!
//! A file can hang. So an errand tells each answer as it comes, and which job it has in hand:
//! one that has the same for too long is abandoned, and another one does what is left of the
//! list. As long as an abandoned errand has not come back, its job is left out of later ones.

mod jobs;

use std::{
    collections::VecDeque,
    future::pending,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep_until},
};

pub(super) use self::jobs::{Asking, Auditing, NetDev, asking, auditing};
use crate::{
    model::losses::{Losses, Reason},
    source::files::Buffer,
};

/// A job that is in hand for longer hangs: no file that will still answer takes as long.
const HANGS: Duration = Duration::from_secs(2);

/// Errands of a kind that are abandoned at most: each is a thread that waits in the kernel.
/// Where more than a handful of containers hang, all of them are likely to.
const MAX_ABANDONED: usize = 4;

/// Something to be read.
pub(super) trait Job: Clone + Send + 'static {
    /// Whether the other one reads the same files.
    fn is_same(&self, other: &Self) -> bool;

    /// Path of the container whose files they are.
    fn path(&self) -> &str;
}

/// What comes of an errand.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tidings<J, T> {
    /// A job's answer, and what was lost for it.
    Told(J, T, Box<Losses>),
    /// A job that is not waited for any more; the others of its list go on.
    Lost(J, Reason),
    /// Nothing is left to do.
    Ended,
}

type Work<J, T> = Arc<dyn Fn(&J, &mut Buffer, &mut Losses) -> T + Send + Sync>;

/// Errands of one kind: at most one is out that is waited for.
pub(super) struct Errands<J, T> {
    /// What they do, for people.
    what: &'static str,
    work: Work<J, T>,
    out: Option<Out<J, T>>,
    /// Those that nobody waits for, with what each has in hand.
    abandoned: Vec<(J, JoinHandle<()>)>,
}

/// An errand that is out.
struct Out<J, T> {
    desk: Arc<Desk<J>>,
    told: mpsc::Receiver<(J, T, Box<Losses>)>,
    thread: JoinHandle<()>,
    /// When to see whether it hangs.
    look_at: Instant,
    /// Whether it was said that it hangs and can't be abandoned.
    was_said: bool,
}

/// What an errand has before it.
struct Desk<J>(Mutex<Papers<J>>);

struct Papers<J> {
    /// Jobs not begun yet.
    jobs: VecDeque<J>,
    /// The one that was begun and not ended, and since when.
    in_hand: Option<(J, Instant)>,
    is_abandoned: bool,
}

impl<J: Job, T: Send + 'static> Errands<J, T> {
    /// None is out yet. `work` does one job.
    pub(super) fn new(
        what: &'static str,
        work: impl Fn(&J, &mut Buffer, &mut Losses) -> T + Send + Sync + 'static,
    ) -> Self {
        Self { what, work: Arc::new(work), out: None, abandoned: Vec::new() }
    }

    /// Whether one is out that is waited for.
    pub(super) fn is_out(&self) -> bool {
        self.out.is_some()
    }

    /// Sends someone to do these jobs, when none is out. Returns those that are left out,
    /// because an abandoned errand still has them in hand.
    pub(super) fn begin(&mut self, jobs: Vec<J>) -> Vec<J> {
        self.abandoned.retain(|(_, thread)| !thread.is_finished());
        let hangs = |job: &J| self.abandoned.iter().any(|(hung, _)| hung.is_same(job));
        let (left_out, jobs): (Vec<J>, Vec<J>) = jobs.into_iter().partition(hangs);
        // There is room for every job's answer.
        let (sender, told) = mpsc::channel(jobs.len().max(1));
        let papers = Papers { jobs: jobs.into(), in_hand: None, is_abandoned: false };
        let desk = Arc::new(Desk(Mutex::new(papers)));
        let (its_desk, work) = (Arc::clone(&desk), Arc::clone(&self.work));
        let thread = spawn_blocking(move || its_desk.run(&work, &sender));
        let look_at = Instant::now() + HANGS;
        self.out = Some(Out { desk, told, thread, look_at, was_said: false });
        left_out
    }

    /// Waits for what comes of the errand that is out. Nothing is lost if the wait is given
    /// up, and begun anew.
    pub(super) async fn news(&mut self) -> Tidings<J, T> {
        loop {
            let Some(out) = &mut self.out else { return pending().await };
            tokio::select! {
                biased;
                told = out.told.recv() => return match told {
                    Some((job, answer, losses)) => Tidings::Told(job, answer, losses),
                    None => self.end(),
                },
                () = sleep_until(out.look_at) => {
                    if let Some(tidings) = self.look(Instant::now()) {
                        return tidings;
                    }
                }
            }
        }
    }

    /// The errand is back. What it still has in hand it has failed at.
    fn end(&mut self) -> Tidings<J, T> {
        let Some(out) = self.out.take() else { return Tidings::Ended };
        let mut papers = out.desk.papers();
        let Some((job, _)) = papers.in_hand.take() else { return Tidings::Ended };
        let rest = mem::take(&mut papers.jobs);
        tracing::warn!(container = job.path(), "{} failed", self.what);
        self.begin(rest.into());
        Tidings::Lost(job, Reason::Failed)
    }

    /// Abandons the errand that is out, if it hangs.
    fn look(&mut self, now: Instant) -> Option<Tidings<J, T>> {
        let out = self.out.as_mut()?;
        // What was told before it hung comes first.
        if let Ok((job, answer, losses)) = out.told.try_recv() {
            return Some(Tidings::Told(job, answer, losses));
        }
        let mut papers = out.desk.papers();
        let hangs_at = papers.in_hand.as_ref().map_or(now, |(_, since)| *since) + HANGS;
        if now < hangs_at {
            out.look_at = hangs_at;
            return None;
        }
        self.abandoned.retain(|(_, thread)| !thread.is_finished());
        let path = papers.in_hand.as_ref().map(|(job, _)| job.path());
        if self.abandoned.len() >= MAX_ABANDONED {
            if !mem::replace(&mut out.was_said, true) {
                tracing::warn!(
                    container = path,
                    "{} hangs, as it does for others: nobody else's turn comes until one returns",
                    self.what
                );
            }
            out.look_at = now + HANGS;
            return None;
        }
        tracing::warn!(
            container = path,
            "{} hangs: the container is left out until it returns",
            self.what
        );
        papers.is_abandoned = true;
        let (rest, in_hand) = (mem::take(&mut papers.jobs), papers.in_hand.take());
        drop(papers);
        let ((job, _), out) = in_hand.zip(self.out.take())?;
        self.abandoned.push((job.clone(), out.thread));
        self.begin(rest.into());
        Some(Tidings::Lost(job, Reason::Stuck))
    }
}

impl<J: Job> Desk<J> {
    fn papers(&self) -> MutexGuard<'_, Papers<J>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does one job after the other, until there is none or nobody waits any more.
    fn run<T>(&self, work: &Work<J, T>, told: &mpsc::Sender<(J, T, Box<Losses>)>) {
        let mut buffer = Buffer::default();
        while let Some(job) = self.take_up() {
            let mut losses = Box::<Losses>::default();
            let answer = work(&job, &mut buffer, &mut losses);
            let mut papers = self.papers();
            if papers.is_abandoned {
                return;
            }
            papers.in_hand = None;
            // There is room; whoever listens may have gone, which is the end.
            if told.try_send((job, answer, losses)).is_err() {
                return;
            }
        }
    }

    fn take_up(&self) -> Option<J> {
        let mut papers = self.papers();
        let job = papers.jobs.pop_front()?;
        papers.in_hand = Some((job.clone(), Instant::now()));
        Some(job)
    }
}

#[cfg(test)]
mod tests;
