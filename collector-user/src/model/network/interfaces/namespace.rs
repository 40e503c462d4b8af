//! A network namespace in which packets were seen, and who is charged with its traffic.

use std::sync::Arc;

/// For how long a network that nobody is known to be in is nobody's yet, in ms: a runtime
/// has a container's process in it by then.
pub(super) const UNDECIDED_MS: u64 = 10_000;

/// How long the interfaces of a network whose last container is gone keep their slots, in
/// ms: connections that it left open are closed after its processes' end.
pub(super) const GRACE_MS: u64 = 2_000;

/// Who is charged with a network's traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Charge {
    /// It is not known yet; nothing of it is told until then.
    Undecided,
    /// No container, and not the host.
    Nobody,
    Host,
    /// The container at that path.
    Container(Arc<str>),
    /// A container whose series have ended.
    Exited,
}

/// A network namespace in which packets were seen.
#[derive(Clone, Debug)]
pub(super) struct Namespace {
    /// Its inode number.
    pub(super) inum: u64,
    pub(super) charge: Charge,
    /// When it was first seen, monotonic, in ms.
    pub(super) since_ms: u64,
    /// Since when no container is in it although one was, monotonic, in ms.
    pub(super) left_ms: Option<u64>,
    /// Whether another namespace has its number now.
    pub(super) is_dead: bool,
    /// Its interfaces, those that rest included.
    pub(super) interfaces: usize,
}

impl Namespace {
    /// Whether its last container has been gone for the grace time.
    pub(super) fn is_over(&self, now_ms: u64) -> bool {
        self.left_ms.is_some_and(|left_ms| now_ms >= left_ms + GRACE_MS)
    }

    /// Notes that no container is known to be in it.
    pub(super) fn note_left(&mut self, now_ms: u64) {
        match self.charge {
            Charge::Undecided if now_ms >= self.since_ms + UNDECIDED_MS => {
                self.charge = Charge::Nobody;
            }
            Charge::Container(_) | Charge::Exited => {
                self.left_ms.get_or_insert(now_ms);
            }
            Charge::Undecided | Charge::Nobody | Charge::Host => {}
        }
    }
}
