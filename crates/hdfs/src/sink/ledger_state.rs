//! What the ledger knows, and its lines.
//!
//! | line | fields | means |
//! |---|---|---|
//! | `O` | file system, path in use, stem, suffix | the file is about to be created |
//! | `B` | path in use, length before, length after, events | a batch is about to be written to it |
//! | `S` | path in use, `kept` or `cut` | whether the file has the last batch; it is closed |
//! | `R` | path in use | it is replaced by its copy, which lacks the last batch |
//! | `C` | path in use | it was renamed or deleted |
//! | `D` | events | they are delivered |
//!
//! A batch is only written to a file after the one before it was synced. So of the batches of a file all but the last are
//! delivered, and the last is exactly if the closed file has its length.

use super::file_name::FileName;
use millpond_flow::event_set::EventSet;
use std::collections::BTreeMap;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LedgerLine {
    Opened { target: String, name: FileName },
    Batch { in_use: String, batch: WrittenBatch },
    Settled { in_use: String, is_kept: bool },
    Replaced { in_use: String },
    Closed { in_use: String },
    Delivered(EventSet),
}

/// A batch that is in a file, or may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WrittenBatch {
    /// The length of the file without it.
    pub(super) before: u64,
    /// The length of the file with it.
    pub(super) after: u64,
    pub(super) events: EventSet,
}

/// A file that is not closed and renamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OpenEntry {
    pub(super) target: String,
    pub(super) name: FileName,
    /// The last batch, while it is not known whether the file has it.
    pub(super) in_doubt: Option<WrittenBatch>,
    /// The copy of the file has taken its place.
    pub(super) is_replaced: bool,
    /// The ledger on the disk leaves the last batch in doubt.
    pub(super) is_doubt_written: bool,
}

/// The files that are not closed and renamed, by their path in use, and the events that are delivered and may come again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LedgerState {
    pub(super) open: BTreeMap<String, OpenEntry>,
    pub(super) delivered: EventSet,
}

impl LedgerState {
    /// Returns the state that the lines of `text` leave. A line that a crash cut, or that has another byte, is skipped.
    pub(super) fn read(text: &str) -> Self {
        let mut state = Self::default();
        text.lines().filter_map(LedgerLine::read).for_each(|line| state.apply(line));
        state
    }

    pub(super) fn apply(&mut self, line: LedgerLine) {
        match line {
            LedgerLine::Opened { target, name } => {
                let in_use = name.in_use.clone();
                let (in_doubt, is_replaced, is_doubt_written) = (None, false, false);
                let entry = OpenEntry { target, name, in_doubt, is_replaced, is_doubt_written };
                self.open.insert(in_use, entry);
            }
            LedgerLine::Batch { in_use, batch } => {
                let Some(entry) = self.open.get_mut(&in_use) else { return };
                let earlier = entry.in_doubt.replace(batch);
                entry.is_doubt_written = true;
                if let Some(earlier) = earlier {
                    self.delivered.join(&earlier.events);
                }
            }
            LedgerLine::Settled { in_use, is_kept } => {
                let Some(entry) = self.open.get_mut(&in_use) else { return };
                entry.is_doubt_written = false;
                let batch = entry.in_doubt.take();
                if let Some(batch) = batch.filter(|_| is_kept) {
                    self.delivered.join(&batch.events);
                }
            }
            LedgerLine::Replaced { in_use } => {
                let Some(entry) = self.open.get_mut(&in_use) else { return };
                (entry.in_doubt, entry.is_doubt_written) = (None, false);
                entry.is_replaced = true;
            }
            LedgerLine::Closed { in_use } => {
                self.open.remove(&in_use);
            }
            LedgerLine::Delivered(events) => self.delivered.join(&events),
        }
    }

    /// Returns the lines that make this state. A batch that this process knows to be in its file is among the delivered
    /// events.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (in_use, entry) in &self.open {
            let in_use = in_use.clone();
            let (target, name) = (entry.target.clone(), entry.name.clone());
            text += &LedgerLine::Opened { target, name }.text();
            if let Some(batch) = entry.in_doubt.clone() {
                text += &LedgerLine::Batch { in_use: in_use.clone(), batch }.text();
            }
            if entry.is_replaced {
                text += &LedgerLine::Replaced { in_use }.text();
            }
        }
        if !self.delivered.is_empty() {
            text += &LedgerLine::Delivered(self.delivered.clone()).text();
        }
        text
    }
}

impl LedgerLine {
    /// Returns the line, with its checksum and its end.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Opened { target, name } => {
                line('O', &[target, &name.in_use, &name.stem, &name.suffix])
            }
            Self::Batch { in_use, batch } => {
                let (before, after) = (batch.before.to_string(), batch.after.to_string());
                line('B', &[in_use, &before, &after, &batch.events.to_string()])
            }
            Self::Settled { in_use, is_kept } => {
                line('S', &[in_use, if *is_kept { "kept" } else { "cut" }])
            }
            Self::Replaced { in_use } => line('R', &[in_use]),
            Self::Closed { in_use } => line('C', &[in_use]),
            Self::Delivered(events) => line('D', &[&events.to_string()]),
        }
    }

    fn read(line: &str) -> Option<Self> {
        // A line after one that was cut begins in the middle; what remains of it has no checksum.
        let (sum, text) = line.split_once(' ')?;
        if u32::from_str_radix(sum, 16) != Ok(crc32fast::hash(text.as_bytes())) {
            return None;
        }
        let fields: Vec<&str> = text.split('\t').collect();
        let owned = |text: &str| text.to_owned();
        Some(match fields[..] {
            ["O", target, in_use, stem, suffix] => {
                let (in_use, stem, suffix) = (owned(in_use), owned(stem), owned(suffix));
                Self::Opened { target: owned(target), name: FileName { in_use, stem, suffix } }
            }
            ["B", in_use, before, after, events] => {
                let (before, after) = (before.parse().ok()?, after.parse().ok()?);
                let batch = WrittenBatch { before, after, events: EventSet::read(events)? };
                Self::Batch { in_use: owned(in_use), batch }
            }
            ["S", in_use, outcome @ ("kept" | "cut")] => {
                Self::Settled { in_use: owned(in_use), is_kept: outcome == "kept" }
            }
            ["R", in_use] => Self::Replaced { in_use: owned(in_use) },
            ["C", in_use] => Self::Closed { in_use: owned(in_use) },
            ["D", events] => Self::Delivered(EventSet::read(events)?),
            _ => return None,
        })
    }
}

fn line(kind: char, fields: &[&str]) -> String {
    let text = format!("{kind}\t{}", fields.join("\t"));
    format!("{:08x} {text}\n", crc32fast::hash(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_flow::event_set::EventPlace;

    fn lines() -> Vec<LedgerLine> {
        let name = |n: u32| {
            let (in_use, stem) = (format!("/d/x.{n}.log.tmp"), format!("/d/x.{n}"));
            FileName { in_use, stem, suffix: ".log".to_owned() }
        };
        let target = "hdfs://a".to_owned();
        let places = |of: std::ops::Range<u64>| -> Vec<EventPlace> {
            of.map(|sequence| EventPlace { stripe: 1, sequence }).collect()
        };
        let batch = |n: u32, before, after, of| LedgerLine::Batch {
            in_use: name(n).in_use,
            batch: WrittenBatch { before, after, events: EventSet::of(5, &places(of)) },
        };
        vec![
            LedgerLine::Opened { target: target.clone(), name: name(1) },
            LedgerLine::Opened { target: target.clone(), name: name(2) },
            LedgerLine::Opened { target, name: name(3) },
            batch(1, 0, 5, 0..2),
            batch(2, 0, 9, 2..4),
            batch(1, 5, 7, 4..5),
            batch(3, 0, 3, 6..9),
            LedgerLine::Settled { in_use: name(2).in_use, is_kept: true },
            LedgerLine::Replaced { in_use: name(3).in_use },
            LedgerLine::Closed { in_use: name(2).in_use },
            LedgerLine::Delivered(EventSet::of(6, &places(0..1))),
        ]
    }

    #[test]
    fn all_batches_of_a_file_but_the_last_are_delivered() {
        let text: String = lines().iter().map(LedgerLine::text).collect();
        let mut state = LedgerState::read(&text);
        assert_eq!(state.delivered.to_string(), "5/1:0-4 6/1:0-1");
        let in_doubt = |state: &LedgerState| -> Vec<(String, bool, bool)> {
            let of = |(path, entry): (&String, &OpenEntry)| {
                (path.clone(), entry.in_doubt.is_some(), entry.is_replaced)
            };
            state.open.iter().map(of).collect()
        };
        let expected = [
            ("/d/x.1.log.tmp".to_owned(), true, false),
            ("/d/x.3.log.tmp".to_owned(), false, true),
        ];
        assert_eq!(in_doubt(&state), expected);
        // Written anew it is the same.
        assert_eq!(LedgerState::read(&state.text()), state);
        state.apply(LedgerLine::Settled { in_use: "/d/x.1.log.tmp".to_owned(), is_kept: false });
        assert_eq!(state.delivered.to_string(), "5/1:0-4 6/1:0-1");
        assert_eq!(LedgerState::read(&state.text()), state);
    }

    #[test]
    fn a_line_with_another_byte_is_skipped() {
        for line in lines() {
            let text = line.text();
            assert_eq!(LedgerLine::read(text.trim_end()), Some(line));
            for n in 0..text.len() - 1 {
                let mut bytes = text.clone().into_bytes();
                bytes[n] ^= 1;
                let changed = String::from_utf8(bytes).unwrap();
                assert_eq!(LedgerLine::read(changed.trim_end_matches('\n')), None, "byte {n}");
            }
        }
    }
}
