//! `http`: the body of each event as a POST request.
//!
//! Limits: one event a request and transaction; `connectTimeout` for a connection, `requestTimeout` for
//! silence: until the server takes a further piece of a request, and for its answer.
//!
//! The story: one connection, kept as long as the server keeps it. What a status means for the event, the
//! configuration says in three tables, with Flume's defaults: without a word about 200 it is sent again
//! and again. A request without an answer goes back to the channel. An event without a body is not sent,
//! as in Flume.
//!
//! Better than Flume: a redirection by 301, 302 or 303 takes the body along (Flume asks for the new place
//! without it, and the event is lost).

mod policy;
#[cfg(test)]
mod tests;

use super::calls::{connector, try_stores};
use crate::channel::BoxFuture;
use crate::config::http_auth::{self, AUTH_KEYS};
use crate::config::settings::{Key, Kind, SettingError, Settings, SettingsReader, joined};
use crate::config::tls::{self, CLIENT_KEYS};
use crate::event::Event;
use crate::flow::backoff::Backoff;
use crate::flow::sink::{Failure, Sink, SinkContext, SinkType};
use crate::flow::spell::Spell;
use crate::metrics::DropReason;
use crate::net::endpoint::Endpoint;
use crate::net::http_auth::HttpAuth;
use crate::net::post::{Connection, Letterhead, Patience, post};
use crate::net::reloading::Reloading;
use crate::net::tls::{ClientTls, Connector};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use policy::{Policy, Verdict};
use std::time::Duration;

/// The type `http`.
pub const TYPE: SinkType = SinkType {
    names: &["http", "org.apache.flume.sink.http.HttpSink"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const WAIT: Duration = Duration::from_millis(5000);
/// The status of a request that shows nobody, or somebody else.
const UNAUTHORIZED: u16 = 401;
/// Between two tries of an event that is to be sent again without a rest.
const AT_ONCE: Duration = Duration::from_millis(10);

const KEYS: &[Key] = &joined::<28>(&[&OWN_KEYS, &AUTH_KEYS, CLIENT_KEYS.split_at(1).1]);

const OWN_KEYS: [Key; 11] = [
    Key {
        name: "endpoint",
        kind: Kind::Text,
        default: "",
        meaning: "Where events are posted to, a URL with http or https.",
    },
    Key {
        name: "connectTimeout",
        kind: Kind::Number,
        default: "5000",
        meaning: "Milliseconds for a connection.",
    },
    Key {
        name: "requestTimeout",
        kind: Kind::Number,
        default: "5000",
        meaning: "Milliseconds for an answer, from when all of the request is sent, and for the server to take a further piece of it.",
    },
    Key {
        name: "contentTypeHeader",
        kind: Kind::Text,
        default: "text/plain",
        meaning: "The type of what is sent.",
    },
    Key {
        name: "acceptHeader",
        kind: Kind::Text,
        default: "text/plain",
        meaning: "The types that the server may answer with.",
    },
    Key {
        name: "defaultBackoff",
        kind: Kind::Boolean,
        default: "true",
        meaning: "Whether the sink pauses after a status that no other key names.",
    },
    Key {
        name: "defaultRollback",
        kind: Kind::Boolean,
        default: "true",
        meaning: "Whether an event goes back to the channel for a status that no other key names.",
    },
    Key {
        name: "defaultIncrementMetrics",
        kind: Kind::Boolean,
        default: "false",
        meaning: "Whether an event counts as delivered for a status that no other key names.",
    },
    Key {
        name: "backoff.*",
        kind: Kind::Boolean,
        default: "",
        meaning: "The same as defaultBackoff for a status (503) or a class of them (5XX).",
    },
    Key {
        name: "rollback.*",
        kind: Kind::Boolean,
        default: "",
        meaning: "The same as defaultRollback for a status or a class.",
    },
    Key {
        name: "incrementMetrics.*",
        kind: Kind::Boolean,
        default: "",
        meaning: "The same as defaultIncrementMetrics for a status or a class.",
    },
];

struct Http {
    endpoint: Endpoint,
    letterhead: Letterhead,
    patience: Patience,
    policy: Policy,
    /// Of an endpoint with https.
    tls: Option<Reloading<ClientTls>>,
    /// What they made when the last connection was opened.
    connector: Option<Connector>,
    /// Who sends, for servers that want to know.
    auth: Option<Reloading<HttpAuth>>,
    connection: Option<Connection>,
    backoff: Backoff,
    /// How long to rest before the next event.
    rest: Option<Duration>,
    /// Whether the last event counts as delivered.
    counts: bool,
    /// Why the last event was let go of, if it was.
    dropped: Option<DropReason>,
    /// Throttles the log of events that were let go of.
    given_up: Spell,
    /// Of events that are sent again without a rest.
    spell: Spell,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<Http, SettingError> {
    let endpoint = endpoint(reader)?;
    let header = |key: &str| {
        let text = reader.text(key).filter(|text| !text.is_empty()).unwrap_or("text/plain");
        HeaderValue::from_str(text).map_err(|_| reader.error(key, "is not a value of a header"))
    };
    let letterhead = Letterhead {
        content_type: header("contentTypeHeader")?,
        accept: header("acceptHeader")?,
        more: HeaderMap::new(),
    };
    let limits = 1..=u64::from(u32::MAX);
    let patience = Patience {
        connect: reader.millis("connectTimeout", limits.clone())?.unwrap_or(WAIT),
        request: reader.millis("requestTimeout", limits)?.unwrap_or(WAIT),
    };
    Ok(Http {
        policy: Policy::read(reader)?,
        tls: Some(tls::client_always(reader)?).filter(|_| endpoint.is_tls()).map(Reloading::new),
        connector: None,
        auth: auth(reader, &endpoint)?,
        endpoint,
        letterhead,
        patience,
        connection: None,
        backoff: Backoff::of_a_runner(),
        rest: None,
        counts: false,
        dropped: None,
        given_up: Spell::default(),
        spell: Spell::default(),
    })
}

/// Whether a sink with these settings takes an event back to its channel that was answered `status`; not
/// where the settings cannot be used.
#[must_use]
pub fn rolls_back(settings: &Settings, status: u16) -> bool {
    let policy = Policy::read(&mut SettingsReader::new(settings));
    policy.is_ok_and(|policy| policy.verdict(status).rollback)
}

/// Who sends.
fn auth(
    reader: &mut SettingsReader<'_>,
    endpoint: &Endpoint,
) -> Result<Option<Reloading<HttpAuth>>, SettingError> {
    let auth = http_auth::read_of_client(reader)?;
    if let Some(auth) = auth.as_ref().filter(|_| !endpoint.is_tls() && !endpoint.is_loopback()) {
        http_auth::warn_in_the_clear(reader, auth, "use an endpoint with https");
    }
    Ok(auth.map(Reloading::new))
}

/// Where to post to. What is wrong with it is said without it: there may be a password in it.
fn endpoint(reader: &mut SettingsReader<'_>) -> Result<Endpoint, SettingError> {
    match Endpoint::named(reader.required_text("endpoint")?) {
        Some(endpoint) if endpoint.has_user() => {
            let words = "has a name or a password before an @, which would be sent to nobody and stand in the log; take it out, and set auth-user and auth-password-file";
            Err(reader.error("endpoint", words))
        }
        Some(endpoint) => Ok(endpoint),
        None => Err(reader.error("endpoint", "is not a URL with http or https and a host")),
    }
}

impl Http {
    /// Sends one event and answers its status.
    async fn send(&mut self, context: &SinkContext, event: &Event) -> Result<u16, Failure> {
        let kept = self.connection.take();
        let had = u64::from(kept.is_some());
        // The stores are looked at for each connection, not for each event.
        if !kept.as_ref().is_some_and(|kept| kept.serves(&self.endpoint)) {
            let looked = self.look_at_stores(context).await;
            looked.inspect_err(|_| context.counters.connection_closed.add(had))?;
        }
        let tls = self.connector.as_ref();
        let (body, patience) = (event.body.clone(), self.patience);
        let answered = post(&self.endpoint, tls, &self.letterhead, kept, body, patience, 0).await;
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
                // The next one shows what is valid then.
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

    /// Reads what the next connection needs, if it has changed.
    async fn look_at_stores(&mut self, context: &SinkContext) -> Result<(), Failure> {
        let loaded = connector(self.tls.as_ref(), context).await;
        self.connector = loaded.map_err(|error| Failure::caused("cannot use TLS", error))?;
        self.show(context).await
    }

    /// Connects, unless it is connected.
    async fn connected(&mut self, context: &SinkContext) -> Result<(), Failure> {
        if self.is_ready() {
            return Ok(());
        }
        let counters = &context.counters;
        if self.connection.take().is_some() {
            counters.connection_closed.add(1);
        }
        self.look_at_stores(context).await?;
        let opened = Connection::open(&self.endpoint, self.connector.as_ref(), self.patience).await;
        let connection = opened.map_err(|error| {
            counters.connection_failed.add(1);
            Failure::caused(format!("cannot connect to {}", self.endpoint), error)
        })?;
        counters.connection_created.add(1);
        counters.peer_certificate_end.set(connection.certificate_end());
        self.connection = Some(connection);
        Ok(())
    }

    /// Says who sends, as it is now, in the head of requests.
    async fn show(&mut self, context: &SinkContext) -> Result<(), Failure> {
        let Some(auth) = &self.auth else { return Ok(()) };
        let read = auth.current(&format!("sink {}", context.name)).await;
        let read = read.map_err(|error| Failure::caused("cannot say who sends", error))?;
        if let Some(header) = read.header() {
            self.letterhead.more.insert(AUTHORIZATION, header);
        }
        Ok(())
    }

    /// Counts that an event is sent again without a rest, and says so the first time.
    fn say_again(&self, context: &SinkContext, status: u16) {
        context.counters.event_write_fail.add(1);
        let cause = format!(
            "{} answered {status}: the event is sent again at once (rollback.{status}, and no backoff.{status})",
            self.endpoint
        );
        if let Some(words) = self.spell.failed(context.clock.now(), &cause) {
            tracing::warn!(sink = context.name, "{words}");
        }
    }

    /// Lets go of an event that did not arrive.
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
            let Verdict { rollback, backoff, counts } = self.policy.verdict(status);
            self.counts = counts;
            if !rollback && let Some(words) = self.spell.over(context.clock.now()) {
                tracing::info!(sink = context.name, "{words}");
            }
            if !rollback && !(200..300).contains(&status) {
                let cause = format!(
                    "{} answered {status}: such events are given up (rollback.{status} is false)",
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

/// Whether a status says that the server works and does not want this very event, which it will not
/// want the next time either. What may be the server's own trouble, a matter of the configuration or of
/// time (401, 404, 415, 429, 5xx) is none of these.
fn refuses(status: u16) -> bool {
    matches!(status, 400 | 413 | 422)
}

impl Sink for Http {
    fn preflight(&mut self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            try_stores(self.tls.as_ref()).await?;
            let Some(auth) = &self.auth else { return Ok(()) };
            let read = auth.current("").await.map(drop);
            read.map_err(|error| Failure::caused("cannot say who sends", error))
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
