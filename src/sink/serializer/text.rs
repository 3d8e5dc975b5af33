//! `TEXT` and `HEADER_AND_TEXT`: bodies, one a line, the headers before them or not.

use super::Serializer;
use crate::config::settings::SettingsReader;
use crate::event::Event;
use crate::sink::java_text;
use std::io::{self, Write};

/// Bodies as they are, with a newline behind each unless it is switched off.
pub(super) struct Text {
    with_headers: bool,
    newline: bool,
}

impl Text {
    pub(super) fn build(reader: &mut SettingsReader<'_>, key: &str, with_headers: bool) -> Self {
        let newline = reader.boolean(&format!("{key}.appendNewline"), true);
        Self { with_headers, newline }
    }
}

impl Serializer for Text {
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
        let mut text = Text { with_headers, newline };
        text.begin(&batch[0], &mut out).unwrap();
        text.write(&batch, &mut out).unwrap();
        out
    }

    #[test]
    fn bodies_and_headers_stand_as_flume_writes_them() {
        assert_eq!(written(false, true), b"one\n\n\x00\xff\n");
        assert_eq!(written(false, false), b"one\x00\xff");
        assert_eq!(written(true, true), b"{host=h, k=v} one\n{} \n{} \x00\xff\n");
        assert_eq!(written(true, false), b"{host=h, k=v} one{} {} \x00\xff");
    }
}
