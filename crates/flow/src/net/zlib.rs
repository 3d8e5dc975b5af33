//! A connection with one zlib stream in each direction, flushed after each write, as Flume's Avro RPC compresses.
//!
//! The state of compression and decompression is allocated with the first byte of each, so a silent connection
//! has neither. A server sends its short replies in stored blocks, without compression state, which would take a
//! third of a megabyte for each client.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes that are compressed, or read for decompression, at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// A socket, plain or with zlib compression.
#[derive(Debug)]
pub enum Socket {
    /// Plain bytes.
    Plain(TcpStream),
    /// Compressed.
    Zlib(Box<Zlib>),
}

/// Most bytes of a stored block (RFC 1951).
const STORED_BYTES_MAX: usize = 0xFFFF;
/// zlib header of a stream written at the fastest level: a window of 32 KiB, no dictionary.
const STORED_HEADER: [u8; 2] = [0x78, 0x01];

/// How written data is encoded.
#[derive(Debug)]
enum CompressionMode {
    /// Compressed at this level, from the first byte on.
    Level(u32, Option<Box<Compress>>),
    /// In stored blocks; true once the header was written.
    Stored(bool),
}

/// A compressed connection.
#[derive(Debug)]
pub struct Zlib {
    socket: TcpStream,
    inflate: Option<Box<Decompress>>,
    packing: CompressionMode,
    /// Received input that is not decompressed: from `read` on.
    input: Vec<u8>,
    read: usize,
    /// Compressed output that is not sent: from `sent` on.
    output: Vec<u8>,
    sent: usize,
    has_ended: bool,
}

impl Zlib {
    /// Compresses on `socket`, at `level` 0 to 9.
    #[must_use]
    pub fn new(socket: TcpStream, level: u32) -> Self {
        Self::packing(socket, CompressionMode::Level(level.min(9), None))
    }

    /// Returns the server side on `socket`: it reads compressed data and writes its short replies in stored
    /// blocks.
    #[must_use]
    pub fn answering(socket: TcpStream) -> Self {
        Self::packing(socket, CompressionMode::Stored(false))
    }

    fn packing(socket: TcpStream, packing: CompressionMode) -> Self {
        Self {
            socket,
            inflate: None,
            packing,
            input: Vec::new(),
            read: 0,
            output: Vec::new(),
            sent: 0,
            has_ended: false,
        }
    }

    /// Returns the socket below.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        &self.socket
    }

    /// Decompresses into `buffer`; returns false if more input is needed.
    fn inflate(&mut self, buffer: &mut ReadBuf<'_>) -> io::Result<bool> {
        let input = &self.input[self.read..];
        let inflate = match &mut self.inflate {
            Some(inflate) => inflate,
            None if input.is_empty() => return Ok(false),
            none => none.insert(Box::new(Decompress::new(true))),
        };
        let (in_before, out_before) = (inflate.total_in(), inflate.total_out());
        let status = inflate.decompress(input, buffer.initialize_unfilled(), FlushDecompress::None);
        let status = status.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.read += usize::try_from(inflate.total_in() - in_before).unwrap_or(usize::MAX);
        let made = usize::try_from(inflate.total_out() - out_before).unwrap_or(usize::MAX);
        buffer.advance(made);
        self.has_ended |= status == Status::StreamEnd;
        Ok(made > 0 || self.has_ended)
    }

    /// Appends `piece` to the output and flushes, so that the peer can decode all of it.
    fn pack(&mut self, piece: &[u8]) -> io::Result<()> {
        let (level, deflate) = match &mut self.packing {
            CompressionMode::Stored(has_begun) => {
                if !std::mem::replace(has_begun, true) {
                    self.output.extend_from_slice(&STORED_HEADER);
                }
                put_stored(&mut self.output, piece);
                return Ok(());
            }
            CompressionMode::Level(level, deflate) => (*level, deflate),
        };
        let fresh = || Box::new(Compress::new(Compression::new(level), true));
        let deflate = deflate.get_or_insert_with(fresh);
        let mut taken = 0;
        loop {
            self.output.reserve(PIECE_BYTES);
            let before = deflate.total_in();
            let made = deflate.compress_vec(&piece[taken..], &mut self.output, FlushCompress::Sync);
            made.map_err(io::Error::other)?;
            taken += usize::try_from(deflate.total_in() - before).unwrap_or(usize::MAX);
            // Free space in the output means that the flush is complete.
            if taken == piece.len() && self.output.len() < self.output.capacity() {
                return Ok(());
            }
        }
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.output.len() {
            let rest = &self.output[self.sent..];
            let sent = ready!(Pin::new(&mut self.socket).poll_write(context, rest))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        // Idle connections hold no buffers.
        (self.output, self.sent) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }
}

/// Appends `piece` as stored blocks: type and padding in one byte, the length and its complement (RFC 1951,
/// 3.2.4).
fn put_stored(out: &mut Vec<u8>, piece: &[u8]) {
    for block in piece.chunks(STORED_BYTES_MAX) {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(0);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
}

impl Socket {
    /// Returns the server side of `tcp`, compressed if `zlib` is set.
    #[must_use]
    pub fn answering(tcp: TcpStream, zlib: bool) -> Self {
        if zlib { Self::Zlib(Box::new(Zlib::answering(tcp))) } else { Self::Plain(tcp) }
    }

    /// Returns `tcp`, compressed at `level` if there is one.
    #[must_use]
    pub fn new(tcp: TcpStream, level: Option<u32>) -> Self {
        match level {
            Some(level) => Self::Zlib(Box::new(Zlib::new(tcp, level))),
            None => Self::Plain(tcp),
        }
    }

    /// Returns the socket below.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Zlib(zlib) => zlib.tcp(),
        }
    }
}

impl AsyncRead for Zlib {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            // Also without new input: decompressed data may have exceeded the last buffer.
            if buffer.remaining() == 0 || this.has_ended || this.inflate(buffer)? {
                return Poll::Ready(Ok(()));
            }
            if this.read < this.input.len() {
                let words = "an invalid compressed stream";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, words)));
            }
            let mut piece = [0; PIECE_BYTES];
            let mut fresh = ReadBuf::new(&mut piece);
            (this.input, this.read) = (Vec::new(), 0);
            ready!(Pin::new(&mut this.socket).poll_read(context, &mut fresh))?;
            if fresh.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.input = fresh.filled().to_vec();
        }
    }
}

impl AsyncWrite for Zlib {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(context))?;
        let piece = &bytes[..bytes.len().min(PIECE_BYTES)];
        this.pack(piece)?;
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(context))?;
        Pin::new(&mut this.socket).poll_shutdown(context)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(context, buffer),
            Self::Zlib(zlib) => Pin::new(zlib).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Self::Zlib(zlib) => Pin::new(zlib).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(context),
            Self::Zlib(zlib) => Pin::new(zlib).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Self::Zlib(zlib) => Pin::new(zlib).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair(level: u32) -> (Zlib, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        (Zlib::new(near.unwrap(), level), far.unwrap().0)
    }

    #[tokio::test]
    async fn written_data_arrives_with_each_flush_at_every_level() {
        for level in [0, 1, 6, 9] {
            let (mut near, far) = pair(level).await;
            let mut far = Zlib::new(far, 6);
            for piece in [&b"short"[..], &[7; 100_000], &(0..=255).collect::<Vec<u8>>().repeat(300)]
            {
                let send = async {
                    near.write_all(piece).await.unwrap();
                    near.flush().await.unwrap();
                };
                let mut read = vec![0; piece.len()];
                let (_, arrived) = tokio::join!(send, far.read_exact(&mut read));
                arrived.unwrap();
                assert!(read == piece, "level {level}");
            }
            near.shutdown().await.unwrap();
            assert_eq!(far.read(&mut [0; 9]).await.unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn a_silent_connection_allocates_no_compression_state() {
        let (mut near, mut far) = {
            let (near, far) = pair(6).await;
            (Zlib::answering(near.socket), far)
        };
        let silent = tokio::time::timeout(std::time::Duration::from_millis(50), near.read_u8());
        silent.await.expect_err("nothing came");
        assert!(near.inflate.is_none(), "made with the first byte");
        far.write_all(&[0x78]).await.unwrap();
        let _ = tokio::time::timeout(std::time::Duration::from_millis(50), near.read_u8()).await;
        assert!(near.inflate.is_some());
        near.write_all(b"answer").await.unwrap();
        assert!(matches!(near.packing, CompressionMode::Stored(true)), "replies need no state");
    }

    #[tokio::test]
    async fn replies_of_any_length_are_one_stream_that_is_read_as_it_comes() {
        let (near, far) = pair(6).await;
        let (mut near, mut far) = (Zlib::answering(near.socket), Zlib::new(far, 6));
        let long: Vec<u8> = (0..=255).collect::<Vec<u8>>().repeat(600);
        for piece in [&b"OK"[..], b"", &long, b"again"] {
            let send = async {
                near.write_all(piece).await.unwrap();
                near.flush().await.unwrap();
            };
            let mut read = vec![0; piece.len()];
            let (_, arrived) = tokio::join!(send, far.read_exact(&mut read));
            arrived.unwrap();
            assert!(read == piece);
        }
    }

    #[tokio::test]
    async fn it_is_one_stream_in_the_form_of_rfc_1950() {
        let (mut near, mut far) = pair(6).await;
        for word in ["one", "two"] {
            near.write_all(word.as_bytes()).await.unwrap();
            near.flush().await.unwrap();
        }
        drop(near);
        let mut wire = Vec::new();
        far.read_to_end(&mut wire).await.unwrap();
        assert_eq!(wire[..2], [0x78, 0x9c], "the header of zlib");
        assert_eq!(
            wire.windows(4).filter(|four| *four == [0, 0, 0xff, 0xff]).count(),
            2,
            "two flushes"
        );
        let (mut text, mut inflate) = (Vec::with_capacity(100), Decompress::new(true));
        inflate.decompress_vec(&wire, &mut text, FlushDecompress::None).unwrap();
        assert_eq!(text, b"onetwo");
    }

    #[tokio::test]
    async fn a_bomb_is_read_in_pieces_and_an_invalid_stream_is_an_error() {
        let (mut near, far) = pair(9).await;
        let mut far = Zlib::new(far, 6);
        let bomb = vec![0; 10 * 1024 * 1024];
        let send = async {
            near.write_all(&bomb).await.unwrap();
            near.flush().await.unwrap();
        };
        let read = async {
            let (mut piece, mut all) = ([0; 1000], 0);
            while all < bomb.len() {
                all += far.read(&mut piece).await.unwrap();
                assert!(far.input.len() <= PIECE_BYTES);
            }
        };
        tokio::join!(send, read);
        let (near, mut far) = pair(6).await;
        let mut near = near;
        far.write_all(b"no zlib at all").await.unwrap();
        assert_eq!(near.read(&mut [0; 9]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
