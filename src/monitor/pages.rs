//! What is answered to which request.

use super::health::Reason;
use super::settings::Format;
use super::{Watched, flume, health, prometheus};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode, Version};

const HTML: &str = "text/html;charset=utf-8";
const TEXT: &str = "text/plain;charset=utf-8";
const JSON: &str = "application/json;charset=utf-8";

/// As Flume has it, and the other pages.
const INDEX: &str = concat!(
    "For Flume metrics please click <a href = \"./metrics\"> here</a>.\n",
    "<p><a href=\"/metrics/prometheus\">/metrics/prometheus</a> for Prometheus, ",
    "<a href=\"/alarms\">/alarms</a> for what is wrong, ",
    "<a href=\"/healthz\">/healthz</a> and <a href=\"/readyz\">/readyz</a> for who starts agents.</p>\n",
);

/// The page that `request` is for. As Flume's server answers: any method but OPTIONS and TRACE reads, and
/// upper and lower case of `/metrics` are the same.
pub(super) async fn answer(
    request: &Parts,
    watched: &Watched,
    format: Format,
) -> Response<Full<Bytes>> {
    if request.version == Version::HTTP_11 && !request.headers.contains_key(HOST) {
        return nothing(StatusCode::BAD_REQUEST);
    }
    if [Method::OPTIONS, Method::TRACE].contains(&request.method) {
        return nothing(StatusCode::FORBIDDEN);
    }
    let snapshot = || watched.registry.snapshot();
    match (request.uri.path().to_ascii_lowercase().as_str(), format) {
        ("/", _) => page(StatusCode::OK, HTML, INDEX),
        ("/metrics", Format::Flume) => page(StatusCode::OK, JSON, flume::json(&snapshot())),
        ("/metrics" | "/metrics/prometheus", _) => {
            let text = prometheus::text(&snapshot(), &watched.alarms);
            page(StatusCode::OK, prometheus::CONTENT_TYPE, text)
        }
        ("/alarms", _) => page(StatusCode::OK, JSON, watched.alarms.json()),
        ("/healthz", _) => state("alive", watched, &health::dead(watched).await),
        ("/readyz", _) => match health::oldest_max(request.uri.query()) {
            Ok(oldest_max) => state("ready", watched, &health::unready(watched, oldest_max)),
            Err(words) => page(StatusCode::BAD_REQUEST, TEXT, words),
        },
        _ => page(StatusCode::NOT_FOUND, HTML, "There is no such page; see <a href=\"/\">/</a>."),
    }
}

/// Good when there is no reason against it.
fn state(name: &str, watched: &Watched, reasons: &[Reason]) -> Response<Full<Bytes>> {
    let good = reasons.is_empty();
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    page(status, JSON, health::page((name, good), watched, reasons))
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
