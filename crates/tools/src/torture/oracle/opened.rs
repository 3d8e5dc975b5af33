//! The check of an opening: the whole contents, counts and source offsets of the channel at once.

use super::findings::ViolationKind;
use super::opening_check::OpeningCheck;
use super::state::{EventState, Oracle, PutState};
use crate::torture::note::{EventSpan, spans_of};
use crate::torture::transaction_shape::{PutName, TransactionShape};
use millpond::internal::base::quantity::Quantity;
use std::collections::BTreeSet;

type PresentEvents = BTreeSet<(PutName, u32)>;

impl Oracle {
    /// Judges what the opening showed and settles what was in doubt.
    pub(super) fn judge_opening(&mut self) {
        let opening = std::mem::take(&mut self.opening);
        let mut there = PresentEvents::new();
        for span in &opening.contents {
            for index in span.from..span.to {
                if !there.insert((span.put, index)) {
                    let words = format!("event {}.{index} is there twice", span.put);
                    self.findings.add(ViolationKind::Doubled, words);
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

    fn judge_counts(&mut self, opening: &OpeningCheck) {
        let listed: u64 = opening.contents.iter().map(|s| u64::from(s.to - s.from)).sum();
        if listed != opening.counted {
            let counted = opening.counted;
            let words =
                format!("the channel counts {} and delivers {listed}", Quantity(counted, "event"));
            self.findings.add(ViolationKind::Count, words);
        }
        if opening.quarantined > 0 {
            let events = Quantity(opening.quarantined, "event");
            let words = format!("{events} {} set aside as damaged", events.was());
            self.findings.add(ViolationKind::Damaged, words);
        }
        if opening.out_of_reach > 0 {
            let events = Quantity(opening.out_of_reach, "event");
            let words = format!("{events} on a disk that fails; check the system log");
            self.findings.add(ViolationKind::Failed, words);
        }
    }

    /// Checks that of each acknowledgement in doubt all or nothing is back.
    fn settle_takes(&mut self, there: &PresentEvents) {
        for doubt in std::mem::take(&mut self.doubts) {
            let place = EventState::MayBeTaken(doubt.number);
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
                self.findings.add(ViolationKind::Halved, words);
            }
            match back {
                0 if open.is_empty() => {}
                0 => self.counts.doubt_taken += 1,
                _ => self.counts.doubt_returned += 1,
            }
            for (name, index) in open {
                let is_back = there.contains(&(name, index));
                let Some(put) = self.live(name) else { continue };
                put.places[index as usize] =
                    if is_back { EventState::Waiting } else { EventState::Taken };
                self.retire(name);
            }
        }
    }

    fn judge_present(&mut self, name: PutName, index: u32) {
        if let Err((kind, words)) = self.known(name, index) {
            return self.findings.add(kind, words);
        }
        let taken =
            self.live(name).is_some_and(|put| put.places[index as usize] == EventState::Taken);
        if taken {
            let words = format!("event {name}.{index} comes back after it was acknowledged");
            self.findings.add(ViolationKind::Doubled, words);
        }
    }

    /// Checks that events of one transaction are adjacent and in order.
    fn check_together(&mut self, contents: &[EventSpan]) {
        let mut last: Option<EventSpan> = None;
        let mut seen = BTreeSet::new();
        for span in contents {
            let follows = last.is_some_and(|l| l.put == span.put);
            if follows && last.is_some_and(|l| l.to > span.from) {
                let words = format!("events of put {} are out of order", span.put);
                self.findings.add(ViolationKind::Disordered, words);
            } else if !follows && !seen.insert(span.put) {
                let words = format!("events of put {} do not stand together", span.put);
                self.findings.add(ViolationKind::Disordered, words);
            }
            last = Some(*span);
        }
    }

    fn settle_puts(&mut self, there: &PresentEvents) {
        let now = self.now;
        let mut absent = Vec::new();
        for (writer, known) in &mut self.writers {
            for (number, put) in &mut known.live {
                let name = PutName { writer: *writer, number: *number };
                let missing: Vec<u32> = (0..put.places.len() as u32)
                    .filter(|i| put.places[*i as usize] == EventState::Waiting)
                    .filter(|i| !there.contains(&(name, *i)))
                    .collect();
                if put.standing == PutState::Doubt {
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
                        self.findings.add(ViolationKind::Halved, words);
                    }
                } else {
                    for span in spans_of(missing.iter().map(|index| (name, *index))) {
                        let (events, of) = (u64::from(span.to - span.from), put.places.len());
                        let words = format!(
                            "put {name} was acknowledged, and of its {of} events {} to {} are not there",
                            span.from,
                            span.to - 1
                        );
                        self.findings.add_events(ViolationKind::Lost, events, words);
                    }
                }
                put.standing = PutState::There;
                put.there_since.get_or_insert(now);
            }
        }
        for (name, position_alone) in absent {
            // A transaction of a source offset alone is checked by the source offset itself.
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
            put.position && put.standing == PutState::There && Some(**number) > found
        });
        if let Some(number) = behind.map(|(n, _)| *n).max(certain).filter(|n| Some(*n) > found) {
            let found = words(found);
            let words = format!(
                "writer {writer} is at {found}, after put {number}, which was acknowledged or is there"
            );
            self.findings.add(ViolationKind::Position, words);
        }
        if let Some(at) = found.filter(|_| found > certain) {
            let name = PutName { writer, number: at };
            let shape = TransactionShape::of(seed, name);
            let asked = known.live.contains_key(&at) || known.over.contains(at);
            let unheard = !announced && at >= known.next && !shape.rolled_back;
            if !shape.position || !(asked || unheard) {
                let words = format!("writer {writer} is at {at}, and put {name} is not there");
                self.findings.add(ViolationKind::Position, words);
            }
            known.next = known.next.max(at.saturating_add(1));
        }
        known.position = known.position.max(found);
        // Transactions of source offsets alone that were in doubt are settled by this.
        let alone: Vec<u64> =
            known.live.iter().filter(|(_, put)| put.places.is_empty()).map(|(n, _)| *n).collect();
        for number in alone {
            known.live.remove(&number);
            known.over.insert(number, number.saturating_add(1));
        }
    }
}
