//! What is answered to which request.

use super::settings::Format;
use super::{Watched, dashboard, dropped, flume, health, prometheus};
use crate::base::visible::Visible;
use crate::net::endpoint::is_loopback;
use crate::net::http_auth::Credentials;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, Response, StatusCode, Version};

const HTML: &str = "text/html;charset=utf-8";
const TEXT: &str = "text/plain;charset=utf-8";
const JSON: &str = "application/json;charset=utf-8";

const SVG: &str = "image/svg+xml;charset=utf-8";
/// A drawing has a style of its own and needs nothing else.
const SVG_POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");

/// What holds for every request.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// What `/metrics` is.
    pub(super) format: Format,
    /// Set where only this machine can ask: the name or address that the setting has for it. A browser on this
    /// machine must not ask for a page whose name somebody else makes lead here (DNS rebinding).
    pub(super) loopback: Option<String>,
    /// What whoever asks has to show.
    pub(super) auth: Shown,
    /// Whether the pages of health are for everybody all the same.
    pub(super) health_without_auth: bool,
}

/// What whoever asks has to show.
#[derive(Clone, Debug)]
pub(super) enum Shown {
    /// Nothing: the pages are for everybody.
    Nothing,
    /// A secret that could never be read, so that nobody can show it, and why.
    Unreadable(String),
    /// A secret.
    As(Credentials),
}

impl Rules {
    /// The answer to who has not shown that the page is for him.
    fn denied(&self, request: &Parts) -> Option<Response<Full<Bytes>>> {
        let path = request.uri.path();
        let is_open = self.health_without_auth
            && ["/healthz", "/readyz", "/state"].iter().any(|open| path.eq_ignore_ascii_case(open));
        let known = match &self.auth {
            Shown::Nothing => return None,
            _ if is_open => return None,
            Shown::Unreadable(why) => {
                let words = format!(
                    "nobody can be let in, for the file with the password or token: {why}\n"
                );
                return Some(page(StatusCode::SERVICE_UNAVAILABLE, TEXT, words));
            }
            Shown::As(known) if known.admit(&request.headers) => return None,
            Shown::As(known) => known,
        };
        let mut denied = page(StatusCode::UNAUTHORIZED, TEXT, "show who you are\n");
        known.challenge(denied.headers_mut());
        Some(denied)
    }

    /// The host that is asked for, where that is another one than this machine.
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

/// The page that `request` is for. As Flume's server answers: any method but OPTIONS and TRACE reads, and
/// upper and lower case of `/metrics` are the same.
pub(super) async fn answer(
    request: &Parts,
    watched: &Watched,
    rules: &Rules,
) -> Response<Full<Bytes>> {
    let format = rules.format;
    if request.version == Version::HTTP_11 && !request.headers.contains_key(HOST) {
        return nothing(StatusCode::BAD_REQUEST);
    }
    if let Some(host) = rules.foreign_host(request) {
        let words = format!(
            "\"{}\" is not this machine; ask for http://127.0.0.1 or http://localhost, or set -Dflume.monitoring.bind\n",
            Visible(&host)
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
        ("/metrics", Format::Flume) => {
            page(StatusCode::OK, JSON, flume::json(&snapshot(), watched.registry.client_totals()))
        }
        ("/metrics" | "/metrics/prometheus", _) => {
            let text =
                prometheus::text(&snapshot(), &watched.alarms, watched.registry.client_totals());
            page(StatusCode::OK, prometheus::CONTENT_TYPE, text)
        }
        ("/dropped", _) => page(StatusCode::OK, JSON, dropped::json(&watched.name, &snapshot())),
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
        // The second is for who reads it whatever it says, such as the page for people: a browser makes an
        // error in its console of each 503.
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

/// The number behind `from=`, 0 without one.
fn from(request: &Parts) -> u64 {
    let pairs = request.uri.query().unwrap_or_default().split('&');
    let number = |pair: &str| pair.strip_prefix("from=")?.parse().ok();
    pairs.filter_map(number).next_back().unwrap_or(0)
}

/// A page that a browser shows, with what it may do there.
fn guarded(mut page: Response<Full<Bytes>>, policy: HeaderValue) -> Response<Full<Bytes>> {
    let headers = page.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    page
}

/// What health has to say, with a status that says it too.
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
