//! The pages: which request gets which reply.

use super::settings::MetricsFormat;
use super::watched_agent::WatchedAgent;
use super::{dashboard, dropped_page, flume, health, prometheus};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, Response, StatusCode, Version};
use millpond_flow::base::escape::Escaped;
use millpond_flow::net::endpoint::is_loopback;
use millpond_flow::net::http_auth::Credentials;

const HTML: &str = "text/html;charset=utf-8";
const TEXT: &str = "text/plain;charset=utf-8";
const JSON: &str = "application/json;charset=utf-8";

const SVG: &str = "image/svg+xml;charset=utf-8";
/// A drawing has its own style and needs nothing else.
const SVG_POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");

/// The rules for every request.
#[derive(Clone, Debug)]
pub(super) struct PageAccess {
    /// What `/metrics` is.
    pub(super) format: MetricsFormat,
    /// Set if only this machine can connect: the name or address of the setting. A browser on this
    /// machine must not fetch a page by a foreign name that resolves to this machine (DNS
    /// rebinding).
    pub(super) loopback: Option<String>,
    /// The credentials that a request must have.
    pub(super) auth: RequiredCredentials,
    /// Whether the health pages are public all the same.
    pub(super) health_without_auth: bool,
}

/// The credentials that a request must have.
#[derive(Clone, Debug)]
pub(super) enum RequiredCredentials {
    /// None: the pages are public.
    Nothing,
    /// Secrets that could never be read, so that no request is allowed, and the cause.
    Unreadable(String),
    /// A secret.
    As(Credentials),
}

impl PageAccess {
    /// Returns the reply to a request without valid credentials.
    fn denied(&self, request: &Parts) -> Option<Response<Full<Bytes>>> {
        let path = request.uri.path();
        let is_open = self.health_without_auth
            && ["/healthz", "/readyz", "/state"].iter().any(|open| path.eq_ignore_ascii_case(open));
        let known = match &self.auth {
            RequiredCredentials::Nothing => return None,
            _ if is_open => return None,
            RequiredCredentials::Unreadable(why) => {
                let words = format!(
                    "no request is allowed, since the password or token cannot be read: {why}\n"
                );
                return Some(page(StatusCode::SERVICE_UNAVAILABLE, TEXT, words));
            }
            RequiredCredentials::As(known) if known.admit(&request.headers) => return None,
            RequiredCredentials::As(known) => known,
        };
        let mut denied = page(StatusCode::UNAUTHORIZED, TEXT, "authentication is required\n");
        known.challenge(denied.headers_mut());
        Some(denied)
    }

    /// Returns the requested host, if it is not this machine.
    fn foreign_host(&self, request: &Parts) -> Option<String> {
        let bind = self.loopback.as_ref()?;
        let named = match request.uri.host() {
            Some(host) => host.to_owned(),
            None => {
                let host = request.headers.get(HOST)?;
                let authority = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
                authority.map_or_else(|| "?".to_owned(), |authority| authority.host().to_owned())
            }
        };
        let host = named.trim_matches(['[', ']']);
        let is_here = is_loopback(host) || host.eq_ignore_ascii_case(bind);
        (!is_here).then(|| host.to_owned())
    }
}

/// Returns the page for `request`. As in Flume's server, any method but OPTIONS and TRACE reads,
/// and the case of `/metrics` does not matter.
pub(super) async fn answer(
    request: &Parts,
    watched: &WatchedAgent,
    rules: &PageAccess,
) -> Response<Full<Bytes>> {
    let format = rules.format;
    if request.version == Version::HTTP_11 && !request.headers.contains_key(HOST) {
        return nothing(StatusCode::BAD_REQUEST);
    }
    if let Some(host) = rules.foreign_host(request) {
        let words = format!(
            "\"{}\" is not this machine; ask for http://127.0.0.1 or http://localhost, or set -Dflume.monitoring.bind\n",
            Escaped(&host)
        );
        return page(StatusCode::MISDIRECTED_REQUEST, TEXT, words);
    }
    if let Some(denied) = rules.denied(request) {
        return denied;
    }
    if [Method::OPTIONS, Method::TRACE].contains(&request.method) {
        return nothing(StatusCode::FORBIDDEN);
    }
    let snapshot = || watched.registry.snapshot();
    match (request.uri.path().to_ascii_lowercase().as_str(), format) {
        ("/", _) => guarded(page(StatusCode::OK, HTML, dashboard::PAGE), dashboard::policy()),
        ("/metrics", MetricsFormat::Flume) => page(StatusCode::OK, JSON, flume::json(&snapshot())),
        ("/metrics" | "/metrics/prometheus", _) => {
            let text =
                prometheus::text(&snapshot(), &watched.alarms, watched.registry.client_totals());
            page(StatusCode::OK, prometheus::CONTENT_TYPE, text)
        }
        ("/dropped", _) => {
            page(StatusCode::OK, JSON, dropped_page::json(&watched.name, &snapshot()))
        }
        ("/alarms", _) => page(StatusCode::OK, JSON, watched.alarms.json()),
        ("/flow", _) => page(StatusCode::OK, JSON, watched.flow.borrow().json.clone()),
        ("/flow.svg", _) => {
            guarded(page(StatusCode::OK, SVG, watched.flow.borrow().svg.clone()), SVG_POLICY)
        }
        ("/history", _) => {
            page(StatusCode::OK, JSON, watched.history.json(&watched.name, from(request)))
        }
        ("/healthz", _) => {
            let dead = health::dead(watched).await;
            let good = dead.is_empty();
            state(good, &health::page(("alive", good), watched, &dead))
        }
        // `/state` is for readers of the text, such as the dashboard: a browser logs an error in
        // its console for each 503.
        (path @ ("/readyz" | "/state"), _) => match health::oldest_max(request.uri.query()) {
            Ok(oldest_max) => {
                let readiness = health::readiness(watched, oldest_max);
                let good = readiness.reasons.is_empty() || path != "/readyz";
                state(good, &health::ready_page(watched, &readiness))
            }
            Err(words) => page(StatusCode::BAD_REQUEST, TEXT, words),
        },
        _ => page(StatusCode::NOT_FOUND, HTML, "There is no such page; see <a href=\"/\">/</a>."),
    }
}

/// Returns the number after `from=`, 0 without one.
fn from(request: &Parts) -> u64 {
    let pairs = request.uri.query().unwrap_or_default().split('&');
    let number = |pair: &str| pair.strip_prefix("from=")?.parse().ok();
    pairs.filter_map(number).next_back().unwrap_or(0)
}

/// Adds the policy of what a browser may do on the page.
fn guarded(mut page: Response<Full<Bytes>>, policy: HeaderValue) -> Response<Full<Bytes>> {
    let headers = page.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    page
}

/// Returns a health page, with the matching status.
fn state(good: bool, words: &serde_json::Value) -> Response<Full<Bytes>> {
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    page(status, JSON, format!("{words}\n"))
}

fn page(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn nothing(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
