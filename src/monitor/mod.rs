//! Windows for watchers: what the agent counts, on HTTP as Flume shows it and as Prometheus reads it, in
//! packets for Ganglia, and whether it is well.
//!
//! # Limits
//!
//! [`CONNECTIONS_MAX`] connections at once, [`REQUEST_BYTES_MAX`] a request's head, [`IDLE`] for a head
//! that does not end and for a connection without a request, and [`ANSWER_SECONDS_MAX`] for a client
//! that does not read. A request's body is not read. A packet has [`xdr::PACKET_BYTES_MAX`]. The
//! [`history`] has 1.4 MiB at most.
//!
//! # The story
//!
//! `-Dflume.monitoring.type` and its like become [`settings::Settings`]. What is asked for runs on a
//! thread and a runtime of its own ([`Monitor`]): however many scrapes come, no event waits for one. A
//! scrape is a [`snapshot`](crate::metrics::Registry::snapshot) of all counters, written as [`flume`]
//! shows them or as [`prometheus`] does, whose metrics are the table in [`families`]. [`ganglia`] sends
//! what Flume shows instead, in the packets of [`xdr`]. People get the [`dashboard`], which draws the
//! [`Flow`] and the [`history`] of the last hour. [`alarm`] watches by itself, and tells whoever is to be
//! told. [`health`] looks whether the agent's threads still answer, and whether each component does what it
//! is there for. [`systemd`] tells a service manager, on a thread of its own as well.
//!
//! # Invariants
//!
//! - Nothing here can end or hold up the flow: a port in use, a wrong setting and a client that misbehaves
//!   are said, and the agent goes on.
//! - Nobody but this machine can ask unless a setting says so.
//! - Nothing here changes anything: there are only pages to read.

pub(crate) mod alarm;
mod certificate_families;
mod client_families;
mod dashboard;
mod dropped;
mod families;
mod flume;
mod ganglia;
mod health;
mod history;
mod java_number;
mod pages;
mod process;
mod prometheus;
mod server;
pub(crate) mod settings;
pub mod systemd;
mod xdr;

#[cfg(test)]
mod tests;

use crate::base::clock::{Clock, SystemClock};
use crate::base::threads;
use crate::codes;
use crate::flow::context::StopSignal;
use crate::metrics::Registry;
use bytes::Bytes;
pub use history::History;
use settings::{Complaint, Door, Settings};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;

#[cfg(doc)]
use crate::base::limits::ANSWER_SECONDS_MAX;

/// Connections open at once; for another, the one that has asked nothing for longest is closed. A scraper
/// needs one.
const CONNECTIONS_MAX: usize = 64;
/// Bytes of the head of a request.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// Time without a request, and for one to come, as Flume's server has it.
const IDLE: Duration = Duration::from_secs(30);
/// Pause between attempts to listen.
const LISTEN_AGAIN: Duration = Duration::from_secs(3);
/// How long an agent that ends waits for its monitoring.
const FAREWELL: Duration = Duration::from_secs(1);

/// What leads where, as it is configured.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    /// For programs.
    pub json: Bytes,
    /// Drawn.
    pub svg: Bytes,
}

/// What there is to see.
#[derive(Clone)]
pub struct Watched {
    /// The agent's name.
    pub name: String,
    /// Everybody's counters.
    pub registry: Arc<Registry>,
    /// The agent's threads, by what they are for.
    pub threads: Vec<(&'static str, Handle)>,
    /// Set while the agent stops.
    pub stopping: Arc<AtomicBool>,
    /// Its alarms.
    pub alarms: alarm::Window,
    /// The flow, as of the configuration that runs.
    pub flow: watch::Receiver<Flow>,
    /// The last hour; empty at first.
    pub history: Arc<History>,
}

/// Monitoring that runs; ends when dropped.
pub struct Monitor {
    thread: Option<JoinHandle<()>>,
    stop: watch::Sender<bool>,
    /// Closed once the thread has nothing more to do.
    ended: mpsc::Receiver<()>,
}

/// Starts what `properties`, the `-D` options, ask for. What is wrong with them is logged, and the agent
/// runs unwatched: it must not lose events because nobody can look. `None` if nothing is to run.
#[must_use]
pub fn start(properties: &BTreeMap<String, String>, watched: Watched) -> Option<Monitor> {
    let (settings, complaints) = Settings::read(properties);
    for complaint in complaints {
        match complaint {
            Complaint::Warning(words) => tracing::warn!("{words}"),
            Complaint::Error(words) => {
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
    fn run(settings: Settings, watched: Watched) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, signal) = StopSignal::new();
        let (ending, ended) = mpsc::channel();
        let thread = threads::spawn("millpond-watch", move || {
            let work = async {
                match &settings {
                    Settings::Pages(door) => pages(door, Arc::new(watched), &signal).await,
                    Settings::Ganglia(to) => ganglia::send(to, &watched, &signal).await,
                }
            };
            runtime.block_on(work);
            // Not dropped: that would wait for a name that is being looked up.
            runtime.shutdown_background();
            drop(ending);
        })?;
        Ok(Self { thread: Some(thread), stop, ended })
    }
}

/// Serves pages, and remembers for them.
async fn pages(door: &Door, watched: Arc<Watched>, stop: &StopSignal) {
    tokio::select! {
        () = server::serve(door, Arc::clone(&watched), stop) => {}
        () = remember(&watched) => {}
    }
}

/// Takes samples for the history, for ever.
async fn remember(watched: &Watched) {
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
        // One that waits for a channel's lock must not keep the agent from ending.
        let ended = self.ended.recv_timeout(FAREWELL) == Err(RecvTimeoutError::Disconnected);
        if let Some(thread) = self.thread.take().filter(|_| ended) {
            let _ = thread.join();
        }
    }
}
