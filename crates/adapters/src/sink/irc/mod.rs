//! `irc`: sends each event as a message to a channel of an IRC server.
//!
//! Limits: one event per transaction, as in Flume; [`IRC_LINES_TOGETHER`] lines before the server must confirm them,
//! and [`IRC_PACE_MS`] until the next of the same event; a line of
//! [`LINE_BYTES_MAX`](crate::wire::irc::LINE_BYTES_MAX) bytes; [`IRC_LINES_PER_EVENT_MAX`] lines of an event, one
//! with more is refused for good; [`IRC_STOP_SECONDS_MAX`] for the pending event at a stop.
//!
//! One connection is opened when needed; the client registers under its nickname, or an alternative, and joins. A
//! text is sent in lines that no server has to cut, followed by a `PING`: servers carry out commands in order, so the
//! `PONG` confirms that the lines are in the channel. Any failure closes the connection, and the event is retried
//! after a random, growing pause. While no events come, the server's pings are handled every few seconds.
//!
//! Invariants: no wait without a deadline; nothing is acknowledged before the server has accepted it; no event can
//! make the sink send anything but text: line ends become blanks or split points, and so does the character that
//! marks client commands (CTCP).

mod connection;

#[cfg(test)]
mod tests;

use connection::{IrcConnection, IrcError, IrcLogin, IrcTimeouts};
use millpond::internal::base::random::{Random, SystemRandom};
use millpond::{BoxFuture, Event};
#[cfg(doc)]
use millpond_flow::base::limits::IRC_LINES_TOGETHER;
use millpond_flow::base::limits::{
    IRC_ANSWER_SECONDS_MAX, IRC_CONNECT_SECONDS_MAX, IRC_LINES_PER_EVENT_MAX, IRC_LISTEN_SECONDS,
    IRC_PACE_MS, IRC_PAUSE_SECONDS_MAX, IRC_STOP_SECONDS_MAX, IRC_WELCOME_SECONDS_MAX,
};
use millpond_flow::pattern::Pattern;
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader};
use millpond_flow::sink::{Failure, Sink, SinkContext, SinkType};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The type `irc`.
pub const TYPE: SinkType = SinkType {
    names: &["irc", "org.apache.flume.sink.irc.IRCSink"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const PORT: u16 = 6667;

/// The first character of a client command (CTCP): to reply, to fetch a file.
const CTCP: char = '\u{1}';

const KEYS: &[Key] = &[
    Key {
        name: "hostname",
        kind: KeyKind::Host,
        default: "",
        meaning: "The server's name or address.",
    },
    Key { name: "port", kind: KeyKind::Port, default: "6667", meaning: "The server's port." },
    Key {
        name: "nick",
        kind: KeyKind::Text,
        default: "",
        meaning: "Nickname; an alternative if it is taken.",
    },
    Key { name: "password", kind: KeyKind::Text, default: "", meaning: "The server's password." },
    Key {
        name: "user",
        kind: KeyKind::Text,
        default: "",
        meaning: "User name; the nickname where it is not set.",
    },
    Key {
        name: "name",
        kind: KeyKind::Text,
        default: "",
        meaning: "Real name; the nickname where it is not set.",
    },
    Key {
        name: "chan",
        kind: KeyKind::Text,
        default: "",
        meaning: "Channel, without the # before it.",
    },
    Key {
        name: "splitlines",
        kind: KeyKind::Boolean,
        default: "false",
        meaning: "Whether a body is split into one message per part. Without it line ends become blanks.",
    },
    Key {
        name: "splitchars",
        kind: KeyKind::Text,
        default: "",
        meaning: "Java regular expression at which it is split; a newline where it is not set.",
    },
];

struct IrcSink {
    identity: IrcLogin,
    /// Where bodies are split, if they are.
    split: Option<Pattern>,
    timeouts: IrcTimeouts,
    pause_max: Duration,
    /// Limit for the pending event at a stop.
    stop_max: Duration,
    connection: Option<IrcConnection>,
    /// When the server's messages were last read, by the context's clock.
    heard_at: Duration,
    /// Consecutive failed attempts, and the time of the next one.
    failures: u32,
    again_at: Option<Instant>,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<IrcSink, SettingError> {
    let host = reader.host("hostname", None)?;
    let port = reader.number("port", 1..=u16::MAX)?.unwrap_or(PORT);
    let nick = word(reader, "nick")?;
    let nick = nick.ok_or_else(|| reader.error("nick", "is required and not set (a nickname)"))?;
    let channel = word(reader, "chan")?;
    let channel = channel.ok_or_else(|| reader.error("chan", "is required and not set"))?;
    let user = word(reader, "user")?.unwrap_or_else(|| nick.clone());
    let name = reader.text("name").unwrap_or(&nick).to_owned();
    let password = reader.text("password").map(str::to_owned);
    for (key, text) in [("name", Some(&name)), ("password", password.as_ref())] {
        if text.is_some_and(|text| text.chars().any(char::is_control)) {
            return Err(reader.error(key, "has a line end or another control character"));
        }
    }
    let split = match reader.boolean("splitlines", false) {
        false => None,
        true => {
            let java = reader.text("splitchars").unwrap_or("\n");
            let pattern = Pattern::new(java);
            Some(pattern.map_err(|error| reader.error("splitchars", error.to_string()))?)
        }
    };
    let channel = format!("#{channel}");
    Ok(IrcSink {
        identity: IrcLogin { host, port, nick, password, user, name, channel },
        split,
        timeouts: IrcTimeouts {
            connect: Duration::from_secs(IRC_CONNECT_SECONDS_MAX),
            welcome: Duration::from_secs(IRC_WELCOME_SECONDS_MAX),
            answer: Duration::from_secs(IRC_ANSWER_SECONDS_MAX),
            pace: Duration::from_millis(IRC_PACE_MS),
        },
        pause_max: Duration::from_secs(IRC_PAUSE_SECONDS_MAX),
        stop_max: Duration::from_secs(IRC_STOP_SECONDS_MAX),
        connection: None,
        heard_at: Duration::ZERO,
        failures: 0,
        again_at: None,
    })
}

/// Reads a single word of a command: without blanks, and not a trailing parameter or a list.
fn word(reader: &SettingsReader<'_>, key: &str) -> Result<Option<String>, SettingError> {
    let Some(word) = reader.text(key) else { return Ok(None) };
    let legal = |c: char| !c.is_whitespace() && !c.is_control() && c != ',';
    if word.starts_with(':') || word.len() > 200 || !word.chars().all(legal) {
        return Err(reader.error(key, "is not a single word of 200 bytes at most, without commas"));
    }
    Ok(Some(word.to_owned()))
}

impl IrcSink {
    /// Returns the texts of an event, in order.
    fn texts(&self, event: &Event) -> Result<Vec<String>, Failure> {
        let body = String::from_utf8_lossy(&event.body);
        let parts = match &self.split {
            None => vec![body.as_ref()],
            Some(pattern) => pattern.split(&body).map_err(|error| {
                Failure::caused("splitchars cannot split an event", error).refused_for_ever()
            })?,
        };
        let text = |part: &str| part.trim_end_matches(['\r', '\n', '\0', CTCP]).replace(CTCP, " ");
        // Servers refuse an empty message. One text beyond the limit is enough to refuse all.
        let texts = parts.into_iter().map(text).filter(|text| !text.is_empty());
        Ok(texts.take(IRC_LINES_PER_EVENT_MAX + 1).collect())
    }

    async fn connect(&mut self, context: &SinkContext) -> Result<&mut IrcConnection, IrcError> {
        if self.connection.is_none() {
            if let Some(at) = self.again_at {
                tokio::select! {
                    () = sleep_until(at) => {}
                    () = context.stop.wait() => {}
                }
            }
            let opened = IrcConnection::open(&self.identity, self.timeouts).await;
            let connection = opened.inspect_err(|_| {
                context.counters.connection_failed.add(1);
                self.fail();
            })?;
            self.again_at = None;
            context.counters.connection_created.add(1);
            let (host, port, channel) =
                (&self.identity.host, self.identity.port, &self.identity.channel);
            let nick = connection.nick();
            tracing::info!(sink = context.name, nick, channel, "connected to {host}:{port}");
            if nick != self.identity.nick {
                tracing::warn!(sink = context.name, "the nickname {} is taken", self.identity.nick);
            }
            self.heard_at = context.clock.now();
            self.connection = Some(connection);
        }
        Ok(self.connection.as_mut().expect("it was opened above"))
    }

    /// Returns the next pause: doubled with each failure, up to a limit, and of that a random half to whole, so that
    /// clients of one server do not all reconnect at once.
    fn pause(&self) -> Duration {
        let longest = Duration::from_secs(1).saturating_mul(1 << self.failures.min(16));
        let longest = longest.min(self.pause_max);
        let share = SystemRandom.next_u64() % 1000;
        longest / 2 + (longest / 2000) * u32::try_from(share).unwrap_or(0)
    }

    fn hang_up(&mut self, context: &SinkContext) {
        if self.connection.take().is_some() {
            context.counters.connection_closed.add(1);
            // A client that is disconnected at once must pause before it reconnects.
            self.fail();
        }
    }

    fn fail(&mut self) {
        self.again_at = Some(Instant::now() + self.pause());
        self.failures = self.failures.saturating_add(1);
    }

    async fn speak(&mut self, context: &SinkContext, texts: &[String]) -> Result<(), IrcError> {
        self.connect(context).await?.say(texts).await?;
        // Joining is not enough: sending to the channel may be forbidden.
        if !texts.is_empty() {
            self.failures = 0;
        }
        Ok(())
    }

    fn failure(&self, error: IrcError) -> Failure {
        let IrcLogin { host, port, channel, .. } = &self.identity;
        Failure::caused(format!("cannot speak in {channel} of {host}:{port}"), error)
    }
}

/// Returns when the sink is to stop and has had `grace` for its pending event. A memory channel is drained after a
/// stop, so the stop alone ends nothing.
async fn stopped(context: &SinkContext, grace: Duration) {
    context.stop.wait().await;
    tokio::time::sleep(grace).await;
}

impl Sink for IrcSink {
    /// Refused are an event of too many lines, and one that cannot be split.
    fn may_refuse(&self) -> bool {
        true
    }

    fn batch_events(&self) -> usize {
        1
    }

    /// As in Flume, an unreachable server does not prevent the start.
    fn start<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            if let Err(error) = self.connect(context).await {
                let (host, port) = (&self.identity.host, self.identity.port);
                tracing::warn!(sink = context.name, "{host}:{port}: {error}");
            }
            Ok(())
        })
    }

    fn deliver<'a>(
        &'a mut self,
        context: &'a SinkContext,
        batch: &'a [Event],
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let mut texts = Vec::new();
            for event in batch {
                texts.extend(self.texts(event)?);
            }
            let stop = stopped(context, self.stop_max);
            let said = tokio::select! {
                said = self.speak(context, &texts) => said,
                () = stop => Err(IrcError::Stops),
            };
            said.map_err(|error| {
                if matches!(error, IrcError::TooLong) {
                    return self.failure(error).refused_for_ever();
                }
                self.hang_up(context);
                self.failure(error)
            })
        })
    }

    fn next_tick(&self) -> Option<Duration> {
        self.connection.as_ref()?;
        Some(self.heard_at + Duration::from_secs(IRC_LISTEN_SECONDS))
    }

    fn tick<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            self.heard_at = context.clock.now();
            let Some(connection) = &mut self.connection else { return Ok(()) };
            let listened = tokio::select! {
                listened = connection.listen() => listened,
                () = stopped(context, self.stop_max) => Err(IrcError::Stops),
            };
            listened.map_err(|error| {
                self.hang_up(context);
                self.failure(error)
            })
        })
    }

    fn stop<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        let connection = self.connection.take();
        Box::pin(async move {
            if let Some(connection) = connection {
                context.counters.connection_closed.add(1);
                connection.quit().await;
            }
            Ok(())
        })
    }
}
