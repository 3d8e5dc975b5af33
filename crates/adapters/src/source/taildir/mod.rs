//! `taildir`: reads the lines appended to files, from the offset last committed.
//!
//! Limits: a batch has `batchSize` lines or [`FILE_BATCH_BYTES_MAX`], a line [`TAIL_LINE_BYTES_MAX`], a source
//! [`TAIL_FILES_MAX`] files, of which [`TAIL_OPEN_MAX`] are open; a file is read for at most
//! [`TAIL_BATCHES_PER_TURN`] batches before the next file's turn.
//!
//! The directories are scanned for files whose names match. A file is identified by inode, creation time, and
//! checksums of its first bytes and of the last bytes read, whatever its name: a renamed file is not read again, but
//! a file that reuses an inode or was rewritten is. Where channels keep source offsets, a batch carries the offsets
//! of the files that changed since the journal next to the position file was written. New lines are committed file by
//! file, each batch with the offset of its end. An unterminated last line waits for its newline, or until the file
//! has not changed for `idleTimeout`. A file that is renamed away or removed stays open for that time and is read to
//! its end.
//!
//! Invariants: all data before the offset in the channels or the position file is in the channels; an offset is never
//! applied to a file with another beginning; an unreadable file or directory does not delay the others.

mod group;
mod identity;
mod inode;
mod journal;
mod offset;
mod position_file;
mod previous_files;
mod settings;
mod tail;
mod tails;

#[cfg(test)]
mod tests;

use super::file_reading::batch_commit::{FileBatchCommitter, FileCommitOutcome, RetryPauses};
use super::file_reading::{FileOffset, beside};
use crate::source::taildir::settings::FileGroup;
use crate::source::taildir::settings::TailSettings;
use inode::InodeId;
use journal::OffsetJournal;
use millpond::BoxFuture;
#[cfg(doc)]
use millpond_flow::base::limits::{
    FILE_BATCH_BYTES_MAX, TAIL_FILES_MAX, TAIL_LINE_BYTES_MAX, TAIL_OPEN_MAX,
};
use millpond_flow::base::limits::{TAIL_BATCHES_PER_TURN, TAIL_LOOKS_FOR_A_BATCH};
use millpond_flow::base::{access_check, files};
use millpond_flow::codes;
use millpond_flow::metrics::DropReason;
use millpond_flow::pattern::Pattern;
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader, Severity, key};
use millpond_flow::source::{Failure, Source, SourceContext, SourceType};
use offset::TailOffset;
use position_file::{PositionFile, PositionFileOwner};
use previous_files::PreviousFiles;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tails::{TailBatch, TailedFiles};

/// The type `taildir`.
pub const TYPE: SourceType = SourceType {
    names: &["taildir", "org.apache.flume.source.taildir.TaildirSource"],
    keys: &KEYS,
    build,
};

const KEYS: [Key; 13] = [
    key("filegroups", KeyKind::Names, "", "Names of groups of files."),
    key(
        "filegroups.*",
        KeyKind::Text,
        "",
        "Of each group, an absolute path: a directory, and in its last part Java's regular expression of names in it.",
    ),
    key(
        "headers.*",
        KeyKind::Text,
        "",
        "headers.GROUP.NAME: a header of every event of the group.",
    ),
    key(
        "positionFile",
        KeyKind::Path,
        "~/.flume/taildir_position.json",
        "Path of the position file, in Flume's JSON. Missing directories above it are created.",
    ),
    key(
        "batchSize",
        KeyKind::Number,
        "100",
        "Lines per transaction; at most the channel's transactionCapacity are used.",
    ),
    key(
        "maxBatchCount",
        KeyKind::Number,
        "9223372036854775807",
        "Batches of one file before the next has its turn; 64 at most.",
    ),
    key(
        "skipToEnd",
        KeyKind::Boolean,
        "false",
        "Whether files that exist at the start without a known position are read from their end.",
    ),
    key(
        "byteOffsetHeader",
        KeyKind::Boolean,
        "false",
        "Whether the header byteoffset holds the offset of the line in its file.",
    ),
    key(
        "idleTimeout",
        KeyKind::Number,
        "120000",
        "Milliseconds after which a file that does not grow is closed; a last line without newline is an event then.",
    ),
    key(
        "writePosInterval",
        KeyKind::Number,
        "3000",
        "Milliseconds between writes of positionFile.",
    ),
    key(
        "cachePatternMatching",
        KeyKind::Boolean,
        "true",
        "Whether a directory that has not changed is not listed again.",
    ),
    key("fileHeader", KeyKind::Boolean, "false", "Whether a header has the path of the file."),
    key("fileHeaderKey", KeyKind::Text, "file", "The name of that header."),
];

/// Pause after a refusal by the channel: first and longest.
const PACE: RetryPauses =
    RetryPauses { first: Duration::from_secs(1), most: Duration::from_secs(5) };

struct TailDirectory {
    settings: Arc<TailSettings>,
    position_file: PathBuf,
    write_interval: Duration,
    batch_events: usize,
    batches_per_turn: u64,
    /// The pause after a round without data grows by `step` up to `most`.
    step: Duration,
    most: Duration,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<Box<dyn Source>, SettingError> {
    let millis = 0..=u64::from(u32::MAX);
    let mut pause = |key: &str, default| -> Result<Duration, SettingError> {
        Ok(reader.millis(key, millis.clone())?.unwrap_or(Duration::from_millis(default)))
    };
    let step = pause("backoffSleepIncrement", 1000)?;
    let most = pause("maxBackoffSleep", 5000)?;
    let write_interval = pause("writePosInterval", 3000)?;
    let settings = settings_of(reader)?;
    let position_file = match reader.text("positionFile") {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => {
            let home = files::home_directory().ok_or_else(|| {
                let message =
                    "is not set, and without a home directory there is no default; set it";
                reader.error("positionFile", message)
            })?;
            home.join(".flume/taildir_position.json")
        }
    };
    let batches = reader.integer("maxBatchCount")?.unwrap_or(i64::MAX);
    if batches <= 0 {
        let message = format!("{batches} is taken as the default, as in Flume");
        reader.find(Severity::Warning, "maxBatchCount", message);
    }
    let batches = u64::try_from(batches).ok().filter(|batches| *batches > 0);
    Ok(Box::new(TailDirectory {
        settings: Arc::new(settings),
        position_file,
        write_interval,
        batch_events: reader.number("batchSize", 1..=1_000_000)?.unwrap_or(100),
        batches_per_turn: batches.unwrap_or(u64::MAX).min(TAIL_BATCHES_PER_TURN),
        // Without a pause idle files would occupy a whole core.
        step: step.max(Duration::from_millis(1)),
        most: most.max(Duration::from_millis(1)),
    }))
}

fn settings_of(reader: &mut SettingsReader<'_>) -> Result<TailSettings, SettingError> {
    let idle = reader.millis("idleTimeout", 0..=u64::from(u32::MAX))?;
    Ok(TailSettings {
        name: reader.name().to_owned(),
        agent: reader.agent().to_owned(),
        groups: groups(reader)?,
        cached: reader.boolean("cachePatternMatching", true),
        skip_to_end: reader.boolean("skipToEnd", false),
        byte_offset_header: reader.boolean("byteOffsetHeader", false),
        file_header: reader
            .boolean("fileHeader", false)
            .then(|| reader.text("fileHeaderKey").unwrap_or("file").to_owned()),
        idle: idle.unwrap_or(Duration::from_secs(120)),
    })
}

fn groups(reader: &mut SettingsReader<'_>) -> Result<Vec<FileGroup>, SettingError> {
    let listed = reader.required_text("filegroups")?;
    let mut groups: Vec<FileGroup> = Vec::new();
    for name in listed.split_whitespace() {
        let key = format!("filegroups.{name}");
        if groups.iter().any(|group| group.name == name) {
            continue;
        }
        let Some(path) = reader.text(&key).filter(|path| !path.is_empty()) else {
            let message = format!("{key} is not set: the group is left out, as in Flume");
            reader.find(Severity::Warning, "filegroups", message);
            continue;
        };
        let (directory, names) = match path.rsplit_once('/') {
            Some((directory, names)) if !names.is_empty() => (directory, names),
            _ => {
                let message = format!(
                    "\"{path}\" is not a path of a directory followed by a pattern of names"
                );
                return Err(reader.error(&key, message));
            }
        };
        let directory = if directory.is_empty() { "/" } else { directory };
        let pattern = Pattern::new(names).map_err(|error| reader.error(&key, error.to_string()))?;
        let headers = reader.settings().subset(&format!("headers.{name}."));
        let headers = headers.entries.into_iter().map(|(header, setting)| (header, setting.value));
        groups.push(FileGroup {
            name: name.to_owned(),
            directory: files::absolute(Path::new(directory)),
            pattern: names.to_owned(),
            names: pattern,
            headers: Arc::new(headers.collect()),
        });
    }
    if groups.is_empty() {
        return Err(reader.error("filegroups", "none of the groups has a path"));
    }
    Ok(groups)
}

/// Checks the preconditions of a start without changing anything: the position file is writable and the directories
/// of the groups are readable. A missing directory is not an error, as the source waits for it.
fn try_directories(settings: &TailSettings, position_file: &Path) -> Result<(), Failure> {
    let directory = position_file.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(why) = access_check::unmakable(directory.unwrap_or(Path::new("."))) {
        return Err(Failure::new(format!("positionFile cannot be written: {why}")));
    }
    if let Some(why) = access_check::unwritable(position_file) {
        return Err(Failure::new(format!("positionFile cannot be used: {why}")));
    }
    for group in &settings.groups {
        match files::list(&group.directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let (name, directory) = (&group.name, group.directory.display());
                let what = format!("the directory {directory} of filegroups.{name} cannot be read");
                return Err(Failure::caused(what, error));
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

impl Source for TailDirectory {
    fn preflight(&self) -> BoxFuture<'_, Result<(), Failure>> {
        let (settings, file) = (Arc::clone(&self.settings), self.position_file.clone());
        Box::pin(async move { beside(move || try_directories(&settings, &file)).await? })
    }

    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.tail(context))
    }
}

/// The state on disk: the files, and Flume's position file.
struct TailState {
    tails: TailedFiles,
    file: PositionFile,
}

impl TailDirectory {
    async fn tail(&self, context: &SourceContext) -> Result<(), Failure> {
        let (mut committer, known) = FileBatchCommitter::begin(context, PACE).await?;
        let place = known.newest.as_ref().and_then(|bytes| TailOffset::decode(bytes));
        let marked = committer.keeps_offsets();
        let again = place.clone().filter(|_| known.behind);
        let (mut disk, era) = self.open(context, place, marked, known.era).await?;
        context.started();
        if known.behind {
            disk = self.put_again(context, &mut committer, disk, again).await?;
        }
        committer.begin_era(era);
        let mut quiet = 0;
        while !context.stop.fired() {
            let (back, read, stopped) = self.round(context, &mut committer, disk).await?;
            disk = back;
            if stopped {
                break;
            }
            quiet = if read { 0 } else { quiet + 1 };
            let pause = self.step.saturating_mul(quiet.max(1)).min(self.most);
            disk = self.pause(context, disk, pause).await?;
        }
        let (name, now) = (context.name.clone(), context.clock.now());
        on(disk, move |disk| disk.file.write(disk.tails.lines(), &name, now)).await?;
        Ok(())
    }

    async fn open(
        &self,
        context: &SourceContext,
        place: Option<TailOffset>,
        kept: bool,
        marks_of: Option<u64>,
    ) -> Result<(TailState, u64), Failure> {
        let (settings, counters) = (Arc::clone(&self.settings), Arc::clone(&context.counters));
        let (path, interval) = (self.position_file.clone(), self.write_interval);
        beside(move || {
            let about = |what: &str, path: &Path| format!("{what} {}", path.display());
            path.parent().map_or(Ok(()), files::create_directory).map_err(|error| {
                Failure::caused(about("cannot make the directory of positionFile", &path), error)
            })?;
            let owner = PositionFileOwner { agent: settings.agent.clone(), source: settings.name.clone() };
            let mut file = PositionFile::claim(path, owner, interval)
                .map_err(|error| Failure::caused("cannot use its positionFile", error))?;
            let mut known = PreviousFiles::default();
            let mark = place.as_ref().map(|place| place.journal).unwrap_or_default();
            let mut journal = kept.then(|| OffsetJournal::new(file.path(), mark));
            let last = file.era(&settings.name);
            // The channels' offset takes precedence, unless the source had other channels since.
            let channels_know = marks_of.filter(|era| *era >= last);
            let era = channels_know.unwrap_or(last + 1);
            let read = journal.as_ref().map_or(Ok(Vec::new()), OffsetJournal::read);
            let lost = read.is_err();
            if let Err(error) = &read {
                // Other channels of the source had a journal of their own since.
                if channels_know.is_some() {
                    counters.event_read_fail.add(1);
                    tracing::error!(code = %codes::PLACES_LOST, source = settings.name, %error, "the journal of file offsets next to the position file is lost; files that only it knew are read from the offsets in positionFile, otherwise as new files");
                }
                journal.iter_mut().for_each(OffsetJournal::drop_unreadable);
            }
            known.mark(read.unwrap_or_default(), true);
            known.mark(place.map(|place| place.entries).unwrap_or_default(), false);
            if channels_know.is_none() || lost {
                let lines = file.read(&settings.name).map_err(|error| {
                    Failure::caused(about("cannot read positionFile", file.path()), error)
                })?;
                match channels_know {
                    Some(_) => known.list_missing(lines),
                    None => known.list(lines),
                }
            }
            if marks_of.is_some() && channels_know.is_none() {
                tracing::warn!(source = settings.name, path = %file.path().display(), "the source had other channels since it last committed to its present ones; it continues from its positionFile, so the present channels do not get what the others got");
            }
            if era > last {
                file.begin_era(era);
            }
            Ok((TailState { tails: TailedFiles::new(settings, counters, known, journal), file }, era))
        })
        .await?
    }

    /// Commits again the batch that some channel lacks.
    async fn put_again(
        &self,
        context: &SourceContext,
        committer: &mut FileBatchCommitter<'_>,
        disk: TailState,
        place: Option<TailOffset>,
    ) -> Result<TailState, Failure> {
        let (now, wall_ns) = times(context);
        let (disk, batch) = on(disk, move |disk| {
            let place = place?;
            let entry = place.entries.get(place.newest)?;
            // A scan can miss a file that is renamed at the same time.
            let id = (0..TAIL_LOOKS_FOR_A_BATCH).find_map(|_| {
                disk.tails.look(now, wall_ns);
                disk.tails.file_of(entry)
            })?;
            disk.tails.read_again(id, place.from, entry.pos).map(|batch| (id, batch))
        })
        .await?;
        match batch {
            Some((id, batch)) => Ok(self.hand_over(context, committer, disk, id, batch).await?.0),
            None => {
                committer.forgo();
                Ok(disk)
            }
        }
    }

    /// Reads each file once. Returns whether anything was read, and whether to stop.
    async fn round(
        &self,
        context: &SourceContext,
        committer: &mut FileBatchCommitter<'_>,
        disk: TailState,
    ) -> Result<(TailState, bool, bool), Failure> {
        let (now, wall_ns) = times(context);
        let (mut disk, order) = on(disk, move |disk| disk.tails.look(now, wall_ns)).await?;
        let mut read = false;
        for id in order {
            for _ in 0..self.batches_per_turn {
                let (back, went) = self.step(context, committer, disk, id, false).await?;
                disk = back;
                read |= went != TailOutcome::Nothing;
                if went == TailOutcome::Stopped {
                    return Ok((disk, read, true));
                }
                if went != TailOutcome::Full {
                    break;
                }
            }
        }
        let now = context.clock.now();
        let (back, idle) = on(disk, move |disk| {
            disk.tails.close_surplus();
            disk.tails.idle(now)
        })
        .await?;
        disk = back;
        for id in idle {
            let (back, went) = self.step(context, committer, disk, id, true).await?;
            disk = back;
            if went == TailOutcome::Stopped {
                return Ok((disk, read, true));
            }
            if went != TailOutcome::Full {
                (disk, ()) = on(disk, move |disk| disk.tails.close(id, now)).await?;
            }
        }
        Ok((disk, read, false))
    }

    /// Reads and commits one batch of one file.
    async fn step(
        &self,
        context: &SourceContext,
        committer: &mut FileBatchCommitter<'_>,
        disk: TailState,
        id: InodeId,
        partial: bool,
    ) -> Result<(TailState, TailOutcome), Failure> {
        let most = self.batch_events.min(context.intake.transaction_capacity()).max(1);
        let (disk, batch) = on(disk, move |disk| disk.tails.read(id, most, partial)).await?;
        match batch {
            Some(batch) => self.hand_over(context, committer, disk, id, batch).await,
            None => Ok((disk, TailOutcome::Nothing)),
        }
    }

    async fn hand_over(
        &self,
        context: &SourceContext,
        committer: &mut FileBatchCommitter<'_>,
        disk: TailState,
        id: InodeId,
        mut batch: TailBatch,
    ) -> Result<(TailState, TailOutcome), Failure> {
        let mut from = FileOffset::at(batch.from);
        let place = batch.place;
        let mark = |from: FileOffset, to: FileOffset| place.encode(from.offset, to.offset);
        let went = loop {
            let ends: Vec<FileOffset> = batch.pieces.iter().map(|piece| piece.end).collect();
            let (upto, ended) = committer.hand_over(batch.pieces.clone(), from, mark).await;
            from = upto;
            let error = match ended {
                FileCommitOutcome::Done if batch.full => break TailOutcome::Full,
                FileCommitOutcome::Done => break TailOutcome::Some,
                FileCommitOutcome::Stopped => break TailOutcome::Stopped,
                FileCommitOutcome::Unfit(error) => error,
            };
            // A line too large for every channel must not block all later lines.
            let done = ends.iter().take_while(|end| **end <= upto).count();
            batch.pieces.drain(..done);
            let lost = batch.pieces.remove(0);
            context.counters.generic_processing_fail.add(1);
            context.counters.drops.add(DropReason::TooLarge, 1);
            tracing::error!(code = %codes::EVENT_FITS_NO_CHANNEL, source = %context.name, inode = id.1, offset = upto.offset, %error, "a line is left out: no channel can hold it");
            let after = lost.end;
            if matches!(committer.leave(|| mark(from, after)).await, FileCommitOutcome::Stopped) {
                break TailOutcome::Stopped;
            }
            from = after;
            if batch.pieces.is_empty() {
                break TailOutcome::Some;
            }
        };
        let now = context.clock.now();
        let journal = (went != TailOutcome::Stopped).then_some(place.journal);
        let reached = move |disk: &mut TailState| disk.tails.reached(id, from.offset, journal, now);
        let (disk, ()) = on(disk, reached).await?;
        let disk = self.write_positions(context, disk).await?;
        Ok((disk, went))
    }

    async fn write_positions(
        &self,
        context: &SourceContext,
        disk: TailState,
    ) -> Result<TailState, Failure> {
        let now = context.clock.now();
        if now < disk.file.due() {
            return Ok(disk);
        }
        let name = context.name.clone();
        let (disk, ()) =
            on(disk, move |disk| disk.file.write(disk.tails.lines(), &name, now)).await?;
        Ok(disk)
    }

    /// Waits, and writes the position file when it is due.
    async fn pause(
        &self,
        context: &SourceContext,
        mut disk: TailState,
        pause: Duration,
    ) -> Result<TailState, Failure> {
        let until = context.clock.now() + pause;
        loop {
            disk = self.write_positions(context, disk).await?;
            let now = context.clock.now();
            if now >= until || context.stop.fired() {
                return Ok(disk);
            }
            let write = disk.file.due().saturating_sub(now).max(Duration::from_millis(1));
            super::commit_retry::rest(context, (until - now).min(write)).await;
        }
    }
}

/// The outcome of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TailOutcome {
    /// There was nothing to read.
    Nothing,
    /// Everything available was read.
    Some,
    /// There may be more.
    Full,
    /// The source is to stop.
    Stopped,
}

fn times(context: &SourceContext) -> (Duration, i64) {
    let ns = context.clock.wall_ms().saturating_mul(1_000_000);
    (context.clock.now(), i64::try_from(ns).unwrap_or(i64::MAX))
}

/// Runs `work` on a blocking thread and returns the state.
async fn on<T: Send + 'static>(
    mut disk: TailState,
    work: impl FnOnce(&mut TailState) -> T + Send + 'static,
) -> Result<(TailState, T), Failure> {
    beside(move || {
        let done = work(&mut disk);
        (disk, done)
    })
    .await
}
