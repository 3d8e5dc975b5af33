//! Opens a channel, however often it takes, and opens it again when it has stopped, after an internal failure or
//! because another process had locked its directory.

use crate::base::clock::Clock;
use crate::channel::{Channel, Trouble};
use crate::codes::{self, Code, Coded};
use crate::flow::context::StopSignal;
use crate::flow::spell::Spell;
use crate::flow::standing::Standing;
use crate::metrics::ChannelCounters;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Pause between attempts to open a channel, as Flume's supervisor makes between starts.
const OPEN_AGAIN: Duration = Duration::from_secs(3);
/// How often an open channel is asked whether it has stopped.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How one channel is opened.
pub(super) struct Opening<F> {
    pub(super) name: String,
    /// Opens it; blocks while a file channel recovers.
    pub(super) open: Arc<F>,
    pub(super) counters: Arc<ChannelCounters>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) stop: StopSignal,
    /// When the log was last told why it cannot be opened.
    pub(super) spell: Spell,
    /// Sent `true` when it could not be opened.
    pub(super) failed: watch::Sender<bool>,
}

impl<F, E> Opening<F>
where
    F: Fn() -> Result<Arc<dyn Channel>, E> + Send + Sync + 'static,
    E: Coded + Display + Send + 'static,
{
    /// Opens the channel, however often it takes. None when it is to stop first.
    pub(super) async fn keep_opening(&self) -> Option<Arc<dyn Channel>> {
        loop {
            let open = Arc::clone(&self.open);
            let opening = tokio::task::spawn_blocking(move || open());
            // Not raced against the stop: a channel that was opened has to be closed.
            let (code, said) = match opening.await {
                Ok(Ok(channel)) => {
                    self.counters.failure.over();
                    if let Some(words) = self.spell.over(self.clock.now()) {
                        tracing::info!(channel = self.name, "open; {words}");
                    }
                    return Some(channel);
                }
                Ok(Err(error)) => (error.code(), error.to_string()),
                Err(error) => {
                    (&codes::COMPONENT_PANICKED, format!("panicked while opening: {error}"))
                }
            };
            self.counters.unhealthy.set(1);
            self.failed.send_replace(true);
            self.note(code, &format!("cannot be opened: {said}"));
            // As for a sink: a line for each attempt would bury the reason.
            match self.spell.failed(self.clock.now(), &said) {
                Some(said) => tracing::error!(
                    %code,
                    channel = self.name,
                    "cannot be opened, trying again every {} s; what is attached to it waits: {said}",
                    OPEN_AGAIN.as_secs()
                ),
                None => tracing::debug!(channel = self.name, "cannot be opened: {said}"),
            }
            tokio::select! {
                () = self.stop.wait() => return None,
                () = tokio::time::sleep(OPEN_AGAIN) => {}
            }
        }
    }

    /// Keeps why it is not open, for who watches.
    fn note(&self, code: &'static Code, reason: &str) {
        self.counters.failure.note(code, reason, self.clock.wall_ms());
    }

    /// Opens the channel again whenever it has stopped. Returns when it is to stop.
    pub(super) async fn keep_open(&self, standing: &Standing) {
        loop {
            tokio::select! {
                () = self.stop.wait() => return,
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
            let status = standing.status();
            if !status.stopped {
                continue;
            }
            let why = status.trouble.unwrap_or_default();
            let code = match status.gave_way {
                true => &codes::LOCK_TAKEN,
                false => &codes::CHANNEL_STOPPED,
            };
            tracing::error!(%code, channel = self.name, "{why}; opening it again");
            self.counters.unhealthy.set(1);
            self.note(code, &format!("{why}; it is being opened again"));
            let old = standing.vacate(Trouble::new(format!("{why}; it is being opened again")));
            // Its directories stay locked until the last transaction on it has ended too: until
            // then a write of its past could land in the middle of the recovery.
            let letting_go = tokio::task::spawn_blocking(move || {
                if let Some(Err(error)) = old.map(|old| old.close()) {
                    tracing::debug!("{error}");
                }
            });
            if let Err(panic) = letting_go.await {
                tracing::error!(code = %codes::COMPONENT_PANICKED, channel = self.name, "closing it panicked: {panic}");
            }
            let Some(channel) = self.keep_opening().await else { return };
            standing.occupy(channel);
            self.counters.unhealthy.set(0);
            tracing::info!(channel = self.name, "open again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::SystemClock;
    use crate::channel::CommitError;
    use crate::channel::file::{FileChannel, FileChannelOptions, OpenError};
    use crate::disk::Disk;
    use crate::disk::sim::{SimDisk, SimOptions};
    use crate::event::Event;
    use crate::metrics::Registry;
    use std::sync::{Mutex, PoisonError, Weak};

    fn put(channel: &Standing, body: &'static str) -> Result<(), CommitError> {
        let mut put = channel.begin_put();
        put.put(Event::new(body)).expect("fits");
        Ok(put.commit()?)
    }

    /// What opens a channel; a name for the long type.
    trait Open: Fn() -> Result<Arc<dyn Channel>, OpenError> + Send + Sync + 'static {}

    impl<F: Fn() -> Result<Arc<dyn Channel>, OpenError> + Send + Sync + 'static> Open for F {}

    /// The last opening of a channel, as long as it is held.
    type Last = Arc<Mutex<Weak<FileChannel>>>;

    /// A channel on real files whose last opening can be looked up.
    fn opening(directory: &std::path::Path, stop: StopSignal) -> (Opening<impl Open>, Last) {
        opening_on(None, directory, stop)
    }

    /// The same on a simulated disk.
    fn opening_on(
        disk: Option<Arc<SimDisk>>,
        directory: &std::path::Path,
        stop: StopSignal,
    ) -> (Opening<impl Open>, Last) {
        let mut options =
            FileChannelOptions::new(directory.join("checkpoint"), [directory.join("data")]);
        if let Some(disk) = disk {
            options = options.with_disk(disk);
        }
        options.segment_bytes = 1 << 20;
        options.minimum_required_space = 0;
        let last = Last::default();
        let opened = Arc::clone(&last);
        let open = Arc::new(move || {
            let channel = Arc::new(FileChannel::open(options.clone())?);
            *opened.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&channel);
            Ok(channel as Arc<dyn Channel>)
        });
        let counters = Registry::default().channel("c1");
        let (spell, clock) = (Spell::default(), Arc::new(SystemClock::new()));
        let (name, failed) = ("c1".to_owned(), watch::Sender::default());
        (Opening { name, open, counters, clock, stop, spell, failed }, last)
    }

    #[tokio::test]
    async fn a_channel_that_a_panic_stopped_is_opened_again_with_all_it_held() {
        let directory = tempfile::tempdir().expect("a directory");
        let (stop, signal) = StopSignal::new();
        let (opening, last) = opening(directory.path(), signal);
        let standing = Arc::new(Standing::new(opening.keep_opening().await.expect("opens")));
        put(&standing, "before").expect("committed");
        let channel = last.lock().expect("unpoisoned").upgrade().expect("open");
        channel.panic_inside();
        drop(channel);
        assert!(put(&standing, "refused").is_err());
        assert!(standing.status().stopped);
        let watched = Arc::clone(&standing);
        let keeping = tokio::spawn(async move { opening.keep_open(&watched).await });
        while put(&standing, "after").is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut take = standing.begin_take();
        let mut bodies = Vec::new();
        while bodies.len() < 2 {
            bodies.extend(take.take(10).expect("readable").into_iter().map(|e| e.body));
        }
        assert_eq!(bodies, ["before", "after"]);
        take.commit().expect("acknowledged");
        stop.send_replace(true);
        keeping.await.expect("no panic");
        standing.close().expect("closed");
    }

    #[tokio::test]
    async fn a_channel_that_gave_way_is_not_healthy_and_is_opened_again_once_the_other_is_gone() {
        let disk = Arc::new(SimDisk::new(SimOptions::new(1)));
        let (stop, signal) = StopSignal::new();
        let directory = std::path::Path::new("/c");
        let (opening, _) = opening_on(Some(Arc::clone(&disk)), directory, signal);
        let counters = Arc::clone(&opening.counters);
        let standing = Arc::new(Standing::new(opening.keep_opening().await.expect("opens")));
        put(&standing, "before").expect("committed");
        disk.put_in_place(&directory.join("data/in_use.lock"), None).expect("it is there");
        let data = disk.open_dir(&directory.join("data"), false).expect("it is there");
        let other = data.lock("in_use.lock").expect("a file of its own");
        until(|| standing.status().stopped).await;
        let status = standing.status();
        assert!(status.gave_way && status.refuses(), "{status:?}");
        assert!(status.trouble.expect("named").contains("in_use.lock was removed"));
        let watched = Arc::clone(&standing);
        let keeping = tokio::spawn(async move { opening.keep_open(&watched).await });
        let failed = || counters.failure.get().map(|failure| failure.reason).unwrap_or_default();
        until(|| failed().contains("cannot be opened")).await;
        assert_eq!(counters.unhealthy.get(), 1);
        drop(other);
        until(|| put(&standing, "after").is_ok()).await;
        assert_eq!((counters.unhealthy.get(), standing.status().events), (0, 2));
        stop.send_replace(true);
        keeping.await.expect("no panic");
        standing.close().expect("closed");
    }

    async fn until(reached: impl Fn() -> bool) {
        let end = tokio::time::Instant::now() + Duration::from_secs(60);
        while !reached() {
            assert!(tokio::time::Instant::now() < end, "not reached");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[test]
    fn what_has_no_channel_behind_it_refuses_and_keeps_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let (_stop, signal) = StopSignal::new();
        let (opening, _) = opening(directory.path(), signal);
        let standing = Standing::new((opening.open)().expect("opens"));
        let old = standing.vacate(Trouble::new("being opened again")).expect("it was there");
        let refused = put(&standing, "x").expect_err("nothing is behind");
        assert!(refused.to_string().contains("being opened again"), "{refused}");
        assert!(!refused.never_fits(), "it may be tried again");
        let unread = standing.begin_take().take(1).expect_err("nothing is behind");
        assert!(unread.to_string().contains("being opened again"), "{unread}");
        assert!(standing.position("s").is_err(), "no position is known");
        assert!(standing.vacate(Trouble::new("again")).is_none());
        standing.occupy(old);
        put(&standing, "y").expect("committed");
    }
}
