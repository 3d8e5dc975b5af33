//! The Scribe source: `Log` by the binary protocol, with replies in the old form without a version.

use super::{
    MAX_CONNECTIONS, REQUEST_TIMEOUT, ThriftFraming, ThriftSource, connections, request_timeout,
};
use crate::source::ip_filter::{FILTER_KEYS, IpFilter};
use crate::source::listener::SourceListener;
use crate::wire::thrift::ThriftProtocol;
use crate::wire::thrift::call::ThriftService;
use millpond_flow::base::limits::REQUEST_BYTES_MAX;
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader, Severity};
use millpond_flow::source::SourceType;

/// The type `org.apache.flume.source.scribe.ScribeSource`.
pub const TYPE: SourceType = SourceType {
    names: &["org.apache.flume.source.scribe.ScribeSource", "scribe"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const PORT: u16 = 1499;
const REQUEST_BYTES: usize = 16_384_000;

const KEYS: &[Key] = &[
    Key {
        name: "host",
        kind: KeyKind::Host,
        default: "0.0.0.0",
        meaning: "Address or host name to listen on. Flume always listens on every address.",
    },
    Key {
        name: "port",
        kind: KeyKind::Port,
        default: "1499",
        meaning: "TCP port to listen on; 0 for any free one.",
    },
    Key {
        name: "maxReadBufferBytes",
        kind: KeyKind::Number,
        default: "16384000",
        meaning: "Bytes of a request; a longer one ends its connection.",
    },
    Key {
        name: "workerThreads",
        kind: KeyKind::Number,
        default: "5",
        meaning: "Has no effect: connections need no threads.",
    },
    MAX_CONNECTIONS,
    REQUEST_TIMEOUT,
    FILTER_KEYS[0],
    FILTER_KEYS[1],
];

pub(super) fn build(reader: &mut SettingsReader<'_>) -> Result<ThriftSource, SettingError> {
    let host = reader.host("host", Some("0.0.0.0"))?;
    let port = reader.number("port", 0..=u16::MAX)?.unwrap_or(PORT);
    if reader.number::<i64>("workerThreads", i64::MIN..=i64::MAX)?.is_some() {
        reader.find(Severity::Note, "workerThreads", "has no effect: connections need no threads");
    }
    let most = reader.number("maxReadBufferBytes", 1024..=REQUEST_BYTES_MAX)?;
    let speech = ThriftFraming {
        service: ThriftService::Scribe,
        protocol: ThriftProtocol::Binary,
        is_old: true,
        request_bytes_max: most.unwrap_or(REQUEST_BYTES),
        request_timeout: request_timeout(reader)?,
    };
    let filter = IpFilter::read(reader, None)?;
    let listening = SourceListener::new(host, port, connections(reader)?, b"").filtered(filter);
    Ok(ThriftSource { listening, speech })
}
