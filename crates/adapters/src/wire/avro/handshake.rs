//! The handshake, in which both sides learn each other's protocol before the first call.
//!
//! The client sends the hash of its text and of the text that it expects of the server. A server that does not
//! know the hash replies [`HandshakeMatch::None`] with its own text; the client then repeats the call with its
//! text. After any other reply the connection is established and no further message has a handshake.

use super::AvroError;
use super::protocol::{HASH, ProtocolHash, TEXT};
use super::values::{AvroReader, put_bytes, put_count, put_long};
use millpond_flow::base::limits::{AVRO_PROTOCOL_BYTES_MAX, CLIENT_NAME_BYTES_MAX};

/// The metadata keys with which a client of millpond identifies itself. Other servers ignore them.
const AGENT: &str = "millpond.agent";
const SINK: &str = "millpond.sink";

/// The names that a client states; each may be empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientName<'a> {
    /// Its agent.
    pub agent: &'a str,
    /// Its sink.
    pub sink: &'a str,
}

impl<'a> ClientName<'a> {
    fn is_empty(&self) -> bool {
        self.agent.is_empty() && self.sink.is_empty()
    }

    /// Reads the names from a metadata map. A name that is too long or has invalid characters is ignored: the
    /// client is not refused for it.
    fn decode(values: &mut AvroReader<'a>, what: &'static str) -> Result<Self, AvroError> {
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

/// The begin of a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeRequest<'a> {
    /// The hash of its text.
    pub client_hash: ProtocolHash,
    /// Its text, if the server requested it.
    pub client_text: Option<&'a str>,
    /// The hash of the text that it expects of the server.
    pub server_hash: ProtocolHash,
    /// The names that it states.
    pub client: ClientName<'a>,
}

impl<'a> HandshakeRequest<'a> {
    /// Reads it from the front of a message.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn decode(values: &mut AvroReader<'a>) -> Result<Self, AvroError> {
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

    /// Appends its encoding.
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

/// Which sides know each other's protocol text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeMatch {
    /// Each knows the other's text.
    Both = 0,
    /// The server knows the client's; the client did not know the server's.
    Client = 1,
    /// The server does not know the client's. The call was not processed.
    None = 2,
}

/// A server's part of the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeResponse<'a> {
    /// Which sides know each other.
    pub matched: HandshakeMatch,
    /// The server's text, unless the client knows it.
    pub server_text: Option<&'a str>,
    /// Its hash, unless the client knows it.
    pub server_hash: Option<ProtocolHash>,
}

impl<'a> HandshakeResponse<'a> {
    /// Returns the response to `request`, depending on whether this side knows the client's text.
    #[must_use]
    pub fn to(request: &HandshakeRequest<'_>, knows_client: bool) -> Self {
        let matched = match (knows_client, request.server_hash == HASH) {
            (false, _) => HandshakeMatch::None,
            (true, false) => HandshakeMatch::Client,
            (true, true) => HandshakeMatch::Both,
        };
        let told = matched != HandshakeMatch::Both;
        let (text, hash) = (told.then_some(TEXT), told.then_some(HASH));
        Self { matched, server_text: text, server_hash: hash }
    }

    /// Reads it from the front of a message.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn decode(values: &mut AvroReader<'a>) -> Result<Self, AvroError> {
        let matched = match values.long("the match of a handshake")? {
            0 => HandshakeMatch::Both,
            1 => HandshakeMatch::Client,
            2 => HandshakeMatch::None,
            number => return Err(AvroError::Number { what: "the match of a handshake", number }),
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

    /// Appends its encoding.
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

fn text<'a>(values: &mut AvroReader<'a>, what: &'static str) -> Result<&'a str, AvroError> {
    let text = values.text(what)?;
    match text.len() {
        ..=AVRO_PROTOCOL_BYTES_MAX => Ok(text),
        _ => Err(AvroError::TooLarge { what, max: AVRO_PROTOCOL_BYTES_MAX }),
    }
}
