//! Who is in which network, and under whom a network's traffic is told.
//!
//! Owns what containers' processes answered, and when they are to be asked again. Must not
//! ask anyone.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{Role, Seat};
use crate::model::targets::Target;

/// For how long a new container's answers are doubted, in ms: its runtime makes the process
/// first and puts it into its network later, so that the first answer can be the host's.
const SETTLING_MS: u64 = 5_000;

/// How long a container that has answered goes unasked, in ms: a process changes its network
/// rarely, but it may.
const STALE_MS: u64 = 10_000;

/// How long a doubtful answer is left alone, in ms.
const DOUBT_MS: u64 = 1_000;

/// How long a new container that could not answer yet, or not for itself, is left alone, in
/// ms: the time that a runtime takes between a container's cgroup, its first process, and that
/// one's own network.
const RETRY_MS: u64 = 100;

/// What a container's processes say of their network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is the host's.
    Host,
    /// It is another one.
    In(Seat),
    /// It is another one, and the one that its runtime is in: the container uses that, or has
    /// not been given its own yet. Its inode number.
    Runtimes(u64),
    /// There is no process.
    Empty,
    /// None of those asked could tell.
    Unknown,
}

/// A container that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Living {
    /// Its cgroups.
    pub target: Target,
    /// Tells this life from an earlier one of the same container: the id of its cgroup.
    pub life: u64,
    /// When it was first seen, in ms since the epoch.
    pub first_seen_ms: u64,
}

/// A container that is to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Whose processes.
    pub target: Target,
    /// Which of its lives.
    pub life: u64,
    /// The process that answered last.
    pub hint: Option<u32>,
    /// When it was given out, monotonic, in ms.
    pub at_ms: u64,
}

/// A container that is in a network of containers.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// Which one.
    pub target: &'a Target,
    /// When it was asked the last time that it said so, monotonic, in ms.
    pub asked_ms: u64,
}

#[derive(Debug)]
struct Member {
    living: Living,
    /// When it was taken in, monotonic, in ms.
    since_ms: u64,
    /// When it was asked last, monotonic, in ms; `None` if it is to be asked at once.
    asked_ms: Option<u64>,
    /// When its answer was doubted last, monotonic, in ms.
    doubted_ms: u64,
    /// Whether there was no process the last time, and one before.
    seems_empty: bool,
    answer: Answer,
    /// When the question was given out that it gave this answer to, monotonic, in ms.
    answer_of_ms: u64,
}

impl Member {
    /// When it is to be asked next, monotonic, in ms.
    fn due_ms(&self) -> u64 {
        let Some(asked_ms) = self.asked_ms else { return self.since_ms };
        let is_new = asked_ms < self.since_ms + SETTLING_MS;
        let is_known = self.has_answered() && !self.seems_empty;
        asked_ms
            + match (is_known, is_new) {
                (false, true) => RETRY_MS,
                (true, true) if self.netns().is_none() => RETRY_MS,
                (true, true) | (false, false) => DOUBT_MS,
                (true, false) => STALE_MS,
            }
    }

    fn has_answered(&self) -> bool {
        !matches!(self.answer, Answer::Empty | Answer::Unknown)
    }

    /// Who comes first among those in one network.
    fn rank(&self) -> (u64, &str) {
        (self.living.first_seen_ms, &self.living.target.path)
    }

    fn netns(&self) -> Option<u64> {
        match self.answer {
            Answer::In(seat) => Some(seat.netns),
            Answer::Host | Answer::Runtimes(_) | Answer::Empty | Answer::Unknown => None,
        }
    }
}

/// All living containers, by path.
#[derive(Debug, Default)]
pub struct Members(BTreeMap<Arc<str>, Member>);

impl Members {
    /// Takes over who lives now.
    pub fn live(&mut self, living: impl IntoIterator<Item = Living>, now_ms: u64) {
        let mut before = std::mem::take(&mut self.0);
        for living in living {
            let path = living.target.path.clone();
            let known = before.remove(&path).filter(|it| it.living.life == living.life);
            let member = match known {
                Some(known) => Member { living, ..known },
                None => Member {
                    living,
                    since_ms: now_ms,
                    asked_ms: None,
                    doubted_ms: now_ms,
                    seems_empty: false,
                    answer: Answer::Unknown,
                    answer_of_ms: now_ms,
                },
            };
            self.0.insert(path, member);
        }
    }

    /// Those who are to be asked now.
    pub fn due(&self, now_ms: u64) -> Vec<Question> {
        let due = self.0.values().filter(|it| it.due_ms() <= now_ms);
        let question = |it: &Member| Question {
            target: it.living.target.clone(),
            life: it.living.life,
            at_ms: now_ms,
            hint: match it.answer {
                Answer::In(seat) => Some(seat.pid),
                Answer::Host | Answer::Runtimes(_) | Answer::Empty | Answer::Unknown => None,
            },
        };
        due.map(question).collect()
    }

    /// When the next is to be asked, monotonic, in ms.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.0.values().map(Member::due_ms).min()
    }

    /// Has everyone asked again who could be in a network that nobody is known to be in:
    /// those who have not answered, whose answer is fresh, or is that network's number.
    pub fn doubt(&mut self, netns: u64, now_ms: u64) {
        for member in self.0.values_mut() {
            let is_new = now_ms < member.since_ms + SETTLING_MS;
            let is_open = !member.has_answered() || matches!(member.answer, Answer::Runtimes(_));
            if is_new || is_open || member.netns() == Some(netns) {
                (member.asked_ms, member.doubted_ms) = (None, now_ms);
            }
        }
    }

    /// Takes over an answer.
    pub fn answered(&mut self, question: &Question, answer: Answer, now_ms: u64) {
        let Some(member) = self.0.get_mut(&question.target.path) else { return };
        if member.living.life != question.life {
            return;
        }
        // What was asked before a doubt does not settle it.
        if question.at_ms >= member.doubted_ms {
            member.asked_ms = Some(now_ms);
        }
        // That nobody could tell this time does not make what is known less true; nor does a
        // list that is empty for once, as while processes move between nested cgroups.
        let is_empty = answer == Answer::Empty;
        let is_doubtful = answer == Answer::Unknown || (is_empty && !member.seems_empty);
        member.seems_empty = is_empty;
        if !(is_doubtful && member.has_answered()) {
            (member.answer, member.answer_of_ms) = (answer, question.at_ms);
        }
    }

    /// Those who are in each network, the one first under which it is told: who was seen
    /// first, since whoever joins a network comes later.
    pub fn owners(&self) -> HashMap<u64, Vec<Owner<'_>>> {
        let mut ranked: Vec<&Member> = self.0.values().collect();
        ranked.sort_unstable_by_key(|it| it.rank());
        let mut owners: HashMap<u64, Vec<Owner<'_>>> = HashMap::new();
        for member in ranked {
            if let Some(netns) = member.netns() {
                let owner = Owner { target: &member.living.target, asked_ms: member.answer_of_ms };
                owners.entry(netns).or_default().push(owner);
            }
        }
        owners
    }

    /// What each container is to its network; those that are new and have not answered yet are
    /// left out.
    pub fn roles(&self, now_ms: u64) -> HashMap<Arc<str>, Role> {
        let owners = self.owners();
        let first = |netns: u64| owners.get(&netns).and_then(|owners| owners.first());
        let role = |path: &Arc<str>, member: &Member| match member.answer {
            Answer::Host => Role::Host,
            // That of an engine in a container is that container's.
            Answer::Runtimes(netns) => first(netns)
                .map_or(Role::Runtimes, |owner| Role::Shared { owner: owner.target.path.clone() }),
            Answer::Empty => Role::Empty,
            Answer::Unknown => Role::Unknown,
            Answer::In(seat) => match first(seat.netns) {
                Some(Owner { target, .. }) if target.path != *path => {
                    Role::Shared { owner: target.path.clone() }
                }
                _ => Role::Owner(seat),
            },
        };
        let is_open =
            |it: &Member| it.answer == Answer::Unknown && now_ms < it.since_ms + SETTLING_MS;
        let known = self.0.iter().filter(|(_, member)| !is_open(member));
        known.map(|(path, member)| (path.clone(), role(path, member))).collect()
    }

    /// The cgroups of a container.
    pub fn target(&self, path: &str) -> Option<&Target> {
        self.0.get(path).map(|it| &it.living.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn living(path: &str, life: u64, first_seen_ms: u64) -> Living {
        let target = Target { path: path.into(), cgroups: vec![path.into()] };
        Living { target, life, first_seen_ms }
    }

    fn seat(netns: u64) -> Answer {
        Answer::In(Seat { netns, pid: 1 })
    }

    fn answer(members: &mut Members, path: &str, answer: Answer, now_ms: u64) {
        let target = members.target(path).expect("it lives").clone();
        let life = members.0[path].living.life;
        members.answered(&Question { target, life, hint: None, at_ms: now_ms }, answer, now_ms);
    }

    fn asked(members: &Members, now_ms: u64) -> Vec<String> {
        members.due(now_ms).iter().map(|it| it.target.path.to_string()).collect()
    }

    #[test]
    fn a_network_is_told_under_whoever_was_first() {
        let mut members = Members::default();
        let paths = ["/joins", "/owns", "/alone", "/host", "/mute", "/empty"];
        members.live(
            [20, 10, 30, 1, 1, 1].iter().zip(paths).map(|(&ms, path)| living(path, 1, ms)),
            0,
        );
        for (path, is) in [
            ("/joins", seat(7)),
            ("/owns", seat(7)),
            ("/alone", seat(8)),
            ("/host", Answer::Host),
            ("/empty", Answer::Empty),
        ] {
            answer(&mut members, path, is, 1);
        }
        assert!(!members.roles(1).contains_key("/mute"), "it is new");
        let roles = members.roles(SETTLING_MS);
        let owner = |netns| Role::Owner(Seat { netns, pid: 1 });
        for (path, role) in [
            ("/joins", Role::Shared { owner: "/owns".into() }),
            ("/owns", owner(7)),
            ("/alone", owner(8)),
            ("/host", Role::Host),
            ("/mute", Role::Unknown),
            ("/empty", Role::Empty),
        ] {
            assert_eq!(roles[path], role, "{path}");
        }
        // The owner goes: whoever is left is told of.
        members.live([living("/joins", 1, 20)], 2);
        assert_eq!(members.roles(100)["/joins"], owner(7));
    }

    #[test]
    fn of_two_that_were_seen_together_the_first_by_path_is_told_of() {
        let mut members = Members::default();
        members.live([living("/b", 1, 5), living("/a", 2, 5)], 0);
        answer(&mut members, "/b", seat(7), 1);
        answer(&mut members, "/a", seat(7), 1);
        assert_eq!(&*members.owners()[&7][0].target.path, "/a");
    }

    #[test]
    fn who_is_in_its_runtimes_network_never_owns_it() {
        let mut members = Members::default();
        members.live([living("/engine", 1, 10), living("/inner", 1, 20)], 0);
        answer(&mut members, "/inner", Answer::Runtimes(7), 1);
        assert_eq!(members.roles(100)["/inner"], Role::Runtimes);
        assert_eq!(members.owners().len(), 0);
        answer(&mut members, "/engine", seat(7), 1);
        assert_eq!(members.roles(100)["/inner"], Role::Shared { owner: "/engine".into() });
    }

    #[test]
    fn the_new_are_asked_often_and_the_settled_rarely() {
        let mut members = Members::default();
        members.live([living("/c", 1, 5)], 1_000);
        assert_eq!(asked(&members, 1_000), ["/c"]);
        answer(&mut members, "/c", Answer::Empty, 1_000);
        assert_eq!(members.next_due_ms(), Some(1_000 + RETRY_MS));
        answer(&mut members, "/c", Answer::Host, 1_100);
        assert_eq!(members.next_due_ms(), Some(1_100 + RETRY_MS), "it may be on its way");
        answer(&mut members, "/c", seat(7), 1_200);
        assert_eq!(members.next_due_ms(), Some(1_200 + DOUBT_MS));
        answer(&mut members, "/c", seat(7), 1_000 + SETTLING_MS);
        assert_eq!(members.next_due_ms(), Some(1_000 + SETTLING_MS + STALE_MS));
        assert_eq!(asked(&members, 1_000 + SETTLING_MS), [""; 0]);
    }

    #[test]
    fn a_new_life_of_a_container_knows_nothing_of_the_one_before() {
        let mut members = Members::default();
        members.live([living("/c", 1, 5)], 0);
        let before = members.due(0);
        answer(&mut members, "/c", seat(7), 0);
        members.live([living("/c", 2, 5)], 50);
        assert_eq!(members.roles(60).get("/c"), None);
        members.answered(&before[0], seat(7), 60);
        assert_eq!(members.roles(60).get("/c"), None, "an answer that came too late");
        // The same life, seen again, does.
        answer(&mut members, "/c", seat(8), 70);
        members.live([living("/c", 2, 5)], 80);
        assert_eq!(members.roles(100)["/c"], Role::Owner(Seat { netns: 8, pid: 1 }));
    }

    #[test]
    fn what_is_known_stays_when_nobody_can_tell() {
        let mut members = Members::default();
        members.live([living("/c", 1, 5)], 0);
        answer(&mut members, "/c", seat(7), 0);
        answer(&mut members, "/c", Answer::Unknown, 10);
        assert_eq!(members.roles(100)["/c"], Role::Owner(Seat { netns: 7, pid: 1 }));
        answer(&mut members, "/c", Answer::Empty, 20);
        assert_eq!(members.roles(100)["/c"], Role::Owner(Seat { netns: 7, pid: 1 }), "for once");
        assert_eq!(members.next_due_ms(), Some(20 + RETRY_MS));
        answer(&mut members, "/c", Answer::Empty, 120);
        assert_eq!(members.roles(100)["/c"], Role::Empty);
        answer(&mut members, "/c", seat(7), 220);
        answer(&mut members, "/c", Answer::Empty, 320);
        assert_eq!(members.roles(100)["/c"], Role::Owner(Seat { netns: 7, pid: 1 }));
    }

    #[test]
    fn an_unknown_network_makes_those_be_asked_who_could_be_in_it() {
        let mut members = Members::default();
        let paths = ["/old", "/same", "/mute"];
        members.live(paths.map(|path| living(path, 1, 5)), 0);
        let late_ms = 2 * SETTLING_MS;
        answer(&mut members, "/old", seat(7), late_ms);
        answer(&mut members, "/same", seat(8), late_ms);
        answer(&mut members, "/mute", Answer::Unknown, late_ms);
        assert_eq!(asked(&members, late_ms), [""; 0]);
        let before = members.due(2 * late_ms);
        members.doubt(8, late_ms + 1);
        assert_eq!(asked(&members, late_ms + 1), ["/mute", "/same"]);
        // An answer to an earlier question does not settle it.
        for question in before.iter().map(|it| Question { at_ms: late_ms, ..it.clone() }) {
            members.answered(&question, seat(9), late_ms + 2);
        }
        assert_eq!(asked(&members, late_ms + 2), ["/mute", "/same"]);
        assert_eq!(members.owners()[&9].len(), 3, "but is one");
    }
}
