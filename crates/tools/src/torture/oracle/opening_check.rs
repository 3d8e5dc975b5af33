//! What an opening has shown so far.

use crate::torture::note::EventSpan;
use std::collections::BTreeMap;

/// What an opening has shown so far.
#[derive(Debug, Default)]
pub(super) struct OpeningCheck {
    pub(super) counted: u64,
    pub(super) quarantined: u64,
    pub(super) out_of_reach: u64,
    pub(super) positions: BTreeMap<u32, Option<u64>>,
    pub(super) contents: Vec<EventSpan>,
}

impl OpeningCheck {
    pub(super) fn begun(counted: u64, quarantined: u64, out_of_reach: u64) -> Self {
        Self { counted, quarantined, out_of_reach, ..Self::default() }
    }

    pub(super) fn position(&mut self, writer: u32, at: Option<u64>) {
        self.positions.insert(writer, at);
    }

    pub(super) fn contents(&mut self, spans: Vec<EventSpan>) {
        self.contents.extend(spans);
    }
}
