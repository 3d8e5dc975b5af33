//! Real sockets, and servers that do as they are told.

use super::*;
use crate::sink::trial::{build as build_sink, context};
use crate::wire::thrift::call::{Call, FAILED, Message, OK, Service, put_status};
use crate::wire::thrift::frame;
use bytes::BytesMut;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a server does with one call.
#[derive(Clone, Copy, Debug)]
enum Does {
    Status(i32),
    Nothing,
    Half,
    HangsUp,
    Garbage,
    OtherSequence,
}

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<(usize, Vec<usize>)>>);

async fn server(protocol: Protocol, acts: Vec<Does>) -> (u16, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, acts) = (Seen::default(), Arc::new(Mutex::new(acts.into_iter())));
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
    protocol: Protocol,
    seen: Seen,
    acts: Arc<Mutex<std::vec::IntoIter<Does>>>,
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
        let message = Message::new(protocol, &frame).unwrap();
        let mut head = message.head.clone();
        let Ok(Call::AppendBatch(events)) = message.call(Service::Flume) else { return None };
        seen.0.lock().unwrap().1.push(events.len());
        let act = acts.lock().unwrap().next().unwrap_or(Does::Status(OK));
        let mut out = frame::begin();
        if matches!(act, Does::OtherSequence) {
            head.sequence += 1;
        }
        let status = if let Does::Status(status) = act { status } else { OK };
        put_status(&mut out, protocol, &head, status, false);
        frame::finish(&mut out);
        match act {
            Does::Status(_) | Does::OtherSequence => stream.write_all(&out).await.ok()?,
            Does::Half => stream.write_all(&out[..9]).await.ok()?,
            Does::Garbage => stream.write_all(b"\0\0\0\x02zz").await.ok()?,
            Does::Nothing => {}
            Does::HangsUp => return None,
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
async fn batches_go_over_one_connection_which_failed_does_not_end() {
    for (protocol, name) in [(Protocol::Compact, "compact"), (Protocol::Binary, "binary")] {
        let acts = vec![Does::Status(OK), Does::Status(FAILED), Does::Status(OK), Does::Status(2)];
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
async fn every_way_not_to_answer_fails_the_batch_in_time_and_the_next_one_goes_through() {
    for (act, words) in [
        (Does::Nothing, "did not answer within 1000 ms"),
        (Does::Half, "did not answer within 1000 ms"),
        (Does::HangsUp, "closed the connection"),
        (Does::Garbage, "cannot be read"),
        (Does::OtherSequence, "another call"),
    ] {
        let (port, seen) = server(Protocol::Compact, vec![act]).await;
        let mut sink = sink(port, &[("request-timeout", "1000")]);
        let error = deliver(&mut *sink, &["a"]).await.unwrap_err();
        assert!(error.contains(words), "{act:?}: {error}");
        deliver(&mut *sink, &["a"]).await.unwrap();
        assert_eq!(seen.0.lock().unwrap().0, 2, "{act:?}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = deliver(&mut *sink(nobody, &[]), &["a"]).await.unwrap_err();
    assert!(error.contains("cannot connect"), "{error}");
}

#[test]
fn what_cannot_be_kept_is_refused_and_small_numbers_corrected() {
    let with = |more: (&'static str, &'static str)| {
        build_sink(&TYPE, &[("hostname", "h"), ("port", "1"), more]).err().map(|e| e.to_string())
    };
    assert!(with(("kerberos", "true")).unwrap().contains("Kerberos"));
    assert!(with(("ssl", "yes")).unwrap().contains("true or false"));
    assert_eq!(with(("batch-size", "0")), None);
    assert_eq!(with(("protocol", "Binary")), None);
    assert!(build_sink(&TYPE, &[("port", "1")]).is_err());
}
