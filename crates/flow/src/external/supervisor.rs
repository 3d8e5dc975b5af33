//! Supervises the process of a component: starts it when it is needed and again after a failure.

use super::ExternalOptions;
use super::connection::{ProcessConnection, ProcessFault, unexpected_message};
use crate::context::{Failure, StopSignal};
use crate::wire::external::decode::{ProcessBatch, ProcessMessage};
use crate::wire::external::encode::{self, ResumePosition};
use millpond::Event;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

pub use super::connection::BatchReply;

/// After a stop, a reply may take this many times `stopGrace`: events in memory are still delivered then, and a
/// process that hangs must not use up the agent's stop deadline.
const GRACES: u32 = 4;

/// A message of a source's process.
#[derive(Debug)]
pub enum SourceMessage {
    /// A batch with the expected number.
    Batch(ProcessBatch),
    /// The source has no further events.
    End,
}

/// The supervisor of the process of one component.
pub struct ProcessSupervisor {
    options: Arc<ExternalOptions>,
    connection: Option<ProcessConnection>,
    /// Time of the last start.
    started: Instant,
    /// Pause after the next failure.
    pause: Duration,
    /// No start before this time.
    rests_until: Option<Instant>,
    /// The logged message of the last failure, until the process works again.
    failed: Option<String>,
}

impl ProcessSupervisor {
    /// Returns a supervisor that has started nothing yet.
    pub fn new(options: ExternalOptions) -> Self {
        Self {
            connection: None,
            started: Instant::now(),
            pause: options.pause,
            rests_until: None,
            failed: None,
            options: Arc::new(options),
        }
    }

    pub(crate) fn options(&self) -> &ExternalOptions {
        &self.options
    }

    /// Returns true while a process runs whose greeting is done.
    pub fn runs(&self) -> bool {
        self.connection.is_some()
    }

    /// Returns the time until a start is allowed; zero if it is.
    pub fn rests_for(&self) -> Duration {
        let until = self.rests_until.map(|until| until.saturating_duration_since(Instant::now()));
        until.unwrap_or_default()
    }

    /// Starts the process unless it runs. `place` is the offset of a source.
    ///
    /// # Errors
    /// It cannot be started or greeted, or the pause after a failure is not over.
    pub async fn start(
        &mut self,
        place: Option<ResumePosition<'_>>,
        batch_events: usize,
    ) -> Result<(), Failure> {
        if self.connection.is_some() {
            return Ok(());
        }
        if !self.rests_for().is_zero() {
            let why = self.failed.as_deref().unwrap_or("it failed");
            return Err(Failure::new(format!(
                "its process rests until it is started again: {why}"
            )));
        }
        self.started = Instant::now();
        match ProcessConnection::start(&self.options, place, batch_events).await {
            Ok(connection) => {
                let id = connection.id().unwrap_or_default();
                // The arguments may contain a secret.
                let program = self.options.words.first().map_or("", String::as_str);
                tracing::info!(component = %self.options.name, id, program, "its process runs");
                self.connection = Some(connection);
                Ok(())
            }
            Err(fault) => Err(self.failed(&fault)),
        }
    }

    /// Like [`Self::start`] for a sink, bounded by the reply grace after its `stop`.
    ///
    /// # Errors
    /// As for [`ProcessSupervisor::start`], or it did not start in time.
    pub async fn start_until(
        &mut self,
        batch_events: usize,
        stop: &StopSignal,
    ) -> Result<(), Failure> {
        let grace = self.grace();
        tokio::select! {
            biased;
            started = self.start(None, batch_events) => started,
            () = after_stop(Some(stop), grace) => Err(Failure::new("its process does not start in time")),
        }
    }

    /// Returns the time that a reply may take after a stop.
    fn grace(&self) -> Duration {
        self.options.stop_grace * GRACES
    }

    /// Sends a batch of as many of `events` as a line holds, and returns the process's reply and the number of
    /// events. After `stop` the process has [`GRACES`] times `stopGrace` to reply.
    ///
    /// # Errors
    /// There is no valid reply and the process was ended, or the first event is too long for a line.
    pub async fn request(
        &mut self,
        events: &[Event],
        stop: Option<&StopSignal>,
    ) -> Result<(BatchReply, usize), Failure> {
        let (answer, grace) = (self.options.answer, self.grace());
        let Some(connection) = &self.connection else {
            return Err(Failure::new("its process does not run"));
        };
        let number = connection.number + 1;
        let written = encode::batch(number, events, self.options.line_bytes);
        let (line, taken) =
            written.map_err(|error| Failure::new(error.to_string()).refused_for_ever())?;
        // Dropping this future drops the process too: its late reply would be taken for that to another batch.
        let Some(mut connection) = self.connection.take() else {
            return Err(Failure::new("its process does not run"));
        };
        let asked = tokio::select! {
            biased;
            asked = connection.request(&line, number) => asked,
            () = sleep(answer) => Err(ProcessFault::Timeout { what: "answer a batch", within: answer }),
            () = after_stop(stop, grace) => Err(ProcessFault::Timeout { what: "answer a batch after the stop", within: grace }),
        };
        match asked {
            Ok(answer) => {
                self.connection = Some(connection);
                self.serves();
                Ok((answer, taken))
            }
            Err(fault) => {
                let fault = connection.broken(fault).await;
                Err(self.failed(&fault))
            }
        }
    }

    /// Returns the next message of a source's process. Cancel safe.
    ///
    /// # Errors
    /// It broke the protocol, or exited.
    pub async fn receive(&mut self, events_max: usize) -> Result<SourceMessage, ProcessFault> {
        let Some(connection) = &mut self.connection else {
            return Err(ProcessFault::Start(Failure::new("its process does not run")));
        };
        match connection.receive(events_max).await? {
            ProcessMessage::Batch(batch) => {
                let due = connection.number + 1;
                if batch.number != due {
                    return Err(ProcessFault::WrongNumber { said: batch.number, due });
                }
                connection.number = due;
                self.serves();
                Ok(SourceMessage::Batch(batch))
            }
            ProcessMessage::End => Ok(SourceMessage::End),
            other => Err(unexpected_message(other, "a batch")),
        }
    }

    /// Sends a line to a source's process.
    ///
    /// # Errors
    /// It does not read the line in time, or at all.
    pub async fn send(&mut self, line: &[u8]) -> Result<(), ProcessFault> {
        match &mut self.connection {
            Some(connection) => connection.send(line).await,
            None => Err(ProcessFault::Start(Failure::new("its process does not run"))),
        }
    }

    /// Asks a source's process to end; it may still send events. Returns the deadline.
    pub async fn request_stop(&mut self) -> Instant {
        match &mut self.connection {
            Some(connection) => connection.request_stop().await,
            None => Instant::now(),
        }
    }

    /// Ends the process after a fault.
    pub async fn end_broken(&mut self, fault: ProcessFault) {
        let fault = match self.connection.take() {
            Some(connection) => connection.broken(fault).await,
            None => fault,
        };
        self.failed(&fault);
    }

    /// Ends the process in order.
    pub async fn stop(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.stop().await;
        }
    }

    fn serves(&mut self) {
        self.pause = self.options.pause;
        if self.failed.take().is_some() {
            tracing::info!(component = %self.options.name, "its process serves again");
        }
    }

    /// Records a failure; it is logged once, and again when it changes.
    fn failed(&mut self, fault: &ProcessFault) -> Failure {
        if self.started.elapsed() > self.options.pause_max {
            self.pause = self.options.pause;
        }
        let words = fault.to_string();
        if self.failed.as_ref() != Some(&words) {
            tracing::warn!(
                component = %self.options.name,
                pause_ms = self.pause.as_millis() as u64,
                "its process failed and is started again: {words}"
            );
        }
        self.failed = Some(words.clone());
        self.rests_until = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(self.options.pause_max);
        Failure::new(format!("its process failed: {words}"))
    }
}

/// Returns `grace` after the stop; never without a stop signal.
async fn after_stop(stop: Option<&StopSignal>, grace: Duration) {
    match stop {
        Some(stop) => stop.wait().await,
        None => std::future::pending().await,
    }
    sleep(grace).await;
}
