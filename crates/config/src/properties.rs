//! Parser of the `.properties` format, as `java.util.Properties` reads it from a byte stream.
//!
//! Bytes are ISO-8859-1: each is one character, even if the file is UTF-8. A natural line ends at `\n`, `\r` or
//! `\r\n`. A line whose first non-blank character is `#` or `!` is a comment. An odd number of backslashes at a
//! line's end joins the next line without its leading blanks. A key ends at the first unescaped `=`, `:` or
//! blank. Java does not recognise a byte order mark, which becomes part of the first key.
//!
//! Reading has two steps, as the format requires: bytes to logical lines, then each logical line to key and
//! value. Nothing is allocated beyond the text itself and one entry, and the only error is a malformed `\u`.

/// A key and its value, untrimmed; duplicate keys are not merged yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertyEntry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// The line on which it begins, from 1.
    pub line: u32,
    /// True if the key or the value contains half a surrogate pair. Java keeps such a half; here U+FFFD replaces
    /// it.
    pub broken_surrogate: bool,
    /// True if the value has a backslash before a letter or digit with which it is not an escape: `w\out` is read
    /// as `wout`.
    pub lost_backslash: bool,
}

/// A `\u` without four hexadecimal digits. Java refuses the whole file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\\u without four hexadecimal digits; double the backslash if it is meant as one")]
pub struct MalformedEscape {
    /// The line on which the entry begins, from 1.
    pub line: u32,
}

/// Returns all entries, in the order of the file.
///
/// # Errors
/// An entry has a malformed `\u`.
pub fn parse(bytes: &[u8]) -> Result<Vec<PropertyEntry>, MalformedEscape> {
    entries(bytes).collect()
}

/// Returns an iterator over the entries, which need not all be in memory.
pub fn entries(bytes: &[u8]) -> impl Iterator<Item = Result<PropertyEntry, MalformedEscape>> {
    let mut lines = LogicalLines { bytes, at: 0, number: 1 };
    let mut text = Vec::new();
    std::iter::from_fn(move || lines.next_into(&mut text).map(|line| entry(&text, line)))
}

fn entry(text: &[u8], line: u32) -> Result<PropertyEntry, MalformedEscape> {
    let (key, value) = split(text);
    let lost_backslash = loses_backslash(value);
    let (key, value) = (unescape(key, line)?, unescape(value, line)?);
    let strings = (String::from_utf16(&key), String::from_utf16(&value));
    let broken_surrogate = strings.0.is_err() || strings.1.is_err();
    Ok(PropertyEntry {
        key: strings.0.unwrap_or_else(|_| String::from_utf16_lossy(&key)),
        value: strings.1.unwrap_or_else(|_| String::from_utf16_lossy(&value)),
        line,
        broken_surrogate,
        lost_backslash,
    })
}

struct LogicalLines<'a> {
    bytes: &'a [u8],
    at: usize,
    number: u32,
}

impl LogicalLines<'_> {
    /// Stores the next logical line in `text`, skipping comments and blank lines, and returns the line on which
    /// it begins.
    fn next_into(&mut self, text: &mut Vec<u8>) -> Option<u32> {
        text.clear();
        let mut begins = 0;
        loop {
            self.at += self.rest().iter().take_while(|&&byte| is_blank(byte)).count();
            let Some(&first) = self.rest().first() else {
                // The last line ended in a backslash: the text before it counts.
                return (!text.is_empty()).then_some(begins);
            };
            // A logical line that is still empty (as after a lone backslash) has not begun, so a comment may
            // follow.
            if text.is_empty() {
                begins = self.number;
                if matches!(first, b'#' | b'!') {
                    self.natural_line();
                    continue;
                }
            }
            let natural = self.natural_line();
            let continues = ends_in_open_backslash(&self.bytes[natural.from..natural.to]);
            text.extend_from_slice(&self.bytes[natural.from..natural.to - usize::from(continues)]);
            let ended = self.at == self.bytes.len() && natural.terminator <= 1;
            // For Java a lone backslash at the end of the file is an entry with an empty key, but not if anything
            // follows, even the second half of a line ending.
            if (!continues && !text.is_empty()) || (continues && ended) {
                return Some(begins);
            }
        }
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// Reads the rest of the natural line and its end.
    fn natural_line(&mut self) -> NaturalLines {
        let from = self.at;
        let length = self.rest().iter().take_while(|&&byte| !matches!(byte, b'\n' | b'\r')).count();
        let to = from + length;
        let terminator = match self.bytes[to..] {
            [b'\r', b'\n', ..] => 2,
            [_, ..] => 1,
            [] => 0,
        };
        self.at = to + terminator;
        self.number = self.number.saturating_add(u32::from(terminator > 0));
        NaturalLines { from, to, terminator }
    }
}

struct NaturalLines {
    from: usize,
    to: usize,
    terminator: usize,
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0C)
}

fn ends_in_open_backslash(line: &[u8]) -> bool {
    line.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

/// Splits a logical line into key and value, both still escaped.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let mut escaped = false;
    let key_ends = line
        .iter()
        .position(|&byte| {
            let ends = !escaped && (is_blank(byte) || is_separator(byte));
            escaped = byte == b'\\' && !escaped;
            ends
        })
        .unwrap_or(line.len());
    let (key, rest) = line.split_at(key_ends);
    let rest = without_blanks(rest);
    let rest = match rest.first() {
        Some(&byte) if is_separator(byte) => without_blanks(&rest[1..]),
        _ => rest,
    };
    (key, rest)
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'=' | b':')
}

fn without_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|&&byte| is_blank(byte)).count();
    &text[blanks..]
}

/// Decodes a text with `\u` escapes into UTF-16. A backslash before any character without a special meaning is
/// dropped, as is one at the very end, which only a value truncated by the end of the file could have.
fn unescape(text: &[u8], line: u32) -> Result<Vec<u16>, MalformedEscape> {
    let mut units = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            units.push(u16::from(byte));
            continue;
        }
        let unit = match bytes.next() {
            Some(b'u') => {
                let mut unit = 0;
                for _ in 0..4 {
                    let digit = bytes.next().and_then(|byte| char::from(byte).to_digit(16));
                    unit = unit * 16 + digit.ok_or(MalformedEscape { line })?;
                }
                u16::try_from(unit).expect("four hexadecimal digits are 16 bits")
            }
            Some(b't') => u16::from(b'\t'),
            Some(b'r') => u16::from(b'\r'),
            Some(b'n') => u16::from(b'\n'),
            Some(b'f') => 0x0C,
            Some(other) => u16::from(other),
            None => break,
        };
        units.push(unit);
    }
    Ok(units)
}

fn loses_backslash(text: &[u8]) -> bool {
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        let escapes = |next: &u8| next.is_ascii_alphanumeric() && !b"utrnf".contains(next);
        if *byte == b'\\' && bytes.next().is_some_and(escapes) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn bytes_of(hex: &str) -> Vec<u8> {
        let digits = if hex == "-" { "" } else { hex };
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("the table is hex");
        (0..digits.len()).step_by(2).map(byte).collect()
    }

    fn text_of(hex: &str) -> String {
        let bytes = bytes_of(hex);
        let units: Vec<u16> =
            bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        String::from_utf16_lossy(&units)
    }

    #[test]
    fn every_recorded_input_gives_what_java_gave() {
        let table = include_str!("../../agent/tests/properties/java17.txt");
        let mut rows = 0;
        for row in table.lines().filter(|row| !row.starts_with('#')) {
            let (input, answer) = row.split_once(' ').unwrap_or((row, ""));
            let input = bytes_of(input);
            let shown = String::from_utf8_lossy(&input).into_owned();
            let ours = parse(&input).map(|entries| {
                let pairs = entries.into_iter().map(|entry| (entry.key, entry.value));
                pairs.collect::<BTreeMap<_, _>>()
            });
            if answer == "malformed" {
                assert!(ours.is_err(), "Java refuses {shown:?}, this reads {ours:?}");
            } else {
                let java: BTreeMap<_, _> = answer
                    .split_whitespace()
                    .map(|pair| pair.split_once('=').expect("a pair has an equals sign"))
                    .map(|(key, value)| (text_of(key), text_of(value)))
                    .collect();
                assert_eq!(ours.as_ref(), Ok(&java), "{shown:?}");
            }
            rows += 1;
        }
        assert!(rows > 600, "{rows} rows");
    }

    #[test]
    fn an_entry_knows_the_line_where_it_begins() {
        let text = b"# one\n\na=1\\\n   2\r\nb=3\rc=4\n\\\nd=5";
        let lines: Vec<_> = parse(text)
            .expect("no escapes")
            .into_iter()
            .map(|e| (e.key, e.value, e.line))
            .collect();
        let expected = [("a", "12", 3), ("b", "3", 5), ("c", "4", 6), ("d", "5", 8)];
        assert_eq!(lines, expected.map(|(k, v, n)| (k.to_owned(), v.to_owned(), n)));
        assert_eq!(parse(b"a=b\n\nc=\\u00g0"), Err(MalformedEscape { line: 3 }));
    }

    #[test]
    fn half_a_surrogate_pair_is_replaced_and_marked() {
        let entries = parse(b"a=\\uD83D!\nb=\\uD83D\\uDC1E").expect("legal escapes");
        assert_eq!(entries[0].value, "\u{FFFD}!");
        assert!(entries[0].broken_surrogate);
        assert_eq!(entries[1].value, "\u{1F41E}");
        assert!(!entries[1].broken_surrogate);
    }

    #[test]
    fn a_line_of_ten_megabytes_is_one_entry() {
        let mut text = b"k=".to_vec();
        text.resize(10 * 1024 * 1024, b'\\');
        let entries = parse(&text).expect("no \\u");
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].value.len(), (text.len() - 2) / 2);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            crate::fuzz::properties(&bytes);
        }

        #[test]
        fn an_escaped_pair_comes_back(key in ".{1,20}", value in ".{0,40}") {
            let escaped = |text: &str| text.encode_utf16().map(|u| format!("\\u{u:04x}")).collect::<String>();
            let line = format!("{}={}", escaped(&key), escaped(&value));
            let entries = parse(line.as_bytes()).expect("whole escapes");
            proptest::prop_assert_eq!(&entries[0].key, &key);
            proptest::prop_assert_eq!(&entries[0].value, &value);
        }
    }
}
