//! The floor: a simple hand-written log. Group commit with a leader, one buffered write and one fdatasync per group,
//! into a file that was filled with zeroes before; a queue in memory of the places of events, which takers read back
//! from the file (it is in the page cache), and a small frame in the same file for each committed take. Optionally
//! without groups: each commit writes and syncs for itself.

use millpond::Event;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// How long a taker waits for events.
const PATIENCE: Duration = Duration::from_millis(5);

/// Most bytes of a group.
const GROUP_BYTES_MAX: u64 = 16 << 20;

/// First word of the frame of a take; the frame of a put begins with the number of its events.
pub(crate) const TAKEN: u64 = u64::MAX;

/// A waiting event: the offset of its body, and its length.
pub(crate) type Piece = (u64, u32);

pub(crate) struct Floor {
    file: File,
    len: u64,
    /// Whether concurrent commits share a write and a sync.
    grouping: bool,
    state: Mutex<State>,
    wake: Condvar,
    /// Where takers find events; without takers nothing is kept.
    queue: Option<Mutex<VecDeque<Piece>>>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    gather: Vec<u8>,
    spare: Vec<u8>,
    group: u64,
    durable: u64,
    writing: bool,
    /// Offset of the next group.
    offset: u64,
}

/// Returns the frame of a put without its checksum: the number of events, then length and bytes of each.
pub(crate) fn put_frame<'a>(bodies: impl Iterator<Item = &'a [u8]> + Clone) -> Vec<u8> {
    let bytes: usize = bodies.clone().map(|body| body.len() + 8).sum();
    let mut frame = Vec::with_capacity(bytes + 16);
    frame.extend_from_slice(&(bodies.clone().count() as u64).to_le_bytes());
    for body in bodies {
        frame.extend_from_slice(&(body.len() as u64).to_le_bytes());
        frame.extend_from_slice(body);
    }
    frame
}

/// Returns the frame of a take without its checksum.
pub(crate) fn take_frame(count: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(32);
    frame.extend_from_slice(&TAKEN.to_le_bytes());
    frame.extend_from_slice(&(count as u64).to_le_bytes());
    frame
}

/// Returns the places of the bodies of a put whose frame begins at `place`.
pub(crate) fn pieces<'a>(
    place: u64,
    bodies: impl Iterator<Item = &'a [u8]>,
) -> impl Iterator<Item = Piece> {
    bodies.scan(place + 16, |at, body| {
        let piece = (*at, body.len() as u32);
        *at += body.len() as u64 + 8;
        Some(piece)
    })
}

/// Reads the bodies back; adjacent ones in one read.
pub(crate) fn read(
    file: &File,
    pieces: &[Piece],
    deliver: &mut dyn FnMut(&[u8]),
) -> io::Result<()> {
    let mut bytes = Vec::new();
    for run in pieces.chunk_by(|a, b| a.0 + u64::from(a.1) + 8 == b.0) {
        let (first, last) = (run[0].0, run[run.len() - 1]);
        bytes.resize((last.0 + u64::from(last.1) - first) as usize, 0);
        file.read_exact_at(&mut bytes, first)?;
        for (at, len) in run {
            let at = (at - first) as usize;
            deliver(&bytes[at..at + *len as usize]);
        }
    }
    Ok(())
}

impl Floor {
    pub(crate) fn open(path: &Path, len: u64, takers: bool) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        let zeroes = vec![0u8; 1 << 20];
        for at in (0..len).step_by(zeroes.len()) {
            file.write_all_at(&zeroes, at)?;
        }
        file.sync_all()?;
        let state = Mutex::new(State { group: 1, ..State::default() });
        let (wake, arrived, queue) = (Condvar::new(), Condvar::new(), takers.then(Mutex::default));
        Ok(Self { file, len, grouping: true, state, wake, queue, arrived })
    }

    pub(crate) fn put(&self, events: &[Event]) {
        let bodies = events.iter().map(|event| &event.body[..]);
        let place = self.commit(put_frame(bodies.clone()));
        if let Some(queue) = &self.queue {
            queue.lock().unwrap().extend(pieces(place, bodies));
            self.arrived.notify_one();
        }
    }

    /// Takes up to `max` events and commits that; returns how many there were.
    pub(crate) fn take(&self, max: usize, deliver: &mut dyn FnMut(&[u8])) -> usize {
        let Some(queue) = &self.queue else { return 0 };
        let mut queue = queue.lock().unwrap();
        if queue.is_empty() {
            queue = self.arrived.wait_timeout(queue, PATIENCE).unwrap().0;
        }
        let max = max.min(queue.len());
        let pieces: Vec<Piece> = queue.drain(..max).collect();
        drop(queue);
        if !pieces.is_empty() {
            read(&self.file, &pieces, deliver).unwrap();
            self.commit(take_frame(pieces.len()));
        }
        pieces.len()
    }

    /// Returns the same floor without groups: each commit writes and syncs for itself.
    #[allow(dead_code, reason = "one of the two programs that share this file")]
    pub(crate) fn without_groups(self) -> Self {
        Self { grouping: false, ..self }
    }

    #[allow(dead_code, reason = "one of the two programs that share this file")]
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Adds the checksum and returns the frame's offset once it is durable.
    pub(crate) fn commit(&self, mut frame: Vec<u8>) -> u64 {
        let crc = crc32fast::hash(&frame);
        frame.extend_from_slice(&crc.to_le_bytes());
        let mut state = self.state.lock().unwrap();
        // At the end of the file it starts over at the beginning.
        if state.gather.is_empty() && state.offset + GROUP_BYTES_MAX > self.len {
            state.offset = 0;
        }
        if !self.grouping {
            let offset = state.offset;
            state.offset += frame.len() as u64;
            self.file.write_all_at(&frame, offset).unwrap();
            self.file.sync_data().unwrap();
            return offset;
        }
        let place = state.offset + state.gather.len() as u64;
        state.gather.extend_from_slice(&frame);
        let mine = state.group;
        while state.durable < mine {
            if state.writing {
                state = self.wake.wait(state).unwrap();
                continue;
            }
            state.writing = true;
            let spare = std::mem::take(&mut state.spare);
            let group = std::mem::replace(&mut state.gather, spare);
            let number = state.group;
            state.group += 1;
            let offset = state.offset;
            state.offset += group.len() as u64;
            drop(state);
            self.file.write_all_at(&group, offset).unwrap();
            self.file.sync_data().unwrap();
            state = self.state.lock().unwrap();
            state.spare = group;
            state.spare.clear();
            state.durable = number;
            state.writing = false;
            self.wake.notify_all();
        }
        place
    }
}
