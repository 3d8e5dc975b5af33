//! The channel was opened again: everything in it, its counts and positions, judged at once.

use super::{Kind, Oracle, Place, Standing};
use crate::base::quantity::Quantity;
use crate::torture::note::{Span, spans_of};
use crate::torture::shape::{PutName, Shape};
use std::collections::{BTreeMap, BTreeSet};

/// What an opening has shown so far.
#[derive(Debug, Default)]
pub(super) struct Opening {
    counted: u64,
    quarantined: u64,
    out_of_reach: u64,
    positions: BTreeMap<u32, Option<u64>>,
    contents: Vec<Span>,
}

type There = BTreeSet<(PutName, u32)>;

impl Opening {
    pub(super) fn begun(counted: u64, quarantined: u64, out_of_reach: u64) -> Self {
        Self { counted, quarantined, out_of_reach, ..Self::default() }
    }

    pub(super) fn position(&mut self, writer: u32, at: Option<u64>) {
        self.positions.insert(writer, at);
    }

    pub(super) fn contents(&mut self, spans: Vec<Span>) {
        self.contents.extend(spans);
    }
}

impl Oracle {
    /// Judges what the opening showed and settles what was in doubt.
    pub(super) fn judge_opening(&mut self) {
        let opening = std::mem::take(&mut self.opening);
        let mut there = There::new();
        for span in &opening.contents {
            for index in span.from..span.to {
                if !there.insert((span.put, index)) {
                    let words = format!("event {}.{index} is there twice", span.put);
                    self.findings.add(Kind::Doubled, words);
                }
            }
        }
        self.judge_counts(&opening);
        self.settle_takes(&there);
        there.iter().for_each(|(name, index)| self.judge_present(*name, *index));
        self.check_together(&opening.contents);
        self.check_order(&opening.contents);
        self.settle_puts(&there);
        for (writer, at) in &opening.positions {
            self.judge_position(*writer, *at);
        }
        self.counts.judged_openings += 1;
    }

    fn judge_counts(&mut self, opening: &Opening) {
        let listed: u64 = opening.contents.iter().map(|s| u64::from(s.to - s.from)).sum();
        if listed != opening.counted {
            let counted = opening.counted;
            let words =
                format!("the channel counts {} and delivers {listed}", Quantity(counted, "event"));
            self.findings.add(Kind::Count, words);
        }
        if opening.quarantined > 0 {
            let events = Quantity(opening.quarantined, "event");
            let words = format!("{events} {} set aside as damaged", events.was());
            self.findings.add(Kind::Damaged, words);
        }
        if opening.out_of_reach > 0 {
            let events = Quantity(opening.out_of_reach, "event");
            let words = format!("{events} on a disk that fails; look at the system log");
            self.findings.add(Kind::Failed, words);
        }
    }

    /// Of each acknowledgement in doubt all or nothing is back.
    fn settle_takes(&mut self, there: &There) {
        for doubt in std::mem::take(&mut self.doubts) {
            let place = Place::MayBeTaken(doubt.number);
            let mut open = Vec::new();
            for span in &doubt.events {
                let Some(put) = self.live(span.put) else { continue };
                let held = |index: &u32| put.places[*index as usize] == place;
                open.extend((span.from..span.to).filter(held).map(|index| (span.put, index)));
            }
            let back = open.iter().filter(|event| there.contains(event)).count();
            if back != 0 && back != open.len() {
                let words = format!(
                    "of an acknowledgement of {} events in doubt {back} are back, among them {}",
                    open.len(),
                    open.iter()
                        .find(|e| there.contains(e))
                        .map_or_else(String::new, |(p, i)| format!("{p}.{i}"))
                );
                self.findings.add(Kind::Halved, words);
            }
            match back {
                0 if open.is_empty() => {}
                0 => self.counts.doubt_taken += 1,
                _ => self.counts.doubt_returned += 1,
            }
            for (name, index) in open {
                let is_back = there.contains(&(name, index));
                let Some(put) = self.live(name) else { continue };
                put.places[index as usize] = if is_back { Place::Waiting } else { Place::Taken };
                self.retire(name);
            }
        }
    }

    fn judge_present(&mut self, name: PutName, index: u32) {
        if let Err((kind, words)) = self.known(name, index) {
            return self.findings.add(kind, words);
        }
        let taken = self.live(name).is_some_and(|put| put.places[index as usize] == Place::Taken);
        if taken {
            let words = format!("event {name}.{index} comes back after it was acknowledged");
            self.findings.add(Kind::Doubled, words);
        }
    }

    /// Events of one transaction stand together, in order.
    fn check_together(&mut self, contents: &[Span]) {
        let mut last: Option<Span> = None;
        let mut seen = BTreeSet::new();
        for span in contents {
            let follows = last.is_some_and(|l| l.put == span.put);
            if follows && last.is_some_and(|l| l.to > span.from) {
                let words = format!("events of put {} are out of order", span.put);
                self.findings.add(Kind::Disordered, words);
            } else if !follows && !seen.insert(span.put) {
                let words = format!("events of put {} do not stand together", span.put);
                self.findings.add(Kind::Disordered, words);
            }
            last = Some(*span);
        }
    }

    fn settle_puts(&mut self, there: &There) {
        let now = self.now;
        let mut absent = Vec::new();
        for (writer, known) in &mut self.writers {
            for (number, put) in &mut known.live {
                let name = PutName { writer: *writer, number: *number };
                let missing: Vec<u32> = (0..put.places.len() as u32)
                    .filter(|i| put.places[*i as usize] == Place::Waiting)
                    .filter(|i| !there.contains(&(name, *i)))
                    .collect();
                if put.standing == Standing::Doubt {
                    if missing.len() == put.places.len() {
                        absent.push((name, put.places.is_empty()));
                        continue;
                    }
                    self.counts.doubt_there += 1;
                    if !missing.is_empty() {
                        let words = format!(
                            "put {name} was in doubt and is there in part: {} of {} events are missing",
                            missing.len(),
                            put.places.len()
                        );
                        self.findings.add(Kind::Halved, words);
                    }
                } else {
                    for span in spans_of(missing.iter().map(|index| (name, *index))) {
                        let (events, of) = (u64::from(span.to - span.from), put.places.len());
                        let words = format!(
                            "put {name} was acknowledged, and of its {of} events {} to {} are not there",
                            span.from,
                            span.to - 1
                        );
                        self.findings.add_events(Kind::Lost, events, words);
                    }
                }
                put.standing = Standing::There;
                put.there_since.get_or_insert(now);
            }
        }
        for (name, position_alone) in absent {
            // Whether a position alone is there, the position itself says.
            if !position_alone {
                self.counts.doubt_absent += 1;
                self.never(name);
            }
        }
    }

    fn judge_position(&mut self, writer: u32, found: Option<u64>) {
        let (seed, announced) = (self.seed, self.announced);
        let known = self.writers.entry(writer).or_default();
        let certain = known.position;
        let words = |number: Option<u64>| number.map_or("none".to_owned(), |n| n.to_string());
        let behind = known.live.iter().rev().find(|(number, put)| {
            put.position && put.standing == Standing::There && Some(**number) > found
        });
        if let Some(number) = behind.map(|(n, _)| *n).max(certain).filter(|n| Some(*n) > found) {
            let found = words(found);
            let words = format!(
                "writer {writer} is at {found}, after put {number}, which was acknowledged or is there"
            );
            self.findings.add(Kind::Position, words);
        }
        if let Some(at) = found.filter(|_| found > certain) {
            let name = PutName { writer, number: at };
            let shape = Shape::of(seed, name);
            let asked = known.live.contains_key(&at) || known.over.contains(at);
            let unheard = !announced && at >= known.next && !shape.rolled_back;
            if !shape.position || !(asked || unheard) {
                let words = format!("writer {writer} is at {at}, and put {name} is not there");
                self.findings.add(Kind::Position, words);
            }
            known.next = known.next.max(at.saturating_add(1));
        }
        known.position = known.position.max(found);
        // Positions alone that were in doubt are settled by this.
        let alone: Vec<u64> =
            known.live.iter().filter(|(_, put)| put.places.is_empty()).map(|(n, _)| *n).collect();
        for number in alone {
            known.live.remove(&number);
            known.over.insert(number, number.saturating_add(1));
        }
    }
}
