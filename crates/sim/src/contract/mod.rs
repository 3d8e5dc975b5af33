//! The contract of every channel, as tests: `channel_contract!(make)` in a channel's test module
//! runs the whole suite on the channels that `make` builds.
#![allow(missing_docs, clippy::disallowed_methods)] // threads of a test are joined by it

mod refused;
mod waking;

pub use refused::{
    a_refused_commit_gives_the_transaction_back, futures_end_when_keep_alive_is_over,
    put_all_adds_every_event_or_none,
};
use waking::{PATIENCE, WakeFlag};
pub use waking::{block_on, poll_once};

use millpond::internal::base::limits::{EVENT_BYTES_MAX, HEADERS_MAX};
use millpond::{
    Channel, Clock, CommitError, Event, Headers, PutError, RefusedReason, Status, SystemClock,
    TakeError, TakeTransaction,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

/// Settings of a channel under test.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub capacity: u64,
    pub transaction_capacity: usize,
    pub keep_alive: Duration,
}

/// Creates a channel under test.
pub type Make = dyn Fn(Wanted) -> Arc<dyn Channel>;

/// A keep-alive that a test waits out.
const SHORT: Duration = Duration::from_millis(40);

/// Runs every case of the contract as a test of its own.
#[macro_export]
macro_rules! channel_contract {
    ($make:expr) => {
        $crate::contract::channel_contract!($make,
            comes_out_as_it_went_in, in_order, what_was_not_committed_never_appears,
            rolled_back_takes_return_to_the_front_in_order, dropping_a_take_rolls_it_back,
            two_takers_never_get_one_event, a_full_channel_waits_keep_alive_and_refuses,
            lent_events_keep_their_room_until_they_are_committed,
            a_refused_commit_gives_the_transaction_back, put_all_adds_every_event_or_none,
            an_empty_channel_waits_keep_alive_and_lends_nothing,
            a_blocked_put_goes_on_when_room_appears, a_blocked_take_goes_on_when_an_event_appears,
            a_full_put_transaction_stays_usable, a_full_take_transaction_stays_usable,
            transactions_without_events_commit, counts_add_up,
            an_event_beyond_the_limits_is_refused_at_put_and_the_transaction_goes_on,
            an_event_at_the_limit_of_headers_comes_back,
            many_producers_keep_their_order_and_their_transactions_together,
            many_takers_get_everything_once, futures_do_not_block_and_are_woken,
            futures_end_when_keep_alive_is_over, a_dropped_put_future_puts_all_or_nothing,
            a_dropped_take_future_loses_nothing, a_closed_channel_refuses,
            closing_ends_what_waits);
    };
    ($make:expr, $($case:ident),+ $(,)?) => {
        mod contract_of_the_channel {
            use super::*;
            $(#[test] fn $case() { $crate::contract::$case(&$make); })+
        }
    };
}
pub use crate::channel_contract;

fn roomy(make: &Make) -> Arc<dyn Channel> {
    make(Wanted { capacity: 100, transaction_capacity: 10, keep_alive: SHORT })
}

fn small(make: &Make, keep_alive: Duration) -> Arc<dyn Channel> {
    make(Wanted { capacity: 4, transaction_capacity: 2, keep_alive })
}

/// Puts `bodies` as one transaction.
pub fn put(channel: &dyn Channel, bodies: &[&str]) {
    try_put(channel, bodies).unwrap();
}

fn try_put(channel: &dyn Channel, bodies: &[&str]) -> Result<(), CommitError> {
    let mut transaction = channel.begin_put();
    for body in bodies {
        transaction.put(Event::new(body.to_string())).unwrap();
    }
    Ok(transaction.commit()?)
}

fn text(event: &Event) -> String {
    String::from_utf8(event.body.to_vec()).unwrap()
}

/// Takes `wanted` events within one transaction that stays open.
fn lend(transaction: &mut dyn TakeTransaction, wanted: usize) -> Vec<String> {
    let mut got = Vec::new();
    while got.len() < wanted {
        let events = transaction.take(wanted - got.len()).unwrap();
        assert!(events.len() <= wanted - got.len(), "lent more than was asked for");
        if events.is_empty() {
            break;
        }
        got.extend(events.iter().map(text));
    }
    assert_eq!(transaction.taken(), got.len());
    got
}

/// Takes up to `wanted` events with transactions that commit.
pub fn drain(channel: &dyn Channel, wanted: usize) -> Vec<String> {
    let mut got = Vec::new();
    let mut empty = 0;
    while got.len() < wanted && empty < 2 {
        let mut transaction = channel.begin_take();
        let most = channel.limits().transaction_capacity.min(wanted - got.len());
        let events = transaction.take(most).unwrap();
        empty = if events.is_empty() { empty + 1 } else { 0 };
        got.extend(events.iter().map(text));
        transaction.commit().unwrap();
    }
    got
}

pub fn comes_out_as_it_went_in(make: &Make) {
    let channel = roomy(make);
    let mut event = Event::new(vec![0, 1, 0xff, b'\n', 0]);
    event.headers.set("host", "日志");
    event.headers.set("", "empty name");
    let events = [event, Event::new(""), Event::new(vec![7; 70_000])];
    let mut transaction = channel.begin_put();
    for event in &events {
        transaction.put(event.clone()).unwrap();
    }
    transaction.commit().unwrap();
    let mut got = Vec::new();
    let mut take = channel.begin_take();
    while got.len() < events.len() {
        let more = take.take(10).unwrap();
        assert!(!more.is_empty());
        got.extend(more);
    }
    assert_eq!(got, events);
    take.commit().unwrap();
}

pub fn an_event_beyond_the_limits_is_refused_at_put_and_the_transaction_goes_on(make: &Make) {
    let channel = roomy(make);
    let mut transaction = channel.begin_put();
    transaction.put(Event::new("before")).unwrap();
    let mut large = Event::new(vec![0; EVENT_BYTES_MAX - 1]);
    large.headers.set("k", "v");
    assert_eq!(
        transaction.put(large),
        Err(PutError::EventTooLarge { bytes: EVENT_BYTES_MAX + 1, max: EVENT_BYTES_MAX })
    );
    let refused = transaction.put(with_headers(HEADERS_MAX + 1)).unwrap_err();
    assert_eq!(refused, PutError::TooManyHeaders { headers: HEADERS_MAX + 1, max: HEADERS_MAX });
    assert!(refused.to_string().contains("65535"), "{refused}");
    transaction.put(Event::new("behind")).unwrap();
    transaction.commit().unwrap();
    assert_eq!(drain(&*channel, 2), ["before", "behind"]);
}

pub fn an_event_at_the_limit_of_headers_comes_back(make: &Make) {
    // A channel of files may have to make a segment for it first.
    let channel = make(Wanted { capacity: 4, transaction_capacity: 2, keep_alive: PATIENCE });
    let event = with_headers(HEADERS_MAX);
    let mut transaction = channel.begin_put();
    transaction.put(event.clone()).unwrap();
    transaction.commit().unwrap();
    let mut take = channel.begin_take();
    let got = take.take(1).unwrap();
    assert!(got[0].headers.iter().eq(event.headers.iter()));
    take.commit().unwrap();
}

fn with_headers(count: usize) -> Event {
    let list: Vec<_> = (0..count).map(|n| (n.to_string(), "")).collect();
    Event { headers: Headers::from_distinct(&list), body: "body".into() }
}

pub fn in_order(make: &Make) {
    let channel = roomy(make);
    let names: Vec<String> = (0..60).map(|n| n.to_string()).collect();
    for (n, name) in names.iter().enumerate() {
        if n % 7 == 0 {
            let batch: Vec<&str> = names[n..60.min(n + 7)].iter().map(String::as_str).collect();
            put(&*channel, &batch);
        }
        assert_eq!(
            drain(&*channel, usize::from(n % 3 == 0)).len(),
            usize::from(n % 3 == 0),
            "{name}"
        );
    }
    assert_eq!(drain(&*channel, 100), names[20..]);
}

pub fn what_was_not_committed_never_appears(make: &Make) {
    let channel = roomy(make);
    let mut rolled_back = channel.begin_put();
    rolled_back.put(Event::new("rolled back")).unwrap();
    let mut dropped = channel.begin_put();
    dropped.put(Event::new("dropped")).unwrap();
    let mut open = channel.begin_put();
    open.put(Event::new("open")).unwrap();
    rolled_back.rollback();
    drop(dropped);
    put(&*channel, &["committed"]);
    assert_eq!(drain(&*channel, 4), ["committed"]);
    assert_eq!(channel.status().events, 0);
    open.commit().unwrap();
    assert_eq!(drain(&*channel, 4), ["open"]);
}

pub fn rolled_back_takes_return_to_the_front_in_order(make: &Make) {
    let channel = roomy(make);
    put(&*channel, &["1", "2", "3", "4", "5"]);
    let mut take = channel.begin_take();
    assert_eq!(lend(&mut *take, 2), ["1", "2"]);
    let events = take.take(1).unwrap();
    assert_eq!(text(&events[0]), "3");
    take.rollback();
    assert_eq!(channel.status().events, 5);
    assert_eq!(drain(&*channel, 9), ["1", "2", "3", "4", "5"]);
}

pub fn dropping_a_take_rolls_it_back(make: &Make) {
    let channel = roomy(make);
    put(&*channel, &["1", "2"]);
    let mut take = channel.begin_take();
    assert_eq!(lend(&mut *take, 2), ["1", "2"]);
    drop(take);
    assert_eq!(drain(&*channel, 9), ["1", "2"]);
    assert_eq!(drain(&*channel, 1), [""; 0], "a committed take came back");
}

pub fn two_takers_never_get_one_event(make: &Make) {
    let channel = roomy(make);
    put(&*channel, &["1", "2", "3", "4"]);
    let mut first = channel.begin_take();
    let mut second = channel.begin_take();
    assert_eq!(lend(&mut *first, 1), ["1"]);
    assert_eq!(lend(&mut *second, 2), ["2", "3"]);
    first.rollback();
    let mut third = channel.begin_take();
    assert_eq!(lend(&mut *third, 2), ["1", "4"]);
    second.commit().unwrap();
    third.commit().unwrap();
    assert_eq!(channel.status().events, 0);
}

pub fn a_full_channel_waits_keep_alive_and_refuses(make: &Make) {
    let channel = small(make, SHORT);
    put(&*channel, &["1", "2"]);
    put(&*channel, &["3"]);
    let clock = SystemClock::new();
    match try_put(&*channel, &["4", "5"]) {
        Err(CommitError::Refused(RefusedReason::Full { capacity: 4, .. })) => {}
        other => panic!("expected a refusal for lack of room, got {other:?}"),
    }
    assert!(clock.now() >= SHORT, "refused before keep-alive was over");
    put(&*channel, &["6"]);
    assert_eq!(drain(&*channel, 9), ["1", "2", "3", "6"]);
    put(&*channel, &["7"]);
    assert_eq!(drain(&*channel, 9), ["7"]);
}

pub fn lent_events_keep_their_room_until_they_are_committed(make: &Make) {
    let channel = small(make, Duration::ZERO);
    put(&*channel, &["1", "2"]);
    put(&*channel, &["3", "4"]);
    let mut take = channel.begin_take();
    assert_eq!(lend(&mut *take, 2), ["1", "2"]);
    assert!(try_put(&*channel, &["5"]).is_err());
    take.commit().unwrap();
    put(&*channel, &["5"]);
    assert_eq!(drain(&*channel, 9), ["3", "4", "5"]);
}

pub fn an_empty_channel_waits_keep_alive_and_lends_nothing(make: &Make) {
    let channel = small(make, SHORT);
    let clock = SystemClock::new();
    let mut take = channel.begin_take();
    assert_eq!(take.take(2), Ok(Vec::new()));
    assert!(clock.now() >= SHORT, "gave up before keep-alive was over");
    put(&*channel, &["later"]);
    assert_eq!(lend(&mut *take, 1), ["later"], "the transaction continues");
    take.commit().unwrap();
}

pub fn a_blocked_put_goes_on_when_room_appears(make: &Make) {
    let channel = small(make, PATIENCE);
    put(&*channel, &["1", "2"]);
    put(&*channel, &["3", "4"]);
    let (done, finished) = mpsc::channel();
    let putter = {
        let channel = Arc::clone(&channel);
        thread::spawn(move || {
            done.send(try_put(&*channel, &["5"])).unwrap();
        })
    };
    assert!(finished.recv_timeout(SHORT).is_err(), "put into a full channel");
    assert_eq!(drain(&*channel, 1), ["1"]);
    assert_eq!(finished.recv_timeout(PATIENCE / 2), Ok(Ok(())));
    putter.join().unwrap();
    assert_eq!(drain(&*channel, 4), ["2", "3", "4", "5"]);
}

pub fn a_blocked_take_goes_on_when_an_event_appears(make: &Make) {
    let channel = small(make, PATIENCE);
    let (done, finished) = mpsc::channel();
    let taker = {
        let channel = Arc::clone(&channel);
        thread::spawn(move || {
            let mut take = channel.begin_take();
            let got = lend(&mut *take, 1);
            take.commit().unwrap();
            done.send(got).unwrap();
        })
    };
    assert!(finished.recv_timeout(SHORT).is_err(), "took from an empty channel");
    put(&*channel, &["1"]);
    assert_eq!(finished.recv_timeout(PATIENCE / 2), Ok(vec!["1".to_owned()]));
    taker.join().unwrap();
}

pub fn a_full_put_transaction_stays_usable(make: &Make) {
    let channel = small(make, SHORT);
    let mut transaction = channel.begin_put();
    transaction.put(Event::new("1")).unwrap();
    transaction.put(Event::new("2")).unwrap();
    let full = transaction.put(Event::new("3"));
    assert_eq!(full, Err(PutError::TransactionFull { capacity: 2 }));
    transaction.commit().unwrap();
    assert_eq!(drain(&*channel, 9), ["1", "2"]);
}

pub fn a_full_take_transaction_stays_usable(make: &Make) {
    let channel = small(make, SHORT);
    put(&*channel, &["1", "2"]);
    put(&*channel, &["3"]);
    let mut take = channel.begin_take();
    assert_eq!(lend(&mut *take, 2), ["1", "2"]);
    assert_eq!(take.take(1), Err(TakeError::TransactionFull { capacity: 2 }));
    assert_eq!(take.taken(), 2);
    take.commit().unwrap();
    assert_eq!(drain(&*channel, 9), ["3"]);
}

pub fn transactions_without_events_commit(make: &Make) {
    let channel = small(make, Duration::ZERO);
    put(&*channel, &[]);
    channel.begin_take().commit().unwrap();
    block_on(channel.begin_put().commit_async()).unwrap();
    block_on(channel.begin_take().commit_async()).unwrap();
    assert_eq!(channel.begin_take().take(0), Ok(Vec::new()));
    assert_eq!(channel.status().events, 0);
}

pub fn counts_add_up(make: &Make) {
    let channel = roomy(make);
    assert_eq!(channel.limits().transaction_capacity, 10);
    put(&*channel, &["1", "2", "3"]);
    put(&*channel, &["4"]);
    assert_eq!(drain(&*channel, 2), ["1", "2"]);
    let mut take = channel.begin_take();
    assert_eq!(lend(&mut *take, 1), ["3"]);
    let status = channel.status();
    assert_eq!((status.put, status.taken, status.events), (4, 2, 2));
    assert_eq!(status.capacity, 100);
    take.rollback();
    let counts = |s: &Status| (s.put, s.taken, s.events, s.bytes, s.out_of_reach, s.unaccounted);
    assert_eq!(counts(&channel.status()), counts(&status), "rolling back changes no count");
}

pub fn many_producers_keep_their_order_and_their_transactions_together(make: &Make) {
    const PRODUCERS: usize = 4;
    const TRANSACTIONS: usize = 60;
    let wanted = Wanted { capacity: 40, transaction_capacity: 10, keep_alive: PATIENCE };
    let channel = make(wanted);
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|p| {
            let channel = Arc::clone(&channel);
            thread::spawn(move || {
                for t in 0..TRANSACTIONS {
                    let size = 1 + (p + t) % 5;
                    let names: Vec<String> =
                        (0..size).map(|n| format!("{p} {t} {n} {size}")).collect();
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    try_put(&*channel, &names).unwrap();
                }
            })
        })
        .collect();
    let total: usize =
        (0..PRODUCERS).flat_map(|p| (0..TRANSACTIONS).map(move |t| 1 + (p + t) % 5)).sum();
    let got = drain(&*channel, total);
    assert_eq!(got.len(), total);
    producers.into_iter().for_each(|p| p.join().unwrap());
    let numbers: Vec<Vec<usize>> =
        got.iter().map(|g| g.split(' ').map(|n| n.parse().unwrap()).collect()).collect();
    let mut next = BTreeMap::new();
    let mut at = 0;
    while at < numbers.len() {
        let [producer, transaction, first, size] = numbers[at][..] else { panic!("four numbers") };
        assert_eq!(first, 0, "a transaction was torn apart at {at}: {:?}", numbers[at]);
        let expected = next.entry(producer).or_insert(0);
        assert_eq!(transaction, *expected, "producer {producer} out of order");
        *expected += 1;
        for (n, event) in numbers[at..at + size].iter().enumerate() {
            assert_eq!(*event, [producer, transaction, n, size], "not contiguous");
        }
        at += size;
    }
    assert_eq!(channel.status().events, 0);
}

pub fn many_takers_get_everything_once(make: &Make) {
    const EVENTS: u64 = 400;
    let wanted = Wanted { capacity: 20, transaction_capacity: 8, keep_alive: SHORT };
    let channel = make(wanted);
    let taken = Arc::new(AtomicU64::new(0));
    let takers: Vec<_> = (0..3)
        .map(|t: usize| {
            let (channel, taken) = (Arc::clone(&channel), Arc::clone(&taken));
            thread::spawn(move || {
                let mut got = Vec::new();
                let mut round = t;
                while taken.load(Ordering::SeqCst) < EVENTS {
                    let mut take = channel.begin_take();
                    let events = take.take(1 + round % 5).unwrap();
                    round += 1;
                    if round.is_multiple_of(4) {
                        take.rollback();
                        continue;
                    }
                    take.commit().unwrap();
                    taken.fetch_add(events.len() as u64, Ordering::SeqCst);
                    got.extend(events.iter().map(text));
                }
                got
            })
        })
        .collect();
    for n in 0..EVENTS / 2 {
        let names = [(2 * n).to_string(), (2 * n + 1).to_string()];
        // Refused when takers are slow: the whole transaction is tried again.
        while try_put(&*channel, &[&names[0], &names[1]]).is_err() {}
    }
    let got: Vec<String> = takers.into_iter().flat_map(|t| t.join().unwrap()).collect();
    assert_eq!(got.len() as u64, EVENTS);
    assert_eq!(got.iter().collect::<BTreeSet<_>>().len() as u64, EVENTS, "delivered twice");
    let status = channel.status();
    assert_eq!((status.put, status.taken, status.events), (EVENTS, EVENTS, 0));
}

pub fn futures_do_not_block_and_are_woken(make: &Make) {
    let channel = small(make, PATIENCE);
    let mut take = channel.begin_take();
    let mut taking = take.take_async(2);
    assert!(poll_once(&mut taking).is_pending());
    put(&*channel, &["1", "2"]);
    put(&*channel, &["3"]);
    // A future that moves to another waker is woken there.
    let got = block_on(taking).unwrap();
    assert_eq!(got.iter().map(text).collect::<Vec<_>>(), ["1", "2"]);
    block_on(take.commit_async()).unwrap();

    put(&*channel, &["4", "5"]);
    put(&*channel, &["6"]);
    let mut late = channel.begin_put();
    late.put(Event::new("7")).unwrap();
    let mut late = late.commit_async();
    assert!(poll_once(&mut late).is_pending());
    let (done, finished) = mpsc::channel();
    let waiter = thread::spawn(move || done.send(block_on(late).is_ok()).unwrap());
    assert!(finished.recv_timeout(SHORT).is_err());
    assert_eq!(drain(&*channel, 2).len(), 2);
    assert_eq!(finished.recv_timeout(PATIENCE / 2), Ok(true));
    waiter.join().unwrap();
    assert_eq!(drain(&*channel, 3), ["5", "6", "7"]);
}

pub fn a_dropped_put_future_puts_all_or_nothing(make: &Make) {
    let channel = small(make, PATIENCE);
    put(&*channel, &["1", "2"]);
    put(&*channel, &["3"]);
    let mut late = channel.begin_put();
    late.put(Event::new("4")).unwrap();
    late.put(Event::new("5")).unwrap();
    let mut late = late.commit_async();
    assert!(poll_once(&mut late).is_pending());
    drop(late);
    let mut got = drain(&*channel, 3);
    assert_eq!(got, ["1", "2", "3"]);
    put(&*channel, &["6"]);
    loop {
        let more = drain(&*channel, 1);
        got.extend(more);
        if got.last().is_some_and(|last| last == "6") {
            break;
        }
    }
    let late = &got[3..got.len() - 1];
    assert!(late.is_empty() || late == ["4", "5"], "half a transaction appeared: {late:?}");
    // Its place in the wait list is free again.
    put(&*channel, &["7", "8"]);
    assert_eq!(drain(&*channel, 2), ["7", "8"]);
}

pub fn a_dropped_take_future_loses_nothing(make: &Make) {
    let channel = small(make, PATIENCE);
    let mut first = channel.begin_take();
    let mut second = channel.begin_take();
    let mut waits = first.take_async(1);
    assert!(poll_once(&mut waits).is_pending());
    let mut goes_on = second.take_async(1);
    let flag = WakeFlag::default();
    assert!(flag.poll(&mut goes_on).is_pending());
    put(&*channel, &["1"]);
    // The first was woken but never polled: the event is the second's.
    drop(waits);
    flag.wait();
    let got = block_on(goes_on).unwrap();
    assert_eq!(got.iter().map(text).collect::<Vec<_>>(), ["1"]);
    second.commit().unwrap();
    first.rollback();
    assert_eq!(channel.status().events, 0);
}

pub fn a_closed_channel_refuses(make: &Make) {
    let channel = small(make, PATIENCE);
    put(&*channel, &["1", "2"]);
    let mut open_take = channel.begin_take();
    assert_eq!(lend(&mut *open_take, 1), ["1"]);
    let mut open_put = channel.begin_put();
    open_put.put(Event::new("3")).unwrap();
    channel.close().unwrap();
    channel.close().unwrap();
    assert_eq!(open_put.commit().unwrap_err().error, CommitError::Refused(RefusedReason::Closed));
    assert_eq!(open_take.commit(), Err(CommitError::Refused(RefusedReason::Closed)));
    assert_eq!(try_put(&*channel, &["4"]), Err(CommitError::Refused(RefusedReason::Closed)));
    assert_eq!(channel.begin_take().take(1), Err(TakeError::Closed));
    assert_eq!(block_on(channel.begin_take().take_async(1)), Err(TakeError::Closed));
}

pub fn closing_ends_what_waits(make: &Make) {
    let channel = small(make, PATIENCE);
    let taker = {
        let channel = Arc::clone(&channel);
        thread::spawn(move || channel.begin_take().take(1))
    };
    let full = small(make, PATIENCE);
    put(&*full, &["1", "2"]);
    put(&*full, &["3", "4"]);
    let putter = {
        let full = Arc::clone(&full);
        thread::spawn(move || try_put(&*full, &["5"]))
    };
    let mut take = channel.begin_take();
    let mut taking = take.take_async(1);
    let taking_flag = WakeFlag::default();
    assert!(taking_flag.poll(&mut taking).is_pending());
    let mut late = full.begin_put();
    late.put(Event::new("6")).unwrap();
    let mut putting = late.commit_async();
    let putting_flag = WakeFlag::default();
    assert!(putting_flag.poll(&mut putting).is_pending());
    thread::sleep(SHORT);
    let clock = SystemClock::new();
    channel.close().unwrap();
    full.close().unwrap();
    assert_eq!(taker.join().unwrap(), Err(TakeError::Closed));
    assert_eq!(putter.join().unwrap(), Err(CommitError::Refused(RefusedReason::Closed)));
    taking_flag.wait();
    assert_eq!(block_on(taking), Err(TakeError::Closed));
    putting_flag.wait();
    assert_eq!(block_on(putting).unwrap_err().error, CommitError::Refused(RefusedReason::Closed));
    assert!(clock.now() < PATIENCE / 2, "closing did not end the waiting");
}
