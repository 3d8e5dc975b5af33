//! Regular expressions that mean what they mean in Java.
//!
//! Flume's settings hold Java patterns. The engine behind this is another, and the same characters
//! mean other things there: `\d` would be any digit of any script, `$` would not match before a
//! final line break, `(?i)` would fold all of Unicode. So a pattern is read here as Java reads it,
//! and written anew with nothing left to a default.
//!
//! # Limits
//!
//! * A pattern has at most [`PATTERN_CHARS_MAX`] characters and [`NESTING_MAX`] levels of groups
//!   and classes.
//! * A pattern with lookaround, an anchor at an end of line, an atomic group or a reference can be
//!   matched only by trying and stepping back. It is not tried on a text of more than
//!   [`STEPPING_BYTES_MAX`] bytes, and given up after [`STEPS_MAX`] steps; the caller learns it
//!   ([`Exhausted`]). Java would go on, or run out of stack. All other patterns take time in
//!   proportion to the text, however long it is.
//! * A text grows by replacements to at most [`REPLACED_BYTES_MAX`].
//! * Not to be had, and refused by name: `\G`, `\X`, `\N{…}`, `(?U)`, Unicode blocks (`\p{InGreek}`),
//!   references to groups that are not closed yet or under `(?i)`, and single surrogates.
//!
//! A table of what a JVM answers is the test (`java.jsonl`).

mod class;
pub mod fuzz;
mod parse;
mod property;
mod replacement;
#[cfg(test)]
mod tests;

pub use replacement::Replacement;

use std::ops::Range;

/// Characters of a pattern at most.
pub const PATTERN_CHARS_MAX: usize = 16 * 1024;
/// Levels of groups and classes in each other at most.
pub const NESTING_MAX: usize = 100;
/// Steps back of one match at most.
pub const STEPS_MAX: usize = 1_000_000;
/// Bytes of a text on which a pattern is tried that steps back: what one step looks at can be all
/// of it, so the time grows with the square.
pub const STEPPING_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a text with its replacements at most: as much as the largest event.
pub const REPLACED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A pattern that Java would not take, or that cannot be had here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{pattern}\" is not a regular expression that can be used: {what}{}", place(*at))]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
    /// Where, in characters from 0; `None` when it is about the whole.
    pub at: Option<usize>,
    /// What is wrong, or what to write instead.
    pub what: String,
}

fn place(at: Option<usize>) -> String {
    at.map_or_else(String::new, |at| format!(" (at character {})", at + 1))
}

/// Matching was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Exhausted {
    /// It took more than [`STEPS_MAX`] steps.
    #[error("matching was given up after {STEPS_MAX} steps; make the pattern less ambiguous")]
    Steps,
    /// The text has more than [`STEPPING_BYTES_MAX`] bytes, and the pattern steps back.
    #[error(
        "a pattern with lookaround, $, an atomic group or a reference is not tried on more than {STEPPING_BYTES_MAX} bytes; write it without"
    )]
    Long,
    /// It would have more than [`REPLACED_BYTES_MAX`] bytes with its replacements.
    #[error("with its replacements the text would have more than {REPLACED_BYTES_MAX} bytes")]
    Replaced,
}

/// A Java regular expression.
#[derive(Clone, Debug)]
pub struct Pattern {
    source: String,
    found: fancy_regex::Regex,
    whole: fancy_regex::Regex,
    groups: usize,
    names: Vec<(String, usize)>,
    steps_back: bool,
}

/// Where the groups of a match are, in bytes; the whole match is group 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    groups: Vec<Option<Range<usize>>>,
}

impl Found {
    /// The whole match.
    #[must_use]
    pub fn whole(&self) -> Range<usize> {
        self.groups[0].clone().expect("group 0 is the match itself")
    }

    /// A group; `None` when it took no part in the match, or there is none.
    #[must_use]
    pub fn group(&self, at: usize) -> Option<Range<usize>> {
        self.groups.get(at).cloned().flatten()
    }
}

impl Pattern {
    /// Reads a pattern as `java.util.regex.Pattern.compile` does.
    ///
    /// # Errors
    /// Java would not take it, or it cannot be had here.
    ///
    /// # Examples
    /// ```
    /// # use millpond::pattern::Pattern;
    /// let digits = Pattern::new(r"(\d+)$")?;
    /// assert_eq!(digits.find("port 41414\n").unwrap().unwrap().group(1), Some(5..10));
    /// # Ok::<(), millpond::pattern::PatternError>(())
    /// ```
    pub fn new(java: &str) -> Result<Self, PatternError> {
        let parsed = parse::parse(java)?;
        let build = |text: &str| {
            fancy_regex::RegexBuilder::new(text).backtrack_limit(STEPS_MAX).build().map_err(
                |error| PatternError {
                    pattern: java.to_owned(),
                    at: None,
                    what: format!("it is not supported: {error}"),
                },
            )
        };
        Ok(Self {
            source: java.to_owned(),
            found: build(&parsed.text)?,
            whole: build(&format!(r"\A(?:{})\z", parsed.text))?,
            groups: parsed.groups,
            names: parsed.names,
            steps_back: parsed.steps_back,
        })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Number of groups, without group 0.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// The number of the group with this name.
    #[must_use]
    pub fn group_named(&self, name: &str) -> Option<usize> {
        self.names.iter().find(|(known, _)| known == name).map(|(_, at)| *at)
    }

    /// The first place that matches, as `Matcher.find`.
    ///
    /// # Errors
    /// It took too many steps.
    pub fn find(&self, text: &str) -> Result<Option<Found>, Exhausted> {
        self.find_from(text, 0)
    }

    /// Whether some place matches.
    ///
    /// # Errors
    /// It took too many steps.
    pub fn is_in(&self, text: &str) -> Result<bool, Exhausted> {
        self.may_try(text)?;
        self.found.is_match(text).map_err(|_| Exhausted::Steps)
    }

    /// Whether the whole text matches, as `Matcher.matches`.
    ///
    /// # Errors
    /// It took too many steps.
    pub fn is_whole(&self, text: &str) -> Result<bool, Exhausted> {
        self.may_try(text)?;
        self.whole.is_match(text).map_err(|_| Exhausted::Steps)
    }

    /// The groups where the whole text matches, as `Matcher.matches` leaves them.
    ///
    /// # Errors
    /// It took too many steps.
    pub fn find_whole(&self, text: &str) -> Result<Option<Found>, Exhausted> {
        self.may_try(text)?;
        let found = self.whole.captures(text).map_err(|_| Exhausted::Steps)?;
        Ok(found.map(|captures| self.groups_of(&captures)))
    }

    fn groups_of(&self, captures: &fancy_regex::Captures<'_, str>) -> Found {
        Found { groups: (0..=self.groups).map(|at| captures.get(at).map(|m| m.range())).collect() }
    }

    fn find_from(&self, text: &str, from: usize) -> Result<Option<Found>, Exhausted> {
        self.may_try(text)?;
        let found = self.found.captures_from_pos(text, from).map_err(|_| Exhausted::Steps)?;
        Ok(found.map(|captures| self.groups_of(&captures)))
    }

    fn may_try(&self, text: &str) -> Result<(), Exhausted> {
        let long = self.steps_back && text.len() > STEPPING_BYTES_MAX;
        if long { Err(Exhausted::Long) } else { Ok(()) }
    }

    /// Every match, one behind the other, as a loop over `Matcher.find` sees them: a match may be
    /// empty and begin where the one before ended. After an error there is none.
    pub fn find_all<'a>(
        &'a self,
        text: &'a str,
    ) -> impl Iterator<Item = Result<Found, Exhausted>> + 'a {
        let mut next = Some(0);
        std::iter::from_fn(move || {
            let from = next.take()?;
            let found = match self.find_from(text, from) {
                Ok(found) => found?,
                Err(error) => return Some(Err(error)),
            };
            let range = found.whole();
            let behind = text[range.end..].chars().next().map(char::len_utf8);
            next =
                if range.is_empty() { behind.map(|len| range.end + len) } else { Some(range.end) };
            Some(Ok(found))
        })
    }

    /// The parts between matches, as `String.split` answers them: empty ones at the end are left
    /// out, and an empty match at the start gives none.
    ///
    /// # Errors
    /// It took too many steps.
    pub fn split<'t>(&self, text: &'t str) -> Result<Vec<&'t str>, Exhausted> {
        let (mut parts, mut from) = (Vec::new(), 0);
        for found in self.find_all(text) {
            let range = found?.whole();
            if range.end == 0 {
                continue;
            }
            parts.push(&text[from..range.start]);
            from = range.end;
        }
        if from == 0 && parts.is_empty() {
            return Ok(vec![text]);
        }
        parts.push(&text[from..]);
        while parts.last().is_some_and(|part| part.is_empty()) {
            parts.pop();
        }
        Ok(parts)
    }
}
