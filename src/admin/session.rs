//! One client on the socket.

use super::lines::{Line, Request, Shown, TapRequest, line};
use super::{REQUEST_BYTES_MAX, REQUEST_WAIT, Served};
use crate::base::clock::SystemClock;
use crate::flow::tap::{
    BODY_BYTES_MAX, BYTES_PER_SECOND_MAX, Counts, EVENTS_PER_SECOND_MAX, Listening, Rates,
};
use crate::metrics::Role;
use crate::net::attentive::Attentive;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Between two lines with counts.
const COUNTS_EVERY: Duration = Duration::from_secs(1);

type Stream = Attentive<UnixStream>;

pub(super) async fn session(stream: UnixStream, served: Served) {
    let (read, mut write) = tokio::io::split(Attentive::new(stream));
    let mut read = BufReader::new(read);
    let ended = async {
        let said = match request(&mut read).await? {
            Ok(Request::Tap(wanted)) => match listen(&wanted, &served) {
                Ok((component, listening)) => {
                    let agent = served.agent.clone();
                    write.write_all(&line(&Line::Tapped { agent, component })).await?;
                    return show(listening, read, write).await;
                }
                Err(why) => why,
            },
            Err(why) => why,
        };
        write.write_all(&line(&Line::Refused(said))).await?;
        write.shutdown().await
    };
    if let Err(error) = ended.await {
        tracing::debug!("admin socket: a session ends: {error}");
    }
}

/// What is asked for, or why that is nothing.
async fn request(read: &mut BufReader<ReadHalf<Stream>>) -> io::Result<Result<Request, String>> {
    let mut text = Vec::new();
    let mut bounded = read.take(REQUEST_BYTES_MAX as u64);
    let come = timeout(REQUEST_WAIT, bounded.read_until(b'\n', &mut text)).await;
    if come.is_err() {
        return Ok(Err(format!("no request came within {} s", REQUEST_WAIT.as_secs())));
    }
    come.unwrap_or(Ok(0))?;
    let read = serde_json::from_slice(&text);
    Ok(read.map_err(|error| format!("this is not a request that is understood here: {error}")))
}

/// Begins to listen to what is wanted, or why not.
fn listen(wanted: &TapRequest, served: &Served) -> Result<(String, Listening), String> {
    let (role, name) = find(&wanted.component, &served.taps.components())?;
    let rates = Rates {
        events_per_second: wanted.events_per_second.clamp(1, EVENTS_PER_SECOND_MAX),
        bytes_per_second: wanted.bytes_per_second.clamp(1, BYTES_PER_SECOND_MAX),
        body_bytes: usize::try_from(wanted.body_bytes)
            .map_or(BODY_BYTES_MAX, |n| n.min(BODY_BYTES_MAX)),
    };
    let listening = served.taps.at(role, &name).listen(rates, Arc::new(SystemClock::new()));
    let component = format!("{role}.{name}");
    match listening {
        Some(listening) => Ok((component, listening)),
        None => Err(format!("as many as may listen to {component} do already")),
    }
}

/// The component that is meant.
fn find(words: &str, components: &[(Role, String)]) -> Result<(Role, String), String> {
    let is_meant = |(role, name): &&(Role, String)| {
        let (role_word, bare) = words.split_once('.').unwrap_or(("", words));
        name == words || (name == bare && role_word.eq_ignore_ascii_case(&role.to_string()))
    };
    let list = |all: Vec<&(Role, String)>| {
        all.iter().map(|(role, name)| format!("{role}.{name}")).collect::<Vec<_>>().join(", ")
    };
    match components.iter().filter(is_meant).collect::<Vec<_>>()[..] {
        [only] => Ok(only.clone()),
        [] => Err(format!(
            "there is no component {words} here; there are {}",
            list(components.iter().collect())
        )),
        ref several => {
            Err(format!("{words} could be any of {}; write one of these", list(several.to_vec())))
        }
    }
}

/// Shows what passes until the client or the component goes.
async fn show(
    mut listening: Listening,
    mut read: BufReader<ReadHalf<Stream>>,
    mut write: WriteHalf<Stream>,
) -> io::Result<()> {
    let mut every = interval(COUNTS_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut said, mut nothing) = (Counts::default(), [0; 1]);
    loop {
        tokio::select! {
            biased;
            // A client has nothing more to say: it goes.
            _ = read.read(&mut nothing) => return Ok(()),
            _ = every.tick() => {
                let counts = listening.counts();
                if counts != said {
                    said = counts;
                    write.write_all(&line(&Line::from(counts))).await?;
                }
            }
            glimpse = listening.next() => match glimpse {
                Some(glimpse) => write.write_all(&line(&Line::Event(Shown::from(glimpse)))).await?,
                None => {
                    write.write_all(&line(&Line::Gone)).await?;
                    return write.shutdown().await;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Admin, Client};
    use super::*;
    use crate::event::Event;
    use crate::flow::tap::{QUEUE_MAX, Taps, Way};
    use crate::metrics::Member;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    fn wanted(component: &str) -> TapRequest {
        TapRequest {
            component: component.to_owned(),
            events_per_second: 1000,
            bytes_per_second: 1_000_000,
            body_bytes: 4,
        }
    }

    fn served() -> Served {
        let taps = Arc::new(Taps::default());
        for (role, name) in [(Role::Source, "x"), (Role::Sink, "x"), (Role::Channel, "c.1")] {
            taps.at(role, name);
        }
        Served { agent: "a".to_owned(), taps }
    }

    fn listen_at(directory: &Path) -> (std::path::PathBuf, Admin, Served) {
        let (path, served) = (directory.join("s"), served());
        let admin = Admin::listen(&path, served.clone()).unwrap();
        (path, admin, served)
    }

    /// Work that blocks, beside the agent's.
    async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        tokio::task::spawn_blocking(work).await.unwrap()
    }

    fn awaited(client: &mut Client) -> Line {
        std::iter::repeat_with(|| client.hear().unwrap()).flatten().next().unwrap()
    }

    #[test]
    fn a_component_is_found_by_its_name_or_with_its_role() {
        let all = served().taps.components();
        assert_eq!(find("c.1", &all), Ok((Role::Channel, "c.1".to_owned())));
        assert_eq!(find("sink.x", &all), Ok((Role::Sink, "x".to_owned())));
        assert_eq!(find("CHANNEL.c.1", &all), Ok((Role::Channel, "c.1".to_owned())));
        let several = find("x", &all).unwrap_err();
        assert!(several.contains("SINK.x, SOURCE.x"), "{several}");
        let none = find("y", &all).unwrap_err();
        assert!(none.contains("no component y") && none.contains("CHANNEL.c.1"), "{none}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn events_that_pass_are_shown_to_the_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let (path, admin, served) = listen_at(directory.path());
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut client = aside(move || Client::tap(&path, &wanted("c.1")).unwrap()).await;
        assert_eq!((client.agent(), client.component()), ("a", "CHANNEL.c.1"));
        let mut event = Event::new("body\u{1b}");
        event.headers.set("k", "v");
        served.taps.at(Role::Channel, "c.1").show(Way::Taken, &[event]);
        // The counts may come first, when the session looks at them as the event passes.
        let mut lines = aside(move || [awaited(&mut client), awaited(&mut client)]).await;
        lines.sort_by_key(|line| matches!(line, Line::Counts { .. }));
        let [Line::Event(shown), counts] = lines else { panic!("{lines:?}") };
        assert_eq!((shown.way.as_str(), shown.body()), ("taken", Some(b"body".to_vec())));
        assert_eq!((shown.body_bytes, shown.headers.len()), (5, 1));
        assert!(matches!(counts, Line::Counts { passed: 1, dropped: 0, .. }), "{counts:?}");
        let path = directory.path().join("s");
        drop(admin);
        assert!(!path.exists(), "the socket goes with the agent");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_reads_nothing_holds_up_nobody_and_goes_unheard() {
        let directory = tempfile::tempdir().unwrap();
        let (path, _admin, served) = listen_at(directory.path());
        let wanted = TapRequest { body_bytes: 60_000, ..wanted("sink.x") };
        let client = aside(move || Client::tap(&path, &wanted).unwrap()).await;
        let tap = served.taps.at(Role::Sink, "x");
        // More than socket and queue can hold: whatever is not read is dropped here, at once.
        let batch: Vec<Event> = (0..10).map(|_| Event::new(vec![b'x'; 60_000])).collect();
        (0..100 * QUEUE_MAX).for_each(|_| tap.show(Way::Delivered, &batch));
        assert!(tap.sample(Way::Delivered).is_some());
        drop(client);
        while tap.sample(Way::Delivered).is_some() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_cannot_be_done_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let (path, admin, served) = listen_at(directory.path());
        let refused = |words: &'static str| {
            let path = path.clone();
            aside(move || Client::tap(&path, &wanted(words)).unwrap_err().to_string())
        };
        assert!(refused("nobody").await.contains("there is no component nobody"));
        let other = Admin::listen(&path, served.clone()).unwrap_err();
        assert!(other.to_string().contains("another agent listens there"), "{other}");
        let at = path.clone();
        let mut client = aside(move || Client::tap(&at, &wanted("source.x")).unwrap()).await;
        served.taps.keep(&[Member { role: Role::Sink, name: "x".to_owned(), kind: "null" }]);
        assert_eq!(aside(move || awaited(&mut client)).await, Line::Gone);
        // As after a kill: nobody listens, and the name is there.
        std::mem::forget(admin);
        let file = directory.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert!(Admin::listen(&file, served.clone()).is_err(), "a file is left alone");
        assert_eq!(std::fs::read(&file).unwrap(), b"x");
        let stale = directory.path().join("stale");
        drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
        Admin::listen(&stale, served).unwrap();
    }
}
