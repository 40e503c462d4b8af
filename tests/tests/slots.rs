//! Slots: where they are short, the right cgroups have them, and none is lost.
#![expect(clippy::print_stdout, reason = "figures are for whoever runs the tests")]

use std::{collections::BTreeSet, thread::sleep, time::Duration};

use slicemeter_tests::{
    cgroup::{Cgroup, kernel_usage_seconds, root_is_exact},
    daemon::Daemon,
    dockerd::Dockerd,
    host::{require_docker, require_kernel},
    metrics::Exposition,
    scratch::Scratch,
    slots::Slots,
    wait,
};

const USAGE: &str = "container_cpu_usage_seconds_total";

/// Containers, and slots for some of them.
const CROWD: usize = 20;
const CROWD_SLOTS: usize = 8;

/// Told containers that go, so that as many others can be told.
const GOING: usize = 4;

/// How long figures are compared.
const WINDOW: Duration = Duration::from_secs(5);

/// Each container runs a twentieth of the time, so that a tick which the kernel has not
/// booked yet and the time that reading takes are this much of a window.
const CROWD_TOLERANCE: f64 = 0.01;

/// The same for the root's figure where it is sampled (see [`root_is_exact`]).
const SAMPLED_TOLERANCE: f64 = 0.05;

/// Removal, then the last read, then the slot is free, then it is given to another.
const SLOT_LIMIT: Duration = Duration::from_secs(10);

#[test]
fn where_slots_are_short_containers_have_them_and_the_rest_overflows() {
    if !require_docker() {
        return;
    }
    let docker = Dockerd::start();
    let names: Vec<String> = (0..CROWD).map(|n| format!("crowd-{n}")).collect();
    docker.run_many(&names, &["burst", "5", "100", "600"]);
    let crowd: Vec<Member> = names.iter().map(|name| (&**name, docker.cgroup(name))).collect();

    // Other engines' containers have the same right to slots.
    let daemon = Daemon::start(&docker.host(), &[]);
    let others = told(&daemon.scrape()).len() - CROWD;
    daemon.stop();

    // On most hosts there are more cgroups of other kinds than slots here.
    let slots = others + CROWD_SLOTS;
    let daemon = Daemon::start(&docker.host(), &["--slots", &slots.to_string()]);
    let scrape = daemon.scrape();
    let all = told(&scrape);
    assert_eq!(all.len(), slots, "every slot is a container's, and every container's one");
    let state = Slots::of(&scrape);
    assert_eq!((state.used, state.free, state.retiring), (slots as u64, 0, 0));
    let exhausted = scrape.value("slicemeter_slots_exhausted_total", &[]);
    assert!(exhausted >= (CROWD - CROWD_SLOTS) as f64, "{exhausted}");
    let (has, lacks): (Vec<_>, Vec<_>) =
        crowd.into_iter().partition(|(_, path)| all.contains(path));
    println!("{} of the crowd of {CROWD} are told, and {others} others", has.len());
    judge(&daemon, &paths(&has), &paths(&lacks));

    // Their slots go to others.
    let (going, staying) = has.split_at(GOING);
    docker.remove_many(&going.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>());
    let scrape = daemon.scrape_until("series of as many others", SLOT_LIMIT, |scrape| {
        // The series of those that went are still there.
        told(scrape).len() == slots + GOING
    });
    let all = told(&scrape);
    let (mut has, lacks): (Vec<_>, Vec<_>) =
        lacks.into_iter().partition(|(_, path)| all.contains(path));
    has.extend_from_slice(staying);
    println!("{} of the crowd are told after {GOING} went", has.len());
    judge(&daemon, &paths(&has), &paths(&lacks));
    daemon.stop();
}

/// Paths of the containers that have a series.
fn told(scrape: &Exposition) -> BTreeSet<String> {
    let ids = scrape.select(USAGE, &[]).map(|sample| sample.labels["id"].clone());
    ids.filter(|id| id != "/").collect()
}

/// A container of the crowd: name and path.
type Member<'a> = (&'a str, String);

fn paths(members: &[Member]) -> Vec<String> {
    members.iter().map(|(_, path)| path.clone()).collect()
}

/// Compares what happens in a window: of those that are told, and of the rest.
fn judge(daemon: &Daemon, told: &[String], rest: &[String]) {
    let before = Point::read(daemon, told, rest);
    sleep(WINDOW);
    let after = Point::read(daemon, told, rest);
    let grown = |of: fn(&Point) -> f64| of(&after) - of(&before);
    let (told, kernel_told) = (grown(|point| point.told), grown(|point| point.kernel_told));
    let (overflow, foreign) = (grown(|point| point.overflow), grown(|point| point.foreign));
    let unattributed = grown(|point| point.unattributed);
    let kernel_crowd = grown(|point| point.kernel_rest);
    let kernel_rest = grown(|point| point.kernel_host) - kernel_told;
    println!(
        "told {told:.4} s (the kernel's {kernel_told:.4}); overflow {overflow:.4} s, other \
         containers {foreign:.4} s, unattributed {unattributed:.4} s (the kernel's, of all \
         these, {kernel_rest:.4}; of the rest of the crowd {kernel_crowd:.4})"
    );
    let apart = told / kernel_told - 1.0;
    assert!(apart.abs() <= CROWD_TOLERANCE, "told: {told} against {kernel_told}");
    let least = kernel_crowd * (1.0 - CROWD_TOLERANCE);
    assert!(overflow >= least, "the rest of the crowd is in the overflow: {overflow} of {least}");
    let apart = (overflow + foreign + unattributed) / kernel_rest - 1.0;
    let tolerance = if root_is_exact() { CROWD_TOLERANCE } else { SAMPLED_TOLERANCE };
    assert!(apart.abs() <= tolerance, "all others: {apart:+.4} of {kernel_rest}");
}

/// Figures at one moment, in seconds.
struct Point {
    told: f64,
    /// Of containers that are told, but not of the crowd: those of other engines here.
    foreign: f64,
    overflow: f64,
    unattributed: f64,
    kernel_told: f64,
    kernel_rest: f64,
    kernel_host: f64,
}

impl Point {
    fn read(daemon: &Daemon, told: &[String], rest: &[String]) -> Self {
        let sum = |paths: &[String]| paths.iter().map(|path| kernel_usage_seconds(path)).sum();
        let kernel = || [sum(told), sum(rest), kernel_usage_seconds("/")];
        let before: [f64; 3] = kernel();
        let scrape = daemon.scrape();
        let after = kernel();
        let middle = |index: usize| f64::midpoint(before[index], after[index]);
        let of_crowd: f64 = told.iter().map(|path| scrape.value(USAGE, &[("id", path)])).sum();
        let of_all = scrape.sum(USAGE, &[]) - scrape.value(USAGE, &[("id", "/")]);
        Self {
            told: of_crowd,
            foreign: of_all - of_crowd,
            overflow: scrape.value("slicemeter_overflow_cpu_seconds_total", &[]),
            unattributed: scrape.value("slicemeter_unattributed_cpu_seconds_total", &[]),
            kernel_told: middle(0),
            kernel_rest: middle(1),
            kernel_host: middle(2),
        }
    }
}

/// What an event holds of a path.
const EVENT_PATH_BYTES: usize = 511;

/// What is left of the slice of 100 ms in which the process enters.
const LONG_TOLERANCE: f64 = 0.03;

/// More than a host's cgroups and those that retire while this test makes new ones.
const SLOTS: &str = "384";

/// Each is gone long before a walk of the tree could find it.
const SHORT_LIVED: u32 = 120;
const SHORT_LIVED_PERIOD: Duration = Duration::from_millis(20);

/// Left over for cgroups that others make meanwhile.
const SPARE: u64 = 16;

#[test]
fn a_cgroup_whose_path_no_event_can_hold_has_its_slot_and_gives_it_back() {
    if !require_kernel() {
        return;
    }
    let daemon = Daemon::start_without_docker(&["--cgroups=all", "--slots", SLOTS]);
    let scratch = Scratch::new("long");
    let parent = Cgroup::new("long");
    let enclosing = Cgroup::at(&format!("{}/{}", parent.path(), "x".repeat(250)));
    let path = |number: u32| format!("{}/{}-{number}", enclosing.path(), "y".repeat(250));
    let exhausted = || daemon.scrape().value("slicemeter_slots_exhausted_total", &[]);
    let (found, exhausted_before) = (Slots::of(&daemon.scrape()), exhausted());

    // It is told by as much of its path as there is, and its id.
    let lasting = Cgroup::at(&path(SHORT_LIVED));
    let cut = format!("{}…#{}", &lasting.path()[..EVENT_PATH_BYTES], lasting.id());
    let mut process = lasting.spawn(&["spin-ms", "100"], &scratch.join("log"));
    assert!(process.wait(SLOT_LIMIT).success());
    let ours = daemon.scrape().value(USAGE, &[("id", &cut)]);
    let kernel = kernel_usage_seconds(lasting.path());
    println!("{ours:.6} s, by the kernel {kernel:.6} s");
    assert!((ours / kernel - 1.0).abs() <= LONG_TOLERANCE, "{ours} against {kernel}");
    drop(lasting);

    for number in 0..SHORT_LIVED {
        drop(Cgroup::at(&path(number)));
        sleep(SHORT_LIVED_PERIOD);
    }
    let settled = wait::within(SLOT_LIMIT, || {
        Some(Slots::of(&daemon.scrape())).filter(|slots| slots.are_those_of_the_tree())
    });
    let slots = settled.unwrap_or_else(|| panic!("they stay: {:?}", Slots::of(&daemon.scrape())));
    // The gauge is the accounts' view. That the kernel's side has them, too, shows when
    // they are asked for.
    println!("{found:?} at first, {slots:?} afterwards");
    let wanted = u32::try_from(slots.free - SPARE).expect("a number");
    let many: Vec<Cgroup> =
        (0..wanted).map(|number| Cgroup::at(&format!("{}/{number}", parent.path()))).collect();
    let missing = exhausted() - exhausted_before;
    println!("{} cgroups made at once, {missing} found no slot", many.len());
    assert!(missing < 0.5, "{missing} slots leaked");
    drop(many);
    daemon.stop();
}
