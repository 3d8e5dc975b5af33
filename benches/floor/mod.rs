//! The floor: what a careful programmer writes in an afternoon. Group commit with a leader, one
//! buffered write and one fdatasync per group, into a file that was filled with zeroes before; a
//! queue in memory, and a small frame in the same file for each take that was committed.

use millpond::event::Event;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// How long a taker waits for events.
const PATIENCE: Duration = Duration::from_millis(5);

pub(crate) struct Floor {
    file: File,
    len: u64,
    state: Mutex<State>,
    wake: Condvar,
    /// Where takers find what was put; without takers nothing is kept.
    queue: Option<Mutex<VecDeque<Event>>>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    gather: Vec<u8>,
    spare: Vec<u8>,
    group: u64,
    durable: u64,
    writing: bool,
    offset: u64,
}

impl Floor {
    pub(crate) fn open(path: &Path, len: u64, takers: bool) -> io::Result<Self> {
        let file = File::create_new(path)?;
        let zeroes = vec![0u8; 1 << 20];
        for at in (0..len).step_by(zeroes.len()) {
            file.write_all_at(&zeroes, at)?;
        }
        file.sync_all()?;
        let state = Mutex::new(State { group: 1, ..State::default() });
        let (wake, arrived, queue) = (Condvar::new(), Condvar::new(), takers.then(Mutex::default));
        Ok(Self { file, len, state, wake, queue, arrived })
    }

    pub(crate) fn put(&self, events: Vec<Event>) {
        let bytes: usize = events.iter().map(|event| event.body.len() + 8).sum();
        let mut frame = Vec::with_capacity(bytes + 16);
        frame.extend_from_slice(&(events.len() as u64).to_le_bytes());
        for event in &events {
            frame.extend_from_slice(&(event.body.len() as u64).to_le_bytes());
            frame.extend_from_slice(&event.body);
        }
        self.commit(frame);
        if let Some(queue) = &self.queue {
            queue.lock().unwrap().extend(events);
            self.arrived.notify_one();
        }
    }

    /// Takes up to `max` events and commits that, or answers none.
    pub(crate) fn take(&self, max: usize) -> Vec<Event> {
        let Some(queue) = &self.queue else { return Vec::new() };
        let mut queue = queue.lock().unwrap();
        if queue.is_empty() {
            queue = self.arrived.wait_timeout(queue, PATIENCE).unwrap().0;
        }
        let max = max.min(queue.len());
        let events: Vec<Event> = queue.drain(..max).collect();
        drop(queue);
        if !events.is_empty() {
            let mut frame = Vec::with_capacity(32);
            frame.extend_from_slice(&u64::MAX.to_le_bytes());
            frame.extend_from_slice(&(events.len() as u64).to_le_bytes());
            self.commit(frame);
        }
        events
    }

    fn commit(&self, mut frame: Vec<u8>) {
        let crc = crc32fast::hash(&frame);
        frame.extend_from_slice(&crc.to_le_bytes());
        let mut state = self.state.lock().unwrap();
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
            if state.offset + group.len() as u64 > self.len {
                state.offset = 0;
            }
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
    }
}
