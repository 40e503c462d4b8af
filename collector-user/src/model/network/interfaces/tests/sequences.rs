//! Random sequences: whoever comes and goes, no packet is lost, and no series goes back.

use proptest::prelude::*;

use super::*;

/// What can happen, with small numbers that collide.
#[derive(Clone, Debug)]
enum Step {
    Seen { netns: u64, ifindex: u32, name: u8 },
    Packets { index: usize, packets: u64 },
    Join { netns: u64, container: u8 },
    Leave { netns: u64 },
    Rename { index: usize, name: u8 },
    Expire { container: u8 },
    Tidy,
}

fn step() -> impl Strategy<Value = Step> {
    let netns = 1_u64..5;
    prop_oneof![
        (netns.clone(), 2_u32..5, 0_u8..4).prop_map(|(netns, ifindex, name)| Step::Seen {
            netns,
            ifindex,
            name
        }),
        (any::<usize>(), 1_u64..100).prop_map(|(index, packets)| Step::Packets { index, packets }),
        (any::<usize>(), 1_u64..100).prop_map(|(index, packets)| Step::Packets { index, packets }),
        (netns.clone(), 0_u8..3).prop_map(|(netns, container)| Step::Join { netns, container }),
        netns.prop_map(|netns| Step::Leave { netns }),
        (any::<usize>(), 0_u8..4).prop_map(|(index, name)| Step::Rename { index, name }),
        (0_u8..3).prop_map(|container| Step::Expire { container }),
        Just(Step::Tidy),
        Just(Step::Tidy),
    ]
}

impl Fixture {
    /// Slots of the interfaces that the programs know.
    fn slots(&self) -> Vec<(InterfaceId, u32)> {
        let live = self.interfaces.live.values();
        let mut slots: Vec<_> = live.filter_map(|it| Some((it.id, it.slot?))).collect();
        slots.sort_unstable();
        slots
    }

    /// Takes a step; returns how many packets were received in it.
    fn take(&mut self, step: &Step, fresh_slot: u32) -> u64 {
        let slots = self.slots();
        match *step {
            Step::Seen { netns, ifindex, name } => {
                let id = id(netns, ifindex);
                // The programs tell of one that they know once.
                if !slots.iter().any(|(known, _)| *known == id) {
                    self.seen(id, fresh_slot, &format!("eth{name}"));
                }
            }
            Step::Packets { index, packets } if !slots.is_empty() => {
                self.receive(slots[index % slots.len()].1, packets);
                return packets;
            }
            Step::Join { netns, container } => self.join(&format!("/{container}"), netns),
            Step::Leave { netns } => self.leave(netns),
            Step::Rename { index, name } if !slots.is_empty() => {
                let (id, _) = slots[index % slots.len()];
                self.interfaces.renamed(id, &format!("eth{name}"));
            }
            Step::Expire { container } => {
                let path: Arc<str> = format!("/{container}").into();
                // Only a container that has no network any more has series that end.
                if !self.members.iter().any(|(_, target)| target.path == path) {
                    self.interfaces.expire([&path]);
                }
            }
            Step::Tidy => drop(self.tidy()),
            Step::Packets { .. } | Step::Rename { .. } => {}
        }
        0
    }

    /// Everything that is told, and what is not told yet.
    fn sum(&self) -> u64 {
        let view = self.interfaces.view();
        let undecided = self.interfaces.charged().filter(|(_, it)| **it == Charge::Undecided);
        let undecided: u64 = undecided.map(|(it, _)| it.uncharged().rx_packets).sum();
        let told = self.interfaces.containers().into_values().flatten().chain(view.host);
        told.filter_map(|it| Some(it.traffic?.rx_packets)).sum::<u64>()
            + view.unattributed.rx_packets
            + view.exited.rx_packets
            + undecided
    }
}

proptest! {
    #[test]
    fn no_packet_is_lost_or_counted_twice(steps in prop::collection::vec(step(), 1..60)) {
        let mut it = Fixture::new();
        // The host's interfaces are forgotten by name only, which no step does.
        let mut sent = 0;
        let (mut unattributed, mut exited) = (0, 0);
        for (slot, step) in (1..).zip(&steps) {
            sent += it.take(step, slot);
            prop_assert_eq!(it.sum(), sent, "after {:?}", step);
            let view = it.interfaces.view();
            prop_assert!(view.unattributed.rx_packets >= unattributed, "{:?}", step);
            prop_assert!(view.exited.rx_packets >= exited, "{:?}", step);
            unattributed = view.unattributed.rx_packets;
            exited = view.exited.rx_packets;
        }
    }

    #[test]
    fn what_a_container_is_told_of_never_falls(steps in prop::collection::vec(step(), 1..60)) {
        let mut it = Fixture::new();
        let mut before: HashMap<u8, HashMap<String, u64>> = HashMap::new();
        for (slot, step) in (1..).zip(&steps) {
            it.take(step, slot);
            for container in 0..3 {
                let told: HashMap<_, _> = it.told(&format!("/{container}")).into_iter().collect();
                let last = before.insert(container, told.clone()).unwrap_or_default();
                if matches!(step, Step::Expire { container: of } if *of == container) {
                    continue;
                }
                for (name, last) in last {
                    let now = told.get(&name);
                    prop_assert!(now >= Some(&last), "{name}: {last}, {now:?} after {step:?}");
                }
            }
        }
    }
}
