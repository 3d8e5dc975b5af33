use super::alarm::AlarmView;
use super::limits::{CONNECTIONS_MAX, IDLE, REQUEST_BYTES_MAX};
use super::server::{AccessRules, serve_on};
use super::settings::MetricsFormat;
use super::{FlowGraph, MetricHistory, WatchedAgent};
use bytes::Bytes;
use millpond::{FaultCause, FaultKind, FaultPlace, ManualClock, StripeStatus};
use millpond_flow::codes;
use millpond_flow::context::StopSignal;
use millpond_flow::metrics::{ChannelReading, ComponentId, ComponentRole, MetricsRegistry};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const TIMEOUT: Duration = Duration::from_secs(60);

/// A server on its own port.
struct MonitorServer {
    address: SocketAddr,
    registry: Arc<MetricsRegistry>,
    stopping: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    flow: watch::Sender<FlowGraph>,
    alarms: AlarmView,
    server: JoinHandle<()>,
}

impl MonitorServer {
    async fn new() -> Self {
        Self::with(MetricsFormat::Flume, vec![("agent", Handle::current())]).await
    }

    async fn with(format: MetricsFormat, threads: Vec<(&'static str, Handle)>) -> Self {
        let guard = AccessRules {
            format,
            loopback: None,
            tls: None,
            auth: None,
            health_without_auth: false,
        };
        Self::guarded(guard, threads).await
    }

    async fn guarded(guard: AccessRules, threads: Vec<(&'static str, Handle)>) -> Self {
        let registry = Arc::new(MetricsRegistry::default());
        let sink = ComponentId { role: ComponentRole::Sink, name: "k1".to_owned(), kind: "avro" };
        registry.keep(&[sink]);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (stop, signal) = StopSignal::new();
        let stopping = Arc::new(AtomicBool::new(false));
        let (flow, drawn) = watch::channel(FlowGraph::default());
        let history = Arc::new(MetricHistory::default());
        history.sample(&registry.snapshot(), Duration::ZERO, 1_700_000_000_000);
        let alarms = AlarmView::default();
        let watched = WatchedAgent {
            name: "a".to_owned(),
            registry: Arc::clone(&registry),
            threads,
            stopping: Arc::clone(&stopping),
            alarms: alarms.clone(),
            flow: drawn,
            history,
        };
        let served =
            async move { serve_on(&listener, Arc::new(watched), Arc::new(guard), &signal).await };
        Self { address, registry, stopping, stop, flow, alarms, server: tokio::spawn(served) }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("it listens")
    }

    /// Returns the whole reply to `request`, until the server closes.
    async fn says(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.expect("sent");
        read_all(&mut stream).await
    }

    /// Returns head and body of an existing page.
    async fn parted(&self, path: &str) -> (String, String) {
        let answer = self.asked("GET", path).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{path}: {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        (head.to_owned(), body.to_owned())
    }

    async fn asked(&self, method: &str, path: &str) -> String {
        self.says(&format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
            .await
    }
}

/// Reads until the server closes; a reset ends it too, as after a request that was not read whole.
async fn read_all(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let read = timeout(TIMEOUT, stream.read_to_end(&mut all)).await;
    let _ = read.expect("the server closes");
    String::from_utf8(all).expect("text")
}

#[tokio::test]
async fn requests_are_answered_as_flumes_server_does() {
    let trial = MonitorServer::new().await;
    trial.registry.sink("k1").event_drain_success.add(28_286);
    let json = "content-type: application/json;charset=utf-8";
    let counted = "\"EventDrainSuccessCount\":\"28286\"";
    for (method, path, status, words) in [
        ("GET", "/metrics", "200 OK", &[json, counted][..]),
        ("POST", "/metrics", "200 OK", &[json, counted]),
        ("FOO", "/METRICS?x=1", "200 OK", &[json, counted]),
        ("GET", "http://x/metrics", "200 OK", &[json, counted]),
        ("GET", "/", "200 OK", &["text/html", "<a href = \"./metrics\">"]),
        ("GET", "/metrics/", "404 Not Found", &["text/html"]),
        ("GET", "/x%3Cy", "404 Not Found", &["no such page"]),
        ("GET", "//metrics", "404 Not Found", &[]),
        ("OPTIONS", "/metrics", "403 Forbidden", &["content-length: 0"]),
        ("TRACE", "/x", "403 Forbidden", &["content-length: 0"]),
    ] {
        let answer = trial.asked(method, path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{method} {path}: {answer}");
        assert!(words.iter().all(|word| answer.contains(word)), "{method} {path}: {answer}");
    }
    let head = trial.asked("HEAD", "/metrics").await;
    assert!(head.contains(json) && head.ends_with("\r\n\r\n"), "{head}");
    let nameless = trial.says("GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert!(nameless.starts_with("HTTP/1.1 400"), "{nameless}");
    let old = trial.says("GET /metrics HTTP/1.0\r\n\r\n").await;
    assert!(old.contains(counted), "{old}");
}

#[tokio::test]
async fn people_get_a_page_that_may_do_nothing_but_ask_here() {
    let trial = MonitorServer::new().await;
    let (head, page) = trial.parted("/").await;
    for line in [
        "content-security-policy: default-src 'none'; script-src 'sha256-",
        "x-content-type-options: nosniff",
    ] {
        assert!(head.contains(line), "{head}");
    }
    assert!(page.contains("<noscript>") && page.ends_with("</html>\n"), "{page}");
    let (json, svg) = ("{\"agents\":[]}".into(), "<svg></svg>".into());
    trial.flow.send_replace(FlowGraph { json, svg });
    assert_eq!(trial.parted("/flow").await.1, "{\"agents\":[]}");
    let (head, drawing) = trial.parted("/flow.svg").await;
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    assert_eq!(drawing, "<svg></svg>");
    let history = async |path| -> serde_json::Value {
        serde_json::from_str(&trial.parted(path).await.1).expect("JSON")
    };
    let all = history("/history").await;
    assert_eq!(
        (&all["agent"], &all["times_ms"]),
        (&"a".into(), &serde_json::json!([1_700_000_000_000_u64]))
    );
    assert_eq!(history("/history?x=y&from=1").await["times_ms"], serde_json::json!([]));
    assert_eq!(history("/history?from=-1").await["first"], 0);
}

#[tokio::test]
async fn requests_follow_each_other_on_a_connection_and_a_head_has_a_limit() {
    let trial = MonitorServer::new().await;
    let two = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".to_owned()
        + "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(trial.says(&two).await.matches("HTTP/1.1 200 OK").count(), 2);
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}", "y".repeat(2 * REQUEST_BYTES_MAX));
    let refused = trial.says(&long).await;
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 431"), "{refused}");
    assert!(trial.asked("GET", "/").await.starts_with("HTTP/1.1 200"), "others are served");
}

#[tokio::test]
async fn clients_that_are_silent_or_do_not_read_keep_no_other_client_out() {
    let trial = MonitorServer::new().await;
    // More than the buffers of a connection hold.
    trial.flow.send_replace(FlowGraph { json: vec![b' '; 32 << 20].into(), svg: Bytes::new() });
    let flow = b"GET /flow HTTP/1.1\r\nHost: x\r\n\r\n";
    for request in [&b""[..], b"GET / HT", flow] {
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_MAX + 8 {
            let mut stream = trial.connect().await;
            stream.write_all(request).await.expect("sent");
            held.push(stream);
        }
        for _ in 0..3 {
            let answer = timeout(TIMEOUT, trial.asked("GET", "/healthz")).await;
            let answer = answer.expect("it is answered at once");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    }
}

#[tokio::test]
async fn beyond_the_limit_the_longest_idle_connection_is_closed() {
    let trial = MonitorServer::new().await;
    let mut open = Vec::new();
    let ask = async |stream: &mut TcpStream| {
        stream.write_all(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("answered"));
        }
        assert!(head.starts_with(b"HTTP/1.1 200"));
    };
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = trial.connect().await;
        ask(&mut stream).await;
        open.push(stream);
    }
    // The first connection was used; now the second one is the oldest.
    ask(&mut open[0]).await;
    let mut more = trial.connect().await;
    ask(&mut more).await;
    assert_eq!(read_all(&mut open[1]).await, "");
    ask(&mut open[0]).await;
    ask(&mut open[2]).await;
    trial.stop.send_replace(true);
    timeout(TIMEOUT, trial.server).await.expect("it stops at once").expect("no panic");
    assert_eq!(read_all(&mut open[0]).await, "", "the end");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_no_request_is_given_up() {
    let trial = MonitorServer::new().await;
    for begun in ["", "GET / HT"] {
        let mut stream = trial.connect().await;
        stream.write_all(begun.as_bytes()).await.expect("sent");
        let mut all = Vec::new();
        let closed = timeout(2 * IDLE, stream.read_to_end(&mut all)).await;
        assert!(closed.is_ok(), "{begun:?} held its connection");
    }
}

#[tokio::test]
async fn prometheus_has_a_page_of_its_own_and_may_have_the_other_too() {
    let trial = MonitorServer::new().await;
    trial.registry.sink("k1").event_drain_success.add(5);
    let sample = "millpond_sink_delivered_events_total{sink=\"k1\",type=\"avro\"} 5\n";
    let page = trial.asked("GET", "/metrics/prometheus").await;
    assert!(page.contains("text/plain; version=0.0.4") && page.contains(sample), "{page}");
    assert!(trial.asked("GET", "/metrics").await.contains("application/json"));
    let trial = MonitorServer::with(MetricsFormat::Prometheus, Vec::new()).await;
    let page = trial.asked("GET", "/metrics").await;
    assert!(page.contains("text/plain; version=0.0.4"), "{page}");
}

#[tokio::test]
async fn an_agent_is_ready_once_all_of_it_runs_and_says_what_does_not() {
    let trial = MonitorServer::new().await;
    let member = |role, name: &str, kind| ComponentId { role, name: name.to_owned(), kind };
    trial.registry.keep(&[
        member(ComponentRole::Source, "r1", "avro"),
        member(ComponentRole::Channel, "c1", "file"),
        member(ComponentRole::Sink, "k1", "avro"),
    ]);
    let reasons = async || -> Vec<String> {
        let answer = trial.asked("GET", "/readyz").await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        let reasons = body["reasons"].as_array().expect("a list");
        let good = reasons.is_empty();
        assert!(head.starts_with(if good { "HTTP/1.1 200" } else { "HTTP/1.1 503" }), "{head}");
        assert_eq!((&body["ready"], &body["agent"]), (&good.into(), &"a".into()));
        let words = |r: &serde_json::Value| {
            let text = |key: &str| r[key].as_str().expect("text").to_owned();
            text("component") + ": " + &text("reason")
        };
        reasons.iter().map(words).collect()
    };
    let unstarted = |component: &str| format!("{component}: has not started");
    let closed = "CHANNEL.c1: is not open".to_owned();
    assert_eq!(reasons().await, [closed, unstarted("SINK.k1"), unstarted("SOURCE.r1")]);

    let (source, sink) = (trial.registry.source("r1"), trial.registry.sink("k1"));
    let channel = trial.registry.channel("c1");
    channel.open.set(1);
    source.started(1);
    source.up.set(1);
    sink.started(1);
    sink.up.set(1);
    assert_eq!(reasons().await, [""; 0]);

    source.up.set(0);
    assert_eq!(reasons().await, ["SOURCE.r1: has failed and is started again after a pause"]);
    source.failure.note(&codes::SOURCE_FAILING, "the port is\nin use", 5000);
    let said =
        "SOURCE.r1: has failed and is started again after a pause: the port is\\nin use (MP-2001)";
    assert_eq!(reasons().await, [said]);
    // It has read all its input.
    source.failure.over();
    source.stopped(2);
    assert_eq!(reasons().await, [""; 0]);

    channel.unhealthy.set(1);
    assert_eq!(reasons().await, ["CHANNEL.c1: cannot be opened"]);
    channel.failure.note(&codes::SEGMENT_MISSING, "files are missing (MP-1203)", 5000);
    assert_eq!(reasons().await, ["CHANNEL.c1: files are missing (MP-1203)"]);
    channel.failure.over();
    let look = || {
        let hung = |why: &str| FaultCause::new(FaultKind::Hung, FaultPlace::default(), why);
        let stripe = |directory: &str, suspended: Option<&str>| StripeStatus {
            directory: directory.to_owned(),
            suspended: suspended.map(hung),
            ..StripeStatus::default()
        };
        let stripes = vec![stripe("/d1", None), stripe("/d2", Some("no answer for 30 s"))];
        Some(ChannelReading { stripes, ..ChannelReading::default() })
    };
    trial.registry.watch_channel("c1", Arc::new(look));
    assert_eq!(reasons().await, ["CHANNEL.c1: stripe /d2: no answer for 30 s"]);
    channel.unhealthy.set(0);
    let old = || {
        let oldest = Duration::from_secs(61);
        Some(ChannelReading { oldest, ..ChannelReading::default() })
    };
    trial.registry.watch_channel("c1", Arc::new(old));
    assert_eq!(reasons().await, [""; 0], "as old as it may get");
    for (query, status, words) in [
        ("oldest_seconds=61", "200", "[]"),
        ("oldest_seconds=60", "503", "its oldest event has waited for 61 s, and the limit is 60 s"),
        ("oldest_seconds=x", "400", "understands ?oldest_seconds=N"),
        ("age=5", "400", "understands ?oldest_seconds=N"),
    ] {
        let answer = trial.asked("GET", &format!("/readyz?{query}")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{query}: {answer}");
        assert!(answer.contains(words), "{query}: {answer}");
    }
    let source = trial.registry.source("r1");
    source.position_refused.set(1);
    assert_eq!(reasons().await, ["SOURCE.r1: its position has no room in a channel"]);
    source.position_refused.set(0);
    trial.registry.watch_channel("c1", Arc::new(|| None));
    let clock = Arc::new(ManualClock::default());
    trial.alarms.begin(clock.clone());
    clock.advance(Duration::from_secs(59));
    assert_eq!(reasons().await, [""; 0]);
    clock.advance(Duration::from_secs(1));
    let blind = "alarms: alarms have not been evaluated for 60 s; an evaluation does not end: does a file system hang?";
    assert_eq!(reasons().await, [blind]);
    trial.alarms.begin(clock);
    trial.stopping.store(true, Ordering::Relaxed);
    assert_eq!(reasons().await, ["agent: it is stopping"]);
}

#[tokio::test]
async fn a_sink_whose_tries_fail_is_ready_and_named_with_the_reason() {
    let trial = MonitorServer::new().await;
    let sink = trial.registry.sink("k1");
    sink.up.set(1);
    sink.failure.note(&codes::SINK_FAILING, "Connection refused", 1000);
    let failing = "\"failing\":[{\"code\":\"MP-3001\",\"component\":\"SINK.k1\",\"reason\":\"Connection refused\",\
                   \"since\":\"1970-01-01T00:00:01Z\",\"sinceMs\":1000}]";
    for path in ["/readyz", "/state"] {
        let answer = trial.asked("GET", path).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(failing), "{answer}");
    }
    sink.up.set(0);
    let answer = trial.asked("GET", "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    // A browser would log that as an error.
    let page = trial.asked("GET", "/state").await;
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("\"ready\":false"), "{page}");
    sink.failure.over();
    let page = trial.asked("GET", "/state").await;
    assert!(page.contains("\"failing\":[]"), "{page}");
}

#[test]
fn an_agent_whose_threads_do_nothing_any_more_is_not_alive() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
    let (well, stuck) = (runtime().expect("threads"), runtime().expect("threads"));
    let (release, hold) = std::sync::mpsc::channel::<()>();
    let watching = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ask = async |threads| {
        let answer =
            MonitorServer::with(MetricsFormat::Flume, threads).await.asked("GET", "/healthz").await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        (head.split(' ').nth(1).map(str::to_owned), body.to_owned())
    };
    watching.expect("a runtime").block_on(async {
        let threads = vec![("agent", well.handle().clone())];
        let (status, body) = ask(threads.clone()).await;
        assert_eq!(status.as_deref(), Some("200"), "{body}");
        stuck.spawn(async move { hold.recv() });
        let (status, body) = ask([threads, vec![("sinks", stuck.handle().clone())]].concat()).await;
        assert_eq!(status.as_deref(), Some("503"), "{body}");
        assert!(body.contains("\"alive\":false") && body.contains("\"sinks\""), "{body}");
    });
    drop(release);
}

fn open_guard() -> AccessRules {
    let format = MetricsFormat::Flume;
    AccessRules { format, loopback: None, tls: None, auth: None, health_without_auth: false }
}

#[tokio::test]
async fn a_page_for_this_machine_is_not_given_to_a_name_that_is_made_to_lead_here() {
    let guard = AccessRules { loopback: Some("my-host".to_owned()), ..open_guard() };
    let trial = MonitorServer::guarded(guard, vec![("agent", Handle::current())]).await;
    for (host, is_here) in [
        ("127.0.0.1:41414", true),
        ("localhost", true),
        ("LOCALHOST:1", true),
        ("[::1]:41414", true),
        ("127.9.9.9", true),
        ("My-Host:41414", true),
        ("rebound.example:41414", false),
        ("localhost.example", false),
        ("10.0.0.1", false),
        ("", false),
        ("a b", false),
    ] {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = trial.says(&request).await;
        let status = if is_here { "HTTP/1.1 200 " } else { "HTTP/1.1 4" };
        assert!(answer.starts_with(status), "{host}: {answer}");
        assert_eq!(answer.contains("k1"), is_here, "{host}");
    }
    let whole = "GET http://rebound.example/metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert!(trial.says(whole).await.starts_with("HTTP/1.1 421"));
}

#[tokio::test]
async fn pages_need_the_token_and_health_may_be_public() {
    use millpond_flow::net::http_auth::{HttpAuth, Secret};
    use millpond_flow::net::store_reloader::StoreReloader;
    for health_without_auth in [false, true] {
        let auth = HttpAuth { basic: None, bearer: Some(Secret::Text("t".to_owned())) };
        let auth = Some(StoreReloader::new(auth));
        let guard = AccessRules { auth, health_without_auth, ..open_guard() };
        let trial = MonitorServer::guarded(guard, vec![("agent", Handle::current())]).await;
        for path in ["/", "/metrics", "/flow", "/alarms", "/history", "/x"] {
            let answer = trial.asked("GET", path).await.to_ascii_lowercase();
            assert!(answer.starts_with("http/1.1 401"), "{path}: {answer}");
            assert!(answer.contains("www-authenticate: bearer"), "{path}: {answer}");
        }
        let healthy = trial.asked("GET", "/healthz").await;
        assert_eq!(healthy.starts_with("HTTP/1.1 200"), health_without_auth, "{healthy}");
        let shown = "GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\nConnection: close\r\n\r\n";
        assert!(trial.says(shown).await.starts_with("HTTP/1.1 200"));
    }
    let auth = HttpAuth { basic: None, bearer: Some(Secret::File("/nowhere/token".into())) };
    let guard = AccessRules { auth: Some(StoreReloader::new(auth)), ..open_guard() };
    let trial = MonitorServer::guarded(guard, vec![("agent", Handle::current())]).await;
    let answer = trial.asked("GET", "/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("there is no such file"));
    assert!(!answer.contains("/nowhere"), "where the file is concerns no stranger: {answer}");
}
