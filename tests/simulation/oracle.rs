//! What a user knows, and what a correct channel may therefore show.
//!
//! Every event is unique and names the transaction that put it. The oracle remembers all requests and results, and
//! judges every delivery, every reopened channel and every count.

use crate::split_members::Parting;
use bytes::Bytes;
use millpond::Event;
use millpond_sim::oracle::{Adjacency, LeaseConflict, PutRecord, Settled, TakeOutcome};
pub(crate) use millpond_sim::oracle::{CommitResult, EventState, PutState, TakeId};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// A put transaction, by index in [`Oracle::puts`].
pub(crate) type PutId = usize;

/// A put transaction.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Put {
    pub(crate) record: PutRecord,
    /// When its source got the refusal.
    refused_at: Option<u64>,
    size: usize,
    source: Option<usize>,
}

/// A take transaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Take {
    events: Vec<(PutId, usize)>,
}

/// Everything a user knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Oracle {
    now: u64,
    pub(crate) puts: Vec<Put>,
    takes: Vec<Take>,
    /// Per source, its transactions in the order in which they were asked for.
    sources: BTreeMap<usize, Vec<PutId>>,
    /// Rot may have cost events and, unless [`Self::remembers`], acknowledgements and positions.
    pub(crate) rotten: bool,
    /// Every acknowledgement and position is in more state records than rot has hit: a clean stop writes them into
    /// every checkpoint.
    pub(crate) remembers: bool,
    /// Events in rotted blocks: nothing else may be lost.
    pub(crate) hit: BTreeSet<(PutId, usize)>,
    /// Events that came back after a take that had succeeded, or may have: rot destroyed the record of it. The opening
    /// that knew of it may have recycled their segment, in a write that lands only now.
    pub(crate) returned: BTreeSet<(PutId, usize)>,
    /// Events found lost to rot.
    pub(crate) lost: u64,
    /// Events of transactions in doubt that did not appear after rot, which may be the cause.
    pub(crate) perhaps_lost: u64,
    /// The excuses for missing directories.
    pub(crate) parting: Parting,
    /// Transactions that were in doubt at this opening, and of which no event came.
    vanished: BTreeSet<PutId>,
    /// Those of them, also of earlier openings, whose events rot may have destroyed.
    faded: BTreeSet<PutId>,
    /// Per stripe, the highest frontier seen.
    frontiers: Vec<u64>,
}

type Verdict = Result<(), String>;

/// Returns the event at `index` of transaction `put`.
pub(crate) fn event(put: PutId, index: usize, size: usize) -> Event {
    let mut body = format!("{put}.{index};").into_bytes();
    let mut x = (put as u64) << 20 | index as u64 | 1 << 60;
    while body.len() < size {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        body.push((x >> 56) as u8);
    }
    let mut event = Event::new(body);
    if (put + index).is_multiple_of(3) {
        event.headers.set("put", put.to_string());
    }
    event
}

/// Returns the name that an event carries.
pub(crate) fn name_of(event: &Event) -> Option<(PutId, usize)> {
    let end = event.body.iter().position(|b| *b == b';')?;
    let text = std::str::from_utf8(&event.body[..end]).ok()?;
    let (put, index) = text.split_once('.')?;
    Some((put.parse().ok()?, index.parse().ok()?))
}

impl Oracle {
    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    /// Begins a put transaction of `count` events of `size` bytes.
    pub(crate) fn begin_put(&mut self, count: usize, size: usize, source: Option<usize>) -> PutId {
        let record = PutRecord::new(count, self.tick());
        let put = Put { record, refused_at: None, size, source };
        self.puts.push(put);
        self.puts.len() - 1
    }

    /// Returns its events.
    pub(crate) fn events(&self, put: PutId) -> Vec<Event> {
        let it = &self.puts[put];
        (0..it.record.events.len()).map(|index| event(put, index, it.size)).collect()
    }

    /// Whether `found` is byte for byte the event of that name.
    pub(crate) fn is_as_put(&self, (put, index): (PutId, usize), found: &Event) -> bool {
        let known = self.puts.get(put).filter(|it| index < it.record.events.len());
        known.is_some_and(|it| *found == event(put, index, it.size))
    }

    /// Returns the bytes of its position.
    pub(crate) fn position(put: PutId) -> Bytes {
        Bytes::from(format!("position {put}"))
    }

    /// Records that its commit is requested.
    pub(crate) fn ask(&mut self, put: PutId) {
        self.puts[put].record.request();
        if let Some(source) = self.puts[put].source {
            self.sources.entry(source).or_default().push(put);
        }
    }

    /// Whether the source has a transaction that is in doubt or, unless it is an `eager` one, open.
    pub(crate) fn source_is_busy(&self, source: usize, eager: bool) -> bool {
        let open = |id: &PutId| match self.puts[*id].record.state {
            PutState::Requested => !eager,
            standing => standing == PutState::InDoubt,
        };
        self.sources.get(&source).is_some_and(|all| all.iter().any(open))
    }

    /// Records the result of its commit.
    pub(crate) fn put_returned(&mut self, put: PutId, result: CommitResult) -> Verdict {
        let now = self.tick();
        if crate::random::verbose() {
            eprintln!("    put {put}: {result:?}");
        }
        let it = &mut self.puts[put];
        if it.record.commit_returned(result, now).is_err() {
            return Err(format!("put {put} was delivered and is refused"));
        }
        if it.record.state == PutState::Absent {
            it.refused_at = Some(now);
        }
        if result == CommitResult::Committed { self.came_in_turn(put) } else { Ok(()) }
    }

    /// Checks that a source's successful commit proves that everything it requested before is there, except for what it
    /// knew to be refused at that time.
    fn came_in_turn(&self, put: PutId) -> Verdict {
        let Some(source) = self.puts[put].source else { return Ok(()) };
        let known = |at: u64| at < self.puts[put].record.requested();
        let passed = |id: &&PutId| match self.puts[**id].record.state {
            PutState::Committed => false,
            PutState::Absent if self.faded.contains(*id) => false,
            PutState::Absent => !self.puts[**id].refused_at.is_some_and(known),
            PutState::Requested | PutState::InDoubt => true,
        };
        let all = self.sources.get(&source).into_iter().flatten();
        match all.take_while(|id| **id != put).find(passed) {
            Some(earlier) => Err(format!("put {put} of source {source} passed its put {earlier}")),
            None => Ok(()),
        }
    }

    /// Begins a take transaction.
    pub(crate) fn begin_take(&mut self) -> TakeId {
        self.takes.push(Take::default());
        self.takes.len() - 1
    }

    /// Judges delivered events. With `ordered`, no stripe was suspended since the channel was opened.
    pub(crate) fn delivered(&mut self, take: TakeId, events: &[Event], ordered: bool) -> Verdict {
        for found in events {
            let Some((put, index)) = name_of(found) else {
                return Err(format!("foreign event {:?}", found.body));
            };
            let Some(it) = self.puts.get(put).filter(|it| index < it.record.events.len()) else {
                return Err(format!("event {put}.{index} was never put"));
            };
            if *found != event(put, index, it.size) {
                return Err(format!("event {put}.{index} is altered"));
            }
            // Void by a record that has rotted since, it counts again: what was in doubt may appear.
            let may_appear = self.may_forget() && self.faded.contains(&put);
            let record = &mut self.puts[put].record;
            if record.seen().is_err() {
                if !may_appear {
                    return Err(format!("event {put}.{index} of no transaction"));
                }
                record.state = PutState::Committed;
            }
            if let Err(conflict) = record.lease(index, take) {
                self.excuse(conflict, (put, index), take)?;
            }
            if ordered {
                self.check_order(put, index)?;
            }
            self.puts[put].record.events[index] = EventState::Leased(take);
            self.takes[take].events.push((put, index));
        }
        Ok(())
    }

    /// Decides whether an event that should not come again may do so.
    fn excuse(&mut self, conflict: LeaseConflict, event: (PutId, usize), take: TakeId) -> Verdict {
        let (put, index) = event;
        match conflict {
            LeaseConflict::LeasedTo(other) => {
                return Err(format!("event {put}.{index} is lent to takes {other} and {take}"));
            }
            LeaseConflict::MayBeTaken(_) if self.parting.degraded => self.note_returned(event),
            LeaseConflict::MayBeTaken(other) => self.return_events(other),
            LeaseConflict::Taken if self.parting.may_return(event) => self.note_returned(event),
            // docs/durability.md, blind spot 2: the only copy of its acknowledgement is gone, or of the record that
            // an older copy of it is void.
            LeaseConflict::Taken | LeaseConflict::Lost if self.may_forget() => {
                self.returned.insert(event);
            }
            LeaseConflict::Taken => {
                return Err(format!("event {put}.{index} comes back after its take"));
            }
            LeaseConflict::Lost => {
                return Err(format!("event {put}.{index} was lost and comes back"));
            }
        }
        Ok(())
    }

    fn check_order(&self, put: PutId, index: usize) -> Verdict {
        let it = &self.puts[put].record;
        if !self.parting.orders(it.requested()) {
            return Ok(());
        }
        if let Some(before) = it.waiting().next().filter(|before| *before < index) {
            return Err(format!("event {put}.{index} comes before {put}.{before}"));
        }
        for (other, earlier) in self.puts.iter().enumerate() {
            if earlier.record.precedes(it)
                && let Some(left) = earlier.record.waiting().next()
            {
                return Err(format!(
                    "event {put}.{index} overtakes {other}.{left}, whose commit had returned before"
                ));
            }
        }
        Ok(())
    }

    /// Records that a take's acknowledgement is requested: from now on it may have happened.
    pub(crate) fn ask_take(&mut self, take: TakeId) {
        self.place(take, EventState::MayBeTaken(take));
    }

    /// Releases a take's events: rolled back or refused.
    pub(crate) fn return_events(&mut self, take: TakeId) {
        self.place(take, EventState::Waiting);
    }

    /// Records that a take was acknowledged.
    pub(crate) fn taken(&mut self, take: TakeId) -> Verdict {
        for (put, index) in self.takes[take].events.clone() {
            let place = &mut self.puts[put].record.events[index];
            if *place != EventState::MayBeTaken(take) {
                return Err(format!("event {put}.{index} was {place:?} while take {take} ended"));
            }
            *place = EventState::Taken;
            self.parting.taken((put, index));
        }
        Ok(())
    }

    fn place(&mut self, take: TakeId, to: EventState) {
        for (put, index) in self.takes[take].events.clone() {
            let place = &mut self.puts[put].record.events[index];
            if matches!(*place, EventState::Leased(t) | EventState::MayBeTaken(t) if t == take) {
                *place = to;
            }
        }
    }

    /// Records the end of the process: nothing is lent, and unfinished requests are in doubt.
    pub(crate) fn process_died(&mut self) {
        for (id, put) in self.puts.iter_mut().enumerate() {
            put.record.process_died();
            for (index, state) in put.record.events.iter().enumerate() {
                // It may be taken, and that may be recorded on some of the disks only.
                if matches!(state, EventState::MayBeTaken(_)) {
                    self.parting.taken((id, index));
                }
            }
        }
    }

    /// Judges a reopened channel with `contents`; settles what was in doubt. `quarantined` events were counted as
    /// damaged.
    pub(crate) fn opened(&mut self, contents: &[Event], quarantined: u64) -> Verdict {
        let there: BTreeSet<(PutId, usize)> = contents.iter().filter_map(name_of).collect();
        if self.parting.degraded {
            return self.opened_degraded(contents, &there, quarantined);
        }
        self.resolve_takes(&there)?;
        self.resolve_returned(&there);
        if self.rotten {
            self.resolve_losses(&there)?;
        }
        let peek = self.begin_take();
        self.delivered(peek, contents, true)?;
        self.contiguous(contents)?;
        self.return_events(peek);
        let now = self.tick();
        for (id, put) in self.puts.iter_mut().enumerate() {
            match put.record.resolve(|index| there.contains(&(id, index)), now) {
                Settled::Unchanged => {}
                Settled::FoundAbsent => {
                    self.vanished.insert(id);
                    if self.rotten {
                        self.perhaps_lost += put.record.events.len() as u64;
                        self.faded.insert(id);
                    }
                }
                Settled::Committed { missing, .. } => {
                    if let Some(index) = missing.first() {
                        return Err(format!("event {id}.{index} is lost"));
                    }
                }
            }
        }
        if !self.rotten && quarantined > 0 {
            return Err(format!("{quarantined} events quarantined without any rot"));
        }
        Ok(())
    }

    /// Checks that of each take in doubt all or nothing is left, except for events that had come back although they
    /// were taken before (that earlier take may be known now), for what only a now missing directory may know, and for
    /// the cost of rot.
    fn resolve_takes(&mut self, there: &BTreeSet<(PutId, usize)>) -> Verdict {
        for take in 0..self.takes.len() {
            let open = |(put, index): &(PutId, usize)| {
                self.puts[*put].record.events[*index] == EventState::MayBeTaken(take)
            };
            let events: Vec<_> = self.takes[take].events.iter().copied().filter(open).collect();
            let excused =
                |e: &(PutId, usize)| self.parting.may_be_taken(*e) || self.parting.may_return(*e);
            let own: Vec<_> = events.iter().filter(|e| !excused(e)).collect();
            let back = own.iter().filter(|e| there.contains(e)).count();
            let in_part = TakeOutcome::of(back, own.len()) == TakeOutcome::InPart;
            if in_part && !self.rotten {
                return Err(format!("{back} of {} events of take {take} are back", own.len()));
            }
            // It was not taken, and the others are lost; or its acknowledgement is lost, but not the record that
            // segments with a part of its events were recycled.
            let lost = in_part && !self.may_forget();
            if self.rotten && !lost {
                self.perhaps_lost += (own.len() - back) as u64;
            }
            for (put, index) in events {
                let back = lost || there.contains(&(put, index));
                if back && self.may_forget() {
                    self.returned.insert((put, index));
                }
                self.puts[put].record.events[index] =
                    if back { EventState::Waiting } else { EventState::Taken };
            }
        }
        Ok(())
    }

    /// Checks that events of one transaction are contiguous.
    pub(crate) fn contiguous(&self, contents: &[Event]) -> Verdict {
        let mut adjacency = Adjacency::new();
        for (put, index) in contents.iter().filter_map(name_of) {
            if let Err(misplaced) = adjacency.push(put, index, index + 1) {
                return Err(format!("event {put}.{index} of its transaction: {misplaced:?}"));
            }
        }
        Ok(())
    }

    /// Judges the position of a source after a reopening. Settles transactions of a position alone.
    pub(crate) fn source_is_at(&mut self, source: usize, found: Option<&Bytes>) -> Verdict {
        let all = self.sources.get(&source).cloned().unwrap_or_default();
        let is_it = |id: &PutId| found.is_some_and(|bytes| *bytes == Self::position(*id));
        let at = match found {
            Some(bytes) => match all.iter().position(is_it) {
                Some(at) => Some(at),
                None => return Err(format!("source {source} is at {bytes:?}, which it never was")),
            },
            None => None,
        };
        if self.parting.degraded {
            return self.source_may_be_at(source, at.map(|at| all[at]));
        }
        let forgets = self.may_forget();
        for (place, id) in all.iter().enumerate() {
            let now = self.tick();
            let put = &mut self.puts[*id].record;
            let behind = at.is_some_and(|at| place <= at) || self.parting.may_be_after(*id);
            match put.state {
                // docs/durability.md, blind spot 2: the only block that had the position is gone, with the rest of its
                // events.
                PutState::Committed if forgets && !put.events.contains(&EventState::Waiting) => {}
                PutState::Committed if !behind => {
                    return Err(format!("source {source} is behind put {id}, which is there"));
                }
                PutState::Absent if at == Some(place) && put.events.is_empty() => {
                    // Settled as absent by its events, of which it has none.
                    put.found(now);
                }
                // After it the source would go on, and never put those events again. Of one without events only its
                // position is known, which a later one replaces: it may have been there, and if not, nothing would have
                // to be put again.
                PutState::Absent
                    if at.is_some_and(|at| place < at)
                        && !put.events.is_empty()
                        && self.vanished.contains(id)
                        && !self.faded.contains(id) =>
                {
                    return Err(format!("source {source} is ahead of put {id}, which is lost"));
                }
                // One in doubt may have been there until rot destroyed its events; a refused one not.
                PutState::Absent if at == Some(place) && !self.faded.contains(id) => {
                    return Err(format!("source {source} is ahead: put {id} is not there"));
                }
                _ => {}
            }
        }
        // Earlier positions no longer count, whichever of them won; except for what rot makes forget.
        if !forgets {
            self.sources.insert(source, at.map(|at| all[at]).into_iter().collect());
        }
        Ok(())
    }

    /// Ends the judgement of an opening: if all directories are there, nothing is excused from now on.
    pub(crate) fn sources_are_judged(&mut self) {
        self.vanished.clear();
        if !self.parting.degraded {
            let now = self.tick();
            self.parting.all_are_together(now);
        }
    }

    /// Returns the sources that ever had a position.
    pub(crate) fn sources(&self) -> Vec<usize> {
        self.sources.keys().copied().collect()
    }

    /// Counts the takes that ever got an event.
    pub(crate) fn deliveries(&self) -> usize {
        self.takes.iter().filter(|take| !take.events.is_empty()).count()
    }

    /// Returns a number for all that an opening is judged by: two users with the same number judge the same channel
    /// alike.
    pub(crate) fn expectation(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.puts, &self.sources, self.rotten, &self.hit, &self.faded, &self.frontiers)
            .hash(&mut hasher);
        hasher.finish()
    }

    /// Checks frontiers: below them everything is durably acknowledged or void, so they only grow, also across
    /// openings.
    pub(crate) fn frontiers_are(&mut self, frontiers: &[u64]) -> Verdict {
        self.frontiers.resize(frontiers.len(), 0);
        let unsure = self.rotten || self.parting.degraded || self.parting.parted;
        for (stripe, (known, now)) in self.frontiers.iter_mut().zip(frontiers).enumerate() {
            if now < known && !unsure {
                return Err(format!("the frontier of stripe {stripe} fell from {known} to {now}"));
            }
            *known = *now;
        }
        Ok(())
    }

    /// Notes that both slots of a directory rot. On a full disk the end of an epoch, and its void range, may be
    /// recorded there alone.
    pub(crate) fn slots_rot(&mut self) {
        self.frontiers.clear();
    }

    /// Counts the events that the channel must count as waiting or lent when nothing is under way.
    pub(crate) fn held(&self) -> u64 {
        self.puts.iter().map(|put| put.record.held()).sum()
    }

    /// Whether nothing is under way or in doubt.
    pub(crate) fn is_certain(&self) -> bool {
        self.puts.iter().all(|put| put.record.is_certain())
    }
}
