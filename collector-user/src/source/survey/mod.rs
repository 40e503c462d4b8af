//! The survey: for one scrape, every file that is to be read, by the scrape's deadline.
//!
//! Owns the order of the readings, who makes them, and what becomes of those that do not
//! come back. Must not know what is in a file.
//!
//! A file of `/proc` or of a cgroup can hang: a file system behind it is dead, a lock is
//! held. So readings are made by *lanes*, threads beside the async runtime that take one
//! job after another from a common list. A job that is slow keeps its lane, and another
//! lane starts in its stead; a job that hangs is not waited for; and at the deadline the
//! scrape gets what is there. As long as a lane has not come back, its job is left out of
//! later rounds: hung files cost their own containers' values, and no others.

mod job;
mod round;
mod stuck;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout_at},
};

use self::{
    job::{Finding, Job},
    round::{Round, Told},
    stuck::Stuck,
};
use super::{
    cgroupfs::ResourceReader, files::Buffer, machine::MachineReader, network::NetworkReader,
    process::ProcessReader,
};
use crate::model::{
    collectors::{Collector, Collectors},
    losses::{Losses, Reason},
    readings::{Outcome, Readings},
    snapshot::Snapshot,
    targets::Target,
};

/// Lanes that a round begins with. Two halve the wait for many small files; more would
/// take CPUs from those who are measured.
const LANES_PER_ROUND: usize = 2;

/// Lanes that run at once, over all rounds: what as many scrapes as `--web.max-requests`
/// allows by default take. Scrapes beyond that wait for one.
const LANES: usize = 16;

/// A job that is in hand for longer is slow: a hundred times what a big one takes. Another
/// lane then starts beside its own, and it is left out of later rounds if it is not done
/// when its round ends.
const SLOW: Duration = Duration::from_millis(250);

/// A job that is in hand for longer is not waited for, however late the deadline: no file
/// that will still answer takes as long.
const HUNG: Duration = Duration::from_secs(2);

/// Those who read files.
#[derive(Debug)]
pub struct Readers {
    /// `/proc/PID`.
    pub process: ProcessReader,
    /// `net/dev` of networks.
    pub network: NetworkReader,
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
    stuck: Arc<Stuck>,
    losses: Mutex<Losses>,
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
        let (jobs, stuck) = self.stuck.sift(Job::all(snapshot, collectors));
        for job in stuck {
            tally.losses.count(job.collector(), Reason::Stuck);
        }
        if !jobs.is_empty() {
            self.read(jobs, deadline, &mut tally).await;
        }
        if collectors.contains(Collector::Cgroup) {
            self.close_outdated(snapshot);
        }
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        losses.add(&tally.losses);
        tally.readings.losses = *losses;
        tally.readings.outcomes = collectors
            .iter()
            .filter(|collector| collector.reads_files())
            .map(|collector| Outcome {
                collector,
                is_complete: tally.losses.is_complete(collector),
                duration_ns: as_ns(tally.durations[collector as usize]),
            })
            .collect();
        tally.readings
    }

    async fn read(&self, jobs: Vec<Job>, deadline: Instant, tally: &mut Tally) {
        let mut missing = vec![true; jobs.len()];
        let mut left = jobs.len();
        let (sender, mut told) = mpsc::channel(jobs.len());
        let round = Arc::new(Round::new(jobs));
        for permit in self.permits(deadline).await {
            self.start_lane(permit, &round, &sender);
        }
        let mut look = interval_at(Instant::now() + SLOW, SLOW);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while left > 0 {
            tokio::select! {
                biased;
                Some(it) = told.recv() => {
                    missing[it.index] = false;
                    left -= 1;
                    tally.take(round.jobs()[it.index].collector(), it);
                }
                () = sleep_until(deadline) => break,
                now = look.tick() => {
                    let looked = round.look(now.into_std(), self.lanes.available_permits());
                    if looked.is_hopeless {
                        break;
                    }
                    for _ in 0..looked.slow_lanes {
                        let Ok(permit) = Arc::clone(&self.lanes).try_acquire_owned() else { break };
                        self.start_lane(permit, &round, &sender);
                    }
                }
            }
        }
        for (job, held) in round.close(Instant::now().into_std(), &self.stuck) {
            tally.durations[job.collector() as usize] += held;
            if held >= SLOW {
                tracing::warn!(
                    collector = %job.collector(),
                    of = job.path(),
                    held_ms = held.as_millis(),
                    stuck = self.stuck.len(),
                    "a reading hangs: it is left out of scrapes until it comes back"
                );
            }
        }
        // What was put down before the close is not late.
        while let Ok(it) = told.try_recv() {
            missing[it.index] = false;
            tally.take(round.jobs()[it.index].collector(), it);
        }
        for (job, _) in round.jobs().iter().zip(missing).filter(|(_, is_missing)| *is_missing) {
            tally.losses.count(job.collector(), Reason::Late);
        }
    }

    /// Sees to it that files of cgroups that are gone don't stay open.
    fn close_outdated(&self, snapshot: &Snapshot) {
        let targets = Target::others(snapshot).chain(Target::containers(snapshot));
        let told = targets.map(|target| target.path).collect();
        if let Some(outdated) = self.readers.resources.outdated(&told) {
            tokio::task::spawn_blocking(move || drop(outdated));
        }
    }

    fn start_lane(
        &self,
        permit: OwnedSemaphorePermit,
        round: &Arc<Round>,
        told: &mpsc::Sender<Told>,
    ) {
        let (round, told) = (Arc::clone(round), told.clone());
        let (readers, stuck) = (Arc::clone(&self.readers), Arc::clone(&self.stuck));
        tokio::task::spawn_blocking(move || {
            let read = |job: &Job, buffer: &mut Buffer, losses: &mut Losses| {
                job.read(&readers, buffer, losses)
            };
            round.run(permit, read, &stuck, &told);
        });
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
    durations: [Duration; Collector::ALL.len()],
}

impl Tally {
    fn take(&mut self, collector: Collector, told: Told) {
        self.losses.add(&told.losses);
        self.durations[collector as usize] += told.duration;
        let readings = &mut self.readings;
        match told.finding {
            Some(Finding::Processes(path, processes)) => {
                readings.processes.insert(path, processes);
            }
            Some(Finding::Resources(path, resources)) => {
                readings.resources.insert(path, *resources);
            }
            Some(Finding::Network(path, devices)) => {
                readings.devices.extend(devices.map(|devices| (path, devices)));
            }
            Some(Finding::HostNetwork(devices)) => readings.host_devices = devices,
            Some(Finding::Machine(machine)) => readings.machine = machine,
            None => {}
        }
    }
}

fn as_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
