//! `avro-client`: sends lines of a file, of a directory's files or of stdin to Avro or Thrift
//! sources, each line as an event, several per call.

use super::agent::without_effect;
use super::arguments::AvroClientArguments;
use super::avro_route::ServerRoute;
use super::exit::{CommandError, say};
use super::rpc_properties::{self, RpcProperties};
use super::{avro_directory, java_options};
use crate::cli::avro_send::BATCH_LINES;
use crate::cli::avro_send::LineEnds;
use crate::cli::avro_send::SendOptions;
use crate::cli::avro_send::send_lines;
use millpond::internal::base::quantity::Quantity;
use millpond::{Event, Headers};
use millpond_config::properties;
use millpond_flow::base::files;
use millpond_flow::base::limits::CONFIG_BYTES_MAX;
use millpond_flow::base::small_file::read_whole;
use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::path::Path;

pub(super) fn run(arguments: &AvroClientArguments) -> Result<(), CommandError> {
    without_effect(&arguments.without_effect).iter().for_each(|note| say(note));
    let outside = &arguments.outside;
    let options = java_options::collect_java(&outside.properties, outside.conf.as_deref())?;
    options.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    for given in outside.properties.iter().filter(|given| !given.starts_with("javax.net.ssl.trust"))
    {
        // Its value may be a password.
        let key = given.split('=').next().unwrap_or_default();
        say(&format!("warning: -D{key}: no effect on avro-client"));
    }
    let target = target(arguments, &options.properties)?;
    let headers = match &arguments.header_file {
        Some(path) => header_file(path)?,
        None => Headers::new(),
    };
    let failed = |error: &dyn std::error::Error| CommandError::Failed(error.to_string());
    // The input first: with nothing to send no server is contacted.
    let input: Option<Box<dyn BufRead>> = match (&arguments.filename, &arguments.dirname) {
        (Some(path), _) => {
            Some(Box::new(io::BufReader::new(files::open(path).map_err(|error| {
                CommandError::Failed(format!("{}: cannot be opened: {error}", path.display()))
            })?)))
        }
        (None, Some(directory)) => {
            files::list(directory).map_err(|error| {
                CommandError::Failed(format!("{}: cannot be read: {error}", directory.display()))
            })?;
            None
        }
        (None, None) => Some(Box::new(io::stdin().lock())),
    };
    let batch = target.batch;
    let mut route = ServerRoute::open(target).map_err(|error| failed(&error))?;
    let mut send = |events: &[Event]| route.append(events);
    let mut sending = SendOptions { headers: &headers, batch, send: &mut send };
    let sent = match (input, &arguments.dirname) {
        (Some(input), _) => {
            let lines = send_lines(input, LineEnds::All, 0, &mut sending, &mut |_| Ok(()));
            Quantity(lines.map_err(|error| failed(&error))?, "event")
        }
        (None, Some(directory)) => {
            let files = avro_directory::send_all(directory, &mut sending);
            Quantity(files.map_err(|error| failed(&error))? as u64, "file")
        }
        (None, None) => Quantity(0, "event"),
    };
    say(&format!("{sent} sent and acknowledged"));
    Ok(())
}

/// Returns the target of the options or of the file of `--rpcProps`.
fn target(
    arguments: &AvroClientArguments,
    system: &BTreeMap<String, String>,
) -> Result<RpcProperties, CommandError> {
    if let Some(path) = &arguments.rpc_properties {
        if arguments.host.is_some() || arguments.port.is_some() {
            say("warning: --host, --port: no effect with --rpcProps, as in Flume");
        }
        let (properties, warnings) = rpc_properties::read(path, system)?;
        warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
        return Ok(properties);
    }
    match (&arguments.host, arguments.port) {
        (Some(host), Some(port)) => Ok(RpcProperties::plain(host.clone(), port, BATCH_LINES)),
        _ => {
            Err(CommandError::Usage("--host and --port are required without --rpcProps".to_owned()))
        }
    }
}

/// Returns the headers that a properties file describes.
fn header_file(path: &Path) -> Result<Headers, CommandError> {
    let failed = |why: String| CommandError::Failed(format!("{}: {why}", path.display()));
    let bytes = read_whole(path, CONFIG_BYTES_MAX).map_err(|error| failed(error.to_string()))?;
    let entries = properties::parse(&bytes).map_err(|e| failed(format!("line {}: {e}", e.line)))?;
    Ok(entries.into_iter().map(|entry| (entry.key, entry.value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::avro_route::RouteError;
    use crate::cli::avro_send::SendFailure;
    use millpond_adapters::sink::rpc::connection::RpcError;

    fn lines_of(
        input: impl BufRead,
        ends: LineEnds,
        sent: u64,
        batch: usize,
        send: &mut dyn FnMut(&[Event]) -> Result<(), RouteError>,
    ) -> Result<u64, SendFailure> {
        let mut sending = SendOptions { headers: &Headers::new(), batch, send };
        send_lines(input, ends, sent, &mut sending, &mut |_| Ok(()))
    }

    fn failed() -> RouteError {
        let source = Box::new(RpcError::Failed);
        RouteError::Send { host: "h".to_owned(), port: 1, source }
    }

    fn sent(input: &[u8], batch: usize) -> Vec<Vec<String>> {
        sent_with(input, LineEnds::All, batch)
    }

    fn sent_with(input: &[u8], ends: LineEnds, batch: usize) -> Vec<Vec<String>> {
        // A buffer of one byte: line terminators fall between two reads.
        for size in [1, 2, 100] {
            let mut calls: Vec<Vec<String>> = Vec::new();
            let reader = io::BufReader::with_capacity(size, input);
            let mut send = |events: &[Event]| {
                let bodies = events.iter().map(|e| String::from_utf8(e.body.to_vec()).unwrap());
                calls.push(bodies.collect());
                Ok(())
            };
            let count = lines_of(reader, ends, 0, batch, &mut send).unwrap();
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
        assert_eq!(sent_with(b"a\r\nb\rc\n\nd", LineEnds::Newline, 9), [["a\r", "b\rc", "", "d"]]);
    }

    #[test]
    fn a_failure_says_what_was_acknowledged() {
        let mut calls = 0;
        let mut send = |_: &[Event]| {
            calls += 1;
            if calls == 2 { Err(failed()) } else { Ok(()) }
        };
        let failure = lines_of(&b"1\n2\n3\n4\n5\n"[..], LineEnds::All, 0, 2, &mut send);
        let Err(SendFailure::Send { first: 3, last: 4, acknowledged: 2, .. }) = failure else {
            panic!("{failure:?}");
        };
    }

    #[test]
    fn a_line_without_end_is_not_read_into_memory() {
        let endless = io::BufReader::new(io::repeat(b'x'));
        let failure = lines_of(endless, LineEnds::All, 0, 5, &mut |_| Ok(()));
        assert!(matches!(failure, Err(SendFailure::LineTooLong { line: 1, acknowledged: 0 })));
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
        let mut sending = SendOptions { headers: &headers, batch: 1, send: &mut send };
        send_lines(&b"1\n2\n"[..], LineEnds::All, 0, &mut sending, &mut |_| Ok(())).unwrap();
        let expected: Headers = [("dc", "east"), ("rack", "7")].into_iter().collect();
        assert_eq!(seen, [expected.clone(), expected]);
        assert!(header_file(&directory.path().join("none")).is_err());
    }
}
