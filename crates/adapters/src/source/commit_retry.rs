//! Commits of sources without replies: received events wait until a channel accepts them.

use bytes::BytesMut;
use millpond::{CommitError, Event, RefusedReason};
use millpond_flow::codes;
use millpond_flow::metrics::{DropReason, SourceCounters};
use millpond_flow::source::SourceContext;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Counts messages received and in no channel at a stop, over all connections of a source: at once when known, even
/// if the source is cancelled. The log suppresses repeated lines, so all are logged together, once the source and all
/// its connections have dropped this.
#[derive(Debug)]
pub(crate) struct LostMessages {
    messages: AtomicUsize,
    source: String,
    counters: Arc<SourceCounters>,
}

impl LostMessages {
    pub(crate) fn of(context: &SourceContext) -> Arc<Self> {
        let (source, counters) = (context.name.clone(), Arc::clone(&context.counters));
        Arc::new(Self { messages: AtomicUsize::new(0), source, counters })
    }

    /// Counts messages, and the lines of a read that is not split yet.
    pub(crate) fn note(&self, messages: usize, read: &[u8]) {
        let lines = read.iter().filter(|&&byte| byte == b'\n').count();
        self.counters.drops.add(DropReason::Stopped, (messages + lines) as u64);
        self.messages.fetch_add(messages + lines, Ordering::Relaxed);
    }
}

impl Drop for LostMessages {
    fn drop(&mut self) {
        let events = *self.messages.get_mut();
        if events > 0 {
            tracing::warn!(
                source = %self.source,
                events,
                "stopped while the channel took nothing; messages received last are lost"
            );
        }
    }
}

/// Lines that a connection has read and not committed. On drop, at a stop or by a cancelled session, counts them as
/// lost.
pub(crate) struct UncommittedLines {
    /// `None` if the client waits for replies and sends lines without a reply again.
    lost: Option<Arc<LostMessages>>,
    /// Bytes read and not split into lines.
    pub(crate) bytes: BytesMut,
    /// Number of lines split.
    pub(crate) lines: usize,
}

impl UncommittedLines {
    pub(crate) fn new(lost: Option<Arc<LostMessages>>) -> Self {
        Self { lost, bytes: BytesMut::new(), lines: 0 }
    }
}

impl Drop for UncommittedLines {
    fn drop(&mut self) {
        if let Some(lost) = self.lost.as_ref().filter(|_| self.lines > 0 || !self.bytes.is_empty())
        {
            lost.note(self.lines, &self.bytes);
        }
    }
}

/// Events being committed. On drop, by a cancelled source, counts them as lost: it is unknown whether the channels
/// have them, and they are not retried.
struct PendingCommit<'c> {
    context: &'c SourceContext,
    events: usize,
}

impl Drop for PendingCommit<'_> {
    fn drop(&mut self) {
        if self.events > 0 {
            self.context.counters.drops.add(DropReason::Stopped, self.events as u64);
            tracing::warn!(
                source = %self.context.name,
                events = self.events,
                "cut off before the channel had replied; these events are in it or lost, and count as lost"
            );
        }
    }
}

/// The outcome of [`commit`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RetryOutcome {
    /// Every event is in the channels, except those that can never fit: they were logged as errors and dropped.
    Done,
    /// The stop signal fired first. So many events of the batch are not in the channels.
    Stopped(usize),
}

/// Commits `events` and retries, with growing pauses, until it succeeds or the source is to stop. After the stop
/// signal it tries exactly once more.
///
/// A commit in doubt is retried as well: a duplicate is preferred to a loss.
pub(crate) async fn commit(context: &SourceContext, events: Vec<Event>) -> RetryOutcome {
    if events.is_empty() {
        return RetryOutcome::Done;
    }
    // Once, however often it is tried.
    context.counters.batch_received(events.len() as u64);
    let mut in_hand = PendingCommit { context, events: events.len() };
    let (ended, dropped) = persist(&mut in_hand, events).await;
    // The caller counts the rest.
    in_hand.events = 0;
    drop(in_hand);
    if ended == RetryOutcome::Done && dropped == 0 {
        context.counters.batch_accepted();
    }
    ended
}

/// Records for monitoring whether a commit was refused for lack of room for the source's offset.
pub(crate) fn note_position(counters: &SourceCounters, committed: &Result<(), CommitError>) {
    let refused =
        matches!(committed, Err(CommitError::Refused(RefusedReason::SourceOffsetTooLarge { .. })));
    counters.position_refused.set(u64::from(refused));
}

/// Returns the outcome, and how many events were dropped.
async fn persist(in_hand: &mut PendingCommit<'_>, events: Vec<Event>) -> (RetryOutcome, usize) {
    let (context, mut dropped) = (in_hand.context, 0);
    let most = context.intake.transaction_capacity().max(1);
    let mut waiting = vec![events];
    let mut pause = PAUSE_MIN;
    while let Some(batch) = waiting.pop() {
        if batch.is_empty() {
            continue;
        }
        if batch.len() > most {
            split(&mut waiting, batch, most);
            continue;
        }
        let stopping = context.stop.fired();
        let Err(error) = context.intake.commit(batch.clone()).await else {
            pause = PAUSE_MIN;
            in_hand.events -= batch.len();
            continue;
        };
        if error.never_fits() {
            let half = batch.len() / 2;
            if half > 0 {
                split(&mut waiting, batch, half);
            } else {
                dropped += 1;
                in_hand.events -= 1;
                context.counters.generic_processing_fail.add(1);
                context.counters.drops.add(DropReason::TooLarge, 1);
                tracing::error!(code = %codes::EVENT_FITS_NO_CHANNEL, source = %context.name, %error, "event dropped: no channel can hold it");
            }
            continue;
        }
        waiting.push(batch);
        if stopping {
            break;
        }
        if pause == PAUSE_MIN {
            tracing::warn!(source = %context.name, %error, "the channel does not take events; they wait");
        }
        rest(context, pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    match waiting.iter().map(Vec::len).sum() {
        0 => (RetryOutcome::Done, dropped),
        left => (RetryOutcome::Stopped(left), dropped),
    }
}

/// Sleeps for `pause`, or until the stop signal fires.
pub(crate) async fn rest(context: &SourceContext, pause: Duration) {
    tokio::select! {
        () = context.stop.wait() => {}
        () = tokio::time::sleep(pause) => {}
    }
}

/// Splits `batch` after `first` events and pushes both parts, the first part on top.
fn split(waiting: &mut Vec<Vec<Event>>, mut batch: Vec<Event>, first: usize) {
    let rest = batch.split_off(first);
    waiting.push(rest);
    waiting.push(batch);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::test_support::{CommitReply, SourceHarness, bodies, held, narrow_channel};

    fn events(n: usize) -> Vec<Event> {
        (0..n).map(|i| Event::new(i.to_string())).collect()
    }

    #[tokio::test]
    async fn a_refusal_and_a_commit_in_doubt_are_retried() {
        let harness = SourceHarness::new();
        harness.reply_with([CommitReply::Full, CommitReply::Doubt]);
        assert_eq!(commit(&harness.context, events(2)).await, RetryOutcome::Done);
        assert_eq!(bodies(&harness.events()), ["0", "1"]);
    }

    #[tokio::test]
    async fn batches_are_split_to_fit_the_channels_transactions() {
        let harness = SourceHarness::with_capacity(2);
        assert_eq!(commit(&harness.context, events(5)).await, RetryOutcome::Done);
        assert_eq!(harness.batches(), [2, 2, 1]);
        assert_eq!(bodies(&harness.events()), ["0", "1", "2", "3", "4"]);
    }

    #[tokio::test]
    async fn an_event_that_never_fits_does_not_block_the_others() {
        let harness = SourceHarness::new();
        // 3 refused whole, then the first half (one event) refused for good.
        harness.reply_with([CommitReply::TooLarge, CommitReply::TooLarge]);
        assert_eq!(commit(&harness.context, events(3)).await, RetryOutcome::Done);
        assert_eq!(bodies(&harness.events()), ["1", "2"]);
    }

    #[tokio::test]
    async fn a_poisonous_event_is_dropped_and_counted_and_the_others_arrive() {
        let channel = narrow_channel(1000);
        let harness = SourceHarness::over(&channel);
        let batch = ["before", &"x".repeat(1001), "behind"];
        let batch = batch.map(|body| Event::new(body.to_owned())).to_vec();
        assert_eq!(commit(&harness.context, batch).await, RetryOutcome::Done);
        assert_eq!(held(&*channel), ["before", "behind"]);
        let counters = &harness.context.counters;
        assert_eq!((counters.event_received.get(), counters.event_accepted.get()), (3, 2));
        assert_eq!(counters.generic_processing_fail.get(), 1);
        assert_eq!(counters.append_batch_accepted.get(), 0, "not the whole batch");
        assert_eq!(counters.drops.get(DropReason::TooLarge), 1);
    }

    #[tokio::test]
    async fn a_retried_batch_counts_as_received_once() {
        let harness = SourceHarness::new();
        harness.reply_with([CommitReply::Full, CommitReply::Full]);
        commit(&harness.context, events(2)).await;
        let counters = &harness.context.counters;
        assert_eq!((counters.event_received.get(), counters.append_batch_received.get()), (2, 1));
        assert_eq!(counters.append_batch_accepted.get(), 1);
    }

    #[tokio::test]
    async fn after_the_stop_signal_exactly_one_more_try_is_made() {
        let harness = SourceHarness::new();
        harness.always(CommitReply::Full);
        harness.stop();
        assert_eq!(commit(&harness.context, events(3)).await, RetryOutcome::Stopped(3));
        assert_eq!(harness.tries(), 1);
    }

    #[tokio::test]
    async fn the_pending_events_of_a_cancelled_source_are_counted_once() {
        let harness = SourceHarness::with_capacity(2);
        let lost = || harness.context.counters.drops.get(DropReason::Stopped);
        harness.reply_with([CommitReply::Take, CommitReply::Held]);
        let cut_off =
            tokio::time::timeout(Duration::from_millis(20), commit(&harness.context, events(5)));
        assert!(cut_off.await.is_err(), "the second of three batches hangs");
        assert_eq!(lost(), 3);
        harness.reply_with([CommitReply::Take]);
        assert_eq!(commit(&harness.context, events(2)).await, RetryOutcome::Done);
        let of_source = LostMessages::of(&harness.context);
        for (is_answered, expected) in [(false, 7), (true, 7)] {
            let mut unread = UncommittedLines::new((!is_answered).then(|| Arc::clone(&of_source)));
            unread.bytes.extend_from_slice(b"a\nb\nc");
            unread.lines = 2;
            drop(unread);
            assert_eq!(lost(), expected);
        }
        drop(UncommittedLines::new(Some(of_source)));
        assert_eq!(lost(), 7);
    }

    #[tokio::test]
    async fn events_left_at_a_stop_are_counted_even_if_the_source_is_cancelled() {
        let harness = SourceHarness::new();
        let lost = LostMessages::of(&harness.context);
        lost.note(2, b"a\nb\nc");
        assert_eq!(harness.context.counters.drops.get(DropReason::Stopped), 4, "at once");
        drop(lost);
        assert_eq!(harness.context.counters.drops.get(DropReason::Stopped), 4, "and once");
    }
}
