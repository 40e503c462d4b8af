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
const PREFIXES: [(&str, Runtime); 6] = [
    ("docker", Runtime::Docker),
    ("cri-containerd", Runtime::Containerd),
    ("nerdctl", Runtime::Containerd),
    ("crio", Runtime::CriO),
    ("libpod", Runtime::Podman),
    // Podman with `--cgroups=split`.
    ("libpod-payload", Runtime::Podman),
];

/// Who made a container, as far as its cgroup's name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Runtime {
    /// Docker Engine, also as Kubernetes' runtime.
    Docker,
    /// containerd: Kubernetes' CRI plugin, or nerdctl.
    Containerd,
    /// CRI-O.
    CriO,
    /// Podman.
    Podman,
    /// The kubelet's cgroupfs driver: the pod's cgroup holds bare ids, whatever the
    /// runtime.
    Kubernetes,
    /// A bare id below a parent that someone chose (`--cgroup-parent`).
    Unknown,
}

/// The container that a cgroup belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerMatch<'a> {
    /// Path of the container's own cgroup: a prefix of the path asked for, ending
    /// where one of its segments ends.
    pub root: &'a str,
    /// The container's full id: 64 lower-case hexadecimal digits.
    pub id: &'a str,
    /// Who made it.
    pub runtime: Runtime,
}

/// Finds the innermost container that encloses the cgroup at `path` (from the
/// hierarchy's root, as in `/proc/PID/cgroup`): in Docker in Docker, the inner one.
/// `None` for what is no container.
pub fn deepest_container(path: &str) -> Option<ContainerMatch<'_>> {
    let mut end = path.len();
    for segment in path.rsplit('/') {
        if let Some((id, named)) = container_of(segment) {
            let root = &path[..end];
            let runtime = named.unwrap_or_else(|| runtime_of_parent(root));
            return Some(ContainerMatch { root, id, runtime });
        }
        // The slash before the first segment is no segment's: nothing is left then.
        end = end.saturating_sub(segment.len() + 1);
    }
    None
}

/// The id in one segment, and the runtime if the segment names it.
fn container_of(segment: &str) -> Option<(&str, Option<Runtime>)> {
    if is_id(segment) {
        return Some((segment, None));
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
    let (_, runtime) = PREFIXES.iter().find(|(known, _)| *known == prefix)?;
    Some((id, Some(*runtime)))
}

/// The runtime of a bare id, from the cgroups it lies in.
fn runtime_of_parent(root: &str) -> Runtime {
    let mut parents = root.rsplit('/').skip(1);
    match parents.next() {
        Some("docker") => Runtime::Docker,
        // containerd's name spaces: the CRI plugin's, and nerdctl's.
        Some("k8s.io" | "default") => Runtime::Containerd,
        Some(parent) if is_pod(parent) || parents.any(|name| name.starts_with("kubepods")) => {
            Runtime::Kubernetes
        }
        _ => Runtime::Unknown,
    }
}

/// Whether a segment is a pod's cgroup: `pod<uid>`, or `kubepods-…-pod<uid>.slice`.
fn is_pod(segment: &str) -> bool {
    segment.starts_with("kubepods") || {
        let uid = segment.strip_prefix("pod").unwrap_or_default();
        // A uid, or the hash of a static pod's manifest.
        uid.len() >= 32 && uid.bytes().all(|byte| is_digit(byte) || matches!(byte, b'-' | b'_'))
    }
}

fn is_id(text: &str) -> bool {
    text.len() == ID_LEN && text.bytes().all(is_digit)
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests;
