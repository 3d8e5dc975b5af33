//! The lag of the group: how many records wait in the topic. Read once a second by a thread of its own, which also
//! tells whether the brokers can be reached.

use super::keys::KafkaChannelSettings;
use super::lock::lock;
use crate::client::{ClientError, KafkaConsumer, TopicPartition};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

/// Pause between two readings.
const PAUSE: Duration = Duration::from_secs(1);
/// How long one request may take.
const CALL: Duration = Duration::from_secs(3);

/// Events that the channel has put and taken since it was opened.
#[derive(Debug, Default)]
pub(super) struct EventCounts {
    put: AtomicU64,
    taken: AtomicU64,
}

impl EventCounts {
    pub(super) fn add_put(&self, events: u64) {
        self.put.fetch_add(events, Ordering::Relaxed);
    }

    pub(super) fn add_taken(&self, events: u64) {
        self.taken.fetch_add(events, Ordering::Relaxed);
    }

    /// Returns those put and those taken.
    pub(super) fn now(&self) -> (u64, u64) {
        (self.put.load(Ordering::Relaxed), self.taken.load(Ordering::Relaxed))
    }
}

/// What the last reading found.
#[derive(Debug, Default)]
struct LagReading {
    lag: u64,
    /// Events that this channel had put and taken when the reading began.
    counts: (u64, u64),
    partitions: Option<Arc<[i32]>>,
    fault: Option<String>,
    is_stopped: bool,
}

/// The latest reading, shared with the thread.
#[derive(Clone, Debug, Default)]
struct SharedReading(Arc<(Mutex<LagReading>, Condvar)>);

/// Reads the lag until it is stopped.
#[derive(Debug)]
pub(super) struct LagWatch(SharedReading);

impl LagWatch {
    /// Begins to read.
    ///
    /// # Errors
    /// A store or a value of the settings cannot be used, or the system has no thread for it.
    pub(super) fn begin(
        settings: &KafkaChannelSettings,
        name: &str,
        counts: &Arc<EventCounts>,
    ) -> Result<Self, ClientError> {
        let probe = KafkaConsumer::new(&settings.consumer, name)?;
        let shared = SharedReading::default();
        let of_thread = shared.clone();
        let counted = Arc::clone(counts);
        let (topic, is_from_oldest) = (settings.topic.clone(), settings.is_from_oldest);
        let work = move || of_thread.run(&probe, &topic, is_from_oldest, &counted);
        let thread = Builder::new().name(format!("lag {name}")).spawn(work);
        thread.map_err(|error| ClientError::defect(&error))?;
        Ok(Self(shared))
    }

    /// Returns the records that wait: those of the last reading, and what this channel has put and taken since then.
    pub(super) fn waiting(&self, counts: &EventCounts) -> u64 {
        let reading = lock(&self.0.0.0);
        let (put, taken) = counts.now();
        let put = put.saturating_sub(reading.counts.0);
        (reading.lag + put).saturating_sub(taken.saturating_sub(reading.counts.1))
    }

    /// Returns why the brokers cannot be asked now.
    pub(super) fn fault(&self) -> Option<String> {
        lock(&self.0.0.0).fault.clone()
    }

    /// Returns the numbers of the topic's partitions as the last reading found them.
    pub(super) fn partitions(&self) -> Option<Arc<[i32]>> {
        lock(&self.0.0.0).partitions.clone()
    }

    /// Notes what a put has found.
    pub(super) fn note_partitions(&self, partitions: Vec<i32>) -> Arc<[i32]> {
        let partitions: Arc<[i32]> = partitions.into();
        lock(&self.0.0.0).partitions = Some(Arc::clone(&partitions));
        partitions
    }

    pub(super) fn stop(&self) {
        lock(&self.0.0.0).is_stopped = true;
        self.0.0.1.notify_all();
    }
}

impl Drop for LagWatch {
    fn drop(&mut self) {
        self.stop();
    }
}

impl SharedReading {
    fn run(&self, probe: &KafkaConsumer, topic: &str, is_from_oldest: bool, counted: &EventCounts) {
        loop {
            let counts = counted.now();
            let found = read(probe, topic, is_from_oldest);
            let mut reading = lock(&self.0.0);
            match found {
                Ok((lag, partitions)) => {
                    (reading.lag, reading.counts) = (lag, counts);
                    reading.partitions = Some(partitions.into());
                    reading.fault = None;
                }
                Err(error) => reading.fault = Some(error.to_string()),
            }
            let waiting = self.0.1.wait_timeout_while(reading, PAUSE, |r| !r.is_stopped);
            let (reading, _) = waiting.unwrap_or_else(PoisonError::into_inner);
            if reading.is_stopped {
                return;
            }
        }
    }
}

/// Returns the lag and the numbers of the partitions.
fn read(
    probe: &KafkaConsumer,
    topic: &str,
    is_from_oldest: bool,
) -> Result<(u64, Vec<i32>), ClientError> {
    let partitions = probe.partitions(topic, CALL)?;
    let at = |partition: &i32| TopicPartition { topic: topic.into(), partition: *partition };
    let all: Vec<TopicPartition> = partitions.iter().map(at).collect();
    let committed = probe.committed(&all, CALL)?;
    let committed: BTreeMap<_, _> =
        committed.into_iter().map(|place| (place.at, place.offset)).collect();
    let mut lag = 0_u64;
    for at in &all {
        let (first, next) = probe.bounds(at, CALL)?;
        let begin = match committed.get(at) {
            Some(offset) => (*offset).clamp(first, next),
            None if is_from_oldest => first,
            None => next,
        };
        lag = lag.saturating_add(next.abs_diff(begin));
    }
    Ok((lag, partitions))
}
