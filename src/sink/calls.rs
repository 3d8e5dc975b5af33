//! What sinks that send batches in calls share: numbers corrected as Flume corrects them, batches in
//! pieces, and stores that are read again when they change.

use crate::config::settings::{SettingsReader, Severity};
use crate::event::Event;
use crate::flow::sink::{Failure, SinkContext};
use crate::net::stream::Stream;
use crate::net::tls::{ClientTls, Connector, Reloading, TlsError};

/// A number; one below `min`, or none at all, is taken as `default`, as in Flume.
pub(crate) fn corrected(reader: &mut SettingsReader<'_>, key: &str, min: u64, default: u64) -> u64 {
    match reader.number(key, 0..=u64::from(u32::MAX)) {
        Ok(Some(number)) if number >= min => number,
        Ok(None) => default,
        Ok(Some(_)) | Err(_) => {
            let message =
                format!("is less than {min} or no number: taken as {default}, as in Flume");
            reader.find(Severity::Warning, key, message);
            default
        }
    }
}

/// What greets the server of a sink with TLS, made of its stores as they are now.
///
/// # Errors
/// They cannot be read.
pub(crate) async fn connector(
    tls: Option<&Reloading<ClientTls>>,
    context: &SinkContext,
) -> Result<Option<Connector>, TlsError> {
    let Some(tls) = tls else { return Ok(None) };
    let connector = tls.current(&format!("sink {}", context.name)).await?;
    context.counters.certificate_end.set(connector.not_after().unwrap_or(0));
    Ok(Some(connector))
}

/// Tries the stores of a sink with TLS.
///
/// # Errors
/// They cannot be read, or make nothing.
pub(crate) async fn try_stores(tls: Option<&Reloading<ClientTls>>) -> Result<(), Failure> {
    let Some(tls) = tls else { return Ok(()) };
    let loaded = tls.current("").await.map(drop);
    loaded.map_err(|error| Failure::caused("cannot use TLS", error))
}

/// Notes when the certificate of the server ends, if it has shown one.
pub(crate) fn note_peer(stream: &Stream, context: &SinkContext) {
    let end = stream.peer_certificate().map_or(0, |shown| shown.not_after);
    context.counters.peer_certificate_end.set(end);
}

/// The batch in pieces of at most `bytes_max` bytes on the wire, or of one event.
pub(crate) fn pieces(batch: &[Event], bytes_max: usize) -> Vec<&[Event]> {
    let (mut pieces, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, event) in batch.iter().enumerate() {
        let len = wire_bytes(event);
        if at > start && bytes + len > bytes_max {
            pieces.push(&batch[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += len;
    }
    pieces.push(&batch[start..]);
    pieces
}

/// Bytes that an event takes in a call, at most.
pub(crate) fn wire_bytes(event: &Event) -> usize {
    event.size_bytes() + 10 * event.headers.len() + 24
}
