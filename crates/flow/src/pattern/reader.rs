//! The characters of a pattern, read one after the other.

/// The meaning of a backslash escape.
pub(super) enum PatternEscape {
    Char(char),
    Class(String),
}

pub(super) struct PatternReader<'a> {
    pub(super) pattern: &'a str,
    pub(super) chars: Vec<char>,
    pub(super) at: usize,
    pub(super) flags: PatternFlags,
    pub(super) depth: usize,
    /// The groups opened so far; true for those that are closed.
    pub(super) closed: Vec<bool>,
    pub(super) names: Vec<(String, usize)>,
    /// True if the pattern has a back-reference.
    pub(super) refers: bool,
}

/// Returns a literal character.
pub(super) fn single(c: char) -> String {
    if c.is_ascii_alphanumeric() { c.to_string() } else { format!("\\x{{{:X}}}", u32::from(c)) }
}

/// The flags that `(?…)` sets.
#[derive(Clone, Copy, Default)]
pub(super) struct PatternFlags {
    pub(super) ignores_case: bool,
    pub(super) unicode_case: bool,
    pub(super) comments: bool,
    pub(super) many_lines: bool,
    pub(super) dot_is_all: bool,
    pub(super) unix_lines: bool,
}
