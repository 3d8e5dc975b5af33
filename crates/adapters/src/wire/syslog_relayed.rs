//! Syslog as Flume's multiport_syslogtcp source reads it, with other rules than [`super::syslog`] for the same
//! messages.
//!
//! Limits: a line has at most the bytes that the caller allows; longer ones are split.
//!
//! [`RelayedFramer`] splits a stream of bytes at newlines, and [`parse`] reads a line: priority, a version `1`, a
//! time (`-`, of RFC 3164 or of RFC 5424), a host, and the rest.

use super::syslog::{MONTHS, YearHint, clock};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use memchr::memchr;

/// A received line, without its newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayedLine {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// True if it was longer than allowed: the next line is its continuation.
    pub is_cut: bool,
}

/// Splits a connection's stream into lines. Buffers at most one.
#[derive(Debug)]
pub struct RelayedFramer {
    bytes_max: usize,
    pending: Vec<u8>,
}

impl RelayedFramer {
    /// Returns a framer of lines of at most `bytes_max` bytes, their newline included.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, pending: Vec::new() }
    }

    /// Returns the bytes of the incomplete line.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    /// Takes the bytes of one read and appends the lines that they complete to `out`. Empty lines are ignored; in
    /// Flume one of them loses all lines of its read.
    pub fn feed(&mut self, mut read: &[u8], out: &mut Vec<RelayedLine>) {
        while !read.is_empty() {
            let room = self.bytes_max.saturating_sub(self.pending.len()).max(1);
            let near = &read[..read.len().min(room)];
            match memchr(b'\n', near) {
                Some(end) => {
                    self.pending.extend_from_slice(&near[..end]);
                    read = &read[end + 1..];
                    out.extend(self.finish(true));
                }
                None => {
                    self.pending.extend_from_slice(near);
                    read = &read[near.len()..];
                    if self.pending.len() >= self.bytes_max {
                        out.push(RelayedLine {
                            bytes: std::mem::take(&mut self.pending),
                            is_cut: true,
                        });
                    }
                }
            }
        }
    }

    /// Returns the received bytes of an incomplete line, if there is one. `is_whole`: its sender has ended it
    /// without a newline.
    pub fn finish(&mut self, is_whole: bool) -> Option<RelayedLine> {
        let bytes = std::mem::take(&mut self.pending);
        (!bytes.is_empty()).then_some(RelayedLine { bytes, is_cut: !is_whole })
    }
}

/// The fields of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayedMessage<'a> {
    /// The text between the angle brackets.
    pub priority: &'a str,
    /// The priority as a number.
    pub code: i32,
    /// The version, if it has one.
    pub version: Option<&'a str>,
    /// The time as written.
    pub stamp: &'a str,
    /// The time in milliseconds since 1970.
    pub millis: i64,
    /// The host.
    pub host: &'a str,
    /// The rest; `None` if nothing follows the host and its blank.
    pub text: Option<&'a str>,
}

/// Bytes of a time of RFC 3164: `Oct 11 22:14:15`.
const OLD_STAMP_BYTES: usize = 15;

/// Parses a line; `None` if it is not a message. A time `-` is `present`, a time without a year is in the year
/// nearest to that, a time without a zone is in UTC.
#[must_use]
pub fn parse<'a>(text: &'a str, present: &YearHint) -> Option<RelayedMessage<'a>> {
    let (priority, rest) = text.strip_prefix('<')?.split_once('>')?;
    if priority.len() > 5 || rest.is_empty() {
        return None;
    }
    let code = priority.parse().ok()?;
    let (version, rest) = match rest.strip_prefix("1 ") {
        Some(behind) if !behind.is_empty() => (Some("1"), behind),
        _ => (None, rest),
    };
    let (stamp, millis, rest) = if let Some(behind) = rest.strip_prefix('-') {
        // One character follows the dash, whatever it is.
        let mut behind = behind.chars();
        behind.next()?;
        (&rest[..1], present.millis, behind.as_str())
    } else if rest.starts_with(|c: char| c.is_ascii_uppercase()) {
        let (stamp, behind) = rest.split_at_checked(old_stamp_bytes(rest))?;
        let mut behind = behind.chars();
        behind.next()?;
        // As in Flume an invalid time is in the year 1970.
        (stamp, old_millis(stamp, present).unwrap_or(0), behind.as_str())
    } else {
        let (stamp, behind) = rest.split_once(' ')?;
        (stamp, new_millis(stamp)?, behind)
    };
    let (host, behind) = rest.split_once(' ')?;
    let text = (!behind.is_empty()).then_some(behind);
    Some(RelayedMessage { priority, code, version, stamp, millis, host, text })
}

/// Returns the bytes of the time that `text` begins with. Days of one digit may lack the blank before them; Flume
/// cuts the host then.
fn old_stamp_bytes(text: &str) -> usize {
    let is_short = text.as_bytes().get(5) == Some(&b' ') && text.as_bytes().get(3) == Some(&b' ');
    let is_digit = text.as_bytes().get(4).is_some_and(u8::is_ascii_digit);
    if is_short && is_digit { OLD_STAMP_BYTES - 1 } else { OLD_STAMP_BYTES }
}

/// Returns the milliseconds of `Oct 11 22:14:15` in UTC.
fn old_millis(stamp: &str, present: &YearHint) -> Option<i64> {
    let mut fields = stamp.split_ascii_whitespace();
    let (month, day, time) = (fields.next()?, fields.next()?, fields.next()?);
    let month = MONTHS.iter().zip(1..).find(|(name, _)| name.eq_ignore_ascii_case(month))?.1;
    let (hour, minute, second) = clock(time)?;
    let day = day.parse().ok()?;
    let of_year = |year: i16| {
        let at = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
        TimeZone::UTC.to_timestamp(at).ok()
    };
    present.nearest_year(&of_year)
}

/// Returns the milliseconds of `2003-08-24T05:14:15.003-07:00`. Digits after the third of a fraction are ignored;
/// without an offset after a fraction, or with an invalid one, it is UTC.
fn new_millis(stamp: &str) -> Option<i64> {
    let (at, rest) = stamp.split_at_checked(19).filter(|(_, rest)| !rest.is_empty())?;
    let at: DateTime = at.parse().ok().filter(|_| at.as_bytes()[10] == b'T')?;
    let (millis, offset) = match rest.strip_prefix('.') {
        None => (0, rest),
        Some(rest) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (fraction, offset) = rest.split_at(digits);
            let first = &fraction[..digits.min(3)];
            (format!("{first:0<3}").parse::<i64>().ok().filter(|_| digits > 0)?, offset)
        }
    };
    let whole: Timestamp = TimeZone::UTC.to_timestamp(at).ok()?;
    let offset = match offset.as_bytes() {
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2, ..] => {
            let number = |tens: &u8, ones: &u8| {
                let digits = tens.is_ascii_digit() && ones.is_ascii_digit();
                digits.then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
            };
            let seconds = number(h1, h2)? * 3600 + number(m1, m2)? * 60;
            if *sign == b'+' { seconds } else { -seconds }
        }
        [b'+' | b'-', ..] => return None,
        _ => 0,
    };
    Some(whole.as_millisecond() + millis - offset * 1000)
}

/// Entry point of the fuzz target: takes the bytes after the first as a connection's stream, in reads of as many
/// bytes as the first says, for both ways to read syslog. The result must not depend on the size of reads.
///
/// # Panics
/// It does, or bytes are lost.
#[cfg(any(test, feature = "testing"))]
pub fn fuzz(bytes: &[u8]) {
    use super::syslog::{Flaw, RawMessage, SyslogFramer};

    let Some((&size, bytes)) = bytes.split_first() else { return };
    let (max, size) = (usize::from(size) + 6, usize::from(size).max(1));
    let relayed = |size: usize| {
        let (mut lines, mut out) = (RelayedFramer::new(max), Vec::new());
        bytes.chunks(size).for_each(|read| lines.feed(read, &mut out));
        out.extend(lines.finish(true));
        out
    };
    let direct = |size: usize| {
        let (mut cutter, mut out) =
            (SyslogFramer::new(max), Vec::<(Vec<u8>, u32, Option<Flaw>)>::new());
        let mut note = |raw: RawMessage<'_>| out.push((raw.bytes.to_vec(), raw.priority, raw.flaw));
        bytes.chunks(size).for_each(|read| cutter.feed(read, &mut note));
        cutter.finish(true, &mut note);
        out
    };
    let (lines, messages) = (relayed(bytes.len().max(1)), direct(bytes.len().max(1)));
    assert_eq!(lines, relayed(size), "how it was cut makes no difference");
    assert_eq!(messages, direct(size), "how it was cut makes no difference");
    let kept: usize = lines.iter().map(|line| line.bytes.len()).sum();
    let newlines = bytes.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(kept + newlines, bytes.len(), "nothing is lost but newlines");
    let present = YearHint::at(1_795_219_200_000);
    for line in &lines {
        assert!(line.bytes.len() <= max);
        let _ = parse(&String::from_utf8_lossy(&line.bytes), &present);
    }
    for (message, _, _) in &messages {
        let text = String::from_utf8_lossy(message);
        let _ = super::syslog::parse(&text, &present, &TimeZone::UTC);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21T00:00:00Z
    const NOW: i64 = 1_795_219_200_000;

    fn cut(max: usize, reads: &[&str]) -> Vec<(String, bool)> {
        let (mut lines, mut out) = (RelayedFramer::new(max), Vec::new());
        reads.iter().for_each(|read| lines.feed(read.as_bytes(), &mut out));
        out.extend(lines.finish(true));
        out.into_iter().map(|line| (String::from_utf8(line.bytes).unwrap(), line.is_cut)).collect()
    }

    #[test]
    fn lines_end_at_newlines_wherever_the_reads_do() {
        let whole = "\n<34>one\n\n<165>two\nthree";
        let expected = ["<34>one", "<165>two", "three"].map(|text| (text.to_owned(), false));
        for at in 0..whole.len() {
            assert_eq!(cut(100, &[&whole[..at], &whole[at..]]), expected, "{at}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_cut() {
        let long = cut(6, &["12345\n123456\n1234567890123\n"]);
        let expected =
            [("12345", false), ("123456", true), ("123456", true), ("789012", true), ("3", false)];
        assert_eq!(long, expected.map(|(text, cut)| (text.to_owned(), cut)));
        assert_eq!(cut(1, &["ab\n"]).len(), 2, "it always goes on");
    }

    #[test]
    fn both_forms_are_read() {
        let line = "<165>1 2003-08-24T05:14:15.003-07:00 192.0.2.1 myproc 8710 - - it's time";
        let message = parse(line, &YearHint::at(NOW)).unwrap();
        assert_eq!((message.priority, message.code, message.version), ("165", 165, Some("1")));
        assert_eq!((message.millis, message.host), (1_061_727_255_003, "192.0.2.1"));
        assert_eq!(message.text, Some("myproc 8710 - - it's time"));
        let message = parse("<34>Oct 11 22:14:15 mymachine su: x", &YearHint::at(NOW)).unwrap();
        assert_eq!((message.stamp, message.millis), ("Oct 11 22:14:15", 1_791_756_855_000));
        assert_eq!((message.host, message.text), ("mymachine", Some("su: x")));
        let message = parse("<34>1 - host text here", &YearHint::at(NOW)).unwrap();
        assert_eq!((message.stamp, message.millis, message.host), ("-", NOW, "host"));
        let message = parse("<34>Oct 1 22:14:15 host x", &YearHint::at(NOW)).unwrap();
        assert_eq!((message.stamp, message.host), ("Oct 1 22:14:15", "host"));
        assert_eq!(parse("<34>Xyz 99 99:99:99 host x", &YearHint::at(NOW)).unwrap().millis, 0);
        assert_eq!(parse("<34>Oct 11 22:14:15 host ", &YearHint::at(NOW)).unwrap().text, None);
    }

    #[test]
    fn times_are_what_they_say() {
        for (stamp, expected) in [
            ("2003-08-24T05:14:15Z", Some(1_061_702_055_000)),
            ("2003-08-24T05:14:15.5Z", Some(1_061_702_055_500)),
            ("2003-08-24T05:14:15.000003-07:00", Some(1_061_727_255_000)),
            ("2003-08-24T05:14:15.003", Some(1_061_702_055_003)),
            ("2003-08-24T05:14:15.1x", Some(1_061_702_055_100)),
            ("2003-08-24T05:14:15", None),
            ("2003-08-24T05:14:15.Z", None),
            ("2003-08-24T05:14:15+0200", None),
            ("2003-13-24T05:14:15Z", None),
            ("2003-08-24 05:14:15Z", None),
        ] {
            assert_eq!(new_millis(stamp), expected, "{stamp}");
        }
    }

    #[test]
    fn what_is_no_message_is_none() {
        for line in [
            "hello",
            "<>Oct 11 22:14:15 h x",
            "<123456>Oct 11 22:14:15 h x",
            "<a>- h x",
            "<34>",
            "<34>1 ",
            "<34>-",
            "<34>- host",
            "<34>Oct 11",
            "<34>Oct 11 22:14:15 host",
            "<34",
            "",
            "<34>Oct 11 22:14:1ö h x",
        ] {
            assert_eq!(parse(line, &YearHint::at(NOW)), None, "{line}");
        }
    }
}
