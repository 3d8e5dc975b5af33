//! The observers of a running agent: pages, alarms, a service manager, the admin socket.

use super::options::{AgentOptions, effective};
use super::supervise::LiveAgent;
use millpond::Clock;
use millpond_flow::codes;
use millpond_flow::metrics::MetricsRegistry;
use millpond_observe::admin::{self, Admin, AdminState};
use millpond_observe::monitor::alarm::{AlarmService, AlarmSettings};
use millpond_observe::monitor::systemd::ServiceNotifier;
use millpond_observe::monitor::{self, FlowGraph, Monitor, WatchedAgent};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::runtime::Handle;
use tokio::sync::watch::Sender;

/// All observers, until the agent has stopped.
pub(super) struct Observers {
    /// Notified of the agent's state.
    pub(super) service: ServiceNotifier,
    alarms: AlarmService,
    flow: Sender<FlowGraph>,
    stopping: Arc<AtomicBool>,
    _monitor: Option<Monitor>,
    _admin: Option<Admin>,
}

/// What observers need to know of a configuration.
pub(super) struct ObservedConfig {
    /// The alarms and their delivery targets.
    pub(super) alarms: AlarmSettings,
    /// The flow graph.
    pub(super) flow: FlowGraph,
}

impl Observers {
    /// Opens the configured observers; if one cannot be opened, this is logged, and the agent runs
    /// without it.
    pub(super) fn open(
        options: &AgentOptions,
        shown: ObservedConfig,
        registry: Arc<MetricsRegistry>,
        clock: Arc<dyn Clock>,
        sinks_on: &Handle,
        running: &LiveAgent,
    ) -> Self {
        let alarms = AlarmService::start(shown.alarms, &registry, clock);
        let (flow, stopping) = (Sender::new(shown.flow), Arc::default());
        let watched = WatchedAgent {
            name: options.name.clone(),
            registry,
            threads: vec![("agent", Handle::current()), ("sinks", sinks_on.clone())],
            stopping: Arc::clone(&stopping),
            alarms: alarms.window(),
            flow: flow.subscribe(),
            history: Arc::default(),
        };
        let service = ServiceNotifier::from_environment(&watched);
        let _monitor = monitor::start(&options.properties, watched);
        let _admin = open_admin_socket(options, running);
        Self { service, alarms, flow, stopping, _monitor, _admin }
    }

    /// Notes that a changed configuration was taken over; `changed`: something was started or
    /// stopped.
    pub(super) fn adopt(&self, shown: ObservedConfig, changed: bool) {
        if changed {
            self.flow.send_replace(shown.flow);
        }
        self.alarms.adopt(shown.alarms);
    }

    /// Notes that a changed configuration was refused.
    pub(super) fn reload_refused(&self, why: &str) {
        self.alarms.reload_refused(why);
    }

    /// Notes that the agent stops: it is not ready any more, and alarms during shutdown are noise.
    pub(super) fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.service.stopping();
        self.alarms.rest();
    }
}

/// Opens the admin socket, if it is configured.
fn open_admin_socket(options: &AgentOptions, running: &LiveAgent) -> Option<Admin> {
    let (properties, _) = effective(options);
    let path = match admin::place(&properties, &options.name) {
        Ok(path) => path?,
        Err(error) => {
            tracing::error!(code = %codes::ADMIN_SOCKET_OFF, "{error}; the agent runs without an admin socket");
            return None;
        }
    };
    let served = AdminState { agent: options.name.clone(), taps: Arc::clone(running.taps()) };
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
