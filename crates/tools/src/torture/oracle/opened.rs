//! The check of an opening: the whole contents, counts and source offsets of the channel at once.

use super::findings::ViolationKind;
use super::opening_check::OpeningCheck;
use super::state::Oracle;
use crate::torture::note::{EventSpan, spans_of};
use crate::torture::transaction_shape::{PutName, TransactionShape};
use millpond::internal::base::quantity::Quantity;
use millpond_sim::oracle::{Adjacency, EventState, Misplaced, PutState, Settled, TakeOutcome};
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
        for take in std::mem::take(&mut self.doubts) {
            let state = EventState::MayBeTaken(take.id);
            let mut open = Vec::new();
            for span in &take.events {
                let Some(put) = self.open_put(span.put) else { continue };
                let held = |index: &u32| put.record.events[*index as usize] == state;
                open.extend((span.from..span.to).filter(held).map(|index| (span.put, index)));
            }
            let back = open.iter().filter(|event| there.contains(event)).count();
            let outcome = TakeOutcome::of(back, open.len());
            if outcome == TakeOutcome::InPart {
                let first = open.iter().find(|event| there.contains(event));
                let words = format!(
                    "of an acknowledgement of {} events in doubt {back} are back, among them {}",
                    open.len(),
                    first.map_or_else(String::new, |(put, index)| format!("{put}.{index}"))
                );
                self.findings.add(ViolationKind::Halved, words);
            }
            match outcome {
                TakeOutcome::Taken if open.is_empty() => {}
                TakeOutcome::Taken => self.counts.doubt_taken += 1,
                TakeOutcome::NotTaken | TakeOutcome::InPart => self.counts.doubt_returned += 1,
            }
            for (name, index) in open {
                let is_back = there.contains(&(name, index));
                let Some(put) = self.open_put(name) else { continue };
                put.record.events[index as usize] =
                    if is_back { EventState::Waiting } else { EventState::Taken };
                self.retire(name);
            }
        }
    }

    fn judge_present(&mut self, name: PutName, index: u32) {
        if let Err((kind, words)) = self.known(name, index) {
            return self.findings.add(kind, words);
        }
        let taken = self
            .open_put(name)
            .is_some_and(|put| put.record.events[index as usize] == EventState::Taken);
        if taken {
            let words = format!("event {name}.{index} comes back after it was acknowledged");
            self.findings.add(ViolationKind::Doubled, words);
        }
    }

    /// Checks that events of one transaction are adjacent and in order.
    fn check_together(&mut self, contents: &[EventSpan]) {
        let mut adjacency = Adjacency::new();
        for span in contents {
            let words = match adjacency.push(span.put, span.from as usize, span.to as usize) {
                Ok(()) => continue,
                Err(Misplaced::OutOfOrder) => {
                    format!("events of put {} are out of order", span.put)
                }
                Err(Misplaced::Apart) => {
                    format!("events of put {} do not stand together", span.put)
                }
            };
            self.findings.add(ViolationKind::Disordered, words);
        }
    }

    fn settle_puts(&mut self, there: &PresentEvents) {
        let now = self.now;
        let mut absent = Vec::new();
        for (writer, known) in &mut self.writers {
            for (number, put) in &mut known.live {
                let name = PutName { writer: *writer, number: *number };
                let of = put.record.events.len();
                match put.record.resolve(|index| there.contains(&(name, index as u32)), now) {
                    Settled::Unchanged => {}
                    Settled::FoundAbsent => absent.push((name, of == 0)),
                    Settled::Committed { was_in_doubt: true, missing } => {
                        self.counts.doubt_there += 1;
                        if !missing.is_empty() {
                            let words = format!(
                                "put {name} was in doubt and is there in part: {} of {of} events are missing",
                                missing.len()
                            );
                            self.findings.add(ViolationKind::Halved, words);
                        }
                    }
                    Settled::Committed { was_in_doubt: false, missing } => {
                        let missing = missing.iter().map(|index| (name, *index as u32));
                        for span in spans_of(missing) {
                            let words = format!(
                                "put {name} was acknowledged, and of its {of} events {} to {} are not there",
                                span.from,
                                span.to - 1
                            );
                            let events = u64::from(span.to - span.from);
                            self.findings.add_events(ViolationKind::Lost, events, words);
                        }
                    }
                }
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
            put.position && put.record.state == PutState::Committed && Some(**number) > found
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
        let alone: Vec<u64> = known
            .live
            .iter()
            .filter(|(_, put)| put.record.events.is_empty())
            .map(|(n, _)| *n)
            .collect();
        for number in alone {
            known.live.remove(&number);
            known.over.insert(number, number.saturating_add(1));
        }
    }
}
