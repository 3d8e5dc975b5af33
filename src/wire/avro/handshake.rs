//! How the two sides of a connection learn each other's protocol, before the first call.
//!
//! The client names the hash of its text and of the text it takes for the server's. A server that
//! does not know the hash answers [`Match::None`] with its own text; the client then sends the
//! same call again with its text. After any other answer the connection is established and no
//! message has a handshake any more.

use super::WireError;
use super::protocol::{HASH, Hash, TEXT};
use super::values::{Values, put_bytes, put_count, put_long};
use crate::base::limits::{AVRO_PROTOCOL_BYTES_MAX, CLIENT_NAME_BYTES_MAX};

/// The keys of the metadata under which a client of ours says who it is. Others read over them.
const AGENT: &str = "millpond.agent";
const SINK: &str = "millpond.sink";

/// How a client calls itself; each name may be empty, which is not to say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientName<'a> {
    /// Its agent.
    pub agent: &'a str,
    /// The sink of it that sends.
    pub sink: &'a str,
}

impl<'a> ClientName<'a> {
    fn is_empty(&self) -> bool {
        self.agent.is_empty() && self.sink.is_empty()
    }

    /// Reads it out of a map of metadata. A name that is too long, or holds what is no part of a name, is
    /// none: a client is not turned away for it.
    fn decode(values: &mut Values<'a>, what: &'static str) -> Result<Self, WireError> {
        let mut name = Self::default();
        loop {
            let items = values.block(2, what)?;
            if items == 0 {
                return Ok(name);
            }
            for _ in 0..items {
                let (key, value) = (values.bytes(what)?, values.bytes(what)?);
                let text = std::str::from_utf8(value).unwrap_or_default();
                if text.len() > CLIENT_NAME_BYTES_MAX || text.chars().any(char::is_control) {
                    continue;
                }
                if key == AGENT.as_bytes() {
                    name.agent = text;
                } else if key == SINK.as_bytes() {
                    name.sink = text;
                }
            }
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let both = [(AGENT, self.agent), (SINK, self.sink)];
        let said: Vec<_> = both.into_iter().filter(|(_, name)| !name.is_empty()).collect();
        put_count(out, said.len());
        for (key, name) in said {
            put_bytes(out, key.as_bytes());
            put_bytes(out, name.as_bytes());
        }
        put_long(out, 0);
    }
}

/// What a client begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The hash of its text.
    pub client_hash: Hash,
    /// Its text, when the server asked for it.
    pub client_text: Option<&'a str>,
    /// The hash of what it takes for the server's text.
    pub server_hash: Hash,
    /// Who it says it is.
    pub client: ClientName<'a>,
}

impl<'a> Request<'a> {
    /// Reads it from the front of a message.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn decode(values: &mut Values<'a>) -> Result<Self, WireError> {
        let client_hash = values.hash("the client's hash")?;
        let client_text = match values.is_some("the client's protocol")? {
            true => Some(text(values, "the client's protocol")?),
            false => None,
        };
        let server_hash = values.hash("the server's hash")?;
        let client = match values.is_some("the handshake's metadata")? {
            true => ClientName::decode(values, "the handshake's metadata")?,
            false => ClientName::default(),
        };
        Ok(Self { client_hash, client_text, server_hash, client })
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.client_hash);
        put_long(out, i64::from(self.client_text.is_some()));
        if let Some(text) = self.client_text {
            put_bytes(out, text.as_bytes());
        }
        out.extend_from_slice(&self.server_hash);
        put_long(out, i64::from(!self.client.is_empty()));
        if !self.client.is_empty() {
            self.client.encode(out);
        }
    }
}

/// How well the two sides know each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// Each knows the other's text.
    Both = 0,
    /// The server knows the client's; the client did not know the server's.
    Client = 1,
    /// The server does not know the client's. The call was not looked at.
    None = 2,
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// How well they know each other.
    pub matched: Match,
    /// The server's text, unless the client knows it.
    pub server_text: Option<&'a str>,
    /// Its hash, likewise.
    pub server_hash: Option<Hash>,
}

impl<'a> Response<'a> {
    /// What this side answers to `request`, when it knows the client's text or does not.
    #[must_use]
    pub fn to(request: &Request<'_>, knows_client: bool) -> Self {
        let matched = match (knows_client, request.server_hash == HASH) {
            (false, _) => Match::None,
            (true, false) => Match::Client,
            (true, true) => Match::Both,
        };
        let told = matched != Match::Both;
        let (text, hash) = (told.then_some(TEXT), told.then_some(HASH));
        Self { matched, server_text: text, server_hash: hash }
    }

    /// Reads it from the front of a message.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn decode(values: &mut Values<'a>) -> Result<Self, WireError> {
        let matched = match values.long("the match of a handshake")? {
            0 => Match::Both,
            1 => Match::Client,
            2 => Match::None,
            number => return Err(WireError::Number { what: "the match of a handshake", number }),
        };
        let server_text = match values.is_some("the server's protocol")? {
            true => Some(text(values, "the server's protocol")?),
            false => None,
        };
        let server_hash = match values.is_some("the server's hash")? {
            true => Some(values.hash("the server's hash")?),
            false => None,
        };
        if values.is_some("the handshake's metadata")? {
            values.skip_map("the handshake's metadata")?;
        }
        Ok(Self { matched, server_text, server_hash })
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_long(out, self.matched as i64);
        put_long(out, i64::from(self.server_text.is_some()));
        if let Some(text) = self.server_text {
            put_bytes(out, text.as_bytes());
        }
        put_long(out, i64::from(self.server_hash.is_some()));
        if let Some(hash) = self.server_hash {
            out.extend_from_slice(&hash);
        }
        put_long(out, 0);
    }
}

fn text<'a>(values: &mut Values<'a>, what: &'static str) -> Result<&'a str, WireError> {
    let text = values.text(what)?;
    match text.len() {
        ..=AVRO_PROTOCOL_BYTES_MAX => Ok(text),
        _ => Err(WireError::TooLarge { what, max: AVRO_PROTOCOL_BYTES_MAX }),
    }
}
