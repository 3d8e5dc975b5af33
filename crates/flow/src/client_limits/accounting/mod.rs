//! The accounting of connections, of the memory that each holds, of waiting requests and of evictions. It has no
//! clock and never waits.

mod eviction;
mod known_clients;
mod shares;
mod wait_queue;

use super::{AdmissionDenied, ConnectionUsage};
use crate::base::limits::{
    CONNECTION_LINE_BYTES, CONNECTION_READ_BYTES, CONNECTIONS_MAX_DEFAULT, EVICTED_ADDRESS_MS,
    KNOWN_ADDRESS_MS, KNOWN_ADDRESS_UNPROVEN_MAX, REQUEST_BYTES_PER_SECOND_MIN,
    REQUEST_SLOW_AFTER_MS, REQUEST_SMALL_BYTES,
};
use crate::metrics::{ClientTotals, SourceCounters};
use known_clients::KnownClients;
use shares::holder;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
pub(super) use wait_queue::Ticket;
use wait_queue::{QUEUES, WaitOrder, Waiter};

/// Of the budget one part in this many is for the reads of connections of line protocols, and one for lines that
/// are events: those have permits of their own.
const READS_PART: usize = 16;
const LINES_PART: usize = 8;
/// A reservation takes at most one part in this many of the memory that connections may still keep.
const RESERVED_PART: usize = 8;

/// Returns the permits for reads of a budget of `bytes`.
pub(super) fn reads(bytes: usize) -> usize {
    bytes / READS_PART / CONNECTION_READ_BYTES
}

/// Returns the permits for lines of a budget of `bytes`.
pub(super) fn lines(bytes: usize) -> usize {
    bytes / LINES_PART / CONNECTION_LINE_BYTES
}

/// Memory that a connection asks for.
#[derive(Clone, Copy, Debug)]
pub(super) enum MemoryRequest {
    /// This many bytes in all for the current request.
    Held(usize),
    /// This many more bytes for the lifetime of the connection.
    Kept(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrantOutcome {
    Granted,
    NotNow,
    Never,
}

struct ConnectionAccount {
    record: Arc<ConnectionUsage>,
    counters: Arc<SourceCounters>,
    gate: u64,
    /// The address whose share it counts in.
    address: IpAddr,
    /// Bytes for its lifetime, and bytes for the current request.
    kept: usize,
    held: usize,
    /// The class in which the held bytes are counted.
    held_class: u8,
    /// Time since when it has held any.
    holds_since: u64,
    /// Time until which its request counts as arriving at a good rate if no more data arrive.
    brisk_until: u64,
    /// The queue in which it waits.
    waits: Option<u8>,
    /// True if it ever sent something, as counted for its address.
    is_proven: bool,
    /// Its position in the eviction order of its source.
    place: EvictionOrder,
}

/// True if it ever sent something, the time since when it is silent, and its number.
type EvictionOrder = (bool, u64, u64);

#[derive(Default)]
struct AddressUsage {
    connections: usize,
    /// Number of those that never sent anything.
    unproven: usize,
    /// Bytes that they keep, and that their requests hold.
    kept: usize,
    held: usize,
    /// Waiting requests in each queue.
    waiting: [u64; QUEUES as usize],
    /// True if it has sent something recently.
    is_known: bool,
}

impl AddressUsage {
    /// Returns true if its newcomers take precedence over others: one event does not admit thousands of
    /// connections.
    fn is_trusted(&self) -> bool {
        self.is_known && self.unproven <= KNOWN_ADDRESS_UNPROVEN_MAX
    }
}

#[derive(Default)]
struct SourceUsage {
    connections_max: usize,
    connections: usize,
    /// Bytes that they keep, and that their requests of each class hold.
    kept: usize,
    held: [usize; CLASSES as usize],
    /// Connections that may be evicted. A position is corrected when it is examined, not with each request.
    silent: BTreeSet<EvictionOrder>,
}

/// Number of classes: small requests come before large ones, and those of addresses that have sent something
/// before the others.
const CLASSES: u8 = 4;

pub(super) struct Accounts {
    totals: Arc<ClientTotals>,
    memory_max: usize,
    connections_max: usize,
    kept: usize,
    held: usize,
    accounts: HashMap<u64, ConnectionAccount>,
    addresses: HashMap<IpAddr, AddressUsage>,
    known: KnownClients,
    /// Addresses of connections that were evicted before they sent anything.
    evicted: KnownClients,
    listeners: HashMap<u64, SourceUsage>,
    waiters: BTreeMap<Ticket, Waiter>,
    turns: WaitOrder,
    leaving: usize,
    next: u64,
    look_at: u64,
}

impl Accounts {
    pub(super) fn new(memory: usize, connections_max: usize, totals: Arc<ClientTotals>) -> Self {
        Self {
            totals,
            memory_max: memory - memory / READS_PART - memory / LINES_PART,
            connections_max,
            kept: 0,
            held: 0,
            accounts: HashMap::new(),
            addresses: HashMap::new(),
            known: KnownClients::new(KNOWN_ADDRESS_MS),
            evicted: KnownClients::new(EVICTED_ADDRESS_MS),
            listeners: HashMap::new(),
            waiters: BTreeMap::new(),
            turns: WaitOrder::default(),
            leaving: 0,
            next: 0,
            look_at: 0,
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Adds a source; returns its number, and the sum of the configured maxima of all sources.
    pub(super) fn open_gate(&mut self, connections_max: usize) -> (u64, usize) {
        let id = self.number();
        self.listeners.insert(id, SourceUsage { connections_max, ..SourceUsage::default() });
        let told = self.listeners.values().map(|listener| listener.connections_max);
        let told = told.filter(|max| *max != CONNECTIONS_MAX_DEFAULT);
        (id, told.fold(0, usize::saturating_add))
    }

    pub(super) fn close_gate(&mut self, id: u64) {
        self.listeners.remove(&id);
    }

    /// Returns the most bytes that connections may keep: the rest is for requests.
    fn kept_max(&self) -> usize {
        self.memory_max / 4 * 3
    }

    /// Returns the most bytes in use at which a large request is granted: the rest is for small ones.
    pub(super) fn request_bytes_max(&self) -> usize {
        self.memory_max / 8 * 7
    }

    /// Admits a connection, evicting another one if there is no place.
    pub(super) fn admit(
        &mut self,
        gate: u64,
        (address, bytes): (IpAddr, usize),
        counters: &Arc<SourceCounters>,
        now: u64,
    ) -> Result<Arc<ConnectionUsage>, AdmissionDenied> {
        let address = holder(address);
        self.make_place(gate, (address, bytes), now)?;
        let id = self.number();
        let record =
            Arc::new(ConnectionUsage { id, heard: now.into(), ..ConnectionUsage::default() });
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
        let account = ConnectionAccount {
            record: Arc::clone(&record),
            counters: Arc::clone(counters),
            gate,
            address,
            kept: bytes,
            held: 0,
            held_class: 0,
            holds_since: 0,
            brisk_until: 0,
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

    /// Removes a connection.
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

    /// Grants the connection what it asks for, if that is available.
    pub(super) fn ask(&mut self, id: u64, asked: MemoryRequest, now: u64) -> GrantOutcome {
        let Some(account) = self.accounts.get(&id) else { return GrantOutcome::Never };
        let more = more(account, asked);
        if more == 0 {
            return GrantOutcome::Granted;
        }
        let is_too_large = match asked {
            MemoryRequest::Kept(_) => more > self.kept_max(),
            MemoryRequest::Held(target) => target > self.request_bytes_max(),
        };
        if is_too_large {
            return GrantOutcome::Never;
        }
        if self.lacks(account, asked).is_some() {
            return GrantOutcome::NotNow;
        }
        self.grant(id, asked, more, now);
        GrantOutcome::Granted
    }

    /// Returns true if the connection, or another one of its address, has sent something.
    fn is_trusted(&self, account: &ConnectionAccount) -> bool {
        account.record.is_proven.load(Ordering::Relaxed)
            || self.addresses.get(&account.address).is_some_and(AddressUsage::is_trusted)
    }

    /// Records that the connection has sent something for the first time.
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

    fn grant(&mut self, id: u64, asked: MemoryRequest, more: usize, now: u64) {
        let Some(account) = self.accounts.get_mut(&id) else { return };
        let bytes = match asked {
            MemoryRequest::Held(bytes) => bytes,
            MemoryRequest::Kept(_) => {
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
        // Old data say nothing about the present rate, however much they were.
        let worth = more as u64 * 1000 / REQUEST_BYTES_PER_SECOND_MIN;
        let until = account.brisk_until.max(now) + worth;
        account.brisk_until = until.min(now + REQUEST_SLOW_AFTER_MS);
        account.counters.held_bytes.add(more as u64);
        self.totals.memory_bytes.add(more as u64);
        self.set_held(id, bytes);
    }

    /// Reduces the memory of the current request to at most `bytes`.
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

    /// Sets the memory of the current request to `bytes`.
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

    /// Reserves up to `bytes` for a source without connections and returns the number: a part of what connections
    /// may still keep, but not less than `least`.
    pub(super) fn reserve(&mut self, bytes: usize, least: usize) -> usize {
        let free = self.kept_max().saturating_sub(self.kept);
        let bytes = bytes.min((free / RESERVED_PART).max(least));
        self.kept += bytes;
        self.totals.memory_bytes.add(bytes as u64);
        bytes
    }

    /// Returns reserved memory.
    pub(super) fn unreserve(&mut self, bytes: usize, now: u64) {
        self.kept -= bytes;
        self.totals.memory_bytes.sub(bytes as u64);
        self.serve(now);
    }
}

/// Returns the class of a request that holds this many bytes.
fn class_of(bytes: usize, is_proven: bool) -> u8 {
    2 * u8::from(bytes > REQUEST_SMALL_BYTES) + u8::from(!is_proven)
}

/// Returns the additional bytes of a request.
fn more(account: &ConnectionAccount, asked: MemoryRequest) -> usize {
    match asked {
        MemoryRequest::Held(target) => target.saturating_sub(account.held),
        MemoryRequest::Kept(more) => more,
    }
}
