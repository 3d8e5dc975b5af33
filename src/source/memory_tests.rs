//! What sessions ask of the memory for clients before they take it, over real sockets.

use super::trial::{Trial, build, until, within};
use super::{avro, http, netcat, syslog, thrift};
use crate::base::limits::{
    CONNECTION_BYTES, HTTP_CONNECTION_BYTES, TLS_CONNECTION_BYTES, ZLIB_CONNECTION_BYTES,
};
use crate::event::Event;
use crate::flow::client_limits::ClientLimits;
use crate::flow::source::{Source, SourceType};
use crate::metrics::ClientTotals;
use crate::wire::thrift::Protocol;
use crate::wire::thrift::call::put_append_batch;
use crate::wire::thrift::frame;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Of a process with so little that a large request finds no room.
const LITTLE: usize = 2 * 1024 * 1024;
const MUCH: usize = 256 * 1024 * 1024;

struct Rig {
    trial: Trial,
    source: Box<dyn Source>,
    address: SocketAddr,
    totals: Arc<ClientTotals>,
}

impl Rig {
    fn new(kind: &SourceType, key: &str, more: &[(&str, &str)], memory: usize) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let port = free.port().to_string();
        let mut pairs = vec![("bind", "127.0.0.1"), ("host", "127.0.0.1"), (key, &*port)];
        pairs.extend(more);
        let source = build(kind, &pairs).unwrap();
        let mut trial = Trial::with_capacity(100_000);
        let totals = Arc::<ClientTotals>::default();
        trial.context.clients = ClientLimits::new(memory, 100, Arc::clone(&totals));
        Self { trial, source, address: free, totals }
    }

    /// Connects, sends `bytes` and runs `script` with the connection.
    async fn speaks(&self, bytes: &[u8], script: impl AsyncFnOnce(TcpStream)) {
        let script = async {
            self.trial.until_started().await;
            let mut client = TcpStream::connect(self.address).await.unwrap();
            self.until_held(CONNECTION_BYTES).await;
            client.write_all(bytes).await.unwrap();
            script(client).await;
        };
        self.trial.run(&*self.source, script).await.unwrap();
    }

    async fn until_held(&self, bytes: usize) {
        let held = || self.totals.memory_bytes.get();
        until(&format!("{bytes} bytes"), || held() >= bytes as u64).await;
    }
}

#[tokio::test]
async fn a_connection_that_speaks_is_charged_with_what_understanding_it_takes() {
    let store = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tls/server.jks");
    let tls = [("ssl", "true"), ("keystore", store), ("keystore-password", "changeit")];
    let headers = [("HttpConfiguration.requestHeaderSize", "65536")];
    let avro = &avro::TYPE;
    for (kind, more, bytes, expected) in [
        (&http::TYPE, &[][..], &b"POST"[..], HTTP_CONNECTION_BYTES),
        (&http::TYPE, &headers, b"POST", 2 * (65536 + 8192)),
        (avro, &[("compression-type", "deflate")], b"\0", ZLIB_CONNECTION_BYTES),
        (avro, &tls, b"\x16", TLS_CONNECTION_BYTES),
    ] {
        let rig = Rig::new(kind, "port", more, MUCH);
        rig.speaks(bytes, async |_client| rig.until_held(CONNECTION_BYTES + expected).await).await;
    }
}

#[tokio::test]
async fn a_line_that_does_not_end_is_charged_with_twice_its_bytes() {
    let size = [("eventSize", "1000000")];
    for (kind, key, more) in [
        (&netcat::TYPE, "port", &[("max-line-length", "1000000")][..]),
        (&syslog::tcp::TYPE, "port", &size),
        (&syslog::multiport::TYPE, "ports", &size),
    ] {
        let rig = Rig::new(kind, key, more, MUCH);
        // Without them a connection is read by the least, whatever it brings.
        let reads = Arc::clone(&rig.trial.context.clients.reads);
        let all = u32::try_from(reads.available_permits()).unwrap();
        let _none = reads.try_acquire_many_owned(all).unwrap();
        let line = [&b"<13>"[..], &b"x".repeat(100_000)].concat();
        rig.speaks(&line, async |_client| rig.until_held(2 * 90_000).await).await;
    }
}

#[tokio::test]
async fn what_is_made_of_a_json_body_needs_room_first() {
    // Read where it comes, and on a thread of its own.
    for events in [15_000, 30_000] {
        let body = format!("[{}]", vec!["{}"; events].join(","));
        let request = format!(
            "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        for (memory, status) in [(LITTLE, "503"), (MUCH, "200")] {
            let rig = Rig::new(&http::TYPE, "port", &[], memory);
            let script = async |mut client: TcpStream| {
                let mut answer = Vec::new();
                let _ = within(60, "an answer", client.read_to_end(&mut answer)).await;
                let answer = String::from_utf8_lossy(&answer);
                assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{events}: {answer}");
            };
            rig.speaks(request.as_bytes(), script).await;
            assert_eq!(rig.trial.events().len(), if status == "200" { events } else { 0 });
        }
    }
}

#[tokio::test]
async fn what_is_made_of_a_thrift_call_needs_room_first() {
    let events = vec![Event::default(); 20_000];
    let mut call = frame::begin();
    put_append_batch(&mut call, Protocol::Compact, 1, &events);
    frame::finish(&mut call);
    for (memory, is_taken) in [(LITTLE, false), (MUCH, true)] {
        let rig = Rig::new(&thrift::TYPE, "port", &[], memory);
        let script = async |mut client: TcpStream| {
            let read = within(60, "an answer or the end", client.read(&mut [0; 64])).await;
            assert_eq!(read.unwrap_or(0) > 0, is_taken);
        };
        rig.speaks(&call, script).await;
        assert_eq!(rig.trial.events().len(), if is_taken { events.len() } else { 0 });
    }
}
