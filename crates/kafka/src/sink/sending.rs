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
struct Unfinished<'a>(Option<&'a KafkaProducer>);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(producer) = self.0 {
            producer.give_up(false);
        }
    }
}

/// Sends the events of `batch` at these indices, and waits until the fate of each is known.
pub(super) async fn send(
    producer: &KafkaProducer,
    settings: &KafkaSinkSettings,
    batch: &[Event],
    indices: &[usize],
) -> Fates {
    let mut fates = Fates::default();
    let set = Deliveries::default();
    let mut unfinished = Unfinished(Some(producer));
    for &index in indices {
        match Outgoing::of(settings, &batch[index]) {
            Err(why) => fates.refused.push(RefusedEvent { index, why }),
            Ok(record) => loop {
                match record.send(producer, &set, index) {
                    Ok(()) => break,
                    Err(SendError::Full) => tokio::time::sleep(FULL_PAUSE).await,
                    Err(SendError::Failed(error)) => {
                        fates.add(index, error, record.is_own_topic, true);
                        break;
                    }
                }
            },
        }
    }
    for one in set.complete().await {
        let own =
            Outgoing::of(settings, &batch[one.number]).is_ok_and(|record| record.is_own_topic);
        fates.add(one.number, one.error, own, indices.len() == 1);
    }
    unfinished.0 = None;
    fates.refused.sort_by_key(|refused| refused.index);
    fates.suspects.sort_unstable();
    fates
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
        let is_worse = |old: &ClientError| old.kind == ErrorKind::Retriable;
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
