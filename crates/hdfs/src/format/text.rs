//! Bodies as lines, with or without their headers.

use super::{FileFormat, FormatError};
use millpond::Event;

/// Writes each body, ended by a newline if so configured.
pub(super) struct TextFormat {
    pub(super) appends_newline: bool,
    /// Whether the headers come before the body, as Java prints a map.
    pub(super) with_headers: bool,
}

impl FileFormat for TextFormat {
    fn begin(&mut self, _: &Event, _: &mut Vec<u8>) -> Result<(), FormatError> {
        Ok(())
    }

    fn append_batch(&mut self, events: &[Event], out: &mut Vec<u8>) -> Result<(), FormatError> {
        for event in events {
            if self.with_headers {
                out.push(b'{');
                for (n, (name, value)) in event.headers.iter().enumerate() {
                    let comma = if n == 0 { "" } else { ", " };
                    out.extend_from_slice(format!("{comma}{name}={value}").as_bytes());
                }
                out.extend_from_slice(b"} ");
            }
            out.extend_from_slice(&event.body);
            if self.appends_newline {
                out.push(b'\n');
            }
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Vec<u8>) -> Result<(), FormatError> {
        Ok(())
    }
}
