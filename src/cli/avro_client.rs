//! `avro-client`: lines of a file or of stdin to an Avro source, each an event, some a call.

use super::agent::say_without_effect;
use super::arguments::AvroClientArguments;
use super::avro_connection::{Connection, Patience, SendError};
use super::rpc_properties::{self, RpcProperties};
use super::words::{Stop, say};
use crate::base::files;
use crate::base::limits::CONFIG_BYTES_MAX;
use crate::base::read_whole::read_whole;
use crate::config::properties;
use crate::event::{Event, Headers};
use std::io::{self, BufRead};
use std::path::Path;

/// Lines of a call where nothing else says how many, as Flume's command has it.
const BATCH_LINES: usize = 5;
/// Bytes of one line at most.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of lines after which a call is sent although it could take more lines.
const CALL_BYTES: usize = 1024 * 1024;

/// Why sending ended before the end of the input.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(
        "cannot read line {line} of the input: {source}; {acknowledged} lines were acknowledged"
    )]
    Input { line: u64, acknowledged: u64, source: io::Error },
    #[error(
        "line {line} is longer than {LINE_BYTES_MAX} bytes; nothing of its batch was sent; {acknowledged} lines were acknowledged"
    )]
    LineTooLong { line: u64, acknowledged: u64 },
    #[error("lines {first} to {last}: {source}; {acknowledged} lines were acknowledged")]
    Send { first: u64, last: u64, acknowledged: u64, source: SendError },
}

pub(super) fn run(arguments: &AvroClientArguments) -> Result<(), Stop> {
    if arguments.dirname.is_some() {
        return Err(Stop::Failed(
            "--dirname is not there yet; send one file after the other with --filename, or use a spooldir source".to_owned(),
        ));
    }
    say_without_effect(&arguments.without_effect);
    if !arguments.outside.properties.is_empty() {
        say("warning: -D: no effect on avro-client");
    }
    let target = target(arguments)?;
    let headers = match &arguments.header_file {
        Some(path) => header_file(path)?,
        None => Headers::new(),
    };
    let failed = |error: SendError| Stop::Failed(error.to_string());
    // The file first: nobody has to be asked when there is nothing to send.
    let input: Box<dyn BufRead> = match &arguments.filename {
        Some(path) => Box::new(io::BufReader::new(files::open(path).map_err(|error| {
            Stop::Failed(format!("{}: cannot be opened: {error}", path.display()))
        })?)),
        None => Box::new(io::stdin().lock()),
    };
    let mut connection =
        Connection::open(&target.host, target.port, target.patience).map_err(failed)?;
    send_lines(input, &headers, target.batch, &mut |events| connection.append(events))
        .map_err(|failure| Stop::Failed(failure.to_string()))?;
    Ok(())
}

/// Where to send, as the options or the file of `--rpcProps` say.
fn target(arguments: &AvroClientArguments) -> Result<RpcProperties, Stop> {
    if let Some(path) = &arguments.rpc_properties {
        if arguments.host.is_some() || arguments.port.is_some() {
            say("warning: --host, --port: no effect beside --rpcProps, as in Flume");
        }
        let (properties, warnings) = rpc_properties::read(path)?;
        warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
        return Ok(properties);
    }
    match (&arguments.host, arguments.port) {
        (Some(host), Some(port)) => Ok(RpcProperties {
            host: host.clone(),
            port,
            batch: BATCH_LINES,
            patience: Patience::default(),
        }),
        _ => Err(Stop::Usage("--host and --port are required without --rpcProps".to_owned())),
    }
}

/// The headers that a properties file describes.
fn header_file(path: &Path) -> Result<Headers, Stop> {
    let failed = |why: String| Stop::Failed(format!("{}: {why}", path.display()));
    let bytes = read_whole(path, CONFIG_BYTES_MAX).map_err(|error| failed(error.to_string()))?;
    let entries = properties::parse(&bytes).map_err(|e| failed(format!("line {}: {e}", e.line)))?;
    Ok(entries.into_iter().map(|entry| (entry.key, entry.value)).collect())
}

/// Sends every line of `input`, `batch` a call, and answers how many were acknowledged.
fn send_lines(
    input: impl BufRead,
    headers: &Headers,
    batch: usize,
    send: &mut dyn FnMut(&[Event]) -> Result<(), SendError>,
) -> Result<u64, Failure> {
    let mut lines = Lines { input, behind_return: false };
    let mut acknowledged = 0u64;
    loop {
        let (mut events, mut bytes) = (Vec::new(), 0);
        while events.len() < batch && bytes < CALL_BYTES {
            let line = acknowledged + events.len() as u64 + 1;
            let next =
                lines.next().map_err(|source| Failure::Input { line, acknowledged, source })?;
            let Some(body) = next else { break };
            if body.len() > LINE_BYTES_MAX {
                return Err(Failure::LineTooLong { line, acknowledged });
            }
            bytes += body.len();
            events.push(Event { headers: headers.clone(), body: body.into() });
        }
        if events.is_empty() {
            return Ok(acknowledged);
        }
        let (first, last) = (acknowledged + 1, acknowledged + events.len() as u64);
        send(&events).map_err(|source| Failure::Send { first, last, acknowledged, source })?;
        acknowledged = last;
    }
}

/// Lines as Java cuts them: `\n`, `\r` and `\r\n` end one.
struct Lines<R> {
    input: R,
    /// Whether the last line ended in a `\r`: a `\n` that follows belongs to it. It is not waited
    /// for, so that a line typed at a terminal goes off at once.
    behind_return: bool,
}

impl<R: BufRead> Lines<R> {
    /// The next line without its end; `None` when there is none. Of a line longer than
    /// [`LINE_BYTES_MAX`] little more is read.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
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
            if std::mem::take(&mut self.behind_return) && read[0] == b'\n' {
                self.input.consume(1);
                continue;
            }
            let end = read.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let ended = end.map(|at| read[at]);
            read = &read[..end.unwrap_or(read.len())];
            line.extend_from_slice(read);
            begun = true;
            let used = read.len() + usize::from(ended.is_some());
            self.input.consume(used);
            self.behind_return = ended == Some(b'\r');
            if ended.is_some() || line.len() > LINE_BYTES_MAX {
                return Ok(Some(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(input: &[u8], batch: usize) -> Vec<Vec<String>> {
        // A buffer of one byte: ends of lines fall between two reads.
        for size in [1, 2, 100] {
            let mut calls: Vec<Vec<String>> = Vec::new();
            let reader = io::BufReader::with_capacity(size, input);
            let mut send = |events: &[Event]| {
                let bodies = events.iter().map(|e| String::from_utf8(e.body.to_vec()).unwrap());
                calls.push(bodies.collect());
                Ok(())
            };
            let count = send_lines(reader, &Headers::new(), batch, &mut send).unwrap();
            assert_eq!(count, calls.iter().map(|call| call.len() as u64).sum::<u64>());
            if size == 100 {
                return calls;
            }
        }
        unreachable!("the last size returns")
    }

    #[test]
    fn lines_end_as_in_java_and_go_in_batches() {
        let lines = sent("one\ntwo\r\n\nzw\u{f6}lf\r\rlast".as_bytes(), 4);
        assert_eq!(lines, [vec!["one", "two", "", "zw\u{f6}lf"], vec!["", "last"]]);
        assert!(sent(b"", 5).is_empty());
        assert_eq!(sent(b"a\r\n", 5), [["a"]]);
        assert_eq!(sent(b"\n", 5), [[""]]);
    }

    #[test]
    fn a_failure_says_what_was_acknowledged() {
        let mut calls = 0;
        let mut send = |_: &[Event]| {
            calls += 1;
            if calls == 2 { Err(SendError::Failed) } else { Ok(()) }
        };
        let failure = send_lines(&b"1\n2\n3\n4\n5\n"[..], &Headers::new(), 2, &mut send);
        let Err(Failure::Send { first: 3, last: 4, acknowledged: 2, .. }) = failure else {
            panic!("{failure:?}");
        };
    }

    #[test]
    fn a_line_without_end_is_not_read_into_memory() {
        let endless = io::BufReader::new(io::repeat(b'x'));
        let failure = send_lines(endless, &Headers::new(), 5, &mut |_| Ok(()));
        assert!(matches!(failure, Err(Failure::LineTooLong { line: 1, acknowledged: 0 })));
    }

    #[test]
    fn headers_of_a_file_are_on_every_event() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("headers");
        std::fs::write(&path, "dc = east\nrack: 7\n# none\n").unwrap();
        let headers = header_file(&path).unwrap();
        let mut seen = Vec::new();
        let mut send = |events: &[Event]| {
            seen.extend(events.iter().map(|event| event.headers.clone()));
            Ok(())
        };
        send_lines(&b"1\n2\n"[..], &headers, 1, &mut send).unwrap();
        let expected: Headers = [("dc", "east"), ("rack", "7")].into_iter().collect();
        assert_eq!(seen, [expected.clone(), expected]);
        assert!(header_file(&directory.path().join("none")).is_err());
    }
}
