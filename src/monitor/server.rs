//! Listens, and answers each connection.

use super::pages::answer;
use super::settings::{Door, Format};
use super::{CONNECTIONS_MAX, IDLE, LISTEN_AGAIN, REQUEST_BYTES_MAX, Watched};
use crate::flow::context::StopSignal;
use crate::net::attentive::Attentive;
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
use tokio::time::{Instant, sleep};

/// Pause when connections cannot be accepted, for want of descriptors for example.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// Between two words about connections that are too many.
const FULL_AGAIN: Duration = Duration::from_secs(60);

/// Serves the pages until `stop` fires.
pub(super) async fn serve(door: &Door, watched: Arc<Watched>, stop: &StopSignal) {
    if let Some(listener) = listen(door, stop).await {
        serve_on(&listener, watched, door.format, stop).await;
    }
}

pub(super) async fn serve_on(
    listener: &TcpListener,
    watched: Arc<Watched>,
    format: Format,
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
                let session = session(socket, Arc::clone(&watched), format, asked.clone());
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
            Ok(listener) => {
                say(&listener);
                return Some(listener);
            }
            Err(error) if !said => {
                tracing::error!(
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

fn say(listener: &TcpListener) {
    let Ok(address) = listener.local_addr() else { return };
    let who = if address.ip().is_loopback() {
        "only this machine can ask; -Dflume.monitoring.bind=0.0.0.0 lets others"
    } else {
        "whoever reaches this address can read it, without a password"
    };
    tracing::info!("monitoring: http://{address}/metrics ({who})");
}

async fn session(socket: TcpStream, watched: Arc<Watched>, format: Format, asked: Asked) {
    // Answers are small and each is waited for.
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        asked.now();
        let watched = Arc::clone(&watched);
        let (parts, _) = request.into_parts();
        async move { Ok::<_, Infallible>(answer(&parts, &watched, format).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(REQUEST_BYTES_MAX)
        .serve_connection(TokioIo::new(Attentive::new(socket)), service);
    if let Err(error) = connection.await {
        tracing::debug!("monitoring: closing a connection: {error}");
    }
}
