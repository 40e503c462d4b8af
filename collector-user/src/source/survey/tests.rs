//! Rounds over files that answer, hang, and come back: a FIFO without a writer hangs in
//! open(2) as a file of a dead file system does.

use std::{
    fs::{self, OpenOptions},
    path::Path,
    time::Duration,
};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use super::*;
use crate::source::{
    cgroupfs::{Controllers, ResourceReader},
    process::{self, ProcessReader},
};

/// What a round may take that nothing hangs in, on a machine however busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// The time that a round is given when something hangs in it.
const SHORT: Duration = Duration::from_millis(300);

const MACHINE: Collectors = Collectors::NONE.with(Collector::Machine);

/// A host of which only the size can be read.
struct Host {
    root: TempDir,
    survey: Survey,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(root.path().join("devices/system/cpu")).expect("made");
        fs::write(root.path().join("devices/system/cpu/online"), "0-3\n").expect("written");
        let path = root.path();
        let survey = Survey::new(Readers {
            process: ProcessReader::new(process::Options {
                procfs: path.to_owned(),
                sysfs: path.to_owned(),
                hierarchy: path.to_owned(),
                max_pids: 1,
            }),
            resources: ResourceReader::new(Controllers::default()),
            machine: MachineReader::new(path, path),
        });
        let host = Self { root, survey };
        host.answer();
        host
    }

    fn meminfo(&self) -> std::path::PathBuf {
        self.root.path().join("meminfo")
    }

    /// Lets meminfo be a file that answers.
    fn answer(&self) {
        replace(&self.meminfo(), |path| fs::write(path, "MemTotal: 4 kB\n").expect("written"));
    }

    /// Lets meminfo hang whoever opens it.
    fn hang(&self) {
        replace(&self.meminfo(), |path| {
            mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).expect("a FIFO");
        });
    }

    /// A round; how long it took.
    async fn round(&self, limit: Duration) -> (Readings, Duration) {
        let begun = Instant::now();
        let readings = self.survey.take(&Snapshot::default(), MACHINE, begun + limit).await;
        (readings, begun.elapsed())
    }

    async fn until_recovered(&self) -> Readings {
        let recovered = async {
            loop {
                let (readings, _) = self.round(PATIENCE).await;
                if readings.outcomes[0].is_complete {
                    return readings;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, recovered).await.expect("it recovers")
    }
}

fn replace(path: &Path, make: impl FnOnce(&Path)) {
    // It is not there the first time.
    let _not_there = fs::remove_file(path);
    make(path);
}

fn lost(readings: &Readings, reason: Reason) -> u64 {
    readings.losses.get(Collector::Machine, reason)
}

#[tokio::test]
async fn what_answers_is_told_without_waiting_for_the_deadline() {
    let host = Host::new();
    let (readings, took) = host.round(PATIENCE).await;
    assert!(took < PATIENCE);
    assert_eq!(readings.machine.cores, Some(4));
    assert_eq!(readings.machine.memory_bytes, Some(4096));
    let [outcome] = readings.outcomes[..] else { panic!("{:?}", readings.outcomes) };
    assert!(outcome.is_complete && outcome.duration_ns > 0, "{outcome:?}");
    let nothing = host.survey.take(&Snapshot::default(), Collectors::NONE, Instant::now()).await;
    assert_eq!(nothing.outcomes, [], "who asks for nothing waits for nothing");
}

#[tokio::test]
async fn what_hangs_is_late_once_then_left_out_and_comes_back() {
    let host = Host::new();
    let before = host.until_recovered().await;
    host.hang();
    let old = host.meminfo().with_extension("old");

    let (late, took) = host.round(SHORT).await;
    assert!(took >= SHORT, "it waits as long as it may: {took:?}");
    assert!(!late.outcomes[0].is_complete);
    assert_eq!(lost(&late, Reason::Late), lost(&before, Reason::Late) + 1);
    assert_eq!(late.machine.memory_bytes, None, "nothing old is told");

    for number in 1..=3 {
        let (stuck, _) = host.round(PATIENCE).await;
        assert!(!stuck.outcomes[0].is_complete);
        assert_eq!(lost(&stuck, Reason::Stuck), number, "not asked again");
        assert_eq!(lost(&stuck, Reason::Late), lost(&late, Reason::Late));
    }
    assert_eq!(host.survey.lanes.available_permits(), LANES - 1, "one lane is away");

    fs::rename(host.meminfo(), &old).expect("renamed");
    host.answer();
    // A writer lets it go.
    drop(OpenOptions::new().write(true).open(&old).expect("opens"));
    let after = host.until_recovered().await;
    assert_eq!(after.machine.memory_bytes, Some(4096));
    assert_eq!(host.survey.stuck.jobs().len(), 0);
}

#[tokio::test]
async fn when_every_lane_hangs_a_scrape_still_ends_at_its_deadline() {
    let host = Host::new();
    let lanes = &host.survey.lanes;
    let all: Vec<_> =
        (0..LANES).map(|_| Arc::clone(lanes).try_acquire_owned().expect("free")).collect();
    let (readings, took) = host.round(SHORT).await;
    assert!(took >= SHORT);
    assert_eq!(lost(&readings, Reason::Late), 1);
    drop(all);
    host.until_recovered().await;
}
