//! Rounds over files that answer, hang, and come back: a FIFO without a writer hangs in
//! open(2) as a file of a dead file system does.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::symlink,
    path::Path,
    time::Duration,
};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use super::*;
use crate::{
    model::{
        container::ContainerId,
        network::{Role, Seat},
        snapshot::ContainerView,
        usage::Usage,
    },
    source::{
        cgroupfs::{Controllers, ResourceReader},
        lookup::Places,
    },
};

/// What a round may take that nothing hangs in, on a machine however busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// The time that a round is given when something hangs in it: enough to be taken for it.
const SHORT: Duration = SLOW.saturating_mul(2);

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
        let places = Places { procfs: path.to_owned(), hierarchy: path.to_owned(), distrust: None };
        let survey = Survey::new(Readers {
            process: ProcessReader::new(places.clone(), 1),
            network: NetworkReader::new(places, path.to_owned()),
            resources: ResourceReader::new(Controllers::default(), 0),
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
        replace(&self.meminfo(), fifo);
    }

    /// Lets those go that hang, and no others.
    fn let_go(&self) {
        let old = self.meminfo().with_extension("old");
        fs::rename(self.meminfo(), &old).expect("renamed");
        self.answer();
        // A writer lets its readers go.
        drop(OpenOptions::new().write(true).open(&old).expect("opens"));
    }

    /// A round; how long it took.
    async fn round(&self, limit: Duration) -> (Readings, Duration) {
        let begun = Instant::now();
        let readings = self.survey.take(&Snapshot::default(), MACHINE, begun + limit).await;
        (readings, begun.elapsed())
    }

    /// Lanes end a moment after their round.
    async fn until_all_lanes_are_free(&self) {
        let lanes = u32::try_from(LANES).expect("few");
        let all = tokio::time::timeout(PATIENCE, self.survey.lanes.acquire_many(lanes)).await;
        drop(all.expect("in time").expect("open"));
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

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).expect("a FIFO");
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

    let (late, took) = host.round(SHORT).await;
    assert!(took >= SHORT, "it waits as long as it may: {took:?}");
    assert!(!late.outcomes[0].is_complete);
    assert!(late.outcomes[0].duration_ns >= as_ns(SLOW), "waiting for it took time as well");
    assert_eq!(lost(&late, Reason::Late), lost(&before, Reason::Late) + 1);
    assert_eq!(late.machine.memory_bytes, None, "nothing old is told");

    for number in 1..=3 {
        let (stuck, _) = host.round(PATIENCE).await;
        assert!(!stuck.outcomes[0].is_complete);
        assert_eq!(lost(&stuck, Reason::Stuck), number, "not asked again");
        assert_eq!(lost(&stuck, Reason::Late), lost(&late, Reason::Late));
    }
    host.until_all_lanes_are_free().await;

    host.let_go();
    let after = host.until_recovered().await;
    assert_eq!(after.machine.memory_bytes, Some(4096));
    assert_eq!(host.survey.stuck.len(), 0);
    host.until_all_lanes_are_free().await;
}

#[tokio::test]
async fn nobody_waits_for_what_hangs_although_there_is_time() {
    let host = Host::new();
    host.hang();
    let (readings, took) = host.round(PATIENCE).await;
    assert!(took >= HUNG && took < PATIENCE, "{took:?}");
    assert_eq!(lost(&readings, Reason::Late), 1);
    host.let_go();
    host.until_recovered().await;
}

#[tokio::test]
async fn a_job_that_was_merely_in_hand_at_the_end_is_not_taken_to_hang() {
    let host = Host::new();
    host.hang();
    let (late, _) = host.round(SLOW / 10).await;
    assert_eq!(lost(&late, Reason::Late), 1);
    assert_eq!(host.survey.stuck.len(), 0);
    host.let_go();
    host.until_recovered().await;
}

#[tokio::test]
async fn when_every_lane_is_taken_a_scrape_still_ends_at_its_deadline() {
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

/// A snapshot of containers whose directories are below `root`, as far as they exist.
fn containers(names: &[&str]) -> Snapshot {
    let view = |name: &&str| {
        let path: Arc<str> = format!("/{name}").into();
        ContainerView {
            path: path.clone(),
            id: ContainerId::new(*name),
            meta: None,
            first_seen_ms: 0,
            last_seen_ms: 0,
            usage: Usage::default(),
            cgroups: vec![path],
            role: None,
            interfaces: Vec::new(),
        }
    };
    Snapshot { containers: names.iter().map(view).collect(), ..Snapshot::default() }
}

#[tokio::test]
async fn as_many_files_as_there_are_lanes_may_hang_and_all_others_are_told() {
    let host = Host::new();
    let names = ["a", "b", "c", "d", "e", "f"];
    let (hung, sound) = names.split_at(LANES_PER_ROUND + 1);
    for name in names {
        fs::create_dir(host.root.path().join(name)).expect("made");
    }
    let list = |name: &str| host.root.path().join(name).join("cgroup.procs");
    for name in hung {
        fifo(&list(name));
    }
    for name in sound {
        fs::write(list(name), "").expect("written");
    }
    let collectors = Collectors::NONE.with(Collector::Process).with(Collector::Machine);
    let begun = Instant::now();
    let readings = host.survey.take(&containers(&names), collectors, begun + PATIENCE).await;
    assert!(begun.elapsed() < PATIENCE);
    let mut told: Vec<_> = readings.processes.keys().map(ToString::to_string).collect();
    told.sort();
    assert_eq!(told, ["/d", "/e", "/f"]);
    assert_eq!(readings.losses.get(Collector::Process, Reason::Late), hung.len() as u64);
    assert_eq!(readings.machine.cores, Some(4));
    assert_eq!(host.survey.stuck.len(), hung.len());

    for name in hung {
        fs::rename(list(name), list(name).with_extension("old")).expect("renamed");
        fs::write(list(name), "").expect("written");
        let old = list(name).with_extension("old");
        drop(OpenOptions::new().write(true).open(old).expect("opens"));
    }
    let all_told = async {
        loop {
            let deadline = Instant::now() + PATIENCE;
            let readings = host.survey.take(&containers(&names), collectors, deadline).await;
            if readings.processes.len() == names.len() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all_told).await.expect("they come back");
}

/// Two containers, of which one has a network to itself, on a host with a network.
fn networks(host: &Host) -> Snapshot {
    for pid in [1, 8] {
        let directory = host.root.path().join(pid.to_string());
        fs::create_dir_all(directory.join("net")).expect("made");
        fs::create_dir(directory.join("ns")).expect("made");
        symlink(format!("net:[{pid}]"), directory.join("ns/net")).expect("linked");
        let lo = format!("Inter-|\n face |\n  lo: {pid}{}\n", " 1".repeat(15));
        fs::write(directory.join("net/dev"), lo).expect("written");
    }
    fs::create_dir_all(host.root.path().join("class/net")).expect("made");
    let mut snapshot = containers(&["owns", "shares"]);
    for (container, role) in snapshot
        .containers
        .iter_mut()
        .zip([Role::Owner(Seat { netns: 8, pid: 8 }), Role::Shared { owner: "/owns".into() }])
    {
        fs::create_dir(host.root.path().join(&container.path[1..])).expect("made");
        fs::write(host.root.path().join(&container.path[1..]).join("cgroup.procs"), "8\n")
            .expect("written");
        container.role = Some(role);
    }
    snapshot
}

#[tokio::test]
async fn each_network_is_read_once_for_whichever_collector_asks() {
    let host = Host::new();
    let snapshot = networks(&host);
    let take = async |collectors: &[Collector]| {
        let collectors = collectors.iter().copied().collect();
        host.survey.take(&snapshot, collectors, Instant::now() + PATIENCE).await
    };
    for collectors in [
        &[Collector::Network][..],
        &[Collector::Process],
        &[Collector::Network, Collector::Process],
    ] {
        let readings = take(collectors).await;
        let told: Vec<_> = readings.devices.iter().map(|(path, it)| (&**path, &**it)).collect();
        let [("/owns", [lo])] = told[..] else { panic!("{collectors:?}: {told:?}") };
        assert!(lo.is_loopback() && lo.traffic.rx_bytes == 8, "{lo:?}");
        let [lo] = &readings.host_devices.expect("told")[..] else { panic!("{collectors:?}") };
        assert_eq!((lo.device.traffic.rx_bytes, lo.is_physical), (1, false));
    }
    let readings = take(&[Collector::Machine]).await;
    assert!(readings.devices.is_empty() && readings.host_devices.is_none());
}

#[tokio::test]
async fn a_network_that_cannot_be_read_is_a_loss_of_whoever_asked_first_of_all() {
    let host = Host::new();
    let snapshot = networks(&host);
    fs::write(host.root.path().join("8/net/dev"), "").expect("written");
    for (collectors, blamed) in [
        (Collectors::NONE.with(Collector::Process), Collector::Process),
        (Collectors::NONE.with(Collector::Process).with(Collector::Network), Collector::Network),
    ] {
        let readings = host.survey.take(&snapshot, collectors, Instant::now() + PATIENCE).await;
        assert!(readings.devices.is_empty() && readings.host_devices.is_some());
        assert_eq!(readings.losses.get(blamed, Reason::Malformed), 1);
        let outcome = readings.outcomes.iter().find(|it| it.collector == blamed).expect("asked");
        assert!(!outcome.is_complete && outcome.duration_ns > 0, "{outcome:?}");
    }
}

#[test]
fn a_reader_that_panics_costs_its_job() {
    let lanes = Arc::new(Semaphore::new(1));
    let jobs = vec![Job::HostNetwork { collector: Collector::Process }, Job::Machine];
    let round = Round::new(jobs);
    let (sender, mut told) = mpsc::channel(2);
    let permit = Arc::clone(&lanes).try_acquire_owned().expect("free");
    let read = |job: &Job, _: &mut Buffer, _: &mut Losses| match job {
        Job::HostNetwork { .. } => panic!("a reader's bug, for the test"),
        _ => Finding::Machine(crate::model::readings::Machine::default()),
    };
    round.run(permit, read, &Stuck::default(), &sender);
    let first = told.try_recv().expect("told");
    assert!(first.finding.is_none());
    assert_eq!(first.losses.get(Collector::Process, Reason::Failed), 1);
    assert!(told.try_recv().expect("the lane went on").finding.is_some());
    assert_eq!(lanes.available_permits(), 1);
    assert_eq!(round.close(std::time::Instant::now(), &Stuck::default()), []);
}
