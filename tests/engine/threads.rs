//! Sections 2 to 4 and 9 with threads: callers that must not block never do, and counts are
//! conserved.

use crate::rig::{Machine, bodies, checkpoint_dir, data_dir, text};
use crate::tap::{Call, TappedDisk};
use millpond::internal::disk::Disk;
use millpond::{
    Channel, Clock, CommitError, Event, FileChannel, FileChannelOptions, PutTransaction,
    RefusedReason, SystemClock, TakeTransaction,
};
use millpond_sim::disk::{SimDisk, SimOptions};
use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

const fn shared_between_threads<T: Send + Sync>() {}
const fn moved_between_threads<T: Send + ?Sized>() {}
const _: () = shared_between_threads::<FileChannel>();
const _: () = moved_between_threads::<dyn PutTransaction>();
const _: () = moved_between_threads::<dyn TakeTransaction>();

fn on_sim(stripes: usize) -> FileChannelOptions {
    let data = (0..stripes).map(|i| format!("/c/data{i}"));
    let mut options = FileChannelOptions::new("/c/checkpoint", data)
        .with_disk(Arc::new(SimDisk::new(SimOptions::new(1))));
    options.segment_bytes = 1 << 20;
    options.minimum_required_space = 0;
    options.keep_alive = Duration::from_millis(300);
    options
}

fn on_real(dir: &Path, stripes: usize) -> FileChannelOptions {
    let data = (0..stripes).map(|i| dir.join(format!("data{i}")));
    let mut options = FileChannelOptions::new(dir.join("checkpoint"), data);
    options.segment_bytes = 1 << 20;
    options.minimum_required_space = 0;
    options.keep_alive = Duration::from_millis(500);
    options
}

/// Returns options for a disk that sometimes hangs: hung calls are given up soon.
pub(crate) fn on_hanging(
    disk: Arc<dyn Disk>,
    stripes: usize,
    keep_alive: Duration,
) -> FileChannelOptions {
    let mut options =
        FileChannelOptions::new(checkpoint_dir(), (0..stripes).map(data_dir)).with_disk(disk);
    options.segment_bytes = 64 * 1024;
    options.minimum_required_space = 0;
    options.keep_alive = keep_alive;
    options.write_timeout = HUNG;
    options.checkpoint_interval = Duration::from_millis(20);
    options
}

/// Commits `bodies`. On a busy machine a segment may take longer to create than a put waits for it:
/// a refused put leaves nothing and is put again.
fn put_patiently(channel: &FileChannel, bodies: &[String]) {
    let clock = SystemClock::new();
    let mut put = channel.begin_put();
    for body in bodies {
        put.put(Event::new(body.clone())).expect("fits");
    }
    loop {
        let Err(failure) = put.commit() else { return };
        match (failure.error, failure.transaction) {
            (CommitError::Refused(RefusedReason::NoSpace(why)), Some(again)) => {
                assert!(clock.now() < Duration::from_secs(60), "{why}");
                put = again;
            }
            (other, _) => panic!("{other}"),
        }
    }
}

/// Runs producers and takers, some of which roll back; every event comes out once.
fn stress(options: FileChannelOptions, producers: usize, takers: usize, each: usize) {
    let channel = FileChannel::open(options).expect("opens");
    let (taken, missing) = (Mutex::new(Vec::new()), AtomicUsize::new(producers * each * 3));
    std::thread::scope(|scope| {
        for p in 0..producers {
            let channel = channel.clone();
            scope.spawn(move || {
                for i in 0..each {
                    put_patiently(&channel, &[0, 1, 2].map(|j| format!("{p} {i} {j}")));
                }
            });
        }
        for t in 0..takers {
            let (channel, taken, missing) = (channel.clone(), &taken, &missing);
            scope.spawn(move || {
                let mut round = t;
                while missing.load(Ordering::SeqCst) > 0 {
                    round += 1;
                    let mut take = channel.begin_take();
                    let events = take.take(1 + round % 23).expect("readable");
                    if round % 5 == 0 {
                        take.rollback();
                        continue;
                    }
                    take.commit().expect("committed");
                    missing.fetch_sub(events.len(), Ordering::SeqCst);
                    taken.lock().expect("lock").extend(events.iter().map(text));
                }
            });
        }
    });
    let taken = taken.into_inner().expect("lock");
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for body in taken {
        *counts.entry(body).or_default() += 1;
    }
    assert_eq!(counts.len(), producers * each * 3, "nothing is lost");
    assert!(counts.values().all(|n| *n == 1), "nothing comes twice");
    let status = channel.status();
    assert_eq!(status.events, 0);
    assert_eq!((status.put, status.taken), (counts.len() as u64, counts.len() as u64));
    channel.close().expect("sealed");
}

#[test]
fn many_producers_and_takers_conserve_every_event_on_a_simulated_disk() {
    stress(on_sim(3), 8, 4, 150);
}

#[test]
fn many_producers_and_takers_conserve_every_event_on_real_files() {
    let dir = tempfile::tempdir().expect("dir");
    stress(on_real(dir.path(), 2), 6, 3, 25);
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let clock = SystemClock::new();
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        assert!(clock.now() < Duration::from_secs(60), "the future is never woken");
        std::thread::park_timeout(Duration::from_secs(60));
    }
}

#[test]
fn futures_are_woken_by_the_channels_own_threads() {
    let dir = tempfile::tempdir().expect("dir");
    let mut options = on_real(dir.path(), 2);
    options.keep_alive = Duration::from_secs(30);
    let channel = FileChannel::open(options).expect("opens");
    std::thread::scope(|scope| {
        for p in 0..4 {
            let channel = channel.clone();
            scope.spawn(move || {
                for i in 0..10 {
                    let mut put = channel.begin_put();
                    put.put(Event::new(format!("{p} {i}"))).expect("fits");
                    block_on(put.commit_async()).expect("committed");
                }
            });
        }
    });
    let mut taken = 0;
    while taken < 40 {
        let mut take = channel.begin_take();
        taken += block_on(take.take_async(7)).expect("readable").len();
        block_on(take.commit_async()).expect("committed");
    }
    assert_eq!(channel.status().events, 0);
}

/// A driver without threads: if a future waited for anything itself, this test would never end.
#[test]
fn a_future_that_is_polled_never_writes_reads_or_waits() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    engine.run_pending();
    let operations = machine.disk.operations();
    let mut commit = engine.begin_put(&bodies("e", 0..3));
    for _ in 0..100 {
        assert!(commit.poll().is_none());
    }
    assert_eq!(machine.disk.operations(), operations, "the write is left to the pool");
    engine.end(commit).expect("committed");
    drop(engine);
    // Cold: the read is left to the pool as well, and repeated polls do not spin.
    let mut options = machine.options();
    options.keep_alive = Duration::ZERO;
    let engine = machine.open_with(options);
    let reads =
        |machine: &Machine| machine.disk.trace().iter().filter(|l| l.contains("Read")).count();
    let before = reads(&machine);
    let mut take = engine.begin_take();
    let mut lent = take.take_async(3);
    for _ in 0..100 {
        let poll = lent.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll.is_pending());
    }
    assert_eq!(reads(&machine), before);
    engine.stepper.run_tasks();
    let poll = lent.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(Ok(events)) = poll else { panic!("read by now") };
    assert_eq!(events.iter().map(text).collect::<Vec<_>>(), bodies("e", 0..3));
}

#[test]
fn closing_with_work_under_way_ends_it_and_opening_again_finds_it() {
    let dir = tempfile::tempdir().expect("dir");
    let options = on_real(dir.path(), 2);
    let channel = FileChannel::open(options.clone()).expect("opens");
    let committed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (channel, committed) = (channel.clone(), &committed);
            scope.spawn(move || {
                loop {
                    let mut put = channel.begin_put();
                    put.put(Event::new("x")).expect("fits");
                    match put.commit().map_err(CommitError::from) {
                        Ok(()) => committed.fetch_add(1, Ordering::SeqCst),
                        // No segment was ready in time.
                        Err(CommitError::Refused(RefusedReason::NoSpace(_))) => continue,
                        Err(CommitError::Refused(RefusedReason::Closed)) => return,
                        Err(other) => panic!("{other}"),
                    };
                }
            });
        }
        while committed.load(Ordering::SeqCst) < 50 {
            std::thread::yield_now();
        }
        channel.close().expect("sealed");
    });
    drop(channel);
    let channel = FileChannel::open(options).expect("opens again");
    assert_eq!(channel.status().events, committed.load(Ordering::SeqCst) as u64);
}

/// When a call counts as hung: longer than a busy machine delays a healthy one.
pub(crate) const HUNG: Duration = Duration::from_secs(2);

/// A gate at which calls on one directory wait.
#[derive(Default)]
pub(crate) struct Gate {
    shut: Mutex<bool>,
    moved: Condvar,
}

impl Gate {
    pub(crate) fn shut(&self, shut: bool) {
        *self.shut.lock().expect("lock") = shut;
        self.moved.notify_all();
    }

    pub(crate) fn pass(&self) {
        let shut = self.shut.lock().expect("lock");
        drop(self.moved.wait_while(shut, |shut| *shut).expect("lock"));
    }
}

/// Everything on one disk hangs: writes, reads, the creation of segments, checkpoints.
#[test]
fn a_disk_that_hangs_hangs_neither_the_others_nor_the_closing() {
    let gate = Arc::<Gate>::default();
    let machine = Machine::new(2);
    let tap = {
        let gate = Arc::clone(&gate);
        move |_, path: &Path, _| {
            if path.starts_with("/c/data1") {
                gate.pass();
            }
        }
    };
    let disk = Arc::new(TappedDisk::new(Arc::new(machine.disk.clone()), tap));
    let options = || on_hanging(disk.clone(), 2, Duration::from_secs(20));
    let put = |channel: &FileChannel, body: String| {
        let mut put = channel.begin_put();
        put.put(Event::new(body)).expect("fits");
        block_on(put.commit_async())
    };
    // Cold events wait on both disks.
    let channel = FileChannel::open(options()).expect("opens");
    for i in 0..20 {
        put(&channel, format!("cold {i}")).expect("committed");
    }
    channel.close().expect("sealed");
    drop(channel);
    let channel = FileChannel::open(options()).expect("opens again");
    gate.shut(true);
    let mut sent = Vec::new();
    for i in 0..60 {
        let body = format!("hot {i} {}", "x".repeat(3000));
        put(&channel, body.clone()).expect("committed on the other disk");
        sent.push(body);
    }
    assert!(channel.log_counts().rolls > 2, "segments of the other disk are still made");
    let mut taken = Vec::new();
    while taken.len() < 60 {
        let mut take = channel.begin_take();
        let events = block_on(take.take_async(50)).expect("readable");
        taken.extend(events.iter().map(text));
        if !events.is_empty() {
            block_on(take.commit_async()).expect("committed");
        }
    }
    // Bounded, and honest about the checkpoint if it could not be written.
    let closed = channel.close();
    drop(channel);
    gate.shut(false);
    if let Err(error) = closed {
        assert!(error.to_string().contains("checkpoint"), "{error}");
    }
    // The hung calls release the directories by themselves.
    let clock = SystemClock::new();
    let channel = loop {
        match FileChannel::open(options()) {
            Ok(channel) => break channel,
            Err(error) => {
                assert!(clock.now() < Duration::from_secs(60), "{error}");
                std::thread::yield_now();
            }
        }
    };
    while taken.len() < 80 {
        let mut take = channel.begin_take();
        let events = take.take(50).expect("readable");
        assert!(!events.is_empty(), "{} of 80", taken.len());
        taken.extend(events.iter().map(text));
        take.commit().expect("committed");
    }
    let mut expected: Vec<String> = (0..20).map(|i| format!("cold {i}")).collect();
    expected.extend(sent);
    taken.sort();
    expected.sort();
    assert!(taken == expected, "nothing is lost, nothing is delivered twice");
    assert_eq!(channel.status().events, 0);
}

/// Only reads hang: the stripe takes puts as before, but its waiting events cannot be read.
#[test]
fn a_read_that_hangs_does_not_keep_the_other_disks_events() {
    let gate = Arc::<Gate>::default();
    let machine = Machine::new(2);
    let tap = {
        let gate = Arc::clone(&gate);
        move |call, path: &Path, _| {
            if call == Call::Read && path.starts_with("/c/data1") {
                gate.pass();
            }
        }
    };
    let disk = Arc::new(TappedDisk::new(Arc::new(machine.disk.clone()), tap));
    let mut options =
        FileChannelOptions::new("/c/checkpoint", ["/c/data0", "/c/data1"]).with_disk(disk.clone());
    options.minimum_required_space = 0;
    options.segment_bytes = 64 * 1024;
    options.keep_alive = Duration::from_secs(5);
    options.write_timeout = HUNG;
    let channel = FileChannel::open(options.clone()).expect("opens");
    for i in 0..20 {
        let mut put = channel.begin_put();
        put.put(Event::new(format!("cold {i}"))).expect("fits");
        put.commit().expect("committed");
    }
    drop(channel);
    let channel = FileChannel::open(options).expect("opens again");
    gate.shut(true);
    let mut take = channel.begin_take();
    let events = block_on(take.take_async(20));
    gate.shut(false);
    let mut got = events.expect("the other disk's are there").len();
    assert!((1..20).contains(&got), "{got} events while a disk hangs");
    while got < 20 {
        let events = block_on(take.take_async(20)).expect("readable");
        assert!(!events.is_empty(), "{got} of 20");
        got += events.len();
    }
    take.commit().expect("committed");
    assert_eq!(channel.status().events, 0);
}

/// A clock that fails once, for the channel's maintenance.
struct FailingClock(SystemClock, AtomicUsize);

impl Clock for FailingClock {
    fn now(&self) -> Duration {
        let keeps = std::thread::current().name() == Some("millpond-keep");
        if keeps && self.1.swap(0, Ordering::SeqCst) > 0 {
            panic!("scripted");
        }
        self.0.now()
    }

    fn wall_ms(&self) -> u64 {
        self.0.wall_ms()
    }
}

#[test]
fn maintenance_that_panics_outside_the_log_goes_on() {
    let clock = Arc::new(FailingClock(SystemClock::new(), AtomicUsize::new(0)));
    let channel = FileChannel::open(on_sim(1).with_clock(clock.clone())).expect("opens");
    clock.1.store(1, Ordering::SeqCst);
    while clock.1.load(Ordering::SeqCst) > 0 {
        std::thread::sleep(Duration::from_millis(5));
        assert!(clock.0.now() < Duration::from_secs(60), "maintenance has no round");
    }
    // More than the existing segments: maintenance has to create further ones.
    for round in 0..60 {
        put_patiently(&channel, &[format!("{round} {}", "x".repeat(100_000))]);
    }
    assert!(channel.log_counts().rolls > 3, "{:?}", channel.log_counts());
    channel.close().expect("sealed");
}

/// Removes a directory in which the channel may be creating a segment.
fn remove(directory: &Path) {
    let clock = SystemClock::new();
    while directory.exists() {
        let removed = std::fs::remove_dir_all(directory);
        assert!(clock.now() < Duration::from_secs(60), "{removed:?}");
    }
}

#[test]
fn a_directory_removed_while_it_is_in_use_takes_no_further_event() {
    let dir = tempfile::tempdir().expect("dir");
    let channel = FileChannel::open(on_real(dir.path(), 2)).expect("opens");
    let commit = |body: &'static str| {
        let mut put = channel.begin_put();
        put.put(Event::new(body)).expect("fits");
        put.commit()
    };
    commit("before").expect("committed");
    remove(&dir.path().join("data0"));
    // Detected by maintenance's next check; from then on all events are put into the other
    // directory.
    let clock = SystemClock::new();
    while !channel
        .status()
        .fault
        .is_some_and(|words| words.to_string().contains("data0 was removed"))
    {
        assert!(clock.now() < Duration::from_secs(60), "not noticed");
        std::thread::sleep(Duration::from_millis(10));
    }
    for _ in 0..50 {
        commit("kept apart").expect("the other directory accepts it");
    }
    let files = std::fs::read_dir(dir.path().join("data1")).expect("listed");
    let logs = files.map(|file| std::fs::read(file.expect("a file").path()).expect("read"));
    let kept = logs.map(|log| log.windows(10).filter(|w| w == b"kept apart").count());
    assert_eq!(kept.sum::<usize>(), 50);
    remove(&dir.path().join("data1"));
    let refused = loop {
        assert!(clock.now() < Duration::from_secs(120), "not refused");
        if let Err(error) = commit("lost") {
            break error.to_string();
        }
    };
    assert!(refused.contains("was removed or emptied"), "{refused}");
}

/// Attempts until one succeeds: on a busy machine any single one may fail.
const ATTEMPTS: usize = 20;

/// If each commit had to wait for the write in flight and then for its own, at most half of them
/// would share a write.
#[test]
fn on_a_slow_disk_threads_that_commit_in_a_loop_share_each_write() {
    const THREADS: usize = 4;
    const COMMITS: usize = 15;
    let writes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&writes);
    let slow = move |call, _: &Path, bytes| {
        if call == Call::Submit && bytes <= 8192 {
            counted.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(3));
        }
    };
    let disk = Arc::new(SimDisk::new(SimOptions::new(1)));
    let options = on_sim(1).with_disk(Arc::new(TappedDisk::new(disk, slow)));
    let channel = FileChannel::open(options).expect("opens");
    let mut seen = Vec::new();
    for attempt in 0..ATTEMPTS {
        let before = writes.load(Ordering::SeqCst);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for i in 0..COMMITS {
                        put_patiently(&channel, &[format!("{attempt} {i}")]);
                    }
                });
            }
        });
        seen.push(writes.load(Ordering::SeqCst) - before);
        if seen[attempt] * 5 < THREADS * COMMITS * 2 {
            return;
        }
    }
    panic!("{} commits took {seen:?} writes", THREADS * COMMITS);
}

/// Notifying the disk of free space delays concurrent commits.
#[test]
fn segments_that_are_no_longer_needed_are_deleted_in_a_calm_moment() {
    let clock = SystemClock::new();
    let mut seen = Vec::new();
    for _ in 0..ATTEMPTS {
        let shortened = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&shortened);
        let count = move |call, _: &Path, _| {
            if call == Call::Shorten {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        };
        let disk = Arc::new(SimDisk::new(SimOptions::new(1)));
        let mut options = on_sim(1).with_disk(Arc::new(TappedDisk::new(disk, count)));
        options.segment_bytes = 4 << 20;
        let channel = FileChannel::open(options).expect("opens");
        let large = "x".repeat(500_000);
        (0..80).for_each(|_| put_patiently(&channel, std::slice::from_ref(&large)));
        let mut busy_until = None;
        // Commits continue for two checks of maintenance after segments become free.
        while busy_until.is_none_or(|until| clock.now() < until) {
            put_patiently(&channel, &["small".to_owned()]);
            let mut take = channel.begin_take();
            let taken = take.take(4).expect("readable");
            if taken.iter().all(|event| event.body.len() < 10) {
                busy_until.get_or_insert(clock.now() + Duration::from_millis(2200));
            }
            take.commit().expect("committed");
        }
        seen.push(shortened.load(Ordering::SeqCst));
        while channel.ready_segments() > 4 || shortened.load(Ordering::SeqCst) == 0 {
            assert!(clock.now() < Duration::from_secs(300), "never deleted");
            std::thread::sleep(Duration::from_millis(10));
        }
        if seen.last() == Some(&0) {
            return;
        }
    }
    panic!("deleted during commits: {seen:?}");
}
