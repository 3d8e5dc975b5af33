//! The floor: what a careful programmer writes in an afternoon. Group commit with a leader, one
//! buffered write and one fdatasync per group, into a file that was filled with zeroes before.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Condvar, Mutex};

pub(crate) struct Floor {
    file: File,
    len: u64,
    state: Mutex<State>,
    wake: Condvar,
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
    pub(crate) fn open(path: &Path, len: u64) -> io::Result<Self> {
        let file = File::create_new(path)?;
        let zeroes = vec![0u8; 1 << 20];
        for at in (0..len).step_by(zeroes.len()) {
            file.write_all_at(&zeroes, at)?;
        }
        file.sync_all()?;
        let state = Mutex::new(State { group: 1, ..State::default() });
        Ok(Self { file, len, state, wake: Condvar::new() })
    }

    pub(crate) fn commit(&self, event: &[u8], count: usize) {
        let mut frame = Vec::with_capacity(count * (event.len() + 8) + 8);
        frame.extend_from_slice(&(count as u64).to_le_bytes());
        for _ in 0..count {
            frame.extend_from_slice(&(event.len() as u64).to_le_bytes());
            frame.extend_from_slice(event);
        }
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
