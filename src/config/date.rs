//! `${date:FORMAT}`: the time at which a configuration is read, as Java's `FastDateFormat` writes it in
//! the language of the United States, which most JVMs have.

use crate::base::calendar::{DAYS, MONTHS};
use jiff::Zoned;
use std::fmt::Write;

/// Characters of a number with leading zeroes at most; no date has as many.
const DIGITS_MAX: usize = 32;

/// Why a format cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DateError {
    /// A letter that stands for nothing, in Java neither.
    #[error("'{0}' stands for no part of a date; put text between single quotes")]
    Letter(char),
    /// A letter whose meaning hangs on the place where a JVM believes to be.
    #[error("'{0}' means another thing in each country and is not there; use another letter")]
    Local(char),
    /// A single quote that nothing closes.
    #[error("a single quote is not closed")]
    Open,
    /// More letters in a row than a date has digits.
    #[error("more than {DIGITS_MAX} times '{0}'")]
    Long(char),
}

/// `now` as `format` has it.
///
/// # Errors
/// The format cannot be used.
pub(super) fn formatted(format: &str, now: &Zoned) -> Result<String, DateError> {
    let mut out = String::new();
    let mut rest = format;
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            rest = quoted(rest, &mut out)?;
        } else if first.is_ascii_alphabetic() {
            let count = rest.bytes().take_while(|byte| char::from(*byte) == first).count();
            part(first, count, now, &mut out)?;
            rest = &rest[count..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    Ok(out)
}

/// Writes what stands between single quotes at the beginning of `text`, of which two in a row are one;
/// answers what follows.
fn quoted<'a>(text: &'a str, out: &mut String) -> Result<&'a str, DateError> {
    let mut rest = &text[1..];
    if let Some(behind) = rest.strip_prefix('\'') {
        out.push('\'');
        return Ok(behind);
    }
    while let Some(at) = rest.find('\'') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.strip_prefix('\'') {
            Some(behind) => {
                out.push('\'');
                rest = behind;
            }
            None => return Ok(rest),
        }
    }
    Err(DateError::Open)
}

fn part(letter: char, count: usize, now: &Zoned, out: &mut String) -> Result<(), DateError> {
    if count > DIGITS_MAX {
        return Err(DateError::Long(letter));
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
        'Y' | 'w' | 'W' | 'F' | 'z' => return Err(DateError::Local(letter)),
        other => return Err(DateError::Letter(other)),
    }
    Ok(())
}

/// The distance from UTC: `+01`, with minutes, with a colon; `Z` for none where `zulu` says so.
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
    // What FastDateFormat of commons-lang3 3.11, which Flume 1.11 has, answers on a JVM.
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
        assert_eq!(formatted("yyyy-bb", &now), Err(DateError::Letter('b')));
        assert_eq!(formatted("YYYY", &now), Err(DateError::Local('Y')));
        assert_eq!(formatted(&"y".repeat(33), &now), Err(DateError::Long('y')));
        assert_eq!(formatted("XXXX", &now), Err(DateError::Letter('X')));
        assert_eq!(formatted("L", &now), Err(DateError::Letter('L')));
        assert_eq!(formatted("'open", &now), Err(DateError::Open));
    }
}
