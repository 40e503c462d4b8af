//! Cgroup events from the programs' ring buffer.
//!
//! Owns the decoding of records. Must not know what an event means for the accounts.

use collector_ebpf::{CgroupEvent as Record, CgroupEventKind, FIRST_SLOT, PATH_BYTES};

/// What happened to a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupEvent {
    /// It was made, and has had its slot since before any task could enter it.
    Created {
        /// Its id: the inode number of its directory.
        id: u64,
        /// Path from the hierarchy's root. One that is longer than an event is cut and
        /// ends in `…#ID`, so that it is nobody else's.
        path: String,
        /// Its slot; `None` where none was free.
        slot: Option<u32>,
    },
    /// It was removed.
    Removed {
        /// Its id.
        id: u64,
    },
}

/// Decodes a record; `None` for one that this version does not know.
pub(super) fn decode(bytes: &[u8]) -> Option<CgroupEvent> {
    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let kind = word(std::mem::offset_of!(Record, kind))?;
    let at = std::mem::offset_of!(Record, id);
    let id = u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?);
    if kind == CgroupEventKind::Removed as u32 {
        return Some(CgroupEvent::Removed { id });
    }
    if kind != CgroupEventKind::Created as u32 {
        return None;
    }
    let slot = word(std::mem::offset_of!(Record, slot))?;
    let length = word(std::mem::offset_of!(Record, path_len))? as usize;
    let at = std::mem::offset_of!(Record, path);
    let text = bytes.get(at..at + length.clamp(1, PATH_BYTES) - 1)?;
    let text = String::from_utf8_lossy(text);
    // A path that fills the record was cut; one of no length could not be read.
    let whole = length > 1 && length < PATH_BYTES;
    let path = if whole { text.into_owned() } else { format!("{text}…#{id}") };
    Some(CgroupEvent::Created { id, path, slot: (slot >= FIRST_SLOT).then_some(slot) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(kind: u32, slot: u32, path: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(slot.to_ne_bytes());
        bytes.extend(42_u64.to_ne_bytes());
        bytes.extend(u32::try_from(path.len()).expect("short").to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(path);
        bytes.resize(size_of::<Record>(), 0);
        bytes
    }

    #[test]
    fn a_creation_carries_path_and_slot() {
        let created = decode(&record(1, 7, b"/docker/a\0"));
        let path = "/docker/a".to_owned();
        assert_eq!(created, Some(CgroupEvent::Created { id: 42, path, slot: Some(7) }));
        let overflow = decode(&record(1, 0, b"/a\0"));
        let path = "/a".to_owned();
        assert_eq!(overflow, Some(CgroupEvent::Created { id: 42, path, slot: None }));
    }

    #[test]
    fn a_cut_path_is_nobody_elses() {
        let cut = decode(&record(1, 7, &[b'x'; PATH_BYTES]));
        let path = format!("{}…#42", "x".repeat(PATH_BYTES - 1));
        assert_eq!(cut, Some(CgroupEvent::Created { id: 42, path, slot: Some(7) }));
        let unread = decode(&record(1, 7, b""));
        let path = "…#42".to_owned();
        assert_eq!(unread, Some(CgroupEvent::Created { id: 42, path, slot: Some(7) }));
    }

    #[test]
    fn a_removal_is_an_id() {
        assert_eq!(decode(&record(2, 0, b"")), Some(CgroupEvent::Removed { id: 42 }));
        assert_eq!(decode(&record(9, 0, b"")), None, "from another version");
        assert_eq!(decode(&record(2, 0, b"")[..12]), None, "cut short");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = decode(&bytes);
        }
    }
}
