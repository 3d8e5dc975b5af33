//! What rot excuses, and nothing beyond: docs/durability.md, "Blind spots".
//!
//! Events in a rotted block are lost, each transaction as a whole. What was recorded only in such a block is forgotten:
//! that events were taken, or a source's position.

use crate::oracle::{EventState, Oracle, PutId, PutState};
use std::collections::BTreeSet;

impl Oracle {
    /// Whether the only copy of an acknowledgement or of a position may be gone.
    pub(crate) fn may_forget(&self) -> bool {
        self.rotten && !self.remembers
    }

    /// Determines the cost of the rot. A transaction is one frame with one checksum: of its waiting events all are lost
    /// or none is.
    pub(crate) fn resolve_losses(
        &mut self,
        there: &BTreeSet<(PutId, usize)>,
    ) -> Result<(), String> {
        for (id, put) in self.puts.iter_mut().enumerate() {
            let waits = |(_, place): &(usize, &mut EventState)| **place == EventState::Waiting;
            let waiting = put.record.events.iter_mut().enumerate().filter(waits);
            let (came, absent): (Vec<_>, Vec<_>) =
                waiting.partition(|(index, _)| there.contains(&(id, *index)));
            let returned =
                |(index, _): &(usize, &mut EventState)| self.returned.contains(&(id, *index));
            let (taken, absent): (Vec<_>, Vec<_>) = absent.into_iter().partition(returned);
            self.perhaps_lost += taken.len() as u64;
            taken.into_iter().for_each(|(_, place)| *place = EventState::Taken);
            if !came.is_empty() && !absent.is_empty() {
                return Err(format!("{} events of put {id} came without the others", came.len()));
            }
            // A transaction in doubt may never have been there.
            if put.record.state == PutState::Committed {
                let hit = |index: &usize| self.hit.contains(&(id, *index));
                if let Some((index, _)) = absent.iter().find(|(index, _)| !hit(index)) {
                    return Err(format!("event {id}.{index} is lost, and nothing of it was hit"));
                }
                self.lost += absent.len() as u64;
                absent.into_iter().for_each(|(_, place)| *place = EventState::Lost);
            }
        }
        Ok(())
    }
}
