//! `http`: sends the body of each event as a POST request.
//!
//! Limits: one event per request and transaction; `connectTimeout` for a connection, `requestTimeout` for silence:
//! until the server accepts a further piece of a request, and for its response.
//!
//! One connection is kept as long as the server keeps it. The effect of a status is configured in three tables, with
//! Flume's defaults: without an entry for 200 the event is sent again and again. An event whose request got no
//! response goes back to the channel. An event without a body is not sent, as in Flume.
//!
//! Different from Flume: a redirection by 301, 302 or 303 keeps the body (Flume requests the new URL without it, and
//! the event is lost).

mod policy;
#[cfg(test)]
mod tests;

use super::rpc::{connector, try_stores};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use millpond::{BoxFuture, Event};
use millpond_flow::backoff::Backoff;
use millpond_flow::failure_log::FailureLog;
use millpond_flow::metrics::DropReason;
use millpond_flow::net::endpoint::Endpoint;
use millpond_flow::net::http_auth::HttpAuth;
use millpond_flow::net::http_connection::HttpConnection;
use millpond_flow::net::http_post::{RequestHeaders, RequestTimeouts, open, post};
use millpond_flow::net::store_reloader::StoreReloader;
use millpond_flow::net::tls::{ClientTls, Connector};
use millpond_flow::settings::http_auth::{self, AUTH_KEYS};
use millpond_flow::settings::tls::{self, CLIENT_KEYS};
use millpond_flow::settings::{Key, KeyKind, SettingError, Settings, SettingsReader, joined};
use millpond_flow::sink::{Failure, Sink, SinkContext, SinkType};
use policy::{StatusAction, StatusPolicy};
use std::time::Duration;

/// The type `http`.
pub const TYPE: SinkType = SinkType {
    names: &["http", "org.apache.flume.sink.http.HttpSink"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const WAIT: Duration = Duration::from_millis(5000);
/// The status of a request without valid credentials.
const UNAUTHORIZED: u16 = 401;
/// Pause between tries of an event that is sent again without backoff.
const AT_ONCE: Duration = Duration::from_millis(10);

const KEYS: &[Key] = &joined::<28>(&[&OWN_KEYS, &AUTH_KEYS, CLIENT_KEYS.split_at(1).1]);

const OWN_KEYS: [Key; 11] = [
    Key {
        name: "endpoint",
        kind: KeyKind::Text,
        default: "",
        meaning: "The URL that events are posted to, with http or https.",
    },
    Key {
        name: "connectTimeout",
        kind: KeyKind::Number,
        default: "5000",
        meaning: "Milliseconds for a connection.",
    },
    Key {
        name: "requestTimeout",
        kind: KeyKind::Number,
        default: "5000",
        meaning: "Milliseconds for a response, after the whole request is sent, and for the server to accept a further piece of it.",
    },
    Key {
        name: "contentTypeHeader",
        kind: KeyKind::Text,
        default: "text/plain",
        meaning: "The content type of requests.",
    },
    Key {
        name: "acceptHeader",
        kind: KeyKind::Text,
        default: "text/plain",
        meaning: "The content types that the server may respond with.",
    },
    Key {
        name: "defaultBackoff",
        kind: KeyKind::Boolean,
        default: "true",
        meaning: "Whether the sink pauses after a status that no other key names.",
    },
    Key {
        name: "defaultRollback",
        kind: KeyKind::Boolean,
        default: "true",
        meaning: "Whether an event goes back to the channel for a status that no other key names.",
    },
    Key {
        name: "defaultIncrementMetrics",
        kind: KeyKind::Boolean,
        default: "false",
        meaning: "Whether an event counts as delivered for a status that no other key names.",
    },
    Key {
        name: "backoff.*",
        kind: KeyKind::Boolean,
        default: "",
        meaning: "The same as defaultBackoff for a status (503) or a class of them (5XX).",
    },
    Key {
        name: "rollback.*",
        kind: KeyKind::Boolean,
        default: "",
        meaning: "The same as defaultRollback for a status or a class.",
    },
    Key {
        name: "incrementMetrics.*",
        kind: KeyKind::Boolean,
        default: "",
        meaning: "The same as defaultIncrementMetrics for a status or a class.",
    },
];

struct HttpSink {
    endpoint: Endpoint,
    request_headers: RequestHeaders,
    timeouts: RequestTimeouts,
    policy: StatusPolicy,
    /// Of an endpoint with https.
    tls: Option<StoreReloader<ClientTls>>,
    /// The connector made from the stores when the last connection was opened.
    connector: Option<Connector>,
    /// The credentials, for servers that require them.
    auth: Option<StoreReloader<HttpAuth>>,
    connection: Option<HttpConnection>,
    backoff: Backoff,
    /// The pause before the next event.
    rest: Option<Duration>,
    /// Whether the last event counts as delivered.
    counts: bool,
    /// Why the last event was dropped, if it was.
    dropped: Option<DropReason>,
    /// Throttles the log of dropped events.
    given_up: FailureLog,
    /// Throttles the log of events that are sent again without backoff.
    failure_log: FailureLog,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<HttpSink, SettingError> {
    let endpoint = endpoint(reader)?;
    let header = |key: &str| {
        let text = reader.text(key).filter(|text| !text.is_empty()).unwrap_or("text/plain");
        HeaderValue::from_str(text).map_err(|_| reader.error(key, "is not a value of a header"))
    };
    let request_headers = RequestHeaders {
        content_type: header("contentTypeHeader")?,
        accept: header("acceptHeader")?,
        more: HeaderMap::new(),
    };
    let limits = 1..=u64::from(u32::MAX);
    let timeouts = RequestTimeouts {
        connect: reader.millis("connectTimeout", limits.clone())?.unwrap_or(WAIT),
        request: reader.millis("requestTimeout", limits)?.unwrap_or(WAIT),
    };
    Ok(HttpSink {
        policy: StatusPolicy::read(reader)?,
        tls: Some(tls::client_always(reader)?)
            .filter(|_| endpoint.is_tls())
            .map(StoreReloader::new),
        connector: None,
        auth: auth(reader, &endpoint)?,
        endpoint,
        request_headers,
        timeouts,
        connection: None,
        backoff: Backoff::of_a_runner(),
        rest: None,
        counts: false,
        dropped: None,
        given_up: FailureLog::default(),
        failure_log: FailureLog::default(),
    })
}

/// Returns whether a sink with these settings returns an event with the response `status` to its channel; false if
/// the settings are invalid.
#[must_use]
pub fn rolls_back(settings: &Settings, status: u16) -> bool {
    let policy = StatusPolicy::read(&mut SettingsReader::new(settings));
    policy.is_ok_and(|policy| policy.verdict(status).rollback)
}

/// Reads the credentials.
fn auth(
    reader: &mut SettingsReader<'_>,
    endpoint: &Endpoint,
) -> Result<Option<StoreReloader<HttpAuth>>, SettingError> {
    let auth = http_auth::read_of_client(reader)?;
    if let Some(auth) = auth.as_ref().filter(|_| !endpoint.is_tls() && !endpoint.is_loopback()) {
        http_auth::warn_in_the_clear(reader, auth, "use an endpoint with https");
    }
    Ok(auth.map(StoreReloader::new))
}

/// Reads the endpoint. Errors do not repeat it: it may contain a password.
fn endpoint(reader: &mut SettingsReader<'_>) -> Result<Endpoint, SettingError> {
    match Endpoint::named(reader.required_text("endpoint")?) {
        Some(endpoint) if endpoint.has_user() => {
            let words = "has a name or a password before an @, which would not be sent and would appear in the log; remove it, and set auth-user and auth-password-file";
            Err(reader.error("endpoint", words))
        }
        Some(endpoint) => Ok(endpoint),
        None => Err(reader.error("endpoint", "is not a URL with http or https and a host")),
    }
}

impl HttpSink {
    /// Sends one event and returns the status.
    async fn send(&mut self, context: &SinkContext, event: &Event) -> Result<u16, Failure> {
        let kept = self.connection.take();
        let had = u64::from(kept.is_some());
        // The stores are checked once per connection, not per event.
        if !kept.as_ref().is_some_and(|kept| kept.serves(&self.endpoint)) {
            let looked = self.look_at_stores(context).await;
            looked.inspect_err(|_| context.counters.connection_closed.add(had))?;
        }
        let tls = self.connector.as_ref();
        let (body, timeouts) = (event.body.clone(), self.timeouts);
        let answered =
            post(&self.endpoint, tls, &self.request_headers, kept, body, timeouts, 0).await;
        let counters = &context.counters;
        match answered {
            Ok(answered) => {
                let has =
                    u64::from(answered.connection.is_some() && answered.status != UNAUTHORIZED);
                counters.connection_created.add(answered.opened);
                counters.connection_closed.add(had + answered.opened - has);
                if let Some(open) = &answered.connection {
                    counters.peer_certificate_end.set(open.certificate_end());
                }
                // The next connection uses the credentials valid then.
                self.connection = answered.connection.filter(|_| answered.status != UNAUTHORIZED);
                Ok(answered.status)
            }
            Err(error) => {
                counters.connection_failed.add(1);
                counters.connection_closed.add(had);
                Err(Failure::caused(format!("cannot post to {}", self.endpoint), error))
            }
        }
    }

    /// Rereads the stores for the next connection, if they changed.
    async fn look_at_stores(&mut self, context: &SinkContext) -> Result<(), Failure> {
        let loaded = connector(self.tls.as_ref(), context).await;
        self.connector = loaded.map_err(|error| Failure::caused("cannot use TLS", error))?;
        self.show(context).await
    }

    /// Connects, if not connected.
    async fn connected(&mut self, context: &SinkContext) -> Result<(), Failure> {
        if self.is_ready() {
            return Ok(());
        }
        let counters = &context.counters;
        if self.connection.take().is_some() {
            counters.connection_closed.add(1);
        }
        self.look_at_stores(context).await?;
        let opened = open(&self.endpoint, self.connector.as_ref(), self.timeouts).await;
        let connection = opened.map_err(|error| {
            counters.connection_failed.add(1);
            Failure::caused(format!("cannot connect to {}", self.endpoint), error)
        })?;
        counters.connection_created.add(1);
        counters.peer_certificate_end.set(connection.certificate_end());
        self.connection = Some(connection);
        Ok(())
    }

    /// Puts the current credentials into the head of requests.
    async fn show(&mut self, context: &SinkContext) -> Result<(), Failure> {
        let Some(auth) = &self.auth else { return Ok(()) };
        let read = auth.current(&format!("sink {}", context.name)).await;
        let read = read.map_err(|error| Failure::caused("cannot read the credentials", error))?;
        if let Some(header) = read.header() {
            self.request_headers.more.insert(AUTHORIZATION, header);
        }
        Ok(())
    }

    /// Counts that an event is sent again without backoff, and logs it the first time.
    fn say_again(&self, context: &SinkContext, status: u16) {
        context.counters.event_write_fail.add(1);
        let cause = format!(
            "{} answered {status}: the event is sent again at once (rollback.{status}, and no backoff.{status})",
            self.endpoint
        );
        if let Some(words) = self.failure_log.failed(context.clock.now(), &cause) {
            tracing::warn!(sink = context.name, "{words}");
        }
    }

    /// Drops an event that did not arrive.
    fn give_up(&mut self, context: &SinkContext, reason: DropReason, cause: &str) {
        self.dropped = Some(reason);
        if let Some(words) = self.given_up.failed(context.clock.now(), cause) {
            tracing::warn!(sink = context.name, "{words}");
        }
    }

    async fn deliver_one(&mut self, context: &SinkContext, event: &Event) -> Result<(), Failure> {
        if let Some(rest) = self.rest.take() {
            tokio::select! {
                () = context.stop.wait() => {}
                () = tokio::time::sleep(rest) => {}
            }
        }
        (self.counts, self.dropped) = (false, None);
        if event.body.is_empty() {
            self.give_up(context, DropReason::EmptyBody, "an event without a body is not sent");
            return Ok(());
        }
        loop {
            let status = self.send(context, event).await?;
            let StatusAction { rollback, backoff, counts } = self.policy.verdict(status);
            self.counts = counts;
            if !rollback && let Some(words) = self.failure_log.over(context.clock.now()) {
                tracing::info!(sink = context.name, "{words}");
            }
            if !rollback && !(200..300).contains(&status) {
                let cause = format!(
                    "{} returned {status}: such events are dropped (rollback.{status} is false)",
                    self.endpoint
                );
                self.give_up(context, DropReason::ErrorStatus, &cause);
            }
            match (rollback, backoff) {
                (false, false) => self.backoff.reset(),
                (false, true) => self.rest = Some(self.backoff.fail()),
                (true, false) if !(context.stop.fired() || refuses(status) && context.gives_up) => {
                    self.say_again(context, status);
                    tokio::time::sleep(AT_ONCE).await;
                    continue;
                }
                (true, _) => {
                    let words = format!(
                        "{} answered {status}, for which events go back to the channel (rollback.{status})",
                        self.endpoint
                    );
                    let failure = Failure::new(words);
                    return Err(if refuses(status) { failure.refused() } else { failure });
                }
            }
            return Ok(());
        }
    }
}

/// Returns whether a status means that the server works and refuses this event permanently. Statuses that may concern
/// the server itself, the configuration or time (401, 404, 415, 429, 5xx) do not.
fn refuses(status: u16) -> bool {
    matches!(status, 400 | 413 | 422)
}

impl Sink for HttpSink {
    fn preflight(&mut self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            try_stores(self.tls.as_ref()).await?;
            let Some(auth) = &self.auth else { return Ok(()) };
            let read = auth.current("").await.map(drop);
            read.map_err(|error| Failure::caused("cannot read the credentials", error))
        })
    }

    fn may_refuse(&self) -> bool {
        true
    }

    fn batch_events(&self) -> usize {
        1
    }

    fn is_ready(&mut self) -> bool {
        self.connection.as_ref().is_some_and(|open| open.serves(&self.endpoint))
    }

    fn connect<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.connected(context))
    }

    fn start<'a>(&'a mut self, _: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }

    fn deliver<'a>(
        &'a mut self,
        context: &'a SinkContext,
        batch: &'a [Event],
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            for event in batch {
                self.deliver_one(context, event).await?;
            }
            Ok(())
        })
    }

    fn counts(&self) -> bool {
        self.counts
    }

    fn dropped(&self) -> Option<DropReason> {
        self.dropped
    }

    fn stop<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        if self.connection.take().is_some() {
            context.counters.connection_closed.add(1);
        }
        Box::pin(async { Ok(()) })
    }
}
