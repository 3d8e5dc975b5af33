//! Where a configuration comes from: files, and pages of web servers.
//!
//! Limits: a page has as many bytes as a file may have ([`CONFIG_BYTES_MAX`]), 10 s for the first connection
//! and 30 s for all behind it.
//!
//! A page is asked for with what the server called the last one (`ETag`, `Last-Modified`), so that
//! nothing is sent while nothing changes. One that cannot be had while an agent runs changes nothing:
//! that is said, and the last one counts.

use crate::base::clock::{Clock, SystemClock};
use crate::base::limits::CONFIG_BYTES_MAX;
use crate::base::read_whole::{ReadWholeError, read_whole};
use crate::codes;
use crate::config::Text;
use crate::config::tls;
use crate::flow::spell::Spell;
use crate::net::endpoint::Endpoint;
use crate::net::fetch::{FetchError, Manner, Page, fetch};
use crate::net::tls::{ClientTls, Reloading, TlsError};
use base64ct::{Base64, Encoding};
use hyper::header::HeaderValue;
use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(10);
const REQUEST: Duration = Duration::from_secs(30);

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// What a URL names.
    Web(Endpoint),
}

impl From<PathBuf> for Origin {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Web(endpoint) => endpoint.fmt(f),
        }
    }
}

/// How web servers are asked.
#[derive(Clone)]
pub struct Access {
    authorization: Option<HeaderValue>,
    tls: ClientTls,
}

/// Passwords are not for a log.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("tls", &self.tls).finish_non_exhaustive()
    }
}

impl Access {
    /// As the user `name` with `password`, if there is one; `properties` are the `-D` options, which may
    /// name a trust store.
    #[must_use]
    pub fn new(user: Option<(&str, &str)>, properties: &BTreeMap<String, String>) -> Self {
        let authorization = user.and_then(|(name, password)| {
            let both = Base64::encode_string(format!("{name}:{password}").as_bytes());
            let mut value = HeaderValue::from_str(&format!("Basic {both}")).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self { authorization, tls: tls::client_of_process(properties) }
    }
}

/// Why a configuration was not had.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// A file cannot be read.
    #[error("configuration {}: {source} ({})", path.display(), codes::CONFIGURATION_UNREADABLE)]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Arc<ReadWholeError>,
    },
    /// A page cannot be had.
    #[error("configuration {endpoint}: {source} ({})", codes::CONFIGURATION_UNREADABLE)]
    Fetch {
        /// Where it should be.
        endpoint: Box<Endpoint>,
        /// Why it was not had.
        source: Arc<FetchError>,
    },
    /// The trust store for it cannot be used.
    #[error(
        "configuration {endpoint}: TLS cannot be used: {source} ({})",
        codes::CONFIGURATION_UNREADABLE
    )]
    Tls {
        /// Where it should be.
        endpoint: Box<Endpoint>,
        /// What is wrong with the store.
        source: Arc<TlsError>,
    },
}

/// What an origin looks like: of a file device, number, bytes and when it was changed.
#[derive(Clone, Debug)]
pub(super) enum Look {
    /// `None` when there is no such file.
    File(Option<(u64, u64, u64, i64, i64)>),
    Page(Result<Arc<Page>, OriginError>),
}

impl PartialEq for Look {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(other)) => one == other,
            (Self::Page(Ok(one)), Self::Page(Ok(other))) => one.bytes == other.bytes,
            // That it is still not there is nothing new, whatever the reason.
            (Self::Page(Err(_)), Self::Page(Err(_))) => true,
            _ => false,
        }
    }
}

/// The origins of one configuration, in the order in which later ones replace keys of earlier ones.
pub(super) struct Origins {
    list: Vec<Origin>,
    access: Access,
    /// A file that is looked at as well and is no part of the configuration.
    beside: Option<PathBuf>,
    tls: Reloading<ClientTls>,
    clock: SystemClock,
    /// Of each of the list: that one of several pages is there says nothing of the others.
    spells: Vec<Spell>,
}

impl Origins {
    pub(super) fn new(list: Vec<Origin>, access: Access, beside: Option<PathBuf>) -> Self {
        let tls = Reloading::new(access.tls.clone());
        let spells = list.iter().map(|_| Spell::default()).collect();
        Self { list, access, beside, tls, clock: SystemClock::new(), spells }
    }

    /// What would be said if each worked again.
    #[cfg(test)]
    pub(super) fn ended_spells(&self) -> Vec<Option<String>> {
        self.spells.iter().map(|spell| spell.over(self.clock.now())).collect()
    }

    /// What they look like now, `before` being what they looked like the last time. May be dropped.
    pub(super) async fn look(&self, before: &[Look]) -> Vec<Look> {
        let mut looks = Vec::new();
        for (at, (origin, spell)) in self.list.iter().zip(&self.spells).enumerate() {
            looks.push(match origin {
                Origin::File(path) => Look::File(look(path).await),
                Origin::Web(endpoint) => match before.get(at) {
                    Some(Look::Page(Ok(known))) => {
                        Look::Page(Ok(self.newer(endpoint, known, spell).await))
                    }
                    _ => Look::Page(self.page(endpoint, None).await.map(Arc::new)),
                },
            });
        }
        if let Some(path) = &self.beside {
            looks.push(Look::File(look(path).await));
        }
        looks
    }

    /// What is at `endpoint` now, or what was there before: that it cannot be had is said.
    async fn newer(&self, endpoint: &Endpoint, known: &Arc<Page>, spell: &Spell) -> Arc<Page> {
        match self.page(endpoint, Some(known)).await {
            Ok(page) => {
                if let Some(words) = spell.over(self.clock.now()) {
                    tracing::info!("configuration {endpoint}: {words}");
                }
                Arc::new(page)
            }
            Err(error) => {
                let words = format!("{error}; the agent keeps what it has");
                if let Some(words) = spell.failed(self.clock.now(), &words) {
                    tracing::warn!("{words}");
                }
                Arc::clone(known)
            }
        }
    }

    async fn page(&self, endpoint: &Endpoint, known: Option<&Page>) -> Result<Page, OriginError> {
        let tls = if endpoint.is_tls() {
            let loaded = self.tls.current("the configuration").await;
            Some(loaded.map_err(|source| OriginError::Tls {
                endpoint: Box::new(endpoint.clone()),
                source: Arc::new(source),
            })?)
        } else {
            None
        };
        let manner = Manner {
            tls: tls.as_ref(),
            authorization: self.access.authorization.as_ref(),
            also: &[],
            connect: CONNECT,
            request: REQUEST,
            bytes_max: usize::try_from(CONFIG_BYTES_MAX).unwrap_or(usize::MAX),
        };
        let fetched = fetch(endpoint, manner, known).await.map_err(|source| {
            OriginError::Fetch { endpoint: Box::new(endpoint.clone()), source: Arc::new(source) }
        })?;
        Ok(fetched
            .or_else(|| known.cloned())
            .expect("a server says that nothing is newer of a known page only"))
    }

    /// What they hold: files as they are now, pages as they were when they were looked at.
    pub(super) fn texts(&self, looks: &[Look]) -> Result<Vec<Text>, OriginError> {
        let one = |(origin, look): (&Origin, &Look)| match (origin, look) {
            (Origin::Web(_), Look::Page(Err(error))) => Err(error.clone()),
            (Origin::Web(endpoint), Look::Page(Ok(page))) => {
                Ok(Text { name: PathBuf::from(endpoint.to_string()), bytes: page.bytes.to_vec() })
            }
            (Origin::File(path), _) => read(path),
            (Origin::Web(_), Look::File(_)) => unreachable!("a page never looks like a file"),
        };
        self.list.iter().zip(looks).map(one).collect()
    }
}

fn read(path: &Path) -> Result<Text, OriginError> {
    let read = read_whole(path, CONFIG_BYTES_MAX);
    let bytes = read
        .map_err(|source| OriginError::File { path: path.to_owned(), source: Arc::new(source) })?;
    Ok(Text { name: path.to_owned(), bytes })
}

async fn look(path: &Path) -> Option<(u64, u64, u64, i64, i64)> {
    let path = path.to_owned();
    // A file system that hangs must hold up nothing else.
    let found = tokio::task::spawn_blocking(move || Path::metadata(&path)).await.ok()?.ok()?;
    Some((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

/// What `origins` hold, for a command that reads them once.
///
/// # Errors
/// One of them was not had.
pub async fn read_once(origins: Vec<Origin>, access: Access) -> Result<Vec<Text>, OriginError> {
    let origins = Origins::new(origins, access, None);
    let looks = origins.look(&[]).await;
    origins.texts(&looks)
}
