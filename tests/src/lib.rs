//! Harness of the tests against the real kernel, a real dockerd and a real Prometheus.
//!
//! # Layout
//! - [`host`]: what this machine permits and has; the rule for skipping.
//! - [`foreground`]: puts a test before everything else on a busy machine.
//! - [`process`]: a child process that never outlives its test.
//! - [`scratch`]: a directory that goes with its test.
//! - [`wait`]: bounded polling.
//! - [`workload`]: builds and names the program whose CPU use is measured.
//! - [`cgroup`]: cgroups of our own, and the kernel's own figures for any cgroup.
//! - [`controllers`], [`procfs`]: what the kernel's files tell, to compare with.
//! - [`dockerd`]: a private Docker engine; [`stats`]: what `docker stats` shows.
//! - [`netns`]: networks and cables between them; [`traffic`]: what goes over these.
//! - [`packets`]: the programs that account packets, loaded by ourselves.
//! - [`interfaces`]: what the daemon tells of interfaces, beside `net/dev`.
//! - [`daemon`]: the real `slicemeter`.
//! - [`metrics`]: a strict reader of the exposition format.
//! - [`collectors`]: what the daemon says of its collectors.
//! - [`slots`]: the daemon's slots, as it tells of them.
//! - [`compare`]: our figure beside the kernel's, read so that the two can be compared.
//! - [`bpf`]: which eBPF objects exist in the kernel.
//! - [`prometheus`]: a private Prometheus, and promtool.
//!
//! Every guard cleans up when dropped, also when its test panics; then it first shows
//! the end of its log. A test that is killed takes its processes along
//! (`PR_SET_PDEATHSIG`). Guards must not be shared between tests: nothing that one
//! test leaves behind may matter to the next.
#![forbid(unsafe_code)]
#![expect(
    clippy::missing_panics_doc,
    reason = "a harness panics wherever it can't go on: that is how a test fails"
)]
#![expect(clippy::print_stdout, reason = "figures and reasons are for whoever runs the tests")]

pub mod bpf;
pub mod cgroup;
pub mod collectors;
pub mod compare;
pub mod controllers;
pub mod daemon;
pub mod dockerd;
pub mod foreground;
pub mod host;
pub mod interfaces;
pub mod metrics;
pub mod netns;
pub mod packets;
pub mod process;
pub mod procfs;
pub mod prometheus;
pub mod scratch;
pub mod slots;
pub mod stats;
pub mod traffic;
pub mod wait;
pub mod workload;
