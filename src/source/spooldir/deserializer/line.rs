//! `LINE`: each line is an event. Only `\n` ends a line; a `\r` before it belongs to the line.

use super::{Deserializer, OnBadText, Source, Unreadable, bounded};
use crate::base::limits::SPOOL_LINE_CHARS_MAX;
use crate::config::settings::{SettingError, SettingsReader};
use crate::event::Event;
use crate::wire::charset::Charset;
use crate::wire::text::{CHAR_BYTES_MAX, First, Text};

/// How lines are read and written.
#[derive(Clone, Debug)]
pub(super) struct Format {
    pub(super) input: Text,
    /// Its name in the configuration.
    pub(super) input_name: String,
    pub(super) output: Text,
    pub(super) on_bad_text: OnBadText,
    /// Java's characters, units of UTF-16, after which a line is cut.
    pub(super) chars_max: usize,
}

pub(super) fn chars_max(reader: &mut SettingsReader<'_>) -> Result<usize, SettingError> {
    let old = "bufferMaxLineLength";
    let key = if reader.text(old).is_some() { old } else { "deserializer.maxLineLength" };
    bounded(reader, key, 2048, SPOOL_LINE_CHARS_MAX)
}

/// The lines of one file.
pub(super) struct Lines {
    format: Format,
    /// The encoding, with the order of bytes that the file says.
    input: Text,
}

impl Lines {
    /// The lines of a file that begins with `start`, and how many bytes of it stand before them.
    pub(super) fn new(format: Format, start: &[u8]) -> (Self, usize) {
        let (input, begins) = format.input.of_file(start);
        (Self { format, input }, begins)
    }

    /// A line that ends within as many bytes as it may have characters, and is text throughout.
    fn short(&self, input: &mut dyn Source) -> Result<Option<Event>, Unreadable> {
        let Text::Narrow(charset) = self.input else { return Ok(None) };
        let Some(end) = input.find(b'\n', self.format.chars_max)? else { return Ok(None) };
        let Some(text) = charset.to_utf8(&input.unused()[..end]) else { return Ok(None) };
        input.skip(end + 1);
        let same = self.format.output == Text::Narrow(Charset::Utf8);
        Ok(Some(Event::new(if same {
            text
        } else {
            self.format.output.encode(&String::from_utf8_lossy(&text)).into()
        })))
    }

    /// Any line, or the part of it that one event may have, character by character. Answers it and
    /// the bytes that it takes; `None` when the line is not there whole.
    fn any(
        &self,
        input: &mut dyn Source,
        whole: bool,
    ) -> Result<Option<(String, usize)>, Unreadable> {
        let (mut line, mut units, mut at) = (String::new(), 0, 0);
        while units < self.format.chars_max {
            let last = !input.has(at + CHAR_BYTES_MAX)?;
            let rest = &input.unused()[at..];
            let (c, len) = match self.input.first(rest, last && whole) {
                First::Char('\n', len) => return Ok(Some((line, at + len))),
                First::Char(c, len) => (Some(c), len),
                First::Bad(len) => (self.replacement(input.offset() + at as u64)?, len),
                First::More if whole && at > 0 => return Ok(Some((line, at))),
                First::More => return Ok(None),
            };
            at += len;
            if let Some(c) = c {
                line.push(c);
                units += c.len_utf16();
            }
        }
        Ok(Some((line, at)))
    }

    /// What stands for bytes that are no text.
    fn replacement(&self, offset: u64) -> Result<Option<char>, Unreadable> {
        match self.format.on_bad_text {
            OnBadText::Replace => Ok(Some('\u{FFFD}')),
            OnBadText::Ignore => Ok(None),
            OnBadText::Fail => {
                Err(Unreadable::Undecodable { offset, charset: self.format.input_name.clone() })
            }
        }
    }
}

impl Deserializer for Lines {
    fn next(&mut self, input: &mut dyn Source, whole: bool) -> Result<Option<Event>, Unreadable> {
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
    use crate::source::reading::input::Input;
    use std::io;
    use std::os::unix::fs::FileExt;

    struct Held(Vec<u8>);

    impl FileExt for Held {
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

    fn format(input: &str, chars_max: usize, on_bad_text: OnBadText) -> Format {
        Format {
            input: Text::named(input).unwrap(),
            input_name: input.to_owned(),
            output: Text::named("UTF-8").unwrap(),
            on_bad_text,
            chars_max,
        }
    }

    /// The lines, the place behind each, and the error at the end.
    fn lines(format: Format, bytes: &[u8], whole: bool) -> (Vec<(String, u64)>, Option<String>) {
        let (mut lines, begins) = Lines::new(format, bytes);
        let mut input = Input::new(Held(bytes.to_vec()), begins as u64);
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

    fn texts(format: Format, bytes: &[u8]) -> Vec<String> {
        let (lines, error) = lines(format, bytes, true);
        assert_eq!(error, None);
        lines.into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn lines_end_at_newlines_and_the_last_one_at_the_end_of_a_file_that_is_whole() {
        let utf8 = || format("UTF-8", 2048, OnBadText::Fail);
        assert_eq!(texts(utf8(), b"one\ntwo\r\n\nlast"), ["one", "two\r", "", "last"]);
        let (held_back, _) = lines(utf8(), b"one\nlast", false);
        assert_eq!(held_back, [("one".to_owned(), 4)]);
    }

    #[test]
    fn a_long_line_is_cut_as_flume_cuts_it() {
        let five = |bytes: &[u8]| texts(format("UTF-8", 5, OnBadText::Fail), bytes);
        assert_eq!(five(b"abcdefgh\nxy\n"), ["abcde", "fgh", "xy"]);
        // The line's end is a line of its own then.
        assert_eq!(five(b"abcde\nxy\n"), ["abcde", "", "xy"]);
        assert_eq!(five("ab日本語でf\n".as_bytes()), ["ab日本語", "でf"]);
        assert_eq!(five("abcd\u{1F41E}ef\n".as_bytes()), ["abcd\u{1F41E}", "ef"]);
        let (cut, _) = lines(format("UTF-8", 5, OnBadText::Fail), b"abcdefgh", false);
        assert_eq!(cut, [("abcde".to_owned(), 5)]);
    }

    #[test]
    fn bytes_that_are_no_text_do_what_the_policy_says() {
        let bytes = b"good\nb\xffd\nlast\n";
        let (before, error) = lines(format("UTF-8", 2048, OnBadText::Fail), bytes, true);
        assert_eq!(before, [("good".to_owned(), 5)]);
        assert!(error.as_ref().is_some_and(|e| e.contains("byte 6 is not UTF-8")), "{error:?}");
        let with = |policy| texts(format("UTF-8", 2048, policy), bytes);
        assert_eq!(with(OnBadText::Replace), ["good", "b\u{fffd}d", "last"]);
        assert_eq!(with(OnBadText::Ignore), ["good", "bd", "last"]);
    }

    #[test]
    fn the_place_behind_each_line_is_counted_in_the_files_bytes() {
        let utf16 = || format("UTF-16", 2048, OnBadText::Fail);
        let bytes = b"\xff\xfea\0\n\0\xe5\x65\n\0b\0";
        let (found, _) = lines(utf16(), bytes, true);
        assert_eq!(found, [("a".into(), 6), ("日".into(), 10), ("b".into(), 12)]);
        let latin = || format("ISO-8859-1", 2048, OnBadText::Fail);
        assert_eq!(lines(latin(), b"\xe9\nx\n", true).0, [("é".into(), 2), ("x".into(), 4)]);
        assert_eq!(
            texts(format("GBK", 3, OnBadText::Fail), b"\xc8\xd5\xd6\xbeab\n"),
            ["日志a", "b"]
        );
    }
}
