//! Small files that the kernel makes up when they are read.
//!
//! Owns how they are read: from an open directory, into one buffer, within a limit. Must
//! not know what is in them, nor what their loss amounts to.

use std::{io, path::Path};

use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, statat},
    io::Errno,
};

/// Room for the first read: all but the biggest files fit.
const BUFFER_BYTES: usize = 16 * 1024;

/// The most that is read of a file. A list of 100,000 processes is 700 KB.
const FILE_LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// A directory to read files of. All of them are then of the same process or cgroup,
/// even if another gets its number or path meanwhile.
#[derive(Debug)]
pub struct Directory(OwnedFd);

/// An open file, to be read from its beginning as often as wanted.
#[derive(Debug)]
pub struct OpenFile(OwnedFd);

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

    /// The numbers among the names in a directory in it, in the kernel's order, `limit` at
    /// most.
    ///
    /// # Errors
    /// What openat(2) and getdents(2) say.
    pub fn numbers(&self, name: impl rustix::path::Arg, limit: usize) -> io::Result<Vec<u32>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(&self.0, name, flags, Mode::empty())?;
        let mut numbers = Vec::new();
        for entry in Dir::new(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_str().ok();
            if numbers.len() == limit {
                break;
            }
            numbers.extend(name.and_then(|it| it.parse::<u32>().ok()));
        }
        Ok(numbers)
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
        buffer: &'b mut Buffer,
        is_end: impl Fn(usize, usize) -> bool,
    ) -> io::Result<&'b [u8]> {
        let OpenFile(file) = self.file(name)?;
        fill(buffer, is_end, |_, room| rustix::io::read(&file, room))
    }

    /// Opens a file in it.
    ///
    /// # Errors
    /// What openat(2) says.
    pub fn file(&self, name: impl rustix::path::Arg) -> io::Result<OpenFile> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(OpenFile(openat(&self.0, name, flags, Mode::empty())?))
    }
}

impl OpenFile {
    /// Reads it as [`Directory::record`] does.
    ///
    /// # Errors
    /// What pread(2) says; `FileTooLarge` beyond the limit.
    pub fn record<'b>(&self, buffer: &'b mut Buffer) -> io::Result<&'b [u8]> {
        let is_end = |got, room| got < room;
        fill(buffer, is_end, |offset, room| rustix::io::pread(&self.0, room, offset as u64))
    }
}

/// Reads on, each time from the offset given, until it is the end.
fn fill(
    Buffer(bytes): &mut Buffer,
    is_end: impl Fn(usize, usize) -> bool,
    read: impl Fn(usize, &mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<&[u8]> {
    let mut length = 0;
    loop {
        if bytes.len() == length {
            if length >= FILE_LIMIT_BYTES {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            bytes.resize((2 * length).max(BUFFER_BYTES), 0);
        }
        let room = bytes.len() - length;
        let got = match read(length, &mut bytes[length..]) {
            Err(Errno::INTR) => continue,
            got => got?,
        };
        length += got;
        if is_end(got, room) {
            return Ok(&bytes[..length]);
        }
    }
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
    }

    #[test]
    fn numbers_are_found_among_names() {
        let root = tempfile::tempdir().expect("a directory");
        for name in ["in/12", "in/7", "in/12x", "in/x", "in/-1"] {
            fs::create_dir_all(root.path().join(name)).expect("made");
        }
        let directory = Directory::open(root.path()).expect("opens");
        let mut numbers = directory.numbers("in", 9).expect("listed");
        numbers.sort_unstable();
        assert_eq!(numbers, [7, 12]);
        assert_eq!(directory.numbers("in", 1).expect("listed").len(), 1);
        assert!(directory.numbers("absent", 1).is_err());
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
}
