//! Everybody's counters in one place.

use super::{
    ChannelCounters, ChannelReading, ClientTotals, DropReason, Dropped, Member, Reading, Role,
    SinkCounters, SourceCounters,
};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The counters of every component of an agent.
#[derive(Debug, Default)]
pub struct Registry {
    components: Mutex<Components>,
    looks: Mutex<BTreeMap<String, Look>>,
    clients: Arc<ClientTotals>,
    /// Of components that are gone, what nobody has seen yet.
    last: Mutex<Vec<Reading>>,
}

/// Readings of components that are gone that are held until somebody asks for them.
const LAST_READINGS_MAX: usize = 1000;

/// Brings the gauges of one component up to date.
#[derive(Clone)]
struct Look(Arc<LookAt>);

/// What looks at a channel; `None` when that is not open.
type LookAt = dyn Fn() -> Option<ChannelReading> + Send + Sync;

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
    kinds: BTreeMap<(Role, String), &'static str>,
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

    /// What the clients of all sources take.
    #[must_use]
    pub fn client_totals(&self) -> &Arc<ClientTotals> {
        &self.clients
    }

    /// All of them, to read.
    #[must_use]
    pub fn components(&self) -> Components {
        self.lock().clone()
    }

    /// From now on there are `members` and no others: each has counters, from zero the first time,
    /// and those of all others are forgotten, but for [`Self::take_last`].
    pub fn keep(&self, members: &[Member]) {
        let there = |role, name: &String| members.iter().any(|m| m.role == role && m.name == *name);
        self.hold_last(there);
        lock(&self.looks).retain(|name, _| there(Role::Channel, name));
        let mut all = self.lock();
        all.sources.retain(|name, _| there(Role::Source, name));
        all.sinks.retain(|name, _| there(Role::Sink, name));
        all.channels.retain(|name, _| there(Role::Channel, name));
        all.kinds = members.iter().map(|m| ((m.role, m.name.clone()), m.kind)).collect();
        for Member { role, name, .. } in members {
            let name = name.clone();
            match role {
                Role::Source => drop(all.sources.entry(name).or_default()),
                Role::Sink => drop(all.sinks.entry(name).or_default()),
                Role::Channel => drop(all.channels.entry(name).or_default()),
            }
        }
    }

    /// What components that are gone had lost when they went: each once, for who logs it and raises alarms.
    pub fn take_last(&self) -> Vec<Reading> {
        std::mem::take(&mut *lock(&self.last))
    }

    /// Holds the readings of components that go now and have lost something. Beyond [`LAST_READINGS_MAX`], where nobody
    /// asks, the newest are left out.
    fn hold_last(&self, there: impl Fn(Role, &String) -> bool) {
        let components = self.components();
        let stays = components.channels.keys().all(|name| there(Role::Channel, name))
            && components.sinks.keys().all(|name| there(Role::Sink, name))
            && components.sources.keys().all(|name| there(Role::Source, name));
        if stays {
            return;
        }
        let is_loss = |dropped: &Dropped| dropped.events > 0 && dropped.reason.entry().has_alarm;
        // What is gone is not looked at.
        let went = self.readings(BTreeMap::new()).into_iter().filter(|reading| {
            !there(reading.role, &reading.name) && reading.dropped.iter().any(is_loss)
        });
        let mut last = lock(&self.last);
        let room = LAST_READINGS_MAX.saturating_sub(last.len());
        last.extend(went.take(room));
    }

    /// Lets every snapshot begin with `look`, which brings the gauges of the channel `name` up to
    /// date and says what else there is to see of an open channel: it is asked for when somebody
    /// watches, not kept up with each event. It must not keep the channel open and must return soon.
    /// It replaces an earlier one of that name.
    pub fn watch_channel(
        &self,
        name: &str,
        look: Arc<dyn Fn() -> Option<ChannelReading> + Send + Sync>,
    ) {
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
        let looks = lock(&self.looks).clone();
        // Without the lock: a channel has one of its own.
        let looked = looks.into_iter().filter_map(|(name, look)| Some((name, (look.0)()?)));
        self.readings(looked.collect())
    }

    /// The values of all components, and of channels what was seen of them.
    fn readings(&self, mut looked: BTreeMap<String, ChannelReading>) -> Vec<Reading> {
        let Components { sources, sinks, channels, kinds } = self.components();
        let reading = |role, name: String, values, spreads, dropped| {
            let of = (role, name);
            let kind = kinds.get(&of).copied().unwrap_or_default();
            Reading {
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
            Reading {
                channel,
                failure,
                ..reading(Role::Channel, name, counters.values(), counters.spreads(), dropped)
            }
        }));
        all.extend(sinks.into_iter().map(|(name, counters)| {
            let phases = counters.phases.read();
            let (values, spreads) = (counters.values(), counters.spreads());
            let (dropped, failure) = (counters.dropped_events(), counters.failure.get());
            Reading { phases, failure, ..reading(Role::Sink, name, values, spreads, dropped) }
        }));
        let source = |(name, c): (_, Arc<SourceCounters>)| {
            let (fault, failure) = (c.fault.get(), c.failure.get());
            let (values, spreads, dropped) = (c.values(), c.spreads(), c.dropped_events());
            Reading { fault, failure, ..reading(Role::Source, name, values, spreads, dropped) }
        };
        all.extend(sources.into_iter().map(source));
        all
    }

    fn lock(&self) -> MutexGuard<'_, Components> {
        lock(&self.components)
    }
}

/// Damaged events are counted by the channel itself.
fn dropped_of_channel(
    counters: &ChannelCounters,
    channel: Option<&ChannelReading>,
) -> Vec<Dropped> {
    let mut dropped = counters.dropped_events();
    let damaged = channel.map_or(0, |channel| channel.quarantined);
    let row = dropped.iter_mut().find(|row| row.reason == DropReason::Damaged);
    row.into_iter().for_each(|row| row.events = damaged);
    dropped
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under the lock can be left half done.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
