//! The content of a request: events as JSON, or one event whose body is the request's body.

use crate::wire::json_events::{self, JsonError};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use millpond::{Event, Headers};
use std::borrow::Cow;

/// The kind of content that a source expects.
#[derive(Debug)]
pub(super) enum RequestContent {
    /// An array of events in JSON.
    Json,
    /// One event, with the query's parameters as headers.
    Blob {
        /// Required parameters.
        mandatory: Vec<String>,
        /// Whether the content type becomes a header.
        says_type: bool,
    },
}

/// The refusal of a request: status and text of the reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RequestError(pub(super) StatusCode, pub(super) String);

impl RequestContent {
    /// Returns the events of a request, at most `events_max`. `room` reserves memory for the given number of bytes
    /// made from the body.
    pub(super) fn events(
        &self,
        parts: &Parts,
        body: Bytes,
        events_max: usize,
        room: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Vec<Event>, RequestError> {
        let content_type =
            parts.headers.get(CONTENT_TYPE).map(hyper::header::HeaderValue::as_bytes);
        let content_type = content_type.map(String::from_utf8_lossy);
        match self {
            Self::Json => json(content_type.as_deref(), &body, events_max, room),
            Self::Blob { mandatory, says_type } => {
                let mut headers = Headers::new();
                if let Some(value) = content_type.filter(|_| *says_type) {
                    headers.set("Content-Type", value);
                }
                for (name, value) in parameters(parts.uri.query().unwrap_or_default()) {
                    // The first of several values counts, as in Flume.
                    if headers.get(&name).is_none() || name == "Content-Type" {
                        headers.set(name, value);
                    }
                }
                match mandatory.iter().find(|name| headers.get(name).is_none()) {
                    Some(name) => {
                        let words = format!("the parameter \"{name}\" is missing in the query");
                        Err(RequestError(StatusCode::INTERNAL_SERVER_ERROR, words))
                    }
                    None => Ok(vec![Event { headers, body }]),
                }
            }
        }
    }
}

fn json(
    content_type: Option<&str>,
    body: &[u8],
    events_max: usize,
    room: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<Event>, RequestError> {
    let charset = charset(content_type.unwrap_or_default());
    let Some(charset) = charset else {
        let words = "a JSON request is in UTF-8, UTF-16 or UTF-32";
        return Err(RequestError(StatusCode::INTERNAL_SERVER_ERROR, words.to_owned()));
    };
    // Invalid text grows to three times its size: its memory is reserved first.
    let text_bytes = charset.made_bytes(body);
    if text_bytes > 0 && !room(text_bytes) {
        let words = JsonError::NoRoom.to_string();
        return Err(RequestError(StatusCode::SERVICE_UNAVAILABLE, words));
    }
    let text = charset.decode(body, text_bytes);
    let room = &mut |bytes| room(text_bytes + bytes);
    json_events::decode(&text, events_max, |text| charset.encode(text), room).map_err(|error| {
        let status = match error {
            JsonError::TooMany { .. } | JsonError::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        RequestError(status, error.to_string())
    })
}

/// The encodings of JSON that Flume accepts, under these names only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JsonEncoding {
    Utf8,
    Utf16,
    Utf32,
}

/// Returns the encoding that a content type names, UTF-8 if it names none; `None` for any other.
fn charset(content_type: &str) -> Option<JsonEncoding> {
    let parameters = content_type.split(';').skip(1);
    let named = parameters.filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("charset").then(|| value.to_ascii_lowercase())
    });
    match named.last().as_deref() {
        None | Some("" | "utf-8" | "utf8") => Some(JsonEncoding::Utf8),
        Some("utf-16") => Some(JsonEncoding::Utf16),
        Some("utf-32") => Some(JsonEncoding::Utf32),
        Some(_) => None,
    }
}

impl JsonEncoding {
    /// Returns the bytes of memory that [`JsonEncoding::decode`] needs in addition to `bytes`.
    fn made_bytes(self, bytes: &[u8]) -> usize {
        match self {
            Self::Utf8 if std::str::from_utf8(bytes).is_ok() => 0,
            Self::Utf8 => utf8(bytes).map(str::len).sum(),
            Self::Utf16 => utf16(bytes).map(char::len_utf8).sum(),
            Self::Utf32 => utf32(bytes).map(char::len_utf8).sum(),
        }
    }

    /// Decodes to text, with U+FFFD for invalid bytes; the byte order is given by a byte order mark, otherwise
    /// big-endian, as in Java. The result has `made_bytes` bytes unless it is borrowed.
    fn decode(self, bytes: &[u8], made_bytes: usize) -> Cow<'_, str> {
        if let (Self::Utf8, Ok(text)) = (self, std::str::from_utf8(bytes)) {
            return text.into();
        }
        let mut text = String::with_capacity(made_bytes);
        match self {
            Self::Utf8 => text.extend(utf8(bytes)),
            Self::Utf16 => text.extend(utf16(bytes)),
            Self::Utf32 => text.extend(utf32(bytes)),
        }
        text.into()
    }

    /// Encodes as Java does: big-endian, with a byte order mark in UTF-16 only.
    fn encode(self, text: String) -> Vec<u8> {
        match self {
            Self::Utf8 => text.into_bytes(),
            Self::Utf16 if text.is_empty() => Vec::new(),
            Self::Utf16 => {
                let units = std::iter::once(0xFEFF).chain(text.encode_utf16());
                units.flat_map(u16::to_be_bytes).collect()
            }
            Self::Utf32 => text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect(),
        }
    }
}

/// Returns pieces of text, with U+FFFD for invalid bytes.
fn utf8(bytes: &[u8]) -> impl Iterator<Item = &str> {
    bytes.utf8_chunks().flat_map(|chunk| {
        let replaced = if chunk.invalid().is_empty() { "" } else { "\u{FFFD}" };
        [chunk.valid(), replaced]
    })
}

fn utf16(bytes: &[u8]) -> impl Iterator<Item = char> {
    let (is_little, bytes) = match bytes {
        [0xFF, 0xFE, rest @ ..] => (true, rest),
        [0xFE, 0xFF, rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let pairs = bytes.chunks(2).map(move |pair| match *pair {
        [a, b] if is_little => u16::from_le_bytes([a, b]),
        [a, b] => u16::from_be_bytes([a, b]),
        _ => 0xFFFD,
    });
    char::decode_utf16(pairs).map(|c| c.unwrap_or('\u{FFFD}'))
}

fn utf32(bytes: &[u8]) -> impl Iterator<Item = char> {
    let (is_little, bytes) = match bytes {
        [0xFF, 0xFE, 0, 0, rest @ ..] => (true, rest),
        [0, 0, 0xFE, 0xFF, rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let codes = bytes.chunks(4).map(move |code| match *code {
        [a, b, c, d] if is_little => u32::from_le_bytes([a, b, c, d]),
        [a, b, c, d] => u32::from_be_bytes([a, b, c, d]),
        _ => 0xFFFD,
    });
    codes.map(|code| char::from_u32(code).unwrap_or('\u{FFFD}'))
}

/// Returns the names and values of a query, in order.
fn parameters(query: &str) -> impl Iterator<Item = (String, String)> {
    query.split('&').filter(|part| !part.is_empty()).map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (unescape(name), unescape(value))
    })
}

/// Decodes `%XX` and `+`.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let digit = |at: usize| behind.get(at).and_then(|b| char::from(*b).to_digit(16));
        rest = behind;
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                rest = &behind[2..];
            }
            (b'+', ..) => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_three_encodings_are_taken_by_their_names() {
        for (content_type, expected) in [
            ("", Some(JsonEncoding::Utf8)),
            ("application/json", Some(JsonEncoding::Utf8)),
            ("application/json; charset=UTF-8", Some(JsonEncoding::Utf8)),
            ("text/plain;x=y;Charset=\"utf-16\"", Some(JsonEncoding::Utf16)),
            ("a/b; charset=UTF-32", Some(JsonEncoding::Utf32)),
            ("a/b; charset=UTF-16LE", None),
            ("a/b; charset=ISO-8859-1", None),
            ("a/b; charset=bogus", None),
        ] {
            assert_eq!(charset(content_type), expected, "{content_type}");
        }
    }

    fn decoded(charset: JsonEncoding, bytes: &[u8]) -> String {
        let text = charset.decode(bytes, charset.made_bytes(bytes));
        let made = if matches!(text, Cow::Owned(_)) { text.len() } else { 0 };
        assert_eq!(made, charset.made_bytes(bytes), "{charset:?}");
        text.into_owned()
    }

    #[test]
    fn invalid_text_reserves_memory_before_decoding() {
        let bytes = [&b"[{body:'"[..], &[0xFF; 30_000], b"'}]"].concat();
        let mut asked = Vec::new();
        let refused = json(None, &bytes, 10, &mut |bytes| {
            asked.push(bytes);
            false
        });
        assert_eq!(refused.unwrap_err().0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(asked, [90_011], "once, before anything else");
        let events = json(None, &bytes, 10, &mut |_| true).unwrap();
        assert_eq!(events[0].body.len(), 90_000);
        for bytes in [&b"a\xF0\x9F\x98z\xC3"[..], b"\xE6\x97", b"", b"\xFF", "zö日".as_bytes()] {
            assert_eq!(decoded(JsonEncoding::Utf8, bytes), String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn bytes_become_text_and_bytes_again_as_in_java() {
        let text = "zö日\u{1F41E}";
        for (charset, bytes) in [
            (JsonEncoding::Utf8, text.as_bytes().to_vec()),
            (JsonEncoding::Utf16, b"\xfe\xff\0z\0\xf6\x65\xe5\xd8\x3d\xdc\x1e".to_vec()),
            (JsonEncoding::Utf32, b"\0\0\0z\0\0\0\xf6\0\0\x65\xe5\0\x01\xf4\x1e".to_vec()),
        ] {
            assert_eq!(decoded(charset, &bytes), text);
            assert_eq!(charset.encode(text.to_owned()), bytes);
            assert!(charset.encode(String::new()).is_empty());
        }
        assert_eq!(decoded(JsonEncoding::Utf16, b"\xff\xfez\0"), "z");
        assert_eq!(decoded(JsonEncoding::Utf16, b"\0z\0"), "z\u{FFFD}");
        assert_eq!(decoded(JsonEncoding::Utf32, b"\xff\xfe\0\0z\0\0\0"), "z");
        assert_eq!(decoded(JsonEncoding::Utf32, b"\x7f\0\0\0z"), "\u{FFFD}\u{FFFD}");
    }

    #[test]
    fn a_query_is_names_and_values() {
        let read: Vec<_> = parameters("a=%20x+y&b=%C3%B6&&c&=e&d=%zz%4").collect();
        let expected = [("a", " x y"), ("b", "ö"), ("c", ""), ("", "e"), ("d", "%zz%4")];
        assert_eq!(read, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    }
}
