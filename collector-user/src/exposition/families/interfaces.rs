//! The interfaces that a scrape tells of: what the programs counted beside what `net/dev` says.
//!
//! Owns the choice of interfaces, which of the two sources tells what, and that no interface
//! of an account is there twice. Must not know names of families.

use std::collections::BTreeMap;

use prometheus::proto::LabelPair;

use super::labels::{Subject, pair};
use crate::model::{
    network::{Choice, Device, HostDevice, InterfaceView, Link, Traffic},
    readings::Readings,
    snapshot::Snapshot,
};

/// An interface of an account.
pub(super) struct InterfaceRow {
    /// The account's, and `interface`. Copied once for all families; empty only while they are
    /// lent to a sample.
    pub(super) labels: Vec<LabelPair>,
    /// What it received; `None` where that is not known.
    pub(super) received: Option<Count>,
    /// What it sent; `None` where that is not known.
    pub(super) sent: Option<Count>,
    /// Its line of `net/dev`; `None` if that was not read, or has none.
    pub(super) device: Option<Device>,
}

/// Packets of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) bytes: u64,
    pub(super) packets: u64,
}

impl Count {
    fn received(traffic: Traffic) -> Self {
        Self { bytes: traffic.rx_bytes, packets: traffic.rx_packets }
    }

    fn sent(traffic: Traffic) -> Self {
        Self { bytes: traffic.tx_bytes, packets: traffic.tx_packets }
    }
}

/// All interfaces to show: by account as `subjects` has them, then by name.
pub(super) fn interfaces(
    snapshot: &Snapshot,
    readings: &Readings,
    subjects: &[Subject],
) -> Vec<InterfaceRow> {
    let network = &snapshot.network;
    let mut rows = Vec::with_capacity(subjects.len());
    for subject in subjects {
        // If the host's network can't be told from others, what crosses it is unattributed, and
        // a zero here would be a lie.
        let is_counted = network.counts_interfaces && (network.knows_host || !subject.is_host());
        let found = if subject.is_host() {
            let views = network.host.iter();
            Sources::of_host(views, readings.host_devices.as_deref().unwrap_or_default())
        } else if let Some(container) = subject.container(snapshot) {
            let devices = readings.devices.get(&container.path).map_or(&[][..], Vec::as_slice);
            Sources::of_container(container.interfaces.iter(), devices)
        } else {
            continue;
        };
        let shown = found.into_iter().filter(|(_, it)| it.is_shown(network.choice));
        rows.extend(shown.map(|(name, it)| {
            let mut labels = Vec::with_capacity(subject.labels.len() + 1);
            labels.extend_from_slice(&subject.labels);
            labels.push(pair("interface", name));
            let (received, sent) = if is_counted { it.counted() } else { (None, None) };
            InterfaceRow { labels, received, sent, device: it.device.cloned() }
        }));
    }
    rows
}

/// What there is to know of one interface.
#[derive(Default)]
struct Sources<'a> {
    /// What the programs saw of it.
    view: Option<&'a InterfaceView>,
    /// What the kernel says of it.
    device: Option<&'a Device>,
    /// Whether it passes on what other interfaces of the host carry, too.
    is_behind_others: bool,
    /// Whether it is known to be a device of the host.
    is_physical: bool,
}

impl<'a> Sources<'a> {
    fn of_container(
        views: impl Iterator<Item = &'a InterfaceView>,
        devices: impl IntoIterator<Item = &'a Device>,
    ) -> BTreeMap<&'a str, Self> {
        let mut found: BTreeMap<&str, Self> = BTreeMap::new();
        for view in views {
            found.entry(&*view.name).or_default().view.get_or_insert(view);
        }
        for device in devices {
            // Names that differ in what is no UTF-8 look the same here: the first one stays.
            found.entry(&*device.name).or_default().device.get_or_insert(device);
        }
        found
    }

    fn of_host(
        views: impl Iterator<Item = &'a InterfaceView>,
        devices: &'a [HostDevice],
    ) -> BTreeMap<&'a str, Self> {
        let mut found = Self::of_container(views, []);
        for it in found.values_mut() {
            it.is_physical = it.view.is_some_and(|view| view.link == Link::Physical);
        }
        // sysfs knows better than the kind of link (a radio has a kind, and is a device), but
        // it may not have been read.
        for HostDevice { device, is_physical } in devices {
            let it = found.entry(&*device.name).or_default();
            if it.device.is_none() {
                (it.device, it.is_physical) = (Some(device), *is_physical);
            }
        }
        for it in found.values_mut() {
            it.is_behind_others = !it.is_physical;
        }
        found
    }

    fn is_shown(&self, choice: Choice) -> bool {
        let is_loopback = match (self.view, self.device) {
            (Some(view), _) => view.link == Link::Loopback,
            (None, device) => device.is_some_and(Device::is_loopback),
        };
        if is_loopback { choice.loopback } else { choice.host_virtual || !self.is_behind_others }
    }

    /// What it received and sent, as far as that is known.
    fn counted(&self) -> (Option<Count>, Option<Count>) {
        let seen = |view: &InterfaceView| view.traffic.map(|traffic| (view.link, traffic));
        match (self.view.map(seen), self.device) {
            // What it receives is seen below only, so that the kernel's own count stands in.
            (Some(Some((Link::Stacked, traffic))), device) => {
                (device.map(|it| Count::received(it.traffic)), Some(Count::sent(traffic)))
            }
            (Some(Some((_, traffic))), _) => {
                (Some(Count::received(traffic)), Some(Count::sent(traffic)))
            }
            // Nothing has ever crossed it, or all of it would have been seen.
            (None, Some(device)) if device.traffic == Traffic::default() || self.is_physical => {
                (Some(Count::default()), Some(Count::default()))
            }
            // A part of the overflow, or of what went before, and nothing more is known.
            (Some(None) | None, _) => (None, None),
        }
    }
}
