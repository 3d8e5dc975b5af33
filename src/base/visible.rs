//! Text of others as it is shown to people.

use std::fmt::{self, Write as _};

/// What comes from outside, as it is shown where a line is one message: in a log, among findings. Line ends
/// too are written out, those of Unicode with them, so that no word of others looks like a line of ours;
/// tabs stay.
///
/// ```
/// use millpond::base::visible::OneLine;
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
            c if c.is_control() => write!(self.0, "{}", c.escape_default()),
            c => self.0.write_char(c),
        })
    }
}

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
