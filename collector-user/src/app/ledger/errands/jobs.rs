//! What errands are sent for: answers of containers, and `net/dev`.
//!
//! Owns which jobs read the same files. Must not know who does them, nor when.

use std::sync::Arc;

use super::{Errands, Job};
use crate::{
    model::{
        collectors::Collector,
        network::{
            Device, Seat,
            members::{Answer, Question},
        },
        targets::{HOST_PATH, Target},
    },
    source::network::NetworkReader,
};

/// Errands that ask containers for their networks.
pub(in crate::app::ledger) type Asking = Errands<Question, Answer>;

/// Errands that read `net/dev`; `None` where it can't be.
pub(in crate::app::ledger) type Auditing = Errands<NetDev, Option<Vec<Device>>>;

/// A network whose `net/dev` is read.
#[derive(Clone, Debug)]
pub(in crate::app::ledger) enum NetDev {
    /// The host's own, with its inode number.
    Host(u64),
    /// That of a container.
    Container(Seat, Target),
}

impl NetDev {
    /// Inode number of the network.
    pub(in crate::app::ledger) const fn inum(&self) -> u64 {
        match self {
            Self::Host(inum) => *inum,
            Self::Container(seat, _) => seat.netns,
        }
    }
}

impl Job for NetDev {
    fn is_same(&self, other: &Self) -> bool {
        self.inum() == other.inum()
    }

    fn path(&self) -> &str {
        match self {
            Self::Host(_) => HOST_PATH,
            Self::Container(_, target) => &target.path,
        }
    }
}

impl Job for Question {
    fn is_same(&self, other: &Self) -> bool {
        self.target.path == other.target.path && self.life == other.life
    }

    fn path(&self) -> &str {
        &self.target.path
    }
}

/// Errands that ask each container once.
pub(in crate::app::ledger) fn asking(reader: &Arc<NetworkReader>) -> Asking {
    let reader = Arc::clone(reader);
    Errands::new("asking for the network", move |question: &Question, buffer, losses| {
        reader.ask(&question.target, question.hint, buffer, losses)
    })
}

/// Errands that read each network's `net/dev` once.
pub(in crate::app::ledger) fn auditing(reader: &Arc<NetworkReader>) -> Auditing {
    let reader = Arc::clone(reader);
    let network = Collector::Network;
    Errands::new("reading net/dev", move |of: &NetDev, buffer, losses| match of {
        NetDev::Host(_) => {
            let listed = reader.host_devices(network, buffer, losses)?;
            Some(listed.into_iter().map(|it| it.device).collect())
        }
        NetDev::Container(seat, target) => reader.devices(target, *seat, network, buffer, losses),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_known_by_whose_files_it_reads() {
        let target =
            |path: &str| Target { path: path.into(), cgroups: vec![path.into(), "/in".into()] };
        let question =
            |path, life, at_ms| Question { target: target(path), life, hint: None, at_ms };
        let asked = question("/c", 1, 5);
        assert!(asked.is_same(&Question { hint: Some(8), ..question("/c", 1, 9) }));
        assert!(!asked.is_same(&question("/c", 2, 5)), "another life");
        assert!(!asked.is_same(&question("/d", 1, 5)));

        let net_dev = |netns, pid, path| NetDev::Container(Seat { netns, pid }, target(path));
        let (host, read) = (NetDev::Host(1), net_dev(7, 8, "/c"));
        assert!(read.is_same(&net_dev(7, 9, "/d")), "another seat in it");
        assert!(!read.is_same(&net_dev(6, 8, "/c")));
        assert!(!read.is_same(&host));
        assert_eq!([host.path(), read.path(), asked.path()], ["/", "/c", "/c"]);
        assert_eq!([host.inum(), read.inum()], [1, 7]);
    }
}
