//! Text of others as it is shown to people.

use std::fmt::{self, Write as _};

/// Names of files, text of configurations and whatever else comes from outside, as it is shown: control
/// characters, which could tell a terminal what to do, are written out; line ends and tabs stay.
///
/// ```
/// use millpond::base::visible::Visible;
/// assert_eq!(Visible("a\u{1b}[31mb\n").to_string(), "a\\u{1b}[31mb\n");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Visible<'a>(pub &'a str);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\n' | '\t' => f.write_char(c),
            c if c.is_control() => write!(f, "{}", c.escape_default()),
            c => f.write_char(c),
        })
    }
}

/// Bytes of others on one line: text as it is, and written out whatever could end the line, tell a terminal
/// what to do, or show text in another order than it has.
///
/// ```
/// use millpond::base::visible::OneLine;
/// assert_eq!(OneLine("a \"é\"\n\u{9b}\u{202e}".as_bytes()).to_string(), r#"a "é"\n\u{9b}\u{202e}"#);
/// assert_eq!(OneLine(b"\xffok\\").to_string(), r"\xffok\\");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct OneLine<'a>(pub &'a [u8]);

impl fmt::Display for OneLine<'_> {
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
