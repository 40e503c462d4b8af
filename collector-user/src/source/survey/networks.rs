//! Which network each container was last seen in.
//!
//! Owns that memory, and nothing else is kept from one scrape to the next: traffic that
//! several containers share must not be told under another one's name only because its
//! owner could not be asked in time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::model::{networks::Network, readings::Readings, snapshot::Snapshot, targets::Target};

/// Inode numbers of network namespaces, by the path of the container.
#[derive(Debug, Default)]
pub(super) struct Networks(Mutex<HashMap<Arc<str>, u64>>);

impl Networks {
    /// Takes over what was read, adds to it what is known of those that could not be
    /// asked, and forgets those that are gone.
    pub(super) fn complete(&self, snapshot: &Snapshot, readings: &mut Readings) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut still_known = HashMap::with_capacity(known.len());
        for Target { path, .. } in Target::containers(snapshot) {
            let read = readings.processes.get(&path);
            if let Some(Network::Other { netns, .. }) = read.and_then(|it| it.network) {
                still_known.insert(path, netns);
                continue;
            }
            let was_asked = read.is_some_and(|it| it.is_empty || it.network.is_some());
            if let Some(netns) = known.remove(&path).filter(|_| !was_asked) {
                let unread = Network::Other { netns, traffic: None };
                readings.processes.entry(path.clone()).or_default().network = Some(unread);
                still_known.insert(path, netns);
            }
        }
        *known = still_known;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        container::ContainerId, networks::Traffic, processes::ContainerProcesses,
        snapshot::ContainerView, usage::Usage,
    };

    fn snapshot(is_alive: bool) -> Snapshot {
        let path: Arc<str> = "/c".into();
        let container = ContainerView {
            path: path.clone(),
            id: ContainerId::new("c"),
            meta: None,
            first_seen_ms: 0,
            last_seen_ms: 0,
            usage: Usage::default(),
            cgroups: if is_alive { vec![path] } else { Vec::new() },
            role: None,
            interfaces: Vec::new(),
        };
        Snapshot { containers: vec![container], ..Snapshot::default() }
    }

    fn readings(read: Option<ContainerProcesses>) -> Readings {
        let processes = read.into_iter().map(|read| ("/c".into(), read)).collect();
        Readings { processes, ..Readings::default() }
    }

    fn completed(
        networks: &Networks,
        is_alive: bool,
        read: Option<ContainerProcesses>,
    ) -> Option<Network> {
        let mut readings = readings(read);
        networks.complete(&snapshot(is_alive), &mut readings);
        readings.processes.get("/c").and_then(|it| it.network)
    }

    #[test]
    fn a_container_that_is_late_keeps_its_network_without_traffic_while_it_lives() {
        let networks = Networks::default();
        let network = Some(Network::Other { netns: 7, traffic: Some(Traffic::default()) });
        let unread = Some(Network::Other { netns: 7, traffic: None });
        let told = |network| Some(ContainerProcesses { network, ..Default::default() });
        assert_eq!(completed(&networks, true, None), None, "nothing is known yet");
        assert_eq!(completed(&networks, true, told(network)), network);
        assert_eq!(completed(&networks, true, None), unread, "late");
        assert_eq!(completed(&networks, true, told(None)), unread, "asked in vain");
        let empty = ContainerProcesses { is_empty: true, ..ContainerProcesses::default() };
        assert_eq!(completed(&networks, true, Some(empty)), None, "it has none any more");
        assert_eq!(completed(&networks, true, told(network)), network);
        assert_eq!(completed(&networks, false, None), None, "gone");
        assert_eq!(completed(&networks, true, None), None, "another one at the same path");
    }
}
