//! The picture: what of the accounts is told, and under whose name.
//!
//! Owns the way from the accounts to a [`Snapshot`]. It changes nothing but what makes
//! the next picture not go back behind this one.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::Accounts;
use crate::model::{
    cgroups::{Stage, ancestors},
    moment::Moment,
    snapshot::{CgroupView, ContainerView, LedgerHealth, SlotCounts, Snapshot},
    usage::Usage,
};

impl Accounts {
    /// A picture of everything, with the ledger's own health added in.
    pub fn snapshot(&mut self, now: Moment, mut ledger: LedgerHealth) -> Snapshot {
        self.idle_ns = self.idle_ns.max(ledger.idle_ns);
        ledger.idle_ns = self.idle_ns;
        self.elapsed_ns = self.elapsed_ns.max(ledger.elapsed_ns);
        ledger.elapsed_ns = self.elapsed_ns;
        ledger.overflow = self.overflow;
        ledger.unattributed = self.unattributed;
        let containers = self.container_usages();
        Snapshot {
            taken_at_ms: now.wall_ms,
            host: self.host(),
            cgroups: if self.rules.all_cgroups {
                self.cgroup_views(&containers)
            } else {
                Vec::new()
            },
            containers: self.container_views(&containers, now),
            exited: self.exited,
            ledger,
            slots: self.slot_counts(),
            docker: self.docker,
            ..Snapshot::default()
        }
    }

    fn container_usages(&self) -> BTreeMap<&Arc<str>, Usage> {
        let mut usages: BTreeMap<&Arc<str>, Usage> =
            self.containers.iter().map(|(root, account)| (root, account.past)).collect();
        for (_, cgroup) in self.cgroups.iter() {
            if let Some(root) = &cgroup.container
                && let Some(usage) = usages.get_mut(root)
            {
                usage.add(&cgroup.own);
            }
        }
        usages
    }

    fn container_views(
        &self,
        usages: &BTreeMap<&Arc<str>, Usage>,
        now: Moment,
    ) -> Vec<ContainerView> {
        let mut cgroups = self.live_cgroups();
        self.containers
            .iter()
            .filter(|(_, account)| account.told)
            .map(|(root, account)| ContainerView {
                path: root.clone(),
                id: account.id.clone(),
                meta: self.identities.get(&account.id).map(|identity| identity.meta.clone()),
                first_seen_ms: account.first_seen_ms,
                last_seen_ms: account.ended.unwrap_or(now).wall_ms,
                usage: usages.get(root).copied().unwrap_or_default(),
                cgroups: cgroups.remove(root).unwrap_or_default(),
                role: None,
                interfaces: Vec::new(),
            })
            .collect()
    }

    /// Paths of the cgroups in the tree that belong to each container.
    fn live_cgroups(&self) -> HashMap<Arc<str>, Vec<Arc<str>>> {
        let mut paths: HashMap<Arc<str>, Vec<Arc<str>>> = HashMap::new();
        for (_, cgroup) in self.cgroups.iter().filter(|(_, cgroup)| cgroup.stage == Stage::Live) {
            if let Some(root) = &cgroup.container {
                paths.entry(root.clone()).or_default().push(cgroup.path.clone());
            }
        }
        for paths in paths.values_mut() {
            paths.sort_unstable();
        }
        paths
    }

    /// Cgroups that are no container, each with all that is and was below it.
    fn cgroup_views(&self, containers: &BTreeMap<&Arc<str>, Usage>) -> Vec<CgroupView> {
        let mut views: BTreeMap<&str, CgroupView> = self
            .cgroups
            .iter()
            .filter(|(_, cgroup)| {
                // Without a slot its own part is known only in the overflow's sum.
                cgroup.container.is_none()
                    && cgroup.stage == Stage::Live
                    && cgroup.slot.is_some()
                    && &*cgroup.path != "/"
            })
            .map(|(_, cgroup)| {
                let view = CgroupView { path: cgroup.path.clone(), usage: Usage::default() };
                (&*cgroup.path, view)
            })
            .collect();
        let own = self
            .cgroups
            .iter()
            .filter(|(_, cgroup)| cgroup.container.is_none())
            .map(|(_, cgroup)| (&cgroup.path, &cgroup.own));
        let below = containers.iter().map(|(root, usage)| (*root, usage));
        for (path, usage) in own.chain(below).chain(&self.settled) {
            for path in std::iter::once(&**path).chain(ancestors(path)) {
                if let Some(view) = views.get_mut(path) {
                    view.usage.add(usage);
                }
            }
        }
        views.into_values().collect()
    }

    fn host(&self) -> Usage {
        self.cgroups
            .iter()
            .map(|(_, cgroup)| &cgroup.own)
            .chain(self.containers.values().map(|account| &account.past))
            .chain(self.settled.values())
            .chain([&self.overflow, &self.unattributed])
            .sum()
    }

    fn slot_counts(&self) -> SlotCounts {
        let mut counts = SlotCounts::default();
        for (_, cgroup) in self.cgroups.iter().filter(|(_, cgroup)| cgroup.slot.is_some()) {
            match cgroup.stage {
                Stage::Live | Stage::Dying(_) => counts.used += 1,
                Stage::Forgotten(_) => counts.retiring += 1,
            }
        }
        counts.free = u64::from(self.rules.slots).saturating_sub(counts.used + counts.retiring);
        counts
    }
}
