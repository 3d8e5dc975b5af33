//! Real sockets, and a server that does as it is told.

use super::*;
use crate::base::limits::IRC_LINES_TOGETHER;
use crate::config::settings::Settings;
use crate::sink::trial::context;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// What a server does with one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Well,
    /// Asks before it lets in, and between what is said, and looks that it is answered.
    Asks,
    /// So many nicknames are taken.
    Taken(usize),
    LetsNobodyIn,
    /// The channel is by invitation.
    Invites,
    /// Accepts the connection and says nothing.
    Nothing,
    /// Closes when it is first told something to the channel.
    HangsUp,
    /// Says that nothing may be said in the channel.
    Moderates,
    /// Throws the client out when it is first told something.
    Kicks,
    Errors,
    /// Is told something and answers no more.
    GoesSilent,
    Endless,
}

/// What all connections have said.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// What was said in the channel.
    fn said(&self) -> Vec<String> {
        let said = |line: &String| Some(line.strip_prefix("PRIVMSG #logs :")?.to_owned());
        self.lines().iter().filter_map(said).collect()
    }
}

async fn server(acts: Vec<Does>) -> (u16, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Seen::default();
    let known = seen.clone();
    tokio::spawn(async move {
        let mut acts = acts.into_iter();
        while let Ok((stream, _)) = listener.accept().await {
            let act = acts.next().unwrap_or(Does::Well);
            tokio::spawn(session(stream, act, known.clone()));
        }
    });
    (port, seen)
}

async fn tell(out: &mut OwnedWriteHalf, line: &str) {
    let _ = out.write_all(format!("{line}\r\n").as_bytes()).await;
}

async fn session(stream: TcpStream, act: Does, seen: Seen) {
    let (reader, mut out) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    let (mut nicks, mut nick, mut welcome) = (0, String::new(), false);
    while let Ok(Some(line)) = lines.next_line().await {
        seen.0.lock().unwrap().push(line.clone());
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match (word, act) {
            (_, Does::Nothing) => {}
            (_, Does::Endless) => out.write_all(&[b'x'; 20_000]).await.unwrap_or(()),
            ("NICK", Does::Taken(taken)) if nicks < taken => {
                nicks += 1;
                tell(&mut out, &format!(":s 433 * {rest} :in use")).await;
            }
            ("USER", Does::LetsNobodyIn) => tell(&mut out, ":s 464 * :Password incorrect").await,
            ("NICK", Does::Asks) => {
                nick = rest.to_owned();
                tell(&mut out, "PING :cookie").await;
            }
            ("PONG", Does::Asks) if rest == ":cookie" && !welcome => {
                welcome = true;
                tell(&mut out, &format!(":s 001 {nick} :Welcome")).await;
            }
            ("NICK", _) => nick = rest.to_owned(),
            ("USER", Does::Asks) => {}
            ("JOIN", Does::Invites) => tell(&mut out, ":s 473 me #logs :Invite only").await,
            ("JOIN", _) => {
                tell(&mut out, &format!(":{nick}!u@h JOIN {rest}")).await;
                tell(&mut out, &format!(":s 366 {nick} {rest} :End of /NAMES list")).await;
            }
            ("PRIVMSG", Does::HangsUp) => return,
            ("PRIVMSG", Does::Moderates) => {
                tell(&mut out, ":s 404 me #logs :Cannot send").await;
            }
            ("PRIVMSG", Does::Kicks) => tell(&mut out, ":op KICK #logs pond :out").await,
            ("PRIVMSG", Does::Errors) => tell(&mut out, "ERROR :Closing link: flood").await,
            ("PRIVMSG", Does::Asks) => tell(&mut out, "PING :between").await,
            ("PING", Does::GoesSilent) => {}
            ("PING", _) => tell(&mut out, &format!(":s PONG s {rest}")).await,
            _ => {}
        }
        let is_welcome = !nick.is_empty() && !welcome;
        if is_welcome && matches!(word, "USER" | "NICK") && act != Does::Nothing {
            let all = seen.lines();
            if all.iter().any(|line| line.starts_with("USER")) && is_open(act) {
                welcome = true;
                tell(&mut out, &format!(":s 001 {nick} :Welcome")).await;
            }
        }
    }
}

/// Whether a registration is enough to be let in.
fn is_open(act: Does) -> bool {
    !matches!(act, Does::Asks | Does::LetsNobodyIn | Does::Nothing | Does::Endless)
}

fn try_sink(port: u16, more: &[(&str, &str)]) -> Result<Irc, SettingError> {
    let port = port.to_string();
    let mut pairs =
        vec![("hostname", "127.0.0.1"), ("port", &port), ("nick", "pond"), ("chan", "logs")];
    pairs.retain(|(key, _)| more.iter().all(|(other, _)| other != key));
    pairs.extend(more.iter().filter(|(_, value)| !value.is_empty()));
    build(&mut SettingsReader::new(&Settings::from_pairs("k1", &pairs)))
}

const PATIENCE: Duration = Duration::from_secs(20);

/// A sink that waits as long as a busy machine may take.
fn sink(port: u16, more: &[(&str, &str)]) -> Irc {
    let mut sink = try_sink(port, more).unwrap();
    sink.patience.welcome = PATIENCE;
    sink.patience.answer = PATIENCE;
    sink.patience.pace = Duration::ZERO;
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
async fn many_lines_of_one_event_are_said_at_a_pace_that_nobody_is_thrown_out_for() {
    assert_eq!(try_sink(6667, &[]).unwrap().patience.pace, Duration::from_secs(2));
    let (port, seen) = server(vec![]).await;
    let mut sink = sink(port, &[("splitlines", "true")]);
    let context = context();
    // What goes at once needs no pace, however slow that is.
    sink.patience.pace = PATIENCE * 1000;
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
async fn an_event_is_said_in_the_channel_before_it_is_acknowledged() {
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
async fn bodies_are_split_where_the_configuration_says_and_empty_parts_left_out() {
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
async fn a_long_body_goes_in_lines_that_no_server_cuts() {
    let (port, seen) = server(vec![]).await;
    let context = context();
    let body = "日志".repeat(1000);
    sink(port, &[]).deliver(&context, &event(body.clone())).await.unwrap();
    assert!(seen.said().len() > 10 && seen.said().concat() == body);
    assert!(seen.lines().iter().all(|line| line.len() < 450), "there is room for who says it");
}

#[tokio::test]
async fn an_event_of_too_many_lines_is_refused_and_nothing_of_it_said() {
    let (port, seen) = server(vec![]).await;
    let context = context();
    let (mut split, mut whole) = (sink(port, &[("splitlines", "true")]), sink(port, &[]));
    let lines = "x\n".repeat(IRC_LINES_PER_EVENT_MAX + 1);
    let long = "x".repeat(IRC_LINES_PER_EVENT_MAX * 512);
    for (sink, body) in [(&mut split, lines.clone()), (&mut whole, long)] {
        let failure = sink.deliver(&context, &event(body)).await.unwrap_err();
        assert!(failure.is_refusal() && sink.may_refuse(), "{failure}");
        assert!(sink.connection.is_some(), "the server is not to blame");
    }
    assert!(seen.said().is_empty());
    split.deliver(&context, &event(lines[2..].to_owned())).await.unwrap();
    assert_eq!(seen.said().len(), IRC_LINES_PER_EVENT_MAX);
}

#[tokio::test]
async fn no_body_is_a_command_to_those_who_listen() {
    let (port, seen) = server(vec![]).await;
    let context = context();
    let mut sink = sink(port, &[]);
    for body in ["\u{1}DCC SEND x 1 1 1\u{1}", "a\u{1}b", "\u{1}"] {
        sink.deliver(&context, &event(body)).await.unwrap();
    }
    assert_eq!(seen.said(), [" DCC SEND x 1 1 1", "a b"]);
}

/// A server that holds up the connection, and one that holds up what is said.
#[tokio::test]
async fn a_stop_waits_for_no_server_that_says_nothing_and_still_empties_the_channel() {
    for act in [Does::Nothing, Does::GoesSilent] {
        let (port, seen) = server(vec![act]).await;
        let mut sink = try_sink(port, &[]).unwrap();
        sink.stop_max = Duration::from_millis(50);
        let (stop, signal) = crate::flow::context::StopSignal::new();
        let context = SinkContext { stop: signal, ..context() };
        let one = event("one");
        let told = async {
            while seen.lines().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop.send_replace(true);
        };
        // A minute is what it would wait without a stop.
        let both = async { tokio::join!(sink.deliver(&context, &one), told).0 };
        let failure = timeout(Duration::from_secs(30), both).await.expect("it stops").unwrap_err();
        assert!(cause(&failure).contains("stops") && !failure.is_refusal(), "{act:?}");
        assert!(sink.connection.is_none());
        // With a server that answers, what is left goes although the stop has fired.
        sink.stop_max = Duration::from_secs(30);
        sink.deliver(&context, &one).await.unwrap();
        assert_eq!(seen.said().last().map(String::as_str), Some("one"), "{act:?}");
    }
}

#[tokio::test]
async fn what_the_server_asks_is_answered_at_any_time() {
    let (port, seen) = server(vec![Does::Asks]).await;
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
    // Nothing is delivered, and still it listens.
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
async fn a_nickname_that_is_taken_gives_way_to_one_like_it_and_at_last_to_a_pause() {
    let (port, seen) = server(vec![Does::Taken(2), Does::Taken(4)]).await;
    let context = context();
    sink(port, &[]).deliver(&context, &event("one")).await.unwrap();
    let nicks = |seen: &Seen| -> Vec<String> {
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

/// Every way in which a server can be of no use; the event comes again and arrives.
#[tokio::test]
async fn whatever_the_server_does_no_event_is_acknowledged_that_is_not_in_the_channel() {
    for (act, word) in [
        (Does::LetsNobodyIn, "Password incorrect"),
        (Does::Invites, "Invite only"),
        (Does::Nothing, "said nothing for 300 ms"),
        (Does::HangsUp, "closed"),
        (Does::Moderates, "Cannot send"),
        (Does::Kicks, "kicked"),
        (Does::Errors, "flood"),
        (Does::GoesSilent, "said nothing"),
        (Does::Endless, "is it one of IRC"),
    ] {
        let (port, seen) = server(vec![act]).await;
        let (context, mut sink) = (context(), sink(port, &[]));
        let whole = sink.patience;
        if matches!(act, Does::Nothing | Does::GoesSilent | Does::LetsNobodyIn) {
            sink.patience.welcome = Duration::from_millis(300);
            sink.patience.answer = Duration::from_millis(300);
        }
        let failure = sink.deliver(&context, &event("one")).await.unwrap_err();
        sink.patience = whole;
        assert!(cause(&failure).contains(word), "{act:?}: {}", cause(&failure));
        assert!(!failure.is_refusal(), "{act:?}: that is not a fault of the event");
        assert!(sink.next_tick().is_none(), "{act:?}: the connection is gone");
        sink.deliver(&context, &event("one")).await.unwrap();
        assert_eq!(seen.said().last().map(String::as_str), Some("one"), "{act:?}");
    }
}

#[tokio::test]
async fn a_server_that_goes_while_nothing_is_said_is_noticed() {
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
async fn the_pause_grows_also_where_the_channel_is_joined_and_nothing_may_be_said() {
    let (port, _seen) = server(vec![Does::Moderates, Does::Moderates]).await;
    let (context, mut sink) = (context(), sink(port, &[]));
    for failures in [1, 2] {
        sink.deliver(&context, &event("one")).await.unwrap_err();
        assert_eq!(sink.failures, failures);
        // Nothing is said of it.
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
async fn pauses_between_attempts_grow_are_drawn_and_end_at_a_stop() {
    let mut sink = try_sink(1, &[]).unwrap();
    for (failures, longest) in [(0, 1), (1, 2), (3, 8), (20, 60), (u32::MAX, 60)] {
        sink.failures = failures;
        let pauses: Vec<Duration> = (0..50).map(|_| sink.pause()).collect();
        let longest = Duration::from_secs(longest);
        assert!(pauses.iter().all(|p| *p >= longest / 2 && *p <= longest), "{failures}");
        assert!(pauses.iter().any(|p| *p != pauses[0]), "drawn by lot");
    }
    // Nobody listens, and the next attempt would be in half a minute or later.
    let (stop, signal) = crate::flow::context::StopSignal::new();
    let context = SinkContext { stop: signal, ..context() };
    assert!(sink.deliver(&context, &event("one")).await.is_err());
    stop.send_replace(true);
    let one = event("one");
    let again = timeout(Duration::from_secs(20), sink.deliver(&context, &one));
    assert!(again.await.expect("it does not wait").is_err());
}

#[test]
fn what_could_not_be_said_to_a_server_is_refused_with_its_key() {
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
