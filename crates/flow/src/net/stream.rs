//! A connection, in plain text, compressed or in TLS.

use super::tls::Certificate;
use super::zlib::{Socket, Zlib};
use bytes::BytesMut;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// Bytes that are read into a stack buffer at a time.
const PIECE_BYTES: usize = 8 * 1024;

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// In plain text.
    Plain(TcpStream),
    /// Compressed.
    Zlib(Box<Zlib>),
    /// In TLS, after the handshake.
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    /// Returns the socket below.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Zlib(zlib) => zlib.tcp(),
            Self::Tls(tls) => tls.get_ref().0.tcp(),
        }
    }

    /// Returns the certificate that the peer has shown in the TLS handshake; it was verified unless the settings
    /// trust all certificates. `None` without one.
    #[must_use]
    pub fn peer_certificate(&self) -> Option<Certificate> {
        let Self::Tls(tls) = self else { return None };
        let shown = tls.get_ref().1.peer_certificates()?;
        Certificate::read(shown.first()?)
    }

    /// Returns true if [`Stream::ready`] waits for something to read. The buffered input of a compressed
    /// connection may be too little to decompress a byte, which only a read detects.
    #[must_use]
    pub fn tells_ready(&self) -> bool {
        !matches!(self, Self::Zlib(_))
    }

    /// Waits until there is something to read, the end included, so that the caller can reserve memory before it
    /// reads. Returns at once for a compressed connection. A TLS record that has arrived is decrypted and stays
    /// in TLS's own buffer.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn ready(&mut self) -> io::Result<()> {
        match self {
            // `readable` would also return for data that was read already: readiness is cleared only by a read
            // that finds nothing.
            Self::Plain(socket) => socket.peek(&mut [0; 1]).await.map(drop),
            Self::Zlib(_) => Ok(()),
            Self::Tls(tls) => {
                let filled = poll_fn(|context| {
                    Pin::new(&mut **tls).poll_fill_buf(context).map(|filled| filled.map(drop))
                });
                match filled.await {
                    // The next read reports it as an ordinary end.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
                    filled => filled,
                }
            }
        }
    }

    /// Waits for bytes and appends about `step` of them at most to `input`; returns 0 at the end. Cancel safe. No
    /// buffer is held while it waits, so ten thousand idle connections use none.
    ///
    /// # Errors
    /// The connection failed. A TLS peer that ends without close_notify is an ordinary end: the protocols above
    /// detect a truncated message.
    pub async fn read_some(&mut self, input: &mut BytesMut, step: usize) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => loop {
                // A peer that never stops sending must not starve other tasks of its thread.
                tokio::task::coop::consume_budget().await;
                socket.readable().await?;
                input.reserve(step);
                match socket.try_read_buf(input) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return read,
                }
            },
            Self::Zlib(zlib) => {
                poll_fn(|context| poll_some(Pin::new(&mut **zlib), context, input, step)).await
            }
            Self::Tls(tls) => {
                let read = poll_fn(|context| poll_some(Pin::new(&mut **tls), context, input, step));
                match read.await {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                    read => read,
                }
            }
        }
    }

    /// Returns true if the peer has neither closed the connection nor sent anything unread.
    pub fn is_quiet(&mut self) -> bool {
        // TLS may have received bytes that are not application data; a poll consumes them.
        let (mut byte, mut context) = ([0; 1], Context::from_waker(Waker::noop()));
        Pin::new(self).poll_read(&mut context, &mut ReadBuf::new(&mut byte)).is_pending()
    }
}

/// Reads what is available, up to `step` bytes, through a stack buffer: nothing is allocated before data arrives.
fn poll_some<S: AsyncRead>(
    mut stream: Pin<&mut S>,
    context: &mut Context<'_>,
    input: &mut BytesMut,
    step: usize,
) -> Poll<io::Result<usize>> {
    let mut piece = [MaybeUninit::uninit(); PIECE_BYTES];
    let mut all = 0;
    while all < step {
        let mut read = ReadBuf::uninit(&mut piece);
        let mut read = read.take(step - all);
        match stream.as_mut().poll_read(context, &mut read) {
            Poll::Ready(Ok(())) if read.filled().is_empty() => break,
            Poll::Ready(Ok(())) => {
                all += read.filled().len();
                input.extend_from_slice(read.filled());
            }
            // The data read counts; the next read returns the error again.
            Poll::Ready(Err(_)) | Poll::Pending if all > 0 => break,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
    }
    Poll::Ready(Ok(all))
}

impl From<Socket> for Stream {
    fn from(socket: Socket) -> Self {
        match socket {
            Socket::Plain(tcp) => Self::Plain(tcp),
            Socket::Zlib(zlib) => Self::Zlib(zlib),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Zlib(zlib) => Pin::new(zlib).poll_read(context, buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Zlib(zlib) => Pin::new(zlib).poll_write(context, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(context),
            Self::Zlib(zlib) => Pin::new(zlib).poll_flush(context),
            Self::Tls(tls) => Pin::new(tls).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Zlib(zlib) => Pin::new(zlib).poll_shutdown(context),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(context),
        }
    }
}
