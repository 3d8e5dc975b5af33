//! Untrusted text, escaped for display.

use std::fmt::{self, Write as _};

/// Whether `c` is invisible and changes the display order of the text around it, which can make one name look like
/// another.
#[must_use]
pub fn reorders(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Untrusted text for display where one line is one message: in a log, among findings. Line ends, also those of
/// Unicode, are escaped, so that no such text looks like a line of ours, and so are characters that change the display
/// order; tabs stay.
///
/// ```
/// use millpond_flow::base::escape::EscapedLine;
/// assert_eq!(EscapedLine("a\u{202e}b").to_string(), "a\\u{202e}b");
/// assert_eq!(EscapedLine("a\n2026 INFO\u{1b}[31m\u{2028}").to_string(), "a\\n2026 INFO\\u{1b}[31m\\u{2028}");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct EscapedLine<T>(pub T);

impl<T: fmt::Display> fmt::Display for EscapedLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Unbroken(f), "{}", self.0)
    }
}

struct Unbroken<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Unbroken<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c {
            '\t' => self.0.write_char(c),
            '\u{2028}' | '\u{2029}' => write!(self.0, "{}", c.escape_default()),
            c if c.is_control() || reorders(c) => write!(self.0, "{}", c.escape_default()),
            c => self.0.write_char(c),
        })
    }
}

/// Untrusted text for display, such as file names and configurations: control characters, which could control a
/// terminal, and characters that change the display order are escaped; line ends and tabs stay.
///
/// ```
/// use millpond_flow::base::escape::Escaped;
/// assert_eq!(Escaped("a\u{202e}b").to_string(), "a\\u{202e}b");
/// assert_eq!(Escaped("a\u{1b}[31mb\n").to_string(), "a\\u{1b}[31mb\n");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\n' | '\t' => f.write_char(c),
            c if c.is_control() || reorders(c) => write!(f, "{}", c.escape_default()),
            c => f.write_char(c),
        })
    }
}

/// Untrusted bytes on one line: text as it is, and escaped whatever could end the line, control a terminal, or change
/// the display order.
///
/// ```
/// use millpond_flow::base::escape::EscapedBytes;
/// assert_eq!(EscapedBytes("a \"é\"\n\u{9b}\u{202e}".as_bytes()).to_string(), r#"a "é"\n\u{9b}\u{202e}"#);
/// assert_eq!(EscapedBytes(b"\xffok\\").to_string(), r"\xffok\\");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct EscapedBytes<'a>(pub &'a [u8]);

impl fmt::Display for EscapedBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            // Quotes need no escape here, and lines of JSON are full of them.
            for part in chunk.valid().split_inclusive(['"', '\'']) {
                let plain = part.trim_end_matches(['"', '\'']);
                write!(f, "{}{}", plain.escape_debug(), &part[plain.len()..])?;
            }
            write!(f, "{}", chunk.invalid().escape_ascii())?;
        }
        Ok(())
    }
}
