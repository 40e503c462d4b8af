//! What the accounts tell: by container, of the host, of nobody, and for the audit.

use std::{collections::HashMap, sync::Arc};

use super::{Interface, Interfaces, namespace::Charge};
use crate::model::network::{InterfaceId, InterfaceView, Link, NetworkView, Traffic};

/// What was counted of an interface since it has its slot.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Which one.
    pub id: InterfaceId,
    /// Inode number of its network namespace.
    pub inum: u64,
    /// Its name.
    pub name: Arc<str>,
    /// What it is.
    pub link: Link,
    /// Whether it may merge packets on their way in.
    pub merges: bool,
    /// Which sighting its counts began with.
    pub sighting: u64,
    /// As `net/dev` would count.
    pub traffic: Traffic,
}

impl Interfaces {
    /// Interfaces with what was counted of each, for a comparison with `net/dev`.
    pub fn counted(&self) -> impl Iterator<Item = Counted> {
        let own_slot = self.live.values().filter(|it| it.slot.is_some() && !it.is_gone);
        own_slot.filter_map(|interface| {
            let namespace = self.namespaces.get(&interface.id.netns).filter(|it| !it.is_dead)?;
            let Interface { id, link, merges, sighting, counted: traffic, .. } = *interface;
            let (inum, name) = (namespace.inum, interface.name.clone());
            Some(Counted { id, inum, name, link, merges, sighting, traffic })
        })
    }

    /// What is told of the containers' networks, by path.
    pub fn containers(&self) -> HashMap<Arc<str>, Vec<InterfaceView>> {
        let mut accounts = self.containers.clone();
        for (interface, charge) in self.charged() {
            if let Charge::Container(path) = charge {
                accounts.entry(path.clone()).or_default().show(interface);
            }
        }
        accounts.into_iter().map(|(path, account)| (path, account.views())).collect()
    }

    /// What is told of networks besides.
    pub fn view(&self) -> NetworkView {
        let mut host = self.host.clone();
        let (mut unattributed, mut exited) = (self.unattributed, self.exited);
        for (interface, charge) in self.charged() {
            let traffic = interface.uncharged();
            match charge {
                Charge::Host => host.show(interface),
                Charge::Nobody if interface.link != Link::Loopback => {
                    unattributed = unattributed.plus(traffic);
                }
                Charge::Exited if interface.link != Link::Loopback => {
                    exited = exited.plus(traffic);
                }
                _ => {}
            }
        }
        NetworkView {
            knows_host: self.host_inum.is_some(),
            host: host.views(),
            unattributed,
            exited,
            overflow: self.overflow,
            merged: self.merged,
            slots: self.slot_counts(),
            ..NetworkView::default()
        }
    }

    /// All interfaces, and who is charged with them.
    pub(super) fn charged(&self) -> impl Iterator<Item = (&Interface, &Charge)> {
        let resting = self.resting.iter().map(|(interface, _)| interface);
        let interfaces = self.live.values().chain(resting);
        interfaces.filter_map(|it| Some((it, &self.namespaces.get(&it.id.netns)?.charge)))
    }
}
