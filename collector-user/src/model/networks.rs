//! Networks of containers, and under which container a network's traffic is told.
//!
//! Owns that rule. Must not read anything.

use std::{collections::HashMap, sync::Arc};

pub use super::network::Traffic;

/// The network that a container's processes are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// The host's.
    Host,
    /// Another one.
    Other {
        /// Inode number of the network namespace.
        netns: u64,
        /// Traffic of all its interfaces but `lo`, since each was made; `None` if not all
        /// of them could be read.
        traffic: Option<Traffic>,
    },
}

/// Why a container's network is not told of under its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotCharged {
    /// It is the host's: its traffic is everyone's.
    Host,
    /// Another container has the same, and is told of.
    Shared,
    /// It, or its traffic, could not be read.
    Unknown,
    /// There is no process in the container.
    Empty,
}

/// A container, for [`charge`].
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Path of its cgroup.
    pub path: Arc<str>,
    /// When it was started, in ms since the epoch.
    pub started_at_ms: u64,
    /// Whether it has any process.
    pub has_processes: bool,
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
            None if candidate.has_processes => Err(NotCharged::Unknown),
            None => Err(NotCharged::Empty),
            Some(Network::Host) => Err(NotCharged::Host),
            Some(Network::Other { netns, .. }) if owners.get(&netns) != Some(&index) => {
                Err(NotCharged::Shared)
            }
            Some(Network::Other { traffic, .. }) => traffic.ok_or(NotCharged::Unknown),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(path: &str, started_at_ms: u64, network: Option<Network>) -> Candidate {
        Candidate { path: path.into(), started_at_ms, has_processes: true, network }
    }

    fn other(netns: u64, rx_bytes: u64) -> Network {
        Network::Other { netns, traffic: Some(Traffic { rx_bytes, ..Traffic::default() }) }
    }

    #[test]
    fn a_network_is_told_of_once_under_whoever_was_first() {
        let charged = charge(&[
            candidate("/joins", 20, Some(other(7, 5))),
            candidate("/owns", 10, Some(other(7, 5))),
            candidate("/alone", 30, Some(other(8, 6))),
            candidate("/host", 1, Some(Network::Host)),
            candidate("/mute", 1, None),
            Candidate { has_processes: false, ..candidate("/empty", 1, None) },
            candidate("/unread", 1, Some(Network::Other { netns: 9, traffic: None })),
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
                Err(NotCharged::Empty),
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

    #[test]
    fn a_shared_network_that_its_owner_cannot_tell_is_told_by_nobody() {
        let charged = charge(&[
            candidate("/owns", 10, Some(Network::Other { netns: 7, traffic: None })),
            candidate("/joins", 20, Some(other(7, 5))),
        ]);
        assert_eq!(charged, [Err(NotCharged::Unknown), Err(NotCharged::Shared)]);
    }
}
