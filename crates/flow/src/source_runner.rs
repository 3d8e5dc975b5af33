//! Runs one source: starts it, restarts it after an error or a panic, and stops it.
//!
//! A source that did not get as far as listening or reading is tried again every 3 s; one that ran and then
//! failed, after 1 s, 2 s, … 5 s. After a panic it is dropped and rebuilt. A source that ends by itself without
//! an error has no further events and is not restarted: it is done, or counts as failing if it has set a fault
//! ([`FaultGauge`](crate::metrics::FaultGauge)).

use super::backoff::Backoff;
use super::client_limits::ClientLimits;
use super::context::{Failure, Intake, SourceContext, SourceStage, StopSignal};
use super::panic_guard::catch_panics;
use super::sink_runner::START_AGAIN;
use super::source::Source;
use crate::codes::{self, Code};
use crate::metrics::SourceCounters;
use crate::settings::SettingError;
use millpond::Clock;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// After a run this long, the next failure begins with the shortest pause again.
const HEALTHY: Duration = Duration::from_secs(30);

/// Builds the source, again after a panic.
pub type SourceMaker = Box<dyn Fn() -> Result<Box<dyn Source>, SettingError> + Send + Sync>;

/// Parameters of a source.
pub struct SourceRunner {
    /// The source's name.
    pub name: String,
    /// Builds the source.
    pub make: SourceMaker,
    /// Where its events go.
    pub intake: Arc<dyn Intake>,
    /// Its counters.
    pub counters: Arc<SourceCounters>,
    /// Limits of the resources that clients of all sources use.
    pub clients: Arc<ClientLimits>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Fires when it is to stop.
    pub stop: StopSignal,
    /// Set to `true` when the source listens or reads, waits for its input, or has no further events.
    pub started: watch::Sender<bool>,
}

impl SourceRunner {
    /// Runs until the stop signal, also if the source has ended by itself before.
    pub async fn run(self) {
        self.run_until_stop().await;
        self.intake.close().await;
        // As in Flume, a source that ended by itself counts as stopped only at the stop signal.
        self.stop.wait().await;
        self.counters.stopped(self.clock.wall_ms());
    }

    async fn run_until_stop(&self) {
        self.counters.begin();
        let mut backoff = Backoff::of_a_runner();
        let mut source = None;
        while !self.stop.fired() {
            let running = match source.take().map_or_else(&self.make, Ok) {
                Ok(running) => running,
                Err(error) => {
                    tracing::error!(code = %codes::COMPONENT_NOT_BUILT, source = self.name, "cannot be built: {error}");
                    self.note(&codes::COMPONENT_NOT_BUILT, &format!("cannot be built: {error}"));
                    return;
                }
            };
            let began = self.clock.now();
            let (ran, ended) = self.run_once(&*running).await;
            match ended {
                Ok(Ok(())) => {
                    self.started.send_replace(true);
                    // A source that set a fault has logged it.
                    if !self.stop.fired() && self.counters.fault.get().is_none() {
                        self.counters.done.set(1);
                        tracing::info!(source = self.name, "has nothing more to give");
                    }
                    return;
                }
                Ok(Err(error)) => {
                    let words = format!("{}: {error}", failed(ran));
                    tracing::warn!(code = %codes::SOURCE_FAILING, source = self.name, "{words}");
                    self.note(&codes::SOURCE_FAILING, &words);
                    source = Some(running);
                }
                Err(panic) => {
                    tracing::error!(code = %codes::COMPONENT_PANICKED, source = self.name, "panicked and is started again: {panic}");
                    self.note(&codes::COMPONENT_PANICKED, &format!("panicked: {panic}"));
                }
            }
            self.counters.restarts.add(1);
            if self.clock.now().saturating_sub(began) >= HEALTHY {
                backoff.reset();
            }
            let pause = if ran { backoff.fail() } else { START_AGAIN };
            tokio::select! {
                () = self.stop.wait() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Runs the source once; returns true if it got as far as starting, and how it ended.
    async fn run_once(&self, source: &dyn Source) -> (bool, Result<Result<(), Failure>, String>) {
        let (begun, mut has_begun) = watch::channel(SourceStage::No);
        let context = self.context(begun);
        let mut run = catch_panics(source.run(&context));
        let ended = tokio::select! {
            biased;
            ended = &mut run => ended,
            () = self.wait_until_begun(&mut has_begun) => run.await,
        };
        self.counters.up.set(0);
        (*has_begun.borrow() == SourceStage::Runs, ended)
    }

    /// Returns once the source listens or reads. A source that waits is not up, and delays no start.
    async fn wait_until_begun(&self, begun: &mut watch::Receiver<SourceStage>) {
        said(begun, |begun| begun != SourceStage::No).await;
        self.started.send_replace(true);
        said(begun, |begun| begun == SourceStage::Runs).await;
        self.counters.fault.clear();
        self.counters.failure.over();
        self.counters.started(self.clock.wall_ms());
        self.counters.up.set(1);
    }

    /// Keeps why it does not run, for monitoring.
    fn note(&self, code: &'static Code, reason: &str) {
        self.counters.failure.note(code, reason, self.clock.wall_ms());
    }

    fn context(&self, begun: watch::Sender<SourceStage>) -> SourceContext {
        SourceContext {
            name: self.name.clone(),
            intake: Arc::clone(&self.intake),
            stop: self.stop.clone(),
            begun,
            clock: Arc::clone(&self.clock),
            counters: Arc::clone(&self.counters),
            client_errors: Arc::default(),
            clients: Arc::clone(&self.clients),
        }
    }
}

fn failed(ran: bool) -> &'static str {
    if ran { "failed and is started again" } else { "cannot start, trying again in 3 s" }
}

/// Returns once the source has reached the stage that `far` accepts.
async fn said(begun: &mut watch::Receiver<SourceStage>, far: impl Fn(SourceStage) -> bool) {
    if begun.wait_for(|begun| far(*begun)).await.is_err() {
        std::future::pending::<()>().await;
    }
}
