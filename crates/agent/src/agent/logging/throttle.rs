//! The log throttle: limits repeated warnings.
//!
//! Lines at WARN and ERROR are classified by the place in the code that writes them and by the
//! component that they name ([`COMPONENTS`]). Values that a peer chooses (an address, a port, the
//! size of a batch) do not make a new kind of line, so no peer can fill the table. Of one kind
//! [`TEXTS_MAX`] different texts are written in [`WINDOW`], each once; the others are counted. The
//! count is written with the next line of the kind after the window, by itself [`OVERDUE`] after
//! the window began, when the entry is evicted, and at the end of the process.
//!
//! Limits: [`SHARDS`] times [`SHARD_ENTRIES`] kinds are remembered; a further one evicts the oldest
//! of its shard. Entries hold only the checksum of each text, and of one its first
//! [`SAMPLE_CHARS_MAX`] characters.

use crate::agent::findings;
use millpond::Clock;
use millpond_flow::base::lost_lines;
use std::collections::hash_map::RandomState;
use std::fmt::{self, Write as _};
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata};

/// How long a text is not written again.
pub(super) const WINDOW: Duration = Duration::from_secs(30);
/// When the count of suppressed lines is written by itself, from the start of the window: a line
/// that repeats has included it by then.
pub(super) const OVERDUE: Duration = Duration::from_secs(60);
/// Different texts of one kind that are written in a window: enough to see which parties are
/// concerned.
pub(super) const TEXTS_MAX: usize = 16;
/// Shards of the table, each with its own lock.
const SHARDS: usize = 16;
/// Kinds in one shard. An agent has some 250 places that warn, and most of them never do.
const SHARD_ENTRIES: usize = 32;
/// Characters of a suppressed text that are kept as a sample.
const SAMPLE_CHARS_MAX: usize = 200;
/// Fields that name a component, whose values come from the configuration, or the subject of the
/// line.
const COMPONENTS: &[&str] = &["channel", "source", "sink", "stripe", "group", "component", "code"];
/// Targets that report a configuration or an opening once: each line counts, and their number is
/// bounded by the subject.
const REPORTS: &[&str] = &[findings::TARGET, "millpond::channel::file::open"];

/// Decides which lines are written, and counts the others.
pub(super) struct LogThrottle {
    clock: Arc<dyn Clock>,
    hashes: RandomState,
    shards: [Mutex<Vec<ThrottleEntry>>; SHARDS],
    /// Milliseconds at which the table was last searched for overdue counts.
    looked_at_ms: AtomicU64,
}

/// One kind of line, in its current window.
struct ThrottleEntry {
    kind: u64,
    metadata: &'static Metadata<'static>,
    /// When its window began.
    since: Duration,
    /// Checksums of the texts that were written.
    texts: Vec<u64>,
    suppressed: u64,
    /// The first suppressed text, with its fields.
    sample: String,
}

/// What is to be done with a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ThrottleDecision {
    /// Whether to write it, and how many of its kind were suppressed since the last one.
    pub(super) write: Option<u64>,
    /// The count of an evicted kind.
    pub(super) evicted: Option<Suppressed>,
}

impl ThrottleDecision {
    const WRITE: Self = Self { write: Some(0), evicted: None };
}

/// The suppressed lines of one kind.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Suppressed {
    pub(super) count: u64,
    pub(super) level: Level,
    pub(super) target: &'static str,
    /// The first of them, cut if it is long.
    pub(super) sample: String,
}

impl LogThrottle {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            hashes: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
            looked_at_ms: AtomicU64::new(0),
        }
    }

    /// Decides what is to be done with `event`.
    pub(super) fn admit(&self, event: &Event<'_>) -> ThrottleDecision {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN || REPORTS.contains(&metadata.target()) {
            return ThrottleDecision::WRITE;
        }
        let mut said = LineChecksums {
            component: self.hashes.build_hasher(),
            text: self.hashes.build_hasher(),
        };
        metadata.callsite().hash(&mut said.component);
        event.record(&mut said);
        let (kind, text) = (said.component.finish(), said.text.finish());
        let now = self.clock.now();
        let mut entries = self.shard((kind % SHARDS as u64) as usize);
        let Some(entry) = entries.iter_mut().find(|entry| entry.kind == kind) else {
            return ThrottleDecision {
                write: Some(0),
                evicted: insert(&mut entries, metadata, kind, text, now),
            };
        };
        if now.saturating_sub(entry.since) >= WINDOW {
            (entry.since, entry.texts) = (now, vec![text]);
            entry.sample.clear();
            return ThrottleDecision {
                write: Some(std::mem::take(&mut entry.suppressed)),
                evicted: None,
            };
        }
        if entry.texts.len() < TEXTS_MAX && !entry.texts.contains(&text) {
            entry.texts.push(text);
            return ThrottleDecision::WRITE;
        }
        lost_lines::count_suppressed(1);
        if entry.suppressed == 0 {
            entry.sample = sample(event);
        }
        entry.suppressed += 1;
        ThrottleDecision { write: None, evicted: None }
    }

    /// Returns overdue counts. Searches at most once a second.
    pub(super) fn overdue(&self) -> Vec<Suppressed> {
        let now = self.clock.now();
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let looked = self.looked_at_ms.load(Ordering::Relaxed);
        if now_ms < looked.saturating_add(1000)
            || self
                .looked_at_ms
                .compare_exchange(looked, now_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return Vec::new();
        }
        self.take(|entry| now.saturating_sub(entry.since) >= OVERDUE)
    }

    /// Returns all counts and empties the table.
    pub(super) fn drain(&self) -> Vec<Suppressed> {
        self.take(|_| true)
    }

    fn take(&self, which: impl Fn(&ThrottleEntry) -> bool) -> Vec<Suppressed> {
        let mut counts = Vec::new();
        for shard in 0..SHARDS {
            let gone = self.shard(shard).extract_if(.., |entry| which(entry)).collect::<Vec<_>>();
            counts.extend(gone.into_iter().filter_map(ThrottleEntry::count));
        }
        counts
    }

    fn shard(&self, at: usize) -> MutexGuard<'_, Vec<ThrottleEntry>> {
        // Nothing is left half done under the lock, so a poisoned lock is usable.
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds a kind; returns the count of the evicted one.
fn insert(
    entries: &mut Vec<ThrottleEntry>,
    metadata: &'static Metadata<'static>,
    kind: u64,
    text: u64,
    now: Duration,
) -> Option<Suppressed> {
    let is_full = entries.len() >= SHARD_ENTRIES;
    let oldest = entries.iter().enumerate().min_by_key(|(_, entry)| entry.since).map(|(at, _)| at);
    let evicted = oldest.filter(|_| is_full).map(|at| entries.swap_remove(at));
    let (texts, sample) = (vec![text], String::new());
    entries.push(ThrottleEntry { kind, metadata, since: now, texts, suppressed: 0, sample });
    evicted.and_then(ThrottleEntry::count)
}

impl ThrottleEntry {
    fn count(self) -> Option<Suppressed> {
        let (level, target) = (*self.metadata.level(), self.metadata.target());
        let Self { suppressed: count, sample, .. } = self;
        (count > 0).then_some(Suppressed { count, level, target, sample })
    }
}

/// Returns checksums of an event: of its component, and of all else.
struct LineChecksums<H> {
    component: H,
    text: H,
}

impl<H: Hasher> Visit for LineChecksums<H> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let is_component = COMPONENTS.contains(&field.name());
        let hash = if is_component { &mut self.component } else { &mut self.text };
        field.name().hash(hash);
        // Writing into a checksum cannot fail.
        let _ = write!(ChecksumWriter(hash), "{value:?}");
    }
}

struct ChecksumWriter<'a, H>(&'a mut H);

impl<H: Hasher> fmt::Write for ChecksumWriter<'_, H> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

/// Returns the text of an event, as far as it is kept.
fn sample(event: &Event<'_>) -> String {
    let mut sample = SampleBudget { message: String::new(), fields: String::new() };
    event.record(&mut sample);
    let whole = sample.message + &sample.fields;
    match whole.char_indices().nth(SAMPLE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &whole[..end]),
        None => whole,
    }
}

struct SampleBudget {
    message: String,
    fields: String,
}

impl Visit for SampleBudget {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond::ManualClock;
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
    use tracing_subscriber::util::SubscriberInitExt;

    /// The decisions of a throttle, in order.
    #[derive(Clone)]
    struct ThrottleDecisions {
        throttle: Arc<LogThrottle>,
        given: Arc<Mutex<Vec<ThrottleDecision>>>,
    }

    impl<S: tracing::Subscriber> Layer<S> for ThrottleDecisions {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let answer = self.throttle.admit(event);
            self.given.lock().expect("unpoisoned").push(answer);
        }
    }

    impl ThrottleDecisions {
        /// Runs `lines` with a throttle; returns how many were written, and how many came with a
        /// count.
        fn of(clock: &Arc<ManualClock>, lines: impl FnOnce(&Self)) -> Self {
            let throttle = Arc::new(LogThrottle::new(clock.clone()));
            let answers = Self { throttle, given: Arc::default() };
            let guard = tracing_subscriber::registry().with(answers.clone()).set_default();
            lines(&answers);
            drop(guard);
            answers
        }

        fn written(&self) -> usize {
            self.given.lock().expect("unpoisoned").iter().filter(|a| a.write.is_some()).count()
        }

        fn evicted(&self) -> u64 {
            let given = self.given.lock().expect("unpoisoned");
            given.iter().filter_map(|a| a.evicted.as_ref()).map(|s| s.count).sum()
        }

        fn counted_inline(&self) -> u64 {
            self.given.lock().expect("unpoisoned").iter().filter_map(|a| a.write).sum()
        }
    }

    fn closing(source: &str, peer: usize) {
        tracing::warn!(source, peer, "closing the connection");
    }

    #[test]
    fn no_peer_can_fill_the_throttle_or_switch_it_off() {
        let clock = Arc::new(ManualClock::default());
        let answers = ThrottleDecisions::of(&clock, |answers| {
            // Each text twice, which filled an earlier version of the table.
            (0..100_000).for_each(|peer| (0..2).for_each(|_| closing("r1", peer)));
            assert_eq!(answers.written(), TEXTS_MAX, "of one kind so many in a window");
            // Another component is not affected.
            closing("r2", 1);
            assert_eq!(answers.written(), TEXTS_MAX + 1);
        });
        let counts = answers.throttle.drain();
        assert_eq!(counts.len(), 1, "{counts:?}");
        assert_eq!(counts[0].count as usize, 200_000 - TEXTS_MAX);
        assert_eq!((counts[0].level, counts[0].target), (Level::WARN, module_path!()));
        assert!(
            counts[0].sample.contains("closing the connection source=\"r1\" peer=0"),
            "{counts:?}"
        );
        assert_eq!(answers.throttle.drain(), [], "each is written once");
    }

    #[test]
    fn a_count_comes_with_the_next_line_or_by_itself() {
        let clock = Arc::new(ManualClock::default());
        let answers = ThrottleDecisions::of(&clock, |answers| {
            (0..100).for_each(|_| closing("r1", 1));
            assert_eq!((answers.written(), answers.counted_inline()), (1, 0));
            clock.advance(WINDOW);
            assert_eq!(answers.throttle.overdue(), [], "the next line may take it along");
            (0..10).for_each(|_| closing("r1", 1));
            assert_eq!((answers.written(), answers.counted_inline()), (2, 99));
            clock.advance(OVERDUE);
            let counts = answers.throttle.overdue();
            assert_eq!(counts.iter().map(|s| s.count).collect::<Vec<_>>(), [9]);
            clock.advance(OVERDUE);
            assert_eq!(answers.throttle.overdue(), []);
        });
        assert_eq!(answers.throttle.drain(), []);
    }

    #[test]
    fn a_kind_that_is_evicted_leaves_its_count_and_nothing_is_lost() {
        let clock = Arc::new(ManualClock::default());
        let kinds = SHARDS * SHARD_ENTRIES * 2;
        let answers = ThrottleDecisions::of(&clock, |_| {
            for kind in 0..kinds {
                (0..3).for_each(|_| closing(&format!("r{kind}"), 1));
            }
        });
        assert_eq!(answers.written(), kinds);
        let left = answers.throttle.drain();
        assert!(left.len() <= SHARDS * SHARD_ENTRIES, "{}", left.len());
        let left: u64 = left.iter().map(|s| s.count).sum();
        assert_eq!(answers.evicted() + left, 2 * kinds as u64);
    }

    #[test]
    fn reports_and_lines_below_warn_are_written_each_time() {
        let clock = Arc::new(ManualClock::default());
        let answers = ThrottleDecisions::of(&clock, |_| {
            for _ in 0..100 {
                tracing::error!(target: "millpond::channel::file::open", channel = "c1", "a loss");
                tracing::info!("an event");
            }
        });
        assert_eq!(answers.written(), 200);
    }
}
