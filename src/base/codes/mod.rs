//! Stable codes of everything that may need action: each log line at `ERROR`, each warning that may need an operator,
//! each error that keeps a channel or an agent from starting, each alarm.
//!
//! A code is `MP-` and a number that never changes its meaning and is never reused. This floor has those of the channel
//! and its disks ([`CHANNEL`]); the others are in `millpond_flow::codes`, which joins them.
//!
//! | numbers | are about |
//! |---|---|
//! | 1000 to 1999 | a channel and its disks |
//! | 2000 to 2999 | sources |
//! | 3000 to 3999 | sinks |
//! | 4000 to 4999 | configuration, start and stop |
//! | 5000 to 5999 | the agent, monitoring, and alarms as such |
//! | 5 digits | one alarm each, by the number that it has in docs/alarms.md |
//!
//! In the log the code is the first field after the message, `code=MP-1203`, in JSON `"code":"MP-1203"`. An error that
//! ends a command has it at its end. `millpond explain` and docs/codes.md are made from these tables.

mod channel;

pub use channel::*;
use std::fmt;

/// How a code is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// A line at `ERROR`, or an error that ends a command or keeps a channel from being opened.
    Error,
    /// A line at `WARN`: it may recover by itself.
    Warning,
    /// An alarm: raised, reported and cleared.
    Alarm,
}

impl Level {
    /// Returns the level as a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Alarm => "alarm",
        }
    }
}

/// One code and its description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// Its number; never reused for another code.
    pub number: u32,
    /// The name of the constant.
    pub name: &'static str,
    /// How it is reported.
    pub level: Level,
    /// A title of a few words.
    pub title: &'static str,
    /// What has happened, and its consequences.
    pub means: &'static str,
    /// What to do.
    pub action: &'static str,
    /// Where to read more, `PAGE#SECTION` below docs/; empty if this is all.
    pub more: &'static str,
}

impl Code {
    /// Returns `words` without this code in brackets at their end, for a place that shows the code by itself.
    #[must_use]
    pub fn stripped_from<'a>(&self, words: &'a str) -> &'a str {
        words.strip_suffix(format!(" ({self})").as_str()).unwrap_or(words)
    }
}

/// `MP-1203`, as in the log.
impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "MP-{}", self.number)
    }
}

/// An error that has a code.
pub trait Coded {
    /// Returns the code to look up.
    fn code(&self) -> &'static Code;
}

/// Defines constants of codes, and the list of them all.
#[doc(hidden)]
#[macro_export]
macro_rules! __codes {
    ($(#[$about:meta])* $list:ident: $(
        $name:ident = $number:literal $level:ident $title:literal {
            $means:literal
            $action:literal
            $($more:literal)?
        }
    )*) => {
        $(
            #[doc = concat!("MP-", $number, ": ", $title, ".")]
            pub const $name: $crate::internal::base::codes::Code = $crate::internal::base::codes::Code {
                number: $number,
                name: stringify!($name),
                level: $crate::internal::base::codes::Level::$level,
                title: $title,
                means: $means,
                action: $action,
                more: concat!($($more)?),
            };
        )*
        $(#[$about])*
        pub const $list: &[$crate::internal::base::codes::Code] = &[$($name),*];
    };
}
pub use crate::__codes as codes;
