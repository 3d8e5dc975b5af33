//! Alarms: problems of an agent and its clients are raised, notified and cleared.
//!
//! # Limits
//!
//! One evaluation per second ([`LOOK`]), and a pause of up to [`REST_MAX`] after evaluations that
//! panic. [`CLIENTS_MAX`] clients are watched; there is one alarm for each component and part of
//! it, so that their number is bounded by the configuration and the clients. [`HISTORY_MAX`]
//! cleared alarms are known, [`HISTORY_MAX_DEFAULT`] unless a setting says otherwise; the file that
//! stores them has at most [`STORE_BYTES_MAX`] bytes. The limits of deliveries are in [`delivery`].
//!
//! # How it works
//!
//! [`kind`] is the table of alarms; [`settings`] reads `AGENT.alarms.*`, a [`thresholds`] entry for
//! each kind and component. Once a second the [`engine`] makes an [`observation`] of the agent:
//! every counter, the clients that were heard, and free space ([`free_space`]). The [`evaluator`]
//! evaluates the [`rules`], [`progress`], [`drop_rule`] and the [`expected_clients`], and raises
//! what has been bad for long enough. An alarm ([`alarm_record`]) is logged, put into the queues of
//! [`delivery`], shown on a [`page`], and kept in a [`store`] for the next start.
//!
//! # Invariants
//!
//! - The flow never waits for any of this: counters are read, clients leave a note in passing.
//! - Targets are notified when an alarm is raised and when it is cleared, not in between; an alarm
//!   that lasts over a restart is notified once more.
//! - What cannot be observed is neither bad nor good: its state stays.
//! - An evaluation that panics does not end the loop: the evaluator begins anew with what it knew.
//!   If no evaluation has succeeded for [`BLIND`], `/readyz` reports it.

mod alarm_record;
mod certificates;
mod delivery;
mod drop_rule;
mod engine;
mod evaluator;
mod expected_clients;
mod free_space;
mod kind;
mod limits;
mod observation;
mod page;
mod persistence;
mod progress;
mod rule_observations;
mod rules;
mod settings;
mod severity;
mod store;
mod thresholds;

#[cfg(test)]
mod settings_tests;
#[cfg(test)]
mod tests;

pub(super) use alarm_record::time;
pub(crate) use page::{AlarmMetric, AlarmView};
pub use settings::AlarmSettings;

use engine::{AlarmEngine, EngineRequests};
use millpond::Clock;
use millpond::internal::base::threads;
use millpond_flow::codes;
use millpond_flow::context::StopSignal;
use millpond_flow::metrics::MetricsRegistry;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

#[cfg(doc)]
use limits::{
    BLIND, CLIENTS_MAX, HISTORY_MAX, HISTORY_MAX_DEFAULT, LOOK, REST_MAX, STORE_BYTES_MAX,
};
/// How long an agent that ends waits for its alarms.
const FAREWELL: Duration = Duration::from_secs(1);

/// The alarms of a running agent; they end when this is dropped.
pub struct AlarmService {
    orders: watch::Sender<EngineRequests>,
    window: AlarmView,
    stop: watch::Sender<bool>,
    end: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    /// Closed once the thread has ended.
    ended: mpsc::Receiver<()>,
}

impl AlarmService {
    /// Begins to evaluate `registry`. Without a thread the agent runs without alarms, which is
    /// logged.
    pub fn start(
        settings: AlarmSettings,
        registry: &Arc<MetricsRegistry>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let orders = EngineRequests { settings: Arc::new(settings), refused: None };
        let (orders, given) = watch::channel(orders);
        let (stop, signal) = StopSignal::new();
        let (end, has_ended) = StopSignal::new();
        let (ending, ended) = mpsc::channel();
        let window = AlarmView::default();
        window.begin(Arc::clone(&clock));
        let engine = AlarmEngine {
            orders: given,
            registry: Arc::clone(registry),
            clock,
            window: window.clone(),
            stop: signal,
            ended: has_ended,
        };
        let thread = spawn(engine, ending);
        let thread = thread.map_err(|error| {
            tracing::error!(code = %codes::ALARMS_OFF, "no thread for alarms, the agent runs without: {error}");
        });
        Self { orders, window, stop, end, thread: thread.ok(), ended }
    }

    /// Takes over a changed configuration.
    pub fn adopt(&self, settings: AlarmSettings) {
        let orders = EngineRequests { settings: Arc::new(settings), refused: None };
        self.orders.send_replace(orders);
    }

    /// Reports that a changed configuration was refused.
    pub fn reload_refused(&self, why: &str) {
        self.orders.send_modify(|orders| orders.refused = Some(why.to_owned()));
    }

    /// Stops evaluation: alarms during shutdown are noise. Losses meanwhile are logged when this is
    /// dropped.
    pub fn rest(&self) {
        self.stop.send_replace(true);
    }

    /// Returns the view for pages and metrics.
    pub fn window(&self) -> AlarmView {
        self.window.clone()
    }
}

fn spawn(engine: AlarmEngine, ending: mpsc::Sender<()>) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    threads::spawn("millpond-alarm", move || {
        runtime.block_on(engine.run());
        // The runtime is not dropped: that would wait for a name lookup, or a disk that hangs.
        runtime.shutdown_background();
        drop(ending);
    })
}

impl Drop for AlarmService {
    fn drop(&mut self) {
        self.rest();
        self.end.send_replace(true);
        let ended = self.ended.recv_timeout(FAREWELL) == Err(RecvTimeoutError::Disconnected);
        if let Some(thread) = self.thread.take().filter(|_| ended) {
            let _ = thread.join();
        }
    }
}
