//! What the flow hands to sources and sinks.

use super::client_error_log::ClientErrorLog;
use super::client_limits::ClientLimits;
use super::marks::{Kept, Mark};
use crate::base::clock::Clock;
use crate::channel::{BoxFuture, CommitError, PositionError};
use crate::codes;
use crate::event::Event;
use crate::metrics::{SinkCounters, SourceCounters};
use std::fmt::Display;
use std::sync::Arc;
use tokio::sync::watch;

/// Why a source or sink could not go on, in words and with its cause.
#[derive(Debug, thiserror::Error)]
#[error("{what}{}", cause.as_ref().map(|c| format!(": {c}")).unwrap_or_default())]
pub struct Failure {
    what: String,
    refused: bool,
    #[source]
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Failure {
    /// What could not be done, where, and what to do.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), refused: false, cause: None }
    }

    /// The same with its cause.
    pub fn caused(
        what: impl Into<String>,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { what: what.into(), refused: false, cause: Some(cause.into()) }
    }

    /// The same, as the destination's answer to the events themselves: it is there and works, and will
    /// answer them so again.
    #[must_use]
    pub fn refused(self) -> Self {
        Self { refused: true, ..self }
    }

    /// Whether the destination has refused the events themselves.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.refused
    }
}

/// Fires once, when the component is to stop.
#[derive(Clone, Debug)]
pub struct StopSignal(watch::Receiver<bool>);

impl StopSignal {
    /// A signal and the sender that fires it by sending `true`.
    #[must_use]
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Whether it has fired.
    #[must_use]
    pub fn fired(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once it has fired (also when its sender is gone).
    pub async fn wait(&self) {
        let mut receiver = self.0.clone();
        let _ = receiver.wait_for(|fired| *fired).await;
    }
}

/// Where a source puts its events: interceptors, selector and channels stand behind it.
pub trait Intake: Send + Sync {
    /// Commits `events` as one transaction on each channel the selector names. Waits as long as
    /// the channels' keep-alive allows.
    ///
    /// # Errors
    /// A required channel refused, or is in doubt. Nothing is retried here: the source answers
    /// its client, or tries again.
    fn commit(&self, events: Vec<Event>) -> BoxFuture<'_, Result<(), CommitError>>;

    /// Commits `events` and, with them, `mark`: where the source stands behind them. A channel
    /// that has the batch of this number already does not get it again. Without events the mark is
    /// committed alone. Where the channels keep no marks, this is [`Intake::commit`].
    ///
    /// # Errors
    /// As [`Intake::commit`]. The source tries the very same batch with the very same mark again,
    /// whether it was refused or is in doubt: it enters each channel once.
    fn commit_marked(
        &self,
        events: Vec<Event>,
        mark: Mark,
    ) -> BoxFuture<'_, Result<(), CommitError>>;

    /// The newest mark of the source that its channels keep.
    ///
    /// # Errors
    /// A channel cannot tell yet; ask again.
    fn kept(&self) -> BoxFuture<'_, Result<Kept, PositionError>>;

    /// Lets go of what stands between the source and its channels, once the source has ended.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Events of one transaction at most: the smallest of the channels' `transactionCapacity`.
    fn transaction_capacity(&self) -> usize;
}

/// How far a source has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Begun {
    /// Not as far as either.
    #[default]
    No,
    /// What it reads from is not there. It goes on looking by itself, and the agent does not wait for it.
    Waits,
    /// It listens or reads.
    Runs,
}

/// What a source works with.
#[derive(Clone)]
pub struct SourceContext {
    /// The source's name.
    pub name: String,
    /// Where its events go.
    pub intake: Arc<dyn Intake>,
    /// Fires when it is to stop.
    pub stop: StopSignal,
    /// Sent by the source: how far it has come.
    pub begun: watch::Sender<Begun>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What it counts in: what it received, its connections, what it could not read. What was
    /// accepted and what a channel refused is counted behind [`Intake::commit`].
    pub counters: Arc<SourceCounters>,
    /// Throttles the log of what clients do wrong and what they are refused, over all connections of the source.
    pub(crate) client_errors: Arc<ClientErrorLog>,
    /// What its clients and those of all other sources may take together.
    pub clients: Arc<ClientLimits>,
}

impl SourceContext {
    /// Logs what a client has caused, which it can as often as it likes: a warning once for each `kind`, then
    /// every ten minutes with how often; each at DEBUG.
    pub(crate) fn client_error(&self, peer: &dyn Display, kind: &'static str, cause: &str) {
        let source = self.name.as_str();
        match self.client_errors.note(self.clock.now(), kind, cause) {
            Some(words) => tracing::warn!(source, %peer, "{words}"),
            None => tracing::debug!(source, %peer, "{cause}"),
        }
    }

    /// Logs that a batch of a client was not taken, likewise. One that no channel can ever hold is an error.
    pub(crate) fn batch_refused(&self, peer: &dyn Display, events: usize, error: &CommitError) {
        let source = self.name.as_str();
        if !error.never_fits() {
            let cause = format!("events not taken; the client is notified: {error}");
            return self.client_error(peer, "events not taken", &cause);
        }
        match self.client_errors.note(self.clock.now(), "never fits", &error.to_string()) {
            Some(error) => {
                tracing::error!(code = %codes::BATCH_FITS_NO_CHANNEL, source, %peer, events, error,
                "no channel can ever hold this batch; the client is notified and may send it again for ever");
            }
            None => {
                tracing::debug!(source, %peer, events, %error, "no channel can ever hold this batch");
            }
        }
    }

    /// Says that the source listens or reads.
    pub fn started(&self) {
        self.begun.send_replace(Begun::Runs);
    }

    /// Says that what the source reads from is not there: it counts as started and is not up.
    pub fn waits(&self) {
        self.begun.send_replace(Begun::Waits);
    }
}

/// What a sink works with.
pub struct SinkContext {
    /// The agent's name.
    pub agent: String,
    /// The sink's name.
    pub name: String,
    /// Fires when it is to stop.
    pub stop: StopSignal,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What it counts in: its connections, made, closed and failed. The flow counts everything
    /// else.
    pub counters: Arc<SinkCounters>,
    /// Whether events that are refused go elsewhere: then the sink does not try them again by itself.
    pub gives_up: bool,
}
