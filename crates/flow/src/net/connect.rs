//! Connects with one deadline for everything up to the first byte of the protocol.
//!
//! The addresses of a name are raced as in RFC 8305: address families alternate, a further attempt starts every
//! [`STAGGER`] or as soon as one fails, and the first connection wins. An address whose packets are lost costs
//! 250 ms and not the whole timeout.

use super::stream::Stream;
use super::tls::Connector;
use super::zlib::Socket;
use crate::base::limits::DIAL_ADDRESSES_MAX;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_rustls::TlsStream;

/// Idle time before the first keep-alive probe, the interval between probes, and the number of unanswered probes
/// that ends the connection.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// Pause between two attempts of a race, the delay that RFC 8305 recommends.
const STAGGER: Duration = Duration::from_millis(250);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The name has no address, or the socket cannot be configured.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// Every address of the name refused the connection or is unreachable.
    #[error("cannot connect: {0}")]
    Refused(Attempts),
    /// The server does not speak TLS, or its certificate is not trusted.
    #[error(
        "no TLS with the server: {0}; if it is the right server, add its certificate or that of its authority to the truststore"
    )]
    Tls(#[source] io::Error),
    /// Not connected within the timeout.
    #[error("no connection within {} ms: {reached}", time_limit.as_millis())]
    Timeout {
        /// The timeout.
        time_limit: Duration,
        /// How far it got.
        reached: ConnectStage,
    },
}

/// How far a connection got within its timeout.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectStage {
    /// The name was not resolved.
    Name,
    /// Addresses were tried.
    Addresses(Attempts),
    /// This address is connected; its TLS handshake did not end.
    Handshake(SocketAddr),
}

impl fmt::Display for ConnectStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("the name was not resolved (does the name server answer?)"),
            Self::Addresses(attempts) => attempts.fmt(f),
            Self::Handshake(address) => {
                write!(f, "{address} is connected and did not complete the TLS handshake")
            }
        }
    }
}

/// The attempted addresses, each with its error; `None` while it is pending.
#[derive(Debug, Default)]
pub struct Attempts(Vec<(SocketAddr, Option<io::Error>)>);

/// Sorted by address, so that equal outcomes have equal texts whatever the order of the name server.
impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_by_key(|(address, _)| *address);
        for (at, (address, ended)) in sorted.into_iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            match ended {
                Some(error) => write!(f, "{comma}{address}: {error}")?,
                None => write!(f, "{comma}{address}: no answer")?,
            }
        }
        Ok(())
    }
}

/// Layers between the socket and the protocol.
#[derive(Clone, Copy, Default)]
pub struct Layers<'a> {
    /// TLS, if it is used.
    pub tls: Option<&'a Connector>,
    /// Compression level, 0 to 9, of zlib below TLS; `None` for no compression.
    pub zlib: Option<u32>,
}

/// Returns a connection to `host`, with its TLS handshake done, within `time_limit`.
///
/// # Errors
/// It cannot be connected.
pub async fn connect(
    host: &str,
    port: u16,
    layers: Layers<'_>,
    time_limit: Duration,
) -> Result<Stream, ConnectError> {
    let deadline = Instant::now() + time_limit;
    let late = |reached| ConnectError::Timeout { time_limit, reached };
    let found = timeout_at(deadline, lookup_host((host, port))).await;
    let found = found.map_err(|_| late(ConnectStage::Name))?.map_err(ConnectError::Connect)?;
    let socket = race(by_turns(found), deadline).await.map_err(|lost| match lost {
        RaceFailure::Timeout(attempts) => late(ConnectStage::Addresses(attempts)),
        RaceFailure::All(attempts) => ConnectError::Refused(attempts),
    })?;
    socket.set_nodelay(true).map_err(ConnectError::Connect)?;
    keep_alive(&socket).map_err(ConnectError::Connect)?;
    let address = socket.peer_addr();
    let socket = Socket::new(socket, layers.zlib);
    let Some(tls) = layers.tls else { return Ok(Stream::from(socket)) };
    match timeout_at(deadline, tls.greet(host, socket)).await {
        Ok(greeted) => {
            Ok(Stream::Tls(Box::new(TlsStream::Client(greeted.map_err(ConnectError::Tls)?))))
        }
        Err(_) => Err(late(ConnectStage::Handshake(address.map_err(ConnectError::Connect)?))),
    }
}

/// Returns the addresses to try: families alternate, beginning with that of the first address, which the system
/// prefers; duplicates are removed.
fn by_turns(found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    let first_is_v6 = all.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, others): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut turns = Vec::new();
    let (mut preferred, mut others) = (preferred.into_iter(), others.into_iter());
    loop {
        let pair = [preferred.next(), others.next()];
        if pair == [None, None] {
            break;
        }
        turns.extend(pair.into_iter().flatten());
    }
    turns.truncate(DIAL_ADDRESSES_MAX);
    turns
}

/// Why no attempt of a race succeeded.
#[derive(Debug)]
enum RaceFailure {
    /// The deadline has passed.
    Timeout(Attempts),
    /// Every attempt failed.
    All(Attempts),
}

/// Returns the first connection to any of `addresses`; the pending attempts are dropped.
async fn race(addresses: Vec<SocketAddr>, deadline: Instant) -> Result<TcpStream, RaceFailure> {
    let mut waiting = addresses.into_iter().enumerate();
    let mut attempts = Attempts::default();
    let mut running = JoinSet::new();
    let mut next_start = Instant::now();
    loop {
        if running.is_empty() || Instant::now() >= next_start {
            match waiting.next() {
                Some((at, address)) => {
                    attempts.0.push((address, None));
                    running.spawn(async move { (at, TcpStream::connect(address).await) });
                    next_start = Instant::now() + STAGGER;
                }
                None if running.is_empty() => return Err(RaceFailure::All(attempts)),
                None => next_start = deadline,
            }
        }
        tokio::select! {
            biased;
            Some(ended) = running.join_next() => match ended {
                Ok((_, Ok(socket))) => return Ok(socket),
                Ok((at, Err(error))) => {
                    attempts.0[at].1 = Some(error);
                    // The next attempt starts at once.
                    next_start = Instant::now();
                }
                // An attempt neither panics nor is cancelled.
                Err(_) => {}
            },
            () = sleep_until(deadline) => return Err(RaceFailure::Timeout(attempts)),
            () = sleep_until(next_start), if next_start < deadline => {}
        }
    }
}

/// Enables TCP keep-alive, so that a peer that disappeared is detected.
///
/// # Errors
/// The socket cannot be configured.
pub fn keep_alive(socket: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(socket, KEEPALIVE_PROBES)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpSocket};

    /// Only a failing test reaches it.
    const TIMEOUT: Duration = Duration::from_secs(60);

    /// Returns an address whose packets are lost: a full accept queue, kept full by the returned tasks.
    async fn black_hole() -> (SocketAddr, Vec<tokio::task::JoinHandle<io::Result<TcpStream>>>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut held = Vec::new();
        // One connection more than the queue holds stays unanswered.
        for _ in 0..4 {
            held.push(tokio::spawn(TcpStream::connect(address)));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        held.push(tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(listener);
            Err(io::Error::other("never"))
        }));
        (address, held)
    }

    async fn refusing() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    }

    #[tokio::test]
    async fn the_kernel_asks_after_a_quiet_peer() {
        use rustix::net::sockopt;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = connect("127.0.0.1", port, Layers::default(), TIMEOUT).await.unwrap();
        let socket = stream.socket();
        assert!(sockopt::socket_keepalive(socket).unwrap());
        assert_eq!(sockopt::tcp_keepidle(socket).unwrap(), KEEPALIVE_IDLE);
        assert_eq!(sockopt::tcp_keepintvl(socket).unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(sockopt::tcp_keepcnt(socket).unwrap(), KEEPALIVE_PROBES);
    }

    #[tokio::test]
    async fn an_address_that_does_not_reply_does_not_delay_the_next_one() {
        let (silent, _held) = black_hole().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let addresses = vec![silent, refusing().await, good];
        // Far less than the kernel's timeout for the first address alone.
        let socket = race(addresses, Instant::now() + Duration::from_secs(30)).await.unwrap();
        assert_eq!(socket.peer_addr().unwrap(), good);
    }

    #[tokio::test]
    async fn an_error_names_each_address_and_how_it_ended() {
        let (silent, _held) = black_hole().await;
        let refusing = refusing().await;
        let deadline = Instant::now() + Duration::from_secs(1);
        let Err(RaceFailure::Timeout(attempts)) = race(vec![silent, refusing], deadline).await
        else {
            panic!("no address can be connected to")
        };
        let late = ConnectError::Timeout {
            time_limit: Duration::from_secs(1),
            reached: ConnectStage::Addresses(attempts),
        };
        let said = late.to_string();
        assert!(said.contains(&format!("{silent}: no answer")), "{said}");
        assert!(said.contains(&format!("{refusing}: Connection refused")), "{said}");
        let refused = connect("127.0.0.1", refusing.port(), Layers::default(), TIMEOUT).await;
        let said = refused.unwrap_err().to_string();
        assert_eq!(said, format!("cannot connect: {refusing}: Connection refused (os error 111)"));
    }

    #[test]
    fn families_alternate_beginning_with_the_preferred_one() {
        let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let turns = |texts: &[&str]| by_turns(addresses(texts).into_iter());
        let found = ["[::1]:1", "[::2]:1", "[::3]:1", "1.0.0.1:1", "1.0.0.2:1", "[::1]:1"];
        let expected = ["[::1]:1", "1.0.0.1:1", "[::2]:1", "1.0.0.2:1", "[::3]:1"];
        assert_eq!(turns(&found), addresses(&expected));
        assert_eq!(
            turns(&["1.0.0.1:1", "1.0.0.2:1", "[::1]:1"]),
            addresses(&["1.0.0.1:1", "[::1]:1", "1.0.0.2:1"])
        );
        let many = (0..100).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        assert_eq!(by_turns(many).len(), DIAL_ADDRESSES_MAX);
    }
}
