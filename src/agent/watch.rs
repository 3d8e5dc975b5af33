//! Says when the configuration is to be read again.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A file that is being written looks different again after this time.
const SETTLE: Duration = Duration::from_millis(500);

/// Looks at a file that changes all the time before it is taken as it is.
const SETTLE_LOOKS: usize = 20;

/// What a file looks like: device, number, bytes, and when it was changed; `None` when there is none.
type Look = Option<(u64, u64, u64, i64, i64)>;

/// The configuration files, and SIGHUP.
pub(super) struct Watch {
    files: Vec<PathBuf>,
    /// As they were when they were read last.
    looks: Vec<Look>,
    poll: Option<tokio::time::Interval>,
    hangup: Signal,
    /// A SIGHUP has come that nobody was told of yet.
    hung_up: bool,
}

impl Watch {
    /// Watches `files`, which are to be read once this has returned; looks at them every `poll`. From
    /// now on SIGHUP does not end the process.
    pub(super) async fn new(files: &[PathBuf], poll: Option<Duration>) -> io::Result<Self> {
        let poll = poll.map(|period| {
            let mut poll = tokio::time::interval(period);
            poll.reset();
            poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            poll
        });
        let hangup = signal(SignalKind::hangup())?;
        let files = files.to_vec();
        let mut watch = Self { files, looks: Vec::new(), poll, hangup, hung_up: false };
        watch.looks = watch.look().await;
        Ok(watch)
    }

    /// Returns on SIGHUP, and when a file has changed and is no longer being written. May be dropped
    /// at any time: what it had begun to see is seen the next time.
    pub(super) async fn changed(&mut self) {
        loop {
            if !self.hung_up {
                tokio::select! {
                    _ = self.hangup.recv() => self.hung_up = true,
                    () = tick(&mut self.poll) => {}
                }
            }
            let found = self.look().await;
            if std::mem::take(&mut self.hung_up) {
                tracing::info!("SIGHUP: reading the configuration again");
                self.looks = found;
                return;
            }
            if found != self.looks {
                self.looks = self.settled(found).await;
                tracing::info!("a configuration file has changed; reading it again");
                return;
            }
        }
    }

    /// What the files look like once they do not change any more.
    async fn settled(&self, mut found: Vec<Look>) -> Vec<Look> {
        for _ in 0..SETTLE_LOOKS {
            tokio::time::sleep(SETTLE).await;
            let again = self.look().await;
            if again == found {
                break;
            }
            found = again;
        }
        found
    }

    async fn look(&self) -> Vec<Look> {
        let files = self.files.clone();
        // A file system that hangs must hold up nothing else.
        tokio::task::spawn_blocking(move || look(&files)).await.unwrap_or_default()
    }
}

async fn tick(poll: &mut Option<tokio::time::Interval>) {
    match poll {
        Some(poll) => drop(poll.tick().await),
        None => std::future::pending().await,
    }
}

fn look(files: &[PathBuf]) -> Vec<Look> {
    let one = |path: &PathBuf| {
        let found = Path::metadata(path).ok()?;
        Some((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
    };
    files.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal, getpid, kill_process};
    use tokio::time::timeout;

    #[tokio::test]
    async fn a_sighup_that_comes_while_something_else_happens_is_not_forgotten() {
        let directory = tempfile::tempdir().expect("a directory");
        let watch = Watch::new(&[directory.path().join("a.conf")], None).await;
        let mut watch = watch.expect("watches");
        kill_process(getpid(), Signal::HUP).expect("sent");
        // As the agent's loop does when another of its branches is ready first.
        let mut told = false;
        while !told && !watch.hung_up {
            told = timeout(Duration::from_millis(1), async {
                tokio::select! {
                    biased;
                    () = watch.changed() => true,
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
