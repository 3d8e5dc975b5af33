//! Interceptors, which see each event between a source and its channels and may change or drop it.
//!
//! They run in the order in which the source lists them. An event that one drops is not seen by the next ones;
//! for the source it counts as accepted, and it is counted as dropped by that interceptor once the rest of its
//! batch is committed. A new interceptor is one file and one line in [`TYPES`]. Nearly all handle one event at a
//! time; those that call an external process ([`BatchInterceptor`]) get whole batches and may fail, and then
//! nothing of the batch goes on.

mod external;
mod host;
mod interceptor_type;
mod regex_extractor;
mod regex_filter;
mod remove_header;
mod search_replace;
mod settings;
mod static_header;
mod timestamp;
mod uuid;

pub use host::{host_name, this_machine};

use crate::metrics::{DropCounters, DropReason, InterceptorDrops};
pub use interceptor_type::{BatchInterceptor, EventFate, Interceptor, InterceptorType};
use millpond::{Clock, Event, FaultCause};
use std::sync::Arc;

/// Every type of interceptor.
pub const TYPES: &[&InterceptorType] = &[
    &timestamp::TYPE,
    &host::TYPE,
    &static_header::TYPE,
    &remove_header::TYPE,
    &uuid::TYPE,
    &search_replace::TYPE,
    &regex_filter::TYPE,
    &regex_extractor::TYPE,
    &external::TYPE,
];

/// Why a batch did not pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// An interceptor panicked.
    #[error("an interceptor panicked; the message is above")]
    Panicked,
    /// An external process gave no valid reply.
    #[error("{0}")]
    Outside(FaultCause),
}

/// The interceptors of one source, in order.
#[derive(Clone)]
pub struct InterceptorChain {
    links: Arc<[ChainStage]>,
    drops: Arc<[Arc<DropCounters>]>,
    clock: Arc<dyn Clock>,
}

/// Consecutive interceptors that a batch passes in one step.
enum ChainStage {
    /// Event by event, with the index of the first interceptor.
    Each(usize, Vec<Box<dyn Interceptor>>),
    /// As a whole, with the index of the interceptor.
    Outside(usize, Box<dyn Interceptor>),
}

/// What a chain left of a batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ChainOutput {
    /// The events that go on, in their order.
    pub events: Vec<Event>,
    /// Dropped events: index of the interceptor, reason and number. Counted with [`InterceptorChain::count`] once
    /// the batch is committed, because a refused batch is tried again.
    left_out: Vec<(usize, DropReason, u64)>,
}

impl ChainOutput {
    fn leave_out(&mut self, interceptor: usize, reason: DropReason, events: u64) {
        let known = self.left_out.iter_mut().find(|row| (row.0, row.1) == (interceptor, reason));
        match known {
            Some(row) => row.2 += events,
            None => self.left_out.push((interceptor, reason, events)),
        }
    }
}

impl InterceptorChain {
    /// Returns a chain of `interceptors` with their names, under which `counters` counts their drops.
    #[must_use]
    pub fn new(
        interceptors: Vec<(String, Box<dyn Interceptor>)>,
        counters: &InterceptorDrops,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (mut links, mut drops): (Vec<ChainStage>, Vec<_>) = (Vec::new(), Vec::new());
        for (at, (name, interceptor)) in interceptors.into_iter().enumerate() {
            drops.push(counters.of(&name));
            match links.last_mut() {
                _ if interceptor.outside().is_some() => {
                    links.push(ChainStage::Outside(at, interceptor));
                }
                Some(ChainStage::Each(_, list)) => list.push(interceptor),
                Some(ChainStage::Outside(..)) | None => {
                    links.push(ChainStage::Each(at, vec![interceptor]));
                }
            }
        }
        Self { links: links.into(), drops: drops.into(), clock }
    }

    /// Counts the dropped events of a batch whose rest is committed.
    pub fn count(&self, passed: ChainOutput) {
        for (interceptor, reason, events) in passed.left_out {
            self.drops[interceptor].add(reason, events);
        }
    }

    /// Returns what goes on of a batch; runs outside the async runtime where it may take long.
    ///
    /// # Errors
    /// Nothing of the batch goes on.
    pub async fn pass(&self, events: Vec<Event>) -> Result<ChainOutput, ChainError> {
        let mut passed = ChainOutput { events, left_out: Vec::new() };
        for (at, link) in self.links.iter().enumerate() {
            if passed.events.is_empty() {
                break;
            }
            match link {
                ChainStage::Each(_, list)
                    if list.iter().any(|interceptor| interceptor.is_heavy()) =>
                {
                    let chain = self.clone();
                    let passing = tokio::task::spawn_blocking(move || chain.each(at, passed));
                    passed = passing.await.map_err(|_| ChainError::Panicked)?;
                }
                ChainStage::Each(..) => passed = self.each(at, passed),
                ChainStage::Outside(number, interceptor) => {
                    let Some(outside) = interceptor.outside() else { continue };
                    let before = passed.events.len();
                    let events = std::mem::take(&mut passed.events);
                    passed.events = outside.pass(events).await.map_err(ChainError::Outside)?;
                    // A process that returns more events may have dropped some as well; that cannot be known.
                    let fewer = before.saturating_sub(passed.events.len());
                    if fewer > 0 {
                        passed.leave_out(*number, DropReason::Filtered, fewer as u64);
                    }
                }
            }
        }
        Ok(passed)
    }

    /// Stops the external processes.
    pub async fn stop(&self) {
        for link in self.links.iter() {
            if let ChainStage::Outside(_, interceptor) = link
                && let Some(outside) = interceptor.outside()
            {
                outside.stop().await;
            }
        }
    }

    /// Passes a batch through the stage at `at`.
    fn each(&self, at: usize, mut passed: ChainOutput) -> ChainOutput {
        if let ChainStage::Each(first, list) = &self.links[at] {
            let mut events = std::mem::take(&mut passed.events);
            events.retain_mut(|event| {
                for (interceptor, number) in list.iter().zip(*first..) {
                    let reason = match interceptor.intercept(event, &*self.clock) {
                        EventFate::Keep => continue,
                        EventFate::Drop => DropReason::Filtered,
                        EventFate::DropUnmatched => DropReason::MatchFailed,
                    };
                    passed.leave_out(number, reason, 1);
                    return false;
                }
                true
            });
            passed.events = events;
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use crate::settings::SettingsReader;
    use millpond::{BoxFuture, FaultCause, FaultKind, FaultPlace, SystemClock};

    /// Adds its text to the body, then drops bodies that contain `drops`.
    struct Adds(&'static str, &'static str);

    impl Interceptor for Adds {
        fn intercept(&self, event: &mut Event, _: &dyn Clock) -> EventFate {
            let body = String::from_utf8(event.body.to_vec()).unwrap() + self.0;
            let drops = body.contains(self.1);
            event.body = body.into();
            if drops { EventFate::Drop } else { EventFate::Keep }
        }
    }

    /// Reverses a batch, as an external process might; refuses those with `no`.
    struct TurnsRound;

    impl Interceptor for TurnsRound {
        fn intercept(&self, _: &mut Event, _: &dyn Clock) -> EventFate {
            panic!("batches go outside")
        }

        fn outside(&self) -> Option<&dyn BatchInterceptor> {
            Some(self)
        }
    }

    fn outside(what: &str) -> FaultCause {
        FaultCause::new(FaultKind::External, FaultPlace::default(), what)
    }

    impl BatchInterceptor for TurnsRound {
        fn pass(&self, mut events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Event>, FaultCause>> {
            events.reverse();
            let refuses = events.iter().any(|event| event.body.starts_with(b"no"));
            Box::pin(async move { if refuses { Err(outside("no")) } else { Ok(events) } })
        }

        fn stop(&self) -> BoxFuture<'_, ()> {
            Box::pin(async {})
        }
    }

    #[tokio::test]
    async fn events_with_abandoned_matching_do_not_fill_the_log() {
        // Not attempted on so many bytes.
        let steps_back = "(?=a)(.*)";
        let build = |kind: InterceptorType, pairs: &[(&str, &str)]| {
            let settings = Settings::from_pairs("i1", pairs);
            (kind.build)(&mut SettingsReader::new(&settings)).unwrap()
        };
        let serializers =
            [("regex", steps_back), ("serializers", "s1"), ("serializers.s1.name", "h")];
        let replaces = [("searchPattern", steps_back), ("replaceString", "b")];
        let date = [
            ("regex", "(.).*"),
            ("serializers", "s1"),
            ("serializers.s1.name", "h"),
            (
                "serializers.s1.type",
                "org.apache.flume.interceptor.RegexExtractorInterceptorMillisSerializer",
            ),
            ("serializers.s1.pattern", "yyyy"),
        ];
        let all = chain(vec![
            build(regex_filter::TYPE, &[("regex", steps_back)]),
            build(search_replace::TYPE, &replaces),
            build(regex_extractor::TYPE, &serializers),
            build(regex_extractor::TYPE, &date),
            build(remove_header::TYPE, &[("matching", steps_back)]),
        ]);
        let said = crate::log_capture::captured_log(async {
            let long = "a".repeat(20_000);
            for _ in 0..20 {
                let mut event = Event::new(long.clone());
                event.headers.set(long.as_str(), "");
                all.each(0, ChainOutput { events: vec![event], left_out: Vec::new() });
            }
        });
        let said = said.await;
        assert_eq!(said.lines().count(), 5, "{said}");
    }

    #[test]
    fn what_cannot_be_matched_is_dropped_and_counted_where_that_is_configured() {
        let steps_back = "(?=a)(.*)";
        let left_out = |kind: &InterceptorType, pairs: &[(&str, &str)]| {
            let settings = Settings::from_pairs("i1", pairs);
            let one = chain(vec![(kind.build)(&mut SettingsReader::new(&settings)).unwrap()]);
            let events = vec![Event::new("a".repeat(20_000)), Event::new("a")];
            let passed = one.each(0, ChainOutput { events, left_out: Vec::new() });
            (passed.events.len(), passed.left_out)
        };
        let replaces = [("searchPattern", steps_back), ("replaceString", "b")];
        for (kind, pairs) in [
            (&regex_filter::TYPE, &[("regex", steps_back)][..]),
            (&search_replace::TYPE, &replaces),
        ] {
            assert_eq!(left_out(kind, pairs), (2, vec![]));
            let drops = [pairs, &[("onFailure", "drop")]].concat();
            assert_eq!(left_out(kind, &drops), (1, vec![(0, DropReason::MatchFailed, 1)]));
        }
    }

    fn chain(interceptors: Vec<Box<dyn Interceptor>>) -> InterceptorChain {
        let named = interceptors.into_iter().enumerate().map(|(at, i)| (format!("i{at}"), i));
        InterceptorChain::new(
            named.collect(),
            &InterceptorDrops::default(),
            Arc::new(SystemClock::new()),
        )
    }

    async fn left(
        chain: &InterceptorChain,
        bodies: &[&'static str],
    ) -> Result<Vec<Event>, ChainError> {
        let events = bodies.iter().map(|body| Event::new(*body)).collect();
        Ok(chain.pass(events).await?.events)
    }

    #[tokio::test]
    async fn interceptors_act_in_order_and_what_one_drops_the_next_does_not_see() {
        let both = chain(vec![Box::new(Adds("a", "xa")), Box::new(Adds("b", "never"))]);
        let passed = left(&both, &["1", "x", "2"]).await;
        assert_eq!(passed, Ok(["1ab", "2ab"].map(Event::new).to_vec()));
        assert_eq!(left(&chain(Vec::new()), &["x"]).await, Ok(vec![Event::new("x")]));
    }

    #[tokio::test]
    async fn an_external_interceptor_gets_whole_batches() {
        let three = chain(vec![
            Box::new(Adds("a", "xa")),
            Box::new(TurnsRound),
            Box::new(Adds("b", "never")),
        ]);
        let passed = left(&three, &["1", "x", "2"]).await;
        assert_eq!(passed, Ok(["2ab", "1ab"].map(Event::new).to_vec()));
        assert_eq!(left(&three, &["1", "no"]).await, Err(ChainError::Outside(outside("no"))));
        // An empty batch is not sent to it.
        assert_eq!(left(&three, &["x"]).await, Ok(Vec::new()));
    }
}
