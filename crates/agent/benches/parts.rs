//! The agent's pure parts that every event or every batch goes through.
//!
//! `cargo bench --bench parts`
#![allow(clippy::unwrap_used)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use millpond::Event;
use millpond_adapters::source::netcat::LineFramer;
use millpond_adapters::wire::avro::call::{MeasuredCall, put_append_batch};
use millpond_adapters::wire::syslog;
use millpond_config::properties;
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

fn wires(c: &mut Criterion) {
    let mut group = c.benchmark_group("text and wires");
    let line = |at| format!("agent.sources.r{at}.interceptors.i1.regex = ^(\\\\d+) some value\n");
    let text: String = (0..100).map(line).collect();
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("a properties file of 100 keys", |b| {
        b.iter(|| properties::parse(black_box(text.as_bytes())).unwrap());
    });
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, headers) in [("no headers", false), ("two headers", true)] {
        let events = batch(headers);
        let mut call = Vec::new();
        group.bench_function(format!("avro, write a call of 100 events, {name}"), |b| {
            b.iter(|| {
                call.clear();
                put_append_batch(&mut call, black_box(&events));
            });
        });
        group.bench_function(format!("avro, read it, {name}"), |b| {
            b.iter(|| MeasuredCall::new(black_box(&call)).unwrap().decode().unwrap());
        });
    }
    let mut lines = Vec::new();
    for _ in 0..BATCH {
        lines.extend_from_slice(b"<13>Oct 11 22:14:15 web1 app: ");
        lines.resize(lines.len() + BODY - 31, b'x');
        lines.push(b'\n');
    }
    group.bench_function("netcat, cut 100 lines of 512 bytes", |b| {
        let (mut cutter, mut cut) = (LineFramer::utf8(4096), Vec::new());
        b.iter(|| {
            cut.clear();
            cutter.feed(black_box(&lines), &mut cut).unwrap();
            cut.len()
        });
    });
    group.bench_function("syslog, cut 100 lines of 512 bytes", |b| {
        let mut cutter = syslog::SyslogFramer::new(4096);
        b.iter(|| {
            let mut cut = 0;
            cutter.feed(black_box(&lines), &mut |raw| cut += black_box(raw.bytes).len());
            cut
        });
    });
    group.finish();
}

criterion_group!(benches, wires);
criterion_main!(benches);
