//! Exit codes: the one list of them.
//!
//! Owns their numbers (of sysexits.h) and their meaning in words; `--help` and the
//! README are tested against it. Must not decide when which one is due.

#![forbid(unsafe_code)]

use std::process::ExitCode;

/// How the process ended, for service managers and scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Done, or stopped by a signal after draining.
    Success = 0,
    /// `EX_USAGE`: the command line (or `DOCKER_HOST`) is wrong.
    Usage = 64,
    /// `EX_UNAVAILABLE`: the host lacks something that no right can replace.
    HostLacks = 69,
    /// `EX_SOFTWARE`: a failure that the other codes do not name.
    Internal = 70,
    /// `EX_OSERR`: the listen address cannot be bound.
    CannotListen = 71,
    /// `EX_NOPERM`: the host has everything, but the process may not use it.
    RightsMissing = 77,
}

impl Code {
    /// Every code, by number.
    pub const ALL: [Self; 6] = [
        Self::Success,
        Self::Usage,
        Self::HostLacks,
        Self::Internal,
        Self::CannotListen,
        Self::RightsMissing,
    ];

    /// The number that the shell sees.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// What it means, as `--help` and the README say it.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Success => "done, or stopped by SIGTERM or SIGINT",
            Self::Usage => "wrong command line; nothing was loaded",
            Self::HostLacks => {
                "the host lacks something: kernel version, BTF, cgroup mount, lockdown"
            }
            Self::Internal => "internal error",
            Self::CannotListen => "the listen address cannot be bound",
            Self::RightsMissing => {
                "rights are missing, such as capabilities (69 if the host lacks something too)"
            }
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_sysexits() {
        assert_eq!(Code::ALL.map(Code::number), [0, 64, 69, 70, 71, 77]);
    }
}
