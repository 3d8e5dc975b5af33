//! The form of a pattern: fields, text, quotes.

use std::iter::Peekable;
use std::str::Chars;

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PatternPart {
    /// Text that stands for itself.
    Text(String),
    /// A letter and how often it is repeated.
    Field(char, usize),
}

/// Text after a quote that is not closed, up to the end of the pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnclosedQuote(pub(super) String);

/// The parts of a pattern, in order.
pub(super) struct PatternParts<'a>(Peekable<Chars<'a>>);

impl<'a> PatternParts<'a> {
    /// Returns the parts of `pattern`.
    pub(super) fn of(pattern: &'a str) -> Self {
        Self(pattern.chars().peekable())
    }

    /// Returns the text up to the closing quote, with doubled quotes reduced to one.
    fn quoted(&mut self) -> Result<String, UnclosedQuote> {
        let mut text = String::new();
        loop {
            match self.0.next() {
                None => return Err(UnclosedQuote(text)),
                Some('\'') if self.0.next_if_eq(&'\'').is_none() => return Ok(text),
                Some(c) => text.push(c),
            }
        }
    }
}

impl Iterator for PatternParts<'_> {
    type Item = Result<PatternPart, UnclosedQuote>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.0.next()?;
        if first.is_ascii_alphabetic() {
            let mut count = 1;
            while self.0.next_if_eq(&first).is_some() {
                count += 1;
            }
            return Some(Ok(PatternPart::Field(first, count)));
        }
        if first != '\'' || self.0.next_if_eq(&'\'').is_some() {
            return Some(Ok(PatternPart::Text(first.into())));
        }
        Some(self.quoted().map(PatternPart::Text))
    }
}
