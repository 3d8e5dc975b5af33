//! The origins of a configuration: files, pages of web servers, and nodes of ZooKeeper.
//!
//! Limits: a page or a node may be as long as a file ([`CONFIG_BYTES_MAX`]); the first connection may
//! take 10 s, and everything after it 30 s. A node is waited for 10 s at the start.
//!
//! A page is fetched with a conditional request (`ETag`, `Last-Modified`), so that an unchanged
//! page is not transferred. A page that cannot be fetched while an agent runs changes nothing: this
//! is logged, and the last one counts. The same holds for a node while its servers are away; one that
//! is deleted or empty is not a configuration, so the running one stays.

use base64ct::{Base64, Encoding};
use hyper::header::HeaderValue;
use millpond::{Clock, SystemClock};
use millpond_config::ConfigText;
use millpond_flow::base::limits::CONFIG_BYTES_MAX;
use millpond_flow::base::small_file::{SmallFileError, read_whole};
use millpond_flow::codes;
use millpond_flow::failure_log::FailureLog;
use millpond_flow::net::endpoint::Endpoint;
use millpond_flow::net::http_get::{FetchError, FetchOptions, Page, fetch};
use millpond_flow::net::tls::{ClientTls, StoreReloader, TlsError};
use millpond_flow::settings::tls;
use millpond_zookeeper::ZooKeeperError;
use millpond_zookeeper::access::EnsembleAccess;
use millpond_zookeeper::address::NodeAddress;
use millpond_zookeeper::follower::{NodeFollower, NodeState};
use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const CONNECT: Duration = Duration::from_secs(10);
const REQUEST: Duration = Duration::from_secs(30);

/// An origin of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigOrigin {
    /// A file.
    File(PathBuf),
    /// The page at a URL.
    Web(Endpoint),
    /// The content of a node of ZooKeeper.
    ZooKeeper(NodeAddress),
}

impl From<PathBuf> for ConfigOrigin {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl fmt::Display for ConfigOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Web(endpoint) => endpoint.fmt(f),
            Self::ZooKeeper(node) => node.fmt(f),
        }
    }
}

/// How the servers of configurations are accessed.
#[derive(Clone)]
pub struct OriginAccess {
    authorization: Option<HeaderValue>,
    tls: ClientTls,
    ensemble: EnsembleAccess,
}

/// Passwords must not be logged.
impl fmt::Debug for OriginAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("tls", &self.tls).finish_non_exhaustive()
    }
}

impl OriginAccess {
    /// Returns the access for the user `name` with `password`, if there is one; `properties` are
    /// the `-D` options, which may name a trust store.
    #[must_use]
    pub fn new(user: Option<(&str, &str)>, properties: &BTreeMap<String, String>) -> Self {
        let authorization = user.and_then(|(name, password)| {
            let both = Base64::encode_string(format!("{name}:{password}").as_bytes());
            let mut value = HeaderValue::from_str(&format!("Basic {both}")).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self {
            authorization,
            tls: tls::client_of_process(properties),
            ensemble: EnsembleAccess::new(user, properties),
        }
    }

    /// Returns whether ZooKeeper is accessed with TLS.
    #[must_use]
    pub fn has_ensemble_tls(&self) -> bool {
        self.ensemble.tls.is_some()
    }
}

/// Why a configuration could not be read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigOriginError {
    /// A file cannot be read.
    #[error("configuration {}: {source} ({})", path.display(), codes::CONFIGURATION_UNREADABLE)]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Arc<SmallFileError>,
    },
    /// A page cannot be fetched.
    #[error("configuration {endpoint}: {source} ({})", codes::CONFIGURATION_UNREADABLE)]
    Fetch {
        /// Its URL.
        endpoint: Box<Endpoint>,
        /// The cause.
        source: Arc<FetchError>,
    },
    /// The page's trust store cannot be used.
    #[error(
        "configuration {endpoint}: TLS cannot be used: {source} ({})",
        codes::CONFIGURATION_UNREADABLE
    )]
    Tls {
        /// The page's URL.
        endpoint: Box<Endpoint>,
        /// What is wrong with the store.
        source: Arc<TlsError>,
    },
    /// A node cannot be read.
    #[error("configuration {node}: {source} ({})", codes::CONFIGURATION_UNREADABLE)]
    Node {
        /// The node.
        node: Box<NodeAddress>,
        /// The cause.
        source: Arc<ZooKeeperError>,
    },
    /// A node has no configuration.
    #[error("configuration {node}: {state} ({})", codes::CONFIGURATION_UNREADABLE)]
    NoContent {
        /// The node.
        node: Box<NodeAddress>,
        /// How it is.
        state: EmptyNode,
    },
}

/// How a node is that has no configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyNode {
    /// There is none.
    Absent,
    /// It has no content but blanks.
    Empty,
    /// Its servers have not replied yet.
    Pending,
}

impl fmt::Display for EmptyNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("there is no such node"),
            Self::Empty => f.write_str("the node is empty"),
            Self::Pending => write!(f, "no server has replied within {} s", CONNECT.as_secs()),
        }
    }
}

/// A fingerprint of an origin: of a file its device, number, size and time of change.
#[derive(Clone, Debug)]
pub(super) enum OriginState {
    /// `None` if there is no such file.
    File(Option<(u64, u64, u64, i64, i64)>),
    Page(Result<Arc<Page>, ConfigOriginError>),
    Node(NodeState),
}

impl PartialEq for OriginState {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(other)) => one == other,
            (Self::Page(Ok(one)), Self::Page(Ok(other))) => one.bytes == other.bytes,
            // That it is still missing is not a change, whatever the reason.
            (Self::Page(Err(_)), Self::Page(Err(_))) => true,
            (Self::Node(one), Self::Node(other)) => match (one, other) {
                (NodeState::Content(one), NodeState::Content(other)) => one == other,
                (NodeState::Absent, NodeState::Absent) => true,
                (one, other) => !one.is_read() && !other.is_read(),
            },
            _ => false,
        }
    }
}

/// The origins of one configuration; later ones replace keys of earlier ones.
pub(super) struct ConfigOrigins {
    list: Vec<ConfigOrigin>,
    access: OriginAccess,
    /// A file that is watched as well and is not part of the configuration.
    beside: Option<PathBuf>,
    tls: StoreReloader<ClientTls>,
    clock: SystemClock,
    /// One for each origin: the success of one page says nothing about the others.
    failure_logs: Vec<FailureLog>,
    /// One for each origin that is a node.
    followers: Vec<Option<NodeFollower>>,
}

impl ConfigOrigins {
    /// Must be called within a runtime.
    pub(super) fn new(
        list: Vec<ConfigOrigin>,
        access: OriginAccess,
        beside: Option<PathBuf>,
    ) -> Self {
        let tls = StoreReloader::new(access.tls.clone());
        let failure_logs = list.iter().map(|_| FailureLog::default()).collect();
        let follower = |origin: &ConfigOrigin| match origin {
            ConfigOrigin::ZooKeeper(node) => {
                Some(NodeFollower::new(node.clone(), access.ensemble.clone()))
            }
            ConfigOrigin::File(_) | ConfigOrigin::Web(_) => None,
        };
        let followers = list.iter().map(follower).collect();
        Self { list, access, beside, tls, clock: SystemClock::new(), failure_logs, followers }
    }

    /// Returns a receiver that is notified when a node changes; `None` without nodes.
    pub(super) fn node_changes(&self) -> Option<watch::Receiver<NodeState>> {
        self.followers.iter().flatten().next().map(NodeFollower::changes)
    }

    /// The lines to log if each worked again.
    #[cfg(test)]
    pub(super) fn ended_failures(&self) -> Vec<Option<String>> {
        self.failure_logs.iter().map(|failure_log| failure_log.over(self.clock.now())).collect()
    }

    /// Returns the current fingerprints, `before` being the earlier ones. May be cancelled.
    pub(super) async fn look(&self, before: &[OriginState]) -> Vec<OriginState> {
        let mut looks = Vec::new();
        for (at, (origin, failure_log)) in self.list.iter().zip(&self.failure_logs).enumerate() {
            looks.push(match origin {
                ConfigOrigin::File(path) => OriginState::File(look(path).await),
                ConfigOrigin::Web(endpoint) => match before.get(at) {
                    Some(OriginState::Page(Ok(known))) => {
                        OriginState::Page(Ok(self.newer(endpoint, known, failure_log).await))
                    }
                    _ => OriginState::Page(self.page(endpoint, None).await.map(Arc::new)),
                },
                ConfigOrigin::ZooKeeper(_) => OriginState::Node(match &self.followers[at] {
                    Some(follower) => follower.first(CONNECT).await,
                    None => NodeState::Pending,
                }),
            });
        }
        if let Some(path) = &self.beside {
            looks.push(OriginState::File(look(path).await));
        }
        looks
    }

    /// Fetches the page at `endpoint`, or keeps the earlier one: a failure is logged.
    async fn newer(
        &self,
        endpoint: &Endpoint,
        known: &Arc<Page>,
        failure_log: &FailureLog,
    ) -> Arc<Page> {
        match self.page(endpoint, Some(known)).await {
            Ok(page) => {
                if let Some(words) = failure_log.over(self.clock.now()) {
                    tracing::info!("configuration {endpoint}: {words}");
                }
                Arc::new(page)
            }
            Err(error) => {
                let words = format!("{error}; the agent keeps what it has");
                if let Some(words) = failure_log.failed(self.clock.now(), &words) {
                    tracing::warn!("{words}");
                }
                Arc::clone(known)
            }
        }
    }

    async fn page(
        &self,
        endpoint: &Endpoint,
        known: Option<&Page>,
    ) -> Result<Page, ConfigOriginError> {
        let tls = if endpoint.is_tls() {
            let loaded = self.tls.current("the configuration").await;
            Some(loaded.map_err(|source| ConfigOriginError::Tls {
                endpoint: Box::new(endpoint.clone()),
                source: Arc::new(source),
            })?)
        } else {
            None
        };
        let fetch_options = FetchOptions {
            tls: tls.as_ref(),
            authorization: self.access.authorization.as_ref(),
            also: &[],
            connect: CONNECT,
            request: REQUEST,
            bytes_max: usize::try_from(CONFIG_BYTES_MAX).unwrap_or(usize::MAX),
        };
        let fetched = fetch(endpoint, fetch_options, known).await.map_err(|source| {
            ConfigOriginError::Fetch {
                endpoint: Box::new(endpoint.clone()),
                source: Arc::new(source),
            }
        })?;
        Ok(fetched
            .or_else(|| known.cloned())
            .expect("a server says that nothing is newer of a known page only"))
    }

    /// Returns the contents: files as they are now, pages as they were last fetched.
    pub(super) fn texts(
        &self,
        looks: &[OriginState],
    ) -> Result<Vec<ConfigText>, ConfigOriginError> {
        let one = |(origin, look): (&ConfigOrigin, &OriginState)| match (origin, look) {
            (ConfigOrigin::Web(_), OriginState::Page(Err(error))) => Err(error.clone()),
            (ConfigOrigin::Web(endpoint), OriginState::Page(Ok(page))) => Ok(ConfigText {
                name: PathBuf::from(endpoint.to_string()),
                bytes: page.bytes.to_vec(),
            }),
            (ConfigOrigin::File(path), _) => read(path),
            (ConfigOrigin::ZooKeeper(node), OriginState::Node(state)) => content(node, state),
            (ConfigOrigin::Web(_) | ConfigOrigin::ZooKeeper(_), _) => {
                unreachable!("the fingerprint of an origin is of its own kind")
            }
        };
        self.list.iter().zip(looks).map(one).collect()
    }
}

/// Returns the content of a node.
fn content(node: &NodeAddress, state: &NodeState) -> Result<ConfigText, ConfigOriginError> {
    let none = |state| ConfigOriginError::NoContent { node: Box::new(node.clone()), state };
    match state {
        NodeState::Content(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => {
            Err(none(EmptyNode::Empty))
        }
        NodeState::Content(bytes) => {
            Ok(ConfigText { name: PathBuf::from(node.to_string()), bytes: bytes.to_vec() })
        }
        NodeState::Absent => Err(none(EmptyNode::Absent)),
        NodeState::Pending => Err(none(EmptyNode::Pending)),
        NodeState::Unread(source) => Err(ConfigOriginError::Node {
            node: Box::new(node.clone()),
            source: Arc::clone(source),
        }),
    }
}

fn read(path: &Path) -> Result<ConfigText, ConfigOriginError> {
    let read = read_whole(path, CONFIG_BYTES_MAX);
    let bytes = read.map_err(|source| ConfigOriginError::File {
        path: path.to_owned(),
        source: Arc::new(source),
    })?;
    Ok(ConfigText { name: path.to_owned(), bytes })
}

async fn look(path: &Path) -> Option<(u64, u64, u64, i64, i64)> {
    let path = path.to_owned();
    // A file system that hangs must not delay anything else.
    let found = tokio::task::spawn_blocking(move || Path::metadata(&path)).await.ok()?.ok()?;
    Some((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

/// Returns the contents of `origins`, for a command that reads them once.
///
/// # Errors
/// One of them could not be read.
pub async fn read_once(
    origins: Vec<ConfigOrigin>,
    access: OriginAccess,
) -> Result<Vec<ConfigText>, ConfigOriginError> {
    let origins = ConfigOrigins::new(origins, access, None);
    let looks = origins.look(&[]).await;
    origins.texts(&looks)
}
