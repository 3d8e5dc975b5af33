//! Commits for sources without a client to answer: what was read waits until a channel takes it.

use crate::channel::{CommitError, Refusal};
use crate::codes;
use crate::event::Event;
use crate::flow::source::SourceContext;
use crate::metrics::{DropReason, SourceCounters};
use bytes::BytesMut;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Messages that were received and are in no channel at a stop, of all connections of a source: each is counted when
/// it is known, also where the source is cut off. The log does not write the same words twice, so they are logged
/// together, once the source and all its connections have let go of this.
#[derive(Debug)]
pub(crate) struct Lost {
    messages: AtomicUsize,
    source: String,
    counters: Arc<SourceCounters>,
}

impl Lost {
    pub(crate) fn of(context: &SourceContext) -> Arc<Self> {
        let (source, counters) = (context.name.clone(), Arc::clone(&context.counters));
        Arc::new(Self { messages: AtomicUsize::new(0), source, counters })
    }

    /// Counts messages, and the lines of a read that were not cut yet.
    pub(crate) fn note(&self, messages: usize, read: &[u8]) {
        let lines = read.iter().filter(|&&byte| byte == b'\n').count();
        self.counters.drops.add(DropReason::Stopped, (messages + lines) as u64);
        self.messages.fetch_add(messages + lines, Ordering::Relaxed);
    }
}

impl Drop for Lost {
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

/// Lines that a connection has read and not committed. Dropped with them, at a stop or with a session that is
/// cut off, it counts them as lost.
pub(crate) struct Unread {
    /// None where the client waits for answers and sends again what it got none for.
    lost: Option<Arc<Lost>>,
    /// What was read and is not cut into lines.
    pub(crate) bytes: BytesMut,
    /// Lines that were cut.
    pub(crate) lines: usize,
}

impl Unread {
    pub(crate) fn new(lost: Option<Arc<Lost>>) -> Self {
        Self { lost, bytes: BytesMut::new(), lines: 0 }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        if let Some(lost) = self.lost.as_ref().filter(|_| self.lines > 0 || !self.bytes.is_empty())
        {
            lost.note(self.lines, &self.bytes);
        }
    }
}

/// Events that are being committed. Dropped with them, by a source that is cut off, it counts them as lost: whether
/// the channels have them is not known, and nobody will put them again.
struct InHand<'c> {
    context: &'c SourceContext,
    events: usize,
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        if self.events > 0 {
            self.context.counters.drops.add(DropReason::Stopped, self.events as u64);
            tracing::warn!(
                source = %self.context.name,
                events = self.events,
                "cut off before the channel had answered; these events are in it or lost, and count as lost"
            );
        }
    }
}

/// How [`commit`] ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Every event is in the channels, but for those that can never fit: they were named in an
    /// error and dropped.
    Done,
    /// The stop signal fired first. So many events of the batch are not in the channels.
    Stopped(usize),
}

/// Commits `events` and tries again, with growing pauses, until it succeeds or the source is to
/// stop. After the stop signal it tries exactly once more.
///
/// A commit in doubt is tried again as well: here twice is better than not at all.
pub(crate) async fn commit(context: &SourceContext, events: Vec<Event>) -> Ended {
    if events.is_empty() {
        return Ended::Done;
    }
    // Once, however often it is tried.
    context.counters.batch_received(events.len() as u64);
    let mut in_hand = InHand { context, events: events.len() };
    let (ended, dropped) = persist(&mut in_hand, events).await;
    // The caller counts what is left.
    in_hand.events = 0;
    drop(in_hand);
    if ended == Ended::Done && dropped == 0 {
        context.counters.batch_accepted();
    }
    ended
}

/// Notes whether a commit was refused for want of room for the source's position, for watchers.
pub(crate) fn note_position(counters: &SourceCounters, committed: &Result<(), CommitError>) {
    let refused = matches!(committed, Err(CommitError::Refused(Refusal::PositionTooLarge { .. })));
    counters.position_refused.set(u64::from(refused));
}

/// How it ended, and how many events were dropped.
async fn persist(in_hand: &mut InHand<'_>, events: Vec<Event>) -> (Ended, usize) {
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
        0 => (Ended::Done, dropped),
        left => (Ended::Stopped(left), dropped),
    }
}

/// Sleeps for `pause`, or until the stop signal fires.
pub(crate) async fn rest(context: &SourceContext, pause: Duration) {
    tokio::select! {
        () = context.stop.wait() => {}
        () = tokio::time::sleep(pause) => {}
    }
}

/// Puts the first `first` events of `batch` on top of the rest: they go first.
fn split(waiting: &mut Vec<Vec<Event>>, mut batch: Vec<Event>, first: usize) {
    let rest = batch.split_off(first);
    waiting.push(rest);
    waiting.push(batch);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::trial::{Reply, Trial, bodies, held, narrow_channel};

    fn events(n: usize) -> Vec<Event> {
        (0..n).map(|i| Event::new(i.to_string())).collect()
    }

    #[tokio::test]
    async fn a_refusal_and_a_doubt_are_outlasted() {
        let trial = Trial::new();
        trial.reply_with([Reply::Full, Reply::Doubt]);
        assert_eq!(commit(&trial.context, events(2)).await, Ended::Done);
        assert_eq!(bodies(&trial.events()), ["0", "1"]);
    }

    #[tokio::test]
    async fn batches_are_cut_to_the_channels_transactions() {
        let trial = Trial::with_capacity(2);
        assert_eq!(commit(&trial.context, events(5)).await, Ended::Done);
        assert_eq!(trial.batches(), [2, 2, 1]);
        assert_eq!(bodies(&trial.events()), ["0", "1", "2", "3", "4"]);
    }

    #[tokio::test]
    async fn an_event_that_never_fits_does_not_block_the_others() {
        let trial = Trial::new();
        // 3 refused whole, then its first half (one event) refused for good.
        trial.reply_with([Reply::TooLarge, Reply::TooLarge]);
        assert_eq!(commit(&trial.context, events(3)).await, Ended::Done);
        assert_eq!(bodies(&trial.events()), ["1", "2"]);
    }

    #[tokio::test]
    async fn a_poisonous_event_is_dropped_and_counted_and_the_others_arrive() {
        let channel = narrow_channel(1000);
        let trial = Trial::over(&channel);
        let batch = ["before", &"x".repeat(1001), "behind"];
        let batch = batch.map(|body| Event::new(body.to_owned())).to_vec();
        assert_eq!(commit(&trial.context, batch).await, Ended::Done);
        assert_eq!(held(&*channel), ["before", "behind"]);
        let counters = &trial.context.counters;
        assert_eq!((counters.event_received.get(), counters.event_accepted.get()), (3, 2));
        assert_eq!(counters.generic_processing_fail.get(), 1);
        assert_eq!(counters.append_batch_accepted.get(), 0, "not the whole batch");
        assert_eq!(counters.drops.get(DropReason::TooLarge), 1);
    }

    #[tokio::test]
    async fn a_batch_that_is_tried_again_is_received_once() {
        let trial = Trial::new();
        trial.reply_with([Reply::Full, Reply::Full]);
        commit(&trial.context, events(2)).await;
        let counters = &trial.context.counters;
        assert_eq!((counters.event_received.get(), counters.append_batch_received.get()), (2, 1));
        assert_eq!(counters.append_batch_accepted.get(), 1);
    }

    #[tokio::test]
    async fn the_stop_signal_ends_the_patience_after_one_more_try() {
        let trial = Trial::new();
        trial.always(Reply::Full);
        trial.stop();
        assert_eq!(commit(&trial.context, events(3)).await, Ended::Stopped(3));
        assert_eq!(trial.tries(), 1);
    }

    #[tokio::test]
    async fn what_a_source_that_is_cut_off_has_in_hand_is_counted_once() {
        let trial = Trial::with_capacity(2);
        let lost = || trial.context.counters.drops.get(DropReason::Stopped);
        trial.reply_with([Reply::Take, Reply::Held]);
        let cut_off =
            tokio::time::timeout(Duration::from_millis(20), commit(&trial.context, events(5)));
        assert!(cut_off.await.is_err(), "the second of three batches hangs");
        assert_eq!(lost(), 3);
        trial.reply_with([Reply::Take]);
        assert_eq!(commit(&trial.context, events(2)).await, Ended::Done);
        let of_source = Lost::of(&trial.context);
        for (is_answered, expected) in [(false, 7), (true, 7)] {
            let mut unread = Unread::new((!is_answered).then(|| Arc::clone(&of_source)));
            unread.bytes.extend_from_slice(b"a\nb\nc");
            unread.lines = 2;
            drop(unread);
            assert_eq!(lost(), expected);
        }
        drop(Unread::new(Some(of_source)));
        assert_eq!(lost(), 7);
    }

    #[tokio::test]
    async fn what_a_stop_leaves_over_is_counted_also_where_the_source_is_cut_off() {
        let trial = Trial::new();
        let lost = Lost::of(&trial.context);
        lost.note(2, b"a\nb\nc");
        assert_eq!(trial.context.counters.drops.get(DropReason::Stopped), 4, "at once");
        drop(lost);
        assert_eq!(trial.context.counters.drops.get(DropReason::Stopped), 4, "and once");
    }
}
