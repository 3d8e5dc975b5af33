//! Shares: the part of the common resources that one address, or all clients of one source, may use.
//!
//! Limits: [`PLACES_PER_FREE`] and the parts of the budget below.
//!
//! A share depends on what is free, so it shrinks as others arrive: a holder of `n` times the free amount gets
//! nothing more. However many sources keep what they have because their channels take nothing, and however many
//! addresses do, the next one still gets something; none has to be known or counted beforehand.

use super::account::{Accounts, AddressUsage, ConnectionAccount, SourceUsage, class_of, more};
use super::memory_request::MemoryRequest;
use std::net::{IpAddr, Ipv6Addr};

/// A source, if there are several, and an address may have at most this many times the free places for
/// connections, and the free memory that connections keep.
const PLACES_PER_FREE: usize = 7;

/// Requests of each class fill at most this many sixteenths of the memory, and of what is free without those of
/// their source. The last part is for small requests of clients that have sent something.
const CLASS_SIXTEENTHS: [usize; 4] = [16, 15, 14, 13];

/// The share that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExhaustedShare {
    /// That of all clients.
    All,
    /// That of the source with this number.
    Source(u64),
    /// That of this address.
    Address(IpAddr),
}

impl ExhaustedShare {
    /// Returns true if memory that the connection returns would relieve it.
    pub(super) fn concerns(self, account: &ConnectionAccount) -> bool {
        match self {
            Self::All => true,
            Self::Source(gate) => account.gate == gate,
            Self::Address(address) => account.address == address,
        }
    }
}

/// Returns the holder of a share for connections from `address`: an IPv6 network of 64 bits belongs to one
/// machine or one customer, which can use as many of its addresses as it wants.
pub(super) fn holder(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            Ipv6Addr::from(network).into()
        }
    }
}

impl Accounts {
    /// Returns the share that prevents a grant, and the bytes that are missing; `None` if it can be granted.
    pub(super) fn lacks(
        &self,
        account: &ConnectionAccount,
        asked: MemoryRequest,
    ) -> Option<ExhaustedShare> {
        let more = more(account, asked);
        let listener = self.listeners.get(&account.gate);
        let address = self.addresses.get(&account.address);
        match asked {
            MemoryRequest::Kept(_) => self.lacks_kept(listener, address, account, more),
            MemoryRequest::Held(target) => {
                self.lacks_held(listener, address, account, (target, more))
            }
        }
    }

    fn lacks_kept(
        &self,
        listener: Option<&SourceUsage>,
        address: Option<&AddressUsage>,
        account: &ConnectionAccount,
        more: usize,
    ) -> Option<ExhaustedShare> {
        let free = self.kept_max().saturating_sub(self.kept);
        if more > free || self.kept + self.held + more > self.memory_max {
            Some(ExhaustedShare::All)
        } else if self.has_too_much(listener.map_or(0, |it| it.kept) + more, free) {
            Some(ExhaustedShare::Source(account.gate))
        } else if address.map_or(0, |it| it.kept) + more > PLACES_PER_FREE * free {
            Some(ExhaustedShare::Address(account.address))
        } else {
            None
        }
    }

    fn lacks_held(
        &self,
        listener: Option<&SourceUsage>,
        address: Option<&AddressUsage>,
        account: &ConnectionAccount,
        (target, more): (usize, usize),
    ) -> Option<ExhaustedShare> {
        let class = class_of(target, self.is_trusted(account));
        let sixteenths = CLASS_SIXTEENTHS[usize::from(class)];
        let taken = self.kept + self.held;
        let mut most = self.memory_max / 16 * sixteenths;
        if account.held == 0 && self.held == 0 {
            most = most.max(self.request_bytes_max());
        }
        if taken + more > most {
            return Some(ExhaustedShare::All);
        }
        // As much as is free, without one request of it. Classes that come later do not count: a source under
        // attack has its share full of those, while legitimate clients send small requests.
        let of_source = listener.map_or(0, |it| it.held[..=usize::from(class)].iter().sum());
        let own = if account.held_class <= class { account.held } else { 0 };
        let others: usize = of_source - own;
        let free = self.memory_max.saturating_sub(taken);
        let is_large = (others + target) / sixteenths > free / 16;
        if self.listeners.len() > 1 && others > 0 && is_large {
            return Some(ExhaustedShare::Source(account.gate));
        }
        let (kept, held) = address.map_or((0, 0), |it| (it.kept, it.held));
        // One address leaves half of everything to others, without one request of it, and a little for requests
        // if its connections alone keep half.
        let is_fair = held == account.held
            || taken + more <= self.memory_max / 2
            || held + more <= self.memory_max / 16
            || (held + more <= self.memory_max / 4 && kept + held + more <= self.memory_max / 2);
        (!is_fair).then_some(ExhaustedShare::Address(account.address))
    }

    /// Returns the share that a further connection, which keeps `bytes`, would exceed, although there is a place
    /// for it.
    pub(super) fn lacks_place(
        &self,
        gate: u64,
        (address, bytes): (IpAddr, usize),
    ) -> Option<ExhaustedShare> {
        let places = self.connections_max.saturating_sub(self.accounts.len());
        let memory = self.kept_max().saturating_sub(self.kept);
        let source = self.listeners.get(&gate).map_or((0, 0), |it| (it.connections, it.kept));
        let own = self.addresses.get(&address).map_or((0, 0), |it| (it.connections, it.kept));
        if self.has_too_much(source.0 + 1, places) || self.has_too_much(source.1 + bytes, memory) {
            Some(ExhaustedShare::Source(gate))
        } else if own.0 + 1 > PLACES_PER_FREE * places || own.1 + bytes > PLACES_PER_FREE * memory {
            Some(ExhaustedShare::Address(address))
        } else {
            None
        }
    }

    /// Returns true if a source with `own` would exceed its share while `free` is left: a single source may use
    /// everything.
    fn has_too_much(&self, own: usize, free: usize) -> bool {
        self.listeners.len() > 1 && own > PLACES_PER_FREE * free
    }
}
