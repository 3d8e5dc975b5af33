//! A connection to an IRC server: registered and joined to its channel, with a deadline for every wait.

use crate::wire::irc::{self, IrcMessage};
use bytes::BytesMut;
use millpond_flow::base::limits::{
    CONNECTION_READ_BYTES, IRC_LINE_BYTES_READ_MAX, IRC_LINES_PER_EVENT_MAX, IRC_LINES_TOGETHER,
    IRC_NICKS_TRIED,
};
use millpond_flow::net::connect::{ConnectError, Layers, connect};
use millpond_flow::net::stream::Stream;
use std::io;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Most characters of a server's text that a message repeats.
const WORDS_MAX: usize = 200;

/// Bytes of a nickname that every server accepts (RFC 1459, 1.2).
const NICK_BYTES: usize = 9;

/// The reason why a line is not known to have reached the channel.
#[derive(Debug, thiserror::Error)]
pub(super) enum IrcError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("the server ended the connection: {0}")]
    Ended(String),
    #[error("the server said nothing for {} ms that was waited for", .0.as_millis())]
    Timeout(Duration),
    #[error(
        "the server sends a line of more than {IRC_LINE_BYTES_READ_MAX} bytes; is it one of IRC"
    )]
    Endless,
    #[error("the nickname {0:?} is taken, and so are its alternatives; it is retried, or set nick")]
    NickTaken(String),
    #[error("the server does not let this client in: {0}")]
    NotLetIn(String),
    #[error("the channel cannot be joined: {0}")]
    NotJoined(String),
    #[error("the server does not take the message: {0}")]
    NotTaken(String),
    #[error("kicked out of the channel: {0}")]
    Kicked(String),
    #[error(
        "the event has more than {IRC_LINES_PER_EVENT_MAX} lines, the most that are said of one; nothing of it was said"
    )]
    TooLong,
    #[error("the sink stops")]
    Stops,
}

/// The client's identity, and the channel to join.
#[derive(Clone, Debug)]
pub(super) struct IrcLogin {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) nick: String,
    pub(super) password: Option<String>,
    pub(super) user: String,
    pub(super) name: String,
    /// With its `#`.
    pub(super) channel: String,
}

/// Time limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct IrcTimeouts {
    pub(super) connect: Duration,
    /// Limit for registering and joining.
    pub(super) welcome: Duration,
    /// Limit for the server to accept a few lines: it slows down clients that send many.
    pub(super) answer: Duration,
    /// Pause between groups of lines of one event.
    pub(super) pace: Duration,
}

/// A client in its channel.
pub(super) struct IrcConnection {
    stream: Stream,
    input: BytesMut,
    /// The nickname known to the server.
    nick: String,
    user: String,
    channel: String,
    questions: u64,
    timeouts: IrcTimeouts,
}

impl IrcConnection {
    pub(super) async fn open(who: &IrcLogin, timeouts: IrcTimeouts) -> Result<Self, IrcError> {
        let stream = connect(&who.host, who.port, Layers::default(), timeouts.connect).await?;
        let (input, nick) = (BytesMut::new(), who.nick.clone());
        let (user, channel) = (who.user.clone(), who.channel.clone());
        let mut connection = Self { stream, input, nick, user, channel, questions: 0, timeouts };
        connection.register(who).await?;
        connection.join().await?;
        Ok(connection)
    }

    /// Returns the nickname known to the server.
    pub(super) fn nick(&self) -> &str {
        &self.nick
    }

    async fn register(&mut self, who: &IrcLogin) -> Result<(), IrcError> {
        let mut out = Vec::new();
        if let Some(password) = &who.password {
            irc::put(&mut out, "PASS", Some(password));
        }
        irc::put(&mut out, &format!("NICK {}", self.nick), None);
        irc::put(&mut out, &format!("USER {} 0 *", who.user), Some(&who.name));
        self.send(&out).await?;
        let deadline = Instant::now() + self.timeouts.welcome;
        let mut tried = 0;
        loop {
            let line = self.line(deadline, self.timeouts.welcome).await?;
            let Some(message) = IrcMessage::parse(&line) else { continue };
            match message.command {
                "001" => {
                    self.nick = message.parameter(0).to_owned();
                    return Ok(());
                }
                // Invalid (an alternative may be too long), in use, collision, not available.
                "432" | "433" | "436" | "437" => {
                    tried += 1;
                    if tried > IRC_NICKS_TRIED {
                        return Err(IrcError::NickTaken(who.nick.clone()));
                    }
                    self.nick = alternative(&who.nick, tried);
                    let mut out = Vec::new();
                    irc::put(&mut out, &format!("NICK {}", self.nick), None);
                    self.send(&out).await?;
                }
                "451" | "461" | "462" | "463" | "464" | "465" => {
                    return Err(IrcError::NotLetIn(words(&message)));
                }
                _ => {}
            }
        }
    }

    /// Joins, and waits for the server's confirmation: messages sent before it are lost silently.
    async fn join(&mut self) -> Result<(), IrcError> {
        let mut out = Vec::new();
        irc::put(&mut out, &format!("JOIN {}", self.channel), None);
        self.send(&out).await?;
        let deadline = Instant::now() + self.timeouts.welcome;
        loop {
            let line = self.line(deadline, self.timeouts.welcome).await?;
            let Some(message) = IrcMessage::parse(&line) else { continue };
            match message.command {
                // The end of the list of members.
                "366" if message.parameter(1).eq_ignore_ascii_case(&self.channel) => return Ok(()),
                "403" | "405" | "407" | "437" | "461" | "471" | "473" | "474" | "475" | "476"
                | "477" => return Err(IrcError::NotJoined(words(&message))),
                _ => {}
            }
        }
    }

    /// Sends each text, in several lines if it is long, and returns once the server has accepted all. If there are
    /// more lines than [`IRC_LINES_PER_EVENT_MAX`], none is sent.
    pub(super) async fn say(&mut self, texts: &[String]) -> Result<(), IrcError> {
        let room = irc::text_bytes_max(&self.nick, &self.user, &self.channel);
        let lines = texts.iter().flat_map(|text| irc::pieces(text, room));
        let lines: Vec<&str> = lines.take(IRC_LINES_PER_EVENT_MAX + 1).collect();
        if lines.len() > IRC_LINES_PER_EVENT_MAX {
            return Err(IrcError::TooLong);
        }
        for (at, few) in lines.chunks(IRC_LINES_TOGETHER).enumerate() {
            if at > 0 {
                sleep(self.timeouts.pace).await;
            }
            let mut out = Vec::new();
            for line in few {
                irc::put(&mut out, &format!("PRIVMSG {}", self.channel), Some(line));
            }
            self.questions += 1;
            let question = format!("millpond-{}", self.questions);
            irc::put(&mut out, "PING", Some(&question));
            self.send(&out).await?;
            self.taken(&question).await?;
        }
        Ok(())
    }

    /// Waits for the reply to `question`: a server carries out lines in order, so by then it has carried out those
    /// before, and has reported those that it refuses.
    async fn taken(&mut self, question: &str) -> Result<(), IrcError> {
        let deadline = Instant::now() + self.timeouts.answer;
        loop {
            let line = self.line(deadline, self.timeouts.answer).await?;
            let Some(message) = IrcMessage::parse(&line) else { continue };
            match message.command {
                "PONG" if message.parameters.last() == Some(&question) => return Ok(()),
                "263" | "401" | "402" | "403" | "404" | "405" | "407" | "411" | "412" | "413"
                | "414" | "417" | "421" | "442" | "451" => {
                    return Err(IrcError::NotTaken(words(&message)));
                }
                _ => {}
            }
        }
    }

    /// Reads what the server has sent unasked, without waiting, and replies to its pings.
    pub(super) async fn listen(&mut self) -> Result<(), IrcError> {
        loop {
            while let Some(line) = self.whole_line()? {
                self.heed(&line).await?;
            }
            let read = self.stream.read_some(&mut self.input, CONNECTION_READ_BYTES);
            match timeout(Duration::ZERO, read).await {
                Err(_) => return Ok(()),
                Ok(Ok(0)) => return Err(IrcError::Closed),
                Ok(read) => drop(read?),
            }
        }
    }

    /// Sends QUIT, as far as the server reads.
    pub(super) async fn quit(mut self) {
        let mut out = Vec::new();
        irc::put(&mut out, "QUIT", Some("millpond stops"));
        let goodbye = async {
            let _ = self.send(&out).await;
            let _ = self.stream.shutdown().await;
        };
        let _ = timeout(Duration::from_secs(1), goodbye).await;
    }

    /// Has the test server send a ping.
    #[cfg(test)]
    pub(super) async fn ask_for_a_question(&mut self) {
        self.send(b"PRIVMSG #logs :one more\r\n").await.unwrap();
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), IrcError> {
        let timeouts = self.timeouts.answer;
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        timeout(timeouts, written).await.map_err(|_| IrcError::Timeout(timeouts))??;
        Ok(())
    }

    /// Returns the next line that [`IrcConnection::heed`] does not consume.
    async fn line(&mut self, deadline: Instant, waited: Duration) -> Result<String, IrcError> {
        loop {
            if let Some(line) = self.whole_line()? {
                if !self.heed(&line).await? {
                    return Ok(line);
                }
                continue;
            }
            let read = self.stream.read_some(&mut self.input, CONNECTION_READ_BYTES);
            match timeout_at(deadline, read).await {
                Err(_) => return Err(IrcError::Timeout(waited)),
                Ok(Ok(0)) => return Err(IrcError::Closed),
                Ok(read) => drop(read?),
            }
        }
    }

    fn whole_line(&mut self) -> Result<Option<String>, IrcError> {
        match memchr::memchr(b'\n', &self.input) {
            Some(end) if end < IRC_LINE_BYTES_READ_MAX => {
                let line = self.input.split_to(end + 1);
                Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()))
            }
            None if self.input.len() < IRC_LINE_BYTES_READ_MAX => Ok(None),
            _ => Err(IrcError::Endless),
        }
    }

    /// Handles a line that may come at any time; returns whether it was one.
    async fn heed(&mut self, line: &str) -> Result<bool, IrcError> {
        let Some(message) = IrcMessage::parse(line) else { return Ok(true) };
        let is_me = |nick: &str| nick.eq_ignore_ascii_case(&self.nick);
        match message.command {
            "PING" => {
                let mut out = Vec::new();
                irc::put(&mut out, "PONG", Some(message.parameters.last().unwrap_or(&"")));
                self.send(&out).await?;
                Ok(true)
            }
            "ERROR" => Err(IrcError::Ended(words(&message))),
            "KICK" if is_me(message.parameter(1)) => Err(IrcError::Kicked(words(&message))),
            "KILL" if is_me(message.parameter(0)) => Err(IrcError::Ended(words(&message))),
            "NICK" if message.nick().is_some_and(is_me) => {
                self.nick = message.parameter(0).to_owned();
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

/// Returns another nickname: with underscores appended, or in the place of its last letters where it would be longer
/// than every server allows.
fn alternative(nick: &str, number: usize) -> String {
    let mut end = nick.len().min(NICK_BYTES.saturating_sub(number).max(1));
    while !nick.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{}", &nick[..end], "_".repeat(number))
}

/// Returns a reply's number and text.
fn words(message: &IrcMessage<'_>) -> String {
    let text = message.parameters.join(" ");
    let shown = text.chars().filter(|c| !c.is_control()).take(WORDS_MAX);
    format!("{} {}", message.command, shown.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alternative_nickname_keeps_as_much_as_its_length_allows() {
        let names = |nick| [1, 2, 3].map(|number| alternative(nick, number));
        assert_eq!(names("pond"), ["pond_", "pond__", "pond___"]);
        assert_eq!(names("millponds"), ["millpond_", "millpon__", "millpo___"]);
        assert_eq!(names("größerer")[0], "größer_", "between characters");
    }
}
