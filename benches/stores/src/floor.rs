//! The hand-written floors: `benches/floor`, shared with the project's own workloads, with takers that read events back
//! from the file; and one whose commits are direct writes of their own. They know the content of their file only in the
//! process that created it, or after reading all of it.

#[path = "../../floor/mod.rs"]
#[allow(dead_code, reason = "its own takers are for the project's workloads")]
mod shared;

use crate::{Bytes, Deliver, Failure, Setup, Store, locked};
use ::millpond::internal::disk::memory::SlabPool;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use shared::{Floor, Piece, TAKEN, pieces, put_frame, read, take_frame};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};

const NAME: &str = "floor";

/// Default bytes of the file.
const LEN: u64 = 64 << 20;

/// Direct writes begin and end at multiples of this.
const BLOCK: usize = 4096;

/// Concurrent direct writes.
const DEPTH: usize = 4;

fn len_of(setup: &Setup) -> u64 {
    setup.flow.map_or(LEN, |flow| flow.ready_bytes.next_multiple_of(1 << 20) + LEN)
}

/// A new file: the floor with its queue. An existing one: everything in it, for reading.
pub(crate) struct Buffered {
    file: Result<Floor, File>,
    len: u64,
    used: AtomicU64,
    waiting: Mutex<VecDeque<Piece>>,
}

impl Buffered {
    pub(crate) fn open(setup: &Setup, grouping: bool) -> Result<Self, Failure> {
        let (path, len) = (setup.dir().join(NAME), len_of(setup));
        let (file, waiting) = if path.exists() {
            (Err(File::open(&path)?), found(&path, 1)?)
        } else {
            let floor = Floor::open(&path, len, false)?;
            (Ok(if grouping { floor } else { floor.without_groups() }), VecDeque::new())
        };
        Ok(Self { file, len, used: AtomicU64::new(0), waiting: Mutex::new(waiting) })
    }

    /// Returns `None` for an existing file: its events are taken without a write to it.
    fn commit(&self, frame: Vec<u8>) -> Result<Option<u64>, Failure> {
        let Ok(floor) = &self.file else { return Ok(None) };
        let bytes = frame.len() as u64 + 4;
        if self.used.fetch_add(bytes, Ordering::Relaxed) + bytes > self.len {
            return Err("its file is full; fewer --bytes, or a larger share of them".into());
        }
        Ok(Some(floor.commit(frame)))
    }
}

impl Store for Buffered {
    fn put(&self, _: usize, bodies: &[Bytes]) -> Result<(), Failure> {
        let bodies = bodies.iter().map(|body| &body[..]);
        let frame = put_frame(bodies.clone());
        let place = self.commit(frame)?.ok_or("what was found is only to be looked at")?;
        locked(&self.waiting).extend(pieces(place, bodies));
        Ok(())
    }

    fn take(&self, _: usize, most: usize, deliver: &mut Deliver<'_>) -> Result<usize, Failure> {
        let pieces: Vec<Piece> = {
            let mut waiting = locked(&self.waiting);
            let most = most.min(waiting.len());
            waiting.drain(..most).collect()
        };
        if pieces.is_empty() {
            return Ok(0);
        }
        let file = match &self.file {
            Ok(floor) => floor.file(),
            Err(file) => file,
        };
        read(file, &pieces, deliver)?;
        self.commit(take_frame(pieces.len()))?;
        Ok(pieces.len())
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}

/// Returns what waits in a file, frame by frame; frames begin at multiples of `align`.
fn found(path: &Path, align: u64) -> Result<VecDeque<Piece>, Failure> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let len = file.get_ref().metadata()?.len();
    let mut waiting = VecDeque::new();
    let mut at = 0;
    while at + 20 <= len {
        let (begun, mut crc) = (at, crc32fast::Hasher::new());
        let count = word(&mut file, &mut crc)?;
        at += 8;
        if count == 0 {
            break;
        } else if count == TAKEN {
            let taken = word(&mut file, &mut crc)? as usize;
            at += 8;
            waiting.drain(..taken.min(waiting.len()));
        } else {
            for _ in 0..count {
                let body = word(&mut file, &mut crc)?;
                let mut bytes = vec![0; usize::try_from(body)?.min(len as usize)];
                file.read_exact(&mut bytes)?;
                crc.update(&bytes);
                waiting.push_back((at + 8, body as u32));
                at += 8 + body;
            }
        }
        let mut sum = [0; 4];
        file.read_exact(&mut sum)?;
        at += 4;
        if u32::from_le_bytes(sum) != crc.finalize() {
            return Err(format!("the frame at {begun} has another checksum").into());
        }
        let behind = at.next_multiple_of(align);
        file.seek_relative((behind - at) as i64)?;
        at = behind;
    }
    Ok(waiting)
}

fn word(file: &mut impl Read, crc: &mut crc32fast::Hasher) -> Result<u64, Failure> {
    let mut word = [0; 8];
    file.read_exact(&mut word)?;
    crc.update(&word);
    Ok(u64::from_le_bytes(word))
}

/// A floor whose commits are direct, synchronous writes, each to a place of its own.
pub(crate) struct Unbuffered {
    file: File,
    len: u64,
    next: AtomicU64,
    pool: SlabPool,
    free: Mutex<usize>,
    freed: Condvar,
    /// Set for an existing file: only its events can be taken.
    found: Option<Buffered>,
}

impl Unbuffered {
    pub(crate) fn open(setup: &Setup) -> Result<Self, Failure> {
        let (path, len) = (setup.dir().join(NAME), len_of(setup));
        let found = if path.exists() {
            let (file, waiting) = (Err(File::open(&path)?), found(&path, BLOCK as u64)?);
            Some(Buffered { file, len, used: AtomicU64::new(0), waiting: Mutex::new(waiting) })
        } else {
            // The other floor fills it with zeroes.
            drop(Floor::open(&path, len, false)?);
            // Every direct write would have to drop the pages that it filled.
            let whole = PosixFadviseAdvice::POSIX_FADV_DONTNEED;
            posix_fadvise(&File::open(&path)?, 0, 0, whole)?;
            None
        };
        let flags = libc::O_DIRECT | libc::O_DSYNC;
        let file = File::options().write(true).custom_flags(flags).open(&path)?;
        let (pool, free) = (SlabPool::new(1 << 20, DEPTH << 20), Mutex::new(DEPTH));
        Ok(Self { file, len, next: AtomicU64::new(0), pool, free, freed: Condvar::new(), found })
    }
}

impl Store for Unbuffered {
    fn put(&self, _: usize, bodies: &[Bytes]) -> Result<(), Failure> {
        let mut frame = put_frame(bodies.iter().map(|body| &body[..]));
        frame.extend_from_slice(&crc32fast::hash(&frame).to_le_bytes());
        let len = frame.len().next_multiple_of(BLOCK);
        let mut span = self.pool.writer(len)?.reserve(len).ok_or("no room in a buffer")?;
        let bytes = span.bytes_mut();
        bytes[..frame.len()].copy_from_slice(&frame);
        bytes[frame.len()..].fill(0);
        let offset = self.next.fetch_add(len as u64, Ordering::Relaxed);
        if offset + len as u64 > self.len {
            return Err("its file is full; fewer --bytes, or a larger share of them".into());
        }
        let free = self.freed.wait_while(locked(&self.free), |free| *free == 0);
        *free.map_err(|_| "a thread panicked")? -= 1;
        let written = self.file.write_all_at(bytes, offset);
        *locked(&self.free) += 1;
        self.freed.notify_one();
        Ok(written?)
    }

    fn take(&self, lane: usize, most: usize, deliver: &mut Deliver<'_>) -> Result<usize, Failure> {
        self.found.as_ref().map_or(Ok(0), |found| found.take(lane, most, deliver))
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}
