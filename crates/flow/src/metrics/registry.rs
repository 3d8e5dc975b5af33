//! The registry of all components' counters.

use super::{
    ChannelCounters, ChannelReading, ClientTotals, ComponentId, ComponentReading, ComponentRole,
    DropCount, DropReason, SinkCounters, SourceCounters,
};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The counters of every component of an agent.
#[derive(Debug, Default)]
pub struct MetricsRegistry {
    components: Mutex<Components>,
    looks: Mutex<BTreeMap<String, RefreshGauges>>,
    clients: Arc<ClientTotals>,
    /// Last readings of removed components that were not taken yet.
    last: Mutex<Vec<ComponentReading>>,
}

/// Most readings of removed components that are held until they are taken.
const LAST_READINGS_MAX: usize = 1000;

/// Reads the values of one channel and refreshes its gauges.
#[derive(Clone)]
struct RefreshGauges(Arc<ReadChannel>);

/// Reads the values of a channel; `None` if it is not open.
type ReadChannel = dyn Fn() -> Option<ChannelReading> + Send + Sync;

impl fmt::Debug for RefreshGauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Look")
    }
}

/// Counters by component name.
#[derive(Clone, Debug, Default)]
pub struct Components {
    /// Counters of the sources.
    pub sources: BTreeMap<String, Arc<SourceCounters>>,
    /// Counters of the sinks.
    pub sinks: BTreeMap<String, Arc<SinkCounters>>,
    /// Counters of the channels.
    pub channels: BTreeMap<String, Arc<ChannelCounters>>,
    kinds: BTreeMap<(ComponentRole, String), &'static str>,
}

impl MetricsRegistry {
    /// Returns the counters of the source `name`; creates them at zero.
    pub fn source(&self, name: &str) -> Arc<SourceCounters> {
        Arc::clone(self.lock().sources.entry(name.to_owned()).or_default())
    }

    /// Returns the counters of the sink `name`; creates them at zero.
    pub fn sink(&self, name: &str) -> Arc<SinkCounters> {
        Arc::clone(self.lock().sinks.entry(name.to_owned()).or_default())
    }

    /// Returns the counters of the channel `name`; creates them at zero.
    pub fn channel(&self, name: &str) -> Arc<ChannelCounters> {
        Arc::clone(self.lock().channels.entry(name.to_owned()).or_default())
    }

    /// Returns the totals over the clients of all sources.
    #[must_use]
    pub fn client_totals(&self) -> &Arc<ClientTotals> {
        &self.clients
    }

    /// Returns all counters, for reading.
    #[must_use]
    pub fn components(&self) -> Components {
        self.lock().clone()
    }

    /// Sets the configured components: creates counters at zero for each of `members` and removes all others,
    /// whose last readings [`Self::take_last`] returns.
    pub fn keep(&self, members: &[ComponentId]) {
        let there = |role, name: &String| members.iter().any(|m| m.role == role && m.name == *name);
        self.hold_last(there);
        lock(&self.looks).retain(|name, _| there(ComponentRole::Channel, name));
        let mut all = self.lock();
        all.sources.retain(|name, _| there(ComponentRole::Source, name));
        all.sinks.retain(|name, _| there(ComponentRole::Sink, name));
        all.channels.retain(|name, _| there(ComponentRole::Channel, name));
        all.kinds = members.iter().map(|m| ((m.role, m.name.clone()), m.kind)).collect();
        for ComponentId { role, name, .. } in members {
            let name = name.clone();
            match role {
                ComponentRole::Source => drop(all.sources.entry(name).or_default()),
                ComponentRole::Sink => drop(all.sinks.entry(name).or_default()),
                ComponentRole::Channel => drop(all.channels.entry(name).or_default()),
            }
        }
    }

    /// Returns the last readings of removed components that lost events, each once, for the log and alarms.
    pub fn take_last(&self) -> Vec<ComponentReading> {
        std::mem::take(&mut *lock(&self.last))
    }

    /// Holds the readings of components that are being removed and have lost events. Beyond [`LAST_READINGS_MAX`]
    /// untaken readings the newest are left out.
    fn hold_last(&self, there: impl Fn(ComponentRole, &String) -> bool) {
        let components = self.components();
        let stays = components.channels.keys().all(|name| there(ComponentRole::Channel, name))
            && components.sinks.keys().all(|name| there(ComponentRole::Sink, name))
            && components.sources.keys().all(|name| there(ComponentRole::Source, name));
        if stays {
            return;
        }
        let is_loss = |dropped: &DropCount| dropped.events > 0 && dropped.reason.entry().has_alarm;
        // Removed channels are not read.
        let went = self.readings(BTreeMap::new()).into_iter().filter(|reading| {
            !there(reading.role, &reading.name) && reading.dropped.iter().any(is_loss)
        });
        let mut last = lock(&self.last);
        let room = LAST_READINGS_MAX.saturating_sub(last.len());
        last.extend(went.take(room));
    }

    /// Makes every snapshot call `look` for the channel `name`. `look` refreshes its gauges and returns the
    /// further values of an open channel; so they are computed only for a snapshot, not with each event. It must
    /// not keep the channel open, must return soon, and replaces an earlier one of that name.
    pub fn watch_channel(
        &self,
        name: &str,
        look: Arc<dyn Fn() -> Option<ChannelReading> + Send + Sync>,
    ) {
        lock(&self.looks).insert(name.to_owned(), RefreshGauges(look));
    }

    /// Returns the values of all components: channels, then sinks, then sources, each by name.
    ///
    /// ```
    /// use millpond_flow::metrics::{MetricsRegistry, MetricValue};
    /// let registry = MetricsRegistry::default();
    /// registry.sink("k1").event_drain_success.add(2);
    /// let [sink] = &registry.snapshot()[..] else { panic!("one component") };
    /// assert_eq!(sink.key(), "SINK.k1");
    /// assert!(sink.values.contains(&("EventDrainSuccessCount", MetricValue::Count(2))));
    /// ```
    #[must_use]
    pub fn snapshot(&self) -> Vec<ComponentReading> {
        let looks = lock(&self.looks).clone();
        // Called without the lock, because a channel takes its own.
        let looked = looks.into_iter().filter_map(|(name, look)| Some((name, (look.0)()?)));
        self.readings(looked.collect())
    }

    /// Returns the values of all components, with the given readings of channels.
    fn readings(&self, mut looked: BTreeMap<String, ChannelReading>) -> Vec<ComponentReading> {
        let Components { sources, sinks, channels, kinds } = self.components();
        let reading = |role, name: String, values, spreads, dropped| {
            let of = (role, name);
            let kind = kinds.get(&of).copied().unwrap_or_default();
            ComponentReading {
                role,
                name: of.1,
                kind,
                values,
                spreads,
                dropped,
                fault: None,
                failure: None,
                phases: None,
                channel: None,
            }
        };
        let mut all = Vec::new();
        all.extend(channels.into_iter().map(|(name, counters)| {
            let channel = looked.remove(&name);
            let dropped = dropped_of_channel(&counters, channel.as_ref());
            let failure = counters.failure.get();
            ComponentReading {
                channel,
                failure,
                ..reading(
                    ComponentRole::Channel,
                    name,
                    counters.values(),
                    counters.spreads(),
                    dropped,
                )
            }
        }));
        all.extend(sinks.into_iter().map(|(name, counters)| {
            let phases = counters.phases.read();
            let (values, spreads) = (counters.values(), counters.spreads());
            let (dropped, failure) = (counters.dropped_events(), counters.failure.get());
            ComponentReading {
                phases,
                failure,
                ..reading(ComponentRole::Sink, name, values, spreads, dropped)
            }
        }));
        let source = |(name, c): (_, Arc<SourceCounters>)| {
            let (fault, failure) = (c.fault.get(), c.failure.get());
            let (values, spreads, dropped) = (c.values(), c.spreads(), c.dropped_events());
            ComponentReading {
                fault,
                failure,
                ..reading(ComponentRole::Source, name, values, spreads, dropped)
            }
        };
        all.extend(sources.into_iter().map(source));
        all
    }

    fn lock(&self) -> MutexGuard<'_, Components> {
        lock(&self.components)
    }
}

/// The channel itself counts damaged events.
fn dropped_of_channel(
    counters: &ChannelCounters,
    channel: Option<&ChannelReading>,
) -> Vec<DropCount> {
    let mut dropped = counters.dropped_events();
    let damaged = channel.map_or(0, |channel| channel.quarantined);
    let row = dropped.iter_mut().find(|row| row.reason == DropReason::Damaged);
    row.into_iter().for_each(|row| row.events = damaged);
    dropped
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // No operation can panic halfway while it holds the lock.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
