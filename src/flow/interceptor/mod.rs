//! Interceptors: what looks at each event between a source and its channels, and may change or
//! drop it.
//!
//! They run in the order in which the source lists them. An event that one drops is not seen by
//! those behind it; for the source it counts as accepted. A new interceptor is one file and one
//! line in [`TYPES`].

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
use crate::config::settings::{Key, SettingError, SettingsReader};
use crate::event::Event;
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
    /// It ends here. Nobody hears of it.
    Drop,
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
}

/// The interceptors of one source, in order.
#[derive(Clone)]
pub struct Chain {
    interceptors: Arc<[Box<dyn Interceptor>]>,
    clock: Arc<dyn Clock>,
}

impl Chain {
    /// A chain of `interceptors`.
    #[must_use]
    pub fn new(interceptors: Vec<Box<dyn Interceptor>>, clock: Arc<dyn Clock>) -> Self {
        Self { interceptors: interceptors.into(), clock }
    }

    /// The events of a batch that go on, in their order; worked out beside the runtime where that
    /// may take long. None when an interceptor panicked.
    pub async fn pass_aside(&self, events: Vec<Event>) -> Option<Vec<Event>> {
        if !self.interceptors.iter().any(|interceptor| interceptor.is_heavy()) {
            return Some(self.pass(events));
        }
        let chain = self.clone();
        tokio::task::spawn_blocking(move || chain.pass(events)).await.ok()
    }

    /// The events of a batch that go on, in their order.
    #[must_use]
    pub fn pass(&self, mut events: Vec<Event>) -> Vec<Event> {
        if !self.interceptors.is_empty() {
            events.retain_mut(|event| {
                let mut verdicts =
                    self.interceptors.iter().map(|i| i.intercept(event, &*self.clock));
                verdicts.all(|verdict| verdict == Verdict::Keep)
            });
        }
        events
    }
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

/// The Java pattern under `key`, which must be there.
fn required_pattern(reader: &SettingsReader<'_>, key: &str) -> Result<Pattern, SettingError> {
    pattern_or(reader, key, reader.required_text(key)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::SystemClock;

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

    #[test]
    fn interceptors_act_in_order_and_what_one_drops_the_next_does_not_see() {
        let boxed: Vec<Box<dyn Interceptor>> =
            vec![Box::new(Adds("a", "xa")), Box::new(Adds("b", "never"))];
        let chain = Chain::new(boxed, Arc::new(SystemClock::new()));
        let events = ["1", "x", "2"].map(Event::new).to_vec();
        assert_eq!(chain.pass(events), ["1ab", "2ab"].map(Event::new));
        let none = Chain::new(Vec::new(), Arc::new(SystemClock::new()));
        assert_eq!(none.pass(vec![Event::new("x")]), [Event::new("x")]);
    }
}
