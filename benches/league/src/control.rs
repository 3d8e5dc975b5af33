//! A queue that is broken on purpose, to show that each column can turn red, and its sound twin, to show that none does
//! by itself. Not in the table; `--engine control-sound` and so on.
//!
//! One file: each record is a length, a hash and its bytes, each commit is written and synced.

use crate::draw::hash;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use stores::{Bytes, Deliver, Failure, Store};

/// How it is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Sound,
    /// Acknowledges three of four puts before they are written.
    Forgets,
    /// Does not record takes.
    Repeats,
    /// Delivers what it reads back, whatever the hash says.
    Blind,
    /// Drops records with a wrong hash without reporting it.
    Silent,
    /// Waits forever after a failed call.
    Hangs,
    /// Panics after a failed call.
    Panics,
    /// Takes a short write for a complete one.
    Short,
}

const FAULTS: [(&str, Fault); 8] = [
    ("sound", Fault::Sound),
    ("forgets", Fault::Forgets),
    ("repeats", Fault::Repeats),
    ("blind", Fault::Blind),
    ("silent", Fault::Silent),
    ("hangs", Fault::Hangs),
    ("panics", Fault::Panics),
    ("short", Fault::Short),
];

const TAKE: u32 = u32::MAX;

pub(crate) struct Control(Mutex<Queue>);

struct Queue {
    fault: Fault,
    file: File,
    waiting: VecDeque<Vec<u8>>,
    unwritten: Vec<u8>,
    commits: u64,
    /// The end of the valid records; a failed record is overwritten.
    end: u64,
    damaged: u64,
}

impl Control {
    pub(crate) fn open(dir: &Path, fault: &str) -> Result<Self, Failure> {
        Ok(Self(Mutex::new(Queue::open(dir, fault)?)))
    }
}

impl Queue {
    fn open(dir: &Path, fault: &str) -> Result<Self, Failure> {
        let named = FAULTS.iter().find(|(name, _)| *name == fault);
        let fault = named.ok_or_else(|| format!("no control is called {fault}"))?.1;
        let mut file = OpenOptions::new();
        file.read(true).write(true).create(true).truncate(false);
        let mut queue = Self {
            fault,
            file: file.open(dir.join("control.log"))?,
            waiting: VecDeque::new(),
            unwritten: Vec::new(),
            commits: 0,
            end: 0,
            damaged: 0,
        };
        queue.rebuild()?;
        Ok(queue)
    }

    fn rebuild(&mut self) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes)?;
        let mut rest = bytes.as_slice();
        while let Some((len, sum)) = header(rest) {
            if len == TAKE {
                let most = self.waiting.len();
                self.waiting.drain(..most.min(sum as usize));
                rest = &rest[12..];
                continue;
            }
            // Anything after a torn record was never acknowledged.
            let Some(body) = rest.get(12..12 + len as usize) else { break };
            if self.fault == Fault::Blind || hash(body) == sum {
                self.waiting.push_back(body.to_vec());
            } else if self.fault != Fault::Silent {
                self.damaged += 1;
            }
            rest = &rest[12 + len as usize..];
        }
        self.end = (bytes.len() - rest.len()) as u64;
        Ok(())
    }

    fn write(&mut self, record: &[u8]) -> Result<(), Failure> {
        self.commits += 1;
        self.unwritten.extend_from_slice(record);
        if self.fault == Fault::Forgets && !self.commits.is_multiple_of(4) {
            // It looks as busy as if it had written.
            return Ok(self.file.sync_all()?);
        }
        let bytes = std::mem::take(&mut self.unwritten);
        self.file.seek(SeekFrom::Start(self.end))?;
        let written = match self.fault {
            Fault::Short => self.file.write(&bytes).map(|_| ()),
            _ => self.file.write_all(&bytes),
        };
        match (written.and_then(|()| self.file.sync_data()), self.fault) {
            (Ok(()), _) => {
                self.end += bytes.len() as u64;
                Ok(())
            }
            (Err(_), Fault::Hangs) => loop {
                std::thread::park();
            },
            (Err(error), Fault::Panics) => panic!("{error}"),
            (Err(error), _) => Err(error.into()),
        }
    }
}

fn header(bytes: &[u8]) -> Option<(u32, u64)> {
    let len = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    Some((len, u64::from_le_bytes(bytes.get(4..12)?.try_into().ok()?)))
}

impl Store for Control {
    fn put(&self, _: usize, bodies: &[Bytes]) -> Result<(), Failure> {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = Vec::new();
        for body in bodies {
            record.extend_from_slice(&(body.len() as u32).to_le_bytes());
            record.extend_from_slice(&hash(body).to_le_bytes());
            record.extend_from_slice(body);
        }
        queue.write(&record)?;
        queue.waiting.extend(bodies.iter().map(|body| body.to_vec()));
        Ok(())
    }

    fn take(&self, _: usize, most: usize, deliver: &mut Deliver<'_>) -> Result<usize, Failure> {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bodies: Vec<Vec<u8>> = queue.waiting.iter().take(most).cloned().collect();
        if bodies.is_empty() {
            return Ok(0);
        }
        bodies.iter().for_each(|body| deliver(body));
        if queue.fault != Fault::Repeats {
            let count = bodies.len() as u64;
            queue.write(&[&TAKE.to_le_bytes()[..], &count.to_le_bytes()].concat())?;
        }
        queue.waiting.drain(..bodies.len());
        Ok(bodies.len())
    }

    fn damaged(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).damaged
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}
