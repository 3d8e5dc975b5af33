//! Admission of connections, and the choice of the connection to evict.

use super::account::{Accounts, AddressUsage, ConnectionAccount, EvictionOrder};
use super::shares::ExhaustedShare;
use super::wait_order::QUEUE_LARGE;
use crate::base::limits::{
    CONNECTION_CROWDED_MS_MIN, CONNECTION_SILENT_MS_MIN, CONNECTION_STRANGE_MS_MIN,
    CONNECTION_UNPROVEN_MS_MIN, LEAVING_MAX,
};
use crate::client_limits::AdmissionDenied;
use std::cmp::Reverse;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;

/// Connections of a source that are examined for one to evict.
const LOOKED_AT: usize = 64;
/// Connections examined if only those of one address may be evicted.
const LOOKED_AT_OF_ADDRESS: usize = 1024;
/// Sources that are examined: those with the most connections.
const SOURCES_LOOKED_AT: usize = 4;
/// Most connections that are evicted at once for a connection that needs memory to keep.
const SENT_AWAY_AT_ONCE: usize = 48;

/// A new connection that arrives while all places are taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newcomer {
    /// True if its address has sent events recently.
    is_trusted: bool,
    /// Connections of its address.
    connections: usize,
}

impl ConnectionAccount {
    /// Returns true if it counts as active although it has sent nothing complete: its request is in progress, or
    /// arrives at a good rate, or waits for the little memory of a small request.
    fn is_in_use(&self, now: u64) -> bool {
        self.record.is_busy.load(Ordering::Acquire)
            || match self.waits {
                Some(queue) => queue <= QUEUE_LARGE,
                None => self.held > 0 && now < self.brisk_until,
            }
    }
}

impl Accounts {
    /// Ensures that there is a place, evicting another connection if necessary.
    pub(super) fn make_place(
        &mut self,
        gate: u64,
        (address, bytes): (IpAddr, usize),
        now: u64,
    ) -> Result<(), AdmissionDenied> {
        let newcomer = self.newcomer(address, now);
        // Memory that admitted connections wait for is not available to unknown newcomers.
        let waited_for = if newcomer.is_trusted { 0 } else { self.waited_for() };
        let full = self.full(gate, (address, bytes), waited_for);
        let Some((full, short)) = full else { return Ok(()) };
        // A quarter of the connections that may be leaving at a time is reserved for newcomers that send events.
        let leaving_max = LEAVING_MAX / 4 * (3 + usize::from(newcomer.is_trusted));
        if self.leaving >= leaving_max {
            return Err(AdmissionDenied::Leaving);
        }
        let found = self.gives_way(short, Some(newcomer), now);
        self.send_away(found.ok_or(full)?, now);
        Ok(())
    }

    /// Returns what is known of the address of a new connection, or of one that asks for memory to keep.
    pub(super) fn newcomer(&self, address: IpAddr, now: u64) -> Newcomer {
        let own = self.addresses.get(&address);
        Newcomer {
            is_trusted: own.map_or_else(|| self.known.has(address, now), AddressUsage::is_trusted),
            connections: own.map_or(0, |own| own.connections),
        }
    }

    /// Returns the exhausted resources and whose connections may be evicted for them. `waited_for` bytes are not
    /// free either, but are not counted in any share.
    fn full(
        &self,
        gate: u64,
        (address, bytes): (IpAddr, usize),
        waited_for: usize,
    ) -> Option<(AdmissionDenied, ExhaustedShare)> {
        let listener = self.listeners.get(&gate)?;
        let kept = self.kept + bytes + waited_for;
        if listener.connections >= listener.connections_max {
            Some((AdmissionDenied::Source, ExhaustedShare::Source(gate)))
        } else if self.accounts.len() >= self.connections_max {
            Some((AdmissionDenied::Descriptors, ExhaustedShare::All))
        } else if kept > self.kept_max() || kept + self.held > self.memory_max {
            Some((AdmissionDenied::Memory, ExhaustedShare::All))
        } else {
            self.lacks_place(gate, (address, bytes)).map(|short| (AdmissionDenied::Share, short))
        }
    }

    /// Evicts a connection without a newcomer.
    pub(in crate::client_limits) fn relieve(&mut self, now: u64) {
        if self.leaving < LEAVING_MAX
            && let Some(longest) = self.gives_way(ExhaustedShare::All, None, now)
        {
            self.send_away(longest, now);
        }
    }

    /// Returns the sources with the most connections.
    fn largest(&self) -> Vec<u64> {
        let mut all: Vec<_> = self.listeners.iter().map(|(id, it)| (it.connections, *id)).collect();
        all.sort_unstable_by_key(|one| Reverse(*one));
        all.into_iter().take(SOURCES_LOOKED_AT).map(|(_, id)| id).collect()
    }

    /// Returns the connection to evict: from the first source that has one, if all sources share the shortage.
    fn gives_way(
        &mut self,
        short: ExhaustedShare,
        newcomer: Option<Newcomer>,
        now: u64,
    ) -> Option<u64> {
        let from = match short {
            ExhaustedShare::Source(gate) => vec![gate],
            ExhaustedShare::All | ExhaustedShare::Address(_) => self.largest(),
        };
        from.iter().find_map(|gate| self.longest_silent(*gate, short, newcomer, now))
    }

    /// Returns the milliseconds that a connection must have been silent to be evicted for `newcomer`.
    fn silent_ms_min(&self, account: &ConnectionAccount, newcomer: Option<Newcomer>) -> u64 {
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
            CONNECTION_UNPROVEN_MS_MIN
        }
    }

    /// Returns the connection of a source to evict. Connections that never sent anything come first, then those
    /// of an address with more than a quarter of all; among equals the one silent longest. Connections that
    /// arrived or sent data recently are never evicted; that time is shorter for a newcomer whose address sends
    /// events or has fewer connections. While many never sent anything, none that did is evicted: the others will
    /// soon have been silent long enough.
    fn longest_silent(
        &mut self,
        gate: u64,
        short: ExhaustedShare,
        newcomer: Option<Newcomer>,
        now: u64,
    ) -> Option<u64> {
        self.put_right(gate, now);
        let listener = self.listeners.get(&gate)?;
        let crowd = self.accounts.len() / 4;
        let is_of_a_crowd = |place: &&EvictionOrder| {
            let address = self.accounts.get(&place.2).map(|account| account.address);
            address.and_then(|it| self.addresses.get(&it)).is_some_and(|it| it.connections > crowd)
        };
        let may_go = |place: &&EvictionOrder| {
            self.accounts.get(&place.2).is_some_and(|account| {
                let silent = now.saturating_sub(place.1);
                silent >= self.silent_ms_min(account, newcomer)
                    && !account.is_in_use(now)
                    && short.concerns(account)
            })
        };
        let looked_at = match short {
            ExhaustedShare::Address(_) => LOOKED_AT_OF_ADDRESS,
            ExhaustedShare::All | ExhaustedShare::Source(_) => LOOKED_AT,
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

    /// Moves active connections, and those that have sent data, from the front to their present position.
    fn put_right(&mut self, gate: u64, now: u64) {
        let Some(listener) = self.listeners.get_mut(&gate) else { return };
        for proven in [false, true] {
            let all = listener.silent.range(class(proven));
            let looked_at: Vec<EvictionOrder> = all.take(LOOKED_AT).copied().collect();
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

    pub(super) fn send_away(&mut self, id: u64, now: u64) {
        let Some(account) = self.accounts.get(&id) else { return };
        if !account.record.is_proven.load(Ordering::Relaxed) {
            self.evicted.is_heard(account.address, now);
        }
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
        short: ExhaustedShare,
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
            self.send_away(id, now);
        }
    }
}

/// Returns the range of positions of connections that have sent something, or have not.
fn class(proven: bool) -> RangeInclusive<EvictionOrder> {
    (proven, 0, 0)..=(proven, u64::MAX, u64::MAX)
}
