//! The processing of a source's batches: interceptors, selector and channels.
//!
//! Interceptors see a batch first. If they leave no event, only its mark is committed; if one of them fails, the
//! batch is refused. One batch becomes one transaction on each channel that the selector names. Required channels
//! commit in the order in which the source lists them. When one does not commit, those before it keep the batch,
//! those after it and the optional ones do not get it, and the source's retry goes to all of them again: there is
//! no transaction across channels. Optional channels come last; what they refuse is counted and logged. Events
//! that interceptors drop or for which the selector names no channel are counted once the batch is committed,
//! because a refused batch is tried again.

use super::context::Intake;
use super::interceptor::{ChainError, ChainOutput, InterceptorChain};
pub use super::named_channel::NamedChannel;
use super::selector::{EventRoute, Selector};
use super::source_offset::{BatchOffset, OffsetTracker, StoredOffset};
use super::tap::{Tap, TapDirection, TapSample};
use crate::codes;
use crate::metrics::{DropReason, SourceCounters};
use bytes::Bytes;
use millpond::internal::base::quantity::Quantity;
use millpond::{
    BoxFuture, Channel, CommitError, Event, PutAllError, RefusedReason, SourceOffsetError,
};
use std::sync::Arc;

/// The intake of one source.
pub struct ChannelProcessor {
    source: String,
    interceptors: Option<InterceptorChain>,
    selector: Box<dyn Selector>,
    channels: Vec<NamedChannel>,
    offsets: OffsetTracker,
    counters: Arc<SourceCounters>,
    tap: Arc<Tap>,
}

/// The part of a batch that goes into one channel.
#[derive(Default)]
struct ChannelShare {
    required: Vec<Event>,
    optional: Vec<Event>,
}

impl ChannelProcessor {
    /// Returns the intake of `source` over `channels`, in the order of the selector's indexes.
    #[must_use]
    pub fn new(
        source: impl Into<String>,
        selector: Box<dyn Selector>,
        channels: Vec<NamedChannel>,
        counters: Arc<SourceCounters>,
    ) -> Self {
        let source = source.into();
        let required = |at| selector.may_require(at);
        let offsets = OffsetTracker::new(&source, &channels, required, selector.is_repeatable());
        let tap = Arc::default();
        Self { source, interceptors: None, selector, channels, offsets, counters, tap }
    }

    /// Also shows accepted events at `tap`.
    #[must_use]
    pub fn tapped(self, tap: Arc<Tap>) -> Self {
        Self { tap, ..self }
    }

    /// Passes batches through `chain` first.
    #[must_use]
    pub fn behind(mut self, chain: InterceptorChain) -> Self {
        self.interceptors = Some(chain);
        self
    }

    /// Returns the events of each channel, and the number of events without a channel.
    fn shares(&self, events: Vec<Event>) -> (Vec<ChannelShare>, u64) {
        let mut unrouted = 0;
        let mut shares: Vec<ChannelShare> =
            self.channels.iter().map(|_| ChannelShare::default()).collect();
        // Nearly all sources have one channel.
        if let Some(EventRoute { required: &[only], optional: [] }) = self.selector.same_for_all() {
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

    /// Returns what the interceptors leave of a batch.
    async fn pass(&self, events: Vec<Event>) -> Result<(Vec<Event>, ChainOutput), CommitError> {
        let Some(chain) = &self.interceptors else { return Ok((events, ChainOutput::default())) };
        let passed = chain.pass(events).await.map_err(|stuck| match stuck {
            ChainError::Panicked => panic!("{stuck}"),
            ChainError::Outside(trouble) => {
                CommitError::Refused(RefusedReason::NotIntercepted(trouble))
            }
        });
        let mut passed = passed?;
        Ok((std::mem::take(&mut passed.events), passed))
    }

    async fn enter(
        &self,
        events: Vec<Event>,
        batch_offset: Option<&BatchOffset>,
    ) -> Result<(), CommitError> {
        let count = events.len() as u64;
        let ended = match self.pass(events).await {
            Ok((events, passed)) => {
                let ended = self.commit_and_show(events, batch_offset).await;
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

    /// Commits what the interceptors left, and then shows it.
    async fn commit_and_show(
        &self,
        events: Vec<Event>,
        batch_offset: Option<&BatchOffset>,
    ) -> Result<(), CommitError> {
        let mut sample = self.tap.sample(TapDirection::Accepted);
        if let Some(sample) = &mut sample {
            sample.see(&events);
        }
        self.commit_all(events, batch_offset).await?;
        sample.into_iter().for_each(TapSample::passed);
        Ok(())
    }

    async fn commit_all(
        &self,
        events: Vec<Event>,
        batch_offset: Option<&BatchOffset>,
    ) -> Result<(), CommitError> {
        let mut optional = Vec::new();
        let (shares, unrouted) = self.shares(events);
        for (at, share) in shares.into_iter().enumerate() {
            optional.push(share.optional);
            self.put_required(at, share.required, batch_offset).await?;
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
        batch_offset: Option<&BatchOffset>,
    ) -> Result<(), CommitError> {
        let channel = &self.channels[at].channel;
        let Some(batch_offset) = batch_offset.filter(|_| self.offsets.commits_to(at)) else {
            return put(&**channel, events, None).await;
        };
        if !self.offsets.lacks(at, channel, batch_offset.number).await? {
            return Ok(());
        }
        let ended = put(&**channel, events, Some(self.offsets.encoded_offset(batch_offset))).await;
        self.offsets.record_outcome(at, batch_offset.number, &ended);
        ended
    }
}

/// Puts the events, with the offset of the source of this name.
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
        transaction.set_source_offset(source, bytes);
    }
    if let Err(PutAllError { error, .. }) = transaction.put_all(&mut events.into_iter()) {
        transaction.rollback();
        return Err(CommitError::Refused(RefusedReason::Transaction(error)));
    }
    Ok(transaction.commit_async().await?)
}

impl Intake for ChannelProcessor {
    fn commit(&self, events: Vec<Event>) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(
            async move { if events.is_empty() { Ok(()) } else { self.enter(events, None).await } },
        )
    }

    fn commit_at(
        &self,
        events: Vec<Event>,
        batch_offset: BatchOffset,
    ) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(async move { self.enter(events, Some(&batch_offset)).await })
    }

    fn stored_offset(&self) -> BoxFuture<'_, Result<StoredOffset, SourceOffsetError>> {
        Box::pin(self.offsets.ask(&self.channels))
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

    fn free_events(&self) -> u64 {
        let required =
            self.channels.iter().enumerate().filter(|(at, _)| self.selector.may_require(*at));
        let free = required.map(|(_, named)| {
            let channel = &named.channel;
            channel.limits().capacity.saturating_sub(channel.status().events)
        });
        free.min().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interceptor::{EventFate, Interceptor};
    use crate::selector::{EventRoute, Replicating};
    use millpond::{Clock, MemoryChannel, MemoryOptions, SystemClock};
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
    async fn a_refusal_of_a_required_channel_skips_the_next_channels() {
        let channels = [channel("c1", 5), channel("c2", 1), channel("c3", 5), channel("c4", 5)];
        let (intake, counters) = intake(&channels, &["c4"]);
        intake.commit(events(&["1"])).await.unwrap();
        let error = intake.commit(events(&["2"])).await.unwrap_err();
        assert!(matches!(error, CommitError::Refused(RefusedReason::Full { capacity: 1, .. })));
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
        struct FirstByteSelector;
        impl Selector for FirstByteSelector {
            fn route(&self, event: &Event) -> EventRoute<'_> {
                match event.body[0] {
                    b'a' => EventRoute { required: &[0], optional: &[] },
                    b'b' => EventRoute { required: &[1], optional: &[0] },
                    _ => EventRoute { required: &[], optional: &[] },
                }
            }
        }
        let channels = [channel("c1", 9), channel("c2", 9)];
        let counters = Arc::new(SourceCounters::default());
        let counts = Arc::clone(&counters);
        let intake =
            ChannelProcessor::new("r1", Box::new(FirstByteSelector), channels.to_vec(), counts);
        intake.commit(events(&["a1", "b1", "x", "a2"])).await.unwrap();
        assert_eq!(sizes(&channels), [3, 1]);
        let taken = channels[0].channel.begin_take().take(9).unwrap();
        assert_eq!(taken, events(&["a1", "a2", "b1"]));
        assert_eq!(counters.drops.get(DropReason::Unrouted), 1, "the one that goes nowhere");
    }

    #[tokio::test]
    async fn what_interceptors_drop_is_accepted_and_enters_no_channel() {
        struct OddSelector;
        impl Interceptor for OddSelector {
            fn intercept(&self, event: &mut Event, _: &dyn Clock) -> EventFate {
                if event.body[0] % 2 == 1 { EventFate::Keep } else { EventFate::Drop }
            }
        }
        let channels = [channel("c1", 1), channel("c2", 9)];
        let (intake, counters) = intake(&channels, &[]);
        let odd: Vec<(String, Box<dyn Interceptor>)> =
            vec![("i1".to_owned(), Box::new(OddSelector))];
        let chain =
            InterceptorChain::new(odd, &counters.interceptors, Arc::new(SystemClock::new()));
        let intake = intake.behind(chain);
        let dropped = || counters.interceptors.of("i1").get(DropReason::Filtered);
        // Only the remaining events have to fit.
        intake.commit(events(&["0", "1", "2"])).await.unwrap();
        // Nothing is left, so the full channel is not used.
        intake.commit(events(&["4", "6"])).await.unwrap();
        assert_eq!(sizes(&channels), [1, 1]);
        assert_eq!((counters.event_accepted.get(), dropped()), (5, 4));
        // Nothing of a refused batch is counted yet, because it is tried again.
        intake.commit(events(&["3", "8"])).await.unwrap_err();
        assert_eq!(dropped(), 4);
    }

    #[tokio::test]
    async fn the_room_is_that_of_the_fullest_required_channel() {
        let channels = [channel("c1", 5), channel("c2", 3), channel("c3", 1)];
        let (intake, _) = intake(&channels, &["c3"]);
        assert_eq!(intake.free_events(), 3);
        intake.commit(events(&["1", "2"])).await.unwrap();
        assert_eq!(intake.free_events(), 1, "an optional channel that is full does not count");
    }

    #[test]
    fn optional_channels_that_the_source_does_not_have_are_named() {
        let (_, foreign) = Replicating::new(&["c1".to_owned()], &["c9"]);
        assert_eq!(foreign, ["c9"]);
    }
}
