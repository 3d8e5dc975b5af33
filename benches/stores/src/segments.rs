//! The floor with which the design's table of speed compares: group commit by a leader into files of 64 MiB, each
//! filled with zeroes in writes of 4 MiB before; every event has a checksum of its own, which its taker verifies. The
//! places of events are kept in memory, a run of events of one length at a time, and a taker reads a run back at once.
//! An opening reads every file.
//!
//! Compared with [`super::floor`] it shows what a floor's own habits cost it: of a file that was filled in large pieces
//! the page cache keeps large pages, and writing back a few bytes of one costs more.

use crate::{Bytes, Deliver, Failure, Setup, Store, locked};
use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

const SEGMENT_BYTES: u64 = 64 << 20;

/// Bytes of one write of zeroes.
const FILL_BYTES: u64 = 4 << 20;

/// Default number of segments.
const SEGMENTS: u64 = 2;

/// Length and checksum before each body.
const HEADER_BYTES: usize = 8;

/// First bytes of a committed take, where a body has its length and checksum; the number of events follows.
const TAKEN: [u8; 8] = [0xff; 8];

/// Adjacent events of one length.
struct Run {
    file: Arc<File>,
    at: u64,
    count: usize,
    body: usize,
}

pub(crate) struct Segments {
    state: Mutex<State>,
    durable: Condvar,
}

struct State {
    /// The bytes of the next group, and the runs in it by their offset.
    gather: Vec<u8>,
    gathered: Vec<(u64, usize, usize)>,
    spare: Vec<u8>,
    /// Number of the next group, and of the last durable one.
    group: u64,
    done: u64,
    writing: bool,
    segment: Arc<File>,
    offset: u64,
    ready: VecDeque<File>,
    waiting: VecDeque<Run>,
    failed: Option<String>,
}

/// Returns a file of zeroes, on the disk.
fn filled(path: &Path) -> Result<File, Failure> {
    let file = File::options().read(true).write(true).create_new(true).open(path)?;
    let zeroes = vec![0; FILL_BYTES as usize];
    for at in (0..SEGMENT_BYTES).step_by(zeroes.len()) {
        file.write_all_at(&zeroes, at)?;
    }
    file.sync_all()?;
    Ok(file)
}

/// Adds the events of a file, and drops those that its takes have taken from the front.
fn find(file: &Arc<File>, waiting: &mut VecDeque<Run>) -> Result<(), Failure> {
    let mut bytes = vec![0; SEGMENT_BYTES as usize];
    file.read_exact_at(&mut bytes, 0)?;
    let mut at = 0;
    while let Some(header) = bytes.get(at..at + HEADER_BYTES).filter(|header| **header != [0; 8]) {
        if header == TAKEN {
            let count = bytes.get(at + 8..at + 16).ok_or("a take is cut off")?;
            drop_front(waiting, u64::from_le_bytes(count.try_into()?) as usize);
            at += 16;
            continue;
        }
        let (len, crc) = header.split_at(4);
        let body = u32::from_le_bytes(len.try_into()?) as usize;
        let stored = bytes.get(at + HEADER_BYTES..at + HEADER_BYTES + body);
        if stored.is_none_or(|stored| crc32fast::hash(stored).to_le_bytes() != *crc) {
            return Err(format!("the event at {at} has another checksum").into());
        }
        match waiting.back_mut() {
            Some(run)
                if run.body == body && Arc::ptr_eq(&run.file, file) && run.end() == at as u64 =>
            {
                run.count += 1;
            }
            _ => {
                let (file, at) = (Arc::clone(file), at as u64);
                waiting.push_back(Run { file, at, count: 1, body });
            }
        }
        at += HEADER_BYTES + body;
    }
    Ok(())
}

fn drop_front(waiting: &mut VecDeque<Run>, mut count: usize) {
    while let Some(run) = waiting.front_mut().filter(|_| count > 0) {
        let dropped = run.count.min(count);
        run.drop_front(dropped);
        count -= dropped;
        if run.count == 0 {
            waiting.pop_front();
        }
    }
}

impl Run {
    fn end(&self) -> u64 {
        self.at + (self.count * (self.body + HEADER_BYTES)) as u64
    }

    fn drop_front(&mut self, count: usize) {
        self.at += (count * (self.body + HEADER_BYTES)) as u64;
        self.count -= count;
    }
}

impl Segments {
    pub(crate) fn open(setup: &Setup) -> Result<Self, Failure> {
        let bytes = setup.flow.map_or(0, |flow| flow.ready_bytes);
        // The end of a segment that a group does not fit into stays empty.
        let count = SEGMENTS + (bytes + bytes / 8).div_ceil(SEGMENT_BYTES);
        let name = |number| setup.dir().join(format!("segment-{number}"));
        let mut waiting = VecDeque::new();
        let mut number = 0;
        while name(number).exists() {
            find(&Arc::new(File::open(name(number))?), &mut waiting)?;
            number += 1;
        }
        // An existing store is only read: new writes go to a file of their own.
        let count = if number == 0 { count } else { number + 1 };
        let segment = Arc::new(filled(&name(number))?);
        let ready = (number + 1..count).map(|number| filled(&name(number)));
        let ready = ready.collect::<Result<_, _>>()?;
        let state = Mutex::new(State {
            gather: Vec::new(),
            gathered: Vec::new(),
            spare: Vec::new(),
            group: 1,
            done: 0,
            writing: false,
            segment,
            offset: 0,
            ready,
            waiting,
            failed: None,
        });
        Ok(Self { state, durable: Condvar::new() })
    }

    /// Submits `frame` and returns once it is durable. `runs` are the events in it: offset in the frame, count, bytes
    /// of a body.
    fn commit(&self, frame: &[u8], runs: &[(u64, usize, usize)]) -> Result<(), Failure> {
        let mut state = locked(&self.state);
        let base = state.gather.len() as u64;
        state.gather.extend_from_slice(frame);
        state.gathered.extend(runs.iter().map(|(at, count, body)| (base + at, *count, *body)));
        let mine = state.group;
        while state.done < mine && state.failed.is_none() {
            if state.writing {
                state = self.durable.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.writing = true;
            let spare = std::mem::take(&mut state.spare);
            let group = std::mem::replace(&mut state.gather, spare);
            let gathered = std::mem::take(&mut state.gathered);
            let number = state.group;
            state.group += 1;
            if state.offset + group.len() as u64 > SEGMENT_BYTES {
                match state.ready.pop_front() {
                    Some(next) => (state.segment, state.offset) = (Arc::new(next), 0),
                    None => state.failed = Some("its segments are full; fewer --bytes".into()),
                }
            }
            let (file, offset) = (Arc::clone(&state.segment), state.offset);
            state.offset += group.len() as u64;
            let full = state.failed.is_some();
            drop(state);
            let written = match full {
                true => Ok(()),
                false => file.write_all_at(&group, offset).and_then(|()| file.sync_data()),
            };
            state = locked(&self.state);
            if let Err(error) = written {
                state.failed = Some(error.to_string());
            }
            let runs = gathered.into_iter().map(|(at, count, body)| Run {
                file: Arc::clone(&file),
                at: offset + at,
                count,
                body,
            });
            state.waiting.extend(runs);
            state.spare = group;
            state.spare.clear();
            state.done = number;
            state.writing = false;
            self.durable.notify_all();
        }
        match &state.failed {
            Some(error) => Err(error.clone().into()),
            None => Ok(()),
        }
    }

    /// Returns the next events, at most `most`, of one run.
    fn next(&self, most: usize) -> Option<Run> {
        let mut state = locked(&self.state);
        let run = state.waiting.front_mut()?;
        let count = run.count.min(most);
        let taken = Run { file: Arc::clone(&run.file), at: run.at, count, body: run.body };
        run.drop_front(count);
        if run.count == 0 {
            state.waiting.pop_front();
        }
        Some(taken)
    }
}

impl Store for Segments {
    fn put(&self, _: usize, bodies: &[Bytes]) -> Result<(), Failure> {
        let bytes: usize = bodies.iter().map(|body| body.len() + HEADER_BYTES).sum();
        let (mut frame, mut runs) = (Vec::with_capacity(bytes), Vec::with_capacity(1));
        for alike in bodies.chunk_by(|a, b| a.len() == b.len()) {
            runs.push((frame.len() as u64, alike.len(), alike[0].len()));
            for body in alike {
                frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
                frame.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
                frame.extend_from_slice(body);
            }
        }
        self.commit(&frame, &runs)
    }

    fn take(&self, _: usize, most: usize, deliver: &mut Deliver<'_>) -> Result<usize, Failure> {
        let (mut taken, mut bytes) = (0, Vec::new());
        while taken < most {
            let Some(run) = self.next(most - taken) else { break };
            bytes.resize(run.count * (run.body + HEADER_BYTES), 0);
            run.file.read_exact_at(&mut bytes, run.at)?;
            for event in bytes.chunks(run.body + HEADER_BYTES) {
                let (header, body) = event.split_at(HEADER_BYTES);
                if crc32fast::hash(body).to_le_bytes() != header[4..] {
                    return Err("an event has another checksum than it was put with".into());
                }
                deliver(body);
            }
            taken += run.count;
        }
        if taken > 0 {
            self.commit(&[TAKEN, (taken as u64).to_le_bytes()].concat(), &[])?;
        }
        Ok(taken)
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}
