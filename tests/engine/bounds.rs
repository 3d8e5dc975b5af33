//! Section 1, "bounded": memory and the time to open do not grow with the backlog. Counted, never
//! timed.

use crate::rig::{Engine, Machine, bodies, checkpoint_dir, data_dir, large};
use crate::tap::{Call, TappedDisk};
use millpond::internal::base::ids::{
    BlockNumber, SegmentId, Sequence, StripeIndex, Uuid, WriteOrder,
};
use millpond::internal::disk::{Access, Directory, Disk, File};
use millpond::internal::layout;
use millpond::internal::record::Watermark;
use millpond::internal::record::block::{BLOCK_HEADER_BYTES, BlockHeader, STATE, block_salt};
use millpond::internal::record::frame::{
    FRAME_HEADER_BYTES, FrameHeader, FrameKind, frame_salt, seal_frame,
};
use millpond::internal::record::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use millpond::internal::record::slot::{self, SlotKind};
use millpond::internal::record::state::StateRecord;
use millpond::{Channel, FileChannelOptions};
use millpond_sim::disk::SimOptions;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of the calls on the disk.
#[derive(Default)]
struct Counts {
    reads: AtomicU64,
    read_bytes: AtomicU64,
}

impl Counts {
    fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }
    fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::SeqCst)
    }
}

fn counting(machine: &Machine) -> (Arc<dyn Disk>, Arc<Counts>) {
    let counts = Arc::<Counts>::default();
    let mine = Arc::clone(&counts);
    let tap = move |call: Call, _: &Path, bytes: usize| {
        if call == Call::Read {
            mine.reads.fetch_add(1, Ordering::SeqCst);
            mine.read_bytes.fetch_add(bytes as u64, Ordering::SeqCst);
        }
    };
    (Arc::new(TappedDisk::new(Arc::new(machine.disk.clone()), tap)), counts)
}

/// Opens the channel; returns the reads and bytes of that.
fn opening(machine: &Machine, segment_bytes: u64) -> (Engine, u64, u64) {
    let (disk, counts) = counting(machine);
    let mut options = machine.options_on(disk);
    options.segment_bytes = segment_bytes;
    let engine = machine.open_with(options);
    let (reads, bytes) = (counts.reads(), counts.read_bytes());
    (engine, reads, bytes)
}

#[test]
fn takes_that_keep_up_read_no_file() {
    let machine = Machine::new(2);
    let (disk, counts) = counting(&machine);
    let mut engine = machine.open_with(machine.options_on(disk));
    let before = counts.reads();
    for round in 0..300 {
        engine.put(&large(&format!("r{round}"), 0..10, 2000));
        assert_eq!(engine.take(10).len(), 10);
    }
    assert!(engine.channel.log_counts().recycled > 5);
    assert_eq!(counts.reads(), before, "everything came from the hot window");
}

#[test]
fn takers_that_catch_up_read_only_what_was_put_while_memory_was_full() {
    const MIB: usize = 1 << 20;
    let machine = Machine::new(1);
    let (disk, counts) = counting(&machine);
    let mut options = machine.options_on(disk);
    (options.hot_window_bytes, options.segment_bytes) = (8 * MIB, MIB as u64);
    let mut engine = machine.open_with(options);
    let before = counts.read_bytes();
    let (mut all, mut taken) = (Vec::new(), Vec::new());
    let fill = |engine: &mut Engine, all: &mut Vec<String>, mib: usize| {
        for _ in 0..mib * 16 {
            let batch = large(&format!("r{}", all.len()), 0..16, 4000);
            engine.put(&batch);
            all.extend(batch);
        }
    };
    fill(&mut engine, &mut all, 16);
    for _ in 0..104 {
        taken.extend(engine.take(16));
    }
    assert_eq!(counts.read_bytes(), before, "the first of them are in memory");
    fill(&mut engine, &mut all, 4);
    taken.extend(engine.drain());
    assert!(taken == all, "in order, byte for byte");
    let read = (counts.read_bytes() - before) as f64 / MIB as f64;
    assert!((7.5..11.5).contains(&read), "{read} MiB read of 16 MiB put while 8 fit, and 4 later");
}

#[test]
fn a_cold_drain_reads_each_byte_about_once_and_in_large_pieces() {
    let machine = Machine::new(1);
    let mut options = machine.options();
    options.segment_bytes = 4 << 20;
    let mut engine = machine.open_with(options);
    let all: Vec<String> = (0..160).flat_map(|i| large(&format!("b{i}"), 0..10, 8000)).collect();
    for batch in all.chunks(10) {
        engine.put(batch);
    }
    drop(engine);
    let (disk, counts) = counting(&machine);
    let mut options = machine.options_on(disk);
    options.segment_bytes = 4 << 20;
    let mut engine = machine.open_with(options);
    let (reads, bytes) = (counts.reads(), counts.read_bytes());
    assert!(engine.drain() == all, "in order");
    let (reads, bytes) = (counts.reads() - reads, counts.read_bytes() - bytes);
    let written = 13_000_000;
    assert!(bytes < written * 3 / 2, "{bytes} bytes read for {written}");
    assert!(bytes / reads > 512 * 1024, "{reads} reads for {bytes} bytes");
}

#[test]
fn cold_events_that_are_held_hold_about_the_memory_that_they_fill() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    for round in 0..150 {
        engine.put(&large(&format!("b{round}"), 0..10, 8000));
    }
    drop(engine);
    let mut engine = machine.open();
    let mut take = engine.begin_take();
    let mut held = 0;
    while held < 1500 {
        held += engine.lend(&mut *take, 100).expect("there").len();
    }
    // 12 MB are lent, and up to 2 MiB are read ahead; memory comes in slabs of 4 MiB.
    let memory = engine.channel.block_memory_bytes();
    assert!(memory <= 24 << 20, "{memory} bytes of block memory for 12 MB of events");
    take.rollback();
}

#[test]
fn memory_does_not_grow_with_the_backlog() {
    let machine = Machine::new(1);
    let mut options = machine.options();
    options.hot_window_bytes = 1 << 20;
    options.segment_bytes = 1 << 20;
    let mut engine = machine.open_with(options);
    let mut largest = 0;
    for round in 0..120 {
        engine.put(&large(&format!("r{round}"), 0..20, 10_000));
        largest = largest.max(engine.channel.block_memory_bytes());
    }
    assert!(engine.events() == 2400);
    // 24 MB wait; the window's budget is 1 MiB, cut from slabs of 4 MiB.
    assert!(largest <= 12 << 20, "{largest} bytes of block memory for a backlog of 24 MB");
    let mut taken = 0;
    loop {
        let events = engine.take(50).len();
        largest = largest.max(engine.channel.block_memory_bytes());
        if events == 0 {
            break;
        }
        taken += events;
    }
    assert_eq!(taken, 2400);
    assert!(largest <= 24 << 20, "{largest} bytes of block memory while draining");
}

#[test]
fn what_an_opening_reads_does_not_grow_with_the_backlog() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    let mut seen = Vec::new();
    for step in 0..4 {
        for round in 0..(8 << step) {
            engine.put(&large(&format!("s{step}r{round}"), 0..10, 5000));
        }
        engine.channel.close().expect("sealed");
        drop(engine);
        let segments = (0..2)
            .map(|s| machine.disk.open_dir(&data_dir(s), false).and_then(|d| d.list()))
            .map(|e| {
                e.expect("listed")
                    .iter()
                    .filter(|e| layout::segment_slot(&e.name).is_some())
                    .count() as u64
            })
            .sum::<u64>();
        let (opened, reads, bytes) = opening(&machine, 256 * 1024);
        engine = opened;
        seen.push((engine.events(), segments, reads, bytes));
    }
    let (first, last) = (seen[0], seen[3]);
    assert!(last.0 > 10 * first.0, "{seen:?}");
    let more = last.1 - first.1;
    // One header per further segment, and nothing else.
    assert!(last.2 <= first.2 + 2 * more, "{seen:?}");
    assert!(last.3 <= first.3 + more * 2 * SEGMENT_HEADER_BYTES as u64 + (512 << 10), "{seen:?}");
}

/// 100 GB of sparse segments: headers by the encoders of the format, a state record at the newest
/// segment's start, and a checkpoint.
const SEGMENT: u64 = 64 << 20;
const SEGMENTS: u64 = 1600;
const EVENTS: u64 = 100_000_000;

/// Copies the files of the channel below `from` while it is open, as a kill leaves them.
fn copy_of(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().expect("a directory");
    for directory in ["checkpoint", "data"] {
        std::fs::create_dir(to.path().join(directory)).expect("made");
        for file in std::fs::read_dir(from.join(directory)).expect("listed") {
            let file = file.expect("a file");
            let copy = to.path().join(directory).join(file.file_name());
            std::fs::copy(file.path(), copy).expect("copied");
        }
    }
    to
}

/// A source offset, which may come with each commit, is the largest thing in a log besides events.
#[test]
fn an_opening_holds_the_positions_that_it_reads_once() {
    const COMMITS: usize = 64;
    const POSITION_BYTES: usize = 60_000;
    let (directory, machine) = (tempfile::tempdir().expect("a directory"), Machine::new(1));
    let options = |directory: &Path| {
        let mut options =
            FileChannelOptions::new(directory.join("checkpoint"), [directory.join("data")])
                .step_driven(7);
        options.segment_bytes = 16 << 20;
        options.minimum_required_space = 0;
        options
    };
    let engine = machine.open_with(options(directory.path()));
    for i in 0..COMMITS {
        let source_offset = format!("{i:0POSITION_BYTES$}");
        let mut commit = engine.begin_put_at(&bodies(&format!("{i}"), 0..1), "s", &source_offset);
        while let Some(mut write) = engine.stepper.start_write(0) {
            let result = write.finish();
            engine.stepper.report(write, result);
        }
        assert_eq!(commit.poll(), Some(Ok(())));
    }
    let killed = copy_of(directory.path());
    let mut opened = None;
    let counted = allocation_counter::measure(|| {
        opened = Some(machine.open_with(options(killed.path())));
    });
    let events = opened.map(|engine| engine.channel.status().events);
    assert_eq!(events, Some(COMMITS as u64));
    let (held, read) = (counted.bytes_max, (COMMITS * POSITION_BYTES) as u64);
    assert!(held < read * 3 / 2, "{held} bytes of memory for {read} bytes of positions");
}

fn write(file: &dyn File, offset: u64, bytes: &[u8]) {
    file.write_at(offset, bytes).expect("written");
}

fn newest_slot(directory: &dyn Directory) -> (Uuid, Uuid, u64, StateRecord) {
    let file = directory.open("checkpoint", Access::Read).expect("there");
    let mut newest = None;
    for at in 0..2 {
        let mut bytes = vec![0; SlotKind::Checkpoint.slot_bytes()];
        let len = file.read_at((at * bytes.len()) as u64, &mut bytes).expect("read");
        if let Ok(found) = slot::decode(SlotKind::Checkpoint, &bytes[..len]) {
            let state = StateRecord::decode(&bytes[found.payload.clone()]).expect("whole");
            if newest.as_ref().is_none_or(|(_, _, g, _)| *g < found.generation) {
                newest = Some((found.channel, found.owner, found.generation, state));
            }
        }
    }
    newest.expect("a clean stop wrote one")
}

fn put_slot(directory: &dyn Directory, state: &StateRecord) {
    let (channel, owner, generation, _) = newest_slot(directory);
    let payload = state.to_bytes().expect("small");
    let mut bytes = vec![0; slot::encoded_len(payload.len())];
    let kind = SlotKind::Checkpoint;
    let len = slot::encode(kind, &channel, &owner, generation + 1, &payload, &mut bytes);
    let file = directory.open("checkpoint", Access::Write).expect("there");
    write(&*file, kind.slot_offset(generation + 1), &bytes[..len.expect("fits")]);
    file.sync().expect("synced");
}

/// Returns header and state record of a segment, as at its start.
fn segment_start(header: &SegmentHeader, state: &StateRecord) -> Vec<u8> {
    let payload = state.encoded_len();
    let block = BlockHeader {
        flags: STATE,
        number: header.first_block,
        epoch: header.epoch.number,
        nonce: header.epoch.nonce,
        key: 1_000_000 + header.id.0,
        segment: header.id,
        offset: SEGMENT_HEADER_BYTES as u64,
        order: header.first_order,
        first_sequence: header.first_sequence,
        event_count: 0,
        payload_len: (FRAME_HEADER_BYTES + payload) as u32,
        watermark_block: BlockNumber(header.first_block.0 - 1),
        watermark_sequence: header.first_sequence,
    };
    let mut bytes = vec![0; SEGMENT_HEADER_BYTES + block.written_len()];
    header.encode(&mut bytes);
    let (_, rest) = bytes.split_at_mut(SEGMENT_HEADER_BYTES);
    let frame = &mut rest[BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + FRAME_HEADER_BYTES + payload];
    state.encode(&mut frame[FRAME_HEADER_BYTES..]).expect("fits");
    let of_frame = FrameHeader {
        len: payload as u32,
        kind: FrameKind::State,
        flags: 0,
        count: 0,
        first_sequence: Sequence(0),
    };
    let salt = frame_salt(&header.stripe, header.epoch.nonce, block.key);
    seal_frame(salt, &of_frame, frame);
    block.encode(block_salt(&header.channel, &header.stripe), rest);
    bytes
}

#[test]
fn a_backlog_of_100_gb_opens_with_a_bounded_number_of_reads() {
    let capacity_bytes = 1 << 40;
    let machine = Machine::with(1, SimOptions { capacity_bytes, ..SimOptions::new(1) });
    let mut options = machine.options();
    options.segment_bytes = SEGMENT;
    let mut engine = machine.open_with(options);
    engine.put(&bodies("first", 0..1));
    engine.channel.close().expect("sealed");
    drop(engine);
    let (_, reads_small, bytes_small) = opening(&machine, SEGMENT);

    let directory = machine.disk.open_dir(&data_dir(0), false).expect("there");
    let (_, _, _, mut state) = newest_slot(&*directory);
    let slots = directory.list().expect("listed");
    let used: Vec<u32> = slots.iter().filter_map(|e| layout::segment_slot(&e.name)).collect();
    let mut first = None;
    for slot in &used {
        let file = directory.open(&layout::segment_name(*slot), Access::Read).expect("there");
        let mut bytes = vec![0; SEGMENT_HEADER_BYTES];
        file.read_at(0, &mut bytes).expect("read");
        if let Ok(header) = SegmentHeader::decode(&bytes) {
            first = Some(header);
        }
    }
    let first = first.expect("one is in use");
    let wm = state.stripe(StripeIndex(0)).watermark;
    let epoch = state.stripe(StripeIndex(0)).epoch;
    let next_slot = used.iter().max().map_or(0, |s| s + 1);
    let blocks = 1000;
    let mut last = first;
    for i in 1..SEGMENTS {
        last = SegmentHeader {
            id: SegmentId(first.id.0 + i),
            epoch,
            first_block: BlockNumber(wm.block.0 + 1 + (i - 1) * blocks),
            first_sequence: Sequence(wm.sequence.0 + (EVENTS / SEGMENTS) * (i - 1)),
            first_order: WriteOrder(wm.order.0 + 1 + (i - 1) * blocks),
            len: SEGMENT,
            ..first
        };
        let name = layout::segment_name(next_slot + i as u32);
        let file = directory.create(&name).expect("made");
        write(&*file, SEGMENT - 1, &[0]);
        write(&*file, 0, &segment_start(&last, &state));
        file.sync().expect("synced");
    }
    directory.sync().expect("synced");
    let mine = state.stripe_mut(StripeIndex(0));
    mine.watermark = Watermark {
        block: last.first_block,
        sequence: last.first_sequence,
        order: last.first_order,
        segment: last.id,
        end_offset: segment_start(&last, &StateRecord::new(1)).len() as u64,
    };
    mine.next = last.first_sequence;
    put_slot(&*directory, &state);
    let checkpoints = machine.disk.open_dir(&checkpoint_dir(), false).expect("there");
    put_slot(&*checkpoints, &state);

    let (engine, reads, bytes) = opening(&machine, SEGMENT);
    assert!(engine.events() > EVENTS * 99 / 100, "{} events", engine.events());
    let status = engine.channel.status();
    // The first segment of a stripe is shorter.
    assert!(status.bytes >= (100 << 30) - SEGMENT, "{} bytes", status.bytes);
    assert_eq!((status.quarantined, status.fault), (0, None));
    assert!(reads <= reads_small + 2 * SEGMENTS, "{reads} reads, {reads_small} without backlog");
    let headers = SEGMENTS * SEGMENT_HEADER_BYTES as u64;
    // Of the log itself the last segment is read to its end; without a backlog it is a shorter one.
    assert!(bytes <= bytes_small + headers + SEGMENT + (4 << 20), "{bytes} bytes read");
}
