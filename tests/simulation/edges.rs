//! Temporary refusals and failures: everything that can continue does, and nothing is refused forever.

use bytes::Bytes;
use millpond::internal::channel::file::StepDriver;
use millpond::internal::disk::Disk;
use millpond::internal::layout::segment_name;
use millpond::internal::record::segment::SegmentHeader;
use millpond::internal::record::slot::CHECKPOINT_SLOT_BYTES;
use millpond::{BoxFuture, Channel, Event, FileChannel, FileChannelOptions, ManualClock};
use millpond_sim::disk::{Fault, FaultTarget, SimDisk, SimOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const SEGMENT_BYTES: usize = 256 * 1024;
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
const DATA: &str = "/c/data0";

/// The scenarios; `Err` says what did not hold.
pub(crate) const ALL: [fn() -> Result<(), String>; 11] = [
    void_ranges_keep_nothing_back,
    a_large_refusal_is_for_large_ones,
    a_failed_sync_costs_one_write,
    a_bad_slot_leaves_the_other,
    a_large_write_has_more_time,
    large_free_segments_go,
    a_refused_read_is_tried_again_for_who_waits,
    a_missing_segment_is_refused_and_kept_when_it_is_back,
    a_forgotten_source_offset_stays_forgotten,
    a_lock_that_fails_leaves_the_other_disks,
    a_segment_just_taken_into_use_is_missed,
];

struct Edge {
    disk: SimDisk,
    clock: Arc<ManualClock>,
    channel: FileChannel,
    stepper: StepDriver,
}

impl Edge {
    fn new(options: SimOptions) -> Self {
        Self::on(SimDisk::new(options), Duration::from_secs(1))
    }

    fn on(disk: SimDisk, keep_alive: Duration) -> Self {
        let clock = Arc::<ManualClock>::default();
        let options = Self::options(&disk, clock.clone(), keep_alive);
        let channel = FileChannel::open(options).expect("opens");
        let stepper = channel.step_driver();
        let mut edge = Self { disk, clock, channel, stepper };
        edge.finish_all();
        edge
    }

    fn options(
        disk: &SimDisk,
        clock: Arc<ManualClock>,
        keep_alive: Duration,
    ) -> FileChannelOptions {
        let mut options = FileChannelOptions::new("/c/checkpoint", [DATA])
            .with_disk(Arc::new(disk.clone()))
            .with_clock(clock)
            .step_driven(7);
        options.segment_bytes = SEGMENT_BYTES as u64;
        options.minimum_required_space = 0;
        options.keep_alive = keep_alive;
        options.write_timeout = WRITE_TIMEOUT;
        options
    }

    /// Closes the channel and returns its disk.
    fn into_disk(self) -> SimDisk {
        self.channel.close().expect("sealed");
        self.disk
    }

    fn finish_all(&mut self) {
        for _ in 0..4 {
            self.stepper.keep();
            self.stepper.run_tasks();
        }
    }

    fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
        self.finish_all();
    }

    fn end<T>(&mut self, mut future: BoxFuture<'_, T>) -> T {
        for turn in 0..16 {
            if let Some(ended) = poll(&mut future) {
                return ended;
            }
            self.finish_all();
            if turn > 8 {
                self.pass(WRITE_TIMEOUT);
            }
        }
        panic!("it never ends");
    }

    fn put(&mut self, events: usize, bytes: usize) -> Result<(), String> {
        let mut put = self.channel.begin_put();
        (0..events).for_each(|_| put.put(Event::new(vec![7; bytes])).expect("fits"));
        self.end(put.commit_async()).map_err(|error| error.to_string())
    }

    fn drain(&mut self) -> usize {
        let mut all = 0;
        loop {
            let mut take = self.channel.begin_take();
            let events = self.end(take.take_async(100)).expect("readable").len();
            self.end(take.commit_async()).expect("acknowledged");
            if events == 0 {
                return all;
            }
            all += events;
        }
    }
}

fn poll<T>(future: &mut BoxFuture<'_, T>) -> Option<T> {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ended) => Some(ended),
        Poll::Pending => None,
    }
}

fn segment(slot: u32) -> PathBuf {
    Path::new(DATA).join(segment_name(slot))
}

fn is(words: &str, holds: bool) -> Result<(), String> {
    if holds { Ok(()) } else { Err(words.to_owned()) }
}

fn void_ranges_keep_nothing_back() -> Result<(), String> {
    let mut edge = Edge::new(SimOptions::new(1));
    for _ in 0..600 {
        edge.put(1, 9)?;
    }
    let disk = edge.into_disk();
    let mut left: usize = 600;
    for slot in 0.. {
        let blocks = disk.contents(&segment(slot)).expect("there").len() / 4096 - 3;
        for at in (1..blocks.min(left)).step_by(2) {
            disk.rot(&segment(slot), 4096 * (3 + at as u64) + 40, 16).expect("there");
        }
        left -= blocks.min(left);
        if left == 0 {
            break;
        }
    }
    let came = Edge::on(disk, Duration::from_secs(1)).drain();
    is("events that can be reached are not taken", came >= 300)
}

fn a_large_refusal_is_for_large_ones() -> Result<(), String> {
    let mut edge = Edge::new(SimOptions::new(1));
    edge.disk.set_capacity(Path::new(DATA), 8 << 20).expect("there");
    edge.put(1, 9)?;
    is("there is no room for it", edge.put(8, 1 << 20).is_err())?;
    edge.put(1, 9)
}

fn a_failed_sync_costs_one_write() -> Result<(), String> {
    let mut edge = Edge::new(SimOptions { direct: false, ..SimOptions::new(1) });
    edge.disk.fail(Fault::next(FaultTarget::Submit, "segment"));
    for _ in 0..200 {
        edge.put(10, 3000)?;
        edge.drain();
    }
    is("a file whose sync failed was used again", edge.channel.log_counts().failed_writes == 1)
}

fn a_bad_slot_leaves_the_other() -> Result<(), String> {
    let mut edge = Edge::new(SimOptions::new(1));
    let bad = Fault::next(FaultTarget::Submit, "data0/checkpoint").times(u64::MAX);
    edge.disk.fail(bad.below(CHECKPOINT_SLOT_BYTES as u64));
    for _ in 0..9 {
        edge.put(1, 9)?;
        let written = edge.channel.checkpoint().or_else(|_| edge.channel.checkpoint());
        written.map_err(|fault| fault.to_string())?;
    }
    Ok(())
}

fn a_large_write_has_more_time() -> Result<(), String> {
    let mut edge = Edge::new(SimOptions { pending: true, ..SimOptions::new(1) });
    let mut put = edge.channel.begin_put();
    (0..24).for_each(|_| put.put(Event::new(vec![7; 1 << 20])).expect("fits"));
    let mut commit = put.commit_async();
    loop {
        let _ = poll(&mut commit);
        edge.stepper.keep();
        let Some(mut write) = edge.stepper.start_write(0) else { continue };
        if write.bytes() > 24 << 20 {
            edge.clock.advance(WRITE_TIMEOUT + Duration::from_secs(20));
            edge.stepper.keep();
            return is("it was given up", edge.channel.log_counts().failed_writes == 0);
        }
        let result = write.finish();
        edge.stepper.report(write, result);
    }
}

fn large_free_segments_go() -> Result<(), String> {
    let mut edge = Edge::new(SimOptions::new(1));
    for _ in 0..4 {
        edge.put(3, 1 << 20)?;
        edge.drain();
    }
    for _ in 0..40 {
        edge.put(10, 3000)?;
        edge.drain();
        edge.pass(Duration::from_secs(11));
    }
    let names = edge.disk.open_dir(Path::new(DATA), false).expect("there").list().expect("listed");
    let names = names.into_iter().filter(|entry| entry.name.starts_with("segment-"));
    let lens =
        names.map(|e| edge.disk.contents(&Path::new(DATA).join(e.name)).expect("there").len());
    is("an empty channel keeps large segments", lens.sum::<usize>() < 8 * SEGMENT_BYTES)
}

fn a_refused_read_is_tried_again_for_who_waits() -> Result<(), String> {
    let mut edge = Edge::new(SimOptions::new(1));
    edge.put(4, 9)?;
    let mut edge = Edge::on(edge.into_disk(), Duration::from_secs(3600));
    edge.disk.fail(Fault::dead("data0/segment"));
    let mut take = edge.channel.begin_take();
    let mut future = take.take_async(4);
    for _ in 0..4 {
        is("nothing can be read", poll(&mut future).is_none())?;
        edge.finish_all();
    }
    edge.disk.clear_faults();
    for _ in 0..4 {
        edge.pass(Duration::from_secs(1));
        if poll(&mut future).is_some() {
            return Ok(());
        }
    }
    Err("it still sleeps".to_owned())
}

fn a_missing_segment_is_refused_and_kept_when_it_is_back() -> Result<(), String> {
    let mut edge = Edge::new(SimOptions::new(1));
    for _ in 0..24 {
        edge.put(1, 40_000)?;
    }
    let disk = edge.into_disk();
    let bytes = disk.contents(&segment(0)).expect("there");
    disk.put_in_place(&segment(0), None).expect("there");
    let options = |without_missing| {
        let mut options = Edge::options(&disk, Arc::default(), Duration::from_secs(1));
        options.open_without_missing_segments = without_missing;
        options
    };
    is("an opening continued without a segment", FileChannel::open(options(false)).is_err())?;
    let channel = FileChannel::open(options(true)).map_err(|error| error.to_string())?;
    channel.close().expect("sealed");
    drop(channel);
    disk.put_in_place(&segment(77), Some(&bytes)).expect("there");
    let mut edge = Edge::on(disk.clone(), Duration::from_secs(1));
    edge.drain();
    for _ in 0..24 {
        edge.put(1, 40_000)?;
    }
    is(
        "a file that came back was written",
        disk.contents(&segment(77)).is_ok_and(|now| now == bytes),
    )
}

fn a_forgotten_source_offset_stays_forgotten() -> Result<(), String> {
    let mut edge = Edge::new(SimOptions::new(1));
    let mut put = edge.channel.begin_put();
    put.put(Event::new("line")).expect("fits");
    put.set_source_offset("gone", Bytes::from_static(b"7"));
    edge.end(put.commit_async()).map_err(|error| error.to_string())?;
    edge.channel.checkpoint().map_err(|fault| fault.to_string())?;
    edge.channel.name_sources(&[]);
    edge.pass(Duration::from_secs(25 * 3600));
    is("it is not forgotten", edge.channel.source_offset("gone") == Ok(None))?;
    // One of the two checkpoints of each directory still has it.
    let edge = Edge::on(edge.disk.kill(1), Duration::from_secs(1));
    is("it is back", edge.channel.source_offset("gone") == Ok(None))
}

fn a_lock_that_fails_leaves_the_other_disks() -> Result<(), String> {
    let disk = SimDisk::new(SimOptions::new(1));
    let open = |degraded| {
        let mut options = Edge::options(&disk, Arc::default(), Duration::from_secs(1));
        options.data_dirs.push("/c/data1".into());
        options.open_degraded = degraded;
        FileChannel::open(options)
    };
    open(false).expect("opens").close().expect("sealed");
    disk.fail(Fault::next(FaultTarget::Lock, "data1").times(u64::MAX));
    is("it opens unasked", open(false).is_err())?;
    open(true).map(drop).map_err(|error| error.to_string())
}

fn a_segment_just_taken_into_use_is_missed() -> Result<(), String> {
    let mut edge = Edge::new(SimOptions::new(1));
    let mut last = 0;
    for _ in 0..24 {
        edge.put(1, 40_000)?;
        edge.pass(Duration::from_millis(100));
        // The state after a crash after each put, without the segment that was taken into use last.
        let disk = edge.disk.kill(1);
        let used = |slot: &u32| {
            let bytes = disk.contents(&segment(*slot)).ok()?;
            SegmentHeader::decode(&bytes).ok().map(|header| (header.id, *slot))
        };
        let (id, slot) = (0..40).filter_map(|slot| used(&slot)).max().expect("one is in use");
        last = last.max(id.0);
        disk.put_in_place(&segment(slot), None).expect("there");
        let options = Edge::options(&disk, Arc::default(), Duration::from_secs(1));
        is("the end of the log is not missed", FileChannel::open(options).is_err())?;
    }
    is("several were taken into use", last > 3)
}

#[test]
fn what_was_refused_or_failed_once_goes_on() {
    for edge in ALL {
        edge().expect("it goes on");
    }
}
