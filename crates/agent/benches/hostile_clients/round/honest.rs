//! Legitimate senders: they wait for replies, retry without one, and count their events.

use super::agent::Ports;
use bytes::BytesMut;
use millpond::Event;
use millpond_adapters::wire::avro::call::AvroReply;
use millpond_adapters::wire::avro::exchange::AvroExchange;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Events that a sender has in flight at once.
const BATCH: u64 = 10;
const PACE: Duration = Duration::from_millis(20);
/// Longest wait for a reply; then the sender retries on another connection.
const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) struct Honest {
    pub(crate) name: String,
    /// An address used by no other sender.
    address: Ipv4Addr,
    acknowledged: AtomicU64,
    begun: Instant,
    /// Time of the last acknowledgement and the longest time without one, in milliseconds.
    heard: AtomicU64,
    pause: AtomicU64,
    ended: AtomicBool,
}

impl Honest {
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Returns the longest pause, including one that has not ended.
    pub(crate) fn pause(&self) -> f64 {
        let present = self.now().saturating_sub(self.heard.load(Ordering::Relaxed));
        present.max(self.pause.load(Ordering::Relaxed)) as f64 / 1e3
    }

    pub(crate) fn forget_pause(&self) {
        self.pause.store(0, Ordering::Relaxed);
    }

    pub(crate) fn wait(&self) {
        let begun = Instant::now();
        while !self.ended.load(Ordering::Relaxed) && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn now(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    fn has(&self, events: u64) {
        let now = self.now();
        let before = self.heard.swap(now, Ordering::Relaxed);
        self.pause.fetch_max(now - before, Ordering::Relaxed);
        self.acknowledged.fetch_add(events, Ordering::Relaxed);
    }

    fn bodies(&self, first: u64) -> impl Iterator<Item = String> {
        (first..first + BATCH).map(|serial| format!("honest {} {serial}", self.name))
    }
}

pub(crate) fn start(runtime: &Runtime, ports: &Ports, stop: &Arc<AtomicBool>) -> Vec<Arc<Honest>> {
    let mut all = Vec::new();
    for kind in ["avro", "http", "netcat", "syslog"] {
        for number in 0..2 {
            let honest = Arc::new(Honest {
                name: format!("{kind}{number}"),
                address: Ipv4Addr::new(127, 0, 100, 1 + all.len() as u8),
                acknowledged: AtomicU64::new(0),
                begun: Instant::now(),
                heard: AtomicU64::new(0),
                pause: AtomicU64::new(0),
                ended: AtomicBool::new(false),
            });
            all.push(Arc::clone(&honest));
            let (port, stop) = (ports[kind], Arc::clone(stop));
            runtime.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let talk = async {
                        match kind {
                            "avro" => avro(&honest, port, &stop).await,
                            "http" => http(&honest, port).await,
                            "netcat" => netcat(&honest, port, &stop).await,
                            _ => syslog(&honest, port, &stop).await,
                        }
                    };
                    let _ = talk.await;
                    sleep(PACE).await;
                }
                honest.ended.store(true, Ordering::Relaxed);
            });
        }
    }
    all
}

/// Sends one HTTP request from an address that the agent has never seen, and retries until it is accepted; returns
/// the seconds that it takes.
pub(crate) fn newcomer(runtime: &Runtime, ports: &Ports, number: u8) -> JoinHandle<f64> {
    let port = ports["http"];
    let honest = Honest {
        name: format!("newcomer{number}"),
        address: Ipv4Addr::new(127, 0, 101, 1 + number),
        acknowledged: AtomicU64::new(0),
        begun: Instant::now(),
        heard: AtomicU64::new(0),
        pause: AtomicU64::new(0),
        ended: AtomicBool::new(false),
    };
    runtime.spawn(async move {
        while honest.acknowledged() == 0 {
            let _ = http(&honest, port).await;
            sleep(5 * PACE).await;
        }
        honest.pause.load(Ordering::Relaxed) as f64 / 1e3
    })
}

async fn connect(from: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let connected = timeout(PATIENCE, socket.connect(to)).await;
    let stream = connected.map_err(|_| io::ErrorKind::TimedOut)??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Keeps one connection. Events without a reply are sent again under the same names.
async fn avro(honest: &Honest, port: u16, stop: &AtomicBool) -> io::Result<()> {
    let (mut stream, mut exchange) = (connect(honest.address, port).await?, AvroExchange::new());
    while !stop.load(Ordering::Relaxed) {
        let events: Vec<Event> = honest.bodies(honest.acknowledged()).map(Event::new).collect();
        stream.write_all(&exchange.call(&events)).await?;
        let mut input = BytesMut::new();
        let answer = async {
            loop {
                if let Some(answer) = exchange.answer(&mut input).map_err(io::Error::other)? {
                    return Ok::<_, io::Error>(answer);
                }
                if stream.read_buf(&mut input).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        };
        if timeout(PATIENCE, answer).await.map_err(|_| io::ErrorKind::TimedOut)?? == AvroReply::Ok {
            honest.has(BATCH);
        }
        sleep(PACE).await;
    }
    Ok(())
}

/// Uses a connection per request: each must be admitted.
async fn http(honest: &Honest, port: u16) -> io::Result<()> {
    let mut stream = connect(honest.address, port).await?;
    let bodies =
        honest.bodies(honest.acknowledged()).map(|body| format!("{{\"body\":\"{body}\"}}"));
    let body = format!("[{}]", bodies.collect::<Vec<_>>().join(","));
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await?;
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.map_err(|_| io::ErrorKind::TimedOut)??;
    if answer.starts_with(b"HTTP/1.1 200") {
        honest.has(BATCH);
    }
    Ok(())
}

async fn netcat(honest: &Honest, port: u16, stop: &AtomicBool) -> io::Result<()> {
    let mut stream = BufReader::new(connect(honest.address, port).await?);
    while !stop.load(Ordering::Relaxed) {
        let lines = honest.bodies(honest.acknowledged()).collect::<Vec<_>>().join("\n") + "\n";
        stream.write_all(lines.as_bytes()).await?;
        let mut good = true;
        for _ in 0..BATCH {
            let mut line = String::new();
            let read = timeout(PATIENCE, stream.read_line(&mut line)).await;
            if read.map_err(|_| io::ErrorKind::TimedOut)?? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            good &= line == "OK\n";
        }
        if good {
            honest.has(BATCH);
        }
        sleep(PACE).await;
    }
    Ok(())
}

/// Syslog has no replies: what was sent on a connection that stays open counts. It must not be closed.
async fn syslog(honest: &Honest, port: u16, stop: &AtomicBool) -> io::Result<()> {
    let mut stream = connect(honest.address, port).await?;
    while !stop.load(Ordering::Relaxed) {
        let lines = honest.bodies(honest.acknowledged()).map(|body| format!("<13>{body}\n"));
        stream.write_all(lines.collect::<String>().as_bytes()).await?;
        let ended = timeout(PACE, stream.read_u8()).await;
        if ended.is_ok() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        honest.has(BATCH);
    }
    stream.shutdown().await?;
    let _ = timeout(PATIENCE, stream.read_u8()).await;
    Ok(())
}
