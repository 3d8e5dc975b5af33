//! Takes everything in an open channel for the oracle to judge, and returns it.

use super::{Driver, ROUNDS_MAX, Step, Stop, wrong};
use crate::oracle::Oracle;
use millpond::{Channel, Event, TakeError, TakeTransaction};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

impl Driver {
    /// Judges everything in the channel; the events are returned to it.
    pub(super) fn judge(&mut self) -> Step {
        let (mut looks, mut contents) = (Vec::new(), Vec::new());
        loop {
            // There may be more than one transaction holds: what failed writes left in doubt.
            let mut tx = self.opened().channel.begin_take();
            let events = self.take_now(&mut tx, 1 << 20)?;
            looks.push(tx);
            if events.is_empty() {
                break;
            }
            contents.extend(events);
        }
        for tx in looks {
            tx.rollback();
        }
        if crate::random::verbose() {
            eprintln!(
                "    holds {:?}",
                contents.iter().map(crate::oracle::name_of).collect::<Vec<_>>()
            );
        }
        let status = self.opened().channel.status();
        Self::verdict(self.oracle.opened(&contents, status.quarantined))?;
        if status.events != contents.len() as u64 {
            let events = status.events;
            return wrong(format!("{} events are there, {events} are counted", contents.len()));
        }
        self.look_at_frontiers()?;
        let Oracle { lost, perhaps_lost, .. } = self.oracle;
        let counted = status.quarantined;
        if self.setup.sealed && !(lost..=lost + perhaps_lost).contains(&counted) {
            return wrong(format!("{lost} events are lost to rot, {counted} are counted"));
        }
        for source in self.oracle.sources() {
            let found = self.opened().channel.source_offset(&format!("source {source}"));
            let Ok(found) = found else { return wrong(format!("{found:?} after the opening")) };
            Self::verdict(self.oracle.source_is_at(source, found.as_ref().map(|p| &p.bytes)))?;
        }
        self.oracle.sources_are_judged();
        Ok(())
    }

    /// Checks the frontiers, whatever is under way.
    pub(super) fn look_at_frontiers(&mut self) -> Step {
        let status = self.opened().channel.status();
        if !status.stopped && status.unaccounted != Some(0) {
            return wrong(format!("not every event is accounted for: {status:?}"));
        }
        let frontiers = self.opened().stepper.frontiers();
        Self::verdict(self.oracle.frontiers_are(&frontiers))
    }

    /// Takes until there are events or the channel reports that it is empty.
    pub(super) fn take_now(
        &mut self,
        tx: &mut Box<dyn TakeTransaction>,
        max: usize,
    ) -> Step<Vec<Event>> {
        let mut taking = tx.take_async(max);
        for _ in 0..ROUNDS_MAX {
            match taking.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(events)) => return Ok(events),
                Poll::Ready(Err(TakeError::TransactionFull { .. })) => return Ok(Vec::new()),
                Poll::Ready(Err(error)) => {
                    if self.disk.crashed() {
                        return Err(Stop::Crashed);
                    }
                    return wrong(format!("cannot take: {error}"));
                }
                Poll::Pending => {
                    self.opened().stepper.run_tasks();
                    if self.disk.crashed() {
                        return Err(Stop::Crashed);
                    }
                    self.clock.advance(Duration::from_millis(1));
                }
            }
        }
        wrong("a take hangs")
    }
}
