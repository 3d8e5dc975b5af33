//! Listens, and answers each connection.

use super::pages::{Rules, Shown, answer};
use super::settings::{Door, Format};
use super::{CONNECTIONS_MAX, IDLE, LISTEN_AGAIN, REQUEST_BYTES_MAX, Watched};
use crate::base::limits::TLS_HANDSHAKE_SECONDS_MAX;
use crate::codes;
use crate::flow::context::StopSignal;
use crate::net::attentive::Attentive;
use crate::net::http_auth::HttpAuth;
use crate::net::reloading::Reloading;
use crate::net::stream::Stream;
use crate::net::tls::ServerTls;
use crate::net::zlib::Socket;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsStream;

/// Pause when connections cannot be accepted, for want of descriptors for example.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// Who reads key stores and secrets, in the log.
const OWNER: &str = "monitoring";

/// Between two words about connections that are too many.
const FULL_AGAIN: Duration = Duration::from_secs(60);

/// Serves the pages until `stop` fires.
pub(super) async fn serve(door: &Door, watched: Arc<Watched>, stop: &StopSignal) {
    if let Some(listener) = listen(door, stop).await {
        let guard = Arc::new(Guard::of(door, &listener));
        tokio::join!(
            serve_on(&listener, watched, Arc::clone(&guard), stop),
            announce(&listener, door, &guard, stop)
        );
    }
}

/// Says where the pages are once what guards them can be read, and until then why nobody gets in.
async fn announce(listener: &TcpListener, door: &Door, guard: &Guard, stop: &StopSignal) {
    let mut said = None;
    loop {
        let error = tokio::select! {
            () = stop.wait() => return,
            read = guard.read() => match read {
                Ok(()) => break say(listener, door),
                Err(error) => error,
            }
        };
        if said.as_ref() != Some(&error) {
            tracing::error!(
                code = %codes::MONITORING_STORE,
                "monitoring: {error}. Nobody gets in until it can be read; it is tried again every {} s",
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

/// Who may ask, and how.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) format: Format,
    pub(super) loopback: Option<String>,
    pub(super) tls: Option<Reloading<ServerTls>>,
    pub(super) auth: Option<Reloading<HttpAuth>>,
    pub(super) health_without_auth: bool,
}

impl Guard {
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

    fn of(door: &Door, listener: &TcpListener) -> Self {
        let address = listener.local_addr();
        let is_loopback = address.is_ok_and(|address| address.ip().to_canonical().is_loopback());
        Self {
            format: door.format,
            loopback: is_loopback.then(|| door.bind.clone()),
            tls: door.tls.clone().map(Reloading::new),
            auth: door.auth.clone().map(Reloading::new),
            health_without_auth: door.health_without_auth,
        }
    }

    /// What holds for a request.
    async fn rules(&self) -> Rules {
        Rules {
            format: self.format,
            loopback: self.loopback.clone(),
            auth: match &self.auth {
                None => Shown::Nothing,
                Some(auth) => match auth.recent(OWNER).await {
                    Ok(known) => Shown::As(known),
                    // Where the file is concerns who may see the log, not who asks.
                    Err(error) => Shown::Unreadable(error.cause()),
                },
            },
            health_without_auth: self.health_without_auth,
        }
    }

    /// The stream of one connection, greeted.
    ///
    /// # Errors
    /// The client does not get on with its greeting, or a store was never readable.
    async fn admit(&self, socket: TcpStream) -> Result<Stream, String> {
        let Some(tls) = &self.tls else { return Ok(Stream::Plain(socket)) };
        let acceptor = tls.current(OWNER).await.map_err(|error| error.to_string())?;
        let patience = Duration::from_secs(TLS_HANDSHAKE_SECONDS_MAX);
        let greeted = timeout(patience, acceptor.accept(Socket::Plain(socket))).await;
        let stream = greeted.map_err(|_| "no TLS handshake in time".to_owned())?;
        let stream = stream.map_err(|error| error.to_string())?;
        Ok(Stream::Tls(Box::new(TlsStream::Server(stream))))
    }
}

pub(super) async fn serve_on(
    listener: &TcpListener,
    watched: Arc<Watched>,
    guard: Arc<Guard>,
    stop: &StopSignal,
) {
    let mut sessions = JoinSet::new();
    let mut guests = Guests::default();
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
                // It may have asked already, and has its turn before the next one comes.
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

/// Who is connected.
#[derive(Default)]
struct Guests {
    list: Vec<(Asked, AbortHandle)>,
    /// Requests and connections so far, of all.
    turn: Arc<AtomicU64>,
    /// When it was said that there are too many.
    said: Option<Instant>,
}

impl Guests {
    /// Closes a connection where there is no place for another: that from which nothing has been asked for
    /// longest. Whoever connects and is silent, or does not read, keeps nobody else out.
    fn make_room(&mut self, peer: SocketAddr) {
        self.list.retain(|(_, task)| !task.is_finished());
        if self.list.len() < CONNECTIONS_MAX {
            return;
        }
        let longest = (0..self.list.len()).min_by_key(|at| self.list[*at].0.at());
        if let Some(longest) = longest {
            self.list.swap_remove(longest).1.abort();
        }
        // Whoever comes again and again must not fill the log.
        if self.said.is_none_or(|at| at.elapsed() >= FULL_AGAIN) {
            self.said = Some(Instant::now());
            tracing::warn!(%peer, "monitoring: more than {CONNECTIONS_MAX} connections; for each beyond, the one that has asked nothing for longest is closed");
        }
    }

    /// For a connection that has just come.
    fn stamp(&self) -> Asked {
        let asked = Asked { turn: Arc::clone(&self.turn), last: Arc::default() };
        asked.now();
        asked
    }
}

/// When a connection has last asked for something, as its place among all requests.
#[derive(Clone)]
struct Asked {
    turn: Arc<AtomicU64>,
    last: Arc<AtomicU64>,
}

impl Asked {
    fn now(&self) {
        self.last.store(self.turn.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }

    fn at(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }
}

/// Listens, however often it takes: what has the port may go. `None` when it is to stop first.
async fn listen(door: &Door, stop: &StopSignal) -> Option<TcpListener> {
    let Door { bind, port, .. } = door;
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

fn say(listener: &TcpListener, door: &Door) {
    let Ok(address) = listener.local_addr() else { return };
    let who = if address.ip().is_loopback() {
        "only this machine can ask; -Dflume.monitoring.bind=0.0.0.0 lets others"
    } else if door.auth.is_some() {
        "anyone who shows the user or token that is set can read it"
    } else if door.tls.as_ref().is_some_and(|tls| tls.clients.as_ref().is_some_and(|c| c.required))
    {
        "anyone with a certificate that the truststore vouches for can read it"
    } else {
        "anyone who reaches this address can read it, without a password; -Dflume.monitoring.auth-user or auth-token-file asks for one"
    };
    let scheme = if door.tls.is_some() { "https" } else { "http" };
    tracing::info!("monitoring: {scheme}://{address}/metrics ({who})");
}

async fn session(socket: TcpStream, watched: Arc<Watched>, guard: Arc<Guard>, asked: Asked) {
    // Answers are small and each is waited for.
    let _ = socket.set_nodelay(true);
    let stream = match guard.admit(socket).await {
        Ok(admitted) => admitted,
        Err(error) => return tracing::debug!("monitoring: a client does not get in: {error}"),
    };
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        asked.now();
        let (watched, guard) = (Arc::clone(&watched), Arc::clone(&guard));
        let (parts, _) = request.into_parts();
        // For each request: what was taken back must not hold on while a connection stays open.
        async move { Ok::<_, Infallible>(answer(&parts, &watched, &guard.rules().await).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(REQUEST_BYTES_MAX)
        .serve_connection(TokioIo::new(Attentive::new(stream)), service);
    if let Err(error) = connection.await {
        tracing::debug!("monitoring: closing a connection: {error}");
    }
}
