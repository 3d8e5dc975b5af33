//! The task that follows a node.
//!
//! Limits: a pause of at most [`PAUSE_MAX`] between two tries of all servers, so that a node is read again within
//! that time of the ensemble's return. A node that changes all the time is read again every [`REST`].

use crate::access::EnsembleAccess;
use crate::address::NodeAddress;
use crate::error::{SessionStage, ZooKeeperError};
use crate::session::{Session, Target};
use bytes::Bytes;
use millpond::internal::base::random::{Random, SystemRandom};
use millpond::{Clock, SystemClock};
use millpond_flow::backoff::Backoff;
use millpond_flow::codes;
use millpond_flow::failure_log::FailureLog;
use millpond_flow::net::tls::{ClientTls, Connector, StoreReloader};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// The longest pause between two tries of all servers.
pub const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The first pause, by which further ones grow.
const PAUSE_STEP: Duration = Duration::from_millis(250);

/// The shortest time between two reads of the node.
const REST: Duration = Duration::from_millis(50);

/// What is known of a node.
#[derive(Clone, Debug)]
pub enum NodeState {
    /// Not read yet.
    Pending,
    /// It could not be read since the start, for this reason.
    Unread(Arc<ZooKeeperError>),
    /// There is no such node.
    Absent,
    /// Its content.
    Content(Bytes),
}

impl NodeState {
    /// Returns whether a server has said what the node is.
    #[must_use]
    pub fn is_read(&self) -> bool {
        matches!(self, Self::Absent | Self::Content(_))
    }
}

/// Follows a node until it is dropped.
pub struct NodeFollower {
    state: watch::Receiver<NodeState>,
    task: JoinHandle<()>,
}

impl Drop for NodeFollower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl NodeFollower {
    /// Begins to follow the node at `address`. Must be called within a runtime.
    #[must_use]
    pub fn new(address: NodeAddress, access: EnsembleAccess) -> Self {
        let (sender, state) = watch::channel(NodeState::Pending);
        let tls = access.tls.map(StoreReloader::new);
        let ensemble = Ensemble {
            // Agents that start together do not all connect to the same server.
            first: usize::try_from(SystemRandom.next_u64() % 1024).unwrap_or(0),
            address,
            tls,
            digest: access.digest,
            seen: 0,
            state: sender,
            clock: SystemClock::new(),
            failure_log: FailureLog::default(),
        };
        Self { state, task: tokio::spawn(ensemble.follow()) }
    }

    /// Returns what is known, once something is, or after `time_limit`.
    pub async fn first(&self, time_limit: Duration) -> NodeState {
        let mut state = self.state.clone();
        let read = state.wait_for(|state| !matches!(state, NodeState::Pending));
        let _ = timeout(time_limit, read).await;
        self.state.borrow().clone()
    }

    /// Returns a receiver that is notified of every change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<NodeState> {
        self.state.clone()
    }
}

struct Ensemble {
    address: NodeAddress,
    /// The server that is tried first.
    first: usize,
    tls: Option<StoreReloader<ClientTls>>,
    digest: Option<(String, String)>,
    /// The newest transaction that any server has shown.
    seen: i64,
    state: watch::Sender<NodeState>,
    clock: SystemClock,
    failure_log: FailureLog,
}

impl Ensemble {
    async fn follow(mut self) {
        let mut backoff = Backoff::new(PAUSE_STEP, PAUSE_MAX);
        loop {
            let all_refused = self.try_all(&mut backoff).await;
            if all_refused {
                // No server has applied what one of them has shown: the ensemble was set up anew.
                self.seen = 0;
            }
            sleep(backoff.fail()).await;
        }
    }

    /// Follows the node on each server in turn, until it fails; returns true if every one refused a session.
    async fn try_all(&mut self, backoff: &mut Backoff) -> bool {
        let servers = self.address.servers().len();
        let mut all_refused = true;
        let mut last = None;
        for turn in 0..servers {
            let server = self.address.servers()[(self.first + turn) % servers].clone();
            let error = self.follow_on(&server, backoff).await;
            tracing::debug!("configuration {}: {error}", self.address);
            all_refused &=
                matches!(error, ZooKeeperError::Closed { stage: SessionStage::Opening, .. });
            last = Some(error);
        }
        // The next round begins with the next server.
        self.first = (self.first + 1) % servers;
        if let Some(error) = last {
            self.failed(error);
        }
        all_refused
    }

    /// Follows the node on one server; returns why that ended.
    async fn follow_on(&mut self, server: &(String, u16), backoff: &mut Backoff) -> ZooKeeperError {
        let tls = match self.connector().await {
            Ok(tls) => tls,
            Err(error) => return error,
        };
        let digest = self.digest.clone();
        let target = Target { server, tls: tls.as_ref(), digest: digest.as_ref(), seen: self.seen };
        let mut session = match Session::open(&target).await {
            Ok(session) => session,
            Err(error) => return error,
        };
        loop {
            let read = session.read_watched(self.address.path()).await;
            self.seen = self.seen.max(session.zxid());
            match read {
                Ok(content) => self.publish(content),
                Err(error) => {
                    session.close().await;
                    return error;
                }
            }
            backoff.reset();
            sleep(REST).await;
            if let Err(error) = session.changed().await {
                return error;
            }
        }
    }

    async fn connector(&self) -> Result<Option<Connector>, ZooKeeperError> {
        let Some(stores) = &self.tls else { return Ok(None) };
        stores.current("the configuration").await.map(Some).map_err(ZooKeeperError::Tls)
    }

    fn publish(&self, content: Option<Bytes>) {
        if let Some(words) = self.failure_log.over(self.clock.now()) {
            tracing::info!("configuration {}: {words}", self.address);
        }
        self.state.send_if_modified(|state| {
            let same = match (&*state, &content) {
                (NodeState::Content(known), Some(read)) => known == read,
                (NodeState::Absent, None) => true,
                _ => false,
            };
            if !same {
                *state = content.map_or(NodeState::Absent, NodeState::Content);
            }
            !same
        });
    }

    fn failed(&self, error: ZooKeeperError) {
        let has_read = matches!(&*self.state.borrow(), NodeState::Absent | NodeState::Content(_));
        let kept = if has_read { "what was read last counts" } else { "it was never read" };
        let words = format!(
            "configuration {}: {error}; {kept}, the servers are tried again every few seconds ({})",
            self.address,
            codes::CONFIGURATION_UNREADABLE
        );
        if let Some(words) = self.failure_log.failed(self.clock.now(), &words) {
            tracing::warn!("{words}");
        }
        if !has_read {
            self.state.send_replace(NodeState::Unread(Arc::new(error)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_server::{TestServer, until};
    use std::future::Future;

    const LONG: Duration = Duration::from_secs(60);

    async fn soon<T>(what: &str, wanted: impl Future<Output = T>) -> T {
        timeout(LONG, wanted).await.unwrap_or_else(|_| panic!("{what}"))
    }

    fn follow(servers: &[&TestServer], access: EnsembleAccess) -> NodeFollower {
        let connect: Vec<_> = servers.iter().map(|server| server.address()).collect();
        let address = NodeAddress::parse(&connect.join(","), "/flume", "a1").unwrap();
        NodeFollower::new(address, access)
    }

    async fn content(changes: &mut watch::Receiver<NodeState>, wanted: &str) {
        let is_it = |state: &NodeState| match state {
            NodeState::Content(bytes) => bytes == wanted.as_bytes(),
            NodeState::Absent => wanted == "absent",
            _ => false,
        };
        soon(wanted, changes.wait_for(is_it)).await.expect("it follows");
    }

    #[tokio::test]
    async fn a_node_is_followed_when_it_comes_changes_and_goes() {
        let server = TestServer::start().await;
        let follower = follow(&[&server], EnsembleAccess::default());
        assert!(matches!(follower.first(LONG).await, NodeState::Absent));
        let mut changes = follower.changes();
        for text in ["one", "two"] {
            server.set("/flume/a1", Some(text));
            content(&mut changes, text).await;
        }
        server.set("/flume/a1", None);
        content(&mut changes, "absent").await;
        server.set("/flume/a1", Some(""));
        content(&mut changes, "").await;
        assert_eq!(server.sessions(), 1, "one session did all of it");
    }

    #[tokio::test]
    async fn what_was_read_last_stays_while_the_server_is_away() {
        let server = TestServer::start().await;
        server.set("/flume/a1", Some("one"));
        let follower = follow(&[&server], EnsembleAccess::default());
        let mut changes = follower.changes();
        content(&mut changes, "one").await;
        server.close_all();
        server.refuse(true);
        soon("it tries again", until(|| server.refused() > 1)).await;
        assert!(matches!(&*changes.borrow(), NodeState::Content(bytes) if bytes == "one"));
        server.set("/flume/a1", Some("two"));
        server.refuse(false);
        content(&mut changes, "two").await;
    }

    #[tokio::test]
    async fn a_lost_session_continues_on_the_next_server() {
        let (one, two) = (TestServer::start().await, TestServer::start().await);
        for server in [&one, &two] {
            server.set("/flume/a1", Some("one"));
        }
        let follower = follow(&[&one, &two], EnsembleAccess::default());
        let mut changes = follower.changes();
        content(&mut changes, "one").await;
        let (used, other) = if one.sessions() == 1 { (&one, &two) } else { (&two, &one) };
        used.refuse(true);
        used.close_all();
        other.set("/flume/a1", Some("two"));
        content(&mut changes, "two").await;
    }

    #[tokio::test]
    async fn a_server_that_lags_is_not_used_while_there_are_others() {
        let (one, two) = (TestServer::start().await, TestServer::start().await);
        one.set("/flume/a1", Some("new"));
        one.set_zxid(9);
        two.refuse(true);
        let follower = follow(&[&one, &two], EnsembleAccess::default());
        let mut changes = follower.changes();
        content(&mut changes, "new").await;
        two.set("/flume/a1", Some("old"));
        two.set_zxid(5);
        two.refuse(false);
        one.close_all();
        soon("the first one again", until(|| one.sessions() > 1)).await;
        assert!(matches!(&*changes.borrow(), NodeState::Content(bytes) if bytes == "new"));
        assert_eq!(two.sessions(), 0);
        // Both are older: an ensemble that was set up anew.
        for server in [&one, &two] {
            server.set("/flume/a1", Some("anew"));
            server.set_zxid(1);
            server.close_all();
        }
        content(&mut changes, "anew").await;
    }

    #[tokio::test]
    async fn a_user_that_may_not_read_is_an_error_until_it_may() {
        let server = TestServer::start().await;
        server.set("/flume/a1", Some("one"));
        server.admit_only("u:p");
        let none = follow(&[&server], EnsembleAccess::default());
        let NodeState::Unread(error) = none.first(LONG).await else { panic!("refused") };
        assert!(matches!(*error, ZooKeeperError::NoPermission), "{error}");
        let digest = Some(("u".to_owned(), "p".to_owned()));
        let user = follow(&[&server], EnsembleAccess { tls: None, digest });
        assert!(matches!(user.first(LONG).await, NodeState::Content(_)));
    }

    #[tokio::test]
    async fn a_server_that_speaks_something_else_is_named() {
        let server = TestServer::start().await;
        server.reply_with(b"HTTP/1.1 400 Bad Request\r\n");
        let follower = follow(&[&server], EnsembleAccess::default());
        let NodeState::Unread(error) = follower.first(LONG).await else { panic!("refused") };
        assert!(matches!(*error, ZooKeeperError::Protocol { .. }), "{error}");
    }
}
