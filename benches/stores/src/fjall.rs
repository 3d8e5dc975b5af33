//! fjall: the queue is a keyspace from a growing number to a body.

use crate::keys::Keys;
use crate::{Bytes, Deliver, Failure, Setup, Store};
use ::fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode,
};

pub(crate) struct Fjall {
    database: Database,
    queue: Keyspace,
    keys: Keys,
}

impl Fjall {
    pub(crate) fn open(setup: &Setup) -> Result<Self, Failure> {
        let mut database = Database::builder(setup.dir().join("fjall"));
        if setup.flow.is_some() {
            database = database.journal_compression(CompressionType::None);
        }
        let database = database.open()?;
        let queue = database.keyspace("queue", KeyspaceCreateOptions::default)?;
        let next = match queue.last_key_value() {
            Some(guard) => number(&guard.into_inner()?.0)? + 1,
            None => 0,
        };
        Ok(Self { database, queue, keys: Keys::new(next) })
    }

    fn batch(&self) -> OwnedWriteBatch {
        self.database.batch().durability(Some(PersistMode::SyncAll))
    }
}

fn number(key: &[u8]) -> Result<u64, Failure> {
    Ok(u64::from_be_bytes(key.try_into()?))
}

impl Store for Fjall {
    fn put(&self, _: usize, bodies: &[Bytes]) -> Result<(), Failure> {
        self.keys.put(bodies.len(), |first| {
            let mut batch = self.batch();
            for (key, body) in (first..).zip(bodies) {
                batch.insert(&self.queue, key.to_be_bytes(), &body[..]);
            }
            Ok(batch.commit()?)
        })
    }

    fn take(&self, _: usize, most: usize, deliver: &mut Deliver<'_>) -> Result<usize, Failure> {
        let (range, events) = self.keys.claim(|range| {
            let (mut events, mut behind) = (Vec::new(), range.start);
            let keys = range.start.to_be_bytes()..range.end.to_be_bytes();
            for guard in self.queue.range(keys).take(most) {
                let (key, body) = guard.into_inner()?;
                behind = number(&key)? + 1;
                events.push((key, body));
            }
            Ok((behind, events))
        })?;
        if events.is_empty() {
            return Ok(0);
        }
        let mut batch = self.batch();
        let taken = events.len();
        for (key, body) in events {
            deliver(&body);
            batch.remove(&self.queue, key);
        }
        let removed = batch.commit();
        if removed.is_err() {
            self.keys.give_back(range.start);
        }
        removed?;
        Ok(taken)
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        self.database.persist(PersistMode::SyncAll)?;
        Ok(())
    }
}
