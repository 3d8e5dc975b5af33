//! Text of others as it is shown to people.

use std::fmt::{self, Write as _};

/// Whether `c` shows nothing and changes the order in which what is around it is shown: with one a name can
/// look like another.
#[must_use]
pub fn reorders(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What comes from outside, as it is shown where a line is one message: in a log, among findings. Line ends
/// too are written out, those of Unicode with them, so that no word of others looks like a line of ours, and
/// what would show text in another order than it has; tabs stay.
///
/// ```
/// use millpond::base::visible::OneLine;
/// assert_eq!(OneLine("a\u{202e}b").to_string(), "a\\u{202e}b");
/// assert_eq!(OneLine("a\n2026 INFO\u{1b}[31m\u{2028}").to_string(), "a\\n2026 INFO\\u{1b}[31m\\u{2028}");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct OneLine<T>(pub T);

impl<T: fmt::Display> fmt::Display for OneLine<T> {
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

/// Names of files, text of configurations and whatever else comes from outside, as it is shown: control
/// characters, which could tell a terminal what to do, and those that would show text in another order than it
/// has are written out; line ends and tabs stay.
///
/// ```
/// use millpond::base::visible::Visible;
/// assert_eq!(Visible("a\u{202e}b").to_string(), "a\\u{202e}b");
/// assert_eq!(Visible("a\u{1b}[31mb\n").to_string(), "a\\u{1b}[31mb\n");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Visible<'a>(pub &'a str);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\n' | '\t' => f.write_char(c),
            c if c.is_control() || reorders(c) => write!(f, "{}", c.escape_default()),
            c => f.write_char(c),
        })
    }
}

/// Bytes of others on one line: text as it is, and written out whatever could end the line, tell a terminal
/// what to do, or show text in another order than it has.
///
/// ```
/// use millpond::base::visible::ByteLine;
/// assert_eq!(ByteLine("a \"é\"\n\u{9b}\u{202e}".as_bytes()).to_string(), r#"a "é"\n\u{9b}\u{202e}"#);
/// assert_eq!(ByteLine(b"\xffok\\").to_string(), r"\xffok\\");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ByteLine<'a>(pub &'a [u8]);

impl fmt::Display for ByteLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            // Quotes end nothing here, and lines of JSON are full of them.
            for part in chunk.valid().split_inclusive(['"', '\'']) {
                let plain = part.trim_end_matches(['"', '\'']);
                write!(f, "{}{}", plain.escape_debug(), &part[plain.len()..])?;
            }
            write!(f, "{}", chunk.invalid().escape_ascii())?;
        }
        Ok(())
    }
}
