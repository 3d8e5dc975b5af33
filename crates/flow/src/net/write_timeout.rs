//! A write timeout of a server's connections, for clients that do not read.

use crate::base::limits::ANSWER_SECONDS_MAX;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A connection that fails when its peer does not read for [`ANSWER_SECONDS_MAX`].
#[derive(Debug)]
pub struct WriteTimeout<S> {
    stream: S,
    /// Set while a write waits.
    waits: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteTimeout<S> {
    /// Wraps `stream`.
    #[must_use]
    pub fn new(stream: S) -> Self {
        Self { stream, waits: None }
    }

    /// Returns `done`, or an error when it has been pending for too long.
    fn bounded<T>(
        &mut self,
        context: &mut Context<'_>,
        done: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.waits = None;
            return done;
        }
        let time_limit = Duration::from_secs(ANSWER_SECONDS_MAX);
        let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(time_limit)));
        match waits.as_mut().poll(context) {
            Poll::Ready(()) => {
                let words =
                    format!("the client has not read its replies for {ANSWER_SECONDS_MAX} s");
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, words)))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.bounded(context, done)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.stream).poll_flush(context);
        this.bounded(context, done)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.stream).poll_shutdown(context);
        this.bounded(context, done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_disconnected_and_a_slow_one_is_not() {
        let (server, mut client) = duplex(16);
        let mut server = WriteTimeout::new(server);
        let slow = tokio::spawn(async move {
            let mut piece = [0; 16];
            for _ in 0..4 {
                sleep(Duration::from_secs(ANSWER_SECONDS_MAX - 1)).await;
                client.read_exact(&mut piece).await.expect("read");
            }
            client
        });
        server.write_all(&[1; 64]).await.expect("it reads, slowly");
        let _client = slow.await.expect("no panic");
        let gone = server.write_all(&[1; 64]).await.expect_err("the client does not read");
        assert_eq!(gone.kind(), io::ErrorKind::TimedOut);
    }
}
