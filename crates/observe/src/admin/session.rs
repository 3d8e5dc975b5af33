//! One session of the admin socket.

use super::protocol::{AdminReply, AdminRequest, ShownEvent, TapRequest, line};
use super::{AdminState, REQUEST_BYTES_MAX, REQUEST_WAIT};
use millpond::SystemClock;
use millpond_flow::metrics::ComponentRole;
use millpond_flow::net::write_timeout::WriteTimeout;
use millpond_flow::tap::{
    BODY_BYTES_MAX, BYTES_PER_SECOND_MAX, EVENTS_PER_SECOND_MAX, TapCounts, TapRates,
    TapSubscription,
};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Interval between two lines with counts.
const COUNTS_EVERY: Duration = Duration::from_secs(1);

type AdminStream = WriteTimeout<UnixStream>;

pub(super) async fn session(stream: UnixStream, served: AdminState) {
    let (read, mut write) = tokio::io::split(WriteTimeout::new(stream));
    let mut read = BufReader::new(read);
    let ended = async {
        let said = match request(&mut read).await? {
            Ok(AdminRequest::Tap(wanted)) => match listen(&wanted, &served) {
                Ok((component, listening)) => {
                    let agent = served.agent.clone();
                    write.write_all(&line(&AdminReply::Tapped { agent, component })).await?;
                    return show(listening, read, write).await;
                }
                Err(why) => why,
            },
            Err(why) => why,
        };
        write.write_all(&line(&AdminReply::Refused(said))).await?;
        write.shutdown().await
    };
    if let Err(error) = ended.await {
        tracing::debug!("admin socket: a session ends: {error}");
    }
}

/// Reads the request, or returns why it is refused.
async fn request(
    read: &mut BufReader<ReadHalf<AdminStream>>,
) -> io::Result<Result<AdminRequest, String>> {
    let mut text = Vec::new();
    let mut bounded = read.take(REQUEST_BYTES_MAX as u64);
    let come = timeout(REQUEST_WAIT, bounded.read_until(b'\n', &mut text)).await;
    if come.is_err() {
        return Ok(Err(format!("no request came within {} s", REQUEST_WAIT.as_secs())));
    }
    come.unwrap_or(Ok(0))?;
    let read = serde_json::from_slice(&text);
    Ok(read.map_err(|error| format!("the request is not understood: {error}")))
}

/// Begins to listen to what is wanted, or returns why it cannot.
fn listen(wanted: &TapRequest, served: &AdminState) -> Result<(String, TapSubscription), String> {
    let (role, name) = find(&wanted.component, &served.taps.components())?;
    let rates = TapRates {
        events_per_second: wanted.events_per_second.clamp(1, EVENTS_PER_SECOND_MAX),
        bytes_per_second: wanted.bytes_per_second.clamp(1, BYTES_PER_SECOND_MAX),
        body_bytes: usize::try_from(wanted.body_bytes)
            .map_or(BODY_BYTES_MAX, |n| n.min(BODY_BYTES_MAX)),
    };
    let listening = served.taps.at(role, &name).listen(rates, Arc::new(SystemClock::new()));
    let component = format!("{role}.{name}");
    match listening {
        Some(listening) => Ok((component, listening)),
        None => Err(format!("the limit of sessions for {component} is reached")),
    }
}

/// Returns the component that the request names.
fn find(
    words: &str,
    components: &[(ComponentRole, String)],
) -> Result<(ComponentRole, String), String> {
    let is_meant = |(role, name): &&(ComponentRole, String)| {
        let (role_word, bare) = words.split_once('.').unwrap_or(("", words));
        name == words || (name == bare && role_word.eq_ignore_ascii_case(&role.to_string()))
    };
    let list = |all: Vec<&(ComponentRole, String)>| {
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

/// Shows what passes until the client disconnects or the component is removed.
async fn show(
    mut listening: TapSubscription,
    mut read: BufReader<ReadHalf<AdminStream>>,
    mut write: WriteHalf<AdminStream>,
) -> io::Result<()> {
    let mut every = interval(COUNTS_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut said, mut nothing) = (TapCounts::default(), [0; 1]);
    loop {
        tokio::select! {
            biased;
            // A client has nothing more to send: it disconnected.
            _ = read.read(&mut nothing) => return Ok(()),
            _ = every.tick() => {
                let counts = listening.counts();
                if counts != said {
                    said = counts;
                    write.write_all(&line(&AdminReply::from(counts))).await?;
                }
            }
            glimpse = listening.next() => match glimpse {
                Some(glimpse) => write.write_all(&line(&AdminReply::Event(ShownEvent::from(glimpse)))).await?,
                None => {
                    write.write_all(&line(&AdminReply::Gone)).await?;
                    return write.shutdown().await;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Admin, AdminClient};
    use super::*;
    use millpond::Event;
    use millpond_flow::metrics::ComponentId;
    use millpond_flow::tap::{QUEUE_MAX, TapDirection, Taps};
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

    fn served() -> AdminState {
        let taps = Arc::new(Taps::default());
        for (role, name) in [
            (ComponentRole::Source, "x"),
            (ComponentRole::Sink, "x"),
            (ComponentRole::Channel, "c.1"),
        ] {
            taps.at(role, name);
        }
        AdminState { agent: "a".to_owned(), taps }
    }

    fn listen_at(directory: &Path) -> (std::path::PathBuf, Admin, AdminState) {
        let (path, served) = (directory.join("s"), served());
        let admin = Admin::listen(&path, served.clone()).unwrap();
        (path, admin, served)
    }

    /// Runs blocking work on a thread next to the agent's.
    async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        tokio::task::spawn_blocking(work).await.unwrap()
    }

    fn awaited(client: &mut AdminClient) -> AdminReply {
        std::iter::repeat_with(|| client.hear().unwrap()).flatten().next().unwrap()
    }

    #[test]
    fn a_component_is_found_by_its_name_or_with_its_role() {
        let all = served().taps.components();
        assert_eq!(find("c.1", &all), Ok((ComponentRole::Channel, "c.1".to_owned())));
        assert_eq!(find("sink.x", &all), Ok((ComponentRole::Sink, "x".to_owned())));
        assert_eq!(find("CHANNEL.c.1", &all), Ok((ComponentRole::Channel, "c.1".to_owned())));
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
        let mut client = aside(move || AdminClient::tap(&path, &wanted("c.1")).unwrap()).await;
        assert_eq!((client.agent(), client.component()), ("a", "CHANNEL.c.1"));
        let mut event = Event::new("body\u{1b}");
        event.headers.set("k", "v");
        served.taps.at(ComponentRole::Channel, "c.1").show(TapDirection::Taken, &[event]);
        // The counts may come first, if the session looks at them as the event passes.
        let mut lines = aside(move || [awaited(&mut client), awaited(&mut client)]).await;
        lines.sort_by_key(|line| matches!(line, AdminReply::Counts { .. }));
        let [AdminReply::Event(shown), counts] = lines else { panic!("{lines:?}") };
        assert_eq!((shown.way.as_str(), shown.body()), ("taken", Some(b"body".to_vec())));
        assert_eq!((shown.body_bytes, shown.headers.len()), (5, 1));
        assert!(matches!(counts, AdminReply::Counts { passed: 1, dropped: 0, .. }), "{counts:?}");
        let path = directory.path().join("s");
        drop(admin);
        assert!(!path.exists(), "the socket goes with the agent");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_reads_nothing_blocks_no_other_and_loses_events() {
        let directory = tempfile::tempdir().unwrap();
        let (path, _admin, served) = listen_at(directory.path());
        let wanted = TapRequest { body_bytes: 60_000, ..wanted("sink.x") };
        let client = aside(move || AdminClient::tap(&path, &wanted).unwrap()).await;
        let tap = served.taps.at(ComponentRole::Sink, "x");
        // More than socket and queue can hold: what is not read is dropped here, at once.
        let batch: Vec<Event> = (0..10).map(|_| Event::new(vec![b'x'; 60_000])).collect();
        (0..100 * QUEUE_MAX).for_each(|_| tap.show(TapDirection::Delivered, &batch));
        assert!(tap.sample(TapDirection::Delivered).is_some());
        drop(client);
        while tap.sample(TapDirection::Delivered).is_some() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_cannot_be_done_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let (path, admin, served) = listen_at(directory.path());
        let refused = |words: &'static str| {
            let path = path.clone();
            aside(move || AdminClient::tap(&path, &wanted(words)).unwrap_err().to_string())
        };
        assert!(refused("other").await.contains("there is no component other"));
        let other = Admin::listen(&path, served.clone()).unwrap_err();
        assert!(other.to_string().contains("another agent listens there"), "{other}");
        let at = path.clone();
        let mut client = aside(move || AdminClient::tap(&at, &wanted("source.x")).unwrap()).await;
        served.taps.keep(&[ComponentId {
            role: ComponentRole::Sink,
            name: "x".to_owned(),
            kind: "null",
        }]);
        assert_eq!(aside(move || awaited(&mut client)).await, AdminReply::Gone);
        // As after a kill: nothing listens, and the name is still there.
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
