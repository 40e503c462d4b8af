//! The `/proc` of the machine that the tests run on.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use procfs::{FromRead, process::Status};
use rustix::time::{ClockId, clock_gettime};

use super::{super::*, fixture::*};
use crate::model::processes::Memory;

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
fn no_name_of_a_process_forges_a_value() {
    for comm in ["a) (b 1 2 3", ") (\\n", "x\\nVmRSS: 5 kB", "x\\n\\nVmSize:1kB", "\\377)\\376"] {
        let mut child = shell(comm);
        let fixture = Fixture::new(Some("/proc"), &[child.id()]);
        let (found, losses) = fixture.read();
        let status = fs::File::open(format!("/proc/{}/status", child.id())).expect("opens");
        let status = Status::from_read(status);
        drop(child.stdin.take());
        child.wait().expect("it ends");
        assert_eq!(losses, lost([]), "{comm}");
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
fn a_zombie_has_times_and_no_memory() {
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
    assert_eq!(losses, lost([]));

    child.wait().expect("it ends");
    fixture.cgroup("c", &[]);
    assert_eq!(fixture.read(), (empty(), lost([])));
}

#[test]
fn a_process_counts_once_with_the_time_of_all_its_threads() {
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
