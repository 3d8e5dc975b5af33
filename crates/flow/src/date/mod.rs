//! Dates by the patterns of Java: `SimpleDateFormat`, Joda-Time and `FastDateFormat`, in US English, the default of
//! most JVMs.
//!
//! Limits: a number has at most nine digits, a number that is written at most 32.
//!
//! The three share the form of a pattern ([`pattern`]): a run of one letter is a field, text is between quotes, and
//! other characters stand for themselves. [`read`] parses a text by a pattern, in the lenient way of
//! `SimpleDateFormat` or the strict one of Joda-Time; [`mod@write`] formats a time. Calendar and zones are those of
//! `jiff`, whose own patterns have other letters.

mod calendar;
pub mod path_letter;
mod pattern;
pub mod read;
pub mod write;
