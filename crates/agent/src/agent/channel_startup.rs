//! Opens a channel, with retries, and reopens it after an internal failure, or when another process
//! had locked its directory.

use millpond::{Channel, Clock, FaultCause, FaultKind, FaultPlace};
use millpond_flow::codes::{self, Code, Coded};
use millpond_flow::context::StopSignal;
use millpond_flow::failure_log::FailureLog;
use millpond_flow::metrics::ChannelCounters;
use millpond_flow::reopenable_channel::ReopenableChannel;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Pause between attempts to open a channel, as in Flume's supervisor.
const OPEN_AGAIN: Duration = Duration::from_secs(3);
/// Interval at which an open channel is checked for a stop.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The state of opening one channel.
pub(super) struct ChannelStartup<F> {
    pub(super) name: String,
    /// Opens it; blocks while a file channel recovers.
    pub(super) open: Arc<F>,
    pub(super) counters: Arc<ChannelCounters>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) stop: StopSignal,
    /// When the log last had a line why it cannot be opened.
    pub(super) failure_log: FailureLog,
    /// Sends `true` when it could not be opened.
    pub(super) failed: watch::Sender<bool>,
}

impl<F, E> ChannelStartup<F>
where
    F: Fn() -> Result<Arc<dyn Channel>, E> + Send + Sync + 'static,
    E: Coded + Display + Send + 'static,
{
    /// Opens the channel, with retries. None if the stop comes first.
    pub(super) async fn keep_opening(&self) -> Option<Arc<dyn Channel>> {
        loop {
            let open = Arc::clone(&self.open);
            let opening = tokio::task::spawn_blocking(move || open());
            // Not cancelled by the stop: a channel that was opened has to be closed.
            let (code, said) = match opening.await {
                Ok(Ok(channel)) => {
                    self.counters.failure.over();
                    if let Some(words) = self.failure_log.over(self.clock.now()) {
                        tracing::info!(channel = self.name, "open; {words}");
                    }
                    return Some(channel);
                }
                Ok(Err(error)) => {
                    let code = error.code();
                    // The log line has the code as a field.
                    (code, code.stripped_from(&error.to_string()).to_owned())
                }
                Err(error) => {
                    (&codes::COMPONENT_PANICKED, format!("panicked while opening: {error}"))
                }
            };
            self.counters.unhealthy.set(1);
            self.failed.send_replace(true);
            self.note(code, &format!("cannot be opened: {said}"));
            // As for a sink: a line for each attempt would hide the reason.
            match self.failure_log.failed(self.clock.now(), &said) {
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

    /// Stores why it is not open, for monitoring.
    fn note(&self, code: &'static Code, reason: &str) {
        self.counters.failure.note(code, reason, self.clock.wall_ms());
    }

    /// Reopens the channel whenever it has stopped. Returns on the stop.
    pub(super) async fn keep_open(&self, reopenable: &ReopenableChannel) {
        loop {
            tokio::select! {
                () = self.stop.wait() => return,
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
            let status = reopenable.status();
            if !status.stopped {
                continue;
            }
            let why = status.fault.map(|fault| fault.to_string()).unwrap_or_default();
            let code = match status.gave_way {
                true => &codes::LOCK_TAKEN,
                false => &codes::CHANNEL_STOPPED,
            };
            tracing::error!(%code, channel = self.name, "{why}; opening it again");
            self.counters.unhealthy.set(1);
            self.note(code, &format!("{why}; it is being opened again"));
            let what = format!("{why}; it is being opened again");
            let old = reopenable.detach(stopped(what));
            // Its directories stay locked until the last transaction on it has ended too: until
            // then a late write of the old channel could land in the middle of the recovery.
            let letting_go = tokio::task::spawn_blocking(move || {
                if let Some(Err(error)) = old.map(|old| old.close()) {
                    tracing::debug!("{error}");
                }
            });
            if let Err(panic) = letting_go.await {
                tracing::error!(code = %codes::COMPONENT_PANICKED, channel = self.name, "closing it panicked: {panic}");
            }
            let Some(channel) = self.keep_opening().await else { return };
            reopenable.attach(channel);
            self.counters.unhealthy.set(0);
            tracing::info!(channel = self.name, "open again");
        }
    }
}

fn stopped(why: impl Into<Box<str>>) -> FaultCause {
    FaultCause::new(FaultKind::Stopped, FaultPlace::default(), why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond::internal::disk::Disk;
    use millpond::{CommitError, Event, FileChannel, FileChannelOptions, OpenError, SystemClock};
    use millpond_flow::log_capture::captured_log;
    use millpond_flow::metrics::MetricsRegistry;
    use millpond_sim::disk::{SimDisk, SimOptions};
    use std::sync::{Mutex, PoisonError, Weak};

    fn put(channel: &ReopenableChannel, body: &'static str) -> Result<(), CommitError> {
        let mut put = channel.begin_put();
        put.put(Event::new(body)).expect("fits");
        Ok(put.commit()?)
    }

    /// The function that opens a channel.
    trait Open: Fn() -> Result<Arc<dyn Channel>, OpenError> + Send + Sync + 'static {}

    impl<F: Fn() -> Result<Arc<dyn Channel>, OpenError> + Send + Sync + 'static> Open for F {}

    /// The last opened channel, as long as it is held.
    type Last = Arc<Mutex<Weak<FileChannel>>>;

    /// A channel on real files whose last opening can be inspected.
    fn opening(directory: &std::path::Path, stop: StopSignal) -> (ChannelStartup<impl Open>, Last) {
        opening_on(None, directory, stop)
    }

    /// A channel on a simulated disk.
    fn opening_on(
        disk: Option<Arc<SimDisk>>,
        directory: &std::path::Path,
        stop: StopSignal,
    ) -> (ChannelStartup<impl Open>, Last) {
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
        let counters = MetricsRegistry::default().channel("c1");
        let (failure_log, clock) = (FailureLog::default(), Arc::new(SystemClock::new()));
        let (name, failed) = ("c1".to_owned(), watch::Sender::default());
        (ChannelStartup { name, open, counters, clock, stop, failure_log, failed }, last)
    }

    #[tokio::test]
    async fn a_channel_that_a_panic_stopped_is_reopened_with_all_its_events() {
        let directory = tempfile::tempdir().expect("a directory");
        let (stop, signal) = StopSignal::new();
        let (opening, last) = opening(directory.path(), signal);
        let reopenable =
            Arc::new(ReopenableChannel::new(opening.keep_opening().await.expect("opens")));
        put(&reopenable, "before").expect("committed");
        let channel = last.lock().expect("unpoisoned").upgrade().expect("open");
        channel.panic_inside();
        drop(channel);
        assert!(put(&reopenable, "refused").is_err());
        assert!(reopenable.status().stopped);
        let watched = Arc::clone(&reopenable);
        let keeping = tokio::spawn(async move { opening.keep_open(&watched).await });
        while put(&reopenable, "after").is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut take = reopenable.begin_take();
        let mut bodies = Vec::new();
        while bodies.len() < 2 {
            bodies.extend(take.take(10).expect("readable").into_iter().map(|e| e.body));
        }
        assert_eq!(bodies, ["before", "after"]);
        take.commit().expect("acknowledged");
        stop.send_replace(true);
        keeping.await.expect("no panic");
        reopenable.close().expect("closed");
    }

    #[tokio::test]
    async fn the_code_of_an_opening_that_failed_is_said_once() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("data"), "a file").expect("written");
        let (stop, signal) = StopSignal::new();
        stop.send_replace(true);
        let (opening, _) = opening(directory.path(), signal);
        let said = captured_log(async { assert!(opening.keep_opening().await.is_none()) }).await;
        assert_eq!(
            (said.matches("MP-1205").count(), said.matches("code=").count()),
            (1, 1),
            "{said}"
        );
        let failure = opening.counters.failure.get().expect("noted");
        assert!(!failure.reason.contains("MP-") && failure.words().ends_with(" (MP-1205)"));
    }

    #[tokio::test]
    async fn a_channel_with_a_stolen_lock_is_unhealthy_and_reopens_later() {
        let disk = Arc::new(SimDisk::new(SimOptions::new(1)));
        let (stop, signal) = StopSignal::new();
        let directory = std::path::Path::new("/c");
        let (opening, _) = opening_on(Some(Arc::clone(&disk)), directory, signal);
        let counters = Arc::clone(&opening.counters);
        let reopenable =
            Arc::new(ReopenableChannel::new(opening.keep_opening().await.expect("opens")));
        put(&reopenable, "before").expect("committed");
        disk.put_in_place(&directory.join("data/in_use.lock"), None).expect("it is there");
        let data = disk.open_dir(&directory.join("data"), false).expect("it is there");
        let other = data.lock("in_use.lock").expect("a file of its own");
        until(|| reopenable.status().stopped).await;
        let status = reopenable.status();
        assert!(status.gave_way && status.refuses(), "{status:?}");
        assert!(status.fault.expect("named").to_string().contains("in_use.lock was removed"));
        let watched = Arc::clone(&reopenable);
        let keeping = tokio::spawn(async move { opening.keep_open(&watched).await });
        let failed = || counters.failure.get().map(|failure| failure.reason).unwrap_or_default();
        until(|| failed().contains("cannot be opened")).await;
        assert_eq!(counters.unhealthy.get(), 1);
        drop(other);
        until(|| put(&reopenable, "after").is_ok()).await;
        assert_eq!((counters.unhealthy.get(), reopenable.status().events), (0, 2));
        stop.send_replace(true);
        keeping.await.expect("no panic");
        reopenable.close().expect("closed");
    }

    async fn until(reached: impl Fn() -> bool) {
        let end = tokio::time::Instant::now() + Duration::from_secs(60);
        while !reached() {
            assert!(tokio::time::Instant::now() < end, "not reached");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[test]
    fn an_intake_without_a_channel_refuses_and_keeps_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let (_stop, signal) = StopSignal::new();
        let (opening, _) = opening(directory.path(), signal);
        let reopenable = ReopenableChannel::new((opening.open)().expect("opens"));
        let old = reopenable.detach(stopped("being opened again")).expect("it was there");
        let refused = put(&reopenable, "x").expect_err("no channel is attached");
        assert!(refused.to_string().contains("being opened again"), "{refused}");
        assert!(!refused.never_fits(), "it may be tried again");
        let unread = reopenable.begin_take().take(1).expect_err("no channel is attached");
        assert!(unread.to_string().contains("being opened again"), "{unread}");
        assert!(reopenable.source_offset("s").is_err(), "no position is known");
        assert!(reopenable.detach(stopped("again")).is_none());
        reopenable.attach(old);
        put(&reopenable, "y").expect("committed");
    }
}
