//! Mounted cgroup hierarchies, from the text of `/proc/self/mountinfo`.
//!
//! Owns the reading of that text and the choice between several mounts of the same
//! hierarchy. Pure: it looks at no mount.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use procfs::process::MountInfo;

/// Where Linux distributions mount cgroups; what `--path.cgroupfs` stands in for.
const USUAL_PREFIX: &str = "/sys/fs/cgroup";

/// One mount of a cgroup hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CgroupMount {
    /// Where it is mounted.
    pub(super) point: PathBuf,
    /// Which of the hierarchy's cgroups is at the mount point; `/` is the root, a
    /// path of `/..`s a cgroup above the root of the reader's cgroup name space.
    top: String,
    /// v1: the controllers (and `name=…`); none for v2.
    controllers: Option<Vec<String>>,
}

impl CgroupMount {
    pub(super) fn is_unified(&self) -> bool {
        self.controllers.is_none()
    }

    pub(super) fn has_controller(&self, name: &str) -> bool {
        self.controllers.iter().flatten().any(|controller| controller == name)
    }
}

/// All cgroup mounts in the text of a mountinfo file. Lines that can't be read are
/// left out: another file system's odd mount must not hide the one looked for.
pub(super) fn parse(mountinfo: &str) -> Vec<CgroupMount> {
    mountinfo
        .lines()
        .filter_map(|line| MountInfo::from_line(line).ok())
        .filter_map(|mount| {
            let controllers = match mount.fs_type.as_str() {
                "cgroup2" => None,
                "cgroup" => Some(controllers(mount.super_options)),
                _ => return None,
            };
            Some(CgroupMount { point: unescape(&mount.mount_point), top: mount.root, controllers })
        })
        .collect()
}

fn controllers(super_options: impl IntoIterator<Item = (String, Option<String>)>) -> Vec<String> {
    super_options.into_iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect()
}

/// Undoes mountinfo's `\040` for blanks and the like.
fn unescape(field: &Path) -> PathBuf {
    let mut plain = Vec::new();
    let mut rest = field.as_os_str().as_encoded_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, after) = match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                (((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'), after)
            }
            _ => (*first, tail),
        };
        plain.push(byte);
        rest = after;
    }
    PathBuf::from(OsString::from_vec(plain))
}

/// The mount to use among several of one hierarchy, and where it is found.
///
/// Mounts below `prefix` come first. Failing that, a mount at the usual place is
/// looked for at the same place below `prefix` (the host's tree shown elsewhere to a
/// container that reads the host's mountinfo). With the usual prefix, a mount
/// anywhere will do. Among equals the widest wins, then the latest: it covers those
/// before it.
pub(super) fn choose<'a>(
    mounts: impl Iterator<Item = &'a CgroupMount> + Clone,
    prefix: &Path,
) -> Option<PathBuf> {
    let widest = |candidates: &mut dyn Iterator<Item = (&'a CgroupMount, PathBuf)>| {
        candidates.max_by_key(|(mount, _)| width(&mount.top)).map(|(_, point)| point)
    };
    let below = &mut mounts
        .clone()
        .filter(|mount| mount.point.starts_with(prefix))
        .map(|mount| (mount, mount.point.clone()));
    let moved = &mut mounts.clone().filter_map(|mount| {
        let place = mount.point.strip_prefix(USUAL_PREFIX).ok()?;
        Some((mount, prefix.components().chain(place.components()).collect()))
    });
    let anywhere = &mut mounts
        .filter(|_| prefix == Path::new(USUAL_PREFIX))
        .map(|mount| (mount, mount.point.clone()));
    widest(below).or_else(|| widest(moved)).or_else(|| widest(anywhere))
}

/// How much of the hierarchy a mount shows: the more steps up, the more; `/` is more
/// than a cgroup below it.
fn width(top: &str) -> (usize, bool) {
    (top.split('/').filter(|segment| *segment == "..").count(), top == "/")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HYBRID: &str = "\
23 27 0:22 / /sys rw,relatime - sysfs sysfs rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
this line is no mount
41 31 0:38 / /sys/fs/cgroup/unified rw,nsdelegate - cgroup2 cgroup2 rw
";

    fn points(text: &str) -> Vec<PathBuf> {
        parse(text).into_iter().map(|mount| mount.point).collect()
    }

    fn chosen(text: &str, prefix: &str) -> Option<String> {
        let mounts = parse(text);
        choose(mounts.iter().filter(|mount| mount.is_unified()), Path::new(prefix))
            .map(|point| point.to_str().unwrap().to_owned())
    }

    #[test]
    fn only_cgroup_mounts_are_taken_and_bad_lines_left_out() {
        let mounts = parse(HYBRID);
        assert_eq!(mounts.len(), 3);
        assert!(mounts[0].has_controller("cpuacct") && mounts[0].has_controller("cpu"));
        assert!(!mounts[0].has_controller("memory") && !mounts[0].is_unified());
        assert!(!mounts[1].has_controller("name") && !mounts[1].has_controller("systemd"));
        assert!(mounts[2].is_unified() && !mounts[2].has_controller("cpu"));
    }

    #[test]
    fn escapes_in_mount_points_are_undone() {
        let text = r"41 31 0:38 / /my\040cgroups\134\012\9x rw - cgroup2 cgroup2 rw";
        assert_eq!(points(text), [Path::new("/my cgroups\\\n\\9x")]);
    }

    #[test]
    fn the_usual_place_is_found_and_can_be_moved() {
        assert_eq!(chosen(HYBRID, "/sys/fs/cgroup").unwrap(), "/sys/fs/cgroup/unified");
        assert_eq!(chosen(HYBRID, "/host/cgroup").unwrap(), "/host/cgroup/unified");
        let pure = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup rw";
        assert_eq!(chosen(pure, "/host/cgroup/").unwrap(), "/host/cgroup");
    }

    #[test]
    fn a_mount_below_the_prefix_beats_the_usual_place() {
        let both = "\
31 23 0:28 / /sys/fs/cgroup ro - cgroup2 cgroup ro
32 23 0:28 /../.. /host/sys/fs/cgroup ro - cgroup2 cgroup ro
33 23 0:28 / /hostile ro - cgroup2 cgroup ro
";
        assert_eq!(chosen(both, "/host/sys/fs/cgroup").unwrap(), "/host/sys/fs/cgroup");
        assert_eq!(chosen(both, "/host").unwrap(), "/host/sys/fs/cgroup");
        assert_eq!(chosen(both, "/sys/fs/cgroup").unwrap(), "/sys/fs/cgroup");
    }

    #[test]
    fn an_unusual_place_is_taken_unless_another_was_asked_for() {
        let odd = "31 23 0:28 / /dev/cg2 rw - cgroup2 cgroup rw";
        assert_eq!(chosen(odd, "/sys/fs/cgroup").unwrap(), "/dev/cg2");
        assert_eq!(chosen(odd, "/host/cgroup"), None);
        assert_eq!(chosen("", "/sys/fs/cgroup"), None);
    }

    #[test]
    fn the_widest_view_wins_then_the_latest_mount() {
        let views = "\
31 23 0:28 /docker/x /sys/fs/cgroup/a rw - cgroup2 cgroup rw
32 23 0:28 / /sys/fs/cgroup/b rw - cgroup2 cgroup rw
33 23 0:28 /../.. /sys/fs/cgroup/c rw - cgroup2 cgroup rw
34 23 0:28 /.. /sys/fs/cgroup/d rw - cgroup2 cgroup rw
";
        assert_eq!(chosen(views, "/sys/fs/cgroup").unwrap(), "/sys/fs/cgroup/c");
        let twice = "\
31 23 0:28 / /sys/fs/cgroup/a rw - cgroup2 cgroup rw
32 23 0:28 / /sys/fs/cgroup/b rw - cgroup2 cgroup rw
";
        assert_eq!(chosen(twice, "/sys/fs/cgroup").unwrap(), "/sys/fs/cgroup/b");
    }

    /// Text like mountinfo's, but wrong in any place.
    fn like_mountinfo() -> impl Strategy<Value = String> {
        let words = prop::sample::select(vec![
            "31",
            "0:28",
            "0:",
            "/",
            "/sys/fs/cgroup",
            "/..",
            "\\040",
            "\\4",
            "\\",
            "rw",
            "-",
            "shared:4",
            "cgroup",
            "cgroup2",
            "rw,cpu=",
            ",cpu,name=x",
            "=",
            "\u{e9}",
            " ",
            " ",
            " ",
            "\n",
        ]);
        prop_oneof![
            any::<String>(),
            prop::collection::vec(words, 0..30).prop_map(|words| words.concat()),
        ]
    }

    /// As the kernel writes it (`mangle_path` in `fs/seq_file.c`).
    fn escape(path: &[u8]) -> Vec<u8> {
        let mut escaped = Vec::new();
        for byte in path {
            match byte {
                b' ' | b'\t' | b'\n' | b'\\' => {
                    escaped.extend(format!("\\{byte:03o}").into_bytes());
                }
                _ => escaped.push(*byte),
            }
        }
        escaped
    }

    fn path(bytes: Vec<u8>) -> PathBuf {
        PathBuf::from(OsString::from_vec(bytes))
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in like_mountinfo(), bytes in any::<Vec<u8>>()) {
            let mounts = parse(&text);
            let _ = choose(mounts.iter(), Path::new(USUAL_PREFIX));
            let _ = unescape(&path(bytes));
        }

        #[test]
        fn a_path_comes_back_as_it_was(bytes in any::<Vec<u8>>(), odd in "[ \t\n\\\\0-7]{0,12}") {
            for original in [bytes, odd.into_bytes()] {
                prop_assert_eq!(unescape(&path(escape(&original))), path(original));
            }
        }

        #[test]
        fn a_mount_is_found_among_whatever_else(
            before in like_mountinfo(),
            name in "[a-z \\\\]{1,9}",
            after in like_mountinfo(),
        ) {
            let point = String::from_utf8(escape(name.as_bytes())).expect("text");
            let line = format!("31 23 0:28 / /{point} rw shared:4 - cgroup2 cgroup2 rw");
            let mounts = parse(&format!("{before}\n{line}\n{after}"));
            let expected = Path::new("/").join(&name);
            prop_assert!(mounts.iter().any(|it| it.point == expected && it.is_unified()));
        }
    }
}
