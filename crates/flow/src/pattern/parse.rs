//! Parses a pattern as Java does and translates it, with nothing left to a default.

use super::class::{bracketed, of_letter, other_case};
use super::{NESTING_MAX, PATTERN_CHARS_MAX, PatternError};
use crate::pattern::reader::PatternEscape;
use crate::pattern::reader::PatternFlags;
use crate::pattern::reader::PatternReader;
use crate::pattern::reader::single;

/// A translated pattern.
pub(super) struct TranslatedPattern {
    pub(super) text: String,
    pub(super) groups: usize,
    pub(super) names: Vec<(String, usize)>,
    /// True if it needs backtracking: lookaround (as `$` does here), atomic groups, back-references.
    pub(super) steps_back: bool,
}

/// Java's line terminators, as members of a class.
const ENDS: &str = r"\x0A\x0D\x{85}\x{2028}\x{2029}";

pub(super) fn parse(pattern: &str) -> Result<TranslatedPattern, PatternError> {
    let mut reader = PatternReader {
        pattern,
        chars: unquoted(pattern),
        at: 0,
        flags: PatternFlags::default(),
        depth: 0,
        closed: Vec::new(),
        names: Vec::new(),
        refers: false,
    };
    if reader.chars.len() > PATTERN_CHARS_MAX {
        let what = format!("it has more than {PATTERN_CHARS_MAX} characters");
        return Err(PatternError { pattern: pattern.chars().take(60).collect(), at: None, what });
    }
    let text = reader.alternatives()?;
    if reader.at < reader.chars.len() {
        return Err(reader.wrong(reader.at, "a ) without its ("));
    }
    // A literal is never written with a `(?`.
    let steps_back =
        [r"(?=", r"(?!", r"(?<", r"(?>"].iter().any(|mark| text.contains(mark)) || reader.refers;
    Ok(TranslatedPattern { text, groups: reader.closed.len(), names: reader.names, steps_back })
}

/// Returns the pattern with the text between `\Q` and `\E` escaped, character by character, as Java does before
/// it parses a pattern.
fn unquoted(pattern: &str) -> Vec<char> {
    let (mut chars, mut rest) = (Vec::new(), pattern);
    while let Some(at) = quotation(rest) {
        let (before, behind) = rest.split_at(at);
        let (quoted, after) = behind[2..].split_once("\\E").unwrap_or((&behind[2..], ""));
        chars.extend(before.chars());
        for c in quoted.chars() {
            chars.extend((c.is_ascii() && !c.is_ascii_alphanumeric()).then_some('\\'));
            chars.push(c);
        }
        rest = after;
    }
    chars.extend(rest.chars());
    chars
}

/// Returns the position of the first `\Q` whose backslash is not escaped itself.
fn quotation(pattern: &str) -> Option<usize> {
    let mut bytes = pattern.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        if byte == b'\\' && bytes.next()?.1 == b'Q' {
            return Some(at);
        }
    }
    None
}

impl PatternReader<'_> {
    pub(super) fn wrong(&self, at: usize, what: &str) -> PatternError {
        PatternError { pattern: self.pattern.to_owned(), at: Some(at), what: what.to_owned() }
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    pub(super) fn rest(&self) -> impl Iterator<Item = char> {
        self.chars[self.at..].iter().copied()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    pub(super) fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn take_all(&mut self, wanted: &str) -> bool {
        let found = self.rest().take(wanted.len()).eq(wanted.chars());
        self.at += if found { wanted.len() } else { 0 };
        found
    }

    pub(super) fn deeper(&mut self, at: usize) -> Result<(), PatternError> {
        self.depth += 1;
        match self.depth {
            0..=NESTING_MAX => Ok(()),
            _ => Err(self.wrong(at, &format!("more than {NESTING_MAX} levels"))),
        }
    }

    /// Skips blanks and comments, which have no meaning under `(?x)`.
    pub(super) fn skip_blanks(&mut self) {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\n' | '\r' | '\u{B}' | '\u{C}' => self.at += 1,
                '#' => {
                    let ends =
                        |c: &char| matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
                    let len = self.rest().position(|c| ends(&c));
                    self.at = len.map_or(self.chars.len(), |len| self.at + len);
                }
                _ => return,
            }
        }
    }

    fn alternatives(&mut self) -> Result<String, PatternError> {
        let mut text = String::new();
        loop {
            if self.flags.comments {
                self.skip_blanks();
            }
            let at = self.at;
            match self.peek() {
                None | Some(')') => return Ok(text),
                Some('|') => {
                    self.at += 1;
                    text.push('|');
                }
                Some('*' | '+' | '?') => {
                    return Err(self.wrong(at, "there is nothing before it to repeat"));
                }
                Some('{') => return Err(self.wrong(at, "a { that repeats nothing; write \\{")),
                Some(_) => {
                    let atom = self.atom()?;
                    let atom = self.repeated(atom)?;
                    text.push_str(&atom);
                }
            }
        }
    }

    fn atom(&mut self) -> Result<String, PatternError> {
        let at = self.at;
        let c = self.next().expect("looked at by the caller");
        Ok(match c {
            '(' => return self.group(at),
            '[' => return self.class(),
            '.' if self.flags.dot_is_all => "(?s:.)".to_owned(),
            '.' if self.flags.unix_lines => bracketed(r"\x0A", true),
            '.' => bracketed(ENDS, true),
            '^' => self.line_start(),
            '$' => self.line_end(self.flags.many_lines),
            '\\' => return self.outside(at),
            c => self.literal(c),
        })
    }

    fn literal(&self, c: char) -> String {
        match (self.flags.ignores_case, self.flags.unicode_case) {
            (true, true) if c.is_alphabetic() => format!("(?i:{})", single(c)),
            (true, false) if c.is_ascii_alphabetic() => format!("[{c}{}]", other_case(c)),
            _ => single(c),
        }
    }

    fn line_start(&self) -> String {
        match (self.flags.many_lines, self.flags.unix_lines) {
            (false, _) => r"\A",
            // Java's does not match at the very end, not even in an empty text.
            (true, true) => r"(?:(?!\z)(?:\A|(?<=\x0A)))",
            (true, false) => {
                r"(?:(?!\z)(?:\A|(?<=[\x0A\x{85}\x{2028}\x{2029}])|(?<=\x0D)(?!\x0A)))"
            }
        }
        .to_owned()
    }

    fn line_end(&self, many_lines: bool) -> String {
        match (many_lines, self.flags.unix_lines) {
            (false, true) => r"(?=\x0A?\z)",
            (true, true) => r"(?=\x0A|\z)",
            (false, false) => {
                r"(?:(?<!\x0D)(?=\x0A\z)|(?=(?:\x0D\x0A|[\x0D\x{85}\x{2028}\x{2029}])?\z))"
            }
            (true, false) => r"(?:(?<!\x0D)(?=\x0A)|(?=[\x0D\x{85}\x{2028}\x{2029}])|\z)",
        }
        .to_owned()
    }

    /// Reads a backslash escape outside of a class.
    fn outside(&mut self, at: usize) -> Result<String, PatternError> {
        let Some(c) = self.peek() else { return Err(self.wrong(at, "a backslash at the end")) };
        let place = match c {
            'b' if self.rest().nth(1) == Some('{') => {
                return Err(self.wrong(at, "boundaries other than \\b are not supported"));
            }
            'A' | 'z' | 'b' | 'B' => format!("\\{c}"),
            'Z' => self.line_end(false),
            'R' => format!(r"(?>\x0D\x0A|[{ENDS}\x0B\x0C])"),
            'k' => {
                self.at += 1;
                return self.named_reference(at);
            }
            '1'..='9' => return self.reference(at),
            _ => {
                return Ok(match self.escape(at, false)? {
                    PatternEscape::Char(c) => self.literal(c),
                    PatternEscape::Class(class) => class,
                });
            }
        };
        self.at += 1;
        Ok(place)
    }

    /// Reads an escape of one or several characters after its backslash, also within a class.
    pub(super) fn escape(
        &mut self,
        at: usize,
        in_class: bool,
    ) -> Result<PatternEscape, PatternError> {
        let Some(c) = self.next() else { return Err(self.wrong(at, "a backslash at the end")) };
        Ok(PatternEscape::Char(match c {
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'f' => '\u{C}',
            'a' => '\u{7}',
            'e' => '\u{1B}',
            '0' => self.octal(at)?,
            'x' => self.hexadecimal(at)?,
            'u' => self.utf16(at)?,
            'c' => {
                let control = self.next().filter(char::is_ascii);
                let code = control.map(|c| char::from(c as u8 ^ 64));
                code.ok_or_else(|| self.wrong(at, "\\c lacks its character"))?
            }
            'p' | 'P' => return Ok(PatternEscape::Class(self.property(c == 'P')?)),
            _ => match of_letter(c) {
                Some(class) => return Ok(PatternEscape::Class(class)),
                None if c.is_ascii_alphabetic() => {
                    let known = matches!(c, 'G' | 'X' | 'N');
                    let what = if known && !in_class {
                        "is not supported"
                    } else {
                        "means nothing in Java"
                    };
                    return Err(self.wrong(at, &format!("\\{c} {what}")));
                }
                None if in_class && c.is_ascii_digit() => {
                    return Err(self.wrong(at, "a class cannot refer to a group"));
                }
                None => c,
            },
        }))
    }

    fn octal(&mut self, at: usize) -> Result<char, PatternError> {
        let digits: Vec<u32> = self.rest().take(3).map_while(|c| c.to_digit(8)).collect();
        let len = if digits.first().is_some_and(|d| *d > 3) { 2 } else { 3 };
        let digits = &digits[..digits.len().min(len)];
        self.at += digits.len();
        let code = digits.iter().fold(0, |code, digit| code * 8 + digit);
        match digits {
            [] => Err(self.wrong(at, "\\0 lacks its octal digits")),
            _ => Ok(char::from_u32(code).expect("at most 255")),
        }
    }

    fn hexadecimal(&mut self, at: usize) -> Result<char, PatternError> {
        let digits: String = if self.take('{') {
            let digits: String = self.rest().take_while(|c| *c != '}').take(8).collect();
            self.at += digits.len();
            if !self.take('}') {
                return Err(self.wrong(at, "\\x{ has no }"));
            }
            digits
        } else {
            let digits: String = self.rest().take(2).collect();
            self.at += digits.chars().count();
            if digits.len() < 2 { String::new() } else { digits }
        };
        let code = u32::from_str_radix(&digits, 16).ok().filter(|_| !digits.starts_with('+'));
        code.and_then(char::from_u32)
            .ok_or_else(|| self.wrong(at, "\\x lacks its hexadecimal digits"))
    }

    /// Reads `\uhhhh`; two of them can be one character.
    fn utf16(&mut self, at: usize) -> Result<char, PatternError> {
        let mut units = vec![self.unit(at)?];
        if (0xD800..0xDC00).contains(&units[0]) && self.take_all("\\u") {
            units.push(self.unit(at)?);
        }
        match char::decode_utf16(units).next() {
            Some(Ok(c)) => Ok(c),
            _ => Err(self.wrong(at, "half a surrogate pair is not supported")),
        }
    }

    fn unit(&mut self, at: usize) -> Result<u16, PatternError> {
        let digits: String = self.rest().take(4).collect();
        self.at += digits.chars().count();
        let legal = digits.len() == 4 && digits.chars().all(|c| c.is_ascii_hexdigit());
        u16::from_str_radix(if legal { &digits } else { "" }, 16)
            .map_err(|_| self.wrong(at, "\\u lacks its four hexadecimal digits"))
    }

    /// Reads `\1`, with as many digits as give an existing group.
    fn reference(&mut self, at: usize) -> Result<String, PatternError> {
        let mut group = 0;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
            let longer = group * 10 + digit as usize;
            if group > 0 && longer > self.closed.len() {
                break;
            }
            group = longer;
            self.at += 1;
        }
        self.refer(at, group)
    }

    fn named_reference(&mut self, at: usize) -> Result<String, PatternError> {
        let opened = self.take('<');
        let name: String = self.rest().take_while(|c| *c != '>').collect();
        self.at += name.chars().count();
        if !opened || !self.take('>') {
            return Err(self.wrong(at, "\\k lacks its <name>"));
        }
        let known = self.names.iter().find(|(known, _)| *known == name).map(|(_, group)| *group);
        match known {
            Some(group) => self.refer(at, group),
            None => Err(self.wrong(at, &format!("there is no group {name} before it"))),
        }
    }

    fn refer(&mut self, at: usize, group: usize) -> Result<String, PatternError> {
        if self.flags.ignores_case {
            return Err(self.wrong(at, "a reference to a group under (?i) is not supported"));
        }
        match group.checked_sub(1).and_then(|at| self.closed.get(at)) {
            Some(true) => {
                self.refers = true;
                Ok(format!("(?:\\{group})"))
            }
            _ => Err(self.wrong(at, &format!("group {group} is not closed before it"))),
        }
    }

    fn group(&mut self, at: usize) -> Result<String, PatternError> {
        self.deeper(at)?;
        let outer = self.flags;
        let mut capture = None;
        let opening = if !self.take('?') {
            capture = Some(self.open(None));
            "("
        } else if self.take(':') {
            "(?:"
        } else if self.take('=') {
            "(?="
        } else if self.take('!') {
            "(?!"
        } else if self.take('>') {
            "(?>"
        } else if self.take_all("<=") {
            "(?<="
        } else if self.take_all("<!") {
            "(?<!"
        } else if self.take('<') {
            let name = self.group_name(at)?;
            capture = Some(self.open(Some(name)));
            "("
        } else {
            self.switch(at)?;
            if self.take(')') {
                self.depth -= 1;
                return Ok(String::new());
            }
            self.at += 1;
            "(?:"
        };
        let inside = self.alternatives()?;
        if !self.take(')') {
            return Err(self.wrong(at, "a ( without its )"));
        }
        if let Some(capture) = capture {
            self.closed[capture] = true;
        }
        self.flags = outer;
        self.depth -= 1;
        Ok(format!("{opening}{inside})"))
    }

    fn open(&mut self, name: Option<String>) -> usize {
        self.closed.push(false);
        self.names.extend(name.map(|name| (name, self.closed.len())));
        self.closed.len() - 1
    }

    fn group_name(&mut self, at: usize) -> Result<String, PatternError> {
        let name: String = self.rest().take_while(|c| *c != '>').collect();
        self.at += name.chars().count();
        let legal = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric());
        if !legal || !self.take('>') {
            return Err(self.wrong(at, "the name of a group is letters and digits between < and >"));
        }
        if self.names.iter().any(|(known, _)| *known == name) {
            return Err(self.wrong(at, &format!("there are two groups {name}")));
        }
        Ok(name)
    }

    /// Reads `(?ims-x` up to the following `)` or `:`, which is not consumed.
    fn switch(&mut self, at: usize) -> Result<(), PatternError> {
        let mut on = true;
        loop {
            let flags = &mut self.flags;
            match self.chars.get(self.at) {
                Some('i') => flags.ignores_case = on,
                Some('u') => flags.unicode_case = on,
                Some('x') => flags.comments = on,
                Some('m') => flags.many_lines = on,
                Some('s') => flags.dot_is_all = on,
                Some('d') => flags.unix_lines = on,
                Some('-') if on => on = false,
                Some(')' | ':') => return Ok(()),
                Some('U') => {
                    return Err(self
                        .wrong(at, "(?U) is not supported; write \\p{IsAlphabetic} and the like"));
                }
                _ => return Err(self.wrong(at, "an unknown kind of group")),
            }
            self.at += 1;
        }
    }

    /// Returns an atom with the repetition that follows it, if there is one.
    fn repeated(&mut self, atom: String) -> Result<String, PatternError> {
        if self.flags.comments {
            self.skip_blanks();
        }
        let at = self.at;
        let counts = match self.peek() {
            Some(c @ ('*' | '+' | '?')) => {
                self.at += 1;
                c.to_string()
            }
            Some('{') => self.counts(at)?,
            _ => return Ok(atom),
        };
        if atom.is_empty() {
            return Err(self.wrong(at, "there is nothing before it to repeat"));
        }
        if self.take('+') {
            return Ok(format!("(?>{atom}{counts})"));
        }
        let lazy = if self.take('?') { "?" } else { "" };
        Ok(format!("(?:{atom}{counts}{lazy})"))
    }

    fn counts(&mut self, at: usize) -> Result<String, PatternError> {
        self.at += 1;
        let low = self.count();
        let high = if self.take(',') { self.count() } else { low };
        let open = self.chars[self.at - 1] == ',';
        let legal = low.is_some() && (open || high >= low);
        if !legal || !self.take('}') {
            return Err(self.wrong(at, "a { that is not a repetition; write \\{"));
        }
        let low = low.unwrap_or(0);
        Ok(match high.filter(|_| !open) {
            Some(high) if high == low => format!("{{{low}}}"),
            Some(high) => format!("{{{low},{high}}}"),
            None => format!("{{{low},}}"),
        })
    }

    fn count(&mut self) -> Option<u32> {
        let digits: String = self.rest().take_while(char::is_ascii_digit).take(9).collect();
        self.at += digits.len();
        digits.parse().ok()
    }
}
