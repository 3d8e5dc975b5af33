use super::client_limits::ClientLimits;
use super::context::{Failure, Intake, SinkContext, SourceContext, StopSignal};
use super::dead_letter::RefusedEvents;
use super::failure_log::FailureLog;
use super::runtime_clock::RuntimeClock;
use super::sink::Sink;
use super::sink_runner::SinkRunner;
use super::source::Source;
use super::source_offset::{BatchOffset, StoredOffset};
use super::source_runner::SourceRunner;
use super::stop_drain::DrainAtStop;
use crate::metrics::{SinkCounters, SinkPhase, SourceCounters};
use millpond::{
    BoxFuture, Channel, CommitError, Event, MemoryChannel, MemoryOptions, SourceOffsetError,
    SystemClock,
};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, timeout};

const TIMEOUT: Duration = Duration::from_secs(60);

fn channel(keep_alive: Duration, bodies: &[&str]) -> Arc<dyn Channel> {
    let options = MemoryOptions { keep_alive, ..MemoryOptions::default() };
    let channel = MemoryChannel::new(options).unwrap();
    let mut put = channel.begin_put();
    for body in bodies {
        put.put(Event::new(body.to_string())).unwrap();
    }
    put.commit().unwrap();
    Arc::new(channel)
}

/// The next action of a scripted sink or source.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Well,
    Fail,
    Panic,
    Hang,
}

/// A call to a scripted component, with its time.
#[derive(Debug, PartialEq)]
enum Did {
    Start(u64),
    Deliver(u64, Vec<String>),
    Tick,
    Stop,
    Run(u64),
}

#[derive(Clone)]
struct Script {
    starts: Arc<Mutex<VecDeque<Act>>>,
    deliveries: Arc<Mutex<VecDeque<Act>>>,
    next_tick: Arc<Mutex<Option<Duration>>>,
    gather: Arc<Mutex<Duration>>,
    together: Arc<AtomicUsize>,
    did: mpsc::UnboundedSender<Did>,
    began: Instant,
}

impl Script {
    fn new(starts: &[Act], deliveries: &[Act]) -> (Self, mpsc::UnboundedReceiver<Did>) {
        let (did, seen) = mpsc::unbounded_channel();
        let script = Self {
            starts: Arc::new(Mutex::new(starts.iter().copied().collect())),
            deliveries: Arc::new(Mutex::new(deliveries.iter().copied().collect())),
            next_tick: Arc::default(),
            gather: Arc::default(),
            together: Arc::new(AtomicUsize::new(1)),
            did,
            began: Instant::now(),
        };
        (script, seen)
    }

    fn seconds(&self) -> u64 {
        // A pause may be shorter by an eighth.
        self.began.elapsed().as_millis().div_ceil(1000) as u64
    }

    async fn act(acts: &Mutex<VecDeque<Act>>) -> Result<(), Failure> {
        let act = acts.lock().unwrap().pop_front().unwrap_or(Act::Well);
        match act {
            Act::Well => Ok(()),
            Act::Fail => Err(Failure::new("scripted")),
            Act::Panic => panic!("scripted panic"),
            Act::Hang => std::future::pending().await,
        }
    }
}

struct ScriptedSink(Script);

impl Sink for ScriptedSink {
    fn batch_events(&self) -> usize {
        2
    }

    fn start<'a>(&'a mut self, _: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        self.0.did.send(Did::Start(self.0.seconds())).unwrap();
        Box::pin(Script::act(&self.0.starts))
    }

    fn deliver<'a>(
        &'a mut self,
        _: &'a SinkContext,
        batch: &'a [Event],
    ) -> BoxFuture<'a, Result<(), Failure>> {
        let bodies = batch.iter().map(|e| String::from_utf8(e.body.to_vec()).unwrap()).collect();
        self.0.did.send(Did::Deliver(self.0.seconds(), bodies)).unwrap();
        Box::pin(Script::act(&self.0.deliveries))
    }

    fn batches_together(&self) -> usize {
        self.0.together.load(Ordering::SeqCst)
    }

    fn linger(&self) -> Duration {
        *self.0.gather.lock().unwrap()
    }

    fn next_tick(&self) -> Option<Duration> {
        *self.0.next_tick.lock().unwrap()
    }

    fn tick<'a>(&'a mut self, _: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        *self.0.next_tick.lock().unwrap() = None;
        self.0.did.send(Did::Tick).unwrap();
        Box::pin(async { Ok(()) })
    }

    fn stop<'a>(&'a mut self, _: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        self.0.did.send(Did::Stop).unwrap();
        Box::pin(async { Ok(()) })
    }
}

struct FlowRun {
    stop: watch::Sender<bool>,
    started: watch::Receiver<bool>,
    task: tokio::task::JoinHandle<()>,
    counters: Arc<SinkCounters>,
}

fn run_sink(script: &Script, channel: &Arc<dyn Channel>, drain_at_stop: bool) -> FlowRun {
    let (stop, signal) = StopSignal::new();
    let (started, has_started) = watch::channel(false);
    let counters = Arc::new(SinkCounters::default());
    let script = script.clone();
    let runner = SinkRunner {
        agent: "a".to_owned(),
        name: "k1".to_owned(),
        make: Box::new(move || Ok(Box::new(ScriptedSink(script.clone())))),
        channel: Arc::clone(channel),
        counters: Arc::clone(&counters),
        clock: Arc::new(RuntimeClock::new()),
        stop: signal,
        tried: watch::channel(false).0,
        started,
        drain_at_stop: Arc::new(drain_at_stop.into()),
        refused: RefusedEvents::default(),
        failure_log: FailureLog::default(),
        tap: Arc::default(),
    };
    FlowRun { stop, started: has_started, task: tokio::spawn(runner.run()), counters }
}

impl FlowRun {
    async fn end(self) {
        self.stop.send_replace(true);
        timeout(TIMEOUT, self.task).await.expect("the runner stops").unwrap();
    }
}

fn delivered(at: u64, bodies: &[&str]) -> Did {
    Did::Deliver(at, bodies.iter().map(|b| (*b).to_owned()).collect())
}

#[tokio::test(start_paused = true)]
async fn a_failed_batch_comes_again_whole_after_growing_pauses() {
    let (script, mut seen) =
        Script::new(&[], &[Act::Fail, Act::Fail, Act::Fail, Act::Well, Act::Fail]);
    let channel = channel(Duration::ZERO, &["1", "2", "3"]);
    let ran = run_sink(&script, &channel, false);
    assert_eq!(seen.recv().await, Some(Did::Start(0)));
    for at in [0, 1, 3, 6] {
        assert_eq!(seen.recv().await, Some(delivered(at, &["1", "2"])));
    }
    // A success resets the pauses.
    assert_eq!(seen.recv().await, Some(delivered(6, &["3"])));
    assert_eq!(seen.recv().await, Some(delivered(7, &["3"])));
    let counters = Arc::clone(&ran.counters);
    ran.end().await;
    assert_eq!(channel.status().events, 0);
    assert_eq!((counters.event_drain_success.get(), counters.rollback.get()), (3, 4));
    assert_eq!(counters.event_drain_attempt.get(), 10);
}

#[tokio::test(start_paused = true)]
async fn waiting_batches_are_delivered_together_and_counted_one_by_one() {
    let (script, mut seen) = Script::new(&[], &[Act::Well, Act::Fail]);
    script.together.store(3, Ordering::SeqCst);
    let large = "x".repeat(700 * 1024);
    let channel = channel(
        Duration::ZERO,
        &["1", "2", "3", "4", "5", "6", "7", "8", "9", &large, &large, "12", &large, &large, "15"],
    );
    let ran = run_sink(&script, &channel, false);
    assert_eq!(seen.recv().await, Some(Did::Start(0)));
    assert_eq!(seen.recv().await, Some(delivered(0, &["1", "2", "3", "4", "5", "6"])));
    let counters = Arc::clone(&ran.counters);
    // No further batch after a mebibyte; a failed delivery is repeated whole.
    let behind = ["7", "8", "9", &large, &large, "12"];
    assert_eq!(seen.recv().await, Some(delivered(0, &behind)));
    assert_eq!(seen.recv().await, Some(delivered(1, &behind)));
    assert_eq!(seen.recv().await, Some(delivered(1, &[&large, &large])));
    assert_eq!(seen.recv().await, Some(delivered(1, &["15"])));
    ran.end().await;
    assert_eq!((counters.batch_complete.get(), counters.batch_underflow.get()), (10, 1));
    assert_eq!((counters.event_drain_success.get(), counters.rollback.get()), (15, 1));
    assert_eq!(channel.status().events, 0);
}

#[tokio::test(start_paused = true)]
async fn the_time_in_each_phase_of_a_sink_is_measured() {
    let (script, mut seen) =
        Script::new(&[Act::Fail, Act::Well], &[Act::Well, Act::Fail, Act::Panic, Act::Hang]);
    let channel = channel(Duration::ZERO, &["1", "2", "3", "4"]);
    let ran = run_sink(&script, &channel, false);
    for did in [
        Did::Start(0),
        Did::Start(3),
        delivered(3, &["1", "2"]),
        delivered(3, &["3", "4"]),
        delivered(4, &["3", "4"]),
        Did::Start(5),
        delivered(5, &["3", "4"]),
    ] {
        assert_eq!(seen.recv().await, Some(did));
    }
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let read = ran.counters.phases.read().expect("it was begun");
    assert_eq!((read.phase, read.lasts.as_secs()), (SinkPhase::Delivering, 3600));
    // A pause may be shorter by an eighth.
    let spent = read.spent.map(|spent| spent.as_secs_f64().round() as u64);
    assert_eq!(spent, [0, 3, 0, 3600, 2]);
    assert_eq!(ran.counters.delivery.read().count(), 1);
    ran.task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_cannot_start_is_started_again_every_three_seconds() {
    let (script, mut seen) = Script::new(&[Act::Fail, Act::Fail, Act::Well], &[]);
    let channel = channel(Duration::ZERO, &["1"]);
    let ran = run_sink(&script, &channel, false);
    for at in [0, 3, 6] {
        assert!(!*ran.started.borrow());
        assert_eq!(seen.recv().await, Some(Did::Start(at)));
    }
    assert_eq!(seen.recv().await, Some(delivered(6, &["1"])));
    assert!(*ran.started.borrow());
    ran.end().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_panic_the_batch_is_repeated_and_the_sink_rebuilt() {
    let (script, mut seen) = Script::new(&[], &[Act::Panic]);
    let channel = channel(Duration::ZERO, &["1", "2"]);
    let ran = run_sink(&script, &channel, false);
    assert_eq!(seen.recv().await, Some(Did::Start(0)));
    assert_eq!(seen.recv().await, Some(delivered(0, &["1", "2"])));
    assert_eq!(seen.recv().await, Some(Did::Start(1)));
    assert_eq!(seen.recv().await, Some(delivered(1, &["1", "2"])));
    assert_eq!(ran.counters.restarts.get(), 1);
    ran.end().await;
    assert_eq!(channel.status().events, 0);
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_a_wait_for_events_at_once() {
    let (script, mut seen) = Script::new(&[], &[]);
    let channel = channel(TIMEOUT * 2, &[]);
    let ran = run_sink(&script, &channel, false);
    assert_eq!(seen.recv().await, Some(Did::Start(0)));
    ran.end().await;
    assert_eq!(seen.recv().await, Some(Did::Stop));
}

/// A sink that fires the stop signal while it delivers.
struct Stopper(ScriptedSink, watch::Sender<bool>);

impl Sink for Stopper {
    fn batch_events(&self) -> usize {
        2
    }

    fn start<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        self.0.start(context)
    }

    fn deliver<'a>(
        &'a mut self,
        context: &'a SinkContext,
        batch: &'a [Event],
    ) -> BoxFuture<'a, Result<(), Failure>> {
        self.1.send_replace(true);
        self.0.deliver(context, batch)
    }

    fn stop<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        self.0.stop(context)
    }
}

/// Runs a [`Stopper`] over three events; returns its calls and the number of events left.
async fn stopped(deliveries: &[Act], drain: impl Into<DrainAtStop>) -> (Vec<Did>, u64) {
    let (script, mut seen) = Script::new(&[], deliveries);
    let (channel, (stop, signal)) = (channel(TIMEOUT * 2, &["1", "2", "3"]), StopSignal::new());
    let runner = SinkRunner {
        agent: "a".to_owned(),
        name: "k1".to_owned(),
        make: Box::new(move || Ok(Box::new(Stopper(ScriptedSink(script.clone()), stop.clone())))),
        channel: Arc::clone(&channel),
        counters: Arc::default(),
        clock: Arc::new(SystemClock::new()),
        stop: signal,
        tried: watch::channel(false).0,
        started: watch::channel(false).0,
        drain_at_stop: Arc::new(drain.into()),
        refused: RefusedEvents::default(),
        failure_log: FailureLog::default(),
        tap: Arc::default(),
    };
    timeout(TIMEOUT, runner.run()).await.unwrap();
    let did = std::iter::from_fn(|| seen.try_recv().ok()).collect();
    (did, channel.status().events)
}

#[tokio::test(start_paused = true)]
async fn stopping_finishes_the_batch_in_hand_and_takes_no_other() {
    let (did, left) = stopped(&[], false).await;
    assert_eq!(did, [Did::Start(0), delivered(0, &["1", "2"]), Did::Stop]);
    assert_eq!(left, 1, "the batch in hand is committed, the rest stays");
}

#[tokio::test(start_paused = true)]
async fn a_channel_in_memory_is_emptied_before_the_sink_stops() {
    let (did, left) = stopped(&[], true).await;
    assert_eq!(did, [Did::Start(0), delivered(0, &["1", "2"]), delivered(0, &["3"]), Did::Stop]);
    assert_eq!(left, 0);
    // A stop with time left retries an undelivered batch.
    let drain = DrainAtStop::from(true);
    drain.until(Duration::from_secs(3600));
    let (did, left) = stopped(&[Act::Well, Act::Fail, Act::Fail], drain).await;
    assert_eq!((did.len(), left), (6, 0), "{did:?}");
    // A failing sink is not retried forever.
    let (did, left) = stopped(&[Act::Well, Act::Fail], true).await;
    assert_eq!((did.len(), left), (4, 1));
}

#[tokio::test(start_paused = true)]
async fn an_aborted_delivery_hands_its_batch_back() {
    let (script, mut seen) = Script::new(&[], &[Act::Hang]);
    let channel = channel(Duration::ZERO, &["1", "2"]);
    let ran = run_sink(&script, &channel, false);
    assert_eq!(seen.recv().await, Some(Did::Start(0)));
    assert_eq!(seen.recv().await, Some(delivered(0, &["1", "2"])));
    assert_eq!(channel.begin_take().take(1), Ok(Vec::new()), "lent to the hung sink");
    ran.task.abort();
    let _ = ran.task.await;
    assert_eq!(channel.begin_take().take(2).unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn time_driven_work_is_done_although_no_event_comes() {
    let (script, mut seen) = Script::new(&[], &[]);
    let channel = channel(TIMEOUT * 2, &[]);
    *script.next_tick.lock().unwrap() = Some(Duration::from_millis(30));
    let ran = run_sink(&script, &channel, false);
    assert_eq!(seen.recv().await, Some(Did::Start(0)));
    assert_eq!(timeout(TIMEOUT, seen.recv()).await.unwrap(), Some(Did::Tick));
    assert!(ran.counters.batch_empty.get() == 0);
    ran.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_not_full_waits_where_the_sink_asks_for_it() {
    let (script, mut seen) = Script::new(&[], &[]);
    let channel = channel(TIMEOUT * 2, &["1"]);
    *script.gather.lock().unwrap() = Duration::from_secs(10);
    let put = |body: &'static str| {
        let mut put = channel.begin_put();
        put.put(Event::new(body)).unwrap();
        put.commit().unwrap();
    };
    let ran = run_sink(&script, &channel, false);
    assert_eq!(seen.recv().await, Some(Did::Start(0)));
    tokio::time::sleep(Duration::from_secs(4)).await;
    put("2");
    assert_eq!(seen.recv().await, Some(delivered(4, &["1", "2"])), "full, so at once");
    put("3");
    assert_eq!(seen.recv().await, Some(delivered(14, &["3"])), "not longer than it asks for");
    put("4");
    tokio::time::sleep(Duration::from_secs(1)).await;
    ran.end().await;
    assert_eq!(seen.recv().await, Some(delivered(15, &["4"])), "stopping ends the wait");
    assert_eq!(channel.status().events, 0);
}

/// A scripted source; `Well` starts and runs until the stop signal.
struct ScriptedSource {
    script: Script,
    /// True if it reports its start before it fails.
    starts: bool,
    number: u64,
}

impl Source for ScriptedSource {
    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let _ = self.script.did.send(Did::Run(self.number * 100 + self.script.seconds()));
            if self.starts {
                context.started();
                // Lets the runner notice it.
                tokio::task::yield_now().await;
            }
            Script::act(&self.script.starts).await?;
            context.started();
            context.stop.wait().await;
            Ok(())
        })
    }
}

struct Nowhere;

impl Intake for Nowhere {
    fn commit(&self, _: Vec<Event>) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(async { Ok(()) })
    }

    fn commit_at(&self, _: Vec<Event>, _: BatchOffset) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(async { Ok(()) })
    }

    fn stored_offset(&self) -> BoxFuture<'_, Result<StoredOffset, SourceOffsetError>> {
        Box::pin(async { Ok(StoredOffset::Nowhere) })
    }

    fn transaction_capacity(&self) -> usize {
        1
    }
}

fn run_source(script: &Script, starts: bool) -> FlowRun {
    let (stop, signal) = StopSignal::new();
    let (started, has_started) = watch::channel(false);
    let script = script.clone();
    let made = Mutex::new(0);
    let runner = SourceRunner {
        name: "r1".to_owned(),
        make: Box::new(move || {
            let mut made = made.lock().unwrap();
            *made += 1;
            Ok(Box::new(ScriptedSource { script: script.clone(), starts, number: *made }))
        }),
        intake: Arc::new(Nowhere),
        counters: Arc::new(SourceCounters::default()),
        clients: ClientLimits::for_tests(),
        clock: Arc::new(RuntimeClock::new()),
        stop: signal,
        started,
    };
    let task = tokio::spawn(runner.run());
    FlowRun { stop, started: has_started, task, counters: Arc::default() }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_failed_or_panicked_runs_again_after_growing_pauses() {
    let (script, mut seen) = Script::new(&[Act::Fail, Act::Fail, Act::Panic], &[]);
    let ran = run_source(&script, true);
    assert_eq!(seen.recv().await, Some(Did::Run(100)));
    assert_eq!(seen.recv().await, Some(Did::Run(101)));
    assert_eq!(seen.recv().await, Some(Did::Run(103)), "the same source goes on");
    assert_eq!(seen.recv().await, Some(Did::Run(206)), "after a panic it is a new one");
    ran.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_cannot_start_is_tried_every_three_seconds() {
    let (script, mut seen) = Script::new(&[Act::Fail, Act::Fail], &[]);
    let mut ran = run_source(&script, false);
    for at in [100, 103] {
        assert_eq!(seen.recv().await, Some(Did::Run(at)));
        assert!(!*ran.started.borrow());
    }
    assert_eq!(seen.recv().await, Some(Did::Run(106)));
    ran.started.wait_for(|started| *started).await.unwrap();
    ran.end().await;
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_a_pause() {
    let (script, mut seen) = Script::new(&[Act::Fail], &[]);
    let ran = run_source(&script, false);
    assert_eq!(seen.recv().await, Some(Did::Run(100)));
    let before = Instant::now();
    ran.end().await;
    assert!(before.elapsed() < Duration::from_secs(3));
    assert!(seen.try_recv().is_err(), "not started again");
}

#[tokio::test]
async fn a_source_that_has_given_all_counts_as_started_and_is_left_alone() {
    struct Done;
    impl Source for Done {
        fn run<'a>(&'a self, _: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
            Box::pin(async { Ok(()) })
        }
    }
    let ((fire, signal), (started, mut has_started)) = (StopSignal::new(), watch::channel(false));
    let counters = Arc::new(SourceCounters::default());
    counters.files_left_out.set(3);
    let runner = SourceRunner {
        name: "r1".to_owned(),
        make: Box::new(|| Ok(Box::new(Done))),
        intake: Arc::new(Nowhere),
        counters: Arc::clone(&counters),
        clients: ClientLimits::for_tests(),
        clock: Arc::new(SystemClock::new()),
        stop: signal,
        started,
    };
    let task = tokio::spawn(runner.run());
    timeout(TIMEOUT, has_started.wait_for(|started| *started)).await.unwrap().unwrap();
    assert_eq!((counters.done.get(), counters.stop_time.get()), (1, 0), "done, and not stopped");
    assert_eq!(counters.files_left_out.get(), 0, "what another type of the name had left");
    fire.send_replace(true);
    timeout(TIMEOUT, task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_source_waiting_for_its_input_counts_as_started_but_not_as_up() {
    struct WaitingSource(Arc<Notify>);
    impl Source for WaitingSource {
        fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
            Box::pin(async {
                context.waits();
                self.0.notified().await;
                context.started();
                context.stop.wait().await;
                Ok(())
            })
        }
    }
    let (there, counters) = (Arc::new(Notify::new()), Arc::<SourceCounters>::default());
    let ((stop, signal), (started, mut has_started)) = (StopSignal::new(), watch::channel(false));
    let made = Arc::clone(&there);
    let runner = SourceRunner {
        name: "r1".to_owned(),
        make: Box::new(move || Ok(Box::new(WaitingSource(Arc::clone(&made))))),
        intake: Arc::new(Nowhere),
        counters: Arc::clone(&counters),
        clients: ClientLimits::for_tests(),
        clock: Arc::new(SystemClock::new()),
        stop: signal,
        started,
    };
    let task = tokio::spawn(runner.run());
    timeout(TIMEOUT, has_started.wait_for(|started| *started)).await.unwrap().unwrap();
    assert_eq!(counters.up.get(), 0);
    there.notify_one();
    let up = async {
        while counters.up.get() == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(TIMEOUT, up).await.unwrap();
    stop.send_replace(true);
    timeout(TIMEOUT, task).await.unwrap().unwrap();
    assert_eq!(counters.up.get(), 0);
}
