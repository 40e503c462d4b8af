//! Controllers' files that stay open from one scrape to the next.
//!
//! Owns how many, whose, and for how long. Must not know what is in them.
//!
//! To open and close a file of cgroupfs costs the kernel six times what reading it does.
//! But an open one pins a page of kernel memory (its buffer), so there is a limit, beyond
//! which files are opened anew each time.

use std::{
    collections::{HashMap, HashSet},
    ffi::CStr,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::source::files::{Buffer, Directory, OpenFile};

/// One cgroup's directory in one hierarchy, with those of its files that stay open.
#[derive(Debug)]
pub(super) struct KeptDirectory {
    directory: Directory,
    files: Vec<KeptFile>,
    room: Arc<Semaphore>,
}

#[derive(Debug)]
struct KeptFile {
    name: &'static CStr,
    file: OpenFile,
    /// Given back when it is closed.
    _room: OwnedSemaphorePermit,
}

/// A cgroup's directories, in the order of the hierarchies; `None` where it has none.
pub(super) type KeptCgroup = Vec<Option<KeptDirectory>>;

/// All that is kept, by the path of the cgroup.
#[derive(Debug)]
pub(super) struct Kept {
    cgroups: Mutex<HashMap<Arc<str>, KeptCgroup>>,
    room: Arc<Semaphore>,
}

impl Kept {
    /// Keeps so many files open at most.
    pub(super) fn new(limit: usize) -> Self {
        Self { cgroups: Mutex::default(), room: Arc::new(Semaphore::new(limit)) }
    }

    fn cgroups(&self) -> MutexGuard<'_, HashMap<Arc<str>, KeptCgroup>> {
        self.cgroups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands out what is kept of a cgroup. Whoever else reads it meanwhile opens it anew.
    pub(super) fn take(&self, path: &str) -> Option<KeptCgroup> {
        self.cgroups().remove(path)
    }

    /// Takes back what was handed out, or keeps what was opened.
    pub(super) fn keep(&self, path: &Arc<str>, cgroup: KeptCgroup) {
        // What it replaces is closed after the lock is let go.
        let _replaced = self.cgroups().insert(Arc::clone(path), cgroup);
    }

    /// Gives out all that is kept of cgroups that are not told of any more, to be closed.
    pub(super) fn others(&self, told: &HashSet<Arc<str>>) -> Vec<KeptCgroup> {
        self.cgroups().extract_if(|path, _| !told.contains(path)).map(|(_, it)| it).collect()
    }

    /// Opens a cgroup's directory, with room for files to keep.
    pub(super) fn open(&self, path: &Path) -> io::Result<KeptDirectory> {
        let directory = Directory::open(path)?;
        Ok(KeptDirectory { directory, files: Vec::new(), room: Arc::clone(&self.room) })
    }
}

impl KeptDirectory {
    /// As [`Directory::record`]; the file stays open if there is room.
    pub(super) fn record<'b>(
        &mut self,
        name: &'static CStr,
        buffer: &'b mut Buffer,
    ) -> io::Result<&'b [u8]> {
        if let Some(kept) = self.files.iter().find(|kept| kept.name == name) {
            return kept.file.record(buffer);
        }
        let file = self.directory.file(name)?;
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            return file.record(buffer);
        };
        self.files.push(KeptFile { name, file, _room: permit });
        let kept = self.files.last().ok_or(io::ErrorKind::NotFound)?;
        kept.file.record(buffer)
    }

    /// As [`Directory::list`]; lists are not kept.
    pub(super) fn list<'b>(&self, place: &str, buffer: &'b mut Buffer) -> io::Result<&'b [u8]> {
        self.directory.list(place, buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn open_files(kept: &Kept, limit: usize) -> usize {
        limit - kept.room.available_permits()
    }

    #[test]
    fn files_stay_open_within_the_limit_and_are_read_anew() {
        let root = tempfile::tempdir().expect("a directory");
        let names = [c"a", c"b", c"c"];
        for name in names {
            let path = root.path().join(name.to_str().expect("ASCII"));
            fs::write(path, "1\n").expect("written");
        }
        let kept = Kept::new(2);
        let mut directory = kept.open(root.path()).expect("opens");
        let buffer = &mut Buffer::default();
        for name in names {
            assert_eq!(directory.record(name, buffer).expect("reads"), b"1\n");
        }
        assert_eq!(open_files(&kept, 2), 2);
        for name in ["a", "c"] {
            fs::write(root.path().join(name), "22\n").expect("written");
        }
        for (name, text) in [(c"a", "22\n"), (c"b", "1\n"), (c"c", "22\n")] {
            assert_eq!(directory.record(name, buffer).expect("reads"), text.as_bytes());
        }
        let path: Arc<str> = "/x".into();
        kept.keep(&path, vec![Some(directory), None]);
        assert!(kept.others(&HashSet::from([Arc::clone(&path)])).is_empty());
        assert_eq!(open_files(&kept, 2), 2);
        assert_eq!(kept.others(&HashSet::new()).len(), 1, "closed here");
        assert_eq!(open_files(&kept, 2), 0);
        assert!(kept.take("/x").is_none());
    }
}
