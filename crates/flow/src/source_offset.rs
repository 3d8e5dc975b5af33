//! Source offsets, kept by the channels of a source together with its events.
//!
//! A source that reads files knows the offset after each of its batches. Where every channel that its events have
//! to enter is durable, that mark is part of the transactions of the batch: after a crash a channel has both or
//! neither, so nothing is lost and nothing is put twice.
//!
//! There is no transaction across channels, so a crash can leave the last batch in some of them only. A mark
//! therefore counts the source's events: the channels of one source are never more than one batch apart, the
//! source puts only this batch again ([`StoredOffset::At`], `behind`), and a channel that has counted that far
//! does not get it twice. The same count keeps a batch that one channel accepted and the next one refused from
//! entering the first a second time, even if the retry comes in two halves.

use super::named_channel::NamedChannel;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use millpond::internal::base::quantity::Quantity;
use millpond::{
    Channel, CommitError, CommittedOffset, FaultCause, FaultKind, FaultPlace, SourceOffsetError,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bits of a mark's number that count events; those above are the era.
const ERA_SHIFT: u32 = 44;

/// A source's offset after one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchOffset {
    /// Count of the source's events up to the end of the batch; a batch without events counts as one. A source
    /// that does not continue at its channels' marks counts in a new era.
    pub number: u64,
    /// The number before the batch.
    pub since: u64,
    /// The offset in the source's own encoding.
    pub bytes: Bytes,
}

impl BatchOffset {
    /// The largest era that a number can hold.
    pub const ERA_LAST: u64 = u64::MAX >> ERA_SHIFT;

    /// Returns its era.
    #[must_use]
    pub fn era(&self) -> u64 {
        self.number >> ERA_SHIFT
    }

    /// Returns the first number of an era.
    #[must_use]
    pub fn begin_of(era: u64) -> u64 {
        era << ERA_SHIFT
    }

    fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(16 + self.bytes.len());
        out.put_u64_le(self.number);
        out.put_u64_le(self.since);
        out.put_slice(&self.bytes);
        out.freeze()
    }

    fn decode(position: &CommittedOffset) -> Option<Self> {
        let mut rest = position.bytes.clone();
        let number = rest.try_get_u64_le().ok()?;
        let since = rest.try_get_u64_le().ok()?;
        Some(Self { number, since, bytes: rest })
    }
}

/// The stored offset of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredOffset {
    /// One of its channels keeps no marks: the source has to store its offset by other means.
    Nowhere,
    /// All of them keep marks.
    At {
        /// The newest mark; `None` if there is none yet.
        newest: Option<BatchOffset>,
        /// True if a channel lacks the batch that ends there. The source puts the same batch again, with the same
        /// mark, before any other.
        behind: bool,
    },
}

/// What one channel is known to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChannelOffset {
    /// Everything that the source counted up to this number.
    Upto(u64),
    /// Unknown: it was never queried, or a commit ended in doubt.
    Unsure,
}

/// Tracks the marks of one source on its channels.
pub(super) struct OffsetTracker {
    source: String,
    /// State of each channel; `None` for channels that events are not required to enter.
    known: Mutex<Vec<Option<ChannelOffset>>>,
    kept: bool,
}

impl OffsetTracker {
    /// Returns a tracker of the marks of `source` on its channels. `required` selects those that have to take its
    /// events; `repeatable` is true if the same events always go the same ways.
    pub(super) fn new(
        source: &str,
        channels: &[NamedChannel],
        required: impl Fn(usize) -> bool,
        repeatable: bool,
    ) -> Self {
        let places: Vec<usize> = (0..channels.len()).filter(|&at| required(at)).collect();
        let kept = !places.is_empty()
            && (repeatable || channels.len() == 1)
            && places.iter().all(|&at| channels[at].channel.keeps_source_offsets());
        let known = (0..channels.len())
            .map(|at| (kept && places.contains(&at)).then_some(ChannelOffset::Unsure))
            .collect();
        Self { source: source.to_owned(), known: Mutex::new(known), kept }
    }

    fn known(&self) -> MutexGuard<'_, Vec<Option<ChannelOffset>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queries the marks of every channel.
    pub(super) async fn ask(
        &self,
        channels: &[NamedChannel],
    ) -> Result<StoredOffset, SourceOffsetError> {
        if !self.kept {
            return Ok(StoredOffset::Nowhere);
        }
        let places: Vec<usize> = {
            let known = self.known();
            (0..channels.len()).filter(|&at| known[at].is_some()).collect()
        };
        let mut found = Vec::new();
        for &at in &places {
            found.push(position(&channels[at].channel, &self.source).await?);
        }
        let newest = found.iter().flatten().max_by_key(|batch_offset| batch_offset.number).cloned();
        let (number, since) = newest
            .as_ref()
            .map_or((0, 0), |batch_offset| (batch_offset.number, batch_offset.since));
        let mut behind = false;
        for (&at, batch_offset) in places.iter().zip(&found) {
            let has = batch_offset.as_ref().map_or(0, |batch_offset| batch_offset.number);
            // A gap of more than one batch is not from a crash: the channel was not among the source's before,
            // and joins now.
            let joins = has < since;
            if joins && has > 0 {
                let channel = &channels[at].name;
                let same_era = number >> ERA_SHIFT == has >> ERA_SHIFT;
                let missed = if same_era {
                    Quantity(number - has, "event").to_string()
                } else {
                    "all events".to_owned()
                };
                tracing::warn!(
                    source = self.source,
                    channel,
                    "the channel has missed {missed} of this source, which went to its other channels meanwhile; it gets what comes from now on"
                );
            }
            behind |= !joins && has < number;
            self.known()[at] = Some(ChannelOffset::Upto(if joins { number } else { has }));
        }
        Ok(StoredOffset::At { newest, behind })
    }

    /// Returns true if the channel at this index keeps marks.
    pub(super) fn commits_to(&self, at: usize) -> bool {
        self.known()[at].is_some()
    }

    /// Returns true if the channel at `at` lacks the batch of this number.
    ///
    /// # Errors
    /// An earlier commit to it is still in doubt.
    pub(super) async fn lacks(
        &self,
        at: usize,
        channel: &Arc<dyn Channel>,
        number: u64,
    ) -> Result<bool, CommitError> {
        let known = self.known()[at];
        let has = match known {
            Some(ChannelOffset::Upto(has)) => has,
            Some(ChannelOffset::Unsure) | None => {
                let batch_offset = position(channel, &self.source).await;
                let batch_offset =
                    batch_offset.map_err(|error| CommitError::InDoubt(error.into()))?;
                let has = batch_offset.map_or(0, |batch_offset| batch_offset.number);
                self.known()[at] = Some(ChannelOffset::Upto(has));
                has
            }
        };
        Ok(has < number)
    }

    /// Records the outcome of the commit of this batch to the channel at `at`.
    pub(super) fn record_outcome(&self, at: usize, number: u64, ended: &Result<(), CommitError>) {
        let known = match ended {
            Ok(()) => ChannelOffset::Upto(number),
            Err(CommitError::InDoubt(_)) => ChannelOffset::Unsure,
            Err(CommitError::Refused(_)) => return,
        };
        self.known()[at] = Some(known);
    }

    /// Returns the source and the encoded mark to commit with the events of the batch.
    pub(super) fn encoded_offset(&self, batch_offset: &BatchOffset) -> (&str, Bytes) {
        (&self.source, batch_offset.encode())
    }
}

/// Returns the mark that `channel` keeps, once all its commits are settled.
async fn position(
    channel: &Arc<dyn Channel>,
    source: &str,
) -> Result<Option<BatchOffset>, SourceOffsetError> {
    let (channel, name) = (Arc::clone(channel), source.to_owned());
    let asked = tokio::task::spawn_blocking(move || channel.source_offset(&name)).await;
    let position = asked.unwrap_or_else(|error| {
        let what = format!("reading the offset failed: {error}");
        let cause = FaultCause::new(FaultKind::Internal, FaultPlace::default(), what);
        Err(SourceOffsetError::Stopped(cause))
    })?;
    Ok(position.as_ref().and_then(BatchOffset::decode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Intake;
    use crate::intake::ChannelProcessor;
    use crate::selector::{EventRoute, Replicating, Selector};
    use millpond::{Event, FileChannel, FileChannelOptions, MemoryChannel, MemoryOptions};
    use std::path::Path;
    use std::time::Duration;

    fn durable(directory: &Path, capacity: u64) -> Arc<dyn Channel> {
        let data = [directory.join("data")];
        let mut options = FileChannelOptions::new(directory.join("checkpoint"), data);
        options.capacity = capacity;
        options.transaction_capacity = usize::try_from(capacity).unwrap();
        options.keep_alive = Duration::ZERO;
        options.segment_bytes = 1 << 20;
        options.minimum_required_space = 1 << 20;
        Arc::new(FileChannel::open(options).unwrap())
    }

    fn intake(channels: &[(&str, &Arc<dyn Channel>)], optional: &[&str]) -> ChannelProcessor {
        let names: Vec<String> = channels.iter().map(|(name, _)| (*name).to_owned()).collect();
        over(channels, Box::new(Replicating::new(&names, optional).0))
    }

    fn over(
        channels: &[(&str, &Arc<dyn Channel>)],
        selector: Box<dyn Selector>,
    ) -> ChannelProcessor {
        let named = |(name, channel): &(&str, &Arc<dyn Channel>)| NamedChannel {
            name: (*name).to_owned(),
            channel: Arc::clone(channel),
        };
        let channels = channels.iter().map(named).collect();
        ChannelProcessor::new("r1", selector, channels, Arc::default())
    }

    fn batch_offset(number: u64) -> BatchOffset {
        BatchOffset { number, since: number - 1, bytes: Bytes::from(format!("after {number}")) }
    }

    fn batch(bodies: &[&str]) -> Vec<Event> {
        bodies.iter().map(|body| Event::new((*body).to_owned())).collect()
    }

    fn drain(channel: &Arc<dyn Channel>) -> Vec<String> {
        let mut take = channel.begin_take();
        let events = take.take(10).unwrap();
        take.commit().unwrap();
        events.iter().map(|e| String::from_utf8_lossy(&e.body).into_owned()).collect()
    }

    #[tokio::test]
    async fn a_mark_is_found_again_with_its_events_also_where_the_batch_was_emptied() {
        let directory = tempfile::tempdir().unwrap();
        let channel = durable(directory.path(), 10);
        let source = intake(&[("c1", &channel)], &[]);
        assert_eq!(
            source.stored_offset().await,
            Ok(StoredOffset::At { newest: None, behind: false })
        );
        source.commit_at(batch(&["1"]), batch_offset(1)).await.unwrap();
        source.commit_at(Vec::new(), batch_offset(2)).await.unwrap();
        channel.close().unwrap();
        drop((source, channel));
        let channel = durable(directory.path(), 10);
        let source = intake(&[("c1", &channel)], &[]);
        assert_eq!(
            source.stored_offset().await,
            Ok(StoredOffset::At { newest: Some(batch_offset(2)), behind: false })
        );
        assert_eq!(drain(&channel), ["1"]);
    }

    #[tokio::test]
    async fn a_batch_that_one_channel_took_and_the_next_refused_enters_each_once() {
        let directory = tempfile::tempdir().unwrap();
        let (wide, narrow) =
            (durable(&directory.path().join("a"), 10), durable(&directory.path().join("b"), 1));
        let source = intake(&[("wide", &wide), ("narrow", &narrow)], &[]);
        source.commit_at(batch(&["1"]), batch_offset(1)).await.unwrap();
        source.commit_at(batch(&["2"]), batch_offset(2)).await.unwrap_err();
        source.commit_at(batch(&["2"]), batch_offset(2)).await.unwrap_err();
        // As after a crash, a new process queries the marks.
        let source = intake(&[("wide", &wide), ("narrow", &narrow)], &[]);
        assert_eq!(
            source.stored_offset().await,
            Ok(StoredOffset::At { newest: Some(batch_offset(2)), behind: true })
        );
        assert_eq!(drain(&narrow), ["1"]);
        source.commit_at(batch(&["2"]), batch_offset(2)).await.unwrap();
        source.commit_at(batch(&["3"]), batch_offset(3)).await.unwrap_err();
        assert_eq!(drain(&narrow), ["2"]);
        source.commit_at(batch(&["3"]), batch_offset(3)).await.unwrap();
        assert_eq!(
            (drain(&wide), drain(&narrow)),
            (vec!["1".into(), "2".into(), "3".into()], vec!["3".into()])
        );
        assert_eq!(
            source.stored_offset().await,
            Ok(StoredOffset::At { newest: Some(batch_offset(3)), behind: false })
        );
    }

    #[tokio::test]
    async fn a_channel_that_joins_later_gets_what_comes_from_then_on() {
        let directory = tempfile::tempdir().unwrap();
        let (old, new) =
            (durable(&directory.path().join("a"), 10), durable(&directory.path().join("b"), 10));
        let source = intake(&[("old", &old)], &[]);
        source.commit_at(batch(&["1"]), batch_offset(1)).await.unwrap();
        source.commit_at(batch(&["2"]), batch_offset(2)).await.unwrap();
        let source = intake(&[("new", &new), ("old", &old)], &[]);
        assert_eq!(
            source.stored_offset().await,
            Ok(StoredOffset::At { newest: Some(batch_offset(2)), behind: false })
        );
        source.commit_at(batch(&["3"]), batch_offset(3)).await.unwrap();
        assert_eq!((drain(&old).len(), drain(&new)), (3, vec!["3".to_owned()]));
    }

    #[tokio::test]
    async fn marks_are_kept_only_where_every_required_channel_keeps_them() {
        let directory = tempfile::tempdir().unwrap();
        let durable = durable(directory.path(), 10);
        let memory: Arc<dyn Channel> =
            Arc::new(MemoryChannel::new(MemoryOptions::default()).unwrap());
        let both = [("durable", &durable), ("memory", &memory)];
        assert_eq!(intake(&both, &[]).stored_offset().await, Ok(StoredOffset::Nowhere));
        let source = intake(&both, &["memory"]);
        assert!(matches!(source.stored_offset().await, Ok(StoredOffset::At { .. })));
        source.commit_at(batch(&["1"]), batch_offset(1)).await.unwrap();
        assert_eq!((drain(&durable), drain(&memory)), (vec!["1".into()], vec!["1".into()]));
        let source = intake(&both, &[]);
        source.commit_at(batch(&["2"]), batch_offset(1)).await.unwrap();
        assert_eq!((drain(&durable).len(), drain(&memory).len()), (1, 1), "no number, no mark");
    }

    #[tokio::test]
    async fn a_channel_without_events_of_a_batch_stores_its_mark() {
        struct BodySelector;
        impl Selector for BodySelector {
            fn route(&self, event: &Event) -> EventRoute<'_> {
                let required: &[usize] = if event.body[..] == b"a"[..] { &[0] } else { &[1] };
                EventRoute { required, optional: &[] }
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let (a, b) =
            (durable(&directory.path().join("a"), 10), durable(&directory.path().join("b"), 10));
        let source = over(&[("a", &a), ("b", &b)], Box::new(BodySelector));
        source.commit_at(batch(&["a"]), batch_offset(1)).await.unwrap();
        source.commit_at(batch(&["b"]), batch_offset(2)).await.unwrap();
        assert_eq!(
            source.stored_offset().await,
            Ok(StoredOffset::At { newest: Some(batch_offset(2)), behind: false })
        );
        assert_eq!((drain(&a), drain(&b)), (vec!["a".into()], vec!["b".into()]));
    }
}
