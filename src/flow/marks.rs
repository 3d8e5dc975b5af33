//! Where a source stands, kept by its channels together with its events.
//!
//! A source that reads files can tell where each of its batches ends. Where every channel that its
//! events have to enter is durable, that mark rides in the transactions of the batch itself: after
//! a crash a channel has both or neither, so nothing is lost and nothing put twice.
//!
//! There is no transaction across channels, so a crash can leave the last batch in some of them
//! only. A mark therefore counts the source's events: the channels of one source are never more
//! than one batch apart, the source puts just that one again ([`Kept::At`], `behind`), and a channel
//! that has counted that far does not get it twice. The same count keeps a batch that one channel
//! took and the next one refused from entering the first a second time, also when it comes in two
//! halves then.

use super::intake::NamedChannel;
use crate::base::quantity::Quantity;
use crate::channel::{Channel, CommitError, Position, PositionError, Trouble};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bits of a mark's number that count; those above are the era.
const ERA_SHIFT: u32 = 44;

/// Where a source stands behind one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Counts the events of the source up to the end of the batch; a batch without events counts
    /// as one. A source that went on from elsewhere than its channels' marks counts from a new era on.
    pub number: u64,
    /// The number before the batch.
    pub since: u64,
    /// The source's own words for it.
    pub bytes: Bytes,
}

impl Mark {
    /// The last era that a number can tell.
    pub const ERA_LAST: u64 = u64::MAX >> ERA_SHIFT;

    /// The era in which it was left.
    #[must_use]
    pub fn era(&self) -> u64 {
        self.number >> ERA_SHIFT
    }

    /// The number with which an era begins.
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

    fn decode(position: &Position) -> Option<Self> {
        let mut rest = position.bytes.clone();
        let number = rest.try_get_u64_le().ok()?;
        let since = rest.try_get_u64_le().ok()?;
        Some(Self { number, since, bytes: rest })
    }
}

/// What the channels of a source know of its marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A channel among them keeps none: the source has to remember by other means.
    Nowhere,
    /// All of them keep marks.
    At {
        /// The newest one; `None` when there is none yet.
        newest: Option<Mark>,
        /// A channel does not have the batch that ends there. The source puts that very batch
        /// again, with that very mark, before any other.
        behind: bool,
    },
}

/// What one channel is known to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// What the source counted up to this number.
    Upto(u64),
    /// It has to be asked: it never was, or a commit ended in doubt.
    Unsure,
}

/// The marks of one source on its channels.
pub(super) struct Marks {
    source: String,
    /// What is known of each channel; `None` for those that no event has to enter.
    known: Mutex<Vec<Option<Known>>>,
    kept: bool,
}

impl Marks {
    /// The marks of `source` on its channels, of which `required` says which have to take its
    /// events; `repeatable` is whether the same events go the same ways again.
    pub(super) fn new(
        source: &str,
        channels: &[NamedChannel],
        required: impl Fn(usize) -> bool,
        repeatable: bool,
    ) -> Self {
        let places: Vec<usize> = (0..channels.len()).filter(|&at| required(at)).collect();
        let kept = !places.is_empty()
            && (repeatable || channels.len() == 1)
            && places.iter().all(|&at| channels[at].channel.keeps_positions());
        let known = (0..channels.len())
            .map(|at| (kept && places.contains(&at)).then_some(Known::Unsure))
            .collect();
        Self { source: source.to_owned(), known: Mutex::new(known), kept }
    }

    fn known(&self) -> MutexGuard<'_, Vec<Option<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks every channel what it has.
    pub(super) async fn ask(&self, channels: &[NamedChannel]) -> Result<Kept, PositionError> {
        if !self.kept {
            return Ok(Kept::Nowhere);
        }
        let places: Vec<usize> = {
            let known = self.known();
            (0..channels.len()).filter(|&at| known[at].is_some()).collect()
        };
        let mut found = Vec::new();
        for &at in &places {
            found.push(position(&channels[at].channel, &self.source).await?);
        }
        let newest = found.iter().flatten().max_by_key(|mark| mark.number).cloned();
        let (number, since) = newest.as_ref().map_or((0, 0), |mark| (mark.number, mark.since));
        let mut behind = false;
        for (&at, mark) in places.iter().zip(&found) {
            let has = mark.as_ref().map_or(0, |mark| mark.number);
            // Further behind than one batch is not a crash: the channel was not among the
            // source's then, and joins now.
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
            self.known()[at] = Some(Known::Upto(if joins { number } else { has }));
        }
        Ok(Kept::At { newest, behind })
    }

    /// Whether marks ride to the channel at this place.
    pub(super) fn ride_to(&self, at: usize) -> bool {
        self.known()[at].is_some()
    }

    /// Whether the channel at `at` lacks the batch of this number.
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
            Some(Known::Upto(has)) => has,
            Some(Known::Unsure) | None => {
                let doubt =
                    |error: PositionError| CommitError::InDoubt(Trouble::new(error.to_string()));
                let mark = position(channel, &self.source).await.map_err(doubt)?;
                let has = mark.map_or(0, |mark| mark.number);
                self.known()[at] = Some(Known::Upto(has));
                has
            }
        };
        Ok(has < number)
    }

    /// Notes how the commit of the batch of this number to the channel at `at` ended.
    pub(super) fn settle(&self, at: usize, number: u64, ended: &Result<(), CommitError>) {
        let known = match ended {
            Ok(()) => Known::Upto(number),
            Err(CommitError::InDoubt(_)) => Known::Unsure,
            Err(CommitError::Refused(_)) => return,
        };
        self.known()[at] = Some(known);
    }

    /// What goes with the events of the batch.
    pub(super) fn rider(&self, mark: &Mark) -> (&str, Bytes) {
        (&self.source, mark.encode())
    }
}

/// The mark that `channel` keeps, once all its commits are settled.
async fn position(channel: &Arc<dyn Channel>, source: &str) -> Result<Option<Mark>, PositionError> {
    let (channel, name) = (Arc::clone(channel), source.to_owned());
    let asked = tokio::task::spawn_blocking(move || channel.position(&name)).await;
    let position = asked.unwrap_or_else(|error| {
        Err(PositionError::Stopped(Trouble::new(format!("asking for a position failed: {error}"))))
    })?;
    Ok(position.as_ref().and_then(Mark::decode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::file::{FileChannel, FileChannelOptions};
    use crate::channel::memory::{MemoryChannel, MemoryOptions};
    use crate::event::Event;
    use crate::flow::context::Intake;
    use crate::flow::intake::ChannelProcessor;
    use crate::flow::selector::{Replicating, Route, Selector};
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

    fn mark(number: u64) -> Mark {
        Mark { number, since: number - 1, bytes: Bytes::from(format!("behind {number}")) }
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
        assert_eq!(source.kept().await, Ok(Kept::At { newest: None, behind: false }));
        source.commit_marked(batch(&["1"]), mark(1)).await.unwrap();
        source.commit_marked(Vec::new(), mark(2)).await.unwrap();
        channel.close().unwrap();
        drop((source, channel));
        let channel = durable(directory.path(), 10);
        let source = intake(&[("c1", &channel)], &[]);
        assert_eq!(source.kept().await, Ok(Kept::At { newest: Some(mark(2)), behind: false }));
        assert_eq!(drain(&channel), ["1"]);
    }

    #[tokio::test]
    async fn a_batch_that_one_channel_took_and_the_next_refused_enters_each_once() {
        let directory = tempfile::tempdir().unwrap();
        let (wide, narrow) =
            (durable(&directory.path().join("a"), 10), durable(&directory.path().join("b"), 1));
        let source = intake(&[("wide", &wide), ("narrow", &narrow)], &[]);
        source.commit_marked(batch(&["1"]), mark(1)).await.unwrap();
        source.commit_marked(batch(&["2"]), mark(2)).await.unwrap_err();
        source.commit_marked(batch(&["2"]), mark(2)).await.unwrap_err();
        // As after a crash: another process asks.
        let source = intake(&[("wide", &wide), ("narrow", &narrow)], &[]);
        assert_eq!(source.kept().await, Ok(Kept::At { newest: Some(mark(2)), behind: true }));
        assert_eq!(drain(&narrow), ["1"]);
        source.commit_marked(batch(&["2"]), mark(2)).await.unwrap();
        source.commit_marked(batch(&["3"]), mark(3)).await.unwrap_err();
        assert_eq!(drain(&narrow), ["2"]);
        source.commit_marked(batch(&["3"]), mark(3)).await.unwrap();
        assert_eq!(
            (drain(&wide), drain(&narrow)),
            (vec!["1".into(), "2".into(), "3".into()], vec!["3".into()])
        );
        assert_eq!(source.kept().await, Ok(Kept::At { newest: Some(mark(3)), behind: false }));
    }

    #[tokio::test]
    async fn a_channel_that_joins_later_gets_what_comes_from_then_on() {
        let directory = tempfile::tempdir().unwrap();
        let (old, new) =
            (durable(&directory.path().join("a"), 10), durable(&directory.path().join("b"), 10));
        let source = intake(&[("old", &old)], &[]);
        source.commit_marked(batch(&["1"]), mark(1)).await.unwrap();
        source.commit_marked(batch(&["2"]), mark(2)).await.unwrap();
        let source = intake(&[("new", &new), ("old", &old)], &[]);
        assert_eq!(source.kept().await, Ok(Kept::At { newest: Some(mark(2)), behind: false }));
        source.commit_marked(batch(&["3"]), mark(3)).await.unwrap();
        assert_eq!((drain(&old).len(), drain(&new)), (3, vec!["3".to_owned()]));
    }

    #[tokio::test]
    async fn marks_are_kept_only_where_every_required_channel_keeps_them() {
        let directory = tempfile::tempdir().unwrap();
        let durable = durable(directory.path(), 10);
        let memory: Arc<dyn Channel> =
            Arc::new(MemoryChannel::new(MemoryOptions::default()).unwrap());
        let both = [("durable", &durable), ("memory", &memory)];
        assert_eq!(intake(&both, &[]).kept().await, Ok(Kept::Nowhere));
        let source = intake(&both, &["memory"]);
        assert!(matches!(source.kept().await, Ok(Kept::At { .. })));
        source.commit_marked(batch(&["1"]), mark(1)).await.unwrap();
        assert_eq!((drain(&durable), drain(&memory)), (vec!["1".into()], vec!["1".into()]));
        let source = intake(&both, &[]);
        source.commit_marked(batch(&["2"]), mark(1)).await.unwrap();
        assert_eq!((drain(&durable).len(), drain(&memory).len()), (1, 1), "no number, no mark");
    }

    #[tokio::test]
    async fn a_channel_that_a_batch_does_not_go_to_has_its_mark() {
        struct ByBody;
        impl Selector for ByBody {
            fn route(&self, event: &Event) -> Route<'_> {
                let required: &[usize] = if event.body[..] == b"a"[..] { &[0] } else { &[1] };
                Route { required, optional: &[] }
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let (a, b) =
            (durable(&directory.path().join("a"), 10), durable(&directory.path().join("b"), 10));
        let source = over(&[("a", &a), ("b", &b)], Box::new(ByBody));
        source.commit_marked(batch(&["a"]), mark(1)).await.unwrap();
        source.commit_marked(batch(&["b"]), mark(2)).await.unwrap();
        assert_eq!(source.kept().await, Ok(Kept::At { newest: Some(mark(2)), behind: false }));
        assert_eq!((drain(&a), drain(&b)), (vec!["a".into()], vec!["b".into()]));
    }
}
