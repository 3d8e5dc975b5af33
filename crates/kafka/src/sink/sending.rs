//! Sends events and sorts their fates.

use super::keys::KafkaSinkSettings;
use super::outgoing::Outgoing;
use crate::client::{ClientError, Deliveries, ErrorKind, KafkaProducer, SendError};
use millpond::Event;
use millpond_flow::sink::RefusedEvent;
use std::time::Duration;

/// Pause until the producer's memory is looked at again.
const FULL_PAUSE: Duration = Duration::from_millis(2);

/// The fates of the events of a batch that were sent.
#[derive(Debug, Default)]
pub(super) struct Fates {
    /// Events that the broker will never take.
    pub(super) refused: Vec<RefusedEvent>,
    /// Events that were refused together with others, perhaps for one of these.
    pub(super) suspects: Vec<usize>,
    /// Events that are not delivered and may be later.
    pub(super) failed: Vec<usize>,
    /// The worst error of those, or of the producer.
    pub(super) error: Option<ClientError>,
}

/// Gives up what waits if the delivery is ended from outside.
struct Unfinished(Option<KafkaProducer>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(producer) = &self.0 {
            producer.give_up(false);
        }
    }
}

/// Events of a batch that are on the way.
pub(super) struct Sending<'a> {
    settings: &'a KafkaSinkSettings,
    batch: &'a [Event],
    is_alone: bool,
    /// Of those that could not be sent.
    fates: Fates,
    set: Deliveries,
    unfinished: Unfinished,
}

/// Sends the events of `batch` at these indices, and waits until the fate of each is known.
pub(super) async fn send(
    producer: &KafkaProducer,
    settings: &KafkaSinkSettings,
    batch: &[Event],
    indices: &[usize],
) -> Fates {
    Sending::begin(producer, settings, batch, indices).await.fates().await
}

impl<'a> Sending<'a> {
    /// Sends the events of `batch` at these indices.
    pub(super) async fn begin(
        producer: &KafkaProducer,
        settings: &'a KafkaSinkSettings,
        batch: &'a [Event],
        indices: &[usize],
    ) -> Self {
        let mut sending = Self {
            settings,
            batch,
            is_alone: indices.len() == 1,
            fates: Fates::default(),
            set: Deliveries::default(),
            unfinished: Unfinished(Some(producer.clone())),
        };
        for &index in indices {
            match Outgoing::of(settings, &batch[index]) {
                Err(why) => sending.fates.refused.push(RefusedEvent { index, why }),
                Ok(record) => loop {
                    match record.send(producer, &sending.set, index) {
                        Ok(()) => break,
                        Err(SendError::Full) => tokio::time::sleep(FULL_PAUSE).await,
                        Err(SendError::Failed(error)) => {
                            sending.fates.add(index, error, record.is_own_topic, true);
                            break;
                        }
                    }
                },
            }
        }
        sending
    }

    /// Waits until every event is delivered, or one is not; returns true if all are.
    pub(super) async fn is_delivered(&self) -> bool {
        self.fates.refused.is_empty()
            && self.fates.failed.is_empty()
            && self.set.is_delivered().await
    }

    /// Returns true if one that was sent is known not to be delivered.
    pub(super) fn has_failed(&self) -> bool {
        self.set.has_failed()
    }

    /// Waits until the fate of each is known, and returns them.
    pub(super) async fn fates(mut self) -> Fates {
        let mut fates = self.fates;
        for one in self.set.complete().await {
            let record = Outgoing::of(self.settings, &self.batch[one.number]);
            let is_own_topic = record.is_ok_and(|record| record.is_own_topic);
            fates.add(one.number, one.error, is_own_topic, self.is_alone);
        }
        self.unfinished.0 = None;
        fates.refused.sort_by_key(|refused| refused.index);
        fates.suspects.sort_unstable();
        fates
    }
}

impl Fates {
    /// Adds an event that is not delivered. `alone`: no other event can be the reason.
    fn add(&mut self, index: usize, error: ClientError, is_own_topic: bool, alone: bool) {
        match error.kind {
            // The configuration is wrong, or the topic is not there yet: no fault of the event.
            ErrorKind::Refused if error.topic && is_own_topic => self.fail(index, error),
            ErrorKind::Refused if error.shared && !alone => self.suspects.push(index),
            ErrorKind::Refused => {
                self.refused.push(RefusedEvent { index, why: error.to_string() });
            }
            _ => self.fail(index, error),
        }
    }

    fn fail(&mut self, index: usize, error: ClientError) {
        self.failed.push(index);
        // The first one is the cause, unless a later one is worse.
        let is_worse = |old: &ClientError| {
            old.kind == ErrorKind::Retriable && error.kind != ErrorKind::Retriable
        };
        if self.error.as_ref().is_none_or(is_worse) {
            self.error = Some(error);
        }
    }

    /// Adds the fates of events that were sent after these.
    pub(super) fn join(&mut self, later: Self) {
        self.refused.extend(later.refused);
        self.failed.extend(later.failed);
        self.error = self.error.take().or(later.error);
    }
}
