//! SQLite: the queue is a table, a take is a select and a delete in one transaction.

use crate::{Bytes, Deliver, Failure, Setup, Store, locked};
use rusqlite::Connection;
use std::sync::Mutex;

const BEGIN: &str = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cell_size_check=ON; \
                     CREATE TABLE IF NOT EXISTS queue(id INTEGER PRIMARY KEY, body BLOB NOT NULL);";

/// One connection: a second writer would only get the error that the database is busy.
pub(crate) struct Sqlite(Mutex<Connection>);

impl Sqlite {
    pub(crate) fn open(setup: &Setup) -> Result<Self, Failure> {
        let connection = Connection::open(setup.dir().join("queue.db"))?;
        connection.execute_batch(BEGIN)?;
        if setup.flow.is_some() {
            connection.execute_batch("PRAGMA cache_size=-65536;")?;
        }
        let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(format!("the journal mode is {mode}, not wal").into());
        }
        Ok(Self(Mutex::new(connection)))
    }
}

impl Store for Sqlite {
    fn put(&self, _: usize, bodies: &[Bytes]) -> Result<(), Failure> {
        let mut connection = locked(&self.0);
        let transaction = connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO queue(body) VALUES(?1)")?;
            for body in bodies {
                insert.execute([&body[..]])?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn take(&self, _: usize, most: usize, deliver: &mut Deliver<'_>) -> Result<usize, Failure> {
        let mut connection = locked(&self.0);
        let transaction = connection.transaction()?;
        let (mut taken, mut last) = (0, 0_i64);
        {
            let mut select =
                transaction.prepare_cached("SELECT id, body FROM queue ORDER BY id LIMIT ?1")?;
            let mut rows = select.query([most as i64])?;
            while let Some(row) = rows.next()? {
                last = row.get(0)?;
                deliver(row.get_ref(1)?.as_blob()?);
                taken += 1;
            }
        }
        if taken == 0 {
            return Ok(0);
        }
        transaction.prepare_cached("DELETE FROM queue WHERE id <= ?1")?.execute([last])?;
        transaction.commit()?;
        Ok(taken)
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        let connection = self.0.into_inner().map_err(|_| "a thread panicked with it")?;
        connection.close().map_err(|(_, error)| error.into())
    }
}
