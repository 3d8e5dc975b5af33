//! The consumer of the channel: a thread that reads records into the buffer and follows the group's assignments. The
//! first take starts it.

use super::buffer::{LendingBuffer, RecordContent, UndecodableRecord};
use super::keys::KafkaChannelSettings;
use super::lock::lock;
use crate::client::{
    ClientError, ErrorKind, KafkaConsumer, PartitionOffset, Polled, Record, TopicPartition,
};
use crate::record;
use millpond::Event;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::Duration;
use tokio::sync::Notify;

/// Most bytes of records that were read and wait or are lent; reading goes on when half of it is free. One more record
/// may be there.
pub(super) const BUFFER_BYTES_MAX: usize = 16 << 20;
/// How long a revoked partition is kept for takes that have events of it.
pub(super) const REVOCATION_MAX: Duration = Duration::from_secs(10);
/// How long a poll waits for a record.
const POLL: Duration = Duration::from_millis(100);
/// Records that are read before they are added to the buffer.
const RECORDS_TOGETHER: usize = 500;
/// Polls without an error or a record after which an earlier error is over.
const QUIET_POLLS: u32 = 100;
/// Pause after a failed poll, so that a lasting failure takes no processor.
const FAILURE_PAUSE: Duration = Duration::from_millis(200);

/// What a poll has left of the consumer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ConsumerState {
    Lives,
    /// It can do nothing more.
    Ended,
}

/// Header with the key of a record.
const KEY: &str = "key";

/// The buffer, and the thread that fills it.
pub(super) struct Reader {
    settings: Arc<KafkaChannelSettings>,
    name: String,
    buffer: Mutex<LendingBuffer>,
    /// A loan has ended; used by the thread.
    returned: Condvar,
    /// Records have come, or a partition is free again.
    pub(super) changed: Notify,
    consumer: Mutex<Option<Arc<KafkaConsumer>>>,
    /// Why nothing can be read now.
    fault: Mutex<Option<String>>,
    is_stopped: AtomicBool,
    is_ended: Mutex<bool>,
    ended: Condvar,
}

impl Reader {
    pub(super) fn new(settings: Arc<KafkaChannelSettings>, name: String) -> Self {
        Self {
            settings,
            name,
            buffer: Mutex::default(),
            returned: Condvar::new(),
            changed: Notify::new(),
            consumer: Mutex::default(),
            fault: Mutex::default(),
            is_stopped: AtomicBool::new(false),
            is_ended: Mutex::new(true),
            ended: Condvar::new(),
        }
    }

    pub(super) fn buffer(&self) -> MutexGuard<'_, LendingBuffer> {
        lock(&self.buffer)
    }

    /// Returns the consumer; the first call makes it and joins the group. Blocks while it reads stores.
    ///
    /// # Errors
    /// A store or a value of the settings cannot be used.
    pub(super) fn start(self: &Arc<Self>) -> Result<Arc<KafkaConsumer>, ClientError> {
        let mut consumer = lock(&self.consumer);
        if let Some(consumer) = &*consumer {
            return Ok(Arc::clone(consumer));
        }
        if self.is_stopped() {
            return Err(ClientError::defect(&"the channel is closed"));
        }
        let new = Arc::new(KafkaConsumer::new(&self.settings.consumer, &self.name)?);
        new.subscribe(&[&self.settings.topic])?;
        let (reader, of_thread) = (Arc::clone(self), Arc::clone(&new));
        *lock(&self.is_ended) = false;
        let thread = Builder::new().name(format!("read {}", self.name)).spawn(move || {
            reader.run(&of_thread);
            // After an error that the consumer does not survive, the next take makes a new one.
            lock(&reader.consumer).take();
            // Leaves the group, if no commit is under way.
            drop(of_thread);
            *lock(&reader.is_ended) = true;
            reader.ended.notify_all();
        });
        thread.map_err(|error| {
            *lock(&self.is_ended) = true;
            ClientError::defect(&error)
        })?;
        *consumer = Some(Arc::clone(&new));
        Ok(new)
    }

    /// Returns the consumer, if a take has started it.
    pub(super) fn consumer(&self) -> Option<Arc<KafkaConsumer>> {
        lock(&self.consumer).clone()
    }

    /// Returns why nothing can be read now.
    pub(super) fn fault(&self) -> Option<String> {
        lock(&self.fault).clone()
    }

    /// Notes that a loan has ended.
    pub(super) fn note_return(&self) {
        self.returned.notify_all();
        self.changed.notify_waiters();
    }

    /// Ends the thread and leaves the group, waiting for at most `limit`.
    pub(super) fn stop(&self, limit: Duration) {
        self.is_stopped.store(true, Ordering::Release);
        lock(&self.consumer).take();
        self.returned.notify_all();
        self.changed.notify_waiters();
        let ended = self.ended.wait_timeout_while(lock(&self.is_ended), limit, |ended| !*ended);
        drop(ended.unwrap_or_else(PoisonError::into_inner));
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }

    fn run(&self, consumer: &KafkaConsumer) {
        let (mut is_paused, mut quiet_polls) = (false, 0);
        while !self.is_stopped() {
            let bytes = self.buffer().bytes();
            let wants_pause =
                if is_paused { bytes > BUFFER_BYTES_MAX / 2 } else { bytes > BUFFER_BYTES_MAX };
            if wants_pause != is_paused && consumer.pause(wants_pause).is_ok() {
                is_paused = wants_pause;
            }
            match consumer.poll(POLL) {
                Polled::Record(first) => {
                    if self.add_records(consumer, first, is_paused) == ConsumerState::Ended {
                        break;
                    }
                }
                Polled::Nothing => {
                    quiet_polls += 1;
                    if quiet_polls >= QUIET_POLLS {
                        *lock(&self.fault) = None;
                    }
                    self.confirm(consumer);
                    continue;
                }
                polled => {
                    if self.follow(consumer, polled, is_paused) == ConsumerState::Ended {
                        break;
                    }
                }
            }
            quiet_polls = 0;
            self.confirm(consumer);
        }
        let all = self.buffer().assigned();
        self.confirm(consumer);
        self.buffer().remove(&all);
    }

    /// Adds a record and those that have come with it.
    fn add_records(
        &self,
        consumer: &KafkaConsumer,
        first: Record,
        is_paused: bool,
    ) -> ConsumerState {
        let mut read = Vec::with_capacity(RECORDS_TOGETHER);
        let mut bytes = 0;
        let mut next = Polled::Record(first);
        while let Polled::Record(record) = next {
            bytes += record.value.as_ref().map_or(0, bytes::Bytes::len);
            read.push((record.at.clone(), record.offset, self.content(record)));
            if read.len() >= RECORDS_TOGETHER || bytes > BUFFER_BYTES_MAX / 4 {
                next = Polled::Nothing;
                break;
            }
            next = consumer.poll(Duration::ZERO);
        }
        let mut buffer = self.buffer();
        for (at, offset, content) in read {
            buffer.push(&at, offset, content);
        }
        drop(buffer);
        *lock(&self.fault) = None;
        self.changed.notify_waiters();
        self.follow(consumer, next, is_paused)
    }

    /// Follows a change of the assignment.
    fn follow(&self, consumer: &KafkaConsumer, polled: Polled, is_paused: bool) -> ConsumerState {
        let failed = match polled {
            Polled::Record(_) | Polled::Nothing => return ConsumerState::Lives,
            Polled::Assigned(partitions) => {
                self.buffer().assign(&partitions);
                let from = |at: TopicPartition| PartitionOffset { at, offset: None };
                let taken = consumer.assign(&partitions.into_iter().map(from).collect::<Vec<_>>());
                taken.and_then(|()| if is_paused { consumer.pause(true) } else { Ok(()) }).err()
            }
            Polled::Revoked { partitions, lost } => {
                self.give_up(consumer, &partitions, lost);
                consumer.unassign(&partitions).err()
            }
            Polled::Failed(error) => Some(error),
        };
        *lock(&self.fault) = failed.as_ref().map(ToString::to_string);
        if let Some(error) = failed {
            tracing::debug!(channel = self.name, %error, "a record or an assignment was not read");
            self.wait(FAILURE_PAUSE, |_| true);
            if matches!(error.kind, ErrorKind::Fatal | ErrorKind::Fenced) {
                return ConsumerState::Ended;
            }
        }
        ConsumerState::Lives
    }

    /// Waits until no take has events of these partitions, and forgets them.
    fn give_up(&self, consumer: &KafkaConsumer, partitions: &[TopicPartition], is_lost: bool) {
        self.buffer().revoke(partitions);
        if !is_lost {
            self.wait(REVOCATION_MAX, |buffer| buffer.is_lent(partitions));
            self.confirm(consumer);
        }
        let mut buffer = self.buffer();
        if buffer.is_lent(partitions) {
            tracing::warn!(
                channel = self.name,
                "the group takes partitions away of which a sink still has events; those may be delivered again by another agent"
            );
        }
        buffer.remove(partitions);
    }

    /// Waits while `holds`, at most `limit`, and not after a stop.
    fn wait(&self, limit: Duration, holds: impl Fn(&LendingBuffer) -> bool) {
        let goes_on = |buffer: &mut LendingBuffer| holds(buffer) && !self.is_stopped();
        let waited = self.returned.wait_timeout_while(self.buffer(), limit, goes_on);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Commits offsets whose commit failed before.
    fn confirm(&self, consumer: &KafkaConsumer) {
        let open = self.buffer().unconfirmed();
        if !open.is_empty() && self.fault().is_none() && consumer.commit(&open, true).is_ok() {
            self.buffer().confirm(&open);
        }
    }

    /// Returns what a record holds.
    fn content(&self, record: Record) -> RecordContent {
        let value = record.value.unwrap_or_default();
        let event = match self.settings.as_datum {
            true => record::decode(&value),
            false => Ok(Event { headers: millpond::Headers::default(), body: value.clone() }),
        };
        match event {
            Ok(mut event) => {
                if let Some(key) = &record.key {
                    event.headers.set(KEY, String::from_utf8_lossy(key));
                }
                RecordContent::Event(event)
            }
            Err(error) => {
                let why = format!("the record is not an event of Flume: {error}");
                RecordContent::Undecodable(UndecodableRecord { value, why })
            }
        }
    }
}
