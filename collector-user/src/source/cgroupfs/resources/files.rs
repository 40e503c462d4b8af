//! One cgroup's files in one hierarchy, while they are read.
//!
//! Owns what a failed or odd reading means: no value, a loss, or the end of the cgroup.
//! Must not know which files there are.

use std::{ffi::CStr, path::Path};

use rustix::io::Errno;

use super::forms;
use crate::{
    model::{
        collectors::Collector,
        losses::{Losses, Reason},
        resources::Limit,
    },
    source::{
        files::{Buffer, Directory, is, reason},
        text,
    },
};

/// Files of a directory. Once the cgroup has gone, nothing more is read of it.
pub(super) struct Files<'r> {
    pub(super) directory: Directory,
    pub(super) buffer: &'r mut Buffer,
    pub(super) losses: &'r mut Losses,
    /// Whether the cgroup has gone; counted when it is set.
    pub(super) is_gone: &'r mut bool,
}

impl Files<'_> {
    /// What a file of one record tells, by `parse`. A file that is not there belongs to a
    /// newer kernel, or to a controller that is not enabled: no value, no loss.
    pub(super) fn record<T>(
        &mut self,
        name: &CStr,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        if *self.is_gone {
            return None;
        }
        let outcome = match self.directory.record(name, self.buffer) {
            Ok(bytes) => str::from_utf8(bytes).ok().and_then(parse).ok_or(Reason::Malformed),
            Err(error) if is(&error, Errno::NOENT) => return None,
            // Pressure with `psi=0`.
            Err(error) if is(&error, Errno::OPNOTSUPP) => return None,
            Err(error) => Err(reason(&error)),
        };
        outcome.map_err(|reason| self.count(reason)).ok()
    }

    /// A file that holds one number.
    pub(super) fn number(&mut self, name: &CStr) -> Option<u64> {
        self.record(name, text::number)
    }

    /// A file that holds a number, or `max`.
    pub(super) fn limit(&mut self, name: &CStr) -> Option<Limit> {
        self.record(name, forms::limit)
    }

    /// These keys' numbers of a file with a key and a number on each line.
    pub(super) fn keyed<const N: usize>(
        &mut self,
        name: &CStr,
        keys: [&str; N],
    ) -> [Option<u64>; N] {
        let read = self.record(name, |text| Some(forms::keyed(text, keys)));
        let (values, is_sound) = read.unwrap_or(([None; N], true));
        if !is_sound {
            self.count(Reason::Malformed);
        }
        values
    }

    /// What a list tells, by `parse`, or why it can't: `None` if it is not told here.
    pub(super) fn list<T>(
        &mut self,
        place: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Option<Reason>> {
        if *self.is_gone {
            return Err(None);
        }
        match self.directory.list(place, self.buffer) {
            Ok(bytes) => str::from_utf8(bytes).ok().and_then(parse).ok_or(Some(Reason::Malformed)),
            Err(error) if is(&error, Errno::OPNOTSUPP) => Err(None),
            Err(error) => Err(Some(reason(&error))),
        }
    }

    /// Files of another directory, read on the same way. One that can't be opened is
    /// counted.
    pub(super) fn elsewhere(&mut self, directory: &Path) -> Option<Files<'_>> {
        let directory = match Directory::open(directory) {
            Ok(directory) => directory,
            Err(error) => {
                self.losses.count(Collector::Cgroup, reason(&error));
                return None;
            }
        };
        let Self { buffer, losses, is_gone, .. } = self;
        Some(Files { directory, buffer, losses, is_gone })
    }

    /// Counts a loss; that the cgroup has gone, once.
    pub(super) fn count(&mut self, reason: Reason) {
        self.losses.count(Collector::Cgroup, reason);
        *self.is_gone |= reason == Reason::Vanished;
    }
}
