//! `kafka`: sends events to topics of Kafka.
//!
//! Limits: `flumeBatchSize` events of a batch, up to [`BATCHES_TOGETHER`] waiting batches at a time; the producer's
//! memory is `buffer.memory`.
//!
//! A delivery sends all events of the batch and waits until the brokers have each of them, with `acks` = all unless the
//! configuration says otherwise. An event that can never be sent (a topic or partition that cannot be, too large a
//! record) goes to the dead letters, and its neighbours are delivered once. What a failed delivery has sent of a batch
//! of a file channel is not sent again when the batch comes again.
//!
//! With `transactional` the events are visible to readers with `read_committed` once ([`transaction`]).

mod keys;
mod outgoing;
mod sending;
#[cfg(test)]
mod tests;
mod topic;
mod transaction;

use crate::client::{ClientError, ErrorKind, KafkaProducer};
use keys::KafkaSinkSettings;
use millpond::{BoxFuture, Event};
use millpond_flow::event_set::EventSet;
use millpond_flow::settings::{SettingError, SettingsReader};
use millpond_flow::sink::{BatchPlace, Failure, RefusedEvent, Sink, SinkContext, SinkType};
use sending::{Fates, send};
use std::time::Duration;
use tokio::time::timeout;
use transaction::{TransactionError, Transactions};

/// The type `kafka`.
pub const TYPE: SinkType = SinkType {
    names: &["kafka", "org.apache.flume.sink.kafka.KafkaSink"],
    keys: &keys::KEYS,
    build: |reader| Ok(Box::new(KafkaSink::build(reader)?)),
};

/// Waiting batches that are sent together: the wait for the brokers is per delivery.
const BATCHES_TOGETHER: usize = 16;

/// How long a batch may take with a transaction, all of its tries together.
const TRANSACTION_MAX: Duration = Duration::from_secs(60);

struct KafkaSink {
    settings: KafkaSinkSettings,
    producer: Option<KafkaProducer>,
    transactions: Option<Transactions>,
    /// Where the events of the next batch are.
    place: Option<BatchPlace>,
    /// Events that a failed delivery has sent.
    sent: EventSet,
}

impl KafkaSink {
    fn build(reader: &mut SettingsReader<'_>) -> Result<Self, SettingError> {
        Ok(Self {
            settings: KafkaSinkSettings::read(reader)?,
            producer: None,
            transactions: None,
            place: None,
            sent: EventSet::default(),
        })
    }

    /// Makes the client. It connects by itself; with transactions the brokers are asked.
    async fn open(&mut self, name: &str) -> Result<(), Failure> {
        let (client, name) = (self.settings.client.clone(), name.to_owned());
        let what = format!("the brokers {} of the Kafka sink", client.servers());
        let failed = |error: ClientError| Failure::caused(what.clone(), error);
        let defect = |error: tokio::task::JoinError| Failure::caused(what.clone(), error);
        match self.settings.transactional.clone() {
            None => {
                let made = tokio::task::spawn_blocking(move || KafkaProducer::new(&client, &name));
                self.producer = Some(made.await.map_err(defect)?.map_err(failed)?);
            }
            Some(settings) => {
                let begin = move || Transactions::begin(&client, &settings, &name);
                let made = tokio::task::spawn_blocking(begin);
                self.transactions = Some(made.await.map_err(defect)?.map_err(failed)?);
            }
        }
        Ok(())
    }

    /// Sends the events of `batch` that are not sent yet, and returns those that are refused.
    async fn send_batch(&mut self, batch: &[Event]) -> Result<Vec<RefusedEvent>, Failure> {
        let places = self.place.take().and_then(|place| place.events(batch.len()));
        let Some(producer) = self.producer.clone() else {
            return Err(Failure::new("it is not started"));
        };
        let is_open = |index: &usize| {
            places
                .as_ref()
                .is_none_or(|(channel, places)| !self.sent.contains(*channel, places[*index]))
        };
        let open: Vec<usize> = (0..batch.len()).filter(is_open).collect();
        let mut fates = send(&producer, &self.settings, batch, &open).await;
        for index in std::mem::take(&mut fates.suspects) {
            fates.join(send(&producer, &self.settings, batch, &[index]).await);
        }
        let Some(error) = fates.error.take() else {
            self.sent = EventSet::default();
            return Ok(fates.refused);
        };
        if let Some((channel, places)) = &places {
            let is_sent = |index: &usize| {
                !fates.failed.contains(index)
                    && !fates.refused.iter().any(|refused| refused.index == *index)
            };
            let all = (0..batch.len()).filter(is_sent).map(|index| places[index]);
            self.sent = EventSet::of(*channel, &all.collect::<Vec<_>>());
        }
        if matches!(error.kind, ErrorKind::Fatal | ErrorKind::Fenced) {
            self.producer = None;
        }
        Err(self.failure(&fates, batch.len(), error))
    }

    fn failure(&self, fates: &Fates, count: usize, error: ClientError) -> Failure {
        let servers = self.settings.client.servers();
        let what =
            format!("{} of {count} events are not at the brokers {servers}", fates.failed.len());
        Failure::caused(what, error)
    }

    async fn send_transaction(
        &mut self,
        name: &str,
        batch: &[Event],
    ) -> Result<Vec<RefusedEvent>, Failure> {
        if self.transactions.is_none() {
            self.open(name).await?;
        }
        // If the delivery is ended from outside, the transaction stays open: the next producer ends it.
        let Some(mut transactions) = self.transactions.take() else {
            return Err(Failure::new("it is not started"));
        };
        let servers = self.settings.client.servers();
        let delivery = transactions.deliver(&self.settings, batch, self.place.take());
        let Ok(ended) = timeout(TRANSACTION_MAX, delivery).await else {
            // Its threads may take half a second to end.
            drop(tokio::task::spawn_blocking(move || drop(transactions)));
            return Err(Failure::new(format!(
                "a transaction on the brokers {servers} has not ended within {} s and is given up; the events wait, and the next try begins with a new producer",
                TRANSACTION_MAX.as_secs()
            )));
        };
        let what = || format!("a transaction on the brokers {servers} did not end");
        if !matches!(ended, Err(TransactionError::Unusable(_))) {
            self.transactions = Some(transactions);
        }
        match ended {
            Ok(refused) => Ok(refused),
            Err(TransactionError::Other(failure)) => Err(failure),
            Err(TransactionError::Failed(error)) => Err(Failure::caused(what(), error)),
            Err(TransactionError::Unusable(error)) => {
                let hint = if error.kind == ErrorKind::Fenced {
                    "; another sink has the same transactional id: give agents or sinks other names, or set kafka.producer.transactional.id"
                } else {
                    ""
                };
                Err(Failure::caused(format!("{}{hint}", what()), error))
            }
        }
    }
}

impl Sink for KafkaSink {
    fn batch_events(&self) -> usize {
        self.settings.batch_events
    }

    fn preflight(&mut self) -> BoxFuture<'_, Result<(), Failure>> {
        let client = self.settings.client.clone();
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || client.resolve().map(drop)).await;
            let what = "the settings of the Kafka sink cannot be used";
            read.map_err(|error| Failure::caused(what, error))?
                .map_err(|error| Failure::caused(what, error))
        })
    }

    fn start<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.open(&context.name))
    }

    fn deliver<'a>(
        &'a mut self,
        context: &'a SinkContext,
        batch: &'a [Event],
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let refused = if self.settings.transactional.is_some() {
                self.send_transaction(&context.name, batch).await?
            } else {
                if self.producer.is_none() {
                    self.open(&context.name).await?;
                }
                self.send_batch(batch).await?
            };
            if refused.is_empty() { Ok(()) } else { Err(Failure::of_events(refused)) }
        })
    }

    fn wants_place(&self) -> bool {
        true
    }

    fn place(&mut self, place: BatchPlace) {
        self.place = Some(place);
    }

    fn may_refuse(&self) -> bool {
        true
    }

    fn has_own_dead_letters(&self) -> bool {
        true
    }

    fn batches_together(&self) -> usize {
        BATCHES_TOGETHER
    }

    fn stop<'a>(&'a mut self, _: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        let ended = (self.producer.take(), self.transactions.take());
        Box::pin(async move {
            // Its threads end within half a second; a broker that is away holds up nothing.
            let _ = tokio::task::spawn_blocking(move || drop(ended)).await;
            Ok(())
        })
    }
}
