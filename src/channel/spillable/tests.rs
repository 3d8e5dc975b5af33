use super::*;
use crate::Event;
use crate::RefusedReason;
use crate::base::clock::ManualClock;
use crate::base::threads;
use crate::channel::file::{FileChannel, FileChannelOptions};
use crate::channel::memory::{MemoryChannel, MemoryOptions};
use crate::channel::{
    BoxFuture, CommitError, CommitFailure, FaultCause, FaultKind, FaultPlace, PutAllError,
    PutError, SourceOffsetError, TakeError,
};
use crate::contract::{self, Wanted, drain, put};
use crate::internal::base::setting;
use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::task::Context;
use std::time::Duration;

/// The longest wait; only a failing test reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns a channel in the place of a durable one.
fn overflow(capacity: u64, transaction_capacity: usize) -> Arc<dyn Channel> {
    let options = MemoryOptions {
        capacity,
        transaction_capacity,
        keep_alive: Duration::ZERO,
        ..MemoryOptions::default()
    };
    Arc::new(MemoryChannel::new(options).unwrap())
}

fn with_memory(memory: u64, wanted: Wanted) -> Arc<dyn Channel> {
    let options = SpillableOptions {
        memory_capacity: memory,
        transaction_capacity: wanted.transaction_capacity,
        overflow_timeout: Duration::ZERO,
        keep_alive: wanted.keep_alive,
        ..SpillableOptions::default()
    };
    let rest = wanted.capacity - memory;
    let below = (rest > 0).then(|| overflow(rest, wanted.transaction_capacity));
    Arc::new(SpillableChannel::new(options, below).unwrap())
}

mod only_memory {
    use super::*;

    fn make(wanted: Wanted) -> Arc<dyn Channel> {
        with_memory(wanted.capacity, wanted)
    }

    contract::channel_contract!(make);
}

mod only_overflow {
    use super::*;

    fn make(wanted: Wanted) -> Arc<dyn Channel> {
        with_memory(0, wanted)
    }

    contract::channel_contract!(make);
}

mod half_and_half {
    use super::*;

    fn make(wanted: Wanted) -> Arc<dyn Channel> {
        with_memory(wanted.capacity / 2, wanted)
    }

    contract::channel_contract!(make);
}

fn options(memory_capacity: u64) -> SpillableOptions {
    SpillableOptions {
        memory_capacity,
        transaction_capacity: 4,
        overflow_timeout: Duration::ZERO,
        keep_alive: Duration::ZERO,
        ..SpillableOptions::default()
    }
}

#[test]
fn order_holds_over_many_changes_between_the_tiers() {
    let below = overflow(1000, 4);
    let channel = SpillableChannel::new(options(5), Some(below.clone())).unwrap();
    let (mut next_put, mut next_taken) = (0, 0);
    for round in 0..200 {
        let names: Vec<String> = (0..1 + round % 4).map(|n| (next_put + n).to_string()).collect();
        next_put += names.len();
        put(&channel, &names.iter().map(String::as_str).collect::<Vec<_>>());
        for got in drain(&channel, (round * 7) % 5) {
            assert_eq!(got, next_taken.to_string());
            next_taken += 1;
        }
    }
    assert!(below.status().taken > 0 && below.status().events > 0, "the overflow was used");
    assert!(channel.shared.lock().store.held().events > 0, "memory was used again");
    for got in drain(&channel, 1000) {
        assert_eq!(got, next_taken.to_string());
        next_taken += 1;
    }
    assert_eq!(next_taken, next_put);
    assert!(channel.shared.lock().runs.is_empty());
}

#[test]
fn what_the_overflow_held_before_comes_first() {
    let below = overflow(10, 4);
    put(&*below, &["old 1", "old 2"]);
    let channel = SpillableChannel::new(options(5), Some(below)).unwrap();
    put(&channel, &["new"]);
    assert_eq!(channel.status().events, 3);
    assert_eq!(drain(&channel, 9), ["old 1", "old 2", "new"]);
}

#[test]
fn a_transaction_lends_from_one_tier_and_the_next_goes_on() {
    let channel = SpillableChannel::new(options(2), Some(overflow(10, 4))).unwrap();
    put(&channel, &["1", "2"]);
    put(&channel, &["3"]);
    let mut take = channel.begin_take();
    assert_eq!(take.take(4).unwrap().len(), 2);
    assert_eq!(take.take(2), Ok(Vec::new()), "the overflow begins");
    let mut other = channel.begin_take();
    assert_eq!(other.take(4).unwrap().len(), 1);
    other.rollback();
    take.rollback();
    assert_eq!(drain(&channel, 9), ["1", "2", "3"]);
}

#[test]
fn a_put_waits_for_memory_before_it_uses_the_disk() {
    let (below, clock) = (overflow(10, 4), Arc::new(ManualClock::default()));
    let timeout = Duration::from_secs(3);
    let wait = SpillableOptions { overflow_timeout: timeout, ..options(2) };
    let channel = SpillableChannel::with_clock(wait, Some(below.clone()), clock.clone()).unwrap();
    // With a clock that does not advance, a put that waits does so for ever.
    let ended = |body: &'static str| {
        let (channel, (done, ended)) = (channel.clone(), mpsc::channel());
        let putting = threads::spawn("put", move || {
            put(&channel, &[body]);
            let _ = done.send(());
        });
        putting.unwrap();
        ended
    };
    put(&channel, &["1", "2"]);
    let third = ended("3");
    assert!(third.recv_timeout(Duration::from_millis(40)).is_err(), "it waits for memory");
    assert_eq!(below.status().events, 0);
    // The put may not have begun to wait when the clock is first advanced.
    let patience = SystemClock::new();
    while third.recv_timeout(Duration::from_millis(20)).is_err() {
        assert!(patience.now() < PATIENCE, "it uses the disk");
        clock.advance(timeout);
    }
    assert_eq!(below.status().events, 1);
    for _ in 0..3 {
        let at_once = ended("4").recv_timeout(PATIENCE);
        assert_eq!(at_once, Ok(()), "while the overflow is in use puts do not wait");
    }
    assert_eq!(below.status().events, 4);
}

/// A channel whose put commits wait until it is opened.
struct Gated {
    inner: Arc<dyn Channel>,
    gate: Arc<Mutex<Gate>>,
}

#[derive(Default)]
struct Gate {
    open: bool,
    waits: Vec<Waker>,
    /// Commits that find no room on the disks.
    unready: u32,
}

struct GatedPut(Box<dyn PutTransaction>, Arc<Mutex<Gate>>);

impl Channel for Gated {
    fn begin_put(&self) -> Box<dyn PutTransaction> {
        Box::new(GatedPut(self.inner.begin_put(), Arc::clone(&self.gate)))
    }
    fn begin_take(&self) -> Box<dyn TakeTransaction> {
        self.inner.begin_take()
    }
    fn limits(&self) -> Limits {
        self.inner.limits()
    }
    fn status(&self) -> Status {
        self.inner.status()
    }
    fn source_offset(&self, source: &str) -> Result<Option<CommittedOffset>, SourceOffsetError> {
        self.inner.source_offset(source)
    }
    fn close(&self) -> Result<(), CloseError> {
        self.inner.close()
    }
}

impl PutTransaction for GatedPut {
    fn put(&mut self, event: Event) -> Result<(), PutError> {
        self.0.put(event)
    }
    fn put_all(&mut self, events: &mut dyn Iterator<Item = Event>) -> Result<(), PutAllError> {
        self.0.put_all(events)
    }
    fn set_source_offset(&mut self, source: &str, source_offset: Bytes) {
        self.0.set_source_offset(source, source_offset);
    }
    fn commit(self: Box<Self>) -> Result<(), CommitFailure> {
        self.0.commit()
    }
    fn commit_async(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitFailure>> {
        let Self(inner, gate) = *self;
        Box::pin(async move {
            std::future::poll_fn(|context: &mut Context<'_>| {
                let mut gate = gate.lock().unwrap();
                if gate.open {
                    return std::task::Poll::Ready(());
                }
                gate.waits.push(context.waker().clone());
                std::task::Poll::Pending
            })
            .await;
            {
                let unready = &mut gate.lock().unwrap().unready;
                if *unready > 0 {
                    *unready -= 1;
                    let what = "no segment is ready";
                    let why = FaultCause::new(FaultKind::NotReady, FaultPlace::default(), what);
                    let error = CommitError::Refused(RefusedReason::NoSpace(why));
                    return Err(CommitFailure::new(
                        error,
                        Box::new(GatedPut(inner, Arc::clone(&gate))),
                    ));
                }
            }
            inner.commit_async().await
        })
    }
    fn rollback(self: Box<Self>) {
        self.0.rollback();
    }
}

/// A channel whose take commits end in doubt, with the events lent until that is settled.
struct Doubtful {
    inner: Arc<dyn Channel>,
    lent: Arc<AtomicU64>,
}

struct DoubtfulTake(Box<dyn TakeTransaction>, Arc<AtomicU64>);

impl Channel for Doubtful {
    fn begin_put(&self) -> Box<dyn PutTransaction> {
        self.inner.begin_put()
    }
    fn begin_take(&self) -> Box<dyn TakeTransaction> {
        Box::new(DoubtfulTake(self.inner.begin_take(), Arc::clone(&self.lent)))
    }
    fn limits(&self) -> Limits {
        self.inner.limits()
    }
    fn status(&self) -> Status {
        Status { lent: self.lent.load(Ordering::SeqCst), ..self.inner.status() }
    }
    fn source_offset(&self, source: &str) -> Result<Option<CommittedOffset>, SourceOffsetError> {
        self.inner.source_offset(source)
    }
    fn close(&self) -> Result<(), CloseError> {
        self.inner.close()
    }
}

impl TakeTransaction for DoubtfulTake {
    fn take(&mut self, max: usize) -> Result<Vec<Event>, TakeError> {
        if self.1.load(Ordering::SeqCst) > 0 { Ok(Vec::new()) } else { self.0.take(max) }
    }
    fn take_async(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Event>, TakeError>> {
        self.0.take_async(max)
    }
    fn taken(&self) -> usize {
        self.0.taken()
    }
    fn commit(self: Box<Self>) -> Result<(), CommitError> {
        let taken = self.0.taken() as u64;
        self.0.rollback();
        self.1.store(taken, Ordering::SeqCst);
        let cause = FaultCause::new(FaultKind::Hung, FaultPlace::default(), "its write hangs");
        Err(CommitError::InDoubt(cause))
    }
    fn commit_async(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitError>> {
        Box::pin(std::future::ready(self.commit()))
    }
    fn rollback(self: Box<Self>) {
        self.0.rollback();
    }
}

fn gated(wait: SpillableOptions) -> (SpillableChannel, Arc<Mutex<Gate>>) {
    let gate = Arc::new(Mutex::new(Gate::default()));
    let below = Gated { inner: overflow(10, 4), gate: Arc::clone(&gate) };
    (SpillableChannel::new(wait, Some(Arc::new(below))).unwrap(), gate)
}

fn begin(channel: &SpillableChannel, body: &str) -> BoxFuture<'static, Result<(), CommitFailure>> {
    let mut transaction = channel.begin_put();
    transaction.put(Event::new(body.to_owned())).unwrap();
    transaction.commit_async()
}

#[test]
fn no_put_enters_memory_while_a_commit_to_the_overflow_is_under_way() {
    let (channel, gate) = gated(options(2));
    put(&channel, &["1", "2"]);
    let mut third = begin(&channel, "3");
    assert!(contract::poll_once(&mut third).is_pending(), "its commit is held back below");
    assert_eq!(drain(&channel, 2), ["1", "2"]);
    // Memory is free now, but event 4 must not come before 3.
    let mut fourth = begin(&channel, "4");
    assert!(contract::poll_once(&mut fourth).is_pending());
    assert_eq!(channel.shared.lock().store.held().events, 0);
    gate.lock().unwrap().open = true;
    contract::block_on(third).unwrap();
    contract::block_on(fourth).unwrap();
    assert_eq!(channel.shared.lock().store.held().events, 1, "back in memory");
    assert_eq!(drain(&channel, 9), ["3", "4"]);
}

/// A file channel that does not wait refuses puts while a segment is being created.
#[test]
fn a_put_waits_until_the_overflow_has_made_room_on_its_disks() {
    let (channel, gate) = gated(SpillableOptions { keep_alive: PATIENCE, ..options(2) });
    put(&channel, &["1", "2"]);
    *gate.lock().unwrap() = Gate { open: true, unready: 3, ..Gate::default() };
    contract::block_on(begin(&channel, "3")).unwrap();
    assert_eq!(gate.lock().unwrap().unready, 0);
    // But not for ever.
    let (channel, gate) = gated(options(2));
    put(&channel, &["1", "2"]);
    *gate.lock().unwrap() = Gate { open: true, unready: u32::MAX, ..Gate::default() };
    let refused = contract::block_on(begin(&channel, "3")).unwrap_err();
    assert!(matches!(refused.error, CommitError::Refused(RefusedReason::NoSpace(_))), "{refused}");
}

#[test]
fn a_dropped_commit_to_the_overflow_does_not_hold_up_the_others() {
    let (channel, _gate) = gated(options(2));
    put(&channel, &["1", "2"]);
    let mut third = begin(&channel, "3");
    assert!(contract::poll_once(&mut third).is_pending());
    drop(third);
    assert_eq!(drain(&channel, 2), ["1", "2"]);
    contract::block_on(begin(&channel, "4")).unwrap();
    assert_eq!(drain(&channel, 9), ["4"]);
}

#[test]
fn events_that_the_overflow_lost_do_not_hold_up_the_rest() {
    let below = overflow(10, 4);
    let channel = SpillableChannel::new(options(2), Some(below.clone())).unwrap();
    put(&channel, &["1", "2"]);
    put(&channel, &["3", "4"]);
    assert_eq!(drain(&channel, 2), ["1", "2"]);
    put(&channel, &["5"]);
    // As a durable channel does with damaged events.
    assert_eq!(drain(&*below, 1), ["3"]);
    assert_eq!(drain(&channel, 9), ["4", "5"]);
}

#[test]
fn uncounted_events_come_out_last() {
    let below = overflow(10, 4);
    let channel = SpillableChannel::new(options(5), Some(below.clone())).unwrap();
    put(&channel, &["1"]);
    // As after a commit in doubt that was committed, or a disk that came back.
    put(&*below, &["2", "3"]);
    let mut take = channel.begin_take();
    assert_eq!(take.take(4).unwrap().len(), 1);
    take.commit().unwrap();
    let mut take = channel.begin_take();
    assert_eq!(take.take(1).unwrap().len(), 1);
    assert_eq!(drain(&channel, 9), ["3"], "lent ones are not counted twice");
    take.rollback();
    assert_eq!(drain(&channel, 9), ["2"]);
}

#[test]
fn what_can_be_reached_comes_out_while_a_disk_of_the_overflow_is_away() {
    let directory = tempfile::tempdir().unwrap();
    let stripes = ["a", "b"].map(|name| directory.path().join(name));
    let mut options = FileChannelOptions::new(directory.path().join("checkpoint"), stripes.clone());
    options.segment_bytes = 1 << 20;
    options.minimum_required_space = 0;
    options.keep_alive = Duration::ZERO;
    let below = FileChannel::open(options.clone()).unwrap();
    for at in 0..20 {
        put(&below, &[&at.to_string()]);
    }
    below.close().unwrap();
    drop(below);
    #[allow(clippy::disallowed_methods)] // a disk that goes
    std::fs::rename(&stripes[1], directory.path().join("away")).unwrap();
    options.open_degraded = true;
    let below: Arc<dyn Channel> = Arc::new(FileChannel::open(options).unwrap());
    let status = below.status();
    assert!(status.events > 0 && status.out_of_reach >= status.events.min(5), "{status:?}");
    let channel = SpillableChannel::new(self::options(2), Some(Arc::clone(&below))).unwrap();
    assert_eq!(drain(&channel, 30).len() as u64, status.events);
}

/// A take in doubt on the overflow still has its events: those after it in memory do not wait for
/// it.
#[test]
fn a_take_in_doubt_holds_up_nothing_that_is_in_memory() {
    let (below, lent) = (overflow(10, 4), Arc::new(AtomicU64::new(0)));
    put(&*below, &["1"]);
    let doubtful = Doubtful { inner: below, lent: Arc::clone(&lent) };
    let channel = SpillableChannel::new(options(5), Some(Arc::new(doubtful))).unwrap();
    let mut take = channel.begin_take();
    assert_eq!(take.take(1).unwrap().len(), 1);
    assert!(matches!(take.commit(), Err(CommitError::InDoubt(_))));
    assert_eq!(drain(&channel, 9), Vec::<String>::new());
    put(&channel, &["2"]);
    assert_eq!(drain(&channel, 9), ["2"]);
    // It was void: the event waits again.
    lent.store(0, Ordering::SeqCst);
    let mut take = channel.begin_take();
    assert_eq!(take.take(9).unwrap().len(), 1);
}

#[test]
fn contradicting_options_are_named() {
    let none = SpillableChannel::new(options(0), None).err().unwrap();
    assert_eq!(none, SpillableOptionsError::NoCapacity);
    let error = SpillableChannel::new(options(2), None).err().unwrap();
    assert!(error.to_string().contains("must be 1 to 2, what the memory takes"), "{error}");
    let error = SpillableChannel::new(options(9), Some(overflow(3, 3))).err().unwrap();
    assert!(error.to_string().contains("must be 1 to 3, what the overflow takes"), "{error}");
}

#[test]
fn closing_moves_what_is_in_memory_to_the_overflow() {
    /// Stays open when the channel above it closes, as the files of a durable channel do.
    struct Kept(Arc<dyn Channel>);
    impl Channel for Kept {
        fn begin_put(&self) -> Box<dyn PutTransaction> {
            self.0.begin_put()
        }
        fn begin_take(&self) -> Box<dyn TakeTransaction> {
            self.0.begin_take()
        }
        fn limits(&self) -> Limits {
            self.0.limits()
        }
        fn status(&self) -> Status {
            self.0.status()
        }
        fn source_offset(
            &self,
            source: &str,
        ) -> Result<Option<CommittedOffset>, SourceOffsetError> {
            self.0.source_offset(source)
        }
        fn close(&self) -> Result<(), CloseError> {
            Ok(())
        }
    }
    let below = overflow(6, 4);
    let kept: Arc<dyn Channel> = Arc::new(Kept(below.clone()));
    let channel = SpillableChannel::new(options(6), Some(kept)).unwrap();
    put(&channel, &["1", "2", "3"]);
    put(&channel, &["4", "5"]);
    assert_eq!(below.status().events, 0);
    channel.close().unwrap();
    channel.close().unwrap();
    assert_eq!(drain(&*below, 9), ["1", "2", "3", "4", "5"]);
}

#[test]
fn closing_counts_what_the_overflow_has_no_room_for() {
    let channel = SpillableChannel::new(options(6), Some(overflow(4, 4))).unwrap();
    put(&channel, &["1", "2", "3"]);
    put(&channel, &["4", "5"]);
    assert_eq!(channel.lost_at_close(), 0);
    channel.close().unwrap();
    let lost = channel.lost_at_close();
    assert!((1..=5).contains(&lost), "{lost}");
    channel.close().unwrap();
    assert_eq!(channel.lost_at_close(), lost, "each is counted once");
}

/// Returns an overflow of real files: it counts encoded bytes.
fn file_overflow(dir: &std::path::Path, transaction_bytes_max: usize) -> Arc<dyn Channel> {
    use crate::channel::file::{FileChannel, FileChannelOptions};
    let mut options = FileChannelOptions::new(dir.join("checkpoint"), [dir.join("data")]);
    options.segment_bytes = 256 * 1024;
    options.minimum_required_space = 0;
    options.keep_alive = Duration::ZERO;
    options.transaction_bytes_max = transaction_bytes_max;
    Arc::new(FileChannel::open(options).unwrap())
}

#[test]
fn closing_moves_memory_in_transactions_that_the_overflow_takes() {
    let dir = tempfile::tempdir().unwrap();
    let channel = SpillableChannel::new(options(8), Some(file_overflow(dir.path(), 2048))).unwrap();
    let bodies: Vec<String> = (0..6).map(|n| format!("{n}").repeat(900)).collect();
    for body in &bodies {
        // Four of them are a transaction by number, and two by bytes.
        put(&channel, &[body]);
    }
    assert_eq!(channel.shared.lock().store.held().events, 6);
    channel.close().unwrap();
    drop(channel);
    assert_eq!(drain(&*file_overflow(dir.path(), 2048), 9), bodies);
}

#[test]
fn a_transaction_that_the_overflow_could_never_take_is_refused_at_put() {
    let dir = tempfile::tempdir().unwrap();
    let channel = SpillableChannel::new(options(8), Some(file_overflow(dir.path(), 2048))).unwrap();
    let mut transaction = channel.begin_put();
    transaction.put(Event::new(vec![1; 1020])).unwrap();
    // 2048 bytes of bodies would fit; with their length prefixes they do not.
    assert_eq!(
        transaction.put(Event::new(vec![2; 1028])),
        Err(PutError::TooLarge {
            bytes: 2064,
            alone: 1036,
            max: 2048,
            setting: setting::TRANSACTION_BYTES_MAX
        })
    );
    transaction.put(Event::new(vec![2; 1012])).unwrap();
    transaction.commit().unwrap();
}
