//! `http`: a request's events, answered with a status.
//!
//! Limits: `maxRequestBytes` a body, `HttpConfiguration.requestHeaderSize` for the headers,
//! `maxConnections`, [`ClientLimits`](crate::flow::client_limits) for what all clients make the process hold,
//! `requestTimeout` for a body, [`IDLE`] for a connection without a request and for headers that do
//! not end, [`ANSWER_SECONDS_MAX`] for a client that does not read.
//!
//! The story: a session reads requests one after the other. The events of a request are one
//! transaction; 200 is answered once it is committed, 503 when the channel refuses it or its outcome is
//! not known, or there is no memory for it. A large body is understood on a thread of its own, half as many at
//! once as there are processors: whatever it says, it keeps no other client waiting. What cannot be understood is 400 with the reason in words.
//!
//! Statuses and methods are those of Flume's Jetty. Better than Flume: an empty document and a null are
//! 400 (there 500), a `BLOBHandler` without `mandatoryParameters` demands none, and a blob beyond its
//! limit is refused with 413 (there cut without a word).

mod content;
mod session;
#[cfg(test)]
mod tests;

use super::filter::{FILTER_KEYS, Filter};
use super::listener::Listening;
use crate::base::limits::{
    CONNECTIONS_MAX_DEFAULT, HTTP_CONNECTION_BYTES, HTTP_HEADERS_BYTES_MAX, HTTP_REQUEST_BYTES_MAX,
    REQUEST_SECONDS_MAX_DEFAULT,
};
use crate::channel::BoxFuture;
use crate::config::http_auth::{self, AUTH_KEYS};
use crate::config::settings::{Key, Kind, SettingError, SettingsReader, Severity, joined};
use crate::config::tls::{self, SERVER_KEYS};
use crate::flow::source::{Failure, Source, SourceContext, SourceType};
use crate::net::endpoint::is_loopback;
use crate::net::http_auth::{Credentials, HttpAuth};
use crate::net::reloading::Reloading;
use content::Content;
use session::Session;
use std::sync::Arc;
use std::time::Duration;

#[cfg(doc)]
use crate::base::limits::ANSWER_SECONDS_MAX;

/// The type `http`.
pub const TYPE: SourceType = SourceType {
    names: &["http", "org.apache.flume.source.http.HTTPSource"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

/// Time without a byte of a request, and for its headers, as Jetty has it.
const IDLE: Duration = Duration::from_secs(30);
/// Default bytes of a blob of `BlobHandler`, as in Flume.
const BLOB_BYTES: usize = 100_000_000;
/// Bytes of headers by default, as Jetty has it.
const HEADERS_BYTES: usize = 8192;
/// Bytes that are read at a time beside what the headers of a request may have.
const READ_BYTES: usize = 8 * 1024;

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

/// Older names of keys of TLS, behind those that count.
pub(crate) const OLD_TLS_NAMES: [(&str, &str); 7] = [
    ("ssl", "enableSSL"),
    ("keystore-password", "keystorePassword"),
    ("exclude-protocols", "excludeProtocols"),
    ("need-client-auth", "SslContextFactory.needClientAuth"),
    ("want-client-auth", "SslContextFactory.wantClientAuth"),
    ("truststore", "SslContextFactory.trustStorePath"),
    ("truststore-password", "SslContextFactory.trustStorePassword"),
];

const JETTY: &str = "Of Jetty, which is not here: has no effect.";

const KEYS: &[Key] = &joined::<35>(&[
    &[
        Key {
            name: "bind",
            kind: Kind::Host,
            default: "0.0.0.0",
            meaning: "Address or host name to listen on.",
        },
        Key {
            name: "port",
            kind: Kind::Port,
            default: "",
            meaning: "TCP port to listen on; 0 for any free one.",
        },
        Key {
            name: "handler",
            kind: Kind::Word,
            default: JSON,
            meaning: "What a request is: JSONHandler, BLOBHandler or morphline's BlobHandler, by class name.",
        },
        Key {
            name: "handler.*",
            kind: Kind::Text,
            default: "",
            meaning: "Settings of the handler: mandatoryParameters, maxBlobLength.",
        },
        Key {
            name: "maxRequestBytes",
            kind: Kind::Number,
            default: "67108864",
            meaning: "Bytes of a request's body; a longer one is answered 413. Flume has no such limit.",
        },
        Key {
            name: "maxConnections",
            kind: Kind::Number,
            default: "20000",
            meaning: "Connections open at once; more are closed. Flume has no such limit.",
        },
        Key {
            name: "requestTimeout",
            kind: Kind::Number,
            default: "120000",
            meaning: "Milliseconds from the first to the last byte of a body; a slower client is answered 408. Flume has no such limit.",
        },
        Key {
            name: "enableSSL",
            kind: Kind::Boolean,
            default: "false",
            meaning: "An old name of ssl.",
        },
        Key {
            name: "keystorePassword",
            kind: Kind::Text,
            default: "",
            meaning: "An old name of keystore-password.",
        },
        Key {
            name: "excludeProtocols",
            kind: Kind::Names,
            default: "",
            meaning: "An old name of exclude-protocols.",
        },
        Key { name: "QueuedThreadPool.*", kind: Kind::Text, default: "", meaning: JETTY },
        Key {
            name: "HttpConfiguration.*",
            kind: Kind::Text,
            default: "",
            meaning: "Of Jetty: requestHeaderSize, bytes of the headers (8192); the others have no effect.",
        },
        Key {
            name: "SslContextFactory.*",
            kind: Kind::Text,
            default: "",
            meaning: "Of Jetty: needClientAuth, wantClientAuth, trustStorePath and trustStorePassword are older names of need-client-auth, want-client-auth, truststore and truststore-password; the others have no effect.",
        },
        Key { name: "ServerConnector.*", kind: Kind::Text, default: "", meaning: JETTY },
    ],
    &AUTH_KEYS,
    &FILTER_KEYS,
    &SERVER_KEYS,
]);

struct Http {
    listening: Listening,
    rules: Arc<Rules>,
}

/// What every session keeps to.
#[derive(Debug)]
struct Rules {
    content: Content,
    body_bytes_max: usize,
    headers_bytes_max: usize,
    request_timeout: Duration,
    /// What clients have to show.
    auth: Option<Reloading<HttpAuth>>,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<Http, SettingError> {
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
    let rules = Rules {
        content,
        body_bytes_max: own_max.map_or(body_bytes_max, |own| own.min(body_bytes_max)),
        headers_bytes_max: reader
            .number("HttpConfiguration.requestHeaderSize", 1..=HTTP_HEADERS_BYTES_MAX)?
            .unwrap_or(HEADERS_BYTES),
        request_timeout: reader
            .millis("requestTimeout", 1..=u64::from(u32::MAX))?
            .unwrap_or(Duration::from_secs(REQUEST_SECONDS_MAX_DEFAULT)),
        auth: http_auth::read(reader)?.map(Reloading::new),
    };
    let tls = tls::server_with_old_names(reader, &OLD_TLS_NAMES)?;
    if let Some(auth) = rules.auth.as_ref().filter(|_| tls.is_none() && !is_loopback(&host)) {
        http_auth::warn_in_the_clear(reader, auth.settings(), "set ssl and a keystore");
    }
    let filter = Filter::read(reader, tls.as_ref())?;
    let listening = Listening::new(host, port, connections_max, b"");
    Ok(Http { listening: listening.with_tls(tls).filtered(filter), rules: Arc::new(rules) })
}

/// What a request is, and the bytes that it may have by the handler's own setting.
fn content(reader: &mut SettingsReader<'_>) -> Result<(Content, Option<usize>), SettingError> {
    let name = reader.text("handler").unwrap_or(JSON);
    let names = |list: &str| list.split(',').map(|name| name.trim().to_owned()).collect();
    let mandatory: Vec<String> =
        reader.text("handler.mandatoryParameters").map(names).unwrap_or_default();
    Ok(match name {
        JSON => (Content::Json, None),
        BLOB => (Content::Blob { mandatory, says_type: false }, None),
        MORPHLINE_BLOB => {
            let most = reader.number("handler.maxBlobLength", 1..=usize::MAX)?;
            let content = Content::Blob { mandatory: Vec::new(), says_type: true };
            (content, Some(most.unwrap_or(BLOB_BYTES)))
        }
        other => {
            let message = format!(
                "\"{other}\" is a Java class of its own, which cannot run here; there are {JSON}, {BLOB} and {MORPHLINE_BLOB}"
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
            "has no effect: it is a setting of Jetty, which is not here",
        );
    }
}

impl Rules {
    /// Bytes of the buffer of a connection at most.
    fn buffer_bytes_max(&self) -> usize {
        self.headers_bytes_max + READ_BYTES
    }

    /// Bytes that a connection keeps once it has said something: headers that are understood hold on to the
    /// buffer that they came in, and what comes after them has another.
    fn kept_bytes(&self) -> usize {
        HTTP_CONNECTION_BYTES.max(2 * self.buffer_bytes_max())
    }

    /// What clients have to show, as of a moment ago.
    async fn credentials(&self, source: &str) -> Result<Option<Credentials>, Failure> {
        let Some(auth) = &self.auth else { return Ok(None) };
        let read = auth.recent(&format!("source {source}")).await;
        read.map(Some).map_err(|error| Failure::caused("cannot check who sends", error))
    }
}

impl Source for Http {
    fn preflight(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            self.rules.credentials("").await?;
            self.listening.preflight().await
        })
    }

    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        let shared = Arc::new(context.clone());
        let served = self.listening.serve(context, move |arrival| {
            let session = Session {
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
            // Without it nobody could come in, or everybody.
            self.rules.credentials(&context.name).await?;
            served.await
        })
    }
}
