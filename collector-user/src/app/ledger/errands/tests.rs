//! Errands whose jobs hang until they are let go.

use std::{
    collections::HashMap,
    sync::mpsc::{Receiver, Sender, channel},
};

use tokio::time::{sleep, timeout};

use super::*;
use crate::model::collectors::Collector;

/// How long something may take that is expected at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// A moment that is longer than what takes no time.
const MOMENT: Duration = Duration::from_millis(10);

type Name = &'static str;

impl Job for Name {
    fn is_same(&self, other: &Self) -> bool {
        self == other
    }

    fn path(&self) -> &str {
        self
    }
}

/// Errands that answer with a name's length, if they do.
struct Scene {
    errands: Errands<Name, usize>,
    /// Whose jobs hang, and what they wait for.
    gates: Arc<Mutex<HashMap<Name, Receiver<()>>>>,
}

impl Scene {
    fn new() -> Self {
        let gates = Arc::new(Mutex::new(HashMap::<Name, Receiver<()>>::new()));
        let its_gates = Arc::clone(&gates);
        let errands = Errands::new("a test", move |name: &Name, _, losses: &mut Losses| {
            losses.count(Collector::Network, Reason::Vanished);
            assert!(*name != "fails", "a reader's bug");
            let gate = its_gates.lock().expect("nobody panics with it").remove(name);
            // Fails when it is let go.
            let _let_go = gate.map(|it| it.recv());
            name.len()
        });
        Self { errands, gates }
    }

    /// Lets a job hang until what is returned is dropped.
    fn hang(&self, name: Name) -> Sender<()> {
        let (sender, receiver) = channel();
        self.gates.lock().expect("nobody panics with it").insert(name, receiver);
        sender
    }

    /// Waits until all jobs that are to hang are in hand.
    async fn until_all_hang(&self) {
        while !self.gates.lock().expect("nobody panics with it").is_empty() {
            sleep(MOMENT).await;
        }
    }

    async fn news(&mut self) -> Tidings<Name, usize> {
        timeout(PATIENCE, self.errands.news()).await.expect("in time")
    }

    /// What a look tells as soon as the job that comes next has been in hand for long enough.
    async fn look_later(&mut self) -> Tidings<Name, usize> {
        let looks = async {
            loop {
                if let Some(tidings) = self.errands.look(Instant::now() + HANGS) {
                    return tidings;
                }
                sleep(MOMENT).await;
            }
        };
        timeout(PATIENCE, looks).await.expect("in time")
    }

    /// Sends an errand that does not hang, and waits for its end. Tells who was left out.
    async fn begin_and_end(&mut self, names: Vec<Name>) -> Vec<Name> {
        let left_out = self.errands.begin(names);
        while self.news().await != Tidings::Ended {}
        left_out
    }
}

fn told(name: Name) -> Tidings<Name, usize> {
    let mut losses = Box::<Losses>::default();
    losses.count(Collector::Network, Reason::Vanished);
    Tidings::Told(name, name.len(), losses)
}

fn stuck(name: Name) -> Tidings<Name, usize> {
    Tidings::Lost(name, Reason::Stuck)
}

#[tokio::test]
async fn what_is_told_before_a_job_hangs_is_there_at_once_and_the_rest_goes_on() {
    let mut scene = Scene::new();
    let _gate = scene.hang("hangs");
    let begun = Instant::now();
    assert_eq!(scene.errands.begin(vec!["a", "hangs", "bc", "def"]), [""; 0]);
    assert_eq!(scene.news().await, told("a"));
    assert!(begun.elapsed() < HANGS);
    // Others have their turn meanwhile: nothing is lost by it, and nobody waits for longer.
    let news = loop {
        if let Ok(news) = timeout(MOMENT, scene.errands.news()).await {
            break news;
        }
    };
    assert_eq!(news, stuck("hangs"));
    assert!(begun.elapsed() >= HANGS);
    for expected in [told("bc"), told("def"), Tidings::Ended] {
        assert_eq!(scene.news().await, expected);
    }
    assert!(!scene.errands.is_out());
    assert!(timeout(MOMENT, scene.errands.news()).await.is_err(), "nobody is out");
}

#[tokio::test]
async fn what_was_told_comes_before_what_hangs_after_it() {
    let mut scene = Scene::new();
    let _gate = scene.hang("hangs");
    scene.errands.begin(vec!["a", "bc", "hangs"]);
    scene.until_all_hang().await;
    for expected in [told("a"), told("bc"), stuck("hangs")] {
        assert_eq!(scene.look_later().await, expected);
    }
    assert_eq!(scene.news().await, Tidings::Ended);
}

#[tokio::test]
async fn a_job_that_hangs_is_left_out_until_it_is_let_go() {
    let mut scene = Scene::new();
    let gate = scene.hang("hangs");
    scene.errands.begin(vec!["hangs"]);
    assert_eq!(scene.look_later().await, stuck("hangs"));
    assert_eq!(scene.news().await, Tidings::Ended);
    for _ in 0..2 {
        assert_eq!(scene.errands.begin(vec!["a", "hangs", "bc"]), ["hangs"]);
        for expected in [told("a"), told("bc"), Tidings::Ended] {
            assert_eq!(scene.news().await, expected);
        }
    }
    drop(gate);
    let back = async { while !scene.begin_and_end(vec!["hangs"]).await.is_empty() {} };
    timeout(PATIENCE, back).await.expect("it comes back");
    assert_eq!(scene.errands.begin(vec!["hangs"]), [""; 0]);
    assert_eq!(scene.news().await, told("hangs"));
    assert_eq!(scene.news().await, Tidings::Ended, "what came too late is not told");
}

#[tokio::test]
async fn so_many_are_abandoned_and_no_more() {
    let mut scene = Scene::new();
    let names = ["h1", "h2", "h3", "h4", "h5", "last"];
    let mut gates: Vec<_> = names[..5].iter().map(|name| scene.hang(name)).collect();
    scene.errands.begin(names.to_vec());
    for name in &names[..MAX_ABANDONED] {
        assert_eq!(scene.look_later().await, stuck(name));
    }
    scene.until_all_hang().await;
    for _ in 0..3 {
        assert_eq!(scene.errands.look(Instant::now() + HANGS), None);
        assert!(timeout(MOMENT, scene.errands.news()).await.is_err());
    }
    assert_eq!(scene.errands.abandoned.len(), MAX_ABANDONED);
    // One comes back: another may be done without.
    drop(gates.remove(1));
    assert_eq!(scene.look_later().await, stuck("h5"));
    assert_eq!(scene.errands.abandoned.len(), MAX_ABANDONED);
    for expected in [told("last"), Tidings::Ended] {
        assert_eq!(scene.news().await, expected);
    }
    assert_eq!(scene.begin_and_end(names.to_vec()).await, ["h1", "h3", "h4", "h5"]);
}

#[tokio::test]
async fn one_that_hangs_and_answers_after_all_is_told_while_it_is_waited_for() {
    let mut scene = Scene::new();
    let gate = scene.hang("slow");
    scene.errands.begin(vec!["slow", "a"]);
    assert!(timeout(MOMENT, scene.errands.news()).await.is_err());
    drop(gate);
    for expected in [told("slow"), told("a"), Tidings::Ended] {
        assert_eq!(scene.news().await, expected);
    }
    assert_eq!(scene.errands.abandoned.len(), 0);
}

#[tokio::test]
async fn a_readers_bug_costs_its_job() {
    let mut scene = Scene::new();
    scene.errands.begin(vec!["a", "fails", "bc"]);
    let failed = Tidings::Lost("fails", Reason::Failed);
    for expected in [told("a"), failed, told("bc"), Tidings::Ended] {
        assert_eq!(scene.news().await, expected);
    }
}
