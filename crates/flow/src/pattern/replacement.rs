//! Replacements of matches in Java's notation: `$1`, `${name}`, `\$`.

use super::{MatchLimitReached, Pattern, PatternError, REPLACED_BYTES_MAX};
use std::borrow::Cow;

/// A replacement for the matches of one pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    pieces: Vec<ReplacementPart>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ReplacementPart {
    Text(String),
    Group(usize),
}

impl Replacement {
    /// Parses a replacement as `Matcher.appendReplacement` does.
    ///
    /// # Errors
    /// It names a group that `pattern` does not have, or is incomplete.
    ///
    /// # Examples
    /// ```
    /// # use millpond_flow::pattern::{Pattern, Replacement};
    /// let pattern = Pattern::new(r"(\w+)@(\w+)")?;
    /// let replacement = Replacement::new("$2 at ${1}0", &pattern);
    /// assert!(replacement.is_err(), "a group in braces has a name");
    /// let replacement = Replacement::new(r"$2@\$1", &pattern)?;
    /// assert_eq!(replacement.all("a@b", &pattern).unwrap(), "b@$1");
    /// # Ok::<(), millpond_flow::pattern::PatternError>(())
    /// ```
    pub fn new(java: &str, pattern: &Pattern) -> Result<Self, PatternError> {
        let mut pieces: Vec<ReplacementPart> = Vec::new();
        let mut text = String::new();
        let mut chars = java.chars().peekable();
        let wrong = |what: &str| PatternError {
            pattern: java.to_owned(),
            at: None,
            what: format!("as a replacement, {what}"),
        };
        while let Some(c) = chars.next() {
            match c {
                '\\' => text.push(chars.next().ok_or_else(|| wrong("it ends in a backslash"))?),
                '$' => {
                    let group = if chars.next_if_eq(&'{').is_some() {
                        let name: String =
                            std::iter::from_fn(|| chars.next_if(|c| *c != '}')).collect();
                        chars.next().ok_or_else(|| wrong("a ${ has no }"))?;
                        let known = pattern.group_named(&name);
                        known.ok_or_else(|| wrong(&format!("there is no group {name}")))?
                    } else {
                        let mut group = None;
                        while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
                            let longer = group.unwrap_or(0) * 10 + digit as usize;
                            if group.is_some() && longer > pattern.groups() {
                                break;
                            }
                            group = Some(longer);
                            chars.next();
                        }
                        let known = group.filter(|group| *group <= pattern.groups());
                        known.ok_or_else(|| wrong("a $ names no group; write \\$ for the sign"))?
                    };
                    pieces.push(ReplacementPart::Text(std::mem::take(&mut text)));
                    pieces.push(ReplacementPart::Group(group));
                }
                c => text.push(c),
            }
        }
        pieces.push(ReplacementPart::Text(text));
        Ok(Self { pieces })
    }

    /// Returns `text` with every match of `pattern` replaced, as `Matcher.replaceAll`; the text itself without a
    /// match.
    ///
    /// # Errors
    /// It took too many steps, or grew too large.
    pub fn all<'t>(
        &self,
        text: &'t str,
        pattern: &Pattern,
    ) -> Result<Cow<'t, str>, MatchLimitReached> {
        let mut all = pattern.find_all(text).peekable();
        if all.peek().is_none() {
            return Ok(Cow::Borrowed(text));
        }
        let (mut new, mut from) = (String::with_capacity(text.len()), 0);
        for found in all {
            let found = found?;
            let range = found.whole();
            if new.len() > REPLACED_BYTES_MAX {
                return Err(MatchLimitReached::Replaced);
            }
            new.push_str(&text[from..range.start]);
            for piece in &self.pieces {
                match piece {
                    ReplacementPart::Text(text) => new.push_str(text),
                    ReplacementPart::Group(group) => {
                        new.push_str(found.group(*group).map_or("", |range| &text[range]));
                    }
                }
            }
            from = range.end;
        }
        new.push_str(&text[from..]);
        Ok(Cow::Owned(new))
    }
}
