//! Put transactions: the beginning of the write path, which `log/mod.rs` tells as a whole.

use super::commit_order::{OrderTicket, Turn};
use super::shared::Shared;
use crate::base::fault_cause::{FaultCause, FaultKind, FaultPlace};
use crate::base::limits::BLOCK_BYTES_MAX;
use crate::base::setting;
use crate::channel::waiting::{Caller, run_here};
use crate::channel::{
    BoxFuture, CommitError, CommitFailure, PutAllError, PutError, PutTransaction, RefusedReason,
    check_event, put_each,
};
use crate::event::Event;
use crate::log::block_completion::CommitTicket;
use crate::log::{PutShape, ReserveError};
use crate::record::body::{PutPrefix, SourceOffsetRef};
use crate::record::event;
use bytes::Bytes;
use std::sync::Arc;

/// A put transaction: collects events; commits all of them or none.
pub(super) struct FilePut {
    shared: Arc<Shared>,
    events: Vec<Event>,
    /// Bytes of the encoded events.
    bytes: usize,
    source_offset: Option<(String, Bytes)>,
}

impl FilePut {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, events: Vec::new(), bytes: 0, source_offset: None }
    }

    /// Returns its place among the commits of its source, for a transaction that carries a source
    /// offset.
    fn order_ticket(&self) -> Option<OrderTicket> {
        self.source_offset
            .as_ref()
            .map(|(source, _)| OrderTicket::issue(&self.shared.commit_order, source))
    }

    /// Appends when it is the turn of this commit among those of its source, or returns why not now.
    fn append_in_turn(
        &self,
        order: Option<&OrderTicket>,
        caller: Caller,
    ) -> Result<Result<CommitTicket, ReserveError>, CommitError> {
        match order.map(OrderTicket::turn) {
            Some(Turn::Waiting) => return Ok(Err(ReserveError::EarlierCommitPending)),
            Some(Turn::Aborted) => {
                return Err(CommitError::Refused(RefusedReason::EarlierCommitFailed));
            }
            Some(Turn::Now) | None => {}
        }
        let appended = self.append(caller)?;
        if let (Ok(_), Some(order)) = (&appended, order) {
            order.reserved();
        }
        Ok(appended)
    }

    /// Reserves a frame under the log's lock and encodes the events into it without, or returns why
    /// not now. The write of a future is handed to another thread, which is chosen under the lock of
    /// the reservation.
    fn append(&self, caller: Caller) -> Result<Result<CommitTicket, ReserveError>, CommitError> {
        let now = self.shared.now();
        let source_offset =
            self.source_offset.as_ref().map(|(source, bytes)| (source.as_str(), &bytes[..]));
        let count = self.events.len() as u32;
        let shape = PutShape { count, events_len: self.bytes, source_offset };
        let block_bytes = shape.block_bytes();
        if block_bytes > BLOCK_BYTES_MAX {
            self.shared.pool.stock(block_bytes);
        }
        let reserved = self.shared.with_open_log(|log| {
            let counter = source_offset.map(|(source, _)| log.next_source_offset(source));
            log.reserve_put(now, shape).map(|reservation| {
                let ready_stripes = match caller {
                    Caller::Thread => Vec::new(),
                    Caller::Task => self.shared.writes_without_thread(log),
                };
                (reservation, counter, ready_stripes)
            })
        });
        let (reservation, counter, ready_stripes) = match reserved {
            Ok(Some(Ok(reserved))) => reserved,
            // Waiting makes no room.
            Ok(Some(Err(error @ ReserveError::SourceOffsetTooLarge { .. }))) => {
                return Err(refused(error, None));
            }
            Ok(Some(Err(error))) => return Ok(Err(error)),
            Ok(None) => return Err(CommitError::Refused(self.shared.why_closed())),
            Err(fault) => return Err(CommitError::Refused(RefusedReason::Stopped(fault))),
        };
        let source_offset = source_offset
            .zip(counter)
            .map(|((source, bytes), counter)| SourceOffsetRef { source, counter, bytes });
        let ticket = reservation.fill(|out| {
            let mut at = PutPrefix { origin: None, source_offset }.encode(out);
            for event in &self.events {
                at += event::encode(event, &mut out[at..]);
            }
        });
        self.shared.wake_writers(ready_stripes);
        Ok(Ok(ticket))
    }

    /// Refuses what can never be committed.
    fn refuse(&self) -> Result<(), CommitError> {
        let (events, capacity) = (self.events.len() as u64, self.shared.options.capacity);
        if events > capacity {
            return Err(CommitError::Refused(RefusedReason::LargerThanChannel {
                events,
                capacity,
            }));
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.source_offset.is_none()
    }

    async fn commit_by(&self, caller: Caller) -> Result<(), CommitError> {
        if self.is_empty() {
            return Ok(());
        }
        self.refuse()?;
        let (shared, order) = (&self.shared, self.order_ticket());
        let deadline = shared.now() + shared.options.keep_alive;
        let mut ticket = loop {
            let generation = shared.room.generation();
            match self.append_in_turn(order.as_ref(), caller)? {
                Ok(ticket) => break ticket,
                Err(error) if shared.now() >= deadline => {
                    return Err(refused(error, order.as_ref()));
                }
                Err(_) => caller.changed(&shared.room, generation, deadline, &shared.timer).await,
            }
        };
        shared.wait_until_durable(caller, &mut ticket).await.map_err(CommitError::InDoubt)?;
        order.into_iter().for_each(OrderTicket::committed);
        Ok(())
    }
}

/// Returns the error that ended a wait for room.
fn refused(error: ReserveError, order: Option<&OrderTicket>) -> CommitError {
    let of = || order.map(|order| order.source().to_owned()).unwrap_or_default();
    CommitError::Refused(match error {
        ReserveError::EarlierCommitPending => RefusedReason::EarlierCommitPending { of: of() },
        ReserveError::Full { events, capacity } => RefusedReason::Full { events, capacity },
        ReserveError::NoSpace(fault) | ReserveError::NoStripe(fault) => {
            RefusedReason::of_stripes(fault)
        }
        ReserveError::SourceOffsetTooLarge { bytes, max } => {
            RefusedReason::SourceOffsetTooLarge { bytes, max }
        }
        ReserveError::Busy => {
            let what = "no free segment was ready in time; try again";
            let place = FaultPlace::default();
            RefusedReason::NoSpace(FaultCause::new(FaultKind::NotReady, place, what))
        }
    })
}

impl PutTransaction for FilePut {
    fn put(&mut self, event: Event) -> Result<(), PutError> {
        let capacity = self.shared.options.transaction_capacity;
        if self.events.len() >= capacity {
            return Err(PutError::TransactionFull { capacity });
        }
        check_event(&event)?;
        let alone = event::encoded_len(&event);
        let bytes = self.bytes + alone;
        let max = self.shared.options.transaction_bytes_max;
        if bytes > max {
            return Err(PutError::TooLarge {
                bytes,
                alone,
                max,
                setting: setting::TRANSACTION_BYTES_MAX,
            });
        }
        self.bytes = bytes;
        self.events.push(event);
        Ok(())
    }

    fn put_all(&mut self, events: &mut dyn Iterator<Item = Event>) -> Result<(), PutAllError> {
        let (held, bytes) = (self.events.len(), self.bytes);
        let room = self.shared.options.transaction_capacity.saturating_sub(held);
        self.events.reserve(events.size_hint().0.min(room));
        put_each(events, |event| self.put(event)).inspect_err(|_| {
            self.events.truncate(held);
            self.bytes = bytes;
        })
    }

    fn set_source_offset(&mut self, source: &str, source_offset: Bytes) {
        self.source_offset = Some((source.to_owned(), source_offset));
    }

    fn commit(self: Box<Self>) -> Result<(), CommitFailure> {
        run_here(self.commit_by(Caller::Thread)).map_err(|error| CommitFailure::new(error, self))
    }

    fn commit_async(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitFailure>> {
        Box::pin(async move {
            let ended = self.commit_by(Caller::Task).await;
            ended.map_err(|error| CommitFailure::new(error, self))
        })
    }

    fn rollback(self: Box<Self>) {}
}
