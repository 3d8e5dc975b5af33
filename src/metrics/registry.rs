//! Everybody's counters in one place.

use super::{ChannelCounters, Reading, Role, SinkCounters, SourceCounters};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The counters of every component of an agent.
#[derive(Debug, Default)]
pub struct Registry {
    components: Mutex<Components>,
    looks: Mutex<BTreeMap<String, Look>>,
}

/// Brings the gauges of one component up to date.
#[derive(Clone)]
struct Look(Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Look")
    }
}

/// Counters by component name.
#[derive(Clone, Debug, Default)]
pub struct Components {
    /// Of the sources.
    pub sources: BTreeMap<String, Arc<SourceCounters>>,
    /// Of the sinks.
    pub sinks: BTreeMap<String, Arc<SinkCounters>>,
    /// Of the channels.
    pub channels: BTreeMap<String, Arc<ChannelCounters>>,
}

impl Registry {
    /// Counters of the source `name`, from zero the first time.
    pub fn source(&self, name: &str) -> Arc<SourceCounters> {
        Arc::clone(self.lock().sources.entry(name.to_owned()).or_default())
    }

    /// Counters of the sink `name`, from zero the first time.
    pub fn sink(&self, name: &str) -> Arc<SinkCounters> {
        Arc::clone(self.lock().sinks.entry(name.to_owned()).or_default())
    }

    /// Counters of the channel `name`, from zero the first time.
    pub fn channel(&self, name: &str) -> Arc<ChannelCounters> {
        Arc::clone(self.lock().channels.entry(name.to_owned()).or_default())
    }

    /// All of them, to read.
    #[must_use]
    pub fn components(&self) -> Components {
        self.lock().clone()
    }

    /// Lets every snapshot begin with `look`, which brings the gauges of the channel `name` up to
    /// date: they are asked for when somebody watches, not kept up with each event. It must not
    /// keep the channel open and must return soon. It replaces an earlier one of that name.
    pub fn watch_channel(&self, name: &str, look: Arc<dyn Fn() + Send + Sync>) {
        lock(&self.looks).insert(name.to_owned(), Look(look));
    }

    /// The values of all components: channels, then sinks, then sources, each by name.
    ///
    /// ```
    /// use millpond::metrics::{Registry, Value};
    /// let registry = Registry::default();
    /// registry.sink("k1").event_drain_success.add(2);
    /// let [sink] = &registry.snapshot()[..] else { panic!("one component") };
    /// assert_eq!(sink.key(), "SINK.k1");
    /// assert!(sink.values.contains(&("EventDrainSuccessCount", Value::Count(2))));
    /// ```
    #[must_use]
    pub fn snapshot(&self) -> Vec<Reading> {
        let looks: Vec<Look> = lock(&self.looks).values().cloned().collect();
        // Without the lock: a channel has one of its own.
        looks.iter().for_each(|look| (look.0)());
        let Components { sources, sinks, channels } = self.components();
        let reading = |role, name, values| Reading { role, name, values };
        let channels = channels.into_iter().map(|(n, c)| reading(Role::Channel, n, c.values()));
        let sinks = sinks.into_iter().map(|(n, c)| reading(Role::Sink, n, c.values()));
        let sources = sources.into_iter().map(|(n, c)| reading(Role::Source, n, c.values()));
        channels.chain(sinks).chain(sources).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Components> {
        lock(&self.components)
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under the lock can be left half done.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
