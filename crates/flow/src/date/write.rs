//! Times written in the patterns of `FastDateFormat`, as `${date:FORMAT}` in configurations has them.

use super::calendar::{DAYS, MONTHS};
use super::pattern::{PatternPart, PatternParts};
use jiff::Zoned;
use std::fmt::Write;

/// Most digits of a zero-padded number; no date has as many.
const DIGITS_MAX: usize = 32;

/// Why a format cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DateFormatError {
    /// A letter without a meaning, in Java too.
    #[error("'{0}' is not a letter of a date format; put text between single quotes")]
    Letter(char),
    /// A letter whose meaning depends on the JVM's locale.
    #[error("'{0}' depends on the locale and is not supported; use another letter")]
    Local(char),
    /// A single quote that is not closed.
    #[error("a single quote is not closed")]
    Open,
    /// A letter repeated more often than a date has digits.
    #[error("more than {DIGITS_MAX} times '{0}'")]
    Long(char),
}

/// Returns `now` in `format`.
///
/// # Errors
/// The format cannot be used.
pub fn formatted(format: &str, now: &Zoned) -> Result<String, DateFormatError> {
    let mut out = String::new();
    for part in PatternParts::of(format) {
        match part.map_err(|_| DateFormatError::Open)? {
            PatternPart::Text(text) => out.push_str(&text),
            PatternPart::Field(letter, count) => put_field(letter, count, now, &mut out)?,
        }
    }
    Ok(out)
}

fn put_field(
    letter: char,
    count: usize,
    now: &Zoned,
    out: &mut String,
) -> Result<(), DateFormatError> {
    if count > DIGITS_MAX {
        return Err(DateFormatError::Long(letter));
    }
    let number = |value: i64, digits: usize, out: &mut String| {
        // Writing to a string does not fail.
        let _ = write!(out, "{value:0digits$}");
    };
    let hour = i64::from(now.hour());
    let day = usize::try_from(now.weekday().to_monday_zero_offset()).unwrap_or(0);
    let month = usize::try_from(now.month() - 1).unwrap_or(0);
    match letter {
        'G' => out.push_str("AD"),
        'y' if count == 2 => number(i64::from(now.year()) % 100, 2, out),
        'y' => number(i64::from(now.year()), count.max(4), out),
        'M' if count >= 4 => out.push_str(MONTHS[month]),
        'M' if count == 3 => out.push_str(&MONTHS[month][..3]),
        'M' => number(i64::from(now.month()), count, out),
        'd' => number(i64::from(now.day()), count, out),
        'D' => number(i64::from(now.day_of_year()), count, out),
        'H' => number(hour, count, out),
        'k' => number(if hour == 0 { 24 } else { hour }, count, out),
        'K' => number(hour % 12, count, out),
        'h' => number(if hour % 12 == 0 { 12 } else { hour % 12 }, count, out),
        'm' => number(i64::from(now.minute()), count, out),
        's' => number(i64::from(now.second()), count, out),
        'S' => number(i64::from(now.millisecond()), count, out),
        'E' if count >= 4 => out.push_str(DAYS[day]),
        'E' => out.push_str(&DAYS[day][..3]),
        'u' => number(i64::from(now.weekday().to_monday_one_offset()), count, out),
        'a' => out.push_str(if hour < 12 { "AM" } else { "PM" }),
        'X' if count <= 3 => offset(now, true, count > 1, count > 2, out),
        'Z' => offset(now, count == 2, true, count > 1, out),
        'z' if count < 4 => {
            let _ = write!(out, "{}", now.strftime("%Z"));
        }
        'Y' | 'w' | 'W' | 'F' | 'z' => return Err(DateFormatError::Local(letter)),
        other => return Err(DateFormatError::Letter(other)),
    }
    Ok(())
}

/// Writes the offset from UTC: `+01`, with minutes, with a colon; `Z` for zero if `zulu` is set.
fn offset(now: &Zoned, zulu: bool, minutes: bool, colon: bool, out: &mut String) {
    let seconds = now.offset().seconds();
    if seconds == 0 && zulu {
        return out.push('Z');
    }
    let all = seconds.unsigned_abs() / 60;
    let sign = if seconds < 0 { '-' } else { '+' };
    let _ = write!(out, "{sign}{:02}", all / 60);
    if minutes {
        let colon = if colon { ":" } else { "" };
        let _ = write!(out, "{colon}{:02}", all % 60);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: &str, expected: &str) {
        let now: Zoned = "2026-02-03T04:05:06.078+01:00[Europe/Berlin]".parse().unwrap();
        assert_eq!(formatted(format, &now).as_deref(), Ok(expected), "{format}");
    }

    #[test]
    // The output of FastDateFormat of commons-lang3 3.11, which Flume 1.11 uses, on a JVM.
    fn a_date_is_written_as_java_writes_it() {
        check("yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "2026-02-03T04:05:06.078+01:00");
        check("y yy yyy yyyy yyyyyy", "2026 26 2026 2026 002026");
        check("M MM MMM MMMM MMMMM", "2 02 Feb February February");
        check("d D DDD u uu", "3 34 034 2 02");
        check("H k K h hh a", "4 4 4 4 04 AM");
        check("S SS SSS SSSS", "78 78 078 0078");
        check("E EEE EEEE G", "Tue Tue Tuesday AD");
        check("X XX XXX Z ZZ ZZZ z", "+01 +0100 +01:00 +0100 +01:00 +01:00 CET");
        check("'it''s' yyyy 'o''clock'", "it's 2026 o'clock");
        check("''yy'' 年", "'26' 年");
        check("'a'''", "a'");
        check("", "");
        let night: Zoned = "2026-12-31T00:30:00Z[UTC]".parse().unwrap();
        let at = |format| formatted(format, &night);
        assert_eq!(at("k K h a S SS").as_deref(), Ok("24 0 12 AM 0 00"));
        assert_eq!(at("X XX XXX Z ZZ ZZZ").as_deref(), Ok("Z Z Z +0000 Z +00:00"));
    }

    #[test]
    fn what_stands_for_nothing_is_named() {
        let now = Zoned::now();
        assert_eq!(formatted("yyyy-bb", &now), Err(DateFormatError::Letter('b')));
        assert_eq!(formatted("YYYY", &now), Err(DateFormatError::Local('Y')));
        assert_eq!(formatted(&"y".repeat(33), &now), Err(DateFormatError::Long('y')));
        assert_eq!(formatted("XXXX", &now), Err(DateFormatError::Letter('X')));
        assert_eq!(formatted("L", &now), Err(DateFormatError::Letter('L')));
        assert_eq!(formatted("'open", &now), Err(DateFormatError::Open));
    }
}
