//! Stable codes of what asks for action: each line of the log at `ERROR`, each warning that may need a
//! person, each error that keeps a channel or an agent from starting, each alarm.
//!
//! A code is `MP-` and a number that never changes its meaning and is never used again. This floor has
//! those of the channel and its disks ([`CHANNEL`]); the others are in `crate::codes`, which joins them.
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
//! In the log the code is the first field after the message, `code=MP-1203`, in JSON `"code":"MP-1203"`. An
//! error that ends a command has it at its end. `millpond explain` and docs/codes.md are made from these tables.

mod channel;

pub use channel::*;
use std::fmt;

/// How what has a code comes to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// A line at `ERROR`, or an error that ends a command or keeps a channel from being opened.
    Error,
    /// A line at `WARN`: it may go on by itself.
    Warning,
    /// An alarm: raised, told and cleared.
    Alarm,
}

impl Level {
    /// In a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Alarm => "alarm",
        }
    }
}

/// One code, and what there is to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// Its number; what has been one code never becomes another.
    pub number: u32,
    /// The name of the constant.
    pub name: &'static str,
    /// How it comes to be read.
    pub level: Level,
    /// What it is, in a few words.
    pub title: &'static str,
    /// What has happened, and what that leads to.
    pub means: &'static str,
    /// What to do.
    pub action: &'static str,
    /// Where more is written, `PAGE#SECTION` below docs/; empty where this is all.
    pub more: &'static str,
}

/// `MP-1203`, as it stands in the log.
impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "MP-{}", self.number)
    }
}

/// An error that has a code.
pub trait Coded {
    /// The code to look up.
    fn code(&self) -> &'static Code;
}

/// Constants of codes, and the list of them all.
macro_rules! codes {
    ($(#[$about:meta])* $list:ident: $(
        $name:ident = $number:literal $level:ident $title:literal {
            $means:literal
            $action:literal
            $($more:literal)?
        }
    )*) => {
        $(
            #[doc = concat!("MP-", $number, ": ", $title, ".")]
            pub const $name: $crate::base::codes::Code = $crate::base::codes::Code {
                number: $number,
                name: stringify!($name),
                level: $crate::base::codes::Level::$level,
                title: $title,
                means: $means,
                action: $action,
                more: concat!($($more)?),
            };
        )*
        $(#[$about])*
        pub const $list: &[$crate::base::codes::Code] = &[$($name),*];
    };
}
pub(crate) use codes;
