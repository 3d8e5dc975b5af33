use super::*;
use crate::source::test_support::{SourceHarness, bodies};
use crate::wire::syslog::Flaw;
use millpond_flow::metrics::DropReason;
use millpond_flow::settings::Settings;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};

fn rules(pairs: &[(&str, &str)]) -> Result<SyslogOptions, SettingError> {
    let settings = Settings::from_pairs("r1", pairs);
    let mut rules = SyslogOptions::read(&mut SettingsReader::new(&settings))?;
    rules.zone = TimeZone::UTC;
    Ok(rules)
}

fn event(pairs: &[(&str, &str)], line: &str, flaw: Option<Flaw>) -> (String, Vec<String>) {
    let client =
        SyslogClient { address: [127, 0, 0, 1].into(), name: Some("localhost".to_owned()) };
    let digits = line.trim_start_matches('<').split('>').next().unwrap_or_default();
    let priority = digits.parse().unwrap_or(0);
    let raw = RawMessage { bytes: line.as_bytes(), priority, flaw };
    let event = rules(pairs).unwrap().event(&raw, &client, &YearHint::at(1_795_219_200_000));
    let mut headers: Vec<String> = event.headers.iter().map(|(n, v)| format!("{n}={v}")).collect();
    headers.sort_unstable();
    (String::from_utf8(event.body.to_vec()).unwrap(), headers)
}

const LINE: &str = "<165>1 2003-08-24T05:14:15.003-07:00 192.0.2.1 myproc 8710 - - it's time";

#[test]
fn a_message_becomes_body_and_headers() {
    let (body, headers) = event(&[], LINE, None);
    assert_eq!(body, "myproc 8710 - - it's time");
    let expected = [
        "Facility=20",
        "Severity=5",
        "host=192.0.2.1",
        "priority=165",
        "timestamp=1061702055003",
        "version=1",
    ];
    assert_eq!(headers, expected);
    let (body, headers) = event(&[], "<34>hello", None);
    assert_eq!(
        (body.as_str(), headers),
        ("<34>hello", vec!["Facility=4".into(), "Severity=2".into()])
    );
    let (_, headers) = event(&[], "plain", Some(Flaw::Invalid));
    assert_eq!(headers, ["Facility=0", "Severity=0", "flume.syslog.status=Invalid"]);
    let client = [("clientIPHeader", "ip"), ("clientHostnameHeader", "name")];
    let (_, headers) = event(&client, "<0>x", None);
    assert_eq!(headers, ["Facility=0", "Severity=0", "ip=127.0.0.1", "name=localhost"]);
}

#[test]
fn kept_fields_come_before_the_message() {
    let body = |keep| event(&[("keepFields", keep)], LINE, None).0;
    assert_eq!(body("all"), LINE);
    assert_eq!(body("true"), LINE);
    assert_eq!(body("none"), "myproc 8710 - - it's time");
    assert_eq!(body("priority hostname"), "<165>192.0.2.1 myproc 8710 - - it's time");
    assert_eq!(
        body("timestamp version"),
        "1 2003-08-24T05:14:15.003-07:00 myproc 8710 - - it's time"
    );
    assert!(rules(&[("keepFields", "everything")]).unwrap_err().message.contains("everything"));
}

#[test]
fn messages_of_a_custom_format_are_parsed_by_its_groups() {
    let regex = ("format.regex", r"<(\d+)>(\d?) ?\[([^\]]*)\] (\S+) (.*)");
    let own = [regex, ("format.dateFormat", "dd/MMM/yyyy:HH:mm:ss Z")];
    let with = |keep: &'static str| [&own[..], &[("keepFields", keep)]].concat();
    let line = "<13>1 [17/Oct/2012:14:34:44 +0200] h1 hello";
    let (body, headers) = event(&own, line, None);
    assert_eq!(body, "hello");
    let expected = [
        "Facility=1",
        "Severity=5",
        "host=h1",
        "priority=13",
        "timestamp=1350477284000",
        "version=1",
    ];
    assert_eq!(headers, expected);
    let all = "priority version timestamp hostname";
    let kept = "<13>1 17/Oct/2012:14:34:44 +0200 h1 hello";
    assert_eq!(event(&with(all), line, None).0, kept);
    assert_eq!(event(&with("all"), line, None).0, line);
    // No time and no message: as in Flume.
    let (body, headers) = event(&own, "<13>[nonsense] h1 hello", None);
    assert_eq!((body.as_str(), headers.len()), ("hello", 4));
    assert_eq!(event(&own, "<13>[] h1 ", None).0, "<13>[] h1 ");
    // A message that does not match this format may match another; one without a priority matches none.
    let (body, headers) = event(&own, "<34>Oct 11 22:14:15 mymachine su: x", None);
    assert_eq!((body.as_str(), &*headers[2]), ("su: x", "host=mymachine"));
    let bad = "no priority [17/Oct/2012:14:34:44 +0200] h1 hello";
    assert_eq!(event(&own, bad, Some(Flaw::Invalid)).0, bad);
    // Fewer groups than fields.
    let (body, headers) = event(&[("format.regex", "<(.*)>(.*)")], "<13>9", None);
    assert_eq!(
        (body.as_str(), &headers[2..]),
        ("<13>9", &["priority=13".into(), "version=9".into()][..])
    );
}

#[test]
fn the_time_of_a_custom_format_may_be_rewritten_before_parsing() {
    let stamp = |more: &[(&str, &str)]| {
        let own = [("format.regex", "<(.*)>()(.*)"), ("format.dateFormat", "yyyy-MM-dd HH:mm:ss")];
        let (_, headers) = event(&[&own, more].concat(), "<13>2012-10-17T14:34:44", None);
        headers.into_iter().find(|header| header.starts_with("timestamp="))
    };
    let read = Some("timestamp=1350484484000".to_owned());
    assert_eq!(stamp(&[("format.search", "T"), ("format.replace", " ")]), read);
    assert_eq!(stamp(&[("format.search", r"(\d)T(\d)"), ("format.replace", "$1 $2")]), read);
    assert_eq!(stamp(&[("format.replace", " ")]), None);
    assert_eq!(stamp(&[("format.search", "T")]), None, "nothing takes its place");
}

#[tokio::test]
async fn messages_that_exceed_the_matching_limit_do_not_flood_the_log() {
    let pairs = [("format.regex", "<(13)>()(?=.)(.*)"), ("format.search", r"(?:(a+)\1?)+b")];
    let rules = rules(&[&pairs[..], &[("format.dateFormat", "yyyy")]].concat()).unwrap();
    let client = SyslogClient { address: [127, 0, 0, 1].into(), name: None };
    let (long, hard) = (format!("<13>{}", "a".repeat(20_000)), format!("<13>{}!", "a".repeat(64)));
    let said = millpond_flow::log_capture::captured_log(async {
        for second in 0..5 {
            for line in [&long, &hard, "<13>2012"] {
                let raw = RawMessage { bytes: line.as_bytes(), priority: 13, flaw: None };
                rules.event(&raw, &client, &YearHint::at(1_795_219_200_000 + second * 1000));
            }
        }
    });
    let said = said.await;
    assert_eq!(said.matches("is read without format.regex").count(), 1, "{said}");
    assert_eq!(said.matches("has no timestamp").count(), 1, "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
}

#[test]
fn an_invalid_format_is_refused_by_key_and_a_partial_one_is_warned_of() {
    for (key, value, word) in [
        ("format.regex", "((((", "not a regular expression"),
        ("format.search", "(", "not a regular expression"),
        ("format.replace", "$7", "names no group"),
        ("format.dateFormat", "yyyy-ww", "w is none of"),
        ("format.dateFormat", "yyyy'T", "put a quote after the text"),
    ] {
        let pairs = [("format.regex", "(.*)"), ("format.search", "T"), (key, value)];
        let settings = Settings::from_pairs("r1", &pairs);
        let error = SyslogOptions::read(&mut SettingsReader::new(&settings)).unwrap_err();
        assert!(error.key.ends_with(key) && error.message.contains(word), "{error}");
    }
    let settings =
        Settings::from_pairs("r1", &[("format.search", "T"), ("format.dateFormat", "y")]);
    let mut reader = SettingsReader::new(&settings);
    assert!(SyslogOptions::read(&mut reader).unwrap().own_form.is_none());
    let findings = reader.into_findings();
    assert!(findings.iter().all(|f| f.message.contains("without format.regex")), "{findings:?}");
    assert_eq!(findings.len(), 2);
}

#[tokio::test]
async fn lines_over_tcp_keep_their_order_and_the_last_needs_no_newline() {
    let settings = Settings::from_pairs("r1", &[("host", "127.0.0.1"), ("port", "0")]);
    let source = tcp::build(&mut SettingsReader::new(&settings)).unwrap();
    let harness = SourceHarness::new();
    let script = async {
        harness.until_started().await;
        let mut stream = TcpStream::connect(source.listening.bound()).await.unwrap();
        for piece in ["<34>o", "ne\n<34>two\n\nthree\n<34>fo", "ur"] {
            stream.write_all(piece.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
        }
        drop(stream);
        harness.until_events(4).await;
    };
    harness.run(&source, script).await.unwrap();
    let events = harness.events();
    assert_eq!(bodies(&events), ["<34>one", "<34>two", "three", "<34>four"]);
    assert_eq!(events[2].headers.get("flume.syslog.status"), Some("Invalid"));
}

#[tokio::test]
async fn a_datagram_is_a_message() {
    let settings = Settings::from_pairs("r1", &[("host", "127.0.0.1"), ("port", "0")]);
    let source = udp::build(&mut SettingsReader::new(&settings)).unwrap();
    let harness = SourceHarness::new();
    let script = async {
        harness.until_started().await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = source.bound.lock().unwrap().unwrap();
        for datagram in ["<34>one", "", "<34>two\n<34>not this\n", LINE, "plain"] {
            socket.send_to(datagram.as_bytes(), address).await.unwrap();
        }
        harness.until_events(4).await;
    };
    harness.run(&source, script).await.unwrap();
    let read = bodies(&harness.events());
    assert_eq!(read, ["<34>one", "<34>two", "myproc 8710 - - it's time", "plain"]);
    let counters = &harness.context.counters;
    let extra = counters.drops.get(DropReason::ExtraLine);
    assert_eq!(extra, 1, "the second line of a datagram");
    let without_priority =
        harness.events()[3].headers.get("flume.syslog.status") == Some("Invalid");
    assert!(without_priority && counters.event_read_fail.get() >= 1);
}

#[test]
fn a_port_is_required_and_tls_settings_are_checked() {
    let built = |pairs: &[(&str, &str)]| {
        let settings = Settings::from_pairs("r1", pairs);
        tcp::build(&mut SettingsReader::new(&settings)).err().map(|e| e.to_string())
    };
    assert!(built(&[("port", "1"), ("ssl", "true")]).unwrap().contains("keystore"));
    assert!(built(&[("port", "1"), ("ssl", "yes")]).unwrap().contains("true or false"));
    assert!(built(&[]).unwrap().contains("port"));
}

/// Returns the log of `source` at a stop after each of three clients has sent three messages that no channel accepts.
async fn last_words(source: &dyn millpond_flow::source::Source, port: impl Fn() -> u16) -> String {
    let paper = tempfile::NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(std::sync::Arc::new(paper.reopen().unwrap()))
        .with_ansi(false)
        .finish();
    let _guard = tracing_subscriber::util::SubscriberInitExt::set_default(subscriber);
    let harness = SourceHarness::new();
    harness.always(crate::source::test_support::CommitReply::Full);
    let script = async {
        harness.until_started().await;
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut client = TcpStream::connect(("127.0.0.1", port())).await.unwrap();
            client.write_all(b"<34>- h 1\n<34>- h 2\n<34>- h 3\n").await.unwrap();
            clients.push(client);
        }
        let received = || harness.context.counters.event_received.get() >= 9;
        crate::source::test_support::until("nine messages", received).await;
    };
    harness.run(source, script).await.unwrap();
    assert_eq!(harness.context.counters.drops.get(DropReason::Stopped), 9);
    std::fs::read_to_string(paper.path()).unwrap()
}

#[tokio::test]
async fn losses_at_a_stop_are_logged_once_for_all_clients() {
    let settings = Settings::from_pairs("r1", &[("host", "127.0.0.1"), ("port", "0")]);
    let one = tcp::build(&mut SettingsReader::new(&settings)).unwrap();
    let several = multiport(&[("ports", "0")]).unwrap();
    let words = [
        last_words(&one, || one.listening.bound().port()).await,
        last_words(&several, || several.listening.bound().port()).await,
    ];
    for words in words {
        let told: Vec<&str> = words.lines().filter(|line| line.contains("are lost")).collect();
        assert_eq!(told.len(), 1, "the log leaves out lines that say the same: {words}");
        assert!(told[0].contains("events=9"), "{words}");
    }
}

#[tokio::test]
async fn an_unterminated_message_is_whole_only_if_its_sender_ended_its_side() {
    let settings = Settings::from_pairs("r1", &[("host", "127.0.0.1"), ("port", "0")]);
    let one = tcp::build(&mut SettingsReader::new(&settings)).unwrap();
    let several = multiport(&[("ports", "0")]).unwrap();
    let statuses = async |source: &dyn millpond_flow::source::Source, port: &dyn Fn() -> u16| {
        let harness = SourceHarness::new();
        let script = async {
            harness.until_started().await;
            let connect = async || TcpStream::connect(("127.0.0.1", port())).await.unwrap();
            let mut ends = connect().await;
            ends.write_all(b"<34>Oct 11 22:14:15 h ended").await.unwrap();
            ends.shutdown().await.unwrap();
            harness.until_events(1).await;
            let mut stays = connect().await;
            stays
                .write_all(b"<34>Oct 11 22:14:15 h first\n<34>Oct 11 22:14:15 h half")
                .await
                .unwrap();
            harness.until_events(2).await;
        };
        harness.run(source, script).await.unwrap();
        let events = harness.events();
        let status = |event: &Event| event.headers.get("flume.syslog.status").map(str::to_owned);
        events.iter().map(status).collect::<Vec<_>>()
    };
    let expected = [None, None, Some("Incomplete".to_owned())];
    assert_eq!(statuses(&one, &|| one.listening.bound().port()).await, expected);
    assert_eq!(statuses(&several, &|| several.listening.bound().port()).await, expected);
}

fn multiport(pairs: &[(&str, &str)]) -> Result<multiport::MultiportSyslogSource, String> {
    let mut all = vec![("host", "127.0.0.1")];
    all.extend(pairs);
    let settings = Settings::from_pairs("r1", &all);
    multiport::build(&mut SettingsReader::new(&settings)).map_err(|error| error.to_string())
}

#[tokio::test]
async fn several_ports_have_their_encodings_and_headers() {
    let pairs = [("ports", "0 0"), ("portHeader", "port"), ("batchSize", "2")];
    let source = multiport(&pairs).unwrap();
    let harness = SourceHarness::new();
    let script = async {
        harness.until_started().await;
        for address in source.listening.all_bound() {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"<34>- host one\n\nplain\n\xff\n<34>1 - host last").await.unwrap();
            drop(stream);
        }
        harness.until_events(8).await;
    };
    harness.run(&source, script).await.unwrap();
    let ports: Vec<_> = source.listening.all_bound().iter().map(|a| a.port().to_string()).collect();
    for port in &ports {
        let events = harness.events();
        let of = events.iter().filter(|event| event.headers.get("port") == Some(port));
        let of: Vec<_> = of.cloned().collect();
        assert_eq!(bodies(&of), ["one", "plain", "\u{FFFD}", "last"]);
        let status = |at: usize| of[at].headers.get("flume.syslog.status");
        assert_eq!((status(0), status(1), status(2)), (None, Some("Invalid"), Some("Invalid")));
        assert_eq!(
            (of[0].headers.get("Priority"), of[0].headers.get("Version")),
            (Some("34"), None)
        );
        assert_eq!(
            (of[3].headers.get("Facility"), of[3].headers.get("Version")),
            (Some("4"), Some("1"))
        );
    }
    assert!(harness.batches().iter().all(|events| *events <= 2), "{:?}", harness.batches());
}

#[tokio::test]
async fn a_taken_port_is_served_once_it_is_free_and_the_others_meanwhile() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let source = multiport(&[("ports", &format!("{port} 0"))]).unwrap();
    let harness = SourceHarness::new();
    let script = async {
        harness.until_started().await;
        let other = source.listening.all_bound()[0];
        TcpStream::connect(other).await.unwrap().write_all(b"<34>- h x\n").await.unwrap();
        harness.until_events(1).await;
        drop(taken);
        crate::source::test_support::until("the port", || source.listening.all_bound().len() == 2)
            .await;
        let stream = TcpStream::connect(("127.0.0.1", port)).await;
        stream.unwrap().write_all(b"<34>- h y\n").await.unwrap();
        harness.until_events(2).await;
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["x", "y"]);
}

#[test]
fn the_ports_and_their_encodings_are_checked() {
    for ports in ["", "x", "1,2", "70000", "5 5"] {
        assert!(multiport(&[("ports", ports)]).is_err_and(|e| e.contains("ports")), "{ports}");
    }
    assert!(multiport(&[]).is_err());
    assert!(multiport(&[("ports", "1"), ("charset.default", "UTF-16")]).is_err());
    assert!(multiport(&[("ports", "1"), ("charset.port.1", "no such")]).is_err());
    assert!(multiport(&[("ports", "1 2 # two")]).is_ok());
}
