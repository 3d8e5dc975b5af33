//! A file read from some offset, with a buffer.

use millpond_flow::base::limits::FILE_READ_BYTES;
use std::io;
use std::os::unix::fs::FileExt;

/// A file and its bytes that were read and not consumed yet.
pub(crate) struct BufferedFile<F> {
    file: F,
    buffer: Vec<u8>,
    /// Consumed bytes of the buffer.
    used: usize,
    /// File offset of the first unconsumed byte.
    offset: u64,
}

impl<F: FileExt> BufferedFile<F> {
    pub(crate) fn new(file: F, offset: u64) -> Self {
        Self { file, buffer: Vec::new(), used: 0, offset }
    }

    pub(crate) fn file(&self) -> &F {
        &self.file
    }

    /// Returns the file offset of the next byte.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the bytes that were read and not consumed yet.
    pub(crate) fn unused(&self) -> &[u8] {
        &self.buffer[self.used..]
    }

    /// Consumes `count` bytes of [`BufferedFile::unused`].
    pub(crate) fn skip(&mut self, count: usize) {
        assert!(count <= self.unused().len(), "only what was read can be used");
        self.used += count;
        self.offset += count as u64;
        if self.used == self.buffer.len() {
            self.buffer.clear();
            self.used = 0;
            // The memory of one long line is not kept forever.
            if self.buffer.capacity() > 4 * FILE_READ_BYTES {
                self.buffer = Vec::new();
            }
        }
    }

    /// Moves to `offset`, and discards the buffer.
    pub(crate) fn seek(&mut self, offset: u64) {
        self.buffer.clear();
        self.used = 0;
        self.offset = offset;
    }

    /// Reads until `count` bytes are available, or to the current end of the file. Returns whether there are as many.
    pub(crate) fn has(&mut self, count: usize) -> io::Result<bool> {
        while self.unused().len() < count {
            if self.read_more(count - self.unused().len())? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns the position of the first `byte` within the next `max` bytes; reads no further than needed.
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
        // An announced length is not trusted before its bytes have been read.
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

    /// Returns three bytes per read, and is interrupted before each.
    struct DroppedEnds(Vec<u8>, std::cell::Cell<bool>);

    impl FileExt for DroppedEnds {
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
    fn bytes_come_in_order_with_short_reads() {
        let mut input =
            BufferedFile::new(DroppedEnds(b"0123456789\nabc".to_vec(), false.into()), 2);
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
