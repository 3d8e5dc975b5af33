//! The book: who is connected, who holds how much, who waits and who gives way. It has no clock and
//! never waits.

mod known;
mod places;

use super::{Full, Record};
use crate::base::limits::{
    CONNECTION_LINE_BYTES, CONNECTION_READ_BYTES, CONNECTIONS_MAX_DEFAULT,
    KNOWN_ADDRESS_UNPROVEN_MAX, LEAVING_MAX, MEMORY_LOOK_MS, REQUEST_BYTES_PER_SECOND_MIN,
    REQUEST_SLOW_AFTER_MS, REQUEST_SMALL_BYTES, SMALL_REQUEST_SLOW_AFTER_MS,
};
use crate::metrics::{ClientTotals, SourceCounters};
use known::Known;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Of the budget one part in so many is for what connections of line protocols read at a time, and one
/// for lines that are events: those have permits of their own.
const READS_PART: usize = 16;
const LINES_PART: usize = 8;
/// Requests that wait, of those looked at when memory becomes free.
const SERVED_AT_ONCE: usize = 64;

/// Permits for reads of a budget of `bytes`.
pub(super) fn reads(bytes: usize) -> usize {
    bytes / READS_PART / CONNECTION_READ_BYTES
}

/// Permits for lines of a budget of `bytes`.
pub(super) fn lines(bytes: usize) -> usize {
    bytes / LINES_PART / CONNECTION_LINE_BYTES
}

/// How much a connection wants to have.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    /// So much for the request in hand.
    Held(usize),
    /// So much more for as long as it lasts.
    Kept(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Granted,
    NotNow,
    Never,
}

struct Account {
    record: Arc<Record>,
    counters: Arc<SourceCounters>,
    gate: u64,
    address: IpAddr,
    /// Bytes for as long as it lasts, and for the request in hand.
    kept: usize,
    held: usize,
    holds_since: u64,
    /// The class of what it waits for.
    waits: Option<u8>,
    /// Whether it ever brought something, as its address counts it.
    is_proven: bool,
    /// Where it stands among the connections of its source.
    place: Place,
}

/// Whether it ever brought something, since when it is silent, and its number.
type Place = (bool, u64, u64);

#[derive(Default)]
struct Address {
    connections: usize,
    /// Of those the ones that never brought anything.
    unproven: usize,
    held: usize,
    /// Whether it has brought something not long ago.
    is_known: bool,
}

impl Address {
    /// Whether its newcomers come before those of others: one event does not open the door for thousands.
    fn is_trusted(&self) -> bool {
        self.is_known && self.unproven <= KNOWN_ADDRESS_UNPROVEN_MAX
    }
}

#[derive(Default)]
struct Listener {
    connections_max: usize,
    connections: usize,
    /// Those that may give way. A place is put right when it is looked at, not with each request.
    silent: BTreeSet<Place>,
}

/// How many others a request that waits comes after: its class, and its number.
pub(super) type Ticket = (u8, u64);

/// Small requests come before large ones, and those of addresses that have brought something before the others.
const CLASSES: u8 = 4;

struct Waiter {
    id: u64,
    asked: Asked,
    is_granted: bool,
}

pub(super) struct Book {
    totals: Arc<ClientTotals>,
    memory_max: usize,
    connections_max: usize,
    kept: usize,
    held: usize,
    accounts: HashMap<u64, Account>,
    addresses: HashMap<IpAddr, Address>,
    known: Known,
    listeners: HashMap<u64, Listener>,
    waiters: BTreeMap<Ticket, Waiter>,
    leaving: usize,
    next: u64,
    look_at: u64,
}

impl Book {
    pub(super) fn new(memory: usize, connections_max: usize, totals: Arc<ClientTotals>) -> Self {
        Self {
            totals,
            memory_max: memory - memory / READS_PART - memory / LINES_PART,
            connections_max,
            kept: 0,
            held: 0,
            accounts: HashMap::new(),
            addresses: HashMap::new(),
            known: Known::default(),
            listeners: HashMap::new(),
            waiters: BTreeMap::new(),
            leaving: 0,
            next: 0,
            look_at: 0,
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Its number, and what all sources that were told a maximum may have together.
    pub(super) fn open_gate(&mut self, connections_max: usize) -> (u64, usize) {
        let id = self.number();
        self.listeners.insert(id, Listener { connections_max, ..Listener::default() });
        let told = self.listeners.values().map(|listener| listener.connections_max);
        let told = told.filter(|max| *max != CONNECTIONS_MAX_DEFAULT);
        (id, told.fold(0, usize::saturating_add))
    }

    pub(super) fn close_gate(&mut self, id: u64) {
        self.listeners.remove(&id);
    }

    /// Bytes that connections keep at most: the rest is for requests.
    fn kept_max(&self) -> usize {
        self.memory_max / 4 * 3
    }

    /// Bytes that are taken when a large request is granted at most: the rest is for small ones.
    pub(super) fn request_bytes_max(&self) -> usize {
        self.memory_max / 8 * 7
    }

    /// Lets a connection in; another one is told to go where there is no place.
    pub(super) fn admit(
        &mut self,
        gate: u64,
        (address, bytes): (IpAddr, usize),
        counters: &Arc<SourceCounters>,
        now: u64,
    ) -> Result<Arc<Record>, Full> {
        self.make_place(gate, (address, bytes), now)?;
        let id = self.number();
        let record = Arc::new(Record { id, heard: now.into(), ..Record::default() });
        let place = (false, now, id);
        if let Some(listener) = self.listeners.get_mut(&gate) {
            listener.connections += 1;
            listener.silent.insert(place);
        }
        let is_known = self.known.has(address, now);
        let of_address = self.addresses.entry(address).or_default();
        of_address.connections += 1;
        of_address.unproven += 1;
        of_address.is_known |= is_known;
        let account = Account {
            record: Arc::clone(&record),
            counters: Arc::clone(counters),
            gate,
            address,
            kept: bytes,
            held: 0,
            holds_since: 0,
            waits: None,
            is_proven: false,
            place,
        };
        self.accounts.insert(id, account);
        self.kept += bytes;
        self.totals.connections.add(1);
        self.totals.memory_bytes.add(bytes as u64);
        Ok(record)
    }

    /// The connection is gone.
    pub(super) fn leave(&mut self, id: u64) {
        self.shrink(id, 0);
        let Some(account) = self.accounts.remove(&id) else { return };
        self.leaving -= usize::from(account.record.leaves.load(Ordering::Relaxed));
        self.kept -= account.kept;
        self.totals.connections.sub(1);
        self.totals.memory_bytes.sub(account.kept as u64);
        if account.is_proven {
            self.known.is_heard(account.address, account.record.heard.load(Ordering::Relaxed));
        }
        if let Some(address) = self.addresses.get_mut(&account.address) {
            address.connections -= 1;
            address.unproven -= usize::from(!account.is_proven);
            if address.connections == 0 {
                self.addresses.remove(&account.address);
            }
        }
        if let Some(listener) = self.listeners.get_mut(&account.gate) {
            listener.connections -= 1;
            listener.silent.remove(&account.place);
        }
        self.serve();
    }

    /// Gives the connection what it asks for, if that is there.
    pub(super) fn ask(&mut self, id: u64, asked: Asked, now: u64) -> Answer {
        let Some(account) = self.accounts.get(&id) else { return Answer::Never };
        let more = more(account, asked);
        if more == 0 {
            return Answer::Granted;
        }
        let taken = self.kept + self.held + more;
        let address = self.addresses.get(&account.address).map_or(0, |address| address.held);
        let (fits, most) = match asked {
            Asked::Kept(_) => {
                (self.kept + more <= self.kept_max() && taken <= self.memory_max, self.kept_max())
            }
            Asked::Held(target) => {
                let large = self.request_bytes_max();
                // The last part is for small requests of those that have brought something.
                let max = match class_of(target, self.is_trusted(account)) {
                    0 => self.memory_max,
                    1 => self.memory_max / 16 * 15,
                    2 => large,
                    _ => self.memory_max / 16 * 13,
                };
                let max = if account.held == 0 && self.held == 0 { max.max(large) } else { max };
                // One address leaves half of everything to others, but for one request of it.
                let is_fair = address + more <= self.memory_max / 4
                    || taken <= self.memory_max / 2
                    || address == account.held;
                (taken <= max && is_fair, large)
            }
        };
        if more > most {
            return Answer::Never;
        }
        if !fits {
            return Answer::NotNow;
        }
        self.grant(id, asked, more, now);
        Answer::Granted
    }

    /// Whether the connection has brought something, or others of its address have.
    fn is_trusted(&self, account: &Account) -> bool {
        account.record.is_proven.load(Ordering::Relaxed)
            || self.addresses.get(&account.address).is_some_and(Address::is_trusted)
    }

    /// The connection has brought something for the first time.
    pub(super) fn proves(&mut self, id: u64, now: u64) {
        let Some(account) = self.accounts.get_mut(&id) else { return };
        let is_first = !std::mem::replace(&mut account.is_proven, true);
        let address = account.address;
        self.known.is_heard(address, now);
        if let Some(address) = self.addresses.get_mut(&address) {
            address.unproven -= usize::from(is_first);
            address.is_known = true;
        }
    }

    fn grant(&mut self, id: u64, asked: Asked, more: usize, now: u64) {
        let Some(account) = self.accounts.get_mut(&id) else { return };
        self.totals.memory_bytes.add(more as u64);
        match asked {
            Asked::Kept(_) => {
                account.kept += more;
                self.kept += more;
            }
            Asked::Held(_) => {
                if account.held == 0 {
                    account.holds_since = now;
                }
                account.held += more;
                account.counters.held_bytes.add(more as u64);
                self.held += more;
                if let Some(address) = self.addresses.get_mut(&account.address) {
                    address.held += more;
                }
            }
        }
    }

    /// The request in hand holds `bytes` at most from now on.
    pub(super) fn shrink(&mut self, id: u64, bytes: usize) {
        let Some(account) = self.accounts.get_mut(&id) else { return };
        let less = account.held.saturating_sub(bytes);
        if less == 0 {
            return;
        }
        account.held -= less;
        account.counters.held_bytes.sub(less as u64);
        self.held -= less;
        self.totals.memory_bytes.sub(less as u64);
        if let Some(address) = self.addresses.get_mut(&account.address) {
            address.held -= less;
        }
        self.serve();
    }

    /// A place in the queue.
    pub(super) fn wait(&mut self, id: u64, asked: Asked) -> Ticket {
        let is_trusted = self.accounts.get(&id).is_some_and(|account| self.is_trusted(account));
        let bytes = match asked {
            Asked::Held(bytes) => bytes,
            Asked::Kept(_) => 0,
        };
        let class = class_of(bytes, is_trusted);
        let ticket = (class, self.number());
        self.waiters.insert(ticket, Waiter { id, asked, is_granted: false });
        if let Some(account) = self.accounts.get_mut(&id) {
            account.waits = Some(class);
        }
        self.totals.waiting.add(1);
        ticket
    }

    pub(super) fn is_granted(&self, ticket: Ticket) -> bool {
        self.waiters.get(&ticket).is_some_and(|waiter| waiter.is_granted)
    }

    pub(super) fn wait_no_more(&mut self, ticket: Ticket) {
        let Some(waiter) = self.waiters.remove(&ticket) else { return };
        if let Some(account) = self.accounts.get_mut(&waiter.id) {
            account.waits = None;
        }
        self.totals.waiting.sub(1);
    }

    /// Gives what is there to those that wait, in their order; small ones pass large ones that have to
    /// wait on.
    fn serve(&mut self) {
        if self.waiters.is_empty() {
            return;
        }
        let mut first: Vec<(Ticket, u64, Asked)> = Vec::new();
        for class in 0..CLASSES {
            let own = self.waiters.range((class, 0)..=(class, u64::MAX));
            let waiting = own.filter(|(_, waiter)| !waiter.is_granted).take(SERVED_AT_ONCE);
            first.extend(waiting.map(|(ticket, it)| (*ticket, it.id, it.asked)));
        }
        for (ticket, id, asked) in first {
            let now = self.look_at;
            if self.ask(id, asked, now) != Answer::NotNow
                && let Some(waiter) = self.waiters.get_mut(&ticket)
            {
                waiter.is_granted = true;
                if let Some(account) = self.accounts.get(&id) {
                    account.record.granted.notify_one();
                }
            }
        }
    }

    /// Somebody waits for memory: tells those to go that hold it and are slow, or, where it is wanted
    /// to keep, those that have been silent longest.
    pub(super) fn make_room(&mut self, now: u64) {
        if now < self.look_at {
            return;
        }
        self.look_at = now + MEMORY_LOOK_MS;
        self.serve();
        // The first of each kind: neither waits until there is none of the other.
        let mut first = [None, None];
        for waiter in self.waiters.values().filter(|waiter| !waiter.is_granted) {
            let kind = usize::from(matches!(waiter.asked, Asked::Kept(_)));
            if first[kind].is_none() {
                let account = self.accounts.get(&waiter.id);
                first[kind] = account.map(|account| more(account, waiter.asked));
            }
            if first.iter().all(Option::is_some) {
                break;
            }
        }
        let [held, kept] = first;
        if let Some(wanted) = kept
            && self.kept + wanted > self.kept_max()
        {
            self.close_silent(wanted, now);
        }
        let kept = kept.filter(|wanted| self.kept + self.held + wanted > self.memory_max);
        if let Some(wanted) = held.max(kept) {
            self.close_slow(wanted, now);
        }
    }

    /// What will be given back soon.
    fn of_those_that_leave(&self, bytes: fn(&Account) -> usize) -> usize {
        let leave = |account: &&Account| account.record.leaves.load(Ordering::Acquire);
        self.accounts.values().filter(leave).map(bytes).sum()
    }

    fn close_slow(&mut self, wanted: usize, now: u64) {
        let is_slow = |account: &Account| {
            let record = &account.record;
            let age = now.saturating_sub(account.holds_since);
            let is_small = account.held <= REQUEST_SMALL_BYTES;
            let after = if is_small { SMALL_REQUEST_SLOW_AFTER_MS } else { REQUEST_SLOW_AFTER_MS };
            let rate = account.held as u64 * 1000 / age.max(1);
            !record.is_busy.load(Ordering::Acquire)
                && !record.leaves.load(Ordering::Acquire)
                && account.held > 0
                && age >= after
                && rate < REQUEST_BYTES_PER_SECOND_MIN
        };
        // Those that wait themselves after those that only let others wait.
        let rank = |id: &u64, account: &Account| {
            (self.is_trusted(account), account.waits.is_some(), Reverse(account.held), *id)
        };
        let slow = self.accounts.iter().filter(|(_, account)| is_slow(account));
        let mut slow: Vec<_> = slow.map(|(id, account)| rank(id, account)).collect();
        slow.sort_unstable();
        let mut freed = self.of_those_that_leave(|account| account.held);
        for (_, _, Reverse(held), id) in slow {
            if freed >= wanted || self.leaving >= LEAVING_MAX {
                return;
            }
            freed += held;
            self.send_away(id);
        }
    }
}

/// The class of a request that holds so many bytes.
fn class_of(bytes: usize, is_proven: bool) -> u8 {
    2 * u8::from(bytes > REQUEST_SMALL_BYTES) + u8::from(!is_proven)
}

/// What it takes more.
fn more(account: &Account, asked: Asked) -> usize {
    match asked {
        Asked::Held(target) => target.saturating_sub(account.held),
        Asked::Kept(more) => more,
    }
}
