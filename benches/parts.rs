//! The pure parts of the work on every event or every batch.
//!
//! `cargo bench --bench parts`
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use millpond::internal::base::checksum::Salt;
use millpond::internal::base::ids::{MAIN_GROUP, StripeIndex, Uuid};
use millpond::internal::base::ranges::RangeSet;
use millpond::internal::record::body::AckBody;
use millpond::internal::record::event;
use millpond::internal::record::frame::{
    FRAME_HEADER_BYTES, FrameHeader, FrameKind, frame_salt, frames, seal_frame,
};
use millpond::internal::record::state::StateRecord;
use millpond::{Channel, Event, FileChannel, FileChannelOptions};
use std::hint::black_box;

const BODY: usize = 512;
const BATCH: usize = 100;

fn batch(headers: bool) -> Vec<Event> {
    let mut event = Event::new(vec![7u8; BODY]);
    if headers {
        event.headers.set("host", "web1.example.org");
        event.headers.set("timestamp", "1700000000000");
    }
    vec![event; BATCH]
}

fn encoded(events: &[Event]) -> Vec<u8> {
    let len: usize = events.iter().map(event::encoded_len).sum();
    let mut bytes = vec![0; len];
    let mut at = 0;
    for one in events {
        at += event::encode(one, &mut bytes[at..]);
    }
    bytes
}

fn events(c: &mut Criterion) {
    let mut group = c.benchmark_group("100 events of 512 bytes");
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, headers) in [("no headers", false), ("two headers", true)] {
        let events = batch(headers);
        let mut out = encoded(&events);
        group.bench_function(format!("encode, {name}"), |b| {
            b.iter(|| {
                let mut at = 0;
                for one in black_box(&events) {
                    at += event::encode(one, &mut out[at..]);
                }
                at
            });
        });
        let bytes = Bytes::from(encoded(&events));
        group.bench_function(format!("decode, {name}"), |b| {
            b.iter(|| {
                let mut at = 0;
                for _ in 0..BATCH {
                    black_box(event::decode(&bytes, &mut at).unwrap());
                }
            });
        });
        group.bench_function(format!("skip, {name}"), |b| {
            b.iter(|| {
                let mut at = 0;
                for _ in 0..BATCH {
                    event::skip(&bytes, &mut at).unwrap();
                }
                at
            });
        });
    }
    group.finish();
}

fn checks(c: &mut Criterion) {
    let mut group = c.benchmark_group("frames");
    let payload = encoded(&batch(false));
    let salt = frame_salt(&Uuid([1; 16]), 2, 3);
    let header = FrameHeader {
        len: payload.len() as u32,
        kind: FrameKind::Put,
        flags: 0,
        count: BATCH as u32,
        first_sequence: millpond::internal::base::ids::Sequence(1),
    };
    let mut frame = [vec![0; FRAME_HEADER_BYTES], payload].concat();
    group.throughput(Throughput::Bytes(frame.len() as u64));
    group.bench_function("seal one of 100 events", |b| {
        b.iter(|| seal_frame(salt, &header, black_box(&mut frame)));
    });
    group.bench_function("check one of 100 events", |b| {
        b.iter(|| frames(salt, black_box(&frame)).count());
    });
    let mib = vec![3u8; 1 << 20];
    group.throughput(Throughput::Bytes(mib.len() as u64));
    group.bench_function("checksum of 1 MiB", |b| {
        b.iter(|| Salt::of(b"place").checksum(&[black_box(&mib)]));
    });
    group.finish();
}

fn progress(c: &mut Criterion) {
    let mut group = c.benchmark_group("progress");
    let body = AckBody { group: MAIN_GROUP, ranges: vec![(StripeIndex(0), 1, 101)] };
    let mut out = vec![0; body.encoded_len()];
    group.bench_function("encode an acknowledgement", |b| b.iter(|| body.encode(&mut out)));
    group.bench_function("acknowledge in order", |b| {
        let (mut set, mut at) = (RangeSet::default(), 0);
        b.iter(|| {
            at += 100;
            set.insert(at - 100, at)
        });
    });
    group.bench_function("acknowledge 200 holes and close them", |b| {
        b.iter(|| {
            let mut set = RangeSet::default();
            for n in 0..200 {
                set.insert(2 * n + 1, 2 * n + 2);
            }
            for n in 0..200 {
                set.insert(2 * n, 2 * n + 1);
            }
            set.frontier()
        });
    });
    let state = StateRecord::new(4);
    group.bench_function("state record of four stripes", |b| b.iter(|| state.to_bytes().unwrap()));
    group.finish();
}

/// Takes that are rolled back: the cost of lending without any I/O.
fn leases(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let data = [dir.path().join("data")];
    let mut options = FileChannelOptions::new(dir.path().join("checkpoint"), data);
    options.minimum_required_space = 0;
    let channel = FileChannel::open(options).unwrap();
    for _ in 0..20 {
        let mut put = channel.begin_put();
        for event in batch(false) {
            put.put(event).unwrap();
        }
        put.commit().unwrap();
    }
    let mut group = c.benchmark_group("leases");
    for events in [1, BATCH] {
        group.throughput(Throughput::Elements(events as u64));
        group.bench_function(format!("lend {events} and take them back"), |b| {
            b.iter(|| {
                let mut take = channel.begin_take();
                assert_eq!(take.take(events).unwrap().len(), events);
                take.rollback();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, events, checks, progress, leases);
criterion_main!(benches);
