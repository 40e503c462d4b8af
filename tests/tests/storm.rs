//! Processes that come and go all the time: races are counted, and nothing else happens.

use std::{
    io::Read,
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};

use slicemeter_tests::{
    collectors::{faults, missing},
    daemon::Daemon,
    dockerd::Dockerd,
    host::{Need, ready},
    metrics::{Exposition, Monotone},
    process::Process,
    scratch::Scratch,
};

/// Programs started a second, and for how long.
const RATE: u32 = 500;
const STORM_SECONDS: u32 = 14;

/// The rate that must be reached where others need the CPUs, too.
const LEAST_RATE: f64 = 0.95 * 500.0;

const SCRAPES: u32 = 200;
const PERIOD: Duration = Duration::from_millis(50);

/// What scrapes may hold up each other's rhythm by.
const LATE: f64 = 1.2;

#[test]
fn five_hundred_processes_a_second_are_races_and_no_errors() {
    if !ready(&[Need::Kernel, Need::Docker]) {
        return;
    }
    let docker = Dockerd::start();
    let daemon = Daemon::start(&docker.host(), &[]);
    docker.run("still", &[], &["sleep", "600"]);
    let scratch = Scratch::new("storm");
    let (rate, wall) = (RATE.to_string(), STORM_SECONDS.to_string());
    let mut command = docker.run_command("storm", &[], &["execs", &rate, &wall]);
    let mut storm =
        Process::start("storm", command.stdout(Stdio::piped()), &scratch.join("storm.log"));
    daemon.scrape_until("the storm", Duration::from_secs(20), |scrape| {
        scrape.select("node_container_cpu_utime", &[("name", "storm")]).count() > 1
    });

    let before = daemon.scrape();
    let (begun, mut monotone) = (Instant::now(), Monotone::default());
    let (mut seen, mut last) = (0, before.clone());
    for number in 0..SCRAPES {
        assert!(storm.try_wait().is_none(), "the storm outlasts the scrapes");
        sleep((PERIOD * number).saturating_sub(begun.elapsed()));
        let answer = daemon.client().ask("", &[]);
        let scrape = answer.parsed();
        monotone.observe(&scrape);
        seen += scrape.select("node_container_cpu_utime", &[("name", "storm")]).count();
        let still = scrape.select("node_container_memory_vmrss", &[("name", "still")]).count();
        assert_eq!(still, 1, "scrape {number}: who does not take part is there");
        assert_eq!(faults(&scrape), [""; 0], "scrape {number}");
        last = scrape;
    }
    let took = begun.elapsed();
    let raced = |scrape: &Exposition| {
        missing(scrape, "process", "vanished") - missing(&before, "process", "vanished")
    };
    let met = raced(&last);
    // A race takes some µs, of some ms: where none of the scrapes met one, many more do.
    let mut more = 0;
    while raced(&last) < 0.5 && storm.try_wait().is_none() {
        last = daemon.client().ask("?collect[]=process", &[]).parsed();
        more += 1;
    }
    assert!(took <= (PERIOD * SCRAPES).mul_f64(LATE), "{took:?} for {SCRAPES} scrapes");
    let mut said = String::new();
    let mut stdout = storm.child().stdout.take().expect("its stdout");
    stdout.read_to_string(&mut said).expect("what it says at its end");
    let begun: f64 = said.trim().parse().expect("how many there were");
    let rate = begun / f64::from(STORM_SECONDS);
    println!(
        "{rate:.0} programs a second; {SCRAPES} scrapes in {:.2} s; {:.1} processes of it in each; \
         {met} vanished between list and reading ({more} more scrapes to meet one); {} values compared with the one before",
        took.as_secs_f64(),
        seen as f64 / f64::from(SCRAPES),
        monotone.compared
    );
    assert!(rate >= LEAST_RATE, "only {rate:.0} programs a second");
    assert!(raced(&last) > 0.5, "not one race: this was no storm");
    assert!(storm.wait(Duration::from_secs(20)).success());
    let log = daemon.log();
    let panicked = log.contains("panicked") || log.contains("level=error");
    assert!(!panicked, "in its log:\n{log}");
    daemon.stop();
}
