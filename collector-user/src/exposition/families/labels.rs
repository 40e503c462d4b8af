//! Who a series belongs to: `id`, `name`, `image` and the allow-listed labels.
//!
//! Owns sanitising; which labels are allowed, and how much of a text is kept, was decided
//! before (the Docker source keeps no others). `id` is never cut: the kernel bounds
//! paths, and two containers must never become one series.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use prometheus::proto::LabelPair;

use crate::model::{
    resources::Resources,
    snapshot::{ContainerView, Snapshot},
    targets::HOST_PATH,
    usage::Usage,
};

/// What cAdvisor puts before a container's own labels.
pub(super) const LABEL_PREFIX: &str = "container_label_";

/// Which account of a snapshot.
enum Account {
    Host,
    Container(usize),
    Cgroup(usize),
}

/// An account, the labels that all its series carry, and what files tell of its cgroup.
pub(super) struct Subject {
    account: Account,
    /// Empty only while they are lent to a sample.
    pub(super) labels: Vec<LabelPair>,
    pub(super) resources: Option<Resources>,
}

impl Subject {
    pub(super) fn usage<'a>(&self, snapshot: &'a Snapshot) -> &'a Usage {
        match self.account {
            Account::Host => &snapshot.host,
            Account::Container(index) => &snapshot.containers[index].usage,
            Account::Cgroup(index) => &snapshot.cgroups[index].usage,
        }
    }

    pub(super) fn is_host(&self) -> bool {
        matches!(self.account, Account::Host)
    }

    pub(super) fn container<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a ContainerView> {
        match self.account {
            Account::Container(index) => Some(&snapshot.containers[index]),
            Account::Host | Account::Cgroup(_) => None,
        }
    }
}

/// The host, then containers and cgroups, all by path. Takes what files tell of them.
pub(super) fn subjects(
    snapshot: &Snapshot,
    resources: &mut HashMap<Arc<str>, Resources>,
) -> Vec<Subject> {
    let mut subject =
        |account, path, labels| Subject { account, labels, resources: resources.remove(path) };
    let host = subject(Account::Host, HOST_PATH, identity(HOST_PATH, "", ""));
    let containers = snapshot.containers.iter().enumerate();
    let cgroups = snapshot.cgroups.iter().enumerate();
    let mut others: Vec<(&str, _)> = containers
        .map(|(index, it)| (&*it.path, Account::Container(index)))
        .chain(cgroups.map(|(index, it)| (&*it.path, Account::Cgroup(index))))
        .collect();
    others.sort_by_key(|(path, _)| *path);
    let others = others.into_iter().map(|(path, account)| {
        let labels = match account {
            Account::Container(index) => container_labels(&snapshot.containers[index]),
            Account::Host | Account::Cgroup(_) => identity(path, "", ""),
        };
        subject(account, path, labels)
    });
    std::iter::once(host).chain(others).collect()
}

/// A container's name; its id as long as no runtime has told one. As cAdvisor does for
/// runtimes without names: dashboards select containers by `name=~".+"`, so a container
/// must never be nameless.
pub(super) fn name(container: &ContainerView) -> &str {
    match &container.meta {
        Some(meta) if !meta.name.is_empty() => &meta.name,
        _ => container.id.as_str(),
    }
}

pub(super) fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

fn identity(path: &str, name: &str, image: &str) -> Vec<LabelPair> {
    vec![pair("id", path), pair("name", name), pair("image", image)]
}

fn container_labels(container: &ContainerView) -> Vec<LabelPair> {
    let Some(meta) = &container.meta else {
        return identity(&container.path, name(container), "");
    };
    let mut labels = identity(&container.path, name(container), &meta.image);
    labels.reserve(meta.labels.len() + 1);
    let mut taken = BTreeSet::new();
    for (original, value) in &meta.labels {
        let name = sanitised(original);
        // A label twice on one series would void the whole scrape. The map is sorted,
        // so the same one of two wins every time.
        if taken.insert(name.clone()) {
            let mut label = LabelPair::default();
            label.set_name(name);
            label.set_value(value.clone());
            labels.push(label);
        }
    }
    labels
}

/// cAdvisor's rule: what Prometheus does not allow in a label's name becomes `_`.
fn sanitised(original: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    LABEL_PREFIX.chars().chain(original.chars().map(legal)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sanitised_as_cadvisor_does() {
        assert_eq!(
            sanitised("com.docker.compose.project.working_dir"),
            "container_label_com_docker_compose_project_working_dir"
        );
        assert_eq!(sanitised("a-b/c é"), "container_label_a_b_c__");
    }
}
