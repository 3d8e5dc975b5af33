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
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
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
    let mut said: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.wait() => return,
            Some(_) = sessions.join_next(), if !sessions.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, _)) if sessions.len() < CONNECTIONS_MAX => {
                sessions.spawn(session(socket, Arc::clone(&watched), format));
            }
            Ok((_, peer)) => {
                // Whoever comes again and again must not fill the log.
                if said.is_none_or(|at| at.elapsed() >= FULL_AGAIN) {
                    said = Some(Instant::now());
                    tracing::warn!(%peer, "monitoring: more than {CONNECTIONS_MAX} connections, those beyond are closed");
                }
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

async fn session(socket: TcpStream, watched: Arc<Watched>, format: Format) {
    // Answers are small and each is waited for.
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
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
