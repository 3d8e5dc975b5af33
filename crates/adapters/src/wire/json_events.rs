//! Events as JSON, as Flume's http source accepts them: an array of objects with `headers` and `body`.
//!
//! Limits: the number of events that the caller allows, and the memory; [`HEADERS_MAX`] headers of an event;
//! [`DEPTH_MAX`] levels within an ignored value.
//!
//! Flume uses Gson, which accepts more than JSON: names and texts in single quotes or without quotes, comments,
//! `=` for `:`, `;` for `,`. So does [`decode`], since clients may rely on it. As in Gson, numbers and words are
//! accepted as texts; unlike in Gson, `null` as an event is refused, and `null` as a header's value omits the
//! header.

use millpond::{Event, Headers};
use millpond_flow::base::limits::HEADERS_MAX;
use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// Deepest nesting within an ignored value.
pub const DEPTH_MAX: usize = 512;

/// Why a text is not an array of events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// It is malformed.
    #[error("at byte {at}: {what}")]
    Malformed {
        /// The position, from 0, in the text as UTF-8.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// It has more events than allowed.
    #[error(
        "more than {max} events in one request, which is what a transaction of the channels takes"
    )]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// There is no memory for the decoded events.
    #[error("no memory for what is made of it; send it again later, or fewer events at once")]
    NoRoom,
}

/// Bytes that a pair of texts takes in addition to its own while the headers of an event are read: the list of
/// pairs, which doubles, and the allocator's overhead.
const PAIR_BYTES: usize = 176;
/// Bytes that a header stores in addition to its texts.
const KEPT_PAIR_BYTES: usize = 8;
/// Bytes of one entry in a list of events, which doubles.
const EVENT_BYTES: usize = 2 * size_of::<Event>() + 32;
/// Memory is requested in steps: as much as is already held, within a minimum and a maximum. The first steps are
/// short so that the few events of a small request do not count as a large one, which is refused while others
/// fill the memory.
const ROOM_STEP_BYTES_MIN: usize = 4 * 1024;
const ROOM_STEP_BYTES_MAX: usize = 64 * 1024;
/// Largest number of headers for which a linear search is faster than hashing.
const HEADERS_FEW: usize = 16;

/// Bytes of the decoded events so far.
struct JsonCost<'r> {
    /// Returns true if there is memory for this many bytes.
    room: &'r mut dyn FnMut(usize) -> bool,
    granted: usize,
    /// Bytes of the events so far and of the headers being read.
    kept: usize,
    passing: usize,
}

impl JsonCost<'_> {
    fn grows(&mut self) -> Result<(), JsonError> {
        let bytes = self.kept + self.passing;
        if bytes <= self.granted {
            return Ok(());
        }
        self.granted = bytes + bytes.clamp(ROOM_STEP_BYTES_MIN, ROOM_STEP_BYTES_MAX);
        if (self.room)(self.granted) { Ok(()) } else { Err(JsonError::NoRoom) }
    }
}

/// Returns the events of `text`, at most `events_max`; `encode` makes the bytes of a body. As the events grow,
/// `room` is called with their bytes and returns true if there is memory for them.
///
/// # Errors
/// It is not an array of events, has too many, or there is no memory for them.
pub fn decode(
    text: &str,
    events_max: usize,
    encode: impl Fn(String) -> Vec<u8>,
    room: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<Event>, JsonError> {
    let built = JsonCost { room, granted: 0, kept: 0, passing: 0 };
    let mut read = JsonReader { text, at: 0, built };
    if read.text.starts_with('\u{FEFF}') {
        read.at = '\u{FEFF}'.len_utf8();
    }
    match read.value()? {
        JsonValue::Array => {}
        JsonValue::Nothing => return Err(read.error("there is no array of events")),
        _ => return Err(read.error("what is there is not an array of events")),
    }
    let mut events = Vec::new();
    while read.element(events.is_empty())? {
        if events.len() == events_max {
            return Err(JsonError::TooMany { max: events_max });
        }
        match read.value()? {
            JsonValue::Object => events.push(read.event(&encode)?),
            _ => return Err(read.error("an event is an object")),
        }
    }
    // After the array Gson parses strictly.
    if read.rest().trim_start_matches([' ', '\t', '\n', '\r']).is_empty() {
        Ok(events)
    } else {
        Err(read.error("there is more after the array of events"))
    }
}

/// The begin of a value, or all of it.
#[derive(Debug, PartialEq, Eq)]
enum JsonValue {
    Array,
    Object,
    Text(String),
    Null,
    /// No value at all.
    Nothing,
}

struct JsonReader<'a, 'r> {
    text: &'a str,
    at: usize,
    built: JsonCost<'r>,
}

impl<'a> JsonReader<'a, '_> {
    fn error(&self, what: &'static str) -> JsonError {
        JsonError::Malformed { at: self.at, what }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Skips blanks and comments; returns the next byte.
    fn skip_blank(&mut self) -> Result<Option<u8>, JsonError> {
        loop {
            let rest = self.rest();
            let to_line_end = || rest.find(['\n', '\r']).unwrap_or(rest.len());
            self.at += match rest.as_bytes() {
                [b' ' | b'\t' | b'\n' | b'\r', ..] => 1,
                [b'#', ..] | [b'/', b'/', ..] => to_line_end(),
                [b'/', b'*', ..] => {
                    let end = rest[2..].find("*/");
                    end.ok_or_else(|| self.error("a comment does not end"))? + 4
                }
                _ => return Ok(self.peek()),
            };
        }
    }

    /// Consumes the next byte if it is one of `bytes`.
    fn takes(&mut self, bytes: &[u8]) -> Result<Option<u8>, JsonError> {
        let next = self.skip_blank()?.filter(|byte| bytes.contains(byte));
        self.at += usize::from(next.is_some());
        Ok(next)
    }

    /// Returns true if the current array has a further element. A missing one between two commas or after the
    /// last one is null in Gson.
    fn element(&mut self, is_first: bool) -> Result<bool, JsonError> {
        if self.takes(b"]")?.is_some() {
            return Ok(false);
        }
        if !is_first && self.takes(b",;")?.is_none() {
            return Err(self.error("expected a comma or the end of the array"));
        }
        match self.skip_blank()? {
            None => Err(self.error("an array does not end")),
            Some(b']' | b',' | b';') => Err(self.error("an element is missing")),
            Some(_) => Ok(true),
        }
    }

    /// Returns the next name of the current object; `None` at its end.
    fn name(&mut self, is_first: bool) -> Result<Option<String>, JsonError> {
        if self.takes(b"}")?.is_some() {
            return Ok(None);
        }
        if !is_first && self.takes(b",;")?.is_none() {
            return Err(self.error("expected a comma or the end of the object"));
        }
        let name = match self.skip_blank()? {
            Some(quote @ (b'"' | b'\'')) => self.quoted(quote)?,
            _ => self.word()?.to_owned(),
        };
        match self.takes(b":=")? {
            Some(b'=') if self.peek() == Some(b'>') => self.at += 1,
            Some(_) => {}
            None => return Err(self.error("a name is followed by a colon and a value")),
        }
        Ok(Some(name))
    }

    fn value(&mut self) -> Result<JsonValue, JsonError> {
        Ok(match self.skip_blank()? {
            None => JsonValue::Nothing,
            Some(b'[') => {
                self.at += 1;
                JsonValue::Array
            }
            Some(b'{') => {
                self.at += 1;
                JsonValue::Object
            }
            Some(quote @ (b'"' | b'\'')) => JsonValue::Text(self.quoted(quote)?),
            Some(_) => match self.word()? {
                null if null.eq_ignore_ascii_case("null") => JsonValue::Null,
                word => JsonValue::Text(word.to_owned()),
            },
        })
    }

    /// Reads a text without quotes.
    fn word(&mut self) -> Result<&'a str, JsonError> {
        let rest = self.rest();
        let ends = |c| "/\\;#={}[]:, \t\u{C}\r\n".contains(c);
        let word = &rest[..rest.find(ends).unwrap_or(rest.len())];
        if word.is_empty() {
            return Err(self.error("a value or a name is missing"));
        }
        self.at += word.len();
        Ok(word)
    }

    fn quoted(&mut self, quote: u8) -> Result<String, JsonError> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = self.rest();
            let end = rest.find([char::from(quote), '\\']);
            let end = end.ok_or_else(|| self.error("a text does not end"))?;
            text.push_str(&rest[..end]);
            self.at += end + 1;
            if rest.as_bytes()[end] == quote {
                return Ok(text);
            }
            text.push(self.escaped()?);
        }
    }

    /// Reads an escape after its backslash.
    fn escaped(&mut self) -> Result<char, JsonError> {
        let byte = self.peek();
        self.at += usize::from(byte.is_some_and(|byte| byte.is_ascii()));
        Ok(match byte {
            Some(b'u') => return self.unicode(),
            Some(b't') => '\t',
            Some(b'b') => '\u{8}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b'f') => '\u{C}',
            Some(same @ (b'\n' | b'\'' | b'"' | b'\\' | b'/')) => char::from(same),
            _ => return Err(self.error("the escape is unknown")),
        })
    }

    /// Reads `\uXXXX`, or two of them; half a surrogate pair is `?`, as Java encodes it.
    fn unicode(&mut self) -> Result<char, JsonError> {
        let unit = self.hexadecimal()?;
        if (0xD800..0xDC00).contains(&unit) && self.rest().starts_with("\\u") {
            let begin = self.at;
            self.at += 2;
            let second = self.hexadecimal()?;
            if (0xDC00..0xE000).contains(&second) {
                let code = 0x10000 + ((unit - 0xD800) << 10) + (second - 0xDC00);
                return Ok(char::from_u32(code).unwrap_or('?'));
            }
            self.at = begin;
        }
        Ok(char::from_u32(unit).unwrap_or('?'))
    }

    fn hexadecimal(&mut self) -> Result<u32, JsonError> {
        let digits = self.rest().get(..4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.error("an escape \\u has four hexadecimal digits"))?;
        self.at += 4;
        Ok(unit)
    }

    /// Reads the event whose object has begun.
    fn event(&mut self, encode: &impl Fn(String) -> Vec<u8>) -> Result<Event, JsonError> {
        let (mut event, mut is_first) = (Event::default(), true);
        while let Some(name) = self.name(is_first)? {
            is_first = false;
            match (name.as_str(), self.value()?) {
                ("headers", JsonValue::Object) => event.headers = self.headers()?,
                // Gson accepts an empty array as an empty map.
                ("headers", JsonValue::Array) => match self.takes(b"]")? {
                    Some(_) => event.headers = Headers::new(),
                    None => return Err(self.error("headers are an object")),
                },
                ("headers", JsonValue::Null) => event.headers = Headers::new(),
                ("headers", _) => return Err(self.error("headers are an object")),
                ("body", JsonValue::Text(text)) => {
                    let body = encode(text);
                    self.built.kept += body.capacity();
                    self.built.grows()?;
                    event.body = body.into();
                }
                ("body", JsonValue::Null) => event.body = bytes::Bytes::new(),
                ("body", _) => return Err(self.error("a body is a text")),
                (_, value) => self.skip(value)?,
            }
        }
        self.built.kept += EVENT_BYTES;
        self.built.grows()?;
        Ok(event)
    }

    fn headers(&mut self) -> Result<Headers, JsonError> {
        let (mut list, mut is_first) = (Vec::<(String, String)>::new(), true);
        let (hasher, mut hashes) = (RandomState::new(), HashSet::new());
        while let Some(name) = self.name(is_first)? {
            is_first = false;
            let value = match self.value()? {
                JsonValue::Text(value) => value,
                JsonValue::Null => continue,
                _ => return Err(self.error("a header's value is a text")),
            };
            if list.len() == HEADERS_MAX {
                return Err(self.error("an event has too many headers (65535 at most)"));
            }
            if list.len() == HEADERS_FEW {
                hashes.extend(list.iter().map(|(name, _)| hasher.hash_one(name)));
            }
            let may_be_there = list.len() < HEADERS_FEW || !hashes.insert(hasher.hash_one(&name));
            if may_be_there && list.iter().any(|(known, _)| *known == name) {
                return Err(self.error("a header is there twice"));
            }
            self.built.passing += name.capacity() + value.capacity() + PAIR_BYTES;
            self.built.grows()?;
            list.push((name, value));
        }
        let kept = |(name, value): &(String, String)| name.len() + value.len() + KEPT_PAIR_BYTES;
        self.built.kept += list.iter().map(kept).sum::<usize>();
        self.built.grows()?;
        self.built.passing = 0;
        Ok(Headers::from_distinct(&list))
    }

    /// Skips the rest of a value whose begin was read.
    fn skip(&mut self, value: JsonValue) -> Result<(), JsonError> {
        // For each level: true for an object, and true if it has a member.
        let mut levels: Vec<(bool, bool)> = Vec::new();
        let mut value = value;
        loop {
            match value {
                JsonValue::Nothing => return Err(self.error("a value is missing")),
                JsonValue::Array | JsonValue::Object if levels.len() == DEPTH_MAX => {
                    return Err(self.error("arrays and objects are nested too deep"));
                }
                JsonValue::Array => levels.push((false, true)),
                JsonValue::Object => levels.push((true, true)),
                JsonValue::Text(_) | JsonValue::Null => {}
            }
            loop {
                let Some((is_object, is_first)) = levels.last_mut() else { return Ok(()) };
                let (is_object, first) = (*is_object, std::mem::replace(is_first, false));
                let goes_on =
                    if is_object { self.name(first)?.is_some() } else { self.element(first)? };
                if goes_on {
                    break;
                }
                levels.pop();
            }
            value = self.value()?;
        }
    }
}

/// Entry point of the fuzz target: takes any bytes as a request. Accepted events must be equal after writing them
/// as plain JSON and reading them again.
///
/// # Panics
/// That does not hold.
#[cfg(any(test, feature = "testing"))]
pub fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(events) = decode(&text, 1000, String::into_bytes, &mut |_| true) else { return };
    let plain: Vec<_> = events
        .iter()
        .map(|event| {
            let headers: serde_json::Map<String, serde_json::Value> =
                event.headers.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
            let body = std::str::from_utf8(&event.body).expect("a body of text is text");
            serde_json::json!({ "headers": headers, "body": body })
        })
        .collect();
    let plain = serde_json::Value::from(plain).to_string();
    let again = decode(&plain, 1000, String::into_bytes, &mut |_| true);
    assert_eq!(again, Ok(events), "events read back");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str) -> Result<Vec<Event>, JsonError> {
        decode(text, 3, String::into_bytes, &mut |_| true)
    }

    fn one(text: &str) -> String {
        let events = events(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let headers: Vec<String> =
            events[0].headers.iter().map(|(n, v)| format!("{n}={v} ")).collect();
        headers.concat() + std::str::from_utf8(&events[0].body).unwrap()
    }

    #[test]
    fn headers_and_bodies_are_read_as_in_gson() {
        for (text, expected) in [
            (r#"[{"headers":{"a":"b","c":"d"},"body":"one"}]"#, "a=b c=d one"),
            (r#"[{}]"#, ""),
            (r#"[{"body":5.50}]"#, "5.50"),
            (r#"[{"body":NaN,"headers":{"n":5,"t":true,"x":null}}]"#, "n=5 t=true NaN"),
            (r#"[{"body":null,"headers":null}]"#, ""),
            (r#"[{"headers":[],"body":"1","body":"2"}]"#, "2"),
            (r#"[{"more":{"a":[1,{"b":[[]]}],"c":{}},"body":"x","and":[]}]"#, "x"),
            ("[{'body':'y'}]", "y"),
            ("[{body:y}]", "y"),
            ("[{\"body\"=\"y\"}]", "y"),
            ("[{\"body\"=>y;headers:{a=b}}]", "a=b y"),
            ("\u{FEFF} // c\n # c\r\n [ /* c */ {\"body\":\"z\"} ] \n", "z"),
            (r#"[{"body":"\u0041\ud83d\ude00\n\/\ud83d\u0041\ude00"}]"#, "A😀\n/?A?"),
            ("[{\"body\":\"a\tb\nc\"}]", "a\tb\nc"),
        ] {
            assert_eq!(one(text), expected, "{text}");
        }
        assert_eq!(events("[]"), Ok(Vec::new()));
        assert_eq!(events("[{},{};{}]").unwrap().len(), 3);
    }

    #[test]
    fn an_invalid_array_of_events_is_refused_with_its_position() {
        for text in [
            "",
            "  ",
            "null",
            "[null]",
            "[{},]",
            "[,{}]",
            "hello",
            "5",
            "{\"body\":\"x\"}",
            "[{\"body\":\"x\"",
            "[{\"body\":\"x",
            "[5]",
            "[[]]",
            "[{\"body\":{}}]",
            "[{\"body\":[\"q\"]}]",
            "[{\"headers\":{\"n\":{}}}]",
            "[{\"headers\":{\"a\":\"1\",\"a\":\"2\"}}]",
            "[{\"headers\":\"a\"}]",
            "[{\"headers\":[[\"a\",\"b\"]]}]",
            "[{}] x",
            "[{}][{}]",
            "[{}]// c",
            "[{} {}]",
            "[{\"body\" \"x\"}]",
            "[{\"body\":}]",
            "[{\"body\":\"\\x\"}]",
            "[{\"body\":\"\\u12g4\"}]",
            "[{\"body\":\"\\u12\"}]",
            "[{\"body\":\"x\",}]",
            "[/* c",
            "[{\"a\":[1,2}]",
        ] {
            assert!(matches!(events(text), Err(JsonError::Malformed { .. })), "{text}");
        }
        let error = events("[{\"body\":\"x\"} 5]").unwrap_err();
        assert_eq!(error.to_string(), "at byte 14: expected a comma or the end of the array");
    }

    #[test]
    fn reading_stops_at_the_first_header_too_many_and_at_the_first_double() {
        let wide = |n: usize| -> String { (0..n).map(|at| format!("{at}:0,")).collect() };
        let event = |headers: &str| format!("[{{headers:{{{headers}a:b}}}}]");
        assert_eq!(events(&event(&wide(HEADERS_MAX - 1))).unwrap()[0].headers.len(), HEADERS_MAX);
        let all = event(&(wide(HEADERS_MAX + 1) + "{{{{"));
        let error = events(&all).unwrap_err().to_string();
        assert!(error.contains("too many headers"), "{error}");
        // Duplicates are refused at once, before anything that follows is decoded.
        for first in ["", &wide(HEADERS_FEW), &wide(1000)] {
            let text = event(&(first.to_owned() + &"c:0,".repeat(1_000_000)));
            let mut most = 0;
            let read = decode(&text, 3, String::into_bytes, &mut |bytes| {
                most = bytes;
                true
            });
            assert!(read.unwrap_err().to_string().contains("twice"));
            assert!(most < 1024 * 1024, "{most}");
        }
    }

    #[test]
    fn memory_for_decoded_events_is_requested_before_its_use() {
        for text in [
            format!("[{}{{}}]", "{},".repeat(20_000)),
            format!(
                "[{{headers:{{{}z:z}}}}]",
                (0..60_000).map(|n| format!("{n}:0,")).collect::<String>()
            ),
            format!("[{{body:{}}}]", "x".repeat(3_000_000)),
        ] {
            let mut asked = Vec::new();
            let read = decode(&text, 100_000, String::into_bytes, &mut |bytes| {
                asked.push(bytes);
                bytes < 1024 * 1024
            });
            assert_eq!(read, Err(JsonError::NoRoom), "{}", &text[..20]);
            assert!(asked.is_sorted() && asked.len() < 30, "{asked:?}");
            assert!(decode(&text, 100_000, String::into_bytes, &mut |_| true).is_ok());
        }
    }

    #[test]
    fn a_few_events_ask_for_little_memory() {
        let text = format!("[{}{{}}]", "{headers:{a:b},body:some},".repeat(9));
        let most = millpond_flow::base::limits::REQUEST_SMALL_BYTES - text.len();
        let read = decode(&text, 100, String::into_bytes, &mut |bytes| bytes <= most);
        assert_eq!(read.unwrap().len(), 10);
    }

    #[test]
    fn too_many_events_or_levels_are_refused() {
        assert_eq!(events("[{},{},{},{}]"), Err(JsonError::TooMany { max: 3 }));
        let nested =
            |levels: usize| format!("[{{\"a\":{}{}}}]", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(events(&nested(DEPTH_MAX)).unwrap().len(), 1);
        assert!(events(&nested(DEPTH_MAX + 1)).is_err());
        assert!(events(&"[".repeat(100_000)).is_err());
    }
}
