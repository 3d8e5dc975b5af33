//! Where those who look at passing events hang in.
//!
//! Limits: [`LISTENERS_MAX`] at a component, and for each of them [`QUEUE_MAX`] events that wait to be
//! read, of [`BODY_BYTES_MAX`] of body and [`HEADER_BYTES_MAX`] of headers.
//!
//! A component has a [`Tap`]. While nobody listens it costs one relaxed load for each batch. With a
//! listener what passes is counted, and events are copied, cut, as far as the listener's rates allow.
//! Nothing here waits: what a queue has no room for is dropped and counted, and where a lock is held the
//! events are counted and not shown: that of one listener for it, that of their list for all of them. Copies keep no memory of a channel's.

use crate::base::clock::Clock;
use crate::event::Event;
use crate::metrics::{Member, Role};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::Duration;
use tokio::sync::mpsc;

/// Listeners at one component.
pub const LISTENERS_MAX: usize = 8;
/// Events that wait for a listener to read them.
pub const QUEUE_MAX: usize = 64;
/// Bytes of a body that are shown at most.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the headers of an event that are shown.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Events a second that are shown at most.
pub const EVENTS_PER_SECOND_MAX: u32 = 1000;
/// Bytes a second that are shown at most.
pub const BYTES_PER_SECOND_MAX: u32 = 1024 * 1024;

/// How an event passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A source's, behind its interceptors, in all its required channels.
    Accepted,
    /// Into a channel.
    Put,
    /// Out of a channel.
    Taken,
    /// By a sink.
    Delivered,
}

impl Way {
    /// In a word.
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

/// How much is shown to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Events a second, at most [`EVENTS_PER_SECOND_MAX`].
    pub events_per_second: u32,
    /// Bytes a second, at most [`BYTES_PER_SECOND_MAX`].
    pub bytes_per_second: u32,
    /// Bytes of a body, at most [`BODY_BYTES_MAX`].
    pub body_bytes: usize,
}

/// An event that passed, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glimpse {
    /// How.
    pub way: Way,
    /// When, milliseconds since 1970.
    pub wall_ms: u64,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Headers that are too long to be shown.
    pub headers_left_out: usize,
    /// The beginning of its body.
    pub body: Vec<u8>,
    /// Bytes of the whole body.
    pub body_bytes: usize,
}

/// What passed since a listener came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events.
    pub passed: u64,
    /// Those of them that were handed to the listener.
    pub shown: u64,
    /// Those that its rates allowed and that it was too slow for.
    pub dropped: u64,
}

/// The taps of all components of an agent.
#[derive(Debug, Default)]
pub struct Taps(Mutex<BTreeMap<(Role, String), Arc<Tap>>>);

impl Taps {
    /// The tap of the component, made the first time.
    pub fn at(&self, role: Role, name: &str) -> Arc<Tap> {
        Arc::clone(lock(&self.0).entry((role, name.to_owned())).or_default())
    }

    /// From now on there are `members` and no others.
    pub fn keep(&self, members: &[Member]) {
        let there = |(role, name): &(Role, String)| {
            members.iter().any(|member| member.role == *role && member.name == *name)
        };
        lock(&self.0).retain(|key, _| there(key));
    }

    /// Every component that there is.
    #[must_use]
    pub fn components(&self) -> Vec<(Role, String)> {
        lock(&self.0).keys().cloned().collect()
    }
}

/// Where listeners hang in at one component.
#[derive(Debug, Default)]
pub struct Tap {
    /// How many there are: the one thing that is looked at while there are none.
    count: AtomicUsize,
    listeners: Mutex<Vec<Arc<Listener>>>,
    /// Events that passed while the listeners were locked.
    unseen: Arc<AtomicU64>,
}

impl Tap {
    /// Who listens at this moment; `None` when nobody does.
    #[must_use]
    pub fn sample(&self, way: Way) -> Option<Sample> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let listeners = match self.listeners.try_lock() {
            Ok(listeners) => listeners,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let unseen = Some((Arc::clone(&self.unseen), 0));
                return Some(Sample { way, picks: Vec::new(), unseen });
            }
        };
        let picks = listeners.iter().map(Pick::of).collect();
        Some(Sample { way, picks, unseen: None })
    }

    /// Shows events that have passed.
    pub fn show(&self, way: Way, events: &[Event]) {
        if let Some(mut sample) = self.sample(way) {
            sample.see(events);
            sample.passed();
        }
    }

    /// Begins to listen; `None` when [`LISTENERS_MAX`] do.
    #[must_use]
    pub fn listen(self: &Arc<Self>, rates: Rates, clock: Arc<dyn Clock>) -> Option<Listening> {
        let mut listeners = lock(&self.listeners);
        if listeners.len() >= LISTENERS_MAX {
            return None;
        }
        let (queue, glimpses) = mpsc::channel(QUEUE_MAX);
        let counted = Arc::new(Counted::default());
        let allowance = Allowance {
            events: f64::from(rates.events_per_second),
            bytes: f64::from(rates.bytes_per_second),
            as_of: clock.now(),
        };
        let listener = Listener {
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
        Some(Listening { tap: Arc::downgrade(self), counted, unseen, unseen_before, glimpses })
    }

    fn forget(&self, counted: &Arc<Counted>) {
        let mut listeners = lock(&self.listeners);
        listeners.retain(|listener| !Arc::ptr_eq(&listener.counted, counted));
        self.count.store(listeners.len(), Ordering::Relaxed);
    }
}

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Listening {
    tap: Weak<Tap>,
    counted: Arc<Counted>,
    unseen: Arc<AtomicU64>,
    unseen_before: u64,
    glimpses: mpsc::Receiver<Glimpse>,
}

impl Listening {
    /// The next event that is shown; `None` once the component is gone.
    pub async fn next(&mut self) -> Option<Glimpse> {
        self.glimpses.recv().await
    }

    /// What passed so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let Counted { passed, shown, dropped } = &*self.counted;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let unseen = get(&self.unseen).saturating_sub(self.unseen_before);
        Counts { passed: get(passed) + unseen, shown: get(shown), dropped: get(dropped) }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(tap) = self.tap.upgrade() {
            tap.forget(&self.counted);
        }
    }
}

#[derive(Debug, Default)]
struct Counted {
    passed: AtomicU64,
    shown: AtomicU64,
    dropped: AtomicU64,
}

/// One who listens, on the side of the flow.
struct Listener {
    rates: Rates,
    clock: Arc<dyn Clock>,
    allowance: Mutex<Allowance>,
    counted: Arc<Counted>,
    queue: mpsc::Sender<Glimpse>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("rates", &self.rates).finish_non_exhaustive()
    }
}

/// What may be shown now.
#[derive(Debug)]
struct Allowance {
    events: f64,
    /// May fall below 0 by the last event.
    bytes: f64,
    as_of: Duration,
}

impl Allowance {
    /// What has grown since it was looked at; that of a second at most.
    fn grow(&mut self, rates: Rates, now: Duration) {
        let seconds = now.saturating_sub(self.as_of).as_secs_f64();
        let (events, bytes) =
            (f64::from(rates.events_per_second), f64::from(rates.bytes_per_second));
        self.events = (self.events + events * seconds).min(events);
        self.bytes = (self.bytes + bytes * seconds).min(bytes);
        self.as_of = now;
    }
}

/// Events on their way, for those who listen.
#[derive(Debug)]
pub struct Sample {
    way: Way,
    picks: Vec<Pick>,
    /// Where the listeners were locked: what is counted for all of them.
    unseen: Option<(Arc<AtomicU64>, u64)>,
}

impl Sample {
    /// Looks at events that are to pass.
    pub fn see(&mut self, events: &[Event]) {
        self.picks.iter_mut().for_each(|pick| pick.see(self.way, events));
        if let Some((_, unseen)) = &mut self.unseen {
            *unseen += events.len() as u64;
        }
    }

    /// They have passed. Dropped without this, they have not.
    pub fn passed(self) {
        self.picks.into_iter().for_each(Pick::passed);
        if let Some((counter, unseen)) = self.unseen {
            counter.fetch_add(unseen, Ordering::Relaxed);
        }
    }
}

/// What one listener gets of them.
#[derive(Debug)]
struct Pick {
    listener: Arc<Listener>,
    events: u64,
    glimpses: Vec<Glimpse>,
}

impl Pick {
    fn of(listener: &Arc<Listener>) -> Self {
        Self { listener: Arc::clone(listener), events: 0, glimpses: Vec::new() }
    }

    fn see(&mut self, way: Way, events: &[Event]) {
        self.events += events.len() as u64;
        let listener = &*self.listener;
        let Ok(mut allowance) = listener.allowance.try_lock() else { return };
        allowance.grow(listener.rates, listener.clock.now());
        for event in events {
            if allowance.events < 1.0 || allowance.bytes <= 0.0 {
                return;
            }
            let glimpse = glimpse(event, way, listener);
            allowance.events -= 1.0;
            allowance.bytes -= size_bytes(&glimpse) as f64;
            self.glimpses.push(glimpse);
        }
    }

    fn passed(self) {
        let counted = &self.listener.counted;
        counted.passed.fetch_add(self.events, Ordering::Relaxed);
        for glimpse in self.glimpses {
            let sent = self.listener.queue.try_send(glimpse).is_ok();
            let counter = if sent { &counted.shown } else { &counted.dropped };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn glimpse(event: &Event, way: Way, listener: &Listener) -> Glimpse {
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
    Glimpse {
        way,
        wall_ms: listener.clock.wall_ms(),
        headers_left_out: event.headers.len() - headers.len(),
        headers,
        body: event.body[..shown].to_vec(),
        body_bytes: event.body.len(),
    }
}

fn size_bytes(glimpse: &Glimpse) -> usize {
    let headers = glimpse.headers.iter().map(|(name, value)| name.len() + value.len());
    glimpse.body.len() + headers.sum::<usize>()
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under the lock can be left half done.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;

    const RATES: Rates = Rates { events_per_second: 5, bytes_per_second: 1000, body_bytes: 100 };

    fn bodies(count: usize, bytes: usize) -> Vec<Event> {
        (0..count).map(|at| Event::new(vec![b'a' + (at % 26) as u8; bytes])).collect()
    }

    fn read(listening: &mut Listening) -> Vec<Glimpse> {
        std::iter::from_fn(|| listening.glimpses.try_recv().ok()).collect()
    }

    fn listen(rates: Rates) -> (Arc<Tap>, Arc<ManualClock>, Listening) {
        let (tap, clock) = (Arc::new(Tap::default()), Arc::new(ManualClock::default()));
        let listening = tap.listen(rates, Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
        (tap, clock, listening)
    }

    #[test]
    fn nobody_is_shown_anything_until_somebody_listens_and_when_all_have_gone() {
        let tap = Arc::new(Tap::default());
        assert!(tap.sample(Way::Put).is_none());
        let clock = Arc::new(ManualClock::default()) as Arc<dyn Clock>;
        let all: Vec<_> =
            (0..LISTENERS_MAX).map(|_| tap.listen(RATES, Arc::clone(&clock))).collect();
        assert!(all.iter().all(Option::is_some));
        assert!(tap.listen(RATES, clock).is_none(), "there is a limit");
        assert!(tap.sample(Way::Put).is_some());
        drop(all);
        assert!(tap.sample(Way::Put).is_none());
    }

    #[test]
    fn events_are_shown_as_far_as_the_rates_allow_and_all_are_counted() {
        let (tap, clock, mut listening) = listen(RATES);
        tap.show(Way::Delivered, &bodies(20, 10));
        let shown = read(&mut listening);
        assert_eq!(shown.len(), 5);
        assert_eq!((shown[1].way, &shown[1].body[..]), (Way::Delivered, &[b'b'; 10][..]));
        clock.advance(Duration::from_millis(400));
        tap.show(Way::Put, &bodies(20, 10));
        assert_eq!(read(&mut listening).len(), 2);
        // A second's worth at most, however long nothing came.
        clock.advance(Duration::from_secs(3600));
        tap.show(Way::Put, &bodies(20, 10));
        assert_eq!(read(&mut listening).len(), 5);
        assert_eq!(listening.counts(), Counts { passed: 60, shown: 12, dropped: 0 });
    }

    #[test]
    fn bytes_have_a_rate_too_and_bodies_and_headers_are_cut() {
        let rates = Rates { events_per_second: 100, ..RATES };
        let (tap, clock, mut listening) = listen(rates);
        let mut events = bodies(40, 5000);
        events[0].headers.set("k", "v");
        events[0].headers.set("long", "x".repeat(HEADER_BYTES_MAX));
        tap.show(Way::Taken, &events);
        let shown = read(&mut listening);
        assert_eq!(shown.len(), 10, "a thousand bytes, a hundred of each body");
        assert_eq!((shown[0].body.len(), shown[0].body_bytes), (100, 5000));
        assert_eq!(shown[0].headers, [("k".to_owned(), "v".to_owned())]);
        assert_eq!((shown[0].headers_left_out, shown[1].headers_left_out), (1, 0));
        clock.advance(Duration::from_millis(250));
        tap.show(Way::Taken, &events[1..]);
        assert_eq!(read(&mut listening).len(), 3);
    }

    #[test]
    fn what_was_seen_and_did_not_pass_is_neither_shown_nor_counted() {
        let (tap, _clock, mut listening) = listen(RATES);
        let mut sample = tap.sample(Way::Put).unwrap();
        sample.see(&bodies(3, 1));
        drop(sample);
        assert_eq!((read(&mut listening).len(), listening.counts()), (0, Counts::default()));
    }

    #[test]
    fn a_listener_that_reads_nothing_holds_up_nobody_and_hears_what_it_missed() {
        let rates = Rates { events_per_second: 1000, bytes_per_second: 1_000_000, body_bytes: 1 };
        let (tap, _clock, mut slow) = listen(rates);
        tap.show(Way::Accepted, &bodies(500, 1));
        assert_eq!(slow.counts(), Counts { passed: 500, shown: 64, dropped: 436 });
        assert_eq!(read(&mut slow).len(), QUEUE_MAX);
        // A lock that somebody holds is not waited for either, and what passes is counted.
        let held = tap.listeners.lock().unwrap();
        tap.show(Way::Accepted, &bodies(1, 1));
        drop(held);
        assert_eq!(slow.counts(), Counts { passed: 501, shown: 64, dropped: 436 });
        let later = tap.listen(RATES, Arc::new(ManualClock::default())).unwrap();
        assert_eq!(later.counts(), Counts::default(), "what passed before it came is not its own");
    }

    #[tokio::test]
    async fn a_component_that_is_gone_ends_the_listening_and_one_that_stays_does_not() {
        let member = |name: &str| Member { role: Role::Sink, name: name.to_owned(), kind: "null" };
        let taps = Taps::default();
        let clock = Arc::new(ManualClock::default()) as Arc<dyn Clock>;
        let mut goes = taps.at(Role::Sink, "k1").listen(RATES, Arc::clone(&clock)).unwrap();
        let mut stays = taps.at(Role::Sink, "k2").listen(RATES, clock).unwrap();
        taps.keep(&[member("k2")]);
        assert_eq!(goes.next().await, None);
        assert_eq!(taps.components(), [(Role::Sink, "k2".to_owned())]);
        taps.at(Role::Sink, "k2").show(Way::Delivered, &bodies(1, 1));
        assert!(stays.next().await.is_some());
    }
}
