//! The notes of a run: one line each, written before a call on the channel and after it returned.
//! The bytes are in a pipe, in a file on another disk or on another host, so they outlive the
//! process that wrote them; a line without its end does not count.

use super::crash_point::{CrashPoint, CrashTiming};
use super::transaction_shape::{PutName, number};
use std::fmt;
use std::str::SplitAsciiWhitespace;

/// Events `from..to` of a put transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventSpan {
    pub(super) put: PutName,
    pub(super) from: u32,
    pub(super) to: u32,
}

impl fmt::Display for EventSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}-{}", self.put, self.from, self.to)
    }
}

/// Events of a transaction that a note can name: far more than a test puts.
const SPAN_EVENTS_MAX: u32 = 1 << 16;

/// Why a put was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusedPut {
    /// The channel holds as many events as it may.
    Full,
    /// The disks have no room.
    Space,
    /// Another reason.
    Other,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// The channel is open: how long that took (microseconds), events it counts, events it counts
    /// as damaged, events out of reach, disk calls so far.
    Opened { us: u64, events: u64, quarantined: u64, out_of_reach: u64, calls: u64 },
    /// The source offset that the channel has for a writer: the number of its transaction.
    Position { writer: u32, at: Option<u64> },
    /// The next events of the contents, in order.
    Contents(Vec<EventSpan>),
    /// All contents and source offsets are noted; work begins.
    ContentsEnd,
    /// A put is about to be committed.
    PutAsked(PutName),
    /// Its commit returned Ok.
    PutDone(PutName),
    /// Its commit was refused.
    PutRefused(PutName, RefusedPut),
    /// Its commit ended in doubt.
    PutInDoubt(PutName),
    /// A taker was lent these.
    Lent { taker: u32, events: Vec<EventSpan> },
    /// It is about to hand them back.
    HandedBack(u32),
    /// It is about to acknowledge them.
    TakeAsked(u32),
    /// They are acknowledged.
    TakeDone(u32),
    /// The acknowledgement was refused; they are handed back.
    TakeRefused(u32),
    /// The acknowledgement ended in doubt.
    TakeInDoubt(u32),
    /// The process is about to kill itself: when, how, at which disk call.
    Dying { moment: CrashPoint, how: CrashTiming, call: u64 },
    /// The channel is closed and the run over.
    Closed,
    /// A violation: an altered or foreign event, or a refusal without a valid reason.
    Wrong(SelfReportedError, String),
    /// A command of the parent was received.
    Heeded,
    /// Still alive.
    Alive,
}

/// What the run itself finds wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SelfReportedError {
    /// An event is not as it was put.
    Altered,
    /// An event that was never put.
    Foreign,
    /// The channel refuses what it may not refuse.
    Failed,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { us, events, quarantined, out_of_reach, calls } => {
                write!(f, "o {us} {events} {quarantined} {out_of_reach} {calls}")
            }
            Self::Position { writer, at: Some(at) } => write!(f, "a {writer} {at}"),
            Self::Position { writer, at: None } => write!(f, "a {writer} -"),
            Self::Contents(spans) => with_spans(f, "v", spans),
            Self::ContentsEnd => f.write_str("e"),
            Self::PutAsked(put) => write!(f, "p {put}"),
            Self::PutDone(put) => write!(f, "P {put}"),
            Self::PutRefused(put, why) => {
                let why = match why {
                    RefusedPut::Full => "full",
                    RefusedPut::Space => "space",
                    RefusedPut::Other => "other",
                };
                write!(f, "R {put} {why}")
            }
            Self::PutInDoubt(put) => write!(f, "D {put}"),
            Self::Lent { taker, events } => with_spans(f, &format!("t {taker}"), events),
            Self::HandedBack(taker) => write!(f, "r {taker}"),
            Self::TakeAsked(taker) => write!(f, "c {taker}"),
            Self::TakeDone(taker) => write!(f, "C {taker}"),
            Self::TakeRefused(taker) => write!(f, "x {taker}"),
            Self::TakeInDoubt(taker) => write!(f, "d {taker}"),
            Self::Dying { moment, how, call } => {
                write!(f, "k {} {} {call}", moment.word(), how.word())
            }
            Self::Closed => f.write_str("z"),
            Self::Wrong(wrong, words) => {
                let wrong = match wrong {
                    SelfReportedError::Altered => "altered",
                    SelfReportedError::Foreign => "foreign",
                    SelfReportedError::Failed => "failed",
                };
                // A note is one line.
                write!(f, "! {wrong} {}", words.replace(['\n', '\r'], " "))
            }
            Self::Heeded => f.write_str("w"),
            Self::Alive => f.write_str("h"),
        }
    }
}

fn with_spans(f: &mut fmt::Formatter<'_>, head: &str, spans: &[EventSpan]) -> fmt::Result {
    f.write_str(head)?;
    spans.iter().try_for_each(|span| write!(f, " {span}"))
}

impl Note {
    /// Parses a line without its newline; `None` when it is not a note.
    pub(super) fn read(line: &str) -> Option<Self> {
        let (head, rest) = line.split_once(' ').unwrap_or((line, ""));
        if head == "!" {
            let (wrong, words) = rest.split_once(' ')?;
            let wrong = match wrong {
                "altered" => SelfReportedError::Altered,
                "foreign" => SelfReportedError::Foreign,
                "failed" => SelfReportedError::Failed,
                _ => return None,
            };
            return Some(Self::Wrong(wrong, words.to_owned()));
        }
        let mut words = rest.split_ascii_whitespace();
        let note = Self::of(head, &mut words)?;
        words.next().is_none().then_some(note)
    }

    fn of(head: &str, words: &mut SplitAsciiWhitespace<'_>) -> Option<Self> {
        Some(match head {
            "o" => Self::Opened {
                us: number(words.next()?)?,
                events: number(words.next()?)?,
                quarantined: number(words.next()?)?,
                out_of_reach: number(words.next()?)?,
                calls: number(words.next()?)?,
            },
            "a" => Self::Position {
                writer: number(words.next()?)?,
                at: match words.next()? {
                    "-" => None,
                    at => Some(number(at)?),
                },
            },
            "v" => Self::Contents(spans(words)?),
            "e" => Self::ContentsEnd,
            "p" => Self::PutAsked(put(words.next()?)?),
            "P" => Self::PutDone(put(words.next()?)?),
            "R" => {
                let put = put(words.next()?)?;
                let why = match words.next()? {
                    "full" => RefusedPut::Full,
                    "space" => RefusedPut::Space,
                    "other" => RefusedPut::Other,
                    _ => return None,
                };
                Self::PutRefused(put, why)
            }
            "D" => Self::PutInDoubt(put(words.next()?)?),
            "t" => Self::Lent { taker: number(words.next()?)?, events: spans(words)? },
            "r" => Self::HandedBack(number(words.next()?)?),
            "c" => Self::TakeAsked(number(words.next()?)?),
            "C" => Self::TakeDone(number(words.next()?)?),
            "x" => Self::TakeRefused(number(words.next()?)?),
            "d" => Self::TakeInDoubt(number(words.next()?)?),
            "k" => Self::Dying {
                moment: CrashPoint::read(words.next()?)?,
                how: CrashTiming::read(words.next()?)?,
                call: number(words.next()?)?,
            },
            "z" => Self::Closed,
            "w" => Self::Heeded,
            "h" => Self::Alive,
            _ => return None,
        })
    }
}

fn put(text: &str) -> Option<PutName> {
    let (writer, at) = text.split_once('.')?;
    Some(PutName { writer: number(writer)?, number: number(at)? })
}

fn spans(words: &mut SplitAsciiWhitespace<'_>) -> Option<Vec<EventSpan>> {
    words.map(span).collect()
}

fn span(text: &str) -> Option<EventSpan> {
    let (name, range) = text.rsplit_once('.')?;
    let (from, to) = range.split_once('-')?;
    let span = EventSpan { put: put(name)?, from: number(from)?, to: number(to)? };
    (span.from < span.to && span.to <= SPAN_EVENTS_MAX).then_some(span)
}

/// Returns the events of `names` as spans, in the same order.
pub(super) fn spans_of(names: impl IntoIterator<Item = (PutName, u32)>) -> Vec<EventSpan> {
    let mut spans: Vec<EventSpan> = Vec::new();
    for (put, index) in names {
        match spans.last_mut() {
            Some(last) if last.put == put && last.to == index => last.to += 1,
            _ => spans.push(EventSpan { put, from: index, to: index + 1 }),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_note_is_read_as_it_was_written() {
        let put = PutName { writer: 1, number: 77 };
        let events = vec![EventSpan { put, from: 0, to: 3 }, EventSpan { put, from: 4, to: 5 }];
        for note in [
            Note::Opened { us: 1, events: 2, quarantined: 3, out_of_reach: 4, calls: 5 },
            Note::Position { writer: 2, at: None },
            Note::Position { writer: 2, at: Some(9) },
            Note::Contents(events.clone()),
            Note::Contents(vec![]),
            Note::ContentsEnd,
            Note::PutAsked(put),
            Note::PutDone(put),
            Note::PutRefused(put, RefusedPut::Full),
            Note::PutRefused(put, RefusedPut::Space),
            Note::PutRefused(put, RefusedPut::Other),
            Note::PutInDoubt(put),
            Note::Lent { taker: 3, events },
            Note::HandedBack(1),
            Note::TakeAsked(1),
            Note::TakeDone(1),
            Note::TakeRefused(1),
            Note::TakeInDoubt(1),
            Note::Dying { moment: CrashPoint::Roll, how: CrashTiming::Half, call: 12 },
            Note::Closed,
            Note::Wrong(SelfReportedError::Altered, "event 1.77.0".to_owned()),
            Note::Heeded,
            Note::Alive,
        ] {
            let line = note.to_string();
            assert_eq!(Note::read(&line), Some(note), "{line}");
        }
    }

    #[test]
    fn what_is_no_note_is_refused() {
        for line in
            ["", "q", "p", "p 1", "p 1.2 3", "t x", "t 1 1.2.3-3", "a 1 x", "k roll", "P 1."]
        {
            assert_eq!(Note::read(line), None, "{line}");
        }
    }

    #[test]
    fn events_that_follow_each_other_are_one_span() {
        let put = |number| PutName { writer: 0, number };
        let spans = spans_of([(put(1), 0), (put(1), 1), (put(2), 0), (put(1), 2)]);
        let text: Vec<String> = spans.iter().map(EventSpan::to_string).collect();
        assert_eq!(text, ["0.1.0-2", "0.2.0-1", "0.1.2-3"]);
    }
}
