//! TCP sessions: one small task each, a limit on their number, and accept errors that pass.

use crate::flow::source::{Failure, SourceContext};
use crate::metrics::SourceCounters;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};

const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(50);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Connections that may wait to be accepted. With the usual 128 a burst of clients, as after a restart,
/// overflows: the kernel drops their first packet, and each waits a second or more for its next try.
const BACKLOG: i32 = 4096;
/// How long a closed session still reads what its client sends, so that the last answer arrives.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where a source listens and for how many.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) connections_max: usize,
    /// Sent to a client beyond `connections_max` before its connection closes.
    pub(crate) full: &'static [u8],
    /// The address it is bound to: with port 0 only this tells.
    bound: Mutex<Option<SocketAddr>>,
}

impl Listening {
    pub(crate) fn new(
        host: String,
        port: u16,
        connections_max: usize,
        full: &'static [u8],
    ) -> Self {
        Self { host, port, connections_max, full, bound: Mutex::new(None) }
    }

    #[cfg(test)]
    pub(crate) fn bound(&self) -> SocketAddr {
        self.bound.lock().unwrap().expect("the source has started")
    }

    /// Binds, says that the source has started, and runs `session` for each connection until the
    /// stop signal fires and every session has ended. Dropping the future ends all sessions.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(crate) async fn serve<F, S>(
        &self,
        context: &SourceContext,
        session: F,
    ) -> Result<(), Failure>
    where
        F: Fn(TcpStream, SocketAddr) -> S,
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = self.bind().await?;
        let address = listener.local_addr().ok();
        if let Ok(mut bound) = self.bound.lock() {
            *bound = address;
        }
        let shown = address.map_or_else(String::new, |a| a.to_string());
        tracing::info!(source = %context.name, address = %shown, "listening");
        context.started();
        let mut door = Door { listening: self, name: &context.name, full_said: false };
        let mut sessions = JoinSet::new();
        let open = OpenConnections(&context.counters);
        let mut pause = ACCEPT_PAUSE_MIN;
        let stop = context.stop.wait();
        tokio::pin!(stop);
        loop {
            open.are(sessions.len());
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(ended) = sessions.join_next(), if !sessions.is_empty() => report(context, ended),
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        pause = ACCEPT_PAUSE_MIN;
                        if door.admits(&stream, sessions.len()) {
                            sessions.spawn(session(stream, peer));
                        }
                    }
                    Err(error) => {
                        if !of_one_client(&error) {
                            tracing::warn!(source = %context.name, %error,
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
        drop(listener);
        while let Some(ended) = sessions.join_next().await {
            report(context, ended);
            open.are(sessions.len());
        }
        Ok(())
    }

    async fn bind(&self) -> Result<TcpListener, Failure> {
        let bound = TcpListener::bind((self.host.as_str(), self.port)).await.and_then(|listener| {
            // Listening once more changes the length of the queue and nothing else.
            rustix::net::listen(&listener, BACKLOG)?;
            Ok(listener)
        });
        bound.map_err(|error| {
            Failure::caused(
                format!(
                    "cannot listen on {}:{}; choose an address of this machine (bind) and a free port (port)",
                    self.host, self.port
                ),
                error,
            )
        })
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
            // A peer that vanished without a word gives its place back one day.
            let _ = rustix::net::sockopt::set_socket_keepalive(stream, true);
            return true;
        }
        if !self.full_said {
            self.full_said = true;
            tracing::warn!(
                source = self.name,
                open,
                "refusing connections beyond maxConnections; raise it, or let clients share connections"
            );
        }
        let _ = stream.try_write(self.listening.full);
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
        tracing::error!(source = %context.name, %error, "a session ended by a defect; its connection is closed");
    }
}

/// Ends a session of which the client may still be sending: an unread byte at close would make
/// the kernel throw away the answers that are still under way.
pub(crate) async fn farewell(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let drain = async {
        loop {
            if stream.readable().await.is_err() || !matches!(discard(&stream), Some(1..)) {
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

    #[tokio::test]
    async fn a_burst_of_clients_waits_in_the_queue_and_not_for_the_kernel_to_try_again() {
        // The machine may allow less; then there is nothing to see here.
        let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
        let clients = allowed.trim().parse::<usize>().unwrap_or(0).min(600) / 2;
        let listening = Listening::new("127.0.0.1".to_owned(), 0, 10, b"");
        let listener = listening.bind().await.unwrap();
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
