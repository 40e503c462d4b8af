//! The survey: for one scrape, every file that is to be read, by the scrape's deadline.
//!
//! Owns the order of the readings, who makes them, and what becomes of those that do not
//! come back. Must not know what is in a file.
//!
//! A file of `/proc` or of a cgroup can hang: a file system behind it is dead, a lock is
//! held. So readings are made by *lanes*, threads beside the async runtime that take one
//! job after another from a common list; a job that hangs takes its lane along, the other
//! lane goes on, and at the deadline the scrape gets what is there. As long as the lane
//! has not come back, its job is left out of later rounds: one hung file costs its
//! container's values, and no more.

mod round;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, timeout_at},
};

use self::round::{Finding, Job, Round, Told};
use super::{cgroupfs::ResourceReader, machine::MachineReader, process::ProcessReader};
use crate::model::{
    collectors::{Collector, Collectors},
    losses::{Losses, Reason},
    readings::{Outcome, Readings},
    snapshot::Snapshot,
};

/// Lanes of one round. Two halve the wait for many small files and keep one going when
/// the other hangs; more would take CPUs from those who are measured.
const LANES_PER_ROUND: usize = 2;

/// Lanes in all: what as many scrapes as `--web.max-requests` allows by default take.
/// Scrapes beyond that wait for one, and so do all when that many files hang.
const LANES: usize = 16;

/// Those who read files, one for each collector that does.
#[derive(Debug)]
pub struct Readers {
    /// `/proc/PID`.
    pub process: ProcessReader,
    /// Controllers' files.
    pub resources: ResourceReader,
    /// The host's size.
    pub machine: MachineReader,
}

/// Makes rounds of readings, and remembers what is lost in them.
#[derive(Debug)]
pub struct Survey {
    readers: Arc<Readers>,
    lanes: Arc<Semaphore>,
    /// Jobs whose lanes had not come back when their rounds were over.
    stuck: Arc<Stuck>,
    losses: Mutex<Losses>,
}

/// Jobs that hang.
#[derive(Debug, Default)]
struct Stuck(Mutex<Vec<Job>>);

impl Stuck {
    fn jobs(&self) -> MutexGuard<'_, Vec<Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, job: Job) {
        tracing::warn!(
            collector = %job.collector(),
            of = job.path(),
            "a reading was not done in a scrape's time: left out until it comes back"
        );
        self.jobs().push(job);
    }

    fn forget(&self, job: &Job) {
        let mut jobs = self.jobs();
        if let Some(place) = jobs.iter().position(|it| it.is_same(job)) {
            jobs.swap_remove(place);
        }
    }
}

impl Survey {
    /// A survey by these readers; it reads nothing yet.
    pub fn new(readers: Readers) -> Self {
        Self {
            readers: Arc::new(readers),
            lanes: Arc::new(Semaphore::new(LANES)),
            stuck: Arc::default(),
            losses: Mutex::default(),
        }
    }

    /// Reads the files of everything that lives in a snapshot, for those collectors that
    /// read files. Ends by the deadline: what was not read until then is missing, and
    /// counted.
    pub async fn take(
        &self,
        snapshot: &Snapshot,
        collectors: Collectors,
        deadline: Instant,
    ) -> Readings {
        let mut tally = Tally::default();
        let jobs = self.sift(round::jobs(snapshot, collectors), &mut tally);
        if !jobs.is_empty() {
            self.read(jobs, deadline, &mut tally).await;
        }
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        losses.add(&tally.losses);
        tally.readings.losses = *losses;
        tally.readings.outcomes = collectors
            .iter()
            .filter(|collector| round::FILE_COLLECTORS.contains(collector))
            .map(|collector| Outcome {
                collector,
                is_complete: tally.losses.is_complete(collector),
                duration_ns: tally.durations_ns[collector as usize],
            })
            .collect();
        tally.readings
    }

    /// Leaves out what hangs since earlier rounds.
    fn sift(&self, mut jobs: Vec<Job>, tally: &mut Tally) -> Vec<Job> {
        let stuck = self.stuck.jobs();
        if !stuck.is_empty() {
            jobs.retain(|job| {
                let is_stuck = stuck.iter().any(|it| it.is_same(job));
                if is_stuck {
                    tally.losses.count(job.collector(), Reason::Stuck);
                }
                !is_stuck
            });
        }
        jobs
    }

    async fn read(&self, jobs: Vec<Job>, deadline: Instant, tally: &mut Tally) {
        let (sender, mut told) = mpsc::channel(jobs.len());
        let round = Arc::new(Round::new(jobs));
        for permit in self.permits(deadline).await {
            let (round, sender) = (Arc::clone(&round), sender.clone());
            let (readers, stuck) = (Arc::clone(&self.readers), Arc::clone(&self.stuck));
            tokio::task::spawn_blocking(move || {
                round.run(&readers, &stuck, &sender);
                drop(permit);
            });
        }
        drop(sender);
        let mut missing: Vec<bool> = vec![true; round.jobs().len()];
        let mut take = |it: Told| {
            missing[it.index] = false;
            tally.take(&round.jobs()[it.index], it);
        };
        // It ends early when the lanes have: all is read, or one has panicked.
        while let Ok(Some(it)) = timeout_at(deadline, told.recv()).await {
            take(it);
        }
        let reason = if Instant::now() < deadline { Reason::Failed } else { Reason::Late };
        round.close(&self.stuck);
        // What was put down between the deadline and the close is not late.
        while let Ok(it) = told.try_recv() {
            take(it);
        }
        for (job, _) in round.jobs().iter().zip(missing).filter(|(_, is_missing)| *is_missing) {
            tally.losses.count(job.collector(), reason);
        }
    }

    /// Leave to run lanes: one at least, waited for until the deadline, and more if they
    /// are free.
    async fn permits(&self, deadline: Instant) -> Vec<OwnedSemaphorePermit> {
        let first = timeout_at(deadline, Arc::clone(&self.lanes).acquire_owned()).await;
        let others = (1..LANES_PER_ROUND).map(|_| Arc::clone(&self.lanes).try_acquire_owned().ok());
        first.into_iter().flatten().chain(others.flatten()).collect()
    }
}

/// What one round brings in.
#[derive(Default)]
struct Tally {
    readings: Readings,
    losses: Losses,
    durations_ns: [u64; Collector::ALL.len()],
}

impl Tally {
    fn take(&mut self, job: &Job, Told { finding, losses, duration_ns, .. }: Told) {
        self.losses.add(&losses);
        self.durations_ns[job.collector() as usize] += duration_ns;
        let readings = &mut self.readings;
        match (job, finding) {
            (Job::Processes(target), Finding::Processes(processes)) => {
                readings.processes.insert(target.path.clone(), processes);
            }
            (Job::Resources(target), Finding::Resources(resources)) => {
                readings.resources.insert(target.path.clone(), *resources);
            }
            (_, Finding::HostTraffic(traffic)) => readings.host_traffic = traffic,
            (_, Finding::Machine(machine)) => readings.machine = machine,
            (_, Finding::Processes(_) | Finding::Resources(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests;
