//! Dates read by a pattern.
//!
//! Letters: `y M d D H k h K m s S a E z Z`, `X` in `SimpleDateFormat` and `Y` in Joda-Time. A number has as many
//! digits as there are letters if a number follows directly, otherwise as many as there are.
//!
//! | | `SimpleDateFormat` | Joda-Time |
//! |---|---|---|
//! | blanks before a field, text after the date | ignored | refused |
//! | a number beyond its field | hour 25 is one o'clock of the next day | refused |
//! | `S` | milliseconds, however many digits | digits of a fraction, at most as many as letters |
//! | no year | 1970 | 2000 with a month or a day, otherwise 1970 |
//! | `Z` | `+0100`, or a zone's name | `+0100`, `+01:00`, `+01`, `Z` |
//! | an open quote | refused | text to the end |

use super::calendar::{DAYS, MONTHS, named};
use super::pattern::{PatternPart, PatternParts};
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{Span, Timestamp};

/// The reason why a date pattern is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // each message says what its variant is
pub enum DatePatternError {
    /// An unsupported letter.
    #[error(
        "\"{pattern}\" is an unsupported date pattern: letter {letter} is none of {letters}; put text between quotes ('T')"
    )]
    Letter { pattern: String, letter: char, letters: &'static str },
    /// A quote without an end.
    #[error(
        "\"{pattern}\" is not a date pattern: the text after its last quote has no end; put a quote after the text ('T'), and write two ('') for a quote itself"
    )]
    Open { pattern: String },
}

/// Largest number of a field: at most nine digits.
const NUMBER_MAX: i64 = 999_999_999;

/// Fields that are not numbers: the number before one may have any length.
const NAMED: &str = "aEzZX";

/// Whose rules apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DateRules {
    SimpleDateFormat,
    Joda,
}

impl DateRules {
    fn letters(self) -> &'static str {
        match self {
            Self::SimpleDateFormat => "y M d D H k h K m s S a E z Z X",
            Self::Joda => "y Y M d D H k h K m s S a E z Z",
        }
    }
}

/// A parsed date pattern.
#[derive(Clone, Debug)]
pub struct DatePattern {
    rules: DateRules,
    parts: Vec<PatternPart>,
}

impl DatePattern {
    /// Parses a pattern of `SimpleDateFormat`.
    pub fn simple(pattern: &str) -> Result<Self, DatePatternError> {
        Self::new(pattern, DateRules::SimpleDateFormat)
    }

    /// Parses a pattern of Joda-Time.
    pub(crate) fn joda(pattern: &str) -> Result<Self, DatePatternError> {
        Self::new(pattern, DateRules::Joda)
    }

    fn new(pattern: &str, rules: DateRules) -> Result<Self, DatePatternError> {
        let (text, letters) = (|| pattern.to_owned(), rules.letters());
        let mut parts = Vec::new();
        for part in PatternParts::of(pattern) {
            parts.push(match part {
                Ok(PatternPart::Field(letter, _)) if !letters.contains(letter) => {
                    return Err(DatePatternError::Letter { pattern: text(), letter, letters });
                }
                Ok(part) => part,
                Err(open) if rules == DateRules::Joda => PatternPart::Text(open.0),
                Err(_) => return Err(DatePatternError::Open { pattern: text() }),
            });
        }
        Ok(Self { rules, parts })
    }

    /// Returns the milliseconds since 1970 of `text`; `None` when it does not match. Two-digit years are within the
    /// hundred years that end twenty years after `this_year`; times without a zone of their own are in `zone`.
    pub fn millis(&self, text: &str, this_year: i16, zone: &TimeZone) -> Option<i64> {
        let mut values = DateValues::new(self.rules, this_year);
        let mut rest = text;
        for (at, part) in self.parts.iter().enumerate() {
            rest = match part {
                PatternPart::Text(expected) => rest.strip_prefix(expected.as_str())?,
                PatternPart::Field(letter, count) => {
                    let next = self.parts.get(at + 1);
                    let joined =
                        matches!(next, Some(PatternPart::Field(l, _)) if !NAMED.contains(*l));
                    let rest = match self.rules {
                        DateRules::SimpleDateFormat => rest.trim_start_matches([' ', '\t']),
                        DateRules::Joda => rest,
                    };
                    values.field(*letter, *count, joined, rest)?
                }
            };
        }
        let at = match self.rules {
            DateRules::SimpleDateFormat => values.lenient(),
            DateRules::Joda => values.strict().filter(|_| rest.is_empty()),
        };
        let zone = values.zone.as_ref().unwrap_or(zone);
        zone.to_timestamp(at?).ok().map(Timestamp::as_millisecond)
    }
}

/// The values read so far.
struct DateValues {
    rules: DateRules,
    this_year: i16,
    year: Option<i16>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    hour: i64,
    /// Hours of the half of the day; used for twelve-hour fields.
    half: i64,
    of_twelve: bool,
    minute: i64,
    second: i64,
    nanos: i64,
    zone: Option<TimeZone>,
}

impl DateValues {
    fn new(rules: DateRules, this_year: i16) -> Self {
        Self {
            rules,
            this_year,
            year: None,
            month: None,
            day: None,
            day_of_year: None,
            hour: 0,
            half: 0,
            of_twelve: false,
            minute: 0,
            second: 0,
            nanos: 0,
            zone: None,
        }
    }

    /// Parses one field from the start of `text` and returns the rest. `joined`: a number follows directly.
    fn field<'t>(
        &mut self,
        letter: char,
        count: usize,
        joined: bool,
        text: &'t str,
    ) -> Option<&'t str> {
        let is_joda = self.rules == DateRules::Joda;
        match letter {
            'M' if count > 2 => {
                let (month, rest) = named(text, &MONTHS)?;
                self.month = Some(month.into());
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
            'Z' if is_joda => return self.utc(text).or_else(|| self.joda_offset(text)),
            'z' if is_joda => return self.named_zone(text),
            'X' => return self.utc(text).or_else(|| self.offset(text, count)),
            'Z' | 'z' => return self.offset(text, 2).or_else(|| self.named_zone(text)),
            _ => {}
        }
        let is_fraction = is_joda && letter == 'S';
        let most = if joined || is_fraction { count } else { 9 };
        let len = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (digits, rest) = text.split_at(len);
        if is_fraction {
            self.nanos = format!("{digits:0<9}").get(..9)?.parse().ok().filter(|_| len > 0)?;
            return Some(rest);
        }
        let number = digits.parse().ok().filter(|number| *number <= NUMBER_MAX)?;
        self.number(letter, count, len, number)?;
        Some(rest)
    }

    fn number(&mut self, letter: char, count: usize, digits: usize, number: i64) -> Option<()> {
        let is_joda = self.rules == DateRules::Joda;
        // Joda-Time checks hours by their own range, not by that of the day.
        let is_within = |low: i64, high: i64| !is_joda || (low..=high).contains(&number);
        match letter {
            'y' | 'Y' if digits == 2 && (count == 2 || (count == 1 && !is_joda)) => {
                let first = i64::from(self.this_year) - 80;
                let year = first - first.rem_euclid(100) + number;
                let year = if year < first { year + 100 } else { year };
                self.year = Some(i16::try_from(year).ok()?);
            }
            'y' | 'Y' => self.year = Some(i16::try_from(number).ok()?),
            'M' => self.month = Some(number),
            // In SimpleDateFormat the last of the two counts.
            'd' => {
                self.day = Some(number);
                self.day_of_year = self.day_of_year.filter(|_| is_joda);
            }
            'D' => self.day_of_year = Some(number),
            'H' => (self.hour, self.of_twelve) = (number, false),
            'k' if is_within(1, 24) => {
                (self.hour, self.of_twelve) = (if number == 24 { 0 } else { number }, false);
            }
            'K' if is_within(0, 11) => (self.hour, self.of_twelve) = (number, true),
            'h' if is_within(1, 12) => {
                (self.hour, self.of_twelve) = (if number == 12 { 0 } else { number }, true);
            }
            'm' => self.minute = number,
            's' => self.second = number,
            // Always milliseconds, however many digits there are.
            'S' => self.nanos = number * 1_000_000,
            _ => return None,
        }
        Some(())
    }

    /// Parses the letter `Z`, the offset of UTC.
    fn utc<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let rest = text.strip_prefix('Z')?;
        self.zone = Some(TimeZone::UTC);
        Some(rest)
    }

    /// Parses `+01`, `+0100` or `+01:00`: offsets of one, two or three parts.
    fn offset<'t>(&mut self, text: &'t str, parts: usize) -> Option<&'t str> {
        let (minutes, len) = match parts {
            1 => (0, 3),
            2 => (two_digits(text, 3)?, 5),
            _ if text.as_bytes().get(3) == Some(&b':') => (two_digits(text, 4)?, 6),
            _ => return None,
        };
        let sign = match text.bytes().next()? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let offset = Offset::from_seconds(sign * (two_digits(text, 1)? * 3600 + minutes * 60));
        self.zone = Some(offset.ok()?.to_time_zone());
        text.get(len..)
    }

    /// Parses an offset of Joda-Time, whose minutes may be missing.
    fn joda_offset<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        [3, 2, 1].into_iter().find_map(|parts| self.offset(text, parts))
    }

    /// Parses the name of a zone. In Joda-Time an offset takes precedence, wherever it is.
    fn named_zone<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let name = |c: char| c.is_ascii_alphanumeric() || "/_+-".contains(c);
        let (name, rest) = text.split_at(text.find(|c| !name(c)).unwrap_or(text.len()));
        let zone = match name {
            "UTC" | "GMT" => TimeZone::UTC,
            "Z" if self.rules == DateRules::Joda => TimeZone::UTC,
            name => TimeZone::get(name).ok()?,
        };
        if self.rules == DateRules::SimpleDateFormat || self.zone.is_none() {
            self.zone = Some(zone);
        }
        Some(rest)
    }

    /// Returns the hour of the day.
    fn hour_of_day(&self) -> i64 {
        self.hour + if self.of_twelve { self.half } else { 0 }
    }

    /// Returns the date and time, with what exceeds a field carried over to the next.
    fn lenient(&self) -> Option<DateTime> {
        let (months, day) = match self.day_of_year {
            Some(day) => (0, day),
            None => (self.month.unwrap_or(1) - 1, self.day.unwrap_or(1)),
        };
        let first = Date::new(self.year.unwrap_or(1970), 1, 1).ok()?;
        let month = first.checked_add(Span::new().try_months(months).ok()?).ok()?;
        let day = month.checked_add(Span::new().try_days(day - 1).ok()?).ok()?;
        let seconds = (self.hour_of_day() * 60 + self.minute) * 60 + self.second;
        let millis = self.nanos / 1_000_000;
        let of_day = Span::new().try_seconds(seconds).ok()?.try_milliseconds(millis).ok()?;
        day.at(0, 0, 0, 0).checked_add(of_day).ok()
    }

    /// Returns the date and time if every field is within its range.
    fn strict(&self) -> Option<DateTime> {
        let small = |number: i64| i8::try_from(number).ok();
        let has_day = self.month.or(self.day).or(self.day_of_year).is_some();
        let year = self.year.unwrap_or(if has_day { 2000 } else { 1970 });
        let date = match self.day_of_year {
            Some(day) => {
                let first = Date::new(year, 1, 1).ok()?;
                first.with().day_of_year(i16::try_from(day).ok()?).build().ok()?
            }
            None => {
                let (month, day) = (self.month.unwrap_or(1), self.day.unwrap_or(1));
                Date::new(year, small(month)?, small(day)?).ok()?
            }
        };
        let (hour, minute) = (small(self.hour_of_day())?, small(self.minute)?);
        let nanos = i32::try_from(self.nanos).ok()?;
        let time = Time::new(hour, minute, small(self.second)?, nanos).ok()?;
        Some(DateTime::from_parts(date, time))
    }
}

/// Returns the number of two digits at `at`.
fn two_digits(text: &str, at: usize) -> Option<i32> {
    let digits = text.get(at..at + 2)?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(pattern: &str, text: &str) -> Option<i64> {
        DatePattern::simple(pattern).unwrap().millis(text, 2026, &TimeZone::UTC)
    }

    /// Expected values are those of a JVM, except the last five.
    #[test]
    fn dates_are_read_as_simple_date_format_reads_them() {
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

    /// Expected values are those of Joda-Time 2.9.9 on a JVM, in 2026.
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
            ("HH 'o''clock'", "12 o'clock", Some(43_200_000)),
            ("HH 'o''clock'", "12 oclock", None),
            ("HH''mm", "12'30", Some(45_000_000)),
            ("yyyy 'open", "2012 open", Some(1_325_376_000_000)),
            ("yyyy'", "2012", Some(1_325_376_000_000)),
            ("yyyy-MM-dd", "2012-02-30", None),
            ("yyyy-MM-dd", "2012-02-03x", None),
            ("yyyy-MM-dd", "2012-02-", None),
            ("yyyy-MM-dd", " 2012-02-03", None),
            ("yyyy", "日本", None),
            ("yyyy-MM-dd HH:mm Z", "2012-10-17 14:34 +01:30", Some(1_350_479_040_000)),
            ("yyyy-MM-dd HH:mm Z", "2012-10-17 14:34 +0130", Some(1_350_479_040_000)),
            ("yyyy-MM-dd HH:mm Z", "2012-10-17 14:34 +01", Some(1_350_480_840_000)),
            ("yyyy-MM-dd HH:mm Z", "2012-10-17 14:34 Z", Some(1_350_484_440_000)),
            ("yyyy-MM-dd Z", "2012-10-17 ++100", None),
            ("yyyy-MM-dd Z z", "2012-01-01 +0100 UTC", Some(1_325_372_400_000)),
            ("HH:mm", "14:34", Some(52_440_000)),
            ("MMM d", "Oct 7", Some(970_876_800_000)),
            ("MM HH", "2 3", Some(949_374_000_000)),
            ("DDD", "40", Some(950_054_400_000)),
            ("MMMM", "OCTOBER", Some(970_358_400_000)),
            ("Y-M", "2012-3", Some(1_330_560_000_000)),
            ("yy-MM-dd", "45-01-01", Some(2_366_841_600_000)),
            ("yy-MM-dd", "46-01-01", Some(-757_382_400_000)),
            ("yy-MM-dd", "2012-01-01", Some(1_325_376_000_000)),
            ("y-M-d", "12-10-17", Some(-61_763_472_000_000)),
            ("HH a", "02 PM", Some(7_200_000)),
            ("HH a", "14 AM", Some(50_400_000)),
            ("hh a", "12 AM", Some(0)),
            ("hh a", "13 AM", None),
            ("KK a", "11 PM", Some(82_800_000)),
            ("KK", "12", None),
            ("kk", "24", Some(0)),
            ("kk", "0", None),
            ("HH", "24", None),
            ("ss.SSS", "44.5", Some(44_500)),
            ("ss.SSS", "44.123456", None),
        ] {
            let read = DatePattern::joda(pattern).unwrap().millis(text, 2026, &TimeZone::UTC);
            assert_eq!(read, expected, "{pattern} of {text}");
        }
    }

    #[test]
    fn an_unsupported_letter_is_named() {
        for (pattern, letter) in [("YYYY-MM", "Y"), ("yyyy-ww", "w"), ("yyyy-MM-ddTHH", "T")] {
            let error = DatePattern::simple(pattern).unwrap_err().to_string();
            assert!(error.contains(&format!("{letter} is none of y M d")), "{error}");
        }
        let error = DatePattern::joda("yyyy-ww").unwrap_err().to_string();
        assert!(error.contains("w is none of y Y M d"), "{error}");
    }

    #[test]
    fn a_quote_without_an_end_is_refused() {
        for pattern in ["yyyy'T", "'", "yyyy 'o''clock", "yyyy'''"] {
            let error = DatePattern::simple(pattern).unwrap_err().to_string();
            assert!(error.contains("has no end; put a quote after the text"), "{error}");
        }
    }
}
