//! Small files that the kernel makes up when they are read.
//!
//! Owns how they are read (from an open directory, into one buffer, within a limit) and
//! which kind of loss a failure is. Must not know what is in them.

use std::{io, path::Path};

use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, CWD, Mode, OFlags, openat, statat},
    io::Errno,
};

use crate::model::losses::Reason;

/// Room for the first read: all but the biggest files fit.
const BUFFER_BYTES: usize = 16 * 1024;

/// The most that is read of a file. A list of 100,000 processes is 700 KB.
const FILE_LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// A directory to read files of. All of them are then of the same process or cgroup,
/// even if another gets its number or path meanwhile.
#[derive(Debug)]
pub struct Directory(OwnedFd);

/// Room that one file after another is read into.
#[derive(Debug, Default)]
pub struct Buffer(Vec<u8>);

impl Directory {
    /// Opens a directory.
    ///
    /// # Errors
    /// What open(2) says.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_at(CWD, path)
    }

    /// Opens a directory in this one.
    ///
    /// # Errors
    /// What openat(2) says.
    pub fn directory(&self, name: impl rustix::path::Arg) -> io::Result<Self> {
        Self::open_at(&self.0, name)
    }

    fn open_at(at: impl rustix::fd::AsFd, name: impl rustix::path::Arg) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(at, name, flags, Mode::empty())?))
    }

    /// The target of a link in it.
    ///
    /// # Errors
    /// What readlinkat(2) says.
    pub fn link(&self, name: impl rustix::path::Arg) -> io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(&self.0, name, Vec::new())?.into_bytes())
    }

    /// Whether there is such an entry in it, be it a link to nowhere.
    ///
    /// # Errors
    /// What fstatat(2) says of an entry that may well be there.
    pub fn has(&self, name: impl rustix::path::Arg) -> io::Result<bool> {
        match statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a file that the kernel writes in one piece (`stat`, `status`, files of cgroup
    /// controllers): a read that does not fill the buffer has got all of it, so that
    /// another, which would only say so, is saved.
    ///
    /// # Errors
    /// What openat(2) and read(2) say; `FileTooLarge` beyond the limit.
    pub fn record<'b>(
        &self,
        name: impl rustix::path::Arg,
        buffer: &'b mut Buffer,
    ) -> io::Result<&'b [u8]> {
        self.read(name, buffer, |got, room| got < room)
    }

    /// Reads a file that the kernel may give out in several pieces (`cgroup.procs`,
    /// `net/dev`): to its end.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub fn list<'b>(
        &self,
        name: impl rustix::path::Arg,
        buffer: &'b mut Buffer,
    ) -> io::Result<&'b [u8]> {
        self.read(name, buffer, |got, _| got == 0)
    }

    fn read<'b>(
        &self,
        name: impl rustix::path::Arg,
        Buffer(bytes): &'b mut Buffer,
        is_end: impl Fn(usize, usize) -> bool,
    ) -> io::Result<&'b [u8]> {
        let file = openat(&self.0, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut length = 0;
        loop {
            if bytes.len() == length {
                if length >= FILE_LIMIT_BYTES {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                bytes.resize((2 * length).max(BUFFER_BYTES), 0);
            }
            let room = bytes.len() - length;
            let got = match rustix::io::read(&file, &mut bytes[length..]) {
                Err(Errno::INTR) => continue,
                got => got?,
            };
            length += got;
            if is_end(got, room) {
                return Ok(&bytes[..length]);
            }
        }
    }
}

/// Which kind of loss a failed read is.
pub fn reason(error: &io::Error) -> Reason {
    match error.kind() {
        io::ErrorKind::NotFound => Reason::Vanished,
        io::ErrorKind::PermissionDenied => Reason::Denied,
        // A process, or a cgroup, that has ended between opening and reading.
        _ if [Errno::SRCH, Errno::NODEV].iter().any(|it| is(error, *it)) => Reason::Vanished,
        _ => Reason::Failed,
    }
}

/// Whether an error is this one of the kernel's.
pub fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_are_read_whole_whatever_was_in_the_buffer_before() {
        let root = tempfile::tempdir().expect("a directory");
        let long = "x".repeat(3 * BUFFER_BYTES + 7);
        fs::create_dir(root.path().join("a")).expect("made");
        fs::write(root.path().join("a/long"), &long).expect("written");
        fs::write(root.path().join("a/short"), "7\n").expect("written");
        fs::write(root.path().join("a/empty"), "").expect("written");
        let directory = Directory::open(root.path()).expect("opens").directory("a").expect("opens");
        let mut buffer = Buffer::default();
        for (name, text) in [("long", long.as_str()), ("short", "7\n"), ("empty", "")] {
            assert_eq!(directory.record(name, &mut buffer).expect(name), text.as_bytes());
            assert_eq!(directory.list(name, &mut buffer).expect(name), text.as_bytes());
        }
    }

    #[test]
    fn a_file_without_an_end_is_given_up() {
        let zeroes = Directory::open(Path::new("/dev")).expect("opens");
        let error = zeroes.list("zero", &mut Buffer::default()).expect_err("too long");
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(reason(&error), Reason::Failed);
    }

    #[test]
    fn a_link_to_nowhere_is_there() {
        let root = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink("nowhere", root.path().join("link")).expect("linked");
        fs::write(root.path().join("file"), "").expect("written");
        let directory = Directory::open(root.path()).expect("opens");
        let there = ["link", "file", "absent", "absent/in", "file/in"]
            .map(|name| directory.has(name).expect(name));
        assert_eq!(there, [true, true, false, false, false]);
        assert!(directory.has("x".repeat(300)).is_err(), "too long to tell");
    }

    #[test]
    fn failures_are_told_apart() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = Directory::open(root.path()).expect("opens");
        let error = directory.record("absent", &mut Buffer::default()).expect_err("absent");
        assert_eq!(reason(&error), Reason::Vanished);
        for (errno, expected) in [
            (Errno::SRCH, Reason::Vanished),
            (Errno::NODEV, Reason::Vanished),
            (Errno::ACCESS, Reason::Denied),
            (Errno::PERM, Reason::Denied),
            (Errno::IO, Reason::Failed),
        ] {
            assert_eq!(reason(&errno.into()), expected, "{errno}");
        }
    }
}
