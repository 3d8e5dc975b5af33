//! Names of settings in messages: a library user knows the fields of the options, an agent user the keys of the
//! configuration.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether messages use the keys of a configuration.
static BY_KEY: AtomicBool = AtomicBool::new(false);

/// A setting of a channel.
///
/// ```
/// use millpond::{FileChannel, FileChannelOptions, OpenError};
///
/// let mut options = FileChannelOptions::new("/c1/checkpoint", ["/c1/data"]);
/// options.transaction_capacity = 0;
/// let Err(OpenError::Setting { option, .. }) = FileChannel::open(options) else { panic!("refused") };
/// assert_eq!((option.field, option.key), ("transaction_capacity", "transactionCapacity"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The field of the options.
    pub field: &'static str,
    /// The key in a configuration.
    pub key: &'static str,
}

/// Makes messages of this process use configuration keys for settings, for a program whose users write one. A library
/// keeps the names of the fields.
pub fn name_by_key() {
    BY_KEY.store(true, Ordering::Relaxed);
}

impl fmt::Display for Setting {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(if BY_KEY.load(Ordering::Relaxed) { self.key } else { self.field })
    }
}

macro_rules! settings {
    ($($name:ident = $field:literal $key:literal;)*) => {
        $(
            #[doc = concat!("`", $field, "`, in a configuration `", $key, "`.")]
            pub const $name: Setting = Setting { field: $field, key: $key };
        )*
    };
}

settings! {
    CHECKPOINT_DIR = "checkpoint_dir" "checkpointDir";
    DATA_DIRS = "data_dirs" "dataDirs";
    CAPACITY = "capacity" "capacity";
    TRANSACTION_CAPACITY = "transaction_capacity" "transactionCapacity";
    TRANSACTION_BYTES_MAX = "transaction_bytes_max" "transactionBytesMax";
    BYTE_CAPACITY = "byte_capacity" "byteCapacity";
    MEMORY_CAPACITY = "memory_capacity" "memoryCapacity";
    FIRST_SEGMENT_BYTES = "first_segment_bytes" "firstSegmentBytes";
    SEGMENT_BYTES = "segment_bytes" "maxFileSize";
    MINIMUM_REQUIRED_SPACE = "minimum_required_space" "minimumRequiredSpace";
    CHECKPOINT_INTERVAL = "checkpoint_interval" "checkpointInterval";
    WRITE_TIMEOUT = "write_timeout" "writeTimeout";
    READY_SEGMENTS = "ready_segments" "readySegments";
    HOT_WINDOW_BYTES = "hot_window_bytes" "hotWindowBytes";
    OPEN_DEGRADED = "open_degraded" "openDegraded";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_field_is_that_of_its_key_in_the_words_of_rust() {
        for setting in [DATA_DIRS, TRANSACTION_BYTES_MAX, MINIMUM_REQUIRED_SPACE, OPEN_DEGRADED] {
            let in_rust: String = setting
                .key
                .chars()
                .flat_map(|c| {
                    let new = c.is_ascii_uppercase().then_some('_');
                    new.into_iter().chain([c.to_ascii_lowercase()])
                })
                .collect();
            assert_eq!(in_rust, setting.field);
        }
    }
}
