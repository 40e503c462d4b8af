//! One cgroup's files in one hierarchy, while they are read.
//!
//! Owns what a failed or odd reading means: no value, a loss, or the end of the cgroup.
//! Must not know which files there are.

use std::{ffi::CStr, fmt, path::Path};

use rustix::io::Errno;

use super::{forms, kept::KeptDirectory};
use crate::{
    model::{
        collectors::Collector,
        losses::{Losses, Reason},
        resources::Limit,
    },
    source::{
        files::Buffer,
        losses::{Loss, is},
        text,
    },
};

/// Files of a directory. Once the cgroup has gone, nothing more is read of it.
pub(super) struct Files<'r> {
    pub(super) directory: &'r mut KeptDirectory,
    /// Where the hierarchy is mounted, and the cgroup's path in it: for the log.
    pub(super) mount: &'r Path,
    pub(super) path: &'r str,
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
        name: &'static CStr,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        if *self.is_gone {
            return None;
        }
        let outcome = match self.directory.record(name, self.buffer) {
            Ok(bytes) => str::from_utf8(bytes).ok().and_then(parse).ok_or(Loss::malformed()),
            Err(error) if is(&error, Errno::NOENT) => return None,
            // Pressure with `psi=0`.
            Err(error) if is(&error, Errno::OPNOTSUPP) => return None,
            Err(error) => Err(Loss::from(error)),
        };
        outcome.map_err(|loss| self.count(&loss, name.to_bytes().escape_ascii())).ok()
    }

    /// A file that holds one number.
    pub(super) fn number(&mut self, name: &'static CStr) -> Option<u64> {
        self.record(name, text::number)
    }

    /// A file that holds a number, or `max`.
    pub(super) fn limit(&mut self, name: &'static CStr) -> Option<Limit> {
        self.record(name, forms::limit)
    }

    /// These keys' numbers of a file with a key and a number on each line.
    pub(super) fn keyed<const N: usize>(
        &mut self,
        name: &'static CStr,
        keys: [&str; N],
    ) -> [Option<u64>; N] {
        let read = self.record(name, |text| Some(forms::keyed(text, keys)));
        let (values, is_sound) = read.unwrap_or(([None; N], true));
        if !is_sound {
            self.count(&Loss::malformed(), name.to_bytes().escape_ascii());
        }
        values
    }

    /// What a list tells, by `parse`, or why it can't: `None` if it is not told here.
    pub(super) fn list<T>(
        &mut self,
        place: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Option<Loss>> {
        if *self.is_gone {
            return Err(None);
        }
        match self.directory.list(place, self.buffer) {
            Ok(bytes) => str::from_utf8(bytes).ok().and_then(parse).ok_or(Some(Loss::malformed())),
            Err(error) if is(&error, Errno::OPNOTSUPP) => Err(None),
            Err(error) => Err(Some(error.into())),
        }
    }

    /// Counts what a file does not tell; that the cgroup has gone, once.
    pub(super) fn count(&mut self, loss: &Loss, file: impl fmt::Display) {
        self.count_inner(loss, file);
        *self.is_gone |= loss.reason() == Reason::Vanished;
    }

    /// Counts what a file of a cgroup inside does not tell, which may have gone by itself.
    pub(super) fn count_inner(&mut self, loss: &Loss, file: impl fmt::Display) {
        let (mount, path) = (self.mount.display(), self.path.trim_end_matches('/'));
        loss.count(Collector::Cgroup, format_args!("{mount}{path}/{file}"), self.losses);
    }
}
