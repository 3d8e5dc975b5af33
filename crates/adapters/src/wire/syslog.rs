//! Syslog as Flume's syslogtcp and syslogudp sources read it.
//!
//! Limits: an event has at most the bytes that the caller allows; the rest of a longer line is dropped.
//!
//! A [`SyslogFramer`] splits a stream of bytes at newlines (the octet counts of RFC 6587 are supported neither by
//! Flume nor here), and [`parse`] reads the fields of a message: by RFC 5424 as far as Flume does (structured
//! data stays in the body), or by RFC 3164.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use memchr::{memchr, memchr2};

/// A defect of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It does not begin with a priority between angle brackets.
    Invalid,
    /// Only its beginning was received: it was longer than allowed, or its connection broke.
    Incomplete,
}

impl Flaw {
    /// Returns the value of the header `flume.syslog.status`.
    #[must_use]
    pub fn status(self) -> &'static str {
        match self {
            Self::Invalid => "Invalid",
            Self::Incomplete => "Incomplete",
        }
    }
}

/// A received event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawMessage<'a> {
    /// All of its bytes, the priority included, without the newline.
    pub bytes: &'a [u8],
    /// Its priority; 0 without one.
    pub priority: u32,
    /// Its defect.
    pub flaw: Option<Flaw>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Start,
    Priority,
    Text,
    /// The rest of a line whose beginning was an event.
    Rest,
}

/// Splits a connection's stream into events. Buffers at most one event.
#[derive(Debug)]
pub struct SyslogFramer {
    bytes_max: usize,
    mode: Mode,
    /// The received bytes of an incomplete event.
    pub(crate) pending: Vec<u8>,
    priority: u32,
    bad: bool,
}

impl SyslogFramer {
    /// Returns a framer of events of at most `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, mode: Mode::Start, pending: Vec::new(), priority: 0, bad: false }
    }

    /// Takes the bytes of one read and passes the events that they complete to `each`.
    pub fn feed(&mut self, mut read: &[u8], each: &mut dyn FnMut(RawMessage<'_>)) {
        while let Some(&byte) = read.first() {
            if self.mode == Mode::Start {
                if byte == b'\n' {
                    read = &read[1..];
                    continue;
                }
                // The usual case, without copying.
                if let Some(raw) = whole(&read[..read.len().min(self.bytes_max)]) {
                    read = &read[raw.bytes.len() + 1..];
                    each(raw);
                    continue;
                }
            }
            let taken = self.take(read, each);
            read = &read[taken..];
            if self.mode == Mode::Text && self.pending.len() >= self.bytes_max {
                let is_bad = self.bad;
                self.cut(true, each);
                // Bytes that are not a syslog message are passed on in parts.
                self.mode = if is_bad { Mode::Start } else { Mode::Rest };
            }
        }
    }

    /// Consumes bytes of one mode from the front of `read`; returns their number.
    fn take(&mut self, read: &[u8], each: &mut dyn FnMut(RawMessage<'_>)) -> usize {
        match self.mode {
            Mode::Start => {
                self.bad = read[0] != b'<';
                self.mode = if self.bad { Mode::Text } else { Mode::Priority };
                self.pending.push(read[0]);
                1
            }
            Mode::Priority => {
                self.priority(read[0]);
                1
            }
            // In Flume it is an event of its own, with an invalid priority and version.
            Mode::Rest => match memchr(b'\n', read) {
                Some(end) => {
                    self.mode = Mode::Start;
                    end + 1
                }
                None => read.len(),
            },
            Mode::Text => {
                let near = &read[..read.len().min(self.bytes_max - self.pending.len())];
                let end = memchr(b'\n', near);
                self.pending.extend_from_slice(&near[..end.unwrap_or(near.len())]);
                match end {
                    Some(end) => {
                        self.cut(false, each);
                        end + 1
                    }
                    None => near.len(),
                }
            }
        }
    }

    fn priority(&mut self, byte: u8) {
        self.pending.push(byte);
        let digits = self.pending.len() - 1;
        match byte {
            b'>' => {
                self.bad = digits == 1;
                self.mode = Mode::Text;
            }
            b'0'..=b'9' if digits <= 3 => {
                self.priority = self.priority * 10 + u32::from(byte - b'0');
            }
            _ => {
                self.bad = true;
                self.mode = Mode::Text;
            }
        }
    }

    fn cut(&mut self, full: bool, each: &mut dyn FnMut(RawMessage<'_>)) {
        let flaw = match (self.bad, full) {
            (true, _) => Some(Flaw::Invalid),
            (false, true) => Some(Flaw::Incomplete),
            (false, false) => None,
        };
        let priority = if self.bad { 0 } else { self.priority };
        // The memory of a long event is not kept for the short ones after it.
        let bytes = std::mem::take(&mut self.pending);
        (self.mode, self.priority, self.bad) = (Mode::Start, 0, false);
        each(RawMessage { bytes: &bytes, priority, flaw });
    }

    /// Passes on the received bytes of an incomplete event, if there is one. `is_whole`: its sender has ended it
    /// without a newline; otherwise it is marked as incomplete.
    pub fn finish(&mut self, is_whole: bool, each: &mut dyn FnMut(RawMessage<'_>)) {
        // An incomplete priority is invalid.
        self.bad |= self.mode == Mode::Priority;
        if !self.pending.is_empty() {
            self.cut(!is_whole, each);
        }
        self.mode = Mode::Start;
    }
}

/// Returns the event at the front of `read` if it is complete, up to its newline, and without a defect.
fn whole(read: &[u8]) -> Option<RawMessage<'_>> {
    let digits = read.strip_prefix(b"<")?.iter().take(4).take_while(|byte| byte.is_ascii_digit());
    let (count, priority) =
        digits.fold((0, 0), |(n, sum), byte| (n + 1, sum * 10 + u32::from(byte - b'0')));
    if !(1..=3).contains(&count) || read.get(1 + count) != Some(&b'>') {
        return None;
    }
    let text_at = count + 2;
    let end = text_at + memchr(b'\n', &read[text_at..])?;
    Some(RawMessage { bytes: &read[..end], priority, flaw: None })
}

/// The time that determines the year of times without one.
#[derive(Clone, Debug)]
pub struct YearHint {
    /// Milliseconds since 1970.
    pub(super) millis: i64,
    /// `None` at the end of the calendar.
    window: Option<YearSpan>,
}

#[derive(Clone, Debug)]
struct YearSpan {
    year: i16,
    /// A month ahead.
    latest: Timestamp,
    /// Eleven months ago.
    earliest: Timestamp,
}

impl YearHint {
    /// Returns the hint for this time, in milliseconds since 1970.
    #[must_use]
    pub fn at(millis: i64) -> Self {
        let window = || {
            let now = Timestamp::from_millisecond(millis).ok()?.to_zoned(TimeZone::UTC);
            let shifted = |months: i32| now.checked_add(Span::new().months(months)).ok();
            let (latest, earliest) = (shifted(1)?.timestamp(), shifted(-11)?.timestamp());
            Some(YearSpan { year: now.year(), latest, earliest })
        };
        Self { millis, window: window() }
    }

    /// Returns the time in milliseconds since 1970.
    #[must_use]
    pub fn millis(&self) -> i64 {
        self.millis
    }

    /// Returns the year in UTC; 1970 at the end of the calendar.
    #[must_use]
    pub fn year(&self) -> i16 {
        self.window.as_ref().map_or(1970, |window| window.year)
    }

    /// Returns the time in this year, or in the last one if that would be more than a month ahead, or in the next
    /// one if it would be more than eleven months ago.
    pub(super) fn nearest_year(&self, of_year: &dyn Fn(i16) -> Option<Timestamp>) -> Option<i64> {
        let YearSpan { year, latest, earliest } = *self.window.as_ref()?;
        let this = of_year(year);
        let other = match this {
            Some(at) if at > latest => of_year(year - 1),
            Some(at) if at < earliest => of_year(year + 1),
            Some(_) => None,
            // The 29th of February of another year.
            None => of_year(year - 1).or_else(|| of_year(year + 1)),
        };
        other.or(this).map(Timestamp::as_millisecond)
    }
}

/// The fields of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyslogMessage<'a> {
    /// The digits of its priority.
    pub priority: &'a str,
    /// The version, if it has one.
    pub version: Option<&'a str>,
    /// The time as written.
    pub stamp: Option<&'a str>,
    /// The time in milliseconds since 1970, if it is valid.
    pub millis: Option<i64>,
    /// The host, if there is one.
    pub host: Option<&'a str>,
    /// The rest of the message.
    pub text: &'a str,
}

/// Parses a message; `None` if it has neither form. Times without a year are in the year nearest to `present`,
/// times without a zone are in `zone`.
#[must_use]
pub fn parse<'a>(text: &'a str, present: &YearHint, zone: &TimeZone) -> Option<SyslogMessage<'a>> {
    let (priority, rest) = text.strip_prefix('<')?.split_once('>')?;
    let legal = (1..=3).contains(&priority.len()) && priority.bytes().all(|b| b.is_ascii_digit());
    if !legal {
        return None;
    }
    let forms: [SyslogFormat; 2] = [rfc5424, rfc3164];
    forms.into_iter().find_map(|form| {
        // A digit may be a version or the begin of a year; the version is tried first.
        let versions = [first_digit(rest), Some((None, rest))].into_iter().flatten();
        let mut starts = versions.flat_map(|(version, rest)| {
            let without = rest.strip_prefix(is_blank).map(|rest| (version, rest));
            [without, Some((version, rest))].into_iter().flatten()
        });
        let read =
            starts.find_map(|(version, rest)| form(rest, present, zone).map(|m| (version, m)));
        read.map(|(version, message)| SyslogMessage { priority, version, ..message })
    })
}

type SyslogFormat = for<'a> fn(&'a str, &YearHint, &TimeZone) -> Option<SyslogMessage<'a>>;

fn first_digit(text: &str) -> Option<(Option<&str>, &str)> {
    let digit = text.starts_with(|c: char| c.is_ascii_digit());
    digit.then(|| (Some(&text[..1]), &text[1..]))
}

/// Java's `\s`.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\u{B}' | '\u{C}' | '\r')
}

/// Parses `2003-08-24T05:14:15.003-07:00 host text`; the time and the host may be `-`.
fn rfc5424<'a>(text: &'a str, _: &YearHint, zone: &TimeZone) -> Option<SyslogMessage<'a>> {
    let (stamp, rest) = field(text)?;
    let (stamp, millis) = match stamp {
        "-" => (None, None),
        _ => (Some(stamp), iso_millis(stamp, zone)?),
    };
    let (host, rest) = field(rest)?;
    let (host, text) = (host_name(host)?, one_line(rest)?);
    Some(SyslogMessage { stamp, millis, host, text, ..SyslogMessage::default() })
}

/// Parses `Oct 11 22:14:15 host text`.
fn rfc3164<'a>(text: &'a str, present: &YearHint, zone: &TimeZone) -> Option<SyslogMessage<'a>> {
    let month = text.get(..3).filter(|m| {
        let bytes = m.as_bytes();
        bytes[0].is_ascii_uppercase() && bytes[1..].iter().all(u8::is_ascii_lowercase)
    })?;
    let behind = text[3..].trim_start_matches(is_blank);
    if behind.len() == text.len() - 3 {
        return None;
    }
    let (day, behind) = field(behind)?;
    let (time, behind) = field(behind)?;
    let legal = (1..=2).contains(&day.len()) && day.bytes().all(|b| b.is_ascii_digit());
    let (hour, minute, second) = clock(time).filter(|_| legal)?;
    let stamp = &text[..text.len() - behind.len() - 1];
    let (host, rest) = field(behind)?;
    let number = MONTHS.iter().zip(1..).find(|(name, _)| **name == month).map(|(_, n)| n);
    let of_year = |year: i16| {
        let at = DateTime::new(year, number?, day.parse().ok()?, hour, minute, second, 0).ok()?;
        zone.to_timestamp(at).ok()
    };
    Some(SyslogMessage {
        stamp: Some(stamp),
        millis: present.nearest_year(&of_year),
        host: Some(host_name(host)??),
        text: one_line(rest)?,
        ..SyslogMessage::default()
    })
}

pub(super) const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Returns the text before the first blank, and the text after it.
fn field(text: &str) -> Option<(&str, &str)> {
    text.split_once(is_blank).filter(|(field, _)| !field.is_empty())
}

/// Returns a host, or `Some(None)` for `-`; `None` if it is not a host.
fn host_name(text: &str) -> Option<Option<&str>> {
    if text == "-" {
        return Some(None);
    }
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let (first, rest) = text.as_bytes().split_first()?;
    let legal = word(*first) && rest.iter().all(|b| word(*b) || b".@-".contains(b));
    legal.then_some(Some(text))
}

/// Returns the rest if it contains no line end; otherwise the message has no valid form, as in Flume.
fn one_line(text: &str) -> Option<&str> {
    let ends = |c| matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}');
    let is_one = memchr2(b'\n', b'\r', text.as_bytes()).is_none();
    (is_one && (text.is_ascii() || !text.contains(ends))).then_some(text)
}

/// Returns hour, minute and second of `22:14:15`.
pub(super) fn clock(text: &str) -> Option<(i8, i8, i8)> {
    let mut parts = text.split(':').map(|part| match part.len() {
        2 if part.bytes().all(|b| b.is_ascii_digit()) => part.parse().ok(),
        _ => None,
    });
    let clock = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some(clock)
}

/// Returns the milliseconds of an ISO time: `None` if it is malformed, `Some(None)` if there is no such day or
/// hour. As in Flume an offset after a fraction is ignored; otherwise one message would have different times in
/// the headers of Flume and millpond. Unlike in Flume one or two digits are tenths and hundredths.
fn iso_millis(text: &str, zone: &TimeZone) -> Option<Option<i64>> {
    let (date, rest) = text.split_at_checked(10)?;
    let time = rest.strip_prefix('T')?;
    let (time, rest) = time.split_at_checked(8)?;
    let (hour, minute, second) = clock(time)?;
    let fits = |(byte, form): (u8, &u8)| match form {
        b'-' => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    if !date.bytes().zip(b"2003-08-24").all(fits) {
        return None;
    }
    let fraction_len = rest
        .strip_prefix('.')
        .map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    let (nanos, offset) = match (rest.starts_with('.'), fraction_len) {
        (false, _) => (0, rest),
        (true, 1..=6) => {
            let (fraction, rest) = rest[1..].split_at(fraction_len);
            (format!("{fraction:0<9}").parse().ok()?, rest)
        }
        (true, _) => return None,
    };
    let offset = match offset {
        "" => None,
        "Z" => Some(0),
        _ if fraction_len > 0 => offset_seconds(offset).map(|_| None)?,
        _ => Some(offset_seconds(offset)?),
    };
    let number = |range: std::ops::Range<usize>| date[range].parse::<i16>().ok();
    let (month, day) = (i8::try_from(number(5..7)?).ok()?, i8::try_from(number(8..10)?).ok()?);
    let at = DateTime::new(number(0..4)?, month, day, hour, minute, second, nanos);
    let at = at.ok().and_then(|at| match offset {
        Some(seconds) => jiff::tz::Offset::from_seconds(seconds).ok()?.to_timestamp(at).ok(),
        None => zone.to_timestamp(at).ok(),
    });
    Some(at.map(Timestamp::as_millisecond))
}

/// Returns the seconds of `-07:00`.
fn offset_seconds(text: &str) -> Option<i32> {
    let sign = match text.bytes().next()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text[1..].split_once(':')?;
    let two = |part: &str| {
        let legal = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<i32>().ok().filter(|_| legal)
    };
    Some(sign * (two(hours)? * 3600 + two(minutes)? * 60))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-11-21T00:00:00Z
    const NOW: i64 = 1_795_219_200_000;

    fn cut(max: usize, reads: &[&str]) -> Vec<(String, u32, Option<Flaw>)> {
        let (mut cutter, mut out) = (SyslogFramer::new(max), Vec::new());
        let mut note = |raw: RawMessage<'_>| {
            out.push((String::from_utf8(raw.bytes.to_vec()).unwrap(), raw.priority, raw.flaw));
        };
        reads.iter().for_each(|read| cutter.feed(read.as_bytes(), &mut note));
        cutter.finish(true, &mut note);
        out
    }

    #[test]
    fn events_end_at_newlines_wherever_the_reads_do() {
        let whole = "\n<34>one\n\n<165>two\n<0>\n";
        let expected = [("<34>one", 34), ("<165>two", 165), ("<0>", 0)];
        let expected: Vec<_> = expected.iter().map(|(t, p)| ((*t).to_owned(), *p, None)).collect();
        assert_eq!(cut(100, &[whole]), expected);
        for at in 0..whole.len() {
            assert_eq!(cut(100, &[&whole[..at], &whole[at..]]), expected, "{at}");
        }
    }

    #[test]
    fn a_message_without_priority_is_invalid_and_a_long_one_is_cut() {
        for bad in ["plain", "<>x", "<1234>x", "<12x>y", "<12"] {
            let found = cut(100, &[bad, "\n"]);
            // A priority continues over the end of a line, as in Flume.
            let text = if bad == "<12" { "<12\n" } else { bad };
            assert_eq!(found, [(text.to_owned(), 0, Some(Flaw::Invalid))], "{bad}");
        }
        let found = cut(10, &["<34>1234567890\n<1>x\n"]);
        let flaws: Vec<_> = found.iter().map(|(text, _, flaw)| (text.as_str(), *flaw)).collect();
        let cut = Some(Flaw::Incomplete);
        assert_eq!(
            flaws,
            [("<34>123456", cut), ("<1>x", None)],
            "the rest of the line is left out"
        );
        let parts = self::cut(10, &["no priority at all\n"]);
        let parts: Vec<_> = parts.iter().map(|(text, _, _)| text.as_str()).collect();
        assert_eq!(parts, ["no priorit", "y at all"], "what is not syslog stays whole in sum");
        assert_eq!(self::cut(8, &["<34>1234\n"])[0].2, cut, "exactly as long as allowed");
        assert_eq!(self::cut(8, &["<34>1234\n"]).len(), 1);
    }

    proptest! {
        #[test]
        fn events_do_not_depend_on_how_the_stream_is_read(
            text in "[<>019a\n]{0,40}", max in 6usize..20,
        ) {
            let bytes: Vec<&str> = (0..text.len()).map(|at| &text[at..=at]).collect();
            prop_assert_eq!(cut(max, &[&text]), cut(max, &bytes));
        }
    }

    fn read(text: &str) -> Option<SyslogMessage<'_>> {
        parse(text, &YearHint::at(NOW), &TimeZone::UTC)
    }

    fn millis(text: &str) -> Option<i64> {
        read(text)?.millis
    }

    #[test]
    fn both_forms_are_read() {
        let text = "<165>1 2003-08-24T05:14:15.003-07:00 192.0.2.1 myproc 8710 - - it's time";
        let message = read(text).unwrap();
        assert_eq!(
            (message.priority, message.version, message.host),
            ("165", Some("1"), Some("192.0.2.1"))
        );
        assert_eq!(
            (message.millis, message.text),
            (Some(1_061_702_055_003), "myproc 8710 - - it's time")
        );
        let message = read("<34>Oct 11 22:14:15 mymachine su: 'su root'").unwrap();
        assert_eq!(
            (message.version, message.host, message.text),
            (None, Some("mymachine"), "su: 'su root'")
        );
        assert_eq!(
            (message.stamp, message.millis),
            (Some("Oct 11 22:14:15"), Some(1_791_756_855_000))
        );
        let message = read("<34>1 - - text").unwrap();
        assert_eq!((message.stamp, message.host, message.text), (None, None, "text"));
        // No version, and a year that begins like one.
        let message = read("<34>2003-08-24T05:14:15Z h ").unwrap();
        assert_eq!((message.version, message.text), (None, ""));
    }

    #[test]
    fn times_are_what_they_say() {
        for (stamp, expected) in [
            ("2003-08-24T05:14:15Z", Some(1_061_702_055_000)),
            ("2003-08-24T05:14:15", Some(1_061_702_055_000)),
            ("2003-08-24T05:14:15-07:00", Some(1_061_727_255_000)),
            ("2003-08-24T05:14:15.000003-07:00", Some(1_061_702_055_000)),
            ("2003-08-24T05:14:15.5Z", Some(1_061_702_055_500)),
            ("2003-08-24T05:14:15.1234567Z", None),
            ("2003-08-24T05:14:15+0200", None),
            ("2003-13-24T05:14:15Z", None),
        ] {
            assert_eq!(millis(&format!("<1>1 {stamp} h x")), expected, "{stamp}");
        }
        // There is no such month, but the form is valid.
        assert!(read("<1>1 2003-13-24T05:14:15Z h x").is_some());
        assert!(read("<1>1 2003-08-24T05:14:15+0200 h x").is_none());
        let of = |stamp: &str| millis(&format!("<1>{stamp} h x"));
        let year = |ms: Option<i64>| {
            Timestamp::from_millisecond(ms.unwrap()).unwrap().to_zoned(TimeZone::UTC).year()
        };
        assert_eq!(year(of("Nov 20 00:00:00")), 2026);
        assert_eq!(year(of("Dec 20 00:00:00")), 2026, "less than a month ahead");
        assert_eq!(year(of("Dec 25 00:00:00")), 2025, "more than a month ahead");
        assert_eq!(year(of("Jan  2 00:00:00")), 2026);
        assert_eq!(
            year(
                parse(
                    "<1>Jan  2 00:00:00 h x",
                    &YearHint::at(NOW + 40 * 86_400_000),
                    &TimeZone::UTC
                )
                .unwrap()
                .millis
            ),
            2027
        );
        let december = NOW + 30 * 86_400_000;
        assert_eq!(
            year(
                parse("<1>Jan 10 00:00:00 h x", &YearHint::at(december), &TimeZone::UTC)
                    .unwrap()
                    .millis
            ),
            2027
        );
    }

    #[test]
    fn what_is_of_no_form_is_left_alone() {
        for text in [
            "<34>hello",
            "<34>Oct 11 22:14:15 host",
            "<34>oct 11 22:14:15 h x",
            "<34>1 - 2001:db8::1 x",
            "<34>Oct 11 22:14:15 h x\ry",
            "<34",
            "x",
            "",
            "<34>Oct11 22:14:15 h x",
            "<34>Oct 11 22:14 h x",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
