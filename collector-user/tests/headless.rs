//! A process whose first thread has ended while another lives on: what is told of it. Not
//! under the usual harness: the first thread has to be ours.

use std::{
    env, fs,
    io::{self, Read, Write},
    process::{Child, Command, ExitCode, Stdio},
    thread,
};

use slicemeter::{
    model::{
        collectors::Collector,
        losses::Losses,
        network::{Device, Seat, members::Answer},
        processes::Process,
        targets::Target,
    },
    source::{files::Buffer, lookup::Places, network::NetworkReader, process::ProcessReader},
};

/// Tells this program to be that process.
const VARIABLE: &str = "SLICEMETER_TEST_HEADLESS";

fn main() -> ExitCode {
    if env::var_os(VARIABLE).is_some() {
        lose_the_first_thread();
    }
    let mut child = Command::new(env::current_exe().expect("one's own"))
        .env(VARIABLE, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        a_process_without_its_first_thread_has_memory_and_a_network(&mut child);
    }));
    drop(child.stdin.take());
    child.wait().expect("it ends with its input");
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Ends the first thread; another waits for the end of the input.
fn lose_the_first_thread() -> ! {
    thread::spawn(|| {
        let stat = format!("/proc/{}/stat", std::process::id());
        while !fs::read_to_string(&stat).expect("one's own").contains(") Z ") {
            thread::yield_now();
        }
        writeln!(io::stdout(), "ended").expect("said");
        let _end = io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    // SAFETY: it ends this thread only, which holds no lock and whose stack nobody borrows
    // from: the thread that was spawned owns all that it uses.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("the thread has ended");
}

fn a_process_without_its_first_thread_has_memory_and_a_network(child: &mut Child) {
    let pid = child.id();
    let mut said = [0; 6];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut said).expect("it says");
    assert_eq!(&said, b"ended\n");
    assert!(fs::read_link(format!("/proc/{pid}/ns/net")).is_err(), "the first thread has none");

    let root = tempfile::tempdir().expect("a directory");
    fs::create_dir(root.path().join("c")).expect("made");
    fs::write(root.path().join("c/cgroup.procs"), format!("{pid}\n")).expect("written");
    let places =
        Places { procfs: "/proc".into(), hierarchy: root.path().to_owned(), distrust: None };
    let target = Target { path: "/c".into(), cgroups: vec!["/c".into()] };
    let (buffer, losses) = (&mut Buffer::default(), &mut Losses::default());
    let found = ProcessReader::new(places.clone(), 10).read(&target, buffer, losses);
    let [Process { times: Some(_), memory, .. }] = found.processes[..] else { panic!("{found:?}") };
    assert!(memory.vmrss_kb.is_some_and(|it| it > 100), "{found:?}");
    assert!(memory.vmsize_kb > memory.vmrss_kb, "{found:?}");
    assert!(memory.rssfile_kb.is_some(), "{found:?}");
    assert_eq!(*losses, Losses::default());

    let own = fs::read_link("/proc/self/ns/net").expect("one's own");
    let netns = own.to_str().and_then(|it| it.strip_prefix("net:[")?.strip_suffix(']'));
    let seat = Seat { netns: netns.and_then(|it| it.parse().ok()).expect("a number"), pid };
    let networks = NetworkReader::new(places, "/sys".into());
    match networks.ask(&target, None, buffer, losses) {
        Answer::In(told) => assert_eq!(told, seat),
        Answer::Host => assert_eq!(Some(seat.netns), networks.host_netns(buffer, losses)),
        // Where the host's network can't be known, no other can.
        answer => {
            assert_eq!((answer, networks.host_netns(buffer, losses)), (Answer::Unknown, None));
        }
    }
    let devices = networks.devices(&target, seat, Collector::Network, buffer, losses);
    assert!(devices.expect("told").iter().any(Device::is_loopback));
}
