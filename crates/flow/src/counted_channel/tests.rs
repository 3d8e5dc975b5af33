use super::*;
use crate::tap::{TapCounts, TapRates};
use millpond::{
    FileChannel, FileChannelOptions, ManualClock, MemoryChannel, MemoryOptions, SpillableChannel,
    SpillableOptions, SystemClock,
};
use millpond_sim::contract::{self, Wanted};
use millpond_sim::disk::{Fault, SimDisk, SimOptions};

fn make(wanted: Wanted) -> Arc<dyn Channel> {
    let options = MemoryOptions {
        capacity: wanted.capacity,
        transaction_capacity: wanted.transaction_capacity,
        keep_alive: wanted.keep_alive,
        ..MemoryOptions::default()
    };
    let inner = Arc::new(MemoryChannel::new(options).unwrap());
    Arc::new(CountedChannel::new(inner, Arc::default(), Arc::new(SystemClock::new())))
}

contract::channel_contract!(make);

#[test]
fn a_channel_that_cannot_write_is_unhealthy_until_it_can() {
    let disk = SimDisk::new(SimOptions::new(1));
    let mut options =
        FileChannelOptions::new("/c/checkpoint", ["/c/data"]).with_disk(Arc::new(disk.clone()));
    options.segment_bytes = 256 * 1024;
    options.minimum_required_space = 0;
    let inner = Arc::new(FileChannel::open(options).unwrap());
    let counters = Arc::new(ChannelCounters::default());
    let clock = Arc::new(SystemClock::new());
    let channel = CountedChannel::new(inner, Arc::clone(&counters), clock.clone());
    let until = |unhealthy: u64| {
        while counters.unhealthy.get() != unhealthy {
            assert!(clock.now() < Duration::from_secs(60), "never {unhealthy}");
            std::thread::yield_now();
            channel.status();
        }
    };
    until(0);
    disk.fail(Fault::dead("data"));
    let mut put = channel.begin_put();
    put.put(Event::new("lost or kept")).unwrap();
    put.commit().unwrap_err();
    until(1);
    disk.clear_faults();
    until(0);
}

/// Long compared with the resolution of ages, for a clock that cannot be moved.
const AGE: Duration = Duration::from_millis(2500);

#[test]
fn one_failed_disk_of_two_leaves_the_channel_healthy_and_ages_unchanged() {
    let disk = SimDisk::new(SimOptions::new(1));
    let mut options = FileChannelOptions::new("/c/checkpoint", ["/c/data0", "/c/data1"])
        .with_disk(Arc::new(disk.clone()));
    options.segment_bytes = 256 * 1024;
    options.minimum_required_space = 0;
    options.keep_alive = Duration::from_millis(10);
    let inner = Arc::new(FileChannel::open(options).unwrap());
    let (counters, real) = (Arc::new(ChannelCounters::default()), SystemClock::new());
    let channel =
        CountedChannel::new(inner, Arc::clone(&counters), Arc::new(ManualClock::default()));
    let suspended = || channel.status().stripes.iter().filter(|s| s.suspended.is_some()).count();
    for body in 0..16 {
        contract::put(&channel, &[&body.to_string()]);
    }
    std::thread::sleep(AGE);
    disk.fail(Fault::dead("data1"));
    while suspended() == 0 {
        assert!(real.now() < Duration::from_secs(60), "never suspended");
        let mut put = channel.begin_put();
        put.put(Event::new("young")).unwrap();
        let _ = put.commit();
    }
    assert_eq!(counters.unhealthy.get(), 0, "the other one takes puts");
    let reading = channel.reading().expect("open");
    assert!(reading.out_of_reach > 0 && reading.trouble.is_none(), "{reading:?}");
    while !contract::drain(&channel, 1).is_empty() {}
    assert!(channel.reading().is_some());
    // Events of the working disk flow on, and are young.
    for body in 0..16 {
        contract::put(&channel, &[&body.to_string()]);
        while !contract::drain(&channel, 1).is_empty() {}
    }
    let reading = channel.reading().expect("open");
    assert!(reading.oldest >= AGE, "{reading:?}");
    let lags: Vec<_> = reading.stripes.iter().map(|s| (s.oldest, s.lag_bytes)).collect();
    assert_eq!(lags[0], (Duration::ZERO, 0));
    assert!(lags[1].0 == reading.oldest && lags[1].1 > 0, "{lags:?}");
    assert_eq!(counters.unhealthy.get(), 0);
}

#[test]
fn commits_are_timed_and_what_waits_grows_old() {
    let counters = Arc::new(ChannelCounters::default());
    let clock = Arc::new(ManualClock::default());
    let inner = MemoryChannel::with_clock(MemoryOptions::default(), clock.clone()).unwrap();
    contract::put(&inner, &["there at the opening"]);
    let channel = CountedChannel::new(Arc::new(inner), Arc::clone(&counters), clock.clone());
    let oldest = || channel.reading().expect("open").oldest.as_secs();
    clock.advance(Duration::from_secs(10));
    contract::put(&channel, &["1", "2"]);
    clock.advance(Duration::from_secs(20));
    assert_eq!(oldest(), 30);
    assert_eq!(contract::drain(&channel, 1), ["there at the opening"]);
    assert_eq!(oldest(), 20);
    assert_eq!(contract::drain(&channel, 2), ["1", "2"]);
    assert_eq!(oldest(), 0);
    assert_eq!(counters.put_commit.read().count(), 1);
    assert_eq!(counters.take_commit.read().count(), 2);
}

#[test]
fn what_one_sink_holds_grows_old_while_another_drains() {
    let clock = Arc::new(ManualClock::default());
    let inner = MemoryChannel::with_clock(MemoryOptions::default(), clock.clone()).unwrap();
    let channel = CountedChannel::new(Arc::new(inner), Arc::default(), clock.clone());
    let oldest = || channel.reading().expect("open").oldest.as_secs();
    contract::put(&channel, &["held"]);
    let mut hangs = channel.begin_take();
    assert_eq!(hangs.take(1).unwrap().len(), 1);
    for second in 1..=30 {
        clock.advance(Duration::from_secs(1));
        contract::put(&channel, &["flows"]);
        assert_eq!(contract::drain(&channel, 1), ["flows"]);
        assert_eq!(oldest(), second);
    }
    hangs.rollback();
    assert_eq!(oldest(), 30);
    assert_eq!(contract::drain(&channel, 1), ["held"]);
    assert_eq!(oldest(), 0);
}

#[test]
fn an_event_lent_to_a_sink_is_the_oldest_of_its_stripe() {
    let disk = SimDisk::new(SimOptions::new(1));
    let mut options =
        FileChannelOptions::new("/c/checkpoint", ["/c/data"]).with_disk(Arc::new(disk));
    options.segment_bytes = 256 * 1024;
    options.minimum_required_space = 0;
    options.keep_alive = Duration::from_millis(10);
    let inner = Arc::new(FileChannel::open(options).unwrap());
    let channel = CountedChannel::new(inner, Arc::default(), Arc::new(SystemClock::new()));
    contract::put(&channel, &["held"]);
    let mut hangs = channel.begin_take();
    assert_eq!(hangs.take(1).unwrap().len(), 1);
    std::thread::sleep(AGE);
    let large = "flows".repeat(10_000);
    for _ in 0..3 {
        contract::put(&channel, &[&large]);
        assert_eq!(contract::drain(&channel, 1).len(), 1);
    }
    let reading = channel.reading().expect("open");
    assert!(reading.oldest >= AGE, "{reading:?}");
    assert!(reading.stripes[0].oldest == reading.oldest, "{reading:?}");
    assert!(reading.stripes[0].lag_bytes > 3 * 50_000, "{reading:?}");
    assert_eq!(reading.waiting_bytes, reading.stripes[0].lag_bytes);
    hangs.commit().unwrap();
    let reading = channel.reading().expect("open");
    let stripe = &reading.stripes[0];
    assert_eq!((stripe.oldest, stripe.lag_bytes), (Duration::ZERO, 0));
    assert_eq!(reading.waiting_bytes, 0, "although its segment has not been used again");
    assert!(stripe.segment_bytes > 0, "{reading:?}");
}

#[tokio::test]
async fn a_listener_is_shown_committed_events_only() {
    let options = MemoryOptions { keep_alive: Duration::ZERO, ..MemoryOptions::default() };
    let inner = Arc::new(MemoryChannel::new(options).unwrap());
    let clock = Arc::new(ManualClock::default());
    let tap = Arc::new(Tap::default());
    let channel =
        CountedChannel::new(inner, Arc::default(), clock.clone()).tapped(Arc::clone(&tap));
    let rates = TapRates { events_per_second: 100, bytes_per_second: 1000, body_bytes: 9 };
    let mut listening = tap.listen(rates, clock).unwrap();
    for (body, commits) in [("back", false), ("kept", true)] {
        let mut put = channel.begin_put();
        put.put(Event::new(body)).unwrap();
        if commits { put.commit().unwrap() } else { put.rollback() }
    }
    for commits in [false, true] {
        let mut take = channel.begin_take();
        assert_eq!(take.take(5).unwrap().len(), 1);
        if commits { take.commit_async().await.unwrap() } else { take.rollback() }
    }
    for way in [TapDirection::Put, TapDirection::Taken] {
        let shown = listening.next().await.unwrap();
        assert_eq!((shown.way, &shown.body[..]), (way, &b"kept"[..]));
    }
    let TapCounts { passed, shown, dropped } = listening.counts();
    assert_eq!((passed, shown, dropped), (2, 2, 0));
}

#[test]
fn counts_what_went_through() {
    let counters = Arc::new(ChannelCounters::default());
    let options = MemoryOptions {
        capacity: 3,
        transaction_capacity: 3,
        keep_alive: Duration::ZERO,
        ..MemoryOptions::default()
    };
    let inner = Arc::new(MemoryChannel::new(options).unwrap());
    let clock = Arc::new(ManualClock::default());
    let channel = CountedChannel::new(inner, Arc::clone(&counters), clock.clone());
    let began = clock.wall_ms();
    contract::put(&channel, &["1", "2", "3"]);
    let mut refused = channel.begin_put();
    refused.put(Event::new("4")).unwrap();
    refused.commit().unwrap_err();
    let mut take = channel.begin_take();
    take.take(2).unwrap();
    take.rollback();
    assert_eq!(contract::drain(&channel, 1), ["1"]);
    channel.status();
    assert_eq!(counters.event_put_attempt.get(), 4);
    assert_eq!(counters.event_put_success.get(), 3);
    assert_eq!(counters.event_put_error.get(), 1);
    assert_eq!(counters.event_take_success.get(), 1);
    assert_eq!(counters.rollback.get(), 2);
    assert_eq!((counters.size.get(), counters.capacity.get()), (2, 3));
    assert_eq!((counters.start_time.get(), counters.stop_time.get()), (began, 0));
    assert_eq!((counters.open.get(), counters.closed.get()), (1, 0));
    clock.advance(Duration::from_secs(5));
    channel.close().unwrap();
    clock.advance(Duration::from_secs(5));
    channel.close().unwrap();
    channel.status();
    assert_eq!((counters.open.get(), counters.closed.get()), (0, 1));
    assert_eq!(counters.stop_time.get(), began + 5000, "closed once");
    assert_eq!(counters.unhealthy.get(), 0, "a closed channel is not unhealthy");
}

#[test]
fn events_lost_at_a_close_are_counted_as_dropped_once() {
    let counters = Arc::new(ChannelCounters::default());
    let memory = |capacity: u64| MemoryOptions {
        capacity,
        transaction_capacity: 4,
        keep_alive: Duration::ZERO,
        ..MemoryOptions::default()
    };
    let options = SpillableOptions {
        memory_capacity: 6,
        transaction_capacity: 4,
        overflow_timeout: Duration::ZERO,
        keep_alive: Duration::ZERO,
        ..SpillableOptions::default()
    };
    let below: Arc<dyn Channel> = Arc::new(MemoryChannel::new(memory(4)).unwrap());
    let inner = Arc::new(SpillableChannel::new(options, Some(below)).unwrap());
    let clock = Arc::new(ManualClock::default());
    let channel = CountedChannel::new(inner.clone(), Arc::clone(&counters), clock);
    contract::put(&channel, &["1", "2", "3"]);
    contract::put(&channel, &["4", "5"]);
    channel.close().unwrap();
    channel.close().unwrap();
    let lost = inner.lost_at_close();
    assert!(lost > 0 && counters.drops.get(DropReason::Memory) == lost, "{lost}");
}
