use super::{DeadLetterPolicy, DeadLetterQueue, RefusedEvents};
use crate::context::StopSignal;
use crate::failure_log::FailureLog;
use crate::log_capture::captured_log;
use crate::metrics::{DropReason, SinkCounters};
use crate::sink::{Failure, RefusedEvent, Sink, SinkContext};
use crate::sink_runner::SinkRunner;
use millpond::{BoxFuture, Channel, Event, ManualClock, MemoryChannel, MemoryOptions};
use serde_json::Value;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// In the runtime's paused time, which advances only while there is nothing to do.
const TIMEOUT: Duration = Duration::from_secs(600);

/// A sink that refuses every batch with an event called `bad…`, and for ever one with an event called `never…`. Of the
/// others it refuses events called `named…` alone and delivers their neighbours.
struct Picky {
    delivered: Arc<Mutex<Vec<String>>>,
    tries: Arc<Mutex<u32>>,
}

impl Sink for Picky {
    fn batch_events(&self) -> usize {
        10
    }

    fn start<'a>(&'a mut self, _: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }

    fn deliver<'a>(
        &'a mut self,
        _: &'a SinkContext,
        batch: &'a [Event],
    ) -> BoxFuture<'a, Result<(), Failure>> {
        let bodies: Vec<String> =
            batch.iter().map(|e| String::from_utf8_lossy(&e.body).into_owned()).collect();
        Box::pin(async move {
            if bodies.iter().any(|body| body.starts_with("never")) {
                *self.tries.lock().unwrap() += 1;
                return Err(Failure::new("it fits no column").refused_for_ever());
            }
            if bodies.iter().any(|body| body.starts_with("bad")) {
                *self.tries.lock().unwrap() += 1;
                return Err(Failure::new("400, no thanks").refused());
            }
            let (refused, good): (Vec<_>, Vec<_>) =
                bodies.into_iter().enumerate().partition(|(_, body)| body.starts_with("named"));
            self.delivered.lock().unwrap().extend(good.into_iter().map(|(_, body)| body));
            if refused.is_empty() {
                return Ok(());
            }
            *self.tries.lock().unwrap() += 1;
            let why = "no such topic".to_owned();
            let refused =
                refused.into_iter().map(|(index, _)| RefusedEvent { index, why: why.clone() });
            Err(Failure::of_events(refused.collect()))
        })
    }

    fn stop<'a>(&'a mut self, _: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }
}

fn memory() -> Arc<dyn Channel> {
    let options = MemoryOptions { keep_alive: Duration::ZERO, ..MemoryOptions::default() };
    Arc::new(MemoryChannel::new(options).unwrap())
}

fn events(bodies: &[&[u8]]) -> Vec<Event> {
    let event = |body: &&[u8]| {
        let mut event = Event::new(body.to_vec());
        event.headers.set("host", "web1");
        event
    };
    bodies.iter().map(event).collect()
}

fn put(channel: &Arc<dyn Channel>, bodies: &[&[u8]]) {
    let mut put = channel.begin_put();
    events(bodies).into_iter().for_each(|event| put.put(event).unwrap());
    put.commit().unwrap();
}

fn open(channel: &Arc<dyn Channel>) -> watch::Receiver<Option<Arc<dyn Channel>>> {
    watch::channel(Some(Arc::clone(channel))).1
}

fn file(directory: &Path, bytes_max: u64) -> DeadLetterQueue {
    DeadLetterQueue::file(directory, ["a", "k/1"], bytes_max, Arc::new(ManualClock::default()))
}

struct RefusalRun {
    delivered: Arc<Mutex<Vec<String>>>,
    tries: Arc<Mutex<u32>>,
    counters: Arc<SinkCounters>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

fn run(channel: &Arc<dyn Channel>, policy: Option<DeadLetterPolicy>) -> RefusalRun {
    run_with(channel, policy, false)
}

fn run_with(
    channel: &Arc<dyn Channel>,
    policy: Option<DeadLetterPolicy>,
    drains: bool,
) -> RefusalRun {
    let (stop, signal) = StopSignal::new();
    let (delivered, tries, counters) = (Arc::default(), Arc::default(), Arc::default());
    let picky = (Arc::clone(&delivered), Arc::clone(&tries));
    let runner = SinkRunner {
        agent: "a".to_owned(),
        name: "k/1".to_owned(),
        make: Box::new(move || {
            let (delivered, tries) = (Arc::clone(&picky.0), Arc::clone(&picky.1));
            Ok(Box::new(Picky { delivered, tries }))
        }),
        channel: Arc::clone(channel),
        counters: Arc::clone(&counters),
        clock: Arc::new(ManualClock::default()),
        stop: signal,
        tried: watch::channel(false).0,
        started: watch::channel(false).0,
        drain_at_stop: Arc::new(drains.into()),
        refused: RefusedEvents::new(policy),
        failure_log: FailureLog::default(),
        tap: Arc::default(),
    };
    RefusalRun { delivered, tries, counters, stop, task: tokio::spawn(runner.run()) }
}

impl RefusalRun {
    /// Waits for `done`, then stops the sink.
    async fn until(self, done: impl Fn(&Self) -> bool) -> Self {
        let waiting = async {
            while !done(&self) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(TIMEOUT, waiting).await.expect("it comes to that");
        self.stop.send_replace(true);
        let Self { delivered, tries, counters, stop, task } = self;
        task.await.unwrap();
        Self { delivered, tries, counters, stop, task: tokio::spawn(async {}) }
    }

    fn delivered(&self) -> Vec<String> {
        self.delivered.lock().unwrap().clone()
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_refused_goes_to_its_file_and_the_others_to_the_sink() {
    let directory = tempfile::tempdir().unwrap();
    let channel = memory();
    put(&channel, &[b"1", b"2", b"bad \xff", b"3", b"bad 2", b"4"]);
    let dead_letter_queue = file(&directory.path().join("made/here"), 1 << 20);
    let ran = run(&channel, Some(DeadLetterPolicy { after: 3, dead_letter_queue }));
    let ran = ran.until(|_| channel.status().events == 0).await;
    assert_eq!(ran.delivered(), ["1", "2", "3", "4"]);
    // Once in the whole batch, and three times alone for each.
    assert_eq!(*ran.tries.lock().unwrap(), 1 + 3 + 3);
    assert_eq!(ran.counters.dead_letter.get(), 2);
    assert_eq!(ran.counters.drops.get(DropReason::DeadLetter), 2);
    assert_eq!(ran.counters.event_drain_success.get(), 4);
    let lines = lines(&directory.path().join("made/here/a.k%2f1.jsonl"));
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["event"]["body64"], &lines[0]["event"]["body"]),
        (&"YmFkIP8=".into(), &Value::Null)
    );
    assert_eq!(lines[1]["event"]["body"], "bad 2");
    for line in &lines {
        assert_eq!(line["event"]["headers"]["host"], "web1");
        assert_eq!((&line["sink"], &line["refusals"]), (&"k/1".into(), &3.into()));
        assert_eq!(
            (&line["cause"], &line["time"]),
            (&"400, no thanks".into(), &"2020-09-13T12:26:40Z".into())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_final_refusal_goes_to_the_queue_at_once_and_without_a_pause() {
    let directory = tempfile::tempdir().unwrap();
    let channel = memory();
    put(&channel, &[b"1", b"never 1", b"2", b"bad", b"never 2", b"3"]);
    let dead_letter_queue = file(directory.path(), 1 << 20);
    let began = tokio::time::Instant::now();
    let ran = run(&channel, Some(DeadLetterPolicy { after: 5, dead_letter_queue }));
    while ran.counters.dead_letter.get() == 0 {
        sleep(Duration::from_millis(10)).await;
    }
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    let ran = ran.until(|_| channel.status().events == 0).await;
    assert_eq!(ran.delivered(), ["1", "2", "3"]);
    // The whole batch, one for each final refusal, five for the other one.
    assert_eq!(*ran.tries.lock().unwrap(), 1 + 1 + 5 + 1);
    let refusals: Vec<Value> = lines(&directory.path().join("a.k%2f1.jsonl"))
        .iter()
        .map(|l| l["refusals"].clone())
        .collect();
    assert_eq!(refusals, [1, 5, 1]);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_refused_goes_to_another_channel_with_the_cause() {
    let (channel, dead) = (memory(), memory());
    put(&channel, &[b"bad", b"1"]);
    let dead_letter_queue =
        DeadLetterQueue::channel("dead", open(&dead), Arc::new(ManualClock::default()));
    let ran = run(&channel, Some(DeadLetterPolicy { after: 1, dead_letter_queue }));
    let ran = ran.until(|_| channel.status().events == 0).await;
    assert_eq!(ran.delivered(), ["1"]);
    let mut take = dead.begin_take();
    let buried = take.take(10).unwrap();
    assert_eq!(buried.len(), 1);
    assert_eq!(&buried[0].body[..], b"bad");
    let header = |name| buried[0].headers.get(name);
    assert_eq!(header("host"), Some("web1"));
    assert_eq!(header("deadLetter.cause"), Some("400, no thanks"));
    assert_eq!(header("deadLetter.sink"), Some("k/1"));
}

#[tokio::test(start_paused = true)]
async fn without_a_queue_the_event_stays_and_those_before_it_are_delivered() {
    let channel = memory();
    put(&channel, &[b"1", b"2", b"bad", b"3"]);
    let ran = run(&channel, None).until(|ran| *ran.tries.lock().unwrap() > 20).await;
    assert_eq!(ran.delivered(), ["1", "2"]);
    assert_eq!((channel.status().events, ran.counters.dead_letter.get()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_room_it_stays() {
    let directory = tempfile::tempdir().unwrap();
    let channel = memory();
    put(&channel, &[b"bad"]);
    let policy = DeadLetterPolicy { after: 2, dead_letter_queue: file(directory.path(), 20) };
    let ran = run(&channel, Some(policy)).until(|ran| *ran.tries.lock().unwrap() > 10).await;
    assert_eq!((channel.status().events, ran.counters.dead_letter.get()), (1, 0));
    assert_eq!(std::fs::read(directory.path().join("a.k%2f1.jsonl")).unwrap(), b"");
    // The channel is full.
    let (dead, channel) = (memory(), memory());
    put(&channel, &[b"bad"]);
    let full = vec![&b"x"[..]; 100];
    put(&dead, &full);
    let dead_letter_queue =
        DeadLetterQueue::channel("dead", open(&dead), Arc::new(ManualClock::default()));
    let ran = run(&channel, Some(DeadLetterPolicy { after: 1, dead_letter_queue }));
    let _ = ran.until(|ran| *ran.tries.lock().unwrap() > 10).await;
    assert_eq!((channel.status().events, dead.status().events), (1, 100));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_is_logged_once_and_again_when_it_has_room() {
    let (dead, channel) = (memory(), memory());
    put(&dead, &vec![&b"x"[..]; 100]);
    put(&channel, &[b"bad", b"1"]);
    let dead_letter_queue =
        DeadLetterQueue::channel("dead", open(&dead), Arc::new(ManualClock::default()));
    let words = captured_log(async {
        let ran = run(&channel, Some(DeadLetterPolicy { after: 1, dead_letter_queue }));
        while *ran.tries.lock().unwrap() < 50 {
            sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(ran.counters.failing.get(), 1);
        let mut take = dead.begin_take();
        take.take(1).unwrap();
        take.commit().unwrap();
        let ran = ran.until(|_| channel.status().events == 0).await;
        assert_eq!(ran.counters.failing.get(), 0);
    })
    .await;
    assert_eq!(words.matches("cannot go to the channel dead").count(), 1, "{words}");
    assert_eq!(words.matches("recovered after").count(), 1, "{words}");
}

#[tokio::test(start_paused = true)]
async fn events_that_go_to_the_queue_are_not_a_failure_of_the_sink() {
    let directory = tempfile::tempdir().unwrap();
    let channel = memory();
    put(&channel, &[b"1", b"bad 1", b"2", b"bad 2", b"bad 3", b"3"]);
    let policy = DeadLetterPolicy { after: 2, dead_letter_queue: file(directory.path(), 1 << 20) };
    let words = captured_log(async {
        let ran = run(&channel, Some(policy)).until(|_| channel.status().events == 0).await;
        assert_eq!(ran.delivered(), ["1", "2", "3"]);
    })
    .await;
    assert_eq!(words.matches("was refused 2 times and is now in").count(), 3, "{words}");
    assert!(!words.contains("recovered after") && !words.contains("does not deliver"), "{words}");
}

#[tokio::test(start_paused = true)]
async fn a_closed_queue_channel_blocks_only_refused_events() {
    let (channel, dead) = (memory(), memory());
    put(&channel, &[b"1", b"bad", b"2"]);
    let (sender, slot) = watch::channel(None);
    let dead_letter_queue =
        DeadLetterQueue::channel("dead", slot, Arc::new(ManualClock::default()));
    let ran = run(&channel, Some(DeadLetterPolicy { after: 1, dead_letter_queue }));
    while *ran.tries.lock().unwrap() < 5 {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(ran.delivered(), ["1"]);
    sender.send_replace(Some(Arc::clone(&dead)));
    let ran = ran.until(|_| channel.status().events == 0).await;
    assert_eq!((ran.delivered(), dead.status().events), (vec!["1".into(), "2".into()], 1));
}

#[tokio::test(start_paused = true)]
async fn a_draining_stop_loses_nothing_to_a_refused_event() {
    let (directory, channel) = (tempfile::tempdir().unwrap(), memory());
    put(&channel, &[b"1", b"bad", b"2", b"3"]);
    let policy =
        DeadLetterPolicy { after: 100, dead_letter_queue: file(directory.path(), 1 << 20) };
    let ran = run_with(&channel, Some(policy), true);
    while *ran.tries.lock().unwrap() == 0 {
        sleep(Duration::from_millis(10)).await;
    }
    ran.stop.send_replace(true);
    ran.task.await.unwrap();
    assert_eq!(*ran.delivered.lock().unwrap(), ["1", "2", "3"]);
    assert_eq!(
        (lines(&directory.path().join("a.k%2f1.jsonl")).len(), channel.status().events),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn refused_events_that_are_named_leave_and_their_neighbours_are_delivered_once() {
    let (channel, set_aside) = (memory(), memory());
    put(&channel, &[b"a", b"named 1", b"b", b"named 2", b"c"]);
    let dead_letter_queue =
        DeadLetterQueue::channel("dead", open(&set_aside), Arc::new(ManualClock::default()));
    let done = run(&channel, Some(DeadLetterPolicy { after: 5, dead_letter_queue }))
        .until(|_| channel.status().events == 0)
        .await;
    assert_eq!(done.delivered(), ["a", "b", "c"]);
    assert_eq!((*done.tries.lock().unwrap(), channel.status().events), (1, 0));
    assert_eq!(set_aside.status().events, 2);
    assert_eq!(done.counters.event_drain_success.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn named_events_wait_for_a_queue_without_a_second_delivery_of_their_neighbours() {
    let channel = memory();
    put(&channel, &[b"a", b"named 1", b"b"]);
    let (opens, slot) = watch::channel(None);
    let dead_letter_queue =
        DeadLetterQueue::channel("dead", slot, Arc::new(ManualClock::default()));
    let running = run(&channel, Some(DeadLetterPolicy { after: 5, dead_letter_queue }));
    sleep(Duration::from_secs(30)).await;
    assert_eq!(*running.delivered.lock().unwrap(), ["a", "b"]);
    assert_eq!(channel.status().events, 3);
    opens.send_replace(Some(memory()));
    let done = running.until(|_| channel.status().events == 0).await;
    assert_eq!((*done.tries.lock().unwrap(), channel.status().events), (1, 0));
}
