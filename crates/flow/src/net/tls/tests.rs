//! Stores made by keytool and openssl, in tests/golden/tls: `server` is a self-signed key of
//! `somewhere.example` in three formats, `trust` has its certificate; `leaf.pem` is a key of
//! `localhost`, signed by the authority in `ca.pem`; `client.pem` is a key of `web1`, signed by the authority for
//! clients in `clients.pem`.

use super::store_contents::{StoreContents, StoreError};
use super::*;
use crate::net::stream::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsStream;

fn golden(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("tests/golden/tls").join(name)
}

fn server(name: &str) -> ServerTls {
    ServerTls {
        keystore: golden(name),
        password: "changeit".to_owned(),
        clients: None,
        choice: SuiteFilter::default(),
    }
}

fn client(truststore: Option<&str>) -> ClientTls {
    ClientTls {
        truststore: truststore.map(golden),
        password: "changeit".to_owned(),
        ..ClientTls::default()
    }
}

/// Performs a handshake and sends a message; returns why it failed.
async fn talk(server: &ServerTls, client: &ClientTls, name: &str) -> Result<(), String> {
    let acceptor = server.load().map_err(|error| error.to_string())?;
    let connector = client.load().map_err(|error| error.to_string())?;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = async {
        let (socket, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(socket).await.map_err(|error| error.to_string())?;
        stream.write_all(b"word").await.map_err(|error| error.to_string())?;
        stream.shutdown().await.map_err(|error| error.to_string())
    };
    let call = async {
        let socket = Socket::Plain(TcpStream::connect(address).await.unwrap());
        let greeted = connector.greet(name, socket).await;
        let mut stream = greeted.map_err(|error| error.to_string())?;
        let mut word = String::new();
        stream.read_to_string(&mut word).await.map_err(|error| error.to_string())?;
        assert_eq!(word, "word");
        Ok::<_, String>(())
    };
    let (_, called) = tokio::join!(serve, call);
    called
}

fn stores() -> Vec<&'static str> {
    let all = ["server.jks", "server.p12", "server.pem"];
    all.into_iter().filter(|name| cfg!(feature = "pkcs12") || !name.ends_with("p12")).collect()
}

#[test]
fn the_same_key_is_read_from_every_format() {
    let read = |name: &str, password: &str| StoreContents::read(&golden(name), password);
    let pem = read("server.pem", "").unwrap();
    for name in stores() {
        let store = read(name, "changeit").unwrap();
        assert_eq!(store.keys.len(), 1, "{name}");
        assert_eq!(store.keys[0].0, pem.keys[0].0, "{name}");
        assert_eq!(store.keys[0].1, pem.keys[0].1, "{name}");
    }
    for name in ["trust.jks", "trust.p12"] {
        if stores().len() == 3 || name.ends_with("jks") {
            assert_eq!(read(name, "changeit").unwrap().trusted, pem.trusted, "{name}");
            let wrong = read(name, "changed").unwrap_err();
            assert!(matches!(wrong, StoreError::Password), "{name}: {wrong}");
        }
    }
}

#[test]
fn an_invalid_store_is_refused_without_a_panic() {
    let whole = std::fs::read(golden("server.jks")).unwrap();
    for len in 0..whole.len() {
        StoreContents::decode(&whole[..len], "changeit").unwrap_err();
    }
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        StoreContents::decode(&flipped, "changeit").unwrap_err();
    }
    let error = |bytes: &[u8]| StoreContents::decode(bytes, "x").unwrap_err().to_string();
    assert!(error(b"\xce\xce\xce\xce").contains("JCEKS"));
    assert!(error(b"hello").contains("not a store"));
    assert!(error(b"\x30\x03abc").contains("PKCS12"));
    assert!(error(b"-----BEGIN CERTIFICATE-----\n!!\n").contains("PEM"));
    let error = server("none.jks").load().err().unwrap().to_string();
    assert!(error.contains("none.jks") && error.contains("no such file"), "{error}");
    let error = server("trust.jks").load().err().unwrap().to_string();
    assert!(error.contains("no private key"), "{error}");
}

#[tokio::test]
async fn a_server_is_trusted_by_its_own_certificate_or_by_its_authority_and_name() {
    for name in stores() {
        // As in Java, a certificate that is trusted itself may be for any name.
        talk(&server(name), &client(Some("trust.jks")), "127.0.0.1").await.unwrap();
    }
    let leaf = server("leaf.pem");
    let authority = client(Some("ca.pem"));
    talk(&leaf, &authority, "localhost").await.unwrap();
    let error = talk(&leaf, &authority, "127.0.0.1").await.unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");
    let nameless = ClientTls { verify_name: false, ..client(Some("ca.pem")) };
    talk(&leaf, &nameless, "127.0.0.1").await.unwrap();
    let error = talk(&leaf, &client(Some("trust.jks")), "localhost").await.unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");
    let error = talk(&server("server.jks"), &nameless, "localhost").await.unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");
    let all = ClientTls { trust_all: true, ..client(None) };
    talk(&server("server.jks"), &all, "localhost").await.unwrap();
}

#[tokio::test]
async fn versions_and_suites_are_those_that_both_allow() {
    let with = |choice: &SuiteFilter| ServerTls { choice: choice.clone(), ..server("leaf.pem") };
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let authority = client(Some("ca.pem"));
    let old = SuiteFilter { include_protocols: names(&["TLSv1.2"]), ..SuiteFilter::default() };
    talk(&with(&old), &authority, "localhost").await.unwrap();
    let new =
        SuiteFilter { exclude_protocols: names(&["SSLv3", "TLSv1.2"]), ..SuiteFilter::default() };
    talk(&with(&new), &authority, "localhost").await.unwrap();
    let other = ClientTls { choice: old.clone(), ..client(Some("ca.pem")) };
    talk(&with(&new), &other, "localhost").await.unwrap_err();
    let suite = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
    let one = SuiteFilter { include_suites: names(&[suite]), ..SuiteFilter::default() };
    talk(&with(&one), &authority, "localhost").await.unwrap();
    let none = SuiteFilter { exclude_suites: names(&[suite]), ..one };
    let error = with(&none).load().err().unwrap();
    assert!(matches!(error, TlsError::NoSuite), "{error}");
    let ancient = SuiteFilter { include_protocols: names(&["TLSv1"]), ..SuiteFilter::default() };
    let error = with(&ancient).load().err().unwrap();
    assert!(matches!(error, TlsError::NoProtocol), "{error}");
}

const CLIENT_NAMES: [&str; 5] =
    ["web1", "web1.example", "ops@web1.example", "spiffe://example/web1", "192.0.2.7"];

#[test]
fn a_certificate_is_read_with_its_names_and_its_end() {
    let store = StoreContents::read(&golden("client.pem"), "").unwrap();
    let read = Certificate::read(&store.keys[0].0[0]).unwrap();
    assert_eq!(read.names, CLIENT_NAMES);
    assert_eq!((read.name(), read.not_after), ("web1", 4_949_022_166));
    assert_eq!(server("server.pem").load().unwrap().not_after(), Some(4_948_898_982));
    assert_eq!(first_end(&golden("client.pem"), "").unwrap(), Some(4_949_022_166));
    assert_eq!(first_end(&golden("trust.jks"), "changeit").unwrap(), Some(4_948_898_982));
    assert!(first_end(&golden("trust.jks"), "changed").is_err());
    let der = &store.keys[0].0[0][..];
    for len in 0..der.len() {
        assert_eq!(Certificate::read(&der[..len]), None, "{len}");
    }
}

/// Returns the names of the client's certificate as a server of these settings sees them, or why it was refused.
async fn shown(clients: Option<ClientAuth>, own: Option<&str>) -> Result<Vec<String>, String> {
    let acceptor = ServerTls { clients, ..server("leaf.pem") }.load().unwrap();
    let own = own.map(|name| KeyStore { path: golden(name), password: "changeit".to_owned() });
    let connector = ClientTls { own, ..client(Some("ca.pem")) }.load().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = async {
        let socket = Socket::Plain(listener.accept().await.unwrap().0);
        let stream = acceptor.accept(socket).await.map_err(|error| error.to_string())?;
        let stream = Stream::Tls(Box::new(TlsStream::Server(stream)));
        Ok(stream.peer_certificate().map(|shown| shown.names).unwrap_or_default())
    };
    let call = async {
        let socket = Socket::Plain(TcpStream::connect(address).await.unwrap());
        // With TLS 1.3 a refused client learns it with the first bytes that it reads.
        if let Ok(mut stream) = connector.greet("localhost", socket).await {
            let _ = stream.read(&mut [0]).await;
        }
    };
    tokio::join!(serve, call).0
}

#[tokio::test]
async fn a_client_is_accepted_with_a_certificate_that_the_trust_store_trusts() {
    let auth = |store: &str, required| {
        let (truststore, password) = (golden(store), "changeit".to_owned());
        Some(ClientAuth { truststore, password, required, names: Vec::new() })
    };
    assert_eq!(shown(None, Some("client.pem")).await.unwrap(), [""; 0]);
    let need = |store| auth(store, true);
    assert_eq!(shown(need("clients.pem"), Some("client.pem")).await.unwrap(), CLIENT_NAMES);
    let error = shown(need("clients.pem"), None).await.unwrap_err();
    assert!(error.contains("no certificates"), "{error}");
    // The certificate itself is in the trust store, as in Java.
    let names = shown(need("trust.jks"), Some("server.jks")).await.unwrap();
    assert_eq!(names, ["somewhere.example"]);
    for want in [need("clients.pem"), auth("clients.pem", false)] {
        let error = shown(want, Some("server.jks")).await.unwrap_err();
        assert!(error.contains("UnknownIssuer"), "{error}");
    }
    assert_eq!(shown(auth("clients.pem", false), None).await.unwrap(), [""; 0]);
    for (names, may) in
        [(&["db*", "WEB1.*"][..], true), (&["web1"], false), (&["*@web1.example"], true)]
    {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let some = need("clients.pem").map(|clients| ClientAuth { names, ..clients });
        match shown(some, Some("client.pem")).await {
            Ok(_) => assert!(may),
            Err(error) => assert!(!may && error.contains("client-auth-names"), "{error}"),
        }
    }
    let nothing = ServerTls { clients: need("client.p12"), ..server("leaf.pem") };
    assert!(matches!(nothing.load(), Err(TlsError::Store { .. })));
}

#[tokio::test]
async fn a_changed_store_is_read_again_and_an_invalid_one_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let put = |from: &str| {
        std::fs::copy(golden(from), &path).unwrap();
    };
    put("server.pem");
    let tls = StoreReloader::new(ServerTls { keystore: path.clone(), ..server("none") });
    let not_after = async || tls.current("source r1").await.map(|read| read.not_after());
    let (first, second) = (Some(4_948_898_982), Some(4_948_898_987));
    assert_eq!(not_after().await.unwrap(), first);
    put("leaf.pem");
    assert_eq!(not_after().await.unwrap(), second);
    for broken in [&b"-----BEGIN CERTIFICATE-----\nhalf"[..], b""] {
        std::fs::write(&path, broken).unwrap();
        assert_eq!(not_after().await.unwrap(), second);
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(not_after().await.unwrap(), second);
    put("server.pem");
    assert_eq!(not_after().await.unwrap(), first);
    let never = StoreReloader::new(server("none"));
    assert!(matches!(never.current("source r1").await, Err(TlsError::Store { .. })));
}

#[test]
fn handshake_errors_are_classified_without_text_that_a_peer_chose() {
    let kind = |error: rustls::Error| handshake_error_kind(&io::Error::other(error));
    let alerts = || (0..=u8::MAX).map(|n| rustls::Error::AlertReceived(n.into()));
    let [kinds, words] = [true, false].map(|is_kind| {
        let alerts = alerts().map(|it| if is_kind { kind(it).to_owned() } else { it.to_string() });
        alerts.collect::<std::collections::BTreeSet<_>>()
    });
    assert_eq!(kinds.len(), 1);
    assert!(words.len() > 20, "any peer can have each of them: {words:?}");
    assert_ne!(kind(rustls::Error::NoCertificatesPresented), kind(rustls::Error::DecryptError));
    assert_eq!(handshake_error_kind(&io::ErrorKind::UnexpectedEof.into()), "connection broken");
}
