//! How many bytes a connection of a line protocol is read by at a time, and how many of its lines
//! become events at a time.
//!
//! What one read brings becomes one transaction, so a read should bring what is there: a busy client
//! fills a durable channel only with large batches. But memory for large reads on every connection
//! would let clients choose how much the source takes. So a connection is read by a little, by twice
//! as much after each read that was filled, and by a little again once one was not half full; what
//! goes beyond the little comes out of one budget of the process, and without room there the stride
//! stays as it is.
//!
//! Short lines take a hundred times more as events than as bytes. So there is a second budget, of
//! lines: where it is used up, a read is committed in parts of a few lines, and the rest of it stays
//! the bytes that it is.

use crate::base::limits::{
    CONNECTION_LINE_FREE_BYTES, CONNECTION_LINES, CONNECTION_READ_BYTES, CONNECTION_READ_BYTES_MAX,
};
use crate::flow::client_limits::{ClientLimits, Connection, NoRoom};
use crate::net::stream::Stream;
use bytes::BytesMut;
use memchr::memchr_iter;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long a client that sends nothing keeps the permits of its last large read.
const PERMITS_KEPT: Duration = Duration::from_secs(1);

/// The budget.
#[derive(Clone, Debug)]
pub(crate) struct Strides {
    /// One permit for each [`CONNECTION_READ_BYTES`] beyond the first of a connection.
    pieces: Arc<Semaphore>,
    /// One permit for each line beyond the first [`CONNECTION_LINES`] of a connection.
    lines: Arc<Semaphore>,
}

/// A part of a read. Until it is dropped it holds its share of the lines.
#[derive(Debug)]
pub(crate) struct Part {
    bytes: BytesMut,
    _share: Option<OwnedSemaphorePermit>,
}

/// How far the next read of one connection goes.
#[derive(Debug)]
pub(crate) struct Stride {
    all: Strides,
    bytes: usize,
    held: Option<OwnedSemaphorePermit>,
}

impl Part {
    /// What was read. Its lines are copied out of it: it goes before they are committed, which may have
    /// to wait.
    pub(crate) fn take_bytes(&mut self) -> BytesMut {
        std::mem::take(&mut self.bytes)
    }
}

impl Strides {
    /// The budget of all sources of the process.
    pub(crate) fn of(limits: &ClientLimits) -> Self {
        Self { pieces: Arc::clone(&limits.reads), lines: Arc::clone(&limits.lines) }
    }

    /// For a connection that has not been read yet.
    pub(crate) fn stride(&self) -> Stride {
        Stride { all: self.clone(), bytes: CONNECTION_READ_BYTES, held: None }
    }
}

impl Stride {
    /// Bytes to read at most.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Reads once behind `read`, 0 at the end, when something has come and `client` has the memory for it and for
    /// `pending` bytes of a line that has not ended. Without that memory it is not read: what the client
    /// sends waits in the socket, and then at the client.
    ///
    /// # Errors
    /// The connection broke, or the line takes more than there ever is.
    pub(crate) async fn read(
        &mut self,
        stream: &mut Stream,
        client: &Connection,
        pending: usize,
        read: &mut BytesMut,
    ) -> io::Result<usize> {
        // A client that pauses leaves the permits of its last large read to others.
        match timeout(PERMITS_KEPT, stream.ready()).await {
            Ok(ready) => ready?,
            Err(_) => {
                (self.bytes, self.held) = (CONNECTION_READ_BYTES, None);
                stream.ready().await?;
            }
        }
        // What is read, its lines, and as events; beyond the least, the read has a permit.
        let own = 2 * CONNECTION_READ_BYTES + self.bytes;
        while let Err(none) = client.hold(unfinished_bytes(pending) + own).await {
            if none == NoRoom::TooLarge || client.leaves() {
                return Err(io::Error::other(none));
            }
        }
        let brought = stream.read_some(read, self.bytes).await?;
        self.brought(brought);
        Ok(brought)
    }

    /// Notes how many a read brought.
    fn brought(&mut self, bytes: usize) {
        if bytes < self.bytes / 2 {
            self.bytes = CONNECTION_READ_BYTES;
            self.held = None;
        } else if bytes >= self.bytes && self.bytes < CONNECTION_READ_BYTES_MAX {
            self.grow();
        }
    }

    /// Takes from the front of `read` what may become events now, lines up to their newlines; nothing
    /// when it is empty. To be held as long as the events are.
    pub(crate) fn part(&self, read: &mut BytesMut) -> Option<Part> {
        if read.is_empty() {
            return None;
        }
        let own = end_of(read, CONNECTION_LINES);
        let behind = &read[own..];
        let share = match self.all.lines.available_permits() {
            0 => None,
            free => {
                let more = memchr_iter(b'\n', behind).count().min(free);
                Arc::clone(&self.all.lines).try_acquire_many_owned(more as u32).ok()
            }
        };
        let more = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let end = own + end_of(behind, more);
        Some(Part { bytes: read.split_to(end), _share: share })
    }

    fn grow(&mut self) {
        let more = self.bytes / CONNECTION_READ_BYTES;
        let pieces = Arc::clone(&self.all.pieces);
        let Ok(granted) = pieces.try_acquire_many_owned(more as u32) else { return };
        match &mut self.held {
            Some(held) => held.merge(granted),
            None => self.held = Some(granted),
        }
        self.bytes *= 2;
    }
}

/// Bytes that a line of which `pending` bytes have come holds while it is not finished, beside those that every
/// connection may: the memory of what grows is up to twice of what is in it.
pub(crate) fn unfinished_bytes(pending: usize) -> usize {
    if pending <= CONNECTION_LINE_FREE_BYTES { 0 } else { 2 * pending }
}

/// Bytes of the first `lines` lines, or all where there are fewer.
fn end_of(bytes: &[u8], lines: usize) -> usize {
    let Some(last) = lines.checked_sub(1) else { return 0 };
    memchr_iter(b'\n', bytes).nth(last).map_or(bytes.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of each part of a read.
    fn lines(parts: &[Part]) -> Vec<usize> {
        let newlines = |part: &Part| part.bytes.iter().filter(|&&byte| byte == b'\n').count();
        parts.iter().map(newlines).collect()
    }

    #[test]
    fn of_short_lines_only_so_many_become_events_at_a_time_as_all_together_may_hold() {
        let limits = ClientLimits::new(256 * 1024 * 1024, 10, Arc::default());
        let all = Strides::of(&limits);
        let lines_max = all.lines.available_permits();
        let some = all.stride();
        let mut read = BytesMut::from(&b"x\n".repeat(CONNECTION_READ_BYTES_MAX / 2)[..]);
        read.extend_from_slice(b"half");
        let of_one = read.len() / 2 - 2;
        let whole = some.part(&mut read.clone()).expect("a part");
        assert_eq!(lines(&[whole]), [of_one], "one transaction where there is room");
        let mut held = Vec::new();
        for _ in 0..10 {
            held.extend(some.part(&mut read.clone()));
        }
        let beyond = |line: &usize| line - CONNECTION_LINES;
        assert_eq!(lines(&held).iter().map(beyond).sum::<usize>(), lines_max);
        // Every byte goes through, in order and by whole lines.
        let mut again = BytesMut::new();
        let mut rest = read.clone();
        while let Some(part) = some.part(&mut rest) {
            assert!(lines(std::slice::from_ref(&part))[0] <= CONNECTION_LINES);
            assert!(part.bytes.ends_with(b"\n") || rest.is_empty(), "no part of a line");
            again.extend_from_slice(&part.bytes);
        }
        assert_eq!(again, read);
        drop(held);
        assert_eq!(all.lines.available_permits(), lines_max);
    }

    #[test]
    fn a_read_that_is_filled_makes_the_next_one_larger_as_far_as_all_together_may_hold() {
        let limits = ClientLimits::new(256 * 1024 * 1024, 10, Arc::default());
        let all = Strides::of(&limits);
        let reads_max = all.pieces.available_permits() * CONNECTION_READ_BYTES;
        let mut busy = all.stride();
        let mut steps = Vec::new();
        for _ in 0..8 {
            steps.push(busy.bytes() / 1024);
            busy.brought(busy.bytes());
        }
        assert_eq!(steps, [8, 16, 32, 64, 128, 256, 256, 256]);
        busy.brought(200 * 1024);
        assert_eq!(busy.bytes(), 256 * 1024, "more than half");
        let mut others: Vec<Stride> = (0..1000).map(|_| all.stride()).collect();
        for _ in 0..8 {
            for other in &mut others {
                other.brought(other.bytes());
            }
        }
        let held = others.iter().chain([&busy]).map(|s| s.bytes() - CONNECTION_READ_BYTES);
        let held: usize = held.sum();
        assert!(held <= reads_max, "{held}");
        assert!(held > reads_max / 2, "{held}");
        drop(others);
        busy.brought(100);
        assert_eq!(busy.bytes(), CONNECTION_READ_BYTES);
        assert_eq!(all.pieces.available_permits() * CONNECTION_READ_BYTES, reads_max);
    }
}
