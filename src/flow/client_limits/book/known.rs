//! The addresses that have brought events: their newcomers come first where places or memory are short. A client that
//! connects for each request is known although none of its connections is open. Of IPv6 they are networks of 64 bits.
//!
//! Limits: [`KNOWN_ADDRESSES_MAX`], each for [`KNOWN_ADDRESS_MS`].

use crate::base::limits::{KNOWN_ADDRESS_MS, KNOWN_ADDRESSES_MAX};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

#[derive(Default)]
pub(super) struct Known {
    heard: HashMap<IpAddr, u64>,
    /// The same by time: the one that was heard of longest ago makes room.
    by_time: BTreeSet<(u64, IpAddr)>,
}

impl Known {
    /// The address has brought something at `when`.
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

    /// Whether the address has brought something not long before `now`.
    pub(super) fn has(&self, address: IpAddr, now: u64) -> bool {
        let heard = self.heard.get(&address);
        heard.is_some_and(|heard| now.saturating_sub(*heard) <= KNOWN_ADDRESS_MS)
    }
}
