//! A session with one server.
//!
//! Limits: [`CONNECT_TIMEOUT`] for everything up to the session's begin. A session asks for [`SESSION_TIMEOUT`]; the
//! server may choose another time. A ping is sent each third of the shorter one, and a server that is silent for two
//! thirds of it is given up. Memory for a message grows as its bytes arrive.

use crate::error::{SessionStage, ZooKeeperError};
use crate::wire::{self, FRAME_BYTES_MAX, ServerMessage, WireError};
use bytes::{Buf, Bytes, BytesMut};
use millpond_flow::net::connect::{Layers, connect};
use millpond_flow::net::stream::Stream;
use millpond_flow::net::tls::Connector;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

/// How long the begin of a session may take, TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The timeout that a session asks for.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(15);

/// The shortest time between two pings, whatever the server chooses.
const PING_MIN: Duration = Duration::from_millis(100);

/// How a server is reached.
pub(crate) struct Target<'a> {
    pub(crate) server: &'a (String, u16),
    pub(crate) tls: Option<&'a Connector>,
    pub(crate) digest: Option<&'a (String, String)>,
    /// The newest transaction that another server has shown.
    pub(crate) seen: i64,
}

/// A session with one server.
pub(crate) struct Session {
    server: String,
    stream: Stream,
    input: BytesMut,
    /// The number of the last request.
    xid: i32,
    /// The newest transaction that the server has shown.
    zxid: i64,
    /// A watch has fired since the node was last read.
    fired: bool,
    ping_every: Duration,
    silence_max: Duration,
    pinged: Instant,
    heard: Instant,
}

impl Session {
    /// Begins a session, authenticated if the target has a user.
    pub(crate) async fn open(target: &Target<'_>) -> Result<Self, ZooKeeperError> {
        let (host, port) = target.server;
        let server = format!("{host}:{port}");
        let late = ZooKeeperError::Silent { server: server.clone(), after: CONNECT_TIMEOUT };
        let opened = timeout(CONNECT_TIMEOUT, async {
            let layers = Layers { tls: target.tls, zlib: None };
            let stream = connect(host, *port, layers, CONNECT_TIMEOUT)
                .await
                .map_err(|source| ZooKeeperError::Connect { server: server.clone(), source })?;
            Self::begin(server, stream, target).await
        });
        opened.await.unwrap_or(Err(late))
    }

    async fn begin(
        server: String,
        stream: Stream,
        target: &Target<'_>,
    ) -> Result<Self, ZooKeeperError> {
        let now = Instant::now();
        let mut session = Self {
            server,
            stream,
            input: BytesMut::new(),
            xid: 0,
            zxid: 0,
            fired: false,
            ping_every: CONNECT_TIMEOUT,
            silence_max: CONNECT_TIMEOUT,
            pinged: now,
            heard: now,
        };
        session.send(wire::connect(SESSION_TIMEOUT, target.seen)).await?;
        let reply = loop {
            if let Some(frame) = session.frame()? {
                break frame;
            }
            session.fill(now + CONNECT_TIMEOUT, SessionStage::Opening).await?;
        };
        let grant = wire::session(&reply).map_err(|error| session.protocol(error))?;
        if grant.id == 0 {
            return Err(session.closed(SessionStage::Opening));
        }
        // A server that grants days would otherwise be believed to live for as long.
        session.ping_every = (grant.timeout.min(SESSION_TIMEOUT) / 3).max(PING_MIN);
        session.silence_max = session.ping_every * 2;
        if let Some((user, password)) = target.digest {
            session.send(wire::digest(user, password)).await?;
            session.authenticated().await?;
        }
        Ok(session)
    }

    /// Returns the newest transaction that the server has shown.
    pub(crate) fn zxid(&self) -> i64 {
        self.zxid
    }

    /// Returns the content of the node, `None` if there is none, with a watch on its next change.
    pub(crate) async fn read_watched(
        &mut self,
        path: &str,
    ) -> Result<Option<Bytes>, ZooKeeperError> {
        loop {
            self.fired = false;
            let xid = self.next_xid();
            match self.request(xid, wire::read_node(xid, path)).await {
                Ok(body) => {
                    let found = wire::node_content(&body).map_err(|error| self.protocol(error))?;
                    return Ok(Some(body.slice_ref(found)));
                }
                Err(ZooKeeperError::Reply { code: wire::NO_NODE, .. }) => {}
                Err(error) => return Err(error),
            }
            // A failed read leaves no watch. A node that was created in between is read again.
            let xid = self.next_xid();
            match self.request(xid, wire::exists(xid, path)).await {
                Ok(_) => {}
                Err(ZooKeeperError::Reply { code: wire::NO_NODE, .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns once a watch has fired; pings meanwhile.
    pub(crate) async fn changed(&mut self) -> Result<(), ZooKeeperError> {
        while !self.fired {
            if self.next().await?.is_some() {
                return Err(self.unasked());
            }
        }
        Ok(())
    }

    /// Ends the session, without waiting for the server.
    pub(crate) async fn close(mut self) {
        let xid = self.next_xid();
        let _ = timeout(Duration::from_secs(1), self.send(wire::close(xid))).await;
    }

    fn next_xid(&mut self) -> i32 {
        self.xid = if self.xid == i32::MAX { 1 } else { self.xid + 1 };
        self.xid
    }

    async fn authenticated(&mut self) -> Result<(), ZooKeeperError> {
        loop {
            let Some(frame) = self.frame()? else {
                self.fill(self.heard + self.silence_max, SessionStage::Opening).await?;
                continue;
            };
            match wire::message(&frame).map_err(|error| self.protocol(error))? {
                ServerMessage::Authenticated(0) => return Ok(()),
                ServerMessage::Authenticated(code) => {
                    return Err(ZooKeeperError::Authentication {
                        server: self.server.clone(),
                        code,
                    });
                }
                ServerMessage::Reply { .. } => return Err(self.unasked()),
                ServerMessage::Pong | ServerMessage::Event => {}
            }
        }
    }

    /// Sends the request with the number `xid` and returns the body of its reply.
    async fn request(&mut self, xid: i32, bytes: Bytes) -> Result<Bytes, ZooKeeperError> {
        self.send(bytes).await?;
        loop {
            let Some((of, reply)) = self.next().await? else { continue };
            return if of == xid { reply } else { Err(self.unasked()) };
        }
    }

    /// Processes the next message, or sends a ping; returns a reply with the number of its request.
    async fn next(
        &mut self,
    ) -> Result<Option<(i32, Result<Bytes, ZooKeeperError>)>, ZooKeeperError> {
        let Some(frame) = self.frame()? else {
            let silent = self.heard + self.silence_max;
            let ping = self.pinged + self.ping_every;
            if Instant::now() >= ping {
                self.pinged = Instant::now();
                self.send(wire::ping()).await?;
                return Ok(None);
            }
            match self.fill(silent.min(ping), SessionStage::Open).await {
                Err(ZooKeeperError::Silent { .. }) if Instant::now() < silent => {}
                filled => filled?,
            }
            return Ok(None);
        };
        match wire::message(&frame).map_err(|error| self.protocol(error))? {
            ServerMessage::Event => self.fired = true,
            ServerMessage::Pong | ServerMessage::Authenticated(_) => {}
            ServerMessage::Reply { xid, zxid, code, body } => {
                self.zxid = self.zxid.max(zxid);
                let reply = match code {
                    0 => Ok(frame.slice_ref(body)),
                    wire::NO_AUTH => Err(ZooKeeperError::NoPermission),
                    code => Err(ZooKeeperError::Reply { server: self.server.clone(), code }),
                };
                return Ok(Some((xid, reply)));
            }
        }
        Ok(None)
    }

    /// Returns a message that has arrived whole.
    fn frame(&mut self) -> Result<Option<Bytes>, ZooKeeperError> {
        let Some(length) = self.input.first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(i32::from_be_bytes(*length)).ok();
        let Some(length) = length.filter(|length| *length <= FRAME_BYTES_MAX) else {
            return Err(self.protocol(WireError("a message that is longer than any configuration")));
        };
        if self.input.len() - 4 < length {
            return Ok(None);
        }
        self.input.advance(4);
        Ok(Some(self.input.split_to(length).freeze()))
    }

    /// Waits for bytes of the server, until `until` at most.
    async fn fill(&mut self, until: Instant, stage: SessionStage) -> Result<(), ZooKeeperError> {
        let read = timeout_at(until, self.stream.read_buf(&mut self.input)).await;
        let Ok(read) = read else {
            let after = self.heard.elapsed();
            return Err(ZooKeeperError::Silent { server: self.server.clone(), after });
        };
        match read {
            Ok(0) => Err(self.closed(stage)),
            Ok(_) => {
                self.heard = Instant::now();
                Ok(())
            }
            // What a server does that has no quorum, or shuts down.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(self.closed(stage)),
            Err(source) => Err(ZooKeeperError::Connection { server: self.server.clone(), source }),
        }
    }

    async fn send(&mut self, bytes: Bytes) -> Result<(), ZooKeeperError> {
        let sent = timeout(self.silence_max, async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await
        });
        let server = || self.server.clone();
        match sent.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(ZooKeeperError::Connection { server: server(), source }),
            Err(_) => Err(ZooKeeperError::Silent { server: server(), after: self.silence_max }),
        }
    }

    fn closed(&self, stage: SessionStage) -> ZooKeeperError {
        ZooKeeperError::Closed { server: self.server.clone(), stage }
    }

    fn protocol(&self, error: WireError) -> ZooKeeperError {
        ZooKeeperError::Protocol { server: self.server.clone(), what: error.0 }
    }

    fn unasked(&self) -> ZooKeeperError {
        self.protocol(WireError("a reply to no request"))
    }
}
