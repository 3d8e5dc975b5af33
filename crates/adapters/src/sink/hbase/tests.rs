//! Tests of real sockets with a gateway whose faults are scripted.

use super::build as hbase_sink;
use super::fake_gateway::{FakeGateway, GatewayAction};
use super::*;
use crate::sink::test_support::{build as build_sink, context};
use crate::wire::thrift::hbase_decode::HbaseCall;
use millpond::Event;
use millpond_flow::metrics::DropReason;
use millpond_flow::settings::Settings;
use millpond_flow::sink::{Failure, Sink, SinkContext};
use std::net::TcpListener;

const REGEX: (&str, &str) =
    ("serializer", "org.apache.flume.sink.hbase2.RegexHBase2EventSerializer");

fn gateway() -> FakeGateway {
    FakeGateway::start(0, ThriftProtocol::Binary, false)
}

fn sink_of(hosts: &str, pairs: &[(&str, &str)]) -> Box<dyn Sink> {
    let mut all = vec![("table", "t"), ("columnFamily", "f"), ("thrift.hosts", hosts)];
    all.extend(pairs);
    build_sink(&TYPE, &all).unwrap()
}

fn sink(gateway: &FakeGateway, pairs: &[(&str, &str)]) -> Box<dyn Sink> {
    sink_of(&format!("127.0.0.1:{}", gateway.port), pairs)
}

async fn deliver_in(
    context: &SinkContext,
    sink: &mut dyn Sink,
    bodies: &[&'static str],
) -> Result<(), Failure> {
    let events: Vec<Event> = bodies.iter().map(|body| Event::new(*body)).collect();
    sink.deliver(context, &events).await
}

async fn deliver(sink: &mut dyn Sink, bodies: &[&'static str]) -> Result<(), Failure> {
    deliver_in(&context(), sink, bodies).await
}

fn bodies(gateway: &FakeGateway) -> Vec<String> {
    let tables = gateway.tables();
    let values = tables.cells.values().map(|value| String::from_utf8(value.clone()).unwrap());
    let mut values: Vec<String> = values.collect();
    values.sort();
    values
}

fn counted(gateway: &FakeGateway) -> i64 {
    gateway.tables().counters.values().sum()
}

fn numbers(gateway: &FakeGateway) -> (usize, usize) {
    let tables = gateway.tables();
    let puts = tables.calls.iter().filter(|call| matches!(call, HbaseCall::Puts(..))).count();
    (puts, tables.calls.len() - puts)
}

#[tokio::test]
async fn a_batch_is_one_call_of_puts_and_its_increments_in_every_protocol() {
    for (protocol, name) in
        [(ThriftProtocol::Binary, "binary"), (ThriftProtocol::Compact, "compact")]
    {
        for framed in ["false", "true"] {
            let gateway = FakeGateway::start(0, protocol, framed == "true");
            let keys = [("thrift.protocol", name), ("thrift.framed", framed)];
            let mut sink = sink(&gateway, &keys);
            deliver(&mut *sink, &["a", "b"]).await.unwrap();
            deliver(&mut *sink, &["c"]).await.unwrap();
            assert_eq!(bodies(&gateway), ["a", "b", "c"], "{name} {framed}");
            assert_eq!((counted(&gateway), numbers(&gateway)), (3, (2, 3)));
            assert_eq!(gateway.tables().connections, 1);
        }
    }
}

#[tokio::test]
async fn coalesced_increments_are_one_call_and_the_log_can_be_left_out() {
    let gateway = gateway();
    let mut sink = sink(&gateway, &[("coalesceIncrements", "true"), ("enableWal", "false")]);
    deliver(&mut *sink, &["a", "b", "c"]).await.unwrap();
    assert_eq!((counted(&gateway), numbers(&gateway)), (3, (1, 1)));
    for call in &gateway.tables().calls {
        match call {
            HbaseCall::Puts(_, rows) => assert!(rows.iter().all(|(.., wal)| !wal)),
            HbaseCall::Increment(.., wal) => assert!(!wal),
            HbaseCall::Exists(..) => {}
        }
    }
}

#[tokio::test]
async fn a_repeated_batch_writes_the_same_rows_and_counts_what_was_not_acknowledged() {
    let gateway = gateway();
    let mut sink = sink(&gateway, &[]);
    // The puts are written and not acknowledged; then two of three increments are.
    gateway.script(&[GatewayAction::WorksAndHangsUp]);
    deliver(&mut *sink, &["a", "b", "c"]).await.unwrap_err();
    let works = GatewayAction::Works;
    gateway.script(&[works.clone(), works.clone(), works, GatewayAction::HangsUp]);
    deliver(&mut *sink, &["a", "b", "c"]).await.unwrap_err();
    deliver(&mut *sink, &["a", "b", "c", "d"]).await.unwrap();
    assert_eq!(bodies(&gateway), ["a", "b", "c", "d"], "no row was written twice");
    assert_eq!(counted(&gateway), 4);
    deliver(&mut *sink, &["a"]).await.unwrap();
    assert_eq!(bodies(&gateway), ["a", "a", "b", "c", "d"], "a new event has a new row");
}

#[tokio::test]
async fn every_missing_or_hostile_reply_fails_the_batch_and_the_next_one_arrives() {
    let huge = |bytes: &[u8]| GatewayAction::Bytes(bytes.to_vec());
    let endless: Vec<u8> =
        [&b"\x80\x01\0\x02\0\0\0\x01m\0\0\0\x02\x0B\0\x01\x7F\0\0\0"[..], &[b'x'; 1_100_000]]
            .concat();
    for (framed, action, words) in [
        ("false", GatewayAction::Silent, "did not reply within 1000 ms"),
        ("true", GatewayAction::Silent, "did not reply within 1000 ms"),
        ("false", GatewayAction::HangsUp, "closed the connection"),
        ("false", GatewayAction::Half, "closed the connection"),
        ("true", GatewayAction::Half, "closed the connection"),
        ("false", GatewayAction::OtherSequence, "another call"),
        ("false", huge(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "cannot be read"),
        ("true", huge(b"\x7F\xFF\xFF\xFFxx"), "cannot be read"),
        ("true", huge(b"\0\0\0\x02zz"), "cannot be read"),
        ("false", huge(&endless), "cannot be read"),
        ("false", GatewayAction::Exception(6), "Internal error"),
        ("false", GatewayAction::IoError("RegionTooBusyException: r"), "RegionTooBusy"),
        ("false", GatewayAction::Exception(1), "hbase thrift2 start"),
    ] {
        let gateway = FakeGateway::start(0, ThriftProtocol::Binary, framed == "true");
        gateway.script(std::slice::from_ref(&action));
        let mut sink = sink(&gateway, &[("timeout", "1000"), ("thrift.framed", framed)]);
        let error = deliver(&mut *sink, &["a"]).await.unwrap_err();
        assert!(error.to_string().contains(words), "{action:?}: {error}");
        assert!(!error.is_refusal(), "{action:?}");
        deliver(&mut *sink, &["a"]).await.unwrap();
        assert_eq!(bodies(&gateway), ["a"], "{action:?}");
    }
}

#[tokio::test]
async fn an_absent_gateway_or_table_does_not_prevent_the_start_and_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut sink = sink_of(&format!("127.0.0.1:{free}"), &[]);
    sink.start(&context()).await.unwrap();
    let error = deliver(&mut *sink, &["a"]).await.unwrap_err();
    assert!(error.to_string().contains(&format!("127.0.0.1:{free}")), "{error}");
    let gateway = FakeGateway::start(free, ThriftProtocol::Binary, false);
    gateway.tables().tables.clear();
    let error = deliver(&mut *sink, &["a"]).await.unwrap_err();
    assert!(error.to_string().contains("does not exist; create it"), "{error}");
    assert!(!error.is_refusal() && gateway.tables().calls.is_empty(), "nothing was written");
    gateway.tables().tables.entry("t".to_owned()).or_default().insert("f".to_owned());
    deliver(&mut *sink, &["a"]).await.unwrap();
    // Dropped while the connection is open.
    gateway.tables().tables.clear();
    let error = deliver(&mut *sink, &["b"]).await.unwrap_err();
    assert!(error.to_string().contains("does not exist; create it"), "{error}");
    assert!(!error.is_refusal());
}

#[tokio::test]
async fn the_next_gateway_is_used_when_one_is_away_or_cannot_reach_hbase() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (first, second) = (gateway(), gateway());
    let hosts = format!("127.0.0.1:{free}, 127.0.0.1:{} 127.0.0.1:{}", first.port, second.port);
    let (mut sink, context) = (sink_of(&hosts, &[]), context());
    deliver_in(&context, &mut *sink, &["a"]).await.unwrap();
    assert_eq!(bodies(&first), ["a"]);
    first.script(&[GatewayAction::IoError("java.net.ConnectException: region server away")]);
    deliver_in(&context, &mut *sink, &["b"]).await.unwrap_err();
    deliver_in(&context, &mut *sink, &["b"]).await.unwrap();
    assert_eq!((bodies(&first), bodies(&second)), (vec!["a".to_owned()], vec!["b".to_owned()]));
    let counters = &context.counters;
    let connections = [&counters.connection_created, &counters.connection_failed];
    assert_eq!(connections.map(millpond_flow::metrics::Counter::get), [2, 1]);
}

#[tokio::test]
async fn what_hbase_will_never_take_is_refused_and_the_rest_is_written_once() {
    let gateway = gateway();
    let mut sink = sink(&gateway, &[]);
    let large: &'static str = "x".repeat(1_100_000).leak();
    let error = deliver(&mut *sink, &["a", large, "b"]).await.unwrap_err();
    assert!(error.is_final() && error.to_string().contains("exceeds limit of"), "{error}");
    // As the flow does it: one by one, and the refused one leaves for the dead letters.
    deliver(&mut *sink, &["a"]).await.unwrap();
    assert!(deliver(&mut *sink, &[large]).await.unwrap_err().is_refusal());
    deliver(&mut *sink, &["b"]).await.unwrap();
    assert_eq!((bodies(&gateway), counted(&gateway)), (vec!["a".to_owned(), "b".to_owned()], 2));
    gateway.script(&[GatewayAction::HangsUp]);
    let error = deliver(&mut *sink, &[large]).await.unwrap_err();
    assert!(error.is_refusal() && error.to_string().contains("max_frame_size"), "{error}");
    gateway.tables().tables.get_mut("t").unwrap().clear();
    let error = deliver(&mut *sink, &["c"]).await.unwrap_err();
    assert!(error.is_refusal() && error.to_string().contains("alter 't', 'f'"), "{error}");
}

#[tokio::test]
async fn a_body_that_does_not_match_is_counted_or_goes_to_the_dead_letters() {
    let gateway = gateway();
    let mut sink = sink(&gateway, &[REGEX, ("serializer.regex", "(\\d+)")]);
    let mut context = context();
    deliver_in(&context, &mut *sink, &["1", "x", "2"]).await.unwrap();
    deliver_in(&context, &mut *sink, &["y"]).await.unwrap();
    assert_eq!(bodies(&gateway), ["1", "2"]);
    assert_eq!(context.counters.drops.get(DropReason::Unmatched), 2);
    context.gives_up = true;
    let error = deliver_in(&context, &mut *sink, &["3", "x"]).await.unwrap_err();
    assert!(error.is_final() && error.to_string().contains("serializer.regex"), "{error}");
    assert_eq!(bodies(&gateway), ["1", "2"], "it is found before anything is sent");
    assert_eq!(context.counters.drops.get(DropReason::Unmatched), 2);
}

#[tokio::test]
async fn a_large_batch_is_split_into_several_calls() {
    let gateway = gateway();
    let mut sink = sink(&gateway, &[("serializer.incrementColumn", "")]);
    let part: &'static str = "x".repeat(400_000).leak();
    deliver(&mut *sink, &[part; 5]).await.unwrap();
    assert_eq!((bodies(&gateway).len(), numbers(&gateway)), (5, (3, 0)));
}

#[test]
fn settings_say_what_to_set() {
    let build = |pairs: &[(&str, &str)]| {
        let settings = Settings::from_pairs("k1", pairs);
        let mut reader = SettingsReader::new(&settings);
        let error = hbase_sink(&mut reader).err().map(|error| error.to_string());
        (error.unwrap_or_default(), reader.into_findings())
    };
    let base = [("table", "ns:t-1"), ("columnFamily", "f"), ("thrift.hosts", "h1,h2:1 [::1]:9")];
    assert_eq!(build(&base), (String::new(), Vec::new()));
    let old = [("table", "t"), ("columnFamily", "f"), ("zookeeperQuorum", "z:2181")];
    let (error, _) = build(&old);
    for words in ["thrift.hosts", "hbase thrift2 start", "HOST:9090", "zookeeperQuorum"] {
        assert!(error.contains(words), "{error}");
    }
    for (key, value, words) in [
        ("table", "t/", "not a name of a table"),
        ("table", "", "required"),
        ("columnFamily", "a:b", "column family"),
        ("thrift.hosts", "h:x", "HOST:PORT"),
        ("thrift.hosts", "h:0", "HOST:PORT"),
        ("thrift.hosts", "http://h:9090", "HOST:PORT"),
        ("thrift.protocol", "json", "binary, compact"),
        ("thrift.framed", "yes", "true or false"),
        ("enableWal", "yes", "true or false"),
        ("batchSize", "0", "1 to 1000000"),
    ] {
        let mut pairs: Vec<_> = base.into_iter().filter(|(known, _)| *known != key).collect();
        pairs.push((key, value));
        let (error, _) = build(&pairs);
        assert!(error.contains(words), "{key} = {value}: {error}");
    }
    for more in [
        ("type", "asynchbase"),
        ("zookeeperQuorum", "z:2181"),
        ("kerberosPrincipal", "p"),
        ("enableWal", "false"),
        ("async.x", "1"),
    ] {
        let (error, findings) = build(&[&base[..], &[more]].concat());
        assert_eq!((error.as_str(), findings.len()), ("", 1), "{more:?}");
    }
}

/// With a framed gateway of a real HBase that has the table `t` with the column family `f`; `.ci/hbase` tests whole
/// agents.
#[tokio::test]
async fn real_hbase_takes_rows_and_increments_and_refuses_what_it_must() {
    let Ok(address) = std::env::var("MILLPOND_HBASE") else {
        println!("left out real_hbase: .ci/hbase starts one");
        return;
    };
    let keys = [("thrift.framed", "true"), ("coalesceIncrements", "true")];
    let mut sink = sink_of(&address, &keys);
    deliver(&mut *sink, &["a", "größer"]).await.unwrap();
    let large: &'static str = "x".repeat(3_000_000).leak();
    let error = deliver(&mut *sink, &["b", large]).await.unwrap_err();
    assert!(error.is_refusal() && error.to_string().contains("max_frame_size"), "{error}");
    deliver(&mut *sink, &["b"]).await.unwrap();
    let mut other = sink_of(&address, &[("thrift.framed", "true"), ("table", "no-such")]);
    let error = deliver(&mut *other, &["a"]).await.unwrap_err();
    assert!(error.to_string().contains("does not exist; create it"), "{error}");
    let mut other = sink_of(&address, &[("thrift.framed", "true"), ("columnFamily", "none")]);
    let error = deliver(&mut *other, &["a"]).await.unwrap_err();
    assert!(error.is_refusal() && error.to_string().contains("no column family none"), "{error}");
    let mut other = sink_of(&address, &[("timeout", "2000")]);
    let error = deliver(&mut *other, &["a"]).await.unwrap_err();
    assert!(error.to_string().contains("thrift.framed"), "{error}");
}
