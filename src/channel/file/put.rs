//! Put transactions.

use super::shared::{Shared, changed};
use super::turns::{Place, Standing};
use crate::base::setting;
use crate::base::trouble::Trouble;
use crate::channel::{
    BoxFuture, CommitError, CommitFailure, PutError, PutTransaction, Refusal, check_event,
};
use crate::event::Event;
use crate::log::fate::Promise;
use crate::log::{Admission, PutShape};
use crate::record::body::{PositionRef, PutPrefix};
use crate::record::event;
use bytes::Bytes;
use std::sync::Arc;

/// Collects events; commits all of them or none.
pub(super) struct FilePut {
    shared: Arc<Shared>,
    events: Vec<Event>,
    /// Bytes of the encoded events.
    bytes: usize,
    position: Option<(String, Bytes)>,
}

impl FilePut {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, events: Vec::new(), bytes: 0, position: None }
    }

    /// Among the commits of its source, for a transaction that carries a position.
    fn place(&self) -> Option<Place> {
        self.position.as_ref().map(|(source, _)| Place::last(&self.shared, source))
    }

    /// Reserves and fills when it is its turn, or says why not now.
    fn append_in_turn(
        &self,
        place: Option<&Place>,
    ) -> Result<Result<Promise, Admission>, CommitError> {
        match place.map(Place::standing) {
            Some(Standing::BehindAnother) => return Ok(Err(Admission::BehindAnother)),
            Some(Standing::StruckOut) => return Err(CommitError::Refused(Refusal::OutOfTurn)),
            Some(Standing::First) | None => {}
        }
        let appended = self.append()?;
        if let (Ok(_), Some(place)) = (&appended, place) {
            place.reserved();
        }
        Ok(appended)
    }

    /// Reserves and fills, or says why not now.
    fn append(&self) -> Result<Result<Promise, Admission>, CommitError> {
        let now = self.shared.now();
        let position = self.position.as_ref().map(|(source, bytes)| (source.as_str(), &bytes[..]));
        let count = self.events.len() as u32;
        let shape = PutShape { count, events_len: self.bytes, position };
        let reserved = self.shared.with_open_log(|log| {
            let counter = position.map(|(source, _)| log.next_position(source));
            log.reserve_put(now, shape).map(|reservation| (reservation, counter))
        });
        let (reservation, counter) = match reserved {
            Ok(Some(Ok(reserved))) => reserved,
            // No room will come by waiting.
            Ok(Some(Err(admission @ Admission::PositionTooLarge { .. }))) => {
                return Err(refused(admission, None));
            }
            Ok(Some(Err(admission))) => return Ok(Err(admission)),
            Ok(None) => return Err(CommitError::Refused(Refusal::Closed)),
            Err(trouble) => return Err(CommitError::Refused(Refusal::NoStripe(trouble))),
        };
        let position = position.zip(counter).map(|((source, bytes), counter)| PositionRef {
            source,
            counter,
            bytes,
        });
        Ok(Ok(reservation.fill(|out| {
            let mut at = PutPrefix { origin: None, position }.encode(out);
            for event in &self.events {
                at += event::encode(event, &mut out[at..]);
            }
        })))
    }

    /// What can never be committed.
    fn refuse(&self) -> Result<(), CommitError> {
        let (events, capacity) = (self.events.len() as u64, self.shared.options.capacity);
        if events > capacity {
            return Err(CommitError::Refused(Refusal::LargerThanChannel { events, capacity }));
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.position.is_none()
    }

    fn commit_blocking(&self) -> Result<(), CommitError> {
        if self.is_empty() {
            return Ok(());
        }
        self.refuse()?;
        let (shared, place) = (&self.shared, self.place());
        let deadline = shared.now() + shared.options.keep_alive;
        let mut promise = loop {
            let turn = shared.room.turn();
            match self.append_in_turn(place.as_ref())? {
                Ok(promise) => break promise,
                Err(admission) => match deadline.checked_sub(shared.now()) {
                    Some(left) if !left.is_zero() => shared.room.sleep(turn, Some(left)),
                    _ => return Err(refused(admission, place.as_ref())),
                },
            }
        };
        shared.wait_for(&mut promise).map_err(CommitError::InDoubt)?;
        place.into_iter().for_each(Place::committed);
        Ok(())
    }

    async fn commit_waiting(&self) -> Result<(), CommitError> {
        if self.is_empty() {
            return Ok(());
        }
        self.refuse()?;
        let (shared, place) = (&self.shared, self.place());
        let deadline = shared.now() + shared.options.keep_alive;
        let mut promise = loop {
            let turn = shared.room.turn();
            match self.append_in_turn(place.as_ref())? {
                Ok(promise) => break promise,
                Err(admission) if shared.now() >= deadline => {
                    return Err(refused(admission, place.as_ref()));
                }
                Err(_) => {
                    let until = Some((deadline, &*shared.options.clock));
                    changed(&shared.room, turn, &shared.timer, until).await;
                }
            }
        };
        shared.settled(&mut promise).await.map_err(CommitError::InDoubt)?;
        place.into_iter().for_each(Place::committed);
        Ok(())
    }
}

/// What a wait for room has ended with.
fn refused(admission: Admission, place: Option<&Place>) -> CommitError {
    let of = || place.map(|place| place.source().to_owned()).unwrap_or_default();
    CommitError::Refused(match admission {
        Admission::BehindAnother => Refusal::Behind { of: of() },
        Admission::Full { events, capacity } => Refusal::Full { events, capacity },
        Admission::NoSpace(trouble) => Refusal::NoSpace(trouble),
        Admission::NoStripe(trouble) => Refusal::NoStripe(trouble),
        Admission::PositionTooLarge { bytes, max } => Refusal::PositionTooLarge { bytes, max },
        Admission::Busy => {
            Refusal::NoSpace(Trouble::new("no free segment was ready in time; try again"))
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

    fn set_position(&mut self, source: &str, position: Bytes) {
        self.position = Some((source.to_owned(), position));
    }

    fn commit(self: Box<Self>) -> Result<(), CommitFailure> {
        self.commit_blocking().map_err(|error| CommitFailure::new(error, self))
    }

    fn commit_async(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitFailure>> {
        Box::pin(async move {
            let ended = self.commit_waiting().await;
            ended.map_err(|error| CommitFailure::new(error, self))
        })
    }

    fn rollback(self: Box<Self>) {}
}
