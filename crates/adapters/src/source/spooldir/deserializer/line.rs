//! `LINE`: each line is an event. Only `\n` ends a line; a `\r` before it belongs to the line.

use super::deserialize::{
    DecodeErrorPolicy, DeserializeError, Deserializer, SpooledInput, bounded,
};
use crate::wire::text::{CHAR_BYTES_MAX, FirstCharacter, TextEncoding};
use millpond::Event;
use millpond_flow::base::limits::SPOOL_LINE_CHARS_MAX;
use millpond_flow::settings::{SettingError, SettingsReader};
use millpond_flow::wire::charset::Charset;

/// The format of lines.
#[derive(Clone, Debug)]
pub(super) struct LineFormat {
    pub(super) input: TextEncoding,
    /// The name of the input encoding in the configuration.
    pub(super) input_name: String,
    pub(super) output: TextEncoding,
    pub(super) on_bad_text: DecodeErrorPolicy,
    /// Most characters of a line, counted in UTF-16 units as in Java; longer lines are split.
    pub(super) chars_max: usize,
}

pub(super) fn chars_max(reader: &mut SettingsReader<'_>) -> Result<usize, SettingError> {
    let old = "bufferMaxLineLength";
    let key = if reader.text(old).is_some() { old } else { "deserializer.maxLineLength" };
    bounded(reader, key, 2048, SPOOL_LINE_CHARS_MAX)
}

/// The lines of one file.
pub(super) struct LineDeserializer {
    format: LineFormat,
    /// The encoding, with the byte order of the file.
    input: TextEncoding,
}

impl LineDeserializer {
    /// Returns the lines of a file that begins with `start`, and the number of bytes before them.
    pub(super) fn new(format: LineFormat, start: &[u8]) -> (Self, usize) {
        let (input, begins) = format.input.of_file(start);
        (Self { format, input }, begins)
    }

    /// Returns a line that ends within `chars_max` bytes and is valid text.
    fn short(&self, input: &mut dyn SpooledInput) -> Result<Option<Event>, DeserializeError> {
        let TextEncoding::Narrow(charset) = self.input else { return Ok(None) };
        let Some(end) = input.find(b'\n', self.format.chars_max)? else { return Ok(None) };
        let Some(text) = charset.to_utf8(&input.unused()[..end]) else { return Ok(None) };
        input.skip(end + 1);
        let same = self.format.output == TextEncoding::Narrow(Charset::Utf8);
        Ok(Some(Event::new(if same {
            text
        } else {
            self.format.output.encode(&String::from_utf8_lossy(&text)).into()
        })))
    }

    /// Returns any line, or the part of it that fits one event, decoded by character, and its length in bytes; `None`
    /// when the line is incomplete.
    fn any(
        &self,
        input: &mut dyn SpooledInput,
        whole: bool,
    ) -> Result<Option<(String, usize)>, DeserializeError> {
        let (mut line, mut units, mut at) = (String::new(), 0, 0);
        while units < self.format.chars_max {
            let last = !input.has(at + CHAR_BYTES_MAX)?;
            let rest = &input.unused()[at..];
            let (c, len) = match self.input.first(rest, last && whole) {
                FirstCharacter::Char('\n', len) => return Ok(Some((line, at + len))),
                FirstCharacter::Char(c, len) => (Some(c), len),
                FirstCharacter::Bad(len) => (self.replacement(input.offset() + at as u64)?, len),
                FirstCharacter::More if whole && at > 0 => return Ok(Some((line, at))),
                FirstCharacter::More => return Ok(None),
            };
            at += len;
            if let Some(c) = c {
                line.push(c);
                units += c.len_utf16();
            }
        }
        Ok(Some((line, at)))
    }

    /// Returns the replacement for bytes that are not text.
    fn replacement(&self, offset: u64) -> Result<Option<char>, DeserializeError> {
        match self.format.on_bad_text {
            DecodeErrorPolicy::Replace => Ok(Some('\u{FFFD}')),
            DecodeErrorPolicy::Ignore => Ok(None),
            DecodeErrorPolicy::Fail => Err(DeserializeError::Undecodable {
                offset,
                charset: self.format.input_name.clone(),
            }),
        }
    }
}

impl Deserializer for LineDeserializer {
    fn next(
        &mut self,
        input: &mut dyn SpooledInput,
        whole: bool,
    ) -> Result<Option<Event>, DeserializeError> {
        if let Some(event) = self.short(input)? {
            return Ok(Some(event));
        }
        let Some((line, bytes)) = self.any(input, whole)? else { return Ok(None) };
        input.skip(bytes);
        Ok(Some(Event::new(self.format.output.encode(&line))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::file_reading::buffered_file::BufferedFile;
    use std::io;
    use std::os::unix::fs::FileExt;

    struct FixedText(Vec<u8>);

    impl FileExt for FixedText {
        fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
            let rest = self.0.get(offset as usize..).unwrap_or_default();
            let count = rest.len().min(out.len()).min(7);
            out[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        }

        fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
            unreachable!("nothing is written")
        }
    }

    fn format(input: &str, chars_max: usize, on_bad_text: DecodeErrorPolicy) -> LineFormat {
        LineFormat {
            input: TextEncoding::named(input).unwrap(),
            input_name: input.to_owned(),
            output: TextEncoding::named("UTF-8").unwrap(),
            on_bad_text,
            chars_max,
        }
    }

    /// Returns the lines, the offset after each, and the final error.
    fn lines(
        format: LineFormat,
        bytes: &[u8],
        whole: bool,
    ) -> (Vec<(String, u64)>, Option<String>) {
        let (mut lines, begins) = LineDeserializer::new(format, bytes);
        let mut input = BufferedFile::new(FixedText(bytes.to_vec()), begins as u64);
        let mut out = Vec::new();
        loop {
            match lines.next(&mut input, whole) {
                Ok(Some(event)) => {
                    out.push((String::from_utf8(event.body.to_vec()).unwrap(), input.offset()));
                }
                Ok(None) => return (out, None),
                Err(error) => return (out, Some(error.to_string())),
            }
        }
    }

    fn texts(format: LineFormat, bytes: &[u8]) -> Vec<String> {
        let (lines, error) = lines(format, bytes, true);
        assert_eq!(error, None);
        lines.into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn lines_end_at_newlines_and_the_last_at_the_end_of_a_whole_file() {
        let utf8 = || format("UTF-8", 2048, DecodeErrorPolicy::Fail);
        assert_eq!(texts(utf8(), b"one\ntwo\r\n\nlast"), ["one", "two\r", "", "last"]);
        let (held_back, _) = lines(utf8(), b"one\nlast", false);
        assert_eq!(held_back, [("one".to_owned(), 4)]);
    }

    #[test]
    fn a_long_line_is_split_as_in_flume() {
        let five = |bytes: &[u8]| texts(format("UTF-8", 5, DecodeErrorPolicy::Fail), bytes);
        assert_eq!(five(b"abcdefgh\nxy\n"), ["abcde", "fgh", "xy"]);
        // The line's end is a line of its own then.
        assert_eq!(five(b"abcde\nxy\n"), ["abcde", "", "xy"]);
        assert_eq!(five("ab日本語でf\n".as_bytes()), ["ab日本語", "でf"]);
        assert_eq!(five("abcd\u{1F41E}ef\n".as_bytes()), ["abcd\u{1F41E}", "ef"]);
        let (cut, _) = lines(format("UTF-8", 5, DecodeErrorPolicy::Fail), b"abcdefgh", false);
        assert_eq!(cut, [("abcde".to_owned(), 5)]);
    }

    #[test]
    fn bytes_that_are_not_text_follow_the_policy() {
        let bytes = b"good\nb\xffd\nlast\n";
        let (before, error) = lines(format("UTF-8", 2048, DecodeErrorPolicy::Fail), bytes, true);
        assert_eq!(before, [("good".to_owned(), 5)]);
        assert!(error.as_ref().is_some_and(|e| e.contains("byte 6 is not UTF-8")), "{error:?}");
        let with = |policy| texts(format("UTF-8", 2048, policy), bytes);
        assert_eq!(with(DecodeErrorPolicy::Replace), ["good", "b\u{fffd}d", "last"]);
        assert_eq!(with(DecodeErrorPolicy::Ignore), ["good", "bd", "last"]);
    }

    #[test]
    fn the_offset_after_each_line_counts_the_bytes_of_the_file() {
        let utf16 = || format("UTF-16", 2048, DecodeErrorPolicy::Fail);
        let bytes = b"\xff\xfea\0\n\0\xe5\x65\n\0b\0";
        let (found, _) = lines(utf16(), bytes, true);
        assert_eq!(found, [("a".into(), 6), ("日".into(), 10), ("b".into(), 12)]);
        let latin = || format("ISO-8859-1", 2048, DecodeErrorPolicy::Fail);
        assert_eq!(lines(latin(), b"\xe9\nx\n", true).0, [("é".into(), 2), ("x".into(), 4)]);
        assert_eq!(
            texts(format("GBK", 3, DecodeErrorPolicy::Fail), b"\xc8\xd5\xd6\xbeab\n"),
            ["日志a", "b"]
        );
    }
}
