//! Interceptors: what looks at each event between a source and its channels, and may change or
//! drop it.
//!
//! They run in the order in which the source lists them. An event that one drops is not seen by
//! those after it; for the source it counts as accepted, and it is counted as dropped by that
//! interceptor once the rest of its batch is committed. A new interceptor is one file and one
//! line in [`TYPES`]. Nearly all look at one event at a time; one that asks somebody [`Outside`] gets
//! whole batches and may fail, and then nothing of the batch goes on.

mod external;
mod host;
mod joda;
mod regex_extractor;
mod regex_filter;
mod remove_header;
mod search_replace;
mod static_header;
mod timestamp;
mod uuid;

use crate::base::clock::Clock;
use crate::base::trouble::Trouble;
use crate::channel::BoxFuture;
use crate::config::settings::{Key, Kind, SettingError, SettingsReader};
use crate::event::Event;
use crate::flow::spell::Spell;
use crate::metrics::{DropReason, Drops, InterceptorDrops};
use crate::pattern::Pattern;
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

/// A type of interceptor: its names, its keys, how it is built. Each declares one constant.
pub struct InterceptorType {
    /// The names a configuration may use: the alias first, then Flume's class name.
    pub names: &'static [&'static str],
    /// The keys it knows, without `type`.
    pub keys: &'static [Key],
    /// Reads the settings.
    pub build: fn(&mut SettingsReader<'_>) -> Result<Box<dyn Interceptor>, SettingError>,
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Keep,
    /// It ends here, as configured.
    Drop,
    /// It ends here, since the interceptor could not match its pattern against it.
    DropUnmatched,
}

/// An interceptor. Many batches pass it at once.
pub trait Interceptor: Send + Sync {
    /// Looks at one event, and may change it. `clock` tells the time of day for those who write
    /// it down.
    fn intercept(&self, event: &mut Event, clock: &dyn Clock) -> Verdict;

    /// Whether it may take long over an event, so that it must not run where connections are
    /// served.
    fn is_heavy(&self) -> bool {
        false
    }

    /// Where batches go instead, for one that asks somebody else about them.
    fn outside(&self) -> Option<&dyn Outside> {
        None
    }
}

/// What asks somebody outside about whole batches. Several batches may wait for it at once.
pub trait Outside: Send + Sync {
    /// What becomes of `events`; their number may change.
    ///
    /// # Errors
    /// There is no answer, and nothing of the batch goes on. It may be tried again.
    fn pass(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Event>, Trouble>>;

    /// Lets go of whoever it asks.
    fn stop(&self) -> BoxFuture<'_, ()>;
}

/// Why a batch did not pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stuck {
    /// An interceptor panicked.
    #[error("an interceptor panicked; the message is above")]
    Panicked,
    /// Somebody outside gave no answer that counts.
    #[error("{0}")]
    Outside(Trouble),
}

/// The interceptors of one source, in order.
#[derive(Clone)]
pub struct Chain {
    links: Arc<[Link]>,
    drops: Arc<[Arc<Drops>]>,
    clock: Arc<dyn Clock>,
}

/// Interceptors that a batch passes in one go.
enum Link {
    /// Event by event; with the number of the first of them.
    Each(usize, Vec<Box<dyn Interceptor>>),
    /// As a whole; with its number.
    Outside(usize, Box<dyn Interceptor>),
}

/// What a chain left of a batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// The events that go on, in their order.
    pub events: Vec<Event>,
    /// Those that do not: by which interceptor, why, and how many. Counted with [`Chain::count`] once the
    /// batch is committed, since one that is refused comes again.
    left_out: Vec<(usize, DropReason, u64)>,
}

impl Passed {
    fn leave_out(&mut self, interceptor: usize, reason: DropReason, events: u64) {
        let known = self.left_out.iter_mut().find(|row| (row.0, row.1) == (interceptor, reason));
        match known {
            Some(row) => row.2 += events,
            None => self.left_out.push((interceptor, reason, events)),
        }
    }
}

impl Chain {
    /// A chain of `interceptors`, each with its name, under which `counters` has what it drops.
    #[must_use]
    pub fn new(
        interceptors: Vec<(String, Box<dyn Interceptor>)>,
        counters: &InterceptorDrops,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (mut links, mut drops): (Vec<Link>, Vec<_>) = (Vec::new(), Vec::new());
        for (at, (name, interceptor)) in interceptors.into_iter().enumerate() {
            drops.push(counters.of(&name));
            match links.last_mut() {
                _ if interceptor.outside().is_some() => links.push(Link::Outside(at, interceptor)),
                Some(Link::Each(_, list)) => list.push(interceptor),
                Some(Link::Outside(..)) | None => links.push(Link::Each(at, vec![interceptor])),
            }
        }
        Self { links: links.into(), drops: drops.into(), clock }
    }

    /// Counts what was left out of a batch whose rest is committed.
    pub fn count(&self, passed: Passed) {
        for (interceptor, reason, events) in passed.left_out {
            self.drops[interceptor].add(reason, events);
        }
    }

    /// What goes on of a batch; worked out beside the runtime where that may take long.
    ///
    /// # Errors
    /// Nothing of the batch goes on.
    pub async fn pass(&self, events: Vec<Event>) -> Result<Passed, Stuck> {
        let mut passed = Passed { events, left_out: Vec::new() };
        for (at, link) in self.links.iter().enumerate() {
            if passed.events.is_empty() {
                break;
            }
            match link {
                Link::Each(_, list) if list.iter().any(|interceptor| interceptor.is_heavy()) => {
                    let chain = self.clone();
                    let beside = tokio::task::spawn_blocking(move || chain.each(at, passed));
                    passed = beside.await.map_err(|_| Stuck::Panicked)?;
                }
                Link::Each(..) => passed = self.each(at, passed),
                Link::Outside(number, interceptor) => {
                    let Some(outside) = interceptor.outside() else { continue };
                    let before = passed.events.len();
                    let events = std::mem::take(&mut passed.events);
                    passed.events = outside.pass(events).await.map_err(Stuck::Outside)?;
                    // One that gives back more than it got may have dropped some as well: nobody can tell.
                    let fewer = before.saturating_sub(passed.events.len());
                    if fewer > 0 {
                        passed.leave_out(*number, DropReason::Filtered, fewer as u64);
                    }
                }
            }
        }
        Ok(passed)
    }

    /// Lets go of everybody outside.
    pub async fn stop(&self) {
        for link in self.links.iter() {
            if let Link::Outside(_, interceptor) = link
                && let Some(outside) = interceptor.outside()
            {
                outside.stop().await;
            }
        }
    }

    /// What the link at `at` leaves of a batch.
    fn each(&self, at: usize, mut passed: Passed) -> Passed {
        if let Link::Each(first, list) = &self.links[at] {
            let mut events = std::mem::take(&mut passed.events);
            events.retain_mut(|event| {
                for (interceptor, number) in list.iter().zip(*first..) {
                    let reason = match interceptor.intercept(event, &*self.clock) {
                        Verdict::Keep => continue,
                        Verdict::Drop => DropReason::Filtered,
                        Verdict::DropUnmatched => DropReason::MatchFailed,
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

/// What becomes of an event against which a pattern cannot be matched.
const ON_FAILURE: Key = Key {
    name: "onFailure",
    kind: Kind::Word,
    default: "pass",
    meaning: "What becomes of an event on which matching is given up: pass, as it is, or drop, counted as match_failed. Flume has no such key.",
};

/// What `onFailure` says.
fn on_failure(reader: &mut SettingsReader<'_>) -> Result<Verdict, SettingError> {
    Ok(match reader.word("onFailure", &["pass", "drop"])? {
        Some("drop") => Verdict::DropUnmatched,
        _ => Verdict::Keep,
    })
}

/// The word for what becomes of it.
fn became(on_failure: Verdict) -> &'static str {
    if on_failure == Verdict::Keep { "passes" } else { "is dropped" }
}

/// The Java pattern under `key`; `None` when it is not set.
fn pattern(reader: &SettingsReader<'_>, key: &str) -> Result<Option<Pattern>, SettingError> {
    let read = reader.text(key).map(Pattern::new).transpose();
    read.map_err(|error| reader.error(key, error.to_string()))
}

/// The Java pattern under `key`, or `default`.
fn pattern_or(
    reader: &SettingsReader<'_>,
    key: &str,
    default: &str,
) -> Result<Pattern, SettingError> {
    let built = || Pattern::new(default).map_err(|error| reader.error(key, error.to_string()));
    pattern(reader, key)?.map_or_else(built, Ok)
}

/// Says that matching was given up, by the rules of a spell that is never over: whoever sends events can
/// have it given up for each of them, and one says nothing about the next.
fn say(gives_up: &Spell, clock: &dyn Clock, pattern: &str, cause: &str) {
    if let Some(words) = gives_up.failed(clock.now(), cause) {
        tracing::warn!(pattern, "{words}");
    }
}

/// The Java pattern under `key`, which must be there.
fn required_pattern(reader: &SettingsReader<'_>, key: &str) -> Result<Pattern, SettingError> {
    pattern_or(reader, key, reader.required_text(key)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::SystemClock;
    use crate::config::settings::Settings;

    /// Adds its word to the body, then drops bodies that hold `drops`.
    struct Adds(&'static str, &'static str);

    impl Interceptor for Adds {
        fn intercept(&self, event: &mut Event, _: &dyn Clock) -> Verdict {
            let body = String::from_utf8(event.body.to_vec()).unwrap() + self.0;
            let drops = body.contains(self.1);
            event.body = body.into();
            if drops { Verdict::Drop } else { Verdict::Keep }
        }
    }

    /// Turns a batch round, as somebody outside who wants all of it may; gives none of those with `no`.
    struct TurnsRound;

    impl Interceptor for TurnsRound {
        fn intercept(&self, _: &mut Event, _: &dyn Clock) -> Verdict {
            panic!("batches go outside")
        }

        fn outside(&self) -> Option<&dyn Outside> {
            Some(self)
        }
    }

    impl Outside for TurnsRound {
        fn pass(&self, mut events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Event>, Trouble>> {
            events.reverse();
            let refuses = events.iter().any(|event| event.body.starts_with(b"no"));
            Box::pin(async move { if refuses { Err(Trouble::new("no")) } else { Ok(events) } })
        }

        fn stop(&self) -> BoxFuture<'_, ()> {
            Box::pin(async {})
        }
    }

    #[tokio::test]
    async fn events_on_which_matching_is_given_up_fill_no_log() {
        // Not tried on so many bytes.
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
        let said = crate::flow::heard::logged(async {
            let long = "a".repeat(20_000);
            for _ in 0..20 {
                let mut event = Event::new(long.clone());
                event.headers.set(long.as_str(), "");
                all.each(0, Passed { events: vec![event], left_out: Vec::new() });
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
            let passed = one.each(0, Passed { events, left_out: Vec::new() });
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

    fn chain(interceptors: Vec<Box<dyn Interceptor>>) -> Chain {
        let named = interceptors.into_iter().enumerate().map(|(at, i)| (format!("i{at}"), i));
        Chain::new(named.collect(), &InterceptorDrops::default(), Arc::new(SystemClock::new()))
    }

    async fn left(chain: &Chain, bodies: &[&'static str]) -> Result<Vec<Event>, Stuck> {
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
    async fn one_that_asks_outside_gets_whole_batches_between_those_that_look_at_each_event() {
        let three = chain(vec![
            Box::new(Adds("a", "xa")),
            Box::new(TurnsRound),
            Box::new(Adds("b", "never")),
        ]);
        let passed = left(&three, &["1", "x", "2"]).await;
        assert_eq!(passed, Ok(["2ab", "1ab"].map(Event::new).to_vec()));
        assert_eq!(left(&three, &["1", "no"]).await, Err(Stuck::Outside(Trouble::new("no"))));
        // It is not asked about nothing.
        assert_eq!(left(&three, &["x"]).await, Ok(Vec::new()));
    }
}
