//! Tests of real sockets with sessions that only wait.

use super::*;
use crate::source::test_support::{SourceHarness, until, within};
use millpond_flow::log_capture::captured_log;
use millpond_flow::net::tls::SuiteFilter;
use tokio::io::AsyncReadExt;

/// Serves clients, each until it ends its side, while `script` runs.
async fn serve(
    listening: &SourceListener,
    harness: &SourceHarness,
    script: impl Future<Output = ()>,
) {
    let session = |arrival: PendingSession| async move {
        let Some(mut stream) = arrival.greet().await else { return };
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let beside = async {
        harness.until_started().await;
        script.await;
        harness.stop();
    };
    tokio::join!(listening.serve(&harness.context, session), beside).0.unwrap();
}

#[tokio::test]
async fn a_client_that_stalls_in_its_handshake_is_closed() {
    let keystore = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/tls/server.jks").into();
    let password = "changeit".to_owned();
    let choice = SuiteFilter::default();
    let tls = ServerTls { keystore, password, clients: None, choice };
    let listening = SourceListener::new("127.0.0.1".to_owned(), 0, 10, b"").with_tls(Some(tls));
    let harness = SourceHarness::new();
    let script = async {
        let (mut silent, mut slow) = (connected(&listening).await, connected(&listening).await);
        // Enough of a handshake to announce its length.
        slow.write_all(b"\x16\x03\x01\x02\x00").await.unwrap();
        let open = &harness.context.counters.open_connection;
        until("both connections", || open.get() == 2).await;
        tokio::time::pause();
        for client in [&mut silent, &mut slow] {
            let read = within(3600, "the end", client.read(&mut [0])).await;
            assert_eq!(read.unwrap_or(0), 0);
        }
    };
    let words = captured_log(serve(&listening, &harness, script)).await;
    assert_eq!(words.matches("not done within 20 s").count(), 1, "said once for both: {words}");
    assert_eq!(harness.context.counters.event_read_fail.get(), 2);
}

#[tokio::test]
async fn a_client_beyond_the_limit_gets_an_error_and_a_closed_one_frees_its_slot() {
    let listening = SourceListener::new("127.0.0.1".to_owned(), 0, 1, b"full\n");
    let harness = SourceHarness::new();
    let open = &harness.context.counters.open_connection;
    let script = async {
        let first = connected(&listening).await;
        until("the first", || open.get() == 1).await;
        let (mut second, mut told) = (connected(&listening).await, String::new());
        within(60, "an answer", second.read_to_string(&mut told)).await.unwrap();
        assert_eq!((&*told, open.get()), ("full\n", 1));
        drop(first);
        until("a free slot", || open.get() == 0).await;
        let _third = connected(&listening).await;
        until("the third", || open.get() == 1).await;
    };
    serve(&listening, &harness, script).await;
}

async fn connected(listening: &SourceListener) -> TcpStream {
    TcpStream::connect(listening.bound()).await.unwrap()
}

#[tokio::test]
async fn a_burst_of_clients_fits_in_the_accept_queue() {
    // If the machine allows less, this test cannot show anything.
    let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    let clients = allowed.trim().parse::<usize>().unwrap_or(0).min(600) / 2;
    let listening = SourceListener::new("127.0.0.1".to_owned(), 0, 10, b"");
    let listener = listening.bind(0).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..clients {
        // Nothing accepts: beyond the queue this would wait forever.
        let connect = TcpStream::connect(address);
        let connected = tokio::time::timeout(Duration::from_secs(60), connect).await;
        waiting.push(connected.expect("room in the queue").unwrap());
    }
    assert_eq!(waiting.len(), clients);
}
