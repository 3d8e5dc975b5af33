//! What librdkafka reports by itself: its log and its errors.

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use std::sync::{Arc, Mutex, PoisonError};

/// Most characters of an error that are kept.
const ERROR_CHARS_MAX: usize = 300;

/// The last error that a client reported by itself.
#[derive(Clone, Default)]
pub(super) struct LastError(Arc<Mutex<Option<String>>>);

impl LastError {
    fn note(&self, text: &str) {
        let text = text.chars().take(ERROR_CHARS_MAX).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    pub(super) fn text(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The name of a component and its last error.
pub(super) struct ClientEvents {
    pub(super) component: String,
    pub(super) last: LastError,
}

impl ClientEvents {
    pub(super) fn new(component: &str) -> Self {
        Self { component: component.to_owned(), last: LastError::default() }
    }

    /// Logs a line of librdkafka. Its lines repeat what errors say, once for each attempt: the component that uses the
    /// client logs the trouble.
    pub(super) fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        let component = self.component.as_str();
        tracing::debug!(component, ?level, "librdkafka: {facility}: {line}");
    }

    pub(super) fn error(&self, error: &KafkaError, reason: &str) {
        // "All brokers are down" says less than the error of each before it.
        if !reason.ends_with("brokers are down") {
            self.last.note(reason);
        }
        let component = self.component.as_str();
        tracing::debug!(component, %error, "librdkafka: {reason}");
    }
}
