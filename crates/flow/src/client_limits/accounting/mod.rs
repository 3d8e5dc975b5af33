//! The accounting of connections, of the memory that each holds, of waiting requests and of evictions. It has no
//! clock and never waits.

mod account;
mod eviction;
mod known_clients;
mod memory_request;
mod shares;
mod wait_order;
mod wait_queue;

use super::denied::AdmissionDenied;
use super::usage::ConnectionUsage;
use crate::base::limits::{
    CONNECTIONS_MAX_DEFAULT, EVICTED_ADDRESS_MS, KNOWN_ADDRESS_MS, REQUEST_BYTES_PER_SECOND_MIN,
    REQUEST_SLOW_AFTER_MS,
};
use crate::metrics::{ClientTotals, SourceCounters};
pub(super) use account::{Accounts, lines, reads};
use account::{
    AddressUsage, ConnectionAccount, LINES_PART, READS_PART, RESERVED_PART, SourceUsage, class_of,
    more,
};
use known_clients::KnownClients;
pub(super) use memory_request::{GrantOutcome, MemoryRequest};
use shares::holder;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
pub(super) use wait_order::Ticket;
use wait_order::WaitOrder;

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
