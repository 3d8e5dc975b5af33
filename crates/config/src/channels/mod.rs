//! Typed channel settings, with Flume's defaults and corrections.

mod corrections;

use super::types::PSEUDO_TXN_CHANNEL;
use corrections::{
    byte_capacity, byte_capacity_buffer, checkpoint_interval, data_dirs, in_home_directory,
    minimum_required_space, non_empty, not_negative, percentage, positive, refuse_encryption,
    require_fit, segment_bytes, size, taken_default, wait_seconds, warn_of_keys_without_effect,
};
use millpond_flow::base::limits;
use millpond_flow::settings::{SettingError, SettingsReader, Severity};
use std::path::PathBuf;
use std::time::Duration;

const CAPACITY_DEFAULT: u64 = 1_000_000;
const TRANSACTION_CAPACITY_DEFAULT: u64 = 10_000;
const KEEP_ALIVE_SECONDS_DEFAULT: u64 = 3;
const MEMORY_CAPACITY_DEFAULT: u64 = 100;
const SPILLABLE_MEMORY_CAPACITY_DEFAULT: u64 = 10_000;
const OVERFLOW_CAPACITY_DEFAULT: u64 = 100_000_000;
const AVERAGE_EVENT_BYTES_DEFAULT: u64 = 500;
/// Flume counts the memory channel's bytes in slots of this size.
const MEMORY_SLOT_BYTES: u64 = 100;
const OVERFLOW_DEACTIVATION_PERCENT_DEFAULT: u64 = 5;

/// Settings of a file channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChannelSettings {
    /// `checkpointDir`
    pub checkpoint_dir: PathBuf,
    /// `dataDirs`: at least one, all different, none of them the checkpoint directory.
    pub data_dirs: Vec<PathBuf>,
    /// `capacity`, events.
    pub capacity: u64,
    /// `transactionCapacity`, events; not more than `capacity`.
    pub transaction_capacity: usize,
    /// `transactionBytesMax`, bytes of one put transaction.
    pub transaction_bytes_max: usize,
    /// `checkpointInterval`, at least a second.
    pub checkpoint_interval: Duration,
    /// Bytes of a segment: the smaller one of `maxFileSize` and the default segment.
    pub max_file_size: u64,
    /// `minimumRequiredSpace`, bytes.
    pub minimum_required_space: u64,
    /// `keep-alive`: how long a put waits for room.
    pub keep_alive: Duration,
    /// `openDegraded`: open although a data directory is missing.
    pub open_degraded: bool,
    /// `openWithoutMissingSegments`: open although segment files are missing, and give up what waited in them.
    pub open_without_missing_segments: bool,
    /// `hotWindowBytes`: memory for events that are taken soon.
    pub hot_window_bytes: usize,
}

/// Settings of a memory channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryChannelSettings {
    /// `capacity`, events.
    pub capacity: usize,
    /// `transactionCapacity`, events; not more than `capacity`.
    pub transaction_capacity: usize,
    /// `keep-alive`: how long a put waits for room.
    pub keep_alive: Duration,
    /// `byteCapacity`, bytes of bodies before the share for headers; `None` for no bound.
    pub byte_capacity: Option<u64>,
    /// `byteCapacityBufferPercentage`, 0 to 100.
    pub byte_capacity_buffer_percentage: u8,
}

/// Settings of a spillable channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpillableSettings {
    /// `memoryCapacity`, events; 0 keeps all on disk.
    pub memory_capacity: usize,
    /// `overflowCapacity`, events; 0 keeps all in memory.
    pub overflow_capacity: u64,
    /// `overflowTimeout`: how long a put waits for memory before it goes to disk.
    pub overflow_timeout: Duration,
    /// `overflowDeactivationThreshold`, percent of memory that must be free before puts go to
    /// memory again.
    pub overflow_deactivation_percentage: u8,
    /// `avgEventSize`, bytes.
    pub average_event_bytes: usize,
    /// `byteCapacity`, bytes; `None` for no bound.
    pub byte_capacity: Option<u64>,
    /// `byteCapacityBufferPercentage`, 0 to 100.
    pub byte_capacity_buffer_percentage: u8,
    /// The part on disk: its capacity is `overflowCapacity`, and it has no keep-alive.
    pub overflow: FileChannelSettings,
}

impl FileChannelSettings {
    /// Reads the settings of a file channel; corrections become findings of the reader.
    ///
    /// # Errors
    /// A value that Flume also refuses, a duplicate directory, or encryption.
    pub fn read(reader: &mut SettingsReader<'_>) -> Result<Self, SettingError> {
        refuse_encryption(reader)?;
        let capacity = positive(reader, "capacity", CAPACITY_DEFAULT)?;
        let seconds = wait_seconds(reader, "keep-alive", KEEP_ALIVE_SECONDS_DEFAULT)?;
        Self::read_with(reader, capacity, "capacity", seconds)
    }

    fn read_with(
        reader: &mut SettingsReader<'_>,
        capacity: u64,
        capacity_key: &str,
        keep_alive: Duration,
    ) -> Result<Self, SettingError> {
        warn_of_keys_without_effect(reader);
        let checkpoint_dir = match non_empty(reader, "checkpointDir") {
            Some(text) => PathBuf::from(text),
            None => in_home_directory(reader, "checkpointDir", "checkpoint")?,
        };
        let data_dirs = data_dirs(reader, &checkpoint_dir)?;
        let transaction_capacity =
            positive(reader, "transactionCapacity", TRANSACTION_CAPACITY_DEFAULT)?;
        require_fit(reader, transaction_capacity, capacity, capacity_key)?;
        let transaction_bytes_max = reader
            .number("transactionBytesMax", 1024..=1 << 30)?
            .unwrap_or(limits::TRANSACTION_BYTES_MAX_DEFAULT as u64);
        let hot_window_bytes = reader
            .number("hotWindowBytes", 1 << 20..=u64::from(u32::MAX) * 1024)?
            .unwrap_or(limits::AGENT_HOT_WINDOW_BYTES_DEFAULT as u64);
        Ok(Self {
            checkpoint_dir,
            data_dirs,
            capacity,
            transaction_capacity: size(transaction_capacity),
            transaction_bytes_max: size(transaction_bytes_max),
            checkpoint_interval: checkpoint_interval(reader)?,
            max_file_size: segment_bytes(reader)?,
            minimum_required_space: minimum_required_space(reader)?,
            keep_alive,
            open_degraded: reader.boolean("openDegraded", false),
            open_without_missing_segments: reader.boolean("openWithoutMissingSegments", false),
            hot_window_bytes: size(hot_window_bytes),
        })
    }
}

impl MemoryChannelSettings {
    /// Reads the settings of a memory channel; corrections become findings of the reader. As in Flume, an invalid
    /// number is replaced by the default.
    ///
    /// # Errors
    /// `transactionCapacity` is larger than `capacity`.
    pub fn read(reader: &mut SettingsReader<'_>) -> Result<Self, SettingError> {
        let or_default = |reader: &mut SettingsReader<'_>, key, default| {
            positive(reader, key, default)
                .unwrap_or_else(|error| taken_default(reader, key, &error.message, default))
        };
        let mut capacity = or_default(reader, "capacity", MEMORY_CAPACITY_DEFAULT);
        let mut transaction_capacity =
            or_default(reader, "transactionCapacity", MEMORY_CAPACITY_DEFAULT);
        let kind = reader.text("type").unwrap_or_default();
        if kind.eq_ignore_ascii_case(PSEUDO_TXN_CHANNEL) {
            // Without transactions a batch may exceed the channel's capacity.
            capacity = capacity.max(MEMORY_CAPACITY_DEFAULT);
            transaction_capacity = transaction_capacity.min(capacity);
            let message = "runs as a memory channel, with transactions, which holds at least 100 events; write type = memory";
            reader.find(Severity::Warning, "type", message);
        }
        let keep_alive = match wait_seconds(reader, "keep-alive", KEEP_ALIVE_SECONDS_DEFAULT) {
            Ok(wait) => wait,
            Err(error) => Duration::from_secs(taken_default(
                reader,
                "keep-alive",
                &error.message,
                KEEP_ALIVE_SECONDS_DEFAULT,
            )),
        };
        require_fit(reader, transaction_capacity, capacity, "capacity")?;
        let percent = byte_capacity_buffer(reader);
        Ok(Self {
            capacity: size(capacity),
            transaction_capacity: size(transaction_capacity),
            keep_alive,
            byte_capacity: byte_capacity(reader, percent, MEMORY_SLOT_BYTES),
            byte_capacity_buffer_percentage: percent,
        })
    }
}

impl SpillableSettings {
    /// Reads the settings of a spillable channel; corrections become findings of the reader.
    ///
    /// # Errors
    /// As for the file channel.
    pub fn read(reader: &mut SettingsReader<'_>) -> Result<Self, SettingError> {
        refuse_encryption(reader)?;
        for key in ["capacity", "keep-alive"] {
            if reader.text(key).is_some() {
                reader.find(
                    Severity::Warning,
                    key,
                    "has no effect in a spillable channel, as in Flume: overflowCapacity is the capacity on disk, overflowTimeout the wait",
                );
            }
        }
        let memory_capacity =
            not_negative(reader, "memoryCapacity", SPILLABLE_MEMORY_CAPACITY_DEFAULT)?;
        let overflow_capacity =
            not_negative(reader, "overflowCapacity", OVERFLOW_CAPACITY_DEFAULT)?;
        if memory_capacity == 0 && overflow_capacity == 0 {
            return Err(reader.error(
                "overflowCapacity",
                "is 0, and so is memoryCapacity: such a channel holds nothing",
            ));
        }
        let average_event_bytes = positive(reader, "avgEventSize", AVERAGE_EVENT_BYTES_DEFAULT)?;
        let percent = byte_capacity_buffer(reader);
        // Without a disk tier the file part is not opened; it still needs a valid capacity.
        let on_disk = if overflow_capacity == 0 { CAPACITY_DEFAULT } else { overflow_capacity };
        let overflow =
            FileChannelSettings::read_with(reader, on_disk, "overflowCapacity", Duration::ZERO)?;
        Ok(Self {
            memory_capacity: size(memory_capacity),
            overflow_capacity,
            overflow_timeout: wait_seconds(reader, "overflowTimeout", KEEP_ALIVE_SECONDS_DEFAULT)?,
            overflow_deactivation_percentage: percentage(
                reader,
                "overflowDeactivationThreshold",
                OVERFLOW_DEACTIVATION_PERCENT_DEFAULT,
            ),
            average_event_bytes: size(average_event_bytes),
            byte_capacity: byte_capacity(reader, percent, average_event_bytes),
            byte_capacity_buffer_percentage: percent,
            overflow,
        })
    }
}

#[cfg(test)]
mod tests;
