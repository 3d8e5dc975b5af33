//! The book: who is connected, who holds how much, who waits and who gives way. It has no clock and
//! never waits.

mod known;
mod places;
mod shares;
mod waiting;

use super::{Full, Record};
use crate::base::limits::{
    CONNECTION_LINE_BYTES, CONNECTION_READ_BYTES, CONNECTIONS_MAX_DEFAULT,
    KNOWN_ADDRESS_UNPROVEN_MAX, REQUEST_SMALL_BYTES,
};
use crate::metrics::{ClientTotals, SourceCounters};
use known::Known;
use shares::holder;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
pub(super) use waiting::Ticket;
use waiting::{Turns, Waiter};

/// Of the budget one part in so many is for what connections of line protocols read at a time, and one
/// for lines that are events: those have permits of their own.
const READS_PART: usize = 16;
const LINES_PART: usize = 8;
/// One reservation takes at most one part in so many of what connections may still keep.
const RESERVED_PART: usize = 8;

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
    /// The address that its share is counted for.
    address: IpAddr,
    /// Bytes for as long as it lasts, and for the request in hand.
    kept: usize,
    held: usize,
    /// The class that this counts for.
    held_class: u8,
    /// Since when it has held any.
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
    /// Bytes that they keep, and that their requests hold.
    kept: usize,
    held: usize,
    /// Requests of each class that wait.
    waiting: [u64; CLASSES as usize],
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
    /// Bytes that they keep, and that their requests of each class hold.
    kept: usize,
    held: [usize; CLASSES as usize],
    /// Those that may give way. A place is put right when it is looked at, not with each request.
    silent: BTreeSet<Place>,
}

/// Small requests come before large ones, and those of addresses that have brought something before the others.
const CLASSES: u8 = 4;

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
    turns: Turns,
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
            turns: Turns::default(),
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
        let address = holder(address);
        self.make_place(gate, (address, bytes), now)?;
        let id = self.number();
        let record = Arc::new(Record { id, heard: now.into(), ..Record::default() });
        let place = (false, now, id);
        if let Some(listener) = self.listeners.get_mut(&gate) {
            listener.connections += 1;
            listener.kept += bytes;
            listener.silent.insert(place);
        }
        let is_known = self.known.has(address, now);
        let of_address = self.addresses.entry(address).or_default();
        of_address.connections += 1;
        of_address.unproven += 1;
        of_address.kept += bytes;
        of_address.is_known |= is_known;
        let account = Account {
            record: Arc::clone(&record),
            counters: Arc::clone(counters),
            gate,
            address,
            kept: bytes,
            held: 0,
            held_class: 0,
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
    pub(super) fn leave(&mut self, id: u64, now: u64) {
        self.shrink(id, 0, now);
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
            address.kept -= account.kept;
            address.unproven -= usize::from(!account.is_proven);
            if address.connections == 0 {
                self.addresses.remove(&account.address);
            }
        }
        if let Some(listener) = self.listeners.get_mut(&account.gate) {
            listener.connections -= 1;
            listener.kept -= account.kept;
            listener.silent.remove(&account.place);
        }
        self.serve(now);
    }

    /// Gives the connection what it asks for, if that is there.
    pub(super) fn ask(&mut self, id: u64, asked: Asked, now: u64) -> Answer {
        let Some(account) = self.accounts.get(&id) else { return Answer::Never };
        let more = more(account, asked);
        if more == 0 {
            return Answer::Granted;
        }
        let is_too_large = match asked {
            Asked::Kept(_) => more > self.kept_max(),
            Asked::Held(target) => target > self.request_bytes_max(),
        };
        if is_too_large {
            return Answer::Never;
        }
        if self.lacks(account, asked).is_some() {
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
        let bytes = match asked {
            Asked::Held(bytes) => bytes,
            Asked::Kept(_) => {
                account.kept += more;
                self.kept += more;
                self.totals.memory_bytes.add(more as u64);
                let address = self.addresses.get_mut(&account.address);
                address.into_iter().for_each(|address| address.kept += more);
                let listener = self.listeners.get_mut(&account.gate);
                listener.into_iter().for_each(|listener| listener.kept += more);
                return;
            }
        };
        if account.held == 0 {
            account.holds_since = now;
        }
        account.counters.held_bytes.add(more as u64);
        self.totals.memory_bytes.add(more as u64);
        self.set_held(id, bytes);
    }

    /// The request in hand holds `bytes` at most from now on.
    pub(super) fn shrink(&mut self, id: u64, bytes: usize, now: u64) {
        let Some(account) = self.accounts.get(&id) else { return };
        let less = account.held.saturating_sub(bytes);
        if less == 0 {
            return;
        }
        account.counters.held_bytes.sub(less as u64);
        self.totals.memory_bytes.sub(less as u64);
        self.set_held(id, bytes);
        self.serve(now);
    }

    /// Counts that the request in hand holds `bytes`.
    fn set_held(&mut self, id: u64, bytes: usize) {
        let Some(account) = self.accounts.get(&id) else { return };
        let (class, before) = (class_of(bytes, self.is_trusted(account)), account.held);
        self.held = self.held - before + bytes;
        if let Some(address) = self.addresses.get_mut(&account.address) {
            address.held = address.held - before + bytes;
        }
        if let Some(listener) = self.listeners.get_mut(&account.gate) {
            listener.held[usize::from(account.held_class)] -= before;
            listener.held[usize::from(class)] += bytes;
        }
        if let Some(account) = self.accounts.get_mut(&id) {
            (account.held, account.held_class) = (bytes, class);
        }
    }

    /// Keeps up to `bytes` for a source that has no connections, and returns how many: a part of what connections
    /// may still keep, but not less than `least`.
    pub(super) fn reserve(&mut self, bytes: usize, least: usize) -> usize {
        let free = self.kept_max().saturating_sub(self.kept);
        let bytes = bytes.min((free / RESERVED_PART).max(least));
        self.kept += bytes;
        self.totals.memory_bytes.add(bytes as u64);
        bytes
    }

    /// Gives back what was reserved.
    pub(super) fn unreserve(&mut self, bytes: usize, now: u64) {
        self.kept -= bytes;
        self.totals.memory_bytes.sub(bytes as u64);
        self.serve(now);
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
