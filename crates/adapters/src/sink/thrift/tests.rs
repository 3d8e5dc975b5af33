//! Tests of real sockets with scripted servers.

use super::*;
use crate::sink::test_support::{build as build_sink, context};
use crate::wire::thrift::call::{FAILED, OK, ThriftCall, ThriftMessage, ThriftService, put_status};
use crate::wire::thrift::frame;
use bytes::BytesMut;
use millpond_flow::sink::Sink;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The behaviour of a server for one call.
#[derive(Clone, Copy, Debug)]
enum ThriftServerAction {
    Status(i32),
    Nothing,
    Half,
    HangsUp,
    Garbage,
    OtherSequence,
}

#[derive(Clone, Default)]
struct SeenThriftCalls(Arc<Mutex<(usize, Vec<usize>)>>);

async fn server(protocol: ThriftProtocol, acts: Vec<ThriftServerAction>) -> (u16, SeenThriftCalls) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, acts) = (SeenThriftCalls::default(), Arc::new(Mutex::new(acts.into_iter())));
    let known = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            known.0.lock().unwrap().0 += 1;
            tokio::spawn(session(stream, protocol, known.clone(), Arc::clone(&acts)));
        }
    });
    (port, seen)
}

async fn session(
    mut stream: TcpStream,
    protocol: ThriftProtocol,
    seen: SeenThriftCalls,
    acts: Arc<Mutex<std::vec::IntoIter<ThriftServerAction>>>,
) -> Option<()> {
    let mut input = BytesMut::new();
    loop {
        let frame = loop {
            if let Some(frame) = frame::next(&mut input, 1 << 30).unwrap() {
                break frame;
            }
            if stream.read_buf(&mut input).await.ok()? == 0 {
                return None;
            }
        };
        let message = ThriftMessage::new(protocol, &frame).unwrap();
        let mut head = message.head.clone();
        let Ok(ThriftCall::AppendBatch(events)) = message.call(ThriftService::Flume) else {
            return None;
        };
        seen.0.lock().unwrap().1.push(events.len());
        let act = acts.lock().unwrap().next().unwrap_or(ThriftServerAction::Status(OK));
        let mut out = frame::begin();
        if matches!(act, ThriftServerAction::OtherSequence) {
            head.sequence += 1;
        }
        let status = if let ThriftServerAction::Status(status) = act { status } else { OK };
        put_status(&mut out, protocol, &head, status, false);
        frame::finish(&mut out);
        match act {
            ThriftServerAction::Status(_) | ThriftServerAction::OtherSequence => {
                stream.write_all(&out).await.ok()?;
            }
            ThriftServerAction::Half => stream.write_all(&out[..9]).await.ok()?,
            ThriftServerAction::Garbage => stream.write_all(b"\0\0\0\x02zz").await.ok()?,
            ThriftServerAction::Nothing => {}
            ThriftServerAction::HangsUp => return None,
        }
    }
}

fn sink(port: u16, pairs: &[(&str, &str)]) -> Box<dyn Sink> {
    let port = port.to_string();
    let mut all = vec![("hostname", "127.0.0.1"), ("port", port.as_str())];
    all.extend(pairs);
    build_sink(&TYPE, &all).unwrap()
}

async fn deliver(sink: &mut dyn Sink, bodies: &[&'static str]) -> Result<(), String> {
    let events: Vec<Event> = bodies.iter().map(|body| Event::new(*body)).collect();
    sink.deliver(&context(), &events).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn batches_use_one_connection_which_the_reply_failed_does_not_end() {
    for (protocol, name) in
        [(ThriftProtocol::Compact, "compact"), (ThriftProtocol::Binary, "binary")]
    {
        let acts = vec![
            ThriftServerAction::Status(OK),
            ThriftServerAction::Status(FAILED),
            ThriftServerAction::Status(OK),
            ThriftServerAction::Status(2),
        ];
        let (port, seen) = server(protocol, acts).await;
        let mut sink = sink(port, &[("protocol", name)]);
        deliver(&mut *sink, &["a", "b"]).await.unwrap();
        let error = deliver(&mut *sink, &["c"]).await.unwrap_err();
        assert!(error.contains("FAILED"), "{error}");
        deliver(&mut *sink, &["c"]).await.unwrap();
        assert_eq!(*seen.0.lock().unwrap(), (1, vec![2, 1, 1]));
        let error = deliver(&mut *sink, &["d"]).await.unwrap_err();
        assert!(error.contains("status 2"), "{error}");
        deliver(&mut *sink, &["d"]).await.unwrap();
        assert_eq!(seen.0.lock().unwrap().0, 2);
    }
}

#[tokio::test]
async fn every_missing_reply_fails_the_batch_in_time_and_the_next_one_arrives() {
    for (act, words) in [
        (ThriftServerAction::Nothing, "did not answer within 1000 ms"),
        (ThriftServerAction::Half, "did not answer within 1000 ms"),
        (ThriftServerAction::HangsUp, "closed the connection"),
        (ThriftServerAction::Garbage, "cannot be read"),
        (ThriftServerAction::OtherSequence, "another call"),
    ] {
        let (port, seen) = server(ThriftProtocol::Compact, vec![act]).await;
        let mut sink = sink(port, &[("request-timeout", "1000")]);
        let error = deliver(&mut *sink, &["a"]).await.unwrap_err();
        assert!(error.contains(words), "{act:?}: {error}");
        deliver(&mut *sink, &["a"]).await.unwrap();
        assert_eq!(seen.0.lock().unwrap().0, 2, "{act:?}");
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = deliver(&mut *sink(closed, &[]), &["a"]).await.unwrap_err();
    assert!(error.contains("cannot connect"), "{error}");
}

#[test]
fn unsupported_settings_are_refused_and_small_numbers_corrected() {
    let with = |more: (&'static str, &'static str)| {
        build_sink(&TYPE, &[("hostname", "h"), ("port", "1"), more]).err().map(|e| e.to_string())
    };
    assert!(with(("kerberos", "true")).unwrap().contains("Kerberos"));
    assert!(with(("ssl", "yes")).unwrap().contains("true or false"));
    assert_eq!(with(("batch-size", "0")), None);
    assert_eq!(with(("protocol", "Binary")), None);
    assert!(build_sink(&TYPE, &[("port", "1")]).is_err());
}
