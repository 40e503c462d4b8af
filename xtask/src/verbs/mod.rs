//! One file per verb.

pub(crate) mod bench;
pub(crate) mod build_ebpf;
pub(crate) mod run;
pub(crate) mod test;
