//! What each connection, address and source holds and waits for.

use super::known_clients::KnownClients;
use super::memory_request::MemoryRequest;
use super::wait_order::{QUEUES, Ticket, WaitOrder, Waiter};
use crate::base::limits::{
    CONNECTION_LINE_BYTES, CONNECTION_READ_BYTES, KNOWN_ADDRESS_UNPROVEN_MAX, REQUEST_SMALL_BYTES,
};
use crate::client_limits::usage::ConnectionUsage;
use crate::metrics::{ClientTotals, SourceCounters};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

pub(super) struct ConnectionAccount {
    pub(super) record: Arc<ConnectionUsage>,
    pub(super) counters: Arc<SourceCounters>,
    pub(super) gate: u64,
    /// The address whose share it counts in.
    pub(super) address: IpAddr,
    /// Bytes for its lifetime, and bytes for the current request.
    pub(super) kept: usize,
    pub(super) held: usize,
    /// The class in which the held bytes are counted.
    pub(super) held_class: u8,
    /// Time since when it has held any.
    pub(super) holds_since: u64,
    /// Time until which its request counts as arriving at a good rate if no more data arrive.
    pub(super) brisk_until: u64,
    /// The queue in which it waits.
    pub(super) waits: Option<u8>,
    /// True if it ever sent something, as counted for its address.
    pub(super) is_proven: bool,
    /// Its position in the eviction order of its source.
    pub(super) place: EvictionOrder,
}

/// True if it ever sent something, the time since when it is silent, and its number.
pub(super) type EvictionOrder = (bool, u64, u64);

#[derive(Default)]
pub(super) struct AddressUsage {
    pub(super) connections: usize,
    /// Number of those that never sent anything.
    pub(super) unproven: usize,
    /// Bytes that they keep, and that their requests hold.
    pub(super) kept: usize,
    pub(super) held: usize,
    /// Waiting requests in each queue.
    pub(super) waiting: [u64; QUEUES as usize],
    /// True if it has sent something recently.
    pub(super) is_known: bool,
}

impl AddressUsage {
    /// Returns true if its newcomers take precedence over others: one event does not admit thousands of
    /// connections.
    pub(super) fn is_trusted(&self) -> bool {
        self.is_known && self.unproven <= KNOWN_ADDRESS_UNPROVEN_MAX
    }
}

#[derive(Default)]
pub(super) struct SourceUsage {
    pub(super) connections_max: usize,
    pub(super) connections: usize,
    /// Bytes that they keep, and that their requests of each class hold.
    pub(super) kept: usize,
    pub(super) held: [usize; CLASSES as usize],
    /// Connections that may be evicted. A position is corrected when it is examined, not with each request.
    pub(super) silent: BTreeSet<EvictionOrder>,
}

/// Number of classes: small requests come before large ones, and those of addresses that have sent something
/// before the others.
pub(super) const CLASSES: u8 = 4;

pub(in crate::client_limits) struct Accounts {
    pub(super) totals: Arc<ClientTotals>,
    pub(super) memory_max: usize,
    pub(super) connections_max: usize,
    pub(super) kept: usize,
    pub(super) held: usize,
    pub(super) accounts: HashMap<u64, ConnectionAccount>,
    pub(super) addresses: HashMap<IpAddr, AddressUsage>,
    pub(super) known: KnownClients,
    /// Addresses of connections that were evicted before they sent anything.
    pub(super) evicted: KnownClients,
    pub(super) listeners: HashMap<u64, SourceUsage>,
    pub(super) waiters: BTreeMap<Ticket, Waiter>,
    pub(super) turns: WaitOrder,
    pub(super) leaving: usize,
    pub(super) next: u64,
    pub(super) look_at: u64,
}

/// Of the budget one part in this many is for the reads of connections of line protocols, and one for lines that
/// are events: those have permits of their own.
pub(super) const READS_PART: usize = 16;

pub(super) const LINES_PART: usize = 8;

/// A reservation takes at most one part in this many of the memory that connections may still keep.
pub(super) const RESERVED_PART: usize = 8;

/// Returns the permits for reads of a budget of `bytes`.
pub(in crate::client_limits) fn reads(bytes: usize) -> usize {
    bytes / READS_PART / CONNECTION_READ_BYTES
}

/// Returns the permits for lines of a budget of `bytes`.
pub(in crate::client_limits) fn lines(bytes: usize) -> usize {
    bytes / LINES_PART / CONNECTION_LINE_BYTES
}

/// Returns the class of a request that holds this many bytes.
pub(super) fn class_of(bytes: usize, is_proven: bool) -> u8 {
    2 * u8::from(bytes > REQUEST_SMALL_BYTES) + u8::from(!is_proven)
}

/// Returns the additional bytes of a request.
pub(super) fn more(account: &ConnectionAccount, asked: MemoryRequest) -> usize {
    match asked {
        MemoryRequest::Held(target) => target.saturating_sub(account.held),
        MemoryRequest::Kept(more) => more,
    }
}
