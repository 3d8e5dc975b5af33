//! `taildir`: the lines of files that grow, from wherever they were read to last.
//!
//! Limits: a batch has `batchSize` lines or [`FILE_BATCH_BYTES_MAX`], a line [`TAIL_LINE_BYTES_MAX`],
//! a source [`TAIL_FILES_MAX`] files, of which [`TAIL_OPEN_MAX`] are open; a file has [`TAIL_BATCHES_PER_TURN`] batches, then it is the
//! next one's turn.
//!
//! The story: the directories are looked through for files whose names match. Each is known by its
//! number in its file system, by when it was made and by checksums of its first bytes and of the last
//! that were read, whatever its name: one that is renamed is not read again, one that took another's
//! number or was written anew is. Where channels keep positions, a batch carries the places of the
//! files that changed since the journal beside the position file was written. New lines are handed over file by
//! file, each batch with the place where it ends. A last line waits for its newline, or until the
//! file has been left alone for `idleTimeout`. A file that is renamed away or removed stays open
//! that long and is read to its end.
//!
//! Invariants: what stands before the place that the channels, or the position file, keep is in the
//! channels; a place never passes to a file that begins otherwise; a file or directory that cannot
//! be read keeps no other from its turn.

mod group;
mod identity;
mod journal;
mod known;
mod place;
mod position_file;
mod tail;
mod tails;

#[cfg(test)]
mod tests;

use super::reading::courier::{Courier, Ended, Pace};
use super::reading::{Point, beside};
#[cfg(doc)]
use crate::base::limits::{
    FILE_BATCH_BYTES_MAX, TAIL_FILES_MAX, TAIL_LINE_BYTES_MAX, TAIL_OPEN_MAX,
};
use crate::base::limits::{TAIL_BATCHES_PER_TURN, TAIL_LOOKS_FOR_A_BATCH};
use crate::base::{files, usable};
use crate::channel::BoxFuture;
use crate::codes;
use crate::config::settings::{Key, Kind, SettingError, SettingsReader, Severity};
use crate::flow::source::{Failure, Source, SourceContext, SourceType};
use crate::metrics::DropReason;
use crate::pattern::Pattern;
use journal::Journal;
use known::Known;
use place::Place;
use position_file::{Owner, PositionFile};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tails::{Batch, FileId, Tails};

/// The type `taildir`.
pub const TYPE: SourceType = SourceType {
    names: &["taildir", "org.apache.flume.source.taildir.TaildirSource"],
    keys: &KEYS,
    build,
};

const KEYS: [Key; 13] = [
    key("filegroups", Kind::Names, "", "Names of groups of files."),
    key(
        "filegroups.*",
        Kind::Text,
        "",
        "Of each group, an absolute path: a directory, and in its last part Java's regular expression of names in it.",
    ),
    key("headers.*", Kind::Text, "", "headers.GROUP.NAME: a header of every event of the group."),
    key(
        "positionFile",
        Kind::Path,
        "~/.flume/taildir_position.json",
        "Where Flume's JSON of positions is kept. Directories above it are made.",
    ),
    key(
        "batchSize",
        Kind::Number,
        "100",
        "Lines per transaction; at most the channel's transactionCapacity are used.",
    ),
    key(
        "maxBatchCount",
        Kind::Number,
        "9223372036854775807",
        "Batches of one file before the next has its turn; 64 at most.",
    ),
    key(
        "skipToEnd",
        Kind::Boolean,
        "false",
        "Whether files that are there at the start, and of which no position is known, are read from their end on.",
    ),
    key(
        "byteOffsetHeader",
        Kind::Boolean,
        "false",
        "Whether the header byteoffset has the place of the line in its file.",
    ),
    key(
        "idleTimeout",
        Kind::Number,
        "120000",
        "Milliseconds after which a file that does not grow is closed; a last line without newline is an event then.",
    ),
    key("writePosInterval", Kind::Number, "3000", "Milliseconds between writes of positionFile."),
    key(
        "cachePatternMatching",
        Kind::Boolean,
        "true",
        "Whether a directory that has not changed is not listed again.",
    ),
    key("fileHeader", Kind::Boolean, "false", "Whether a header has the path of the file."),
    key("fileHeaderKey", Kind::Text, "file", "The name of that header."),
];

const fn key(name: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Key {
    Key { name, kind, default, meaning }
}

/// How long a channel that refuses is left alone: first, and at most.
const PACE: Pace = Pace { first: Duration::from_secs(1), most: Duration::from_secs(5) };

/// A group of files.
struct Group {
    name: String,
    directory: PathBuf,
    names: Pattern,
    /// The same as it was written.
    pattern: String,
    headers: Arc<Vec<(String, String)>>,
}

struct Settings {
    /// The source's name.
    name: String,
    /// Its agent's.
    agent: String,
    groups: Vec<Group>,
    cached: bool,
    skip_to_end: bool,
    byte_offset_header: bool,
    file_header: Option<String>,
    idle: Duration,
}

struct TailDirectory {
    settings: Arc<Settings>,
    position_file: PathBuf,
    write_interval: Duration,
    batch_events: usize,
    batches_per_turn: u64,
    /// The pause when nothing was read grows by `step` up to `most`.
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
        // Without any pause quiet files would take a whole core.
        step: step.max(Duration::from_millis(1)),
        most: most.max(Duration::from_millis(1)),
    }))
}

fn settings_of(reader: &mut SettingsReader<'_>) -> Result<Settings, SettingError> {
    let idle = reader.millis("idleTimeout", 0..=u64::from(u32::MAX))?;
    Ok(Settings {
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

fn groups(reader: &mut SettingsReader<'_>) -> Result<Vec<Group>, SettingError> {
    let listed = reader.required_text("filegroups")?;
    let mut groups: Vec<Group> = Vec::new();
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
        groups.push(Group {
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

/// Tries what the source begins with, and changes nothing: whether its position file can be written and the directories
/// of its groups read. A directory that is not there is waited for.
fn try_directories(settings: &Settings, position_file: &Path) -> Result<(), Failure> {
    let directory = position_file.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(why) = usable::unmakable(directory.unwrap_or(Path::new("."))) {
        return Err(Failure::new(format!("positionFile cannot be written: {why}")));
    }
    if let Some(why) = usable::unwritable(position_file) {
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

/// What is on the disk: the files, and Flume's position file.
struct Disk {
    tails: Tails,
    file: PositionFile,
}

impl TailDirectory {
    async fn tail(&self, context: &SourceContext) -> Result<(), Failure> {
        let (mut courier, known) = Courier::begin(context, PACE).await?;
        let place = known.newest.as_ref().and_then(|bytes| Place::decode(bytes));
        let marked = courier.keeps_marks();
        let again = place.clone().filter(|_| known.behind);
        let (mut disk, era) = self.open(context, place, marked, known.era).await?;
        context.started();
        if known.behind {
            disk = self.put_again(context, &mut courier, disk, again).await?;
        }
        courier.begin_era(era);
        let mut quiet = 0;
        while !context.stop.fired() {
            let (back, read, stopped) = self.round(context, &mut courier, disk).await?;
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
        place: Option<Place>,
        kept: bool,
        marks_of: Option<u64>,
    ) -> Result<(Disk, u64), Failure> {
        let (settings, counters) = (Arc::clone(&self.settings), Arc::clone(&context.counters));
        let (path, interval) = (self.position_file.clone(), self.write_interval);
        beside(move || {
            let about = |what: &str, path: &Path| format!("{what} {}", path.display());
            path.parent().map_or(Ok(()), files::create_directory).map_err(|error| {
                Failure::caused(about("cannot make the directory of positionFile", &path), error)
            })?;
            let owner = Owner { agent: settings.agent.clone(), source: settings.name.clone() };
            let mut file = PositionFile::claim(path, owner, interval)
                .map_err(|error| Failure::caused("cannot have its positionFile", error))?;
            let mut known = Known::default();
            let mark = place.as_ref().map(|place| place.journal).unwrap_or_default();
            let mut journal = kept.then(|| Journal::new(file.path(), mark));
            let last = file.era(&settings.name);
            // Once the channels know the place they know it better, unless the source had others since.
            let channels_know = marks_of.filter(|era| *era >= last);
            let era = channels_know.unwrap_or(last + 1);
            let read = journal.as_ref().map_or(Ok(Vec::new()), Journal::read);
            let lost = read.is_err();
            if let Err(error) = &read {
                // Other channels of the source had a journal of their own since.
                if channels_know.is_some() {
                    counters.event_read_fail.add(1);
                    tracing::error!(code = %codes::PLACES_LOST, source = settings.name, %error, "the places of files beside the position file are lost; files that only it knew are read from where positionFile says, else as if they were new");
                }
                journal.iter_mut().for_each(Journal::forget);
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
                tracing::warn!(source = settings.name, path = %file.path().display(), "the source had other channels since its present ones heard of it last; it goes on where its positionFile says, so they do not get what the others got");
            }
            if era > last {
                file.begin_era(era);
            }
            Ok((Disk { tails: Tails::new(settings, counters, known, journal), file }, era))
        })
        .await?
    }

    /// Hands over again the batch that some channel lacks.
    async fn put_again(
        &self,
        context: &SourceContext,
        courier: &mut Courier<'_>,
        disk: Disk,
        place: Option<Place>,
    ) -> Result<Disk, Failure> {
        let (now, wall_ns) = times(context);
        let (disk, batch) = on(disk, move |disk| {
            let place = place?;
            let entry = place.entries.get(place.newest)?;
            // A look can miss a file whose name changes just then.
            let id = (0..TAIL_LOOKS_FOR_A_BATCH).find_map(|_| {
                disk.tails.look(now, wall_ns);
                disk.tails.file_of(entry)
            })?;
            disk.tails.read_again(id, place.from, entry.pos).map(|batch| (id, batch))
        })
        .await?;
        match batch {
            Some((id, batch)) => Ok(self.hand_over(context, courier, disk, id, batch).await?.0),
            None => {
                courier.forgo();
                Ok(disk)
            }
        }
    }

    /// One look at every file. Answers whether anything was read, and whether to stop.
    async fn round(
        &self,
        context: &SourceContext,
        courier: &mut Courier<'_>,
        disk: Disk,
    ) -> Result<(Disk, bool, bool), Failure> {
        let (now, wall_ns) = times(context);
        let (mut disk, order) = on(disk, move |disk| disk.tails.look(now, wall_ns)).await?;
        let mut read = false;
        for id in order {
            for _ in 0..self.batches_per_turn {
                let (back, went) = self.step(context, courier, disk, id, false).await?;
                disk = back;
                read |= went != Went::Nothing;
                if went == Went::Stopped {
                    return Ok((disk, read, true));
                }
                if went != Went::Full {
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
            let (back, went) = self.step(context, courier, disk, id, true).await?;
            disk = back;
            if went == Went::Stopped {
                return Ok((disk, read, true));
            }
            if went != Went::Full {
                (disk, ()) = on(disk, move |disk| disk.tails.close(id, now)).await?;
            }
        }
        Ok((disk, read, false))
    }

    /// One batch of one file.
    async fn step(
        &self,
        context: &SourceContext,
        courier: &mut Courier<'_>,
        disk: Disk,
        id: FileId,
        partial: bool,
    ) -> Result<(Disk, Went), Failure> {
        let most = self.batch_events.min(context.intake.transaction_capacity()).max(1);
        let (disk, batch) = on(disk, move |disk| disk.tails.read(id, most, partial)).await?;
        match batch {
            Some(batch) => self.hand_over(context, courier, disk, id, batch).await,
            None => Ok((disk, Went::Nothing)),
        }
    }

    async fn hand_over(
        &self,
        context: &SourceContext,
        courier: &mut Courier<'_>,
        disk: Disk,
        id: FileId,
        mut batch: Batch,
    ) -> Result<(Disk, Went), Failure> {
        let mut from = Point::at(batch.from);
        let place = batch.place;
        let mark = |from: Point, to: Point| place.encode(from.offset, to.offset);
        let went = loop {
            let ends: Vec<Point> = batch.pieces.iter().map(|piece| piece.end).collect();
            let (upto, ended) = courier.hand_over(batch.pieces.clone(), from, mark).await;
            from = upto;
            let error = match ended {
                Ended::Done if batch.full => break Went::Full,
                Ended::Done => break Went::Some,
                Ended::Stopped => break Went::Stopped,
                Ended::Unfit(error) => error,
            };
            // A line that nobody can hold must not keep all later ones back for ever.
            let done = ends.iter().take_while(|end| **end <= upto).count();
            batch.pieces.drain(..done);
            let lost = batch.pieces.remove(0);
            context.counters.generic_processing_fail.add(1);
            context.counters.drops.add(DropReason::TooLarge, 1);
            tracing::error!(code = %codes::EVENT_FITS_NO_CHANNEL, source = %context.name, inode = id.1, offset = upto.offset, %error, "a line is left out: no channel can hold it");
            let after = lost.end;
            if matches!(courier.leave(|| mark(from, after)).await, Ended::Stopped) {
                break Went::Stopped;
            }
            from = after;
            if batch.pieces.is_empty() {
                break Went::Some;
            }
        };
        let now = context.clock.now();
        let journal = (went != Went::Stopped).then_some(place.journal);
        let reached = move |disk: &mut Disk| disk.tails.reached(id, from.offset, journal, now);
        let (disk, ()) = on(disk, reached).await?;
        let disk = self.write_positions(context, disk).await?;
        Ok((disk, went))
    }

    async fn write_positions(&self, context: &SourceContext, disk: Disk) -> Result<Disk, Failure> {
        let now = context.clock.now();
        if now < disk.file.due() {
            return Ok(disk);
        }
        let name = context.name.clone();
        let (disk, ()) =
            on(disk, move |disk| disk.file.write(disk.tails.lines(), &name, now)).await?;
        Ok(disk)
    }

    /// Waits, and writes the position file when it is time.
    async fn pause(
        &self,
        context: &SourceContext,
        mut disk: Disk,
        pause: Duration,
    ) -> Result<Disk, Failure> {
        let until = context.clock.now() + pause;
        loop {
            disk = self.write_positions(context, disk).await?;
            let now = context.clock.now();
            if now >= until || context.stop.fired() {
                return Ok(disk);
            }
            let write = disk.file.due().saturating_sub(now).max(Duration::from_millis(1));
            super::patience::rest(context, (until - now).min(write)).await;
        }
    }
}

/// How a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Went {
    /// There was nothing to read.
    Nothing,
    /// All there was.
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

/// Runs `work` on the disk, where blocking hurts nobody, and hands it back.
async fn on<T: Send + 'static>(
    mut disk: Disk,
    work: impl FnOnce(&mut Disk) -> T + Send + 'static,
) -> Result<(Disk, T), Failure> {
    beside(move || {
        let done = work(&mut disk);
        (disk, done)
    })
    .await
}
