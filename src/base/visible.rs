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
