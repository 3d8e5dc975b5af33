//! The sinks that send batches in calls: the [`sink`] and its [`connection`], to which a protocol adds its codec.
//! Also numbers corrected as in Flume, batches split into pieces, and key stores reread when they change.

pub mod connection;
pub(crate) mod sink;

use millpond::Event;
use millpond_flow::net::stream::Stream;
use millpond_flow::net::tls::{ClientTls, Connector, StoreReloader, TlsError};
use millpond_flow::settings::{SettingsReader, Severity};
use millpond_flow::sink::{Failure, SinkContext};

/// Reads a number; one below `min`, or an invalid one, is taken as `default`, as in Flume.
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

/// Returns the TLS connector of a sink, made from its current stores.
///
/// # Errors
/// They cannot be read.
pub(crate) async fn connector(
    tls: Option<&StoreReloader<ClientTls>>,
    context: &SinkContext,
) -> Result<Option<Connector>, TlsError> {
    let Some(tls) = tls else { return Ok(None) };
    let connector = tls.current(&format!("sink {}", context.name)).await?;
    context.counters.certificate_end.set(connector.not_after().unwrap_or(0));
    Ok(Some(connector))
}

/// Tries to load the stores of a sink with TLS.
///
/// # Errors
/// They cannot be read or are invalid.
pub(crate) async fn try_stores(tls: Option<&StoreReloader<ClientTls>>) -> Result<(), Failure> {
    let Some(tls) = tls else { return Ok(()) };
    let loaded = tls.current("").await.map(drop);
    loaded.map_err(|error| Failure::caused("cannot use TLS", error))
}

/// Records the end of the server's certificate, if it has presented one.
pub(crate) fn note_peer(stream: &Stream, context: &SinkContext) {
    let end = stream.peer_certificate().map_or(0, |shown| shown.not_after);
    context.counters.peer_certificate_end.set(end);
}

/// Splits the batch into pieces of at most `bytes_max` bytes on the wire, or of one event.
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

/// Returns the most bytes that an event takes in a call.
pub(crate) fn wire_bytes(event: &Event) -> usize {
    event.size_bytes() + 10 * event.headers.len() + 24
}
