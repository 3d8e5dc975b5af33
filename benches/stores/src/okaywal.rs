//! okaywal: a write-ahead log. Puts and takes are its entries; the place of each waiting body is kept in memory and
//! rebuilt from them at an opening, which is the purpose of such a log.

use crate::{Bytes, Deliver, Failure, Setup, Store, locked};
use ::okaywal::{
    Configuration, Entry, EntryId, LogManager, LogPosition, SegmentReader, WriteAheadLog,
};
use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};

const PUT: &[u8] = b"put";
const TAKE: &[u8] = b"take";

/// A body that waits.
#[derive(Debug)]
enum Body {
    /// Found at an opening, which reports no places; or kept.
    Here(Vec<u8>),
    There(LogPosition, u32),
}

type Waiting = Arc<Mutex<VecDeque<Body>>>;

#[derive(Debug)]
struct Rebuild(Waiting);

impl LogManager for Rebuild {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        // An aborted entry was never acknowledged; the manual asks to ignore it.
        let Some(mut chunks) = entry.read_all_chunks()? else { return Ok(()) };
        let mut waiting = locked(&self.0);
        let kind = if chunks.is_empty() { Vec::new() } else { chunks.remove(0) };
        if kind == PUT {
            waiting.extend(chunks.into_iter().map(Body::Here));
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

pub(crate) struct Okaywal {
    log: WriteAheadLog,
    waiting: Waiting,
    /// Keeps bodies in memory instead of reading them back.
    keeping: bool,
}

impl Okaywal {
    pub(crate) fn open(setup: &Setup) -> Result<Self, Failure> {
        let waiting = Waiting::default();
        // So large that none is made: a checkpoint would have to move what still waits.
        let mut settings =
            Configuration::default_for(setup.dir().join("wal")).checkpoint_after_bytes(1 << 40);
        if setup.flow.is_some() {
            settings = settings.preallocate_bytes(64 << 20).buffer_bytes(256 << 10);
        }
        let log = settings.open(Rebuild(Arc::clone(&waiting)))?;
        Ok(Self { log, waiting, keeping: setup.flow.is_none() })
    }

    fn deliver(&self, bodies: &[Body], deliver: &mut Deliver<'_>) -> Result<(), Failure> {
        let mut read = Vec::new();
        for body in bodies {
            match body {
                Body::Here(body) => deliver(body),
                Body::There(place, len) => {
                    read.resize(*len as usize, 0);
                    self.log.read_at(*place)?.read_exact(&mut read)?;
                    deliver(&read);
                }
            }
        }
        Ok(())
    }

    fn log_take(&self, count: usize) -> Result<(), Failure> {
        let mut entry = self.log.begin_entry()?;
        entry.write_chunk(TAKE)?;
        entry.write_chunk(&(count as u64).to_le_bytes())?;
        entry.commit()?;
        Ok(())
    }
}

impl Store for Okaywal {
    fn put(&self, _: usize, bodies: &[Bytes]) -> Result<(), Failure> {
        let mut entry = self.log.begin_entry()?;
        entry.write_chunk(PUT)?;
        let mut places = Vec::with_capacity(bodies.len());
        for body in bodies {
            let chunk = entry.write_chunk(body)?;
            places.push(match self.keeping {
                true => Body::Here(body.to_vec()),
                false => Body::There(chunk.position, chunk.length),
            });
        }
        entry.commit()?;
        locked(&self.waiting).extend(places);
        Ok(())
    }

    fn take(&self, _: usize, most: usize, deliver: &mut Deliver<'_>) -> Result<usize, Failure> {
        let bodies: Vec<Body> = {
            let mut waiting = locked(&self.waiting);
            let most = most.min(waiting.len());
            waiting.drain(..most).collect()
        };
        if bodies.is_empty() {
            return Ok(0);
        }
        let taken = bodies.len();
        let done = self.deliver(&bodies, deliver).and_then(|()| self.log_take(taken));
        if done.is_err() {
            let mut waiting = locked(&self.waiting);
            bodies.into_iter().rev().for_each(|body| waiting.push_front(body));
        }
        done.map(|()| taken)
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(self.log.shutdown()?)
    }
}
