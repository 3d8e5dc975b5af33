//! Limits on the bytes per read of a line protocol's connection, and on the lines that become events at a time.
//!
//! One read becomes one transaction, so a read should take all bytes that are available: a busy client fills a
//! durable channel only with large batches. But memory for large reads on every connection would let clients choose
//! how much memory the source takes. So the read size of a connection starts small, doubles after each read that was
//! filled, and returns to the small size after a read that was less than half full. What exceeds the small size comes
//! from a budget of the process; without room in the budget the size stays as it is.
//!
//! Short lines take a hundred times more memory as events than as bytes. So a second budget counts lines: when it is
//! used up, a read is committed in parts of a few lines, and the rest of the read stays bytes.

use bytes::BytesMut;
use memchr::memchr_iter;
use millpond_flow::base::limits::{
    CONNECTION_LINE_FREE_BYTES, CONNECTION_LINES, CONNECTION_READ_BYTES, CONNECTION_READ_BYTES_MAX,
};
use millpond_flow::client_limits::{AdmittedConnection, ClientLimits, MemoryDenied};
use millpond_flow::net::stream::Stream;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long an idle client keeps the permits of its last large read.
const PERMITS_KEPT: Duration = Duration::from_secs(1);

/// The budget of reads and lines.
#[derive(Clone, Debug)]
pub(crate) struct ReadBudget {
    /// One permit for each [`CONNECTION_READ_BYTES`] beyond the first of a connection.
    pieces: Arc<Semaphore>,
    /// One permit for each line beyond the first [`CONNECTION_LINES`] of a connection.
    lines: Arc<Semaphore>,
}

/// A part of a read. Holds its share of the line budget until dropped.
#[derive(Debug)]
pub(crate) struct ReadPart {
    bytes: BytesMut,
    _share: Option<OwnedSemaphorePermit>,
}

/// The size of the next read of one connection.
#[derive(Debug)]
pub(crate) struct ReadSize {
    all: ReadBudget,
    bytes: usize,
    held: Option<OwnedSemaphorePermit>,
}

impl ReadPart {
    /// Takes the bytes of the part. Lines are copied out of them, so the bytes are freed before the commit, which may
    /// have to wait.
    pub(crate) fn take_bytes(&mut self) -> BytesMut {
        std::mem::take(&mut self.bytes)
    }
}

impl ReadBudget {
    /// Creates the budget of all sources of the process.
    pub(crate) fn of(limits: &ClientLimits) -> Self {
        Self { pieces: Arc::clone(&limits.reads), lines: Arc::clone(&limits.lines) }
    }

    /// Returns the read size of a new connection.
    pub(crate) fn read_size(&self) -> ReadSize {
        ReadSize { all: self.clone(), bytes: CONNECTION_READ_BYTES, held: None }
    }
}

impl ReadSize {
    /// Returns the most bytes to read next.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Reads once, appending to `read`; returns 0 at the end of the stream. Waits until bytes have come and `client`
    /// has reserved memory for them and for the `pending` bytes of an unfinished line. Until the memory is reserved
    /// nothing is read: the data waits in the socket, and then at the client.
    ///
    /// # Errors
    /// The connection broke, or the line takes more memory than the limit.
    pub(crate) async fn read(
        &mut self,
        stream: &mut Stream,
        client: &AdmittedConnection,
        pending: usize,
        read: &mut BytesMut,
    ) -> io::Result<usize> {
        // An idle client returns the permits of its last large read.
        match timeout(PERMITS_KEPT, stream.ready()).await {
            Ok(ready) => ready?,
            Err(_) => {
                (self.bytes, self.held) = (CONNECTION_READ_BYTES, None);
                stream.ready().await?;
            }
        }
        // The read buffer, and its lines as events; bytes beyond the least size have a permit.
        let own = 2 * CONNECTION_READ_BYTES + self.bytes;
        while let Err(none) = client.hold(unfinished_bytes(pending) + own).await {
            if none == MemoryDenied::TooLarge || client.leaves() {
                return Err(io::Error::other(none));
            }
        }
        let brought = stream.read_some(read, self.bytes).await?;
        self.brought(brought);
        Ok(brought)
    }

    /// Adapts the read size to the number of bytes that a read brought.
    fn brought(&mut self, bytes: usize) {
        if bytes < self.bytes / 2 {
            self.bytes = CONNECTION_READ_BYTES;
            self.held = None;
        } else if bytes >= self.bytes && self.bytes < CONNECTION_READ_BYTES_MAX {
            self.grow();
        }
    }

    /// Splits off the front of `read`, in whole lines, what may become events now; empty when `read` is empty. The
    /// part must live as long as the events.
    pub(crate) fn part(&self, read: &mut BytesMut) -> Option<ReadPart> {
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
        Some(ReadPart { bytes: read.split_to(end), _share: share })
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

/// Returns the memory that an unfinished line of `pending` bytes holds beyond the allowance of every connection: a
/// growing buffer has up to twice the size of its content.
pub(crate) fn unfinished_bytes(pending: usize) -> usize {
    if pending <= CONNECTION_LINE_FREE_BYTES { 0 } else { 2 * pending }
}

/// Returns the length in bytes of the first `lines` lines, or of all where there are fewer.
fn end_of(bytes: &[u8], lines: usize) -> usize {
    let Some(last) = lines.checked_sub(1) else { return 0 };
    memchr_iter(b'\n', bytes).nth(last).map_or(bytes.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the number of lines of each part.
    fn lines(parts: &[ReadPart]) -> Vec<usize> {
        let newlines = |part: &ReadPart| part.bytes.iter().filter(|&&byte| byte == b'\n').count();
        parts.iter().map(newlines).collect()
    }

    #[test]
    fn short_lines_become_events_within_the_shared_budget() {
        let limits = ClientLimits::new(256 * 1024 * 1024, 10, Arc::default());
        let all = ReadBudget::of(&limits);
        let lines_max = all.lines.available_permits();
        let some = all.read_size();
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
        // Every byte passes, in order and by whole lines.
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
    fn a_filled_read_makes_the_next_one_larger_up_to_the_budget() {
        let limits = ClientLimits::new(256 * 1024 * 1024, 10, Arc::default());
        let all = ReadBudget::of(&limits);
        let reads_max = all.pieces.available_permits() * CONNECTION_READ_BYTES;
        let mut busy = all.read_size();
        let mut steps = Vec::new();
        for _ in 0..8 {
            steps.push(busy.bytes() / 1024);
            busy.brought(busy.bytes());
        }
        assert_eq!(steps, [8, 16, 32, 64, 128, 256, 256, 256]);
        busy.brought(200 * 1024);
        assert_eq!(busy.bytes(), 256 * 1024, "more than half");
        let mut others: Vec<ReadSize> = (0..1000).map(|_| all.read_size()).collect();
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
