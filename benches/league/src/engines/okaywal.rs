//! okaywal: a write-ahead log. Puts and takes are its entries; what waits is kept in memory and
//! rebuilt from them, which is what such a log is for.

use super::{Deliver, Failure, Store};
use ::okaywal::{Configuration, Entry, EntryId, LogManager, SegmentReader, WriteAheadLog};
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

const PUT: &[u8] = b"put";
const TAKE: &[u8] = b"take";

type Waiting = Arc<Mutex<VecDeque<Vec<u8>>>>;

#[derive(Debug)]
struct Rebuild(Waiting);

impl LogManager for Rebuild {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        // An aborted entry was never acknowledged; the manual asks to ignore it.
        let Some(mut chunks) = entry.read_all_chunks()? else { return Ok(()) };
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = if chunks.is_empty() { Vec::new() } else { chunks.remove(0) };
        if kind == PUT {
            waiting.extend(chunks);
        } else if let (TAKE, [count]) = (kind.as_slice(), chunks.as_slice()) {
            let count = count.as_slice().try_into().map(u64::from_le_bytes);
            let count = count.map_err(|_| io::Error::other("a take has no number"))?;
            let most = waiting.len();
            waiting.drain(..most.min(count as usize));
        } else {
            return Err(io::Error::other("an entry is neither put nor take"));
        }
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        _: EntryId,
        _: &mut SegmentReader,
        _: &WriteAheadLog,
    ) -> io::Result<()> {
        Err(io::Error::other("this log has no checkpoints"))
    }
}

pub(super) struct Okaywal {
    log: WriteAheadLog,
    waiting: Waiting,
}

impl Okaywal {
    pub(super) fn open(dir: &Path) -> Result<Self, Failure> {
        let waiting = Waiting::default();
        // So large that none is made: a checkpoint would have to move what still waits.
        let never = Configuration::default_for(dir.join("wal")).checkpoint_after_bytes(1 << 40);
        let log = never.open(Rebuild(Arc::clone(&waiting)))?;
        Ok(Self { log, waiting })
    }

    fn write(&self, chunks: &[&[u8]]) -> Result<(), Failure> {
        let mut entry = self.log.begin_entry()?;
        for chunk in chunks {
            entry.write_chunk(chunk)?;
        }
        entry.commit()?;
        Ok(())
    }
}

impl Store for Okaywal {
    fn put(&mut self, bodies: &[Vec<u8>]) -> Result<(), Failure> {
        let chunks: Vec<&[u8]> =
            std::iter::once(PUT).chain(bodies.iter().map(Vec::as_slice)).collect();
        self.write(&chunks)?;
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).extend(bodies.iter().cloned());
        Ok(())
    }

    fn take(&mut self, most: usize, deliver: &mut Deliver<'_>) -> Result<usize, Failure> {
        let bodies: Vec<Vec<u8>> = {
            let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.iter().take(most).cloned().collect()
        };
        if bodies.is_empty() {
            return Ok(0);
        }
        deliver(&bodies);
        self.write(&[TAKE, &(bodies.len() as u64).to_le_bytes()])?;
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).drain(..bodies.len());
        Ok(bodies.len())
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(self.log.shutdown()?)
    }
}
