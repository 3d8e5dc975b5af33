//! `http`: events by HTTP requests, each with a status.
//!
//! Limits: `maxRequestBytes` a body, `HttpConfiguration.requestHeaderSize` for the headers, `maxConnections`,
//! [`ClientLimits`](millpond_flow::client_limits) for the memory of all clients, `requestTimeout` for a body, [`IDLE`]
//! for a connection without a request and for unfinished headers, [`ANSWER_SECONDS_MAX`] for a client that does not
//! read.
//!
//! A session reads requests in order. The events of a request are one transaction; 200 is returned once it is
//! committed, 503 when the channel refuses it, its outcome is unknown, or memory is short. A large body is parsed on
//! a separate thread, on at most half as many threads as there are processors, so that no body can delay other
//! clients. A request that cannot be parsed gets 400 and the reason.
//!
//! Statuses and methods are those of Flume's Jetty. Different from Flume: an empty document and a null are 400 (there
//! 500), a `BLOBHandler` without `mandatoryParameters` requires none, and a blob beyond its limit is refused with 413
//! (there truncated silently).

mod content;
mod limits;
mod session;
#[cfg(test)]
mod tests;

use super::ip_filter::{FILTER_KEYS, IpFilter};
use super::listener::SourceListener;
use crate::source::http::limits::HttpLimits;
use crate::source::http::limits::READ_BYTES;
use content::RequestContent;
use millpond::BoxFuture;
use millpond_flow::base::limits::{
    CONNECTIONS_MAX_DEFAULT, HTTP_CONNECTION_BYTES, HTTP_HEADERS_BYTES_MAX, HTTP_REQUEST_BYTES_MAX,
    REQUEST_SECONDS_MAX_DEFAULT,
};
use millpond_flow::net::endpoint::is_loopback;
use millpond_flow::net::store_reloader::StoreReloader;
use millpond_flow::settings::http_auth::{self, AUTH_KEYS};
use millpond_flow::settings::tls::{self, SERVER_KEYS};
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader, Severity, joined};
use millpond_flow::source::{Failure, Source, SourceContext, SourceType};
use session::HttpSession;
use std::sync::Arc;
use std::time::Duration;

#[cfg(doc)]
use limits::IDLE;
#[cfg(doc)]
use millpond_flow::base::limits::ANSWER_SECONDS_MAX;

/// The type `http`.
pub const TYPE: SourceType = SourceType {
    names: &["http", "org.apache.flume.source.http.HTTPSource"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};
/// Default limit of a blob of `BlobHandler` in bytes, as in Flume.
const BLOB_BYTES: usize = 100_000_000;
/// Default limit of the headers in bytes, as in Jetty.
const HEADERS_BYTES: usize = 8192;

const _: () = assert!(2 * (HEADERS_BYTES + READ_BYTES) <= HTTP_CONNECTION_BYTES);

const JSON: &str = "org.apache.flume.source.http.JSONHandler";
const BLOB: &str = "org.apache.flume.source.http.BLOBHandler";
const MORPHLINE_BLOB: &str = "org.apache.flume.sink.solr.morphline.BlobHandler";

/// Settings of Jetty that have an effect here too.
const HONOURED: [&str; 5] = [
    "HttpConfiguration.requestHeaderSize",
    "SslContextFactory.needClientAuth",
    "SslContextFactory.wantClientAuth",
    "SslContextFactory.trustStorePath",
    "SslContextFactory.trustStorePassword",
];

/// Older names of TLS keys, each with the current name.
pub const OLD_TLS_NAMES: [(&str, &str); 7] = [
    ("ssl", "enableSSL"),
    ("keystore-password", "keystorePassword"),
    ("exclude-protocols", "excludeProtocols"),
    ("need-client-auth", "SslContextFactory.needClientAuth"),
    ("want-client-auth", "SslContextFactory.wantClientAuth"),
    ("truststore", "SslContextFactory.trustStorePath"),
    ("truststore-password", "SslContextFactory.trustStorePassword"),
];

const JETTY: &str = "A Jetty setting: has no effect.";

const KEYS: &[Key] = &joined::<35>(&[
    &[
        Key {
            name: "bind",
            kind: KeyKind::Host,
            default: "0.0.0.0",
            meaning: "Address or host name to listen on.",
        },
        Key {
            name: "port",
            kind: KeyKind::Port,
            default: "",
            meaning: "TCP port to listen on; 0 for any free one.",
        },
        Key {
            name: "handler",
            kind: KeyKind::Word,
            default: JSON,
            meaning: "What a request is: JSONHandler, BLOBHandler or morphline's BlobHandler, by class name.",
        },
        Key {
            name: "handler.*",
            kind: KeyKind::Text,
            default: "",
            meaning: "Settings of the handler: mandatoryParameters, maxBlobLength.",
        },
        Key {
            name: "maxRequestBytes",
            kind: KeyKind::Number,
            default: "67108864",
            meaning: "Bytes of a request's body; a longer one gets status 413. Flume has no such limit.",
        },
        Key {
            name: "maxConnections",
            kind: KeyKind::Number,
            default: "20000",
            meaning: "Connections open at once; more are closed. Flume has no such limit.",
        },
        Key {
            name: "requestTimeout",
            kind: KeyKind::Number,
            default: "120000",
            meaning: "Milliseconds from the first to the last byte of a body; a slower client gets status 408. Flume has no such limit.",
        },
        Key {
            name: "enableSSL",
            kind: KeyKind::Boolean,
            default: "false",
            meaning: "An old name of ssl.",
        },
        Key {
            name: "keystorePassword",
            kind: KeyKind::Text,
            default: "",
            meaning: "An old name of keystore-password.",
        },
        Key {
            name: "excludeProtocols",
            kind: KeyKind::Names,
            default: "",
            meaning: "An old name of exclude-protocols.",
        },
        Key { name: "QueuedThreadPool.*", kind: KeyKind::Text, default: "", meaning: JETTY },
        Key {
            name: "HttpConfiguration.*",
            kind: KeyKind::Text,
            default: "",
            meaning: "Of Jetty: requestHeaderSize, bytes of the headers (8192); the others have no effect.",
        },
        Key {
            name: "SslContextFactory.*",
            kind: KeyKind::Text,
            default: "",
            meaning: "Of Jetty: needClientAuth, wantClientAuth, trustStorePath and trustStorePassword are older names of need-client-auth, want-client-auth, truststore and truststore-password; the others have no effect.",
        },
        Key { name: "ServerConnector.*", kind: KeyKind::Text, default: "", meaning: JETTY },
    ],
    &AUTH_KEYS,
    &FILTER_KEYS,
    &SERVER_KEYS,
]);

struct HttpSource {
    listening: SourceListener,
    rules: Arc<HttpLimits>,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<HttpSource, SettingError> {
    let host = reader.host("bind", Some("0.0.0.0"))?;
    let port = reader
        .number("port", 0..=u16::MAX)?
        .ok_or_else(|| reader.error("port", "is required and not set (a port to listen on)"))?;
    say_what_has_no_effect(reader);
    let connections_max =
        reader.number("maxConnections", 1..=1_000_000)?.unwrap_or(CONNECTIONS_MAX_DEFAULT);
    let body_bytes_max = reader
        .number("maxRequestBytes", 1..=HTTP_REQUEST_BYTES_MAX)?
        .unwrap_or(HTTP_REQUEST_BYTES_MAX);
    let (content, own_max) = content(reader)?;
    let rules = HttpLimits {
        content,
        body_bytes_max: own_max.map_or(body_bytes_max, |own| own.min(body_bytes_max)),
        headers_bytes_max: reader
            .number("HttpConfiguration.requestHeaderSize", 1..=HTTP_HEADERS_BYTES_MAX)?
            .unwrap_or(HEADERS_BYTES),
        request_timeout: reader
            .millis("requestTimeout", 1..=u64::from(u32::MAX))?
            .unwrap_or(Duration::from_secs(REQUEST_SECONDS_MAX_DEFAULT)),
        auth: http_auth::read(reader)?.map(StoreReloader::new),
    };
    let tls = tls::server_with_old_names(reader, &OLD_TLS_NAMES)?;
    if let Some(auth) = rules.auth.as_ref().filter(|_| tls.is_none() && !is_loopback(&host)) {
        http_auth::warn_in_the_clear(reader, auth.settings(), "set ssl and a keystore");
    }
    let filter = IpFilter::read(reader, tls.as_ref())?;
    let listening = SourceListener::new(host, port, connections_max, b"");
    Ok(HttpSource { listening: listening.with_tls(tls).filtered(filter), rules: Arc::new(rules) })
}

/// Returns the content that the handler expects, and the byte limit of its own setting.
fn content(
    reader: &mut SettingsReader<'_>,
) -> Result<(RequestContent, Option<usize>), SettingError> {
    let name = reader.text("handler").unwrap_or(JSON);
    let names = |list: &str| list.split(',').map(|name| name.trim().to_owned()).collect();
    let mandatory: Vec<String> =
        reader.text("handler.mandatoryParameters").map(names).unwrap_or_default();
    Ok(match name {
        JSON => (RequestContent::Json, None),
        BLOB => (RequestContent::Blob { mandatory, says_type: false }, None),
        MORPHLINE_BLOB => {
            let most = reader.number("handler.maxBlobLength", 1..=usize::MAX)?;
            let content = RequestContent::Blob { mandatory: Vec::new(), says_type: true };
            (content, Some(most.unwrap_or(BLOB_BYTES)))
        }
        other => {
            let message = format!(
                "\"{other}\" is a custom Java class, which cannot run here; supported are {JSON}, {BLOB} and {MORPHLINE_BLOB}"
            );
            return Err(reader.error("handler", message));
        }
    })
}

fn say_what_has_no_effect(reader: &mut SettingsReader<'_>) {
    let beans =
        ["QueuedThreadPool.", "HttpConfiguration.", "SslContextFactory.", "ServerConnector."];
    let keys = reader.settings().entries.keys();
    let idle = |key: &&String| {
        beans.iter().any(|bean| key.starts_with(bean)) && !HONOURED.contains(&key.as_str())
    };
    for key in keys.filter(idle).cloned().collect::<Vec<_>>() {
        reader.find(
            Severity::Warning,
            &key,
            "has no effect: it is a setting of Jetty, which is not used",
        );
    }
}

impl Source for HttpSource {
    fn preflight(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            self.rules.credentials("").await?;
            self.listening.preflight().await
        })
    }

    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        let shared = Arc::new(context.clone());
        let served = self.listening.serve(context, move |arrival| {
            let session = HttpSession {
                peer: arrival.peer,
                rules: Arc::clone(&self.rules),
                context: Arc::clone(&shared),
                client: Arc::clone(&arrival.client),
            };
            async move {
                let Some(stream) = arrival.greet().await else { return };
                session.run(stream).await;
            }
        });
        Box::pin(async move {
            // Without credentials every client would be refused, or every client accepted.
            self.rules.credentials(&context.name).await?;
            served.await
        })
    }
}
