//! Connecting, with a deadline for everything until the first byte of the protocol.

use super::stream::Stream;
use super::tls::Connector;
use super::zlib::Socket;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsStream;

/// Quiet time after which the kernel asks whether the other side is there, and between further
/// questions; how many without an answer end the connection.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Refused, unreachable, or no such name.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// The server does not speak TLS, or is not who it should be.
    #[error(
        "no TLS with the server: {0}; if it is the one that is meant, its certificate or its authority's belongs into the truststore"
    )]
    Tls(#[source] io::Error),
    /// Not within the time.
    #[error("no connection within {} ms", .0.as_millis())]
    Late(Duration),
}

/// What lies between the socket and the protocol.
#[derive(Clone, Copy, Default)]
pub struct Layers<'a> {
    /// TLS, if there is any.
    pub tls: Option<&'a Connector>,
    /// The level of compression, 0 to 9, below TLS; `None` for none.
    pub zlib: Option<u32>,
}

/// A connection to `host`, made and greeted within `patience`.
///
/// # Errors
/// There is none.
pub async fn dial(
    host: &str,
    port: u16,
    layers: Layers<'_>,
    patience: Duration,
) -> Result<Stream, DialError> {
    let connect = async {
        let socket = TcpStream::connect((host, port)).await.map_err(DialError::Connect)?;
        socket.set_nodelay(true).map_err(DialError::Connect)?;
        keep_alive(&socket).map_err(DialError::Connect)?;
        let socket = Socket::new(socket, layers.zlib);
        match layers.tls {
            None => Ok(Stream::from(socket)),
            Some(tls) => {
                let stream = tls.greet(host, socket).await.map_err(DialError::Tls)?;
                Ok(Stream::Tls(Box::new(TlsStream::Client(stream))))
            }
        }
    };
    timeout(patience, connect).await.map_err(|_| DialError::Late(patience))?
}

/// Lets the kernel notice that the other side has gone without a word.
///
/// # Errors
/// The socket cannot be set so.
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

    #[tokio::test]
    async fn the_kernel_asks_after_a_quiet_peer() {
        use rustix::net::sockopt;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let patience = Duration::from_secs(60);
        let stream = dial("127.0.0.1", port, Layers::default(), patience).await.unwrap();
        let socket = stream.socket();
        assert!(sockopt::socket_keepalive(socket).unwrap());
        assert_eq!(sockopt::tcp_keepidle(socket).unwrap(), KEEPALIVE_IDLE);
        assert_eq!(sockopt::tcp_keepintvl(socket).unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(sockopt::tcp_keepcnt(socket).unwrap(), KEEPALIVE_PROBES);
    }
}
