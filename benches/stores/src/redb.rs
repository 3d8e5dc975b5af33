//! redb: the queue is a table from a growing number to a body.

use crate::{Bytes, Deliver, Failure, Setup, Store};
use ::redb::{
    Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};
use std::sync::atomic::{AtomicU64, Ordering};

const QUEUE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("queue");

pub(crate) struct Redb {
    database: Database,
    two_phases: bool,
    /// Read and changed within a write transaction, of which there is one at a time.
    next: AtomicU64,
}

impl Redb {
    pub(crate) fn open(setup: &Setup) -> Result<Self, Failure> {
        let database = Database::create(setup.dir().join("queue.redb"))?;
        let redb = Self { database, two_phases: setup.flow.is_none(), next: AtomicU64::new(0) };
        let begin = redb.begin()?;
        begin.open_table(QUEUE)?;
        begin.commit()?;
        let read = redb.database.begin_read()?;
        if let Some((key, _)) = read.open_table(QUEUE)?.last()? {
            redb.next.store(key.value() + 1, Ordering::Relaxed);
        }
        Ok(redb)
    }

    fn begin(&self) -> Result<WriteTransaction, Failure> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_two_phase_commit(self.two_phases);
        Ok(transaction)
    }
}

impl Store for Redb {
    fn put(&self, _: usize, bodies: &[Bytes]) -> Result<(), Failure> {
        let transaction = self.begin()?;
        {
            let mut queue = transaction.open_table(QUEUE)?;
            // A failed transaction may be there nevertheless: its keys are not reused.
            let first = self.next.fetch_add(bodies.len() as u64, Ordering::Relaxed);
            for (key, body) in (first..).zip(bodies) {
                queue.insert(key, &body[..])?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn take(&self, _: usize, most: usize, deliver: &mut Deliver<'_>) -> Result<usize, Failure> {
        let transaction = self.begin()?;
        let mut taken = 0;
        {
            let mut queue = transaction.open_table(QUEUE)?;
            while taken < most {
                let Some((_, body)) = queue.pop_first()? else { break };
                deliver(body.value());
                taken += 1;
            }
        }
        if taken == 0 {
            transaction.abort()?;
            return Ok(0);
        }
        transaction.commit()?;
        Ok(taken)
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}
