//! What a scrape shows of three hosts: one with v1 cgroups, a hybrid one, a unified one.
//! Their files are in `fixtures/hosts`; everything behind the accounts is the real thing,
//! from the reading of a file to the text.
//!
//! `UPDATE_GOLDEN=1 cargo test -p slicemeter` writes the expected texts anew.

#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use slicemeter::{
    exposition::{
        BuildInfo, Format,
        families::{self, Parts, Rendering, Scrape},
        process::ProcessUsage,
        web_stats::WebCounts,
    },
    model::{
        collectors::{Collector, Collectors},
        container::{ContainerId, ContainerMeta},
        container_id::deepest_container,
        losses::Losses,
        network::{Role, members::Answer},
        readings::Readings,
        snapshot::{ContainerView, Snapshot},
        targets::Target,
        usage::Usage,
    },
    source::{
        cgroupfs::{self, Choice, Controllers, Hierarchy, Kind, Mode, Paths, ResourceReader},
        files::Buffer,
        lookup::Places,
        machine::MachineReader,
        network::NetworkReader,
        process::ProcessReader,
        survey::{Readers, Survey},
    },
};
use tokio::time::Instant;

/// 2024-01-02 03:04:05.678 UTC.
const TAKEN_AT_MS: u64 = 1_704_164_645_678;

/// Containers that the runtime knows; the third is known by its cgroup only.
const NAMED: [(&str, &str, &str); 2] = [
    (
        "5e6e980241314e4bc5364cad3b5e0aba2374bd9803338d723fc48286d6834d88",
        "shop-web-1",
        "registry.example.org/shop/web:1.2",
    ),
    ("95381279ce2547af1a5efab5a83abc52371b7041af625376401ee7ad115edae7", "edge", "edge-proxy:3"),
];

/// Collectors whose values are in files.
const COLLECTORS: Collectors =
    Collectors::NONE.with(Collector::Cgroup).with(Collector::Machine).with(Collector::Process);

/// Far more than a slow machine needs: nothing here is told late.
const DEADLINE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_v1_host_is_shown_as_recorded() {
    let kind = Kind::Cpuacct { controller: "cpuacct" };
    check("v1", scrape("v1", kind, Mode::V1, "cpu,cpuacct").await);
}

#[tokio::test]
async fn a_hybrid_host_is_shown_as_recorded() {
    check("hybrid", scrape("hybrid", Kind::Unified, Mode::Hybrid, "unified").await);
}

#[tokio::test]
async fn a_unified_host_is_shown_as_recorded() {
    check("v2", scrape("v2", Kind::Unified, Mode::V2, "").await);
}

fn host(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/hosts").join(name)
}

/// Reads a host's files, as a scrape has them read, and renders what they tell.
async fn scrape(name: &str, kind: Kind, mode: Mode, accounting: &str) -> (Readings, String) {
    let root = host(name);
    let (procfs, sysfs) = (root.join("proc"), root.join("sys"));
    let prefix = sysfs.join("fs/cgroup");
    let paths = Paths { procfs: &procfs, cgroupfs: &prefix };
    let hierarchy = cgroupfs::select(paths, Choice::Auto).expect("there is one");
    let mount: PathBuf = prefix.components().chain(Path::new(accounting).components()).collect();
    let found = (hierarchy.kind, hierarchy.mode, hierarchy.mount.as_path());
    assert_eq!(found, (kind, mode, mount.as_path()), "{name}");
    let controllers = Controllers::find(paths, &hierarchy).expect("mountinfo is there");
    let distrust = cgroupfs::distrust(&hierarchy, &procfs);
    let places = Places { procfs: procfs.clone(), hierarchy: mount, distrust };
    let mut snapshot = snapshot(&hierarchy);
    give_roles(&mut snapshot, &NetworkReader::new(places.clone(), sysfs.clone()));
    let survey = Survey::new(Readers {
        process: ProcessReader::new(places.clone(), 100),
        network: NetworkReader::new(places, sysfs.clone()),
        resources: ResourceReader::new(controllers, 64),
        machine: MachineReader::new(&procfs, &sysfs),
    });
    let mut readings = survey.take(&snapshot, COLLECTORS, Instant::now() + DEADLINE).await;
    for outcome in &mut readings.outcomes {
        outcome.duration_ns = 0;
    }
    let scrape = Scrape::new(Parts {
        snapshot: Arc::new(snapshot),
        snapshot_ns: 0,
        readings: readings.clone(),
        collectors: COLLECTORS,
        web: WebCounts::default(),
        process: ProcessUsage::default(),
        build: BuildInfo { version: "1.2.3", revision: None, rustc: None },
    });
    let pieces =
        Rendering::new(scrape, Format::Text).map(|piece| piece.expect("every family has samples"));
    (readings, String::from_utf8(pieces.flatten().collect()).expect("text"))
}

/// The containers whose cgroups are in a hierarchy, without any usage.
fn snapshot(hierarchy: &Hierarchy) -> Snapshot {
    let walk = cgroupfs::walk(hierarchy);
    assert_eq!(walk.errors, 0, "{hierarchy}");
    let mut walked = walk.cgroups;
    walked.sort_by(|one, other| one.path.cmp(&other.path));
    let mut containers: BTreeMap<&str, ContainerView> = BTreeMap::new();
    for cgroup in &walked {
        let Some(found) = deepest_container(&cgroup.path) else { continue };
        let container = containers.entry(found.root).or_insert_with(|| ContainerView {
            path: found.root.into(),
            id: ContainerId::new(found.id),
            meta: meta(found.id),
            first_seen_ms: TAKEN_AT_MS - 60_000,
            last_seen_ms: TAKEN_AT_MS,
            usage: Usage::default(),
            cgroups: Vec::new(),
            role: None,
            interfaces: Vec::new(),
        });
        container.cgroups.push(cgroup.path.as_str().into());
    }
    assert_eq!(containers.len(), 3, "the fixture's containers are found by their cgroups");
    let containers = containers.into_values().collect();
    Snapshot { taken_at_ms: TAKEN_AT_MS, containers, ..Snapshot::default() }
}

/// Asks each container that lives for its network; one that several share is told under
/// whichever was started first.
fn give_roles(snapshot: &mut Snapshot, networks: &NetworkReader) {
    let (buffer, losses) = (&mut Buffer::default(), &mut Losses::default());
    let targets: Vec<_> = Target::containers(snapshot).collect();
    let mut by_start: Vec<_> = snapshot.containers.iter_mut().collect();
    by_start.sort_by_key(|it| it.started_at_ms());
    let mut owners: BTreeMap<u64, Arc<str>> = BTreeMap::new();
    for container in by_start {
        let target = targets.iter().find(|it| it.path == container.path).expect("all live");
        let role = match networks.ask(target, None, buffer, losses) {
            Answer::Host => Role::Host,
            Answer::In(seat) => {
                let owner = owners.entry(seat.netns).or_insert_with(|| container.path.clone());
                if *owner == container.path {
                    Role::Owner(seat)
                } else {
                    Role::Shared { owner: owner.clone() }
                }
            }
            Answer::Empty => Role::Empty,
            Answer::Runtimes(_) | Answer::Unknown => Role::Unknown,
        };
        container.role = Some(role);
    }
    assert_eq!(*losses, Losses::default());
}

fn meta(id: &str) -> Option<Arc<ContainerMeta>> {
    let (_, name, image) = NAMED.into_iter().find(|(known, ..)| *known == id)?;
    Some(Arc::new(ContainerMeta {
        name: name.to_owned(),
        image: image.to_owned(),
        started_at_ms: Some(TAKEN_AT_MS - 3_600_000),
        labels: BTreeMap::new(),
    }))
}

/// Compares the text with the one recorded. Nothing may be lost of any of these hosts.
fn check(name: &str, (readings, text): (Readings, String)) {
    assert_eq!(readings.losses, Losses::default(), "{name}");
    let path = host(name).join("metrics.txt");
    let text = of_files(&text);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).expect("written");
        return;
    }
    let recorded = fs::read_to_string(&path).expect("recorded");
    let mut lines = text.lines().zip(recorded.lines()).enumerate();
    if let Some((number, (now, then))) = lines.find(|(_, (now, then))| now != then) {
        let number = number + 1;
        panic!("{}:{number}: recorded\n  {then}\nbut now it is\n  {now}", path.display());
    }
    assert_eq!(text.lines().count(), recorded.lines().count(), "{}: lines", path.display());
}

/// The families that files tell something of, without what the daemon says of itself (but
/// how the collectors fared).
fn of_files(text: &str) -> String {
    let families = families::all();
    let is_told = |name: &str| {
        let of_files = |it: &&families::Family| {
            it.name == name && it.collectors.iter().any(Collector::reads_files)
        };
        name.starts_with("slicemeter_collector_") || families.iter().any(of_files)
    };
    let mut keep = false;
    let mut kept = String::new();
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("# HELP ") {
            keep = head.split(' ').next().is_some_and(is_told);
        }
        if keep {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}
