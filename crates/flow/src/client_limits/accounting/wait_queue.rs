//! The queue of requests that wait for memory: its order, and which connections are evicted for them.
//!
//! Limits: [`SERVED_AT_ONCE`] and [`LOOKED_AT_BEYOND`] requests of a class are examined when memory becomes free.
//!
//! Within a class addresses take turns: the first request of each comes before the second of any, however many
//! one of them has, and later requests overtake it a bounded number of times. Requests that cannot be granted are
//! skipped, and of those after the first ones a few different ones are examined each time: no number of requests
//! that have to wait hides one that can be granted.

use super::account::{Accounts, ConnectionAccount, more};
use super::memory_request::{GrantOutcome, MemoryRequest};
use super::shares::ExhaustedShare;
use crate::base::limits::{
    LEAVING_MAX, MEMORY_LOOK_MS, REQUEST_SLOW_AFTER_MS, REQUEST_SMALL_BYTES,
    SMALL_REQUEST_SLOW_AFTER_MS,
};
use crate::client_limits::accounting::wait_order::QUEUE_LARGE;
use crate::client_limits::accounting::wait_order::QUEUES;
use crate::client_limits::accounting::wait_order::Ticket;
use crate::client_limits::accounting::wait_order::Waiter;
use std::cmp::Reverse;
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::atomic::Ordering;

/// Waiting requests of a class that are examined when memory becomes free: the first ones, and some of the
/// others.
const SERVED_AT_ONCE: usize = 48;
const LOOKED_AT_BEYOND: usize = 16;
/// Sources and addresses with an exhausted share for which room is made at a time.
const SHORT_AT_ONCE: usize = 4;
/// Bytes to keep for which connections are evicted at a time: what a dozen connections wait for.
const KEPT_AT_ONCE: usize = 512 * 1024;

/// The order of requests of one size.
#[derive(Clone, Copy)]
enum Trust {
    /// The connection or its address has sent events.
    Proven,
    /// The address is unknown.
    New,
    /// A connection of its address was evicted recently before it sent anything.
    Evicted,
}

impl ConnectionAccount {
    /// Returns the milliseconds for which it has held memory since it last sent something complete.
    pub(super) fn holds_for(&self, now: u64) -> u64 {
        let heard = self.record.heard.load(Ordering::Relaxed);
        now.saturating_sub(self.holds_since.max(heard))
    }
}

impl Accounts {
    fn trust(&self, account: &ConnectionAccount, now: u64) -> Trust {
        if self.is_trusted(account) {
            Trust::Proven
        } else if self.evicted.has(account.address, now) {
            Trust::Evicted
        } else {
            Trust::New
        }
    }

    /// Adds a request to the queue.
    pub(in crate::client_limits) fn wait(
        &mut self,
        id: u64,
        asked: MemoryRequest,
        now: u64,
    ) -> Ticket {
        let number = self.number();
        let trust = self.accounts.get(&id).map_or(Trust::New, |account| self.trust(account, now));
        let bytes = match asked {
            MemoryRequest::Held(bytes) => bytes,
            MemoryRequest::Kept(_) => 0,
        };
        let class = QUEUE_LARGE * u8::from(bytes > REQUEST_SMALL_BYTES) + trust as u8;
        let mut turn = self.turns.next(class);
        if let Some(account) = self.accounts.get_mut(&id) {
            account.waits = Some(class);
            if let Some(address) = self.addresses.get_mut(&account.address) {
                let waiting = &mut address.waiting[usize::from(class)];
                turn += *waiting;
                *waiting += 1;
            }
        }
        let ticket = (class, turn, number);
        self.waiters.insert(ticket, Waiter { id, asked, is_granted: false });
        self.totals.waiting.add(1);
        ticket
    }

    pub(in crate::client_limits) fn is_granted(&self, ticket: Ticket) -> bool {
        self.waiters.get(&ticket).is_some_and(|waiter| waiter.is_granted)
    }

    pub(in crate::client_limits) fn wait_no_more(&mut self, ticket: Ticket) {
        let Some(waiter) = self.waiters.remove(&ticket) else { return };
        if let Some(account) = self.accounts.get_mut(&waiter.id) {
            account.waits = None;
            if let Some(address) = self.addresses.get_mut(&account.address) {
                let waiting = &mut address.waiting[usize::from(ticket.0)];
                *waiting = waiting.saturating_sub(1);
            }
        }
        self.totals.waiting.sub(1);
    }

    /// Grants free memory to waiting requests in their order; small ones overtake large ones that have to wait
    /// longer.
    pub(super) fn serve(&mut self, now: u64) {
        if self.waiters.is_empty() {
            return;
        }
        for (ticket, id, asked) in self.next_in_line() {
            if self.ask(id, asked, now) != GrantOutcome::NotNow
                && let Some(waiter) = self.waiters.get_mut(&ticket)
            {
                waiter.is_granted = true;
                if let Some(account) = self.accounts.get(&id) {
                    account.record.granted.notify_one();
                }
            }
        }
    }

    /// Returns the requests to examine now: the first of each class, and some of the others.
    fn next_in_line(&mut self) -> Vec<(Ticket, u64, MemoryRequest)> {
        let mut all: Vec<(Ticket, u64, MemoryRequest)> = Vec::new();
        for class in 0..QUEUES {
            let (mut last, end) = ((class, 0, 0), (class, u64::MAX, u64::MAX));
            let mut waiting = |from: Ticket, most: usize| {
                let range = self.waiters.range((Bound::Excluded(from), Bound::Included(end)));
                let waiting = range.filter(|(_, waiter)| !waiter.is_granted).take(most);
                let before = all.len();
                all.extend(waiting.map(|(ticket, it)| (*ticket, it.id, it.asked)));
                if all.len() - before < most { None } else { all.last().map(|(it, ..)| *it) }
            };
            if let Some(first) = waiting(last, SERVED_AT_ONCE) {
                let looked_at = self.turns.looked_at[usize::from(class)].max(first);
                last = waiting(looked_at, LOOKED_AT_BEYOND).unwrap_or(last);
            }
            self.turns.looked_at[usize::from(class)] = last;
            let first = all.iter().find(|(ticket, ..)| ticket.0 == class);
            let present = &mut self.turns.present[usize::from(class)];
            *present = first.map_or(0, |(ticket, ..)| ticket.1).max(*present);
        }
        all
    }

    /// Makes room for waiting requests: evicts slow connections that hold memory, or, for memory to keep, those
    /// that have been silent longest.
    pub(in crate::client_limits) fn make_room(&mut self, now: u64) {
        if now < self.look_at {
            return;
        }
        self.look_at = now + MEMORY_LOOK_MS;
        self.serve(now);
        for (short, asked, wanted, address) in self.wanted() {
            let is_kept = matches!(asked, MemoryRequest::Kept(_));
            if is_kept {
                let newcomer = self.newcomer(address, now);
                self.close_silent(short, wanted, Some(newcomer), now);
            }
            if !is_kept || self.kept + self.held + wanted > self.memory_max {
                self.close_slow(short, wanted, now);
            }
        }
    }

    /// Returns what the first requests of each kind, and of each exhausted share, wait for: no kind waits until
    /// another one is done.
    fn wanted(&self) -> Vec<(ExhaustedShare, MemoryRequest, usize, IpAddr)> {
        let is_kept = |asked: &MemoryRequest| matches!(asked, MemoryRequest::Kept(_));
        let mut all: Vec<(ExhaustedShare, MemoryRequest, usize, IpAddr)> = Vec::new();
        let (mut of_all, mut others) = (0, 0);
        for waiter in self.waiters.values().filter(|waiter| !waiter.is_granted) {
            let Some(account) = self.accounts.get(&waiter.id) else { continue };
            let Some(short) = self.lacks(account, waiter.asked) else { continue };
            let same = |it: &(ExhaustedShare, MemoryRequest, usize, IpAddr)| {
                it.0 == short && is_kept(&it.1) == is_kept(&waiter.asked)
            };
            let count = if short == ExhaustedShare::All { &mut of_all } else { &mut others };
            let wanted = more(account, waiter.asked);
            if let Some(first) = all.iter_mut().find(|it| same(it)) {
                // For a few at once: otherwise each of them would wait for a pass of its own.
                if is_kept(&waiter.asked) && first.2 < KEPT_AT_ONCE {
                    first.2 += wanted;
                }
            } else if *count < SHORT_AT_ONCE {
                *count += 1;
                all.push((short, waiter.asked, wanted, account.address));
            }
        }
        all
    }

    /// Returns the bytes to keep that the first connections wait for.
    pub(super) fn waited_for(&self) -> usize {
        let waiting = self.waiters.values().filter(|waiter| !waiter.is_granted);
        let kept =
            waiting.take(SERVED_AT_ONCE).filter(|it| matches!(it.asked, MemoryRequest::Kept(_)));
        let of = kept.filter_map(|waiter| {
            let account = self.accounts.get(&waiter.id)?;
            Some(more(account, waiter.asked))
        });
        of.sum()
    }

    /// Returns the bytes that leaving connections will return.
    pub(super) fn of_those_that_leave(
        &self,
        short: ExhaustedShare,
        bytes: fn(&ConnectionAccount) -> usize,
    ) -> usize {
        let leave = |account: &&ConnectionAccount| {
            account.record.leaves.load(Ordering::Acquire) && short.concerns(account)
        };
        self.accounts.values().filter(leave).map(bytes).sum()
    }

    fn close_slow(&mut self, short: ExhaustedShare, wanted: usize, now: u64) {
        let is_slow = |account: &ConnectionAccount| {
            let record = &account.record;
            let age = account.holds_for(now);
            let is_small = account.held <= REQUEST_SMALL_BYTES;
            let after = if is_small { SMALL_REQUEST_SLOW_AFTER_MS } else { REQUEST_SLOW_AFTER_MS };
            !record.is_busy.load(Ordering::Acquire)
                && !record.leaves.load(Ordering::Acquire)
                && account.held > 0
                && age >= after
                && now >= account.brisk_until
                && short.concerns(account)
        };
        // Connections that themselves wait come after those that only make others wait.
        let rank = |id: &u64, account: &ConnectionAccount| {
            (self.is_trusted(account), account.waits.is_some(), Reverse(account.held), *id)
        };
        let slow = self.accounts.iter().filter(|(_, account)| is_slow(account));
        let mut slow: Vec<_> = slow.map(|(id, account)| rank(id, account)).collect();
        slow.sort_unstable();
        let mut freed = self.of_those_that_leave(short, |account| account.held);
        for (_, _, Reverse(held), id) in slow {
            if freed >= wanted || self.leaving >= LEAVING_MAX {
                return;
            }
            freed += held;
            self.send_away(id, now);
        }
    }
}
