//! Regular expressions with Java's meaning.
//!
//! Flume's settings contain Java patterns. The regex engine used here differs: there `\d` would be any digit of
//! any script, `$` would not match before a final line break, `(?i)` would fold all of Unicode. So a pattern is
//! parsed as Java does and translated with nothing left to a default.
//!
//! # Limits
//!
//! * A pattern has at most [`PATTERN_CHARS_MAX`] characters and [`NESTING_MAX`] levels of groups
//!   and classes.
//! * A pattern with lookaround, an anchor at an end of line, an atomic group or a back-reference needs
//!   backtracking. It is not tried on a text of more than [`STEPPING_BYTES_MAX`] bytes, and aborted after
//!   [`STEPS_MAX`] steps with [`MatchLimitReached`]. Java would go on, or overflow its stack. All other patterns
//!   take time in proportion to the text.
//! * A text grows by replacements to at most [`REPLACED_BYTES_MAX`].
//! * Not supported, and refused by name: `\G`, `\X`, `\N{…}`, `(?U)`, Unicode blocks (`\p{InGreek}`), references
//!   to groups that are not closed yet or under `(?i)`, and single surrogates.
//!
//! The tests compare the results with those of a JVM (`java.jsonl`).

mod class;
mod error;
#[cfg(any(test, feature = "testing"))]
pub mod fuzz;
mod parse;
mod property;
mod reader;
mod replacement;
#[cfg(test)]
mod tests;

pub use error::{NESTING_MAX, PATTERN_CHARS_MAX, PatternError};
pub use replacement::Replacement;

use std::ops::Range;
/// Most backtracking steps of one match.
pub const STEPS_MAX: usize = 1_000_000;
/// Most bytes of a text for a pattern that backtracks: one step can examine all of it, so the time grows with the
/// square.
pub const STEPPING_BYTES_MAX: usize = 16 * 1024;
/// Most bytes of a text after replacement: those of the largest event.
pub const REPLACED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A limit at which matching was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MatchLimitReached {
    /// It took more than [`STEPS_MAX`] steps.
    #[error("matching was given up after {STEPS_MAX} steps; make the pattern less ambiguous")]
    Steps,
    /// The text has more than [`STEPPING_BYTES_MAX`] bytes, and the pattern backtracks.
    #[error(
        "a pattern with lookaround, $, an atomic group or a reference is not tried on more than {STEPPING_BYTES_MAX} bytes; write it without"
    )]
    Long,
    /// The replaced text would have more than [`REPLACED_BYTES_MAX`] bytes.
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

/// The groups of a match as byte ranges; group 0 is the whole match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchGroups {
    groups: Vec<Option<Range<usize>>>,
}

impl MatchGroups {
    /// Returns the whole match.
    #[must_use]
    pub fn whole(&self) -> Range<usize> {
        self.groups[0].clone().expect("group 0 is the match itself")
    }

    /// Returns a group; `None` if it took no part in the match or does not exist.
    #[must_use]
    pub fn group(&self, at: usize) -> Option<Range<usize>> {
        self.groups.get(at).cloned().flatten()
    }
}

impl Pattern {
    /// Parses a pattern as `java.util.regex.Pattern.compile` does.
    ///
    /// # Errors
    /// Java refuses it, or it is not supported here.
    ///
    /// # Examples
    /// ```
    /// # use millpond_flow::pattern::Pattern;
    /// let digits = Pattern::new(r"(\d+)$")?;
    /// assert_eq!(digits.find("port 41414\n").unwrap().unwrap().group(1), Some(5..10));
    /// # Ok::<(), millpond_flow::pattern::PatternError>(())
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

    /// Returns the pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Returns the number of groups, without group 0.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Returns the number of the group with this name.
    #[must_use]
    pub fn group_named(&self, name: &str) -> Option<usize> {
        self.names.iter().find(|(known, _)| known == name).map(|(_, at)| *at)
    }

    /// Returns the first match, as `Matcher.find`.
    ///
    /// # Errors
    /// It took too many steps.
    pub fn find(&self, text: &str) -> Result<Option<MatchGroups>, MatchLimitReached> {
        self.find_from(text, 0)
    }

    /// Returns true if the pattern matches anywhere in the text.
    ///
    /// # Errors
    /// It took too many steps.
    pub fn is_in(&self, text: &str) -> Result<bool, MatchLimitReached> {
        self.may_try(text)?;
        self.found.is_match(text).map_err(|_| MatchLimitReached::Steps)
    }

    /// Returns true if the whole text matches, as `Matcher.matches`.
    ///
    /// # Errors
    /// It took too many steps.
    pub fn is_whole(&self, text: &str) -> Result<bool, MatchLimitReached> {
        self.may_try(text)?;
        self.whole.is_match(text).map_err(|_| MatchLimitReached::Steps)
    }

    /// Returns the groups of a match of the whole text, as `Matcher.matches` sets them.
    ///
    /// # Errors
    /// It took too many steps.
    pub fn find_whole(&self, text: &str) -> Result<Option<MatchGroups>, MatchLimitReached> {
        self.may_try(text)?;
        let found = self.whole.captures(text).map_err(|_| MatchLimitReached::Steps)?;
        Ok(found.map(|captures| self.groups_of(&captures)))
    }

    fn groups_of(&self, captures: &fancy_regex::Captures<'_, str>) -> MatchGroups {
        MatchGroups {
            groups: (0..=self.groups).map(|at| captures.get(at).map(|m| m.range())).collect(),
        }
    }

    fn find_from(&self, text: &str, from: usize) -> Result<Option<MatchGroups>, MatchLimitReached> {
        self.may_try(text)?;
        let found =
            self.found.captures_from_pos(text, from).map_err(|_| MatchLimitReached::Steps)?;
        Ok(found.map(|captures| self.groups_of(&captures)))
    }

    fn may_try(&self, text: &str) -> Result<(), MatchLimitReached> {
        let long = self.steps_back && text.len() > STEPPING_BYTES_MAX;
        if long { Err(MatchLimitReached::Long) } else { Ok(()) }
    }

    /// Returns all matches in order, as a loop over `Matcher.find` does: a match may be empty and begin where the
    /// previous one ended. An error ends the iteration.
    pub fn find_all<'a>(
        &'a self,
        text: &'a str,
    ) -> impl Iterator<Item = Result<MatchGroups, MatchLimitReached>> + 'a {
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

    /// Returns the parts between matches, as `String.split` does: empty ones at the end are left out, and an
    /// empty match at the start gives none.
    ///
    /// # Errors
    /// It took too many steps.
    pub fn split<'t>(&self, text: &'t str) -> Result<Vec<&'t str>, MatchLimitReached> {
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
