//! Requests that wait for memory: their order, and who gives memory up for them.
//!
//! Limits: [`SERVED_AT_ONCE`] and [`LOOKED_AT_BEYOND`] requests of a class are looked at when memory becomes free.
//!
//! Within a class addresses take turns: the first request of each comes before the second of any, however many one
//! of them has, and those that come later pass it a bounded number of times. What cannot be granted is passed by, and of those that come after the first ones a few are looked at
//! each time, others each time: no number of requests that have to wait on hides one that does not.

use super::shares::Short;
use super::{Account, Answer, Asked, Book, CLASSES, class_of, more};
use crate::base::limits::{
    LEAVING_MAX, MEMORY_LOOK_MS, REQUEST_BYTES_PER_SECOND_MIN, REQUEST_SLOW_AFTER_MS,
    REQUEST_SMALL_BYTES, SMALL_REQUEST_SLOW_AFTER_MS,
};
use std::cmp::Reverse;
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::atomic::Ordering;

/// Requests that wait, of a class, that are looked at when memory becomes free: the first ones, and some of the
/// others.
const SERVED_AT_ONCE: usize = 48;
const LOOKED_AT_BEYOND: usize = 16;
/// Requests of a class after which its turn goes on by one although none was granted.
const PASSED_AT_MOST: u64 = 64;
/// Sources and addresses with a share of their own used up, for which room is made at a time.
const SHORT_AT_ONCE: usize = 4;

/// How many others a request that waits comes after: its class, its turn in that, and its number.
pub(in crate::flow::client_limits) type Ticket = (u8, u64, u64);

pub(super) struct Waiter {
    id: u64,
    asked: Asked,
    is_granted: bool,
}

/// The queue's order.
#[derive(Default)]
pub(super) struct Turns {
    /// The turn of each class, that of its first request, and how many requests it has had.
    present: [u64; CLASSES as usize],
    came: [u64; CLASSES as usize],
    /// The last request of each class that was looked at beyond the first ones.
    looked_at: [Ticket; CLASSES as usize],
}

impl Turns {
    /// The turn of a request that comes now, where its address has none that waits.
    fn next(&mut self, class: u8) -> u64 {
        let (present, came) =
            (&mut self.present[usize::from(class)], &mut self.came[usize::from(class)]);
        *came += 1;
        *present += u64::from(*came % PASSED_AT_MOST == 0);
        *present
    }
}

impl Account {
    /// Milliseconds for which it has held memory since it last brought something whole.
    pub(super) fn holds_for(&self, now: u64) -> u64 {
        let heard = self.record.heard.load(Ordering::Relaxed);
        now.saturating_sub(self.holds_since.max(heard))
    }
}

impl Book {
    /// A place in the queue.
    pub(in crate::flow::client_limits) fn wait(&mut self, id: u64, asked: Asked) -> Ticket {
        let number = self.number();
        let is_trusted = self.accounts.get(&id).is_some_and(|account| self.is_trusted(account));
        let bytes = match asked {
            Asked::Held(bytes) => bytes,
            Asked::Kept(_) => 0,
        };
        let class = class_of(bytes, is_trusted);
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

    pub(in crate::flow::client_limits) fn is_granted(&self, ticket: Ticket) -> bool {
        self.waiters.get(&ticket).is_some_and(|waiter| waiter.is_granted)
    }

    pub(in crate::flow::client_limits) fn wait_no_more(&mut self, ticket: Ticket) {
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

    /// Gives what is there to those that wait, in their order; small ones pass large ones that have to
    /// wait on.
    pub(super) fn serve(&mut self, now: u64) {
        if self.waiters.is_empty() {
            return;
        }
        for (ticket, id, asked) in self.next_in_line() {
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

    /// Those that are looked at now: the first of each class, and some of the others.
    fn next_in_line(&mut self) -> Vec<(Ticket, u64, Asked)> {
        let mut all: Vec<(Ticket, u64, Asked)> = Vec::new();
        for class in 0..CLASSES {
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

    /// Somebody waits for memory: tells those to go that hold it and are slow, or, where it is wanted
    /// to keep, those that have been silent longest.
    pub(in crate::flow::client_limits) fn make_room(&mut self, now: u64) {
        if now < self.look_at {
            return;
        }
        self.look_at = now + MEMORY_LOOK_MS;
        self.serve(now);
        for (short, asked, wanted, address) in self.wanted() {
            let is_kept = matches!(asked, Asked::Kept(_));
            let of_kept = self.kept + wanted > self.kept_max() || short != Short::All;
            if is_kept && of_kept {
                let newcomer = self.newcomer(address, now);
                self.close_silent(short, wanted, Some(newcomer), now);
            }
            if !is_kept || self.kept + self.held + wanted > self.memory_max {
                self.close_slow(short, wanted, now);
            }
        }
    }

    /// What the first ones wait for of each kind, and of each whose share is used up: none has to wait until
    /// there is none of the others.
    fn wanted(&self) -> Vec<(Short, Asked, usize, IpAddr)> {
        let is_kept = |asked: &Asked| matches!(asked, Asked::Kept(_));
        let mut all: Vec<(Short, Asked, usize, IpAddr)> = Vec::new();
        let (mut of_all, mut others) = (0, 0);
        for waiter in self.waiters.values().filter(|waiter| !waiter.is_granted) {
            let Some(account) = self.accounts.get(&waiter.id) else { continue };
            let Some(short) = self.lacks(account, waiter.asked) else { continue };
            let same = |it: &(Short, Asked, usize, IpAddr)| {
                it.0 == short && is_kept(&it.1) == is_kept(&waiter.asked)
            };
            let count = if short == Short::All { &mut of_all } else { &mut others };
            if *count < SHORT_AT_ONCE && !all.iter().any(same) {
                *count += 1;
                let wanted = more(account, waiter.asked);
                all.push((short, waiter.asked, wanted, account.address));
            }
            // Of all there are two kinds.
            if of_all == 2 && others == SHORT_AT_ONCE {
                break;
            }
        }
        all
    }

    /// Bytes to keep for which connections wait, the first ones.
    pub(super) fn waited_for(&self) -> usize {
        let waiting = self.waiters.values().filter(|waiter| !waiter.is_granted);
        let kept = waiting.take(SERVED_AT_ONCE).filter(|it| matches!(it.asked, Asked::Kept(_)));
        let of = kept.filter_map(|waiter| {
            let account = self.accounts.get(&waiter.id)?;
            Some(more(account, waiter.asked))
        });
        of.sum()
    }

    /// What will be given back soon.
    pub(super) fn of_those_that_leave(&self, short: Short, bytes: fn(&Account) -> usize) -> usize {
        let leave = |account: &&Account| {
            account.record.leaves.load(Ordering::Acquire) && short.concerns(account)
        };
        self.accounts.values().filter(leave).map(bytes).sum()
    }

    fn close_slow(&mut self, short: Short, wanted: usize, now: u64) {
        let is_slow = |account: &Account| {
            let record = &account.record;
            let age = account.holds_for(now);
            let is_small = account.held <= REQUEST_SMALL_BYTES;
            let after = if is_small { SMALL_REQUEST_SLOW_AFTER_MS } else { REQUEST_SLOW_AFTER_MS };
            let rate = account.held as u64 * 1000 / age.max(1);
            !record.is_busy.load(Ordering::Acquire)
                && !record.leaves.load(Ordering::Acquire)
                && account.held > 0
                && age >= after
                && rate < REQUEST_BYTES_PER_SECOND_MIN
                && short.concerns(account)
        };
        // Those that wait themselves after those that only let others wait.
        let rank = |id: &u64, account: &Account| {
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
            self.send_away(id);
        }
    }
}
