use std::collections::HashSet;

use proptest::prelude::*;

use super::{
    namespace::UNDECIDED_MS,
    slots::{IDLE_MS, IDLE_NOBODYS_MS, IDLE_SHORT_MS},
    *,
};
use crate::model::{
    network::{InterfaceView, members::Owner},
    snapshot::SlotCounts,
    targets::Target,
};

const HOST: u64 = 1;
const SLOTS: u32 = 40;

/// Interfaces with the programs' side of it: what was counted in each slot.
struct Fixture {
    interfaces: Interfaces,
    counted: HashMap<u32, Traffic>,
    members: Vec<(u64, Target)>,
    now_ms: u64,
}

fn id(netns: u64, ifindex: u32) -> InterfaceId {
    InterfaceId { netns, ifindex }
}

fn received(packets: u64) -> Traffic {
    Traffic { rx_packets: packets, rx_bytes: 100 * packets, ..Traffic::default() }
}

impl Fixture {
    fn new() -> Self {
        let interfaces = Interfaces::new(Some(HOST), SLOTS);
        Self { interfaces, counted: HashMap::new(), members: Vec::new(), now_ms: 1_000 }
    }

    /// An interface's first packet. Inode numbers of namespaces are their cookies here.
    fn seen(&mut self, id: InterfaceId, slot: u32, name: &str) -> bool {
        self.seen_as(id, id.netns, slot, name, "veth")
    }

    fn seen_as(&mut self, id: InterfaceId, inum: u64, slot: u32, name: &str, kind: &str) -> bool {
        let (slot, link) = ((slot > 0).then_some(slot), Link::of(kind, id.ifindex));
        let sighting = Sighting { id, inum, slot, name, link, merges: false };
        self.interfaces.seen(&sighting, self.now_ms)
    }

    fn receive(&mut self, slot: u32, packets: u64) {
        let traffic = self.counted.entry(slot).or_default();
        *traffic = traffic.plus(received(packets));
        self.read();
    }

    fn read(&mut self) {
        let counted = &self.counted;
        self.interfaces.record(|slot| counted.get(&slot).copied().unwrap_or_default(), self.now_ms);
    }

    /// Has a container be the one under which a network is told.
    fn join(&mut self, path: &str, inum: u64) {
        self.leave(inum);
        self.members.push((inum, Target { path: path.into(), cgroups: vec![] }));
        self.charge();
    }

    fn leave(&mut self, inum: u64) {
        self.members.retain(|(of, _)| *of != inum);
    }

    fn charge(&mut self) {
        let owner = |target| Owner { target, asked_ms: self.now_ms };
        let owners =
            self.members.iter().map(|(inum, target)| (*inum, vec![owner(target)])).collect();
        self.interfaces.charge(&owners, self.now_ms);
    }

    /// A second passes, and what is due is done.
    fn tidy(&mut self) -> Vec<InterfaceId> {
        self.now_ms += 1_000;
        self.read();
        self.charge();
        let slots = self.interfaces.to_settle(self.now_ms).into_iter().collect();
        self.interfaces.settle(&slots);
        self.counted.retain(|slot, _| !slots.contains(slot));
        let over = self.interfaces.to_forget(self.now_ms);
        for id in &over {
            self.interfaces.forgotten(*id, self.now_ms);
        }
        over
    }

    fn told(&self, path: &str) -> Vec<(String, u64)> {
        let views = self.interfaces.containers().remove(path).unwrap_or_default();
        packets(&views)
    }
}

/// Names with the packets received, of what has a count.
fn packets(views: &[InterfaceView]) -> Vec<(String, u64)> {
    views.iter().filter_map(|it| Some((it.name.to_string(), it.traffic?.rx_packets))).collect()
}

fn eth0(packets: u64) -> Vec<(String, u64)> {
    vec![("eth0".to_owned(), packets)]
}

#[test]
fn what_was_counted_before_its_container_was_known_is_the_containers() {
    let mut it = Fixture::new();
    assert!(it.seen(id(7, 2), 1, "eth0"), "who is in it?");
    it.receive(1, 5);
    it.now_ms += 1;
    assert!(!it.seen(id(7, 4), 3, "eth2"), "that was asked before");
    assert_eq!(it.interfaces.view().unattributed, Traffic::default(), "not yet");
    it.join("/c", 7);
    let told = |packets| ["eth0", "eth1", "eth2"].map(str::to_owned).into_iter().zip(packets);
    assert_eq!(it.told("/c"), [("eth0".to_owned(), 5), ("eth2".to_owned(), 0)]);
    // Another interface of the network is the container's at once.
    assert!(!it.seen(id(7, 3), 2, "eth1"));
    it.receive(2, 1);
    assert_eq!(it.told("/c"), told([5, 1, 0]).collect::<Vec<_>>());
}

#[test]
fn an_answer_from_before_a_network_was_seen_is_not_about_it() {
    let mut it = Fixture::new();
    it.join("/old", 7);
    it.now_ms += 10;
    it.seen(id(70, 2), 1, "eth0");
    // The number alone is the same: 7, which the fixture takes for the inode.
    it.seen_as(id(71, 2), 7, 2, "eth0", "veth");
    it.receive(2, 5);
    let target = Target { path: "/old".into(), cgroups: vec![] };
    let owner = Owner { target: &target, asked_ms: it.now_ms - 10 };
    it.interfaces.charge(&HashMap::from([(7, vec![owner])]), it.now_ms);
    assert_eq!(it.told("/old"), []);
    let owner = Owner { target: &target, asked_ms: it.now_ms };
    it.interfaces.charge(&HashMap::from([(7, vec![owner])]), it.now_ms);
    assert_eq!(it.told("/old"), eth0(5), "it said so again");
}

#[test]
fn a_number_that_is_given_anew_is_another_network() {
    let mut it = Fixture::new();
    it.seen_as(id(70, 2), 7, 1, "eth0", "veth");
    it.join("/dead", 7);
    it.receive(1, 5);
    it.leave(7);
    it.seen_as(id(71, 2), 7, 2, "eth0", "veth");
    it.receive(2, 3);
    it.join("/heir", 7);
    assert_eq!((it.told("/dead"), it.told("/heir")), (eth0(5), eth0(3)));
    assert_eq!(it.tidy(), [id(70, 2)], "its slot is of no use");
    it.tidy();
    assert_eq!((it.told("/dead"), it.told("/heir")), (eth0(5), eth0(3)));
}

#[test]
fn who_goes_on_in_a_shared_network_starts_at_zero_and_who_left_keeps_what_was() {
    let mut it = Fixture::new();
    it.seen(id(7, 2), 1, "eth0");
    it.join("/first", 7);
    it.receive(1, 5);
    it.join("/second", 7);
    assert_eq!((it.told("/first"), it.told("/second")), (eth0(5), eth0(0)));
    it.receive(1, 2);
    assert_eq!((it.told("/first"), it.told("/second")), (eth0(5), eth0(2)));
}

#[test]
fn a_network_that_its_container_has_left_ends_after_a_grace_time() {
    let mut it = Fixture::new();
    it.seen(id(7, 2), 1, "eth0");
    it.join("/c", 7);
    it.receive(1, 5);
    it.leave(7);
    assert_eq!(it.tidy(), []);
    it.receive(1, 1);
    assert_eq!(it.told("/c"), eth0(6), "its last words");
    assert_eq!((it.tidy(), it.tidy()), (vec![], vec![id(7, 2)]));
    assert_eq!(it.interfaces.view().slots.retiring, 1);
    // What still lives in it is not the container's any more.
    it.seen(id(7, 2), 2, "eth0");
    it.receive(2, 9);
    it.tidy();
    assert_eq!(it.interfaces.view().slots, SlotCounts { free: 39, used: 1, retiring: 0 });
    for _ in 0..UNDECIDED_MS / 1_000 {
        it.tidy();
    }
    assert_eq!(it.told("/c"), eth0(6));
    assert_eq!(it.interfaces.view().unattributed, received(9));
    it.now_ms += IDLE_NOBODYS_MS;
    assert_eq!(it.tidy(), [id(7, 2)], "nobody can say whether it is still there");
    assert_eq!(it.interfaces.view().unattributed, received(9));
    it.interfaces.expire([&"/c".into()]);
    assert_eq!((it.told("/c"), it.interfaces.view().exited), (vec![], received(6)));
}

#[test]
fn a_container_whose_series_have_ended_before_its_network_is_in_the_roll_up() {
    let mut it = Fixture::new();
    it.seen(id(7, 2), 1, "eth0");
    it.seen(id(7, 4), 2, "eth1");
    it.join("/c", 7);
    it.receive(1, 5);
    it.leave(7);
    it.tidy();
    it.interfaces.expire([&"/c".into()]);
    it.receive(2, 1);
    assert_eq!(it.interfaces.view().exited, received(6));
    for _ in 0..4 {
        it.tidy();
    }
    assert_eq!(it.interfaces.view().exited, received(6));
    assert_eq!(it.interfaces.view().slots.used, 0);
    assert!(it.interfaces.containers.is_empty() && it.interfaces.namespaces.is_empty());
}

#[test]
fn the_loop_is_told_apart_and_in_no_sum() {
    let mut it = Fixture::new();
    it.seen_as(id(7, 1), 7, 1, "lo", "");
    it.receive(1, 5);
    for _ in 0..=UNDECIDED_MS / 1_000 {
        it.tidy();
    }
    assert_eq!(it.interfaces.view().unattributed, Traffic::default());
    it.join("/c", 7);
    it.receive(1, 1);
    it.interfaces.expire([&"/c".into()]);
    assert_eq!(it.interfaces.view().exited, Traffic::default());
}

#[test]
fn the_hosts_interfaces_are_the_hosts_and_end_with_their_names() {
    let mut it = Fixture::new();
    it.seen_as(id(HOST, 2), HOST, 1, "eth0", "");
    it.seen(id(HOST, 9), 2, "veth9");
    it.receive(1, 5);
    it.receive(2, 6);
    let told = |it: &Fixture| packets(&it.interfaces.view().host);
    let listed = HashMap::from([(HOST, HashSet::from(["eth0", "lo"]))]);
    assert_eq!(told(&it), [("eth0".to_owned(), 5), ("veth9".to_owned(), 6)]);
    it.interfaces.listed(&listed);
    assert_eq!(it.tidy(), [id(HOST, 9)]);
    it.tidy();
    it.interfaces.listed(&listed);
    assert_eq!(told(&it), eth0(5));
}

#[test]
fn of_two_with_one_name_the_earlier_is_gone_and_its_count_stays() {
    let mut it = Fixture::new();
    it.seen(id(7, 2), 1, "eth0");
    it.join("/c", 7);
    it.receive(1, 5);
    // Disconnected, and connected again.
    it.seen(id(7, 3), 2, "eth0");
    it.receive(2, 2);
    assert_eq!(it.told("/c"), eth0(7));
    assert_eq!(it.tidy(), [id(7, 2)]);
    it.tidy();
    assert_eq!(it.told("/c"), eth0(7));
    it.interfaces.renamed(id(7, 3), "wan0");
    it.receive(2, 1);
    let wan0 = [("eth0".to_owned(), 7), ("wan0".to_owned(), 1)];
    assert_eq!(it.told("/c"), wan0, "what was told stays where it was");
}

#[test]
fn an_idle_interface_lends_its_slot_and_goes_on_where_it_was() {
    let mut it = Fixture::new();
    it.seen(id(7, 2), 1, "eth0");
    it.join("/c", 7);
    it.receive(1, 5);
    it.now_ms += IDLE_MS;
    assert_eq!(it.tidy(), [id(7, 2)]);
    it.seen(id(7, 2), 3, "eth0");
    it.receive(3, 1);
    assert_eq!(it.told("/c"), eth0(6));
    it.tidy();
    assert_eq!(it.told("/c"), eth0(6));
    // Where slots are short, sooner.
    for slot in 5..SLOTS {
        it.seen(id(7, slot), slot, &format!("eth{slot}"));
    }
    it.now_ms += IDLE_SHORT_MS;
    assert_eq!(it.tidy().len(), 36);
}

#[test]
fn without_a_slot_there_is_nothing_to_tell_until_it_has_one() {
    let mut it = Fixture::new();
    it.seen(id(7, 2), 0, "eth0");
    it.join("/c", 7);
    it.receive(0, 5);
    assert_eq!(it.told("/c"), []);
    assert_eq!(it.interfaces.view().overflow, received(5));
    assert_eq!(it.interfaces.to_promote(), [id(7, 2)]);
    it.interfaces.promoted(id(7, 2), 3, it.now_ms);
    it.receive(3, 1);
    assert_eq!(it.told("/c"), eth0(1));
    it.seen(id(8, 2), 0, "eth0");
    it.interfaces.forgotten(id(8, 2), it.now_ms);
    assert!(!it.interfaces.namespaces.contains_key(&8), "nothing rests");
}

#[test]
fn names_of_the_dead_make_room_and_those_in_use_stay_their_own() {
    let mut it = Fixture::new();
    it.seen(id(7, 2), 1, "eth0");
    it.join("/c", 7);
    it.receive(1, 1_000);
    // An engine in the container makes and removes cables.
    for index in 0..100 {
        let slot = 2 + index % 30;
        it.seen(id(7, 3 + index), slot, &format!("veth{index:03}"));
        it.receive(slot, 1);
        it.interfaces.forgotten(id(7, 3 + index), it.now_ms);
        it.tidy();
    }
    let told = it.told("/c");
    assert_eq!(told.len(), 65);
    assert!(told.contains(&("eth0".to_owned(), 1_000)), "{told:?}");
    assert!(told.contains(&("others/".to_owned(), 37)), "{told:?}");
    assert_eq!(it.interfaces.view().merged, 37);
}

#[test]
fn where_all_names_are_in_use_the_next_are_told_in_one_and_nothing_goes_back() {
    let mut it = Fixture::new();
    it.interfaces.slots = 1_000;
    it.seen(id(7, 2), 1, "eth0");
    it.join("/c", 7);
    for index in 2..90 {
        it.seen(id(7, 1 + index), index, &format!("veth{index:03}"));
        it.receive(index, 10);
    }
    let before: HashMap<_, _> = it.told("/c").into_iter().collect();
    assert_eq!((before.len(), before["others/"]), (65, 250));
    // Others come and go; no one's series moves because of it.
    for index in 90..120 {
        it.seen(id(7, 1 + index), index, &format!("veth{index:03}"));
        it.tidy();
        for (name, packets) in it.told("/c") {
            assert_eq!(packets, before[&name], "{name}");
        }
    }
    it.seen_as(id(7, 1), 7, 500, "lo", "");
    it.receive(500, 3);
    assert!(it.told("/c").contains(&("lo".to_owned(), 3)), "the loop is never in a sum");
}

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
