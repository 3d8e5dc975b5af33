//! `irc`: each event as what a client says in a channel of an IRC server.
//!
//! Limits: one event for each transaction, as in Flume; [`IRC_LINES_TOGETHER`] lines, then the server is
//! asked whether it has taken them, and [`IRC_PACE_MS`] until the next of the same event; a line of [`LINE_BYTES_MAX`](crate::wire::irc::LINE_BYTES_MAX) bytes;
//! [`IRC_LINES_PER_EVENT_MAX`] lines of an event, one with more is refused for good;
//! [`IRC_STOP_SECONDS_MAX`] for an event in hand at a stop.
//!
//! The story: one connection, opened when it is needed; the client registers under its nickname, or one
//! like it, and joins. A text goes out in lines that nobody on the way has to cut. Then a `PING`: servers
//! carry out what they are told in order, so that its `PONG` says that the lines are in the channel.
//! Any failure closes the connection, and the event comes again after a pause that grows and is drawn by lot.
//! While no events come, what the server asks is answered every few seconds.
//!
//! Invariants: no wait without a deadline; nothing is acknowledged before the server has taken it; no event
//! can make this say anything but text: line ends in it become blanks, or are where it is split, and so
//! does the character by which clients know a command to each other (CTCP).

mod connection;

#[cfg(test)]
mod tests;

#[cfg(doc)]
use crate::base::limits::IRC_LINES_TOGETHER;
use crate::base::limits::{
    IRC_ANSWER_SECONDS_MAX, IRC_CONNECT_SECONDS_MAX, IRC_LINES_PER_EVENT_MAX, IRC_LISTEN_SECONDS,
    IRC_PACE_MS, IRC_PAUSE_SECONDS_MAX, IRC_STOP_SECONDS_MAX, IRC_WELCOME_SECONDS_MAX,
};
use crate::base::random::{Random, SystemRandom};
use crate::channel::BoxFuture;
use crate::config::settings::{Key, Kind, SettingError, SettingsReader};
use crate::event::Event;
use crate::flow::sink::{Failure, Sink, SinkContext, SinkType};
use crate::pattern::Pattern;
use connection::{Connection, Identity, IrcError, Patience};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The type `irc`.
pub const TYPE: SinkType = SinkType {
    names: &["irc", "org.apache.flume.sink.irc.IRCSink"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const PORT: u16 = 6667;

/// What a text begins with that a client takes for a command: to answer, to fetch a file.
const CTCP: char = '\u{1}';

const KEYS: &[Key] = &[
    Key {
        name: "hostname",
        kind: Kind::Host,
        default: "",
        meaning: "The server's name or address.",
    },
    Key { name: "port", kind: Kind::Port, default: "6667", meaning: "The server's port." },
    Key {
        name: "nick",
        kind: Kind::Text,
        default: "",
        meaning: "Nickname; where it is taken, one like it.",
    },
    Key { name: "password", kind: Kind::Text, default: "", meaning: "The server's password." },
    Key {
        name: "user",
        kind: Kind::Text,
        default: "",
        meaning: "User name; the nickname where it is not set.",
    },
    Key {
        name: "name",
        kind: Kind::Text,
        default: "",
        meaning: "Real name; the nickname where it is not set.",
    },
    Key {
        name: "chan",
        kind: Kind::Text,
        default: "",
        meaning: "Channel, without the # before it.",
    },
    Key {
        name: "splitlines",
        kind: Kind::Boolean,
        default: "false",
        meaning: "Whether a body is split, each part said by itself. Without it line ends become blanks.",
    },
    Key {
        name: "splitchars",
        kind: Kind::Text,
        default: "",
        meaning: "Java regular expression at which it is split; a newline where it is not set.",
    },
];

struct Irc {
    identity: Identity,
    /// Where bodies are split, if they are.
    split: Option<Pattern>,
    patience: Patience,
    pause_max: Duration,
    /// What an event in hand may still take at a stop.
    stop_max: Duration,
    connection: Option<Connection>,
    /// When the server was last listened to, by the context's clock.
    heard_at: Duration,
    /// Attempts in a row that failed, and when the next one may be made.
    failures: u32,
    again_at: Option<Instant>,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<Irc, SettingError> {
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
    Ok(Irc {
        identity: Identity { host, port, nick, password, user, name, channel },
        split,
        patience: Patience {
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

/// A word of a command: without blanks, and not taken for a text or several.
fn word(reader: &SettingsReader<'_>, key: &str) -> Result<Option<String>, SettingError> {
    let Some(word) = reader.text(key) else { return Ok(None) };
    let legal = |c: char| !c.is_whitespace() && !c.is_control() && c != ',';
    if word.starts_with(':') || word.len() > 200 || !word.chars().all(legal) {
        return Err(reader.error(key, "is not a single word of 200 bytes at most, without commas"));
    }
    Ok(Some(word.to_owned()))
}

impl Irc {
    /// What is said of an event, in order.
    fn texts(&self, event: &Event) -> Result<Vec<String>, Failure> {
        let body = String::from_utf8_lossy(&event.body);
        let parts = match &self.split {
            None => vec![body.as_ref()],
            Some(pattern) => pattern.split(&body).map_err(|error| {
                Failure::caused("splitchars cannot split an event", error).refused()
            })?,
        };
        let text = |part: &str| part.trim_end_matches(['\r', '\n', '\0', CTCP]).replace(CTCP, " ");
        // Servers refuse a message without text. One text more than is said is enough to refuse all.
        let texts = parts.into_iter().map(text).filter(|text| !text.is_empty());
        Ok(texts.take(IRC_LINES_PER_EVENT_MAX + 1).collect())
    }

    async fn connect(&mut self, context: &SinkContext) -> Result<&mut Connection, IrcError> {
        if self.connection.is_none() {
            if let Some(at) = self.again_at {
                tokio::select! {
                    () = sleep_until(at) => {}
                    () = context.stop.wait() => {}
                }
            }
            let opened = Connection::open(&self.identity, self.patience).await;
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

    /// Twice as long with each failure, up to a bound, and of that a half to the whole: clients that
    /// lost the same server do not all come back at once.
    fn pause(&self) -> Duration {
        let longest = Duration::from_secs(1).saturating_mul(1 << self.failures.min(16));
        let longest = longest.min(self.pause_max);
        let share = SystemRandom.next_u64() % 1000;
        longest / 2 + (longest / 2000) * u32::try_from(share).unwrap_or(0)
    }

    fn hang_up(&mut self, context: &SinkContext) {
        if self.connection.take().is_some() {
            context.counters.connection_closed.add(1);
            // Whoever is thrown out at once does not come back at once.
            self.fail();
        }
    }

    fn fail(&mut self) {
        self.again_at = Some(Instant::now() + self.pause());
        self.failures = self.failures.saturating_add(1);
    }

    async fn speak(&mut self, context: &SinkContext, texts: &[String]) -> Result<(), IrcError> {
        self.connect(context).await?.say(texts).await?;
        // To be let in is not enough: a channel may be joined and nothing said in it.
        if !texts.is_empty() {
            self.failures = 0;
        }
        Ok(())
    }

    fn failure(&self, error: IrcError) -> Failure {
        let Identity { host, port, channel, .. } = &self.identity;
        Failure::caused(format!("cannot speak in {channel} of {host}:{port}"), error)
    }
}

/// Returns when the sink is to stop and has had `grace` for what it is about. A channel in memory is
/// emptied behind a stop, so that one alone ends nothing.
async fn stopped(context: &SinkContext, grace: Duration) {
    context.stop.wait().await;
    tokio::time::sleep(grace).await;
}

impl Sink for Irc {
    /// An event of too many lines, or one that cannot be split.
    fn may_refuse(&self) -> bool {
        true
    }

    fn batch_events(&self) -> usize {
        1
    }

    /// As in Flume a server that is not there yet is no reason not to start.
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
                    return self.failure(error).refused();
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
