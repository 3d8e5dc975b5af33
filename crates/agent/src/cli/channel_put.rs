//! `channel put`: puts lines as event bodies, several per transaction.

use super::exit::CommandError;
use millpond::internal::base::quantity::Quantity;
use millpond::{Channel, CommitError, Event, PutError, PutTransaction};
use std::io::{self, BufRead, Read, Write};

/// Why putting ended before the end of the input. Everything counted in `committed` is safe.
#[derive(Debug, thiserror::Error)]
pub(super) enum PutFailure {
    #[error("cannot read line {line} of the input: {source}; {} committed", Quantity(*committed, "line").with_was())]
    Input { line: u64, committed: u64, source: io::Error },
    #[error("line {line} is longer than {max} bytes; nothing of its batch was put; {} committed; raise transactionBytesMax", Quantity(*committed, "line").with_was())]
    LineTooLong { line: u64, max: usize, committed: u64 },
    #[error("line {line}: {source}; {} committed", Quantity(*committed, "line").with_was())]
    Event { line: u64, committed: u64, source: PutError },
    #[error("lines {first} to {last}: {source}; {} committed", Quantity(*committed, "line").with_was())]
    Commit { first: u64, last: u64, committed: u64, source: CommitError },
    #[error("cannot write to stdout: {source}; {} committed", Quantity(*committed, "line").with_was())]
    Acknowledgement { committed: u64, source: io::Error },
}

impl PutFailure {
    pub(super) fn stop(self) -> CommandError {
        // Lines that were not put make it a failure even if stderr is closed.
        CommandError::Failed(self.to_string())
    }
}

/// Puts every line of `input`, `batch` per transaction, and returns how many were committed. After
/// each commit one line is written to `acknowledged` and flushed.
pub(super) fn put_lines(
    channel: &dyn Channel,
    mut input: impl BufRead,
    batch: usize,
    mut acknowledged: Option<&mut dyn Write>,
) -> Result<u64, PutFailure> {
    let max = channel.limits().transaction_bytes_max;
    let mut committed = 0u64;
    loop {
        let mut transaction = channel.begin_put();
        let lines = fill(transaction.as_mut(), &mut input, batch, committed, max)?;
        if lines == 0 {
            return Ok(committed);
        }
        transaction.commit().map_err(|failure| PutFailure::Commit {
            first: committed + 1,
            last: committed + lines,
            committed,
            source: failure.error,
        })?;
        committed += lines;
        if let Some(out) = acknowledged.as_deref_mut() {
            writeln!(out, "committed {committed}")
                .and_then(|()| out.flush())
                .map_err(|source| PutFailure::Acknowledgement { committed, source })?;
        }
    }
}

/// Puts up to `batch` lines into `transaction` and returns their number.
fn fill(
    transaction: &mut dyn PutTransaction,
    input: &mut impl BufRead,
    batch: usize,
    committed: u64,
    max: usize,
) -> Result<u64, PutFailure> {
    let mut lines = 0u64;
    while lines < batch as u64 {
        let line = committed + lines + 1;
        let body = match next_line(input, max) {
            Ok(Some(body)) if body.len() > max => {
                return Err(PutFailure::LineTooLong { line, max, committed });
            }
            Ok(Some(body)) => body,
            Ok(None) => break,
            Err(source) => return Err(PutFailure::Input { line, committed, source }),
        };
        transaction.put(Event::new(body)).map_err(|source| PutFailure::Event {
            line,
            committed,
            source,
        })?;
        lines += 1;
    }
    Ok(lines)
}

/// Returns the next line without its newline; `None` at the end. A last line needs no newline. Of a
/// line longer than `max` bytes no more than `max + 1` are read.
fn next_line(input: &mut impl BufRead, max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let bound = (max as u64).saturating_add(1);
    let read = input.take(bound).read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok((read > 0).then_some(line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond::{MemoryChannel, MemoryOptions};
    use std::time::Duration;

    fn channel(capacity: u64, transaction_capacity: usize) -> MemoryChannel {
        let options = MemoryOptions {
            capacity,
            transaction_capacity,
            keep_alive: Duration::ZERO,
            ..MemoryOptions::default()
        };
        MemoryChannel::new(options).expect("good options")
    }

    fn bodies(channel: &MemoryChannel) -> Vec<Vec<u8>> {
        let mut take = channel.begin_take();
        let events = take.take(1000).expect("a take");
        events.iter().map(|event| event.body.to_vec()).collect()
    }

    #[test]
    fn every_line_is_an_event_byte_for_byte() {
        let channel = channel(100, 100);
        let input: &[u8] = b"one\n\ntwo\r\n\xff\xfe \n\0\nlast";
        let mut acks = Vec::new();
        assert_eq!(put_lines(&channel, input, 2, Some(&mut acks)).expect("put"), 6);
        let expected: [&[u8]; 6] = [b"one", b"", b"two\r", b"\xff\xfe ", b"\0", b"last"];
        assert_eq!(bodies(&channel), expected);
        assert_eq!(acks, b"committed 2\ncommitted 4\ncommitted 6\n");
    }

    #[test]
    fn no_input_is_no_event() {
        let channel = channel(10, 10);
        assert_eq!(put_lines(&channel, &b""[..], 5, None).expect("put"), 0);
        assert!(bodies(&channel).is_empty());
    }

    #[test]
    fn a_full_channel_refuses_and_says_how_many_were_committed() {
        let channel = channel(5, 5);
        let mut acks = Vec::new();
        let refused = put_lines(&channel, &b"1\n2\n3\n4\n5\n6\n"[..], 2, Some(&mut acks));
        let Err(PutFailure::Commit { first: 5, last: 6, committed: 4, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(acks, b"committed 2\ncommitted 4\n");
        assert_eq!(bodies(&channel).len(), 4);
    }

    #[test]
    fn a_line_without_end_is_not_read_into_memory() {
        let mut endless = io::BufReader::new(io::repeat(b'x'));
        let line = next_line(&mut endless, 1000).expect("read").expect("a line");
        assert_eq!(line.len(), 1001);
        let exact = next_line(&mut &b"abc\n"[..], 3).expect("read").expect("a line");
        assert_eq!(exact, b"abc");
    }

    #[test]
    fn an_unread_acknowledgement_is_a_failure_and_loses_nothing() {
        struct ClosedOutput;
        impl Write for ClosedOutput {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let channel = channel(10, 10);
        let ended = put_lines(&channel, &b"1\n2\n"[..], 1, Some(&mut ClosedOutput));
        assert!(matches!(ended, Err(PutFailure::Acknowledgement { committed: 1, .. })));
        assert_eq!(bodies(&channel), [b"1"]);
    }
}
