//! Taps, which show passing events to listeners.
//!
//! Limits: [`LISTENERS_MAX`] at a component, and for each of them [`QUEUE_MAX`] unread events, of
//! [`BODY_BYTES_MAX`] of body and [`HEADER_BYTES_MAX`] of headers.
//!
//! Each component has a [`Tap`]. Without a listener it costs one relaxed load per batch. With a listener passing
//! events are counted, and truncated copies are made as far as the listener's rates allow. Nothing here waits:
//! events without room in a queue are dropped and counted, and while a lock is held events are counted but not
//! shown (the lock of one listener for that listener, the lock of the list for all). Copies do not keep a
//! channel's memory alive.

use crate::metrics::{ComponentId, ComponentRole};
use millpond::Clock;
use millpond::Event;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::Duration;
use tokio::sync::mpsc;

/// Most listeners at one component.
pub const LISTENERS_MAX: usize = 8;
/// Most unread events of a listener.
pub const QUEUE_MAX: usize = 64;
/// Most bytes of a body that are shown.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of the headers of an event that are shown.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Most events per second that are shown.
pub const EVENTS_PER_SECOND_MAX: u32 = 1000;
/// Most bytes per second that are shown.
pub const BYTES_PER_SECOND_MAX: u32 = 1024 * 1024;

/// Where an event was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TapDirection {
    /// Accepted from a source: after its interceptors, in all its required channels.
    Accepted,
    /// Put into a channel.
    Put,
    /// Taken from a channel.
    Taken,
    /// Delivered by a sink.
    Delivered,
}

impl TapDirection {
    /// Returns its name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Put => "put",
            Self::Taken => "taken",
            Self::Delivered => "delivered",
        }
    }
}

/// Rate limits of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapRates {
    /// Events a second, at most [`EVENTS_PER_SECOND_MAX`].
    pub events_per_second: u32,
    /// Bytes a second, at most [`BYTES_PER_SECOND_MAX`].
    pub bytes_per_second: u32,
    /// Bytes of a body, at most [`BODY_BYTES_MAX`].
    pub body_bytes: usize,
}

/// An event as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TappedEvent {
    /// Where it was seen.
    pub way: TapDirection,
    /// Time, in milliseconds since 1970.
    pub wall_ms: u64,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Number of headers that are too long to be shown.
    pub headers_left_out: usize,
    /// The beginning of its body.
    pub body: Vec<u8>,
    /// Bytes of the whole body.
    pub body_bytes: usize,
}

/// Counts since a listener subscribed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapCounts {
    /// Events that passed.
    pub passed: u64,
    /// Events that were queued for the listener.
    pub shown: u64,
    /// Events that its rates allowed but for which its queue had no room.
    pub dropped: u64,
}

/// The taps of all components of an agent.
#[derive(Debug, Default)]
pub struct Taps(Mutex<BTreeMap<(ComponentRole, String), Arc<Tap>>>);

impl Taps {
    /// Returns the tap of the component; creates it the first time.
    pub fn at(&self, role: ComponentRole, name: &str) -> Arc<Tap> {
        Arc::clone(lock(&self.0).entry((role, name.to_owned())).or_default())
    }

    /// Sets the present components and removes the taps of all others.
    pub fn keep(&self, members: &[ComponentId]) {
        let there = |(role, name): &(ComponentRole, String)| {
            members.iter().any(|member| member.role == *role && member.name == *name)
        };
        lock(&self.0).retain(|key, _| there(key));
    }

    /// Returns all components.
    #[must_use]
    pub fn components(&self) -> Vec<(ComponentRole, String)> {
        lock(&self.0).keys().cloned().collect()
    }
}

/// The tap of one component.
#[derive(Debug, Default)]
pub struct Tap {
    /// Number of listeners: the only value that is read while there are none.
    count: AtomicUsize,
    listeners: Mutex<Vec<Arc<TapSubscriber>>>,
    /// Events that passed while the list of listeners was locked.
    unseen: Arc<AtomicU64>,
}

impl Tap {
    /// Begins a sample for the present listeners; `None` without any.
    #[must_use]
    pub fn sample(&self, way: TapDirection) -> Option<TapSample> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let listeners = match self.listeners.try_lock() {
            Ok(listeners) => listeners,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let unseen = Some((Arc::clone(&self.unseen), 0));
                return Some(TapSample { way, picks: Vec::new(), unseen });
            }
        };
        let picks = listeners.iter().map(SubscriberSample::of).collect();
        Some(TapSample { way, picks, unseen: None })
    }

    /// Shows events that have passed.
    pub fn show(&self, way: TapDirection, events: &[Event]) {
        if let Some(mut sample) = self.sample(way) {
            sample.see(events);
            sample.passed();
        }
    }

    /// Adds a listener; `None` if there are [`LISTENERS_MAX`].
    #[must_use]
    pub fn listen(
        self: &Arc<Self>,
        rates: TapRates,
        clock: Arc<dyn Clock>,
    ) -> Option<TapSubscription> {
        let mut listeners = lock(&self.listeners);
        if listeners.len() >= LISTENERS_MAX {
            return None;
        }
        let (queue, glimpses) = mpsc::channel(QUEUE_MAX);
        let counted = Arc::new(SharedCounts::default());
        let allowance = TapBudget {
            events: f64::from(rates.events_per_second),
            bytes: f64::from(rates.bytes_per_second),
            as_of: clock.now(),
        };
        let listener = TapSubscriber {
            rates,
            clock,
            allowance: Mutex::new(allowance),
            counted: Arc::clone(&counted),
            queue,
        };
        listeners.push(Arc::new(listener));
        self.count.store(listeners.len(), Ordering::Relaxed);
        let unseen = Arc::clone(&self.unseen);
        let unseen_before = unseen.load(Ordering::Relaxed);
        Some(TapSubscription {
            tap: Arc::downgrade(self),
            counted,
            unseen,
            unseen_before,
            glimpses,
        })
    }

    fn remove(&self, counted: &Arc<SharedCounts>) {
        let mut listeners = lock(&self.listeners);
        listeners.retain(|listener| !Arc::ptr_eq(&listener.counted, counted));
        self.count.store(listeners.len(), Ordering::Relaxed);
    }
}

/// A subscription of a listener; ends when it is dropped.
#[derive(Debug)]
pub struct TapSubscription {
    tap: Weak<Tap>,
    counted: Arc<SharedCounts>,
    unseen: Arc<AtomicU64>,
    unseen_before: u64,
    glimpses: mpsc::Receiver<TappedEvent>,
}

impl TapSubscription {
    /// Returns the next event; `None` once the component was removed.
    pub async fn next(&mut self) -> Option<TappedEvent> {
        self.glimpses.recv().await
    }

    /// Returns the counts so far.
    #[must_use]
    pub fn counts(&self) -> TapCounts {
        let SharedCounts { passed, shown, dropped } = &*self.counted;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let unseen = get(&self.unseen).saturating_sub(self.unseen_before);
        TapCounts { passed: get(passed) + unseen, shown: get(shown), dropped: get(dropped) }
    }
}

impl Drop for TapSubscription {
    fn drop(&mut self) {
        if let Some(tap) = self.tap.upgrade() {
            tap.remove(&self.counted);
        }
    }
}

#[derive(Debug, Default)]
struct SharedCounts {
    passed: AtomicU64,
    shown: AtomicU64,
    dropped: AtomicU64,
}

/// The side of a listener that the flow uses.
struct TapSubscriber {
    rates: TapRates,
    clock: Arc<dyn Clock>,
    allowance: Mutex<TapBudget>,
    counted: Arc<SharedCounts>,
    queue: mpsc::Sender<TappedEvent>,
}

impl std::fmt::Debug for TapSubscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("rates", &self.rates).finish_non_exhaustive()
    }
}

/// The rate budget of a listener.
#[derive(Debug)]
struct TapBudget {
    events: f64,
    /// May fall below 0 by the last event.
    bytes: f64,
    as_of: Duration,
}

impl TapBudget {
    /// Adds the budget of the time since the last call, at most that of a second.
    fn grow(&mut self, rates: TapRates, now: Duration) {
        let seconds = now.saturating_sub(self.as_of).as_secs_f64();
        let (events, bytes) =
            (f64::from(rates.events_per_second), f64::from(rates.bytes_per_second));
        self.events = (self.events + events * seconds).min(events);
        self.bytes = (self.bytes + bytes * seconds).min(bytes);
        self.as_of = now;
    }
}

/// Events of a transaction in progress, for the listeners.
#[derive(Debug)]
pub struct TapSample {
    way: TapDirection,
    picks: Vec<SubscriberSample>,
    /// The count for all listeners, if their list was locked.
    unseen: Option<(Arc<AtomicU64>, u64)>,
}

impl TapSample {
    /// Adds events that may pass.
    pub fn see(&mut self, events: &[Event]) {
        self.picks.iter_mut().for_each(|pick| pick.see(self.way, events));
        if let Some((_, unseen)) = &mut self.unseen {
            *unseen += events.len() as u64;
        }
    }

    /// Records that they have passed. If it is dropped instead, they have not.
    pub fn passed(self) {
        self.picks.into_iter().for_each(SubscriberSample::passed);
        if let Some((counter, unseen)) = self.unseen {
            counter.fetch_add(unseen, Ordering::Relaxed);
        }
    }
}

/// The part of a sample for one listener.
#[derive(Debug)]
struct SubscriberSample {
    listener: Arc<TapSubscriber>,
    events: u64,
    glimpses: Vec<TappedEvent>,
}

impl SubscriberSample {
    fn of(listener: &Arc<TapSubscriber>) -> Self {
        Self { listener: Arc::clone(listener), events: 0, glimpses: Vec::new() }
    }

    fn see(&mut self, way: TapDirection, events: &[Event]) {
        self.events += events.len() as u64;
        let listener = &*self.listener;
        let Ok(mut allowance) = listener.allowance.try_lock() else { return };
        allowance.grow(listener.rates, listener.clock.now());
        for event in events {
            if allowance.events < 1.0 || allowance.bytes <= 0.0 {
                return;
            }
            let tapped_event = tapped_event(event, way, listener);
            allowance.events -= 1.0;
            allowance.bytes -= size_bytes(&tapped_event) as f64;
            self.glimpses.push(tapped_event);
        }
    }

    fn passed(self) {
        let counted = &self.listener.counted;
        counted.passed.fetch_add(self.events, Ordering::Relaxed);
        for tapped_event in self.glimpses {
            let sent = self.listener.queue.try_send(tapped_event).is_ok();
            let counter = if sent { &counted.shown } else { &counted.dropped };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn tapped_event(event: &Event, way: TapDirection, listener: &TapSubscriber) -> TappedEvent {
    let mut left = HEADER_BYTES_MAX;
    let mut headers = Vec::new();
    for (name, value) in event.headers.iter() {
        let bytes = name.len() + value.len();
        if bytes <= left {
            left -= bytes;
            headers.push((name.to_owned(), value.to_owned()));
        }
    }
    let shown = event.body.len().min(listener.rates.body_bytes);
    TappedEvent {
        way,
        wall_ms: listener.clock.wall_ms(),
        headers_left_out: event.headers.len() - headers.len(),
        headers,
        body: event.body[..shown].to_vec(),
        body_bytes: event.body.len(),
    }
}

fn size_bytes(tapped_event: &TappedEvent) -> usize {
    let headers = tapped_event.headers.iter().map(|(name, value)| name.len() + value.len());
    tapped_event.body.len() + headers.sum::<usize>()
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // No operation can panic halfway while it holds the lock.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond::ManualClock;

    const RATES: TapRates =
        TapRates { events_per_second: 5, bytes_per_second: 1000, body_bytes: 100 };

    fn bodies(count: usize, bytes: usize) -> Vec<Event> {
        (0..count).map(|at| Event::new(vec![b'a' + (at % 26) as u8; bytes])).collect()
    }

    fn read(listening: &mut TapSubscription) -> Vec<TappedEvent> {
        std::iter::from_fn(|| listening.glimpses.try_recv().ok()).collect()
    }

    fn listen(rates: TapRates) -> (Arc<Tap>, Arc<ManualClock>, TapSubscription) {
        let (tap, clock) = (Arc::new(Tap::default()), Arc::new(ManualClock::default()));
        let listening = tap.listen(rates, Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
        (tap, clock, listening)
    }

    #[test]
    fn events_are_sampled_only_while_there_are_listeners() {
        let tap = Arc::new(Tap::default());
        assert!(tap.sample(TapDirection::Put).is_none());
        let clock = Arc::new(ManualClock::default()) as Arc<dyn Clock>;
        let all: Vec<_> =
            (0..LISTENERS_MAX).map(|_| tap.listen(RATES, Arc::clone(&clock))).collect();
        assert!(all.iter().all(Option::is_some));
        assert!(tap.listen(RATES, clock).is_none(), "there is a limit");
        assert!(tap.sample(TapDirection::Put).is_some());
        drop(all);
        assert!(tap.sample(TapDirection::Put).is_none());
    }

    #[test]
    fn events_are_shown_as_far_as_the_rates_allow_and_all_are_counted() {
        let (tap, clock, mut listening) = listen(RATES);
        tap.show(TapDirection::Delivered, &bodies(20, 10));
        let shown = read(&mut listening);
        assert_eq!(shown.len(), 5);
        assert_eq!((shown[1].way, &shown[1].body[..]), (TapDirection::Delivered, &[b'b'; 10][..]));
        clock.advance(Duration::from_millis(400));
        tap.show(TapDirection::Put, &bodies(20, 10));
        assert_eq!(read(&mut listening).len(), 2);
        // At most the budget of a second, however long no event passed.
        clock.advance(Duration::from_secs(3600));
        tap.show(TapDirection::Put, &bodies(20, 10));
        assert_eq!(read(&mut listening).len(), 5);
        assert_eq!(listening.counts(), TapCounts { passed: 60, shown: 12, dropped: 0 });
    }

    #[test]
    fn bytes_have_a_rate_too_and_bodies_and_headers_are_cut() {
        let rates = TapRates { events_per_second: 100, ..RATES };
        let (tap, clock, mut listening) = listen(rates);
        let mut events = bodies(40, 5000);
        events[0].headers.set("k", "v");
        events[0].headers.set("long", "x".repeat(HEADER_BYTES_MAX));
        tap.show(TapDirection::Taken, &events);
        let shown = read(&mut listening);
        assert_eq!(shown.len(), 10, "a thousand bytes, a hundred of each body");
        assert_eq!((shown[0].body.len(), shown[0].body_bytes), (100, 5000));
        assert_eq!(shown[0].headers, [("k".to_owned(), "v".to_owned())]);
        assert_eq!((shown[0].headers_left_out, shown[1].headers_left_out), (1, 0));
        clock.advance(Duration::from_millis(250));
        tap.show(TapDirection::Taken, &events[1..]);
        assert_eq!(read(&mut listening).len(), 3);
    }

    #[test]
    fn events_of_a_failed_transaction_are_neither_shown_nor_counted() {
        let (tap, _clock, mut listening) = listen(RATES);
        let mut sample = tap.sample(TapDirection::Put).unwrap();
        sample.see(&bodies(3, 1));
        drop(sample);
        assert_eq!((read(&mut listening).len(), listening.counts()), (0, TapCounts::default()));
    }

    #[test]
    fn a_listener_that_does_not_read_blocks_nothing_and_gets_its_drop_count() {
        let rates =
            TapRates { events_per_second: 1000, bytes_per_second: 1_000_000, body_bytes: 1 };
        let (tap, _clock, mut slow) = listen(rates);
        tap.show(TapDirection::Accepted, &bodies(500, 1));
        assert_eq!(slow.counts(), TapCounts { passed: 500, shown: 64, dropped: 436 });
        assert_eq!(read(&mut slow).len(), QUEUE_MAX);
        // A held lock is not awaited either, and passing events are counted.
        let held = tap.listeners.lock().unwrap();
        tap.show(TapDirection::Accepted, &bodies(1, 1));
        drop(held);
        assert_eq!(slow.counts(), TapCounts { passed: 501, shown: 64, dropped: 436 });
        let later = tap.listen(RATES, Arc::new(ManualClock::default())).unwrap();
        assert_eq!(
            later.counts(),
            TapCounts::default(),
            "what passed before it came is not its own"
        );
    }

    #[tokio::test]
    async fn removing_a_component_ends_its_subscriptions_only() {
        let member = |name: &str| ComponentId {
            role: ComponentRole::Sink,
            name: name.to_owned(),
            kind: "null",
        };
        let taps = Taps::default();
        let clock = Arc::new(ManualClock::default()) as Arc<dyn Clock>;
        let mut goes =
            taps.at(ComponentRole::Sink, "k1").listen(RATES, Arc::clone(&clock)).unwrap();
        let mut stays = taps.at(ComponentRole::Sink, "k2").listen(RATES, clock).unwrap();
        taps.keep(&[member("k2")]);
        assert_eq!(goes.next().await, None);
        assert_eq!(taps.components(), [(ComponentRole::Sink, "k2".to_owned())]);
        taps.at(ComponentRole::Sink, "k2").show(TapDirection::Delivered, &bodies(1, 1));
        assert!(stays.next().await.is_some());
    }
}
