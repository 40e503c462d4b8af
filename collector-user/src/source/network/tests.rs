//! Who is asked, what is told, and what is counted if nobody tells.

mod asking;
mod devices;
mod host;
mod machine;

use super::*;
use crate::{
    model::losses::Reason,
    source::fixture::{self, without_rights},
};

type Fixture = fixture::Fixture<NetworkReader>;

impl Fixture {
    /// A container with these processes in its own cgroup, and below `procfs` (the
    /// fixture's own if it is `None`).
    fn new(procfs: Option<&str>, pids: &[u32]) -> Self {
        Self::made(None, procfs, pids, |places, sysfs| NetworkReader::new(places, sysfs.into()))
    }

    fn ask(&self, hint: Option<u32>) -> (Answer, Losses) {
        counting(|losses| self.reader.ask(&self.target, hint, &mut Buffer::default(), losses))
    }

    fn devices(&self, netns: u64, pid: u32) -> (Option<Vec<Device>>, Losses) {
        let (seat, buffer) = (Seat { netns, pid }, &mut Buffer::default());
        counting(|losses| self.reader.devices(&self.target, seat, WHO, buffer, losses))
    }

    fn host_devices(&self) -> (Option<Vec<HostDevice>>, Losses) {
        counting(|losses| self.reader.host_devices(WHO, &mut Buffer::default(), losses))
    }
}

/// Who wants to know of devices.
const WHO: Collector = Collector::Process;

fn counting<T>(act: impl FnOnce(&mut Losses) -> T) -> (T, Losses) {
    let mut losses = Losses::default();
    (act(&mut losses), losses)
}

fn lost(collector: Collector, reason: Reason, number: u64) -> Losses {
    let mut losses = Losses::default();
    losses.count_many(collector, reason, number);
    losses
}

fn nothing() -> Losses {
    Losses::default()
}

fn seat(netns: u64, pid: u32) -> Answer {
    Answer::In(Seat { netns, pid })
}
