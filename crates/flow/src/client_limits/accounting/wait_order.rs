//! The order in which connections wait for memory.

use super::memory_request::MemoryRequest;

/// Requests of a class after which its turn advances by one although none was granted.
pub(super) const PASSED_AT_MOST: u64 = 64;

/// Order of a waiting request: its class, its turn in that, and its number.
pub(in crate::client_limits) type Ticket = (u8, u64, u64);

pub(super) struct Waiter {
    pub(super) id: u64,
    pub(super) asked: MemoryRequest,
    pub(super) is_granted: bool,
}

/// The state of the queue's order.
#[derive(Default)]
pub(super) struct WaitOrder {
    /// The turn of each class, which is that of its first request, and the number of its requests so far.
    pub(super) present: [u64; QUEUES as usize],
    pub(super) came: [u64; QUEUES as usize],
    /// The last request of each class that was examined beyond the first ones.
    pub(super) looked_at: [Ticket; QUEUES as usize],
}

impl WaitOrder {
    /// Returns the turn of a new request whose address has no other one waiting.
    pub(super) fn next(&mut self, class: u8) -> u64 {
        let (present, came) =
            (&mut self.present[usize::from(class)], &mut self.came[usize::from(class)]);
        *came += 1;
        *present += u64::from(*came % PASSED_AT_MOST == 0);
        *present
    }
}

/// Number of queues: one for each [`Trust`] of small requests, then of large ones.
pub(super) const QUEUES: u8 = 2 * QUEUE_LARGE;

/// The first queue of large requests.
pub(super) const QUEUE_LARGE: u8 = 3;
