//! Character classes: `[…]` and the escapes that mean several characters.

use super::PatternError;
use super::property;
use super::reader::{PatternEscape, PatternReader, single};

/// Returns the class members of a one-letter escape; the capital letter is their complement.
pub(super) fn of_letter(letter: char) -> Option<String> {
    let members = match letter.to_ascii_lowercase() {
        'd' => "0-9",
        's' => r"\x09-\x0D\x20",
        'w' => "A-Za-z0-9_",
        'h' => r"\x09\x20\x{A0}\x{1680}\x{180E}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}",
        'v' => r"\x0A-\x0D\x{85}\x{2028}\x{2029}",
        _ => return None,
    };
    Some(bracketed(members, letter.is_ascii_uppercase()))
}

/// Returns a class of `members`, or its complement.
pub(super) fn bracketed(members: &str, negated: bool) -> String {
    format!("[{}{members}]", if negated { "^" } else { "" })
}

impl PatternReader<'_> {
    /// Reads `\p…` or `\P…`, after the letter.
    pub(super) fn property(&mut self, negated: bool) -> Result<String, PatternError> {
        let at = self.at;
        let name: String = match self.next() {
            Some('{') => {
                let mut name = String::new();
                loop {
                    match self.next() {
                        Some('}') => break name,
                        Some(c) => name.push(c),
                        None => return Err(self.wrong(at, "the name of a property has no }")),
                    }
                }
            }
            Some(letter) => letter.to_string(),
            None => return Err(self.wrong(at, "\\p lacks its property")),
        };
        property::members(&name, self.flags.ignores_case)
            .map(|members| bracketed(&members, negated))
            .ok_or_else(|| {
                self.wrong(
                    at,
                    &format!(
                        "the property {name} is not known here; write its characters as a class"
                    ),
                )
            })
    }

    /// Reads a class, after its `[`.
    pub(super) fn class(&mut self) -> Result<String, PatternError> {
        let opened = self.at - 1;
        self.deeper(opened)?;
        let negated = self.take('^');
        let (mut sides, mut items, mut any) = (Vec::new(), String::new(), false);
        loop {
            if self.flags.comments {
                self.skip_blanks();
            }
            let at = self.at;
            let Some(c) = self.next() else {
                return Err(self.wrong(opened, "the class has no ]"));
            };
            match c {
                ']' if any || !sides.is_empty() => break,
                '&' if self.peek() == Some('&') => {
                    self.next();
                    if items.is_empty() {
                        return Err(self.wrong(at, "an intersection lacks its left side"));
                    }
                    sides.push(std::mem::take(&mut items));
                }
                '[' => items.push_str(&self.class()?),
                _ => items.push_str(&self.item(c, at)?),
            }
            any = true;
        }
        if items.is_empty() {
            return Err(self.wrong(opened, "an intersection lacks its right side"));
        }
        sides.push(items);
        self.depth -= 1;
        let sides: Vec<String> = match sides.len() {
            1 => sides,
            _ => sides.into_iter().map(|side| format!("[{side}]")).collect(),
        };
        let class = bracketed(&sides.join("&&"), negated);
        let folds = self.flags.ignores_case && self.flags.unicode_case;
        Ok(if folds { format!("(?i:{class})") } else { class })
    }

    /// Reads one character, range or escape.
    fn item(&mut self, first: char, at: usize) -> Result<String, PatternError> {
        let start = match self.member(first, at)? {
            PatternEscape::Class(class) => return Ok(class),
            PatternEscape::Char(c) => c,
        };
        let ends = self.rest().next() == Some('-')
            && !matches!(self.rest().nth(1), Some(']' | '[') | None);
        if !ends {
            return Ok(self.range(start, start));
        }
        self.next();
        let at = self.at;
        let Some(c) = self.next() else { return Err(self.wrong(at, "a range lacks its end")) };
        match self.member(c, at)? {
            PatternEscape::Char(end) if start <= end => Ok(self.range(start, end)),
            _ => Err(self.wrong(at, "a range ends before it begins, or not in a character")),
        }
    }

    fn member(&mut self, c: char, at: usize) -> Result<PatternEscape, PatternError> {
        if c == '\\' { self.escape(at, true) } else { Ok(PatternEscape::Char(c)) }
    }

    /// Returns a range, with the other case of its ASCII letters if case is ignored.
    fn range(&self, start: char, end: char) -> String {
        let one = |start: char, end: char| match start == end {
            true => single(start),
            false => format!("{}-{}", single(start), single(end)),
        };
        let mut text = one(start, end);
        if self.flags.ignores_case {
            for (low, high) in [('a', 'z'), ('A', 'Z')] {
                let (low, high) = (start.max(low), end.min(high));
                if low <= high {
                    text.push_str(&one(other_case(low), other_case(high)));
                }
            }
        }
        text
    }
}

/// Returns an ASCII letter in its other case.
pub(super) fn other_case(c: char) -> char {
    if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
}
