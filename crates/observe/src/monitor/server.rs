//! The HTTP server: listens, and serves each connection.

use super::limits::{CONNECTIONS_MAX, IDLE, LISTEN_AGAIN, REQUEST_BYTES_MAX};
use super::pages::{PageAccess, RequiredCredentials, answer};
use super::settings::{HttpServerSettings, MetricsFormat};
use super::watched_agent::WatchedAgent;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use millpond_flow::base::limits::TLS_HANDSHAKE_SECONDS_MAX;
use millpond_flow::codes;
use millpond_flow::context::StopSignal;
use millpond_flow::net::http_auth::HttpAuth;
use millpond_flow::net::store_reloader::StoreReloader;
use millpond_flow::net::stream::Stream;
use millpond_flow::net::tls::ServerTls;
use millpond_flow::net::write_timeout::WriteTimeout;
use millpond_flow::net::zlib::Socket;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsStream;

/// Pause when connections cannot be accepted, for example because descriptors ran out.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// The reader of key stores and secrets, in the log.
const OWNER: &str = "monitoring";

/// Interval between two log lines about too many connections.
const FULL_AGAIN: Duration = Duration::from_secs(60);

/// Serves the pages until `stop` fires.
pub(super) async fn serve(
    server_settings: &HttpServerSettings,
    watched: Arc<WatchedAgent>,
    stop: &StopSignal,
) {
    if let Some(listener) = listen(server_settings, stop).await {
        let guard = Arc::new(AccessRules::of(server_settings, &listener));
        tokio::join!(
            serve_on(&listener, watched, Arc::clone(&guard), stop),
            announce(&listener, server_settings, &guard, stop)
        );
    }
}

/// Logs the address of the pages once their secrets can be read, and until then why every request
/// is refused.
async fn announce(
    listener: &TcpListener,
    server_settings: &HttpServerSettings,
    guard: &AccessRules,
    stop: &StopSignal,
) {
    let mut said = None;
    loop {
        let error = tokio::select! {
            () = stop.wait() => return,
            read = guard.read() => match read {
                Ok(()) => break say(listener, server_settings),
                Err(error) => error,
            }
        };
        if said.as_ref() != Some(&error) {
            tracing::error!(
                code = %codes::MONITORING_STORE,
                "monitoring: {error}. Every request is refused until it can be read; it is tried again every {} s",
                LISTEN_AGAIN.as_secs()
            );
            said = Some(error);
        }
        tokio::select! {
            () = stop.wait() => return,
            () = sleep(LISTEN_AGAIN) => {}
        }
    }
}

/// Authentication and TLS of the server.
#[derive(Debug)]
pub(super) struct AccessRules {
    pub(super) format: MetricsFormat,
    pub(super) loopback: Option<String>,
    pub(super) tls: Option<StoreReloader<ServerTls>>,
    pub(super) auth: Option<StoreReloader<HttpAuth>>,
    pub(super) health_without_auth: bool,
}

impl AccessRules {
    /// Reads the secret and the stores.
    async fn read(&self) -> Result<(), String> {
        if let Some(auth) = &self.auth {
            auth.current(OWNER).await.map_err(|error| error.to_string())?;
        }
        if let Some(tls) = &self.tls {
            tls.current(OWNER).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn of(server_settings: &HttpServerSettings, listener: &TcpListener) -> Self {
        let address = listener.local_addr();
        let is_loopback = address.is_ok_and(|address| address.ip().to_canonical().is_loopback());
        Self {
            format: server_settings.format,
            loopback: is_loopback.then(|| server_settings.bind.clone()),
            tls: server_settings.tls.clone().map(StoreReloader::new),
            auth: server_settings.auth.clone().map(StoreReloader::new),
            health_without_auth: server_settings.health_without_auth,
        }
    }

    /// Returns the rules for a request.
    async fn rules(&self) -> PageAccess {
        PageAccess {
            format: self.format,
            loopback: self.loopback.clone(),
            auth: match &self.auth {
                None => RequiredCredentials::Nothing,
                Some(auth) => match auth.recent(OWNER).await {
                    Ok(known) => RequiredCredentials::As(known),
                    // The path of the file is for the log, not for clients.
                    Err(error) => RequiredCredentials::Unreadable(error.cause()),
                },
            },
            health_without_auth: self.health_without_auth,
        }
    }

    /// Returns the stream of a connection after its TLS handshake.
    ///
    /// # Errors
    /// The handshake fails, or a store was never readable.
    async fn admit(&self, socket: TcpStream) -> Result<Stream, String> {
        let Some(tls) = &self.tls else { return Ok(Stream::Plain(socket)) };
        let acceptor = tls.current(OWNER).await.map_err(|error| error.to_string())?;
        let time_limit = Duration::from_secs(TLS_HANDSHAKE_SECONDS_MAX);
        let greeted = timeout(time_limit, acceptor.accept(Socket::Plain(socket))).await;
        let stream = greeted.map_err(|_| "no TLS handshake in time".to_owned())?;
        let stream = stream.map_err(|error| error.to_string())?;
        Ok(Stream::Tls(Box::new(TlsStream::Server(stream))))
    }
}

pub(super) async fn serve_on(
    listener: &TcpListener,
    watched: Arc<WatchedAgent>,
    guard: Arc<AccessRules>,
    stop: &StopSignal,
) {
    let mut sessions = JoinSet::new();
    let mut guests = HttpConnections::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.wait() => return,
            Some(_) = sessions.join_next(), if !sessions.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                guests.make_room(peer);
                let asked = guests.stamp();
                let session =
                    session(socket, Arc::clone(&watched), Arc::clone(&guard), asked.clone());
                guests.list.push((asked, sessions.spawn(session)));
                // It may have sent a request already, and has its turn before the next one comes.
                tokio::task::yield_now().await;
            }
            Err(error) => {
                tracing::debug!("monitoring: cannot accept a connection: {error}");
                tokio::select! {
                    () = stop.wait() => return,
                    () = sleep(ACCEPT_AGAIN) => {}
                }
            }
        }
    }
}

/// The open connections.
#[derive(Default)]
struct HttpConnections {
    list: Vec<(LastRequest, AbortHandle)>,
    /// Number of requests and connections so far, of all.
    turn: Arc<AtomicU64>,
    /// When too many connections were last reported.
    said: Option<Instant>,
}

impl HttpConnections {
    /// Closes a connection if there is no room for another: the one with the oldest last request. A
    /// client that connects and is silent, or does not read, keeps no other client out.
    fn make_room(&mut self, peer: SocketAddr) {
        self.list.retain(|(_, task)| !task.is_finished());
        if self.list.len() < CONNECTIONS_MAX {
            return;
        }
        let longest = (0..self.list.len()).min_by_key(|at| self.list[*at].0.at());
        if let Some(longest) = longest {
            self.list.swap_remove(longest).1.abort();
        }
        // A client that comes again and again must not fill the log.
        if self.said.is_none_or(|at| at.elapsed() >= FULL_AGAIN) {
            self.said = Some(Instant::now());
            tracing::warn!(%peer, "monitoring: more than {CONNECTIONS_MAX} connections; for each further one, the connection that has been idle longest is closed");
        }
    }

    /// Returns the stamp of a new connection.
    fn stamp(&self) -> LastRequest {
        let asked = LastRequest { turn: Arc::clone(&self.turn), last: Arc::default() };
        asked.now();
        asked
    }
}

/// When a connection last sent a request, as its number among all requests.
#[derive(Clone)]
struct LastRequest {
    turn: Arc<AtomicU64>,
    last: Arc<AtomicU64>,
}

impl LastRequest {
    fn now(&self) {
        self.last.store(self.turn.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }

    fn at(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }
}

/// Listens, however many attempts it takes: the port's owner may end. `None` if the stop comes
/// first.
async fn listen(server_settings: &HttpServerSettings, stop: &StopSignal) -> Option<TcpListener> {
    let HttpServerSettings { bind, port, .. } = server_settings;
    let mut said = false;
    loop {
        let bound = tokio::select! {
            () = stop.wait() => return None,
            bound = TcpListener::bind((bind.as_str(), *port)) => bound,
        };
        match bound {
            Ok(listener) => return Some(listener),
            Err(error) if !said => {
                tracing::error!(
                    code = %codes::MONITORING_PORT,
                    "monitoring: cannot listen on {bind} port {port}: {error}. The agent runs without, and it is tried again every {} s; give a free one with -Dflume.monitoring.port=N, or another address with -Dflume.monitoring.bind=ADDRESS",
                    LISTEN_AGAIN.as_secs()
                );
                said = true;
            }
            Err(_) => {}
        }
        tokio::select! {
            () = stop.wait() => return None,
            () = sleep(LISTEN_AGAIN) => {}
        }
    }
}

fn say(listener: &TcpListener, server_settings: &HttpServerSettings) {
    let Ok(address) = listener.local_addr() else { return };
    let who = if address.ip().is_loopback() {
        "only this machine can ask; -Dflume.monitoring.bind=0.0.0.0 lets others"
    } else if server_settings.auth.is_some() {
        "clients with the configured user or token can read it"
    } else if server_settings
        .tls
        .as_ref()
        .is_some_and(|tls| tls.clients.as_ref().is_some_and(|c| c.required))
    {
        "clients with a certificate that the truststore trusts can read it"
    } else {
        "any client that reaches this address can read it, without a password; -Dflume.monitoring.auth-user or auth-token-file asks for one"
    };
    let scheme = if server_settings.tls.is_some() { "https" } else { "http" };
    tracing::info!("monitoring: {scheme}://{address}/metrics ({who})");
}

async fn session(
    socket: TcpStream,
    watched: Arc<WatchedAgent>,
    guard: Arc<AccessRules>,
    asked: LastRequest,
) {
    // Replies are small and each is waited for.
    let _ = socket.set_nodelay(true);
    let stream = match guard.admit(socket).await {
        Ok(admitted) => admitted,
        Err(error) => return tracing::debug!("monitoring: a client is refused: {error}"),
    };
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        asked.now();
        let (watched, guard) = (Arc::clone(&watched), Arc::clone(&guard));
        let (parts, _) = request.into_parts();
        // Per request: revoked credentials must not stay valid while a connection is open.
        async move { Ok::<_, Infallible>(answer(&parts, &watched, &guard.rules().await).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(REQUEST_BYTES_MAX)
        .serve_connection(TokioIo::new(WriteTimeout::new(stream)), service);
    if let Err(error) = connection.await {
        tracing::debug!("monitoring: closing a connection: {error}");
    }
}
