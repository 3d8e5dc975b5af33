//! Lines of an input as batches to a server.

use super::avro_route::RouteError;
use millpond::internal::base::quantity::Quantity;
use millpond::{Event, Headers};
use std::io::{self, BufRead};

/// Default number of lines per call, as in Flume's command.
pub(super) const BATCH_LINES: usize = 5;

/// Longest line, bytes.
pub(super) const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of lines after which a call is sent although it has room for more lines.
pub(super) const CALL_BYTES: usize = 1024 * 1024;

/// Why sending ended before the end of the input.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendFailure {
    #[error("cannot read line {line} of the input: {source}; {} acknowledged", Quantity(*acknowledged, "line").with_was())]
    Input { line: u64, acknowledged: u64, source: io::Error },
    #[error("line {line} is longer than {LINE_BYTES_MAX} bytes; nothing of its batch was sent; {} acknowledged", Quantity(*acknowledged, "line").with_was())]
    LineTooLong { line: u64, acknowledged: u64 },
    #[error("lines {first} to {last}: {source}; {} acknowledged", Quantity(*acknowledged, "line").with_was())]
    Send { first: u64, last: u64, acknowledged: u64, source: RouteError },
    #[error("cannot note that {} acknowledged: {source}", Quantity(*acknowledged, "line").with_was())]
    Note { acknowledged: u64, source: io::Error },
}

/// The line terminators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineEnds {
    /// `\n`, `\r` and `\r\n`, as in Java.
    All,
    /// `\n` only, as in Flume's deserializer `LINE`.
    Newline,
}

/// How lines are sent.
pub(super) struct SendOptions<'a> {
    /// Headers of every event.
    pub(super) headers: &'a Headers,
    /// Lines per call.
    pub(super) batch: usize,
    pub(super) send: &'a mut dyn FnMut(&[Event]) -> Result<(), RouteError>,
}

/// Sends every line of `input` after the first `sent`, and returns how many were acknowledged,
/// these included. `note` is called with the number after each call.
pub(super) fn send_lines(
    input: impl BufRead,
    ends: LineEnds,
    sent: u64,
    sending: &mut SendOptions<'_>,
    note: &mut dyn FnMut(u64) -> io::Result<()>,
) -> Result<u64, SendFailure> {
    let mut lines = InputLines { input, ends, after_return: false };
    let mut acknowledged = 0u64;
    while acknowledged < sent {
        let line = acknowledged + 1;
        let next =
            lines.next().map_err(|source| SendFailure::Input { line, acknowledged, source })?;
        if next.is_none() {
            return Ok(acknowledged);
        }
        acknowledged = line;
    }
    loop {
        let (mut events, mut bytes) = (Vec::new(), 0);
        while events.len() < sending.batch && bytes < CALL_BYTES {
            let line = acknowledged + events.len() as u64 + 1;
            let next =
                lines.next().map_err(|source| SendFailure::Input { line, acknowledged, source })?;
            let Some(body) = next else { break };
            if body.len() > LINE_BYTES_MAX {
                return Err(SendFailure::LineTooLong { line, acknowledged });
            }
            bytes += body.len();
            events.push(Event { headers: sending.headers.clone(), body: body.into() });
        }
        if events.is_empty() {
            return Ok(acknowledged);
        }
        let (first, last) = (acknowledged + 1, acknowledged + events.len() as u64);
        let done = (sending.send)(&events);
        done.map_err(|source| SendFailure::Send { first, last, acknowledged, source })?;
        acknowledged = last;
        note(acknowledged).map_err(|source| SendFailure::Note { acknowledged, source })?;
    }
}

/// An iterator over lines of bytes.
pub(super) struct InputLines<R> {
    pub(super) input: R,
    pub(super) ends: LineEnds,
    /// Whether the last line ended in a `\r`: a `\n` that follows belongs to it. It is not waited
    /// for, so that a line typed at a terminal is sent at once.
    pub(super) after_return: bool,
}

impl<R: BufRead> InputLines<R> {
    /// Returns the next line without its terminator; `None` at the end. Of a line longer than
    /// [`LINE_BYTES_MAX`] little more is read.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let mut begun = false;
        loop {
            let mut read = match self.input.fill_buf() {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if read.is_empty() {
                return Ok(begun.then_some(line));
            }
            if std::mem::take(&mut self.after_return) && read[0] == b'\n' {
                self.input.consume(1);
                continue;
            }
            let is_end = |byte: &u8| *byte == b'\n' || *byte == b'\r' && self.ends == LineEnds::All;
            let end = read.iter().position(is_end);
            let ended = end.map(|at| read[at]);
            read = &read[..end.unwrap_or(read.len())];
            line.extend_from_slice(read);
            begun = true;
            let used = read.len() + usize::from(ended.is_some());
            self.input.consume(used);
            self.after_return = ended == Some(b'\r');
            if ended.is_some() || line.len() > LINE_BYTES_MAX {
                return Ok(Some(line));
            }
        }
    }
}
