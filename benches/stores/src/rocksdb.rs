//! RocksDB: the queue is a map from a growing number to a body.

use crate::keys::Keys;
use crate::{Bytes, Deliver, Failure, Setup, Store};
use ::rocksdb::{
    DB, DBCompressionType, Direction, IteratorMode, Options, ReadOptions, WriteBatch, WriteOptions,
};

pub(crate) struct Rocksdb {
    database: DB,
    synced: WriteOptions,
    keys: Keys,
}

impl Rocksdb {
    pub(crate) fn open(setup: &Setup) -> Result<Self, Failure> {
        let mut options = Options::default();
        options.create_if_missing(true);
        if setup.flow.is_some() {
            options.set_compression_type(DBCompressionType::None);
            options.set_max_background_jobs(2);
            options.set_write_buffer_size(64 << 20);
            options.set_recycle_log_file_num(4);
        }
        let database = DB::open(&options, setup.dir().join("rocksdb"))?;
        let next = match database.iterator(IteratorMode::End).next() {
            Some(last) => number(&last?.0)? + 1,
            None => 0,
        };
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        Ok(Self { database, synced, keys: Keys::new(next) })
    }
}

fn number(key: &[u8]) -> Result<u64, Failure> {
    Ok(u64::from_be_bytes(key.try_into()?))
}

impl Store for Rocksdb {
    fn put(&self, _: usize, bodies: &[Bytes]) -> Result<(), Failure> {
        self.keys.put(bodies.len(), |first| {
            let mut batch = WriteBatch::default();
            for (key, body) in (first..).zip(bodies) {
                batch.put(key.to_be_bytes(), body);
            }
            Ok(self.database.write_opt(batch, &self.synced)?)
        })
    }

    fn take(&self, _: usize, most: usize, deliver: &mut Deliver<'_>) -> Result<usize, Failure> {
        let (range, bodies) = self.keys.claim(|range| {
            let (mut bodies, mut behind) = (Vec::new(), range.start);
            let first = range.start.to_be_bytes();
            let mut options = ReadOptions::default();
            // Deleted entries before it are not visited again.
            options.set_iterate_lower_bound(first);
            options.set_iterate_upper_bound(range.end.to_be_bytes());
            let from = IteratorMode::From(&first, Direction::Forward);
            for entry in self.database.iterator_opt(from, options).take(most) {
                let (key, body) = entry?;
                behind = number(&key)? + 1;
                bodies.push(body);
            }
            Ok((behind, bodies))
        })?;
        if bodies.is_empty() {
            return Ok(0);
        }
        bodies.iter().for_each(|body| deliver(body));
        let mut batch = WriteBatch::default();
        batch.delete_range(range.start.to_be_bytes(), range.end.to_be_bytes());
        let removed = self.database.write_opt(batch, &self.synced);
        if removed.is_err() {
            self.keys.give_back(range.start);
        }
        removed?;
        Ok(bodies.len())
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(self.database.flush_wal(true)?)
    }
}
