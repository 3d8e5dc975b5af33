//! Requests to an agent's pages.

use super::agent_alarm::AgentAlarm;
use super::metrics_page::AgentMetrics;
use super::{ALARMS_MAX, COMPONENTS_MAX, CONNECT, PAGE_BYTES_MAX, ROUND};
use hyper::StatusCode;
use hyper::header::HeaderValue;
use millpond_flow::net::endpoint::Endpoint;
use millpond_flow::net::http_get::{FetchError, FetchOptions, fetch};
use millpond_flow::net::tls::Connector;
use serde_json::Value;
use std::collections::BTreeMap;
use tokio::time::timeout;

/// The default port of the pages, as in Flume.
const PORT: u16 = 41414;

/// The address of an agent.
#[derive(Clone, Debug)]
pub struct AgentAddress {
    /// As it was given.
    pub words: String,
    metrics: Endpoint,
    ready: Endpoint,
    alarms: Endpoint,
}

/// The text is not an address of an agent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}: is not a HOST, HOST:PORT or URL with http or https")]
pub struct AgentAddressError(String);

impl AgentAddress {
    /// Parses an address: a host, a host and a port, or a URL as a prefix of the pages.
    ///
    /// # Errors
    /// The text is none of these.
    pub fn named(words: &str) -> Result<Self, AgentAddressError> {
        let base = base(words).ok_or_else(|| AgentAddressError(words.to_owned()))?;
        let page = |path: &str| {
            let page = Endpoint::named(&format!("{base}/{path}"));
            page.filter(|page| !page.has_user()).ok_or_else(|| AgentAddressError(words.to_owned()))
        };
        let (metrics, ready) = (page("metrics/prometheus")?, page("readyz")?);
        Ok(Self { words: words.to_owned(), metrics, ready, alarms: page("alarms")? })
    }

    /// Returns whether others on the network can read the requests: it is on another machine, and
    /// TLS is not used.
    #[must_use]
    pub fn is_overheard(&self) -> bool {
        !self.metrics.is_tls() && !self.metrics.is_loopback()
    }

    /// Returns whether TLS is used.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.metrics.is_tls()
    }
}

/// Returns the URL before the pages' paths, without a trailing slash.
fn base(words: &str) -> Option<String> {
    if words.contains("://") {
        let base = words.trim_end_matches('/');
        let base = ["/metrics/prometheus", "/metrics"]
            .iter()
            .find_map(|page| base.strip_suffix(page))
            .unwrap_or(base);
        return (!base.contains(['?', '#'])).then(|| base.to_owned());
    }
    if words.is_empty() || words.contains('/') {
        return None;
    }
    // An IPv6 address has colons of its own.
    let bare = words.matches(':').count() > 1 && !words.starts_with('[');
    let host = if bare { format!("[{words}]") } else { words.to_owned() };
    match host.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
        None => Some(format!("http://{host}:{PORT}")),
        Some((_, port)) => port.parse::<u16>().ok().map(|_| format!("http://{host}")),
    }
}

/// The readiness report of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentReadiness {
    /// Its name.
    pub agent: String,
    /// Whether it is ready.
    pub ready: bool,
    /// Why not, by component.
    pub reasons: BTreeMap<String, Vec<String>>,
    /// Components whose last attempt failed.
    pub failing: BTreeMap<String, FailingComponent>,
}

/// Why the last attempt of a component failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailingComponent {
    /// The code to look up, as `MP-3001`.
    pub code: String,
    /// The cause.
    pub reason: String,
    /// Since when no attempt has succeeded, as the agent writes it.
    pub since: String,
}

impl FailingComponent {
    /// Returns it in one line.
    #[must_use]
    pub fn words(&self) -> String {
        let code = format!("({})", self.code);
        let code = if self.reason.ends_with(&code) { String::new() } else { format!(" {code}") };
        format!("{}{code} since {}", self.reason, self.since)
    }
}

/// The reply of an agent.
#[derive(Clone, Debug, Default)]
pub struct AgentAnswer {
    /// Its metrics.
    pub reading: AgentMetrics,
    /// Its readiness; `None` if the page is not available.
    pub ready: Option<AgentReadiness>,
    /// Its active alarms.
    pub alarms: Vec<AgentAlarm>,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// Not all of it came in time.
    #[error("no answer within {} s", ROUND.as_secs())]
    Timeout,
    /// A status other than 200.
    #[error("the server replied {status}{advice}", status = .0, advice = advice(*.0))]
    Status(StatusCode),
    /// The request failed.
    #[error(transparent)]
    Fetch(FetchError),
    /// The server is not an agent.
    #[error("the server is not a millpond agent of a version with these pages")]
    NotMillpond,
}

fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => ": give --user and --password-file, or --token-file",
        StatusCode::FORBIDDEN => {
            ": it may accept requests only on its own machine, or under other names"
        }
        _ => "",
    }
}

impl From<FetchError> for AskError {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Status { status } => Self::Status(status),
            other => Self::Fetch(other),
        }
    }
}

/// How agents are accessed.
#[derive(Clone, Default)]
pub struct AgentAccess {
    /// Makes connections to targets with https.
    pub tls: Option<Connector>,
    /// The value of the header `Authorization`, if agents require one.
    pub authorization: Option<HeaderValue>,
}

/// Returns the reply of the agent at `target`.
///
/// # Errors
/// It did not send its metrics in time.
pub async fn ask(target: &AgentAddress, access: &AgentAccess) -> Result<AgentAnswer, AskError> {
    let asking = async {
        let tls = access.tls.as_ref().filter(|_| target.is_tls());
        let page = |of| page(of, tls, access.authorization.as_ref());
        let (metrics, ready, alarms) =
            tokio::join!(page(&target.metrics), page(&target.ready), page(&target.alarms));
        let reading = AgentMetrics::of(&metrics?).ok_or(AskError::NotMillpond)?;
        // An agent may have neither page: an older one, or one behind a proxy that shows less.
        let json = |page: Result<String, _>| serde_json::from_str::<Value>(&page.ok()?).ok();
        Ok(AgentAnswer {
            reading,
            ready: json(ready).and_then(|page| readiness(&page)),
            alarms: json(alarms).map(|page| active(&page)).unwrap_or_default(),
        })
    };
    timeout(ROUND, asking).await.map_err(|_| AskError::Timeout)?
}

async fn page(
    of: &Endpoint,
    tls: Option<&Connector>,
    authorization: Option<&HeaderValue>,
) -> Result<String, AskError> {
    let fetch_options = FetchOptions {
        tls,
        authorization,
        also: &[StatusCode::SERVICE_UNAVAILABLE],
        connect: CONNECT,
        request: ROUND,
        bytes_max: PAGE_BYTES_MAX,
    };
    let page = fetch(of, fetch_options, None).await?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&page.bytes).into_owned())
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

/// Returns what the page reports; `None` if it names no agent: it is another server's page.
fn readiness(page: &Value) -> Option<AgentReadiness> {
    let agent = page["agent"].as_str().filter(|agent| !agent.is_empty())?.to_owned();
    let mut ready =
        AgentReadiness { agent, ready: page["ready"] == true, ..AgentReadiness::default() };
    for reason in page["reasons"].as_array().into_iter().flatten() {
        ready.reasons.entry(text(&reason["component"])).or_default().push(text(&reason["reason"]));
    }
    for failure in page["failing"].as_array().into_iter().flatten().take(COMPONENTS_MAX) {
        let [code, reason, since] = ["code", "reason", "since"].map(|key| text(&failure[key]));
        ready.failing.insert(text(&failure["component"]), FailingComponent { code, reason, since });
    }
    Some(ready)
}

/// Returns the active alarms of the page, as far as they are understood.
fn active(page: &Value) -> Vec<AgentAlarm> {
    let name = |alarm: &Value| {
        let keys = ["title", "name", "id"].into_iter();
        keys.map(|key| text(&alarm[key])).find(|name| !name.is_empty()).unwrap_or_default()
    };
    let alarm = |alarm: &Value| AgentAlarm {
        name: name(alarm),
        severity: text(&alarm["severity"]),
        component: text(&alarm["component"]),
        words: text(&alarm["message"]),
    };
    page["active"].as_array().into_iter().flatten().take(ALARMS_MAX).map(alarm).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_agent_is_named_by_host_port_or_url() {
        for (words, expected) in [
            ("web1", "http://web1:41414/metrics/prometheus"),
            ("web1:80", "http://web1:80/metrics/prometheus"),
            ("127.0.0.1:34545", "http://127.0.0.1:34545/metrics/prometheus"),
            ("[::1]:5", "http://[::1]:5/metrics/prometheus"),
            ("::1", "http://[::1]:41414/metrics/prometheus"),
            ("[::1]", "http://[::1]:41414/metrics/prometheus"),
            ("http://h:1/", "http://h:1/metrics/prometheus"),
            ("https://proxy/web1/metrics", "https://proxy/web1/metrics/prometheus"),
        ] {
            let target = AgentAddress::named(words).expect(words);
            assert_eq!(target.metrics.to_string(), expected, "{words}");
            assert_eq!(target.is_tls(), words.starts_with("https"));
        }
        for words in [
            "",
            "a b",
            "web1/metrics",
            "ftp://h",
            "http://h?x",
            "http://u:p@h",
            "h:port",
            "h:99999",
        ] {
            assert!(AgentAddress::named(words).is_err(), "{words}");
        }
    }

    #[test]
    fn unknown_parts_of_other_pages_are_ignored() {
        let page = json!({"agent": "a", "ready": false, "reasons": [
            {"component": "SINK.k1", "reason": "x"}, {"component": "SINK.k1", "reason": "y"}, 7]});
        let ready = readiness(&page).expect("it names an agent");
        assert_eq!((ready.agent.as_str(), ready.ready), ("a", false));
        assert_eq!(ready.reasons["SINK.k1"], ["x", "y"]);
        let page = json!({"agent": "a", "ready": true, "reasons": [], "failing": [
            {"component": "SINK.k1", "code": "MP-3001", "reason": "refused", "since": "1970-01-01T00:00:01Z"},
            7, {"component": "SINK.k2"},
        ]});
        let ready = readiness(&page).expect("it names an agent");
        assert_eq!(
            ready.failing["SINK.k1"].words(),
            "refused (MP-3001) since 1970-01-01T00:00:01Z"
        );
        for other in
            [json!({}), json!({"agent": "", "ready": true}), json!({"agent": 7}), json!([])]
        {
            assert_eq!(readiness(&other), None, "{other}");
        }
        let page = json!({"active": [{"id": 24003, "title": "client silent", "severity": "major",
            "component": "SOURCE.r1", "message": "since 3 min", "more": {}}, "odd"]});
        let alarms = active(&page);
        let expected = AgentAlarm {
            name: "client silent".to_owned(),
            severity: "major".to_owned(),
            component: "SOURCE.r1".to_owned(),
            words: "since 3 min".to_owned(),
        };
        assert_eq!((alarms.len(), &alarms[0]), (2, &expected));
        assert!(active(&json!([])).is_empty() && active(&json!({"active": "x"})).is_empty());
    }
}
