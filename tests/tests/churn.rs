//! Many containers and cgroups that come and go: nothing leaks, and nothing is lost.
#![expect(clippy::print_stdout, reason = "figures are for whoever runs the tests")]

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use slicemeter_tests::{
    cgroup::{Cgroup, kernel_usage_ns, kernel_usage_seconds, root_is_exact, seconds, top_level},
    daemon::Daemon,
    dockerd::Dockerd,
    host::{cpus, interrupt_seconds, require_docker, resident_kib, steal_seconds},
    metrics::{Exposition, Monotone},
    scratch::Scratch,
    slots::Slots,
    wait,
};

const USAGE: &str = "container_cpu_usage_seconds_total";
const ELAPSED: &str = "slicemeter_elapsed_cpu_seconds_total";

const CONTAINERS: usize = 200;

/// 1,000 creations a minute for two minutes.
const CREATIONS: u32 = 2_000;
const CREATION_PERIOD: Duration = Duration::from_millis(60);

/// How long all of them may take, against how long they should.
const LATE: f64 = 1.1;

/// Each of the processes moves itself in from the root, and what is left of that slice
/// stays there until the next switch or tick; the kernel splits it at once. It is 100 to
/// 200 µs of their 10 ms, the more the busier the machine is otherwise.
const CHURN_TOLERANCE: f64 = 0.03;

/// Resident memory is compared with what it was after this many: by then every buffer
/// has had its use.
const WARM_UP_CREATIONS: u32 = 400;

/// An allocator's noise; 1,600 leaked cgroups (a path and a usage each) would be more.
const RESIDENT_GROWTH_KIB: u64 = 512;

/// Of CPUs × elapsed.
const RESIDUAL_PERCENT: f64 = 0.5;

/// Events, then the last read, then the slot is free.
const RETIRE_LIMIT: Duration = Duration::from_secs(10);

#[test]
fn two_hundred_containers_and_a_churn_of_cgroups_leave_nothing_behind() {
    if !require_docker() {
        return;
    }
    let docker = Dockerd::start();
    let daemon = Daemon::start(&docker.host(), &["--cgroups=all", "--retain-exited", "5s"]);
    let empty = Slots::of(&daemon.scrape());
    let names: Vec<String> = (0..CONTAINERS).map(|n| format!("many-{n}")).collect();
    let started = Instant::now();
    docker.run_many(&names, &["sleep", "3600"]);
    println!("{CONTAINERS} containers started in {:.1} s", started.elapsed().as_secs_f64());
    let all_named = |scrape: &Exposition| {
        names.iter().all(|name| scrape.get(USAGE, &[("name", name)]).is_some())
    };
    daemon.scrape_until("all names", Duration::from_secs(10), all_named);

    let parent = Cgroup::new("churn");
    let before = Books::read(&daemon);
    let resident = churn(&daemon, &parent);
    let after = Books::read(&daemon);
    assert!(all_named(&after.scrape), "every container is still there, under its name");

    println!("resident: {} KiB warm, {} KiB at the end", resident.warm_kib, resident.end_kib);
    assert!(resident.end_kib <= resident.warm_kib + RESIDENT_GROWTH_KIB, "it grows");
    let kernel_memory = |books: &Books| books.scrape.value("slicemeter_kernel_memory_bytes", &[]);
    println!("kernel memory: {} bytes", kernel_memory(&after));
    assert!((kernel_memory(&after) - kernel_memory(&before)).abs() < 1.0, "the maps grow");
    for loss in ["cgroup_events_dropped", "slots_exhausted", "ids_exhausted", "read_failures"] {
        let name = format!("slicemeter_{loss}_total");
        assert!(after.scrape.value(&name, &[]) < 0.5, "{name}");
    }
    let settled = || {
        wait::within(RETIRE_LIMIT, || {
            Some(Slots::of(&daemon.scrape())).filter(|slots| slots.are_those_of_the_tree())
        })
    };
    let (held, found) = (Slots::of(&before.scrape), Slots::of(&after.scrape));
    println!("slots: {empty:?} at first, {held:?} with the containers, {found:?} after the churn");
    assert!(held.used >= empty.used + CONTAINERS as u64, "each has a slot");
    assert!(settled().is_some(), "slots of the churned: {:?}", Slots::of(&daemon.scrape()));

    after.conserve(&before);
    after.add_up(&before);

    drop(parent);
    docker.remove_many(&names);
    assert!(settled().is_some(), "slots of the containers: {:?}", Slots::of(&daemon.scrape()));
    daemon.stop();
}

struct Resident {
    warm_kib: u64,
    end_kib: u64,
}

/// Makes and removes cgroups, a short process in each.
fn churn(daemon: &Daemon, parent: &Cgroup) -> Resident {
    let scratch = Scratch::new("churn");
    let started = Instant::now();
    let (mut monotone, mut late, mut warm_kib) = (Monotone::default(), Duration::ZERO, 0);
    for number in 0..CREATIONS {
        let due = CREATION_PERIOD * number;
        late = late.max(started.elapsed().saturating_sub(due));
        sleep(due.saturating_sub(started.elapsed()));
        let cgroup = Cgroup::at(&format!("{}/{number}", parent.path()));
        let mut process = cgroup.spawn(&["spin-ms", "10"], &scratch.join("log"));
        assert!(process.wait(Duration::from_secs(10)).success());
        drop(cgroup);
        // As Prometheus would, meanwhile.
        if number % 16 == 0 {
            monotone.observe(&daemon.scrape());
        }
        if number == WARM_UP_CREATIONS {
            warm_kib = resident_kib(daemon.pid());
        }
    }
    let took = started.elapsed();
    println!(
        "{CREATIONS} cgroups made and removed in {:.1} s, at most {late:?} late; {} values \
         compared with the one before",
        took.as_secs_f64(),
        monotone.compared
    );
    assert!(took <= (CREATION_PERIOD * CREATIONS).mul_f64(LATE), "{took:?}: less than that rate");
    // All of the churned are gone; their parent has their sum.
    let kernel = kernel_usage_seconds(parent.path());
    let scrape = daemon.scrape();
    let ours = scrape.value(USAGE, &[("id", parent.path())]);
    println!(
        "sum of the churned: ours {ours:.4} s, the kernel's {kernel:.4} s; unattributed {:.4} s",
        scrape.value("slicemeter_unattributed_cpu_seconds_total", &[])
    );
    assert!((ours / kernel - 1.0).abs() <= CHURN_TOLERANCE, "ours {ours}, the kernel's {kernel}");
    Resident { warm_kib, end_kib: resident_kib(daemon.pid()) }
}

/// All that there is to add up, at one moment.
struct Books {
    at: Instant,
    scrape: Exposition,
    /// The kernel's figure of the whole host, and of what is below the root, in seconds.
    kernel_host: f64,
    kernel_below: f64,
    stolen: f64,
    interrupts: f64,
}

impl Books {
    fn read(daemon: &Daemon) -> Self {
        let below: u64 = top_level().iter().filter_map(|path| kernel_usage_ns(path)).sum();
        let kernel_host = kernel_usage_seconds("/");
        let (stolen, interrupts) = (steal_seconds(), interrupt_seconds());
        let at = Instant::now();
        let scrape = daemon.scrape();
        Self { at, scrape, kernel_host, kernel_below: seconds(below), stolen, interrupts }
    }

    fn grown(&self, earlier: &Self, name: &str) -> f64 {
        self.scrape.sum(name, &[]) - earlier.scrape.sum(name, &[])
    }

    fn host(&self) -> f64 {
        self.scrape.value(USAGE, &[("id", "/")])
    }

    /// Σ of exported CPU plus idle = CPUs × elapsed, but for what was stolen: that was
    /// never this machine's to account for, and the scheduler leaves it out of its ledger.
    fn conserve(&self, before: &Self) {
        let wall = (self.at - before.at).as_secs_f64() * cpus() as f64;
        let elapsed = self.grown(before, ELAPSED);
        let host = self.host() - before.host();
        let idle = self.grown(before, "slicemeter_idle_cpu_seconds_total");
        let lost = self.grown(before, "slicemeter_lost_cpu_seconds_total");
        let stolen = self.stolen - before.stolen;
        println!(
            "exported {host:.4} s, idle {idle:.4} s; stolen {stolen:.2} s, lost to missed \
             switches {lost:.4} s, in interrupt handlers {:.2} s",
            self.interrupts - before.interrupts,
        );
        let exported = self.exported_residual() - before.exported_residual();
        for (whose, capacity, residual) in [
            ("our clock", wall, wall - host - idle),
            ("slicemeter_elapsed_cpu_seconds_total", elapsed, elapsed - host - idle),
            ("slicemeter_conservation_residual_ratio", elapsed, exported),
        ] {
            let percent = (residual - stolen) / capacity * 100.0;
            println!(
                "by {whose}: of {capacity:.4} s, {residual:+.4} s are in no account, \
                 {percent:+.4} % without the stolen"
            );
            assert!(percent.abs() <= RESIDUAL_PERCENT, "by {whose}: {percent:+.4} %");
        }
    }

    /// What `slicemeter_conservation_residual_ratio` says in seconds: over the daemon's
    /// whole life, so that it is the growth of this that tells of a part of it.
    fn exported_residual(&self) -> f64 {
        let ratio = self.scrape.value("slicemeter_conservation_residual_ratio", &[]);
        ratio * self.scrape.value(ELAPSED, &[])
    }

    /// The parts are right, and they make up the whole: what is in no series of its own is
    /// what runs in the root cgroup itself. Of both the kernel has figures, too, but where
    /// there is v2 alone its figure of the root is of another kind.
    fn add_up(&self, before: &Self) {
        let parts = |books: &Self| -> f64 {
            let top = books.scrape.select(USAGE, &[]).filter(|sample| {
                let id = &sample.labels["id"];
                id != "/" && id.matches('/').count() == 1
            });
            top.map(|sample| sample.value).sum()
        };
        let (parts, host) = (parts(self) - parts(before), self.host() - before.host());
        let overflow = self.grown(before, "slicemeter_overflow_cpu_seconds_total");
        let unattributed = self.grown(before, "slicemeter_unattributed_cpu_seconds_total");
        let own = host - parts - overflow - unattributed;
        let kernel_host = self.kernel_host - before.kernel_host;
        let kernel_parts = self.kernel_below - before.kernel_below;
        let kernel_own = kernel_host - kernel_parts;
        println!(
            "host {host:.4} s (the kernel's {kernel_host:.4}) = cgroups {parts:.4} (the \
             kernel's {kernel_parts:.4}) + overflow {overflow:.4} + unattributed \
             {unattributed:.4} + the root's own {own:.4} (the kernel's {kernel_own:.4})"
        );
        let apart = parts / kernel_parts - 1.0;
        assert!(apart.abs() <= CHURN_TOLERANCE, "cgroups: {parts} against {kernel_parts}");
        if root_is_exact() {
            assert!((host / kernel_host - 1.0).abs() <= 0.01, "{host} against {kernel_host}");
            let apart = (own - kernel_own).abs() / kernel_host;
            assert!(apart <= 0.01, "the root's own: {own} against {kernel_own}");
        }
    }
}
