//! IRC (RFC 1459, RFC 2812), as far as a client needs it to join a channel and send messages.
//!
//! Limits: [`LINE_BYTES_MAX`] for a sent line, its end included.
//!
//! Invariant: [`put`] appends exactly one line, whatever its text contains: a line end within it could begin
//! another command.

/// Most bytes of a line, its two-byte end included. Servers cut longer lines.
pub const LINE_BYTES_MAX: usize = 512;

/// Most bytes of a host name in the prefix of a relayed line (RFC 2812, 2.3.1).
const HOST_BYTES_MAX: usize = 63;

/// A received line.
///
/// # Examples
/// ```
/// # use millpond_adapters::wire::irc::IrcMessage;
/// let message = IrcMessage::parse(":pond!p@host PRIVMSG #logs :two words").expect("a line");
/// assert_eq!((message.nick(), message.command), (Some("pond"), "PRIVMSG"));
/// assert_eq!(message.parameters, ["#logs", "two words"]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IrcMessage<'a> {
    /// Its sender; `None` for the connected server.
    pub prefix: Option<&'a str>,
    /// A word, or a number of three digits.
    pub command: &'a str,
    /// What follows.
    pub parameters: Vec<&'a str>,
}

impl<'a> IrcMessage<'a> {
    /// Parses a line without its end; `None` without a command.
    #[must_use]
    pub fn parse(line: &'a str) -> Option<Self> {
        let mut rest = line.trim_end_matches(['\r', '\n']);
        // Tags of newer servers, which were not requested.
        if rest.starts_with('@') {
            rest = rest.split_once(' ')?.1;
        }
        let mut prefix = None;
        if let Some(behind) = rest.strip_prefix(':') {
            let (who, command) = behind.split_once(' ')?;
            (prefix, rest) = (Some(who), command);
        }
        let (words, text) = match rest.split_once(" :") {
            Some((words, text)) => (words, Some(text)),
            None => (rest, None),
        };
        let mut words = words.split(' ').filter(|word| !word.is_empty());
        let command = words.next()?;
        Some(Self { prefix, command, parameters: words.chain(text).collect() })
    }

    /// Returns the sender's nickname.
    #[must_use]
    pub fn nick(&self) -> Option<&'a str> {
        self.prefix.and_then(|prefix| prefix.split(['!', '@']).next())
    }

    /// Returns the parameter at that index, or an empty text.
    #[must_use]
    pub fn parameter(&self, at: usize) -> &'a str {
        self.parameters.get(at).copied().unwrap_or_default()
    }
}

/// Appends one line: words, then a text that may contain blanks. Line ends and zeroes become blanks.
///
/// # Examples
/// ```
/// # use millpond_adapters::wire::irc::put;
/// let mut out = Vec::new();
/// put(&mut out, "PRIVMSG #logs", Some("hi\r\nQUIT"));
/// assert_eq!(out, b"PRIVMSG #logs :hi  QUIT\r\n");
/// ```
pub fn put(out: &mut Vec<u8>, words: &str, text: Option<&str>) {
    let harmless = |byte: u8| if matches!(byte, b'\r' | b'\n' | 0) { b' ' } else { byte };
    out.extend(words.bytes().map(harmless));
    if let Some(text) = text {
        out.extend_from_slice(b" :");
        out.extend(text.bytes().map(harmless));
    }
    out.extend_from_slice(b"\r\n");
}

/// Returns the bytes of text that reach the members of `channel` in one line: the server prepends the sender and
/// cuts what is too long then.
#[must_use]
pub fn text_bytes_max(nick: &str, user: &str, channel: &str) -> usize {
    let head =
        ":!~@ PRIVMSG  :\r\n".len() + nick.len() + user.len() + HOST_BYTES_MAX + channel.len();
    // A nickname and a channel have some 200 bytes at most; some room always remains.
    LINE_BYTES_MAX.saturating_sub(head).max(LINE_BYTES_MAX / 8)
}

/// Splits a text into lines: at most `room` bytes each, also split at line ends, none empty.
pub fn pieces(text: &str, room: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = rest.len().min(room);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        // A single character without room is one line.
        let end =
            if end == 0 { rest.chars().next().map_or(rest.len(), char::len_utf8) } else { end };
        let (piece, behind) = rest.split_at(end);
        rest = behind;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_of_servers_are_read_as_they_write_them() {
        let parse = |line| IrcMessage::parse(line).map(|m| (m.prefix, m.command, m.parameters));
        for (line, wanted) in [
            ("PING :irc.test\r\n", Some((None, "PING", vec!["irc.test"]))),
            (
                ":irc.test 001 me :Welcome me!",
                Some((Some("irc.test"), "001", vec!["me", "Welcome me!"])),
            ),
            (":a!b@c  JOIN   #x", Some((Some("a!b@c"), "JOIN", vec!["#x"]))),
            (
                "@time=1 :s 366 me #x :End of :it",
                Some((Some("s"), "366", vec!["me", "#x", "End of :it"])),
            ),
            (":s KICK #x me :", Some((Some("s"), "KICK", vec!["#x", "me", ""]))),
            ("", None),
            (":only", None),
            ("@tag", None),
        ] {
            assert_eq!(parse(line), wanted, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_sent_is_one_line_and_reads_back(text in ".{0,300}", raw in proptest::collection::vec(any::<u8>(), 0..100)) {
            let raw = String::from_utf8_lossy(&raw).into_owned();
            for text in [text, raw] {
                let mut out = Vec::new();
                put(&mut out, "PRIVMSG #x", Some(&text));
                prop_assert_eq!(out.iter().filter(|byte| matches!(byte, b'\r' | b'\n' | 0)).count(), 2);
                prop_assert!(out.ends_with(b"\r\n"));
                let line = String::from_utf8(out).unwrap();
                let message = IrcMessage::parse(&line).unwrap();
                prop_assert_eq!(message.command, "PRIVMSG");
                prop_assert_eq!(message.parameters[0], "#x");
                let harmless = text.replace(['\r', '\n', '\0'], " ");
                prop_assert_eq!(message.parameters[1], harmless);
            }
        }

        #[test]
        fn pieces_are_all_of_a_text_and_fit(text in ".{0,600}", room in 1usize..100) {
            let all: Vec<&str> = pieces(&text, room).collect();
            prop_assert_eq!(all.concat(), &text[..]);
            for piece in all {
                prop_assert!(!piece.is_empty() && (piece.len() <= room || piece.chars().count() == 1));
            }
        }

        #[test]
        fn any_line_is_a_message_or_none(line in ".{0,200}") {
            let _ = IrcMessage::parse(&line);
        }
    }

    #[test]
    fn a_line_has_room_for_what_the_server_puts_before_it() {
        let (nick, user, channel) = ("pond", "pond", "#logs");
        let text = "x".repeat(text_bytes_max(nick, user, channel));
        let host = "h".repeat(HOST_BYTES_MAX);
        let relayed = format!(":{nick}!~{user}@{host} PRIVMSG {channel} :{text}\r\n");
        assert_eq!(relayed.len(), LINE_BYTES_MAX);
    }
}
