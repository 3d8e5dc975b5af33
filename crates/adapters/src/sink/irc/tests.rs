//! Tests of real sockets with a scripted server.

use super::*;
use crate::sink::test_support::context;
use millpond_flow::base::limits::IRC_LINES_TOGETHER;
use millpond_flow::settings::Settings;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// The behaviour of a server on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IrcServerAction {
    Well,
    /// Sends pings before the welcome and between messages, and checks the replies.
    Asks,
    /// So many nicknames are taken.
    Taken(usize),
    RejectsLogin,
    /// The channel requires an invitation.
    Invites,
    /// Accepts the connection and sends nothing.
    Nothing,
    /// Closes at the first message to the channel.
    HangsUp,
    /// Refuses messages to the channel.
    Moderates,
    /// Kicks the client at its first message.
    Kicks,
    Errors,
    /// Receives a message and sends nothing more.
    GoesSilent,
    Endless,
}

/// The lines received on all connections.
#[derive(Clone, Default)]
struct SeenLines(Arc<Mutex<Vec<String>>>);

impl SeenLines {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Returns the messages to the channel.
    fn said(&self) -> Vec<String> {
        let said = |line: &String| Some(line.strip_prefix("PRIVMSG #logs :")?.to_owned());
        self.lines().iter().filter_map(said).collect()
    }
}

async fn server(acts: Vec<IrcServerAction>) -> (u16, SeenLines) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = SeenLines::default();
    let known = seen.clone();
    tokio::spawn(async move {
        let mut acts = acts.into_iter();
        while let Ok((stream, _)) = listener.accept().await {
            let act = acts.next().unwrap_or(IrcServerAction::Well);
            tokio::spawn(session(stream, act, known.clone()));
        }
    });
    (port, seen)
}

async fn tell(out: &mut OwnedWriteHalf, line: &str) {
    let _ = out.write_all(format!("{line}\r\n").as_bytes()).await;
}

async fn session(stream: TcpStream, act: IrcServerAction, seen: SeenLines) {
    let (reader, mut out) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    let (mut nicks, mut nick, mut welcome) = (0, String::new(), false);
    while let Ok(Some(line)) = lines.next_line().await {
        seen.0.lock().unwrap().push(line.clone());
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match (word, act) {
            (_, IrcServerAction::Nothing) => {}
            (_, IrcServerAction::Endless) => out.write_all(&[b'x'; 20_000]).await.unwrap_or(()),
            ("NICK", IrcServerAction::Taken(taken)) if nicks < taken => {
                nicks += 1;
                tell(&mut out, &format!(":s 433 * {rest} :in use")).await;
            }
            ("USER", IrcServerAction::RejectsLogin) => {
                tell(&mut out, ":s 464 * :Password incorrect").await;
            }
            ("NICK", IrcServerAction::Asks) => {
                nick = rest.to_owned();
                tell(&mut out, "PING :cookie").await;
            }
            ("PONG", IrcServerAction::Asks) if rest == ":cookie" && !welcome => {
                welcome = true;
                tell(&mut out, &format!(":s 001 {nick} :Welcome")).await;
            }
            ("NICK", _) => nick = rest.to_owned(),
            ("USER", IrcServerAction::Asks) => {}
            ("JOIN", IrcServerAction::Invites) => {
                tell(&mut out, ":s 473 me #logs :Invite only").await;
            }
            ("JOIN", _) => {
                tell(&mut out, &format!(":{nick}!u@h JOIN {rest}")).await;
                tell(&mut out, &format!(":s 366 {nick} {rest} :End of /NAMES list")).await;
            }
            ("PRIVMSG", IrcServerAction::HangsUp) => return,
            ("PRIVMSG", IrcServerAction::Moderates) => {
                tell(&mut out, ":s 404 me #logs :Cannot send").await;
            }
            ("PRIVMSG", IrcServerAction::Kicks) => tell(&mut out, ":op KICK #logs pond :out").await,
            ("PRIVMSG", IrcServerAction::Errors) => {
                tell(&mut out, "ERROR :Closing link: flood").await;
            }
            ("PRIVMSG", IrcServerAction::Asks) => tell(&mut out, "PING :between").await,
            ("PING", IrcServerAction::GoesSilent) => {}
            ("PING", _) => tell(&mut out, &format!(":s PONG s {rest}")).await,
            _ => {}
        }
        let is_welcome = !nick.is_empty() && !welcome;
        if is_welcome && matches!(word, "USER" | "NICK") && act != IrcServerAction::Nothing {
            let all = seen.lines();
            if all.iter().any(|line| line.starts_with("USER")) && is_open(act) {
                welcome = true;
                tell(&mut out, &format!(":s 001 {nick} :Welcome")).await;
            }
        }
    }
}

/// Returns whether registration is enough to be welcomed.
fn is_open(act: IrcServerAction) -> bool {
    !matches!(
        act,
        IrcServerAction::Asks
            | IrcServerAction::RejectsLogin
            | IrcServerAction::Nothing
            | IrcServerAction::Endless
    )
}

fn try_sink(port: u16, more: &[(&str, &str)]) -> Result<IrcSink, SettingError> {
    let port = port.to_string();
    let mut pairs =
        vec![("hostname", "127.0.0.1"), ("port", &port), ("nick", "pond"), ("chan", "logs")];
    pairs.retain(|(key, _)| more.iter().all(|(other, _)| other != key));
    pairs.extend(more.iter().filter(|(_, value)| !value.is_empty()));
    build(&mut SettingsReader::new(&Settings::from_pairs("k1", &pairs)))
}

const TIMEOUT: Duration = Duration::from_secs(20);

/// Returns a sink with timeouts that suit a busy machine.
fn sink(port: u16, more: &[(&str, &str)]) -> IrcSink {
    let mut sink = try_sink(port, more).unwrap();
    sink.timeouts.welcome = TIMEOUT;
    sink.timeouts.answer = TIMEOUT;
    sink.timeouts.pace = Duration::ZERO;
    sink.pause_max = Duration::from_millis(2);
    sink
}

fn event(body: impl Into<bytes::Bytes>) -> [Event; 1] {
    [Event::new(body)]
}

fn cause(failure: &Failure) -> String {
    std::error::Error::source(failure).map(ToString::to_string).unwrap_or_default()
}

#[tokio::test]
async fn many_lines_of_one_event_are_sent_at_a_limited_pace() {
    assert_eq!(try_sink(6667, &[]).unwrap().timeouts.pace, Duration::from_secs(2));
    let (port, seen) = server(vec![]).await;
    let mut sink = sink(port, &[("splitlines", "true")]);
    let context = context();
    // Lines sent at once need no pace, however slow it is.
    sink.timeouts.pace = TIMEOUT * 1000;
    sink.deliver(&context, &event("x\n".repeat(IRC_LINES_TOGETHER))).await.unwrap();
    assert_eq!(seen.said().len(), IRC_LINES_TOGETHER);
    let more = event("y\n".repeat(IRC_LINES_TOGETHER + 1));
    let waits = sink.deliver(&context, &more);
    let some = async {
        while seen.said().len() < 2 * IRC_LINES_TOGETHER {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    tokio::select! {
        _ = waits => panic!("it did not wait"),
        () = some => {}
    }
    assert_eq!(seen.said().len(), 2 * IRC_LINES_TOGETHER, "the last line waits");
}

#[tokio::test]
async fn an_event_is_in_the_irc_channel_before_it_is_acknowledged() {
    let (port, seen) = server(vec![]).await;
    let mut sink = sink(port, &[("password", "s e"), ("user", "u"), ("name", "A Pond")]);
    let context = context();
    sink.start(&context).await.unwrap();
    for body in ["one", "größer", ":with a colon"] {
        sink.deliver(&context, &event(body)).await.unwrap();
        assert_eq!(seen.said().last().unwrap(), body);
    }
    sink.stop(&context).await.unwrap();
    let lines = seen.lines();
    assert_eq!(lines[..4], ["PASS :s e", "NICK pond", "USER u 0 * :A Pond", "JOIN #logs"]);
    assert_eq!((sink.batch_events(), context.counters.connection_created.get()), (1, 1));
    assert_eq!(context.counters.connection_closed.get(), 1);
}

#[tokio::test]
async fn no_body_can_give_the_server_a_command() {
    let (port, seen) = server(vec![]).await;
    let context = context();
    let evil = "a\r\nJOIN #other\nPRIVMSG #logs :b\0c\rQUIT\r\n";
    for splits in ["false", "true"] {
        let mut sink = sink(port, &[("splitlines", splits)]);
        sink.deliver(&context, &event(evil)).await.unwrap();
    }
    // A regular expression that leaves line ends in its parts.
    let mut other = sink(port, &[("splitlines", "true"), ("splitchars", "c")]);
    other.deliver(&context, &event(evil)).await.unwrap();
    let commands: Vec<String> =
        seen.lines().iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(commands.iter().filter(|word| *word == "JOIN").count(), 3, "one of each sink");
    assert!(!commands.contains(&"QUIT".to_owned()));
    assert_eq!(
        seen.said(),
        [
            "a  JOIN #other PRIVMSG #logs :b c QUIT",
            "a",
            "JOIN #other",
            "PRIVMSG #logs :b c QUIT",
            "a  JOIN #other PRIVMSG #logs :b",
            " QUIT",
        ]
    );
}

#[tokio::test]
async fn bodies_are_split_as_configured_and_empty_parts_skipped() {
    let (port, seen) = server(vec![]).await;
    let context = context();
    let mut lines = sink(port, &[("splitlines", "true")]);
    lines.deliver(&context, &event("one\n\ntwo\r\n\n")).await.unwrap();
    let mut words = sink(port, &[("splitlines", "true"), ("splitchars", "[;,] *")]);
    words.deliver(&context, &event("a, b;;c")).await.unwrap();
    words.deliver(&context, &event("")).await.unwrap();
    words.deliver(&context, &event(&b"\xff"[..])).await.unwrap();
    assert_eq!(seen.said(), ["one", "two", "a", "b", "c", "\u{fffd}"]);
}

#[tokio::test]
async fn a_long_body_is_sent_in_lines_that_no_server_cuts() {
    let (port, seen) = server(vec![]).await;
    let context = context();
    let body = "日志".repeat(1000);
    sink(port, &[]).deliver(&context, &event(body.clone())).await.unwrap();
    assert!(seen.said().len() > 10 && seen.said().concat() == body);
    assert!(
        seen.lines().iter().all(|line| line.len() < 450),
        "there is room for the sender's prefix"
    );
}

#[tokio::test]
async fn an_event_of_too_many_lines_is_refused_and_none_is_sent() {
    let (port, seen) = server(vec![]).await;
    let context = context();
    let (mut split, mut whole) = (sink(port, &[("splitlines", "true")]), sink(port, &[]));
    let lines = "x\n".repeat(IRC_LINES_PER_EVENT_MAX + 1);
    let long = "x".repeat(IRC_LINES_PER_EVENT_MAX * 512);
    for (sink, body) in [(&mut split, lines.clone()), (&mut whole, long)] {
        let failure = sink.deliver(&context, &event(body)).await.unwrap_err();
        assert!(failure.is_final() && sink.may_refuse(), "{failure}");
        assert!(sink.connection.is_some(), "the server is not to blame");
    }
    assert!(seen.said().is_empty());
    split.deliver(&context, &event(lines[2..].to_owned())).await.unwrap();
    assert_eq!(seen.said().len(), IRC_LINES_PER_EVENT_MAX);
}

#[tokio::test]
async fn no_body_is_a_client_command() {
    let (port, seen) = server(vec![]).await;
    let context = context();
    let mut sink = sink(port, &[]);
    for body in ["\u{1}DCC SEND x 1 1 1\u{1}", "a\u{1}b", "\u{1}"] {
        sink.deliver(&context, &event(body)).await.unwrap();
    }
    assert_eq!(seen.said(), [" DCC SEND x 1 1 1", "a b"]);
}

/// One server that stalls the connection, and one that stalls the messages.
#[tokio::test]
async fn a_stop_does_not_wait_for_a_silent_server_and_drains_the_channel() {
    for act in [IrcServerAction::Nothing, IrcServerAction::GoesSilent] {
        let (port, seen) = server(vec![act]).await;
        let mut sink = try_sink(port, &[]).unwrap();
        sink.stop_max = Duration::from_millis(50);
        let (stop, signal) = millpond_flow::context::StopSignal::new();
        let context = SinkContext { stop: signal, ..context() };
        let one = event("one");
        let told = async {
            while seen.lines().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop.send_replace(true);
        };
        // Without a stop it would wait a minute.
        let both = async { tokio::join!(sink.deliver(&context, &one), told).0 };
        let failure = timeout(Duration::from_secs(30), both).await.expect("it stops").unwrap_err();
        assert!(cause(&failure).contains("stops") && !failure.is_refusal(), "{act:?}");
        assert!(sink.connection.is_none());
        // With a server that replies, the rest is sent although the stop has fired.
        sink.stop_max = Duration::from_secs(30);
        sink.deliver(&context, &one).await.unwrap();
        assert_eq!(seen.said().last().map(String::as_str), Some("one"), "{act:?}");
    }
}

#[tokio::test]
async fn pings_of_the_server_get_a_reply_at_any_time() {
    let (port, seen) = server(vec![IrcServerAction::Asks]).await;
    let (context, mut sink) = (context(), sink(port, &[]));
    sink.deliver(&context, &event("one")).await.unwrap();
    assert!(sink.next_tick().is_some());
    let answers = || seen.lines().iter().filter(|line| *line == "PONG :between").count();
    let patient = Duration::from_secs(20);
    let answered = async || {
        while answers() < 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(patient, answered()).await.unwrap();
    assert!(seen.lines().contains(&"PONG :cookie".to_owned()));
    // Nothing is delivered, and pings are still handled.
    sink.connection.as_mut().unwrap().ask_for_a_question().await;
    let idle = async {
        while answers() < 2 {
            sink.tick(&context).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(patient, idle).await.unwrap();
}

#[tokio::test]
async fn for_a_taken_nickname_alternatives_are_tried_and_then_a_pause() {
    let (port, seen) = server(vec![IrcServerAction::Taken(2), IrcServerAction::Taken(4)]).await;
    let context = context();
    sink(port, &[]).deliver(&context, &event("one")).await.unwrap();
    let nicks = |seen: &SeenLines| -> Vec<String> {
        seen.lines()
            .iter()
            .filter_map(|line| Some(line.strip_prefix("NICK ")?.to_owned()))
            .collect()
    };
    assert_eq!(nicks(&seen), ["pond", "pond_", "pond__"]);
    let mut late = sink(port, &[]);
    let failure = late.deliver(&context, &event("two")).await.unwrap_err();
    assert!(cause(&failure).contains("is taken"), "{}", cause(&failure));
    late.deliver(&context, &event("two")).await.unwrap();
    assert_eq!(seen.said(), ["one", "two"]);
}

/// Every way in which a server can fail; the event is retried and arrives.
#[tokio::test]
async fn no_event_is_acknowledged_before_it_is_in_the_irc_channel() {
    for (act, word) in [
        (IrcServerAction::RejectsLogin, "Password incorrect"),
        (IrcServerAction::Invites, "Invite only"),
        (IrcServerAction::Nothing, "said nothing for 300 ms"),
        (IrcServerAction::HangsUp, "closed"),
        (IrcServerAction::Moderates, "Cannot send"),
        (IrcServerAction::Kicks, "kicked"),
        (IrcServerAction::Errors, "flood"),
        (IrcServerAction::GoesSilent, "said nothing"),
        (IrcServerAction::Endless, "is it one of IRC"),
    ] {
        let (port, seen) = server(vec![act]).await;
        let (context, mut sink) = (context(), sink(port, &[]));
        let whole = sink.timeouts;
        if matches!(
            act,
            IrcServerAction::Nothing | IrcServerAction::GoesSilent | IrcServerAction::RejectsLogin
        ) {
            sink.timeouts.welcome = Duration::from_millis(300);
            sink.timeouts.answer = Duration::from_millis(300);
        }
        let failure = sink.deliver(&context, &event("one")).await.unwrap_err();
        sink.timeouts = whole;
        assert!(cause(&failure).contains(word), "{act:?}: {}", cause(&failure));
        assert!(!failure.is_refusal(), "{act:?}: that is not a fault of the event");
        assert!(sink.next_tick().is_none(), "{act:?}: the connection is gone");
        sink.deliver(&context, &event("one")).await.unwrap();
        assert_eq!(seen.said().last().map(String::as_str), Some("one"), "{act:?}");
    }
}

#[tokio::test]
async fn a_server_that_closes_an_idle_connection_is_noticed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (context, mut sink) = (context(), sink(port, &[]));
    let script = async {
        let (stream, _) = listener.accept().await.unwrap();
        let (reader, mut out) = stream.into_split();
        tell(&mut out, ":s 001 pond :Welcome").await;
        tell(&mut out, ":s 366 pond #logs :End").await;
        (reader, out)
    };
    let (started, halves) = tokio::join!(sink.start(&context), script);
    started.unwrap();
    assert!(sink.connection.is_some());
    drop(halves);
    let gone = timeout(Duration::from_secs(20), async {
        loop {
            if let Err(failure) = sink.tick(&context).await {
                return failure;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(cause(&gone.await.unwrap()).contains("closed"));
    assert!(sink.connection.is_none() && sink.next_tick().is_none());
}

#[tokio::test]
async fn the_pause_grows_also_where_messages_to_the_channel_are_refused() {
    let (port, _seen) = server(vec![IrcServerAction::Moderates, IrcServerAction::Moderates]).await;
    let (context, mut sink) = (context(), sink(port, &[]));
    for failures in [1, 2] {
        sink.deliver(&context, &event("one")).await.unwrap_err();
        assert_eq!(sink.failures, failures);
        // No message is made of it.
        sink.deliver(&context, &event("\n")).await.unwrap();
        assert_eq!(sink.failures, failures);
        if failures == 1 {
            continue;
        }
        sink.deliver(&context, &event("one")).await.unwrap();
        assert_eq!(sink.failures, 0);
    }
}

#[tokio::test]
async fn pauses_between_attempts_grow_at_random_and_end_at_a_stop() {
    let mut sink = try_sink(1, &[]).unwrap();
    for (failures, longest) in [(0, 1), (1, 2), (3, 8), (20, 60), (u32::MAX, 60)] {
        sink.failures = failures;
        let pauses: Vec<Duration> = (0..50).map(|_| sink.pause()).collect();
        let longest = Duration::from_secs(longest);
        assert!(pauses.iter().all(|p| *p >= longest / 2 && *p <= longest), "{failures}");
        assert!(pauses.iter().any(|p| *p != pauses[0]), "drawn by lot");
    }
    // No server listens, and the next attempt would be in half a minute or later.
    let (stop, signal) = millpond_flow::context::StopSignal::new();
    let context = SinkContext { stop: signal, ..context() };
    assert!(sink.deliver(&context, &event("one")).await.is_err());
    stop.send_replace(true);
    let one = event("one");
    let again = timeout(Duration::from_secs(20), sink.deliver(&context, &one));
    assert!(again.await.expect("it does not wait").is_err());
}

#[test]
fn settings_that_irc_cannot_carry_are_refused_by_key() {
    for (key, value) in [
        ("hostname", ""),
        ("nick", ""),
        ("nick", "a b"),
        ("nick", ":a"),
        ("chan", ""),
        ("chan", "logs,other"),
        ("user", "a\nQUIT"),
        ("name", "a\nQUIT"),
        ("password", "a\rQUIT"),
        ("port", "0"),
    ] {
        let error = try_sink(6667, &[(key, value)]).err().expect(value);
        assert_eq!(error.key, format!("k1.{key}"), "{value}");
    }
    let broken = [("splitlines", "true"), ("splitchars", "(")];
    assert_eq!(try_sink(6667, &broken).err().unwrap().key, "k1.splitchars");
    assert_eq!(try_sink(6667, &[("port", "")]).unwrap().identity.port, 6667);
}
