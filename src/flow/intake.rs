//! What stands behind a source: interceptors, selector and channels.
//!
//! Interceptors see a batch first; when they leave nothing of it, nothing is committed but its mark,
//! and when one of them fails, the batch is refused.
//! One batch becomes one transaction on each channel that the selector names. Required channels
//! commit in the order in which the source lists them; when one does not, those before it keep
//! the batch, those behind it and the optional ones do not get it, and the source's repeat goes
//! to all of them again: there is no transaction across channels. Optional channels come last;
//! what they refuse is counted and logged. Events that interceptors drop or for which the selector names no
//! channel are counted once the batch is committed: a batch that is refused comes again.

use super::context::Intake;
use super::interceptor::{Chain, Passed, Stuck};
use super::marks::{Kept, Mark, Marks};
use super::selector::{Route, Selector};
use super::tap::{Sample, Tap, Way};
use crate::base::quantity::Quantity;
use crate::channel::{BoxFuture, Channel, CommitError, PositionError, Refusal};
use crate::codes;
use crate::event::Event;
use crate::metrics::{DropReason, SourceCounters};
use bytes::Bytes;
use std::sync::Arc;

/// A channel and its name.
#[derive(Clone)]
pub struct NamedChannel {
    /// The name in the configuration.
    pub name: String,
    /// The channel.
    pub channel: Arc<dyn Channel>,
}

/// The intake of one source.
pub struct ChannelProcessor {
    source: String,
    interceptors: Option<Chain>,
    selector: Box<dyn Selector>,
    channels: Vec<NamedChannel>,
    marks: Marks,
    counters: Arc<SourceCounters>,
    tap: Arc<Tap>,
}

/// What one batch puts into one channel.
#[derive(Default)]
struct Share {
    required: Vec<Event>,
    optional: Vec<Event>,
}

impl ChannelProcessor {
    /// The intake of `source` over `channels`, in the order in which `selector` counts them.
    #[must_use]
    pub fn new(
        source: impl Into<String>,
        selector: Box<dyn Selector>,
        channels: Vec<NamedChannel>,
        counters: Arc<SourceCounters>,
    ) -> Self {
        let source = source.into();
        let required = |at| selector.may_require(at);
        let marks = Marks::new(&source, &channels, required, selector.is_repeatable());
        let tap = Arc::default();
        Self { source, interceptors: None, selector, channels, marks, counters, tap }
    }

    /// The same, with what it accepted shown at `tap`.
    #[must_use]
    pub fn tapped(self, tap: Arc<Tap>) -> Self {
        Self { tap, ..self }
    }

    /// The same behind `chain`.
    #[must_use]
    pub fn behind(mut self, chain: Chain) -> Self {
        self.interceptors = Some(chain);
        self
    }

    /// What each channel gets, and how many events none gets.
    fn shares(&self, events: Vec<Event>) -> (Vec<Share>, u64) {
        let mut unrouted = 0;
        let mut shares: Vec<Share> = self.channels.iter().map(|_| Share::default()).collect();
        // Nearly all sources have one channel.
        if let Some(Route { required: &[only], optional: [] }) = self.selector.same_for_all() {
            shares[only].required = events;
            return (shares, unrouted);
        }
        for event in events {
            let route = self.selector.route(&event);
            let places = route.required.len() + route.optional.len();
            unrouted += u64::from(places == 0);
            let targets = route.required.iter().map(|&at| (at, true));
            let targets = targets.chain(route.optional.iter().map(|&at| (at, false)));
            let copies = std::iter::repeat_n(event, places);
            for ((at, required), event) in targets.zip(copies) {
                let share = &mut shares[at];
                if required { &mut share.required } else { &mut share.optional }.push(event);
            }
        }
        (shares, unrouted)
    }

    /// What the interceptors leave.
    async fn pass(&self, events: Vec<Event>) -> Result<(Vec<Event>, Passed), CommitError> {
        let Some(chain) = &self.interceptors else { return Ok((events, Passed::default())) };
        let passed = chain.pass(events).await.map_err(|stuck| match stuck {
            Stuck::Panicked => panic!("{stuck}"),
            Stuck::Outside(trouble) => CommitError::Refused(Refusal::NotIntercepted(trouble)),
        });
        let mut passed = passed?;
        Ok((std::mem::take(&mut passed.events), passed))
    }

    async fn enter(&self, events: Vec<Event>, mark: Option<&Mark>) -> Result<(), CommitError> {
        let count = events.len() as u64;
        let ended = match self.pass(events).await {
            Ok((events, passed)) => {
                let ended = self.show_behind(events, mark).await;
                if let (Ok(()), Some(chain)) = (&ended, &self.interceptors) {
                    chain.count(passed);
                }
                ended
            }
            Err(error) => Err(error),
        };
        match &ended {
            Ok(()) => self.counters.event_accepted.add(count),
            Err(_) => self.counters.channel_write_fail.add(1),
        }
        ended
    }

    /// Commits what the interceptors left, and shows it then.
    async fn show_behind(
        &self,
        events: Vec<Event>,
        mark: Option<&Mark>,
    ) -> Result<(), CommitError> {
        let mut sample = self.tap.sample(Way::Accepted);
        if let Some(sample) = &mut sample {
            sample.see(&events);
        }
        self.commit_all(events, mark).await?;
        sample.into_iter().for_each(Sample::passed);
        Ok(())
    }

    async fn commit_all(&self, events: Vec<Event>, mark: Option<&Mark>) -> Result<(), CommitError> {
        let mut optional = Vec::new();
        let (shares, unrouted) = self.shares(events);
        for (at, share) in shares.into_iter().enumerate() {
            optional.push(share.optional);
            self.put_required(at, share.required, mark).await?;
        }
        self.counters.drops.add(DropReason::Unrouted, unrouted);
        for (target, events) in self.channels.iter().zip(optional) {
            let count = events.len() as u64;
            if let Err(error) = put(&*target.channel, events, None).await {
                self.counters.optional_write_fail.add(count);
                self.counters.drops.add(DropReason::OptionalChannel, count);
                tracing::warn!(
                    code = %codes::OPTIONAL_CHANNEL_MISSED,
                    source = self.source,
                    channel = target.name,
                    "{} did not enter an optional channel: {error}",
                    Quantity(count, "event")
                );
            }
        }
        Ok(())
    }

    async fn put_required(
        &self,
        at: usize,
        events: Vec<Event>,
        mark: Option<&Mark>,
    ) -> Result<(), CommitError> {
        let channel = &self.channels[at].channel;
        let Some(mark) = mark.filter(|_| self.marks.ride_to(at)) else {
            return put(&**channel, events, None).await;
        };
        if !self.marks.lacks(at, channel, mark.number).await? {
            return Ok(());
        }
        let ended = put(&**channel, events, Some(self.marks.rider(mark))).await;
        self.marks.settle(at, mark.number, &ended);
        ended
    }
}

/// Puts the events, and the position of the source of this name with them.
async fn put(
    channel: &dyn Channel,
    events: Vec<Event>,
    position: Option<(&str, Bytes)>,
) -> Result<(), CommitError> {
    if events.is_empty() && position.is_none() {
        return Ok(());
    }
    let mut transaction = channel.begin_put();
    if let Some((source, bytes)) = position {
        transaction.set_position(source, bytes);
    }
    for event in events {
        if let Err(error) = transaction.put(event) {
            transaction.rollback();
            return Err(CommitError::Refused(Refusal::Transaction(error)));
        }
    }
    Ok(transaction.commit_async().await?)
}

impl Intake for ChannelProcessor {
    fn commit(&self, events: Vec<Event>) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(
            async move { if events.is_empty() { Ok(()) } else { self.enter(events, None).await } },
        )
    }

    fn commit_marked(
        &self,
        events: Vec<Event>,
        mark: Mark,
    ) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(async move { self.enter(events, Some(&mark)).await })
    }

    fn kept(&self) -> BoxFuture<'_, Result<Kept, PositionError>> {
        Box::pin(self.marks.ask(&self.channels))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(chain) = &self.interceptors {
                chain.stop().await;
            }
        })
    }

    fn transaction_capacity(&self) -> usize {
        let capacities = self.channels.iter().map(|c| c.channel.limits().transaction_capacity);
        capacities.min().unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{Clock, SystemClock};
    use crate::channel::memory::{MemoryChannel, MemoryOptions};
    use crate::flow::interceptor::{Interceptor, Verdict};
    use crate::flow::selector::{Replicating, Route};
    use std::time::Duration;

    fn channel(name: &str, capacity: u64) -> NamedChannel {
        let options = MemoryOptions {
            capacity,
            transaction_capacity: usize::try_from(capacity).unwrap(),
            keep_alive: Duration::ZERO,
            ..MemoryOptions::default()
        };
        let channel = Arc::new(MemoryChannel::new(options).unwrap());
        NamedChannel { name: name.to_owned(), channel }
    }

    fn events(bodies: &[&str]) -> Vec<Event> {
        bodies.iter().map(|body| Event::new(body.to_string())).collect()
    }

    fn sizes(channels: &[NamedChannel]) -> Vec<u64> {
        channels.iter().map(|c| c.channel.status().events).collect()
    }

    fn intake(
        channels: &[NamedChannel],
        optional: &[&str],
    ) -> (ChannelProcessor, Arc<SourceCounters>) {
        let names: Vec<String> = channels.iter().map(|c| c.name.clone()).collect();
        let (selector, foreign) = Replicating::new(&names, optional);
        assert!(foreign.is_empty());
        let counters = Arc::new(SourceCounters::default());
        let intake = ChannelProcessor::new(
            "r1",
            Box::new(selector),
            channels.to_vec(),
            Arc::clone(&counters),
        );
        (intake, counters)
    }

    #[tokio::test]
    async fn every_channel_gets_every_event_in_one_transaction() {
        let channels = [channel("c1", 5), channel("c2", 9)];
        let (intake, counters) = intake(&channels, &[]);
        assert_eq!(intake.transaction_capacity(), 5);
        intake.commit(events(&["1", "2"])).await.unwrap();
        intake.commit(Vec::new()).await.unwrap();
        assert_eq!(sizes(&channels), [2, 2]);
        assert_eq!(counters.event_accepted.get(), 2);
    }

    #[tokio::test]
    async fn a_required_channel_that_refuses_is_the_sources_error_and_the_next_ones_are_not_tried()
    {
        let channels = [channel("c1", 5), channel("c2", 1), channel("c3", 5), channel("c4", 5)];
        let (intake, counters) = intake(&channels, &["c4"]);
        intake.commit(events(&["1"])).await.unwrap();
        let error = intake.commit(events(&["2"])).await.unwrap_err();
        assert!(matches!(error, CommitError::Refused(Refusal::Full { capacity: 1, .. })));
        assert_eq!(sizes(&channels), [2, 1, 1, 1]);
        assert_eq!((counters.event_accepted.get(), counters.channel_write_fail.get()), (1, 1));
    }

    #[tokio::test]
    async fn an_optional_channel_that_refuses_is_only_counted() {
        let channels = [channel("c1", 1), channel("c2", 5)];
        let (intake, counters) = intake(&channels, &["c1"]);
        intake.commit(events(&["1"])).await.unwrap();
        intake.commit(events(&["2"])).await.unwrap();
        assert_eq!(sizes(&channels), [1, 2]);
        assert_eq!((counters.event_accepted.get(), counters.optional_write_fail.get()), (2, 1));
        assert_eq!(counters.drops.get(DropReason::OptionalChannel), 1);
    }

    #[tokio::test]
    async fn a_batch_beyond_the_transaction_capacity_says_so_and_enters_nothing() {
        let channels = [channel("c1", 2)];
        let (intake, _) = intake(&channels, &[]);
        let error = intake.commit(events(&["1", "2", "3"])).await.unwrap_err();
        assert!(error.to_string().contains("transaction_capacity"), "{error}");
        assert_eq!(sizes(&channels), [0]);
    }

    #[tokio::test]
    async fn a_selector_that_looks_at_events_splits_a_batch() {
        struct ByFirstByte;
        impl Selector for ByFirstByte {
            fn route(&self, event: &Event) -> Route<'_> {
                match event.body[0] {
                    b'a' => Route { required: &[0], optional: &[] },
                    b'b' => Route { required: &[1], optional: &[0] },
                    _ => Route { required: &[], optional: &[] },
                }
            }
        }
        let channels = [channel("c1", 9), channel("c2", 9)];
        let counters = Arc::new(SourceCounters::default());
        let counts = Arc::clone(&counters);
        let intake = ChannelProcessor::new("r1", Box::new(ByFirstByte), channels.to_vec(), counts);
        intake.commit(events(&["a1", "b1", "x", "a2"])).await.unwrap();
        assert_eq!(sizes(&channels), [3, 1]);
        let taken = channels[0].channel.begin_take().take(9).unwrap();
        assert_eq!(taken, events(&["a1", "a2", "b1"]));
        assert_eq!(counters.drops.get(DropReason::Unrouted), 1, "the one that goes nowhere");
    }

    #[tokio::test]
    async fn what_interceptors_drop_is_accepted_and_enters_no_channel() {
        struct Odd;
        impl Interceptor for Odd {
            fn intercept(&self, event: &mut Event, _: &dyn Clock) -> Verdict {
                if event.body[0] % 2 == 1 { Verdict::Keep } else { Verdict::Drop }
            }
        }
        let channels = [channel("c1", 1), channel("c2", 9)];
        let (intake, counters) = intake(&channels, &[]);
        let odd: Vec<(String, Box<dyn Interceptor>)> = vec![("i1".to_owned(), Box::new(Odd))];
        let chain = Chain::new(odd, &counters.interceptors, Arc::new(SystemClock::new()));
        let intake = intake.behind(chain);
        let dropped = || counters.interceptors.of("i1").get(DropReason::Filtered);
        // Only what is left of a batch has to fit.
        intake.commit(events(&["0", "1", "2"])).await.unwrap();
        // Nothing is left: a full channel is not asked.
        intake.commit(events(&["4", "6"])).await.unwrap();
        assert_eq!(sizes(&channels), [1, 1]);
        assert_eq!((counters.event_accepted.get(), dropped()), (5, 4));
        // Of a batch that is refused, and comes again, nothing counts yet.
        intake.commit(events(&["3", "8"])).await.unwrap_err();
        assert_eq!(dropped(), 4);
    }

    #[test]
    fn optional_channels_that_the_source_does_not_have_are_named() {
        let (_, foreign) = Replicating::new(&["c1".to_owned()], &["c9"]);
        assert_eq!(foreign, ["c9"]);
    }
}
