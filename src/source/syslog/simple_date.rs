//! Dates by the patterns of Java's `SimpleDateFormat`, as far as a message of syslog needs them.
//!
//! Letters: `y M d D H k h K m s S a E z Z X`, text between quotes, and what is no letter. As in Java
//! blanks before a field do not matter, nor does what stands behind the date; a number may be larger
//! than its field (hour 25 is one o'clock of the next day), and what is left out is of the first of
//! January 1970, at midnight.

use crate::base::calendar::{DAYS, MONTHS, named};
use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};
use jiff::{Span, Timestamp};
use std::iter::Peekable;
use std::str::Chars;

/// Why a pattern cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DateError {
    /// A letter that cannot be had, or is none of Java's.
    #[error(
        "\"{pattern}\" is an unsupported date pattern: letter {letter} is none of {LETTERS}; put text between quotes ('T')"
    )]
    Letter { pattern: String, letter: char },
    /// A quote that has no end.
    #[error(
        "\"{pattern}\" is not a date pattern: the text after its last quote has no end; put a quote after the text ('T'), and write two ('') for a quote itself"
    )]
    Open { pattern: String },
}

const LETTERS: &str = "y M d D H k h K m s S a E z Z X";

/// A number of more than nine digits is no part of a date.
const NUMBER_MAX: i64 = 999_999_999;

/// Reads points in time.
#[derive(Clone, Debug)]
pub(super) struct SimpleDate {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// A letter, how often it stands there, and whether a number follows at once.
    Field(char, usize, bool),
}

impl SimpleDate {
    /// Reads a pattern.
    pub(super) fn new(pattern: &str) -> Result<Self, DateError> {
        let mut pieces = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            if c.is_ascii_alphabetic() {
                let mut count = 1;
                while chars.next_if_eq(&c).is_some() {
                    count += 1;
                }
                if !LETTERS.contains(c) {
                    return Err(DateError::Letter { pattern: pattern.to_owned(), letter: c });
                }
                let number = |next: &char| next.is_ascii_alphabetic() && !"aEzZX".contains(*next);
                pieces.push(Piece::Field(c, count, chars.peek().is_some_and(number)));
            } else if c != '\'' || chars.next_if_eq(&'\'').is_some() {
                pieces.push(Piece::Text(c.into()));
            } else {
                let quoted = quoted(&mut chars);
                let open = || DateError::Open { pattern: pattern.to_owned() };
                pieces.push(Piece::Text(quoted.ok_or_else(open)?));
            }
        }
        Ok(Self { pieces })
    }

    /// Milliseconds since 1970 of `text`; `None` when it is no such date. Years of two digits are of the
    /// hundred that end twenty years after `this_year`, times without a zone of their own in `zone`.
    pub(super) fn millis(&self, text: &str, this_year: i16, zone: &TimeZone) -> Option<i64> {
        let mut reading = Reading::new(this_year);
        let mut rest = text;
        for piece in &self.pieces {
            rest = match piece {
                Piece::Text(expected) => rest.strip_prefix(expected.as_str())?,
                Piece::Field(letter, count, joined) => {
                    reading.field(*letter, *count, *joined, rest.trim_start_matches([' ', '\t']))?
                }
            };
        }
        reading.timestamp(zone).map(Timestamp::as_millisecond)
    }
}

/// The text up to the quote that ends it, in which two are one; `None` without an end.
fn quoted(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut text = String::new();
    loop {
        match chars.next()? {
            '\'' if chars.next_if_eq(&'\'').is_none() => return Some(text),
            c => text.push(c),
        }
    }
}

/// What was read so far.
struct Reading {
    this_year: i16,
    year: i16,
    month: i64,
    /// Of the month, or of the year where that was the last of them.
    day: i64,
    of_year: bool,
    hour: i64,
    /// Hours of the second half of the day, counted where the hour is one of twelve.
    half: i64,
    of_twelve: bool,
    minute: i64,
    second: i64,
    milli: i64,
    zone: Option<TimeZone>,
}

impl Reading {
    fn new(this_year: i16) -> Self {
        Self {
            this_year,
            year: 1970,
            month: 1,
            day: 1,
            of_year: false,
            hour: 0,
            half: 0,
            of_twelve: false,
            minute: 0,
            second: 0,
            milli: 0,
            zone: None,
        }
    }

    /// Reads one field from the start of `text` and answers the rest.
    fn field<'t>(
        &mut self,
        letter: char,
        count: usize,
        joined: bool,
        text: &'t str,
    ) -> Option<&'t str> {
        match letter {
            'M' if count > 2 => {
                let (month, rest) = named(text, &MONTHS)?;
                self.month = month.into();
                return Some(rest);
            }
            'E' => return named(text, &DAYS).map(|(_, rest)| rest),
            'a' => {
                let (_, half) = [("am", 0), ("pm", 12)].into_iter().find(|(word, _)| {
                    text.get(..2).is_some_and(|text| text.eq_ignore_ascii_case(word))
                })?;
                self.half = half;
                return text.get(2..);
            }
            'X' if text.starts_with('Z') => {
                self.zone = Some(TimeZone::UTC);
                return text.get(1..);
            }
            'X' => return self.offset(text, if count == 1 { 1 } else { count }),
            'Z' | 'z' => return self.offset(text, 2).or_else(|| self.named_zone(text)),
            _ => {}
        }
        let most = if joined { count } else { 9 };
        let len = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (digits, rest) = text.split_at(len);
        let number = digits.parse().ok().filter(|number| *number <= NUMBER_MAX)?;
        self.number(letter, count, len, number)?;
        Some(rest)
    }

    fn number(&mut self, letter: char, count: usize, digits: usize, number: i64) -> Option<()> {
        match letter {
            'y' if count <= 2 && digits == 2 => {
                let first = i64::from(self.this_year) - 80;
                let year = first - first.rem_euclid(100) + number;
                self.year = i16::try_from(if year < first { year + 100 } else { year }).ok()?;
            }
            'y' => self.year = i16::try_from(number).ok()?,
            'M' => self.month = number,
            'd' | 'D' => (self.day, self.of_year) = (number, letter == 'D'),
            'H' => (self.hour, self.of_twelve) = (number, false),
            'k' => (self.hour, self.of_twelve) = (if number == 24 { 0 } else { number }, false),
            'K' => (self.hour, self.of_twelve) = (number, true),
            'h' => (self.hour, self.of_twelve) = (if number == 12 { 0 } else { number }, true),
            'm' => self.minute = number,
            's' => self.second = number,
            // Of these there are a thousand to a second, however many digits they have.
            'S' => self.milli = number,
            _ => return None,
        }
        Some(())
    }

    /// `+01`, `+0100` or `+01:00`: of one, two or three parts.
    fn offset<'t>(&mut self, text: &'t str, parts: usize) -> Option<&'t str> {
        let sign = match text.bytes().next()? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let two = |at: usize| {
            let digits = text.get(at..at + 2)?;
            digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<i32>().ok())?
        };
        let (minutes, len) = match parts {
            1 => (0, 3),
            2 => (two(3)?, 5),
            _ if text.as_bytes().get(3) == Some(&b':') => (two(4)?, 6),
            _ => return None,
        };
        let offset = Offset::from_seconds(sign * (two(1)? * 3600 + minutes * 60)).ok()?;
        self.zone = Some(offset.to_time_zone());
        text.get(len..)
    }

    /// A zone by its name.
    fn named_zone<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let name = |c: char| c.is_ascii_alphanumeric() || "/_+-".contains(c);
        let (zone, rest) = text.split_at(text.find(|c| !name(c)).unwrap_or(text.len()));
        self.zone = Some(match zone {
            "UTC" | "GMT" => TimeZone::UTC,
            zone => TimeZone::get(zone).ok()?,
        });
        Some(rest)
    }

    fn timestamp(&self, zone: &TimeZone) -> Option<Timestamp> {
        let months = if self.of_year { 0 } else { self.month - 1 };
        let half = if self.of_twelve { self.half } else { 0 };
        let day = Date::new(self.year, 1, 1).ok()?;
        let day = day.checked_add(Span::new().try_months(months).ok()?).ok()?;
        let day = day.checked_add(Span::new().try_days(self.day - 1).ok()?).ok()?;
        let seconds = ((self.hour + half) * 60 + self.minute) * 60 + self.second;
        let of_day = Span::new().try_seconds(seconds).ok()?.try_milliseconds(self.milli).ok()?;
        let at = day.at(0, 0, 0, 0).checked_add(of_day).ok()?;
        self.zone.as_ref().unwrap_or(zone).to_timestamp(at).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(pattern: &str, text: &str) -> Option<i64> {
        SimpleDate::new(pattern).unwrap().millis(text, 2026, &TimeZone::UTC)
    }

    /// What a JVM answers, but for the last five.
    #[test]
    fn dates_are_read_as_java_reads_them() {
        for (pattern, text, expected) in [
            ("yyyy-MM-dd", "2012-02-30", Some(1_330_560_000_000)),
            ("yyyy-MM-dd", "2012-02-03x", Some(1_328_227_200_000)),
            ("yyyy-MM-dd", " 2012-02-03", Some(1_328_227_200_000)),
            ("yyyy-MM-dd", "2012-2-3", Some(1_328_227_200_000)),
            ("yyyy-MM-dd HH:mm:ss,SSS", "2012-10-17 14:34:44,5", Some(1_350_484_484_005)),
            ("yyyy-MM-dd HH:mm:ss.SSS", "2012-10-17 14:34:44.123456", Some(1_350_484_607_456)),
            ("yyyyMMddHHmmss", "20121017143444", Some(1_350_484_484_000)),
            ("MMM d HH:mm:ss", "Oct  7 14:34:44", Some(24_158_084_000)),
            ("MMM dd yyyy HH:mm:ss", "Oct 17 2012 14:34:44", Some(1_350_484_484_000)),
            ("dd/MMM/yyyy:HH:mm:ss Z", "17/Oct/2012:14:34:44 +0200", Some(1_350_477_284_000)),
            ("d.M.yy k:mm", "1.2.99 24:05", Some(917_827_500_000)),
            ("d.M.yy", "1.2.12", Some(1_328_054_400_000)),
            ("y-M-d", "12-10-17", Some(1_350_432_000_000)),
            ("yy-MM-dd", "2012-10-17", Some(1_350_432_000_000)),
            ("EEE, d MMMM yyyy", "Wed, 17 October 2012", Some(1_350_432_000_000)),
            ("yyyy-MM-dd'T'HH:mm:ss z", "2012-10-17T14:34:44 UTC", Some(1_350_484_484_000)),
            ("yyyy-MM-dd HH:mm Z", "2012-10-17 14:34 +01:30", None),
            ("yyyy-MM-dd HH:mm Z", "2012-10-17 14:34 Z", None),
            ("yyyy-MM-dd HH:mmX", "2012-10-17 14:34Z", Some(1_350_484_440_000)),
            ("yyyy-MM-dd HH:mmXXX", "2012-10-17 14:34+01:30", Some(1_350_479_040_000)),
            ("yyyy-DDD h:mm a", "2012-291 2:34 PM", Some(1_350_484_440_000)),
            ("yyyy-MM-dd h:mm", "2012-10-17 0:30", Some(1_350_433_800_000)),
            ("yyyy-MM-dd HH:mm:ss", "2012-10-17 25:61:00", Some(1_350_525_660_000)),
            ("HH:mm", "14:34", Some(52_440_000)),
            ("MMM d", "oct 7", Some(24_105_600_000)),
            ("HH 'o''clock'", "12 o", None),
            ("HH 'o''clock'", "12 o'clock", Some(43_200_000)),
            ("HH''mm'''x'''", "12'30'x'", Some(45_000_000)),
            ("yyyy-MM-dd", "2012-02-", None),
            ("yyyy", "日本", None),
            ("yyyy", "999999999", None),
            ("HHHHHHHHHHHHHHHHHHmm", "99999999999999999959", None),
            ("yyyy D H m s S", "9999 999999999 999999999 999999999 999999999 999999999", None),
        ] {
            assert_eq!(millis(pattern, text), expected, "{pattern} of {text}");
        }
    }

    #[test]
    fn a_letter_that_cannot_be_had_is_named() {
        for (pattern, letter) in [("YYYY-MM", "Y"), ("yyyy-ww", "w"), ("yyyy-MM-ddTHH", "T")] {
            let error = SimpleDate::new(pattern).unwrap_err().to_string();
            assert!(error.contains(&format!("{letter} is none of y M d")), "{error}");
        }
    }

    #[test]
    fn a_quote_without_an_end_is_refused() {
        for pattern in ["yyyy'T", "'", "yyyy 'o''clock", "yyyy'''"] {
            let error = SimpleDate::new(pattern).unwrap_err().to_string();
            assert!(error.contains("has no end; put a quote after the text"), "{error}");
        }
    }
}
