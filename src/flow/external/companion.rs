//! A process for a component's whole life: started when it is needed, started again when it failed.

use super::Options;
use super::speaker::{Fault, Speaker, out_of_place};
use crate::event::Event;
use crate::flow::context::{Failure, StopSignal};
use crate::wire::external::read::{Batch, Said};
use crate::wire::external::write::{self, Place};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

pub(crate) use super::speaker::Answer;

/// An answer may take so many times `stopGrace` behind a stop: what waits in memory is still delivered
/// then, and one that hangs must not use up the time that the agent has.
const GRACES: u32 = 4;

/// What a source's process says.
#[derive(Debug)]
pub(crate) enum Given {
    /// A batch, its number being the one that was due.
    Batch(Batch),
    /// It has nothing more to give.
    End,
}

/// The process of one component.
pub(crate) struct Companion {
    options: Arc<Options>,
    speaker: Option<Speaker>,
    /// When it was started last.
    started: Instant,
    /// How long to wait after the next failure.
    pause: Duration,
    /// Until when nothing is started.
    rests_until: Option<Instant>,
    /// What was said about the last failure, until it serves again.
    failed: Option<String>,
}

impl Companion {
    /// A component's, which starts nothing yet.
    pub(crate) fn new(options: Options) -> Self {
        Self {
            speaker: None,
            started: Instant::now(),
            pause: options.pause,
            rests_until: None,
            failed: None,
            options: Arc::new(options),
        }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Whether a process runs that has been greeted.
    pub(crate) fn runs(&self) -> bool {
        self.speaker.is_some()
    }

    /// How long nothing is started yet; zero when it may be.
    pub(crate) fn rests_for(&self) -> Duration {
        let until = self.rests_until.map(|until| until.saturating_duration_since(Instant::now()));
        until.unwrap_or_default()
    }

    /// Starts the process unless it runs. `place` is for a source's.
    ///
    /// # Errors
    /// It cannot be started or greeted, or rests behind an earlier failure.
    pub(crate) async fn start(
        &mut self,
        place: Option<Place<'_>>,
        batch_events: usize,
    ) -> Result<(), Failure> {
        if self.speaker.is_some() {
            return Ok(());
        }
        if !self.rests_for().is_zero() {
            let why = self.failed.as_deref().unwrap_or("it failed");
            return Err(Failure::new(format!(
                "its process rests until it is started again: {why}"
            )));
        }
        self.started = Instant::now();
        match Speaker::start(&self.options, place, batch_events).await {
            Ok(speaker) => {
                let id = speaker.id().unwrap_or_default();
                // What stands behind its name may be a secret.
                let program = self.options.words.first().map_or("", String::as_str);
                tracing::info!(component = %self.options.name, id, program, "its process runs");
                self.speaker = Some(speaker);
                Ok(())
            }
            Err(fault) => Err(self.failed(&fault)),
        }
    }

    /// The same for a sink, behind whose `stop` it takes no longer than an answer.
    ///
    /// # Errors
    /// As for [`Companion::start`].
    pub(crate) async fn start_until(
        &mut self,
        batch_events: usize,
        stop: &StopSignal,
    ) -> Result<(), Failure> {
        let grace = self.grace();
        tokio::select! {
            biased;
            started = self.start(None, batch_events) => started,
            () = behind(Some(stop), grace) => Err(Failure::new("its process does not start in time")),
        }
    }

    /// How long an answer may take behind a stop.
    fn grace(&self) -> Duration {
        self.options.stop_grace * GRACES
    }

    /// Sends a batch of as many of `events` as a line holds, and answers the process's word on it
    /// and how many it was. Behind `stop` the process has [`GRACES`] times `stopGrace` for that.
    ///
    /// # Errors
    /// There is no answer that counts: the process has been ended, or the first event is too long for
    /// a line.
    pub(crate) async fn ask(
        &mut self,
        events: &[Event],
        stop: Option<&StopSignal>,
    ) -> Result<(Answer, usize), Failure> {
        let (answer, grace) = (self.options.answer, self.grace());
        let Some(speaker) = &self.speaker else {
            return Err(Failure::new("its process does not run"));
        };
        let number = speaker.number + 1;
        let written = write::batch(number, events, self.options.line_bytes);
        let (line, taken) = written.map_err(|error| Failure::new(error.to_string()).refused())?;
        // Whoever drops this half-way drops the process with it: its answer would be taken for that to
        // another batch.
        let Some(mut speaker) = self.speaker.take() else {
            return Err(Failure::new("its process does not run"));
        };
        let asked = tokio::select! {
            biased;
            asked = speaker.ask(&line, number) => asked,
            () = sleep(answer) => Err(Fault::Late { what: "answer a batch", within: answer }),
            () = behind(stop, grace) => Err(Fault::Late { what: "answer a batch after the stop", within: grace }),
        };
        match asked {
            Ok(answer) => {
                self.speaker = Some(speaker);
                self.serves();
                Ok((answer, taken))
            }
            Err(fault) => {
                let fault = speaker.broken(fault).await;
                Err(self.failed(&fault))
            }
        }
    }

    /// What a source's process gives next. Dropped while it waits, it loses nothing.
    ///
    /// # Errors
    /// It broke the protocol, or ended.
    pub(crate) async fn hear(&mut self, events_max: usize) -> Result<Given, Fault> {
        let Some(speaker) = &mut self.speaker else {
            return Err(Fault::Start(Failure::new("its process does not run")));
        };
        match speaker.hear(events_max).await? {
            Said::Batch(batch) => {
                let due = speaker.number + 1;
                if batch.number != due {
                    return Err(Fault::WrongNumber { said: batch.number, due });
                }
                speaker.number = due;
                self.serves();
                Ok(Given::Batch(batch))
            }
            Said::End => Ok(Given::End),
            other => Err(out_of_place(other, "a batch")),
        }
    }

    /// Sends a line to a source's process.
    ///
    /// # Errors
    /// It does not read it in time, or not at all.
    pub(crate) async fn say(&mut self, line: &[u8]) -> Result<(), Fault> {
        match &mut self.speaker {
            Some(speaker) => speaker.say(line).await,
            None => Err(Fault::Start(Failure::new("its process does not run"))),
        }
    }

    /// Tells a source's process to end; it may still give what it has. Answers until when.
    pub(crate) async fn tell_to_stop(&mut self) -> Instant {
        match &mut self.speaker {
            Some(speaker) => speaker.tell_to_stop().await,
            None => Instant::now(),
        }
    }

    /// Ends the process behind a fault.
    pub(crate) async fn end_broken(&mut self, fault: Fault) {
        let fault = match self.speaker.take() {
            Some(speaker) => speaker.broken(fault).await,
            None => fault,
        };
        self.failed(&fault);
    }

    /// Ends the process in order.
    pub(crate) async fn stop(&mut self) {
        if let Some(speaker) = self.speaker.take() {
            speaker.stop().await;
        }
    }

    fn serves(&mut self) {
        self.pause = self.options.pause;
        if self.failed.take().is_some() {
            tracing::info!(component = %self.options.name, "its process serves again");
        }
    }

    /// Notes a failure; it is said once, and again when it is another one.
    fn failed(&mut self, fault: &Fault) -> Failure {
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

/// Returns `grace` behind the stop; never where there is none.
async fn behind(stop: Option<&StopSignal>, grace: Duration) {
    match stop {
        Some(stop) => stop.wait().await,
        None => std::future::pending().await,
    }
    sleep(grace).await;
}
