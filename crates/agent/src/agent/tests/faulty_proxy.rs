//! A proxy between a sink and its server in a test, which fails on request.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

/// A way in which a server can fail, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerFailure {
    /// Its process is killed during a batch: the connection is reset, and so is every further one.
    Killed,
    /// Nothing listens.
    Refused,
    /// Packets that would begin a connection are dropped.
    SynDropped,
    /// It accepts, reads and never replies.
    Silent,
    /// It accepts and does not even read.
    NotReading,
    /// It takes the batch, and sends only half of the reply.
    HalfReply,
    /// It takes the batch and closes the connection instead of a reply.
    HangsUp,
}

/// A proxy that forwards to the server as long as it is healthy.
pub(super) struct FaultyProxy {
    state: watch::Sender<Option<ServerFailure>>,
}

impl FaultyProxy {
    /// Starts a proxy before the server at `to`.
    pub(super) async fn open(at: SocketAddr, to: SocketAddr) -> Self {
        let (state, told) = watch::channel(None);
        tokio::spawn(keep(listen(at, 64), at, to, told));
        Self { state }
    }

    /// Makes it fail from now on, for open connections and for new ones.
    pub(super) fn fall(&self, death: ServerFailure) {
        self.state.send_replace(Some(death));
    }

    /// Makes it healthy from now on, for new connections: failed ones stay failed.
    pub(super) fn heal(&self) {
        self.state.send_replace(None);
    }
}

fn listen(at: SocketAddr, backlog: u32) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(at).unwrap();
    socket.listen(backlog).unwrap()
}

/// Accepts connections in its current state.
async fn keep(
    first: TcpListener,
    at: SocketAddr,
    to: SocketAddr,
    mut told: watch::Receiver<Option<ServerFailure>>,
) {
    let (mut listener, mut queue) = (Some(first), Vec::new());
    loop {
        let state = *told.borrow_and_update();
        match state {
            Some(ServerFailure::Refused) => drop(listener.take()),
            Some(ServerFailure::SynDropped) => {
                drop(listener.take());
                listener = Some(listen(at, 0));
                queue = fill(at).await;
            }
            _ => {
                queue.clear();
                listener.get_or_insert_with(|| listen(at, 64));
            }
        }
        let open = listener.as_ref().filter(|_| state != Some(ServerFailure::SynDropped));
        loop {
            tokio::select! {
                client = accept(open) => drop(tokio::spawn(serve(client, to, told.clone()))),
                changed = told.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                }
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    match listener {
        Some(listener) => listener.accept().await.unwrap().0,
        None => std::future::pending().await,
    }
}

/// Connects until the listener, which accepts nothing, has no room for another.
async fn fill(at: SocketAddr) -> Vec<TcpStream> {
    let mut queue = Vec::new();
    while queue.len() < 16 {
        let next = TcpStream::connect(at);
        match timeout(Duration::from_millis(700), next).await {
            Ok(connected) => queue.push(connected.unwrap()),
            Err(_) => return queue,
        }
    }
    panic!("a queue without room took 16 connections");
}

/// Serves one connection until its fault is set.
async fn serve(
    mut client: TcpStream,
    to: SocketAddr,
    mut told: watch::Receiver<Option<ServerFailure>>,
) {
    let Ok(mut server) = TcpStream::connect(to).await else { return };
    let death = tokio::select! {
        biased;
        death = told.wait_for(Option::is_some) => death.ok().and_then(|death| *death),
        _ = copy_bidirectional(&mut client, &mut server) => return,
    };
    let mut bytes = [0; 4096];
    match death {
        None => {}
        Some(ServerFailure::Refused | ServerFailure::SynDropped) => reset(client),
        Some(ServerFailure::Killed) => {
            let _ = client.read(&mut bytes[..64]).await;
            reset(client);
        }
        Some(ServerFailure::Silent) => while client.read(&mut bytes).await.is_ok_and(|n| n > 0) {},
        Some(ServerFailure::NotReading) => std::future::pending().await,
        Some(death @ (ServerFailure::HalfReply | ServerFailure::HangsUp)) => {
            let answered = loop {
                let mut answer = [0; 4096];
                tokio::select! {
                    read = client.read(&mut bytes) => match read {
                        Ok(n) if n > 0 => server.write_all(&bytes[..n]).await.unwrap(),
                        _ => return,
                    },
                    read = server.read(&mut answer) => break answer[..read.unwrap()].to_vec(),
                }
            };
            if death == ServerFailure::HalfReply {
                client.write_all(&answered[..answered.len() / 2]).await.unwrap();
                while client.read(&mut bytes).await.is_ok_and(|n| n > 0) {}
            }
        }
    }
}

fn reset(client: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
}
