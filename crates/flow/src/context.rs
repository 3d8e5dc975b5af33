//! The contexts that the flow passes to sources and sinks.

use super::client_error_log::ClientErrorLog;
use super::client_limits::ClientLimits;
use super::source_offset::{BatchOffset, StoredOffset};
use crate::codes;
use crate::metrics::{SinkCounters, SourceCounters};
use millpond::{BoxFuture, Clock, CommitError, Event, SourceOffsetError};
use std::fmt::Display;
use std::sync::Arc;
use tokio::sync::watch;

/// An event of a batch that the destination refuses for good, while it has the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedEvent {
    /// Its index in the batch.
    pub index: usize,
    /// Why it is refused.
    pub why: String,
}

/// Why a source or sink could not go on, with its cause.
#[derive(Debug, thiserror::Error)]
#[error("{what}{}", cause.as_ref().map(|c| format!(": {c}")).unwrap_or_default())]
pub struct Failure {
    what: String,
    refusal: Option<Refusal>,
    refused_events: Vec<RefusedEvent>,
    #[source]
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// How certain it is that events are refused again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// The destination works and has refused them; what it has or how it is set up may change.
    ByDestination,
    /// The events do not fit the configuration or the format: only another configuration changes that.
    Final,
}

impl Failure {
    /// Returns a failure; `what` says what could not be done, where, and what to do.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), refusal: None, refused_events: Vec::new(), cause: None }
    }

    /// Returns a failure with its cause.
    pub fn caused(
        what: impl Into<String>,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            refusal: None,
            refused_events: Vec::new(),
            cause: Some(cause.into()),
            what: what.into(),
        }
    }

    /// Marks the failure as a refusal of the events themselves: the destination works and will refuse them again,
    /// unless it changes. With dead letters the event is tried `deadLetter.afterRefusals` times.
    #[must_use]
    pub fn refused(self) -> Self {
        Self { refusal: Some(Refusal::ByDestination), ..self }
    }

    /// Marks the failure as a refusal of the events themselves that no later try can change, whatever the destination
    /// does: they do not fit the configuration or the format. With dead letters the event goes there at once.
    #[must_use]
    pub fn refused_for_ever(self) -> Self {
        Self { refusal: Some(Refusal::Final), ..self }
    }

    /// Returns a failure of some events of a batch: all others are delivered, and these will be refused again.
    #[must_use]
    pub fn of_events(refused_events: Vec<RefusedEvent>) -> Self {
        let first = refused_events.first().map_or("", |one| one.why.as_str());
        let what = format!("{} events of the batch are refused: {first}", refused_events.len());
        Self { refused_events, ..Self::new(what) }
    }

    /// Returns the events of the batch that are refused while all others are delivered.
    #[must_use]
    pub fn refused_events(&self) -> &[RefusedEvent] {
        &self.refused_events
    }

    /// Returns true if the events themselves are refused, by the destination or for ever.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.refusal.is_some()
    }

    /// Returns true if the events are refused and no later try can change that.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.refusal == Some(Refusal::Final)
    }
}

/// A signal that fires once, when the component is to stop.
#[derive(Clone, Debug)]
pub struct StopSignal(watch::Receiver<bool>);

impl StopSignal {
    /// Returns a signal and the sender that fires it by sending `true`.
    #[must_use]
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Returns true once it has fired.
    #[must_use]
    pub fn fired(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once it has fired (also when its sender was dropped).
    pub async fn wait(&self) {
        let mut receiver = self.0.clone();
        let _ = receiver.wait_for(|fired| *fired).await;
    }
}

/// Where a source commits its events: interceptors, selector and channels.
pub trait Intake: Send + Sync {
    /// Commits `events` as one transaction on each channel that the selector names. Waits at most for the
    /// channels' keep-alive.
    ///
    /// # Errors
    /// A required channel refused, or is in doubt. Nothing is retried here: the source reports to its client, or
    /// tries again.
    fn commit(&self, events: Vec<Event>) -> BoxFuture<'_, Result<(), CommitError>>;

    /// Commits `events` with `batch_offset`, the source's offset after them. A channel that already has the batch of this
    /// number does not get it again. Without events the mark is committed alone. Where the channels keep no
    /// marks, this is [`Intake::commit`].
    ///
    /// # Errors
    /// As [`Intake::commit`]. The source tries the same batch with the same mark again, whether it was refused or
    /// is in doubt: it enters each channel once.
    fn commit_at(
        &self,
        events: Vec<Event>,
        batch_offset: BatchOffset,
    ) -> BoxFuture<'_, Result<(), CommitError>>;

    /// Returns the newest offset of the source that its channels keep.
    ///
    /// # Errors
    /// A channel cannot return it yet; try again.
    fn stored_offset(&self) -> BoxFuture<'_, Result<StoredOffset, SourceOffsetError>>;

    /// Releases the resources between the source and its channels, once the source has ended.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Returns the most events of one transaction: the smallest of the channels' `transactionCapacity`.
    fn transaction_capacity(&self) -> usize;

    /// Returns for how many events all channels that may have to take them have room, before interceptors drop any.
    /// Other sources may use that room first. Sources that can leave events where they are ask for no more.
    fn free_events(&self) -> u64 {
        u64::MAX
    }
}

/// Progress of a source's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceStage {
    /// Neither waiting nor running yet.
    #[default]
    No,
    /// Its input does not exist yet. It goes on looking by itself, and the agent does not wait for it.
    Waits,
    /// It listens or reads.
    Runs,
}

/// The context of a source.
#[derive(Clone)]
pub struct SourceContext {
    /// The source's name.
    pub name: String,
    /// Where its events go.
    pub intake: Arc<dyn Intake>,
    /// Fires when it is to stop.
    pub stop: StopSignal,
    /// Set by the source to its progress.
    pub begun: watch::Sender<SourceStage>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Its counters. The source counts what it received, its connections and what it could not read;
    /// [`Intake::commit`] counts what was accepted and what a channel refused.
    pub counters: Arc<SourceCounters>,
    /// Throttles the log of client errors and refusals, over all connections of the source.
    pub client_errors: Arc<ClientErrorLog>,
    /// Limits of the resources that the clients of all sources use.
    pub clients: Arc<ClientLimits>,
}

impl SourceContext {
    /// Logs an error that a client caused, which clients can do without limit: a warning once per `kind`, then
    /// every ten minutes with the count; each one at DEBUG.
    pub fn client_error(&self, peer: &dyn Display, kind: &'static str, cause: &str) {
        let source = self.name.as_str();
        match self.client_errors.note(self.clock.now(), kind, cause) {
            Some(words) => tracing::warn!(source, %peer, "{words}"),
            None => tracing::debug!(source, %peer, "{cause}"),
        }
    }

    /// Logs, throttled likewise, that a batch of a client was refused. One that no channel can ever hold is an
    /// error.
    pub fn batch_refused(&self, peer: &dyn Display, events: usize, error: &CommitError) {
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

    /// Records that the source listens or reads.
    pub fn started(&self) {
        self.begun.send_replace(SourceStage::Runs);
    }

    /// Records that the source's input does not exist yet: it counts as started and is not up.
    pub fn waits(&self) {
        self.begun.send_replace(SourceStage::Waits);
    }
}

/// The context of a sink.
pub struct SinkContext {
    /// The agent's name.
    pub agent: String,
    /// The sink's name.
    pub name: String,
    /// Fires when it is to stop.
    pub stop: StopSignal,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Its counters. The sink counts its connections: created, closed and failed. The flow counts everything
    /// else.
    pub counters: Arc<SinkCounters>,
    /// True if refused events go to a dead-letter queue: then the sink does not retry them by itself.
    pub gives_up: bool,
}
