//! Fixture trees, and the `/proc` of the machine that the tests run on.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use procfs::{FromRead, process::Status};
use proptest::prelude::*;
use rustix::{
    fs::{CWD, Mode, mkfifoat},
    thread::{CapabilitySet, CapabilitySets, set_capabilities},
    time::{ClockId, clock_gettime},
};
use tempfile::TempDir;

use super::*;
use crate::model::processes::{CpuTicks, Memory, Network};

const HEADER: &str = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets\n";

/// A procfs, a sysfs and a cgroup hierarchy of plain files.
struct Fixture {
    root: TempDir,
    reader: ProcessReader,
    target: Target,
}

impl Fixture {
    /// A container with these processes in its own cgroup, and below `procfs` (the
    /// fixture's own if it is `None`).
    fn new(procfs: Option<&str>, pids: &[u32]) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let reader = ProcessReader::new(Options {
            procfs: procfs.map_or_else(|| root.path().join("proc"), Into::into),
            sysfs: root.path().join("sys"),
            hierarchy: root.path().join("cgroup"),
            max_pids: 10,
        });
        let target = Target { path: "/c".into(), cgroups: vec!["/c".into()] };
        let fixture = Self { root, reader, target };
        fixture.cgroup("c", pids);
        fs::create_dir_all(fixture.root.path().join("proc")).expect("made");
        fixture
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, bytes).expect("written");
    }

    fn cgroup(&self, path: &str, pids: &[u32]) {
        let lines = pids.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        self.write(&format!("cgroup/{path}/cgroup.procs"), lines);
    }

    fn nested(&mut self, path: &str, pids: &[u32]) {
        self.cgroup(path.trim_start_matches('/'), pids);
        self.target.cgroups.push(path.into());
    }

    fn process(&self, pid: u32, netns: u64) {
        self.write(&format!("proc/{pid}/stat"), stat(pid));
        self.write(
            &format!("proc/{pid}/status"),
            format!("Name:\tx\nVmSize:\t {pid}3 kB\nVmRSS:\t {pid}2 kB\nRssFile:\t {pid}1 kB\n"),
        );
        self.netns(pid, &format!("net:[{netns}]"));
        self.net_dev(pid, &interface("eth0", 10));
    }

    fn all(&self, pids: &[u32], netns: u64) {
        for pid in pids {
            self.process(*pid, netns);
        }
    }

    fn netns(&self, pid: u32, link: &str) {
        let ns = self.root.path().join(format!("proc/{pid}/ns"));
        fs::create_dir_all(&ns).expect("made");
        symlink(link, ns.join("net")).expect("linked");
    }

    fn net_dev(&self, pid: u32, lines: &str) {
        self.write(&format!("proc/{pid}/net/dev"), format!("{HEADER}{lines}"));
    }

    fn remove(&self, path: &str) {
        let path = self.root.path().join(path);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
            .expect("removed");
    }

    fn forbid(&self, path: &str) {
        let path = self.root.path().join(path);
        fs::set_permissions(path, fs::Permissions::from_mode(0o0)).expect("set");
    }

    fn read(&self) -> (ContainerProcesses, Losses) {
        let mut losses = Losses::default();
        let found = self.reader.read(&self.target, &mut Buffer::default(), &mut losses);
        (found, losses)
    }

    /// What a reader finds that may not do what only root may.
    fn read_without_rights(&self) -> (ContainerProcesses, Losses) {
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let none = CapabilitySet::empty();
                let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
                set_capabilities(None, sets).expect("rights can always be given up");
                self.read()
            });
            reader.join().expect("it does not panic")
        })
    }

    fn host_traffic(&self) -> (Option<Traffic>, Losses) {
        let mut losses = Losses::default();
        (self.reader.host_traffic(&mut Buffer::default(), &mut losses), losses)
    }
}

fn stat(pid: u32) -> String {
    format!(
        "{pid} (a) b) S 1 1 1 0 -1 4194304 0 0 0 0 {pid}1 {pid}2 {pid}3 {pid}4 20 0 1 0 9 1 1 \
         18446744073709551615 1 1 1 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
    )
}

fn interface(name: &str, number: u64) -> String {
    let [a, b, c, d] = [1, 2, 3, 4].map(|it| it * number);
    format!(
        "{name:>6}: {a:>7} {b:>7}    0    0    0     0          0         0 {c} {d} 0 0 0 0 0 0\n"
    )
}

fn traffic(number: u64) -> Traffic {
    Traffic {
        rx_bytes: number,
        rx_packets: 2 * number,
        tx_bytes: 3 * number,
        tx_packets: 4 * number,
    }
}

/// What [`Fixture::process`] wrote.
fn written(pid: u32) -> Process {
    let [one, two, three, four] = [1, 2, 3, 4].map(|it| u64::from(pid) * 10 + it);
    Process {
        pid,
        times: Some(CpuTicks { utime: one, stime: two, cutime: three, cstime: four }),
        memory: Memory { vmsize_kb: Some(three), vmrss_kb: Some(two), rssfile_kb: Some(one) },
    }
}

fn lost<const N: usize>(reasons: [(Reason, u64); N]) -> Losses {
    let mut losses = Losses::default();
    for (reason, number) in reasons {
        losses.count_many(Collector::Process, reason, number);
    }
    losses
}

#[test]
fn processes_of_nested_cgroups_are_the_containers_and_are_told_by_pid() {
    let mut fixture = Fixture::new(None, &[12, 40]);
    fixture.nested("/c/in", &[30, 5, 12]);
    fixture.process(1, 1);
    for (pid, netns) in [(5, 9), (12, 7), (30, 9), (40, 7)] {
        fixture.process(pid, netns);
    }
    let (found, losses) = fixture.read();
    assert_eq!(found.processes, [5, 12, 30, 40].map(written));
    // Of the container's own cgroup, although 5 is lower.
    assert_eq!(found.network, Some(Network::Other { netns: 7, traffic: traffic(10) }));
    assert_eq!(losses, Losses::default());
}

#[test]
fn the_lowest_pids_are_told_of_and_the_others_counted() {
    let pids: Vec<u32> = (100..125).collect();
    let fixture = Fixture::new(None, &pids);
    fixture.process(1, 1);
    fixture.all(&pids, 1);
    let (found, losses) = fixture.read();
    assert_eq!(found.processes, pids[..10].iter().map(|pid| written(*pid)).collect::<Vec<_>>());
    assert_eq!(losses, lost([(Reason::LeftOut, 15)]));
}

#[test]
fn nothing_is_missing_where_there_is_no_process() {
    assert_eq!(Fixture::new(None, &[]).read(), Default::default());
}

#[test]
fn a_mangled_file_costs_its_own_values_only() {
    let fixture = Fixture::new(None, &[8, 9]);
    fixture.all(&[1, 8, 9], 1);
    fixture.write("proc/8/stat", "8 (x) S 1 2");
    fixture.write("proc/9/status", "Name:\tx\nVmSize:\t1 MB\nVmRSS:\t 92 kB\n");
    let (found, losses) = fixture.read();
    let memory = Memory { vmrss_kb: Some(92), ..Memory::default() };
    assert_eq!(
        found.processes,
        [Process { times: None, ..written(8) }, Process { memory, ..written(9) }]
    );
    assert_eq!(found.network, Some(Network::Host));
    assert_eq!(losses, lost([(Reason::Malformed, 2)]));
}

#[test]
fn whoever_is_still_listed_and_not_there_is_hidden() {
    let fixture = Fixture::new(None, &[8, 9]);
    fixture.all(&[1, 9], 1);
    let (found, losses) = fixture.read();
    assert_eq!(found.processes, [written(9)]);
    assert_eq!(losses, lost([(Reason::Hidden, 1)]));
}

#[test]
fn whoever_is_no_longer_listed_has_vanished() {
    let fixture = Fixture::new(None, &[7, 8, 9]);
    fixture.all(&[1, 7, 9], 1);
    fixture.remove("proc/7/stat");
    let pipe = fixture.root.path().join("proc/7/stat");
    mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).expect("made");
    let found = thread::scope(|scope| {
        // Opens once the reader reads 7: by then it has its list, in which 8 is.
        scope.spawn(|| {
            let mut pipe = fs::OpenOptions::new().write(true).open(&pipe).expect("opens");
            fixture.cgroup("c", &[7, 9]);
            pipe.write_all(stat(7).as_bytes()).expect("written");
        });
        fixture.read()
    });
    assert_eq!(found.0.processes, [7, 9].map(written));
    assert_eq!(found.1, lost([(Reason::Vanished, 1)]));
}

#[test]
fn a_directory_that_refuses_hides_its_process_and_a_file_its_values() {
    let fixture = Fixture::new(None, &[7, 8, 9]);
    fixture.all(&[1, 7, 8, 9], 1);
    fixture.forbid("proc/7");
    fixture.forbid("proc/8/stat");
    fixture.forbid("proc/9/status");
    let (found, losses) = fixture.read_without_rights();
    assert_eq!(
        found.processes,
        [
            Process { times: None, ..written(8) },
            Process { memory: Memory::default(), ..written(9) },
        ]
    );
    assert_eq!(losses, lost([(Reason::Hidden, 1), (Reason::Denied, 2)]));
}

#[test]
fn pids_of_another_namespace_are_not_looked_up() {
    for self_status in [Some("Name:\tx\nNSpid:\t812\t1\n"), None] {
        let fixture = Fixture::new(None, &[1]);
        fixture.process(1, 1);
        match self_status {
            Some(status) => fixture.write("proc/self/status", status),
            // What a procfs shows to a process that it does not hold.
            None => symlink("none", fixture.root.path().join("proc/self")).expect("linked"),
        }
        let expected = (ContainerProcesses::default(), lost([(Reason::Hidden, 1)]));
        assert_eq!(fixture.read(), expected, "{self_status:?}");
        assert_eq!(fixture.read(), expected, "the second time");
    }
    let fixture = Fixture::new(None, &[5]);
    fixture.all(&[1, 5], 1);
    fixture.write("proc/self/status", "Name:\tx\nNSpid:\t812\n");
    assert_eq!(fixture.read().0.processes, [written(5)]);
}

#[test]
fn all_interfaces_but_lo_are_added_up_and_a_mangled_one_is_left_out() {
    let fixture = Fixture::new(None, &[8]);
    fixture.process(1, 1);
    fixture.process(8, 2);
    let lines = [
        interface("lo", 1000),
        interface("eth0", 10),
        "  bad0: 1 2 3 x 5 6 7 8 9 10 11 12 13 14 15 16\n".into(),
        "no colon\n".into(),
        interface("a|b\u{2003}c", 7),
    ];
    fixture.net_dev(8, &lines.concat());
    let (found, losses) = fixture.read();
    assert_eq!(found.network, Some(Network::Other { netns: 2, traffic: traffic(17) }));
    assert_eq!(losses, lost([(Reason::Malformed, 2)]));

    fixture.net_dev(8, &interface("lo", 1));
    let none = Network::Other { netns: 2, traffic: Traffic::default() };
    assert_eq!(fixture.read(), (ContainerProcesses { network: Some(none), ..found }, lost([])));
}

#[test]
fn the_hosts_network_is_known_by_its_namespace_and_not_read() {
    let fixture = Fixture::new(None, &[8]);
    fixture.all(&[1, 8], 4_026_531_840);
    fixture.remove("proc/8/net");
    let (found, losses) = fixture.read();
    assert_eq!(found.network, Some(Network::Host));
    assert_eq!(losses, Losses::default());
}

#[test]
fn the_next_process_is_asked_where_one_has_no_network_any_more() {
    let pids = [11, 12, 13, 14, 15, 16];
    for gone in 1..=6 {
        let fixture = Fixture::new(None, &pids);
        fixture.process(1, 1);
        for (index, pid) in pids.into_iter().enumerate() {
            fixture.process(pid, 2);
            if index < gone {
                fixture.remove(&format!("proc/{pid}/ns/net"));
            }
        }
        let (found, losses) = fixture.read();
        let told = Some(Network::Other { netns: 2, traffic: traffic(10) });
        assert_eq!(found.processes.len(), 6);
        if gone < 5 {
            assert_eq!((found.network, losses), (told, lost([])), "{gone}");
        } else {
            let expected = (None, lost([(Reason::Vanished, 1)]));
            assert_eq!((found.network, losses), expected, "{gone}: a handful at most");
        }
    }
}

#[test]
fn a_namespace_that_may_not_be_seen_or_makes_no_sense_is_counted_once() {
    let fixture = Fixture::new(None, &[8, 9]);
    fixture.all(&[1, 8, 9], 1);
    fixture.forbid("proc/8/ns");
    fixture.remove("proc/9/ns/net");
    let (found, losses) = fixture.read_without_rights();
    assert_eq!(found.processes, [8, 9].map(written));
    assert_eq!((found.network, losses), (None, lost([(Reason::Denied, 1)])));

    for link in ["net:[x]", "net:[1", "mnt:[1]", "net:[99999999999999999999]"] {
        let fixture = Fixture::new(None, &[8]);
        fixture.process(1, 1);
        fixture.write("proc/8/stat", stat(8));
        fixture.write("proc/8/status", "Name:\tx\n");
        fixture.netns(8, link);
        let (found, losses) = fixture.read();
        assert_eq!((found.network, losses), (None, lost([(Reason::Malformed, 1)])), "{link}");
    }
}

#[test]
fn where_the_first_process_may_not_be_seen_the_kernels_threads_tell_the_hosts_network() {
    let fixture = Fixture::new(None, &[8]);
    fixture.process(8, 5);
    let without = fixture.read();
    assert_eq!((without.0.network, without.1), (None, lost([(Reason::Hidden, 1)])));

    fixture.process(1, 5);
    fixture.remove("proc/1/ns/net");
    fixture.process(2, 5);
    let anyone = fixture.read();
    assert_eq!((anyone.0.network, anyone.1), (None, lost([(Reason::Vanished, 1)])));

    let kthreadd = stat(2).replace(" 4194304 ", " 2129984 ");
    fixture.write("proc/2/stat", kthreadd);
    assert_eq!(fixture.read().0.network, Some(Network::Host));
}

#[test]
fn only_devices_are_the_hosts_traffic() {
    let fixture = Fixture::new(None, &[]);
    fixture.process(1, 1);
    let lines = [("lo", 1000), ("eth0", 10), ("veth12ab", 500), ("wlan0", 7)];
    fixture.net_dev(1, &lines.map(|(name, number)| interface(name, number)).concat());
    for name in ["lo", "veth12ab"] {
        fixture.write(&format!("sys/class/net/{name}/mtu"), "1500\n");
    }
    assert_eq!(fixture.host_traffic(), (None, lost([])));
    for name in ["eth0", "wlan0"] {
        let directory = fixture.root.path().join("sys/class/net").join(name);
        fs::create_dir(&directory).expect("made");
        symlink("../../../devices/virtio1", directory.join("device")).expect("linked");
    }
    assert_eq!(fixture.host_traffic(), (Some(traffic(17)), lost([])));

    fixture.net_dev(1, &format!("{} wlan0: 1 2\n", interface("eth0", 10)));
    assert_eq!(fixture.host_traffic(), (Some(traffic(10)), lost([(Reason::Malformed, 1)])));
    fixture.remove("sys/class");
    assert_eq!(fixture.host_traffic(), (None, lost([(Reason::Failed, 1)])));
    fixture.remove("proc/1");
    assert_eq!(fixture.host_traffic(), (None, lost([(Reason::Hidden, 1)])));
    fixture.remove("proc");
    assert_eq!(fixture.host_traffic(), (None, lost([(Reason::Failed, 1)])));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_in_a_file_the_other_process_is_told_of(
        which in 0_usize..3,
        bytes in any::<Vec<u8>>(),
    ) {
        let fixture = Fixture::new(None, &[8, 9]);
        fixture.process(1, 1);
        fixture.all(&[8, 9], 3);
        fixture.write(["proc/8/stat", "proc/8/status", "proc/8/net/dev"][which], bytes);
        let (found, _) = fixture.read();
        prop_assert_eq!(found.processes[1], written(9));
        prop_assert_eq!(found.processes.len(), 2);
        if which != 0 {
            prop_assert_eq!(found.processes[0].times, written(8).times);
        }
        if which != 1 {
            prop_assert_eq!(found.processes[0].memory, written(8).memory);
        }
        if which != 2 {
            let told = Network::Other { netns: 3, traffic: traffic(10) };
            prop_assert_eq!(found.network, Some(told));
        }
    }
}

/// A shell that sets its own name, says so, and waits for its input to end.
fn shell(comm: &str) -> Child {
    let script = format!("printf '{comm}' > /proc/$$/comm && echo set && read -r line");
    let mut child = Command::new("/bin/sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("/bin/sh runs");
    let mut said = String::new();
    let stdout = child.stdout.as_mut().expect("a pipe");
    BufReader::new(stdout).read_line(&mut said).expect("it says");
    assert_eq!(said, "set\n");
    child
}

#[test]
fn on_this_machine_no_name_of_a_process_forges_a_value() {
    for comm in ["a) (b 1 2 3", ") (\\n", "x\\nVmRSS: 5 kB", "x\\n\\nVmSize:1kB", "\\377)\\376"] {
        let mut child = shell(comm);
        let fixture = Fixture::new(Some("/proc"), &[child.id()]);
        let (found, losses) = fixture.read();
        let status = fs::File::open(format!("/proc/{}/status", child.id())).expect("opens");
        let status = Status::from_read(status);
        drop(child.stdin.take());
        child.wait().expect("it ends");
        // Not everyone who runs the tests may see the host's network namespace.
        let network = u64::from(found.network.is_none());
        assert_eq!(losses, lost([(Reason::Denied, network)]), "{comm}");
        let [process] = found.processes[..] else { panic!("{found:?} for {comm}") };
        assert!(process.times.is_some_and(|it| it.utime + it.stime < 1000), "{comm}: {process:?}");
        // The crate's own parser gives up on a name that is not UTF-8.
        if let Ok(status) = status {
            let expected = Memory {
                vmsize_kb: status.vmsize,
                vmrss_kb: status.vmrss,
                rssfile_kb: status.rssfile,
            };
            assert_eq!(process.memory, expected, "{comm}");
        }
        assert!(process.memory.vmrss_kb.is_some_and(|it| it > 100), "{comm}: {process:?}");
    }
}

#[test]
fn on_this_machine_a_zombie_has_times_and_no_memory() {
    let mut child = shell("zombie");
    let pid = child.id();
    drop(child.stdin.take());
    // Ended, and not waited for: its standard output ends with it.
    let mut rest = String::new();
    let stdout = child.stdout.as_mut().expect("a pipe");
    BufReader::new(stdout).read_line(&mut rest).expect("the end");
    let stat = format!("/proc/{pid}/stat");
    while !fs::read_to_string(&stat).expect("it is there").contains(") Z ") {
        thread::sleep(Duration::from_millis(1));
    }
    let fixture = Fixture::new(Some("/proc"), &[pid]);
    let (found, losses) = fixture.read();
    let [process] = found.processes[..] else { panic!("{found:?}") };
    assert!(process.times.is_some());
    assert_eq!(process.memory, Memory::default());
    // It has left its network, which is no fault.
    assert_eq!((found.network, losses), (None, lost([(Reason::Vanished, 1)])));

    child.wait().expect("it ends");
    fixture.cgroup("c", &[]);
    assert_eq!(fixture.read(), Default::default());
}

#[test]
fn on_this_machine_a_process_counts_once_with_the_time_of_all_its_threads() {
    const THREADS: u32 = 3;
    const EACH: Duration = Duration::from_millis(120);
    // Short of as much as a thread's, the process' own time can't be met by accident.
    const TOLERANCE: Duration = Duration::from_millis(60);
    let used = |clock| {
        let time = clock_gettime(clock);
        Duration::new(
            u64::try_from(time.tv_sec).expect("positive"),
            u32::try_from(time.tv_nsec).expect("below a second"),
        )
    };
    let spin = || while used(ClockId::ThreadCPUTime) < EACH {};
    let pid = std::process::id();
    let fixture = Fixture::new(Some("/proc"), &[pid, pid]);
    let [before, found, after] = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(spin)).collect();
        for it in threads {
            it.join().expect("it ends");
        }
        let before = used(ClockId::ProcessCPUTime);
        let (found, _) = fixture.read();
        let [Process { pid: told, times: Some(times), .. }] = found.processes[..] else {
            panic!("{found:?}")
        };
        assert_eq!(told, pid);
        let ticks = u32::try_from(times.utime + times.stime).expect("a short test");
        let second = u32::try_from(procfs::ticks_per_second()).expect("a hundred");
        [before, Duration::from_secs(1) * ticks / second, used(ClockId::ProcessCPUTime)]
    });
    assert!(before >= EACH * THREADS);
    assert!(found + TOLERANCE >= before, "{found:?} of {before:?}");
    assert!(found <= after + TOLERANCE, "{found:?} of {after:?}");
}

#[test]
fn on_this_machine_whoever_shares_the_hosts_network_is_told_so() {
    let own = fs::read_link("/proc/self/ns/net").expect("one's own");
    let fixture = Fixture::new(Some("/proc"), &[std::process::id()]);
    let (found, losses) = fixture.read();
    // Where even root may not look at the first process, the second is the kernel's.
    let hosts =
        ["1", "2"].map(|pid| fs::read_link(Path::new("/proc").join(pid).join("ns/net")).ok());
    match found.network {
        Some(Network::Host) => assert!(hosts.contains(&Some(own)), "{hosts:?}"),
        Some(Network::Other { netns, .. }) => {
            assert_eq!(own.to_str(), Some(format!("net:[{netns}]").as_str()));
            assert_ne!(hosts[0], Some(own));
        }
        None => {
            assert_eq!(hosts[0], None);
            assert_eq!(losses, lost([(Reason::Denied, 1)]));
        }
    }
}
