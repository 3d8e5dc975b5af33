//! raft-engine: the queue is the log of one region; a take compacts it.

use super::{Deliver, Failure, Store};
use ::raft_engine::{Command, Config, Engine, LogBatch, MessageExt};
use protobuf::well_known_types::BytesValue;
use std::path::Path;

const REGION: u64 = 1;
/// Under this key each put leaves the index of the next one: a region that was taken empty
/// remembers none.
const NEXT: &[u8] = b"next";

/// An entry: its index in 8 bytes, then the body.
struct Entries;

impl MessageExt for Entries {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        entry.value.get(..8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_be_bytes)
    }
}

pub(super) struct RaftEngine {
    engine: Engine,
    first: u64,
    next: u64,
}

impl RaftEngine {
    pub(super) fn open(dir: &Path) -> Result<Self, Failure> {
        let at = dir.join("raft").to_str().ok_or("the directory's name is no text")?.to_owned();
        let engine = Engine::open(Config { dir: at, ..Config::default() })?;
        let next = match engine.get(REGION, NEXT) {
            Some(next) => u64::from_be_bytes(next.as_slice().try_into()?),
            None => 1,
        };
        let first = engine.first_index(REGION).unwrap_or(next);
        Ok(Self { engine, first, next })
    }
}

impl Store for RaftEngine {
    fn put(&mut self, bodies: &[Vec<u8>]) -> Result<(), Failure> {
        let entry = |(index, body): (u64, &Vec<u8>)| {
            let mut entry = BytesValue::new();
            entry.set_value([&index.to_be_bytes()[..], body].concat());
            entry
        };
        let entries: Vec<BytesValue> = (self.next..).zip(bodies).map(entry).collect();
        let next = self.next + bodies.len() as u64;
        let mut batch = LogBatch::default();
        batch.add_entries::<Entries>(REGION, &entries)?;
        batch.put(REGION, NEXT.to_vec(), next.to_be_bytes().to_vec())?;
        self.engine.write(&mut batch, true)?;
        self.next = next;
        Ok(())
    }

    fn take(&mut self, most: usize, deliver: &mut Deliver<'_>) -> Result<usize, Failure> {
        let end = self.next.min(self.first + most as u64);
        if self.first == end {
            return Ok(0);
        }
        let mut entries = Vec::new();
        self.engine.fetch_entries_to::<Entries>(REGION, self.first, end, None, &mut entries)?;
        let body = |entry: &BytesValue| entry.value.get(8..).unwrap_or_default().to_vec();
        let bodies: Vec<Vec<u8>> = entries.iter().map(body).collect();
        deliver(&bodies);
        let mut batch = LogBatch::default();
        batch.add_command(REGION, Command::Compact { index: end });
        self.engine.write(&mut batch, true)?;
        self.first = end;
        Ok(bodies.len())
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}
