//! `spooldir`: the files of a directory, each read once and put away.
//!
//! Limits: a batch has `batchSize` events or [`FILE_BATCH_BYTES_MAX`], a line [`SPOOL_LINE_CHARS_MAX`]
//! characters, a listing [`SPOOL_LISTED_MAX`] files at a time, [`SPOOL_DEPTH_MAX`] levels deep;
//! [`SPOOL_ASIDE_MAX`] files can be set aside. One file is open at a time.
//!
//! The story: the directory is listed and the oldest file opened. Its events are handed over batch
//! by batch, each with the place where it ends; at its end, when it has not changed since it was
//! opened, it is renamed, deleted, or noted in the tracker directory. A file that cannot be gone on
//! with (it changes, its bytes are no text, the name it should get is taken, nothing may read it) is
//! named once in an error and set aside, and the others go on; in Flume the source would be dead
//! from then on.
//!
//! Invariants: everything before the place that the channels, or the tracker file, keep is in the
//! channels; no file is renamed or deleted before all of it is; a file in progress goes before any
//! other after a restart; a file that is set aside is not touched.

mod aside;
mod deserializer;
mod directory;
mod place;
mod spool;
mod tracker;

#[cfg(test)]
mod tests;

use super::patience::rest;
use super::reading::beside;
use super::reading::courier::{Courier, Ended, Pace};
#[cfg(doc)]
use crate::base::limits::{
    FILE_BATCH_BYTES_MAX, SPOOL_ASIDE_MAX, SPOOL_DEPTH_MAX, SPOOL_LINE_CHARS_MAX, SPOOL_LISTED_MAX,
};
use crate::channel::BoxFuture;
use crate::codes;
use crate::config::settings::{Key, Kind, SettingError, SettingsReader};
use crate::flow::source::{Failure, Source, SourceContext, SourceType};
use crate::flow::spell::Spell;
use crate::pattern::Pattern;
use deserializer::Format;
pub use deserializer::fuzz;
use spool::{Spool, Turn};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Between two tries to work in a directory that is not there.
const OPEN_AGAIN: Duration = Duration::from_secs(3);

/// The type `spooldir`.
pub const TYPE: SourceType = SourceType {
    names: &["spooldir", "org.apache.flume.source.SpoolDirectorySource"],
    keys: &KEYS,
    build,
};

const OWN_KEYS: [Key; 16] = [
    key("spoolDir", Kind::Path, "", "The directory. It has to exist."),
    key(
        "fileSuffix",
        Kind::Text,
        ".COMPLETED",
        "What is added to the name of a file that is done.",
    ),
    key(
        "deletePolicy",
        Kind::Word,
        "never",
        "never, or immediate: a file that is done is deleted.",
    ),
    key(
        "trackingPolicy",
        Kind::Word,
        "rename",
        "rename, or tracker_dir: the files stay as they are, and an empty file of the same name with the suffix is made in trackerDir.",
    ),
    key(
        "trackerDir",
        Kind::Path,
        ".flumespool",
        "Where the source remembers files; relative to spoolDir. Made when it is missing, also with directories above it.",
    ),
    key("fileHeader", Kind::Boolean, "false", "Whether a header has the path of the file."),
    key("fileHeaderKey", Kind::Text, "file", "The name of that header."),
    key("basenameHeader", Kind::Boolean, "false", "Whether a header has the name of the file."),
    key("basenameHeaderKey", Kind::Text, "basename", "The name of that header."),
    key(
        "includePattern",
        Kind::Text,
        "^.*$",
        "Java's regular expression of the names of files to read.",
    ),
    key(
        "ignorePattern",
        Kind::Text,
        "^$",
        "Of the names of files and directories to leave alone; it goes before includePattern.",
    ),
    key(
        "consumeOrder",
        Kind::Word,
        "oldest",
        "oldest, youngest, or random. A file in progress is finished first.",
    ),
    key("pollDelay", Kind::Number, "500", "Milliseconds between looks into the directory."),
    key(
        "recursiveDirectorySearch",
        Kind::Boolean,
        "false",
        "Whether files of the directories below are read, too.",
    ),
    key(
        "maxBackoff",
        Kind::Number,
        "4000",
        "Milliseconds at most before the channel is tried again.",
    ),
    key(
        "batchSize",
        Kind::Number,
        "100",
        "Events per transaction; at most the channel's transactionCapacity are used.",
    ),
];

const fn key(name: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Key {
    Key { name, kind, default, meaning }
}

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

/// What becomes of a file that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finish {
    Rename,
    Delete,
    /// A file in the tracker directory says it.
    Note,
}

/// Which file goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Oldest,
    Youngest,
    Random,
}

struct Settings {
    /// The source's name.
    name: String,
    directory: PathBuf,
    tracker: PathBuf,
    suffix: String,
    finish: Finish,
    /// Files that the tracker directory names are done, whatever becomes of them now.
    marks_in_tracker: bool,
    include: Pattern,
    ignore: Pattern,
    recursive: bool,
    order: Order,
    file_header: Option<String>,
    basename_header: Option<String>,
    format: Format,
    poll_delay: Duration,
}

struct SpoolDirectory {
    settings: Arc<Settings>,
    batch_events: usize,
    pace: Pace,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<Box<dyn Source>, SettingError> {
    let directory = PathBuf::from(reader.required_text("spoolDir")?);
    let tracker = directory.join(reader.text("trackerDir").unwrap_or(".flumespool"));
    let suffix = reader.text("fileSuffix").unwrap_or(".COMPLETED");
    if suffix.is_empty() {
        return Err(reader.error("fileSuffix", "is empty, so every file would count as done"));
    }
    let delete = reader.word("deletePolicy", &["never", "immediate"])? == Some("immediate");
    let noted = reader.word("trackingPolicy", &["rename", "tracker_dir"])? == Some("tracker_dir");
    let order = reader.word("consumeOrder", &["oldest", "youngest", "random"])?;
    let millis = 0..=u64::from(u32::MAX);
    let settings = Settings {
        name: reader.name().to_owned(),
        directory,
        tracker,
        suffix: suffix.to_owned(),
        finish: match (delete, noted) {
            (true, _) => Finish::Delete,
            (false, true) => Finish::Note,
            (false, false) => Finish::Rename,
        },
        marks_in_tracker: noted,
        include: pattern(reader, "includePattern", "^.*$")?,
        ignore: pattern(reader, "ignorePattern", "^$")?,
        recursive: reader.boolean("recursiveDirectorySearch", false),
        order: match order {
            Some("youngest") => Order::Youngest,
            Some("random") => Order::Random,
            _ => Order::Oldest,
        },
        file_header: header(reader, "fileHeader", "fileHeaderKey", "file"),
        basename_header: header(reader, "basenameHeader", "basenameHeaderKey", "basename"),
        format: Format::read(reader)?,
        poll_delay: reader
            .millis("pollDelay", millis.clone())?
            .unwrap_or(Duration::from_millis(500))
            // Without any pause an empty directory would take a whole core.
            .max(Duration::from_millis(1)),
    };
    let most = reader.millis("maxBackoff", millis)?.unwrap_or(Duration::from_secs(4));
    Ok(Box::new(SpoolDirectory {
        settings: Arc::new(settings),
        batch_events: reader.number("batchSize", 1..=1_000_000)?.unwrap_or(100),
        pace: Pace { first: Duration::from_millis(250).min(most), most },
    }))
}

fn pattern(reader: &SettingsReader<'_>, key: &str, default: &str) -> Result<Pattern, SettingError> {
    Pattern::new(reader.text(key).unwrap_or(default))
        .map_err(|error| reader.error(key, error.to_string()))
}

/// The name of a header, if it is asked for.
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
    /// The directory once it can be worked in; `None` when the source is to stop first. One that cannot
    /// is said and counted, and holds up nothing else: the source counts as started, and is not up.
    async fn opened(&self, context: &SourceContext) -> Result<Option<Spool>, Failure> {
        let spell = Spell::default();
        while !context.stop.fired() {
            let (settings, counters) = (Arc::clone(&self.settings), Arc::clone(&context.counters));
            match beside(move || Spool::open(settings, counters)).await? {
                Ok(spool) => {
                    if let Some(words) = spell.over(context.clock.now()) {
                        tracing::info!(source = context.name, "{words}");
                    }
                    return Ok(Some(spool));
                }
                Err(error) => {
                    context.counters.event_read_fail.add(1);
                    let words = format!("it is tried again every 3 s: {error}");
                    if let Some(words) = spell.failed(context.clock.now(), &words) {
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
        let (mut courier, known) = Courier::begin(context, self.pace).await?;
        let (newest, behind) = (known.newest, known.behind);
        let idle = newest.as_deref() == Some(&place::idle()[..]);
        let within = newest.as_ref().and_then(|bytes| place::decode(bytes));
        let resumed;
        (spool, resumed) =
            on(spool, move |spool| spool.resume(newest.is_some(), within, behind)).await?;
        if behind && idle {
            courier.leave(place::idle).await;
        } else if behind && !resumed {
            courier.forgo();
            courier.leave(place::idle).await;
        }
        context.started();
        let most = self.batch_events.min(context.intake.transaction_capacity()).max(1);
        while !context.stop.fired() {
            let now = context.clock.now();
            let turn;
            (spool, turn) = on(spool, move |spool| spool.turn(most, now)).await?;
            match turn {
                Turn::Idle => rest(context, self.settings.poll_delay).await,
                Turn::Done => {
                    courier.leave(place::idle).await;
                }
                Turn::Batch(pieces, from) => {
                    let place = spool.place();
                    let mark = |from, to| place.encode(from, to);
                    let (upto, ended) = courier.hand_over(pieces, from, mark).await;
                    let now = context.clock.now();
                    let stopped = matches!(ended, Ended::Stopped);
                    let unfit = matches!(ended, Ended::Unfit(_));
                    (spool, ()) = on(spool, move |spool| {
                        if upto != from || matches!(ended, Ended::Done) {
                            spool.reached(upto);
                        }
                        if let Ended::Unfit(error) = ended {
                            spool.unfit(&error.to_string(), now);
                        }
                    })
                    .await?;
                    if unfit {
                        // Another file comes next.
                        courier.give_up(place::idle).await;
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

/// Runs `work` on the spool there, and hands it back.
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
