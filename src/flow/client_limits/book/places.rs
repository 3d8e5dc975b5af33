//! Places for connections, and who gives one up.

use super::shares::Short;
use super::{Account, Address, Book, CLASSES, Place};
use crate::base::limits::{
    CONNECTION_CROWDED_MS_MIN, CONNECTION_SILENT_MS_MIN, CONNECTION_STRANGE_MS_MIN, LEAVING_MAX,
    REQUEST_BYTES_PER_SECOND_MIN,
};
use crate::flow::client_limits::Full;
use std::cmp::Reverse;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;

/// Connections of a source that are looked at for one that gives way.
const LOOKED_AT: usize = 64;
/// The same where only those of one address are looked for.
const LOOKED_AT_OF_ADDRESS: usize = 1024;
/// Sources that are looked at, those with the most connections.
const SOURCES_LOOKED_AT: usize = 4;
/// Connections that are told to go for one that needs memory to last.
const SENT_AWAY_AT_ONCE: usize = 16;

/// Who comes in where all places are taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newcomer {
    /// Whether its address has brought something not long ago.
    is_trusted: bool,
    /// Connections of its address.
    connections: usize,
}

impl Account {
    /// Whether it is no silent one, although it has brought nothing whole: its request is carried out, or comes at
    /// a good rate, or waits for the little memory that a small one takes.
    fn is_in_use(&self, now: u64) -> bool {
        let age = self.holds_for(now).max(1);
        self.record.is_busy.load(Ordering::Acquire)
            || match self.waits {
                Some(class) => class < CLASSES - 1,
                None => self.held as u64 * 1000 / age > REQUEST_BYTES_PER_SECOND_MIN,
            }
    }
}

impl Book {
    /// Sees to it that there is a place, for which another connection is told to go if need be.
    pub(super) fn make_place(
        &mut self,
        gate: u64,
        (address, bytes): (IpAddr, usize),
        now: u64,
    ) -> Result<(), Full> {
        let newcomer = self.newcomer(address, now);
        // What those that are in wait for is not for strangers that come.
        let waited_for = if newcomer.is_trusted { 0 } else { self.waited_for() };
        let full = self.full(gate, (address, bytes), waited_for);
        let Some((full, short)) = full else { return Ok(()) };
        // A quarter of those that may be on their way out is for newcomers that bring events.
        let leaving_max = LEAVING_MAX / 4 * (3 + usize::from(newcomer.is_trusted));
        if self.leaving >= leaving_max {
            return Err(Full::Leaving);
        }
        let found = self.gives_way(short, Some(newcomer), now);
        self.send_away(found.ok_or(full)?);
        Ok(())
    }

    /// What is known of an address from which somebody comes, or asks for memory that lasts.
    pub(super) fn newcomer(&self, address: IpAddr, now: u64) -> Newcomer {
        let own = self.addresses.get(&address);
        Newcomer {
            is_trusted: own.map_or_else(|| self.known.has(address, now), Address::is_trusted),
            connections: own.map_or(0, |own| own.connections),
        }
    }

    /// What there is no place in, and whose connections may give way. `waited_for` bytes are not free either, but
    /// count for nobody's share.
    fn full(
        &self,
        gate: u64,
        (address, bytes): (IpAddr, usize),
        waited_for: usize,
    ) -> Option<(Full, Short)> {
        let listener = self.listeners.get(&gate)?;
        let kept = self.kept + bytes + waited_for;
        if listener.connections >= listener.connections_max {
            Some((Full::Source, Short::Source(gate)))
        } else if self.accounts.len() >= self.connections_max {
            Some((Full::Descriptors, Short::All))
        } else if kept > self.kept_max() || kept + self.held > self.memory_max {
            Some((Full::Memory, Short::All))
        } else {
            self.lacks_place(gate, (address, bytes)).map(|short| (Full::Share, short))
        }
    }

    /// Somebody has to go although nobody is asking for a place.
    pub(in crate::flow::client_limits) fn relieve(&mut self, now: u64) {
        if self.leaving < LEAVING_MAX
            && let Some(longest) = self.gives_way(Short::All, None, now)
        {
            self.send_away(longest);
        }
    }

    /// The sources with the most connections.
    fn largest(&self) -> Vec<u64> {
        let mut all: Vec<_> = self.listeners.iter().map(|(id, it)| (it.connections, *id)).collect();
        all.sort_unstable_by_key(|one| Reverse(*one));
        all.into_iter().take(SOURCES_LOOKED_AT).map(|(_, id)| id).collect()
    }

    /// The connection that gives way: of the first of the sources that has one, where all are short of something.
    fn gives_way(&mut self, short: Short, newcomer: Option<Newcomer>, now: u64) -> Option<u64> {
        let from = match short {
            Short::Source(gate) => vec![gate],
            Short::All | Short::Address(_) => self.largest(),
        };
        from.iter().find_map(|gate| self.longest_silent(*gate, short, newcomer, now))
    }

    /// Milliseconds that a connection must have been silent to give way to `newcomer`.
    fn silent_ms_min(&self, account: &Account, newcomer: Option<Newcomer>) -> u64 {
        let (Some(newcomer), false) = (newcomer, account.is_proven) else {
            return CONNECTION_SILENT_MS_MIN;
        };
        let Some(own) = self.addresses.get(&account.address) else {
            return CONNECTION_SILENT_MS_MIN;
        };
        if newcomer.is_trusted && !own.is_trusted() {
            CONNECTION_STRANGE_MS_MIN
        } else if own.connections > newcomer.connections + 1 {
            CONNECTION_CROWDED_MS_MIN
        } else {
            CONNECTION_SILENT_MS_MIN
        }
    }

    /// Of the connections of a source the one that gives way: one that never brought anything before
    /// the others, one of an address with more than a quarter of all before the others, and of those the
    /// one that has been silent longest. None that came or was heard a moment ago, which is a shorter one where the
    /// newcomer's address brings events or has fewer connections; and while many never
    /// brought anything, none that did: they will have been silent long enough soon.
    fn longest_silent(
        &mut self,
        gate: u64,
        short: Short,
        newcomer: Option<Newcomer>,
        now: u64,
    ) -> Option<u64> {
        self.put_right(gate, now);
        let listener = self.listeners.get(&gate)?;
        let crowd = self.accounts.len() / 4;
        let is_of_a_crowd = |place: &&Place| {
            let address = self.accounts.get(&place.2).map(|account| account.address);
            address.and_then(|it| self.addresses.get(&it)).is_some_and(|it| it.connections > crowd)
        };
        let may_go = |place: &&Place| {
            self.accounts.get(&place.2).is_some_and(|account| {
                let silent = now.saturating_sub(place.1);
                silent >= self.silent_ms_min(account, newcomer)
                    && !account.is_in_use(now)
                    && short.concerns(account)
            })
        };
        let looked_at = match short {
            Short::Address(_) => LOOKED_AT_OF_ADDRESS,
            Short::All | Short::Source(_) => LOOKED_AT,
        };
        let a_moment_ago = now.checked_sub(CONNECTION_STRANGE_MS_MIN)?;
        let many = listener.connections / 4;
        for proven in [false, true] {
            let all = listener.silent.range(class(proven));
            if proven && listener.silent.range(class(false)).take(many + 1).count() > many {
                return None;
            }
            let long_silent =
                all.take(looked_at).take_while(|(_, since, _)| *since <= a_moment_ago);
            let mut long_silent = long_silent.filter(may_go);
            let first = long_silent.next();
            let found = first.filter(is_of_a_crowd).or_else(|| long_silent.find(is_of_a_crowd));
            if let Some((_, _, id)) = found.or(first) {
                return Some(*id);
            }
        }
        None
    }

    /// Moves those that were heard, or are in use, from the front to where they belong.
    fn put_right(&mut self, gate: u64, now: u64) {
        let Some(listener) = self.listeners.get_mut(&gate) else { return };
        for proven in [false, true] {
            let all = listener.silent.range(class(proven));
            let looked_at: Vec<Place> = all.take(LOOKED_AT).copied().collect();
            for place in looked_at {
                let Some(account) = self.accounts.get_mut(&place.2) else { continue };
                let record = &account.record;
                let heard = match account.is_in_use(now) {
                    true => now,
                    false => record.heard.load(Ordering::Relaxed).max(place.1),
                };
                let right = (record.is_proven.load(Ordering::Relaxed), heard, place.2);
                if right != place {
                    listener.silent.remove(&place);
                    listener.silent.insert(right);
                    account.place = right;
                }
            }
        }
    }

    pub(super) fn send_away(&mut self, id: u64) {
        let Some(account) = self.accounts.get(&id) else { return };
        if let Some(listener) = self.listeners.get_mut(&account.gate) {
            listener.silent.remove(&account.place);
        }
        account.record.leaves.store(true, Ordering::Release);
        account.record.go.notify_one();
        account.record.granted.notify_one();
        self.leaving += 1;
        self.totals.gave_way.add(1);
    }

    pub(super) fn close_silent(
        &mut self,
        short: Short,
        wanted: usize,
        newcomer: Option<Newcomer>,
        now: u64,
    ) {
        let mut freed = self.of_those_that_leave(short, |account| account.kept);
        for _ in 0..SENT_AWAY_AT_ONCE {
            if freed >= wanted || self.leaving >= LEAVING_MAX {
                return;
            }
            let Some(id) = self.gives_way(short, newcomer, now) else { return };
            freed += self.accounts.get(&id).map_or(0, |account| account.kept);
            self.send_away(id);
        }
    }
}

/// The places of those that have brought something, or have not.
fn class(proven: bool) -> RangeInclusive<Place> {
    (proven, 0, 0)..=(proven, u64::MAX, u64::MAX)
}
