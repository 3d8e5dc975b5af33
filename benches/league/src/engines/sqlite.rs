//! SQLite: the queue is a table, a take is a select and a delete in one transaction.

use super::{Deliver, Failure, Store};
use rusqlite::Connection;
use std::path::Path;

const BEGIN: &str = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cell_size_check=ON; \
                     CREATE TABLE IF NOT EXISTS queue(id INTEGER PRIMARY KEY, body BLOB NOT NULL);";

pub(super) struct Sqlite(Connection);

impl Sqlite {
    pub(super) fn open(dir: &Path) -> Result<Self, Failure> {
        let connection = Connection::open(dir.join("queue.db"))?;
        connection.execute_batch(BEGIN)?;
        let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(format!("the journal mode is {mode}, not wal").into());
        }
        Ok(Self(connection))
    }
}

impl Store for Sqlite {
    fn put(&mut self, bodies: &[Vec<u8>]) -> Result<(), Failure> {
        let transaction = self.0.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO queue(body) VALUES(?1)")?;
            for body in bodies {
                insert.execute([body])?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn take(&mut self, most: usize, deliver: &mut Deliver<'_>) -> Result<usize, Failure> {
        let transaction = self.0.transaction()?;
        let (mut bodies, mut last) = (Vec::new(), 0_i64);
        {
            let mut select =
                transaction.prepare_cached("SELECT id, body FROM queue ORDER BY id LIMIT ?1")?;
            let mut rows = select.query([most as i64])?;
            while let Some(row) = rows.next()? {
                last = row.get(0)?;
                bodies.push(row.get(1)?);
            }
        }
        if bodies.is_empty() {
            return Ok(0);
        }
        deliver(&bodies);
        transaction.execute("DELETE FROM queue WHERE id <= ?1", [last])?;
        transaction.commit()?;
        Ok(bodies.len())
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        self.0.close().map_err(|(_, error)| error.into())
    }
}
