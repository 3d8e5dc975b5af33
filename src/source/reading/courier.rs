//! Hands over what was read from a file, with the place where it ends.

use super::Point;
use crate::channel::CommitError;
use crate::codes;
use crate::event::Event;
use crate::flow::marks::{Kept, Mark};
use crate::flow::source::{Failure, SourceContext};
use crate::metrics::DropReason;
use crate::source::patience::{note_position, rest};
use bytes::Bytes;
use std::time::Duration;

/// An event and where reading goes on behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// What was read.
    pub(crate) event: Event,
    /// The place behind it.
    pub(crate) end: Point,
}

/// How handing over ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Every piece is in the channels.
    Done,
    /// The stop signal fired while the channels took nothing.
    Stopped,
    /// The next piece can be held by no channel; those behind it were not tried.
    Unfit(CommitError),
}

/// How long to wait after a refusal: first, and at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) first: Duration,
    pub(crate) most: Duration,
}

/// What the channels knew of the source when it began.
pub(crate) struct Known {
    /// The source's words behind the newest batch; `None` when there is none, or nobody keeps it.
    pub(crate) newest: Option<Bytes>,
    /// That batch has to be handed over again: some channel does not have it.
    pub(crate) behind: bool,
    /// The era in which it was left; `None` where there is none.
    pub(crate) era: Option<u64>,
}

/// Hands batches over, one behind the other.
pub(crate) struct Courier<'a> {
    context: &'a SourceContext,
    pace: Pace,
    /// What the marks have counted, where the channels keep them.
    number: Option<u64>,
    /// The first batch of an era counts from here, and still names the number before it: whoever lacks
    /// just that batch is one batch behind, and no channel that joins.
    era_begins: u64,
    /// What they have counted in the channel that is ahead.
    ahead: u64,
    /// The highest number with which a transaction was tried.
    tried: u64,
    /// A refusal was said, and no commit has succeeded since.
    refused: bool,
}

impl<'a> Courier<'a> {
    /// A courier of the source, and what its channels know.
    pub(crate) async fn begin(
        context: &'a SourceContext,
        pace: Pace,
    ) -> Result<(Self, Known), Failure> {
        let kept = context.intake.kept().await.map_err(|error| {
            Failure::caused("the channels do not tell yet where this source was", error)
        })?;
        let era_begins = match &kept {
            Kept::At { newest: Some(mark), .. } => Mark::begin_of(mark.era()),
            _ => 0,
        };
        let courier = |number, ahead| Self {
            context,
            pace,
            number,
            era_begins,
            ahead,
            tried: 0,
            refused: false,
        };
        Ok(match kept {
            Kept::Nowhere => (courier(None, 0), Known { newest: None, behind: false, era: None }),
            Kept::At { newest: None, behind } => {
                (courier(Some(0), 0), Known { newest: None, behind, era: None })
            }
            // The batch that is put again has to be counted as it was.
            Kept::At { newest: Some(mark), behind } => (
                courier(Some(if behind { mark.since } else { mark.number }), mark.number),
                Known { era: Some(mark.era()), newest: Some(mark.bytes), behind },
            ),
        })
    }

    /// Whether the channels keep the place of a batch together with its events.
    pub(crate) fn keeps_marks(&self) -> bool {
        self.number.is_some()
    }

    /// Counts from the beginning of `era` on: what the channels know from before counts as older.
    pub(crate) fn begin_era(&mut self, era: u64) {
        self.era_begins = Mark::begin_of(era);
    }

    /// The batch that some channel does not have cannot be read again: they go on without it.
    pub(crate) fn forgo(&mut self) {
        tracing::error!(code = %codes::BATCH_PARTLY_LOST, source = %self.context.name, "the newest batch is not in all channels of the source and cannot be read again, because its file is gone or another; the channels that do not have it go on without it");
        self.context.counters.drops.add(DropReason::FileGone, 1);
        self.number = self.number.map(|_| self.ahead);
    }

    /// Hands `pieces` over, which begin at `from`, in one transaction if that can hold them.
    /// `mark` says a place in the source's own words, from where the transaction begins and to
    /// where it ends. Waits and tries again while the channels refuse; after the stop signal once.
    /// Answers the place behind the last piece that is in the channels.
    pub(crate) async fn hand_over(
        &mut self,
        mut pieces: Vec<Piece>,
        from: Point,
        mark: impl Fn(Point, Point) -> Bytes,
    ) -> (Point, Ended) {
        let counters = &self.context.counters;
        counters.batch_received(pieces.len() as u64);
        let most = self.context.intake.transaction_capacity().max(1);
        let (mut from, mut count) = (from, pieces.len().min(most));
        while !pieces.is_empty() {
            let to = pieces[count - 1].end;
            let events = pieces[..count].iter().map(|piece| piece.event.clone()).collect();
            match self.commit(events, || mark(from, to)).await {
                Ended::Done => {
                    pieces.drain(..count);
                    (from, count) = (to, pieces.len().min(most));
                }
                // A transaction of fewer events may fit.
                Ended::Unfit(_) if count > 1 => count /= 2,
                ended => return (from, ended),
            }
        }
        counters.batch_accepted();
        (from, Ended::Done)
    }

    /// Commits a mark without events.
    pub(crate) async fn leave(&mut self, mark: impl Fn() -> Bytes) -> Ended {
        if !self.keeps_marks() {
            return Ended::Done;
        }
        self.commit(Vec::new(), mark).await
    }

    /// Commits `mark` without events and gives up what was handed over last and did not enter every
    /// channel. One of them may have it although another refused it, so its numbers are used up:
    /// counted with them again, what comes next would be taken for it and not be put there.
    pub(crate) async fn give_up(&mut self, mark: impl Fn() -> Bytes) -> Ended {
        self.number = self.number.map(|number| number.max(self.tried.saturating_sub(1)));
        self.leave(mark).await
    }

    async fn commit(&mut self, events: Vec<Event>, mark: impl Fn() -> Bytes) -> Ended {
        let context = self.context;
        let mut pause = self.pace.first;
        let counted = events.len().max(1) as u64;
        loop {
            let stopping = context.stop.fired();
            let number = self.number.map(|since| since.max(self.era_begins) + counted);
            self.tried = self.tried.max(number.unwrap_or(0));
            let committed = match self.number.zip(number) {
                Some((since, number)) => {
                    let mark = Mark { number, since, bytes: mark() };
                    context.intake.commit_marked(events.clone(), mark).await
                }
                None => context.intake.commit(events.clone()).await,
            };
            note_position(&context.counters, &committed);
            match committed {
                Ok(()) => {
                    self.number = number;
                    self.refused = false;
                    return Ended::Done;
                }
                Err(error) if error.never_fits() => {
                    return Ended::Unfit(error);
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.refused, true) {
                        tracing::warn!(source = %context.name, %error, "the channel does not take events; they wait in their file");
                    }
                }
            }
            if stopping {
                return Ended::Stopped;
            }
            rest(context, pause).await;
            pause = (pause * 2).min(self.pace.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Channel;
    use crate::flow::context::Intake;
    use crate::flow::intake::{ChannelProcessor, NamedChannel};
    use crate::flow::selector::Replicating;
    use crate::source::trial::{Reply, Trial, bodies, durable, durable_with, held, narrow_channel};
    use std::sync::Arc;

    const PACE: Pace = Pace { first: Duration::from_millis(1), most: Duration::from_millis(2) };

    fn pieces(bodies: &[&str]) -> Vec<Piece> {
        let mut offset = 0;
        let piece = |body: &&str| {
            offset += body.len() as u64;
            Piece { event: Event::new((*body).to_owned()), end: Point::at(offset) }
        };
        bodies.iter().map(piece).collect()
    }

    fn mark(_: Point, _: Point) -> Bytes {
        Bytes::new()
    }

    #[tokio::test]
    async fn refusals_are_outlasted_and_batches_cut_to_what_a_transaction_holds() {
        let trial = Trial::with_capacity(2);
        trial.reply_with([Reply::Full, Reply::Doubt]);
        let (mut courier, known) = Courier::begin(&trial.context, PACE).await.unwrap();
        assert!(known.newest.is_none() && !courier.keeps_marks());
        let (at, ended) = courier.hand_over(pieces(&["1", "2", "3"]), Point::at(0), mark).await;
        assert!(matches!(ended, Ended::Done));
        assert_eq!((at, trial.batches()), (Point::at(3), vec![2, 1]));
        assert_eq!(trial.context.counters.event_received.get(), 3);
    }

    #[tokio::test]
    async fn a_batch_that_cannot_be_read_again_is_counted_as_dropped() {
        let trial = Trial::new();
        let (mut courier, _) = Courier::begin(&trial.context, PACE).await.unwrap();
        courier.forgo();
        assert_eq!(trial.context.counters.drops.get(DropReason::FileGone), 1);
    }

    #[tokio::test]
    async fn what_no_channel_holds_is_answered_and_what_stands_before_it_is_in() {
        let channel = narrow_channel(1000);
        let trial = Trial::over(&channel);
        let (mut courier, _) = Courier::begin(&trial.context, PACE).await.unwrap();
        let long = "x".repeat(1001);
        let batch = pieces(&["before", "too", &long, "behind"]);
        let (at, ended) = courier.hand_over(batch, Point::at(0), mark).await;
        assert!(matches!(ended, Ended::Unfit(_)), "{ended:?}");
        assert_eq!((at, held(&*channel)), (Point::at(9), vec!["before".into(), "too".into()]));
    }

    #[tokio::test]
    async fn after_the_stop_signal_it_tries_once() {
        let trial = Trial::new();
        trial.always(Reply::Full);
        trial.stop();
        let (mut courier, _) = Courier::begin(&trial.context, PACE).await.unwrap();
        let (at, ended) = courier.hand_over(pieces(&["1"]), Point::at(0), mark).await;
        assert!(matches!(ended, Ended::Stopped));
        assert_eq!((at, trial.tries(), bodies(&trial.events())), (Point::at(0), 1, vec![]));
    }

    /// The intake of a source over two channels, as a new process has it.
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

    /// What a new process knows, and how the handing over of two events ends there.
    async fn two(trial: &Trial, era: u64) -> (Known, Ended) {
        let (mut courier, known) = Courier::begin(&trial.context, PACE).await.unwrap();
        courier.begin_era(era);
        let (_, ended) = courier.hand_over(pieces(&["1", "2"]), Point::at(0), mark).await;
        (known, ended)
    }

    fn drained(channel: &Arc<dyn Channel>) -> Vec<String> {
        let mut take = channel.begin_take();
        let events = take.take(100).unwrap();
        take.commit().unwrap();
        bodies(&events)
    }

    #[tokio::test]
    async fn after_events_that_one_channel_refuses_for_good_the_next_enter_both() {
        let directory = tempfile::tempdir().unwrap();
        let wide = durable_with(&directory.path().join("wide"), 10, 1 << 20);
        let narrow = durable_with(&directory.path().join("narrow"), 10, 1024);
        let mut trial = Trial::new();
        trial.context.intake = intake(&wide, &narrow);
        let long = "x".repeat(2000);
        let (mut courier, _) = Courier::begin(&trial.context, PACE).await.unwrap();
        let first = pieces(&["1", &long, "3", "4"]);
        let (_, ended) = courier.hand_over(first, Point::at(0), mark).await;
        assert!(matches!(ended, Ended::Unfit(_)), "{ended:?}");
        assert!(matches!(courier.give_up(Bytes::new).await, Ended::Done));
        for next in ["of the next file", "of the one after it"] {
            let (_, ended) = courier.hand_over(pieces(&[next]), Point::at(0), mark).await;
            assert!(matches!(ended, Ended::Done));
            assert!(drained(&wide).contains(&next.to_owned()), "{next}");
            assert!(drained(&narrow).contains(&next.to_owned()), "{next}");
        }
        // Both have counted as far, so the next life finds no channel that has missed something.
        let (_, known) = Courier::begin(&trial.context, PACE).await.unwrap();
        assert!(!known.behind);
    }

    #[tokio::test]
    async fn the_first_batch_of_an_era_that_only_one_channel_has_is_put_again() {
        let directory = tempfile::tempdir().unwrap();
        let wide = durable(&directory.path().join("wide"), 100);
        let narrow = durable(&directory.path().join("narrow"), 2);
        let mut trial = Trial::new();
        trial.stop();
        let both = ["1", "2"].map(str::to_owned).to_vec();
        for era in [1, 2] {
            let mut put = narrow.begin_put();
            put.put(Event::new("in the way")).unwrap();
            put.commit().unwrap();
            // Each round is as after a kill.
            for round in 0..3 {
                trial.context.intake = intake(&wide, &narrow);
                let (known, ended) = two(&trial, era).await;
                assert!(matches!(ended, Ended::Stopped), "{ended:?}");
                assert_eq!(known.behind, round > 0, "one batch behind, not a channel that joins");
                assert_eq!(held(&*wide), ["1", "2"], "not put twice");
            }
            assert_eq!(drained(&narrow), ["in the way"]);
            trial.context.intake = intake(&wide, &narrow);
            assert!(matches!(two(&trial, era).await, (Known { behind: true, .. }, Ended::Done)));
            assert_eq!((drained(&wide), drained(&narrow)), (both.clone(), both.clone()));
        }
    }
}
