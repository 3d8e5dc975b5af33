//! The oracle: what is known of every event, and what a correct channel may therefore show.
//!
//! The oracle reads the notes of one run after the other and finds violations: an event that was
//! acknowledged and is lost, that comes back, is altered, out of order or never put; a transaction
//! in part; counts and source offsets that do not fit. A request that had not returned when a run
//! ended is in doubt: it may have happened, whole. The next opening settles it.
//!
//! Memory holds the transactions that are open, waiting or in doubt; of all others one range.

mod findings;
mod opened;
mod opening_check;
mod state;
#[cfg(test)]
mod tests;

pub(super) use findings::OracleFindings;
pub use findings::ViolationKind;

use super::note::{EventSpan, Note, RefusedPut, SelfReportedError};
use super::transaction_shape::{PutName, TransactionShape};
use millpond_sim::oracle::{CommitResult, EventState, LeaseConflict, PutRecord, TakeId};
use opening_check::OpeningCheck;
pub use state::EventCounts;
pub(super) use state::Oracle;
use state::{OpenPut, OpenTake};
use std::collections::BTreeMap;

impl Oracle {
    /// Returns an oracle without knowledge. With `announced`, no put can have been requested
    /// without a note.
    pub(super) fn new(seed: u64, announced: bool) -> Self {
        Self {
            seed,
            announced,
            now: 0,
            writers: BTreeMap::new(),
            leased: BTreeMap::new(),
            asked: BTreeMap::new(),
            doubts: Vec::new(),
            takes: 0,
            opening: OpeningCheck::default(),
            counts: EventCounts::default(),
            findings: OracleFindings::default(),
        }
    }

    /// Returns the first number of `writer` that was never requested.
    pub(super) fn next(&self, writer: u32) -> u64 {
        self.writers.get(&writer).map_or(0, |w| w.next)
    }

    /// Returns the events that are certainly present and not acknowledged.
    pub(super) fn waiting(&self) -> u64 {
        let puts = self.writers.values().flat_map(|w| w.live.values());
        puts.map(|put| put.record.held()).sum()
    }

    /// Reads the next note.
    pub(super) fn hear(&mut self, note: Note) {
        self.now += 1;
        match note {
            Note::Opened { events, quarantined, out_of_reach, .. } => {
                self.opening = OpeningCheck::begun(events, quarantined, out_of_reach);
            }
            Note::Position { writer, at } => self.opening.position(writer, at),
            Note::Contents(spans) => self.opening.contents(spans),
            Note::ContentsEnd => self.judge_opening(),
            Note::PutAsked(put) => self.put_asked(put),
            Note::PutDone(put) => self.put_done(put),
            Note::PutRefused(put, why) => self.put_refused(put, why),
            Note::PutInDoubt(put) => self.put_in_doubt(put),
            Note::Lent { taker, events } => self.events_lent(taker, events),
            Note::HandedBack(taker) => self.handed_back(taker),
            Note::TakeAsked(taker) => self.take_asked(taker),
            Note::TakeDone(taker) => self.take_done(taker),
            Note::TakeRefused(taker) => {
                self.counts.refused_takes += 1;
                if let Some(take) = self.asked.remove(&taker) {
                    let from = EventState::MayBeTaken(take.id);
                    self.place(&take.events, from, EventState::Waiting);
                }
            }
            Note::TakeInDoubt(taker) => self.doubts.extend(self.asked.remove(&taker)),
            Note::Wrong(wrong, words) => {
                let kind = match wrong {
                    SelfReportedError::Altered => ViolationKind::Altered,
                    SelfReportedError::Foreign => ViolationKind::Foreign,
                    SelfReportedError::Failed => ViolationKind::Failed,
                };
                self.findings.add(kind, words);
            }
            Note::Dying { .. } | Note::Closed | Note::Heeded | Note::Alive => {}
        }
    }

    /// Notes that the process ended: nothing is lent, and pending requests are in doubt.
    pub(super) fn process_died(&mut self) {
        self.leased.clear();
        let asked = std::mem::take(&mut self.asked);
        self.doubts.extend(asked.into_values());
        let puts = self.writers.values_mut().flat_map(|w| w.live.values_mut());
        puts.for_each(|put| put.record.process_died());
        self.opening = OpeningCheck::default();
    }

    fn put_asked(&mut self, name: PutName) {
        let shape = TransactionShape::of(self.seed, name);
        let writer = self.writers.entry(name.writer).or_default();
        if name.number < writer.next {
            let words = format!("the notes ask for put {name} twice: they are not of one run");
            return self.findings.add(ViolationKind::Count, words);
        }
        writer.next = name.number.saturating_add(1);
        writer.live.insert(name.number, OpenPut::new(&shape, self.now));
    }

    fn put_done(&mut self, name: PutName) {
        let now = self.now;
        if let Some(put) = self.open_put(name) {
            // Cannot fail: only a refusal can contradict what is known.
            let _ = put.record.commit_returned(CommitResult::Committed, now);
        } else if !self.writers.get(&name.writer).is_some_and(|w| w.over.contains(name.number)) {
            // It was never requested. One that is over was taken before its writer could write
            // this.
            return;
        }
        let shape = TransactionShape::of(self.seed, name);
        self.counts.put_transactions += 1;
        self.counts.put_acknowledged += u64::from(shape.events);
        if shape.position {
            let writer = self.writers.entry(name.writer).or_default();
            writer.position = writer.position.max(Some(name.number));
        }
        self.retire(name);
    }

    fn put_refused(&mut self, name: PutName, why: RefusedPut) {
        match why {
            RefusedPut::Full => self.counts.refused_full += 1,
            RefusedPut::Space => self.counts.refused_space += 1,
            RefusedPut::Other => self.counts.refused_other += 1,
        }
        let now = self.now;
        let Some(put) = self.open_put(name) else { return };
        if put.record.commit_returned(CommitResult::Refused, now).is_err() {
            let words = format!("put {name} was refused, and its events had been delivered");
            return self.findings.add(ViolationKind::Foreign, words);
        }
        self.never(name);
    }

    fn put_in_doubt(&mut self, name: PutName) {
        let now = self.now;
        if let Some(put) = self.open_put(name) {
            // Cannot fail: only a refusal can contradict what is known.
            let _ = put.record.commit_returned(CommitResult::InDoubt, now);
        }
    }

    fn events_lent(&mut self, taker: u32, events: Vec<EventSpan>) {
        let mut take = self.leased.remove(&taker).unwrap_or_else(|| {
            self.takes += 1;
            OpenTake { id: self.takes, events: Vec::new() }
        });
        for span in &events {
            for index in span.from..span.to {
                self.event_lent(take.id, span.put, index);
            }
        }
        self.check_order(&events);
        take.events.extend(events);
        self.leased.insert(taker, take);
    }

    fn event_lent(&mut self, take: TakeId, name: PutName, index: u32) {
        if let Err((kind, words)) = self.known(name, index) {
            return self.findings.add(kind, words);
        }
        let Some(put) = self.open_put(name) else { return };
        // `known` has refused those of an absent transaction.
        let _ = put.record.seen();
        match put.record.lease(index as usize, take) {
            Ok(()) => return,
            // Its acknowledgement was refused or fenced; that note has not arrived yet.
            Err(LeaseConflict::MayBeTaken(other)) => self.give_back(other),
            Err(LeaseConflict::LeasedTo(other)) => {
                let words = format!("event {name}.{index} is leased to takes {other} and {take}");
                self.findings.add(ViolationKind::Doubled, words);
            }
            Err(LeaseConflict::Taken | LeaseConflict::Lost) => {
                let words = format!("event {name}.{index} comes back after it was acknowledged");
                self.findings.add(ViolationKind::Doubled, words);
            }
        }
        if let Some(put) = self.open_put(name) {
            put.record.events[index as usize] = EventState::Leased(take);
        }
    }

    /// Checks whether there may be such an event at all; where notes may be missing, it is then
    /// entered.
    fn known(&mut self, name: PutName, index: u32) -> Result<(), (ViolationKind, String)> {
        let shape = TransactionShape::of(self.seed, name);
        let foreign =
            |why: &str| Err((ViolationKind::Foreign, format!("event {name}.{index} {why}")));
        if index >= shape.events || shape.rolled_back {
            return foreign("was never committed");
        }
        let (now, announced) = (self.now, self.announced);
        let writer = self.writers.entry(name.writer).or_default();
        if writer.live.contains_key(&name.number) {
            return Ok(());
        }
        if writer.over.contains(name.number) {
            let words = format!("event {name}.{index} comes back after it was acknowledged");
            return Err((ViolationKind::Doubled, words));
        }
        if writer.never.contains(name.number) {
            return foreign("belongs to a put that was refused or found absent");
        }
        if announced || name.number < writer.next {
            return foreign("belongs to a put that was never requested");
        }
        writer.next = name.number + 1;
        let mut put = OpenPut::new(&shape, now);
        // It was requested by a process that is dead.
        put.record.process_died();
        writer.live.insert(name.number, put);
        Ok(())
    }

    fn handed_back(&mut self, taker: u32) {
        if let Some(take) = self.leased.remove(&taker) {
            self.place(&take.events, EventState::Leased(take.id), EventState::Waiting);
        }
    }

    fn take_asked(&mut self, taker: u32) {
        let Some(take) = self.leased.remove(&taker) else { return };
        self.place(&take.events, EventState::Leased(take.id), EventState::MayBeTaken(take.id));
        self.asked.insert(taker, take);
    }

    fn take_done(&mut self, taker: u32) {
        let Some(take) = self.asked.remove(&taker) else { return };
        let count: u64 = take.events.iter().map(|span| u64::from(span.to - span.from)).sum();
        let placed = self.place(&take.events, EventState::MayBeTaken(take.id), EventState::Taken);
        if placed < count {
            let words = format!(
                "taker {taker} acknowledged {count} events, {} of which were leased to another \
                 taker meanwhile",
                count - placed
            );
            self.findings.add(ViolationKind::Doubled, words);
        }
        self.counts.taken_acknowledged += count;
        for span in &take.events {
            self.retire(span.put);
        }
    }

    /// Notes an acknowledgement that did not happen.
    fn give_back(&mut self, take: TakeId) {
        let all = self.asked.values().chain(&self.doubts);
        let events: Vec<EventSpan> =
            all.filter(|other| other.id == take).flat_map(|other| other.events.clone()).collect();
        self.place(&events, EventState::MayBeTaken(take), EventState::Waiting);
    }

    /// Moves those of `events` that are at `from` on to `to`, and returns how many were.
    fn place(&mut self, events: &[EventSpan], from: EventState, to: EventState) -> u64 {
        let mut placed = 0;
        for span in events {
            let Some(put) = self.open_put(span.put) else { continue };
            let Some(places) = put.record.events.get_mut(span.from as usize..span.to as usize)
            else {
                let words = format!(
                    "the notes name events {span} that the put does not have: they are not of one run"
                );
                self.findings.add(ViolationKind::Count, words);
                continue;
            };
            for place in places {
                if *place == from {
                    *place = to;
                    placed += 1;
                }
            }
        }
        placed
    }

    /// Checks that a put that committed before another was requested comes first.
    fn check_order(&mut self, events: &[EventSpan]) {
        let mut latest: Option<(&PutRecord, PutName)> = None;
        let mut late = Vec::new();
        for span in events {
            let writer = self.writers.get(&span.put.writer);
            let Some(put) = writer.and_then(|w| w.live.get(&span.put.number)) else { continue };
            if let Some((later, before)) = latest
                && before != span.put
                && put.record.precedes(later)
            {
                late.push(format!(
                    "put {before} overtakes put {}, whose commit had returned before the other's began",
                    span.put
                ));
            }
            if latest.is_none_or(|(later, _)| later.requested() < put.record.requested()) {
                latest = Some((&put.record, span.put));
            }
        }
        late.into_iter().for_each(|words| self.findings.add(ViolationKind::Disordered, words));
    }

    fn open_put(&mut self, name: PutName) -> Option<&mut OpenPut> {
        self.writers.get_mut(&name.writer)?.live.get_mut(&name.number)
    }

    fn never(&mut self, name: PutName) {
        let writer = self.writers.entry(name.writer).or_default();
        writer.live.remove(&name.number);
        writer.never.insert(name.number, name.number + 1);
    }

    /// Forgets a put of which every event is acknowledged.
    fn retire(&mut self, name: PutName) {
        let Some(writer) = self.writers.get_mut(&name.writer) else { return };
        let over = writer.live.get(&name.number).is_some_and(|put| put.record.is_over());
        if over {
            writer.live.remove(&name.number);
            writer.over.insert(name.number, name.number + 1);
        }
    }
}
