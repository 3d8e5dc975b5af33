//! Tests of the memory that a silent client makes a source hold, in plain text and in TLS.

use super::test_support::{SourceHarness, build, until};
use super::{avro, http, netcat, netcat_udp, syslog, thrift};
use crate::wire::avro::exchange::AvroExchange;
use crate::wire::thrift::ThriftProtocol;
use crate::wire::thrift::call::put_append_batch;
use millpond::Event;
use millpond_flow::base::limits::{
    CLIENT_MEMORY_BYTES_MIN, CONNECTION_BYTES, CONNECTION_READ_BYTES, DATAGRAM_BATCH_BYTES_MAX,
    DATAGRAM_BATCH_BYTES_MIN, HTTP_CONNECTION_BYTES, TLS_CONNECTION_BYTES,
};
use millpond_flow::client_limits::ClientLimits;
use millpond_flow::metrics::ClientTotals;
use millpond_flow::net::stream::Stream;
use millpond_flow::net::tls::ClientTls;
use millpond_flow::net::zlib::Socket;
use millpond_flow::source::SourceType;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

const MIB: usize = 1024 * 1024;
const KEYSTORE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/tls/server.jks");

/// Returns per source: its type, the key of its port, bytes of one event, and the bytes kept after the first byte.
fn sources() -> Vec<(&'static SourceType, &'static str, Vec<u8>, usize)> {
    let event = [Event::new("x")];
    let mut call = crate::wire::thrift::frame::begin();
    put_append_batch(&mut call, ThriftProtocol::Compact, 1, &event);
    crate::wire::thrift::frame::finish(&mut call);
    let body = r#"[{"body":"x"}]"#;
    let length = body.len();
    let post = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}");
    // As many bytes as one read takes: only another read shows that there is no more.
    let read = [b"<13>xx\n".repeat(1169), b"<13>xxxx\n".to_vec()].concat();
    assert_eq!(read.len(), CONNECTION_READ_BYTES);
    vec![
        (&netcat::TYPE, "port", b"x\n".to_vec(), 0),
        (&syslog::tcp::TYPE, "port", b"<13>x\n".to_vec(), 0),
        (&syslog::multiport::TYPE, "ports", b"<13>x\n".to_vec(), 0),
        (&syslog::tcp::TYPE, "port", read, 0),
        (&avro::TYPE, "port", AvroExchange::new().call(&event).to_vec(), 0),
        (&thrift::TYPE, "port", call, 0),
        (&http::TYPE, "port", post.into_bytes(), HTTP_CONNECTION_BYTES),
    ]
}

async fn connected(port: u16, has_tls: bool) -> Stream {
    let socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    if !has_tls {
        return Stream::Plain(socket);
    }
    let trusting = ClientTls { trust_all: true, ..ClientTls::default() }.load().unwrap();
    let stream = trusting.greet("localhost", Socket::Plain(socket)).await.unwrap();
    Stream::Tls(Box::new(TlsStream::Client(stream)))
}

#[tokio::test]
async fn a_silent_client_costs_only_its_connection_whatever_it_sent_before() {
    for (kind, key, sent, kept) in sources() {
        for has_tls in [false, true] {
            if has_tls && kind.names[0] == "netcat" {
                continue;
            }
            let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let port = free.to_string();
            let mut pairs = vec![("bind", "127.0.0.1"), ("host", "127.0.0.1"), (key, &*port)];
            if has_tls {
                pairs.extend([("ssl", "true"), ("keystore", KEYSTORE)]);
                pairs.push(("keystore-password", "changeit"));
            }
            let source = build(kind, &pairs).unwrap();
            let totals = Arc::<ClientTotals>::default();
            let mut harness = SourceHarness::new();
            harness.context.clients = ClientLimits::new(64 * MIB, 100, Arc::clone(&totals));
            let tls = if has_tls { TLS_CONNECTION_BYTES } else { 0 };
            let held = || totals.memory_bytes.get() as usize;
            let script = async {
                harness.until_started().await;
                let mut client = connected(free, has_tls).await;
                let what = format!("{:?}, TLS {has_tls}", kind.names[0]);
                let silent = CONNECTION_BYTES + tls;
                until(&format!("{what}: {silent} bytes"), || held() == silent).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
                assert_eq!(held(), silent, "{what}: before its first byte");
                client.write_all(&sent).await.unwrap();
                client.flush().await.unwrap();
                harness.until_events(1).await;
                let silent = silent + kept;
                until(&format!("{what}: {silent} bytes again"), || held() == silent).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
                assert_eq!(held(), silent, "{what}: once it was silent again");
                assert_eq!(harness.context.counters.held_bytes.get(), 0);
            };
            harness.run(&*source, script).await.unwrap();
            assert_eq!(held(), 0, "{:?}", kind.names);
        }
    }
}

#[tokio::test]
async fn a_running_datagram_source_keeps_its_batch_in_the_budget() {
    for kind in [&syslog::udp::TYPE, &netcat_udp::TYPE] {
        let pairs = [("bind", "127.0.0.1"), ("host", "127.0.0.1"), ("port", "0")];
        for (memory, expected) in [
            (64 * MIB, DATAGRAM_BATCH_BYTES_MAX..=DATAGRAM_BATCH_BYTES_MAX),
            (CLIENT_MEMORY_BYTES_MIN, DATAGRAM_BATCH_BYTES_MIN..=DATAGRAM_BATCH_BYTES_MAX),
        ] {
            let source = build(kind, &pairs).unwrap();
            let totals = Arc::<ClientTotals>::default();
            let mut harness = SourceHarness::new();
            harness.context.clients = ClientLimits::new(memory, 100, Arc::clone(&totals));
            let held = || totals.memory_bytes.get() as usize;
            let script = async {
                harness.until_started().await;
                until("its memory", || expected.contains(&held())).await;
            };
            harness.run(&*source, script).await.unwrap();
            assert_eq!(held(), 0);
        }
    }
}
