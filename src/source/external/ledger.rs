//! Hands batches over with their positions, and knows what the next process is to be told.

use super::place::Place;
use crate::base::quantity::Quantity;
use crate::channel::CommitError;
use crate::codes;
use crate::event::Event;
use crate::flow::marks::{Kept, Mark};
use crate::flow::source::{Failure, SourceContext};
use crate::source::patience::{note_position, rest};
use crate::wire::external::read::Batch;
use crate::wire::external::write;
use std::time::Duration;

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How handing over a batch ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// It is in every channel.
    Done,
    /// No channel takes such a batch, however long one waits.
    Never(CommitError),
    /// The source stops while the channels take nothing.
    Stopped(CommitError),
}

/// Where the source stands.
pub(super) struct Ledger<'a> {
    context: &'a SourceContext,
    /// What the marks of all channels have counted at least, where the channels keep them.
    number: Option<u64>,
    /// What they have counted in the channel that is ahead.
    ahead: u64,
    /// The position behind the last batch.
    position: Option<String>,
    /// A batch that some channels have and others lack: it has to be put again before anything else.
    torn: Option<Place>,
}

impl<'a> Ledger<'a> {
    /// What the channels know.
    ///
    /// # Errors
    /// They cannot tell yet.
    pub(super) async fn begin(context: &'a SourceContext) -> Result<Self, Failure> {
        let kept = context.intake.kept().await.map_err(|error| {
            Failure::caused("the channels do not tell yet where this source was", error)
        })?;
        let mut ledger = Self { context, number: None, ahead: 0, position: None, torn: None };
        match kept {
            Kept::Nowhere => {}
            Kept::At { newest: None, .. } => ledger.number = Some(0),
            Kept::At { newest: Some(mark), behind } => ledger.go_on(&mark, behind),
        }
        Ok(ledger)
    }

    fn go_on(&mut self, mark: &Mark, behind: bool) {
        (self.number, self.ahead) = (Some(mark.number), mark.number);
        let Some(place) = Place::decode(&mark.bytes) else {
            tracing::warn!(
                source = %self.context.name,
                "the channels keep the place of a source of this name and of another type; this one begins without a position"
            );
            return;
        };
        if behind && place.events == 0 {
            // A position alone, which the next batch brings to the others.
            (self.number, self.position) = (Some(mark.since), place.to);
        } else if behind && place.to.is_some() {
            (self.number, self.position) = (Some(mark.since), place.from.clone());
            self.torn = Some(place);
        } else {
            self.position = place.to;
        }
    }

    /// What a process is told when it starts.
    pub(super) fn place(&self) -> write::Place<'_> {
        let repeat = self.torn.as_ref().and_then(|torn| {
            let position = torn.to.as_deref()?;
            Some(write::Repeat { events: torn.events, position })
        });
        let position = self.position.as_deref();
        write::Place { durable: self.number.is_some(), position, repeat }
    }

    /// Commits a batch and, where the channels keep it, its position with it. Waits and tries again
    /// while they refuse; after the stop signal once.
    pub(super) async fn hand_over(&mut self, batch: Batch) -> Ended {
        let Batch { events, position, .. } = batch;
        if events.is_empty() && position.is_none() {
            return Ended::Done;
        }
        let counters = &self.context.counters;
        counters.batch_received(events.len() as u64);
        let again = self.is_given_again(&events, position.as_deref());
        let number = if again { self.ahead } else { self.ahead + events.len().max(1) as u64 };
        let to = position.or_else(|| self.position.clone());
        let ended = self.commit(events, to.clone(), number).await;
        if matches!(ended, Ended::Done) {
            counters.batch_accepted();
            (self.position, self.torn, self.ahead) = (to, None, number);
            self.number = self.number.map(|_| number);
        } else if !again {
            // One channel may have it although another does not take it: its number is used up, else the
            // next batch would be taken for it there.
            self.ahead = number;
        }
        ended
    }

    /// Whether this is the batch that has to be put again. Where it is another one, that goes to all
    /// channels as one that nobody has: nothing is lost by that, and what the process gives a second
    /// time is there a second time in those that had it.
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

    async fn commit(&self, events: Vec<Event>, to: Option<String>, number: u64) -> Ended {
        let context = self.context;
        let place = Place { events: events.len(), from: self.position.clone(), to };
        let mark = self.number.map(|since| Mark { number, since, bytes: place.encode() });
        let mut pause = PAUSE_MIN;
        loop {
            let stopping = context.stop.fired();
            // In doubt or refused, the very same batch with the very same mark enters each channel once.
            let committed = match mark.clone() {
                Some(mark) => context.intake.commit_marked(events.clone(), mark).await,
                None => context.intake.commit(events.clone()).await,
            };
            note_position(&context.counters, &committed);
            let Err(error) = committed else { return Ended::Done };
            if error.never_fits() {
                return Ended::Never(error);
            }
            if stopping {
                return Ended::Stopped(error);
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
    use crate::channel::Channel;
    use crate::channel::file::{FileChannel, FileChannelOptions};
    use crate::flow::intake::{ChannelProcessor, NamedChannel};
    use crate::flow::selector::Replicating;
    use crate::source::trial::{Reply, Trial, bodies, durable};
    use std::sync::Arc;

    /// A source over two channels, as a new process of the agent has it.
    fn trial(wide: &Arc<dyn Channel>, narrow: &Arc<dyn Channel>) -> Trial {
        let names = ["wide", "narrow"].map(str::to_owned);
        let channels = [wide, narrow].into_iter().zip(&names);
        let channels = channels.map(|(channel, name)| NamedChannel {
            name: name.clone(),
            channel: Arc::clone(channel),
        });
        let selector = Box::new(Replicating::new(&names, &[]).0);
        let mut trial = Trial::new();
        trial.context.intake =
            Arc::new(ChannelProcessor::new("r1", selector, channels.collect(), Arc::default()));
        trial
    }

    fn batch(bodies: &[&str], position: Option<&str>) -> Batch {
        let events = bodies.iter().map(|body| Event::new((*body).to_owned())).collect();
        Batch { number: 0, events, position: position.map(str::to_owned) }
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
    async fn positions_are_told_to_the_next_process_and_without_one_the_last_stays() {
        let directory = tempfile::tempdir().unwrap();
        let channel = durable(directory.path(), 100);
        let other = durable(&directory.path().join("b"), 100);
        let first = trial(&channel, &other);
        let mut ledger = Ledger::begin(&first.context).await.unwrap();
        let fresh = write::Place { durable: true, position: None, repeat: None };
        assert_eq!(ledger.place(), fresh);
        for given in [batch(&["1"], Some("one")), batch(&["2"], None), batch(&[], None)] {
            assert!(matches!(ledger.hand_over(given).await, Ended::Done));
        }
        let second = trial(&channel, &other);
        let mut ledger = Ledger::begin(&second.context).await.unwrap();
        assert_eq!(ledger.place().position, Some("one"));
        // A position alone counts.
        assert!(matches!(ledger.hand_over(batch(&[], Some("two"))).await, Ended::Done));
        let third = trial(&channel, &other);
        let ledger = Ledger::begin(&third.context).await.unwrap();
        assert_eq!(ledger.place(), write::Place { position: Some("two"), ..fresh });
        assert_eq!(
            (drained(&channel), drained(&other)),
            (vec!["1".into(), "2".into()], vec!["1".into(), "2".into()])
        );
    }

    /// That there is no room for its position is not about its events: they are not given up.
    #[tokio::test]
    async fn a_batch_waits_until_there_is_room_for_its_position() {
        let directory = tempfile::tempdir().unwrap();
        let channel = durable(directory.path(), 100);
        let mut others = channel.begin_put();
        others.set_position("gone", vec![b'x'; 90 * 1024].into());
        others.commit().unwrap();
        let other = durable(&directory.path().join("b"), 100);
        let one = trial(&channel, &other);
        let mut ledger = Ledger::begin(&one.context).await.unwrap();
        let long = "p".repeat(20 * 1024);
        let counters = Arc::clone(&one.context.counters);
        let freed = async {
            crate::source::trial::until("the refusal", || counters.position_refused.get() == 1)
                .await;
            channel.name_sources(&["r1".to_owned()]);
        };
        let (ended, ()) = tokio::join!(ledger.hand_over(batch(&["1"], Some(&long))), freed);
        assert!(matches!(ended, Ended::Done), "{ended:?}");
        assert_eq!(counters.position_refused.get(), 0);
        assert_eq!(channel.position("gone").unwrap(), None);
    }

    /// Two channels of which only the wide one has the batch `1 2`, as a crash leaves them.
    async fn torn(wide: &Arc<dyn Channel>, narrow: &Arc<dyn Channel>) {
        let first = trial(wide, narrow);
        let mut ledger = Ledger::begin(&first.context).await.unwrap();
        assert!(matches!(ledger.hand_over(batch(&["0"], Some("a"))).await, Ended::Done));
        first.stop();
        assert!(matches!(ledger.hand_over(batch(&["1", "2"], Some("b"))).await, Ended::Stopped(_)));
    }

    #[tokio::test]
    async fn a_batch_that_only_one_channel_has_is_asked_for_again_and_enters_each_once() {
        let directory = tempfile::tempdir().unwrap();
        let wide = durable(&directory.path().join("wide"), 100);
        let narrow = durable(&directory.path().join("narrow"), 2);
        torn(&wide, &narrow).await;
        let mut got = drained(&narrow);
        let again = trial(&wide, &narrow);
        let mut ledger = Ledger::begin(&again.context).await.unwrap();
        let repeat = Some(write::Repeat { events: 2, position: "b" });
        let expected = write::Place { durable: true, position: Some("a"), repeat };
        assert_eq!(ledger.place(), expected);
        assert!(matches!(ledger.hand_over(batch(&["1", "2"], Some("b"))).await, Ended::Done));
        assert_eq!(ledger.place(), write::Place { position: Some("b"), repeat: None, ..expected });
        got.extend(drained(&narrow));
        assert!(matches!(ledger.hand_over(batch(&["3"], Some("c"))).await, Ended::Done));
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
    async fn what_comes_in_place_of_a_batch_that_one_channel_never_takes_enters_both() {
        let directory = tempfile::tempdir().unwrap();
        let wide = durable(&directory.path().join("wide"), 100);
        let narrow = {
            let dir = directory.path().join("narrow");
            let mut options = FileChannelOptions::new(dir.join("checkpoint"), [dir.join("data")]);
            (options.transaction_bytes_max, options.minimum_required_space) = (1024, 0);
            (options.keep_alive, options.segment_bytes) = (Duration::ZERO, 1 << 20);
            Arc::new(FileChannel::open(options).unwrap()) as Arc<dyn Channel>
        };
        let trial = trial(&wide, &narrow);
        let mut ledger = Ledger::begin(&trial.context).await.unwrap();
        assert!(matches!(ledger.hand_over(batch(&["0"], Some("a"))).await, Ended::Done));
        let large = "x".repeat(2000);
        let never = ledger.hand_over(batch(&[&large], Some("b"))).await;
        assert!(matches!(never, Ended::Never(_)), "{never:?}");
        // As many events as the one that was refused, up to the same position.
        assert!(matches!(ledger.hand_over(batch(&["1"], Some("b"))).await, Ended::Done));
        assert_eq!(drained(&narrow), ["0", "1"]);
        assert_eq!(drained(&wide), ["0", &large, "1"]);
    }

    #[tokio::test]
    async fn a_position_that_only_one_channel_has_is_not_asked_for_again() {
        let directory = tempfile::tempdir().unwrap();
        let wide = durable(&directory.path().join("wide"), 100);
        let narrow = durable(&directory.path().join("narrow"), 2);
        let first = trial(&wide, &narrow);
        let mut ledger = Ledger::begin(&first.context).await.unwrap();
        assert!(matches!(ledger.hand_over(batch(&["0"], Some("a"))).await, Ended::Done));
        narrow.close().unwrap();
        first.stop();
        assert!(matches!(ledger.hand_over(batch(&[], Some("b"))).await, Ended::Stopped(_)));
        drop(ledger);
        drop((first, narrow));
        let narrow = durable(&directory.path().join("narrow"), 2);
        let second = trial(&wide, &narrow);
        let mut ledger = Ledger::begin(&second.context).await.unwrap();
        let expected = write::Place { durable: true, position: Some("b"), repeat: None };
        assert_eq!(ledger.place(), expected);
        assert!(matches!(ledger.hand_over(batch(&["1"], Some("c"))).await, Ended::Done));
        assert_eq!(
            (drained(&wide), drained(&narrow)),
            (vec!["0".into(), "1".into()], vec!["0".into(), "1".into()])
        );
        let third = trial(&wide, &narrow);
        assert_eq!(Ledger::begin(&third.context).await.unwrap().place().position, Some("c"));
    }

    #[tokio::test]
    async fn another_batch_in_its_place_loses_nothing_also_over_a_further_crash() {
        let directory = tempfile::tempdir().unwrap();
        let wide = durable(&directory.path().join("wide"), 100);
        let narrow = durable(&directory.path().join("narrow"), 2);
        torn(&wide, &narrow).await;
        // The narrow one is full still: what comes instead enters the wide one only, again.
        narrow.begin_put().commit().unwrap();
        let mut put = narrow.begin_put();
        put.put(Event::new("in the way")).unwrap();
        put.commit().unwrap();
        let second = trial(&wide, &narrow);
        second.stop();
        let mut ledger = Ledger::begin(&second.context).await.unwrap();
        assert!(matches!(ledger.hand_over(batch(&["1"], Some("a1"))).await, Ended::Stopped(_)));
        assert_eq!(drained(&narrow), ["0", "in the way"]);
        let third = trial(&wide, &narrow);
        let mut ledger = Ledger::begin(&third.context).await.unwrap();
        let repeat = Some(write::Repeat { events: 1, position: "a1" });
        assert_eq!(ledger.place(), write::Place { durable: true, position: Some("a"), repeat });
        assert!(matches!(ledger.hand_over(batch(&["1"], Some("a1"))).await, Ended::Done));
        assert!(matches!(ledger.hand_over(batch(&["2"], Some("b"))).await, Ended::Done));
        assert_eq!(drained(&narrow), ["1", "2"]);
        assert_eq!(drained(&wide), ["0", "1", "2", "1", "2"]);
    }

    #[tokio::test]
    async fn refusals_are_outlasted_and_what_no_channel_holds_is_said() {
        let trial = Trial::new();
        trial.reply_with([Reply::Full, Reply::Doubt]);
        let mut ledger = Ledger::begin(&trial.context).await.unwrap();
        assert!(!ledger.place().durable);
        assert!(matches!(ledger.hand_over(batch(&["1"], Some("a"))).await, Ended::Done));
        assert_eq!(
            (ledger.place().position, bodies(&trial.events())),
            (Some("a"), vec!["1".into()])
        );
        trial.reply_with([Reply::TooLarge]);
        let ended = ledger.hand_over(batch(&["2"], Some("b"))).await;
        assert!(matches!(ended, Ended::Never(_)), "{ended:?}");
        assert_eq!(ledger.place().position, Some("a"));
    }
}
