//! Monitoring: what the agent counts, over HTTP as Flume and as Prometheus have it, in packets for
//! Ganglia, and its health.
//!
//! # Limits
//!
//! [`CONNECTIONS_MAX`] connections at once, [`REQUEST_BYTES_MAX`] per request head, [`IDLE`] for an
//! unfinished head and for a connection without a request, and [`ANSWER_SECONDS_MAX`] for a client
//! that does not read. A request's body is not read. A packet has [`xdr::PACKET_BYTES_MAX`]. The
//! [`history`] has 1.4 MiB at most.
//!
//! # How it works
//!
//! `-Dflume.monitoring.type` and the like become [`settings::MonitorSettings`]. Monitoring runs on
//! a thread and a runtime of its own ([`Monitor`]): no event waits for a scrape. A scrape takes a
//! [`snapshot`](MetricsRegistry::snapshot) of all counters, written as [`flume`] or as
//! [`prometheus`] does, whose metrics are the table in [`families`]. [`ganglia`] sends Flume's
//! counters in the packets of [`xdr`]. The [`dashboard`] draws the [`FlowGraph`] and the
//! [`history`] of the last hour for people. [`alarm`] evaluates by itself, and notifies its
//! targets. [`health`] checks that the agent's threads respond, and that each component does its
//! work. [`systemd`] notifies a service manager, on its own thread as well.
//!
//! # Invariants
//!
//! - Nothing here can end or delay the flow: a port in use, a wrong setting and a misbehaving
//!   client are logged, and the agent goes on.
//! - Only this machine can connect unless a setting says otherwise.
//! - Nothing here changes anything: all pages are read-only.

pub mod alarm;
mod certificate_families;
mod client_families;
mod dashboard;
mod dropped_page;
mod families;
mod flume;
mod ganglia;
mod health;
mod history;
mod java_number;
mod limits;
mod metric_family;
mod pages;
mod process;
mod prometheus;
mod server;
pub mod settings;
pub mod systemd;
mod watched_agent;
mod xdr;

#[cfg(test)]
mod tests;

pub use history::MetricHistory;
use millpond::internal::base::threads;
use millpond::{Clock, SystemClock};
use millpond_flow::codes;
use millpond_flow::context::StopSignal;
use settings::{HttpServerSettings, MonitorSettings, OptionWarning};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;
pub use watched_agent::{FlowGraph, WatchedAgent};

#[cfg(doc)]
use millpond_flow::base::limits::ANSWER_SECONDS_MAX;

#[cfg(doc)]
use limits::{CONNECTIONS_MAX, IDLE, REQUEST_BYTES_MAX};

#[cfg(doc)]
use millpond_flow::metrics::MetricsRegistry;
/// How long an agent that ends waits for its monitoring.
const FAREWELL: Duration = Duration::from_secs(1);

/// Running monitoring; ends when dropped.
pub struct Monitor {
    thread: Option<JoinHandle<()>>,
    stop: watch::Sender<bool>,
    /// Closed once the thread has ended.
    ended: mpsc::Receiver<()>,
}

/// Starts what `properties`, the `-D` options, ask for. Errors in them are logged, and the agent
/// runs without monitoring: it must not lose events because it cannot be monitored. `None` if
/// nothing is to run.
#[must_use]
pub fn start(properties: &BTreeMap<String, String>, watched: WatchedAgent) -> Option<Monitor> {
    let (settings, complaints) = MonitorSettings::read(properties);
    for complaint in complaints {
        match complaint {
            OptionWarning::Warning(words) => tracing::warn!("{words}"),
            OptionWarning::Error(words) => {
                tracing::error!(code = %codes::MONITORING_OFF, "{words}; the agent runs without monitoring");
            }
        }
    }
    match Monitor::run(settings?, watched) {
        Ok(monitor) => Some(monitor),
        Err(error) => {
            tracing::error!(code = %codes::MONITORING_OFF, "no thread for monitoring, the agent runs without: {error}");
            None
        }
    }
}

impl Monitor {
    fn run(settings: MonitorSettings, watched: WatchedAgent) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, signal) = StopSignal::new();
        let (ending, ended) = mpsc::channel();
        let thread = threads::spawn("millpond-watch", move || {
            let work = async {
                match &settings {
                    MonitorSettings::Pages(server_settings) => {
                        pages(server_settings, Arc::new(watched), &signal).await;
                    }
                    MonitorSettings::Ganglia(to) => ganglia::send(to, &watched, &signal).await,
                }
            };
            runtime.block_on(work);
            // The runtime is not dropped: that would wait for a name lookup.
            runtime.shutdown_background();
            drop(ending);
        })?;
        Ok(Self { thread: Some(thread), stop, ended })
    }
}

/// Serves pages, and takes samples for them.
async fn pages(
    server_settings: &HttpServerSettings,
    watched: Arc<WatchedAgent>,
    stop: &StopSignal,
) {
    tokio::select! {
        () = server::serve(server_settings, Arc::clone(&watched), stop) => {}
        () = remember(&watched) => {}
    }
}

/// Takes samples for the history, without end.
async fn remember(watched: &WatchedAgent) {
    let clock = SystemClock::new();
    let mut before = clock.now();
    loop {
        let now = clock.now();
        let elapsed = now.saturating_sub(before);
        watched.history.sample(&watched.registry.snapshot(), elapsed, clock.wall_ms());
        before = now;
        tokio::time::sleep(history::PAUSE).await;
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        // A task that waits for a channel's lock must not keep the agent from ending.
        let ended = self.ended.recv_timeout(FAREWELL) == Err(RecvTimeoutError::Disconnected);
        if let Some(thread) = self.thread.take().filter(|_| ended) {
            let _ = thread.join();
        }
    }
}
