//! Notifies a service manager of the agent's state, by systemd's protocol: `READY=1` and the like
//! to the socket that `NOTIFY_SOCKET` names, and `WATCHDOG=1` twice in each `WATCHDOG_USEC`.
//!
//! Limits: [`NEWS_MAX`] events wait, a message that the manager does not read is retried for
//! [`SEND_TIMEOUT`], a status has [`STATUS_CHARS_MAX`] characters.
//!
//! An agent is ready once every component has started, and at the latest after [`TIMEOUT`]: an
//! unavailable server must not make the manager restart the agent, which stores incoming events
//! meanwhile. The status then says what has not started. Watchdog notifications stop when the
//! agent's threads are unresponsive ([`health::dead`]); a failing sink does not stop them, since a
//! restart would not help it.

use super::health::{self, UnhealthyReason};
use super::{FAREWELL, WatchedAgent};
use millpond::internal::base::threads;
use millpond_flow::base::escape::Escaped;
use millpond_flow::codes;
use rustix::time::{ClockId, clock_gettime};
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::mpsc::{self as ends, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, sleep_until};

/// How long a start, or a reload, may take until the manager is notified that the agent is ready
/// all the same: less than systemd's default of 90 s.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Interval between readiness checks, for the status.
const LOOK: Duration = Duration::from_secs(10);
/// The shortest pause between watchdog notifications.
const BEAT_MIN: Duration = Duration::from_millis(10);
/// Events that wait to be sent. They come at the speed of people who change a configuration.
const NEWS_MAX: usize = 32;
/// How long a message is retried that the manager has no room for.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between those attempts.
const SEND_AGAIN: Duration = Duration::from_millis(100);
/// Longest status, characters: a line of `systemctl status`.
const STATUS_CHARS_MAX: usize = 200;

/// An event of the agent's life cycle.
enum AgentEvent {
    /// All of it runs, with a status text; or it goes on as it was, and why.
    Ready(String),
    /// Its configuration is being reloaded.
    Reloading,
    /// It is stopping.
    Stopping,
}

/// Notifies the service manager, if there is one; until it is dropped, watchdog notifications
/// continue.
pub struct ServiceNotifier(Option<NotifierThread>);

/// The thread that notifies it.
struct NotifierThread {
    news: Option<mpsc::Sender<AgentEvent>>,
    thread: Option<JoinHandle<()>>,
    /// Closed once the thread has ended.
    ended: ends::Receiver<()>,
}

impl ServiceNotifier {
    /// Creates a notifier for the service manager that the environment names. Errors are logged,
    /// and the agent runs without.
    #[must_use]
    pub fn from_environment(watched: &WatchedAgent) -> Self {
        let name = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let Some(name) = name else { return Self(None) };
        let variable = |name: &str| std::env::var(name).ok();
        let beat = beat(variable("WATCHDOG_USEC").as_deref(), variable("WATCHDOG_PID").as_deref());
        let begun = NotifySocket::to(&name)
            .and_then(|line| NotifierThread::run(line, beat, watched.clone()));
        Self(
            begun
                .inspect_err(|error| {
                    let name = name.display();
                    let words = "the service manager is not notified";
                    tracing::error!(code = %codes::SERVICE_MANAGER_ABSENT, "NOTIFY_SOCKET={name}: {error}; {words}");
                })
                .ok(),
        )
    }

    /// Reports that all of it runs, or that it goes on as it was; `words` say which.
    pub fn ready(&self, words: &str) {
        self.tell(|| AgentEvent::Ready(words.to_owned()));
    }

    /// Reports that the configuration is being reloaded; [`Self::ready`] follows.
    pub fn reloading(&self) {
        self.tell(|| AgentEvent::Reloading);
    }

    /// Reports that the agent is stopping.
    pub fn stopping(&self) {
        self.tell(|| AgentEvent::Stopping);
    }

    fn tell(&self, news: impl FnOnce() -> AgentEvent) {
        let to = self.0.as_ref().and_then(|told| told.news.as_ref());
        if to.is_some_and(|to| to.try_send(news()).is_err()) {
            tracing::warn!("the service manager does not read; the latest notification is dropped");
        }
    }
}

impl NotifierThread {
    fn run(line: NotifySocket, beat: Option<Duration>, watched: WatchedAgent) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (news, told) = mpsc::channel(NEWS_MAX);
        let (ending, ended) = ends::channel();
        let thread = threads::spawn("millpond-tell", move || {
            runtime.block_on(NotifierState::new(line, beat, watched).tell(told));
            // The runtime is not dropped: that would wait for a check that hangs.
            runtime.shutdown_background();
            drop(ending);
        })?;
        Ok(Self { news: Some(news), thread: Some(thread), ended })
    }
}

impl Drop for NotifierThread {
    fn drop(&mut self) {
        self.news = None;
        // A manager that does not read must not keep the agent from ending.
        let ended = self.ended.recv_timeout(FAREWELL) == Err(RecvTimeoutError::Disconnected);
        if let Some(thread) = self.thread.take().filter(|_| ended) {
            let _ = thread.join();
        }
    }
}

/// Returns the interval of watchdog notifications: half the time that the manager allows. `None` if
/// it asks for none, or asks another process.
fn beat(allowed_usec: Option<&str>, process: Option<&str>) -> Option<Duration> {
    let meant_for_us = process.is_none_or(|id| id == std::process::id().to_string());
    let allowed_usec = allowed_usec.filter(|_| meant_for_us)?;
    match allowed_usec.parse() {
        Ok(0) => None,
        Ok(usec) => Some((Duration::from_micros(usec) / 2).max(BEAT_MIN)),
        Err(_) => {
            tracing::warn!(
                "WATCHDOG_USEC={allowed_usec} is not a number of microseconds; no watchdog notifications"
            );
            None
        }
    }
}

/// The socket to the manager.
struct NotifySocket {
    socket: UnixDatagram,
    to: SocketAddr,
}

impl NotifySocket {
    /// Opens a socket to this name: a path, or `@` and an abstract name.
    fn to(name: &OsStr) -> io::Result<Self> {
        let to = match name.as_bytes() {
            [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => {
                let words = "neither a path from / nor an abstract name after @";
                return Err(io::Error::new(ErrorKind::InvalidInput, words));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, to })
    }

    /// Sends one message, whole; an error is logged.
    async fn send(&self, message: &str) {
        let until = Instant::now() + SEND_TIMEOUT;
        let error = loop {
            match self.socket.send_to_addr(message.as_bytes(), &self.to) {
                Ok(_) => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < until => {
                    sleep(SEND_AGAIN).await;
                }
                Err(error) => break error,
            }
        };
        tracing::warn!("the service manager cannot be notified of the agent's state: {error}");
    }
}

/// The state of the thread.
struct NotifierState {
    line: NotifySocket,
    beat: Option<Duration>,
    watched: Arc<WatchedAgent>,
    /// When to report readiness, whatever has not started.
    ready_at: Option<Instant>,
    stopping: bool,
    /// The text of the last event.
    words: String,
    /// The status that was sent last.
    status: String,
}

impl NotifierState {
    fn new(line: NotifySocket, beat: Option<Duration>, watched: WatchedAgent) -> Self {
        Self {
            line,
            beat,
            watched: Arc::new(watched),
            ready_at: Some(Instant::now() + TIMEOUT),
            stopping: false,
            words: "starting".to_owned(),
            status: String::new(),
        }
    }

    /// Runs until the notifier is dropped.
    async fn tell(mut self, mut told: mpsc::Receiver<AgentEvent>) {
        let mut beats = ticks(self.beat.unwrap_or(LOOK));
        let mut looks = ticks(LOOK);
        let mut look: Option<task::JoinHandle<Vec<UnhealthyReason>>> = None;
        self.say("", "starting").await;
        loop {
            let ready_at = self.ready_at;
            tokio::select! {
                biased;
                news = told.recv() => match news {
                    Some(news) => self.hear(news).await,
                    None => return,
                },
                _ = beats.tick(), if self.beat.is_some() => self.beat().await,
                reasons = found(&mut look) => {
                    look = None;
                    self.see(&reasons).await;
                }
                () = at(ready_at) => {
                    self.ready_at = None;
                    // What has not started is reported by the next check.
                    self.words = "running".to_owned();
                    self.say("READY=1\n", "running, not all of it has started").await;
                    looks.reset_immediately();
                }
                // The check may wait for a channel's lock: not on this thread.
                _ = looks.tick(), if look.is_none() && self.ready_at.is_none() => {
                    let watched = Arc::clone(&self.watched);
                    look = Some(task::spawn_blocking(move || health::readiness(&watched, None).reasons));
                }
            }
        }
    }

    async fn hear(&mut self, news: AgentEvent) {
        match news {
            AgentEvent::Ready(words) => {
                self.ready_at = None;
                self.words = words.clone();
                self.say("READY=1\n", &words).await;
            }
            AgentEvent::Reloading => {
                self.ready_at = Some(Instant::now() + TIMEOUT);
                // The monotonic clock, by which the manager distinguishes this reload from an
                // earlier one.
                let now = clock_gettime(ClockId::Monotonic);
                let usec = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
                let states = format!("RELOADING=1\nMONOTONIC_USEC={usec}\n");
                self.say(&states, "reading the configuration again").await;
            }
            AgentEvent::Stopping => {
                (self.ready_at, self.stopping) = (None, true);
                self.say("STOPPING=1\n", "stopping, sources first").await;
            }
        }
    }

    /// Sends a watchdog notification if the agent's threads respond.
    async fn beat(&self) {
        let dead = health::dead(&self.watched).await;
        match dead.first() {
            None => self.line.send("WATCHDOG=1\n").await,
            Some(UnhealthyReason { component, words }) => {
                tracing::error!(code = %codes::SERVICE_MANAGER_NO_BEAT, "{component}: {words}; the service manager gets no beat");
            }
        }
    }

    /// Reports what is not ready, once per change, and once that all is well again.
    async fn see(&mut self, reasons: &[UnhealthyReason]) {
        if self.stopping || self.ready_at.is_some() {
            return;
        }
        let status = match reasons {
            [] => self.words.clone(),
            [UnhealthyReason { component, words }, more @ ..] => {
                let more = match more.len() {
                    0 => String::new(),
                    n => format!(" (and {n} more)"),
                };
                format!("not ready{more}: {component}: {words}")
            }
        };
        if one_line(&status) != self.status {
            self.say("", &status).await;
        }
    }

    /// Sends `states` and a status.
    async fn say(&mut self, states: &str, status: &str) {
        self.status = one_line(status);
        self.line.send(&format!("{states}STATUS={}\n", self.status)).await;
    }
}

/// Returns the result of the check, once there is one.
async fn found(look: &mut Option<task::JoinHandle<Vec<UnhealthyReason>>>) -> Vec<UnhealthyReason> {
    match look {
        Some(look) => look.await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// A newline would begin another assignment, and the text may come from outside.
fn one_line(words: &str) -> String {
    let words = Escaped(words).to_string().replace(['\n', '\t'], " ");
    match words.char_indices().nth(STATUS_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::FlowGraph;

    #[test]
    fn watchdog_notifications_come_twice_per_period_and_only_if_asked_for() {
        let own = std::process::id().to_string();
        assert_eq!(beat(Some("30000000"), None), Some(Duration::from_secs(15)));
        assert_eq!(beat(Some("30000000"), Some(&own)), Some(Duration::from_secs(15)));
        assert_eq!(beat(Some("1"), None), Some(BEAT_MIN));
        for (usec, process) in [
            (None, None),
            (Some("0"), None),
            (Some("soon"), None),
            (Some("-5"), None),
            (Some("30000000"), Some("1")),
        ] {
            assert_eq!(beat(usec, process), None, "{usec:?} {process:?}");
        }
    }

    #[test]
    fn a_status_is_one_line_of_bounded_length() {
        assert_eq!(one_line("a\nMAINPID=1\tb\u{1b}"), "a MAINPID=1 b\\u{1b}");
        assert_eq!(one_line(&"ä".repeat(STATUS_CHARS_MAX)), "ä".repeat(STATUS_CHARS_MAX));
        let cut = one_line(&"ä".repeat(STATUS_CHARS_MAX + 1));
        assert_eq!(cut.chars().count(), STATUS_CHARS_MAX + 1);
    }

    #[test]
    fn a_socket_is_a_path_or_an_abstract_name() {
        for good in ["/run/x", "@x"] {
            assert!(NotifySocket::to(OsStr::new(good)).is_ok(), "{good}");
        }
        for bad in ["run/x", "vsock:2:1234", &format!("/{}", "x".repeat(200))] {
            assert!(NotifySocket::to(OsStr::new(bad)).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn no_watchdog_notification_is_sent_once_the_agents_threads_hang() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        manager.set_nonblocking(true).expect("set");
        let heard = || {
            let mut message = [0; 100];
            manager.recv(&mut message).map(|n| message[..n].to_vec()).unwrap_or_default()
        };
        let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
        let threads = threads.expect("a runtime");
        let watched = WatchedAgent {
            name: "a".to_owned(),
            registry: Arc::default(),
            threads: vec![("agent", threads.handle().clone())],
            stopping: Arc::default(),
            flow: tokio::sync::watch::channel(FlowGraph::default()).1,
            history: Arc::default(),
            alarms: Default::default(),
        };
        let line = NotifySocket::to(path.as_os_str()).expect("a socket");
        let teller = NotifierState::new(line, Some(BEAT_MIN), watched);
        teller.beat().await;
        assert_eq!(heard(), b"WATCHDOG=1\n");
        threads.shutdown_background();
        teller.beat().await;
        assert_eq!(heard(), b"");
    }
}
