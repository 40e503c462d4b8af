//! One round: the list of jobs for a scrape, and the lanes that work it off.
//!
//! Owns who has which job in hand, and since when. It waits for nobody: its end is decided
//! elsewhere.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{
    HUNG, SLOW,
    job::{Finding, Job},
    stuck::Stuck,
};
use crate::{
    model::losses::{Losses, Reason},
    source::files::Buffer,
};

/// A job that is done.
#[derive(Debug)]
pub(super) struct Told {
    /// Which one: its place in the list.
    pub(super) index: usize,
    /// What it brought; nothing if its reader failed altogether.
    pub(super) finding: Option<Finding>,
    pub(super) losses: Losses,
    pub(super) duration: Duration,
}

/// What a look at a round under way tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// Lanes that are held up by slow jobs and have none in their stead yet.
    pub(super) slow_lanes: usize,
    /// Whether nothing but jobs that hang is left.
    pub(super) is_hopeless: bool,
}

/// The jobs, and who is at which.
#[derive(Debug)]
pub(super) struct Round {
    jobs: Vec<Job>,
    next: AtomicUsize,
    desk: Mutex<Desk>,
}

#[derive(Debug, Default)]
struct Desk {
    in_hand: Vec<InHand>,
    is_over: bool,
}

/// A job that a lane has begun and not ended.
#[derive(Debug)]
struct InHand {
    index: usize,
    since: Instant,
    is_replaced: bool,
    is_stuck: bool,
    /// The lane's leave to run, which it gets back with the job's end; taken from it when
    /// the job hangs, so that others can run meanwhile.
    permit: Option<OwnedSemaphorePermit>,
}

impl Round {
    pub(super) fn new(jobs: Vec<Job>) -> Self {
        Self { jobs, next: AtomicUsize::new(0), desk: Mutex::default() }
    }

    pub(super) fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lane: takes one job after another until there is none, or the round is over.
    pub(super) fn run(
        &self,
        permit: OwnedSemaphorePermit,
        read: impl Fn(&Job, &mut Buffer, &mut Losses) -> Finding,
        stuck: &Stuck,
        told: &mpsc::Sender<Told>,
    ) {
        let mut buffer = Buffer::default();
        let mut leave = Some(permit);
        while let Some(permit) = leave.take()
            && let Some((index, job)) = self.begin(permit)
        {
            let begun = Instant::now();
            let mut losses = Losses::default();
            // A reader's bug costs its job, not the lane and what it would read.
            let reading = AssertUnwindSafe(|| read(job, &mut buffer, &mut losses));
            let finding = catch_unwind(reading).ok();
            if finding.is_none() {
                losses.count(job.collector(), Reason::Failed);
                buffer = Buffer::default();
            }
            let duration = begun.elapsed();
            leave = self.end(Told { index, finding, losses, duration }, stuck, told);
        }
    }

    fn begin(&self, permit: OwnedSemaphorePermit) -> Option<(usize, &Job)> {
        let mut desk = self.desk();
        if desk.is_over {
            return None;
        }
        let index = self.next.fetch_add(1, Relaxed);
        let job = self.jobs.get(index)?;
        desk.in_hand.push(InHand {
            index,
            since: Instant::now(),
            is_replaced: false,
            is_stuck: false,
            permit: Some(permit),
        });
        Some((index, job))
    }

    /// Puts a job down; gives the lane's leave to go on, if it has not lost it.
    fn end(
        &self,
        it: Told,
        stuck: &Stuck,
        told: &mpsc::Sender<Told>,
    ) -> Option<OwnedSemaphorePermit> {
        let mut desk = self.desk();
        let place = desk.in_hand.iter().position(|in_hand| in_hand.index == it.index)?;
        let in_hand = desk.in_hand.swap_remove(place);
        if in_hand.is_stuck {
            stuck.forget(&self.jobs[it.index]);
        }
        if desk.is_over {
            return None;
        }
        // There is room for every job's; whoever listens may have gone, which is the end.
        told.try_send(it).ok()?;
        in_hand.permit
    }

    /// Looks for jobs that take too long; `free` lanes can start beside theirs.
    pub(super) fn look(&self, now: Instant, free: usize) -> Look {
        let mut desk = self.desk();
        let mut slow_lanes = 0;
        for in_hand in &mut desk.in_hand {
            if slow_lanes < free
                && !in_hand.is_replaced
                && now.duration_since(in_hand.since) >= SLOW
            {
                in_hand.is_replaced = true;
                slow_lanes += 1;
            }
        }
        let all_begun = self.next.load(Relaxed) >= self.jobs.len();
        let all_hang = desk.in_hand.iter().all(|it| now.duration_since(it.since) >= HUNG);
        Look { slow_lanes, is_hopeless: all_begun && all_hang }
    }

    /// Ends the round: no lane begins another job. Those in hand that are slow are noted as
    /// stuck until their lanes put them down. Returns the jobs in hand, and how long they
    /// have been.
    pub(super) fn close(&self, now: Instant, stuck: &Stuck) -> Vec<(&Job, Duration)> {
        let mut desk = self.desk();
        desk.is_over = true;
        let mut unfinished = Vec::new();
        for in_hand in &mut desk.in_hand {
            let job = &self.jobs[in_hand.index];
            let held = now.duration_since(in_hand.since);
            if held >= SLOW {
                in_hand.is_stuck = true;
                if stuck.note(job.clone()) {
                    in_hand.permit = None;
                }
            }
            unfinished.push((job, held));
        }
        unfinished
    }
}
