//! Runs one source: starts it, starts it again after an error or a panic, lets it stop.
//!
//! A source that never got as far as listening or reading is tried again every 3 s, one that ran
//! and then failed after 1 s, 2 s, … 5 s. After a panic it is thrown away and built anew. A source
//! that ends by itself without an error has nothing more to give and is left alone: it is done, or, where it
//! has said why it should not have ended ([`Fault`](crate::metrics::Fault)), counts as failing.

use super::backoff::Backoff;
use super::client_limits::ClientLimits;
use super::contain::contain;
use super::context::{Begun, Failure, Intake, SourceContext, StopSignal};
use super::sink_runner::START_AGAIN;
use super::source::Source;
use crate::base::clock::Clock;
use crate::codes::{self, Code};
use crate::config::settings::SettingError;
use crate::metrics::SourceCounters;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A source that ran this long before it failed begins with the shortest pause again.
const HEALTHY: Duration = Duration::from_secs(30);

/// Builds the source, again after a panic.
pub type SourceMaker = Box<dyn Fn() -> Result<Box<dyn Source>, SettingError> + Send + Sync>;

/// Everything one source runs with.
pub struct SourceRunner {
    /// The source's name.
    pub name: String,
    /// Builds the source.
    pub make: SourceMaker,
    /// Where its events go.
    pub intake: Arc<dyn Intake>,
    /// What it counts in.
    pub counters: Arc<SourceCounters>,
    /// What clients of all sources may take together.
    pub clients: Arc<ClientLimits>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Fires when it is to stop.
    pub stop: StopSignal,
    /// Sent `true` when the source listens or reads, waits for what it reads, or has given all it had.
    pub started: watch::Sender<bool>,
}

impl SourceRunner {
    /// Runs until the source is to stop, also when it has given all it had before.
    pub async fn run(self) {
        self.lives().await;
        self.intake.close().await;
        // As in Flume, one that ended by itself is stopped when it is told to.
        self.stop.wait().await;
        self.counters.stopped(self.clock.wall_ms());
    }

    async fn lives(&self) {
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
            let (ran, ended) = self.life(&*running).await;
            match ended {
                Ok(Ok(())) => {
                    self.started.send_replace(true);
                    // One that knows a fault has logged it.
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

    /// One run of the source: whether it got as far as starting, and how it ended.
    async fn life(&self, source: &dyn Source) -> (bool, Result<Result<(), Failure>, String>) {
        let (begun, mut has_begun) = watch::channel(Begun::No);
        let context = self.context(begun);
        let mut run = contain(source.run(&context));
        let ended = tokio::select! {
            biased;
            ended = &mut run => ended,
            () = self.see_it_begin(&mut has_begun) => run.await,
        };
        self.counters.up.set(0);
        (*has_begun.borrow() == Begun::Runs, ended)
    }

    /// Returns once the source listens or reads. One that waits is not up, and holds up nobody.
    async fn see_it_begin(&self, begun: &mut watch::Receiver<Begun>) {
        said(begun, |begun| begun != Begun::No).await;
        self.started.send_replace(true);
        said(begun, |begun| begun == Begun::Runs).await;
        self.counters.fault.clear();
        self.counters.failure.over();
        self.counters.started(self.clock.wall_ms());
        self.counters.up.set(1);
    }

    /// Keeps why it does not run, for who watches.
    fn note(&self, code: &'static Code, reason: &str) {
        self.counters.failure.note(code, reason, self.clock.wall_ms());
    }

    fn context(&self, begun: watch::Sender<Begun>) -> SourceContext {
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

/// Returns once the source has come so `far`.
async fn said(begun: &mut watch::Receiver<Begun>, far: impl Fn(Begun) -> bool) {
    if begun.wait_for(|begun| far(*begun)).await.is_err() {
        std::future::pending::<()>().await;
    }
}
