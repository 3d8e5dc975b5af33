//! What is known of every event, and what a channel that keeps its word may therefore show.
//!
//! The oracle hears the notes of one life after the other and finds what must not be: an event that
//! was acknowledged and is gone, that comes back, is altered, out of order or of nobody; half a
//! transaction; counts and positions that do not fit. What was asked and not answered when a life
//! ended is in doubt: it may have happened, whole. The next opening settles it.
//!
//! Memory holds the transactions that are open, waiting or in doubt; of all others one range.

mod findings;
mod opened;
#[cfg(test)]
mod tests;

pub(super) use findings::Findings;
pub use findings::Kind;

use super::note::{Note, Span, Why, Wrong};
use super::shape::{PutName, Shape};
use crate::base::ranges::RangeSet;
use opened::Opening;
use serde::Serialize;
use std::collections::BTreeMap;

/// Of a put transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Its commit was asked for.
    Asked,
    /// Its commit returned Ok, or its events were seen.
    There,
    /// It may be there, whole.
    Doubt,
}

/// Of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Waiting,
    /// Lent to a taker.
    Lent(u32),
    /// Its acknowledgement (by number) was asked for and may have happened.
    MayBeTaken(u64),
    Taken,
}

/// A put transaction that is not over.
#[derive(Debug)]
struct Put {
    /// When its commit was asked for.
    asked: u64,
    /// When it was known to be there.
    there_since: Option<u64>,
    standing: Standing,
    places: Vec<Place>,
    position: bool,
}

/// What is known of one writer.
#[derive(Debug, Default)]
struct Writer {
    live: BTreeMap<u64, Put>,
    /// Transactions whose events are all acknowledged as taken.
    over: RangeSet,
    /// Transactions that were refused or found absent.
    never: RangeSet,
    /// The first number that was never asked for.
    next: u64,
    /// The position that is certain.
    position: Option<u64>,
}

/// Events, as they went by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Put transactions whose commit returned Ok.
    pub put_transactions: u64,
    /// Events of those.
    pub put_acknowledged: u64,
    /// Events whose take was acknowledged.
    pub taken_acknowledged: u64,
    /// Put transactions refused because the channel was full.
    pub refused_full: u64,
    /// Put transactions refused for want of space.
    pub refused_space: u64,
    /// Put transactions refused for another reason.
    pub refused_other: u64,
    /// Acknowledgements of takes that were refused.
    pub refused_takes: u64,
    /// Put transactions in doubt that were found there, whole.
    pub doubt_there: u64,
    /// Put transactions in doubt that were found absent.
    pub doubt_absent: u64,
    /// Acknowledgements in doubt that had happened.
    pub doubt_taken: u64,
    /// Acknowledgements in doubt that had not.
    pub doubt_returned: u64,
    /// Openings whose whole contents were judged.
    pub judged_openings: u64,
}

/// An acknowledgement under way or in doubt.
#[derive(Debug)]
struct Doubt {
    number: u64,
    events: Vec<Span>,
}

/// Everything that is known.
#[derive(Debug)]
pub(super) struct Oracle {
    seed: u64,
    /// Whether every put was announced for certain before it was asked for. A power cut may take
    /// the last announcements along; then events of later numbers are in doubt, not foreign.
    announced: bool,
    now: u64,
    writers: BTreeMap<u32, Writer>,
    /// What each taker has.
    lent: BTreeMap<u32, Vec<Span>>,
    /// Each taker's acknowledgement under way.
    asked: BTreeMap<u32, Doubt>,
    doubts: Vec<Doubt>,
    acknowledgements: u64,
    opening: Opening,
    pub(super) counts: Counts,
    pub(super) findings: Findings,
}

impl Oracle {
    /// An oracle that knows nothing yet. With `announced`, no put can have been asked for that it
    /// does not hear of.
    pub(super) fn new(seed: u64, announced: bool) -> Self {
        Self {
            seed,
            announced,
            now: 0,
            writers: BTreeMap::new(),
            lent: BTreeMap::new(),
            asked: BTreeMap::new(),
            doubts: Vec::new(),
            acknowledgements: 0,
            opening: Opening::default(),
            counts: Counts::default(),
            findings: Findings::default(),
        }
    }

    /// The first number of `writer` that was never asked for.
    pub(super) fn next(&self, writer: u32) -> u64 {
        self.writers.get(&writer).map_or(0, |w| w.next)
    }

    /// Events that are there for certain and not acknowledged.
    pub(super) fn waiting(&self) -> u64 {
        let puts = self.writers.values().flat_map(|w| w.live.values());
        let there = puts.filter(|put| put.standing == Standing::There);
        there.map(|put| put.places.iter().filter(|p| **p != Place::Taken).count() as u64).sum()
    }

    /// Hears the next note.
    pub(super) fn hear(&mut self, note: Note) {
        self.now += 1;
        match note {
            Note::Opened { events, quarantined, out_of_reach, .. } => {
                self.opening = Opening::begun(events, quarantined, out_of_reach);
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
                if let Some(doubt) = self.asked.remove(&taker) {
                    self.place(&doubt.events, Place::MayBeTaken(doubt.number), Place::Waiting);
                }
            }
            Note::TakeInDoubt(taker) => self.doubts.extend(self.asked.remove(&taker)),
            Note::Wrong(wrong, words) => {
                let kind = match wrong {
                    Wrong::Altered => Kind::Altered,
                    Wrong::Foreign => Kind::Foreign,
                    Wrong::Failed => Kind::Failed,
                };
                self.findings.add(kind, words);
            }
            Note::Dying { .. } | Note::Closed | Note::Heeded | Note::Alive => {}
        }
    }

    /// The process is gone: nothing is lent, and what was asked for is in doubt.
    pub(super) fn process_died(&mut self) {
        for (taker, events) in std::mem::take(&mut self.lent) {
            self.place(&events, Place::Lent(taker), Place::Waiting);
        }
        let asked = std::mem::take(&mut self.asked);
        self.doubts.extend(asked.into_values());
        let puts = self.writers.values_mut().flat_map(|w| w.live.values_mut());
        puts.filter(|put| put.standing == Standing::Asked)
            .for_each(|put| put.standing = Standing::Doubt);
        self.opening = Opening::default();
    }

    fn put_asked(&mut self, name: PutName) {
        let shape = Shape::of(self.seed, name);
        let writer = self.writers.entry(name.writer).or_default();
        if name.number < writer.next {
            let words = format!("the notes ask for put {name} twice: they are not of one run");
            return self.findings.add(Kind::Count, words);
        }
        writer.next = name.number.saturating_add(1);
        writer.live.insert(name.number, Put::new(&shape, self.now, Standing::Asked));
    }

    fn put_done(&mut self, name: PutName) {
        let now = self.now;
        if let Some(put) = self.live(name) {
            put.standing = Standing::There;
            put.there_since.get_or_insert(now);
        } else if !self.writers.get(&name.writer).is_some_and(|w| w.over.contains(name.number)) {
            // Nobody asked for it. One that is over was taken before its writer could say this.
            return;
        }
        let shape = Shape::of(self.seed, name);
        self.counts.put_transactions += 1;
        self.counts.put_acknowledged += u64::from(shape.events);
        if shape.position {
            let writer = self.writers.entry(name.writer).or_default();
            writer.position = writer.position.max(Some(name.number));
        }
        self.retire(name);
    }

    fn put_refused(&mut self, name: PutName, why: Why) {
        match why {
            Why::Full => self.counts.refused_full += 1,
            Why::Space => self.counts.refused_space += 1,
            Why::Other => self.counts.refused_other += 1,
        }
        let Some(put) = self.live(name) else { return };
        if put.standing == Standing::There {
            let words = format!("put {name} was refused, and its events had been delivered");
            return self.findings.add(Kind::Foreign, words);
        }
        self.never(name);
    }

    fn put_in_doubt(&mut self, name: PutName) {
        if let Some(put) = self.live(name)
            && put.standing == Standing::Asked
        {
            put.standing = Standing::Doubt;
        }
    }

    fn events_lent(&mut self, taker: u32, events: Vec<Span>) {
        for span in &events {
            for index in span.from..span.to {
                self.event_lent(taker, span.put, index);
            }
        }
        self.check_order(&events);
        self.lent.entry(taker).or_default().extend(events);
    }

    fn event_lent(&mut self, taker: u32, name: PutName, index: u32) {
        if let Err((kind, words)) = self.known(name, index) {
            return self.findings.add(kind, words);
        }
        let Some(put) = self.live(name) else { return };
        put.standing = Standing::There;
        match put.places[index as usize] {
            Place::Waiting => {}
            Place::Lent(other) => {
                let words = format!("event {name}.{index} is lent to takers {other} and {taker}");
                self.findings.add(Kind::Doubled, words);
            }
            // Its acknowledgement was refused or fenced; the answer has not been heard yet.
            Place::MayBeTaken(number) => self.give_back(number),
            Place::Taken => {
                let words = format!("event {name}.{index} comes back after it was acknowledged");
                self.findings.add(Kind::Doubled, words);
            }
        }
        if let Some(put) = self.live(name) {
            put.places[index as usize] = Place::Lent(taker);
        }
    }

    /// Whether there may be such an event at all; with announcements that may be missing, it is
    /// entered when there may.
    fn known(&mut self, name: PutName, index: u32) -> Result<(), (Kind, String)> {
        let shape = Shape::of(self.seed, name);
        let foreign = |why: &str| Err((Kind::Foreign, format!("event {name}.{index} {why}")));
        if index >= shape.events || shape.rolled_back {
            return foreign("was never committed by anyone");
        }
        let (now, announced) = (self.now, self.announced);
        let writer = self.writers.entry(name.writer).or_default();
        if writer.live.contains_key(&name.number) {
            return Ok(());
        }
        if writer.over.contains(name.number) {
            let words = format!("event {name}.{index} comes back after it was acknowledged");
            return Err((Kind::Doubled, words));
        }
        if writer.never.contains(name.number) {
            return foreign("belongs to a put that was refused or found absent");
        }
        if announced || name.number < writer.next {
            return foreign("belongs to a put that nobody asked for");
        }
        writer.next = name.number + 1;
        writer.live.insert(name.number, Put::new(&shape, now, Standing::Doubt));
        Ok(())
    }

    fn handed_back(&mut self, taker: u32) {
        if let Some(events) = self.lent.remove(&taker) {
            self.place(&events, Place::Lent(taker), Place::Waiting);
        }
    }

    fn take_asked(&mut self, taker: u32) {
        let Some(events) = self.lent.remove(&taker) else { return };
        self.acknowledgements += 1;
        let number = self.acknowledgements;
        self.place(&events, Place::Lent(taker), Place::MayBeTaken(number));
        self.asked.insert(taker, Doubt { number, events });
    }

    fn take_done(&mut self, taker: u32) {
        let Some(doubt) = self.asked.remove(&taker) else { return };
        let count: u64 = doubt.events.iter().map(|span| u64::from(span.to - span.from)).sum();
        let placed = self.place(&doubt.events, Place::MayBeTaken(doubt.number), Place::Taken);
        if placed < count {
            let words = format!(
                "taker {taker} acknowledged {count} events, {} of which were lent to another \
                 taker meanwhile",
                count - placed
            );
            self.findings.add(Kind::Doubled, words);
        }
        self.counts.taken_acknowledged += count;
        for span in &doubt.events {
            self.retire(span.put);
        }
    }

    /// An acknowledgement that has not happened after all.
    fn give_back(&mut self, number: u64) {
        let all = self.asked.values().chain(&self.doubts);
        let events = all.filter(|d| d.number == number).flat_map(|d| d.events.clone());
        let events: Vec<Span> = events.collect();
        self.place(&events, Place::MayBeTaken(number), Place::Waiting);
    }

    /// Moves those of `events` that are at `from` on to `to`, and answers how many were.
    fn place(&mut self, events: &[Span], from: Place, to: Place) -> u64 {
        let mut placed = 0;
        for span in events {
            let Some(put) = self.live(span.put) else { continue };
            let Some(places) = put.places.get_mut(span.from as usize..span.to as usize) else {
                let words = format!(
                    "the notes name events {span} that the put does not have: they are not of one run"
                );
                self.findings.add(Kind::Count, words);
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

    /// A put that committed before another was asked for comes first.
    fn check_order(&mut self, events: &[Span]) {
        let mut latest: Option<(u64, PutName)> = None;
        let mut late = Vec::new();
        for span in events {
            let Some(put) =
                self.writers.get(&span.put.writer).and_then(|w| w.live.get(&span.put.number))
            else {
                continue;
            };
            if let (Some((asked, before)), Some(since)) = (latest, put.there_since)
                && before != span.put
                && since < asked
            {
                late.push(format!(
                    "put {before} overtakes put {}, whose commit had returned before the other's began",
                    span.put
                ));
            }
            if latest.is_none_or(|(asked, _)| asked < put.asked) {
                latest = Some((put.asked, span.put));
            }
        }
        late.into_iter().for_each(|words| self.findings.add(Kind::Disordered, words));
    }

    fn live(&mut self, name: PutName) -> Option<&mut Put> {
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
        let over = writer.live.get(&name.number).is_some_and(|put| {
            put.standing == Standing::There && put.places.iter().all(|p| *p == Place::Taken)
        });
        if over {
            writer.live.remove(&name.number);
            writer.over.insert(name.number, name.number + 1);
        }
    }
}

impl Put {
    fn new(shape: &Shape, asked: u64, standing: Standing) -> Self {
        Self {
            asked,
            there_since: None,
            standing,
            places: vec![Place::Waiting; shape.events as usize],
            position: shape.position,
        }
    }
}
