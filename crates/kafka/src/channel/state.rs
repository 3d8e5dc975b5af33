//! What the channel and its transactions share.

use super::keys::KafkaChannelSettings;
use super::lag::{EventCounts, LagWatch};
use super::lock::lock;
use super::reader::Reader;
use crate::client::{ClientError, ErrorKind, KafkaProducer};
use millpond::{FaultCause, FaultKind, FaultPlace};
use millpond_flow::dead_letter::DeadLetterQueue;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What the channel and its transactions share.
pub(super) struct ChannelState {
    pub(super) settings: Arc<KafkaChannelSettings>,
    pub(super) name: String,
    pub(super) dead_letters: Option<DeadLetterQueue>,
    /// `None` after an error that a producer does not survive.
    pub(super) producer: Mutex<Option<KafkaProducer>>,
    pub(super) reader: Arc<Reader>,
    pub(super) lag: LagWatch,
    pub(super) is_closed: AtomicBool,
    pub(super) counts: Arc<EventCounts>,
}

impl ChannelState {
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Returns the producer, a new one if the last one has ended. Blocks while it reads stores.
    pub(super) fn producer(&self) -> Result<KafkaProducer, ClientError> {
        let mut producer = lock(&self.producer);
        if let Some(producer) = &*producer {
            return Ok(producer.clone());
        }
        let new = KafkaProducer::new(&self.settings.producer, &self.name)?;
        Ok(producer.insert(new).clone())
    }

    /// Gives up the producer if `error` has ended it.
    pub(super) fn note_producer_error(&self, error: &ClientError) {
        if matches!(error.kind, ErrorKind::Fatal | ErrorKind::Fenced) {
            *lock(&self.producer) = None;
        }
    }

    /// Returns the cause of a failure at the brokers.
    pub(super) fn fault(&self, what: &dyn Display) -> FaultCause {
        cause(format!(
            "the topic {} at {}: {what}",
            self.settings.topic,
            self.settings.producer.servers()
        ))
    }
}

/// Returns the cause of a failure outside of this process.
pub(super) fn cause(text: String) -> FaultCause {
    FaultCause::new(FaultKind::External, FaultPlace::default(), text)
}

/// Runs a future to its end, blocking the thread.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> Result<T, std::io::Error> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(future))
}
