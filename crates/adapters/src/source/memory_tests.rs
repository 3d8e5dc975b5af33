//! Tests of the memory that sessions reserve for clients before they use it, over real sockets.

use super::test_support::{SourceHarness, build, until, within};
use super::{avro, http, netcat, syslog, thrift};
use crate::wire::thrift::ThriftProtocol;
use crate::wire::thrift::call::put_append_batch;
use crate::wire::thrift::frame;
use millpond::Event;
use millpond_flow::base::limits::{
    CONNECTION_BYTES, HTTP_CONNECTION_BYTES, TLS_CONNECTION_BYTES, ZLIB_CONNECTION_BYTES,
};
use millpond_flow::client_limits::ClientLimits;
use millpond_flow::metrics::ClientTotals;
use millpond_flow::source::{Source, SourceType};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Budget of a process in which a large request finds no room.
const LITTLE: usize = 2 * 1024 * 1024;
const MUCH: usize = 256 * 1024 * 1024;

struct MemoryHarness {
    harness: SourceHarness,
    source: Box<dyn Source>,
    address: SocketAddr,
    totals: Arc<ClientTotals>,
}

impl MemoryHarness {
    fn new(kind: &SourceType, key: &str, more: &[(&str, &str)], memory: usize) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let port = free.port().to_string();
        let mut pairs = vec![("bind", "127.0.0.1"), ("host", "127.0.0.1"), (key, &*port)];
        pairs.extend(more);
        let source = build(kind, &pairs).unwrap();
        let mut harness = SourceHarness::with_capacity(100_000);
        let totals = Arc::<ClientTotals>::default();
        harness.context.clients = ClientLimits::new(memory, 100, Arc::clone(&totals));
        Self { harness, source, address: free, totals }
    }

    /// Connects, sends `bytes` and runs `script` with the connection.
    async fn speaks(&self, bytes: &[u8], script: impl AsyncFnOnce(TcpStream)) {
        let script = async {
            self.harness.until_started().await;
            let mut client = TcpStream::connect(self.address).await.unwrap();
            self.until_held(CONNECTION_BYTES).await;
            client.write_all(bytes).await.unwrap();
            script(client).await;
        };
        self.harness.run(&*self.source, script).await.unwrap();
    }

    async fn until_held(&self, bytes: usize) {
        let held = || self.totals.memory_bytes.get();
        until(&format!("{bytes} bytes"), || held() >= bytes as u64).await;
    }
}

#[tokio::test]
async fn an_active_connection_is_charged_with_the_memory_of_decoding() {
    let store = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/tls/server.jks");
    let tls = [("ssl", "true"), ("keystore", store), ("keystore-password", "changeit")];
    let headers = [("HttpConfiguration.requestHeaderSize", "65536")];
    let avro = &avro::TYPE;
    for (kind, more, bytes, expected) in [
        (&http::TYPE, &[][..], &b"POST"[..], HTTP_CONNECTION_BYTES),
        (&http::TYPE, &headers, b"POST", 2 * (65536 + 8192)),
        (avro, &[("compression-type", "deflate")], b"\0", ZLIB_CONNECTION_BYTES),
        (avro, &tls, b"\x16", TLS_CONNECTION_BYTES),
    ] {
        let rig = MemoryHarness::new(kind, "port", more, MUCH);
        rig.speaks(bytes, async |_client| rig.until_held(CONNECTION_BYTES + expected).await).await;
    }
}

#[tokio::test]
async fn an_unfinished_line_is_charged_with_twice_its_bytes() {
    let size = [("eventSize", "1000000")];
    for (kind, key, more) in [
        (&netcat::TYPE, "port", &[("max-line-length", "1000000")][..]),
        (&syslog::tcp::TYPE, "port", &size),
        (&syslog::multiport::TYPE, "ports", &size),
    ] {
        let rig = MemoryHarness::new(kind, key, more, MUCH);
        // Without permits a connection is read by the least size, whatever it sends.
        let reads = Arc::clone(&rig.harness.context.clients.reads);
        let all = u32::try_from(reads.available_permits()).unwrap();
        let _none = reads.try_acquire_many_owned(all).unwrap();
        let line = [&b"<13>"[..], &b"x".repeat(100_000)].concat();
        rig.speaks(&line, async |_client| rig.until_held(2 * 90_000).await).await;
    }
}

#[tokio::test]
async fn a_json_body_reserves_memory_before_parsing() {
    // Parsed inline, and on a separate thread.
    for events in [15_000, 30_000] {
        let body = format!("[{}]", vec!["{}"; events].join(","));
        let request = format!(
            "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        for (memory, status) in [(LITTLE, "503"), (MUCH, "200")] {
            let rig = MemoryHarness::new(&http::TYPE, "port", &[], memory);
            let script = async |mut client: TcpStream| {
                let mut answer = Vec::new();
                let _ = within(60, "an answer", client.read_to_end(&mut answer)).await;
                let answer = String::from_utf8_lossy(&answer);
                assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{events}: {answer}");
            };
            rig.speaks(request.as_bytes(), script).await;
            assert_eq!(rig.harness.events().len(), if status == "200" { events } else { 0 });
        }
    }
}

#[tokio::test]
async fn a_thrift_call_reserves_memory_before_decoding() {
    let events = vec![Event::default(); 20_000];
    let mut call = frame::begin();
    put_append_batch(&mut call, ThriftProtocol::Compact, 1, &events);
    frame::finish(&mut call);
    for (memory, is_taken) in [(LITTLE, false), (MUCH, true)] {
        let rig = MemoryHarness::new(&thrift::TYPE, "port", &[], memory);
        let script = async |mut client: TcpStream| {
            let read = within(60, "a reply or the end", client.read(&mut [0; 64])).await;
            assert_eq!(read.unwrap_or(0) > 0, is_taken);
        };
        rig.speaks(&call, script).await;
        assert_eq!(rig.harness.events().len(), if is_taken { events.len() } else { 0 });
    }
}
