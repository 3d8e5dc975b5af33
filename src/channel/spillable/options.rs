//! The options of a spillable channel.

use super::super::Channel;
use crate::base::setting;
use std::time::Duration;

/// Options of a spillable channel.
///
/// ```
/// use millpond::SpillableOptions;
/// use std::time::Duration;
///
/// let options = SpillableOptions {
///     memory_capacity: 1_000,
///     overflow_timeout: Duration::ZERO, // full memory overflows at once
///     ..SpillableOptions::default()
/// };
/// assert_eq!(options.overflow_deactivation_percentage, 5);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpillableOptions {
    /// Events in memory at most; 0 keeps all in the overflow.
    pub memory_capacity: u64,
    /// Events of one transaction at most.
    pub transaction_capacity: usize,
    /// How long a put waits for room in memory before it goes to the overflow.
    pub overflow_timeout: Duration,
    /// Percent of memory that must be free before puts wait for memory again.
    pub overflow_deactivation_percentage: u8,
    /// How long a put waits for room in either tier, and a take for an event.
    pub keep_alive: Duration,
    /// Bytes of bodies in memory at most, counted in steps of `average_event_bytes`; 0 for no
    /// limit.
    pub byte_capacity: u64,
    /// Share of `byte_capacity` set aside for headers, percent.
    pub byte_capacity_buffer_percentage: u8,
    /// Bytes of one slot of `byte_capacity`.
    pub average_event_bytes: u64,
}

impl Default for SpillableOptions {
    /// Returns Flume's defaults; no limit on bytes.
    fn default() -> Self {
        Self {
            memory_capacity: 10_000,
            transaction_capacity: 10_000,
            overflow_timeout: Duration::from_secs(3),
            overflow_deactivation_percentage: 5,
            keep_alive: Duration::from_secs(3),
            byte_capacity: 0,
            byte_capacity_buffer_percentage: 20,
            average_event_bytes: 500,
        }
    }
}

/// Options that contradict each other.
///
/// ```
/// use millpond::{SpillableChannel, SpillableOptions, SpillableOptionsError};
///
/// let options = SpillableOptions { memory_capacity: 0, ..SpillableOptions::default() };
/// let Err(error) = SpillableChannel::new(options, None) else { panic!("refused") };
/// assert_eq!(error, SpillableOptionsError::NoCapacity);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpillableOptionsError {
    /// No event would fit.
    #[error("{} is 0 and there is no overflow: no event would fit", setting::MEMORY_CAPACITY)]
    NoCapacity,
    /// No transaction would fit, or not every one fits every tier.
    #[error(
        "{} is {transaction_capacity}: it must be 1 to {max}, what the {tier} takes",
        setting::TRANSACTION_CAPACITY
    )]
    TransactionCapacity {
        /// Events of one transaction.
        transaction_capacity: usize,
        /// The largest legal value.
        max: u64,
        /// Where it would not fit.
        tier: &'static str,
    },
}

pub(super) fn check(
    options: &SpillableOptions,
    overflow: Option<&dyn Channel>,
) -> Result<(), SpillableOptionsError> {
    let transaction_capacity = options.transaction_capacity;
    let (max, tier) = match overflow {
        // What does not fit memory goes to the overflow whole.
        Some(overflow) => (overflow.limits().transaction_capacity as u64, "overflow"),
        None if options.memory_capacity == 0 => return Err(SpillableOptionsError::NoCapacity),
        None => (options.memory_capacity, "memory"),
    };
    if transaction_capacity == 0 || transaction_capacity as u64 > max {
        return Err(SpillableOptionsError::TransactionCapacity { transaction_capacity, max, tier });
    }
    Ok(())
}
