//! `channel put|take|stat|check|dump|repair|restore|forget-source|import`.

use super::arguments::{ChannelArguments, ChannelCommand, MissingArguments};
use super::channel_open;
use super::java_options;
use super::words::{Stop, say, stdout_is_closed};
use super::{channel_inspect, channel_put, channel_repair, channel_take};
use crate::agent::logging;
use crate::channel::Channel;
use crate::config::channels::FileChannelSettings;
use crate::disk::Disk;
use crate::disk::real::RealDisk;
use std::io;
use std::time::Duration;

/// How long events that wait may be out of reach, as on a disk that answers slowly.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn run(command: &ChannelCommand) -> Result<(), Stop> {
    let ended = carry_out(command);
    logging::flush();
    ended
}

fn carry_out(command: &ChannelCommand) -> Result<(), Stop> {
    match command {
        ChannelCommand::Put { channel, batch, acks, missing } => {
            put(channel, missing, *batch, *acks)
        }
        ChannelCommand::Take { channel, batch, count, acks, missing } => {
            take(channel, missing, *batch, *count, *acks)
        }
        ChannelCommand::Stat(arguments) => channel_inspect::stat(arguments),
        ChannelCommand::Check(arguments) => channel_inspect::check(arguments),
        ChannelCommand::Dump(arguments) => channel_inspect::dump(arguments),
        ChannelCommand::Repair { channel, missing } => channel_repair::repair(channel, missing),
        ChannelCommand::Restore(channel) => {
            listen(channel)?;
            channel_repair::restore(channel)
        }
        ChannelCommand::ForgetSource { channel, source } => forget_source(channel, source),
        ChannelCommand::Import { .. } => Err(Stop::Failed(
            "channel import is not there yet; let Flume drain the channel and begin with an empty one".to_owned(),
        )),
    }
}

/// What the channel has to say while it is open goes to stderr: damage that it passes over, a disk
/// that failed. Without that `take` would end well with events missing, and no word about it.
fn listen(arguments: &ChannelArguments) -> Result<(), Stop> {
    let outside = &arguments.outside;
    let mut options = java_options::collect(&outside.properties, outside.conf.as_deref())?;
    options.properties.entry("flume.root.logger".to_owned()).or_insert_with(|| "WARN".to_owned());
    logging::start_without_queue(&options.properties);
    Ok(())
}

fn put(
    arguments: &ChannelArguments,
    missing: &MissingArguments,
    batch: Option<usize>,
    acks: bool,
) -> Result<(), Stop> {
    listen(arguments)?;
    let settings = channel_open::settings(arguments)?;
    let (mut settings, batch) = channel_open::for_batch(settings, arguments, batch)?;
    settings.open_without_missing_segments |= missing.without_missing_segments;
    let channel = channel_open::open(&settings, arguments)?;
    let mut acknowledged = acks.then(io::stdout);
    let acknowledged = acknowledged.as_mut().map(|out| out as &mut dyn io::Write);
    let result = channel_put::put_lines(&channel, io::stdin().lock(), batch, acknowledged);
    if let Ok(committed) = result {
        say(&format!("{committed} {} put", if committed == 1 { "event" } else { "events" }));
    }
    ended(&channel, result.map(|_| ()).map_err(channel_put::Failure::stop))
}

fn forget_source(arguments: &ChannelArguments, source: &str) -> Result<(), Stop> {
    listen(arguments)?;
    let settings = channel_open::settings(arguments)?;
    if nothing_is_there(&settings) {
        return Err(Stop::Failed(no_channel(&settings)));
    }
    let channel = channel_open::open(&settings, arguments)?;
    let forgotten = channel.forget_position(source);
    let result = match forgotten {
        Ok(true) => {
            say(&format!("the position of source {source} is forgotten"));
            Ok(())
        }
        Ok(false) => {
            let names = channel.positioned_sources().join(", ");
            let has = if names.is_empty() {
                "it keeps none".to_owned()
            } else {
                format!("it keeps those of {names}")
            };
            Err(Stop::Failed(format!("the channel keeps no position of source {source}; {has}")))
        }
        Err(error) => Err(Stop::Failed(format!("the position of source {source}: {error}"))),
    };
    ended(&channel, result)
}

fn take(
    arguments: &ChannelArguments,
    missing: &MissingArguments,
    batch: Option<usize>,
    count: Option<u64>,
    acks: bool,
) -> Result<(), Stop> {
    if stdout_is_closed() {
        return Err(Stop::Usage(
            "stdout is closed (or is /dev/null, open for reading too): what is taken would be gone; say > /dev/null if that is meant"
                .to_owned(),
        ));
    }
    listen(arguments)?;
    let settings = channel_open::settings(arguments)?;
    let (mut settings, batch) = channel_open::for_batch(settings, arguments, batch)?;
    if nothing_is_there(&settings) {
        say(&format!(
            "there is no channel in {}: nothing to take, and none is made",
            settings.checkpoint_dir.display()
        ));
        return Ok(());
    }
    // An empty channel is the end here, not something to wait at for long.
    settings.keep_alive = Duration::from_millis(100);
    settings.open_without_missing_segments |= missing.without_missing_segments;
    let channel = channel_open::open(&settings, arguments)?;
    let mut acknowledged = acks.then(io::stderr);
    let acknowledged = acknowledged.as_mut().map(|out| out as &mut dyn io::Write);
    let bodies = &mut io::BufWriter::new(io::stdout().lock());
    let plan = channel_take::Plan { batch, count: count.unwrap_or(u64::MAX), patience: PATIENCE };
    let result = channel_take::take_bodies(&channel, bodies, plan, acknowledged);
    ended(&channel, result.map(|_| ()).map_err(channel_take::Failure::stop))
}

/// Whether not one of the directories exists: no event was ever put, or a path is not the one meant.
pub(super) fn nothing_is_there(settings: &FileChannelSettings) -> bool {
    let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let mut directories = std::iter::once(&settings.checkpoint_dir).chain(&settings.data_dirs);
    let disk = RealDisk::read_only();
    directories.all(|path| disk.open_dir(path, false).is_err_and(|error| missing(&error)))
}

/// Returns what to say where nothing is there.
pub(super) fn no_channel(settings: &FileChannelSettings) -> String {
    let data: Vec<_> = settings.data_dirs.iter().map(|dir| dir.display().to_string()).collect();
    format!(
        "there is no channel in {}: neither that directory nor its data directories ({}) exist",
        settings.checkpoint_dir.display(),
        data.join(", ")
    )
}

/// Closes the channel; what the command had to say comes first.
fn ended(channel: &dyn Channel, result: Result<(), Stop>) -> Result<(), Stop> {
    if let Err(error) = channel.close() {
        // Nothing acknowledged is lost by that: the next opening reads the log.
        say(&format!("warning: {error}"));
    }
    result
}
