//! Container ids from cgroup paths: which container a cgroup belongs to, from the
//! names that runtimes give to the cgroups they make.
//!
//! Owns the table of those names. Pure: it must not look whether a container or a
//! cgroup exists, and it knows names by id only (LXC's and systemd-nspawn's cgroups
//! carry a name that someone chose, so they are no container here).

/// Digits of a container id, for all runtimes that we know.
const ID_LEN: usize = 64;

/// Names that runtimes put before the id: `docker-<id>.scope` with systemd's cgroup
/// driver, `libpod-<id>` without it, `<slice>:docker:<id>` where a runtime took
/// systemd's notation for a plain name. What stands for a container's *monitor*
/// (`crio-conmon-<id>`, `libpod-conmon-<id>`) is not here, and so is no container.
const PREFIXES: [&str; 6] = [
    "docker",
    // containerd: Kubernetes' CRI plugin, and nerdctl.
    "cri-containerd",
    "nerdctl",
    "crio",
    // Podman; the second with `--cgroups=split`.
    "libpod",
    "libpod-payload",
];

/// The container that a cgroup belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerMatch<'a> {
    /// Path of the container's own cgroup: a prefix of the path asked for, ending
    /// where one of its segments ends.
    pub root: &'a str,
    /// The container's full id: 64 lower-case hexadecimal digits.
    pub id: &'a str,
}

/// Finds the innermost container that encloses the cgroup at `path` (from the
/// hierarchy's root, as in `/proc/PID/cgroup`): in Docker in Docker, the inner one.
/// `None` for what is no container.
pub fn deepest_container(path: &str) -> Option<ContainerMatch<'_>> {
    let mut end = path.len();
    for segment in path.rsplit('/') {
        if let Some(id) = container_of(segment) {
            return Some(ContainerMatch { root: &path[..end], id });
        }
        // The slash before the first segment is no segment's: nothing is left then.
        end = end.saturating_sub(segment.len() + 1);
    }
    None
}

/// The id in one segment.
fn container_of(segment: &str) -> Option<&str> {
    // Bare: Docker's and containerd's cgroupfs drivers, the kubelet's, and whatever lies
    // below a parent that someone chose (`--cgroup-parent`).
    if is_id(segment) {
        return Some(segment);
    }
    let named = segment.strip_suffix(".scope").unwrap_or(segment);
    let start = named.len().checked_sub(ID_LEN)?;
    let (head, id) = named.split_at_checked(start)?;
    if !is_id(id) {
        return None;
    }
    let prefix = match head.strip_suffix(':') {
        Some(slice_and_prefix) => slice_and_prefix.rsplit_once(':')?.1,
        None => head.strip_suffix('-')?,
    };
    PREFIXES.contains(&prefix).then_some(id)
}

fn is_id(text: &str) -> bool {
    text.len() == ID_LEN && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests;
