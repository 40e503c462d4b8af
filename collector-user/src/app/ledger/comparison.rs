//! The comparison of what was counted with `net/dev`.
//!
//! Owns its order: the programs' counts, what `net/dev` says, the programs' counts again. What
//! follows from it is the model's (`model::network::audit`).

use std::collections::{HashMap, HashSet};

use super::{
    errands::{NetDev, Tidings},
    network::Networks,
};
use crate::{
    model::{
        collectors::Collector,
        losses::Losses,
        moment::Moment,
        network::{Device, InterfaceId, Role, audit::Look, interfaces::Counted},
        targets::HOST_PATH,
    },
    source::kernel::Kernel,
};

/// What `net/dev` says, with what was counted before it was read.
#[derive(Default)]
pub(super) struct Listings {
    before: HashMap<InterfaceId, Counted>,
    /// By the inode number of the network; `None` where it could not be read.
    devices: Vec<(u64, Option<Vec<Device>>)>,
    losses: Losses,
}

impl Networks {
    /// Sends someone to read every network's `net/dev`.
    pub(super) fn list(&mut self, now: Moment) {
        let owners =
            self.members.roles(now.monotonic_ms).into_iter().filter_map(
                |(path, role)| match role {
                    Role::Owner(seat) => {
                        Some(NetDev::Container(seat, self.members.target(&path)?.clone()))
                    }
                    _ => None,
                },
            );
        let host = self.interfaces.host_inum().map(NetDev::Host);
        let networks = host.into_iter().chain(owners).collect();
        let before = self.interfaces.counted().map(|it| (it.id, it)).collect();
        let left_out = self.auditing.begin(networks);
        let devices = left_out.iter().map(|it| (it.inum(), None)).collect();
        self.listings = Listings { before, devices, losses: Losses::default() };
    }

    pub(super) fn take_listing(
        &mut self,
        tidings: Tidings<NetDev, Option<Vec<Device>>>,
        kernel: &Kernel,
        now: Moment,
    ) {
        match tidings {
            Tidings::Told(network, devices, losses) => {
                self.listings.losses.add(&losses);
                self.listings.devices.push((network.inum(), devices));
            }
            Tidings::Lost(network, reason) => {
                self.listings.losses.count(Collector::Network, reason);
                self.listings.devices.push((network.inum(), None));
            }
            Tidings::Ended => self.compare_listed(kernel, now),
        }
    }

    /// Compares what was listed so far.
    pub(super) fn compare_listed(&mut self, kernel: &Kernel, now: Moment) {
        let mut listings = std::mem::take(&mut self.listings);
        if !listings.devices.is_empty() {
            self.compare(&listings, kernel, now);
        }
        // What is listed later was counted later still.
        let before = std::mem::take(&mut listings.before);
        self.listings = Listings { before, ..Listings::default() };
    }

    /// Compares what was counted with what `net/dev` says.
    fn compare(&mut self, listings: &Listings, kernel: &Kernel, now: Moment) {
        self.losses.add(&listings.losses);
        let Some(network) = &kernel.network else { return };
        self.read(network, now);
        let after: Vec<Counted> = self.interfaces.counted().collect();
        let mut by_inum: HashMap<u64, Vec<&Counted>> = HashMap::new();
        for counted in &after {
            by_inum.entry(counted.inum).or_default().push(counted);
        }
        let mut names = HashMap::new();
        for (inum, devices) in &listings.devices {
            let its = by_inum.remove(inum).unwrap_or_default().into_iter();
            let Some(devices) = devices else {
                its.for_each(|_| self.audit.unread());
                continue;
            };
            let by_name: HashMap<&str, &Device> =
                devices.iter().map(|it| (&*it.name, it)).collect();
            for after in its {
                let is_same =
                    |it: &&Counted| it.name == after.name && it.sighting == after.sighting;
                let before = listings.before.get(&after.id).filter(is_same);
                let (Some(before), Some(device)) = (before, by_name.get(&*after.name)) else {
                    continue;
                };
                let Counted { link, merges, sighting, traffic, .. } = *after;
                let before = before.traffic;
                let look = Look { link, merges, sighting, before, device, after: traffic };
                for drift in self.audit.look(after.id, &look, now.monotonic_ms) {
                    let owners = self.members.owners();
                    let owner = owners.get(inum).and_then(|owners| owners.first());
                    let whose = owner.map(|it| it.target.path.clone());
                    tracing::warn!(
                        container = whose.as_deref().unwrap_or(HOST_PATH),
                        interface = &*after.name,
                        direction = drift.direction,
                        ours_packets = drift.ours_packets,
                        theirs_packets = drift.theirs_packets,
                        ours_bytes = drift.ours_bytes,
                        theirs_bytes = drift.theirs_bytes,
                        "counts differ from net/dev"
                    );
                }
            }
            names.insert(*inum, by_name.keys().copied().collect());
        }
        self.interfaces.listed(&names);
        let known: HashSet<InterfaceId> = after.iter().map(|it| it.id).collect();
        self.audit.retain(&known);
    }
}
