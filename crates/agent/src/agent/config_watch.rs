//! Watches the configuration, and reports when it is to be reloaded.

use super::config_origin::{ConfigOriginError, ConfigOrigins, OriginState};
use millpond_config::ConfigText;
use millpond_zookeeper::follower::NodeState;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// A file that is being written has changed again after this time.
const SETTLE: Duration = Duration::from_millis(500);

/// Checks of a file that changes all the time before it is read as it is.
const SETTLE_LOOKS: usize = 20;

/// Why the configuration is to be reloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReloadCause {
    /// It has changed, or SIGHUP has come.
    Changed,
    /// The reason of its refusal may be gone.
    Again,
}

/// The configuration's origins, and SIGHUP.
pub(super) struct ConfigWatch {
    origins: Arc<ConfigOrigins>,
    /// Their fingerprints at the last read.
    looks: Vec<OriginState>,
    poll: Option<tokio::time::Interval>,
    /// Notified when a node of ZooKeeper changes; `None` without one, and if only SIGHUP counts.
    node_changes: Option<watch::Receiver<NodeState>>,
    hangup: Signal,
    /// A SIGHUP has come that was not reported yet.
    hung_up: bool,
    /// It was refused for a reason that may pass.
    again: bool,
}

impl ConfigWatch {
    /// Watches `origins`, which are to be read once this has returned; checks them every `poll`.
    /// From now on SIGHUP does not end the process.
    pub(super) async fn new(origins: ConfigOrigins, poll: Option<Duration>) -> io::Result<Self> {
        let poll = poll.map(|period| {
            let mut poll = tokio::time::interval(period);
            poll.reset();
            poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            poll
        });
        let hangup = signal(SignalKind::hangup())?;
        let node_changes = if poll.is_some() { origins.node_changes() } else { None };
        let origins = Arc::new(origins);
        let looks = origins.look(&[]).await;
        Ok(Self { origins, looks, poll, node_changes, hangup, hung_up: false, again: false })
    }

    /// Reads the current configuration.
    pub(super) async fn texts(&self) -> Result<Vec<ConfigText>, ConfigOriginError> {
        let (origins, looks) = (Arc::clone(&self.origins), self.looks.clone());
        // A file system that hangs must not delay anything else.
        let read = tokio::task::spawn_blocking(move || origins.texts(&looks)).await;
        read.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    /// Sets whether it is to be read at each poll, although nothing has changed.
    pub(super) fn try_again(&mut self, again: bool) {
        self.again = again;
    }

    /// Returns on SIGHUP, when an origin has changed and is no longer being written (a node of ZooKeeper
    /// is noticed at once, all else at the polls), and at each poll if a retry is due. May be cancelled at any time: a change that was being observed is
    /// observed the next time.
    pub(super) async fn changed(&mut self) -> ReloadCause {
        loop {
            if !self.hung_up {
                tokio::select! {
                    _ = self.hangup.recv() => self.hung_up = true,
                    () = tick(&mut self.poll) => {}
                    () = node_changed(&mut self.node_changes) => {}
                }
            }
            let found = self.origins.look(&self.looks).await;
            if std::mem::take(&mut self.hung_up) {
                tracing::info!("SIGHUP: reading the configuration again");
                self.looks = found;
                return ReloadCause::Changed;
            }
            if found != self.looks {
                self.looks = if self.may_be_incomplete(&found) {
                    self.until_unchanged(found).await
                } else {
                    found
                };
                tracing::info!("the configuration has changed; reading it again");
                return ReloadCause::Changed;
            }
            // The same bytes may have another tag, which further requests use.
            self.looks = found;
            if self.again {
                return ReloadCause::Again;
            }
        }
    }

    /// Returns whether a changed origin may still be being written. A node changes as a whole.
    fn may_be_incomplete(&self, found: &[OriginState]) -> bool {
        let mut pairs = found.iter().zip(&self.looks);
        pairs.any(|(found, before)| found != before && !matches!(found, OriginState::Node(_)))
    }

    /// Returns the fingerprints once they no longer change.
    async fn until_unchanged(&self, mut found: Vec<OriginState>) -> Vec<OriginState> {
        for _ in 0..SETTLE_LOOKS {
            tokio::time::sleep(SETTLE).await;
            let before = std::mem::take(&mut found);
            found = self.origins.look(&before).await;
            if found == before {
                break;
            }
        }
        found
    }
}

async fn tick(poll: &mut Option<tokio::time::Interval>) {
    match poll {
        Some(poll) => drop(poll.tick().await),
        None => std::future::pending().await,
    }
}

async fn node_changed(changes: &mut Option<watch::Receiver<NodeState>>) {
    if let Some(changes) = changes
        && changes.changed().await.is_ok()
    {
        return;
    }
    // Without a node; a follower ends with the agent only.
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::config_origin::{ConfigOrigin, OriginAccess};
    use millpond_flow::net::endpoint::Endpoint;
    use rustix::process::{Signal, getpid, kill_process};
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    /// Starts a server that sends these replies, the last one repeatedly; returns the requests it
    /// got.
    async fn server(answers: &'static [&'static str]) -> (ConfigOrigin, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heads = Arc::clone(&asked);
        tokio::spawn(async move {
            for at in 0.. {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.expect("a head"));
                }
                let head = String::from_utf8(head).expect("text").to_lowercase();
                heads.lock().expect("the lock is not poisoned").push(head);
                let answer = answers.get(at).unwrap_or(&answers[answers.len() - 1]);
                let answer = format!(
                    "HTTP/1.1 {answer}\r\nConnection: close\r\nContent-Length: 5\r\n\r\na = b"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        (ConfigOrigin::Web(Endpoint::named(&url).expect("a URL")), asked)
    }

    #[tokio::test]
    async fn the_same_page_with_another_tag_is_asked_for_by_that_tag() {
        let (page, asked) = server(&["200 OK\r\nETag: \"one\"", "200 OK\r\nETag: \"two\""]).await;
        let origins =
            ConfigOrigins::new(vec![page], OriginAccess::new(None, &BTreeMap::new()), None);
        let watch = ConfigWatch::new(origins, Some(Duration::from_millis(1))).await;
        let mut watch = watch.expect("watches");
        let has_asked = async {
            let by_two = |head: &String| head.contains("if-none-match: \"two\"");
            while !asked.lock().expect("the lock is not poisoned").iter().any(by_two) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let ended = timeout(Duration::from_secs(60), async {
            tokio::select! {
                why = watch.changed() => panic!("nothing has changed: {why:?}"),
                () = has_asked => {}
            }
        });
        ended.await.expect("the new tag is kept");
    }

    #[tokio::test]
    async fn the_success_of_one_page_does_not_end_the_failure_of_another() {
        let (good, _) = server(&["200 OK"]).await;
        let (bad, _) = server(&["200 OK", "500 Sorry"]).await;
        let access = OriginAccess::new(None, &BTreeMap::new());
        let origins = ConfigOrigins::new(vec![bad, good], access, None);
        let looks = origins.look(&[]).await;
        for _ in 0..3 {
            assert!(origins.look(&looks).await == looks, "the last pages count");
        }
        let words = origins.ended_failures();
        assert!(
            words[0].as_ref().is_some_and(|w| w.contains("after 3 failed attempts")),
            "{words:?}"
        );
        assert_eq!(words[1], None);
    }

    #[tokio::test]
    async fn a_sighup_that_comes_while_something_else_happens_is_not_forgotten() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = ConfigOrigin::File(directory.path().join("a.conf"));
        let access = OriginAccess::new(None, &BTreeMap::new());
        let watch = ConfigWatch::new(ConfigOrigins::new(vec![file], access, None), None).await;
        let mut watch = watch.expect("watches");
        kill_process(getpid(), Signal::HUP).expect("sent");
        // As the agent's loop does when another of its branches is ready first.
        let mut told = false;
        while !told && !watch.hung_up {
            told = timeout(Duration::from_millis(1), async {
                tokio::select! {
                    biased;
                    _ = watch.changed() => true,
                    () = std::future::ready(()) => false,
                }
            })
            .await
            .unwrap_or(false);
            tokio::task::yield_now().await;
        }
        if !told {
            let again = timeout(Duration::from_secs(60), watch.changed()).await;
            assert!(again.is_ok(), "SIGHUP was forgotten");
        }
    }
}
