//! fjall: the queue is a keyspace from a growing number to a body.

use super::{Deliver, Failure, Store};
use ::fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use std::path::Path;

pub(super) struct Fjall {
    database: Database,
    queue: Keyspace,
    next: u64,
}

impl Fjall {
    pub(super) fn open(dir: &Path) -> Result<Self, Failure> {
        let database = Database::builder(dir.join("fjall")).open()?;
        let queue = database.keyspace("queue", KeyspaceCreateOptions::default)?;
        let next = match queue.last_key_value() {
            Some(guard) => number(&guard.into_inner()?.0)? + 1,
            None => 0,
        };
        Ok(Self { database, queue, next })
    }

    fn batch(&self) -> OwnedWriteBatch {
        self.database.batch().durability(Some(PersistMode::SyncAll))
    }
}

fn number(key: &[u8]) -> Result<u64, Failure> {
    Ok(u64::from_be_bytes(key.try_into()?))
}

impl Store for Fjall {
    fn put(&mut self, bodies: &[Vec<u8>]) -> Result<(), Failure> {
        let mut batch = self.batch();
        for (key, body) in (self.next..).zip(bodies) {
            batch.insert(&self.queue, key.to_be_bytes(), body.as_slice());
        }
        // A batch that failed may be there all the same: its keys are not used again.
        self.next += bodies.len() as u64;
        Ok(batch.commit()?)
    }

    fn take(&mut self, most: usize, deliver: &mut Deliver<'_>) -> Result<usize, Failure> {
        let (mut keys, mut bodies) = (Vec::new(), Vec::new());
        for guard in self.queue.iter().take(most) {
            let (key, body) = guard.into_inner()?;
            bodies.push(body.to_vec());
            keys.push(key);
        }
        if bodies.is_empty() {
            return Ok(0);
        }
        deliver(&bodies);
        let mut batch = self.batch();
        for key in keys {
            batch.remove(&self.queue, key);
        }
        batch.commit()?;
        Ok(bodies.len())
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        self.database.persist(PersistMode::SyncAll)?;
        Ok(())
    }
}
