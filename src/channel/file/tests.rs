use super::*;
use crate::base::clock::{Clock, ManualClock, SystemClock};
use crate::channel::{CommitError, RefusedReason, Retry, TakeError};
use crate::contract::{Wanted, channel_contract};
use crate::disk::memory::MAPPED_UNDER_LOG;
use crate::event::Event;
use crate::log::PutShape;
use crate::simulated_disk::{Fault, FaultEffect, SimDisk, SimOptions};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

fn on_simulated_disk() -> FileChannelOptions {
    let mut options = FileChannelOptions::new("/c/checkpoint", ["/c/data0", "/c/data1"])
        .with_disk(Arc::new(SimDisk::new(SimOptions::new(1))));
    options.segment_bytes = 256 * 1024;
    options.minimum_required_space = 0;
    options
}

fn make(wanted: Wanted) -> Arc<dyn Channel> {
    let mut options = on_simulated_disk();
    options.capacity = wanted.capacity;
    options.transaction_capacity = wanted.transaction_capacity;
    options.keep_alive = wanted.keep_alive;
    Arc::new(FileChannel::open(options).expect("opens"))
}

channel_contract!(make);

/// The frame is reserved; its encoder is dropped, or panics half-way.
#[test]
fn a_dropped_or_panicked_encoder_voids_its_frame_and_no_other() {
    let mut options = on_simulated_disk();
    options.keep_alive = Duration::from_millis(100);
    let channel = FileChannel::open(options.clone()).expect("opens");
    let shared = &channel.inner.shared;
    for panics in [false, true] {
        let mut first = channel.begin_put();
        first.put(Event::new("before")).expect("fits");
        let mut before = first.commit_async();
        let early = crate::contract::poll_once(&mut before);
        let shape = PutShape { count: 3, events_len: 100, source_offset: Some(("tail", b"7")) };
        let deadline = shared.now() + Duration::from_secs(30);
        let reservation = loop {
            // The void frame of the first round may be in flight, and the source busy with it.
            let reserved = shared.with_log(|log| log.reserve_put(Duration::ZERO, shape));
            match reserved.expect("whole") {
                Ok(reservation) => break reservation,
                Err(why) => assert!(shared.now() < deadline, "room comes back: {why:?}"),
            }
            std::thread::yield_now();
        };
        if panics {
            let filled = catch_unwind(AssertUnwindSafe(|| {
                reservation.fill(|_| panic!("an encoder that gives up"))
            }));
            assert!(filled.is_err());
        } else {
            drop(reservation);
        }
        put(&channel, ["behind".to_owned()]);
        if early.is_pending() {
            crate::contract::block_on(before).expect("committed");
        }
        shared.hand_over_writes();
    }
    let mut taken = take_all(&channel);
    // Neither began after the other's commit had returned: on two stripes either may be first.
    taken.chunks_mut(2).for_each(<[String]>::sort_unstable);
    assert_eq!(taken, ["before", "behind", "before", "behind"]);
    let deadline = shared.now() + Duration::from_secs(30);
    while channel.status().events > 0 {
        assert!(shared.now() < deadline, "room is given back: {:?}", channel.status());
        std::thread::yield_now();
    }
    assert_eq!(channel.source_offset("tail"), Ok(None), "its offset is void with it");
    channel.close().expect("sealed");
    drop(channel);
    let channel = FileChannel::open(options).expect("opens again");
    assert_eq!((channel.status().events, channel.source_offset("tail")), (0, Ok(None)));
}

/// Threads that block, as a source's may: each requests while those before it wait. There is room
/// for a single event at a time, which every other one of them would fit into before its turn.
#[test]
fn blocking_commits_of_one_source_on_many_threads_enter_in_order() {
    const THREADS: u32 = 12;
    let mut options = on_simulated_disk();
    (options.capacity, options.transaction_capacity) = (2, 2);
    options.keep_alive = Duration::from_secs(60);
    let channel = FileChannel::open(options).expect("opens");
    put(&channel, ["full".to_owned(), "full".to_owned()]);
    let shared = &channel.inner.shared;
    let commit = |number: u32| {
        let mut put = channel.begin_put();
        for _ in 0..2 - number % 2 {
            put.put(Event::new(number.to_string())).expect("fits");
        }
        put.set_source_offset("tail", Bytes::from(number.to_string()));
        put.commit().expect("its turn came");
    };
    std::thread::scope(|scope| {
        for number in 0..THREADS {
            let commit = &commit;
            scope.spawn(move || commit(number));
            while shared.room.sleepers() <= number {
                std::thread::yield_now();
            }
        }
        let expected = (0..THREADS).flat_map(|n| vec![n.to_string(); 2 - n as usize % 2]);
        for event in ["full".to_owned(), "full".to_owned()].into_iter().chain(expected) {
            let mut take = channel.begin_take();
            assert_eq!(take.take(1).expect("readable")[0].body, event);
            take.commit().expect("durable");
        }
    });
    let source_offset = channel.source_offset("tail").expect("settled").expect("committed");
    assert_eq!(source_offset.bytes, (THREADS - 1).to_string());
}

/// Its events would be moved although no record says that their first place is void.
#[test]
fn a_fence_without_memory_moves_nothing_and_is_placed_later() {
    let disk = SimDisk::new(SimOptions::new(1));
    let options = || on_simulated_disk().with_disk(Arc::new(disk.clone())).step_driven(7);
    let channel = FileChannel::open(options()).expect("opens");
    let (shared, mut stepper) = (&channel.inner.shared, channel.step_driver());
    let mut put = channel.begin_put();
    put.put(Event::new("doubt")).expect("fits");
    put.set_source_offset("tail", Bytes::from_static(b"1"));
    let mut commit = put.commit_async();
    assert!(crate::contract::poll_once(&mut commit).is_pending());
    let writing =
        |stripe: &usize| shared.log().expect("whole").may_write(StripeIndex(*stripe as u16));
    let stripe = (0..2).find(writing).expect("the block was written to one of them");
    disk.fail(Fault::dead(&format!("data{stripe}")).effect(FaultEffect::Later));
    shared.pool.refuse(1);
    stepper.run_tasks();
    let doubt = crate::contract::poll_once(&mut commit);
    let std::task::Poll::Ready(Err(failure)) = doubt else { panic!("{doubt:?}") };
    assert!(matches!(failure.error, CommitError::InDoubt(_)), "{failure}");
    assert!(failure.transaction.is_none(), "it may be there already");
    assert!(matches!(channel.source_offset("tail"), Err(SourceOffsetError::Unsettled { .. })));
    for _ in 0..2 {
        stepper.keep();
        stepper.run_tasks();
    }
    assert_eq!(channel.source_offset("tail"), Ok(None), "the other stripe has the fence");
    for seed in 0..4 {
        let cut = disk.crash(seed);
        cut.clear_faults();
        let channel = FileChannel::open(options().with_disk(Arc::new(cut))).expect("opens");
        assert_eq!((channel.status().events, channel.source_offset("tail")), (0, Ok(None)));
    }
}

/// A source offset that is reserved and not settled: the caller waits, and gets an error if it
/// never settles.
#[test]
fn a_source_waits_for_its_offset_and_is_never_given_an_older_one() {
    let shape = PutShape { count: 0, events_len: 0, source_offset: Some(("tail", b"2")) };
    let open = |patience| {
        let mut options = on_simulated_disk();
        options.write_timeout = patience;
        let channel = FileChannel::open(options).expect("opens");
        let mut first = channel.begin_put();
        first.set_source_offset("tail", Bytes::from_static(b"1"));
        first.commit().expect("committed");
        let reserved = channel.inner.shared.with_log(|log| log.reserve_put(Duration::ZERO, shape));
        let reservation = reserved.expect("whole").expect("room");
        (channel, reservation)
    };
    let (channel, reservation) = open(Duration::from_millis(50));
    let Err(SourceOffsetError::Unsettled { of, waited }) = channel.source_offset("tail") else {
        panic!("returned while a commit is open");
    };
    assert_eq!(of, "tail");
    assert!(waited >= Duration::from_millis(50));
    drop(reservation);

    let (channel, reservation) = open(Duration::from_secs(600));
    let shared = &channel.inner.shared;
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| channel.source_offset("tail"));
        while shared.room.sleepers() == 0 && !asked.is_finished() {
            std::thread::yield_now();
        }
        assert!(!asked.is_finished(), "returned while a commit is open");
        // Void: the older source offset is the settled one.
        drop(reservation);
        put(&channel, ["behind".to_owned()]);
        let source_offset = asked.join().expect("no panic").expect("settled").expect("the first");
        assert_eq!((source_offset.counter, &source_offset.bytes[..]), (1, &b"1"[..]));
    });
}

#[test]
fn checkpoints_that_could_not_be_written_are_counted_by_where() {
    let disk = SimDisk::new(SimOptions::new(1));
    let options = on_simulated_disk().with_disk(Arc::new(disk.clone()));
    let channel = FileChannel::open(options).expect("opens");
    let counted = || {
        let status = channel.status();
        (status.checkpoint_errors, status.checkpoint_copy_errors)
    };
    put(&channel, ["one".to_owned()]);
    channel.checkpoint().expect("written");
    assert_eq!(counted(), (0, 0));
    disk.fail(Fault::dead("/c/checkpoint"));
    channel.checkpoint().expect("the copies in the data directories are enough");
    assert_eq!(counted(), (1, 0));
    disk.clear_faults();
    disk.fail(Fault::dead(&format!("data0/{}", crate::layout::CHECKPOINT_NAME)));
    channel.checkpoint().expect_err("a directory has no copy");
    assert_eq!(counted(), (1, 1));
    disk.clear_faults();
    channel.checkpoint().expect("written");
    assert_eq!(counted(), (1, 1));
}

/// Waits for other threads, with a deadline.
fn soon(what: &str, is_so: impl Fn() -> bool) {
    let clock = SystemClock::new();
    while !is_so() {
        assert!(clock.now() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The system has no thread to spare for a while; when it has one, no further transaction starts.
#[test]
fn a_thread_that_could_not_be_started_is_started_later() {
    let channel = FileChannel::open(on_simulated_disk()).expect("opens");
    let shared = &channel.inner.shared;
    soon("the first tasks are done", || shared.log().is_ok_and(|log| log.is_quiet()));
    shared.workers.refuse_threads();
    let commits: Vec<_> = (0..3)
        .map(|number| {
            let mut put = channel.begin_put();
            put.put(Event::new(number.to_string())).expect("fits");
            let mut commit = put.commit_async();
            assert!(crate::contract::poll_once(&mut commit).is_pending());
            commit
        })
        .collect();
    // A thread was refused to every task of maintenance.
    std::thread::sleep(Duration::from_millis(50));
    (0..2).for_each(|at| shared.submit_task(Task::Maintain(StripeIndex(at))));
    [Task::ReadAhead, Task::Checkpoint].into_iter().for_each(|task| shared.submit_task(task));
    shared.workers.refuse.store(false, Ordering::SeqCst);
    for commit in commits {
        crate::contract::block_on(commit).expect("written by the pool");
    }
}

/// The log panics while one thread waits for a block that another writes.
#[test]
fn a_panic_inside_wakes_all_waiters() {
    let mut options = on_simulated_disk();
    (options.write_timeout, options.keep_alive) =
        (Duration::from_secs(3000), Duration::from_secs(3000));
    let channel = FileChannel::open(options).expect("opens");
    let shared = &channel.inner.shared;
    let shape = PutShape { count: 1, events_len: 100, source_offset: None };
    // Frames that are reserved and never filled keep the blocks of both stripes from being written.
    let reserve = || shared.with_log(|log| log.reserve_put(Duration::ZERO, shape));
    let held: Vec<_> = (0..2).map(|_| reserve().expect("whole").expect("room")).collect();
    let commit = || {
        let mut put = channel.begin_put();
        put.put(Event::new("e")).expect("fits");
        put.commit()
    };
    let take = || channel.begin_take().take(1);
    std::thread::scope(|scope| {
        let commits: Vec<_> = (0..6).map(|_| scope.spawn(commit)).collect();
        let take = scope.spawn(take);
        soon("a taker sleeps", || shared.takers.sleepers() > 0);
        let asleep = || {
            shared
                .log()
                .map_or(0, |log| log.completions().iter().map(|c| c.waiters.sleepers()).sum())
        };
        soon("all but the writers sleep", || asleep() >= 4);
        channel.panic_inside();
        let taken = take.join().expect("no panic");
        assert!(matches!(taken, Err(TakeError::Stopped(_))), "{taken:?}");
        let refused = commit().expect_err("stopped").error;
        assert!(matches!(refused, CommitError::Refused(RefusedReason::Stopped(_))), "{refused}");
        assert_eq!(refused.retry(), Retry::Reopen);
        soon("sleepers are notified", || commits.iter().filter(|c| c.is_finished()).count() >= 4);
        drop(held);
        for commit in commits {
            let result = commit.join().expect("no panic").map_err(|failure| failure.error);
            assert!(matches!(result, Err(CommitError::InDoubt(_))), "{result:?}");
        }
    });
}

fn options(dir: &Path, stripes: usize) -> FileChannelOptions {
    let data = (0..stripes).map(|i| dir.join(format!("data{i}")));
    let mut options = FileChannelOptions::new(dir.join("checkpoint"), data);
    options.segment_bytes = 256 * 1024;
    options.minimum_required_space = 0;
    options.keep_alive = Duration::from_millis(200);
    options
}

/// Commits `bodies`. On a busy machine a segment may take longer to create than a put waits for it:
/// a refused put leaves nothing and is put again.
fn put(channel: &FileChannel, bodies: impl IntoIterator<Item = String>) {
    let events: Vec<Event> = bodies.into_iter().map(Event::new).collect();
    let clock = SystemClock::new();
    let mut tx = channel.begin_put();
    for event in events {
        tx.put(event).expect("room in the transaction");
    }
    loop {
        let Err(failure) = tx.commit() else { return };
        match (failure.error, failure.transaction) {
            (CommitError::Refused(RefusedReason::NoSpace(why)), Some(again)) => {
                assert!(clock.now() < Duration::from_secs(60), "{why}");
                tx = again;
            }
            (other, _) => panic!("{other}"),
        }
    }
}

fn take_all(channel: &FileChannel) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let mut tx = channel.begin_take();
        let events = tx.take(1000).expect("readable");
        if events.is_empty() {
            return all;
        }
        all.extend(events.iter().map(|e| String::from_utf8_lossy(&e.body).into_owned()));
        tx.commit().expect("committed");
    }
}

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|i| format!("event {i}")).collect()
}

#[test]
fn what_was_put_is_taken_in_order_also_after_a_reopening() {
    for stripes in [1, 3] {
        let dir = tempfile::tempdir().expect("dir");
        let channel = FileChannel::open(options(dir.path(), stripes)).expect("open");
        for batch in names(0..100).chunks(7) {
            put(&channel, batch.to_vec());
        }
        let mut tx = channel.begin_take();
        assert_eq!(tx.take(10).expect("events").len(), 10);
        tx.commit().expect("committed");
        let mut tx = channel.begin_take();
        assert_eq!(tx.take(5).expect("events").len(), 5);
        tx.rollback();
        channel.close().expect("closed");
        drop(channel);
        let channel = FileChannel::open(options(dir.path(), stripes)).expect("open again");
        assert_eq!(channel.status().events, 90);
        assert_eq!(take_all(&channel), names(10..100));
        assert_eq!(channel.status().events, 0);
    }
}

#[test]
fn segments_roll_and_come_back_to_the_pool() {
    let dir = tempfile::tempdir().expect("dir");
    let channel = FileChannel::open(options(dir.path(), 2)).expect("open");
    let mut left = Vec::new();
    for round in 0..200 {
        let batch: Vec<String> =
            (0..50).map(|i| format!("{round}-{i} {}", "x".repeat(200))).collect();
        left.extend(batch.clone());
        put(&channel, batch);
        if round % 2 == 1 {
            let taken = take_all(&channel);
            assert_eq!(taken, left);
            left.clear();
        }
    }
    let counts = channel.log_counts();
    assert!(counts.rolls > 5, "{counts:?}");
    assert!(counts.recycled > 3, "{counts:?}");
}

#[test]
fn a_backlog_larger_than_memory_is_read_back_in_order() {
    let dir = tempfile::tempdir().expect("dir");
    let mut options = options(dir.path(), 2);
    options.hot_window_bytes = 1024 * 1024;
    let channel = FileChannel::open(options.clone()).expect("open");
    let mut all = Vec::new();
    for round in 0..400 {
        let batch: Vec<String> =
            (0..50).map(|i| format!("{round}-{i} {}", "x".repeat(500))).collect();
        all.extend(batch.clone());
        put(&channel, batch);
    }
    assert_eq!(take_all(&channel), all);
    for round in 0..400 {
        let batch: Vec<String> =
            (0..50).map(|i| format!("{round}-{i} {}", "x".repeat(500))).collect();
        put(&channel, batch);
    }
    drop(channel);
    let channel = FileChannel::open(options).expect("open");
    assert_eq!(take_all(&channel), all);
}

/// A file is cut off from outside while the channel has it open: lost events are counted, and a
/// reader does not search for the rest of a block that never comes.
#[test]
fn a_segment_cut_short_within_a_block_is_counted_and_ends_no_taker() {
    let dir = tempfile::tempdir().expect("dir");
    let mut options = options(dir.path(), 1);
    options.segment_bytes = 8 << 20;
    options.hot_window_bytes = 1 << 20;
    let channel = FileChannel::open(options.clone()).expect("open");
    put(&channel, ["whole".to_owned()]);
    // A block of its own, longer than one piece of a cold read.
    put(&channel, (0..30).map(|i| format!("{i} {}", "x".repeat(100_000))));
    channel.close().expect("sealed");
    drop(channel);
    // Without threads, one of which would see the cut and move the log before the read.
    let channel = FileChannel::open(options.step_driven(1)).expect("open again");
    let data = dir.path().join("data0");
    let segment = data.join(crate::layout::segment_name(0));
    let file = std::fs::File::options().write(true).open(&segment).expect("a segment");
    file.set_len(2 << 20).expect("cut short");
    // In one transaction: the acknowledgement of the first would make the file long again.
    let mut tx = channel.begin_take();
    assert_eq!(tx.take(1).expect("readable")[0].body, "whole");
    assert_eq!(tx.take(100), Ok(Vec::new()));
    tx.commit().expect("committed");
    assert_eq!((channel.status().events, channel.status().quarantined), (0, 30));
}

#[test]
fn many_threads_put_and_take_and_nothing_is_lost_or_doubled() {
    let dir = tempfile::tempdir().expect("dir");
    let mut options = options(dir.path(), 2);
    options.segment_bytes = 1 << 20;
    let channel = FileChannel::open(options).expect("open");
    let (producers, each) = (8, 200);
    let (taken, missing) = (Mutex::new(Vec::new()), AtomicUsize::new(producers * each * 5));
    std::thread::scope(|scope| {
        for p in 0..producers {
            let channel = channel.clone();
            scope.spawn(move || {
                for i in 0..each {
                    put(&channel, (0..5).map(|j| format!("{p} {i} {j}")).collect::<Vec<_>>());
                }
            });
        }
        for _ in 0..3 {
            let (channel, taken, missing) = (channel.clone(), &taken, &missing);
            scope.spawn(move || {
                while missing.load(Ordering::SeqCst) > 0 {
                    let mut tx = channel.begin_take();
                    let events = tx.take(17).expect("readable");
                    tx.commit().expect("committed");
                    missing.fetch_sub(events.len(), Ordering::SeqCst);
                    let bodies = events.iter().map(|e| e.body.clone());
                    taken.lock().expect("lock").extend(bodies);
                }
            });
        }
    });
    let mut taken = taken.into_inner().expect("lock");
    taken.sort();
    let count = taken.len();
    taken.dedup();
    assert_eq!(channel.status().events, 0);
    assert_eq!((count, taken.len()), (producers * each * 5, producers * each * 5));
}

#[test]
fn a_directory_whose_path_leads_elsewhere_is_noticed() {
    let disk = SimDisk::new(SimOptions::new(1));
    let clock = Arc::new(ManualClock::default());
    let mut options = FileChannelOptions::new("/c", ["/d"]).with_disk(Arc::new(disk.clone()));
    options.minimum_required_space = 0;
    let channel =
        FileChannel::open(options.with_clock(Arc::<ManualClock>::clone(&clock)).step_driven(1))
            .expect("opened");
    let mut stepper = channel.step_driver();
    let mut is_moved = || {
        clock.advance(Duration::from_secs(1));
        stepper.keep();
        stepper.run_tasks();
        channel.inner.shared.stripe_dirs[0].maintenance.lock().expect("no panic").moved
    };
    assert!(!is_moved());
    disk.move_directory_away(Path::new("/d"));
    assert!(is_moved());
    put(&channel, names(0..3));
    assert!(is_moved(), "and it continues there");
    disk.move_directory_back(Path::new("/d"));
    assert!(!is_moved());
}

/// Mapping takes microseconds, in which every other commit would wait.
#[test]
fn block_memory_is_mapped_without_the_lock_of_the_log() {
    let channel = FileChannel::open(on_simulated_disk().step_driven(7)).expect("opens");
    let mut stepper = channel.step_driver();
    let sizes = std::iter::repeat_n(300_000, 30).chain([5_000_000, 1_000, 6_000_000]);
    for size in sizes {
        let mut put = channel.begin_put();
        put.put(Event::new(vec![7; size])).expect("fits");
        let mut commit = put.commit_async();
        let committed = loop {
            match crate::contract::poll_once(&mut commit) {
                std::task::Poll::Ready(result) => break result,
                std::task::Poll::Pending => {
                    stepper.keep();
                }
            }
            stepper.run_tasks();
        };
        assert!(committed.is_ok(), "{size} bytes");
    }
    assert_eq!(MAPPED_UNDER_LOG.get(), 0);
}

/// What a sink relies on that remembers which events it has delivered.
#[test]
fn an_event_that_is_not_acknowledged_keeps_its_place_when_the_channel_reopens() {
    let dir = tempfile::tempdir().expect("a directory");
    let places = |channel: &FileChannel| -> Vec<(String, StripeIndex, u64)> {
        let mut take = channel.begin_take();
        let mut events = Vec::new();
        while events.len() < 300 {
            events.extend(take.take(70).expect("takes"));
        }
        let ranges = take.ranges().expect("durable");
        assert_eq!(channel.unacknowledged(&ranges), Some(ranges.clone()));
        let all = ranges.iter().flat_map(|r| (r.start..r.end).map(|sequence| (r.stripe, sequence)));
        let body = |event: &Event| String::from_utf8_lossy(&event.body).into_owned();
        let mut places: Vec<_> =
            events.iter().zip(all).map(|(event, (stripe, at))| (body(event), stripe, at)).collect();
        assert_eq!(places.len(), events.len());
        places.sort();
        places
    };
    let channel = FileChannel::open(options(dir.path(), 2)).expect("opens");
    for part in 0..100 {
        put(&channel, names(part * 3..part * 3 + 3));
    }
    let (first, identity) = (places(&channel), channel.identity());
    drop(channel);
    let channel = FileChannel::open(options(dir.path(), 2)).expect("opens");
    assert_eq!((places(&channel), channel.identity()), (first, identity));
    let mut take = channel.begin_take();
    assert_eq!(take.take(10).expect("takes").len(), 10);
    let ranges = take.ranges().expect("durable");
    take.commit().expect("commits");
    assert_eq!(channel.unacknowledged(&ranges), Some(vec![]));
}
