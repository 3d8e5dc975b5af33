//! One call of a hook: a command, or a request.

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderValue};
use millpond_flow::command_run::{CommandRunError, run_to_end};
use millpond_flow::net::endpoint::Endpoint;
use millpond_flow::net::http_post::{PostError, RequestHeaders, RequestTimeouts, post};
use millpond_flow::net::tls::{ClientTls, StoreReloader, TlsError};
use millpond_flow::process::StderrMode;
use millpond_flow::settings::{SettingError, SettingsReader, tls};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Milliseconds that a call may take.
const TIMEOUT_MS: u64 = 60_000;
const TIMEOUT_MS_MAX: u64 = 3_600_000;

/// What is called.
#[derive(Clone)]
pub(in crate::sink) struct HookTarget {
    way: Way,
    limit: Duration,
}

#[derive(Clone)]
enum Way {
    /// The words of the command.
    Command(Vec<String>),
    Url(Endpoint, Arc<StoreReloader<ClientTls>>),
}

impl std::fmt::Debug for HookTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HookTarget({})", self.place())
    }
}

/// A renamed file, as the hook sees it.
#[derive(Clone, Debug)]
pub(super) struct RenamedFile {
    /// Its URL.
    pub(super) url: String,
    /// Its path without scheme and server.
    pub(super) path: String,
    pub(super) length: u64,
    pub(super) events: Option<u64>,
    pub(super) renamed_ms: u64,
}

/// Why a call did not end well.
#[derive(Debug, thiserror::Error)]
pub(super) enum HookError {
    #[error("{0}")]
    Command(#[from] CommandRunError),
    #[error("the server did not reply within {} ms (hdfs.onRename.timeout)", .0.as_millis())]
    Timeout(Duration),
    #[error("{0}")]
    Post(#[from] PostError),
    #[error("TLS cannot be used: {0}")]
    Tls(#[from] TlsError),
    #[error("the server replied {0}")]
    Status(u16),
}

impl RenamedFile {
    fn directory(of: &str) -> &str {
        of.rsplit_once('/').map_or("/", |(directory, _)| directory)
    }

    /// Returns the names of its directories that are `key=value`, joined by slashes.
    fn partition(&self) -> String {
        let names = Self::directory(&self.path).split('/');
        names.filter(|name| name.contains('=')).collect::<Vec<_>>().join("/")
    }

    fn json(&self) -> String {
        let partition: Map<String, Value> = Self::directory(&self.path)
            .split('/')
            .filter_map(|name| name.split_once('='))
            .map(|(key, value)| (key.to_owned(), Value::from(value)))
            .collect();
        json!({
            "url": self.url,
            "path": self.path,
            "directory": Self::directory(&self.url),
            "partition": partition,
            "length": self.length,
            "events": self.events,
            "renamedMs": self.renamed_ms,
        })
        .to_string()
    }
}

impl HookTarget {
    /// Reads the keys; `None` without a hook.
    ///
    /// # Errors
    /// Both are set, or one cannot be used.
    pub(in crate::sink) fn read(
        reader: &mut SettingsReader<'_>,
    ) -> Result<Option<Self>, SettingError> {
        let (command, url) = ("hdfs.onRename.command", "hdfs.onRename.url");
        let set = |key: &str| reader.text(key).filter(|text| !text.is_empty());
        let way = match (set(command), set(url)) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                return Err(reader.error(url, "contradicts hdfs.onRename.command: remove one"));
            }
            (Some(words), None) => {
                let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
                if words.is_empty() {
                    return Err(reader.error(command, "is blank"));
                }
                Way::Command(words)
            }
            (None, Some(text)) => match Endpoint::named(text) {
                Some(to) if !to.has_user() => {
                    let tls = tls::client_of_process(&BTreeMap::new());
                    Way::Url(to, Arc::new(StoreReloader::new(tls)))
                }
                // The value may have a password.
                _ => {
                    let message = "is not a URL with http or https and a host, without a user";
                    return Err(reader.error(url, message));
                }
            },
        };
        let limit = reader.number("hdfs.onRename.timeout", 1..=TIMEOUT_MS_MAX)?;
        Ok(Some(Self { way, limit: Duration::from_millis(limit.unwrap_or(TIMEOUT_MS)) }))
    }

    /// Returns what is called, for the log: without arguments and queries, which may be secrets.
    pub(super) fn place(&self) -> String {
        match &self.way {
            Way::Command(words) => words.first().cloned().unwrap_or_default(),
            Way::Url(to, _) => to.to_string(),
        }
    }

    /// Calls the hook for `file`, on behalf of `sink`.
    pub(super) async fn call(&self, sink: &str, file: &RenamedFile) -> Result<(), HookError> {
        match &self.way {
            Way::Command(words) => {
                let (url, partition) = (file.url.clone(), file.partition());
                let directory = RenamedFile::directory(&url).to_owned();
                let stderr = StderrMode::Rated(format!("{sink} hdfs.onRename.command"));
                let (more, input) = ([url, directory, partition], format!("{}\n", file.json()));
                Ok(run_to_end(words, &more, &input, stderr, self.limit).await?)
            }
            Way::Url(to, tls) => {
                let tls = if to.is_tls() { Some(tls.current(sink).await?) } else { None };
                let json = HeaderValue::from_static("application/json");
                let headers = RequestHeaders {
                    content_type: json.clone(),
                    accept: json,
                    more: HeaderMap::new(),
                };
                let timeouts = RequestTimeouts { connect: self.limit, request: self.limit };
                let body = Bytes::from(file.json());
                // The timeouts of a request begin again with each redirection and piece that is sent.
                let reply = post(to, tls.as_ref(), &headers, None, body, timeouts, 0);
                let reply = timeout(self.limit, reply).await;
                match reply.map_err(|_| HookError::Timeout(self.limit))??.status {
                    200..300 => Ok(()),
                    status => Err(HookError::Status(status)),
                }
            }
        }
    }
}
