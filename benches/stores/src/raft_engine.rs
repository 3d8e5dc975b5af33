//! raft-engine: the queue is the log of one region for each thread that puts; a take compacts it.

use crate::{Bytes, Deliver, Failure, Setup, Store, locked};
use ::raft_engine::{Command, Config, Engine, LogBatch, MessageExt, ReadableSize};
use protobuf::well_known_types::BytesValue;
use std::sync::Mutex;

/// Key under which each take stores the index of the next entry: a region that was emptied remembers none.
const NEXT: &[u8] = b"next";

/// An entry: its index in 8 bytes, then the body.
struct Entries;

impl MessageExt for Entries {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        entry.value.get(..8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_be_bytes)
    }
}

/// Indexes must be consecutive in a region, so a writer waits for the previous one; a taker compacts it concurrently.
struct Region {
    number: u64,
    /// Index of the next put; held while one is written.
    next: Mutex<u64>,
    /// Index of the first waiting entry; held by a taker.
    first: Mutex<u64>,
    /// Index after the last durable entry.
    end: Mutex<u64>,
}

pub(crate) struct RaftEngine {
    engine: Engine,
    regions: Vec<Region>,
}

impl RaftEngine {
    pub(crate) fn open(setup: &Setup) -> Result<Self, Failure> {
        let at = setup.dir().join("raft");
        let at = at.to_str().ok_or("the directory's name is not text")?.to_owned();
        let mut config = Config { dir: at, ..Config::default() };
        if let Some(flow) = setup.flow {
            config.batch_compression_threshold = ReadableSize(0);
            config.target_file_size = ReadableSize::mb(64);
            config.prefill_for_recycle = flow.ready_bytes > 0;
            config.prefill_limit = Some(ReadableSize(flow.ready_bytes));
        }
        let engine = Engine::open(config)?;
        let region = |number| {
            let next = match (engine.last_index(number), engine.get(number, NEXT)) {
                (Some(last), _) => last + 1,
                (None, Some(next)) => u64::from_be_bytes(next.as_slice().try_into()?),
                (None, None) => 1,
            };
            let first = engine.first_index(number).unwrap_or(next);
            let (first, end) = (Mutex::new(first), Mutex::new(next));
            Ok(Region { number, next: Mutex::new(next), first, end })
        };
        let regions = (1..=setup.lanes as u64).map(region).collect::<Result<_, Failure>>()?;
        Ok(Self { engine, regions })
    }

    fn take_of(
        &self,
        region: &Region,
        most: usize,
        deliver: &mut Deliver<'_>,
    ) -> Result<usize, Failure> {
        let mut first = locked(&region.first);
        let end = (*locked(&region.end)).min(*first + most as u64);
        if *first >= end {
            return Ok(0);
        }
        let mut entries = Vec::new();
        self.engine.fetch_entries_to::<Entries>(region.number, *first, end, None, &mut entries)?;
        entries.iter().for_each(|entry| deliver(entry.value.get(8..).unwrap_or_default()));
        let mut batch = LogBatch::default();
        batch.add_command(region.number, Command::Compact { index: end });
        batch.put(region.number, NEXT.to_vec(), end.to_be_bytes().to_vec())?;
        self.engine.write(&mut batch, true)?;
        *first = end;
        Ok(entries.len())
    }
}

impl Store for RaftEngine {
    fn put(&self, lane: usize, bodies: &[Bytes]) -> Result<(), Failure> {
        let region = &self.regions[lane % self.regions.len()];
        let mut next = locked(&region.next);
        let entry = |(index, body): (u64, &Bytes)| {
            let mut entry = BytesValue::new();
            entry.set_value([&index.to_be_bytes()[..], body].concat());
            entry
        };
        let entries: Vec<BytesValue> = (*next..).zip(bodies).map(entry).collect();
        let mut batch = LogBatch::default();
        batch.add_entries::<Entries>(region.number, &entries)?;
        self.engine.write(&mut batch, true)?;
        *next += bodies.len() as u64;
        *locked(&region.end) = *next;
        Ok(())
    }

    fn take(&self, lane: usize, most: usize, deliver: &mut Deliver<'_>) -> Result<usize, Failure> {
        let count = self.regions.len();
        for at in (lane..lane + count).map(|at| at % count) {
            let taken = self.take_of(&self.regions[at], most, deliver)?;
            if taken > 0 {
                return Ok(taken);
            }
        }
        Ok(0)
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}
