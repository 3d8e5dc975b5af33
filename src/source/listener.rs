//! TCP sessions: one small task each, a limit on their number, accept errors that pass, and TLS
//! where it is asked for.

use crate::base::limits::TLS_HANDSHAKE_SECONDS_MAX;
use crate::codes;
use crate::flow::context::StopSignal;
use crate::flow::source::{Failure, SourceContext};
use crate::flow::spell::Spell;
use crate::metrics::SourceCounters;
use crate::net::dial::keep_alive;
use crate::net::stream::Stream;
use crate::net::tls::{Reloading, ServerTls};
use crate::net::zlib::Socket;
use crate::source::filter::Filter;
use crate::source::held_ports::{self, HeldPort};
use crate::source::rejection_log::RejectionLog;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_rustls::{TlsStream, server};

const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(50);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Connections that may wait to be accepted. With the usual 128 a burst of clients, as after a restart,
/// overflows: the kernel drops their first packet, and each waits a second or more for its next try.
const BACKLOG: i32 = 4096;
/// How long a closed session still reads what its client sends, so that the last answer arrives.
const FAREWELL: Duration = Duration::from_secs(2);
/// Pause between attempts to bind those of several ports that could not be.
const BIND_AGAIN: Duration = Duration::from_secs(3);

/// Between two looks at the stores while nobody connects; each connection looks as well.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Level at which a source compresses its answers, as Flume's.
const ANSWER_LEVEL: u32 = 6;

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
    /// Who did not get in, of all connections; never over, for it says nothing about the next.
    turned_away: Arc<Spell>,
    /// The addresses it is bound to: with port 0 only this tells.
    bound: Mutex<Vec<SocketAddr>>,
}

/// A connection that has come in, not greeted yet.
pub(crate) struct Arrival {
    pub(crate) peer: SocketAddr,
    /// The port that it came to.
    pub(crate) port: u16,
    socket: TcpStream,
    tls: Option<Arc<Reloading<ServerTls>>>,
    zlib: bool,
    filter: Option<Arc<Filter>>,
    stop: StopSignal,
    counters: Arc<SourceCounters>,
    log: RejectionLog,
}

impl Arrival {
    /// The connection, its TLS handshake done where there is TLS; `None` when that failed or took too
    /// long, the client may not come in, or the source stops.
    pub(crate) async fn greet(self) -> Option<Stream> {
        let filter = self.filter.clone();
        let mut visitor = filter.as_ref().map(|filter| filter.visitor(self.peer.ip()));
        if let Some(visitor) = &mut visitor {
            let arrived = tokio::select! {
                () = self.stop.wait() => return None,
                arrived = visitor.arrives() => arrived,
            };
            if let Err(away) = arrived {
                self.log.turn_away(&away);
                return None;
            }
        }
        let log = self.log.clone();
        let stream = self.shake_hands().await?;
        if let Some(Err(away)) = visitor.map(|mut it| it.shows(stream.peer_certificate())) {
            log.turn_away(&away);
            return None;
        }
        Some(stream)
    }

    async fn shake_hands(self) -> Option<Stream> {
        let level = self.zlib.then_some(ANSWER_LEVEL);
        let socket = Socket::new(self.socket, level);
        let Some(tls) = &self.tls else { return Some(Stream::from(socket)) };
        let patience = Duration::from_secs(TLS_HANDSHAKE_SECONDS_MAX);
        let shaken = tokio::select! {
            () = self.stop.wait() => return None,
            shaken = tokio::time::timeout(patience, shake_hands(tls, self.log.source(), socket)) => shaken,
        };
        let error = match shaken {
            Ok(Ok(stream)) => return Some(Stream::Tls(Box::new(TlsStream::Server(stream)))),
            Ok(Err(error)) => error,
            Err(_) => format!("not done within {TLS_HANDSHAKE_SECONDS_MAX} s"),
        };
        self.counters.event_read_fail.add(1);
        self.log.say(&format!("no TLS with a client: {error}"));
        None
    }
}

/// The handshake, with the stores as they are now.
async fn shake_hands(
    tls: &Reloading<ServerTls>,
    source: &str,
    socket: Socket,
) -> Result<server::TlsStream<Socket>, String> {
    let acceptor = tls.current(&format!("source {source}")).await;
    let acceptor = acceptor.map_err(|error| error.to_string())?;
    acceptor.accept(socket).await.map_err(|error| error.to_string())
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
        let mut door = Door { listening: self, name: &context.name, full_said: false };
        let mut sessions = JoinSet::new();
        let open = OpenConnections(&context.counters);
        let mut pause = ACCEPT_PAUSE_MIN;
        let mut bind_again = Instant::now() + BIND_AGAIN;
        let mut look_again = Instant::now() + LOOK_AGAIN;
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
                () = sleep_until(look_again), if self.tls.is_some() => {
                    // A store that was readable once is logged where it is not, and stays in use.
                    let _ = self.look_at_stores(context).await;
                    look_again = Instant::now() + LOOK_AGAIN;
                }
                accepted = places.accept() => match accepted {
                    Ok((socket, peer, port)) => {
                        pause = ACCEPT_PAUSE_MIN;
                        if door.admits(&socket, sessions.len()) {
                            let log = RejectionLog::new(&name, peer, &context.clock, &self.turned_away);
                            sessions.spawn(session(self.arrival(context, socket, (peer, port), log)));
                        }
                    }
                    Err(error) => {
                        if !of_one_client(&error) {
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
    ) -> Arrival {
        Arrival {
            peer,
            port,
            socket,
            tls: self.tls.clone(),
            zlib: self.zlib,
            filter: self.filter.clone(),
            stop: context.stop.clone(),
            counters: Arc::clone(&context.counters),
            log,
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
        for port in
            self.ports.iter().copied().filter(|port| *port != 0 && !held_ports::is_held(*port))
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
                    places.bound.push((listener, port, HeldPort::new(port)));
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
    name: &'a str,
    full_said: bool,
}

impl Door<'_> {
    fn admits(&mut self, stream: &TcpStream, open: usize) -> bool {
        if open < self.listening.connections_max {
            self.full_said = false;
            // A peer that vanished without a word gives its place back soon, and counts as silent.
            let _ = keep_alive(stream);
            return true;
        }
        if !self.full_said {
            self.full_said = true;
            tracing::warn!(
                code = %codes::CONNECTIONS_REFUSED,
                source = self.name,
                open,
                "refusing connections beyond maxConnections; raise it, or let clients share connections"
            );
        }
        // Plain text would be a broken record to a client that speaks TLS or zlib.
        if self.listening.tls.is_none() && !self.listening.zlib {
            let _ = stream.try_write(self.listening.full);
        }
        false
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
mod tests {
    use super::*;
    use crate::flow::heard::logged;
    use crate::net::tls::Choice;
    use crate::source::trial::{Trial, until, within};
    use tokio::io::AsyncReadExt;

    /// Serves clients, each until it ends its side, beside `script`.
    async fn serve(listening: &Listening, trial: &Trial, script: impl Future<Output = ()>) {
        let session = |arrival: Arrival| async move {
            let Some(mut stream) = arrival.greet().await else { return };
            let _ = stream.read_to_end(&mut Vec::new()).await;
        };
        let beside = async {
            trial.until_started().await;
            script.await;
            trial.stop();
        };
        tokio::join!(listening.serve(&trial.context, session), beside).0.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_does_not_get_on_with_its_handshake_is_let_go() {
        let keystore = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tls/server.jks").into();
        let password = "changeit".to_owned();
        let choice = Choice::default();
        let tls = ServerTls { keystore, password, clients: None, choice };
        let listening = Listening::new("127.0.0.1".to_owned(), 0, 10, b"").with_tls(Some(tls));
        let trial = Trial::new();
        let script = async {
            let (mut silent, mut slow) = (connected(&listening).await, connected(&listening).await);
            // As much of a handshake as says how much there will be.
            slow.write_all(b"\x16\x03\x01\x02\x00").await.unwrap();
            let open = &trial.context.counters.open_connection;
            until("both connections", || open.get() == 2).await;
            tokio::time::pause();
            for client in [&mut silent, &mut slow] {
                let read = within(3600, "the end", client.read(&mut [0])).await;
                assert_eq!(read.unwrap_or(0), 0);
            }
        };
        let words = logged(serve(&listening, &trial, script)).await;
        assert_eq!(words.matches("not done within 20 s").count(), 1, "said once for both: {words}");
        assert_eq!(trial.context.counters.event_read_fail.get(), 2);
    }

    #[tokio::test]
    async fn a_client_beyond_the_limit_is_told_so_and_one_that_goes_leaves_its_place() {
        let listening = Listening::new("127.0.0.1".to_owned(), 0, 1, b"full\n");
        let trial = Trial::new();
        let open = &trial.context.counters.open_connection;
        let script = async {
            let first = connected(&listening).await;
            until("the first", || open.get() == 1).await;
            let (mut second, mut told) = (connected(&listening).await, String::new());
            within(60, "an answer", second.read_to_string(&mut told)).await.unwrap();
            assert_eq!((&*told, open.get()), ("full\n", 1));
            drop(first);
            until("a free place", || open.get() == 0).await;
            let _third = connected(&listening).await;
            until("the third", || open.get() == 1).await;
        };
        serve(&listening, &trial, script).await;
    }

    async fn connected(listening: &Listening) -> TcpStream {
        TcpStream::connect(listening.bound()).await.unwrap()
    }

    #[tokio::test]
    async fn a_burst_of_clients_waits_in_the_queue_and_not_for_the_kernel_to_try_again() {
        // The machine may allow less; then there is nothing to see here.
        let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
        let clients = allowed.trim().parse::<usize>().unwrap_or(0).min(600) / 2;
        let listening = Listening::new("127.0.0.1".to_owned(), 0, 10, b"");
        let listener = listening.bind(0).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        for _ in 0..clients {
            // Nobody accepts: beyond the queue this would wait for ever.
            let connect = TcpStream::connect(address);
            let connected = tokio::time::timeout(Duration::from_secs(60), connect).await;
            waiting.push(connected.expect("room in the queue").unwrap());
        }
        assert_eq!(waiting.len(), clients);
    }
}
