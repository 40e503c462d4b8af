//! What is told of fixture trees.

mod fixture;
mod machine;

use std::{fs, io::Write, os::unix::fs::symlink, thread};

use proptest::prelude::*;
use rustix::fs::{CWD, Mode, mkfifoat};

use self::fixture::*;
use super::*;
use crate::source::losses::tests::logged;

#[test]
fn processes_of_nested_cgroups_are_the_containers_and_are_told_by_pid() {
    let mut fixture = Fixture::new(None, &[12, 40]);
    fixture.nested("/c/in", &[30, 5, 12]);
    fixture.all(&[5, 12, 30, 40], 1);
    let (found, losses) = fixture.read();
    assert_eq!(found.processes, [5, 12, 30, 40].map(written));
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
    assert_eq!(Fixture::new(None, &[]).read(), (empty(), lost([])));
    let gone = Fixture::new(None, &[]);
    gone.remove("cgroup/c");
    assert_eq!(gone.read(), (empty(), lost([(Reason::Vanished, 1)])));
}

#[test]
fn a_list_that_cannot_be_read_is_not_taken_for_an_empty_one() {
    let hidden = Fixture::new(None, &[0, 0]);
    assert_eq!(hidden.read(), (ContainerProcesses::default(), lost([(Reason::Hidden, 2)])));
    let refused = Fixture::new(None, &[]);
    refused.forbid("cgroup/c/cgroup.procs");
    let expected = (ContainerProcesses::default(), lost([(Reason::Denied, 1)]));
    assert_eq!(refused.read_without_rights(), expected);
}

#[test]
fn lists_that_are_not_trusted_tell_nothing() {
    for reason in [Reason::Hidden, Reason::Failed] {
        let fixture = Fixture::distrusting(reason, &[8]);
        fixture.all(&[1, 8], 1);
        assert_eq!(fixture.read(), (ContainerProcesses::default(), lost([(reason, 1)])));
    }
}

#[test]
fn where_it_cannot_be_told_whose_pids_they_are_nothing_is_told() {
    for (status, reason) in [("NSpid:\tx\n", Reason::Malformed), ("", Reason::Failed)] {
        let fixture = Fixture::new(None, &[8]);
        fixture.all(&[1, 8], 1);
        fs::create_dir(fixture.root.path().join("proc/self")).expect("made");
        if !status.is_empty() {
            fixture.write("proc/self/status", status);
        }
        let (found, losses) = fixture.read();
        let expected = (ContainerProcesses::default(), lost([(reason, 1)]));
        assert_eq!((found, losses), expected, "{status:?}");
        fixture.write("proc/self/status", "NSpid:\t7\n");
        assert_eq!(fixture.read().0.processes, [written(8)], "the next time it can");
    }
}

#[test]
fn the_log_names_the_process_and_the_file() {
    let fixture = Fixture::new(None, &[8, 9]);
    fixture.all(&[1, 8, 9], 1);
    fixture.write("proc/8/stat", "8 (x) S 1 2");
    fixture.write("proc/9/status", "VmSize:\t1 MB\n");
    let said = logged(|| drop(fixture.read()));
    let files: Vec<_> =
        said.lines().filter_map(|line| line.split_once("file=")?.1.split(' ').next()).collect();
    assert_eq!(files, ["8/stat", "9/status"], "{said}");
    assert!(said.lines().all(|it| it.contains("collector=process")), "{said}");
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
fn whoever_is_no_longer_listed_has_vanished_and_so_has_one_whose_number_another_has() {
    let fixture = Fixture::new(None, &[6, 7, 8, 9]);
    fixture.all(&[1, 7, 9], 1);
    fixture.remove("proc/7/stat");
    let pipe = fixture.root.path().join("proc/7/stat");
    mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).expect("made");
    let (found, losses) = thread::scope(|scope| {
        // Opens once the reader reads 7: by then it has its list, and has missed 6.
        scope.spawn(|| {
            let mut pipe = fs::OpenOptions::new().write(true).open(&pipe).expect("opens");
            fixture.process(6, 1);
            fixture.cgroup("c", &[6, 7, 9]);
            pipe.write_all(stat(7).as_bytes()).expect("written");
        });
        fixture.read()
    });
    assert_eq!(found.processes, [7, 9].map(written));
    assert_eq!(losses, lost([(Reason::Vanished, 2)]));
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
fn a_process_whose_first_thread_has_ended_is_told_of_by_another() {
    let headless = "Name:\tx\nState:\tZ (zombie)\nThreads:\t2\n";
    let fixture = Fixture::new(None, &[8]);
    fixture.process(8, 1);
    fixture.write("proc/8/status", headless);
    let untold = Process { memory: Memory::default(), ..written(8) };
    let (found, losses) = fixture.read();
    // There is no such directory.
    assert_eq!((found.processes, losses), (vec![untold], lost([(Reason::Vanished, 1)])));

    fixture.write("proc/8/task/8/status", headless);
    fixture.write("proc/8/task/11/status", "Name:\tx\nThreads:\t2\n");
    fixture.process(12, 1);
    let proc = fixture.root.path().join("proc");
    fs::rename(proc.join("12"), proc.join("8/task/12")).expect("moved");
    let told = Process { memory: written(12).memory, ..written(8) };
    let (found, losses) = fixture.read();
    assert_eq!((found.processes, losses), (vec![told], lost([])));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_in_a_file_the_other_process_is_told_of(
        is_stat in any::<bool>(),
        bytes in any::<Vec<u8>>(),
    ) {
        let fixture = Fixture::new(None, &[8, 9]);
        fixture.all(&[8, 9], 3);
        fixture.write(if is_stat { "proc/8/stat" } else { "proc/8/status" }, bytes);
        let (found, _) = fixture.read();
        prop_assert_eq!(found.processes[1], written(9));
        prop_assert_eq!(found.processes.len(), 2);
        if is_stat {
            prop_assert_eq!(found.processes[0].memory, written(8).memory);
        } else {
            prop_assert_eq!(found.processes[0].times, written(8).times);
        }
    }
}
