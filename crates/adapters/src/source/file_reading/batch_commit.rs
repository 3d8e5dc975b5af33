//! Commits events read from a file, with the offset of their end.

use super::FileOffset;
use crate::source::commit_retry::{note_position, rest};
use bytes::Bytes;
use millpond::{CommitError, Event};
use millpond_flow::codes;
use millpond_flow::metrics::DropReason;
use millpond_flow::source::{Failure, SourceContext};
use millpond_flow::source_offset::{BatchOffset, StoredOffset};
use std::time::Duration;

/// An event and the offset after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadEvent {
    /// The event.
    pub(crate) event: Event,
    /// The offset after it.
    pub(crate) end: FileOffset,
}

/// The outcome of a commit.
#[derive(Debug)]
pub(crate) enum FileCommitOutcome {
    /// Every piece is in the channels.
    Done,
    /// The stop signal fired while the channels refused.
    Stopped,
    /// No channel can hold the next piece; the pieces after it were not tried.
    Unfit(CommitError),
}

/// Pause after a refusal: first and longest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetryPauses {
    pub(crate) first: Duration,
    pub(crate) most: Duration,
}

/// What the channels had of the source at the start.
pub(crate) struct ResumePoint {
    /// The source offset after the newest batch; `None` when there is none, or no channel keeps it.
    pub(crate) newest: Option<Bytes>,
    /// Whether some channel lacks that batch, so that it must be committed again.
    pub(crate) behind: bool,
    /// The era of that offset; `None` where there is none.
    pub(crate) era: Option<u64>,
}

/// Commits batches in order.
pub(crate) struct FileBatchCommitter<'a> {
    context: &'a SourceContext,
    pace: RetryPauses,
    /// The count in the marks, where the channels keep them.
    number: Option<u64>,
    /// The first batch of an era counts from here but still names the number before it: a channel that lacks just
    /// that batch lags by one batch, and is not taken for a new channel.
    era_begins: u64,
    /// The count of the channel that is ahead.
    ahead: u64,
    /// The highest number tried in a transaction.
    tried: u64,
    /// A refusal was logged, and no commit has succeeded since.
    refused: bool,
}

impl<'a> FileBatchCommitter<'a> {
    /// Returns a committer for the source, and what its channels have.
    pub(crate) async fn begin(
        context: &'a SourceContext,
        pace: RetryPauses,
    ) -> Result<(Self, ResumePoint), Failure> {
        let kept = context.intake.stored_offset().await.map_err(|error| {
            Failure::caused("the channels cannot report this source's offset yet", error)
        })?;
        let era_begins = match &kept {
            StoredOffset::At { newest: Some(batch_offset), .. } => {
                BatchOffset::begin_of(batch_offset.era())
            }
            _ => 0,
        };
        let committer = |number, ahead| Self {
            context,
            pace,
            number,
            era_begins,
            ahead,
            tried: 0,
            refused: false,
        };
        Ok(match kept {
            StoredOffset::Nowhere => {
                (committer(None, 0), ResumePoint { newest: None, behind: false, era: None })
            }
            StoredOffset::At { newest: None, behind } => {
                (committer(Some(0), 0), ResumePoint { newest: None, behind, era: None })
            }
            // A repeated batch must be counted as it was before.
            StoredOffset::At { newest: Some(batch_offset), behind } => (
                committer(
                    Some(if behind { batch_offset.since } else { batch_offset.number }),
                    batch_offset.number,
                ),
                ResumePoint {
                    era: Some(batch_offset.era()),
                    newest: Some(batch_offset.bytes),
                    behind,
                },
            ),
        })
    }

    /// Returns whether the channels store the offset of a batch together with its events.
    pub(crate) fn keeps_offsets(&self) -> bool {
        self.number.is_some()
    }

    /// Counts from the beginning of `era`: older offsets in the channels count as older.
    pub(crate) fn begin_era(&mut self, era: u64) {
        self.era_begins = BatchOffset::begin_of(era);
    }

    /// Continues without the batch that some channel lacks, because it cannot be read again.
    pub(crate) fn forgo(&mut self) {
        tracing::error!(code = %codes::BATCH_PARTLY_LOST, source = %self.context.name, "the newest batch is not in all channels of the source and cannot be read again, because its file is gone or another; the channels that do not have it go on without it");
        self.context.counters.drops.add(DropReason::FileGone, 1);
        self.number = self.number.map(|_| self.ahead);
    }

    /// Commits `pieces`, which begin at `from`, in one transaction if they fit. `batch_offset` encodes the source offset of a
    /// transaction from its start and end. Waits and retries while the channels refuse; after the stop signal tries
    /// once. Returns the offset after the last piece that is in the channels.
    pub(crate) async fn hand_over(
        &mut self,
        mut pieces: Vec<ReadEvent>,
        from: FileOffset,
        batch_offset: impl Fn(FileOffset, FileOffset) -> Bytes,
    ) -> (FileOffset, FileCommitOutcome) {
        let counters = &self.context.counters;
        counters.batch_received(pieces.len() as u64);
        let most = self.context.intake.transaction_capacity().max(1);
        let (mut from, mut count) = (from, pieces.len().min(most));
        while !pieces.is_empty() {
            let to = pieces[count - 1].end;
            let events = pieces[..count].iter().map(|piece| piece.event.clone()).collect();
            match self.commit(events, || batch_offset(from, to)).await {
                FileCommitOutcome::Done => {
                    pieces.drain(..count);
                    (from, count) = (to, pieces.len().min(most));
                }
                // A transaction of fewer events may fit.
                FileCommitOutcome::Unfit(_) if count > 1 => count /= 2,
                ended => return (from, ended),
            }
        }
        counters.batch_accepted();
        (from, FileCommitOutcome::Done)
    }

    /// Commits a batch offset without events.
    pub(crate) async fn leave(&mut self, batch_offset: impl Fn() -> Bytes) -> FileCommitOutcome {
        if !self.keeps_offsets() {
            return FileCommitOutcome::Done;
        }
        self.commit(Vec::new(), batch_offset).await
    }

    /// Commits `batch_offset` without events and abandons the last batch, which did not enter every channel. One channel may
    /// have it although another refused it, so its numbers are used up: if they were reused, that channel would take
    /// the next batch for a repeat and drop it.
    pub(crate) async fn give_up(&mut self, batch_offset: impl Fn() -> Bytes) -> FileCommitOutcome {
        self.number = self.number.map(|number| number.max(self.tried.saturating_sub(1)));
        self.leave(batch_offset).await
    }

    async fn commit(
        &mut self,
        events: Vec<Event>,
        batch_offset: impl Fn() -> Bytes,
    ) -> FileCommitOutcome {
        let context = self.context;
        let mut pause = self.pace.first;
        let counted = events.len().max(1) as u64;
        loop {
            let stopping = context.stop.fired();
            let number = self.number.map(|since| since.max(self.era_begins) + counted);
            self.tried = self.tried.max(number.unwrap_or(0));
            let committed = match self.number.zip(number) {
                Some((since, number)) => {
                    let batch_offset = BatchOffset { number, since, bytes: batch_offset() };
                    context.intake.commit_at(events.clone(), batch_offset).await
                }
                None => context.intake.commit(events.clone()).await,
            };
            note_position(&context.counters, &committed);
            match committed {
                Ok(()) => {
                    self.number = number;
                    self.refused = false;
                    return FileCommitOutcome::Done;
                }
                Err(error) if error.never_fits() => {
                    return FileCommitOutcome::Unfit(error);
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.refused, true) {
                        tracing::warn!(source = %context.name, %error, "the channel does not take events; they wait in their file");
                    }
                }
            }
            if stopping {
                return FileCommitOutcome::Stopped;
            }
            rest(context, pause).await;
            pause = (pause * 2).min(self.pace.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::test_support::{
        CommitReply, SourceHarness, bodies, durable, durable_with, held, narrow_channel,
    };
    use millpond::Channel;
    use millpond_flow::context::Intake;
    use millpond_flow::intake::{ChannelProcessor, NamedChannel};
    use millpond_flow::selector::Replicating;
    use std::sync::Arc;

    const PACE: RetryPauses =
        RetryPauses { first: Duration::from_millis(1), most: Duration::from_millis(2) };

    fn pieces(bodies: &[&str]) -> Vec<ReadEvent> {
        let mut offset = 0;
        let piece = |body: &&str| {
            offset += body.len() as u64;
            ReadEvent { event: Event::new((*body).to_owned()), end: FileOffset::at(offset) }
        };
        bodies.iter().map(piece).collect()
    }

    fn batch_offset(_: FileOffset, _: FileOffset) -> Bytes {
        Bytes::new()
    }

    #[tokio::test]
    async fn refusals_are_retried_and_batches_split_to_fit_a_transaction() {
        let harness = SourceHarness::with_capacity(2);
        harness.reply_with([CommitReply::Full, CommitReply::Doubt]);
        let (mut committer, known) =
            FileBatchCommitter::begin(&harness.context, PACE).await.unwrap();
        assert!(known.newest.is_none() && !committer.keeps_offsets());
        let (at, ended) =
            committer.hand_over(pieces(&["1", "2", "3"]), FileOffset::at(0), batch_offset).await;
        assert!(matches!(ended, FileCommitOutcome::Done));
        assert_eq!((at, harness.batches()), (FileOffset::at(3), vec![2, 1]));
        assert_eq!(harness.context.counters.event_received.get(), 3);
    }

    #[tokio::test]
    async fn a_batch_that_cannot_be_read_again_is_counted_as_dropped() {
        let harness = SourceHarness::new();
        let (mut committer, _) = FileBatchCommitter::begin(&harness.context, PACE).await.unwrap();
        committer.forgo();
        assert_eq!(harness.context.counters.drops.get(DropReason::FileGone), 1);
    }

    #[tokio::test]
    async fn an_oversized_event_is_returned_after_those_before_it_are_committed() {
        let channel = narrow_channel(1000);
        let harness = SourceHarness::over(&channel);
        let (mut committer, _) = FileBatchCommitter::begin(&harness.context, PACE).await.unwrap();
        let long = "x".repeat(1001);
        let batch = pieces(&["before", "too", &long, "behind"]);
        let (at, ended) = committer.hand_over(batch, FileOffset::at(0), batch_offset).await;
        assert!(matches!(ended, FileCommitOutcome::Unfit(_)), "{ended:?}");
        assert_eq!((at, held(&*channel)), (FileOffset::at(9), vec!["before".into(), "too".into()]));
    }

    #[tokio::test]
    async fn after_the_stop_signal_it_tries_once() {
        let harness = SourceHarness::new();
        harness.always(CommitReply::Full);
        harness.stop();
        let (mut committer, _) = FileBatchCommitter::begin(&harness.context, PACE).await.unwrap();
        let (at, ended) =
            committer.hand_over(pieces(&["1"]), FileOffset::at(0), batch_offset).await;
        assert!(matches!(ended, FileCommitOutcome::Stopped));
        assert_eq!(
            (at, harness.tries(), bodies(&harness.events())),
            (FileOffset::at(0), 1, vec![])
        );
    }

    /// Returns the intake of a source over two channels, as in a new process.
    fn intake(wide: &Arc<dyn Channel>, narrow: &Arc<dyn Channel>) -> Arc<dyn Intake> {
        let names = ["wide", "narrow"].map(str::to_owned);
        let channels = [wide, narrow].into_iter().zip(&names);
        let channels = channels.map(|(channel, name)| NamedChannel {
            name: name.clone(),
            channel: Arc::clone(channel),
        });
        let selector = Box::new(Replicating::new(&names, &[]).0);
        Arc::new(ChannelProcessor::new("r1", selector, channels.collect(), Arc::default()))
    }

    /// Returns what a new process knows, and the outcome of committing two events there.
    async fn two(harness: &SourceHarness, era: u64) -> (ResumePoint, FileCommitOutcome) {
        let (mut committer, known) =
            FileBatchCommitter::begin(&harness.context, PACE).await.unwrap();
        committer.begin_era(era);
        let (_, ended) =
            committer.hand_over(pieces(&["1", "2"]), FileOffset::at(0), batch_offset).await;
        (known, ended)
    }

    fn drained(channel: &Arc<dyn Channel>) -> Vec<String> {
        let mut take = channel.begin_take();
        let events = take.take(100).unwrap();
        take.commit().unwrap();
        bodies(&events)
    }

    #[tokio::test]
    async fn after_events_that_one_channel_always_refuses_the_next_enter_both() {
        let directory = tempfile::tempdir().unwrap();
        let wide = durable_with(&directory.path().join("wide"), 10, 1 << 20);
        let narrow = durable_with(&directory.path().join("narrow"), 10, 1024);
        let mut harness = SourceHarness::new();
        harness.context.intake = intake(&wide, &narrow);
        let long = "x".repeat(2000);
        let (mut committer, _) = FileBatchCommitter::begin(&harness.context, PACE).await.unwrap();
        let first = pieces(&["1", &long, "3", "4"]);
        let (_, ended) = committer.hand_over(first, FileOffset::at(0), batch_offset).await;
        assert!(matches!(ended, FileCommitOutcome::Unfit(_)), "{ended:?}");
        assert!(matches!(committer.give_up(Bytes::new).await, FileCommitOutcome::Done));
        for next in ["of the next file", "of the one after it"] {
            let (_, ended) =
                committer.hand_over(pieces(&[next]), FileOffset::at(0), batch_offset).await;
            assert!(matches!(ended, FileCommitOutcome::Done));
            assert!(drained(&wide).contains(&next.to_owned()), "{next}");
            assert!(drained(&narrow).contains(&next.to_owned()), "{next}");
        }
        // Both counts are equal, so the next run finds no channel that lacks a batch.
        let (_, known) = FileBatchCommitter::begin(&harness.context, PACE).await.unwrap();
        assert!(!known.behind);
    }

    #[tokio::test]
    async fn a_first_batch_of_an_era_in_only_one_channel_is_repeated() {
        let directory = tempfile::tempdir().unwrap();
        let wide = durable(&directory.path().join("wide"), 100);
        let narrow = durable(&directory.path().join("narrow"), 2);
        let mut harness = SourceHarness::new();
        harness.stop();
        let both = ["1", "2"].map(str::to_owned).to_vec();
        for era in [1, 2] {
            let mut put = narrow.begin_put();
            put.put(Event::new("in the way")).unwrap();
            put.commit().unwrap();
            // Each round is as after a kill.
            for round in 0..3 {
                harness.context.intake = intake(&wide, &narrow);
                let (known, ended) = two(&harness, era).await;
                assert!(matches!(ended, FileCommitOutcome::Stopped), "{ended:?}");
                assert_eq!(
                    known.behind,
                    round > 0,
                    "it lags by one batch and is not a channel that joins"
                );
                assert_eq!(held(&*wide), ["1", "2"], "not put twice");
            }
            assert_eq!(drained(&narrow), ["in the way"]);
            harness.context.intake = intake(&wide, &narrow);
            assert!(matches!(
                two(&harness, era).await,
                (ResumePoint { behind: true, .. }, FileCommitOutcome::Done)
            ));
            assert_eq!((drained(&wide), drained(&narrow)), (both.clone(), both.clone()));
        }
    }
}
