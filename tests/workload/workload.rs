//! What the tests' containers and cgroups run: CPU use of a known shape.
//!
//! A single file on std alone, so that plain `rustc` makes a static binary of it that
//! runs in an empty container image. It must not measure anything that a test judges
//! by: the kernel's own books are what ours are compared with.

use std::{
    env, fs,
    hint::black_box,
    io::{self, Write},
    net::UdpSocket,
    process::{Child, Command, exit},
    thread::{self, sleep},
    time::{Duration, Instant},
};

const USAGE: &str = "usage: workload VERB
  burn SECS [--cpu N]             a busy loop, pinned to a CPU if told so
  burst ON_MS PERIOD_MS SECS      busy for ON_MS out of each PERIOD_MS
  spin-ms N [--then-sleep SECS]   use N ms of CPU time, then go (or sleep first)
  storm N [--on-line]             N processes of less than a millisecond, one after the
                                  other; figures as JSON; then sleep until killed.
                                  --on-line: begin when a line arrives on stdin
  sleep SECS                      do nothing
  linger MS                       the same, shorter
  threads N SECS                  N busy threads of one process
  headless SECS                   a busy thread of a process whose first thread has ended
  named SECS                      do nothing under a name that is hard to read
  family N SECS                   N children that do nothing, and their parent
  parent SECS                     a child that has used CPU time and was waited for, one
                                  that wasn't, and their parent, which does nothing
  execs RATE SECS                 so many programs started a second, each for some ms;
                                  then prints how many there were
  hog MB SECS [--in-child MS]     use so much memory, then do nothing; --in-child: a child
                                  does, some ms later, and its end is not the parent's
  cache MB SECS                   write a file of that size, then do nothing
  send ADDRESS N BYTES [--every MS]
                                  N UDP packets with so many bytes in each; one in so
                                  many ms if told so
  bind ADDRESS SECS               have a UDP socket there, and read nothing of it";

/// CPU time each process of the storm uses by itself: with fork and exit it stays
/// under a millisecond.
const STORM_SPIN: Duration = Duration::from_micros(250);

/// CPU time of each child of `parent`: some ticks in user mode.
const CHILD_SPIN: Duration = Duration::from_millis(100);

/// The longest life of a program of `execs`: several are there at any moment.
const LINGER_MS: u64 = 16;

/// All that a reader of `/proc/PID/stat` can stumble over, in the 15 bytes of a name.
const ODD_NAME: &str = ") (R) 1\n2) S 3(";

/// Pages are touched one by one.
const PAGE_BYTES: usize = 4_096;
const MB_BYTES: usize = 1 << 20;

/// How much work lies between two looks at the clock.
const SPIN_STEPS: u32 = 2_000;

/// `struct rusage` of 64-bit Linux: two `timeval`s and fourteen `long`s, all words.
const RUSAGE_WORDS: usize = 18;
const RU_NVCSW: usize = 16;
const RU_NIVCSW: usize = 17;
const RUSAGE_SELF: i32 = 0;
const RUSAGE_CHILDREN: i32 = -1;
const CLOCK_PROCESS_CPUTIME_ID: i32 = 2;
/// Words of glibc's `cpu_set_t`.
const CPU_SET_WORDS: usize = 16;
/// `exit`: of the calling thread alone.
#[cfg(target_arch = "x86_64")]
const SYS_EXIT: i64 = 60;
#[cfg(target_arch = "aarch64")]
const SYS_EXIT: i64 = 93;

#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

unsafe extern "C" {
    fn fork() -> i32;
    fn _exit(status: i32) -> !;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    fn getrusage(who: i32, usage: *mut [i64; RUSAGE_WORDS]) -> i32;
    fn clock_gettime(clock: i32, time: *mut Timespec) -> i32;
    fn syscall(number: i64, ...) -> i64;
    fn sched_setaffinity(pid: i32, bytes: usize, set: *const [u64; CPU_SET_WORDS]) -> i32;
}

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["burn", secs] => burn(seconds(secs)),
        ["burn", secs, "--cpu", cpu] => {
            pin(number(cpu));
            burn(seconds(secs));
        }
        ["burst", on_ms, period_ms, secs] => burst(millis(on_ms), millis(period_ms), seconds(secs)),
        ["spin-ms", ms] => spin_cpu_time(millis(ms)),
        ["spin-ms", ms, "--then-sleep", secs] => {
            spin_cpu_time(millis(ms));
            sleep(seconds(secs));
        }
        ["storm", processes] => storm(number(processes)),
        ["storm", processes, "--on-line"] => {
            let mut line = String::new();
            io::stdin().read_line(&mut line).expect("stdin");
            storm(number(processes));
        }
        ["sleep", secs] => sleep(seconds(secs)),
        ["linger", ms] => sleep(millis(ms)),
        ["threads", threads, secs] => burn_in_threads(number(threads), seconds(secs)),
        ["headless", secs] => headless(seconds(secs)),
        ["named", secs] => {
            fs::write("/proc/self/comm", ODD_NAME).expect("a name for oneself");
            sleep(seconds(secs));
        }
        ["family", children, secs] => family(number(children), seconds(secs)),
        ["parent", secs] => parent(seconds(secs)),
        ["execs", rate, secs] => execs(number(rate), seconds(secs)),
        ["hog", mb, secs] => hog(mb, seconds(secs)),
        ["hog", mb, secs, "--in-child", ms] => {
            sleep(millis(ms));
            child(&["hog", mb, secs]).wait().expect("wait for a child");
            sleep(seconds(secs));
        }
        ["cache", mb, secs] => cache(mb, seconds(secs)),
        ["send", address, packets, bytes] => {
            send(address, number(packets), size(bytes), Duration::ZERO);
        }
        ["send", address, packets, bytes, "--every", ms] => {
            send(address, number(packets), size(bytes), millis(ms));
        }
        ["bind", address, secs] => {
            let _socket = UdpSocket::bind(address).expect("a socket");
            sleep(seconds(secs));
        }
        _ => {
            eprintln!("{USAGE}");
            exit(64);
        }
    }
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| {
        eprintln!("not a number: {word}\n{USAGE}");
        exit(64)
    })
}

fn size(word: &str) -> usize {
    usize::try_from(number(word)).expect("a size")
}

fn seconds(word: &str) -> Duration {
    Duration::from_secs(number(word))
}

fn millis(word: &str) -> Duration {
    Duration::from_millis(number(word))
}

/// Work that the optimiser can't remove.
fn work() {
    let mut value = black_box(1u64);
    for step in 0..SPIN_STEPS {
        value = black_box(value.wrapping_mul(6_364_136_223_846_793_005) ^ u64::from(step));
    }
    black_box(value);
}

fn burn(wall: Duration) {
    let started = Instant::now();
    while started.elapsed() < wall {
        work();
    }
}

fn burst(on: Duration, period: Duration, wall: Duration) {
    let started = Instant::now();
    let mut next = Duration::ZERO;
    while next < wall {
        sleep(next.saturating_sub(started.elapsed()));
        burn(on);
        next += period;
    }
}

/// The CPU time of this process, by the kernel.
fn cpu_time() -> Duration {
    let mut time = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: `time` is a valid timespec for the kernel to write to.
    let status = unsafe { clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(status, 0, "clock_gettime: {}", io::Error::last_os_error());
    Duration::new(time.seconds as u64, time.nanoseconds as u32)
}

fn spin_cpu_time(budget: Duration) {
    while cpu_time() < budget {
        work();
    }
}

fn pin(cpu: u64) {
    let mut set = [0u64; CPU_SET_WORDS];
    set[usize::try_from(cpu / 64).expect("a CPU number")] = 1 << (cpu % 64);
    // SAFETY: `set` is as long as said, and only read.
    let status = unsafe { sched_setaffinity(0, size_of_val(&set), &raw const set) };
    assert_eq!(status, 0, "sched_setaffinity: {}", io::Error::last_os_error());
}

/// Voluntary and involuntary context switches.
fn switches(who: i32) -> (i64, i64) {
    let mut usage = [0; RUSAGE_WORDS];
    // SAFETY: `usage` is as large as the kernel's struct rusage.
    let status = unsafe { getrusage(who, &raw mut usage) };
    assert_eq!(status, 0, "getrusage: {}", io::Error::last_os_error());
    (usage[RU_NVCSW], usage[RU_NIVCSW])
}

fn storm(processes: u64) {
    let (voluntary_before, involuntary_before) = switches(RUSAGE_SELF);
    for _ in 0..processes {
        // SAFETY: there is one thread, and the child only computes and leaves.
        let pid = unsafe { fork() };
        assert!(pid >= 0, "fork: {}", io::Error::last_os_error());
        if pid == 0 {
            burn(STORM_SPIN);
            // SAFETY: leaves at once, running none of the parent's exit handlers.
            unsafe { _exit(0) };
        }
        let mut status = 0;
        // SAFETY: `pid` is our child and `status` is valid for the kernel to write to.
        let reaped = unsafe { waitpid(pid, &raw mut status, 0) };
        assert_eq!((reaped, status), (pid, 0), "waitpid: {}", io::Error::last_os_error());
    }
    let (own_voluntary, own_involuntary) = switches(RUSAGE_SELF);
    let own_voluntary = own_voluntary - voluntary_before;
    let own_involuntary = own_involuntary - involuntary_before;
    let (voluntary, involuntary) = switches(RUSAGE_CHILDREN);
    println!(
        "{{\"processes\":{processes},\
         \"children\":{{\"voluntary\":{voluntary},\"involuntary\":{involuntary}}},\
         \"own\":{{\"voluntary\":{own_voluntary},\"involuntary\":{own_involuntary}}}}}"
    );
    // The cgroup, and with it the kernel's own figure, lives as long as we do.
    loop {
        sleep(Duration::from_secs(3_600));
    }
}

/// This program once more, as a child.
fn child(arguments: &[&str]) -> Child {
    Command::new("/proc/self/exe").args(arguments).spawn().expect("a child")
}

fn burn_in_threads(threads: u64, wall: Duration) {
    let threads: Vec<_> = (0..threads).map(|_| thread::spawn(move || burn(wall))).collect();
    for thread in threads {
        thread.join().expect("a thread");
    }
}

fn headless(wall: Duration) {
    thread::spawn(move || {
        burn(wall);
        exit(0);
    });
    // SAFETY: ends this thread and nothing else; no other uses anything of its stack.
    unsafe { syscall(SYS_EXIT, 0_i64) };
}

fn family(children: u64, wall: Duration) {
    let secs = wall.as_secs().to_string();
    let _children: Vec<Child> = (0..children).map(|_| child(&["sleep", &secs])).collect();
    sleep(wall);
}

fn parent(wall: Duration) {
    let spin = CHILD_SPIN.as_millis().to_string();
    let status = child(&["spin-ms", &spin]).wait().expect("wait for a child");
    assert!(status.success(), "a child: {status}");
    let _zombie = child(&["spin-ms", &spin]);
    sleep(wall);
}

/// Keeps to the rate on average: what was late is caught up with.
fn execs(rate: u64, wall: Duration) {
    let started = Instant::now();
    let mut begun: u64 = 0;
    let mut children: Vec<Child> = Vec::new();
    while started.elapsed() < wall {
        let due = rate * started.elapsed().as_millis() as u64 / 1_000;
        while begun < due {
            let ms = (begun % LINGER_MS).to_string();
            children.push(child(&["linger", &ms]));
            begun += 1;
        }
        children.retain_mut(|child| child.try_wait().expect("wait for a child").is_none());
        sleep(Duration::from_millis(1));
    }
    for mut child in children {
        child.wait().expect("wait for a child");
    }
    println!("{begun}");
}

fn hog(mb: &str, wall: Duration) {
    let mut memory = vec![0_u8; size(mb) * MB_BYTES];
    for page in memory.chunks_mut(PAGE_BYTES) {
        page[0] = 1;
    }
    black_box(&mut memory);
    sleep(wall);
}

fn cache(mb: &str, wall: Duration) {
    // In pieces: none of it should stay in memory of our own.
    let piece = [1; PAGE_BYTES];
    let mut file = fs::File::create("/cache").expect("a file");
    for _ in 0..size(mb) * MB_BYTES / PAGE_BYTES {
        file.write_all(&piece).expect("a piece of it");
    }
    sleep(wall);
}

fn send(address: &str, packets: u64, bytes: usize, every: Duration) {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    let payload = vec![0; bytes];
    let mut due = Instant::now();
    for _ in 0..packets {
        // By the clock: one that was late makes none of the others late.
        sleep(due.saturating_duration_since(Instant::now()));
        due += every;
        // Nobody listens there: an error tells of an earlier packet.
        let _ = socket.send_to(&payload, address);
    }
}
