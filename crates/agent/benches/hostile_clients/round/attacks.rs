//! Attacks possible for a client without credentials.

use super::Count;
use super::agent::Ports;
use millpond::{Event, Headers};
use millpond_adapters::wire::thrift::ThriftProtocol;
use millpond_adapters::wire::thrift::call::put_append_batch;
use millpond_flow::net::tls::{ClientTls, Connector};
use millpond_flow::net::zlib::Socket;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

/// A kind of attack: its source, its share of a thousand connections, and its data.
#[derive(Clone, Copy)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    port: &'static str,
    part: usize,
    sends: Sends,
}

#[derive(Clone, Copy)]
enum Sends {
    Nothing,
    /// A TLS handshake and nothing more.
    Handshake,
    /// These bytes and nothing more.
    Bytes(&'static [u8]),
    /// These bytes, then as many bytes of an endless line or value, then a byte a second.
    Trickle(&'static [u8], usize),
    /// A whole JSON body of as many bytes, repeatedly.
    Json(Json, usize),
    /// A whole Thrift call with as many headers, repeatedly.
    Thrift(usize),
}

#[derive(Clone, Copy)]
enum Json {
    Doubles,
    Headers,
    Events,
}

const MIB: usize = 1024 * 1024;

const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n[{\"body\":\"";
const HEADER: &[u8] = b"POST / HTTP/1.1\r\nHost: x\r\nX-Long: ";
/// A frame of Avro RPC: number 1, one segment of 60 MiB.
const AVRO: &[u8] = &[0, 0, 0, 1, 0, 0, 0, 1, 3, 0xC0, 0, 0];
/// A frame of Thrift of 16 MB.
const THRIFT: &[u8] = &[0, 0xF0, 0, 0];

const fn attack(name: &'static str, port: &'static str, part: usize, sends: Sends) -> Attack {
    Attack { name, port, part, sends }
}

const ATTACKS: &[Attack] = &[
    attack("silent, avro", "avro", 200, Sends::Nothing),
    attack("silent, compressed avro", "zavro", 150, Sends::Nothing),
    attack("one byte, compressed avro", "zavro", 50, Sends::Bytes(&[0x78])),
    attack("silent, TLS", "tls", 100, Sends::Nothing),
    attack("silent after the handshake, syslogtcp in TLS", "tlssyslog", 50, Sends::Handshake),
    attack(
        "a handshake that stops, TLS",
        "tls",
        50,
        Sends::Trickle(&[22, 3, 1, 0x40, 0, 1, 0, 0x3F, 0xFC], 8000),
    ),
    attack("a line without an end, syslogtcp", "syslog", 100, Sends::Trickle(b"<13>", 900_000)),
    attack("a line without an end, multiport", "multi", 50, Sends::Trickle(b"<13>", 900_000)),
    attack("a line without an end, netcat", "netcat", 100, Sends::Trickle(b"", 900_000)),
    attack("headers without an end, http", "http", 50, Sends::Trickle(HEADER, 60_000)),
    attack("a body byte by byte, http", "http", 50, Sends::Trickle(POST, 2_000_000)),
    attack("silent, http", "http", 29, Sends::Nothing),
    attack("a frame byte by byte, avro", "avro", 40, Sends::Trickle(AVRO, 4 * MIB)),
    attack("a frame byte by byte, thrift", "thrift", 20, Sends::Trickle(THRIFT, 4 * MIB)),
    attack("one header a million times, JSON", "http", 2, Sends::Json(Json::Doubles, 10 * MIB)),
    attack("events of many headers, JSON", "http", 2, Sends::Json(Json::Headers, 8 * MIB)),
    attack("a million empty events, JSON", "http", 2, Sends::Json(Json::Events, 8 * MIB)),
    attack("events of many headers, thrift", "thrift", 5, Sends::Thrift(5_000)),
];

/// Starts `connections` attackers, divided among the attacks by their shares, until `stop`.
pub(crate) fn start(
    runtime: &Runtime,
    ports: &Ports,
    connections: usize,
    stop: &Arc<AtomicBool>,
) -> Vec<(Attack, Arc<Count>)> {
    let parts: usize = ATTACKS.iter().map(|attack| attack.part).sum();
    let mut all = Vec::new();
    for (kind, attack) in ATTACKS.iter().enumerate() {
        let own = (connections * attack.part / parts).max(1);
        let count = Arc::new(Count { connections: own, ..Count::default() });
        all.push((*attack, Arc::clone(&count)));
        let payload: Arc<[u8]> = payload(attack.sends).into();
        for number in 0..own {
            // Half of them from one address, the others from a thousand.
            let own = (kind * 37 + number) % 1000;
            let from = match number % 2 {
                0 => Ipv4Addr::new(127, 0, 0, 2),
                _ => Ipv4Addr::new(127, 0, 1 + (own / 250) as u8, 1 + (own % 250) as u8),
            };
            let to = SocketAddr::from(([127, 0, 0, 1], ports[attack.port]));
            let (count, stop, payload) =
                (Arc::clone(&count), Arc::clone(stop), Arc::clone(&payload));
            let attack = *attack;
            runtime.spawn(async move {
                // Spread over time: a real attacker does not connect all at once.
                sleep(Duration::from_millis(number as u64 % 100 * 20)).await;
                while !stop.load(Ordering::Relaxed) {
                    let _ = once(attack.sends, &payload, from, to, &count).await;
                    sleep(Duration::from_secs(1)).await;
                }
            });
        }
    }
    all
}

/// Runs one connection for as long as the agent keeps it.
async fn once(
    sends: Sends,
    payload: &[u8],
    from: Ipv4Addr,
    to: SocketAddr,
    count: &Count,
) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    let connected = timeout(Duration::from_secs(20), socket.connect(to)).await;
    let stream = connected.map_err(|_| io::ErrorKind::TimedOut)??;
    count.opened.fetch_add(1, Ordering::Relaxed);
    let ended = match sends {
        Sends::Handshake => shake_hands(stream, count).await,
        _ => talk(sends, payload, stream, count).await,
    };
    count.closed.fetch_add(1, Ordering::Relaxed);
    ended
}

/// Returns a connector that trusts every server.
fn trusting() -> &'static Connector {
    static TRUSTING: OnceLock<Connector> = OnceLock::new();
    TRUSTING.get_or_init(|| ClientTls { trust_all: true, ..ClientTls::default() }.load().unwrap())
}

/// Waits for the end of the connection after the handshake.
async fn shake_hands(stream: TcpStream, count: &Count) -> io::Result<()> {
    let mut stream = trusting().greet("localhost", Socket::Plain(stream)).await?;
    count.sent.fetch_add(1, Ordering::Relaxed);
    while stream.read(&mut [0; 64]).await? > 0 {}
    Ok(())
}

async fn talk(
    sends: Sends,
    payload: &[u8],
    mut stream: TcpStream,
    count: &Count,
) -> io::Result<()> {
    for piece in payload.chunks(64 * 1024) {
        stream.write_all(piece).await?;
        count.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
    }
    match sends {
        Sends::Nothing | Sends::Handshake | Sends::Bytes(_) => {
            while stream.read(&mut [0; 64]).await? > 0 {}
            Ok(())
        }
        Sends::Trickle(..) => loop {
            // Any reply is ignored, and the next byte sent.
            match timeout(Duration::from_secs(1), stream.read(&mut [0; 256])).await {
                Ok(Ok(0)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Ok(Ok(_)) => {}
                Err(_) => stream.write_all(b"x").await?,
            }
            count.sent.fetch_add(1, Ordering::Relaxed);
        },
        Sends::Json(..) | Sends::Thrift(_) => {
            let _ = timeout(Duration::from_secs(30), stream.read(&mut [0; 256])).await;
            Ok(())
        }
    }
}

fn payload(sends: Sends) -> Vec<u8> {
    match sends {
        Sends::Nothing | Sends::Handshake => Vec::new(),
        Sends::Bytes(bytes) => bytes.to_vec(),
        Sends::Trickle(begin, more) => [begin, &b"x".repeat(more)].concat(),
        Sends::Json(kind, bytes) => {
            let body = json(kind, bytes);
            let head =
                format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
            [head.as_bytes(), body.as_bytes()].concat()
        }
        Sends::Thrift(headers) => {
            let names: Vec<(String, String)> =
                (0..headers).map(|n| (n.to_string(), String::new())).collect();
            let event = Event { headers: Headers::from_iter(names), ..Event::new("x") };
            let mut call = millpond_adapters::wire::thrift::frame::begin();
            put_append_batch(
                &mut call,
                ThriftProtocol::Compact,
                1,
                &vec![event; 900_000 / headers],
            );
            millpond_adapters::wire::thrift::frame::finish(&mut call);
            call
        }
    }
}

fn json(kind: Json, bytes: usize) -> String {
    match kind {
        Json::Doubles => format!("[{{headers:{{{}a:0}}}}]", "a:0,".repeat(bytes / 4)),
        Json::Headers => {
            let headers: String = (0..60_000).map(|n| format!("{n}:0,")).collect();
            let event = format!("{{headers:{{{headers}z:z}}}}");
            format!("[{}]", vec![event.as_str(); bytes / event.len()].join(","))
        }
        Json::Events => format!("[{}{{}}]", "{},".repeat(bytes / 3)),
    }
}
