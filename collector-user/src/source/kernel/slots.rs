//! The kernel's slots: which cgroup id leads to which, and which are free.
//!
//! Owns the id→slot map and the queue of free slots. When a slot may change hands is
//! the accounts' business.

use std::io::ErrorKind;

use aya::maps::{HashMap, MapData, MapError, Queue};
use collector_ebpf::{FIRST_SLOT, OVERFLOW_SLOT};

/// `BPF_ANY` and `BPF_NOEXIST` (include/uapi/linux/bpf.h).
const ANY: u64 = 0;
const NO_EXIST: u64 = 1;

/// The kernel's side of slots.
pub struct Slots {
    pub(super) ids: HashMap<MapData, u64, u32>,
    pub(super) free: Queue<MapData, u32>,
}

impl Slots {
    /// Fills the queue of free slots; before any program runs.
    pub(super) fn fill(&mut self, slots: u32) -> Result<(), MapError> {
        (FIRST_SLOT..slots).try_for_each(|slot| self.free.push(slot, 0))
    }

    /// Maps a cgroup that was found in the tree to a free slot; `None` where none is
    /// free (it then shares the overflow slot).
    ///
    /// # Errors
    /// The id map is full, or the kernel refuses for another reason.
    pub fn assign(&mut self, id: u64) -> Result<Option<u32>, MapError> {
        // The programs may have been faster: a cgroup made during the walk is theirs.
        if let Ok(slot) = self.ids.get(&id, 0) {
            return Ok((slot >= FIRST_SLOT).then_some(slot));
        }
        let slot = self.pop()?;
        match slot {
            Some(slot) => self.lead(id, slot, NO_EXIST)?,
            None => self.ids.insert(id, OVERFLOW_SLOT, NO_EXIST)?,
        }
        Ok(slot)
    }

    /// Gives a cgroup that shares the overflow slot one of its own, if one is free.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn promote(&mut self, id: u64) -> Result<Option<u32>, MapError> {
        let Some(slot) = self.pop()? else { return Ok(None) };
        self.lead(id, slot, ANY)?;
        Ok(Some(slot))
    }

    /// Takes a cgroup's id out of the map; one that is not in it is forgotten already.
    ///
    /// # Errors
    /// The kernel refuses: the id still leads to its slot.
    pub(super) fn forget(&mut self, id: u64) -> Result<(), MapError> {
        match self.ids.remove(&id) {
            Err(MapError::SyscallError(error)) if error.io_error.kind() == ErrorKind::NotFound => {
                Ok(())
            }
            forgotten => forgotten,
        }
    }

    /// Puts a cleared slot back in the queue.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn give_back(&mut self, slot: u32) -> Result<(), MapError> {
        self.free.push(slot, 0)
    }

    /// Makes the id lead to a slot that was popped, or puts the slot back.
    fn lead(&mut self, id: u64, slot: u32, flags: u64) -> Result<(), MapError> {
        self.ids.insert(id, slot, flags).or_else(|refused| {
            self.free.push(slot, 0)?;
            Err(refused)
        })
    }

    fn pop(&mut self) -> Result<Option<u32>, MapError> {
        match self.free.pop(0) {
            Ok(slot) => Ok(Some(slot)),
            Err(MapError::ElementNotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
