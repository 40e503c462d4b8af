//! One round: the list of jobs for a scrape, and the lanes that work it off.
//!
//! Owns who has which job in hand. It waits for nobody: its end is decided elsewhere.

use std::{
    mem::discriminant,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use tokio::sync::mpsc;

use super::{Readers, Stuck};
use crate::{
    model::{
        collectors::{Collector, Collectors},
        losses::Losses,
        networks::Traffic,
        processes::ContainerProcesses,
        readings::Machine,
        resources::Resources,
        snapshot::Snapshot,
        targets::{HOST_PATH, Target},
    },
    source::files::Buffer,
};

/// Collectors whose values are in files.
pub(super) const FILE_COLLECTORS: [Collector; 3] =
    [Collector::Cgroup, Collector::Machine, Collector::Process];

/// What one lane reads before it looks for the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// A container's processes.
    Processes(Target),
    /// The host's interfaces.
    HostTraffic,
    /// A cgroup's controllers.
    Resources(Target),
    /// The host's size.
    Machine,
}

impl Job {
    pub(super) fn collector(&self) -> Collector {
        match self {
            Self::Processes(_) | Self::HostTraffic => Collector::Process,
            Self::Resources(_) => Collector::Cgroup,
            Self::Machine => Collector::Machine,
        }
    }

    /// Whose files it reads.
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Processes(target) | Self::Resources(target) => &target.path,
            Self::HostTraffic | Self::Machine => HOST_PATH,
        }
    }

    /// Whether it reads the same as another, whatever cgroups have come and gone in it.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        discriminant(self) == discriminant(other) && self.path() == other.path()
    }

    fn read(&self, readers: &Readers, buffer: &mut Buffer, losses: &mut Losses) -> Finding {
        match self {
            Self::Processes(target) => {
                Finding::Processes(readers.process.read(target, buffer, losses))
            }
            Self::HostTraffic => Finding::HostTraffic(readers.process.host_traffic(buffer, losses)),
            Self::Resources(target) => {
                Finding::Resources(Box::new(readers.resources.read(target, buffer, losses)))
            }
            Self::Machine => Finding::Machine(readers.machine.read(buffer, losses)),
        }
    }
}

/// What a job brought.
#[derive(Debug)]
pub(super) enum Finding {
    Processes(ContainerProcesses),
    HostTraffic(Option<Traffic>),
    Resources(Box<Resources>),
    Machine(Machine),
}

/// A job that is done.
#[derive(Debug)]
pub(super) struct Told {
    /// Which one: its place in the list.
    pub(super) index: usize,
    pub(super) finding: Finding,
    pub(super) losses: Losses,
    pub(super) duration_ns: u64,
}

/// The jobs of these collectors for what lives in a snapshot. Short ones first: when
/// time is short, few are late.
pub(super) fn jobs(snapshot: &Snapshot, collectors: Collectors) -> Vec<Job> {
    let mut jobs = Vec::new();
    if collectors.contains(Collector::Machine) {
        jobs.push(Job::Machine);
    }
    if collectors.contains(Collector::Process) {
        jobs.push(Job::HostTraffic);
    }
    if collectors.contains(Collector::Cgroup) {
        jobs.extend(Target::others(snapshot).map(Job::Resources));
        jobs.extend(Target::containers(snapshot).map(Job::Resources));
    }
    if collectors.contains(Collector::Process) {
        jobs.extend(Target::containers(snapshot).map(Job::Processes));
    }
    jobs
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
    /// Jobs that lanes have begun and not ended.
    in_hand: Vec<usize>,
    is_over: bool,
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
    pub(super) fn run(&self, readers: &Readers, stuck: &Stuck, told: &mpsc::Sender<Told>) {
        let mut buffer = Buffer::default();
        while let Some((index, job)) = self.begin() {
            let begun = Instant::now();
            let mut losses = Losses::default();
            let finding = job.read(readers, &mut buffer, &mut losses);
            let duration_ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            if self.end(index, stuck) {
                return;
            }
            // There is room for every job's; whoever listens may have gone.
            if told.try_send(Told { index, finding, losses, duration_ns }).is_err() {
                return;
            }
        }
    }

    fn begin(&self) -> Option<(usize, &Job)> {
        let index = self.next.fetch_add(1, Relaxed);
        let job = self.jobs.get(index)?;
        let mut desk = self.desk();
        if desk.is_over {
            return None;
        }
        desk.in_hand.push(index);
        Some((index, job))
    }

    /// Puts a job down; whether the round was over by then.
    fn end(&self, index: usize, stuck: &Stuck) -> bool {
        let mut desk = self.desk();
        desk.in_hand.retain(|it| *it != index);
        if desk.is_over {
            stuck.forget(&self.jobs[index]);
        }
        desk.is_over
    }

    /// Ends the round: no lane begins another job, and those in hand are noted as stuck
    /// until their lanes put them down.
    pub(super) fn close(&self, stuck: &Stuck) {
        let mut desk = self.desk();
        desk.is_over = true;
        for index in &desk.in_hand {
            stuck.note(self.jobs[*index].clone());
        }
    }
}
