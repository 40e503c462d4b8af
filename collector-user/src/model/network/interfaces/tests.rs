//! What becomes of counts, step by step.

mod sequences;

use std::collections::HashSet;

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
