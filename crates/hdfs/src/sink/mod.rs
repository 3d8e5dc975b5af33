//! `hdfs`: writes events to files on HDFS, or on this machine, whose paths come from the events.
//!
//! Limits: `hdfs.maxOpenFiles` buckets; a call of the file system takes `hdfs.callTimeout`, a stop
//! [`DELIVERY_STOP_SECONDS_MAX`] seconds for all files together; 16 batches, or 1 MiB, are written at a time.
//!
//! A delivery has three steps. Each event gets its directory and prefix ([`path`]); an event that can have none is
//! refused before anything is written, or goes to `hdfs.fallbackPath`. Then every bucket opens its file ([`bucket`]),
//! so that a directory that cannot be written to fails the batch while nothing of it is written. Then all buckets
//! write and sync, several at a time. A take is committed after that: an event that waited in the channel is readable
//! at most [`GATHER`] and one sync later, whatever the size of a batch.
//!
//! Closing and renaming are done by tasks ([`recovery`]), because the NameNode takes half a second for a close. Each
//! open file is in a durable list ([`ledger`]), so that a start finds what a crash left.
//!
//! With `hdfs.exactlyOnce` no event is written while it may be in another file ([`exactly_once`]).
//!
//! Invariants: no existing file is written to or replaced; a file whose call failed gets no further byte; a batch is
//! delivered only when all of it is synced.

mod bucket;
mod buckets;
mod calls;
#[cfg(feature = "parquet")]
mod conversion;
mod exactly_once;
mod file_name;
mod hook;
mod ineffective_keys;
mod key_table;
mod keys;
mod ledger;
mod ledger_state;
mod path;
mod place_error;
mod recovery;
mod target;
#[cfg(test)]
mod tests;
mod time;

use crate::file_system::FileSystem;
use bucket::{BucketError, DeliveryContext, lock};
use buckets::{BucketEvents, BucketKey, Buckets};
use calls::Calls;
use hook::{HookStart, RenameHook};
use keys::{HdfsSettings, Target};
use ledger::{Ledger, LeftFiles};
use millpond::{BoxFuture, Event};
use millpond_flow::base::limits::DELIVERY_STOP_SECONDS_MAX;
use millpond_flow::client_error_log::ClientErrorLog;
use millpond_flow::event_set::EventPlace;
use millpond_flow::interceptor::{host_name, this_machine};
use millpond_flow::settings::{SettingError, SettingsReader};
use millpond_flow::sink::{BatchPlace, Failure, Sink, SinkContext, SinkType};
use path::{HostNames, with_single_slashes};
use recovery::{Closing, ClosingFiles};
use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;
use target::local_name;

/// The type `hdfs`.
pub const TYPE: SinkType = SinkType {
    names: &["hdfs", "org.apache.flume.sink.hdfs.HDFSEventSink"],
    keys: &key_table::KEYS,
    build: |reader| Ok(Box::new(HdfsSink::build(reader)?)),
};

/// How long a batch that is not full waits for more events: each batch costs a sync of every bucket that it has.
const GATHER: Duration = Duration::from_millis(200);
/// Waiting batches that one sync covers.
const BATCHES_TOGETHER: usize = 16;

/// Opens the file system of the settings.
type OpenFileSystem = Box<dyn Fn(&HdfsSettings) -> Result<Arc<dyn FileSystem>, Failure> + Send>;

struct HdfsSink {
    settings: HdfsSettings,
    /// The agent's and the sink's name, as the ledger's file has them.
    ledger_name: String,
    running: Option<Running>,
    buckets: Buckets,
    closing_files: Mutex<ClosingFiles>,
    /// What of events is replaced or not written.
    replaced: ClientErrorLog,
    without_path: ClientErrorLog,
    next_close: Option<Duration>,
    /// Where the events of the next batch are, with `hdfs.exactlyOnce`.
    place: Option<BatchPlace>,
    open: OpenFileSystem,
}

struct Running {
    closing: Closing,
    hosts: HostNames,
}

impl HdfsSink {
    fn build(reader: &mut SettingsReader<'_>) -> Result<Self, SettingError> {
        let settings = HdfsSettings::read(reader)?;
        ineffective_keys::report(reader, &settings.target, settings.format.is_spooled());
        Ok(Self {
            settings,
            ledger_name: local_name(&format!("{}.{}", reader.agent(), reader.name())),
            running: None,
            buckets: Buckets::default(),
            closing_files: Mutex::default(),
            replaced: ClientErrorLog::default(),
            without_path: ClientErrorLog::default(),
            next_close: None,
            place: None,
            open: Box::new(HdfsSettings::file_system),
        })
    }

    async fn run(&mut self, context: &SinkContext) -> Result<(), Failure> {
        let files = self.settings.converting((self.open)(&self.settings)?, &self.ledger_name)?;
        let hosts = self.hosts().await?;
        let (ledger, left) = self.ledger(context).await?;
        let calls = Calls::new(files, self.settings.call_timeout);
        let closing = Closing {
            sink: context.name.clone(),
            hook: self.hook(context, &calls, &left).await?,
            calls,
            ledger,
            counters: Arc::clone(&context.counters),
            tries_max: self.settings.close_tries,
            pause_max: self.settings.retry_interval,
        };
        if left.elsewhere > 0 {
            tracing::warn!(
                sink = context.name,
                files = left.elsewhere,
                "files of an earlier run are on another file system than hdfs.path: they stay as they are until this sink writes there again"
            );
        }
        for name in left.own {
            lock(&self.closing_files).begin(&closing, name, None);
        }
        self.running = Some(Running { closing, hosts });
        Ok(())
    }

    /// Starts the hook of renamed files, if there is one.
    async fn hook(
        &mut self,
        context: &SinkContext,
        calls: &Calls,
        left: &LeftFiles,
    ) -> Result<RenameHook, Failure> {
        let Some(target) = self.settings.hook.clone() else { return Ok(RenameHook::default()) };
        let Some(directory) = self.settings.local_directory() else {
            return Err(HdfsSettings::no_directory());
        };
        let root = match &self.settings.target {
            Target::Local => "file://".to_owned(),
            _ => self.settings.target_name(),
        };
        let place = local_name(&format!("at {}", self.settings.target_name()));
        let directory = directory.join("on-rename").join(&self.ledger_name).join(place);
        let (sink, calls, counters) =
            (context.name.clone(), calls.clone(), Arc::clone(&context.counters));
        let open: HashSet<String> = left.own.iter().map(|name| name.in_use.clone()).collect();
        let start = move || {
            let directory = &directory;
            let start = HookStart { target, sink: &sink, root, calls, counters, directory };
            RenameHook::start(start, |in_use| open.contains(in_use))
        };
        // Its tasks are started there, in this runtime.
        let started = tokio::task::spawn_blocking(start).await;
        started.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(|error| {
            Failure::caused(
                "the notes of renamed files in hdfs.stateDirectory cannot be used",
                error,
            )
        })
    }

    async fn hosts(&mut self) -> Result<HostNames, Failure> {
        if !self.settings.path.names_host() && !self.settings.prefix.names_host() {
            return Ok(HostNames::default());
        }
        let look = || {
            let (address, full_name) =
                (this_machine(false)?.to_owned(), this_machine(true)?.to_owned());
            Ok(HostNames { name: host_name()?, address, full_name })
        };
        let found = tokio::task::spawn_blocking(look).await;
        found.unwrap_or_else(|error| Err(error.to_string())).map_err(|error: String| {
            Failure::new(format!(
                "hdfs.path has %[…], and this machine's name is not known: {error}"
            ))
        })
    }

    async fn ledger(&mut self, context: &SinkContext) -> Result<(Ledger, LeftFiles), Failure> {
        let given = self.settings.state_directory.clone();
        let is_required = given.is_some() || self.settings.exactly_once;
        let Some(directory) = self.settings.local_directory() else {
            if is_required {
                return Err(Failure::new(
                    "hdfs.exactlyOnce needs a directory for what is in which file: set hdfs.stateDirectory",
                ));
            }
            tracing::warn!(
                sink = context.name,
                "no home directory and no hdfs.stateDirectory: files that a crash leaves open keep their names"
            );
            return Ok((Ledger::default(), LeftFiles::default()));
        };
        let (name, target) = (self.ledger_name.clone(), self.settings.target_name());
        let path = directory.clone();
        let open = move || Ledger::open(&path, &name, &target);
        let opened =
            tokio::task::spawn_blocking(open).await.unwrap_or_else(|e| Err(io::Error::other(e)));
        let shown = directory.display();
        match opened {
            Ok(opened) => Ok(opened),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                Err(Failure::new(format!(
                    "the list of open files in {shown} is in use by a sink of the same name; set hdfs.stateDirectory to another directory"
                )))
            }
            Err(error) if is_required => {
                Err(Failure::caused(format!("hdfs.stateDirectory {shown} cannot be used"), error))
            }
            Err(error) => {
                tracing::warn!(sink = context.name, %error, "no list of open files in {shown} (hdfs.stateDirectory): files that a crash leaves open keep their names");
                Ok((Ledger::default(), LeftFiles::default()))
            }
        }
    }

    /// Returns the events by bucket. `impossible` are buckets that the file system refuses for good.
    fn by_bucket(
        &self,
        context: &SinkContext,
        (batch, places): (&[Event], &[EventPlace]),
        impossible: &HashSet<BucketKey>,
    ) -> Result<Vec<BucketEvents>, Failure> {
        let Some(running) = &self.running else { return Err(Failure::new("it is not started")) };
        let (settings, wall_ms) = (&self.settings, context.clock.wall_ms());
        let mut groups: Vec<BucketEvents> = Vec::new();
        let mut found: HashMap<BucketKey, usize> = HashMap::new();
        for (n, event) in batch.iter().enumerate() {
            let expand = |template: &path::PathTemplate, out: &mut String| {
                template.expand(event, &settings.time, wall_ms, &running.hosts, out)
            };
            let (mut directory, mut prefix) = (String::new(), String::new());
            let expanded = expand(&settings.path, &mut directory)
                .and_then(|one| Ok(one | expand(&settings.prefix, &mut prefix)?));
            let key = match (expanded, &settings.fallback) {
                (Ok(replaced), _) => {
                    if replaced {
                        self.report_replaced(context, &directory);
                    }
                    BucketKey { directory: with_single_slashes(&directory), prefix }
                }
                (Err(error), Some(fallback)) => {
                    self.report_without_path(context, &error.to_string(), fallback);
                    fallback_key(fallback)
                }
                (Err(error), None) => {
                    let what = format!(
                        "an event has no path on HDFS: {error}; or set deadLetter.directory or hdfs.fallbackPath for such events"
                    );
                    return Err(Failure::new(what).refused_for_ever());
                }
            };
            let key = match &settings.fallback {
                Some(fallback) if impossible.contains(&key) => {
                    let why = "HDFS does not accept a name in its path";
                    self.report_without_path(context, why, fallback);
                    fallback_key(fallback)
                }
                _ => key,
            };
            let next = groups.len();
            let at = *found.entry(key.clone()).or_insert(next);
            if at == next {
                groups.push(BucketEvents { key, events: Vec::new(), places: Vec::new() });
            }
            groups[at].events.push(event.clone());
            groups[at].places.extend(places.get(n));
        }
        Ok(groups)
    }

    /// Refuses a batch with an event that fits in no file, before anything is written.
    fn check(&self, context: &SinkContext, batch: &[Event]) -> Result<(), Failure> {
        let mut check = self.settings.format.event_check();
        for event in batch {
            match check.check(event) {
                Ok(None) => {}
                Ok(Some(name)) => {
                    let what = format!(
                        "a body has the field {name}, for which the schema has no column: it is not written; add a column, or one _extra"
                    );
                    if let Some(words) = self.replaced.note(context.clock.now(), "field", &what) {
                        tracing::warn!(sink = context.name, "{words}");
                    }
                }
                Err(error) if error.is_final() => {
                    return Err(Failure::new(error.to_string()).refused_for_ever());
                }
                Err(error) => return Err(Failure::new(error.to_string())),
            }
        }
        Ok(())
    }

    fn report_replaced(&self, context: &SinkContext, directory: &str) {
        let what =
            "an event's headers have characters or names that no path may have; they were replaced";
        if let Some(words) = self.replaced.note(context.clock.now(), "path", what) {
            let path = millpond_flow::base::escape::EscapedLine(directory);
            tracing::warn!(sink = context.name, %path, "{words}");
        }
    }

    fn report_without_path(&self, context: &SinkContext, why: &str, fallback: &str) {
        let what = "an event has no path on HDFS and is written to another directory";
        if let Some(words) = self.without_path.note(context.clock.now(), "path", what) {
            let why = millpond_flow::base::escape::EscapedLine(why);
            tracing::warn!(sink = context.name, directory = fallback, %why, "{words} (hdfs.fallbackPath)");
        }
    }

    async fn write(&mut self, context: &SinkContext, batch: &[Event]) -> Result<(), Failure> {
        self.close_due(context.clock.now());
        if let Some(left) = lock(&self.closing_files).too_many() {
            return Err(Failure::new(format!(
                "{left} files of hdfs.path cannot be closed and renamed; the log has the reason of each, as \"a file is not closed\""
            )));
        }
        let room = lock(&self.closing_files).permits();
        let _ = room.acquire().await;
        self.check(context, batch)?;
        if self.settings.exactly_once {
            return self.write_once(context, batch).await;
        }
        self.write_all(context, batch, None).await
    }

    /// Writes `batch`; with its channel and the places of its events if these are recorded.
    async fn write_all(
        &mut self,
        context: &SinkContext,
        batch: &[Event],
        origin: Option<(u128, &[EventPlace])>,
    ) -> Result<(), Failure> {
        let (channel, places) = origin.unzip();
        let mut impossible = HashSet::new();
        loop {
            let groups =
                self.by_bucket(context, (batch, places.unwrap_or_default()), &impossible)?;
            let wave = self.settings.open_files_max;
            let (first, others) = groups.split_at(wave.min(groups.len()));
            match self.deliver_to(context, first, channel).await {
                Ok(()) => {}
                // Nothing is written yet.
                Err(FailedDelivery { refused: Some(key), .. })
                    if self.settings.fallback.is_some() && !impossible.contains(&key) =>
                {
                    impossible.insert(key);
                    continue;
                }
                Err(failed) => return Err(failed.failure),
            }
            for wave in others.chunks(wave) {
                self.deliver_to(context, wave, channel).await.map_err(|failed| failed.failure)?;
            }
            return Ok(());
        }
    }

    async fn deliver_to(
        &mut self,
        context: &SinkContext,
        groups: &[BucketEvents],
        channel: Option<u128>,
    ) -> Result<(), FailedDelivery> {
        let Some(running) = &self.running else { return Ok(()) };
        let (settings, closing_files) = (&self.settings, &self.closing_files);
        let closing = &running.closing;
        let now = context.clock.now();
        let delivery = DeliveryContext {
            closing,
            closing_files,
            format: &settings.format,
            names: &settings.names,
            rolls: &settings.rolls,
            now,
            channel,
            // The runner joins batches when more of them wait.
            is_backlog: groups.iter().map(|group| group.events.len()).sum::<usize>()
                > settings.batch_events,
        };
        let times = (context.clock.wall_ms(), now);
        let most = settings.open_files_max;
        let mut buckets = self.buckets.of(groups, most, times, (closing, closing_files));
        let at_once = settings.calls_at_once;
        let opens = buckets.iter_mut().map(|(bucket, group)| {
            let ready = bucket.ready(&delivery, group.places.first());
            Box::pin(async move { ready.await.map_err(|error| (error, &group.key)) })
                as BoxFuture<'_, _>
        });
        let opened = first_error::<&BucketKey>(all_of(opens.collect(), at_once).await);
        if let Err((error, key)) = opened {
            let refused = error.is_final().then(|| key.clone());
            let failed = FailedDelivery { failure: failure(&error), refused };
            let is_it = |of: &BucketKey| Some(of) == failed.refused.as_ref();
            self.buckets.close_if((closing, closing_files), |key, _| is_it(key));
            return Err(failed);
        }
        let writes = buckets.iter_mut().map(|(bucket, group)| {
            let written = bucket.deliver(&delivery, &group.events, &group.places);
            Box::pin(async move { written.await.map_err(|error| (error, ())) }) as BoxFuture<'_, _>
        });
        let written = first_error(all_of(writes.collect(), at_once).await);
        self.next_close = self.buckets.next_close(&settings.rolls);
        written.map_err(|(error, ())| FailedDelivery { failure: failure(&error), refused: None })
    }

    fn close_due(&mut self, now: Duration) {
        let Some(running) = &self.running else { return };
        if self.next_close.is_none_or(|at| now < at) {
            return;
        }
        let rolls = &self.settings.rolls;
        let is_due = |_: &BucketKey, bucket: &bucket::Bucket| {
            bucket.closes_at(rolls).is_some_and(|at| now >= at)
        };
        let closing = (&running.closing, &self.closing_files);
        self.buckets.close_if(closing, is_due);
        self.buckets.close_full(closing, rolls, now);
        self.next_close = self.buckets.next_close(rolls);
    }
}

/// A delivery that failed.
struct FailedDelivery {
    failure: Failure,
    /// The bucket that can never be; nothing was written then.
    refused: Option<BucketKey>,
}

fn failure(error: &BucketError) -> Failure {
    let failure = Failure::new(error.to_string());
    match error {
        error if error.is_of_the_event() => failure.refused_for_ever(),
        error if error.is_final() => failure.refused(),
        _ => failure,
    }
}

fn fallback_key(fallback: &str) -> BucketKey {
    BucketKey { directory: with_single_slashes(fallback), prefix: "FlumeData".to_owned() }
}

/// Returns the error that matters most: one after which trying again may help, because all the others are met again.
fn first_error<K>(results: Vec<Result<(), (BucketError, K)>>) -> Result<(), (BucketError, K)> {
    let errors = results.into_iter().filter_map(Result::err);
    errors.min_by_key(|(error, _)| error.is_final()).map_or(Ok(()), Err)
}

/// Runs `calls`, `at_once` of them at a time, and returns what they returned.
async fn all_of<T>(calls: Vec<BoxFuture<'_, T>>, at_once: usize) -> Vec<T> {
    let mut done = Vec::with_capacity(calls.len());
    let mut waiting = calls.into_iter();
    let mut running: Vec<BoxFuture<'_, T>> = Vec::new();
    poll_fn(|context| {
        loop {
            running.extend(waiting.by_ref().take(at_once.max(1) - running.len()));
            let before = done.len();
            running.retain_mut(|call| match call.as_mut().poll(context) {
                Poll::Ready(result) => {
                    done.push(result);
                    false
                }
                Poll::Pending => true,
            });
            if running.is_empty() && waiting.len() == 0 {
                return Poll::Ready(());
            }
            if done.len() == before {
                return Poll::Pending;
            }
        }
    })
    .await;
    done
}

impl Sink for HdfsSink {
    fn batch_events(&self) -> usize {
        self.settings.batch_events
    }

    fn start<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.run(context))
    }

    fn deliver<'a>(
        &'a mut self,
        context: &'a SinkContext,
        batch: &'a [Event],
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.write(context, batch))
    }

    fn wants_place(&self) -> bool {
        self.settings.exactly_once
    }

    fn place(&mut self, place: BatchPlace) {
        self.place = Some(place);
    }

    fn may_refuse(&self) -> bool {
        true
    }

    fn batches_together(&self) -> usize {
        BATCHES_TOGETHER
    }

    fn linger(&self) -> Duration {
        GATHER
    }

    fn next_tick(&self) -> Option<Duration> {
        self.next_close
    }

    fn tick<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            self.close_due(context.clock.now());
            Ok(())
        })
    }

    fn stop<'a>(&'a mut self, _: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let Some(running) = self.running.take() else { return Ok(()) };
            self.buckets.close_if((&running.closing, &self.closing_files), |_, _| true);
            self.next_close = None;
            let closing_files =
                self.closing_files.get_mut().unwrap_or_else(PoisonError::into_inner);
            let limit = Duration::from_secs(DELIVERY_STOP_SECONDS_MAX);
            let begun = tokio::time::Instant::now();
            let left = closing_files.end(limit).await;
            running.closing.hook.end(limit.saturating_sub(begun.elapsed())).await;
            match left {
                0 => Ok(()),
                left => Err(Failure::new(format!(
                    "{left} files are not closed and renamed {DELIVERY_STOP_SECONDS_MAX} s after the stop; the next start does it"
                ))),
            }
        })
    }
}
