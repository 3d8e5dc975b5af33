//! The letters after `%` in paths and names of topics, which stand for parts of a time.

use super::write::formatted;
use jiff::Zoned;

/// Returns true if `letter` stands for a part of a time.
#[must_use]
pub fn is_known(letter: char) -> bool {
    matches!(letter, 't' | 's' | 'z') || pattern(letter).is_some()
}

/// Returns what `letter` stands for at `time`; nothing if it is not known. `raw` are the milliseconds since 1970 as the
/// event has them.
#[must_use]
pub fn text(letter: char, raw: &str, time: &Zoned) -> String {
    match letter {
        't' => raw.to_owned(),
        's' => time.timestamp().as_second().to_string(),
        'z' => time.strftime("%z").to_string(),
        _ => pattern(letter).and_then(|pattern| formatted(pattern, time).ok()).unwrap_or_default(),
    }
}

/// Returns the pattern of a date, as Java has it, that `letter` stands for.
fn pattern(letter: char) -> Option<&'static str> {
    Some(match letter {
        'a' => "EEE",
        'A' => "EEEE",
        'b' => "MMM",
        'B' => "MMMM",
        'c' => "EEE MMM d HH:mm:ss yyyy",
        'd' => "dd",
        'e' => "d",
        'D' => "MM/dd/yy",
        'H' => "HH",
        'I' => "hh",
        'j' => "DDD",
        'k' => "H",
        'l' => "h",
        'm' => "MM",
        'n' => "M",
        'M' => "mm",
        'p' => "a",
        'S' => "ss",
        'y' => "yy",
        'Y' => "yyyy",
        _ => return None,
    })
}
