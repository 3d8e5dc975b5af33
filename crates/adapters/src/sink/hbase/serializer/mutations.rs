//! What an event writes, or why it can never be written.

use crate::wire::thrift::hbase::HbasePut;
use bytes::Bytes;
use millpond::{Clock, Event};
use millpond_flow::pattern::MatchLimitReached;

/// Most bytes of a row key: HBase's `MAX_ROW_LENGTH`.
pub(in crate::sink::hbase) const ROW_BYTES_MAX: usize = 32_767;

/// What an event writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::sink::hbase) struct EventMutations {
    /// Its row, if it has one.
    pub(in crate::sink::hbase) put: Option<HbasePut>,
    /// What it adds to a counter, if anything.
    pub(in crate::sink::hbase) increment: Option<CounterIncrement>,
}

/// An addition to one counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sink::hbase) struct CounterIncrement {
    pub(in crate::sink::hbase) row: Bytes,
    pub(in crate::sink::hbase) column: Bytes,
    pub(in crate::sink::hbase) amount: i64,
}

/// Why an event can never be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::sink::hbase) enum UnwritableEvent {
    #[error("the body does not match serializer.regex")]
    Unmatched,
    #[error("matching serializer.regex was abandoned: {0}")]
    Abandoned(MatchLimitReached),
    #[error("the row key is empty: the group at serializer.rowKeyIndex matched nothing")]
    EmptyRow,
    #[error("the row key has {0} bytes; HBase has at most {ROW_BYTES_MAX}")]
    LongRow(usize),
    #[error("there is no column to write: no group matched")]
    NoColumn,
}

/// Turns events into mutations.
pub(in crate::sink::hbase) trait HbaseSerializer: Send {
    /// Returns what `event` writes. `row` is the row key that was made for it at an earlier try; one that is made now
    /// is stored there, so that a repetition writes the same row.
    ///
    /// # Errors
    /// It can never be written.
    fn mutations(
        &mut self,
        event: &Event,
        row: &mut Option<Bytes>,
        clock: &dyn Clock,
    ) -> Result<EventMutations, UnwritableEvent>;
}
