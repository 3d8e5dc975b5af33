//! The commit order: commits of one source enter the log in the order in which they were requested.
//!
//! A source may request its next commit before the last one has returned. Both may then wait for
//! room, and either could find it first. If the later commit entered first, a crash could keep its
//! source offset without the lines of the earlier one, which the source would never read again. The
//! same would happen if the earlier commit were refused, or given up, while the later one waits: so
//! the later one is refused with it.

use crate::base::event_count::EventCount;
use crate::base::lock_rank::{LockRank, RankedGuard};
use crate::base::mutation::Mutation;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

/// Pending commits that carry a source offset, by source.
#[derive(Debug)]
pub(super) struct CommitOrder {
    queues: Mutex<BTreeMap<String, VecDeque<QueuedCommit>>>,
    /// Notified when a commit leaves the order.
    room: Arc<EventCount>,
}

#[derive(Debug)]
struct QueuedCommit {
    number: u64,
    /// In the log: its outcome is known from the log.
    reserved: bool,
    /// An earlier commit failed. The entry stays in the queue until its caller is notified: commits
    /// requested before that are from a source that does not know of the failure.
    aborted: bool,
}

/// The place of a commit among those of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Now,
    Waiting,
    /// An earlier commit was not committed: this one will not be either.
    Aborted,
}

/// The place of a commit in the order; dropped when the commit has returned, however it ends.
pub(super) struct OrderTicket {
    order: Arc<CommitOrder>,
    source: String,
    number: u64,
    committed: bool,
}

impl CommitOrder {
    /// Returns an order of no commits; `room` is notified when one leaves it.
    pub(super) fn new(room: Arc<EventCount>) -> Arc<Self> {
        Arc::new(Self { queues: Mutex::default(), room })
    }

    fn lock(&self) -> RankedGuard<'_, BTreeMap<String, VecDeque<QueuedCommit>>> {
        LockRank::CommitOrder.lock(&self.queues)
    }

    /// Returns whether a commit of the source waits to enter the log.
    pub(super) fn has_waiting(&self, source: &str) -> bool {
        self.lock().get(source).is_some_and(|queue| queue.iter().any(|waiting| !waiting.reserved))
    }
}

impl OrderTicket {
    /// Queues a commit of the source after all that it has requested before; returns its ticket.
    pub(super) fn issue(order: &Arc<CommitOrder>, source: &str) -> Self {
        let mut queues = order.lock();
        let queue = queues.entry(source.to_owned()).or_default();
        let number = queue.back().map_or(0, |last| last.number + 1);
        let aborted = queue.iter().any(|before| before.aborted);
        queue.push_back(QueuedCommit { number, reserved: false, aborted });
        drop(queues);
        Self { order: Arc::clone(order), source: source.to_owned(), number, committed: false }
    }

    /// Returns the source of the commit.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Returns whether the commit may enter the log: once every earlier one of the source has left
    /// the order.
    pub(super) fn turn(&self) -> Turn {
        let queues = self.order.lock();
        let queue = queues.get(&self.source).into_iter().flatten();
        let until_mine = queue.take_while(|waiting| waiting.number <= self.number);
        match until_mine.enumerate().last() {
            _ if Mutation::SourceOffsetsOverlap.is_active() => Turn::Now,
            Some((_, mine)) if mine.aborted => Turn::Aborted,
            Some((at, _)) if at > 0 => Turn::Waiting,
            _ => Turn::Now,
        }
    }

    /// Notes that the commit entered the log.
    pub(super) fn reserved(&self) {
        let mut queues = self.order.lock();
        let mut queue = queues.get_mut(&self.source).into_iter().flatten();
        if let Some(mine) = queue.find(|waiting| waiting.number == self.number) {
            mine.reserved = true;
        }
    }

    /// Notes that the commit returned Ok.
    pub(super) fn committed(mut self) {
        self.committed = true;
    }
}

impl Drop for OrderTicket {
    fn drop(&mut self) {
        let mut queues = self.order.lock();
        let Some(queue) = queues.get_mut(&self.source) else { return };
        queue.retain(|waiting| waiting.number != self.number);
        if !self.committed {
            let behind = queue.iter_mut().filter(|waiting| waiting.number > self.number);
            behind.for_each(|waiting| waiting.aborted = true);
        }
        if queue.is_empty() {
            queues.remove(&self.source);
        }
        drop(queues);
        self.order.room.notify_all();
    }
}
