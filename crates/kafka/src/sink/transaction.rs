//! `transactional`: the events of a batch and the note that the sink has delivered them are one transaction of Kafka.
//!
//! The note is which events of the channel are delivered, by their places there; it is the metadata of an offset that a
//! consumer group of the sink's own commits inside the transaction. A start fences producers of the same
//! `transactional.id`, which ends what they left open, and then reads the note: events that it names are left out when
//! the channel hands them out again. So a crash between Kafka's commit and the channel's repeats nothing for readers
//! with `read_committed`.
//!
//! Limits: [`NOTE_BYTES_MAX`] of a note; the broker takes 4096 by default (`offset.metadata.max.bytes`).
//!
//! Invariants: nothing is sent before the note was read; after a commit whose outcome is not known the producer is given
//! up, and the next one reads the note first; a note names all delivered events that the channel may hand out again.

use super::keys::{KafkaSinkSettings, TransactionSettings};
use super::sending::{Fates, Sending};
use crate::client::{
    ClientError, CommittedPlace, ErrorKind, KafkaConsumer, KafkaProducer, TopicPartition,
};
use crate::settings::ClientSettings;
use millpond::Event;
use millpond_flow::event_set::{EventPlace, EventSet};
use millpond_flow::sink::{BatchPlace, Failure, RefusedEvent};
use std::sync::Arc;
use std::time::Duration;

/// Most bytes of a note.
const NOTE_BYTES_MAX: usize = 3800;
/// How long one call to the brokers may take.
const CALL: Duration = Duration::from_secs(10);
/// How often an unfinished commit is asked for again.
const COMMITS_MAX: usize = 3;
/// How long one call of an abort may take, and how often it is made: a record that was in flight when the abort gave all
/// up, and that the client then wants to send again, is given up by the next call only.
const ABORT: Duration = Duration::from_secs(2);
const ABORTS_MAX: usize = 5;

/// A producer with transactions, and what its sink has delivered.
pub(super) struct Transactions {
    client: ClientSettings,
    settings: TransactionSettings,
    component: String,
    producer: KafkaProducer,
    group: Arc<KafkaConsumer>,
    at: TopicPartition,
    delivered: EventSet,
}

impl Transactions {
    /// Fences other producers of this sink and reads what they delivered. Blocks.
    pub(super) fn begin(
        client: &ClientSettings,
        settings: &TransactionSettings,
        component: &str,
    ) -> Result<Self, ClientError> {
        let producer = KafkaProducer::new(client, component)?;
        producer.init_transactions(CALL)?;
        // Also makes the topic, where the broker makes topics on demand.
        producer.partitions(&settings.topic, CALL)?;
        let group = Arc::new(KafkaConsumer::new(&reader_of(client, &settings.id), component)?);
        let at = TopicPartition { topic: settings.topic.as_str().into(), partition: 0 };
        let found = group.committed(std::slice::from_ref(&at), CALL)?;
        let delivered = match found.first() {
            None => EventSet::default(),
            Some(place) => EventSet::read(&place.metadata)
                .ok_or_else(|| ClientError::unreadable_note(&settings.id))?,
        };
        Ok(Self {
            client: client.clone(),
            settings: settings.clone(),
            component: component.to_owned(),
            producer,
            group,
            at,
            delivered,
        })
    }

    /// Delivers the events of `batch` that are not delivered yet, and returns those that are refused.
    pub(super) async fn deliver(
        &mut self,
        settings: &KafkaSinkSettings,
        batch: &[Event],
        place: Option<BatchPlace>,
    ) -> Result<Vec<RefusedEvent>, TransactionError> {
        let unplaced = || {
            Failure::new(
                "transactional needs a channel of type file, and this one does not say where its events are",
            )
        };
        let place = place.ok_or_else(unplaced)?;
        let (channel, places) = place.events(batch.len()).ok_or_else(unplaced)?;
        if let Some(open) = place.channel.unacknowledged(&self.delivered.ranges(channel)) {
            self.delivered.replace(channel, &open);
        }
        let is_open = |index: &usize| !self.delivered.contains(channel, places[*index]);
        let mut open: Vec<usize> = (0..batch.len()).filter(is_open).collect();
        let mut refused = Vec::new();
        while !open.is_empty() {
            self.producer.begin()?;
            let sending = Sending::begin(&self.producer, settings, batch, &open).await;
            if sending.is_delivered().await {
                self.commit(channel, &places, &open).await?;
                break;
            }
            // The others are sent once more, without those that are refused.
            let found = self.refused(settings, batch, sending).await?;
            open.retain(|index| !found.iter().any(|refused| refused.index == *index));
            refused.extend(found);
        }
        refused.sort_by_key(|refused: &RefusedEvent| refused.index);
        Ok(refused)
    }

    /// Ends the transaction of `sending`, of which an event was not delivered, and returns the events that are refused:
    /// suspects are sent by themselves, each in a transaction that is aborted.
    async fn refused(
        &mut self,
        settings: &KafkaSinkSettings,
        batch: &[Event],
        sending: Sending<'_>,
    ) -> Result<Vec<RefusedEvent>, TransactionError> {
        let fates = self.give_up(sending).await?;
        let mut refused = fates.refused;
        for index in fates.suspects {
            self.producer.begin()?;
            let sending = Sending::begin(&self.producer, settings, batch, &[index]).await;
            if sending.is_delivered().await {
                self.abort().await?;
            } else {
                refused.extend(self.give_up(sending).await?.refused);
            }
        }
        if refused.is_empty() {
            return Err(Failure::new("the broker refuses the events of the batch together and takes each alone: lower kafka.producer.batch.size").into());
        }
        Ok(refused)
    }

    /// Aborts the transaction of `sending`, of which an event was not delivered, and returns the fates of its events;
    /// an error if none of them is refused. The fates of those on the way do not come before the abort, which gives them
    /// up. Where the broker has refused one, the sequence numbers of its partition have a gap: only a new producer can
    /// go on.
    async fn give_up(&mut self, sending: Sending<'_>) -> Result<Fates, TransactionError> {
        let has_gap = sending.has_failed();
        self.abort().await?;
        let fates = sending.fates().await;
        if fates.refused.is_empty() && fates.suspects.is_empty() {
            let lost = || Failure::new("the transaction was aborted without a reason");
            return Err(fates.error.map_or_else(|| lost().into(), TransactionError::from));
        }
        if has_gap {
            self.renew().await?;
        }
        Ok(fates)
    }

    /// Replaces the producer by a new one, whose sequence numbers begin anew.
    async fn renew(&mut self) -> Result<(), TransactionError> {
        let (client, settings) = (self.client.clone(), self.settings.clone());
        let component = self.component.clone();
        let begin = move || Self::begin(&client, &settings, &component);
        let new = blocking(begin).await.map_err(TransactionError::Unusable)?;
        let old = std::mem::replace(self, new);
        // Its threads may take half a second to end.
        drop(tokio::task::spawn_blocking(move || drop(old)));
        Ok(())
    }

    async fn commit(
        &mut self,
        channel: u128,
        places: &[EventPlace],
        open: &[usize],
    ) -> Result<(), TransactionError> {
        let sent: Vec<EventPlace> = open.iter().map(|index| places[*index]).collect();
        let mut delivered = self.delivered.clone();
        delivered.join(&EventSet::of(channel, &sent));
        let note = delivered.to_string();
        if note.len() > NOTE_BYTES_MAX {
            self.abort().await?;
            return Err(Failure::new(format!(
                "the places of the delivered events take {} bytes, and a note in Kafka has {NOTE_BYTES_MAX}: lower flumeBatchSize",
                note.len()
            ))
            .into());
        }
        let offset = i64::try_from(sent.len()).unwrap_or(i64::MAX);
        let place = CommittedPlace { at: self.at.clone(), offset, metadata: note };
        let (producer, group) = (self.producer.clone(), Arc::clone(&self.group));
        let work = move || {
            producer.send_offsets(std::slice::from_ref(&place), &group, CALL)?;
            until_done(COMMITS_MAX, || producer.commit(CALL))
        };
        match blocking(work).await {
            Ok(()) => {
                self.delivered = delivered;
                Ok(())
            }
            Err(error) if error.kind == ErrorKind::Abort => {
                self.abort().await?;
                Err(TransactionError::Failed(error))
            }
            // Whether Kafka has committed is found out by the next producer.
            Err(error) => Err(TransactionError::Unusable(error)),
        }
    }

    async fn abort(&self) -> Result<(), TransactionError> {
        let producer = self.producer.clone();
        let work = move || until_done(ABORTS_MAX, || producer.abort(ABORT));
        blocking(work).await.map_err(TransactionError::Unusable)
    }
}

/// Why a batch was not delivered.
pub(super) enum TransactionError {
    /// The batch can be tried again with this producer.
    Failed(ClientError),
    /// Only a new producer can go on.
    Unusable(ClientError),
    /// Another reason.
    Other(Failure),
}

impl From<Failure> for TransactionError {
    fn from(failure: Failure) -> Self {
        Self::Other(failure)
    }
}

impl From<ClientError> for TransactionError {
    fn from(error: ClientError) -> Self {
        match error.kind {
            ErrorKind::Fenced | ErrorKind::Fatal => Self::Unusable(error),
            _ => Self::Failed(error),
        }
    }
}

/// Returns the settings of the consumer whose group has the note: it only asks for offsets.
fn reader_of(client: &ClientSettings, group: &str) -> ClientSettings {
    let mut settings = client.shared();
    settings.set("group.id", group);
    // The offset of a transaction that is not over is waited for.
    settings.set("isolation.level", "read_committed");
    settings.set("enable.auto.commit", "false");
    settings
}

/// Makes a call again while it may succeed, `most` times together.
fn until_done(most: usize, call: impl Fn() -> Result<(), ClientError>) -> Result<(), ClientError> {
    let mut tried = 1;
    loop {
        match call() {
            Err(error) if error.kind == ErrorKind::Retriable && tried < most => tried += 1,
            ended => return ended,
        }
    }
}

/// Runs a call that blocks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
) -> Result<T, ClientError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(ClientError::defect(&error)))
}
