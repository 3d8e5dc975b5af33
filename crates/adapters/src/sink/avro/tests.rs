use super::*;
use crate::sink::rpc::pieces;
use crate::sink::rpc::sink::CALL_BYTES;
use crate::sink::test_support::{build, context};
use crate::wire::avro::call::{AvroCall, AvroReply, MeasuredCall};
use crate::wire::avro::frame::{self, AvroFramer};
use crate::wire::avro::handshake::{HandshakeRequest, HandshakeResponse};
use crate::wire::avro::values::AvroReader;
use bytes::BytesMut;
use millpond_flow::sink::Sink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// The behaviour of a server for one call.
#[derive(Clone, Debug)]
enum AvroServerAction {
    Answers(AvroReply),
    /// Reads and sends nothing.
    Nothing,
    /// A part of a reply, then nothing.
    Half,
    /// Closes the connection instead of a reply.
    HangsUp,
    /// Bytes that are not a reply.
    Garbage,
    /// Replies, then closes.
    AnswersAndHangsUp,
}

#[derive(Clone, Default)]
struct SeenAvroCalls(Arc<Mutex<(usize, Vec<Vec<String>>)>>);

/// Runs a server that follows the script call by call, then replies OK.
async fn server(acts: Vec<AvroServerAction>) -> (u16, SeenAvroCalls) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, acts) = (SeenAvroCalls::default(), Arc::new(Mutex::new(acts.into_iter())));
    let known = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            known.0.lock().unwrap().0 += 1;
            let next = Arc::clone(&acts);
            let next = move || {
                next.lock().unwrap().next().unwrap_or(AvroServerAction::Answers(AvroReply::Ok))
            };
            tokio::spawn(session(stream, known.clone(), next));
        }
    });
    (port, seen)
}

async fn session(
    mut stream: TcpStream,
    seen: SeenAvroCalls,
    next: impl Fn() -> AvroServerAction,
) -> Option<()> {
    let (mut frames, mut input, mut first) = (AvroFramer::new(), BytesMut::new(), true);
    loop {
        let frame = loop {
            if let Some(frame) = frames.next(&mut input).unwrap() {
                break frame;
            }
            if stream.read_buf(&mut input).await.ok()? == 0 {
                return None;
            }
        };
        let mut values = AvroReader::new(&frame.message);
        let mut out = frame::begin();
        if std::mem::take(&mut first) {
            let request = HandshakeRequest::decode(&mut values).unwrap();
            HandshakeResponse::to(&request, true).encode(&mut out);
        }
        let AvroCall::AppendBatch(events) =
            MeasuredCall::new(values.rest()).unwrap().decode().unwrap()
        else {
            panic!("a sink sends batches");
        };
        let bodies = events.iter().map(|e| String::from_utf8_lossy(&e.body).into_owned());
        seen.0.lock().unwrap().1.push(bodies.collect());
        let does = next();
        let answer = match &does {
            AvroServerAction::Answers(answer) => answer.clone(),
            _ => AvroReply::Ok,
        };
        answer.encode(&mut out);
        frame::finish(&mut out, frame.serial);
        match does {
            AvroServerAction::Answers(_) => stream.write_all(&out).await.ok()?,
            AvroServerAction::AnswersAndHangsUp => return stream.write_all(&out).await.ok(),
            AvroServerAction::Nothing => std::future::pending().await,
            AvroServerAction::Half => {
                stream.write_all(&out[..out.len() / 2]).await.ok()?;
                std::future::pending::<()>().await;
            }
            AvroServerAction::HangsUp => return None,
            AvroServerAction::Garbage => stream.write_all(&[0xFF; 64]).await.ok()?,
        }
    }
}

fn sink(port: u16, more: &[(&str, &str)]) -> Box<dyn Sink> {
    let port = port.to_string();
    let mut pairs = vec![("hostname", "127.0.0.1"), ("port", &port), ("request-timeout", "1000")];
    pairs.extend(more);
    build(&TYPE, &pairs).unwrap()
}

fn events(bodies: &[&str]) -> Vec<Event> {
    bodies.iter().map(|body| Event::new(body.to_string())).collect()
}

#[tokio::test]
async fn a_call_is_not_complete_before_the_batch_before_it_is_acknowledged() {
    let (port, seen) = server(Vec::new()).await;
    let (mut sink, context) = (sink(port, &[]), context());
    sink.start(&context).await.unwrap();
    let calls = || seen.0.lock().unwrap().1.len();
    let (allow, allowed) = tokio::sync::oneshot::channel::<bool>();
    let (batch, arrived) = (events(&["1"]), AtomicBool::new(false));
    let deliver = async {
        let earlier = Box::pin(async { allowed.await.unwrap() });
        sink.deliver_pipelined(&context, &batch, earlier).await.unwrap();
    };
    let acknowledge = async {
        // Longer than the server may take to reply.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        arrived.store(calls() > 0, Ordering::SeqCst);
        allow.send(true).unwrap();
    };
    tokio::join!(deliver, acknowledge);
    assert!(!arrived.load(Ordering::SeqCst), "a crash would repeat two batches");
    assert_eq!(calls(), 1);
    let never = Box::pin(async { false });
    let error = sink.deliver_pipelined(&context, &events(&["2"]), never).await.unwrap_err();
    assert!(error.to_string().contains("not acknowledged"), "{error}");
    sink.deliver(&context, &events(&["3"])).await.unwrap();
    assert_eq!(*seen.0.lock().unwrap(), (2, vec![vec!["1".to_owned()], vec!["3".to_owned()]]));
}

#[tokio::test]
async fn a_batch_is_one_call_and_the_connection_stays() {
    let (port, seen) = server(Vec::new()).await;
    let (mut sink, context) = (sink(port, &[]), context());
    sink.start(&context).await.unwrap();
    sink.deliver(&context, &events(&["1", "2"])).await.unwrap();
    sink.deliver(&context, &events(&["3"])).await.unwrap();
    sink.stop(&context).await.unwrap();
    assert_eq!(
        seen.0.lock().unwrap().clone(),
        (1, vec![vec!["1".into(), "2".into()], vec!["3".into()]])
    );
    let counters = &context.counters;
    assert_eq!((counters.connection_created.get(), counters.connection_closed.get()), (1, 1));
}

#[tokio::test]
async fn every_missing_reply_fails_the_batch_in_time_and_the_next_one_arrives() {
    for (does, said) in [
        (AvroServerAction::Answers(AvroReply::Failed), "FAILED"),
        (AvroServerAction::Answers(AvroReply::Unknown), "UNKNOWN"),
        (AvroServerAction::Answers(AvroReply::Error("no room".to_owned())), "no room"),
        (AvroServerAction::Nothing, "did not answer within 1000 ms"),
        (AvroServerAction::Half, "did not answer within 1000 ms"),
        (AvroServerAction::HangsUp, "closed the connection"),
        (AvroServerAction::Garbage, "not Avro RPC"),
    ] {
        let (port, seen) = server(vec![does.clone()]).await;
        let (mut sink, context) = (sink(port, &[]), context());
        let began = Instant::now();
        let error = sink.deliver(&context, &events(&["1"])).await.unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("127.0.0.1"), "{does:?}: {error}");
        assert!(began.elapsed() < Duration::from_secs(30));
        sink.deliver(&context, &events(&["1"])).await.unwrap();
        let (connections, calls) = seen.0.lock().unwrap().clone();
        assert_eq!((connections, calls.len()), (2, 2), "{does:?}");
    }
}

#[tokio::test]
async fn only_an_error_about_the_events_is_a_refusal_of_them() {
    for (words, is_refusal) in [
        ("the request has more than 10 bytes (maxRequestBytes); send smaller batches", true),
        ("the events cannot be read: there are too many headers of an event", true),
        ("org.apache.avro.AvroRemoteException: x", true),
        ("org.apache.avro.AvroRuntimeException: Malformed data. Length is negative: -1", true),
        ("java.lang.OutOfMemoryError: Java heap space", false),
        ("org.apache.avro.AvroRuntimeException: Unknown protocol", false),
        ("org.apache.flume.ChannelException: Unable to put batch on required channel", false),
        ("", false),
    ] {
        let (port, _) =
            server(vec![AvroServerAction::Answers(AvroReply::Error(words.to_owned()))]).await;
        let (mut sink, context) = (sink(port, &[]), context());
        let error = sink.deliver(&context, &events(&["1"])).await.unwrap_err();
        assert_eq!(error.is_refusal(), is_refusal, "{error}");
        sink.deliver(&context, &events(&["1"])).await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_closed_while_idle_causes_no_failure() {
    let (port, seen) = server(vec![AvroServerAction::AnswersAndHangsUp]).await;
    let (mut sink, context) = (sink(port, &[]), context());
    sink.deliver(&context, &events(&["1"])).await.unwrap();
    // The end of the connection takes time to arrive.
    tokio::time::sleep(Duration::from_millis(300)).await;
    sink.deliver(&context, &events(&["2"])).await.unwrap();
    assert_eq!(seen.0.lock().unwrap().0, 2);
}

#[tokio::test]
async fn an_unreachable_server_does_not_prevent_a_start() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let (mut sink, context) = (sink(port, &[]), context());
    sink.start(&context).await.unwrap();
    let error = sink.deliver(&context, &events(&["1"])).await.unwrap_err().to_string();
    assert!(error.contains("cannot connect"), "{error}");
    assert_eq!(context.counters.connection_failed.get(), 2);
}

#[tokio::test]
async fn a_connection_is_reopened_after_its_interval() {
    let (port, seen) = server(Vec::new()).await;
    let (mut sink, context) = (sink(port, &[("reset-connection-interval", "1")]), context());
    sink.deliver(&context, &events(&["1"])).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    sink.deliver(&context, &events(&["2"])).await.unwrap();
    assert_eq!(seen.0.lock().unwrap().0, 2);
}

#[test]
fn a_batch_of_many_bytes_is_sent_in_several_calls() {
    let large = Event::new(vec![b'x'; CALL_BYTES / 2]);
    let batch = vec![large.clone(), Event::new("a"), large.clone(), large];
    let sizes: Vec<usize> = pieces(&batch, CALL_BYTES).iter().map(|call| call.len()).collect();
    assert_eq!(sizes, [2, 1, 1]);
    let small = events(&["a", "b"]);
    assert_eq!(pieces(&small, CALL_BYTES), [&small[..]]);
}

#[test]
fn unsupported_settings_are_refused_and_small_numbers_corrected() {
    let with = |more: (&'static str, &'static str)| {
        build(&TYPE, &[("hostname", "h"), ("port", "1"), more]).err().map(|e| e.to_string())
    };
    assert!(with(("ssl", "yes")).unwrap().contains("true or false"));
    assert_eq!(with(("ssl", "true")), None);
    assert_eq!(with(("compression-type", "deflate")), None);
    assert!(with(("compression-type", "gzip")).unwrap().contains("none, deflate"));
    assert!(with(("compression-level", "10")).is_some());
    let warned = |more: &[(&str, &str)]| {
        let pairs =
            [&[("hostname", "h"), ("port", "1"), ("compression-level", "9")], more].concat();
        let settings = millpond_flow::settings::Settings::from_pairs("k1", &pairs);
        let mut reader = SettingsReader::new(&settings);
        (TYPE.build)(&mut reader).unwrap();
        reader.into_findings().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let said = warned(&[]);
    assert!(said.len() == 1 && said[0].contains("without compression-type = deflate"), "{said:?}");
    assert!(warned(&[("compression-type", "deflate")]).is_empty());
    assert_eq!(with(("batch-size", "0")), None);
    assert_eq!(
        build(&TYPE, &[("hostname", "h"), ("port", "1"), ("batch-size", "x")])
            .unwrap()
            .batch_events(),
        100
    );
    assert!(build(&TYPE, &[("hostname", "h")]).is_err());
    assert!(build(&TYPE, &[("port", "1")]).is_err());
}
