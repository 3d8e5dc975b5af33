//! TCP listener of sources: one small task per session, a limit on their number, retry of transient accept errors,
//! and optional TLS.

mod handshake;

use crate::source::held_ports::{self, HeldPort, Transport};
use crate::source::ip_filter::IpFilter;
use crate::source::rejection_log::RejectionLog;
pub(crate) use handshake::PendingSession;
use millpond_flow::base::limits::{CONNECTION_BYTES, CONNECTION_LINE_FREE_BYTES};
use millpond_flow::client_error_log::ClientErrorLog;
use millpond_flow::client_limits::{AdmissionDenied, AdmittedConnection, SourceAdmission};
use millpond_flow::codes;
use millpond_flow::metrics::SourceCounters;
use millpond_flow::net::connect::keep_alive;
use millpond_flow::net::stream::Stream;
use millpond_flow::net::tls::{ServerTls, StoreReloader};
use millpond_flow::source::{Failure, SourceContext};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(50);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Connections that may wait to be accepted. The usual 128 overflows in a burst of clients, as after a restart: the
/// kernel drops their first packet, and each waits a second or more for its retry.
const BACKLOG: i32 = 4096;
/// How long a closed session still reads what its client sends, so that the last reply arrives.
const FAREWELL: Duration = Duration::from_secs(2);
/// Pause between attempts to bind ports that could not be bound.
const BIND_AGAIN: Duration = Duration::from_secs(3);

/// Most bytes of a session's future: [`CONNECTION_BYTES`] without the beginning of a request, less a quarter for
/// everything else.
const SESSION_BYTES_MAX: usize = (CONNECTION_BYTES - CONNECTION_LINE_FREE_BYTES) / 4 * 3;

/// Interval of the check of the key stores while no client connects; each connection checks as well.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Pause while an evicted connection has not closed yet, and the most such pauses: no other connection is accepted
/// meanwhile, and the next in the queue may be from a client that has room.
const LEAVING_PAUSE: Duration = Duration::from_millis(2);
const LEAVING_PAUSES_MAX: usize = 5;

/// The log message of an evicted connection.
const GAVE_WAY: &str = "a connection is closed to make room for others: it was silent, or slow with a request, and all connections or all memory for clients were in use; for the limits see docs/operations.md";

/// Addresses and limits of a listener.
#[derive(Debug)]
pub(crate) struct SourceListener {
    pub(crate) host: String,
    pub(crate) ports: Vec<u16>,
    pub(crate) connections_max: usize,
    /// Sent to a client beyond `connections_max` before its connection is closed.
    pub(crate) full: &'static [u8],
    tls: Option<Arc<StoreReloader<ServerTls>>>,
    /// Whether connections are compressed with zlib.
    zlib: bool,
    filter: Option<Arc<IpFilter>>,
    /// Throttles the log of rejected clients, over all connections.
    denied_by: Arc<ClientErrorLog>,
    /// The bound addresses: with port 0 the only way to know the port.
    bound: Mutex<Vec<SocketAddr>>,
}

impl SourceListener {
    pub(crate) fn new(
        host: String,
        port: u16,
        connections_max: usize,
        full: &'static [u8],
    ) -> Self {
        let bound = Mutex::default();
        Self {
            host,
            ports: vec![port],
            connections_max,
            full,
            tls: None,
            zlib: false,
            filter: None,
            denied_by: Arc::default(),
            bound,
        }
    }

    /// Sets several ports.
    pub(crate) fn on(mut self, ports: Vec<u16>) -> Self {
        self.ports = ports;
        self
    }

    /// Enables TLS, if `tls` is given.
    pub(crate) fn with_tls(mut self, tls: Option<ServerTls>) -> Self {
        self.tls = tls.map(|tls| Arc::new(StoreReloader::new(tls)));
        self
    }

    /// Enables zlib compression, if `zlib` is set.
    pub(crate) fn compressed(mut self, zlib: bool) -> Self {
        self.zlib = zlib;
        self
    }

    /// Restricts the clients to those that `filter` allows.
    pub(crate) fn filtered(mut self, filter: Option<IpFilter>) -> Self {
        self.filter = filter.map(Arc::new);
        self
    }

    #[cfg(test)]
    pub(crate) fn bound(&self) -> SocketAddr {
        *self.bound.lock().unwrap().first().expect("the source has started")
    }

    #[cfg(test)]
    pub(crate) fn all_bound(&self) -> Vec<SocketAddr> {
        self.bound.lock().unwrap().clone()
    }

    /// Binds, reports that the source has started, and runs `session` for each connection until the stop signal fires
    /// and every session has ended. Dropping the future ends all sessions.
    ///
    /// # Errors
    /// No address can be bound, or the key store cannot be used. If only some of several ports cannot be bound, they
    /// are named and retried.
    pub(crate) async fn serve<F, S>(
        &self,
        context: &SourceContext,
        session: F,
    ) -> Result<(), Failure>
    where
        F: Fn(PendingSession) -> S,
        S: Future<Output = ()> + Send + 'static,
    {
        self.look_at_stores(context).await?;
        let mut places = self.bind_all(context).await?;
        context.started();
        let name: Arc<str> = Arc::from(context.name.as_str());
        let gate = context.clients.gate(self.connections_max);
        let mut admission = AdmissionCheck { listening: self, gate, full_said: false };
        let mut sessions = JoinSet::new();
        let open = ConnectionGauge(&context.counters);
        let mut pause = ACCEPT_PAUSE_MIN;
        let mut bind_again = Instant::now() + BIND_AGAIN;
        // Concurrent with accepting: a check takes long while the stores' file system hangs.
        let looks = self.keep_looking(context);
        tokio::pin!(looks);
        let stop = context.stop.wait();
        tokio::pin!(stop);
        loop {
            open.are(sessions.len());
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(ended) = sessions.join_next(), if !sessions.is_empty() => report(context, ended),
                () = sleep_until(bind_again), if !places.unbound.is_empty() => {
                    self.bind_again(context, &mut places).await;
                    bind_again = Instant::now() + BIND_AGAIN;
                }
                () = &mut looks, if self.tls.is_some() => {}
                accepted = places.accept() => match accepted {
                    Ok((socket, peer, port)) => {
                        pause = ACCEPT_PAUSE_MIN;
                        let log = RejectionLog::new(&name, peer, &context.clock, &self.denied_by);
                        if !self.denies(peer.ip(), &log)
                            && let Some(client) = admission.admits(&socket, peer.ip(), context).await {
                            let arrival =
                                self.arrival(context, socket, (peer, port), log.clone(), &client);
                            let session = until_gone(session(arrival), client, log);
                            debug_assert!(size_of_val(&session) <= SESSION_BYTES_MAX);
                            sessions.spawn(session);
                        }
                    }
                    Err(error) => {
                        if !of_one_client(&error) {
                            admission.gate.relieve();
                            tracing::warn!(code = %codes::ACCEPT_FAILED, source = %context.name, %error,
                                "cannot accept connections; trying again (if descriptors ran out, raise the limit on open files or lower maxConnections)");
                            tokio::select! {
                                () = &mut stop => break,
                                () = tokio::time::sleep(pause) => {}
                            }
                            pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
                        }
                    }
                }
            }
        }
        drop(places);
        while let Some(ended) = sessions.join_next().await {
            report(context, ended);
            open.are(sessions.len());
        }
        Ok(())
    }

    fn arrival(
        &self,
        context: &SourceContext,
        socket: TcpStream,
        (peer, port): (SocketAddr, u16),
        log: RejectionLog,
        client: &Arc<AdmittedConnection>,
    ) -> PendingSession {
        PendingSession {
            peer,
            port,
            client: Arc::clone(client),
            socket,
            tls: self.tls.clone(),
            zlib: self.zlib,
            filter: self.filter.clone(),
            stop: context.stop.clone(),
            counters: Arc::clone(&context.counters),
            log,
        }
    }

    /// Checks the stores periodically. Does not return.
    async fn keep_looking(&self, context: &SourceContext) {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            // A store that was readable before stays in use; the failed read is logged.
            let _ = self.look_at_stores(context).await;
        }
    }

    /// Reads the stores if they have changed.
    async fn look_at_stores(&self, context: &SourceContext) -> Result<(), Failure> {
        let end = self.certificate_end(&context.name).await?;
        context.counters.certificate_end.set(end);
        Ok(())
    }

    /// Reads the stores if they have changed; returns when the certificate ends, 0 without TLS.
    async fn certificate_end(&self, name: &str) -> Result<u64, Failure> {
        let Some(tls) = &self.tls else { return Ok(0) };
        let loaded = tls.current(&format!("source {name}")).await;
        let acceptor = loaded.map_err(|error| Failure::caused("cannot serve TLS", error))?;
        Ok(acceptor.not_after().unwrap_or(0))
    }

    /// Tries the first steps of serving without keeping anything: reads the stores, and binds each port on which no
    /// source of this process listens. A bound port does not listen, so that no client connects to it.
    ///
    /// # Errors
    /// A store cannot be used, or a port cannot be bound.
    pub(crate) async fn preflight(&self) -> Result<(), Failure> {
        self.certificate_end("").await?;
        for port in self
            .ports
            .iter()
            .copied()
            .filter(|port| *port != 0 && !held_ports::is_held(Transport::Tcp, *port))
        {
            let bound = async {
                let mut found = tokio::net::lookup_host((self.host.as_str(), port)).await?;
                let address = found.next().ok_or(io::ErrorKind::NotFound)?;
                let socket = match address {
                    SocketAddr::V4(_) => TcpSocket::new_v4(),
                    SocketAddr::V6(_) => TcpSocket::new_v6(),
                }?;
                socket.set_reuseaddr(true)?;
                socket.bind(address)
            };
            bound.await.map_err(|error| self.unbound(port, error))?;
        }
        Ok(())
    }

    async fn bind_all(&self, context: &SourceContext) -> Result<BoundPorts, Failure> {
        let mut places = BoundPorts { bound: Vec::new(), unbound: self.ports.clone() };
        let failed = self.bind_each(context, &mut places).await;
        match failed.into_iter().next() {
            Some(failure) if places.bound.is_empty() => Err(failure),
            Some(failure) => {
                tracing::error!(code = %codes::PORT_UNAVAILABLE, source = %context.name, "{failure}; the other ports are served, and this one is tried again");
                Ok(places)
            }
            None => Ok(places),
        }
    }

    /// Returns whether the rules reject a client by its address alone: no other connection is evicted for it.
    fn denies(&self, address: IpAddr, log: &RejectionLog) -> bool {
        let filter_check = self.filter.as_ref().map(|filter| filter.filter_check(address));
        let away = filter_check.and_then(|filter_check| filter_check.check_address().err());
        away.as_ref().inspect(|away| log.log_denied(away)).is_some()
    }

    async fn bind_again(&self, context: &SourceContext, places: &mut BoundPorts) {
        for failure in self.bind_each(context, places).await {
            tracing::debug!(source = %context.name, "{failure}");
        }
    }

    /// Binds the ports that are not bound yet; returns the failures.
    async fn bind_each(&self, context: &SourceContext, places: &mut BoundPorts) -> Vec<Failure> {
        let mut failed = Vec::new();
        for port in std::mem::take(&mut places.unbound) {
            match self.bind(port).await {
                Ok(listener) => {
                    let address = listener.local_addr().ok();
                    if let Ok(mut bound) = self.bound.lock() {
                        bound.extend(address);
                    }
                    let shown = address.map_or_else(String::new, |a| a.to_string());
                    tracing::info!(source = %context.name, address = %shown, "listening");
                    let port = address.map_or(port, |a| a.port());
                    places.bound.push((listener, port, HeldPort::new(Transport::Tcp, port)));
                }
                Err(failure) => {
                    places.unbound.push(port);
                    failed.push(failure);
                }
            }
        }
        failed
    }

    async fn bind(&self, port: u16) -> Result<TcpListener, Failure> {
        let bound = TcpListener::bind((self.host.as_str(), port)).await.and_then(|listener| {
            // A second listen only changes the length of the queue.
            rustix::net::listen(&listener, BACKLOG)?;
            Ok(listener)
        });
        bound.map_err(|error| self.unbound(port, error))
    }

    fn unbound(&self, port: u16, error: io::Error) -> Failure {
        let what = format!(
            "cannot listen on {}:{port}; choose an address of this machine (bind) and a free port (port)",
            self.host
        );
        Failure::caused(what, error)
    }
}

/// The bound and unbound ports of a source.
struct BoundPorts {
    bound: Vec<(TcpListener, u16, HeldPort)>,
    unbound: Vec<u16>,
}

impl BoundPorts {
    /// Returns the next connection of any port.
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr, u16)> {
        poll_fn(|context| {
            for (listener, port, _) in &self.bound {
                if let Poll::Ready(accepted) = listener.poll_accept(context) {
                    return Poll::Ready(accepted.map(|(socket, peer)| (socket, peer, *port)));
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Gauge of open connections; set to zero on drop, however the sessions ended.
struct ConnectionGauge<'c>(&'c SourceCounters);

impl ConnectionGauge<'_> {
    fn are(&self, number: usize) {
        self.0.open_connection.set(number as u64);
    }
}

impl Drop for ConnectionGauge<'_> {
    fn drop(&mut self) {
        self.are(0);
    }
}

/// Admission control of new connections.
struct AdmissionCheck<'a> {
    listening: &'a SourceListener,
    gate: SourceAdmission,
    full_said: bool,
}

impl AdmissionCheck<'_> {
    /// Returns a slot for the client, evicting another connection if necessary.
    async fn admits(
        &mut self,
        stream: &TcpStream,
        address: IpAddr,
        context: &SourceContext,
    ) -> Option<Arc<AdmittedConnection>> {
        let mut pauses = LEAVING_PAUSES_MAX;
        let full = loop {
            match self.gate.admit(address, CONNECTION_BYTES, &context.counters) {
                Ok(client) => {
                    self.full_said = false;
                    // The slot of a peer that vanished silently is freed soon, and it counts as silent.
                    let _ = keep_alive(stream);
                    return Some(client);
                }
                Err(AdmissionDenied::Leaving) if pauses > 0 && !context.stop.fired() => {
                    pauses -= 1;
                    tokio::time::sleep(LEAVING_PAUSE).await;
                }
                Err(full) => break full,
            }
        };
        if !self.full_said {
            self.full_said = true;
            tracing::warn!(
                code = %codes::CONNECTIONS_REFUSED,
                source = %context.name,
                open = context.counters.open_connection.get(),
                cause = full.cause(),
                "refusing connections: the limit is reached, and all clients were active recently; raise the limit that the cause names, or let clients share connections"
            );
        }
        // Plain text would be a malformed record to a client that uses TLS or zlib.
        if self.listening.tls.is_none() && !self.listening.zlib {
            let _ = stream.try_write(self.listening.full);
        }
        None
    }
}

/// Returns whether an accept error concerns only the one client.
fn of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// Runs a session, and logs if it was evicted.
async fn until_gone(
    session: impl Future<Output = ()>,
    client: Arc<AdmittedConnection>,
    log: RejectionLog,
) {
    session.await;
    if client.leaves() {
        log.say("gave way", GAVE_WAY);
    }
}

fn report(context: &SourceContext, ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        context.counters.generic_processing_fail.add(1);
        tracing::error!(code = %codes::SESSION_PANICKED, source = %context.name, %error, "a session ended by a defect; its connection is closed");
    }
}

/// Closes a session whose client may still be sending: closing with an unread byte would make the kernel discard
/// replies that are still in transit.
pub(crate) async fn lingering_close(mut stream: Stream) {
    let drain = async {
        if stream.shutdown().await.is_err() {
            return;
        }
        let socket = stream.socket();
        loop {
            if socket.readable().await.is_err() || !matches!(discard(socket), Some(1..)) {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(FAREWELL, drain).await;
}

/// Reads and discards; returns the number of bytes, 1 for a spurious wake-up.
fn discard(stream: &TcpStream) -> Option<usize> {
    let mut scratch = [0; 4096];
    match stream.try_read(&mut scratch) {
        Ok(n) => Some(n),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(1),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests;
