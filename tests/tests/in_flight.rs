//! The slice in flight: a loop that never leaves its CPU must not freeze its counter.
#![expect(clippy::print_stdout, reason = "figures are for whoever runs the tests")]

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use slicemeter_tests::{
    cgroup::Cgroup,
    compare::{Difference, Reading, usage},
    daemon::{Client, Daemon},
    foreground::Foreground,
    host::{cpus, require_kernel, runqueue_wait_seconds, steal_seconds},
    metrics::Exposition,
    process::Process,
    scratch::Scratch,
};

const PERIOD: Duration = Duration::from_millis(50);

/// How far a step of the counter may be from the time that passed.
const TOLERANCE_SECONDS: f64 = 0.005;

/// What a window may bring more than it lasted, because the reading before it was too
/// low: after a switch that no tracepoint told of, who runs shows at the next tick. That
/// is 4 ms on most kernels, and within what a step may be off anyway.
const AHEAD_SECONDS: f64 = TOLERANCE_SECONDS;

/// Windows to judge by.
const WINDOWS: usize = 40;

/// Windows to look at until there are enough undisturbed ones: at least a quarter must be.
/// On an idle machine nearly all are; while others compile, every second is cut short.
const MAX_WINDOWS: usize = 4 * WINDOWS;

/// A window in which the loop waited longer for its CPU, or one of its scrapes took
/// longer, says nothing about our exactness: the loop did not run, or we don't know when
/// its counter was read. Together they stay below the tolerance.
const DISTURBANCE_SECONDS: f64 = 0.002;
const SLOW_SCRAPE: Duration = Duration::from_millis(5);

/// A longer window is another test than the one that this is.
const LONGEST_WINDOW_SECONDS: f64 = 0.055;

/// Why a window is left out, in the order of [`Look::disturbances`].
const DISTURBANCES: [&str; 5] = [
    "was preempted",
    "was switched away from",
    "lost stolen time",
    "met a slow scrape",
    "came late",
];

#[test]
fn the_counter_of_a_pinned_loop_follows_the_clock() {
    if !require_kernel() {
        return;
    }
    let _foreground = Foreground::enter();
    let daemon = Daemon::start_without_docker(&["--cgroups=all"]);
    let (scratch, cgroup) = (Scratch::new("pinned"), Cgroup::new("pinned"));
    let process = cgroup.spawn_urgent(&["burn", "600", "--cpu", &last_cpu()], &scratch.join("log"));
    daemon.scrape_until("series of the loop", Duration::from_secs(5), |scrape| {
        let labels = [("id", cgroup.path())];
        scrape.get("container_cpu_usage_seconds_total", &labels).is_some_and(|value| value > 0.1)
    });
    follow(&daemon, &cgroup, &process);
    daemon.stop();
}

#[test]
fn a_loop_that_ran_before_the_daemon_is_followed_from_its_start() {
    if !require_kernel() {
        return;
    }
    let _foreground = Foreground::enter();
    let (scratch, cgroup) = (Scratch::new("earlier"), Cgroup::new("earlier"));
    let process = cgroup.spawn_urgent(&["burn", "600", "--cpu", &last_cpu()], &scratch.join("log"));
    sleep(Duration::from_secs(1));
    let started = Instant::now();
    let daemon = Daemon::start_without_docker(&["--cgroups=all"]);
    let first = usage(&daemon, cgroup.path());
    let elapsed = started.elapsed().as_secs_f64();
    println!("first reading {first:.4} s, {elapsed:.4} s after the daemon's start");
    // What it used before is not in the ledger, and must not be made up.
    assert!(first <= elapsed, "{first} s: more than passed since the daemon started");
    follow(&daemon, &cgroup, &process);
    daemon.stop();
}

/// The last CPU: the first one takes most of a machine's interrupts.
fn last_cpu() -> String {
    (cpus() - 1).to_string()
}

/// One look at the counter, and at what could excuse it.
struct Look {
    begin: Instant,
    end: Instant,
    value: f64,
    switches: f64,
    waited: f64,
    stolen: f64,
}

impl Look {
    fn take(client: &Client, cgroup: &Cgroup, process: &Process) -> Self {
        let (waited, stolen) = (runqueue_wait_seconds(process.pid()), steal_seconds());
        let begin = Instant::now();
        let text = client.scrape_text();
        let end = Instant::now();
        let scrape = Exposition::parse(&text).expect("an exposition");
        let labels = [("id", cgroup.path())];
        let value = scrape.value("container_cpu_usage_seconds_total", &labels);
        let switches = scrape.sum("container_cpu_context_switches_total", &labels);
        Self { begin, end, value, switches, waited, stolen }
    }

    /// The snapshot was taken somewhere between begin and end.
    fn middle(&self) -> Instant {
        self.begin + (self.end - self.begin) / 2
    }

    fn took(&self) -> Duration {
        self.end - self.begin
    }

    /// What makes the window since an earlier look unfit to judge by.
    fn disturbances(&self, last: &Self) -> [bool; DISTURBANCES.len()] {
        [
            self.waited - last.waited > DISTURBANCE_SECONDS,
            // Then it is not, or not only, the slice in flight that is looked at.
            self.switches > last.switches,
            self.stolen > last.stolen,
            self.took().max(last.took()) > SLOW_SCRAPE,
            (self.middle() - last.middle()).as_secs_f64() > LONGEST_WINDOW_SECONDS,
        ]
    }
}

/// Reads the counter every 50 ms, and compares each step with the time that really
/// passed between the two reads (this process can be late, too).
fn follow(daemon: &Daemon, cgroup: &Cgroup, process: &Process) {
    let client = daemon.client();
    let mut last = Look::take(&client, cgroup, process);
    let (mut errors_ms, mut disturbed) = (Vec::new(), [0; DISTURBANCES.len()]);
    for _ in 0..MAX_WINDOWS {
        if errors_ms.len() == WINDOWS {
            break;
        }
        sleep((last.begin + PERIOD).saturating_duration_since(Instant::now()));
        let look = Look::take(&client, cgroup, process);
        let elapsed = (look.middle() - last.middle()).as_secs_f64();
        let at_most = (look.end - last.begin).as_secs_f64();
        let (step, waited) = (look.value - last.value, look.waited - last.waited);
        assert!(step >= 0.0, "the counter went back by {} s", -step);
        assert!(
            step <= at_most + AHEAD_SECONDS,
            "{step} s used in at most {at_most} s: the reading before was too low"
        );
        let disturbances = look.disturbances(&last);
        if disturbances.contains(&true) {
            for (count, disturbance) in disturbed.iter_mut().zip(disturbances) {
                *count += u32::from(disturbance);
            }
        } else {
            errors_ms.push((step - elapsed) * 1e3);
            assert!(
                (step - elapsed).abs() <= TOLERANCE_SECONDS,
                "{step:.6} s in a window of {elapsed:.6} s, of which it waited {waited:.6} s"
            );
        }
        last = look;
    }
    errors_ms.sort_by(f64::total_cmp);
    let at = |index: usize| errors_ms.get(index).copied().unwrap_or(f64::NAN);
    let left_out: Vec<_> = DISTURBANCES.iter().zip(disturbed).collect();
    println!(
        "{} windows of 50 ms: step − elapsed from {:+.3} to {:+.3} ms, median {:+.3} ms; left \
         out, where it {left_out:?}",
        errors_ms.len(),
        at(0),
        at(errors_ms.len().saturating_sub(1)),
        at(errors_ms.len() / 2),
    );
    assert_eq!(errors_ms.len(), WINDOWS, "of {MAX_WINDOWS}: this machine is too busy to tell");
}

/// How far off either cgroup may be after a move: the tick in which it happened (10 ms
/// where ticks are longest), which goes to one of the two as a whole, and the one after,
/// by which it is seen.
const MOVE_SECONDS: f64 = 0.020;

#[test]
fn a_loop_that_is_moved_counts_where_it_is_from_the_next_tick() {
    if !require_kernel() {
        return;
    }
    let _foreground = Foreground::enter();
    let daemon = Daemon::start_without_docker(&["--cgroups=all"]);
    let scratch = Scratch::new("moved");
    let (from, to) = (Cgroup::new("from"), Cgroup::new("to"));
    to.set_highest_weight();
    let process = from.spawn_urgent(&["burn", "600", "--cpu", &last_cpu()], &scratch.join("log"));
    daemon.scrape_until("series of the loop", Duration::from_secs(5), |scrape| {
        let labels = [("id", from.path())];
        scrape.get("container_cpu_usage_seconds_total", &labels).is_some_and(|value| value > 0.1)
    });
    let (here, there) = ([&from, &to], [&to, &from]);
    for [source, target] in [here, there, here, there] {
        let both = || [source, target].map(|cgroup| Reading::take(&daemon, cgroup.path()));
        let before = both();
        sleep(Duration::from_millis(333));
        target.admit(process.pid());
        sleep(Duration::from_millis(333));
        let after = both();
        for (which, (after, before)) in ["left", "entered"].iter().zip(after.iter().zip(&before)) {
            let Difference { ours, kernel, uncertainty } = after.since(before);
            println!("{which}: ours {ours:.6} s, the kernel's {kernel:.6} s (±{uncertainty:.6})");
            assert!(kernel > 0.3, "the loop ran in both: {kernel}");
            assert!((ours - kernel).abs() <= MOVE_SECONDS, "{which}: {ours} against {kernel}");
        }
    }
    daemon.stop();
}
