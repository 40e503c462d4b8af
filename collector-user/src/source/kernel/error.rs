//! Why the programs don't run, in words for whoever runs the host; causes are told by
//! [`crate::errors::chain`].

use std::{io, path::PathBuf};

use aya::{EbpfError, maps::MapError, programs::ProgramError};
use thiserror::Error;

use super::btf::BtfError;

/// Why the programs don't run.
#[derive(Debug, Error)]
pub enum LoadError {
    /// No type information of the running kernel.
    #[error(
        "cannot read the kernel's type information, {path} (a kernel built with \
         CONFIG_DEBUG_INFO_BTF has it)"
    )]
    BtfFile {
        /// Where it should be.
        path: PathBuf,
        /// Why it can't be read.
        source: io::Error,
    },
    /// Type information that can't be understood.
    #[error("cannot understand the kernel's type information, {path}")]
    Btf {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        source: BtfError,
    },
    /// The kernel lacks what accounting can't do without.
    #[error("this kernel lacks {}; Slicemeter needs 5.10 or later", .0.join(", "))]
    Missing(Vec<String>),
    /// The object as a whole is refused.
    #[error("the kernel refuses the eBPF object")]
    Object(#[source] Box<EbpfError>),
    /// A program does not pass the verifier; aya's error holds its log.
    #[error("the kernel's verifier refuses the program {program}")]
    Verify {
        /// Which one.
        program: &'static str,
        /// Why.
        source: Box<ProgramError>,
    },
    /// A program can't be attached.
    #[error("the kernel refuses to attach the program {program}")]
    Attach {
        /// Which one.
        program: &'static str,
        /// Why.
        source: Box<ProgramError>,
    },
    /// A map can't be used.
    #[error("the kernel refuses to use the map {map}")]
    Map {
        /// Which one.
        map: &'static str,
        /// Why.
        source: MapError,
    },
    /// A map's memory can't be mapped, or its descriptor can't be polled.
    #[error("cannot use the memory of the map {map}")]
    Memory {
        /// Which one.
        map: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A program or map is not in the object, or is of another type.
    #[error("the eBPF object has no usable {0}: it was not built from this version's sources")]
    Foreign(&'static str),
    /// A socket's cgroup is one of the unified hierarchy, which is not accounted here.
    #[error("sockets are of the unified cgroup hierarchy, and another one is accounted")]
    NotUnified,
    /// The root of the hierarchy can't be opened to attach programs to.
    #[error("cannot open the root of the cgroup hierarchy, {path}")]
    CgroupRoot {
        /// Where it is mounted.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The CPUs can't be counted.
    #[error("cannot tell the CPUs from {path}")]
    Cpus {
        /// The file.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl LoadError {
    /// Whether the daemon itself is to blame, not the host.
    pub fn is_internal(&self) -> bool {
        matches!(self, Self::Foreign(_))
    }

    /// Whether the kernel could do it, and does not let us.
    pub fn is_denial(&self) -> bool {
        std::iter::successors(Some(self as &dyn std::error::Error), |error| error.source())
            .filter_map(|error| error.downcast_ref::<io::Error>())
            .any(|error| error.kind() == io::ErrorKind::PermissionDenied)
    }
}

#[cfg(test)]
mod tests {
    use aya::sys::SyscallError;

    use super::*;
    use crate::errors::chain;

    #[test]
    fn a_reason_is_told_once_whoever_knows_it() {
        let reason = || io::Error::other("not today");
        let syscall = || SyscallError { call: "bpf_raw_tracepoint_open", io_error: reason() };
        let attach =
            |source| LoadError::Attach { program: "sched_switch", source: Box::new(source) };
        for error in [
            LoadError::BtfFile { path: "/btf".into(), source: reason() },
            LoadError::Object(Box::new(EbpfError::ProgramError(syscall().into()))),
            attach(ProgramError::SyscallError(syscall())),
            attach(ProgramError::IOError(reason())),
            LoadError::Map { map: "SLOTS", source: MapError::SyscallError(syscall()) },
            LoadError::Memory { map: "SLOTS", source: reason() },
        ] {
            let told = chain(&error);
            assert_eq!(told.matches("not today").count(), 1, "{told}");
        }
    }
}
