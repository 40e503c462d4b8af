//! Jobs that hang: begun in a round that is over, and not ended.
//!
//! Owns the list of them. It neither waits for them nor reads anything.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::job::Job;

/// Lanes that may hang without counting against those that run: each is a thread that
/// waits in the kernel (some 20 KiB). Beyond that, lanes that hang are missing to others.
const LIMIT: usize = 64;

/// The jobs that hang now.
#[derive(Debug, Default)]
pub(super) struct Stuck(Mutex<Vec<Job>>);

impl Stuck {
    fn jobs(&self) -> MutexGuard<'_, Vec<Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes one; whether its lane may be done without.
    pub(super) fn note(&self, job: Job) -> bool {
        let mut jobs = self.jobs();
        jobs.push(job);
        jobs.len() <= LIMIT
    }

    /// Strikes one that has ended.
    pub(super) fn forget(&self, job: &Job) {
        let mut jobs = self.jobs();
        if let Some(place) = jobs.iter().position(|it| it.is_same(job)) {
            jobs.swap_remove(place);
        }
    }

    /// Parts jobs into those that can be begun and those that hang.
    pub(super) fn sift(&self, jobs: Vec<Job>) -> (Vec<Job>, Vec<Job>) {
        let stuck = self.jobs();
        jobs.into_iter().partition(|job| !stuck.iter().any(|it| it.is_same(job)))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.jobs().len()
    }
}
