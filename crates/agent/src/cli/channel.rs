//! `channel put|take|stat|check|dump|repair|restore|forget-source|import`.

use super::arguments::{ChannelArguments, ChannelCommand, MissingArguments};
use super::channel_open;
use super::exit::{CommandError, say, stdout_is_closed};
use super::java_options;
use super::{channel_inspect, channel_put, channel_repair, channel_take};
use crate::agent::logging;
use crate::cli::channel_absent::no_channel;
use crate::cli::channel_absent::nothing_is_there;
use millpond::Channel;
use std::io;
use std::time::Duration;

/// How long waiting events may be unavailable, as on a disk that replies slowly.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn run(command: &ChannelCommand) -> Result<(), CommandError> {
    let ended = carry_out(command);
    logging::flush();
    ended
}

fn carry_out(command: &ChannelCommand) -> Result<(), CommandError> {
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
        ChannelCommand::Import { .. } => Err(CommandError::Failed(
            "channel import is not there yet; let Flume drain the channel and begin with an empty one".to_owned(),
        )),
    }
}

/// Writes the channel's log lines to stderr while it is open: damage that it skips, a disk that
/// failed. Without them `take` would succeed with events missing, and without a message.
fn listen(arguments: &ChannelArguments) -> Result<(), CommandError> {
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
) -> Result<(), CommandError> {
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
    ended(&channel, result.map(|_| ()).map_err(channel_put::PutFailure::stop))
}

fn forget_source(arguments: &ChannelArguments, source: &str) -> Result<(), CommandError> {
    listen(arguments)?;
    let settings = channel_open::settings(arguments)?;
    if nothing_is_there(&settings) {
        return Err(CommandError::Failed(no_channel(&settings)));
    }
    let channel = channel_open::open(&settings, arguments)?;
    let forgotten = channel.forget_source_offset(source);
    let result = match forgotten {
        Ok(true) => {
            say(&format!("the offset of source {source} is forgotten"));
            Ok(())
        }
        Ok(false) => {
            let names = channel.sources_with_offset().join(", ");
            let has = if names.is_empty() {
                "it has none".to_owned()
            } else {
                format!("it has those of {names}")
            };
            Err(CommandError::Failed(format!(
                "the channel has no offset of source {source}; {has}"
            )))
        }
        Err(error) => Err(CommandError::Failed(format!("the offset of source {source}: {error}"))),
    };
    ended(&channel, result)
}

fn take(
    arguments: &ChannelArguments,
    missing: &MissingArguments,
    batch: Option<usize>,
    count: Option<u64>,
    acks: bool,
) -> Result<(), CommandError> {
    if stdout_is_closed() {
        return Err(CommandError::Usage(
            "stdout is closed (or is /dev/null, open for reading too): taken events would be lost; use > /dev/null if that is intended"
                .to_owned(),
        ));
    }
    listen(arguments)?;
    let settings = channel_open::settings(arguments)?;
    let (mut settings, batch) = channel_open::for_batch(settings, arguments, batch)?;
    if nothing_is_there(&settings) {
        say(&format!(
            "there is no channel in {}: nothing to take, and none is created",
            settings.checkpoint_dir.display()
        ));
        return Ok(());
    }
    // An empty channel is the end here, and not waited at for long.
    settings.keep_alive = Duration::from_millis(100);
    settings.open_without_missing_segments |= missing.without_missing_segments;
    let channel = channel_open::open(&settings, arguments)?;
    let mut acknowledged = acks.then(io::stderr);
    let acknowledged = acknowledged.as_mut().map(|out| out as &mut dyn io::Write);
    let bodies = &mut io::BufWriter::new(io::stdout().lock());
    let plan =
        channel_take::TakePlan { batch, count: count.unwrap_or(u64::MAX), time_limit: TIMEOUT };
    let result = channel_take::take_bodies(&channel, bodies, plan, acknowledged);
    ended(&channel, result.map(|_| ()).map_err(channel_take::TakeFailure::stop))
}

/// Closes the channel; the command's own error comes first.
fn ended(channel: &dyn Channel, result: Result<(), CommandError>) -> Result<(), CommandError> {
    if let Err(error) = channel.close() {
        // Nothing acknowledged is lost by that: the next opening reads the log.
        say(&format!("warning: {error}"));
    }
    result
}
