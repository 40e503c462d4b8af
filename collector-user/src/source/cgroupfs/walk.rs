//! The cgroups that exist in a hierarchy now.
//!
//! Owns the walk of the directory tree. Cgroups that come and go meanwhile are the
//! kernel events' business; the walk must neither fail nor count them as errors.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use super::Hierarchy;

/// Deepest directory looked into; the root's depth is 0. Real trees stay below 20
/// (Kubernetes in a container in a user's slice); this only ends a tree made to hurt.
const DEPTH_LIMIT: usize = 64;

/// Most cgroups taken from one walk: twice the most slots there can be.
const COUNT_LIMIT: usize = 131_072;

/// A cgroup in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundCgroup {
    /// The kernel's id: the inode number of its directory (since Linux 5.5).
    pub id: u64,
    /// Path from the hierarchy's root; `/` is the root itself. Bytes that are no
    /// UTF-8 are replaced.
    pub path: String,
    /// When it was made, in ms since the epoch, as far as the directory's time tells:
    /// the kernel keeps no better one.
    pub created_ms: Option<u64>,
}

/// What a walk found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// The cgroups, each after the one it lies in, the root first.
    pub cgroups: Vec<FoundCgroup>,
    /// Directories that could not be looked into, or were beyond the limits. Those
    /// that vanished meanwhile are not among them.
    pub errors: u64,
}

/// Walks the whole hierarchy from its root.
pub fn walk(hierarchy: &Hierarchy) -> Walk {
    walk_tree(&hierarchy.mount, DEPTH_LIMIT, COUNT_LIMIT)
}

fn walk_tree(root: &Path, depth_limit: usize, count_limit: usize) -> Walk {
    let mut walk = Walk::default();
    // Directories yet to be looked into, with their depth.
    let mut pending = vec![(PathBuf::from("/"), 0)];
    while let Some((path, depth)) = pending.pop() {
        if walk.cgroups.len() == count_limit {
            walk.errors += 1 + pending.len() as u64;
            break;
        }
        let directory = root.join(path.strip_prefix("/").unwrap_or(&path));
        match look(&directory, &path) {
            Ok(found) => walk.cgroups.push(found),
            Err(error) => {
                // The root cannot vanish: without it, nothing was walked at all.
                walk.errors += u64::from(depth == 0 || !has_vanished(&error));
                continue;
            }
        }
        let (children, errors) = children(&directory);
        walk.errors += errors;
        if depth == depth_limit {
            walk.errors += children.len() as u64;
        } else {
            pending.extend(children.iter().map(|name| (path.join(name), depth + 1)));
        }
    }
    walk
}

fn look(directory: &Path, path: &Path) -> io::Result<FoundCgroup> {
    let metadata = fs::symlink_metadata(directory)?;
    let created_ms = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .and_then(|since| u64::try_from(since.as_millis()).ok());
    let path = path.to_string_lossy().into_owned();
    Ok(FoundCgroup { id: metadata.ino(), path, created_ms })
}

/// Names of the directories in `directory` (links are none), and how many entries
/// could not be read.
fn children(directory: &Path) -> (Vec<std::ffi::OsString>, u64) {
    let count = |error: io::Error| u64::from(!has_vanished(&error));
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => return (Vec::new(), count(error)),
    };
    let mut names = Vec::new();
    let mut errors = 0;
    for entry in entries {
        match entry.and_then(|entry| Ok((entry.file_type()?.is_dir(), entry.file_name()))) {
            Ok((true, name)) => names.push(name),
            Ok((false, _)) => {}
            Err(error) => errors += count(error),
        }
    }
    (names, errors)
}

/// Whether a directory is just gone: not there, or kernfs has cut it off.
fn has_vanished(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::{TempDir, tempdir};

    use super::*;

    /// A tree of directories, to stand for cgroups.
    fn tree(directories: &[&str]) -> TempDir {
        let tree = tempdir().unwrap();
        for directory in directories {
            fs::create_dir_all(tree.path().join(directory)).unwrap();
        }
        tree
    }

    fn paths(walk: &Walk) -> Vec<&str> {
        let mut paths: Vec<_> = walk.cgroups.iter().map(|found| found.path.as_str()).collect();
        paths.sort_unstable();
        paths
    }

    #[test]
    fn directories_are_found_with_their_inodes_and_links_are_not_followed() {
        let tree = tree(&["docker/abc/init", "system.slice"]);
        fs::write(tree.path().join("docker/cgroup.procs"), "1\n").unwrap();
        symlink(tree.path(), tree.path().join("docker/loop")).unwrap();
        let walk = walk_tree(tree.path(), DEPTH_LIMIT, COUNT_LIMIT);
        assert_eq!(
            paths(&walk),
            ["/", "/docker", "/docker/abc", "/docker/abc/init", "/system.slice"]
        );
        assert_eq!(walk.errors, 0);
        let found = walk.cgroups.iter().find(|found| found.path == "/docker/abc/init").unwrap();
        assert_eq!(found.id, fs::metadata(tree.path().join("docker/abc/init")).unwrap().ino());
        assert!(found.created_ms.is_some_and(|ms| ms > 1_500_000_000_000));
    }

    #[test]
    fn parents_come_before_children() {
        let tree = tree(&["a/b/c/d", "a/b2/c", "e/f"]);
        let walk = walk_tree(tree.path(), DEPTH_LIMIT, COUNT_LIMIT);
        assert_eq!(walk.cgroups.len(), 9);
        assert_eq!(walk.cgroups[0].path, "/");
        for (place, found) in walk.cgroups.iter().enumerate().skip(1) {
            let parent = Path::new(&found.path).parent().unwrap().to_str().unwrap();
            let before = &walk.cgroups[..place];
            assert!(before.iter().any(|other| other.path == parent), "{}", found.path);
        }
    }

    #[test]
    fn what_lies_beyond_the_depth_limit_is_counted() {
        let tree = tree(&["a/b/c/d", "a/b/c2"]);
        let walk = walk_tree(tree.path(), 2, COUNT_LIMIT);
        assert_eq!(paths(&walk), ["/", "/a", "/a/b"]);
        assert_eq!(walk.errors, 2);
    }

    #[test]
    fn what_exceeds_the_count_limit_is_counted() {
        let tree = tree(&["a", "b", "c", "d", "e"]);
        let walk = walk_tree(tree.path(), DEPTH_LIMIT, 4);
        assert_eq!(walk.cgroups.len(), 4);
        assert_eq!(walk.errors, 2);
    }

    #[test]
    fn what_has_vanished_is_no_error_unless_it_is_the_root() {
        let tree = tree(&[]);
        let gone = tree.path().join("gone");
        assert_eq!(children(&gone), (Vec::new(), 0));
        assert_eq!(walk_tree(&gone, 4, 4), Walk { cgroups: Vec::new(), errors: 1 });
        assert!(has_vanished(&io::Error::from_raw_os_error(19)), "ENODEV, of kernfs");
        assert!(!has_vanished(&io::Error::from_raw_os_error(13)), "EACCES");
    }

    #[test]
    fn a_root_that_is_no_directory_is_an_error() {
        let tree = tree(&[]);
        fs::write(tree.path().join("file"), "").unwrap();
        assert_eq!(walk_tree(&tree.path().join("file"), 4, 4).errors, 1);
    }
}
