//! What a user knows, and what a channel that keeps its word may therefore show.
//!
//! Every event is unique and says which transaction put it. The oracle remembers what was asked
//! and what was answered, and judges every delivery, every reopened channel and every count.

use crate::parting::Parting;
use bytes::Bytes;
use millpond::event::Event;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// A put transaction, by place in [`Oracle::puts`].
pub(crate) type PutId = usize;
/// A take transaction, by place in [`Oracle::takes`].
pub(crate) type TakeId = usize;

/// What is known of a put transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Standing {
    /// Its commit was asked for and not answered yet.
    Asked,
    /// Its commit returned Ok, or its events were seen: it is there for good.
    There,
    /// It was refused, rolled back, or found absent: it never comes.
    Never,
    /// It may be there, whole.
    Doubt,
}

/// Where an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Waiting,
    Lent(TakeId),
    /// Acknowledged, without an answer.
    MayBeTaken(TakeId),
    Taken,
    /// Lost to rot, as allowed.
    Lost,
}

/// A put transaction.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Put {
    begun: u64,
    /// When it was known to be there.
    there_since: Option<u64>,
    /// When its source was told that it is not.
    refused_at: Option<u64>,
    pub(crate) standing: Standing,
    size: usize,
    pub(crate) places: Vec<Place>,
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
    /// Rot may have cost events; and, if it does not [remember](Self::remembers), acknowledgements
    /// and positions.
    pub(crate) rotten: bool,
    /// Every acknowledgement and position was carried on by more records of progress than rot has
    /// hit: a clean stop writes them into every checkpoint.
    pub(crate) remembers: bool,
    /// Events that were in what rotted: nothing else may be lost.
    pub(crate) hit: BTreeSet<(PutId, usize)>,
    /// Events that came back after a take that had ended well, or perhaps had: rot took what said so. The
    /// life that knew it may have used their segment again, in a write that lands only now.
    pub(crate) returned: BTreeSet<(PutId, usize)>,
    /// Events found lost to rot.
    pub(crate) lost: u64,
    /// Events of transactions in doubt that did not turn up after rot: it may have been that.
    pub(crate) perhaps_lost: u64,
    /// What directories that were missing excuse.
    pub(crate) parting: Parting,
    /// Transactions that were in doubt at this opening, and of whose events none came.
    vanished: BTreeSet<PutId>,
    /// Those of them, also of earlier openings, whose events rot may have had.
    faded: BTreeSet<PutId>,
    /// Per stripe, the highest frontier that was seen.
    frontiers: Vec<u64>,
}

type Verdict = Result<(), String>;

/// The event at `index` of transaction `put`.
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

/// What an event says to be.
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

    /// A put transaction of `count` events of `size` bytes begins.
    pub(crate) fn begin_put(&mut self, count: usize, size: usize, source: Option<usize>) -> PutId {
        let put = Put {
            begun: self.tick(),
            there_since: None,
            refused_at: None,
            standing: Standing::Never,
            size,
            places: vec![Place::Waiting; count],
            source,
        };
        self.puts.push(put);
        self.puts.len() - 1
    }

    /// Its events.
    pub(crate) fn events(&self, put: PutId) -> Vec<Event> {
        let it = &self.puts[put];
        (0..it.places.len()).map(|index| event(put, index, it.size)).collect()
    }

    /// Whether `found` is, byte for byte, the event of that name.
    pub(crate) fn is_as_put(&self, (put, index): (PutId, usize), found: &Event) -> bool {
        let known = self.puts.get(put).filter(|it| index < it.places.len());
        known.is_some_and(|it| *found == event(put, index, it.size))
    }

    /// The bytes of its position.
    pub(crate) fn position(put: PutId) -> Bytes {
        Bytes::from(format!("position {put}"))
    }

    /// Its commit is asked for.
    pub(crate) fn ask(&mut self, put: PutId) {
        self.puts[put].standing = Standing::Asked;
        if let Some(source) = self.puts[put].source {
            self.sources.entry(source).or_default().push(put);
        }
    }

    /// Whether the source has a transaction that is in doubt or, unless it is an `eager` one, open.
    pub(crate) fn source_is_busy(&self, source: usize, eager: bool) -> bool {
        let open = |id: &PutId| match self.puts[*id].standing {
            Standing::Asked => !eager,
            standing => standing == Standing::Doubt,
        };
        self.sources.get(&source).is_some_and(|all| all.iter().any(open))
    }

    /// Its commit was answered.
    pub(crate) fn put_answered(&mut self, put: PutId, standing: Standing) -> Verdict {
        let now = self.tick();
        if crate::random::verbose() {
            eprintln!("    put {put}: {standing:?}");
        }
        let it = &mut self.puts[put];
        match (it.standing, standing) {
            (Standing::There, Standing::Never) => {
                return Err(format!("put {put} was delivered and is refused"));
            }
            (Standing::There, Standing::Doubt) => {}
            _ => it.standing = standing,
        }
        match it.standing {
            Standing::There => _ = it.there_since.get_or_insert(now),
            Standing::Never => it.refused_at = Some(now),
            Standing::Asked | Standing::Doubt => {}
        }
        if standing == Standing::There { self.came_in_turn(put) } else { Ok(()) }
    }

    /// A source's commit that ended well says that all it asked for before is there, but for what
    /// it knew to be refused when it asked.
    fn came_in_turn(&self, put: PutId) -> Verdict {
        let Some(source) = self.puts[put].source else { return Ok(()) };
        let known = |at: u64| at < self.puts[put].begun;
        let passed = |id: &&PutId| match self.puts[**id].standing {
            Standing::There => false,
            Standing::Never if self.faded.contains(*id) => false,
            Standing::Never => !self.puts[**id].refused_at.is_some_and(known),
            Standing::Asked | Standing::Doubt => true,
        };
        let all = self.sources.get(&source).into_iter().flatten();
        match all.take_while(|id| **id != put).find(passed) {
            Some(earlier) => Err(format!("put {put} of source {source} passed its put {earlier}")),
            None => Ok(()),
        }
    }

    /// A take transaction begins.
    pub(crate) fn begin_take(&mut self) -> TakeId {
        self.takes.push(Take::default());
        self.takes.len() - 1
    }

    /// Events were delivered. With `ordered`, no stripe was suspended since the channel was opened.
    pub(crate) fn delivered(&mut self, take: TakeId, events: &[Event], ordered: bool) -> Verdict {
        for found in events {
            let Some((put, index)) = name_of(found) else {
                return Err(format!("foreign event {:?}", found.body));
            };
            let Some(it) = self.puts.get(put).filter(|it| index < it.places.len()) else {
                return Err(format!("event {put}.{index} was never put"));
            };
            if *found != event(put, index, it.size) {
                return Err(format!("event {put}.{index} is altered"));
            }
            match it.standing {
                // Void by what has rotted since, it counts again: in doubt may appear.
                Standing::Never if self.may_forget() && self.faded.contains(&put) => {
                    self.puts[put].standing = Standing::There;
                }
                Standing::Never => return Err(format!("event {put}.{index} of no transaction")),
                Standing::Asked | Standing::Doubt => self.puts[put].standing = Standing::There,
                Standing::There => {}
            }
            match self.puts[put].places[index] {
                Place::Waiting => {}
                Place::Lent(other) => {
                    return Err(format!("event {put}.{index} is lent to takes {other} and {take}"));
                }
                Place::MayBeTaken(_) if self.parting.degraded => self.loosen((put, index)),
                Place::MayBeTaken(other) => self.return_events(other),
                Place::Taken if self.parting.may_return((put, index)) => self.loosen((put, index)),
                // docs/durability.md, blind spot 2: the only copy of its acknowledgement is gone, or
                // of what said that an older copy of it is void.
                Place::Taken | Place::Lost if self.may_forget() => {
                    self.returned.insert((put, index));
                }
                Place::Taken => {
                    return Err(format!("event {put}.{index} comes back after its take"));
                }
                Place::Lost => return Err(format!("event {put}.{index} was lost and comes back")),
            }
            if ordered {
                self.check_order(put, index)?;
            }
            self.puts[put].places[index] = Place::Lent(take);
            self.takes[take].events.push((put, index));
        }
        Ok(())
    }

    fn check_order(&self, put: PutId, index: usize) -> Verdict {
        let it = &self.puts[put];
        if !self.parting.orders(it.begun) {
            return Ok(());
        }
        if let Some(before) = it.places[..index].iter().position(|p| *p == Place::Waiting) {
            return Err(format!("event {put}.{index} comes before {put}.{before}"));
        }
        for (other, earlier) in self.puts.iter().enumerate() {
            let before = earlier.there_since.is_some_and(|since| since < it.begun);
            if before && let Some(left) = earlier.places.iter().position(|p| *p == Place::Waiting) {
                return Err(format!(
                    "event {put}.{index} overtakes {other}.{left}, whose commit had returned before"
                ));
            }
        }
        Ok(())
    }

    /// A take's acknowledgement is asked for: from now on it may have happened.
    pub(crate) fn ask_take(&mut self, take: TakeId) {
        self.place(take, Place::MayBeTaken(take));
    }

    /// A take's events are its own no longer: rolled back or refused.
    pub(crate) fn return_events(&mut self, take: TakeId) {
        self.place(take, Place::Waiting);
    }

    /// A take was acknowledged.
    pub(crate) fn taken(&mut self, take: TakeId) -> Verdict {
        for (put, index) in self.takes[take].events.clone() {
            let place = &mut self.puts[put].places[index];
            if *place != Place::MayBeTaken(take) {
                return Err(format!("event {put}.{index} was {place:?} while take {take} ended"));
            }
            *place = Place::Taken;
            self.parting.taken((put, index));
        }
        Ok(())
    }

    fn place(&mut self, take: TakeId, to: Place) {
        for (put, index) in self.takes[take].events.clone() {
            let place = &mut self.puts[put].places[index];
            if matches!(*place, Place::Lent(t) | Place::MayBeTaken(t) if t == take) {
                *place = to;
            }
        }
    }

    /// The process is gone: nothing is lent, and what was asked is in doubt.
    pub(crate) fn process_died(&mut self) {
        for (id, put) in self.puts.iter_mut().enumerate() {
            if put.standing == Standing::Asked {
                put.standing = Standing::Doubt;
            }
            for (index, place) in put.places.iter_mut().enumerate() {
                match place {
                    Place::Lent(_) => *place = Place::Waiting,
                    // Taken perhaps, and that may be known on a part of the disks only.
                    Place::MayBeTaken(_) => self.parting.taken((id, index)),
                    _ => {}
                }
            }
        }
    }

    /// The channel was opened again and `contents` is everything in it; settles what was in doubt.
    /// `quarantined` events were counted as damaged.
    pub(crate) fn opened(&mut self, contents: &[Event], quarantined: u64) -> Verdict {
        let there: BTreeSet<(PutId, usize)> = contents.iter().filter_map(name_of).collect();
        if self.parting.degraded {
            return self.opened_degraded(contents, &there, quarantined);
        }
        self.settle_takes(&there)?;
        self.settle_loose(&there);
        if self.rotten {
            self.settle_losses(&there)?;
        }
        let peek = self.begin_take();
        self.delivered(peek, contents, true)?;
        self.contiguous(contents)?;
        self.return_events(peek);
        let now = self.tick();
        for (id, put) in self.puts.iter_mut().enumerate() {
            let came = (0..put.places.len()).filter(|at| there.contains(&(id, *at))).count();
            match put.standing {
                Standing::Doubt if came == 0 => {
                    put.standing = Standing::Never;
                    self.vanished.insert(id);
                    if self.rotten {
                        self.perhaps_lost += put.places.len() as u64;
                        self.faded.insert(id);
                    }
                }
                Standing::Doubt => put.standing = Standing::There,
                _ => {}
            }
            if put.standing != Standing::There {
                continue;
            }
            put.there_since.get_or_insert(now);
            let absent = |(index, place): &(usize, &Place)| {
                **place == Place::Waiting && !there.contains(&(id, *index))
            };
            if let Some((index, _)) = put.places.iter().enumerate().find(absent) {
                return Err(format!("event {id}.{index} is lost"));
            }
        }
        if !self.rotten && quarantined > 0 {
            return Err(format!("{quarantined} events quarantined without any rot"));
        }
        Ok(())
    }

    /// What of each take in doubt is still there: all of it or nothing, but for what had come back
    /// although it was taken before (that earlier take may be known now), for what only a directory
    /// that was missing since may know, and for what rot has cost.
    fn settle_takes(&mut self, there: &BTreeSet<(PutId, usize)>) -> Verdict {
        for take in 0..self.takes.len() {
            let open = |(put, index): &(PutId, usize)| {
                self.puts[*put].places[*index] == Place::MayBeTaken(take)
            };
            let events: Vec<_> = self.takes[take].events.iter().copied().filter(open).collect();
            let excused =
                |e: &(PutId, usize)| self.parting.is_loose(*e) || self.parting.may_return(*e);
            let own: Vec<_> = events.iter().filter(|e| !excused(e)).collect();
            let back = own.iter().filter(|e| there.contains(e)).count();
            let in_part = back != 0 && back != own.len();
            if in_part && !self.rotten {
                return Err(format!("{back} of {} events of take {take} are back", own.len()));
            }
            // It was not taken, and the others are lost; or its acknowledgement is, but not what
            // says that segments with a part of its events were used again.
            let lost = in_part && !self.may_forget();
            if self.rotten && !lost {
                self.perhaps_lost += (own.len() - back) as u64;
            }
            for (put, index) in events {
                let back = lost || there.contains(&(put, index));
                if back && self.may_forget() {
                    self.returned.insert((put, index));
                }
                self.puts[put].places[index] = if back { Place::Waiting } else { Place::Taken };
            }
        }
        Ok(())
    }

    /// Events of one transaction stand together.
    pub(crate) fn contiguous(&self, contents: &[Event]) -> Verdict {
        let mut done = BTreeSet::new();
        let mut last = None;
        for (put, index) in contents.iter().filter_map(name_of) {
            if last != Some(put) && !done.insert(put) {
                return Err(format!("event {put}.{index} stands apart from its transaction"));
            }
            last = Some(put);
        }
        Ok(())
    }

    /// The channel was opened again and says that the source had come to `found`. Settles
    /// transactions that were a position alone.
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
            let put = &mut self.puts[*id];
            let behind = at.is_some_and(|at| place <= at) || self.parting.may_be_behind(*id);
            match put.standing {
                // docs/durability.md, blind spot 2: the only block that had the position is gone,
                // with what was left of its events.
                Standing::There if forgets && !put.places.contains(&Place::Waiting) => {}
                Standing::There if !behind => {
                    return Err(format!("source {source} is behind put {id}, which is there"));
                }
                Standing::Never if at == Some(place) && put.places.is_empty() => {
                    // Settled by its events, of which it has none, as absent.
                    put.standing = Standing::There;
                    put.there_since.get_or_insert(now);
                }
                // Behind it the source would go on, and never put those events again. Of one
                // without events nothing is known but its position, which a later one replaces: it
                // may have been there, and if not, nothing would have to be put again.
                Standing::Never
                    if at.is_some_and(|at| place < at)
                        && !put.places.is_empty()
                        && self.vanished.contains(id)
                        && !self.faded.contains(id) =>
                {
                    return Err(format!("source {source} is ahead of put {id}, which is lost"));
                }
                // One in doubt may have been there until rot took its events; a refused one not.
                Standing::Never if at == Some(place) && !self.faded.contains(id) => {
                    return Err(format!("source {source} is ahead: put {id} is not there"));
                }
                _ => {}
            }
        }
        // What it had before is no position of it any more, whichever of them won; but for what rot
        // makes forget.
        if !forgets {
            self.sources.insert(source, at.map(|at| all[at]).into_iter().collect());
        }
        Ok(())
    }

    /// All that an opening shows has been judged: if all directories are there, nothing is excused
    /// from now on.
    pub(crate) fn sources_are_judged(&mut self) {
        self.vanished.clear();
        if !self.parting.degraded {
            let now = self.tick();
            self.parting.all_are_together(now);
        }
    }

    /// Sources that ever had a position.
    pub(crate) fn sources(&self) -> Vec<usize> {
        self.sources.keys().copied().collect()
    }

    /// Takes that ever got an event.
    pub(crate) fn deliveries(&self) -> usize {
        self.takes.iter().filter(|take| !take.events.is_empty()).count()
    }

    /// A number that follows from all that an opening is judged by: two users with the same one
    /// pass the same verdict on the same channel.
    pub(crate) fn expectation(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.puts, &self.sources, self.rotten, &self.hit, &self.faded, &self.frontiers)
            .hash(&mut hasher);
        hasher.finish()
    }

    /// Below `frontiers` everything is acknowledged or void, durably: they only grow, also from
    /// one life to the next.
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

    /// Both slots of a directory rot. On a full disk the end of a life, and what is void with it, may
    /// stand there alone.
    pub(crate) fn slots_rot(&mut self) {
        self.frontiers.clear();
    }

    /// Events that the channel must count as waiting or lent when nothing is under way.
    pub(crate) fn held(&self) -> u64 {
        let held = |place: &&Place| !matches!(place, Place::Taken | Place::Lost);
        let there = self.puts.iter().filter(|put| put.standing == Standing::There);
        there.map(|put| put.places.iter().filter(held).count() as u64).sum()
    }

    /// Whether nothing is under way or in doubt.
    pub(crate) fn is_certain(&self) -> bool {
        self.puts.iter().all(|put| {
            let settled = matches!(put.standing, Standing::There | Standing::Never);
            settled && !put.places.iter().any(|p| matches!(p, Place::MayBeTaken(_)))
        })
    }
}
