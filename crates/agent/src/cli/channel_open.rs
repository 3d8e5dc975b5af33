//! Opens the channel that the command line names.

use super::arguments::ChannelArguments;
use super::exit::{CommandError, say};
use super::java_options;
use super::outside_arguments::OutsideArguments;
use crate::agent::channels::file_options;
use millpond::{FileChannel, FileChannelOptions};
use millpond_config::agent::ChannelKind;
use millpond_config::channels::FileChannelSettings;
use millpond_config::loader::{self, ConfigError};
use millpond_flow::settings::{ConfigFinding, Settings, SettingsReader};
use std::path::{Path, PathBuf};

/// Returns the settings of the channel that the command line names.
pub(super) fn settings(arguments: &ChannelArguments) -> Result<FileChannelSettings, CommandError> {
    match (&arguments.checkpoint_dir, &arguments.name, &arguments.channel) {
        (Some(checkpoint_dir), ..) => named_by_directories(arguments, checkpoint_dir),
        (None, Some(agent), Some(channel)) => {
            named_by_configuration(&arguments.conf_files, &arguments.outside, agent, channel)
        }
        _ => Err(CommandError::Usage(
            "which channel? Give --checkpoint-dir DIR --data-dirs DIR[,DIR...] or -n AGENT -f CONF --channel NAME"
                .to_owned(),
        )),
    }
}

fn named_by_directories(
    arguments: &ChannelArguments,
    checkpoint_dir: &Path,
) -> Result<FileChannelSettings, CommandError> {
    let text = |path: &Path| {
        path.to_str().map(str::to_owned).ok_or_else(|| {
            CommandError::Usage(format!(
                "{} is not valid UTF-8; rename the directory",
                path.display()
            ))
        })
    };
    let data_dirs: Result<Vec<String>, CommandError> =
        arguments.data_dirs.iter().map(|dir| text(dir)).collect();
    let (checkpoint_dir, data_dirs) = (text(checkpoint_dir)?, data_dirs?.join(","));
    let capacity = arguments.capacity.map(|capacity| capacity.to_string());
    // An agent leaves room for other users of its disk; a command that is run by hand, on a disk of
    // any size, leaves Flume's minimum.
    let mut pairs = vec![
        ("checkpointDir", checkpoint_dir.as_str()),
        ("dataDirs", data_dirs.as_str()),
        ("minimumRequiredSpace", "1048576"),
    ];
    pairs.extend(capacity.as_deref().map(|capacity| ("capacity", capacity)));
    // A capacity below the default transactionCapacity is intended, so the latter is lowered to it.
    let transaction = arguments.capacity.filter(|c| *c < 10_000).map(|c| c.to_string());
    pairs.extend(transaction.as_deref().map(|t| ("transactionCapacity", t)));
    let settings = Settings::from_pairs("channel", &pairs);
    FileChannelSettings::read(&mut SettingsReader::new(&settings))
        .map_err(|error| CommandError::Usage(format!("{}: {}", error.key, error.message)))
}

/// Returns the settings of the channel `channel` of the agent `agent` in `files`.
pub(super) fn named_by_configuration(
    files: &[PathBuf],
    outside: &OutsideArguments,
    agent: &str,
    channel: &str,
) -> Result<FileChannelSettings, CommandError> {
    let options = java_options::collect(&outside.properties, outside.conf.as_deref())?;
    options.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    // Errors elsewhere in the agent do not matter: the channel need not be used in the file any
    // more.
    let (found, _) = loader::load_channel(&files, agent, channel, &options.properties)
        .map_err(|error| refused(&error))?;
    match &found.kind {
        ChannelKind::File(file) => Ok(file.clone()),
        ChannelKind::Spillable(spillable) => Ok(spillable.overflow.clone()),
        ChannelKind::Memory(_) => Err(CommandError::Failed(format!(
            "channel {channel} is a memory channel; it exists only inside its agent"
        ))),
        ChannelKind::Adapter(_) => Err(CommandError::Failed(format!(
            "channel {channel} stores its events on a server, not in files of this machine; use the server's own tools"
        ))),
    }
}

fn refused(error: &ConfigError) -> CommandError {
    error.findings().iter().map(ConfigFinding::to_string).for_each(|finding| say(&finding));
    CommandError::Failed(error.to_string())
}

/// Default number of events per transaction.
const BATCH: usize = 100;

/// Returns the number of events per transaction, and the settings with room for it: a channel that
/// is named by its directories has no `transactionCapacity` to respect, one of a configuration has.
pub(super) fn for_batch(
    mut settings: FileChannelSettings,
    arguments: &ChannelArguments,
    asked: Option<usize>,
) -> Result<(FileChannelSettings, usize), CommandError> {
    let batch = asked.unwrap_or(BATCH.min(settings.transaction_capacity));
    if batch <= settings.transaction_capacity {
        return Ok((settings, batch));
    }
    if arguments.checkpoint_dir.is_some() && batch as u64 <= settings.capacity {
        settings.transaction_capacity = batch;
        return Ok((settings, batch));
    }
    Err(CommandError::Usage(format!(
        "--batch {batch} is more than the channel's transactionCapacity of {}",
        settings.transaction_capacity
    )))
}

/// Opens the channel, alone in its directories.
pub(super) fn open(
    settings: &FileChannelSettings,
    arguments: &ChannelArguments,
) -> Result<FileChannel, CommandError> {
    FileChannel::open(options(settings, arguments))
        .map_err(|error| CommandError::Failed(error.to_string()))
}

/// Returns the options that the channel is opened with, under the name that it has in its
/// configuration.
pub(super) fn options(
    settings: &FileChannelSettings,
    arguments: &ChannelArguments,
) -> FileChannelOptions {
    let mut options = file_options(settings);
    options.name.clone_from(&arguments.channel);
    options
}
