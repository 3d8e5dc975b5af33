//! Opens a configured channel.

use millpond::{
    Channel, Clock, FileChannel, FileChannelOptions, MemoryChannel, MemoryOptions,
    MemoryOptionsError, OpenError, SpillableChannel, SpillableOptions, SpillableOptionsError,
};
use millpond_config::agent::{AdapterChannel, ChannelKind};
use millpond_config::channels::{FileChannelSettings, MemoryChannelSettings, SpillableSettings};
use millpond_flow::channel_type::{ChannelContext, ChannelOpenError};
use millpond_flow::codes::{self, Code, Coded};
use std::sync::Arc;

/// Why a channel is not open.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChannelError {
    #[error(transparent)]
    Memory(#[from] MemoryOptionsError),
    #[error(transparent)]
    File(#[from] OpenError),
    #[error(transparent)]
    Spillable(#[from] SpillableOptionsError),
    #[error(transparent)]
    Adapter(#[from] ChannelOpenError),
}

impl Coded for ChannelError {
    fn code(&self) -> &'static Code {
        match self {
            Self::File(error) => error.code(),
            Self::Adapter(error) => error.code(),
            Self::Memory(_) | Self::Spillable(_) => &codes::SETTING_OUT_OF_RANGE,
        }
    }
}

/// Opens the channel; blocks while a file channel recovers.
pub(super) fn open_channel(
    kind: &ChannelKind,
    context: &ChannelContext,
) -> Result<Arc<dyn Channel>, ChannelError> {
    let (name, clock) = (&context.name, &context.clock);
    match kind {
        ChannelKind::Memory(settings) => Ok(Arc::new(open_memory(settings, clock)?)),
        ChannelKind::File(settings) => Ok(Arc::new(open_file(name, settings)?)),
        ChannelKind::Spillable(settings) => Ok(Arc::new(open_spillable(name, settings, clock)?)),
        ChannelKind::Adapter(AdapterChannel(opener)) => Ok(opener.open(context.clone())?),
    }
}

fn open_memory(
    settings: &MemoryChannelSettings,
    clock: &Arc<dyn Clock>,
) -> Result<MemoryChannel, MemoryOptionsError> {
    let options = MemoryOptions {
        capacity: settings.capacity as u64,
        transaction_capacity: settings.transaction_capacity,
        keep_alive: settings.keep_alive,
        byte_capacity: settings.byte_capacity.unwrap_or(0),
        byte_capacity_buffer_percentage: settings.byte_capacity_buffer_percentage,
    };
    MemoryChannel::with_clock(options, Arc::clone(clock))
}

fn open_file(name: &str, settings: &FileChannelSettings) -> Result<FileChannel, OpenError> {
    let mut options = file_options(settings);
    options.name = Some(name.to_owned());
    FileChannel::open(options)
}

/// Returns the options that a file channel of a configuration is opened with.
pub(crate) fn file_options(settings: &FileChannelSettings) -> FileChannelOptions {
    let mut options = FileChannelOptions::new(&settings.checkpoint_dir, &settings.data_dirs);
    options.capacity = settings.capacity;
    options.transaction_capacity = settings.transaction_capacity;
    options.transaction_bytes_max = settings.transaction_bytes_max;
    options.checkpoint_interval = settings.checkpoint_interval;
    options.segment_bytes = settings.max_file_size;
    options.minimum_required_space = settings.minimum_required_space;
    options.keep_alive = settings.keep_alive;
    options.open_degraded = settings.open_degraded;
    options.open_without_missing_segments = settings.open_without_missing_segments;
    options.hot_window_bytes = settings.hot_window_bytes;
    options
}

fn open_spillable(
    name: &str,
    settings: &SpillableSettings,
    clock: &Arc<dyn Clock>,
) -> Result<SpillableChannel, ChannelError> {
    let overflow: Option<Arc<dyn Channel>> = match settings.overflow_capacity {
        0 => None,
        _ => Some(Arc::new(open_file(name, &settings.overflow)?)),
    };
    let options = SpillableOptions {
        memory_capacity: settings.memory_capacity as u64,
        transaction_capacity: settings.overflow.transaction_capacity,
        overflow_timeout: settings.overflow_timeout,
        overflow_deactivation_percentage: settings.overflow_deactivation_percentage,
        // As in Flume: a put waits for any room as long as it waits for memory before it uses the
        // disk.
        keep_alive: settings.overflow_timeout,
        byte_capacity: settings.byte_capacity.unwrap_or(0),
        byte_capacity_buffer_percentage: settings.byte_capacity_buffer_percentage,
        average_event_bytes: settings.average_event_bytes as u64,
    };
    Ok(SpillableChannel::with_clock(options, overflow, Arc::clone(clock))?)
}
