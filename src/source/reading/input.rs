//! A file that is read from some place on, with a buffer.

use crate::base::limits::FILE_READ_BYTES;
use std::io;
use std::os::unix::fs::FileExt;

/// A file and the bytes of it that were read and not used yet.
pub(crate) struct Input<F> {
    file: F,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are used up.
    used: usize,
    /// Where the first unused byte stands in the file.
    offset: u64,
}

impl<F: FileExt> Input<F> {
    pub(crate) fn new(file: F, offset: u64) -> Self {
        Self { file, buffer: Vec::new(), used: 0, offset }
    }

    pub(crate) fn file(&self) -> &F {
        &self.file
    }

    /// Where the next byte stands in the file.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// What was read and is not used yet.
    pub(crate) fn unused(&self) -> &[u8] {
        &self.buffer[self.used..]
    }

    /// Uses up `count` bytes of [`Input::unused`].
    pub(crate) fn skip(&mut self, count: usize) {
        assert!(count <= self.unused().len(), "only what was read can be used");
        self.used += count;
        self.offset += count as u64;
        if self.used == self.buffer.len() {
            self.buffer.clear();
            self.used = 0;
            // One long line is no reason to hold its memory for ever.
            if self.buffer.capacity() > 4 * FILE_READ_BYTES {
                self.buffer = Vec::new();
            }
        }
    }

    /// Goes on at `offset`, and forgets what was read.
    pub(crate) fn seek(&mut self, offset: u64) {
        self.buffer.clear();
        self.used = 0;
        self.offset = offset;
    }

    /// Reads until `count` bytes are unused, or to the end of the file as it is now. Answers
    /// whether so many are there.
    pub(crate) fn has(&mut self, count: usize) -> io::Result<bool> {
        while self.unused().len() < count {
            if self.read_more(count - self.unused().len())? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Where among the next `max` bytes the first `byte` is; reads no further than needed.
    pub(crate) fn find(&mut self, byte: u8, max: usize) -> io::Result<Option<usize>> {
        let mut seen = 0;
        loop {
            let unused = self.unused();
            let window = &unused[seen..unused.len().min(max)];
            if let Some(at) = window.iter().position(|b| *b == byte) {
                return Ok(Some(seen + at));
            }
            seen += window.len();
            if seen >= max || self.read_more(1)? == 0 {
                return Ok(None);
            }
        }
    }

    /// Reads at least one byte, and `wanted` if it can; 0 at the end of the file.
    fn read_more(&mut self, wanted: usize) -> io::Result<usize> {
        if self.used > 0 {
            self.buffer.drain(..self.used);
            self.used = 0;
        }
        let held = self.buffer.len();
        // A length that was announced is not believed before its bytes are there.
        let room = wanted.clamp(FILE_READ_BYTES, 16 * FILE_READ_BYTES);
        self.buffer.resize(held + room, 0);
        let read = loop {
            match self.file.read_at(&mut self.buffer[held..], self.offset + held as u64) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(held + *read.as_ref().unwrap_or(&0));
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives three bytes at a time, and is interrupted before each.
    struct Drops(Vec<u8>, std::cell::Cell<bool>);

    impl FileExt for Drops {
        fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
            if !self.1.replace(!self.1.get()) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let rest = self.0.get(offset as usize..).unwrap_or_default();
            let count = rest.len().min(out.len()).min(3);
            out[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        }

        fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
            unreachable!("nothing is written")
        }
    }

    #[test]
    fn bytes_come_in_order_however_few_a_read_gives() {
        let mut input = Input::new(Drops(b"0123456789\nabc".to_vec(), false.into()), 2);
        assert_eq!(input.find(b'\n', 5).unwrap(), None);
        assert_eq!(input.find(b'\n', 100).unwrap(), Some(8));
        assert_eq!(&input.unused()[..8], b"23456789");
        input.skip(9);
        assert_eq!(input.offset(), 11);
        assert!(!input.has(4).unwrap());
        assert_eq!(input.unused(), b"abc");
        assert!(input.has(3).unwrap());
    }
}
