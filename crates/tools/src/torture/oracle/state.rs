//! What the oracle knows of puts, takes and their events.

use super::findings::OracleFindings;
use super::opening_check::OpeningCheck;
use crate::torture::note::EventSpan;
use crate::torture::transaction_shape::TransactionShape;
use millpond::internal::base::ranges::RangeSet;
use millpond_sim::oracle::{PutRecord, TakeId};
use serde::Serialize;
use std::collections::BTreeMap;

/// A put transaction that is not over.
#[derive(Debug)]
pub(super) struct OpenPut {
    pub(super) record: PutRecord,
    /// Whether it carries its writer's source offset.
    pub(super) position: bool,
}

/// What is known of one writer.
#[derive(Debug, Default)]
pub(super) struct OracleWriter {
    pub(super) live: BTreeMap<u64, OpenPut>,
    /// Transactions whose events are all acknowledged as taken.
    pub(super) over: RangeSet,
    /// Transactions that were refused or found absent.
    pub(super) never: RangeSet,
    /// The first number that was never requested.
    pub(super) next: u64,
    /// The source offset that is certain.
    pub(super) position: Option<u64>,
}

/// Counts of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EventCounts {
    /// Put transactions whose commit returned Ok.
    pub put_transactions: u64,
    /// Events of those.
    pub put_acknowledged: u64,
    /// Events whose take was acknowledged.
    pub taken_acknowledged: u64,
    /// Put transactions refused because the channel was full.
    pub refused_full: u64,
    /// Put transactions refused for lack of space.
    pub refused_space: u64,
    /// Put transactions refused for another reason.
    pub refused_other: u64,
    /// Acknowledgements of takes that were refused.
    pub refused_takes: u64,
    /// Put transactions in doubt that were found present, whole.
    pub doubt_there: u64,
    /// Put transactions in doubt that were found absent.
    pub doubt_absent: u64,
    /// Acknowledgements in doubt that had happened.
    pub doubt_taken: u64,
    /// Acknowledgements in doubt that had not happened.
    pub doubt_returned: u64,
    /// Openings whose whole contents were judged.
    pub judged_openings: u64,
}

/// A take: its events are leased, or its acknowledgement is in flight or in doubt.
#[derive(Debug)]
pub(super) struct OpenTake {
    pub(super) id: TakeId,
    pub(super) events: Vec<EventSpan>,
}

/// The knowledge about all events.
#[derive(Debug)]
pub(in crate::torture) struct Oracle {
    pub(super) seed: u64,
    /// Whether every put was certainly noted before it was requested. A power cut may lose the last
    /// notes; then events of later numbers are in doubt, not foreign.
    pub(super) announced: bool,
    pub(super) now: u64,
    pub(super) writers: BTreeMap<u32, OracleWriter>,
    /// The events leased to each taker.
    pub(super) leased: BTreeMap<u32, OpenTake>,
    /// Each taker's acknowledgement in flight.
    pub(super) asked: BTreeMap<u32, OpenTake>,
    /// Acknowledgements in doubt.
    pub(super) doubts: Vec<OpenTake>,
    /// How many takes there were.
    pub(super) takes: TakeId,
    pub(super) opening: OpeningCheck,
    pub(in crate::torture) counts: EventCounts,
    pub(in crate::torture) findings: OracleFindings,
}

impl OpenPut {
    pub(super) fn new(shape: &TransactionShape, now: u64) -> Self {
        let mut record = PutRecord::new(shape.events as usize, now);
        record.request();
        Self { record, position: shape.position }
    }
}
