//! What `/proc` tells of a container's processes and of its network.
//!
//! Owns the values in the kernel's own units, and the rule which container a network's
//! traffic is told of. Must not read anything.

use std::{collections::HashMap, sync::Arc};

/// A container's processes at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerProcesses {
    /// Its processes (thread groups) by pid, as many as may be shown.
    pub processes: Vec<Process>,
    /// Its network; `None` if none of its processes could be asked.
    pub network: Option<Network>,
}

/// One process, as far as it could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Its pid, as the procfs that was read has it.
    pub pid: u32,
    /// Its CPU times.
    pub times: Option<CpuTicks>,
    /// Its memory.
    pub memory: Memory,
}

/// CPU times of a process in clock ticks (`/proc/PID/stat`, fields 14 to 17): all of its
/// threads, the ended ones included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTicks {
    /// In user mode.
    pub utime: u64,
    /// In the kernel.
    pub stime: u64,
    /// In user mode, of children that were waited for.
    pub cutime: u64,
    /// In the kernel, of children that were waited for.
    pub cstime: u64,
}

/// Memory of a process in kB (`/proc/PID/status`). A process without an address space (a
/// zombie, a kernel thread) has none of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// `VmSize`: virtual memory.
    pub vmsize_kb: Option<u64>,
    /// `VmRSS`: resident memory.
    pub vmrss_kb: Option<u64>,
    /// `RssFile`: resident memory backed by files.
    pub rssfile_kb: Option<u64>,
}

/// The network that a container's processes are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// The host's.
    Host,
    /// Another one.
    Other {
        /// Inode number of the network namespace.
        netns: u64,
        /// Traffic of all its interfaces but `lo`, since each was made.
        traffic: Traffic,
    },
}

/// Sums over the interfaces of a network namespace (`/proc/PID/net/dev`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
}

/// Why a container's network is not told of under its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotCharged {
    /// It is the host's: its traffic is everyone's.
    Host,
    /// Another container has the same, and is told of.
    Shared,
    /// None of its processes could be asked.
    Unknown,
}

/// A container, for [`charge`].
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Path of its cgroup.
    pub path: Arc<str>,
    /// When it was started, in ms since the epoch.
    pub started_at_ms: u64,
    /// The network of its processes.
    pub network: Option<Network>,
}

/// Decides under which container each network's traffic is told: the one that was
/// started first (whoever joins a network does so later), so that a network that several
/// containers share counts once. Same order as `candidates`.
pub fn charge(candidates: &[Candidate]) -> Vec<Result<Traffic, NotCharged>> {
    let mut owners: HashMap<u64, usize> = HashMap::new();
    let rank = |index: usize| (candidates[index].started_at_ms, &candidates[index].path);
    for (index, candidate) in candidates.iter().enumerate() {
        if let Some(Network::Other { netns, .. }) = candidate.network {
            owners
                .entry(netns)
                .and_modify(|owner| {
                    if rank(index) < rank(*owner) {
                        *owner = index;
                    }
                })
                .or_insert(index);
        }
    }
    candidates
        .iter()
        .enumerate()
        .map(|(index, candidate)| match candidate.network {
            None => Err(NotCharged::Unknown),
            Some(Network::Host) => Err(NotCharged::Host),
            Some(Network::Other { netns, .. }) if owners.get(&netns) != Some(&index) => {
                Err(NotCharged::Shared)
            }
            Some(Network::Other { traffic, .. }) => Ok(traffic),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(path: &str, started_at_ms: u64, network: Option<Network>) -> Candidate {
        Candidate { path: path.into(), started_at_ms, network }
    }

    fn other(netns: u64, rx_bytes: u64) -> Network {
        Network::Other { netns, traffic: Traffic { rx_bytes, ..Traffic::default() } }
    }

    #[test]
    fn a_network_is_told_of_once_under_whoever_was_first() {
        let charged = charge(&[
            candidate("/joins", 20, Some(other(7, 5))),
            candidate("/owns", 10, Some(other(7, 5))),
            candidate("/alone", 30, Some(other(8, 6))),
            candidate("/host", 1, Some(Network::Host)),
            candidate("/mute", 1, None),
        ]);
        let traffic = |rx_bytes| Ok(Traffic { rx_bytes, ..Traffic::default() });
        assert_eq!(
            charged,
            [
                Err(NotCharged::Shared),
                traffic(5),
                traffic(6),
                Err(NotCharged::Host),
                Err(NotCharged::Unknown),
            ]
        );
    }

    #[test]
    fn of_two_that_started_together_the_first_by_path_is_told_of() {
        for paths in [["/a", "/b"], ["/b", "/a"]] {
            let candidates = paths.map(|path| candidate(path, 1, Some(other(7, 5))));
            let charged = charge(&candidates);
            let told = charged.iter().position(Result::is_ok).expect("one of them");
            assert_eq!(paths[told], "/a");
        }
    }
}
