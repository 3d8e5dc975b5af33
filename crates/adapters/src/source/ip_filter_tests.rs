//! Tests of `ipFilterRules` of every listening source, over real sockets.

use super::ip_filter::IpFilter;
use super::listener::{PendingSession, SourceListener};
use super::test_support::{SourceHarness, build, until, within};
use super::{avro, http, netcat, netcat_udp, syslog, thrift};
use millpond_flow::log_capture::captured_log;
use millpond_flow::metrics::DropReason;
use millpond_flow::net::tls::{ClientAuth, ClientTls, KeyStore, ServerTls, SuiteFilter};
use millpond_flow::net::zlib::Socket;
use millpond_flow::settings::{Settings, SettingsReader};
use millpond_flow::source::SourceType;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SESSIONS: [(&SourceType, &str); 7] = [
    (&avro::TYPE, "port"),
    (&thrift::TYPE, "port"),
    (&thrift::scribe::TYPE, "port"),
    (&http::TYPE, "port"),
    (&netcat::TYPE, "port"),
    (&syslog::tcp::TYPE, "port"),
    (&syslog::multiport::TYPE, "ports"),
];
const DATAGRAMS: [&SourceType; 2] = [&syslog::udp::TYPE, &netcat_udp::TYPE];

fn pairs<'a>(port: (&'a str, &'a str), rules: &'a str) -> [(&'a str, &'a str); 5] {
    let host = "127.0.0.1";
    [("bind", host), ("host", host), port, ("ipFilter", "true"), ("ipFilterRules", rules)]
}

#[tokio::test]
async fn every_tcp_source_denies_clients_by_its_rules() {
    for (kind, key) in SESSIONS {
        for (rules, comes_in) in [("deny:ip:127.*", false), ("allow:ip:127.*,deny:ip:*", true)] {
            let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let port = free.port().to_string();
            let source = build(kind, &pairs((key, &port), rules)).unwrap();
            let harness = SourceHarness::new();
            let open = &harness.context.counters.open_connection;
            let script = async {
                harness.until_started().await;
                let mut client = TcpStream::connect(free).await.unwrap();
                if comes_in {
                    until("the connection", || open.get() == 1).await;
                } else {
                    let read = within(60, "the end", client.read(&mut [0])).await;
                    assert_eq!(read.unwrap_or(0), 0, "{:?}", kind.names);
                }
            };
            let words = captured_log(async { harness.run(&*source, script).await.unwrap() }).await;
            let is_said = words.contains("turned away by the rule deny:ip:127.* of ipFilterRules");
            assert_eq!(is_said, !comes_in, "{:?}: {words}", kind.names);
        }
    }
}

#[tokio::test]
async fn every_datagram_source_counts_the_datagrams_of_denied_senders() {
    for kind in DATAGRAMS {
        for (rules, comes_in) in [("deny:ip:127.*", false), ("allow:ip:127.*,deny:ip:*", true)] {
            let free: SocketAddr = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let port = free.port().to_string();
            let source = build(kind, &pairs(("port", &port), rules)).unwrap();
            let harness = SourceHarness::new();
            let drops = &harness.context.counters.drops;
            let script = async {
                harness.until_started().await;
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                for _ in 0..3 {
                    socket.send_to(b"<13>x", free).unwrap();
                }
                let expected = if comes_in { (3, 0) } else { (0, 3) };
                let now = || (harness.events().len(), drops.get(DropReason::Denied));
                until("three datagrams", || now() == expected).await;
            };
            let words = captured_log(async { harness.run(&*source, script).await.unwrap() }).await;
            let said = words.matches("turned away by the rule deny:ip:127.*").count();
            assert_eq!(said, usize::from(!comes_in), "{words}");
        }
    }
}

fn golden(name: &str) -> PathBuf {
    [concat!(env!("CARGO_MANIFEST_DIR"), "/../.."), "tests/golden/tls", name].iter().collect()
}

#[tokio::test]
async fn rules_about_certificates_decide_once_the_handshake_is_done() {
    let password = || "changeit".to_owned();
    let clients = ClientAuth {
        truststore: golden("clients.pem"),
        password: password(),
        required: false,
        names: Vec::new(),
    };
    let tls = ServerTls {
        keystore: golden("leaf.pem"),
        password: password(),
        clients: Some(clients),
        choice: SuiteFilter::default(),
    };
    for (rules, with, without) in [
        ("allow:cert:WEB1.*, deny:ip:*", true, false),
        ("deny:cert:web1", false, true),
        ("deny:cert:db*", true, true),
    ] {
        let pairs = [("ipFilter", "true"), ("ipFilterRules", rules)];
        let settings = Settings::from_pairs("r1", &pairs);
        let filter = IpFilter::read(&mut SettingsReader::new(&settings), Some(&tls)).unwrap();
        let listening = SourceListener::new("127.0.0.1".to_owned(), 0, 10, b"");
        let listening = listening.with_tls(Some(tls.clone())).filtered(filter);
        let harness = SourceHarness::new();
        let session = |arrival: PendingSession| async move {
            let Some(mut stream) = arrival.greet().await else { return };
            stream.write_all(b"welcome").await.unwrap();
            let _ = stream.read(&mut [0]).await;
        };
        let script = async {
            harness.until_started().await;
            let own = KeyStore { path: golden("client.pem"), password: password() };
            for (own, comes_in) in [(Some(own), with), (None, without)] {
                let truststore = Some(golden("ca.pem"));
                let connector = ClientTls { truststore, own, ..ClientTls::default() }.load();
                let socket = TcpStream::connect(listening.bound()).await.unwrap();
                let connector = connector.unwrap();
                let mut stream = connector.greet("localhost", Socket::Plain(socket)).await.unwrap();
                let mut read = [0; 7];
                let heard = within(60, "a word", stream.read_exact(&mut read)).await;
                assert_eq!(heard.is_ok(), comes_in, "{rules}");
            }
            harness.stop();
        };
        let both = async { tokio::join!(listening.serve(&harness.context, session), script).0 };
        let words = captured_log(async { both.await.unwrap() }).await;
        assert_eq!(words.contains("turned away by the rule"), !(with && without), "{words}");
        assert_eq!(words.contains("certificate=\"web1\""), !with, "{rules}: {words}");
    }
}
