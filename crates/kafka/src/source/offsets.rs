//! Which records the channels have, and from which offset a partition is read.
//!
//! The group's offset is committed after the put. What a put has taken and the group does not know yet is in the source's
//! own offset, which durable channels keep in the transaction of the put. So a process that is killed between the two repeats
//! nothing.
//!
//! At an assignment a partition is read from the group's offset, unless the channels know of a put that began at or before
//! that offset and ended after it: then from its end. A group whose offsets were set back further, or forward, is
//! followed.

use crate::client::{CommittedPlace, TopicPartition};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;

/// Version of the encoding.
const VERSION: u8 = 1;

/// What was put of a partition since the group's offset that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PutRange {
    /// The group's offset before it; `None` if it had none.
    begin: Option<i64>,
    /// The offset after the last record.
    end: i64,
}

/// The partitions whose puts the group does not know yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PutOffsets {
    /// What was put.
    ranges: BTreeMap<TopicPartition, PutRange>,
    /// The group's offsets, as far as they are known.
    committed: BTreeMap<TopicPartition, i64>,
}

impl PutOffsets {
    /// Returns those of the source's own offset; `None` if they are not in this encoding.
    pub(super) fn decode(mut bytes: Bytes) -> Option<Self> {
        let mut offsets = Self::default();
        if bytes.try_get_u8().ok()? != VERSION {
            return None;
        }
        while bytes.has_remaining() {
            let length = usize::from(bytes.try_get_u8().ok()?);
            if bytes.remaining() < length {
                return None;
            }
            let topic = String::from_utf8(bytes.split_to(length).to_vec()).ok()?;
            let partition = bytes.try_get_i32_le().ok()?;
            let begin = bytes.try_get_i64_le().ok()?;
            let end = bytes.try_get_i64_le().ok()?;
            let range = PutRange { begin: (begin >= 0).then_some(begin), end };
            offsets.ranges.insert(TopicPartition { topic: topic.into(), partition }, range);
        }
        Some(offsets)
    }

    /// Returns the source's own offset after a put that ends at `ends`.
    pub(super) fn encode_with(&self, ends: &BTreeMap<TopicPartition, i64>) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        for (at, range) in &self.with(ends).ranges {
            // A name of a topic has at most 249 bytes.
            let Ok(length) = u8::try_from(at.topic.len()) else { continue };
            out.put_u8(length);
            out.put_slice(at.topic.as_bytes());
            out.put_i32_le(at.partition);
            out.put_i64_le(range.begin.unwrap_or(-1));
            out.put_i64_le(range.end);
        }
        out.freeze()
    }

    fn with(&self, ends: &BTreeMap<TopicPartition, i64>) -> Self {
        let mut all = self.clone();
        all.put(ends);
        all
    }

    /// Notes a put that ends at `ends`.
    pub(super) fn put(&mut self, ends: &BTreeMap<TopicPartition, i64>) {
        for (at, end) in ends {
            let begin = self.committed.get(at).copied();
            let new = PutRange { begin, end: *end };
            self.ranges.entry(at.clone()).and_modify(|range| range.end = *end).or_insert(new);
        }
    }

    /// Returns what the group has to be told.
    pub(super) fn uncommitted(&self) -> Vec<(TopicPartition, i64)> {
        self.ranges.iter().map(|(at, range)| (at.clone(), range.end)).collect()
    }

    /// Notes offsets that the group has.
    pub(super) fn commit(&mut self, offsets: &[(TopicPartition, i64)]) {
        for (at, offset) in offsets {
            self.ranges.remove(at);
            self.committed.insert(at.clone(), *offset);
        }
    }

    /// Forgets partitions that another member has.
    pub(super) fn remove(&mut self, partitions: &[TopicPartition]) {
        for at in partitions {
            self.ranges.remove(at);
            self.committed.remove(at);
        }
    }

    /// Returns from which offset an assigned partition is read; `None`: where the group is, or by `auto.offset.reset`.
    /// `next` is the offset after its last record, if it is known.
    pub(super) fn begin(
        &mut self,
        at: &TopicPartition,
        group: &[CommittedPlace],
        next: Option<i64>,
    ) -> Option<i64> {
        let committed = group.iter().find(|place| place.at == *at).map(|place| place.offset);
        match committed {
            Some(offset) => self.committed.insert(at.clone(), offset),
            None => self.committed.remove(at),
        };
        let range = self.ranges.get(at).copied()?;
        let is_open = match (committed, range.begin) {
            (Some(committed), Some(begin)) => (begin..range.end).contains(&committed),
            (Some(committed), None) => committed < range.end,
            (None, _) => true,
        };
        // A topic that was deleted and made again is shorter.
        if is_open && next.is_none_or(|next| range.end <= next) {
            return Some(range.end);
        }
        self.ranges.remove(at);
        // Read from its beginning: what is in it now was never read.
        if is_open { Some(0) } else { None }
    }

    /// Returns true if something was put of this partition that the group may not know.
    pub(super) fn has_put(&self, at: &TopicPartition) -> bool {
        self.ranges.contains_key(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: i32) -> TopicPartition {
        TopicPartition { topic: "t".into(), partition }
    }

    fn place(partition: i32, offset: i64) -> CommittedPlace {
        CommittedPlace { at: at(partition), offset, metadata: String::new() }
    }

    /// After a group at 10 and a put that ended at 15.
    fn after_a_put() -> PutOffsets {
        let mut offsets = PutOffsets::default();
        assert_eq!(offsets.begin(&at(0), &[place(0, 10)], Some(99)), None);
        let bytes = offsets.encode_with(&BTreeMap::from([(at(0), 15)]));
        PutOffsets::decode(bytes).unwrap()
    }

    #[test]
    fn a_put_that_the_group_does_not_know_is_not_read_again() {
        for (group, next, begin) in [
            (vec![place(0, 10)], 99, Some(15)),
            (vec![place(0, 12)], 99, Some(15)),
            (vec![], 99, Some(15)),
            (vec![place(0, 15)], 99, None),
            (vec![place(0, 20)], 99, None),
            // Set back by hand.
            (vec![place(0, 3)], 99, None),
            // Deleted and made again.
            (vec![], 4, Some(0)),
            (vec![place(0, 10)], 4, Some(0)),
        ] {
            let found = after_a_put().begin(&at(0), &group, Some(next));
            assert_eq!(found, begin, "{group:?} {next}");
        }
        assert_eq!(after_a_put().begin(&at(1), &[], Some(9)), None);
    }

    #[test]
    fn what_the_group_has_is_not_kept_and_the_rest_is() {
        let mut offsets = PutOffsets::default();
        offsets.begin(&at(0), &[place(0, 10)], None);
        offsets.begin(&at(1), &[], None);
        offsets.put(&BTreeMap::from([(at(0), 15), (at(1), 3)]));
        assert_eq!(offsets.uncommitted(), [(at(0), 15), (at(1), 3)]);
        offsets.commit(&[(at(0), 15)]);
        assert!(!offsets.has_put(&at(0)) && offsets.has_put(&at(1)));
        // Two puts that the group has not got are one.
        offsets.put(&BTreeMap::from([(at(1), 8)]));
        let mut again = PutOffsets::decode(offsets.encode_with(&BTreeMap::new())).unwrap();
        assert_eq!(again.begin(&at(1), &[place(1, 1)], None), Some(8));
        offsets.remove(&[at(1)]);
        assert_eq!(offsets.uncommitted(), []);
    }

    #[test]
    fn bytes_of_something_else_are_not_decoded() {
        let whole = after_a_put().encode_with(&BTreeMap::new());
        assert!(PutOffsets::decode(whole.clone()).is_some());
        for cut in 2..whole.len() {
            assert_eq!(PutOffsets::decode(whole.slice(..cut)), None, "{cut}");
        }
        assert_eq!(PutOffsets::decode(Bytes::new()), None);
        assert_eq!(PutOffsets::decode(Bytes::from_static(b"\x02")), None);
    }
}
