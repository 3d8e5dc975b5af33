//! The options of a memory channel.

use crate::base::setting;
use std::time::Duration;

/// Options of a memory channel.
///
/// ```
/// use millpond::MemoryOptions;
/// use std::time::Duration;
///
/// let options = MemoryOptions {
///     capacity: 10_000,
///     keep_alive: Duration::from_millis(100),
///     byte_capacity: 64 << 20,
///     ..MemoryOptions::default()
/// };
/// assert_eq!(options.transaction_capacity, 100);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryOptions {
    /// Events it holds at most.
    pub capacity: u64,
    /// Events of one transaction at most; not more than `capacity`.
    pub transaction_capacity: usize,
    /// How long a put waits for room and a take for an event.
    pub keep_alive: Duration,
    /// Bytes of bodies it holds at most, counted in steps of 100 bytes; 0 for no limit.
    pub byte_capacity: u64,
    /// Share of `byte_capacity` set aside for headers, percent.
    pub byte_capacity_buffer_percentage: u8,
}

impl Default for MemoryOptions {
    /// Returns Flume's defaults; no limit on bytes.
    fn default() -> Self {
        Self {
            capacity: 100,
            transaction_capacity: 100,
            keep_alive: Duration::from_secs(3),
            byte_capacity: 0,
            byte_capacity_buffer_percentage: 20,
        }
    }
}

/// Options that contradict each other.
///
/// ```
/// use millpond::{MemoryChannel, MemoryOptions, MemoryOptionsError};
///
/// let options = MemoryOptions { capacity: 10, ..MemoryOptions::default() };
/// let Err(error) = MemoryChannel::new(options) else { panic!("refused") };
/// assert_eq!(
///     error,
///     MemoryOptionsError::TransactionLargerThanChannel { transaction_capacity: 100, capacity: 10 },
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryOptionsError {
    /// No event would fit.
    #[error("{} and {} must be at least 1", setting::CAPACITY, setting::TRANSACTION_CAPACITY)]
    Zero,
    /// A transaction could be larger than the channel.
    #[error(
        "{name} is {transaction_capacity} and {} {capacity}: lower {name} or raise {}",
        setting::CAPACITY, setting::CAPACITY, name = setting::TRANSACTION_CAPACITY
    )]
    TransactionLargerThanChannel {
        /// Events of one transaction.
        transaction_capacity: usize,
        /// Events of the channel.
        capacity: u64,
    },
}
