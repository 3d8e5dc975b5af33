//! Records that were read and wait for takes, by partition, and to which take they are lent.
//!
//! A partition is lent to one take at a time, so that the offset committed for it never passes an event that another
//! take still has. Handed back, its events return to its front in their order.
//!
//! Invariant: what a take holds of a partition counts only while the partition is assigned: after it was taken away, a
//! commit of the take does not touch its offset.

use crate::client::TopicPartition;
use bytes::Bytes;
use millpond::Event;
use std::collections::{BTreeMap, VecDeque};

/// A record that is not an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UndecodableRecord {
    pub(super) value: Bytes,
    pub(super) why: String,
}

/// What a record holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RecordContent {
    Event(Event),
    Undecodable(UndecodableRecord),
    /// An undecodable record that is in the dead letters.
    Stored,
}

impl RecordContent {
    fn bytes(&self) -> usize {
        match self {
            Self::Event(event) => {
                let headers = event.headers.iter().map(|(name, value)| name.len() + value.len());
                event.body.len() + headers.sum::<usize>() + RECORD_BYTES
            }
            Self::Undecodable(record) => record.value.len() + RECORD_BYTES,
            Self::Stored => RECORD_BYTES,
        }
    }
}

/// Memory of a record besides its texts, bytes.
const RECORD_BYTES: usize = 96;

/// A take that borrows partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loan(u64);

/// What a call of [`LendingBuffer::lend`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lent {
    /// Events, at least one.
    Events(Vec<Event>),
    /// A record that is not an event is next: store it, then call [`LendingBuffer::pass_stored`].
    Undecodable(TopicPartition, i64, UndecodableRecord),
    /// Nothing waits that is not lent to others.
    Nothing,
}

#[derive(Debug, Default)]
struct PartitionQueue {
    waiting: VecDeque<(i64, RecordContent)>,
    lent: VecDeque<(i64, RecordContent)>,
    borrower: Option<Loan>,
    is_revoked: bool,
}

/// The records of all assigned partitions.
#[derive(Debug, Default)]
pub(super) struct LendingBuffer {
    partitions: BTreeMap<TopicPartition, PartitionQueue>,
    /// The partition that was lent last: the next one is looked at first.
    last: Option<TopicPartition>,
    loans: u64,
    bytes: usize,
    lent_events: u64,
    /// Offsets of committed takes that the broker has not confirmed.
    unconfirmed: BTreeMap<TopicPartition, i64>,
}

impl LendingBuffer {
    pub(super) fn begin(&mut self) -> Loan {
        self.loans += 1;
        Loan(self.loans)
    }

    /// Bytes of the records that wait or are lent.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn lent_events(&self) -> u64 {
        self.lent_events
    }

    /// Returns the number of events that were read, lent ones included.
    #[cfg(test)]
    pub(super) fn read_events(&self) -> u64 {
        self.lent_events + self.partitions.values().map(|q| events_of(&q.waiting)).sum::<u64>()
    }

    pub(super) fn assign(&mut self, partitions: &[TopicPartition]) {
        for at in partitions {
            self.remove(std::slice::from_ref(at));
            self.partitions.insert(at.clone(), PartitionQueue::default());
        }
    }

    /// Adds a record that was read; one of a partition that is not assigned is dropped, and read again by its member.
    pub(super) fn push(&mut self, at: &TopicPartition, offset: i64, content: RecordContent) {
        let Some(queue) = self.partitions.get_mut(at).filter(|queue| !queue.is_revoked) else {
            return;
        };
        self.bytes += content.bytes();
        queue.waiting.push_back((offset, content));
    }

    /// Lends nothing more of these partitions.
    pub(super) fn revoke(&mut self, partitions: &[TopicPartition]) {
        for at in partitions {
            let Some(queue) = self.partitions.get_mut(at) else { continue };
            queue.is_revoked = true;
            self.bytes -=
                queue.waiting.drain(..).map(|(_, content)| content.bytes()).sum::<usize>();
        }
    }

    /// Returns true if a take has events of one of these partitions.
    pub(super) fn is_lent(&self, partitions: &[TopicPartition]) -> bool {
        let queues = partitions.iter().filter_map(|at| self.partitions.get(at));
        queues.into_iter().any(|queue| queue.borrower.is_some())
    }

    /// Forgets these partitions; takes that have events of them cannot commit those any more.
    pub(super) fn remove(&mut self, partitions: &[TopicPartition]) {
        for at in partitions {
            let Some(queue) = self.partitions.remove(at) else { continue };
            let all = queue.waiting.iter().chain(&queue.lent);
            self.bytes -= all.map(|(_, content)| content.bytes()).sum::<usize>();
            self.lent_events -= events_of(&queue.lent);
            self.unconfirmed.remove(at);
        }
    }

    /// Returns all assigned partitions.
    pub(super) fn assigned(&self) -> Vec<TopicPartition> {
        self.partitions.keys().cloned().collect()
    }

    /// Lends up to `max` events to `loan`.
    pub(super) fn lend(&mut self, loan: Loan, max: usize) -> Lent {
        let mut events = Vec::new();
        for at in self.in_turn(loan) {
            let Some(queue) = self.partitions.get_mut(&at) else { continue };
            while events.len() < max {
                match queue.waiting.front() {
                    None => break,
                    Some((offset, RecordContent::Undecodable(record))) => {
                        if !events.is_empty() {
                            return Lent::Events(events);
                        }
                        queue.borrower = Some(loan);
                        return Lent::Undecodable(at, *offset, record.clone());
                    }
                    Some((_, RecordContent::Event(event))) => {
                        events.push(event.clone());
                        self.lent_events += 1;
                    }
                    Some((_, RecordContent::Stored)) => {}
                }
                queue.borrower = Some(loan);
                queue.lent.extend(queue.waiting.pop_front());
                self.last = Some(at.clone());
            }
            if events.len() >= max {
                break;
            }
        }
        if events.is_empty() { Lent::Nothing } else { Lent::Events(events) }
    }

    /// Returns the partitions that may be lent to `loan`: its own first, then those after the last one.
    fn in_turn(&self, loan: Loan) -> Vec<TopicPartition> {
        let own = self.partitions.iter().filter(|(_, queue)| queue.borrower == Some(loan));
        let is_later = |at: &TopicPartition| self.last.as_ref().is_none_or(|last| at > last);
        let first = self.partitions.iter().filter(|(at, _)| is_later(at));
        let then = self.partitions.iter().filter(|(at, _)| !is_later(at));
        let free = first.chain(then).filter(|(_, queue)| queue.borrower.is_none());
        let open = own.chain(free).filter(|(_, q)| !q.is_revoked && !q.waiting.is_empty());
        open.map(|(at, _)| at.clone()).collect()
    }

    /// Passes the undecodable record that is next in `at` and was stored.
    pub(super) fn pass_stored(&mut self, loan: Loan, at: &TopicPartition, offset: i64) {
        let Some(queue) = self.partitions.get_mut(at) else { return };
        let is_it = |(first, _): &(i64, RecordContent)| *first == offset;
        if queue.borrower != Some(loan) || !queue.waiting.front().is_some_and(is_it) {
            return;
        }
        if let Some((offset, content)) = queue.waiting.pop_front() {
            self.bytes = self.bytes - content.bytes() + RECORD_BYTES;
            queue.lent.push_back((offset, RecordContent::Stored));
        }
    }

    /// Returns the offsets that acknowledge what `loan` has, and the number of its events there.
    pub(super) fn offsets(&self, loan: Loan) -> (Vec<(TopicPartition, i64)>, u64) {
        let own = self.partitions.iter().filter(|(_, queue)| queue.borrower == Some(loan));
        let (mut offsets, mut events) = (Vec::new(), 0);
        for (at, queue) in own {
            offsets.extend(queue.lent.back().map(|(offset, _)| (at.clone(), offset + 1)));
            events += events_of(&queue.lent);
        }
        (offsets, events)
    }

    /// Ends a loan: its events are done, or return to the front.
    pub(super) fn end(&mut self, loan: Loan, is_done: bool) {
        let mut gone = Vec::new();
        for (at, queue) in &mut self.partitions {
            if queue.borrower != Some(loan) {
                continue;
            }
            queue.borrower = None;
            self.lent_events -= events_of(&queue.lent);
            if is_done {
                self.bytes -= queue.lent.drain(..).map(|(_, c)| c.bytes()).sum::<usize>();
            } else {
                while let Some(record) = queue.lent.pop_back() {
                    queue.waiting.push_front(record);
                }
            }
            if queue.is_revoked {
                gone.push(at.clone());
            }
        }
        // What was handed back of a revoked partition is for its next member.
        self.revoke(&gone);
    }

    /// Notes offsets that the broker has not confirmed, of partitions that are still assigned.
    pub(super) fn add_unconfirmed(&mut self, offsets: &[(TopicPartition, i64)]) {
        for (at, offset) in offsets.iter().filter(|(at, _)| self.partitions.contains_key(at)) {
            self.unconfirmed.insert(at.clone(), *offset);
        }
    }

    /// Notes offsets that the broker has, and with them all before them.
    pub(super) fn confirm(&mut self, offsets: &[(TopicPartition, i64)]) {
        for (at, offset) in offsets {
            if self.unconfirmed.get(at).is_some_and(|open| open <= offset) {
                self.unconfirmed.remove(at);
            }
        }
    }

    pub(super) fn unconfirmed(&self) -> Vec<(TopicPartition, i64)> {
        self.unconfirmed.iter().map(|(at, offset)| (at.clone(), *offset)).collect()
    }
}

fn events_of(records: &VecDeque<(i64, RecordContent)>) -> u64 {
    let events = records.iter().filter(|(_, content)| matches!(content, RecordContent::Event(_)));
    events.count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: i32) -> TopicPartition {
        TopicPartition { topic: "t".into(), partition }
    }

    /// A buffer of partitions with these numbers of events, named by partition and offset.
    fn buffer(counts: &[i64]) -> LendingBuffer {
        let mut buffer = LendingBuffer::default();
        for (partition, count) in (0_i32..).zip(counts) {
            buffer.assign(&[at(partition)]);
            for offset in 0..*count {
                let event = Event::new(format!("{partition}.{offset}"));
                buffer.push(&at(partition), offset, RecordContent::Event(event));
            }
        }
        buffer
    }

    fn bodies(lent: Lent) -> Vec<String> {
        match lent {
            Lent::Events(events) => {
                events.iter().map(|e| String::from_utf8_lossy(&e.body).into_owned()).collect()
            }
            Lent::Nothing => Vec::new(),
            Lent::Undecodable(..) => panic!("an event"),
        }
    }

    #[test]
    fn a_partition_is_lent_to_one_take_and_the_others_get_the_rest() {
        let mut buffer = buffer(&[3, 2]);
        let (one, two, three) = (buffer.begin(), buffer.begin(), buffer.begin());
        assert_eq!(bodies(buffer.lend(one, 2)), ["0.0", "0.1"]);
        assert_eq!(bodies(buffer.lend(two, 9)), ["1.0", "1.1"]);
        assert_eq!(buffer.lend(three, 9), Lent::Nothing);
        assert_eq!(buffer.lent_events(), 4);
        assert_eq!(bodies(buffer.lend(one, 9)), ["0.2"]);
        assert_eq!(buffer.offsets(one), (vec![(at(0), 3)], 3));
        buffer.end(one, true);
        buffer.end(two, false);
        assert_eq!(bodies(buffer.lend(three, 9)), ["1.0", "1.1"]);
        buffer.end(three, true);
        assert_eq!((buffer.bytes(), buffer.lent_events()), (0, 0));
    }

    #[test]
    fn what_is_handed_back_comes_first_and_in_order() {
        let mut buffer = buffer(&[4]);
        let one = buffer.begin();
        buffer.lend(one, 2);
        buffer.end(one, false);
        let two = buffer.begin();
        assert_eq!(bodies(buffer.lend(two, 9)), ["0.0", "0.1", "0.2", "0.3"]);
    }

    #[test]
    fn a_revoked_partition_commits_what_is_lent_until_it_is_removed() {
        let mut buffer = buffer(&[3, 1]);
        let one = buffer.begin();
        assert_eq!(bodies(buffer.lend(one, 2)), ["0.0", "0.1"]);
        buffer.revoke(&[at(0)]);
        assert!(buffer.is_lent(&[at(0)]) && !buffer.is_lent(&[at(1)]));
        assert_eq!(buffer.offsets(one), (vec![(at(0), 2)], 2));
        let two = buffer.begin();
        assert_eq!(bodies(buffer.lend(two, 9)), ["1.0"]);
        buffer.end(one, false);
        assert!(!buffer.is_lent(&[at(0)]));
        let three = buffer.begin();
        assert_eq!(buffer.lend(three, 9), Lent::Nothing, "its next member reads it");
        buffer.remove(&[at(0), at(1)]);
        assert_eq!(buffer.offsets(two), (vec![], 0));
        buffer.end(two, true);
        assert_eq!((buffer.bytes(), buffer.lent_events(), buffer.assigned()), (0, 0, vec![]));
    }

    #[test]
    fn an_undecodable_record_is_passed_once_it_is_stored_and_not_stored_again() {
        let mut buffer = buffer(&[1]);
        let record = UndecodableRecord { value: Bytes::from_static(b"x"), why: "no".to_owned() };
        buffer.push(&at(0), 1, RecordContent::Undecodable(record.clone()));
        buffer.push(&at(0), 2, RecordContent::Event(Event::new("after")));
        let one = buffer.begin();
        assert_eq!(bodies(buffer.lend(one, 9)), ["0.0"]);
        assert_eq!(buffer.lend(one, 9), Lent::Undecodable(at(0), 1, record));
        buffer.pass_stored(one, &at(0), 1);
        assert_eq!(buffer.offsets(one), (vec![(at(0), 2)], 1));
        buffer.end(one, false);
        let two = buffer.begin();
        assert_eq!(bodies(buffer.lend(two, 9)), ["0.0", "after"]);
        assert_eq!(buffer.offsets(two), (vec![(at(0), 3)], 2));
        buffer.end(two, true);
        assert_eq!(buffer.bytes(), 0);
    }

    #[test]
    fn offsets_that_the_broker_has_not_confirmed_stay_until_it_has() {
        let mut buffer = buffer(&[1, 1]);
        buffer.add_unconfirmed(&[(at(0), 5), (at(1), 2), (at(7), 9)]);
        assert_eq!(buffer.unconfirmed(), [(at(0), 5), (at(1), 2)]);
        buffer.confirm(&[(at(0), 4), (at(1), 3)]);
        assert_eq!(buffer.unconfirmed(), [(at(0), 5)]);
        buffer.remove(&[at(0)]);
        assert_eq!(buffer.unconfirmed(), []);
    }
}
