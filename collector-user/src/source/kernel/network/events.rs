//! Interface events from the programs' ring buffer.
//!
//! Owns the decoding of records. Must not know what an event means for the accounts.

use std::mem::offset_of;

use collector_ebpf::packets::{
    FIRST_NET_SLOT, InterfaceEvent as Record, InterfaceEventKind, InterfaceKey, KIND_BYTES,
    NAME_BYTES,
};

use crate::model::network::InterfaceId;

/// What is new about an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterfaceEvent {
    /// Its first packet was seen. An interface with another `netns` and the same
    /// `netns_inum` that was seen before is gone, and its namespace is.
    Seen {
        /// Which one.
        id: InterfaceId,
        /// Inode number of its network namespace, as `/proc/PID/ns/net` shows it.
        netns_inum: u32,
        /// Its slot; `None` where none was free.
        slot: Option<u32>,
        /// Its name.
        name: String,
        /// Its kind (`veth`, `bridge`, `macvlan`); empty for a physical one and for `lo`.
        link_kind: String,
        /// Whether it may merge packets on their way in.
        merges: bool,
    },
    /// It has another name now.
    Renamed {
        /// Which one.
        id: InterfaceId,
        /// Its name now.
        name: String,
    },
}

/// Decodes a record; `None` for one that this version does not know.
pub(super) fn decode(bytes: &[u8]) -> Option<InterfaceEvent> {
    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let text = |at: usize, length: usize| {
        let text = bytes.get(at..at + length)?.split(|&byte| byte == 0).next()?;
        Some(String::from_utf8_lossy(text).into_owned())
    };
    let key = offset_of!(Record, key);
    let id = InterfaceId {
        netns: long(key + offset_of!(InterfaceKey, netns))?,
        ifindex: u32::try_from(long(key + offset_of!(InterfaceKey, ifindex))?).ok()?,
    };
    let kind = word(offset_of!(Record, kind))?;
    let name = text(offset_of!(Record, name), NAME_BYTES)?;
    if kind == InterfaceEventKind::Renamed as u32 {
        return Some(InterfaceEvent::Renamed { id, name });
    }
    if kind != InterfaceEventKind::Seen as u32 {
        return None;
    }
    let slot = word(offset_of!(Record, slot))?;
    Some(InterfaceEvent::Seen {
        id,
        netns_inum: word(offset_of!(Record, netns_inum))?,
        slot: (slot >= FIRST_NET_SLOT).then_some(slot),
        name,
        link_kind: text(offset_of!(Record, link_kind), KIND_BYTES)?,
        merges: word(offset_of!(Record, merges))? != 0,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(kind: u32, slot: u32, ifindex: u64, name: &[u8], link_kind: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(slot.to_ne_bytes());
        bytes.extend(99_u64.to_ne_bytes());
        bytes.extend(ifindex.to_ne_bytes());
        bytes.extend(4_026_532_008_u32.to_ne_bytes());
        bytes.extend(1_u32.to_ne_bytes());
        for (text, length) in [(name, NAME_BYTES), (link_kind, KIND_BYTES)] {
            bytes.extend(text);
            bytes.resize(bytes.len() - text.len() + length, 0);
        }
        assert_eq!(bytes.len(), size_of::<Record>());
        bytes
    }

    const ID: InterfaceId = InterfaceId { netns: 99, ifindex: 7 };

    #[test]
    fn a_first_packet_tells_who_and_where() {
        let seen = |slot| {
            Some(InterfaceEvent::Seen {
                id: ID,
                netns_inum: 4_026_532_008,
                slot,
                name: "eth0".to_owned(),
                link_kind: "veth".to_owned(),
                merges: true,
            })
        };
        assert_eq!(decode(&record(1, 3, 7, b"eth0", b"veth")), seen(Some(3)));
        assert_eq!(decode(&record(1, 0, 7, b"eth0", b"veth")), seen(None));
        assert_eq!(decode(&record(1, 3, 7, b"eth0\0old", b"veth")), seen(Some(3)), "the rest");
    }

    #[test]
    fn a_new_name_is_a_name() {
        let renamed = decode(&record(2, 3, 7, b"wan", b""));
        assert_eq!(renamed, Some(InterfaceEvent::Renamed { id: ID, name: "wan".to_owned() }));
        // A name of all sixteen bytes can't be; it is taken as it is.
        let whole = decode(&record(2, 3, 7, b"0123456789abcdef", b""));
        let name = "0123456789abcdef".to_owned();
        assert_eq!(whole, Some(InterfaceEvent::Renamed { id: ID, name }));
    }

    #[test]
    fn what_is_no_event_is_none() {
        assert_eq!(decode(&record(9, 3, 7, b"eth0", b"")), None, "from another version");
        assert_eq!(decode(&record(1, 3, 1 << 32, b"eth0", b"")), None, "no index");
        assert_eq!(decode(&record(1, 3, 7, b"eth0", b"")[..60]), None, "cut short");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&bytes);
        }
    }
}
