//! redb: the queue is a table from a growing number to a body.

use super::{Deliver, Failure, Store};
use ::redb::{
    Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};
use std::path::Path;

const QUEUE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("queue");

pub(super) struct Redb {
    database: Database,
    next: u64,
}

impl Redb {
    pub(super) fn open(dir: &Path) -> Result<Self, Failure> {
        let database = Database::create(dir.join("queue.redb"))?;
        let begin = begin(&database)?;
        begin.open_table(QUEUE)?;
        begin.commit()?;
        let last = database.begin_read()?.open_table(QUEUE)?.last()?.map(|(key, _)| key.value());
        Ok(Self { database, next: last.map_or(0, |last| last + 1) })
    }
}

fn begin(database: &Database) -> Result<WriteTransaction, Failure> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

impl Store for Redb {
    fn put(&mut self, bodies: &[Vec<u8>]) -> Result<(), Failure> {
        let transaction = begin(&self.database)?;
        {
            let mut queue = transaction.open_table(QUEUE)?;
            for (key, body) in (self.next..).zip(bodies) {
                queue.insert(key, body.as_slice())?;
            }
        }
        // A transaction that failed may be there all the same: its keys are not used again.
        self.next += bodies.len() as u64;
        Ok(transaction.commit()?)
    }

    fn take(&mut self, most: usize, deliver: &mut Deliver<'_>) -> Result<usize, Failure> {
        let transaction = begin(&self.database)?;
        let mut bodies = Vec::new();
        {
            let mut queue = transaction.open_table(QUEUE)?;
            while bodies.len() < most {
                let Some((_, body)) = queue.pop_first()? else { break };
                bodies.push(body.value().to_vec());
            }
        }
        if bodies.is_empty() {
            transaction.abort()?;
            return Ok(0);
        }
        deliver(&bodies);
        transaction.commit()?;
        Ok(bodies.len())
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}
