//! `TEXT` and `HEADER_AND_TEXT`: bodies, one per line, with or without the headers before them.

use super::serialize::Serializer;
use crate::sink::java_text;
use millpond::Event;
use millpond_flow::settings::SettingsReader;
use std::io::{self, Write};

/// Writes bodies unchanged, with a newline after each unless that is switched off.
pub(super) struct TextSerializer {
    with_headers: bool,
    newline: bool,
}

impl TextSerializer {
    pub(super) fn build(reader: &mut SettingsReader<'_>, key: &str, with_headers: bool) -> Self {
        let newline = reader.boolean(&format!("{key}.appendNewline"), true);
        Self { with_headers, newline }
    }
}

impl Serializer for TextSerializer {
    fn begin(&mut self, _: &Event, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn write(&mut self, batch: &[Event], out: &mut dyn Write) -> io::Result<()> {
        for event in batch {
            if self.with_headers {
                out.write_all(java_text::headers(&event.headers).as_bytes())?;
                out.write_all(b" ")?;
            }
            out.write_all(&event.body)?;
            if self.newline {
                out.write_all(b"\n")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(with_headers: bool, newline: bool) -> Vec<u8> {
        let mut first = Event::new("one");
        first.headers = [("k", "v"), ("host", "h")].into_iter().collect();
        let batch = [first, Event::new(""), Event::new(&b"\x00\xff"[..])];
        let mut out = Vec::new();
        let mut text = TextSerializer { with_headers, newline };
        text.begin(&batch[0], &mut out).unwrap();
        text.write(&batch, &mut out).unwrap();
        out
    }

    #[test]
    fn bodies_and_headers_are_written_as_by_flume() {
        assert_eq!(written(false, true), b"one\n\n\x00\xff\n");
        assert_eq!(written(false, false), b"one\x00\xff");
        assert_eq!(written(true, true), b"{host=h, k=v} one\n{} \n{} \x00\xff\n");
        assert_eq!(written(true, false), b"{host=h, k=v} one{} {} \x00\xff");
    }
}
