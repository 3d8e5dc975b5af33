//! Dates by the patterns of Joda-Time, as far as a time stamp in a log needs them.
//!
//! Letters: `y Y M d D H k h K m s S a E z Z`, text between quotes, and what is no letter. Numbers
//! take as many digits as there are letters, or more where the next thing is no number.

use crate::base::calendar::{DAYS, MONTHS, named};
use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};

/// A pattern that cannot be had, or a text that does not fit one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct JodaError(String);

/// Reads points in time.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    pattern: String,
    pieces: Vec<Piece>,
    zone: TimeZone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// A letter, how often it stands there, and whether a number follows at once.
    Field(char, usize, bool),
}

/// What was read so far.
struct Reading {
    year: i16,
    month: i8,
    day: i8,
    day_of_year: Option<i16>,
    hour: i8,
    /// 0 or 12, when the hour is one of twelve.
    half: i8,
    minute: i8,
    second: i8,
    nanos: i32,
    offset: Option<Offset>,
    zone: Option<TimeZone>,
}

impl Moment {
    /// Reads a pattern. Times without a zone of their own are in the zone of this machine.
    pub(super) fn new(pattern: &str) -> Result<Self, JodaError> {
        let mut pieces = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            if c.is_ascii_alphabetic() {
                let mut count = 1;
                while chars.next_if_eq(&c).is_some() {
                    count += 1;
                }
                if !"yYMdDHkhKmsSaEzZ".contains(c) {
                    let known =
                        "the letters of a date that are known are y M d D H k h K m s S a E z Z";
                    return Err(JodaError(format!("{pattern}: {c} is not supported; {known}")));
                }
                let number = |next: &char| next.is_ascii_alphabetic() && !"aEzZ".contains(*next);
                pieces.push(Piece::Field(c, count, chars.peek().is_some_and(number)));
                continue;
            }
            let mut text = String::new();
            if c != '\'' {
                text.push(c);
            } else if chars.next_if_eq(&'\'').is_some() {
                text.push('\'');
            } else {
                text.extend(std::iter::from_fn(|| chars.next_if(|c| *c != '\'')));
                chars.next();
            }
            match pieces.last_mut() {
                Some(Piece::Text(before)) => before.push_str(&text),
                _ => pieces.push(Piece::Text(text)),
            }
        }
        Ok(Self { pattern: pattern.to_owned(), pieces, zone: TimeZone::system() })
    }

    /// Milliseconds since 1970 of `text`.
    pub(super) fn millis(&self, text: &str) -> Result<i64, JodaError> {
        let wrong = || JodaError(format!("\"{text}\" is not a date of the form {}", self.pattern));
        let mut reading = Reading {
            year: 2000,
            month: 1,
            day: 1,
            day_of_year: None,
            hour: 0,
            half: 0,
            minute: 0,
            second: 0,
            nanos: 0,
            offset: None,
            zone: None,
        };
        let mut rest = text;
        for piece in &self.pieces {
            rest = match piece {
                Piece::Text(expected) => rest.strip_prefix(expected.as_str()),
                Piece::Field(letter, count, joined) => {
                    reading.field(*letter, *count, *joined, rest)
                }
            }
            .ok_or_else(wrong)?;
        }
        if !rest.is_empty() {
            return Err(wrong());
        }
        reading.timestamp(&self.zone).map(Timestamp::as_millisecond).ok_or_else(wrong)
    }
}

impl Reading {
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
                self.month = month;
                return Some(rest);
            }
            'E' => return named(text, &DAYS).map(|(_, rest)| rest),
            'a' => {
                let half = text.get(..2)?.to_ascii_lowercase();
                self.half = match half.as_str() {
                    "am" => 0,
                    "pm" => 12,
                    _ => return None,
                };
                return text.get(2..);
            }
            'Z' => return self.offset(text),
            'z' => return self.zone(text),
            'S' => return self.fraction(text, count, joined),
            _ => {}
        }
        let most = if joined { count } else { 9 };
        let len = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (digits, rest) = text.split_at(len);
        let number: i32 = digits.parse().ok()?;
        let small = || i8::try_from(number).ok();
        match letter {
            // Two digits are within fifty years of 1950 to 2049, as Joda's pivot of 2000 has it.
            'y' | 'Y' if count == 2 && len == 2 => {
                self.year =
                    i16::try_from(if number < 50 { 2000 + number } else { 1900 + number }).ok()?;
            }
            'y' | 'Y' => self.year = i16::try_from(number).ok()?,
            'M' => self.month = small()?,
            'd' => self.day = small()?,
            'D' => self.day_of_year = Some(i16::try_from(number).ok()?),
            'H' | 'K' => self.hour = small()?,
            'k' if (1..=24).contains(&number) => self.hour = small()? % 24,
            'h' if (1..=12).contains(&number) => self.hour = small()? % 12,
            'm' => self.minute = small()?,
            's' => self.second = small()?,
            _ => return None,
        }
        Some(rest)
    }

    fn fraction<'t>(&mut self, text: &'t str, count: usize, joined: bool) -> Option<&'t str> {
        let most = if joined { count } else { 9 };
        let len = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (digits, rest) = text.split_at(len);
        self.nanos = format!("{digits:0<9}").get(..9)?.parse().ok().filter(|_| len > 0)?;
        Some(rest)
    }

    /// `+0100`, `+01:00` or `Z`.
    fn offset<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        if let Some(rest) = text.strip_prefix('Z') {
            self.offset = Some(Offset::UTC);
            return Some(rest);
        }
        let sign = match text.bytes().next()? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let colon = text.as_bytes().get(3) == Some(&b':');
        let minutes = if colon { text.get(4..6) } else { text.get(3..5) }?;
        let hours: i32 = text.get(1..3)?.parse().ok()?;
        let seconds = sign * (hours * 3600 + minutes.parse::<i32>().ok()? * 60);
        self.offset = Some(Offset::from_seconds(seconds).ok()?);
        text.get(if colon { 6.. } else { 5.. })
    }

    /// A zone by its name.
    fn zone<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let name = |c: char| c.is_ascii_alphanumeric() || "/_+-".contains(c);
        let len = text.find(|c| !name(c)).unwrap_or(text.len());
        let (zone, rest) = text.split_at(len);
        self.zone = Some(match zone {
            "UTC" | "GMT" | "Z" => TimeZone::UTC,
            zone => TimeZone::get(zone).ok()?,
        });
        Some(rest)
    }

    fn timestamp(&self, zone: &TimeZone) -> Option<Timestamp> {
        let date = match self.day_of_year {
            Some(day) => {
                let first = Date::new(self.year, 1, 1).ok()?;
                first.with().day_of_year(day).build().ok()?
            }
            None => Date::new(self.year, self.month, self.day).ok()?,
        };
        let hour = self.hour.checked_add(self.half)?;
        let time = Time::new(hour, self.minute, self.second, self.nanos).ok()?;
        let at = DateTime::from_parts(date, time);
        match (self.offset, &self.zone) {
            (Some(offset), _) => offset.to_timestamp(at).ok(),
            (None, own) => own.as_ref().unwrap_or(zone).to_timestamp(at).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(pattern: &str, text: &str) -> Option<i64> {
        let mut moment = Moment::new(pattern).unwrap();
        moment.zone = TimeZone::UTC;
        moment.millis(text).ok()
    }

    #[test]
    fn dates_are_read_as_joda_time_reads_them() {
        for (pattern, text, expected) in [
            ("yyyy-MM-dd HH:mm", "2012-10-17 14:34", Some(1_350_484_440_000)),
            ("yyyy-MM-dd HH:mm:ss,SSS", "2012-10-17 14:34:44,005", Some(1_350_484_484_005)),
            ("yyyyMMddHHmmss", "20121017143444", Some(1_350_484_484_000)),
            ("dd/MMM/yyyy:HH:mm:ss Z", "17/Oct/2012:14:34:44 +0200", Some(1_350_477_284_000)),
            ("EEE, d MMMM yyyy", "Wed, 17 October 2012", Some(1_350_432_000_000)),
            ("yyyy-MM-dd'T'HH:mm:ss z", "2012-10-17T14:34:44 UTC", Some(1_350_484_484_000)),
            ("yyyy-DDD h:mm a", "2012-291 2:34 PM", Some(1_350_484_440_000)),
            ("d.M.yy k:mm", "1.2.99 24:05", Some(917_827_500_000)),
            ("HH 'o''clock'", "12 o'clock", None),
            ("yyyy-MM-dd", "2012-02-30", None),
            ("yyyy-MM-dd", "2012-02-03x", None),
            ("yyyy-MM-dd", "2012-02-", None),
            ("yyyy", "日本", None),
        ] {
            assert_eq!(millis(pattern, text), expected, "{pattern} of {text}");
        }
        assert_eq!(
            millis("yyyy-MM-dd HH:mm Z", "2012-10-17 14:34 +01:30"),
            Some(1_350_479_040_000)
        );
    }

    #[test]
    fn a_letter_that_cannot_be_had_is_named() {
        let error = Moment::new("yyyy-ww").unwrap_err().to_string();
        assert!(error.contains("yyyy-ww: w is not supported"), "{error}");
    }
}
