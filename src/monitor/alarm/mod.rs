//! Alarms: what is wrong with an agent and its clients is raised, told and cleared.
//!
//! # Limits
//!
//! One look a second ([`LOOK`]), and a rest of up to [`REST_MAX`] behind those that panic. [`CLIENTS_MAX`] clients are watched; an alarm is there once for each
//! component and part of it, so that there are no more than the configuration has, and clients. [`HISTORY_MAX`]
//! alarms that are over are known, [`HISTORY_MAX_DEFAULT`] unless a setting says otherwise; the file that
//! remembers them has [`STORE_BYTES_MAX`] bytes. Those of deliveries are in [`delivery`].
//!
//! # The story
//!
//! [`kind`] is the table of what there is to raise an alarm for; [`settings`] reads `AGENT.alarms.*`, a
//! [`tuning`] for each kind and component. Once a second the [`engine`] makes a [`sight`] of the agent: every
//! counter, the clients that were heard, and free [`space`]. The [`machine`] asks the [`rules`], [`progress`],
//! [`losses`] and the [`roster`] of clients what is bad and what is good, and raises what has been bad for long enough. A
//! [`raised`] alarm is logged, put into the outboxes of [`delivery`], shown on a [`page`], and kept in a
//! [`store`] for the next start.
//!
//! # Invariants
//!
//! - The flow never waits for any of this: counters are read, clients leave a note in passing.
//! - An alarm is told when it is raised and when it is over, not in between; one that lasts over a restart is told
//!   once more.
//! - What cannot be seen is neither bad nor good: what was, stays.
//! - A look that panics does not end the looking: the machine begins anew with what it knew. Where no look has
//!   gone well for [`BLIND`], `/readyz` says so.

mod certificates;
mod delivery;
mod engine;
mod keeper;
mod kind;
mod losses;
mod machine;
mod page;
mod progress;
mod raised;
mod roster;
mod rules;
mod settings;
mod sight;
mod space;
mod store;
mod tuning;

#[cfg(test)]
mod settings_tests;
#[cfg(test)]
mod tests;

pub(crate) use page::{AlarmMetric, Window};
pub(super) use raised::time;
pub(crate) use settings::AlarmSettings;

use crate::base::clock::Clock;
use crate::base::threads;
use crate::codes;
use crate::flow::context::StopSignal;
use crate::metrics::Registry;
use engine::{Engine, Orders};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Behind a look that panicked, and four times as long behind each further one, up to the other.
const REST: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(600);
/// Without a look that went well for so long, the agent is not ready.
const BLIND: Duration = Duration::from_secs(60);
/// Letters of what a panic said that are said again.
const PANIC_CHARS_MAX: usize = 200;
/// How long something must be good before its alarm is over, where it could come back at once.
const SETTLES: Duration = Duration::from_secs(10);
/// Clients that are watched, of all sources together.
const CLIENTS_MAX: usize = 1000;
/// Clients of one source that are watched at one address: anybody can give itself any names.
const NAMES_PER_ADDRESS_MAX: usize = 32;
/// Addresses of which it is said that they have more.
const CROWDED_MAX: usize = 100;
/// Alarms that are over and still known, of any setting.
const HISTORY_MAX: usize = 10_000;
const HISTORY_MAX_DEFAULT: usize = 1000;
/// Bytes of the file that remembers alarms.
const STORE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long a start waits for that file.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);
/// How often it is written although nothing has happened: when clients were heard last stands in it.
const KEEP_EVERY: Duration = Duration::from_secs(600);
/// Behind a try to write it that failed.
const KEEP_PAUSE: Duration = Duration::from_secs(30);
/// How long an agent that ends waits for its alarms.
const FAREWELL: Duration = Duration::from_secs(1);

/// The alarms of an agent that runs; they end when this is dropped.
pub(crate) struct Alarms {
    orders: watch::Sender<Orders>,
    window: Window,
    stop: watch::Sender<bool>,
    end: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    /// Closed once the thread has nothing more to do.
    ended: mpsc::Receiver<()>,
}

impl Alarms {
    /// Begins to look at `registry`. Without a thread the agent runs without alarms, which is said.
    pub(crate) fn start(
        settings: AlarmSettings,
        registry: &Arc<Registry>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let orders = Orders { settings: Arc::new(settings), refused: None };
        let (orders, given) = watch::channel(orders);
        let (stop, signal) = StopSignal::new();
        let (end, has_ended) = StopSignal::new();
        let (ending, ended) = mpsc::channel();
        let window = Window::default();
        window.begin(Arc::clone(&clock));
        let engine = Engine {
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

    /// A changed configuration was taken over, and says this.
    pub(crate) fn adopt(&self, settings: AlarmSettings) {
        let orders = Orders { settings: Arc::new(settings), refused: None };
        self.orders.send_replace(orders);
    }

    /// A changed configuration was not taken over.
    pub(crate) fn reload_refused(&self, why: &str) {
        self.orders.send_modify(|orders| orders.refused = Some(why.to_owned()));
    }

    /// Looks no more: an agent that stops has no troubles of interest. What it loses meanwhile is logged when this is
    /// dropped.
    pub(crate) fn rest(&self) {
        self.stop.send_replace(true);
    }

    /// What watchers look through.
    pub(crate) fn window(&self) -> Window {
        self.window.clone()
    }
}

fn spawn(engine: Engine, ending: mpsc::Sender<()>) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    threads::spawn("millpond-alarm", move || {
        runtime.block_on(engine.run());
        // Not dropped: that would wait for a name that is being looked up, or a disk that hangs.
        runtime.shutdown_background();
        drop(ending);
    })
}

impl Drop for Alarms {
    fn drop(&mut self) {
        self.rest();
        self.end.send_replace(true);
        let ended = self.ended.recv_timeout(FAREWELL) == Err(RecvTimeoutError::Disconnected);
        if let Some(thread) = self.thread.take().filter(|_| ended) {
            let _ = thread.join();
        }
    }
}
