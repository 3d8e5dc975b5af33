//! A server of one node's protocol, in this process, which does what a test says.

use bytes::{Buf, BufMut};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Default)]
struct Shared {
    nodes: BTreeMap<String, String>,
    zxid: i64,
    sessions: usize,
    refused: usize,
    refuses: bool,
    admitted: Option<String>,
    reply: Option<Vec<u8>>,
}

/// The server.
pub(crate) struct TestServer {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    /// Changed with every change of a node; its value is the number of times that all connections were closed.
    changes: watch::Sender<u64>,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (changes, changed) = watch::channel(0);
        let shared: Arc<Mutex<Shared>> = Arc::default();
        let of_server = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let client = Client { shared: Arc::clone(&of_server), changed: changed.clone() };
                tokio::spawn(client.serve(stream));
            }
        });
        Self { address, shared, changes }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Creates, changes or removes a node.
    pub(crate) fn set(&self, path: &str, text: Option<&str>) {
        let mut shared = self.shared();
        match text {
            Some(text) => shared.nodes.insert(path.to_owned(), text.to_owned()),
            None => shared.nodes.remove(path),
        };
        drop(shared);
        self.changes.send_modify(|_| {});
    }

    pub(crate) fn set_zxid(&self, zxid: i64) {
        self.shared().zxid = zxid;
    }

    pub(crate) fn admit_only(&self, user: &str) {
        self.shared().admitted = Some(user.to_owned());
    }

    /// Sends these bytes and nothing else.
    pub(crate) fn reply_with(&self, bytes: &[u8]) {
        self.shared().reply = Some(bytes.to_vec());
    }

    pub(crate) fn refuse(&self, refuses: bool) {
        self.shared().refuses = refuses;
    }

    pub(crate) fn close_all(&self) {
        self.changes.send_modify(|closed| *closed += 1);
    }

    pub(crate) fn sessions(&self) -> usize {
        self.shared().sessions
    }

    pub(crate) fn refused(&self) -> usize {
        self.shared().refused
    }
}

/// Waits until `is_so`.
pub(crate) async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

struct Client {
    shared: Arc<Mutex<Shared>>,
    changed: watch::Receiver<u64>,
}

impl Client {
    async fn serve(mut self, stream: TcpStream) -> io::Result<()> {
        let (mut input, mut output) = stream.into_split();
        let request = frame(&mut input).await?;
        let seen = (&request[4..]).get_i64();
        let reply = {
            let mut shared = self.shared.lock().unwrap();
            if shared.refuses || shared.zxid < seen {
                shared.refused += 1;
                return Ok(());
            }
            shared.reply.clone()
        };
        if let Some(reply) = reply {
            return output.write_all(&reply).await;
        }
        let mut grant = Vec::new();
        grant.put_i32(0);
        grant.put_i32(4000);
        grant.put_i64(1);
        grant.put_i32(16);
        grant.put_bytes(0, 17);
        send(&mut output, &grant).await?;
        self.shared.lock().unwrap().sessions += 1;
        self.session(input, output).await
    }

    async fn session(
        &mut self,
        mut input: OwnedReadHalf,
        mut output: OwnedWriteHalf,
    ) -> io::Result<()> {
        let closed = *self.changed.borrow_and_update();
        let (sender, mut requests) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            while let Ok(request) = frame(&mut input).await {
                if sender.send(request).await.is_err() {
                    return;
                }
            }
        });
        let (mut user, mut watched) = (None, None::<(String, Option<String>)>);
        loop {
            tokio::select! {
                biased;
                changed = self.changed.changed() => {
                    if changed.is_err() || *self.changed.borrow() != closed {
                        return Ok(());
                    }
                }
                request = requests.recv() => match request {
                    None => return Ok(()),
                    Some(request) => {
                        let reply = self.reply(&request, &mut user, &mut watched);
                        send(&mut output, &reply).await?;
                    }
                }
            }
            let is_other = |(path, had): &(String, Option<String>)| {
                self.shared.lock().unwrap().nodes.get(path) != had.as_ref()
            };
            if watched.as_ref().is_some_and(is_other) {
                watched = None;
                let mut event = head(-1, -1, 0);
                event.put_i32(3);
                event.put_i32(3);
                event.put_i32(0);
                send(&mut output, &event).await?;
            }
        }
    }

    fn reply(
        &self,
        mut request: &[u8],
        user: &mut Option<String>,
        watched: &mut Option<(String, Option<String>)>,
    ) -> Vec<u8> {
        let shared = self.shared.lock().unwrap();
        let (xid, kind) = (request.get_i32(), request.get_i32());
        match kind {
            11 => head(-2, shared.zxid, 0),
            100 => {
                request.advance(4);
                let scheme = text(&mut request);
                assert_eq!(scheme, "digest");
                *user = Some(text(&mut request));
                head(-4, shared.zxid, 0)
            }
            3 | 4 => {
                let path = text(&mut request);
                if shared.admitted.is_some() && shared.admitted != *user {
                    return head(xid, shared.zxid, -102);
                }
                let found = shared.nodes.get(&path).cloned();
                // A failed read leaves no watch.
                if kind == 3 || found.is_some() {
                    *watched = Some((path, found.clone()));
                }
                let Some(found) = found else { return head(xid, shared.zxid, -101) };
                let mut reply = head(xid, shared.zxid, 0);
                if kind == 4 {
                    reply.put_i32(i32::try_from(found.len()).unwrap());
                    reply.put_slice(found.as_bytes());
                }
                reply.put_bytes(0, 68);
                reply
            }
            -11 => head(xid, shared.zxid, 0),
            other => panic!("request {other}"),
        }
    }
}

fn text(bytes: &mut &[u8]) -> String {
    let length = usize::try_from(bytes.get_i32()).unwrap();
    let (text, rest) = bytes.split_at(length);
    *bytes = rest;
    String::from_utf8(text.to_vec()).unwrap()
}

fn head(xid: i32, zxid: i64, code: i32) -> Vec<u8> {
    let mut reply = Vec::new();
    reply.put_i32(xid);
    reply.put_i64(zxid);
    reply.put_i32(code);
    reply
}

async fn frame(input: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let length = input.read_i32().await?;
    let mut frame = vec![0; usize::try_from(length).unwrap()];
    input.read_exact(&mut frame).await?;
    Ok(frame)
}

async fn send(output: &mut OwnedWriteHalf, payload: &[u8]) -> io::Result<()> {
    output.write_i32(i32::try_from(payload.len()).unwrap()).await?;
    output.write_all(payload).await
}
