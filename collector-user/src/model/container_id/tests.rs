//! The table of real paths, and the properties that hold for any path.

use proptest::prelude::*;

use super::{ContainerMatch, PREFIXES, deepest_container};

/// `A` and `B` in the table's paths: two ids.
const A: &str = "4cb3a3c0f9a2f5d2d2b6cb6e9c54a3c6b8a1a5d6ab0fd3f0d2e9c0d4f8e71b23";
const B: &str = "e1f0ab5c7d9e2b4c6d8f0a1b3c5d7e9f1a2b4c6d8e0f1a3b5c7d9e1f2a4b6c8d";

fn expand(pattern: &str) -> String {
    pattern.replace("{A}", A).replace("{B}", B)
}

/// Path, the part of it that is the container's own cgroup, id.
const CONTAINERS: &[(&str, &str, &str)] = &[
    // Docker: cgroupfs driver, systemd driver, --cgroup-parent.
    ("/docker/{A}", "/docker/{A}", "{A}"),
    ("/docker/{A}/", "/docker/{A}", "{A}"),
    ("/custom/{A}", "/custom/{A}", "{A}"),
    ("/a/b/c/{A}", "/a/b/c/{A}", "{A}"),
    ("/{A}", "/{A}", "{A}"),
    ("/ecs/0f9d8c7b6a/{A}", "/ecs/0f9d8c7b6a/{A}", "{A}"),
    ("/actions_job/{A}", "/actions_job/{A}", "{A}"),
    ("/system.slice/docker-{A}.scope", "/system.slice/docker-{A}.scope", "{A}"),
    ("/my.slice/my-app.slice/docker-{A}.scope", "/my.slice/my-app.slice/docker-{A}.scope", "{A}"),
    ("/system.slice:docker:{A}", "/system.slice:docker:{A}", "{A}"),
    // Rootless Docker, in the user's own systemd.
    (
        "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{A}.scope",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{A}.scope",
        "{A}",
    ),
    // A cgroup within the container: systemd as its init, or a delegated tree.
    ("/docker/{A}/system.slice/foo.service", "/docker/{A}", "{A}"),
    ("/docker/{A}/init.scope", "/docker/{A}", "{A}"),
    ("/system.slice/docker-{A}.scope/init", "/system.slice/docker-{A}.scope", "{A}"),
    // Docker in Docker, kind, k3d, Docker in LXC: the deepest wins.
    ("/docker/{A}/docker/{B}", "/docker/{A}/docker/{B}", "{B}"),
    ("/docker/{A}/docker/{B}/x/y", "/docker/{A}/docker/{B}", "{B}"),
    ("/docker/{A}/docker", "/docker/{A}", "{A}"),
    ("/docker/{A}/docker/buildkit", "/docker/{A}", "{A}"),
    (
        "/system.slice/docker-{A}.scope/docker/{B}",
        "/system.slice/docker-{A}.scope/docker/{B}",
        "{B}",
    ),
    (
        "/docker/{A}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9.slice/cri-containerd-{B}.scope",
        "/docker/{A}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9.slice/cri-containerd-{B}.scope",
        "{B}",
    ),
    (
        "/docker/{A}/kubepods/burstable/pod0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9/{B}",
        "/docker/{A}/kubepods/burstable/pod0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9/{B}",
        "{B}",
    ),
    ("/lxc/101/ns/docker/{A}", "/lxc/101/ns/docker/{A}", "{A}"),
    (
        "/lxc.payload.web/system.slice/docker-{A}.scope",
        "/lxc.payload.web/system.slice/docker-{A}.scope",
        "{A}",
    ),
    // Seen from within a cgroup name space.
    ("/../{A}", "/../{A}", "{A}"),
    ("/../../docker/{A}", "/../../docker/{A}", "{A}"),
    // containerd.
    ("/k8s.io/{A}", "/k8s.io/{A}", "{A}"),
    ("/default/{A}", "/default/{A}", "{A}"),
    ("/system.slice/nerdctl-{A}.scope", "/system.slice/nerdctl-{A}.scope", "{A}"),
    ("/system.slice/cri-containerd-{A}.scope", "/system.slice/cri-containerd-{A}.scope", "{A}"),
    (
        "/system.slice/containerd.service/kubepods-burstable-pod0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9.slice:cri-containerd:{A}",
        "/system.slice/containerd.service/kubepods-burstable-pod0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9.slice:cri-containerd:{A}",
        "{A}",
    ),
    (
        "/kubepods-besteffort.slice:cri-containerd:{A}/x",
        "/kubepods-besteffort.slice:cri-containerd:{A}",
        "{A}",
    ),
    // Kubernetes, cgroupfs driver.
    (
        "/kubepods/burstable/pod0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9/{A}",
        "/kubepods/burstable/pod0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9/{A}",
        "{A}",
    ),
    (
        "/kubepods/pod0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9/{A}/nested",
        "/kubepods/pod0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9/{A}",
        "{A}",
    ),
    // … a static pod: its "uid" is a hash.
    (
        "/kubepods/besteffort/podb1946ac92492d2347c6235b4d2611184/{A}",
        "/kubepods/besteffort/podb1946ac92492d2347c6235b4d2611184/{A}",
        "{A}",
    ),
    (
        "/kubepods/burstable/pod0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9/crio-{A}",
        "/kubepods/burstable/pod0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9/crio-{A}",
        "{A}",
    ),
    // Kubernetes, systemd driver.
    (
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9.slice/docker-{A}.scope",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9.slice/docker-{A}.scope",
        "{A}",
    ),
    (
        "/kubepods.slice/kubepods-pod0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9.slice/cri-containerd-{A}.scope",
        "/kubepods.slice/kubepods-pod0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9.slice/cri-containerd-{A}.scope",
        "{A}",
    ),
    (
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9.slice/crio-{A}.scope/container",
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9.slice/crio-{A}.scope",
        "{A}",
    ),
    (
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9.slice/{A}",
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9.slice/{A}",
        "{A}",
    ),
    // CRI-O without Kubernetes.
    ("/system.slice/crio-{A}.scope", "/system.slice/crio-{A}.scope", "{A}"),
    // Podman: root and user slices, cgroupfs, split, crun's inner `container`.
    ("/machine.slice/libpod-{A}.scope", "/machine.slice/libpod-{A}.scope", "{A}"),
    ("/machine.slice/libpod-{A}.scope/container", "/machine.slice/libpod-{A}.scope", "{A}"),
    (
        "/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope/container/init.scope",
        "/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope",
        "{A}",
    ),
    (
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope/container",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope",
        "{A}",
    ),
    (
        "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service/libpod-payload-{A}",
        "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service/libpod-payload-{A}",
        "{A}",
    ),
    ("/libpod_parent/libpod-{A}", "/libpod_parent/libpod-{A}", "{A}"),
    ("/libpod_parent/libpod-{A}/x", "/libpod_parent/libpod-{A}", "{A}"),
];

/// Paths that are no container's.
const OTHERS: &[&str] = &[
    "",
    "/",
    "//",
    "/init.scope",
    "/docker",
    "/system.slice/docker.service",
    "/system.slice/containerd.service",
    "/user.slice/user-1000.slice/session-3.scope",
    // Monitors and pods, not containers.
    "/machine.slice/libpod-conmon-{A}.scope",
    "/libpod_parent/libpod-conmon-{A}",
    "/kubepods.slice/kubepods-pod0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9.slice/crio-conmon-{A}.scope",
    "/kubepods/burstable/pod0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9",
    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9.slice",
    "/machine.slice/machine-libpod_pod_{A}.slice",
    // Named, not numbered: LXC, systemd-nspawn, libvirt, BuildKit, ctr.
    "/lxc.payload.web",
    "/machine.slice/systemd-nspawn@web.service/payload",
    "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope",
    "/docker/buildkit/q2k0zqsh1bxhxkz0f5xpx2rgd",
    "/default/web",
    // Nearly an id.
    "/docker/4cb3a3c0f9a2",
    "/build/8e4c2a0fb753c5ce5185d04e8b52c127",
    "/docker/{A}0",
    "/docker/0{A}",
    "/docker/{A}.scope.d",
    "/docker/4CB3A3C0F9A2F5D2D2B6CB6E9C54A3C6B8A1A5D6AB0FD3F0D2E9C0D4F8E71B23",
    "/docker/gcb3a3c0f9a2f5d2d2b6cb6e9c54a3c6b8a1a5d6ab0fd3f0d2e9c0d4f8e71b23",
    "/system.slice/docker-{A}.service",
    "/system.slice/docker-{A}.mount",
    "/system.slice/docker{A}.scope",
    "/system.slice/-{A}.scope",
    "/system.slice/{A}.scope",
    "/system.slice/podman-{A}.scope",
    "/system.slice/var-lib-docker-overlay2-{A}-merged.mount",
    "/docker:{A}",
    "/x.slice:other:{A}",
    // 64 bytes, but not of ASCII; a cut at the id's length falls within a character.
    "/docker/ééééééééééééééééééééééééééééééééé",
    "/docker/é{A}",
];

#[test]
fn real_paths_yield_their_container() {
    for (path, root, id) in CONTAINERS {
        let (path, root, id) = (expand(path), expand(root), expand(id));
        let expected = ContainerMatch { root: &root, id: &id };
        assert_eq!(deepest_container(&path), Some(expected), "{path}");
    }
}

#[test]
fn other_paths_yield_none() {
    for path in OTHERS {
        let path = expand(path);
        assert_eq!(deepest_container(&path), None, "{path}");
    }
}

/// Segments that together make paths near enough to real ones to be worth trying.
fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9a-f]{64}",
        "(docker|crio|libpod|cri-containerd|crio-conmon|pod)-[0-9a-f]{62,66}(\\.scope)?",
        "[a-z.]{0,8}:(docker|cri-containerd|x)?:[0-9a-f]{63,65}",
        "(docker|kubepods|k8s.io|default|\\.\\.|)",
        "\\PC{0,70}",
    ]
}

proptest! {
    #[test]
    fn a_match_is_a_whole_prefix_and_holds_for_itself(
        path in prop_oneof![
            any::<String>(),
            prop::collection::vec(segment(), 0..6).prop_map(|all| all.join("/")),
        ],
    ) {
        if let Some(found) = deepest_container(&path) {
            let rest = path.strip_prefix(found.root);
            prop_assert!(rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
            prop_assert!(found.root.rsplit('/').next().is_some_and(|name| name.contains(found.id)));
            prop_assert_eq!(found.id.len(), 64);
            prop_assert!(!found.id.contains(|c: char| !matches!(c, '0'..='9' | 'a'..='f')));
            prop_assert_eq!(deepest_container(found.root), Some(found));
        }
    }

    #[test]
    fn every_known_form_is_found_below_anything(
        above in prop::collection::vec(segment(), 0..4),
        below in prop::collection::vec("[a-z.@-]{0,20}", 0..4),
        id in "[0-9a-f]{64}",
        form in 0..PREFIXES.len() * 3,
    ) {
        let prefix = PREFIXES[form / 3];
        let name = match form % 3 {
            0 => format!("{prefix}-{id}.scope"),
            1 => format!("{prefix}-{id}"),
            _ => format!("x.slice:{prefix}:{id}"),
        };
        let root = format!("/{}/{name}", above.join("/"));
        let path = [&root, below.join("/").as_str()].join("/");
        let expected = ContainerMatch { root: &root, id: &id };
        prop_assert_eq!(deepest_container(&path), Some(expected));
    }
}
