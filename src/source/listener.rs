//! TCP sessions: one small task each, a limit on their number, accept errors that pass, and TLS
//! where it is asked for.

mod arrival;

use crate::base::limits::{CONNECTION_BYTES, CONNECTION_LINE_FREE_BYTES};
use crate::codes;
use crate::flow::client_error_log::ClientErrorLog;
use crate::flow::client_limits::{Connection, Full, Gate};
use crate::flow::source::{Failure, SourceContext};
use crate::metrics::SourceCounters;
use crate::net::dial::keep_alive;
use crate::net::stream::Stream;
use crate::net::tls::{Reloading, ServerTls};
use crate::source::filter::Filter;
use crate::source::held_ports::{self, HeldPort, Transport};
use crate::source::rejection_log::RejectionLog;
pub(crate) use arrival::Arrival;
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
/// Connections that may wait to be accepted. With the usual 128 a burst of clients, as after a restart,
/// overflows: the kernel drops their first packet, and each waits a second or more for its next try.
const BACKLOG: i32 = 4096;
/// How long a closed session still reads what its client sends, so that the last answer arrives.
const FAREWELL: Duration = Duration::from_secs(2);
/// Pause between attempts to bind those of several ports that could not be.
const BIND_AGAIN: Duration = Duration::from_secs(3);

/// Bytes of a session's future at most: what [`CONNECTION_BYTES`] has beside the beginning of a request, and a
/// quarter for all else.
const SESSION_BYTES_MAX: usize = (CONNECTION_BYTES - CONNECTION_LINE_FREE_BYTES) / 4 * 3;

/// Between two looks at the stores while nobody connects; each connection looks as well.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Pause while a connection that gives way has not gone yet, and how many such pauses: nobody else
/// is accepted meanwhile, and the next in the queue may be one for whom there is a place.
const LEAVING_PAUSE: Duration = Duration::from_millis(2);
const LEAVING_PAUSES_MAX: usize = 5;

/// What is said of one that was told to go.
const GAVE_WAY: &str = "a connection is closed for others: it was silent, or slow with a request, and all places or all memory for clients were taken; limits and what to do about them are in docs/operations.md";

/// Where a source listens and for how many.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) host: String,
    pub(crate) ports: Vec<u16>,
    pub(crate) connections_max: usize,
    /// Sent to a client beyond `connections_max` before its connection closes.
    pub(crate) full: &'static [u8],
    tls: Option<Arc<Reloading<ServerTls>>>,
    /// Whether connections are compressed.
    zlib: bool,
    filter: Option<Arc<Filter>>,
    /// Throttles the log of who did not get in, over all connections.
    turned_away: Arc<ClientErrorLog>,
    /// The addresses it is bound to: with port 0 only this tells.
    bound: Mutex<Vec<SocketAddr>>,
}

impl Listening {
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
            turned_away: Arc::default(),
            bound,
        }
    }

    /// The same on several ports.
    pub(crate) fn on(mut self, ports: Vec<u16>) -> Self {
        self.ports = ports;
        self
    }

    /// The same with TLS, where `tls` says how.
    pub(crate) fn with_tls(mut self, tls: Option<ServerTls>) -> Self {
        self.tls = tls.map(|tls| Arc::new(Reloading::new(tls)));
        self
    }

    /// The same with connections that are compressed, where `zlib` says so.
    pub(crate) fn compressed(mut self, zlib: bool) -> Self {
        self.zlib = zlib;
        self
    }

    /// The same for those only whom `filter` lets in.
    pub(crate) fn filtered(mut self, filter: Option<Filter>) -> Self {
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

    /// Binds, says that the source has started, and runs `session` for each connection until the
    /// stop signal fires and every session has ended. Dropping the future ends all sessions.
    ///
    /// # Errors
    /// No address can be bound, or the key store cannot be used. Of several ports those that cannot
    /// be bound are named and tried again.
    pub(crate) async fn serve<F, S>(
        &self,
        context: &SourceContext,
        session: F,
    ) -> Result<(), Failure>
    where
        F: Fn(Arrival) -> S,
        S: Future<Output = ()> + Send + 'static,
    {
        self.look_at_stores(context).await?;
        let mut places = self.bind_all(context).await?;
        context.started();
        let name: Arc<str> = Arc::from(context.name.as_str());
        let gate = context.clients.gate(self.connections_max);
        let mut door = Door { listening: self, gate, full_said: false };
        let mut sessions = JoinSet::new();
        let open = OpenConnections(&context.counters);
        let mut pause = ACCEPT_PAUSE_MIN;
        let mut bind_again = Instant::now() + BIND_AGAIN;
        // Beside accepting: a look takes long where the stores' file system hangs.
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
                        let log = RejectionLog::new(&name, peer, &context.clock, &self.turned_away);
                        if !self.denies(peer.ip(), &log)
                            && let Some(client) = door.admits(&socket, peer.ip(), context).await {
                            let arrival =
                                self.arrival(context, socket, (peer, port), log.clone(), &client);
                            let session = until_gone(session(arrival), client, log);
                            debug_assert!(size_of_val(&session) <= SESSION_BYTES_MAX);
                            sessions.spawn(session);
                        }
                    }
                    Err(error) => {
                        if !of_one_client(&error) {
                            door.gate.relieve();
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
        client: &Arc<Connection>,
    ) -> Arrival {
        Arrival {
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

    /// Looks at the stores now and then. Does not return.
    async fn keep_looking(&self, context: &SourceContext) {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            // A store that was readable once is logged where it is not, and stays in use.
            let _ = self.look_at_stores(context).await;
        }
    }

    /// Reads the stores, if they have changed.
    async fn look_at_stores(&self, context: &SourceContext) -> Result<(), Failure> {
        let end = self.certificate_end(&context.name).await?;
        context.counters.certificate_end.set(end);
        Ok(())
    }

    /// Reads the stores, if they have changed; answers when the certificate ends, 0 without TLS.
    async fn certificate_end(&self, name: &str) -> Result<u64, Failure> {
        let Some(tls) = &self.tls else { return Ok(0) };
        let loaded = tls.current(&format!("source {name}")).await;
        let acceptor = loaded.map_err(|error| Failure::caused("cannot serve TLS", error))?;
        Ok(acceptor.not_after().unwrap_or(0))
    }

    /// Tries what serving begins with, and keeps nothing: the stores, and each port on which no source of this
    /// process listens. A port is bound and not listened on, so that no client connects to it.
    ///
    /// # Errors
    /// A store cannot be used, or a port not be had.
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

    async fn bind_all(&self, context: &SourceContext) -> Result<Places, Failure> {
        let mut places = Places { bound: Vec::new(), unbound: self.ports.clone() };
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

    /// Whether the rules turn a client away by its address alone: for it nobody has to give way.
    fn denies(&self, address: IpAddr, log: &RejectionLog) -> bool {
        let visitor = self.filter.as_ref().map(|filter| filter.visitor(address));
        let away = visitor.and_then(|visitor| visitor.knocks().err());
        away.as_ref().inspect(|away| log.turn_away(away)).is_some()
    }

    async fn bind_again(&self, context: &SourceContext, places: &mut Places) {
        for failure in self.bind_each(context, places).await {
            tracing::debug!(source = %context.name, "{failure}");
        }
    }

    /// Binds those that are not; what failed.
    async fn bind_each(&self, context: &SourceContext, places: &mut Places) -> Vec<Failure> {
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
            // Listening once more changes the length of the queue and nothing else.
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

/// The ports of a source.
struct Places {
    bound: Vec<(TcpListener, u16, HeldPort)>,
    unbound: Vec<u16>,
}

impl Places {
    /// The next connection of any port.
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

/// Shows how many connections are open; none when it is dropped, whatever ended them.
struct OpenConnections<'c>(&'c SourceCounters);

impl OpenConnections<'_> {
    fn are(&self, number: usize) {
        self.0.open_connection.set(number as u64);
    }
}

impl Drop for OpenConnections<'_> {
    fn drop(&mut self) {
        self.are(0);
    }
}

/// Decides who comes in.
struct Door<'a> {
    listening: &'a Listening,
    gate: Gate,
    full_said: bool,
}

impl Door<'_> {
    /// A place for the client, that of one that gives way if need be.
    async fn admits(
        &mut self,
        stream: &TcpStream,
        address: IpAddr,
        context: &SourceContext,
    ) -> Option<Arc<Connection>> {
        let mut pauses = LEAVING_PAUSES_MAX;
        let full = loop {
            match self.gate.admit(address, CONNECTION_BYTES, &context.counters) {
                Ok(client) => {
                    self.full_said = false;
                    // A peer that vanished without a word gives its place back soon, and counts as silent.
                    let _ = keep_alive(stream);
                    return Some(client);
                }
                Err(Full::Leaving) if pauses > 0 && !context.stop.fired() => {
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
                "refusing connections: all places are taken, and by clients that were heard a moment ago; raise what the cause names, or let clients share connections"
            );
        }
        // Plain text would be a broken record to a client that speaks TLS or zlib.
        if self.listening.tls.is_none() && !self.listening.zlib {
            let _ = stream.try_write(self.listening.full);
        }
        None
    }
}

/// Whether an accept error is about the one client only.
fn of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// Runs a session, and says so where it had to give way.
async fn until_gone(session: impl Future<Output = ()>, client: Arc<Connection>, log: RejectionLog) {
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

/// Ends a session of which the client may still be sending: an unread byte at close would make
/// the kernel throw away the answers that are still under way.
pub(crate) async fn farewell(mut stream: Stream) {
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

/// Reads and forgets; answers how much, with a spurious wake-up as 1.
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
