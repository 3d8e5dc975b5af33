//! The bytes of ZooKeeper's protocol: what a client that reads a node sends and gets.
//!
//! Limits: [`FRAME_BYTES_MAX`]. Numbers are big-endian; a message is its length and so many bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use millpond_flow::base::limits::CONFIG_BYTES_MAX;
use std::time::Duration;

/// The most bytes of a server's message, without its length: a node as long as a configuration may be, and its
/// description.
pub(crate) const FRAME_BYTES_MAX: usize = CONFIG_BYTES_MAX as usize + 64 * 1024;

/// The code of a reply: there is no such node.
pub(crate) const NO_NODE: i32 = -101;
/// The code of a reply: the node may not be read.
pub(crate) const NO_AUTH: i32 = -102;

const EVENT: i32 = -1;
const PING: i32 = -2;
const AUTH: i32 = -4;
const EXISTS: i32 = 3;
const READ: i32 = 4;
const PING_TYPE: i32 = 11;
const AUTH_TYPE: i32 = 100;
const CLOSE_TYPE: i32 = -11;
/// Bytes of a session's password.
const PASSWORD_BYTES: i32 = 16;

/// What is not a message of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WireError(pub(crate) &'static str);

/// The server's reply to the request of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionGrant {
    /// The session; 0 if it is refused.
    pub(crate) id: i64,
    /// After so long without a message the server ends it.
    pub(crate) timeout: Duration,
}

/// A message of the server in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerMessage<'a> {
    /// The reply to a ping.
    Pong,
    /// The reply to an authentication; 0 if it is accepted.
    Authenticated(i32),
    /// A watch has fired, or the session's state has changed.
    Event,
    /// The reply to a request.
    Reply {
        /// The number of the request.
        xid: i32,
        /// The server's newest transaction.
        zxid: i64,
        /// 0, or the error's code.
        code: i32,
        /// What follows.
        body: &'a [u8],
    },
}

fn frame(payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(4 + payload.len());
    out.put_i32(i32::try_from(payload.len()).expect("requests are short"));
    out.put_slice(payload);
    out.freeze()
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.put_i32(i32::try_from(text.len()).expect("texts of requests are short"));
    out.put_slice(text);
}

/// Returns the request of a new session, refused by servers that have not applied `seen` yet.
pub(crate) fn connect(timeout: Duration, seen: i64) -> Bytes {
    let mut out = Vec::with_capacity(45);
    out.put_i32(0);
    out.put_i64(seen);
    out.put_i32(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX));
    out.put_i64(0);
    out.put_i32(PASSWORD_BYTES);
    out.put_bytes(0, 16);
    // A server without a quorum may reply with an old content: it is not asked.
    out.put_u8(0);
    frame(&out)
}

/// Returns the authentication of a user by the scheme `digest`.
pub(crate) fn digest(user: &str, password: &str) -> Bytes {
    let mut out = Vec::new();
    out.put_i32(AUTH);
    out.put_i32(AUTH_TYPE);
    out.put_i32(0);
    put_text(&mut out, b"digest");
    put_text(&mut out, format!("{user}:{password}").as_bytes());
    frame(&out)
}

/// Returns a ping.
pub(crate) fn ping() -> Bytes {
    let mut out = Vec::new();
    out.put_i32(PING);
    out.put_i32(PING_TYPE);
    frame(&out)
}

/// Returns the end of a session.
pub(crate) fn close(xid: i32) -> Bytes {
    let mut out = Vec::new();
    out.put_i32(xid);
    out.put_i32(CLOSE_TYPE);
    frame(&out)
}

/// Returns the request of a node's content, with a watch on its next change.
pub(crate) fn read_node(xid: i32, path: &str) -> Bytes {
    watched(xid, READ, path)
}

/// Returns the question whether a node is there, with a watch on its next change.
pub(crate) fn exists(xid: i32, path: &str) -> Bytes {
    watched(xid, EXISTS, path)
}

fn watched(xid: i32, kind: i32, path: &str) -> Bytes {
    let mut out = Vec::with_capacity(13 + path.len());
    out.put_i32(xid);
    out.put_i32(kind);
    put_text(&mut out, path.as_bytes());
    out.put_u8(1);
    frame(&out)
}

/// Decodes the reply to [`connect`].
pub(crate) fn session(mut bytes: &[u8]) -> Result<SessionGrant, WireError> {
    const SHORT: WireError = WireError("the begin of a session is too short");
    bytes.try_get_i32().map_err(|_| SHORT)?;
    let timeout = bytes.try_get_i32().map_err(|_| SHORT)?;
    let id = bytes.try_get_i64().map_err(|_| SHORT)?;
    let timeout =
        u64::try_from(timeout).map_err(|_| WireError("a session with a negative timeout"))?;
    Ok(SessionGrant { id, timeout: Duration::from_millis(timeout) })
}

/// Decodes a message in a session.
pub(crate) fn message(mut bytes: &[u8]) -> Result<ServerMessage<'_>, WireError> {
    const SHORT: WireError = WireError("the head of a reply is too short");
    let xid = bytes.try_get_i32().map_err(|_| SHORT)?;
    let zxid = bytes.try_get_i64().map_err(|_| SHORT)?;
    let code = bytes.try_get_i32().map_err(|_| SHORT)?;
    Ok(match xid {
        EVENT => ServerMessage::Event,
        PING => ServerMessage::Pong,
        AUTH => ServerMessage::Authenticated(code),
        xid => ServerMessage::Reply { xid, zxid, code, body: bytes },
    })
}

/// Returns the content of a node from the body of a reply to [`read_node`].
pub(crate) fn node_content(mut body: &[u8]) -> Result<&[u8], WireError> {
    let length = body.try_get_i32().map_err(|_| WireError("a node without a length"))?;
    // A node without content has the length -1.
    let length = usize::try_from(length).unwrap_or(0);
    body.get(..length).ok_or(WireError("a node is shorter than its length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_bytes_of_the_protocol() {
        let hex = |bytes: Bytes| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(hex(ping()), "00000008fffffffe0000000b");
        assert_eq!(hex(close(3)), "0000000800000003fffffff5");
        assert_eq!(
            hex(read_node(1, "/a")),
            "0000000f000000010000000400000002".to_owned() + "2f6101"
        );
        assert_eq!(hex(exists(2, "/a")), "0000000f000000020000000300000002".to_owned() + "2f6101");
        let digest = hex(digest("u", "p"));
        assert_eq!(
            digest,
            "0000001dfffffffc0000006400000000".to_owned()
                + "00000006646967657374"
                + "00000003753a70"
        );
        let begin = connect(Duration::from_millis(15_000), 7);
        assert_eq!(begin.len(), 4 + 45);
        assert_eq!(hex(begin.slice(..20)), "0000002d00000000000000000000000700003a98");
    }

    #[test]
    fn replies_are_decoded_and_short_ones_refused() {
        let mut grant = Vec::new();
        grant.put_i32(0);
        grant.put_i32(4000);
        grant.put_i64(9);
        let expected = SessionGrant { id: 9, timeout: Duration::from_secs(4) };
        assert_eq!(session(&grant), Ok(expected));
        assert!((0..grant.len()).all(|end| session(&grant[..end]).is_err()));
        let mut reply = Vec::new();
        reply.put_i32(5);
        reply.put_i64(6);
        reply.put_i32(0);
        put_text(&mut reply, b"abc");
        let Ok(ServerMessage::Reply { xid: 5, zxid: 6, code: 0, body }) = message(&reply) else {
            panic!("a reply")
        };
        assert_eq!(node_content(body), Ok(&b"abc"[..]));
        assert!((0..body.len()).all(|end| node_content(&body[..end]).is_err()));
        assert_eq!(node_content(&[0xff; 4]), Ok(&b""[..]));
        assert!((0..16).all(|end| message(&reply[..end]).is_err()));
    }

    #[test]
    fn no_byte_of_a_reply_makes_the_decoder_fail_otherwise_than_with_an_error() {
        let mut reply = Vec::new();
        reply.put_i32(5);
        reply.put_i64(6);
        reply.put_i32(0);
        put_text(&mut reply, b"abc");
        reply.put_bytes(0, 68);
        for at in 0..reply.len() {
            for byte in 0..=255 {
                let mut changed = reply.clone();
                changed[at] = byte;
                let _ = session(&changed);
                if let Ok(ServerMessage::Reply { body, .. }) = message(&changed) {
                    let _ = node_content(body);
                }
            }
        }
    }
}
