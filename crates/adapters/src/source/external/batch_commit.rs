//! Commits batches with their positions, and provides the position at which the next process resumes.

use super::offset::ExternalOffset;
use crate::source::commit_retry::{note_position, rest};
use millpond::internal::base::quantity::Quantity;
use millpond::{CommitError, Event};
use millpond_flow::codes;
use millpond_flow::source::{Failure, SourceContext};
use millpond_flow::source_offset::{BatchOffset, StoredOffset};
use millpond_flow::wire::external::decode::ProcessBatch;
use millpond_flow::wire::external::encode;
use std::time::Duration;

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The outcome of a batch.
#[derive(Debug)]
pub(super) enum ExternalCommitOutcome {
    /// It is in every channel.
    Done,
    /// No channel can ever hold such a batch.
    Never(CommitError),
    /// The source stops while the channels refuse.
    Stopped(CommitError),
}

/// The committer of one source, with its position.
pub(super) struct ExternalBatchCommitter<'a> {
    context: &'a SourceContext,
    /// Lower bound of the count in all channels, where the channels keep offsets.
    number: Option<u64>,
    /// The count of the channel that is ahead.
    ahead: u64,
    /// The position after the last batch.
    position: Option<String>,
    /// A batch that some channels have and others lack: it must be committed again before anything else.
    torn: Option<ExternalOffset>,
}

impl<'a> ExternalBatchCommitter<'a> {
    /// Reads the state of the channels.
    ///
    /// # Errors
    /// The channels cannot report it yet.
    pub(super) async fn begin(context: &'a SourceContext) -> Result<Self, Failure> {
        let kept = context.intake.stored_offset().await.map_err(|error| {
            Failure::caused("the channels cannot report this source's offset yet", error)
        })?;
        let mut committer = Self { context, number: None, ahead: 0, position: None, torn: None };
        match kept {
            StoredOffset::Nowhere => {}
            StoredOffset::At { newest: None, .. } => committer.number = Some(0),
            StoredOffset::At { newest: Some(batch_offset), behind } => {
                committer.go_on(&batch_offset, behind);
            }
        }
        Ok(committer)
    }

    fn go_on(&mut self, batch_offset: &BatchOffset, behind: bool) {
        (self.number, self.ahead) = (Some(batch_offset.number), batch_offset.number);
        let Some(place) = ExternalOffset::decode(&batch_offset.bytes) else {
            tracing::warn!(
                source = %self.context.name,
                "the channels keep the place of a source of this name and of another type; this one begins without a position"
            );
            return;
        };
        if behind && place.events == 0 {
            // A position without events; the next batch brings it to the other channels.
            (self.number, self.position) = (Some(batch_offset.since), place.to);
        } else if behind && place.to.is_some() {
            (self.number, self.position) = (Some(batch_offset.since), place.from.clone());
            self.torn = Some(place);
        } else {
            self.position = place.to;
        }
    }

    /// Returns the position that a starting process receives.
    pub(super) fn place(&self) -> encode::ResumePosition<'_> {
        let repeat = self.torn.as_ref().and_then(|torn| {
            let position = torn.to.as_deref()?;
            Some(encode::RepeatedBatch { events: torn.events, position })
        });
        let position = self.position.as_deref();
        encode::ResumePosition { durable: self.number.is_some(), position, repeat }
    }

    /// Commits a batch together with its position, where the channels keep it. Waits and retries while they refuse;
    /// after the stop signal tries once.
    pub(super) async fn hand_over(&mut self, batch: ProcessBatch) -> ExternalCommitOutcome {
        let ProcessBatch { events, position, .. } = batch;
        if events.is_empty() && position.is_none() {
            return ExternalCommitOutcome::Done;
        }
        let counters = &self.context.counters;
        counters.batch_received(events.len() as u64);
        let again = self.is_given_again(&events, position.as_deref());
        let number = if again { self.ahead } else { self.ahead + events.len().max(1) as u64 };
        let to = position.or_else(|| self.position.clone());
        let ended = self.commit(events, to.clone(), number).await;
        if matches!(ended, ExternalCommitOutcome::Done) {
            counters.batch_accepted();
            (self.position, self.torn, self.ahead) = (to, None, number);
            self.number = self.number.map(|_| number);
        } else if !again {
            // One channel may have it although another refused it: its number is used up, or that channel would take
            // the next batch for a repeat.
            self.ahead = number;
        }
        ended
    }

    /// Returns whether this is the batch that must be repeated. A different batch is committed to all channels as a
    /// new one: nothing is lost, but events that the process sends again are then repeated in the channels that had
    /// them.
    fn is_given_again(&mut self, events: &[Event], position: Option<&str>) -> bool {
        let Some(torn) = &self.torn else { return false };
        if events.len() == torn.events && position == torn.to.as_deref() {
            return true;
        }
        tracing::error!(
            code = %codes::PROGRAM_BATCH_CHANGED,
            source = %self.context.name,
            "its process was to give the batch again that only some of the channels have, {} up to its position, and gave another one of {}; events may be in a channel twice",
            Quantity(torn.events as u64, "event"),
            Quantity(events.len() as u64, "event")
        );
        self.torn = None;
        false
    }

    async fn commit(
        &self,
        events: Vec<Event>,
        to: Option<String>,
        number: u64,
    ) -> ExternalCommitOutcome {
        let context = self.context;
        let place = ExternalOffset { events: events.len(), from: self.position.clone(), to };
        let batch_offset =
            self.number.map(|since| BatchOffset { number, since, bytes: place.encode() });
        let mut pause = PAUSE_MIN;
        loop {
            let stopping = context.stop.fired();
            // In doubt or refused, the same batch with the same number enters each channel once.
            let committed = match batch_offset.clone() {
                Some(batch_offset) => context.intake.commit_at(events.clone(), batch_offset).await,
                None => context.intake.commit(events.clone()).await,
            };
            note_position(&context.counters, &committed);
            let Err(error) = committed else { return ExternalCommitOutcome::Done };
            if error.never_fits() {
                return ExternalCommitOutcome::Never(error);
            }
            if stopping {
                return ExternalCommitOutcome::Stopped(error);
            }
            if pause == PAUSE_MIN {
                tracing::warn!(source = %context.name, %error, "the channel does not take a batch; its process waits");
            }
            rest(context, pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::test_support::{CommitReply, SourceHarness, bodies, durable};
    use millpond::{Channel, FileChannel, FileChannelOptions};
    use millpond_flow::intake::{ChannelProcessor, NamedChannel};
    use millpond_flow::selector::Replicating;
    use std::sync::Arc;

    /// Returns a source over two channels, as in a new process of the agent.
    fn source_over(wide: &Arc<dyn Channel>, narrow: &Arc<dyn Channel>) -> SourceHarness {
        let names = ["wide", "narrow"].map(str::to_owned);
        let channels = [wide, narrow].into_iter().zip(&names);
        let channels = channels.map(|(channel, name)| NamedChannel {
            name: name.clone(),
            channel: Arc::clone(channel),
        });
        let selector = Box::new(Replicating::new(&names, &[]).0);
        let mut harness = SourceHarness::new();
        harness.context.intake =
            Arc::new(ChannelProcessor::new("r1", selector, channels.collect(), Arc::default()));
        harness
    }

    fn batch(bodies: &[&str], position: Option<&str>) -> ProcessBatch {
        let events = bodies.iter().map(|body| Event::new((*body).to_owned())).collect();
        ProcessBatch { number: 0, events, position: position.map(str::to_owned) }
    }

    fn drained(channel: &Arc<dyn Channel>) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let mut take = channel.begin_take();
            let events = take.take(2).unwrap();
            take.commit().unwrap();
            if events.is_empty() {
                return all;
            }
            all.extend(bodies(&events));
        }
    }

    #[tokio::test]
    async fn the_next_process_receives_the_last_position() {
        let directory = tempfile::tempdir().unwrap();
        let channel = durable(directory.path(), 100);
        let other = durable(&directory.path().join("b"), 100);
        let first = source_over(&channel, &other);
        let mut committer = ExternalBatchCommitter::begin(&first.context).await.unwrap();
        let fresh = encode::ResumePosition { durable: true, position: None, repeat: None };
        assert_eq!(committer.place(), fresh);
        for given in [batch(&["1"], Some("one")), batch(&["2"], None), batch(&[], None)] {
            assert!(matches!(committer.hand_over(given).await, ExternalCommitOutcome::Done));
        }
        let second = source_over(&channel, &other);
        let mut committer = ExternalBatchCommitter::begin(&second.context).await.unwrap();
        assert_eq!(committer.place().position, Some("one"));
        // A position without events counts.
        assert!(matches!(
            committer.hand_over(batch(&[], Some("two"))).await,
            ExternalCommitOutcome::Done
        ));
        let third = source_over(&channel, &other);
        let committer = ExternalBatchCommitter::begin(&third.context).await.unwrap();
        assert_eq!(committer.place(), encode::ResumePosition { position: Some("two"), ..fresh });
        assert_eq!(
            (drained(&channel), drained(&other)),
            (vec!["1".into(), "2".into()], vec!["1".into(), "2".into()])
        );
    }

    /// Lack of room for its position does not concern its events: they are not dropped.
    #[tokio::test]
    async fn a_batch_waits_until_there_is_room_for_its_position() {
        let directory = tempfile::tempdir().unwrap();
        let channel = durable(directory.path(), 100);
        let mut others = channel.begin_put();
        others.set_source_offset("gone", vec![b'x'; 90 * 1024].into());
        others.commit().unwrap();
        let other = durable(&directory.path().join("b"), 100);
        let one = source_over(&channel, &other);
        let mut committer = ExternalBatchCommitter::begin(&one.context).await.unwrap();
        let long = "p".repeat(20 * 1024);
        let counters = Arc::clone(&one.context.counters);
        let freed = async {
            crate::source::test_support::until("the refusal", || {
                counters.position_refused.get() == 1
            })
            .await;
            channel.name_sources(&["r1".to_owned()]);
        };
        let (ended, ()) = tokio::join!(committer.hand_over(batch(&["1"], Some(&long))), freed);
        assert!(matches!(ended, ExternalCommitOutcome::Done), "{ended:?}");
        assert_eq!(counters.position_refused.get(), 0);
        assert_eq!(channel.source_offset("gone").unwrap(), None);
    }

    /// Leaves two channels of which only the wide one has the batch `1 2`, as after a crash.
    async fn torn(wide: &Arc<dyn Channel>, narrow: &Arc<dyn Channel>) {
        let first = source_over(wide, narrow);
        let mut committer = ExternalBatchCommitter::begin(&first.context).await.unwrap();
        assert!(matches!(
            committer.hand_over(batch(&["0"], Some("a"))).await,
            ExternalCommitOutcome::Done
        ));
        first.stop();
        assert!(matches!(
            committer.hand_over(batch(&["1", "2"], Some("b"))).await,
            ExternalCommitOutcome::Stopped(_)
        ));
    }

    #[tokio::test]
    async fn a_batch_in_only_one_channel_is_requested_again_and_enters_each_once() {
        let directory = tempfile::tempdir().unwrap();
        let wide = durable(&directory.path().join("wide"), 100);
        let narrow = durable(&directory.path().join("narrow"), 2);
        torn(&wide, &narrow).await;
        let mut got = drained(&narrow);
        let again = source_over(&wide, &narrow);
        let mut committer = ExternalBatchCommitter::begin(&again.context).await.unwrap();
        let repeat = Some(encode::RepeatedBatch { events: 2, position: "b" });
        let expected = encode::ResumePosition { durable: true, position: Some("a"), repeat };
        assert_eq!(committer.place(), expected);
        assert!(matches!(
            committer.hand_over(batch(&["1", "2"], Some("b"))).await,
            ExternalCommitOutcome::Done
        ));
        assert_eq!(
            committer.place(),
            encode::ResumePosition { position: Some("b"), repeat: None, ..expected }
        );
        got.extend(drained(&narrow));
        assert!(matches!(
            committer.hand_over(batch(&["3"], Some("c"))).await,
            ExternalCommitOutcome::Done
        ));
        got.extend(drained(&narrow));
        assert_eq!(
            (drained(&wide), got),
            (
                vec!["0".into(), "1".into(), "2".into(), "3".into()],
                vec!["0".into(), "1".into(), "2".into(), "3".into()]
            )
        );
    }

    #[tokio::test]
    async fn a_replacement_for_a_batch_that_one_channel_never_takes_enters_both() {
        let directory = tempfile::tempdir().unwrap();
        let wide = durable(&directory.path().join("wide"), 100);
        let narrow = {
            let dir = directory.path().join("narrow");
            let mut options = FileChannelOptions::new(dir.join("checkpoint"), [dir.join("data")]);
            (options.transaction_bytes_max, options.minimum_required_space) = (1024, 0);
            (options.keep_alive, options.segment_bytes) = (Duration::ZERO, 1 << 20);
            Arc::new(FileChannel::open(options).unwrap()) as Arc<dyn Channel>
        };
        let harness = source_over(&wide, &narrow);
        let mut committer = ExternalBatchCommitter::begin(&harness.context).await.unwrap();
        assert!(matches!(
            committer.hand_over(batch(&["0"], Some("a"))).await,
            ExternalCommitOutcome::Done
        ));
        let large = "x".repeat(2000);
        let never = committer.hand_over(batch(&[&large], Some("b"))).await;
        assert!(matches!(never, ExternalCommitOutcome::Never(_)), "{never:?}");
        // As many events as the refused batch, up to the same position.
        assert!(matches!(
            committer.hand_over(batch(&["1"], Some("b"))).await,
            ExternalCommitOutcome::Done
        ));
        assert_eq!(drained(&narrow), ["0", "1"]);
        assert_eq!(drained(&wide), ["0", &large, "1"]);
    }

    #[tokio::test]
    async fn a_position_in_only_one_channel_is_not_requested_again() {
        let directory = tempfile::tempdir().unwrap();
        let wide = durable(&directory.path().join("wide"), 100);
        let narrow = durable(&directory.path().join("narrow"), 2);
        let first = source_over(&wide, &narrow);
        let mut committer = ExternalBatchCommitter::begin(&first.context).await.unwrap();
        assert!(matches!(
            committer.hand_over(batch(&["0"], Some("a"))).await,
            ExternalCommitOutcome::Done
        ));
        narrow.close().unwrap();
        first.stop();
        assert!(matches!(
            committer.hand_over(batch(&[], Some("b"))).await,
            ExternalCommitOutcome::Stopped(_)
        ));
        drop(committer);
        drop((first, narrow));
        let narrow = durable(&directory.path().join("narrow"), 2);
        let second = source_over(&wide, &narrow);
        let mut committer = ExternalBatchCommitter::begin(&second.context).await.unwrap();
        let expected = encode::ResumePosition { durable: true, position: Some("b"), repeat: None };
        assert_eq!(committer.place(), expected);
        assert!(matches!(
            committer.hand_over(batch(&["1"], Some("c"))).await,
            ExternalCommitOutcome::Done
        ));
        assert_eq!(
            (drained(&wide), drained(&narrow)),
            (vec!["0".into(), "1".into()], vec!["0".into(), "1".into()])
        );
        let third = source_over(&wide, &narrow);
        assert_eq!(
            ExternalBatchCommitter::begin(&third.context).await.unwrap().place().position,
            Some("c")
        );
    }

    #[tokio::test]
    async fn a_replacement_batch_loses_nothing_even_after_another_crash() {
        let directory = tempfile::tempdir().unwrap();
        let wide = durable(&directory.path().join("wide"), 100);
        let narrow = durable(&directory.path().join("narrow"), 2);
        torn(&wide, &narrow).await;
        // The narrow one is still full: the replacement again enters only the wide one.
        narrow.begin_put().commit().unwrap();
        let mut put = narrow.begin_put();
        put.put(Event::new("in the way")).unwrap();
        put.commit().unwrap();
        let second = source_over(&wide, &narrow);
        second.stop();
        let mut committer = ExternalBatchCommitter::begin(&second.context).await.unwrap();
        assert!(matches!(
            committer.hand_over(batch(&["1"], Some("a1"))).await,
            ExternalCommitOutcome::Stopped(_)
        ));
        assert_eq!(drained(&narrow), ["0", "in the way"]);
        let third = source_over(&wide, &narrow);
        let mut committer = ExternalBatchCommitter::begin(&third.context).await.unwrap();
        let repeat = Some(encode::RepeatedBatch { events: 1, position: "a1" });
        assert_eq!(
            committer.place(),
            encode::ResumePosition { durable: true, position: Some("a"), repeat }
        );
        assert!(matches!(
            committer.hand_over(batch(&["1"], Some("a1"))).await,
            ExternalCommitOutcome::Done
        ));
        assert!(matches!(
            committer.hand_over(batch(&["2"], Some("b"))).await,
            ExternalCommitOutcome::Done
        ));
        assert_eq!(drained(&narrow), ["1", "2"]);
        assert_eq!(drained(&wide), ["0", "1", "2", "1", "2"]);
    }

    #[tokio::test]
    async fn refusals_are_retried_and_an_oversized_batch_is_reported() {
        let harness = SourceHarness::new();
        harness.reply_with([CommitReply::Full, CommitReply::Doubt]);
        let mut committer = ExternalBatchCommitter::begin(&harness.context).await.unwrap();
        assert!(!committer.place().durable);
        assert!(matches!(
            committer.hand_over(batch(&["1"], Some("a"))).await,
            ExternalCommitOutcome::Done
        ));
        assert_eq!(
            (committer.place().position, bodies(&harness.events())),
            (Some("a"), vec!["1".into()])
        );
        harness.reply_with([CommitReply::TooLarge]);
        let ended = committer.hand_over(batch(&["2"], Some("b"))).await;
        assert!(matches!(ended, ExternalCommitOutcome::Never(_)), "{ended:?}");
        assert_eq!(committer.place().position, Some("a"));
    }
}
