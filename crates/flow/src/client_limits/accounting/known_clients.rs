//! Addresses with the time when they were last seen. Newcomers from addresses that have sent events take
//! precedence when connections or memory are short: a client that connects for each request is known although
//! none of its connections is open. Addresses of which a connection was evicted before it sent anything come
//! last. IPv6 addresses are recorded as networks of 64 bits.
//!
//! Limits: [`KNOWN_ADDRESSES_MAX`] of each kind.

use crate::base::limits::KNOWN_ADDRESSES_MAX;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

pub(super) struct KnownClients {
    /// Milliseconds for which an address is known.
    lasts_ms: u64,
    heard: HashMap<IpAddr, u64>,
    /// The addresses by time: the one seen longest ago is removed first.
    by_time: BTreeSet<(u64, IpAddr)>,
}

impl KnownClients {
    pub(super) fn new(lasts_ms: u64) -> Self {
        Self { lasts_ms, heard: HashMap::new(), by_time: BTreeSet::new() }
    }

    /// Records that the address was seen at `when`.
    pub(super) fn is_heard(&mut self, address: IpAddr, when: u64) {
        let before = self.heard.get(&address).copied();
        if before.is_some_and(|before| before >= when) {
            return;
        }
        if let Some(before) = before {
            self.by_time.remove(&(before, address));
        }
        self.heard.insert(address, when);
        self.by_time.insert((when, address));
        if self.heard.len() > KNOWN_ADDRESSES_MAX
            && let Some((_, oldest)) = self.by_time.pop_first()
        {
            self.heard.remove(&oldest);
        }
    }

    /// Returns true if the address was seen recently before `now`.
    pub(super) fn has(&self, address: IpAddr, now: u64) -> bool {
        let heard = self.heard.get(&address);
        heard.is_some_and(|heard| now.saturating_sub(*heard) <= self.lasts_ms)
    }
}
