//! Groups of sinks, on the runtime's paused clock.

use super::context::{Failure, SinkContext, StopSignal};
use super::dead_letter::RefusedEvents;
use super::failure_log::FailureLog;
use super::group_runner::GroupRunner;
use super::processor::{Processor, TYPES};
use super::runtime_clock::RuntimeClock;
use super::sink::Sink;
use super::sink_runner::SinkRunner;
use crate::settings::{Settings, SettingsReader};
use millpond::{BoxFuture, Channel, Clock, Event, MemoryChannel, MemoryOptions};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// What is broken, and what each sink delivered.
#[derive(Clone, Default)]
struct SinkOutcomes {
    dead: Arc<Mutex<BTreeSet<&'static str>>>,
    shut: Arc<Mutex<BTreeSet<&'static str>>>,
    panics: Arc<Mutex<BTreeSet<&'static str>>>,
    /// Sinks without a connection.
    cut: Arc<Mutex<BTreeSet<&'static str>>>,
    /// Starting or connecting these takes 20 s and fails.
    holes: Arc<Mutex<BTreeSet<&'static str>>>,
    /// Deliveries of these do not end.
    hangs: Arc<Mutex<BTreeSet<&'static str>>>,
    /// These have time-driven work, which does not end.
    ticks: Arc<Mutex<BTreeSet<&'static str>>>,
    delivered: Arc<Mutex<Vec<String>>>,
}

struct GroupSink(&'static str, SinkOutcomes);

impl Sink for GroupSink {
    fn batch_events(&self) -> usize {
        1
    }

    fn start<'a>(&'a mut self, _: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        let shut = self.1.shut.lock().unwrap().contains(self.0);
        let hole = self.1.holes.lock().unwrap().contains(self.0);
        Box::pin(async move {
            if hole {
                self.1.cut.lock().unwrap().insert(self.0);
                sleep(CONNECT).await;
            }
            if shut { Err(Failure::new("shut")) } else { Ok(()) }
        })
    }

    fn is_ready(&mut self) -> bool {
        !self.1.cut.lock().unwrap().contains(self.0)
    }

    fn connect<'a>(&'a mut self, _: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            if self.1.holes.lock().unwrap().contains(self.0) {
                sleep(CONNECT).await;
                return Err(Failure::new("no connection"));
            }
            self.1.cut.lock().unwrap().remove(self.0);
            Ok(())
        })
    }

    fn deliver<'a>(
        &'a mut self,
        _: &'a SinkContext,
        batch: &'a [Event],
    ) -> BoxFuture<'a, Result<(), Failure>> {
        assert!(self.is_ready(), "it has its turn when it is connected");
        assert!(!self.1.panics.lock().unwrap().remove(self.0), "scripted panic");
        if self.1.hangs.lock().unwrap().contains(self.0) {
            return Box::pin(std::future::pending());
        }
        let dead = self.1.dead.lock().unwrap().contains(self.0);
        if !dead {
            let body = String::from_utf8(batch[0].body.to_vec()).unwrap();
            self.1.delivered.lock().unwrap().push(format!("{} {body}", self.0));
        }
        Box::pin(async move { if dead { Err(Failure::new("dead")) } else { Ok(()) } })
    }

    fn next_tick(&self) -> Option<Duration> {
        self.1.ticks.lock().unwrap().contains(self.0).then_some(Duration::ZERO)
    }

    fn tick<'a>(&'a mut self, _: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(std::future::pending())
    }

    fn stop<'a>(&'a mut self, _: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }
}

/// Connect timeout of a destination whose packets are lost.
const CONNECT: Duration = Duration::from_secs(20);

/// Takes wait for events, so that only events wake the group.
const KEEP_ALIVE: Duration = Duration::from_secs(3600);

const NAMES: [&str; 3] = ["k1", "k2", "k3"];

fn processor(name: &str, pairs: &[(&str, &str)]) -> Box<dyn Processor> {
    let settings = Settings::from_pairs("processor", pairs);
    let kind = TYPES.iter().find(|kind| kind.names[0] == name).unwrap();
    let names = NAMES.map(str::to_owned);
    (kind.build)(&mut SettingsReader::new(&settings), &names).unwrap()
}

struct GroupFixture {
    world: SinkOutcomes,
    channel: Arc<dyn Channel>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
    started: Vec<watch::Receiver<bool>>,
    next: usize,
}

impl GroupFixture {
    fn new(world: SinkOutcomes, processor: Box<dyn Processor>) -> Self {
        let options = MemoryOptions { keep_alive: KEEP_ALIVE, ..MemoryOptions::default() };
        let channel: Arc<dyn Channel> = Arc::new(MemoryChannel::new(options).unwrap());
        let (stop, signal) = StopSignal::new();
        let clock: Arc<dyn Clock> = Arc::new(RuntimeClock::new());
        let (mut members, mut started) = (Vec::new(), Vec::new());
        for name in NAMES {
            let (sender, receiver) = watch::channel(false);
            started.push(receiver);
            let world = world.clone();
            members.push(SinkRunner {
                agent: "a".to_owned(),
                name: name.to_owned(),
                make: Box::new(move || Ok(Box::new(GroupSink(name, world.clone())))),
                channel: Arc::clone(&channel),
                counters: Arc::default(),
                clock: Arc::clone(&clock),
                stop: signal.clone(),
                tried: watch::channel(false).0,
                started: sender,
                drain_at_stop: Arc::default(),
                refused: RefusedEvents::default(),
                failure_log: FailureLog::default(),
                tap: Arc::default(),
            });
        }
        let runner = GroupRunner { name: "g".to_owned(), members, processor };
        let task = tokio::spawn(runner.run());
        Self { world, channel, stop, task, started, next: 0 }
    }

    /// Puts one event and returns the sink that delivered it.
    async fn one(&mut self) -> String {
        self.next += 1;
        let mut put = self.channel.begin_put();
        put.put(Event::new(self.next.to_string())).unwrap();
        put.commit_async().await.unwrap();
        let before = self.next - 1;
        let all = timeout(Duration::from_secs(600), async {
            loop {
                let delivered = self.world.delivered.lock().unwrap().clone();
                if delivered.len() > before {
                    return delivered;
                }
                sleep(Duration::from_millis(5)).await;
            }
        });
        let all = all.await.expect("a sink delivers it");
        assert_eq!(all.len(), self.next, "once: {all:?}");
        let (who, what) = all[before].split_once(' ').unwrap();
        assert_eq!(what, self.next.to_string());
        who.to_owned()
    }

    async fn end(self) {
        self.stop.send_replace(true);
        timeout(Duration::from_secs(60), self.task).await.expect("it stops").unwrap();
        assert_eq!(self.channel.status().events, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn failover_moves_to_the_next_and_back_and_loses_nothing() {
    let world = SinkOutcomes::default();
    let pairs = [("priority.k1", "1"), ("priority.k2", "9"), ("priority.k3", "5")];
    let mut group = GroupFixture::new(world.clone(), processor("failover", &pairs));
    assert_eq!(group.one().await, "k2");
    world.dead.lock().unwrap().insert("k2");
    assert_eq!(group.one().await, "k3");
    world.dead.lock().unwrap().insert("k3");
    assert_eq!(group.one().await, "k1");
    world.dead.lock().unwrap().clear();
    assert_eq!(group.one().await, "k1", "those that failed rest");
    sleep(Duration::from_secs(31)).await;
    assert_eq!(group.one().await, "k2", "and are tried when there is something to try them with");
    assert_eq!(group.one().await, "k3", "each in its turn");
    assert_eq!(group.one().await, "k2", "then the priorities hold again");
    assert_eq!(group.one().await, "k2");
    group.end().await;
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_the_event_waits_until_one_is_back() {
    let world = SinkOutcomes::default();
    world.dead.lock().unwrap().extend(NAMES);
    let mut group = GroupFixture::new(world.clone(), processor("failover", &[]));
    let back = world.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(40)).await;
        back.dead.lock().unwrap().remove("k3");
    });
    assert_eq!(group.one().await, "k3");
    group.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_cannot_start_or_panics_is_a_failed_sink() {
    let world = SinkOutcomes::default();
    world.shut.lock().unwrap().insert("k1");
    let mut group = GroupFixture::new(world.clone(), processor("failover", &[]));
    assert_eq!(group.one().await, "k2");
    assert!(group.started.iter().all(|started| *started.borrow()), "the group runs");
    world.panics.lock().unwrap().insert("k2");
    assert_eq!(group.one().await, "k3");
    world.shut.lock().unwrap().clear();
    sleep(Duration::from_secs(60)).await;
    // Both are tried again, the one that failed first before the other.
    let who = [group.one().await, group.one().await, group.one().await];
    assert_eq!(who, ["k1", "k2", "k1"], "then the priorities hold again");
    group.end().await;
}

#[tokio::test(start_paused = true)]
async fn load_balance_goes_round_and_leaves_out_what_fails() {
    let world = SinkOutcomes::default();
    let mut group =
        GroupFixture::new(world.clone(), processor("load_balance", &[("backoff", "true")]));
    let mut who = BTreeSet::new();
    for _ in 0..9 {
        who.insert(group.one().await);
    }
    assert_eq!(who.len(), 3, "all have their turn");
    world.dead.lock().unwrap().insert("k1");
    for _ in 0..9 {
        assert_ne!(group.one().await, "k1");
    }
    group.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_primary_does_not_delay_the_secondary() {
    let world = SinkOutcomes::default();
    let pairs = [("priority.k1", "9"), ("priority.k2", "5"), ("priority.k3", "1")];
    let mut group = GroupFixture::new(world.clone(), processor("failover", &pairs));
    assert_eq!(group.one().await, "k1");
    world.cut.lock().unwrap().insert("k1");
    world.holes.lock().unwrap().insert("k1");
    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(group.one().await, "k2");
        sleep(Duration::from_secs(1)).await;
    }
    let held_up = began.elapsed() - Duration::from_secs(100);
    assert!(held_up < Duration::from_secs(5), "{held_up:?}");
    world.holes.lock().unwrap().clear();
    sleep(Duration::from_secs(31)).await;
    group.one().await;
    sleep(Duration::from_secs(31)).await;
    assert_eq!(group.one().await, "k1", "it is connected again");
    group.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_hangs_blocks_its_group_once_and_not_forever() {
    let world = SinkOutcomes::default();
    let pairs = [("priority.k1", "9"), ("priority.k2", "5"), ("priority.k3", "1")];
    let mut group = GroupFixture::new(world.clone(), processor("failover", &pairs));
    assert_eq!(group.one().await, "k1");
    world.hangs.lock().unwrap().insert("k1");
    let began = Instant::now();
    assert_eq!(group.one().await, "k2");
    assert!(began.elapsed() < Duration::from_secs(310), "{:?}", began.elapsed());
    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(group.one().await, "k2");
        sleep(Duration::from_secs(10)).await;
    }
    // It is tried again after each pause, with less time.
    let held_up = began.elapsed() - Duration::from_secs(1000);
    assert!(held_up < Duration::from_secs(400), "{held_up:?}");
    world.hangs.lock().unwrap().clear();
    sleep(Duration::from_secs(60)).await;
    group.one().await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(group.one().await, "k1", "it is as before");

    world.ticks.lock().unwrap().insert("k3");
    let began = Instant::now();
    assert_eq!(group.one().await, "k1");
    assert!(began.elapsed() < Duration::from_secs(310), "{:?}", began.elapsed());
    world.ticks.lock().unwrap().clear();
    group.end().await;
}

#[tokio::test(start_paused = true)]
async fn dead_members_are_opened_at_once_and_do_not_delay_a_start() {
    let world = SinkOutcomes::default();
    world.holes.lock().unwrap().extend(["k1", "k2"]);
    let began = Instant::now();
    let mut group = GroupFixture::new(world.clone(), processor("load_balance", &[]));
    for _ in 0..20 {
        assert_eq!(group.one().await, "k3");
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    world.holes.lock().unwrap().clear();
    sleep(Duration::from_secs(40)).await;
    let mut who = BTreeSet::new();
    for _ in 0..20 {
        who.insert(group.one().await);
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(who.len(), 3, "all have their turn: {who:?}");
    group.end().await;
}
