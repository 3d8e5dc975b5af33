//! Shares: what one address, or all clients of one source, may have of what there is for everybody.
//!
//! Limits: [`PLACES_PER_FREE`] and the parts of the budget below.
//!
//! A share depends on what is free, so it shrinks as others come: whoever has `n` times what is free gets nothing
//! more. However many sources hold what they have for ever, since their channels take nothing, and however many
//! addresses do, the next one still finds something; none has to be known or counted beforehand.

use super::{Account, Address, Asked, Book, Listener, class_of, more};
use std::net::{IpAddr, Ipv6Addr};

/// A source, where there are several, and an address have at most so many times the places for connections, and
/// the memory that connections keep, that are free.
const PLACES_PER_FREE: usize = 7;

/// Requests of each class fill at most so many sixteenths of the memory, and of what is free beside those of
/// their source. The last part is for small requests of those that have brought something.
const CLASS_SIXTEENTHS: [usize; 4] = [16, 15, 14, 13];

/// Whose share is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Short {
    /// That of all clients.
    All,
    /// That of the source with this number.
    Source(u64),
    /// That of this address.
    Address(IpAddr),
}

impl Short {
    /// Whether it is less short once the connection gives something back.
    pub(super) fn concerns(self, account: &Account) -> bool {
        match self {
            Self::All => true,
            Self::Source(gate) => account.gate == gate,
            Self::Address(address) => account.address == address,
        }
    }
}

/// Whom the memory and places of a connection from `address` are counted for: a network of 64 bits of IPv6 is one
/// machine's or one customer's, and has as many addresses as it likes.
pub(super) fn holder(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            Ipv6Addr::from(network).into()
        }
    }
}

impl Book {
    /// What keeps the connection from having what it asks for, and the bytes that it lacks; `None` where it may
    /// have them.
    pub(super) fn lacks(&self, account: &Account, asked: Asked) -> Option<Short> {
        let more = more(account, asked);
        let listener = self.listeners.get(&account.gate);
        let address = self.addresses.get(&account.address);
        match asked {
            Asked::Kept(_) => self.lacks_kept(listener, address, account, more),
            Asked::Held(target) => self.lacks_held(listener, address, account, (target, more)),
        }
    }

    fn lacks_kept(
        &self,
        listener: Option<&Listener>,
        address: Option<&Address>,
        account: &Account,
        more: usize,
    ) -> Option<Short> {
        let free = self.kept_max().saturating_sub(self.kept);
        if more > free || self.kept + self.held + more > self.memory_max {
            Some(Short::All)
        } else if self.has_too_much(listener.map_or(0, |it| it.kept) + more, free) {
            Some(Short::Source(account.gate))
        } else if address.map_or(0, |it| it.kept) + more > PLACES_PER_FREE * free {
            Some(Short::Address(account.address))
        } else {
            None
        }
    }

    fn lacks_held(
        &self,
        listener: Option<&Listener>,
        address: Option<&Address>,
        account: &Account,
        (target, more): (usize, usize),
    ) -> Option<Short> {
        let class = class_of(target, self.is_trusted(account));
        let sixteenths = CLASS_SIXTEENTHS[usize::from(class)];
        let taken = self.kept + self.held;
        let mut most = self.memory_max / 16 * sixteenths;
        if account.held == 0 && self.held == 0 {
            most = most.max(self.request_bytes_max());
        }
        if taken + more > most {
            return Some(Short::All);
        }
        // As much as is free, but for one request of it. What comes later in the order does not count: a source that
        // is attacked has its share full of that, and those that mean well bring small requests.
        let of_source = listener.map_or(0, |it| it.held[..=usize::from(class)].iter().sum());
        let own = if account.held_class <= class { account.held } else { 0 };
        let others: usize = of_source - own;
        let free = self.memory_max.saturating_sub(taken);
        let is_large = (others + target) / sixteenths > free / 16;
        if self.listeners.len() > 1 && others > 0 && is_large {
            return Some(Short::Source(account.gate));
        }
        let (kept, held) = address.map_or((0, 0), |it| (it.kept, it.held));
        // One address leaves half of everything to others, but for one request of it, and a little for requests
        // where its connections alone keep half.
        let is_fair = held == account.held
            || taken + more <= self.memory_max / 2
            || held + more <= self.memory_max / 16
            || (held + more <= self.memory_max / 4 && kept + held + more <= self.memory_max / 2);
        (!is_fair).then_some(Short::Address(account.address))
    }

    /// Whether a place for one more connection, which keeps `bytes`, is beyond the share of its source or address.
    /// There is one.
    pub(super) fn lacks_place(
        &self,
        gate: u64,
        (address, bytes): (IpAddr, usize),
    ) -> Option<Short> {
        let places = self.connections_max.saturating_sub(self.accounts.len());
        let memory = self.kept_max().saturating_sub(self.kept);
        let source = self.listeners.get(&gate).map_or((0, 0), |it| (it.connections, it.kept));
        let own = self.addresses.get(&address).map_or((0, 0), |it| (it.connections, it.kept));
        if self.has_too_much(source.0 + 1, places) || self.has_too_much(source.1 + bytes, memory) {
            Some(Short::Source(gate))
        } else if own.0 + 1 > PLACES_PER_FREE * places || own.1 + bytes > PLACES_PER_FREE * memory {
            Some(Short::Address(address))
        } else {
            None
        }
    }

    /// Whether a source that had `own` would have more than its share while `free` is left: where there is no
    /// other, it has everything.
    fn has_too_much(&self, own: usize, free: usize) -> bool {
        self.listeners.len() > 1 && own > PLACES_PER_FREE * free
    }
}
