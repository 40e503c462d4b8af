//! The kernel's type information: where a field lies, what an enum means.
//!
//! Owns a reader over the raw bytes of `/sys/kernel/btf/vmlinux`: it keeps an offset
//! per type and copies nothing, since a dozen fields are wanted of 150,000 types. It
//! must not know which fields those are.
//!
//! Format: <https://docs.kernel.org/bpf/btf.html>. (aya-obj reads BTF too, but keeps
//! the members of its types to itself.)

use thiserror::Error;

/// Why BTF could not be read.
#[derive(Debug, Error)]
pub enum BtfError {
    /// Not BTF, or of another byte order.
    #[error("it does not start with BTF's magic number")]
    Magic,
    /// A section or a type reaches beyond the end.
    #[error("it ends in the middle of a {0}")]
    Truncated(&'static str),
    /// A kind of type that this reader has no size for.
    #[error("type {id} is of unknown kind {kind}")]
    Kind {
        /// Which type.
        id: usize,
        /// Its kind's number.
        kind: u32,
    },
}

/// Where a field lies in its struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Bytes from the struct's start.
    pub offset: u64,
    /// Bytes that the field takes; `None` where its type has no size.
    pub size: Option<u64>,
}

/// Type information, indexed by type id.
pub struct Btf {
    data: Vec<u8>,
    /// Where each type's record begins in `data`; ids count from 1, so the first is void.
    records: Vec<u32>,
    strings_at: usize,
    strings_end: usize,
}

const MAGIC: u32 = 0xEB9F;
/// `struct btf_type`: name, info, size or type.
const TYPE_BYTES: usize = 12;
/// Nesting of typedefs, qualifiers and anonymous members that is followed; real
/// kernels need a handful, a damaged file could loop.
const MAX_DEPTH: usize = 32;

mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const FWD: u32 = 7;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const FLOAT: u32 = 16;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// A type's fixed part.
#[derive(Clone, Copy)]
struct Type {
    at: usize,
    name: u32,
    kind: u32,
    /// Number of members, values or parameters.
    entries: usize,
    /// Whether a struct's members pack a bit-field's width into their offset.
    bitfields: bool,
    /// Size in bytes, or the id of the type that this one refers to.
    reference: u32,
}

impl Btf {
    /// Indexes the bytes of a BTF file.
    ///
    /// # Errors
    /// The bytes are no BTF of this machine's byte order, or are damaged.
    pub fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        let word = |at| read_u32(&data, at).ok_or(BtfError::Truncated("header"));
        if word(0)? & 0xffff != MAGIC {
            return Err(BtfError::Magic);
        }
        let header = word(4)? as usize;
        let types_at = header + word(8)? as usize;
        let types_end = types_at + word(12)? as usize;
        let strings_at = header + word(16)? as usize;
        let strings_end = strings_at + word(20)? as usize;
        if types_end.max(strings_end) > data.len() {
            return Err(BtfError::Truncated("section"));
        }
        let mut btf = Self { data, records: vec![0], strings_at, strings_end };
        let mut at = types_at;
        while at < types_end {
            let bytes = btf.record_bytes(at)?;
            if at + bytes > types_end {
                return Err(BtfError::Truncated("type"));
            }
            btf.records.push(u32::try_from(at).map_err(|_| BtfError::Truncated("type"))?);
            at += bytes;
        }
        Ok(btf)
    }

    /// Finds a field by its path (`se.sum_exec_runtime`) in a struct, inside anonymous
    /// structs and unions too. `None` where this kernel has no such field, or only as a
    /// bit-field.
    pub fn member(&self, structure: &str, path: &str) -> Option<Member> {
        self.named(structure, kind::STRUCT).find_map(|id| {
            let mut found = Member { offset: 0, size: None };
            let mut id = id;
            for field in path.split('.') {
                let (offset, type_id) = self.field(id, field, 0)?;
                found.offset += offset;
                id = type_id;
            }
            found.size = self.size(id);
            Some(found)
        })
    }

    /// Value of an enumerator (`cpuacct_cgrp_id` of `cgroup_subsys_id`).
    pub fn enumerator(&self, enumeration: &str, name: &str) -> Option<u32> {
        self.named(enumeration, kind::ENUM).find_map(|id| {
            let found = self.get(id)?;
            (0..found.entries).find_map(|index| {
                let at = found.at + TYPE_BYTES + index * 8;
                (self.string(self.word(at)?)? == name.as_bytes()).then(|| self.word(at + 4))?
            })
        })
    }

    /// Number of arguments that a tracepoint hands to a BTF program; `None` where the
    /// kernel has no such tracepoint.
    pub fn tracepoint_arguments(&self, tracepoint: &str) -> Option<usize> {
        let typedef = format!("btf_trace_{tracepoint}");
        self.named(&typedef, kind::TYPEDEF).find_map(|id| {
            let pointer = self.get(self.resolve(id)?)?;
            let prototype = self.get(pointer.reference as usize)?;
            // The first parameter is the probe's own data, which programs don't see.
            (prototype.kind == kind::FUNC_PROTO).then(|| prototype.entries.checked_sub(1))?
        })
    }

    fn record_bytes(&self, at: usize) -> Result<usize, BtfError> {
        let found = self.type_at(at).ok_or(BtfError::Truncated("type"))?;
        let tail = match found.kind {
            kind::INT | kind::VAR | kind::DECL_TAG => 4,
            kind::ARRAY => 12,
            kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => found.entries * 12,
            kind::ENUM | kind::FUNC_PROTO => found.entries * 8,
            kind::PTR
            | kind::FWD
            | kind::TYPEDEF
            | kind::VOLATILE
            | kind::CONST
            | kind::RESTRICT
            | kind::FUNC
            | kind::FLOAT
            | kind::TYPE_TAG => 0,
            unknown => return Err(BtfError::Kind { id: self.records.len(), kind: unknown }),
        };
        Ok(TYPE_BYTES + tail)
    }

    /// Ids of the types with that name and kind. A name can stand for several: each
    /// compilation unit may have its own.
    fn named<'a>(&'a self, name: &'a str, kind: u32) -> impl Iterator<Item = usize> + 'a {
        (1..self.records.len()).filter(move |&id| {
            self.get(id).is_some_and(|found| {
                found.kind == kind && self.string(found.name) == Some(name.as_bytes())
            })
        })
    }

    /// Byte offset and type of a struct's direct member.
    fn field(&self, id: usize, name: &str, depth: usize) -> Option<(u64, usize)> {
        if depth > MAX_DEPTH {
            return None;
        }
        let parent = self.get(self.resolve(id)?)?;
        if parent.kind != kind::STRUCT && parent.kind != kind::UNION {
            return None;
        }
        (0..parent.entries).find_map(|index| {
            let at = parent.at + TYPE_BYTES + index * 12;
            let member_name = self.string(self.word(at)?)?;
            let type_id = self.word(at + 4)? as usize;
            let packed = self.word(at + 8)?;
            let (bits, width) =
                if parent.bitfields { (packed & 0x00ff_ffff, packed >> 24) } else { (packed, 0) };
            if member_name == name.as_bytes() {
                return (width == 0 && bits % 8 == 0).then_some((u64::from(bits / 8), type_id));
            }
            if member_name.is_empty() {
                let (offset, inner) = self.field(type_id, name, depth + 1)?;
                return Some((u64::from(bits / 8) + offset, inner));
            }
            None
        })
    }

    /// Follows typedefs and qualifiers to the type that they stand for.
    fn resolve(&self, id: usize) -> Option<usize> {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            let found = self.get(id)?;
            match found.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = found.reference as usize;
                }
                _ => return Some(id),
            }
        }
        None
    }

    fn size(&self, id: usize) -> Option<u64> {
        let found = self.get(self.resolve(id)?)?;
        match found.kind {
            kind::PTR => Some(8),
            kind::INT | kind::STRUCT | kind::UNION | kind::ENUM | kind::FLOAT | kind::ENUM64 => {
                Some(u64::from(found.reference))
            }
            kind::ARRAY => {
                let element = self.word(found.at + TYPE_BYTES)? as usize;
                let length = u64::from(self.word(found.at + TYPE_BYTES + 8)?);
                // An array of arrays of itself would never end.
                (element < id).then(|| self.size(element))?.map(|bytes| bytes * length)
            }
            _ => None,
        }
    }

    fn get(&self, id: usize) -> Option<Type> {
        if id == 0 {
            return None;
        }
        self.type_at(*self.records.get(id)? as usize)
    }

    fn type_at(&self, at: usize) -> Option<Type> {
        let info = self.word(at + 4)?;
        Some(Type {
            at,
            name: self.word(at)?,
            kind: (info >> 24) & 0x1f,
            entries: (info & 0xffff) as usize,
            bitfields: info >> 31 == 1,
            reference: self.word(at + 8)?,
        })
    }

    fn string(&self, offset: u32) -> Option<&[u8]> {
        let strings = self.data.get(self.strings_at..self.strings_end)?;
        let rest = strings.get(offset as usize..)?;
        rest.split(|&byte| byte == 0).next()
    }

    fn word(&self, at: usize) -> Option<u32> {
        read_u32(&self.data, at)
    }
}

fn read_u32(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn running_kernel() -> Btf {
        let path = "/sys/kernel/btf/vmlinux";
        Btf::parse(std::fs::read(path).expect("a kernel with BTF")).expect("readable BTF")
    }

    #[test]
    fn the_running_kernel_has_what_every_kernel_has() {
        let btf = running_kernel();
        let pid = btf.member("task_struct", "pid").expect("a pid");
        assert_eq!(pid.size, Some(4));
        let runtime = btf.member("task_struct", "se.sum_exec_runtime").expect("a ledger");
        let entity = btf.member("task_struct", "se").expect("a scheduling entity");
        assert!(runtime.offset > entity.offset, "a nested field lies inside its parent");
        assert!(runtime.offset < entity.offset + entity.size.expect("a sized struct"));
        assert_eq!(btf.member("cgroup", "kn").expect("a directory").size, Some(8));
        assert!(btf.tracepoint_arguments("sched_switch").expect("the tracepoint") >= 3);
        assert!(btf.enumerator("cgroup_subsys_id", "cpu_cgrp_id").is_some());
    }

    #[test]
    fn what_a_kernel_lacks_is_none() {
        let btf = running_kernel();
        assert_eq!(btf.member("task_struct", "no_such_field"), None);
        assert_eq!(btf.member("no_such_struct", "pid"), None);
        assert_eq!(btf.member("task_struct", "pid.deeper"), None, "an int has no members");
        assert_eq!(btf.member("task_struct", "sched_reset_on_fork"), None, "a bit-field");
        assert_eq!(btf.tracepoint_arguments("no_such_tracepoint"), None);
        assert_eq!(btf.enumerator("cgroup_subsys_id", "no_such_controller"), None);
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        assert!(matches!(Btf::parse(Vec::new()), Err(BtfError::Truncated(_))));
        assert!(matches!(Btf::parse(vec![0; 64]), Err(BtfError::Magic)));
        let mut cut = std::fs::read("/sys/kernel/btf/vmlinux").expect("a kernel with BTF");
        cut.truncate(cut.len() / 2);
        assert!(matches!(Btf::parse(cut), Err(BtfError::Truncated(_))));
    }

    proptest! {
        /// No bytes make it panic or loop, whatever is asked of them.
        #[test]
        fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 24..400)) {
            bytes[..4].copy_from_slice(&[0x9f, 0xeb, 1, 0]);
            for (at, value) in [(4, 24_u32), (8, 0), (12, 200), (16, 200), (20, 100)] {
                bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
            }
            if let Ok(btf) = Btf::parse(bytes) {
                for name in ["", "a", "task_struct"] {
                    let _ = btf.member(name, "a.b");
                    let _ = btf.enumerator(name, "a");
                    let _ = btf.tracepoint_arguments(name);
                }
            }
        }
    }
}
