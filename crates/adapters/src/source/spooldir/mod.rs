//! `spooldir`: reads each file of a directory once, then renames, deletes or marks it.
//!
//! Limits: a batch has `batchSize` events or [`FILE_BATCH_BYTES_MAX`], a line [`SPOOL_LINE_CHARS_MAX`] characters, a
//! listing [`SPOOL_LISTED_MAX`] files at a time, [`SPOOL_DEPTH_MAX`] levels deep; [`SPOOL_ASIDE_MAX`] files can be
//! set aside. One file is open at a time.
//!
//! The directory is listed and the oldest file opened. Its events are committed batch by batch, each with the offset
//! of its end. At the end, if the file has not changed since it was opened, it is renamed, deleted, or marked in the
//! tracker directory. A file that cannot be continued (it changes, its bytes are not text, its target name is taken,
//! or it is unreadable) is logged once as an error and set aside, and the others are read; in Flume the source would
//! stop for good.
//!
//! Invariants: everything before the offset in the channels or the tracker file is in the channels; no file is
//! renamed or deleted before all of it is; after a restart the file in progress comes first; a file that is set aside
//! is not modified.

mod deferred_files;
mod deserializer;
mod listing;
mod offset;
mod settings;
mod spool;
mod tracker;

#[cfg(test)]
mod tests;

use super::commit_retry::rest;
use super::file_reading::batch_commit::{FileBatchCommitter, FileCommitOutcome, RetryPauses};
use super::file_reading::beside;
use crate::source::spooldir::settings::ConsumeOrder;
use crate::source::spooldir::settings::FinishedFileAction;
use crate::source::spooldir::settings::SpoolSettings;
use deserializer::DeserializerFormat;
#[cfg(any(test, feature = "testing"))]
pub use deserializer::fuzz;
use millpond::BoxFuture;
#[cfg(doc)]
use millpond_flow::base::limits::{
    FILE_BATCH_BYTES_MAX, SPOOL_ASIDE_MAX, SPOOL_DEPTH_MAX, SPOOL_LINE_CHARS_MAX, SPOOL_LISTED_MAX,
};
use millpond_flow::codes;
use millpond_flow::failure_log::FailureLog;
use millpond_flow::pattern::Pattern;
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader, key};
use millpond_flow::source::{Failure, Source, SourceContext, SourceType};
use spool::{Spool, SpoolStep};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Pause between two tries to open a missing directory.
const OPEN_AGAIN: Duration = Duration::from_secs(3);

/// The type `spooldir`.
pub const TYPE: SourceType = SourceType {
    names: &["spooldir", "org.apache.flume.source.SpoolDirectorySource"],
    keys: &KEYS,
    build,
};

const OWN_KEYS: [Key; 16] = [
    key("spoolDir", KeyKind::Path, "", "The directory. It has to exist."),
    key(
        "fileSuffix",
        KeyKind::Text,
        ".COMPLETED",
        "The suffix added to the name of a complete file.",
    ),
    key("deletePolicy", KeyKind::Word, "never", "never, or immediate: a complete file is deleted."),
    key(
        "trackingPolicy",
        KeyKind::Word,
        "rename",
        "rename, or tracker_dir: the files stay as they are, and an empty file of the same name with the suffix is made in trackerDir.",
    ),
    key(
        "trackerDir",
        KeyKind::Path,
        ".flumespool",
        "Where the source remembers files; relative to spoolDir. Made when it is missing, also with directories above it.",
    ),
    key("fileHeader", KeyKind::Boolean, "false", "Whether a header has the path of the file."),
    key("fileHeaderKey", KeyKind::Text, "file", "The name of that header."),
    key("basenameHeader", KeyKind::Boolean, "false", "Whether a header has the name of the file."),
    key("basenameHeaderKey", KeyKind::Text, "basename", "The name of that header."),
    key(
        "includePattern",
        KeyKind::Text,
        "^.*$",
        "Java's regular expression of the names of files to read.",
    ),
    key(
        "ignorePattern",
        KeyKind::Text,
        "^$",
        "Java's regular expression of the names of files and directories to skip; takes precedence over includePattern.",
    ),
    key(
        "consumeOrder",
        KeyKind::Word,
        "oldest",
        "oldest, youngest, or random. A file in progress is finished first.",
    ),
    key("pollDelay", KeyKind::Number, "500", "Milliseconds between listings of the directory."),
    key(
        "recursiveDirectorySearch",
        KeyKind::Boolean,
        "false",
        "Whether files of subdirectories are read, too.",
    ),
    key(
        "maxBackoff",
        KeyKind::Number,
        "4000",
        "Milliseconds at most before the channel is tried again.",
    ),
    key(
        "batchSize",
        KeyKind::Number,
        "100",
        "Events per transaction; at most the channel's transactionCapacity are used.",
    ),
];

const KEYS: [Key; OWN_KEYS.len() + deserializer::KEYS.len()] = {
    let mut keys = [OWN_KEYS[0]; OWN_KEYS.len() + deserializer::KEYS.len()];
    let mut at = 0;
    while at < keys.len() {
        keys[at] = if at < OWN_KEYS.len() {
            OWN_KEYS[at]
        } else {
            deserializer::KEYS[at - OWN_KEYS.len()]
        };
        at += 1;
    }
    keys
};

struct SpoolDirectory {
    settings: Arc<SpoolSettings>,
    batch_events: usize,
    pace: RetryPauses,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<Box<dyn Source>, SettingError> {
    let directory = PathBuf::from(reader.required_text("spoolDir")?);
    let tracker = directory.join(reader.text("trackerDir").unwrap_or(".flumespool"));
    let suffix = reader.text("fileSuffix").unwrap_or(".COMPLETED");
    if suffix.is_empty() {
        return Err(reader.error("fileSuffix", "is empty, so every file would count as complete"));
    }
    let delete = reader.word("deletePolicy", &["never", "immediate"])? == Some("immediate");
    let noted = reader.word("trackingPolicy", &["rename", "tracker_dir"])? == Some("tracker_dir");
    let order = reader.word("consumeOrder", &["oldest", "youngest", "random"])?;
    let millis = 0..=u64::from(u32::MAX);
    let settings = SpoolSettings {
        name: reader.name().to_owned(),
        directory,
        tracker,
        suffix: suffix.to_owned(),
        finish: match (delete, noted) {
            (true, _) => FinishedFileAction::Delete,
            (false, true) => FinishedFileAction::Note,
            (false, false) => FinishedFileAction::Rename,
        },
        marks_in_tracker: noted,
        include: pattern(reader, "includePattern", "^.*$")?,
        ignore: pattern(reader, "ignorePattern", "^$")?,
        recursive: reader.boolean("recursiveDirectorySearch", false),
        order: match order {
            Some("youngest") => ConsumeOrder::Youngest,
            Some("random") => ConsumeOrder::Random,
            _ => ConsumeOrder::Oldest,
        },
        file_header: header(reader, "fileHeader", "fileHeaderKey", "file"),
        basename_header: header(reader, "basenameHeader", "basenameHeaderKey", "basename"),
        format: DeserializerFormat::read(reader)?,
        poll_delay: reader
            .millis("pollDelay", millis.clone())?
            .unwrap_or(Duration::from_millis(500))
            // Without a pause an empty directory would occupy a whole core.
            .max(Duration::from_millis(1)),
    };
    let most = reader.millis("maxBackoff", millis)?.unwrap_or(Duration::from_secs(4));
    Ok(Box::new(SpoolDirectory {
        settings: Arc::new(settings),
        batch_events: reader.number("batchSize", 1..=1_000_000)?.unwrap_or(100),
        pace: RetryPauses { first: Duration::from_millis(250).min(most), most },
    }))
}

fn pattern(reader: &SettingsReader<'_>, key: &str, default: &str) -> Result<Pattern, SettingError> {
    Pattern::new(reader.text(key).unwrap_or(default))
        .map_err(|error| reader.error(key, error.to_string()))
}

/// Returns the name of a header, if it is enabled.
fn header(reader: &mut SettingsReader<'_>, on: &str, name: &str, default: &str) -> Option<String> {
    reader.boolean(on, false).then(|| reader.text(name).unwrap_or(default).to_owned())
}

impl Source for SpoolDirectory {
    fn preflight(&self) -> BoxFuture<'_, Result<(), Failure>> {
        let settings = Arc::clone(&self.settings);
        Box::pin(async move {
            let opened = tokio::task::spawn_blocking(move || Spool::open(settings, Arc::default()));
            let opened = opened.await;
            opened.map_err(|error| Failure::caused("spoolDir was not looked at", error))?.map(drop)
        })
    }

    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.spool(context))
    }
}

impl SpoolDirectory {
    /// Returns the directory once it is usable; `None` when the source is stopped first. A failure is logged and
    /// counted and delays nothing else: the source counts as started, but not as up.
    async fn opened(&self, context: &SourceContext) -> Result<Option<Spool>, Failure> {
        let failure_log = FailureLog::default();
        while !context.stop.fired() {
            let (settings, counters) = (Arc::clone(&self.settings), Arc::clone(&context.counters));
            match beside(move || Spool::open(settings, counters)).await? {
                Ok(spool) => {
                    if let Some(words) = failure_log.over(context.clock.now()) {
                        tracing::info!(source = context.name, "{words}");
                    }
                    return Ok(Some(spool));
                }
                Err(error) => {
                    context.counters.event_read_fail.add(1);
                    let words = format!("it is tried again every 3 s: {error}");
                    if let Some(words) = failure_log.failed(context.clock.now(), &words) {
                        tracing::error!(
                            code = %codes::SPOOL_UNREADABLE,
                            source = context.name,
                            "spoolDir cannot be read or worked in; {words}"
                        );
                    }
                }
            }
            context.waits();
            rest(context, OPEN_AGAIN).await;
        }
        Ok(None)
    }

    async fn spool(&self, context: &SourceContext) -> Result<(), Failure> {
        let Some(mut spool) = self.opened(context).await? else { return Ok(()) };
        let (mut committer, known) = FileBatchCommitter::begin(context, self.pace).await?;
        let (newest, behind) = (known.newest, known.behind);
        let idle = newest.as_deref() == Some(&offset::idle()[..]);
        let within = newest.as_ref().and_then(|bytes| offset::decode(bytes));
        let resumed;
        (spool, resumed) =
            on(spool, move |spool| spool.resume(newest.is_some(), within, behind)).await?;
        if behind && idle {
            committer.leave(offset::idle).await;
        } else if behind && !resumed {
            committer.forgo();
            committer.leave(offset::idle).await;
        }
        context.started();
        let most = self.batch_events.min(context.intake.transaction_capacity()).max(1);
        while !context.stop.fired() {
            let now = context.clock.now();
            let turn;
            (spool, turn) = on(spool, move |spool| spool.turn(most, now)).await?;
            match turn {
                SpoolStep::Idle => rest(context, self.settings.poll_delay).await,
                SpoolStep::Done => {
                    committer.leave(offset::idle).await;
                }
                SpoolStep::Batch(pieces, from) => {
                    let place = spool.place();
                    let mark = |from, to| place.encode(from, to);
                    let (upto, ended) = committer.hand_over(pieces, from, mark).await;
                    let now = context.clock.now();
                    let stopped = matches!(ended, FileCommitOutcome::Stopped);
                    let unfit = matches!(ended, FileCommitOutcome::Unfit(_));
                    (spool, ()) = on(spool, move |spool| {
                        if upto != from || matches!(ended, FileCommitOutcome::Done) {
                            spool.reached(upto);
                        }
                        if let FileCommitOutcome::Unfit(error) = ended {
                            spool.unfit(&error.to_string(), now);
                        }
                    })
                    .await?;
                    if unfit {
                        // Another file comes next.
                        committer.give_up(offset::idle).await;
                    }
                    if stopped {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Runs `work` on a blocking thread and returns the spool.
async fn on<T: Send + 'static>(
    mut spool: Spool,
    work: impl FnOnce(&mut Spool) -> T + Send + 'static,
) -> Result<(Spool, T), Failure> {
    beside(move || {
        let done = work(&mut spool);
        (spool, done)
    })
    .await
}
