//! Whoever watches an agent that runs: pages, alarms, a service manager, the admin socket.

use super::supervise::Running;
use super::{AgentOptions, effective};
use crate::admin::{self, Admin, Served};
use crate::base::clock::Clock;
use crate::codes;
use crate::metrics::Registry;
use crate::monitor::alarm::{AlarmSettings, Alarms};
use crate::monitor::systemd::Notifier;
use crate::monitor::{self, Flow, Monitor, Watched};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::runtime::Handle;
use tokio::sync::watch::Sender;

/// All of them, until the agent has stopped.
pub(super) struct Windows {
    /// Told how the agent is.
    pub(super) service: Notifier,
    alarms: Alarms,
    flow: Sender<Flow>,
    stopping: Arc<AtomicBool>,
    _monitor: Option<Monitor>,
    _admin: Option<Admin>,
}

/// What watchers need to know of a configuration.
pub(super) struct Shown {
    /// What raises an alarm, and who is told.
    pub(super) alarms: AlarmSettings,
    /// What leads where.
    pub(super) flow: Flow,
}

impl Windows {
    /// Opens those that are wanted; one that cannot be opened says so, and the agent runs without it.
    pub(super) fn open(
        options: &AgentOptions,
        shown: Shown,
        registry: Arc<Registry>,
        clock: Arc<dyn Clock>,
        sinks_on: &Handle,
        running: &Running,
    ) -> Self {
        let alarms = Alarms::start(shown.alarms, &registry, clock);
        let (flow, stopping) = (Sender::new(shown.flow), Arc::default());
        let watched = Watched {
            name: options.name.clone(),
            registry,
            threads: vec![("agent", Handle::current()), ("sinks", sinks_on.clone())],
            stopping: Arc::clone(&stopping),
            alarms: alarms.window(),
            flow: flow.subscribe(),
            history: Arc::default(),
        };
        let service = Notifier::from_environment(&watched);
        let _monitor = monitor::start(&options.properties, watched);
        let _admin = opened_door(options, running);
        Self { service, alarms, flow, stopping, _monitor, _admin }
    }

    /// A changed configuration was taken over; of which something was started or stopped if `changed`.
    pub(super) fn adopt(&self, shown: Shown, changed: bool) {
        if changed {
            self.flow.send_replace(shown.flow);
        }
        self.alarms.adopt(shown.alarms);
    }

    /// A changed configuration was not taken over.
    pub(super) fn reload_refused(&self, why: &str) {
        self.alarms.reload_refused(why);
    }

    /// The agent stops: it is not ready any more, and has no troubles of interest.
    pub(super) fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.service.stopping();
        self.alarms.rest();
    }
}

/// The admin socket, if there is to be one.
fn opened_door(options: &AgentOptions, running: &Running) -> Option<Admin> {
    let (properties, _) = effective(options);
    let path = match admin::place(&properties, &options.name) {
        Ok(path) => path?,
        Err(error) => {
            tracing::error!(code = %codes::ADMIN_SOCKET_OFF, "{error}; the agent runs without an admin socket");
            return None;
        }
    };
    let served = Served { agent: options.name.clone(), taps: Arc::clone(running.taps()) };
    match Admin::listen(&path, served) {
        Ok(admin) => {
            tracing::info!("admin socket: {} (this user and root only)", path.display());
            Some(admin)
        }
        Err(error) => {
            let path = path.display();
            tracing::error!(
                code = %codes::ADMIN_SOCKET_OFF,
                "admin socket: cannot listen on {path}: {error}; the agent runs without it"
            );
            None
        }
    }
}
